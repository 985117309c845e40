//! TLS of the listeners: their certificates, which come from files or an ACME server or are self-signed, and how they are
//! kept up to date.

pub(crate) mod acme;
mod certificate;
mod certificates;
mod config;
mod error;
mod files;
mod manager;
mod redirect;
mod resolver;
mod self_signed;
mod stamp;
mod state;
#[cfg(test)]
mod tests;

pub use acme::AcmeConfig;
use certificate::Unusable;
pub use certificate::{ServerCertificate, Storage};
pub use certificates::ServerCertificates;
pub use config::{CertificateFiles, TlsConfig, TlsVersion};
pub use error::CertificateError;
use error::Problem;
pub use manager::CertificateManager;
pub(crate) use state::folder as state_folder;
pub use switchboard_transport::TlsSetup;

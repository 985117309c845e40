//! TLS of the listeners: their certificates, which come from files or are self-signed, and their reload.

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
#[cfg(test)]
mod tests;

use certificate::Unusable;
pub use certificate::{ServerCertificate, Storage};
pub use certificates::ServerCertificates;
pub use config::{CertificateFiles, TlsConfig, TlsVersion};
pub use error::CertificateError;
use error::Problem;
pub use manager::CertificateManager;
pub use switchboard_transport::TlsSetup;

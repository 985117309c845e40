//! Settings of TLS.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use super::AcmeConfig;

/// The certificates of all listeners. Without one they speak plain HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsConfig {
    /// A PEM file with the certificate chain, the server's certificate first. It is the default certificate.
    pub cert: Option<PathBuf>,
    /// The PEM file of the private key.
    pub key: Option<PathBuf>,
    /// More certificates, which are chosen by the host name that a client sends (SNI). Without `cert` the first one is the
    /// default certificate.
    pub certificates: Vec<CertificateFiles>,
    /// Whether a self-signed certificate is used in place of the files.
    pub self_signed: bool,
    /// The file that stores the self-signed certificate and its key; `None` for a file in the state folder.
    pub self_signed_file: Option<PathBuf>,
    /// The oldest version that clients may use.
    pub min_version: TlsVersion,
    /// The time between two looks at the files; zero for none.
    pub reload_interval: Duration,
    /// The seconds of `Strict-Transport-Security`; 0 for no header. Not sent with a self-signed certificate.
    pub hsts_max_age: u64,
    /// Addresses of listeners without TLS that redirect to HTTPS.
    pub redirect_listen: Vec<SocketAddr>,
    /// The port of the URLs to which these listeners redirect; 0 for the port of the main listener.
    pub redirect_port: u16,
    /// The certificate from an ACME server, in place of files.
    pub acme: AcmeConfig,
}

/// The files of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// A PEM file with the certificate chain, the server's certificate first.
    pub cert: PathBuf,
    /// The PEM file of the private key.
    pub key: PathBuf,
}

/// A version of TLS. Older ones are not supported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[default]
    V1_2,
    /// TLS 1.3 (RFC 8446).
    V1_3,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            cert: None,
            key: None,
            certificates: Vec::new(),
            self_signed: false,
            self_signed_file: None,
            min_version: TlsVersion::default(),
            reload_interval: Duration::from_secs(10),
            // One day: a visitor is protected from one visit to the next, and an operator who gives HTTPS up, or whose
            // host serves HTTP on other ports too, waits a day and not a year.
            hsts_max_age: 24 * 60 * 60,
            redirect_listen: Vec::new(),
            redirect_port: 0,
            acme: AcmeConfig::default(),
        }
    }
}

impl TlsConfig {
    /// Whether the listeners speak HTTPS.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.self_signed || self.has_files() || self.acme.is_on()
    }

    /// The scheme of the URLs of this server: `https` or `http`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.is_on() { "https" } else { "http" }
    }

    /// Whether a file of a certificate or key is set.
    pub(crate) fn has_files(&self) -> bool {
        self.cert.is_some() || self.key.is_some() || !self.certificates.is_empty()
    }

    /// The settings of each certificate and key, and their files. The default certificate is first.
    pub(crate) fn files(&self) -> impl Iterator<Item = ([&'static str; 2], &Path, &Path)> {
        let default = self.cert.as_deref().zip(self.key.as_deref());
        let default = default.map(|(cert, key)| (["tls.cert", "tls.key"], cert, key));
        let others = self.certificates.iter();
        let others = others.map(|files| (["tls.certificates"; 2], &*files.cert, &*files.key));
        default.into_iter().chain(others)
    }

    /// The files that are read again when they change.
    pub(super) fn watched(&self) -> impl Iterator<Item = &Path> {
        self.files().flat_map(|(_, cert, key)| [cert, key])
    }
}

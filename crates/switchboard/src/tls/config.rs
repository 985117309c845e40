//! Settings of TLS.

use std::path::PathBuf;

/// The certificate of all listeners. Without one they speak plain HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsConfig {
    /// A PEM file with the certificate chain, the server's certificate first.
    pub cert: Option<PathBuf>,
    /// The PEM file of the private key.
    pub key: Option<PathBuf>,
    /// Whether a self-signed certificate is used in place of the files.
    pub self_signed: bool,
    /// The file that stores the self-signed certificate and its key; `None` for a file in the state folder.
    pub self_signed_file: Option<PathBuf>,
}

impl TlsConfig {
    /// Whether the listeners speak HTTPS.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.self_signed || self.cert.is_some() || self.key.is_some()
    }

    /// The scheme of the URLs of this server: `https` or `http`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.is_on() { "https" } else { "http" }
    }
}

//! Settings of TLS.

use std::path::PathBuf;

/// The certificate of all listeners. Without one they speak plain HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// A PEM file: the server's certificate, and then those that certify it.
    pub cert: Option<PathBuf>,
    /// The PEM file of its key.
    pub key: Option<PathBuf>,
    /// Use a self-signed certificate instead.
    pub self_signed: bool,
    /// The file that keeps it with its key; none for one in the user's state folder.
    pub self_signed_file: Option<PathBuf>,
}

impl TlsConfig {
    /// Whether the listeners speak HTTPS.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.self_signed || self.cert.is_some() || self.key.is_some()
    }

    /// The scheme of the URLs of this server.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.is_on() { "https" } else { "http" }
    }
}

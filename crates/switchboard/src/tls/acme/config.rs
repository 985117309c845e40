//! Settings of ACME.

use std::path::PathBuf;

use crate::tls::ServerCertificate;

/// The certificate that the server requests from an authority by ACME.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AcmeConfig {
    /// The host names of the certificate; empty for no ACME. Each must lead to this server.
    pub domains: Vec<String>,
    /// The address to which the authority sends warnings; empty for none.
    pub email: String,
    /// The URL of the ACME directory of the authority.
    pub directory: String,
    /// A PEM file with the root certificates of the directory's own HTTPS; `None` for those of this machine.
    pub directory_ca: Option<PathBuf>,
    /// The folder of the account and the certificate; `None` for one in the state folder.
    pub folder: Option<PathBuf>,
}

impl Default for AcmeConfig {
    fn default() -> Self {
        Self {
            domains: Vec::new(),
            email: String::new(),
            directory: "https://acme-v02.api.letsencrypt.org/directory".to_owned(),
            directory_ca: None,
            folder: None,
        }
    }
}

impl AcmeConfig {
    /// Whether the server requests a certificate.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.domains.is_empty()
    }

    /// Whether a certificate has all domains.
    pub(super) fn is_covered_by(&self, certificate: &ServerCertificate) -> bool {
        self.domains.iter().all(|name| certificate.is_for(name))
    }
}

/// Whether a text is a host name for which an authority gives a certificate after an HTTP-01 or TLS-ALPN-01 challenge:
/// no address and no wildcard.
pub(crate) fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(is_plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let top = text.rsplit('.').next().unwrap_or_default();
    text.len() <= 253
        && text.contains('.')
        && text.split('.').all(is_label)
        && !top.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_host_names_are_domains() {
        for name in [
            "a.example",
            "xn--bcher-kva.example",
            "1.2.example",
            "A.b-c.example",
        ] {
            assert!(is_domain(name), "{name}");
        }
        for name in [
            "",
            "localhost",
            "*.example",
            "a..example",
            ".example",
            "example.",
            "192.0.2.1",
            "[::1]",
            "a_b.example",
            "-a.example",
            "a-.example",
            "a.example:443",
            "https://a.example",
            "b\u{fc}cher.example",
        ] {
            assert!(!is_domain(name), "{name}");
        }
        assert!(!is_domain(&format!("{}.example", "a".repeat(64))));
    }
}

//! The challenges by which an ACME server verifies that the names lead to this server.

use std::{collections::HashMap, fmt, sync::Arc};

use instant_acme::{ChallengeType, KeyAuthorization};
use parking_lot::Mutex;
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::{crypto::ring, pki_types::PrivateKeyDer, server::ClientHello, sign::CertifiedKey};
use switchboard_transport::ACME_TLS_PROTOCOL;

use super::AcmeError;

/// The kinds of challenges that this server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChallengeKind {
    /// A file on port 80 (RFC 8555, section 8.3).
    Http01,
    /// A certificate on port 443 (RFC 8737).
    TlsAlpn01,
}

impl ChallengeKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        }
    }

    pub(super) fn challenge_type(self) -> ChallengeType {
        match self {
            Self::Http01 => ChallengeType::Http01,
            Self::TlsAlpn01 => ChallengeType::TlsAlpn01,
        }
    }
}

/// The answers to the challenges of the current order.
#[derive(Default)]
pub(in crate::tls) struct AcmeChallenges(Mutex<Answers>);

#[derive(Default)]
struct Answers {
    /// The content of each file, by the token in its path.
    files: HashMap<String, String>,
    /// The certificates by name.
    certificates: HashMap<String, Arc<CertifiedKey>>,
}

impl fmt::Debug for AcmeChallenges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AcmeChallenges")
    }
}

impl AcmeChallenges {
    /// The content of the file for a token.
    pub(in crate::tls) fn file(&self, token: &str) -> Option<String> {
        self.0.lock().files.get(token).cloned()
    }

    /// Whether a client is an ACME server that verifies a name.
    pub(in crate::tls) fn is_verified_by(hello: &ClientHello<'_>) -> bool {
        let Some(mut offered) = hello.alpn() else {
            return false;
        };
        offered.next() == Some(ACME_TLS_PROTOCOL) && offered.next().is_none()
    }

    /// The certificate by which an ACME server verifies a name.
    pub(in crate::tls) fn certificate(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let name = name.to_ascii_lowercase();
        self.0.lock().certificates.get(&name).cloned()
    }

    /// Prepares the answer to a challenge for `domain`. It is given until the result of [`AcmeChallenges::begin`] is dropped.
    pub(super) fn prepare(
        &self,
        kind: ChallengeKind,
        domain: &str,
        token: &str,
        authorization: &KeyAuthorization,
    ) -> Result<(), AcmeError> {
        match kind {
            ChallengeKind::Http01 => {
                let content = authorization.as_str().to_owned();
                self.0.lock().files.insert(token.to_owned(), content);
            }
            ChallengeKind::TlsAlpn01 => {
                let certified = certificate_of(domain, authorization.digest().as_ref())?;
                let name = domain.to_ascii_lowercase();
                self.0.lock().certificates.insert(name, Arc::new(certified));
            }
        }
        Ok(())
    }

    /// Begins an order.
    pub(super) fn begin(&self) -> PendingOrder<'_> {
        PendingOrder(self)
    }
}

/// Removes all answers when it is dropped.
pub(super) struct PendingOrder<'a>(&'a AcmeChallenges);

impl Drop for PendingOrder<'_> {
    fn drop(&mut self) {
        *self.0.0.lock() = Answers::default();
    }
}

/// The self-signed certificate of a TLS-ALPN-01 challenge (RFC 8737, section 3).
fn certificate_of(domain: &str, digest: &[u8]) -> Result<CertifiedKey, AcmeError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec![domain.to_owned()])?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let chain = vec![params.self_signed(&key)?.der().clone()];
    let key = PrivateKeyDer::try_from(key.serialize_der());
    let key = key.map_err(|_| rcgen::Error::CouldNotParseKeyPair)?;
    let key = ring::sign::any_supported_type(&key);
    let key = key.map_err(|_| rcgen::Error::CouldNotParseKeyPair)?;
    // `CertifiedKey::from_der` would reject the extension, which is critical and which rustls does not know.
    Ok(CertifiedKey::new(chain, key))
}

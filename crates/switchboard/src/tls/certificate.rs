//! One certificate chain with its private key.

use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{
    client::verify_server_name,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
    server::ParsedCertificate,
    sign::CertifiedKey,
};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer as _, X509Certificate},
    time::ASN1Time,
};

/// A certificate chain and its private key. The key is never shown.
#[derive(Clone)]
pub struct ServerCertificate {
    /// The first certificate of the chain: that of the server itself.
    own: CertificateDer<'static>,
    /// The chain and the key.
    certified: Arc<CertifiedKey>,
    valid_from: ASN1Time,
    valid_until: ASN1Time,
    pub(super) storage: Storage,
}

/// Where a certificate is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In the files that `tls.cert` and `tls.key` name.
    Given,
    /// Self-signed, in this file.
    SelfSigned(PathBuf),
    /// Self-signed and lost when the server ends, for this reason.
    Memory(String),
    /// From an ACME server, in this file.
    Acme(PathBuf),
    /// Self-signed, in use until an ACME server has given one.
    Temporary,
}

impl fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCertificate")
            .field("fingerprint", &self.fingerprint())
            .field("storage", &self.storage)
            .finish_non_exhaustive()
    }
}

impl ServerCertificate {
    /// Combines a certificate chain and a private key, if they match.
    pub(super) fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        storage: Storage,
    ) -> Result<Self, Unusable> {
        let own = chain.first().cloned().ok_or(Unusable::Unreadable)?;
        let (_, parsed) = X509Certificate::from_der(&own).map_err(|_| Unusable::Unreadable)?;
        let validity = parsed.validity();
        let (valid_from, valid_until) = (validity.not_before, validity.not_after);
        let certified = CertifiedKey::from_der(chain, key, &ring::default_provider());
        Ok(Self {
            own,
            certified: Arc::new(certified.map_err(Unusable::Rejected)?),
            valid_from,
            valid_until,
            storage,
        })
    }

    /// The chain and the key, for TLS.
    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        self.certified.clone()
    }

    /// The SHA-256 of the certificate as browsers and `openssl x509 -fingerprint -sha256` show it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let hash = Sha256::digest(&self.own);
        let bytes = hash.iter().map(|byte| format!("{byte:02X}"));
        bytes.collect::<Vec<_>>().join(":")
    }

    /// Where the certificate is stored.
    #[must_use]
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// The day from which the certificate is valid, as `2026-01-31`.
    #[must_use]
    pub fn valid_from(&self) -> String {
        date(self.valid_from)
    }

    /// The last day on which the certificate is valid, as `2026-01-31`.
    #[must_use]
    pub fn valid_until(&self) -> String {
        date(self.valid_until)
    }

    /// Whether the start of the validity has passed.
    #[must_use]
    pub fn is_valid_yet(&self) -> bool {
        self.valid_from.timestamp() <= unix_secs()
    }

    /// Full days until the certificate expires; negative after that.
    #[must_use]
    pub fn days_left(&self) -> i64 {
        (self.valid_until.timestamp() - unix_secs()).div_euclid(24 * 60 * 60)
    }

    /// The time until the certificate expires; zero after that.
    pub(super) fn time_left(&self) -> Duration {
        seconds(self.valid_until.timestamp() - unix_secs())
    }

    /// The time between the start and the end of the validity.
    pub(super) fn validity(&self) -> Duration {
        seconds(self.valid_until.timestamp() - self.valid_from.timestamp())
    }

    /// Whether an authority has signed it for the server, as far as the server knows.
    pub(super) fn is_of_authority(&self) -> bool {
        match self.storage {
            Storage::Given | Storage::Acme(_) => true,
            Storage::SelfSigned(_) | Storage::Memory(_) | Storage::Temporary => false,
        }
    }

    /// Whether the certificate is for this host name or address.
    #[must_use]
    pub fn is_for(&self, host: &str) -> bool {
        match (
            ParsedCertificate::try_from(&self.own),
            ServerName::try_from(host),
        ) {
            (Ok(parsed), Ok(name)) => verify_server_name(&parsed, &name).is_ok(),
            (Ok(_) | Err(_), _) => false,
        }
    }

    /// The first host name of the certificate; `None` if it has only addresses and wildcard names.
    #[must_use]
    pub fn first_name(&self) -> Option<String> {
        let mut names = self.names().into_iter();
        names.find(|name| !name.starts_with('*'))
    }

    /// The host names of the certificate, as in it; a wildcard name begins with `*.`.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let Ok((_, parsed)) = X509Certificate::from_der(&self.own) else {
            return Vec::new();
        };
        let Ok(Some(extension)) = parsed.subject_alternative_name() else {
            return Vec::new();
        };
        let names = extension.value.general_names.iter();
        let dns_name = |name: &GeneralName<'_>| {
            let GeneralName::DNSName(name) = name else {
                return None;
            };
            Some((*name).to_owned())
        };
        names.filter_map(dns_name).collect()
    }
}

fn date(time: ASN1Time) -> String {
    time.to_datetime().date().to_string()
}

/// A time of this many seconds; zero if they are negative.
fn seconds(count: i64) -> Duration {
    Duration::from_secs(u64::try_from(count).unwrap_or_default())
}

fn unix_secs() -> i64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// The reason why a certificate and a key cannot be used.
#[derive(Debug, Error)]
pub(super) enum Unusable {
    #[error("the certificate cannot be parsed")]
    Unreadable,
    #[error("TLS does not accept the certificate and the key")]
    Rejected(#[source] rustls::Error),
}

//! The certificate of the listeners: from files, or self-signed.

use std::{fmt, path::PathBuf, sync::Arc, time::SystemTime};

use rustls::{
    ServerConfig,
    client::verify_server_name,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
    server::ParsedCertificate,
};
use sha2::{Digest as _, Sha256};
use switchboard_transport::Tls;
use thiserror::Error;
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer as _, X509Certificate},
    time::ASN1Time,
};

mod config;
mod error;
mod files;
mod self_signed;
#[cfg(test)]
mod tests;

pub use config::TlsConfig;
pub use error::CertificateError;
use error::Problem;
use self_signed::SelfSigned;

/// A certificate chain and its private key. The key is never shown.
///
/// ```no_run
/// use switchboard::{Config, Listener, Server, tls::ServerCertificate};
///
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let mut config = Config::default();
/// config.tls.self_signed = true;
/// let mut listener = Listener::bind(([0, 0, 0, 0], 8443).into())?;
/// if let Some(certificate) = ServerCertificate::load(&config.tls)? {
///     println!("SHA-256: {}", certificate.fingerprint());
///     listener = listener.with_tls(certificate.tls());
/// }
/// Server::builder().config(config).build()?.serve(listener);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ServerCertificate {
    /// The first certificate of the chain: that of the server itself.
    own: CertificateDer<'static>,
    /// The TLS configuration with the chain and the key.
    config: ServerConfig,
    valid_from: ASN1Time,
    valid_until: ASN1Time,
    storage: Storage,
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
    /// The certificate of these settings; `None` without TLS. If `self_signed` is set and there is no certificate yet,
    /// a new one is made and stored in its file.
    ///
    /// # Errors
    /// If a file cannot be used.
    pub fn load(tls: &TlsConfig) -> Result<Option<Self>, CertificateError> {
        if tls.self_signed {
            return SelfSigned::of(tls).load_or_make().map(Some);
        }
        Self::check(tls)
    }

    /// The certificate of these settings, if there is one already. Writes no file.
    ///
    /// # Errors
    /// If a file cannot be used.
    pub fn check(tls: &TlsConfig) -> Result<Option<Self>, CertificateError> {
        if tls.self_signed {
            return SelfSigned::of(tls).load();
        }
        match (&tls.cert, &tls.key) {
            (Some(cert), Some(key)) => files::load(cert, key).map(Some),
            (Some(_) | None, None) | (None, Some(_)) => Ok(None),
        }
    }

    /// Combines a certificate chain and a private key, if they match.
    fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        storage: Storage,
    ) -> Result<Self, Unusable> {
        let own = chain.first().cloned().ok_or(Unusable::Unreadable)?;
        let (_, parsed) = X509Certificate::from_der(&own).map_err(|_| Unusable::Unreadable)?;
        let validity = parsed.validity();
        let (valid_from, valid_until) = (validity.not_before, validity.not_after);
        let config = config_of(chain, key).map_err(Unusable::Rejected)?;
        Ok(Self {
            own,
            config,
            valid_from,
            valid_until,
            storage,
        })
    }

    /// TLS with this certificate, for [`Listener::with_tls`](crate::Listener::with_tls).
    #[must_use]
    pub fn tls(&self) -> Tls {
        Tls::new(self.config.clone())
    }

    /// The TLS configuration with this certificate, for [`Tls::replace`].
    #[must_use]
    pub fn server_config(&self) -> ServerConfig {
        self.config.clone()
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
        let (_, parsed) = X509Certificate::from_der(&self.own).ok()?;
        let names = parsed.subject_alternative_name().ok()??;
        let mut names = names.value.general_names.iter();
        names.find_map(|name| {
            let GeneralName::DNSName(name) = name else {
                return None;
            };
            (!name.starts_with('*')).then(|| (*name).to_owned())
        })
    }
}

fn config_of(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key)?;
    // With a session ticket, a client resumes its TLS session without a new signature of the server. The ticket holds
    // the state, so the server keeps none.
    config.ticketer = ring::Ticketer::new()?;
    Ok(config)
}

fn date(time: ASN1Time) -> String {
    time.to_datetime().date().to_string()
}

fn unix_secs() -> i64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// The reason why a certificate and a key cannot be used.
#[derive(Debug, Error)]
enum Unusable {
    #[error("the certificate cannot be parsed")]
    Unreadable,
    #[error("TLS does not accept the certificate and the key")]
    Rejected(#[source] rustls::Error),
}

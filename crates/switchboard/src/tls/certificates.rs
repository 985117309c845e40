//! The certificates of a server: a default one, and others for some host names.

use std::sync::Arc;

use rustls::{
    ServerConfig,
    crypto::ring,
    version::{TLS12, TLS13},
};
use switchboard_transport::{ACME_TLS_PROTOCOL, Tls, TlsSetup};

use super::{
    CertificateError, ServerCertificate, TlsConfig, TlsVersion,
    acme::{self, AcmeChallenges, AcmeStore},
    files,
    resolver::ByName,
    self_signed::SelfSigned,
};

/// The certificates of a server and the setup of its TLS.
#[derive(Clone, Debug)]
pub struct ServerCertificates {
    /// The default certificate first. Never empty.
    all: Arc<[ServerCertificate]>,
    min_version: TlsVersion,
    hsts_secs: u64,
}

impl ServerCertificates {
    /// The certificates of these settings; `None` without TLS. If `self_signed` is set and there is no certificate yet,
    /// a new one is made and stored in its file. If an ACME server has not given one yet, a temporary self-signed one is made.
    ///
    /// # Errors
    /// If a file cannot be used.
    pub fn load(tls: &TlsConfig) -> Result<Option<Self>, CertificateError> {
        if tls.self_signed {
            let certificate = SelfSigned::of(tls).load_or_make()?;
            return Ok(Some(Self::new(vec![certificate], tls)));
        }
        match Self::check(tls)? {
            None if tls.acme.is_on() => {
                let temporary = acme::temporary(&tls.acme);
                let temporary = temporary.map_err(CertificateError::not_made)?;
                Ok(Some(Self::new(vec![temporary], tls)))
            }
            loaded => Ok(loaded),
        }
    }

    /// The certificates of these settings, if there are some already. Writes no file.
    ///
    /// # Errors
    /// If a file cannot be used.
    pub fn check(tls: &TlsConfig) -> Result<Option<Self>, CertificateError> {
        let all = if tls.self_signed {
            Vec::from_iter(SelfSigned::of(tls).load()?)
        } else if tls.acme.is_on() {
            if let Some(file) = &tls.acme.directory_ca {
                let setting = "tls.acme.directory_ca";
                files::certificates(setting, file, &files::read(setting, file)?)?;
            }
            Vec::from_iter(AcmeStore::of(&tls.acme).and_then(|store| store.certificate()))
        } else {
            tls.files()
                .map(|(settings, cert, key)| files::load(settings, cert, key))
                .collect::<Result<Vec<_>, _>>()?
        };
        Ok((!all.is_empty()).then(|| Self::new(all, tls)))
    }

    fn new(all: Vec<ServerCertificate>, tls: &TlsConfig) -> Self {
        Self {
            all: all.into(),
            min_version: tls.min_version,
            hsts_secs: tls.hsts_max_age,
        }
    }

    /// The certificate for clients that send no host name, or one that no certificate has.
    #[must_use]
    pub fn default_certificate(&self) -> &ServerCertificate {
        &self.all[0]
    }

    /// All certificates, the default one first.
    pub fn iter(&self) -> impl Iterator<Item = &ServerCertificate> {
        self.all.iter()
    }

    /// Whether one of the certificates is for this host name or address.
    #[must_use]
    pub fn is_for(&self, host: &str) -> bool {
        self.iter().any(|certificate| certificate.is_for(host))
    }

    /// TLS with these certificates, for [`Listener::with_tls`](crate::Listener::with_tls).
    #[must_use]
    pub fn tls(&self) -> Tls {
        Tls::new(self.setup())
    }

    /// The setup of TLS with these certificates, for [`Tls::replace`].
    #[must_use]
    pub fn setup(&self) -> TlsSetup {
        self.setup_with(None)
    }

    /// The setup of TLS with these certificates and those of ACME challenges.
    pub(super) fn setup_with(&self, challenges: Option<Arc<AcmeChallenges>>) -> TlsSetup {
        let this = self.clone();
        // A self-signed certificate says little about the names of the server, and browsers ignore HSTS of a host whose
        // certificate they do not trust (RFC 6797, section 8.1).
        let has_names = self.default_certificate().is_of_authority() || challenges.is_some();
        let is_trusted = self.default_certificate().is_of_authority();
        TlsSetup {
            config: self.server_config(challenges),
            hosts: has_names.then(|| Arc::new(move |host: &str| this.is_for(host)) as _),
            hsts_secs: if is_trusted { self.hsts_secs } else { 0 },
        }
    }

    /// The same certificates with another default one.
    pub(super) fn with_default(&self, certificate: ServerCertificate) -> Self {
        let others = self.all.iter().skip(1).cloned();
        Self {
            all: std::iter::once(certificate).chain(others).collect(),
            ..self.clone()
        }
    }

    fn server_config(&self, challenges: Option<Arc<AcmeChallenges>>) -> ServerConfig {
        let versions = match self.min_version {
            TlsVersion::V1_2 => &[&TLS13, &TLS12][..],
            TlsVersion::V1_3 => &[&TLS13],
        };
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_protocol_versions(versions);
        let builder = builder.expect("ring supports both versions");
        let has_challenges = challenges.is_some();
        let resolver = Arc::new(ByName::new(&self.all, challenges));
        let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
        if has_challenges {
            config.alpn_protocols = vec![ACME_TLS_PROTOCOL.to_vec()];
        }
        // With a session ticket, a client resumes its TLS session without a new signature of the server. The ticket
        // holds the state, so the server keeps none.
        match ring::Ticketer::new() {
            Ok(ticketer) => config.ticketer = ticketer,
            Err(error) => tracing::warn!(%error, "TLS sessions cannot be resumed"),
        }
        config
    }
}

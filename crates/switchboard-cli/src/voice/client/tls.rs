//! Verification of server certificates, and the reasons of its failures.

use std::{
    error::Error,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, anyhow};
use hyper_rustls::ConfigBuilderExt as _;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};

/// The error for a system without root certificates.
pub(super) const NO_ROOTS: &str =
    "no root certificates to know the server by; name one with --ca FILE";

/// The certificates that are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Certificates of the authorities that this machine knows.
    System,
    /// Certificates of the authorities in this PEM file.
    File(PathBuf),
    /// Every certificate.
    Anyone,
}

impl Trust {
    /// The accepted certificates for the flags `--ca` and `--insecure`.
    pub(crate) fn from_flags(ca: Option<&Path>, insecure: bool) -> Self {
        match ca {
            Some(path) => Self::File(path.to_owned()),
            None if insecure => Self::Anyone,
            None => Self::System,
        }
    }

    /// The TLS configuration; `None` for the system's certificate authorities.
    pub(super) fn config(&self) -> anyhow::Result<Option<ClientConfig>> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .context("no TLS")?;
        Ok(match self {
            Self::System => None,
            Self::File(path) => Some(
                builder
                    .with_root_certificates(roots(path)?)
                    .with_no_client_auth(),
            ),
            Self::Anyone => Some(
                builder
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(AcceptAnyCertificate(provider)))
                    .with_no_client_auth(),
            ),
        })
    }

    /// The TLS configuration, including that for the system's certificate authorities.
    pub(crate) fn config_or_system(&self) -> anyhow::Result<ClientConfig> {
        if let Some(config) = self.config()? {
            return Ok(config);
        }
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("no TLS")?;
        let builder = builder.with_native_roots().context(NO_ROOTS)?;
        Ok(builder.with_no_client_auth())
    }
}

fn roots(path: &Path) -> anyhow::Result<RootCertStore> {
    let name = path.display();
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("--ca {name}"))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let added = roots.add(certificate);
        added.with_context(|| format!("--ca {name}"))?;
    }
    if roots.is_empty() {
        return Err(anyhow!(
            "--ca {name} holds no certificate in PEM (-----BEGIN CERTIFICATE-----)"
        ));
    }
    Ok(roots)
}

/// Accepts every certificate. The signatures of the handshake are still verified, so the peer holds the
/// certificate's key.
#[derive(Debug)]
struct AcceptAnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The reason of a TLS failure; `None` if the error has another cause.
pub(crate) fn failure(error: &(dyn Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(error_text(tls));
        }
        // `io::Error::source` skips the error that the I/O error wraps.
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

fn error_text(error: &rustls::Error) -> String {
    if let rustls::Error::InvalidMessage(_) = error {
        return "no TLS is spoken there; is its address http://…?".to_owned();
    }
    let rustls::Error::InvalidCertificate(error) = error else {
        return format!("TLS failed: {error}");
    };
    match certificate_error_text(error) {
        Some(error_text) => error_text.to_owned(),
        None => format!("its certificate is not good: {error}"),
    }
}

/// The error text for a rejected certificate, for reasons that the user can fix.
fn certificate_error_text(error: &CertificateError) -> Option<&'static str> {
    use CertificateError as Error;
    if matches!(error, Error::UnknownIssuer) {
        return Some(
            "its certificate is from an unknown issuer; if you know the issuer, name its certificate with --ca FILE",
        );
    }
    if matches!(error, Error::Expired | Error::ExpiredContext { .. }) {
        return Some("its certificate has expired");
    }
    if matches!(error, Error::NotValidYet | Error::NotValidYetContext { .. }) {
        return Some("its certificate is not valid yet; is the clock of this machine right?");
    }
    let is_for_other_name = matches!(
        error,
        Error::NotValidForName | Error::NotValidForNameContext { .. }
    );
    is_for_other_name.then_some("its certificate is for another host name")
}

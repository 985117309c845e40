//! The folder of the ACME account and the certificate. One folder may serve several authorities, such as the staging and
//! the production directory of Let's Encrypt.

use std::{
    fs,
    path::{Path, PathBuf},
};

use instant_acme::AccountCredentials;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use sha2::{Digest as _, Sha256};

use super::{AcmeConfig, AcmeError};
use crate::tls::{ServerCertificate, Storage, files, state};

/// The setting that errors of the certificate's file name.
const FOLDER: &str = "tls.acme.folder";

#[derive(Clone, Debug)]
pub(in crate::tls) struct AcmeStore {
    account: PathBuf,
    certificate: PathBuf,
}

impl AcmeStore {
    /// The folder of the settings, or the one in the state folder; `None` if no state folder is known.
    pub(in crate::tls) fn of(config: &AcmeConfig) -> Option<Self> {
        let folder = config.folder.clone();
        let folder = folder.or_else(|| Some(state::folder()?.join("acme")))?;
        let hash = Sha256::digest(config.directory.as_bytes());
        let authority = base16ct::lower::encode_string(&hash[..8]);
        Some(Self {
            account: folder.join(format!("account-{authority}.json")),
            certificate: folder.join(format!("certificate-{authority}.pem")),
        })
    }

    /// The stored certificate, even if it has expired: it is better than none. `None` if it is missing or unreadable.
    pub(in crate::tls) fn certificate(&self) -> Option<ServerCertificate> {
        let text = fs::read(&self.certificate).ok()?;
        let loaded = self.parse(&text);
        if loaded.is_none() {
            let file = self.certificate.display();
            tracing::warn!(%file, "stored ACME certificate is unreadable: a new one is requested");
        }
        loaded
    }

    /// Whether a certificate is one of this store.
    pub(super) fn is_of_acme(&self, certificate: &ServerCertificate) -> bool {
        matches!(certificate.storage(), Storage::Acme(_))
    }

    fn parse(&self, text: &[u8]) -> Option<ServerCertificate> {
        let chain = files::certificates(FOLDER, &self.certificate, text).ok()?;
        let key = files::private_key(FOLDER, &self.certificate, text).ok()?;
        let storage = Storage::Acme(self.certificate.clone());
        ServerCertificate::new(chain, key, storage).ok()
    }

    /// Stores a certificate chain and its key, both in PEM.
    pub(super) fn save_certificate(
        &self,
        chain: &str,
        key: &str,
    ) -> Result<ServerCertificate, AcmeError> {
        let text = format!("{chain}\n{key}");
        let certificate = self.parse(text.as_bytes()).ok_or(AcmeError::Unusable)?;
        write(&self.certificate, &text)?;
        Ok(certificate)
    }

    /// The stored account; `None` if it is missing or unreadable.
    pub(super) fn account(&self) -> Option<AccountCredentials> {
        let text = fs::read(&self.account).ok()?;
        serde_json::from_slice(&text).ok()
    }

    pub(super) fn save_account(&self, credentials: &AccountCredentials) -> Result<(), AcmeError> {
        let text = serde_json::to_string(credentials).map_err(instant_acme::Error::from)?;
        write(&self.account, &text)
    }
}

fn write(file: &Path, text: &str) -> Result<(), AcmeError> {
    let written = state::write(file, text);
    written.map_err(|error| AcmeError::NotWritten(file.to_owned(), error))
}

/// A self-signed certificate for these names, which is used until the authority has given one.
pub(in crate::tls) fn temporary(config: &AcmeConfig) -> Result<ServerCertificate, rcgen::Error> {
    let key = KeyPair::generate()?;
    let params = CertificateParams::new(config.domains.clone())?;
    let chain = vec![params.self_signed(&key)?.der().clone()];
    let key = PrivateKeyDer::try_from(key.serialize_der());
    let key = key.map_err(|_| rcgen::Error::CouldNotParseKeyPair)?;
    let made = ServerCertificate::new(chain, key, Storage::Temporary);
    made.map_err(|_| rcgen::Error::CouldNotParseCertificate)
}

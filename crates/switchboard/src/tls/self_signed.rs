//! A self-signed certificate, stored in a file so that browsers warn about it only once.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, SanType,
};
use rustls::pki_types::PrivateKeyDer;

use super::{CertificateError, Problem, ServerCertificate, Storage, TlsConfig, files, state};
use crate::network;

const FILE: &str = "tls.self_signed_file";

/// Validity of a new certificate. Apple's systems accept at most 825 days, even for a certificate that the user
/// trusts.
const VALID: Duration = Duration::from_hours(24 * 820);

/// The validity of a new certificate starts this long before now, because the clock of a client may be behind.
const CLOCK_TOLERANCE: Duration = Duration::from_hours(24);

/// A certificate with fewer days left is replaced when the server starts: it could expire before the next start.
const DAYS_LEFT_MIN: i64 = 30;

/// The file of a self-signed certificate.
pub(super) struct SelfSigned {
    /// The path; `None` if no state folder is known.
    file: Option<PathBuf>,
    /// Whether `tls.self_signed_file` names the file.
    is_given: bool,
}

impl SelfSigned {
    pub(super) fn of(tls: &TlsConfig) -> Self {
        let given = tls.self_signed_file.clone();
        Self {
            is_given: given.is_some(),
            file: given.or_else(|| Some(state::folder()?.join("self-signed.pem"))),
        }
    }

    /// Loads the certificate; `None` if the file is missing or its certificate expires soon.
    pub(super) fn load(&self) -> Result<Option<ServerCertificate>, CertificateError> {
        let Some(file) = self.file.as_deref().filter(|file| file.exists()) else {
            return Ok(None);
        };
        let text = files::read(FILE, file)?;
        let loaded = parse(file, &text)
            .ok_or_else(|| CertificateError::new(FILE, file, Problem::NotSelfSigned))?;
        Ok(Some(loaded).filter(|loaded| loaded.days_left() >= DAYS_LEFT_MIN))
    }

    /// Loads the certificate, or makes a new one and stores it. If the file in the state folder cannot be written, the
    /// new certificate is used without being stored.
    pub(super) fn load_or_make(&self) -> Result<ServerCertificate, CertificateError> {
        if let Some(loaded) = self.load()? {
            return Ok(loaded);
        }
        let (mut made, text) = make().map_err(|error| {
            let file = self.file.as_deref().unwrap_or("".as_ref());
            CertificateError::new(FILE, file, Problem::NotMade(error))
        })?;
        made.storage = match &self.file {
            None => Storage::Memory("HOME is not set".to_owned()),
            Some(file) => match state::write(file, &text) {
                Ok(()) => Storage::SelfSigned(file.clone()),
                Err(error) if self.is_given => {
                    return Err(CertificateError::new(
                        FILE,
                        file,
                        Problem::NotWritten(error),
                    ));
                }
                Err(error) => Storage::Memory(format!("{}: {error}", file.display())),
            },
        };
        Ok(made)
    }
}

/// The certificate and the key in the text of a file; `None` if one of them is missing.
fn parse(file: &Path, text: &[u8]) -> Option<ServerCertificate> {
    let chain = files::certificates(FILE, file, text).ok()?;
    let key = files::private_key(FILE, file, text).ok()?;
    ServerCertificate::new(chain, key, Storage::SelfSigned(file.to_owned())).ok()
}

/// Makes a certificate for the names and addresses of this machine. Also returns the PEM text of its file.
fn make() -> Result<(ServerCertificate, String), rcgen::Error> {
    let key = KeyPair::generate()?;
    let certificate = params()?.self_signed(&key)?;
    let private = PrivateKeyDer::try_from(key.serialize_der());
    let private = private.map_err(|_| rcgen::Error::CouldNotParseKeyPair)?;
    let chain = vec![certificate.der().clone()];
    let text = certificate.pem() + &key.serialize_pem();
    let storage = Storage::Memory(String::new());
    let made = ServerCertificate::new(chain, private, storage);
    let made = made.map_err(|_| rcgen::Error::CouldNotParseCertificate)?;
    Ok((made, text))
}

fn params() -> Result<CertificateParams, rcgen::Error> {
    let mut names = vec!["localhost".to_owned()];
    names.extend(network::host_names());
    let mut params = CertificateParams::new(names)?;
    let loopback = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let addresses = loopback.into_iter().chain(network::addresses());
    params
        .subject_alt_names
        .extend(addresses.map(SanType::IpAddress));
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "Switchboard (self-signed)");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let now = SystemTime::now();
    params.not_before = (now - CLOCK_TOLERANCE).into();
    params.not_after = (now + VALID).into();
    Ok(params)
}

//! Reads a certificate chain and its private key from PEM files.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
};

use rustls::{
    Error, InconsistentKeys,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _},
    sign::CertifiedKey,
};

use super::{CertificateError, Problem, ServerCertificate, Storage, Unusable};

/// Maximum bytes of a file. A certificate chain has a few thousand.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Loads the certificate from these files. `settings` are the settings that name the files.
pub(super) fn load(
    settings: [&'static str; 2],
    cert: &Path,
    key: &Path,
) -> Result<ServerCertificate, CertificateError> {
    let [of_cert, of_key] = settings;
    let chain = certificates(of_cert, cert, &read(of_cert, cert)?)?;
    let private = private_key(of_key, key, &read(of_key, key)?)?;
    let loaded = ServerCertificate::new(chain.clone(), private.clone_key(), Storage::Given);
    let certificate = loaded.map_err(|unusable| match unusable {
        Unusable::Unreadable => CertificateError::new(of_cert, cert, Problem::BadCertificate),
        Unusable::Rejected(error) => rejection(error, settings, [cert, key], &chain, &private),
    })?;
    if certificate.days_left() < 0 {
        let problem = Problem::Expired(certificate.valid_until());
        return Err(CertificateError::new(of_cert, cert, problem));
    }
    Ok(certificate)
}

/// Reads the bytes of a file. Only regular files are accepted: a pipe may never end, and cannot be read again when the
/// certificate is reloaded.
pub(super) fn read(setting: &'static str, file: &Path) -> Result<Vec<u8>, CertificateError> {
    let error = |problem| CertificateError::new(setting, file, problem);
    let failure = |failed: io::Error| {
        error(if failed.kind() == io::ErrorKind::NotFound {
            Problem::Missing
        } else if failed.kind() == io::ErrorKind::PermissionDenied {
            Problem::NotPermitted
        } else {
            Problem::NotRead(failed)
        })
    };
    if !fs::metadata(file).map_err(failure)?.is_file() {
        return Err(error(Problem::NotAFile));
    }
    let opened = File::open(file).map_err(failure)?;
    let mut bytes = Vec::new();
    // The bytes are counted, because the length in the metadata may be outdated, and some file systems give none.
    let mut bounded = opened.take(FILE_BYTES_MAX + 1);
    bounded.read_to_end(&mut bytes).map_err(failure)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let max = FILE_BYTES_MAX;
        return Err(error(Problem::TooLarge { max }));
    }
    Ok(bytes)
}

/// The certificates in the text of a PEM file, at least one.
pub(super) fn certificates(
    setting: &'static str,
    file: &Path,
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let error = |problem| CertificateError::new(setting, file, problem);
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let chain = chain.map_err(|wrong| error(Problem::NotPem(wrong)))?;
    if chain.is_empty() {
        return Err(error(match text.first() {
            Some(0x30) => Problem::DerCertificate(file.to_owned()),
            Some(_) | None => Problem::NoCertificate,
        }));
    }
    Ok(chain)
}

/// The first private key in the text of a PEM file.
pub(super) fn private_key(
    setting: &'static str,
    file: &Path,
    text: &[u8],
) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let error = |problem| CertificateError::new(setting, file, problem);
    let has = |message: &[u8]| text.windows(message.len()).any(|window| window == message);
    // `Proc-Type: 4,ENCRYPTED` in older files.
    if has(b"BEGIN ENCRYPTED PRIVATE KEY") || has(b",ENCRYPTED") {
        return Err(error(Problem::EncryptedKey(file.to_owned())));
    }
    PrivateKeyDer::from_pem_slice(text).map_err(|wrong| {
        error(match (wrong, text.first()) {
            (pem::Error::NoItemsFound, Some(0x30)) => Problem::DerKey(file.to_owned()),
            (pem::Error::NoItemsFound, _) => Problem::NoKey,
            (wrong, _) => Problem::NotPem(wrong),
        })
    })
}

/// The error for a certificate and a key that TLS rejects. It names the file that is wrong. `settings` are the settings of
/// the certificate and the key.
fn rejection(
    error: Error,
    settings: [&'static str; 2],
    files: [&Path; 2],
    chain: &[CertificateDer<'static>],
    private: &PrivateKeyDer<'static>,
) -> CertificateError {
    let of_cert = |problem| CertificateError::new(settings[0], files[0], problem);
    let of_key = |problem| CertificateError::new(settings[1], files[1], problem);
    if ring::sign::any_supported_type(private).is_err() {
        return of_key(Problem::UnsupportedKey);
    }
    if error != Error::InconsistentKeys(InconsistentKeys::KeyMismatch) {
        return of_cert(Problem::Rejected(error));
    }
    let provider = ring::default_provider();
    let matches_key = |certificate: &CertificateDer<'static>| {
        let one = vec![certificate.clone()];
        CertifiedKey::from_der(one, private.clone_key(), &provider).is_ok()
    };
    if chain.iter().any(matches_key) {
        return of_cert(Problem::WrongOrder);
    }
    of_key(Problem::OtherKey(files[0].to_owned()))
}

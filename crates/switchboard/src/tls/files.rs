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

use super::{CertificateError, ServerCertificate, Storage, Unusable};

const CERT: &str = "tls.cert";
const KEY: &str = "tls.key";

/// Maximum bytes of a file. A certificate chain has some thousand.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Loads the certificate from these files.
pub(super) fn load(cert: &Path, key: &Path) -> Result<ServerCertificate, CertificateError> {
    let chain = certificates(CERT, cert, &read(CERT, cert)?)?;
    let private = private_key(KEY, key, &read(KEY, key)?)?;
    let loaded = ServerCertificate::new(chain.clone(), private.clone_key(), Storage::Given);
    let certificate = loaded.map_err(|unusable| match unusable {
        Unusable::Unreadable => CertificateError::new(
            CERT,
            cert,
            "holds a certificate that cannot be read; get it from its issuer again",
        ),
        Unusable::Rejected(error) => rejection(&error, cert, &chain, key, &private),
    })?;
    if certificate.days_left() < 0 {
        let message = format!(
            "ended on {}; renew the certificate",
            certificate.valid_until()
        );
        return Err(CertificateError::new(CERT, cert, message));
    }
    Ok(certificate)
}

/// Reads the bytes of a file. Only regular files are accepted: a pipe may never end, and cannot be read again.
pub(super) fn read(setting: &'static str, file: &Path) -> Result<Vec<u8>, CertificateError> {
    let error = |message: String| CertificateError::new(setting, file, message);
    let failure = |failed: io::Error| {
        error(if failed.kind() == io::ErrorKind::NotFound {
            "is missing; name a PEM file that is there".to_owned()
        } else if failed.kind() == io::ErrorKind::PermissionDenied {
            "cannot be read by the user of this server; change its owner or its mode".to_owned()
        } else {
            format!("cannot be read: {failed}")
        })
    };
    if !fs::metadata(file).map_err(failure)?.is_file() {
        return Err(error("is not a file; name a PEM file".to_owned()));
    }
    let opened = File::open(file).map_err(failure)?;
    let mut bytes = Vec::new();
    // The length in the metadata may be outdated, and some file systems give none.
    let mut bounded = opened.take(FILE_BYTES_MAX + 1);
    bounded.read_to_end(&mut bytes).map_err(failure)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(error(format!(
            "has more than {FILE_BYTES_MAX} bytes; it must be a PEM file"
        )));
    }
    Ok(bytes)
}

/// The certificates in the text of a PEM file, at least one.
pub(super) fn certificates(
    setting: &'static str,
    file: &Path,
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let error = |message: String| CertificateError::new(setting, file, message);
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let chain = chain.map_err(|wrong| error(format!("is not sound PEM: {wrong}")))?;
    if chain.is_empty() {
        let shown = file.display();
        return Err(error(match text.first() {
            Some(0x30) => format!(
                "is DER; make PEM of it with `openssl x509 -inform der -in {shown} -out cert.pem`"
            ),
            Some(_) | None => {
                "holds no certificate (-----BEGIN CERTIFICATE-----); name the file of the certificate chain in PEM".to_owned()
            }
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
    let error = |message: String| CertificateError::new(setting, file, message);
    let has = |message: &[u8]| text.windows(message.len()).any(|window| window == message);
    let shown = file.display();
    // `Proc-Type: 4,ENCRYPTED` in older files.
    if has(b"BEGIN ENCRYPTED PRIVATE KEY") || has(b",ENCRYPTED") {
        return Err(error(format!(
            "is encrypted, and the server cannot ask for its password; decrypt it with `openssl pkey -in {shown} -out key.pem`"
        )));
    }
    PrivateKeyDer::from_pem_slice(text).map_err(|wrong| match (wrong, text.first()) {
        (pem::Error::NoItemsFound, Some(0x30)) => error(format!(
            "is DER; make PEM of it with `openssl pkey -inform der -in {shown} -out key.pem`"
        )),
        (pem::Error::NoItemsFound, _) => error(
            "holds no private key (-----BEGIN PRIVATE KEY-----); name the file of the key in PEM"
                .to_owned(),
        ),
        (wrong, _) => error(format!("is not sound PEM: {wrong}")),
    })
}

/// The error for a certificate and a key that TLS rejects. It names the file that is wrong.
fn rejection(
    error: &Error,
    cert: &Path,
    chain: &[CertificateDer<'static>],
    key: &Path,
    private: &PrivateKeyDer<'static>,
) -> CertificateError {
    let of_key = |message: String| CertificateError::new(KEY, key, message);
    if ring::sign::any_supported_type(private).is_err() {
        return of_key(
            "is a key that TLS cannot use; make one of P-256, P-384, Ed25519, or RSA with 2048 bits or more"
                .to_owned(),
        );
    }
    if *error != Error::InconsistentKeys(InconsistentKeys::KeyMismatch) {
        return CertificateError::new(CERT, cert, format!("cannot be used: {error}"));
    }
    let provider = ring::default_provider();
    let matches_key = |certificate: &CertificateDer<'static>| {
        let one = vec![certificate.clone()];
        CertifiedKey::from_der(one, private.clone_key(), &provider).is_ok()
    };
    if chain.iter().any(matches_key) {
        let message =
            "has the certificate of the key behind another one; put the server's certificate first";
        return CertificateError::new(CERT, cert, message);
    }
    of_key(format!(
        "is not the key of the certificate in {:?}; name the key that the certificate was made with",
        cert.display().to_string()
    ))
}

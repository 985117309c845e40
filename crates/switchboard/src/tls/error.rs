//! Errors of certificate and key files.

use std::{
    error::Error,
    fmt, io,
    path::{Path, PathBuf},
};

use rustls::pki_types::pem;

/// A certificate or key file that cannot be used. The text begins with the file, and ends with the next step or the
/// problem. [`Error::source`] is the cause, if there is one.
#[derive(Debug)]
pub struct CertificateError {
    setting: &'static str,
    file: PathBuf,
    problem: Problem,
}

impl CertificateError {
    pub(super) fn new(setting: &'static str, file: &Path, problem: Problem) -> Self {
        Self {
            setting,
            file: file.to_owned(),
            problem,
        }
    }

    /// The error of a temporary certificate for an ACME server.
    pub(super) fn not_made(error: rcgen::Error) -> Self {
        Self::new(
            "tls.acme.domains",
            "certificate".as_ref(),
            Problem::NotMade(error),
        )
    }

    /// The error of ACME without a folder.
    pub(super) fn no_folder() -> Self {
        Self::new("tls.acme.folder", "".as_ref(), Problem::NoFolder)
    }

    /// The setting that names the file.
    #[must_use]
    pub fn setting(&self) -> &'static str {
        self.setting
    }
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.file.display().to_string(), self.problem)
    }
}

impl Error for CertificateError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.problem.source()
    }
}

/// The problem of a file; its text continues the name of the file.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error("is missing; name a PEM file that is there")]
    Missing,
    #[error("cannot be read by the user of this server; change its owner or its mode")]
    NotPermitted,
    #[error("cannot be read")]
    NotRead(#[source] io::Error),
    #[error("is not a file; name a PEM file")]
    NotAFile,
    #[error("has more than {max} bytes; it must be a PEM file")]
    TooLarge { max: u64 },
    #[error("is not sound PEM")]
    NotPem(#[source] pem::Error),
    #[error("is DER; make PEM of it with `openssl x509 -inform der -in {} -out cert.pem`", .0.display())]
    DerCertificate(PathBuf),
    #[error(
        "holds no certificate (-----BEGIN CERTIFICATE-----); name the file of the certificate chain in PEM"
    )]
    NoCertificate,
    #[error("is encrypted, and the server cannot ask for its password; decrypt it with `openssl pkey -in {} -out key.pem`", .0.display())]
    EncryptedKey(PathBuf),
    #[error("is DER; make PEM of it with `openssl pkey -inform der -in {} -out key.pem`", .0.display())]
    DerKey(PathBuf),
    #[error("holds no private key (-----BEGIN PRIVATE KEY-----); name the file of the key in PEM")]
    NoKey,
    #[error("holds a certificate that cannot be read; get it from its issuer again")]
    BadCertificate,
    #[error("ended on {0}; renew the certificate")]
    Expired(String),
    #[error(
        "is a key that TLS cannot use; make one of P-256, P-384, Ed25519, or RSA with 2048 bits or more"
    )]
    UnsupportedKey,
    #[error("cannot be used")]
    Rejected(#[source] rustls::Error),
    #[error(
        "has the certificate of the key behind another one; put the server's certificate first"
    )]
    WrongOrder,
    #[error("is not the key of the certificate in {:?}; name the key that the certificate was made with", .0.display().to_string())]
    OtherKey(PathBuf),
    #[error("does not hold a certificate and its key; remove it for a new one")]
    NotSelfSigned,
    #[error("cannot be made")]
    NotMade(#[source] rcgen::Error),
    #[error(
        "is no folder, and neither STATE_DIRECTORY nor HOME is set; name a folder that the server may write to"
    )]
    NoFolder,
    #[error("cannot be written; name another file")]
    NotWritten(#[source] io::Error),
}

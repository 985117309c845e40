//! Errors of a request for a certificate.

use std::{io, path::PathBuf};

use thiserror::Error;

/// The reason why no certificate was obtained.
#[derive(Debug, Error)]
pub(super) enum AcmeError {
    #[error("the ACME server cannot be used")]
    Server(#[from] instant_acme::Error),
    #[error("the ACME server did not verify {domain}: {detail}")]
    NotVerified { domain: String, detail: String },
    #[error("the ACME server offers no {kind} challenge for {domain}")]
    NoChallenge { domain: String, kind: &'static str },
    #[error("the attempt took too long")]
    AttemptTimedOut,
    #[error("the key cannot be made")]
    Key(#[from] rcgen::Error),
    #[error("the ACME server sent a certificate that cannot be used")]
    Unusable,
    #[error("{:?} cannot be written; make the folder writable, or set tls.acme.folder", .0.display().to_string())]
    NotWritten(PathBuf, #[source] io::Error),
    #[error("{:?} holds no root certificates in PEM; correct tls.acme.directory_ca", .0.display().to_string())]
    NoRoots(PathBuf),
}

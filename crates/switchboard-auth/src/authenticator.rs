//! Authenticators, and the chain that asks them in order.

use std::{fmt, sync::Arc};

use futures_util::future::BoxFuture;
use thiserror::Error;

use crate::{Credentials, Principal};

/// The reason why a client is not authenticated.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AuthError {
    /// The request has no credential, and anonymous clients are not allowed.
    #[error("an access token is required")]
    Missing,
    /// The credential is not valid. The text says why, and reveals nothing that helps to guess one.
    #[error("the access token is not valid: {0}")]
    Invalid(&'static str),
    /// The credential has expired.
    #[error("the access token has expired")]
    Expired,
    /// A service of the operator refuses the client, with or without a text for it.
    #[error("access denied")]
    Denied(Option<Arc<str>>),
    /// The credential cannot be checked at the moment.
    #[error("the access token cannot be checked at the moment; try again later")]
    Unavailable,
}

impl AuthError {
    /// Whether the client has presented a credential that is wrong: such attempts are delayed. `credentials` are those
    /// that the error is about.
    #[must_use]
    pub fn is_wrong_credential(&self, credentials: &Credentials) -> bool {
        match self {
            Self::Invalid(_) => true,
            // A web service may refuse a client without a token, which has guessed nothing.
            Self::Denied(_) => credentials.token.is_some(),
            Self::Missing | Self::Expired | Self::Unavailable => false,
        }
    }
}

/// The decision of one authenticator.
#[derive(Clone, Debug)]
pub enum AuthDecision {
    /// The authenticator does not know the credential; the next one is asked.
    NotMine,
    /// The client is admitted.
    Admit(Principal),
    /// The client is refused.
    Deny(AuthError),
}

/// The future of a decision.
pub type AuthFuture<'a> = BoxFuture<'a, AuthDecision>;

/// One way to authenticate clients.
pub trait Authenticator: fmt::Debug + Send + Sync {
    /// Decides about a client. `unix_secs` is the current time in seconds since 1970.
    fn authenticate<'a>(&'a self, credentials: &'a Credentials, unix_secs: u64) -> AuthFuture<'a>;

    /// Begins to fetch in the background what the first client needs. The server calls it at its start.
    fn prepare(&self, _unix_secs: u64) {}
}

/// The configured authenticators in order. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AuthenticatorChain(Arc<[Arc<dyn Authenticator>]>);

impl AuthenticatorChain {
    /// A chain of these authenticators.
    #[must_use]
    pub fn new(authenticators: Vec<Arc<dyn Authenticator>>) -> Self {
        Self(authenticators.into())
    }

    /// Begins to fetch in the background what the authenticators need.
    pub fn prepare(&self, unix_secs: u64) {
        for authenticator in &*self.0 {
            authenticator.prepare(unix_secs);
        }
    }

    /// Asks the authenticators in order, until one decides.
    ///
    /// # Errors
    /// The refusal of the first authenticator that decides. If none does: `Missing` without a credential, else
    /// `Invalid`.
    pub async fn authenticate(
        &self,
        credentials: &Credentials,
        unix_secs: u64,
    ) -> Result<Principal, AuthError> {
        for authenticator in &*self.0 {
            match authenticator.authenticate(credentials, unix_secs).await {
                AuthDecision::NotMine => {}
                AuthDecision::Admit(principal) => return Self::unexpired(principal, unix_secs),
                AuthDecision::Deny(error) => return Err(error),
            }
        }
        Err(match credentials.token {
            None => AuthError::Missing,
            Some(_) => AuthError::Invalid("unknown key or issuer"),
        })
    }

    fn unexpired(principal: Principal, unix_secs: u64) -> Result<Principal, AuthError> {
        match principal.expires_at {
            Some(at) if at <= unix_secs => Err(AuthError::Expired),
            Some(_) | None => Ok(principal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denial_without_a_token_is_no_wrong_credential() {
        let mut credentials = Credentials::default();
        let denied = AuthError::Denied(None);
        assert!(!denied.is_wrong_credential(&credentials));
        credentials.add_of_dialect("guess").expect("short");
        assert!(denied.is_wrong_credential(&credentials));
        assert!(!AuthError::Expired.is_wrong_credential(&credentials));
    }
}

//! Authentication: an [`Authenticator`] turns the [`Credentials`] of a request into a [`Principal`], which the session
//! of the client belongs to.
//!
//! An [`AuthenticatorChain`] asks the configured authenticators in order. An authenticator that does not know a
//! credential leaves it to the next one. The grants of the principal are checked by
//! [`Peer::authorize`](switchboard_core::Peer::authorize) and by the handlers of HTTP requests.
#![warn(missing_docs)]

mod anonymous;
mod authenticator;
mod config;
mod credentials;
mod gostream;
mod http;
mod jwks;
mod jwt;
mod principal;
mod static_keys;
pub mod webhook;

pub use authenticator::{AuthDecision, AuthError, AuthFuture, Authenticator, AuthenticatorChain};
pub use config::{AccessConfig, AuthServices, AuthenticatorKind, StaticKey};
pub use credentials::{
    AccessToken, CredentialError, CredentialPlace, Credentials, TOKEN_BYTES_MAX, TOKEN_SUBPROTOCOL,
};
pub use http::{FetchError, FetchRequest, FetchResponse, FetchResult, HttpFetch};
pub use jwt::{
    JwtAlgorithm, JwtConfig, JwtSecret, KeyError, KeySet, SECRET_BYTES_MIN, SigningKey, TokenHeader,
};
pub use principal::Principal;

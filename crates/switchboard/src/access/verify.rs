//! Verifies a token without a server.

use std::sync::Arc;

use switchboard_auth::{AccessConfig, AuthError, AuthServices, Credentials, Principal};

use crate::{app_state::unix_secs, http_fetch::HttpFetcher};

/// Verifies a token with the authenticators of these settings, as the server does. It needs a Tokio runtime.
///
/// # Errors
/// The reason why a client with this token is not admitted. A webhook is not asked: if it comes before the authenticator
/// of the token, the reason is `Unavailable`.
pub async fn verify_token(config: &AccessConfig, text: &str) -> Result<Principal, AuthError> {
    let services = AuthServices {
        http: Arc::new(HttpFetcher::default()),
        webhook: None,
    };
    let mut credentials = Credentials::default();
    let added = credentials.add_of_dialect(text);
    added.map_err(|_| AuthError::Invalid("it has more than 8192 bytes"))?;
    let chain = config.chain(&services);
    chain.authenticate(&credentials, unix_secs()).await
}

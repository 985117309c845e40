//! The authenticator `jwt`: JSON Web Tokens (RFC 7519) that an issuer of the operator has signed.
//!
//! The signatures are verified by `ring`, which the TLS of the server uses too. A key is bound to one algorithm, so the
//! header of a token selects among keys and never changes how a key is used (RFC 8725, section 3.1).

use std::sync::Arc;

use http::Uri;
use switchboard_core::Grants;

use crate::{
    AuthDecision, AuthError, AuthFuture, Authenticator, Credentials, HttpFetch, Principal,
    jwks::RemoteKeys,
};

mod algorithm;
mod claims;
mod keys;
mod signing;
#[cfg(test)]
mod tests;
mod token;

pub use algorithm::JwtAlgorithm;
pub(crate) use keys::VerificationKey;
pub use keys::{KeyError, KeySet, SECRET_BYTES_MIN};
pub use signing::{JwtSecret, SigningKey};
use token::SignedToken;
pub use token::TokenHeader;

/// The leeway of `exp` and `nbf` by default, in seconds.
const LEEWAY_SECS: u64 = 30;

/// The settings of the authenticator `jwt`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JwtConfig {
    /// The algorithms that are allowed; empty for those of the keys.
    pub algorithms: Vec<JwtAlgorithm>,
    /// The HMAC secret.
    pub secret: Option<JwtSecret>,
    /// The file of public keys, and its keys as they were when the settings were read.
    pub keys_file: Option<(String, KeySet)>,
    /// The URL of a JSON Web Key Set.
    pub jwks_url: Option<Uri>,
    /// The issuer of the tokens; empty for any.
    pub issuer: String,
    /// The audiences of this server. A token with an audience must name one of them; with an empty list, it must have
    /// none.
    pub audience: Vec<String>,
    /// Seconds that the clocks of the issuer and of the server may differ.
    pub leeway: u64,
    /// The grants of a token without the claim `grants`.
    pub default_grants: Arc<Grants>,
}

impl Default for JwtConfig {
    fn default() -> Self {
        Self {
            algorithms: Vec::new(),
            secret: None,
            keys_file: None,
            jwks_url: None,
            issuer: String::new(),
            audience: Vec::new(),
            leeway: LEEWAY_SECS,
            default_grants: Arc::new(Grants::default()),
        }
    }
}

impl JwtConfig {
    /// The algorithms that the keys can have. Those at a URL are always asymmetric.
    #[must_use]
    pub fn possible_algorithms(&self) -> Vec<JwtAlgorithm> {
        match (self.fixed_keys(), &self.jwks_url) {
            (Some(keys), _) => keys.algorithms(),
            (None, Some(_)) => vec![
                JwtAlgorithm::Rs256,
                JwtAlgorithm::Es256,
                JwtAlgorithm::EdDsa,
            ],
            (None, None) => Vec::new(),
        }
    }

    /// The keys that the settings have themselves.
    fn fixed_keys(&self) -> Option<KeySet> {
        let secret = self.secret.as_ref();
        let of_secret = secret.and_then(|secret| secret.keys().ok());
        of_secret.or_else(|| Some(self.keys_file.as_ref()?.1.clone()))
    }

    fn allowed_algorithms(&self) -> Vec<JwtAlgorithm> {
        match self.algorithms.is_empty() {
            true => self.possible_algorithms(),
            false => self.algorithms.clone(),
        }
    }
}

/// Admits the clients that present a valid token of the issuer.
#[derive(Debug)]
pub(crate) struct JwtAuthenticator {
    config: JwtConfig,
    algorithms: Vec<JwtAlgorithm>,
    keys: KeySource,
}

/// The keys that verify tokens.
#[derive(Debug)]
enum KeySource {
    Fixed(KeySet),
    Remote(Arc<RemoteKeys>),
    /// The settings have none: no token is valid.
    None,
}

impl JwtAuthenticator {
    pub(crate) fn new(config: &JwtConfig, fetch: &Arc<dyn HttpFetch>) -> Self {
        let keys = match (config.fixed_keys(), &config.jwks_url) {
            (Some(keys), _) => KeySource::Fixed(keys),
            (None, Some(url)) => {
                let (url, issuer, fetch) = (url.clone(), config.issuer.clone(), fetch.clone());
                KeySource::Remote(RemoteKeys::new(url, issuer, fetch))
            }
            (None, None) => KeySource::None,
        };
        Self {
            algorithms: config.allowed_algorithms(),
            config: config.clone(),
            keys,
        }
    }

    async fn decide(&self, text: &str, now: u64) -> AuthDecision {
        let token = match SignedToken::parse(text) {
            None => return AuthDecision::NotMine,
            Some(Err(error)) => return AuthDecision::Deny(error),
            Some(Ok(token)) => token,
        };
        if token.claims.is_of_other_issuer(&self.config.issuer) {
            return AuthDecision::NotMine;
        }
        let issuer = log_text(token.claims.issuer_text()).to_owned();
        let key_id = log_text(token.key_id_text()).to_owned();
        match self.principal(token, now).await {
            Ok(principal) => AuthDecision::Admit(principal),
            Err(error) => {
                let text = error.to_string();
                tracing::debug!(issuer, key_id, error = text, "token refused");
                AuthDecision::Deny(error)
            }
        }
    }

    async fn principal(&self, token: SignedToken<'_>, now: u64) -> Result<Principal, AuthError> {
        let (algorithm, id) = token.checked_header(&self.algorithms)?;
        let keys = self.keys.find(id, algorithm, now).await?;
        let is_signed = |key: &Arc<VerificationKey>| key.verifies(token.message, &token.signature);
        if !keys.iter().any(is_signed) {
            return Err(AuthError::Invalid("its signature is wrong"));
        }
        token.claims.principal(&self.config, now)
    }
}

impl KeySource {
    /// The keys that may have signed a token with this key ID and algorithm: at least one.
    async fn find(
        &self,
        id: Option<&str>,
        algorithm: JwtAlgorithm,
        now: u64,
    ) -> Result<Vec<Arc<VerificationKey>>, AuthError> {
        let keys = match self {
            Self::Fixed(keys) => keys.candidates(id, algorithm),
            Self::Remote(keys) => return keys.find(id, algorithm, now).await,
            Self::None => Vec::new(),
        };
        match keys.is_empty() {
            true => Err(UNKNOWN_KEY),
            false => Ok(keys),
        }
    }
}

/// The refusal of a token that no key can have signed.
pub(crate) const UNKNOWN_KEY: AuthError = AuthError::Invalid("its key (kid) is unknown");

impl Authenticator for JwtAuthenticator {
    fn authenticate<'a>(&'a self, credentials: &'a Credentials, unix_secs: u64) -> AuthFuture<'a> {
        Box::pin(async move {
            match &credentials.token {
                Some(token) => self.decide(&token.text, unix_secs).await,
                None => AuthDecision::NotMine,
            }
        })
    }

    fn prepare(&self, unix_secs: u64) {
        if let KeySource::Remote(keys) = &self.keys {
            keys.prepare(unix_secs);
        }
    }
}

/// The longest text of a token in a log line, in bytes.
const LOG_BYTES_MAX: usize = 128;

/// The beginning of a text of a token, for a field of a log line, which escapes control characters.
fn log_text(text: &str) -> &str {
    &text[..text.floor_char_boundary(LOG_BYTES_MAX)]
}

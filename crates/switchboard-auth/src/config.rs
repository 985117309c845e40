//! The settings of access control.

use std::{fmt, sync::Arc};

use futures_util::future::ready;
use switchboard_core::{DuplicateIdentity, Grants, SpaceName};

use crate::{
    AuthDecision, AuthError, AuthFuture, Authenticator, AuthenticatorChain, Credentials, HttpFetch,
    JwtConfig, Principal, anonymous::Anonymous, gostream::GostreamUsers, jwt::JwtAuthenticator,
    static_keys::StaticKeys, webhook::AccessWebhook,
};

/// A kind of authenticator, by its name in `access.authenticators`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthenticatorKind {
    /// Clients without a credential are admitted with `access.anonymous_grants`.
    None,
    /// The keys of `access.keys`.
    Keys,
    /// Voice requests, whose users voice itself authenticates (`gostream.identity`).
    Gostream,
    /// JSON Web Tokens, by the settings of `access.jwt`.
    Jwt,
    /// The web service of `access.webhook`.
    Webhook,
}

impl AuthenticatorKind {
    /// All kinds of authenticators.
    pub const ALL: [Self; 5] = [
        Self::None,
        Self::Keys,
        Self::Jwt,
        Self::Webhook,
        Self::Gostream,
    ];

    /// The name in the settings.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Keys => "keys",
            Self::Gostream => "gostream",
            Self::Jwt => "jwt",
            Self::Webhook => "webhook",
        }
    }
}

/// A fixed key, and the principal of the clients that present it.
#[derive(Clone)]
pub struct StaticKey {
    /// The secret text.
    pub key: String,
    /// The name of the principal; empty for an anonymous one.
    pub subject: String,
    /// The display name; empty for none.
    pub name: String,
    /// The namespace of the rooms.
    pub space: SpaceName,
    /// The grants.
    pub grants: Arc<Grants>,
}

impl fmt::Debug for StaticKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticKey")
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

impl StaticKey {
    pub(crate) fn principal(&self) -> Principal {
        let text = |text: &str| (!text.is_empty()).then(|| Arc::from(text));
        Principal {
            subject: text(&self.subject),
            display_name: text(&self.name),
            space: self.space.clone(),
            ..Principal::anonymous(self.grants.clone())
        }
    }
}

/// The settings of access control.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AccessConfig {
    /// The authenticators, in the order in which they are asked.
    pub authenticators: Vec<AuthenticatorKind>,
    /// The grants of clients without a credential.
    pub anonymous_grants: Arc<Grants>,
    /// The fixed keys.
    pub keys: Vec<StaticKey>,
    /// The issuer of JSON Web Tokens, and its keys.
    pub jwt: JwtConfig,
    /// The web service that decides about clients.
    pub webhook: AccessWebhook,
    /// The name of the cookie that carries a token; empty for none.
    pub cookie: String,
    /// The rule for a client that joins a room in which another session has its identity.
    pub duplicate_identity: DuplicateIdentity,
    /// The connections of one address that may wait for the access token in their first frame; 0: no limit.
    pub unauthenticated_per_address: usize,
    /// The origins whose pages may connect: exact, `https://*.example.org`, `null`, or `*`.
    pub allowed_origins: Vec<String>,
    /// The hosts under which the server may be reached; empty for all.
    pub allowed_hosts: Vec<String>,
}

impl Default for AccessConfig {
    fn default() -> Self {
        Self {
            authenticators: vec![AuthenticatorKind::None],
            anonymous_grants: Grants::participant(),
            keys: Vec::new(),
            jwt: JwtConfig::default(),
            webhook: AccessWebhook::default(),
            cookie: String::new(),
            duplicate_identity: DuplicateIdentity::Replace,
            unauthenticated_per_address: 64,
            allowed_origins: vec!["*".to_owned()],
            allowed_hosts: Vec::new(),
        }
    }
}

/// The parts of the server that authenticators use.
#[derive(Clone, Debug)]
pub struct AuthServices {
    /// Sends HTTP requests.
    pub http: Arc<dyn HttpFetch>,
    /// Asks the web service of [`AccessConfig::webhook`]; `None` if it has no URL.
    pub webhook: Option<Arc<dyn Authenticator>>,
}

/// Refuses every client.
#[derive(Debug)]
struct Closed;

impl Authenticator for Closed {
    fn authenticate<'a>(&'a self, _: &'a Credentials, _unix_secs: u64) -> AuthFuture<'a> {
        Box::pin(ready(AuthDecision::Deny(AuthError::Unavailable)))
    }
}

impl AccessConfig {
    /// Whether every client is admitted, with or without a credential.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.authenticators == [AuthenticatorKind::None]
    }

    /// The authenticators of these settings.
    #[must_use]
    pub fn chain(&self, services: &AuthServices) -> AuthenticatorChain {
        let kinds = self.authenticators.iter();
        let authenticators = kinds.map(|kind| self.authenticator(*kind, services));
        AuthenticatorChain::new(authenticators.collect())
    }

    fn authenticator(
        &self,
        kind: AuthenticatorKind,
        services: &AuthServices,
    ) -> Arc<dyn Authenticator> {
        match kind {
            AuthenticatorKind::None => Arc::new(Anonymous {
                grants: self.anonymous_grants.clone(),
                ignores_tokens: self.is_open(),
            }),
            AuthenticatorKind::Keys => Arc::new(StaticKeys::new(&self.keys)),
            AuthenticatorKind::Gostream => Arc::new(GostreamUsers::default()),
            AuthenticatorKind::Jwt => Arc::new(JwtAuthenticator::new(&self.jwt, &services.http)),
            // The settings are validated: with this kind there is a URL.
            AuthenticatorKind::Webhook => match &services.webhook {
                Some(webhook) => webhook.clone(),
                None => Arc::new(Closed),
            },
        }
    }
}

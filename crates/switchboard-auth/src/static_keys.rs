//! The authenticator `keys`: fixed keys from the settings.

use futures_util::future::ready;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::{AuthDecision, AuthFuture, Authenticator, Credentials, Principal, StaticKey};

type KeyDigest = [u8; 32];

/// Admits the clients that present one of the keys.
pub(crate) struct StaticKeys(Vec<(KeyDigest, Principal)>);

impl std::fmt::Debug for StaticKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("StaticKeys").field(&self.0.len()).finish()
    }
}

impl StaticKeys {
    pub(crate) fn new(keys: &[StaticKey]) -> Self {
        let keys = keys.iter();
        Self(
            keys.map(|key| (digest(&key.key), key.principal()))
                .collect(),
        )
    }

    /// The principal of a key. The digests are compared in constant time and all of them, so the time of a refusal
    /// says nothing about the keys.
    fn find(&self, text: &str) -> Option<&Principal> {
        let wanted = digest(text);
        let mut found = None;
        for (key, principal) in &self.0 {
            if bool::from(key.ct_eq(&wanted)) {
                found = Some(principal);
            }
        }
        found
    }
}

impl Authenticator for StaticKeys {
    fn authenticate<'a>(&'a self, credentials: &'a Credentials, _unix_secs: u64) -> AuthFuture<'a> {
        let token = credentials.token.as_ref();
        let principal = token.and_then(|token| self.find(&token.text));
        let decision = principal
            .cloned()
            .map_or(AuthDecision::NotMine, AuthDecision::Admit);
        Box::pin(ready(decision))
    }
}

fn digest(text: &str) -> KeyDigest {
    Sha256::digest(text.as_bytes()).into()
}

//! The authenticator `gostream`: it leaves voice requests to the keys or the website of voice.

use std::sync::Arc;

use futures_util::future::ready;
use switchboard_core::{Grant, Grants, Power, PowerSet, RoomPattern};

use crate::{AuthDecision, AuthFuture, Authenticator, Credentials, Principal};

/// The powers of a user of voice.
const POWERS: [Power; 4] = [
    Power::PublishAudio,
    Power::ListenAudio,
    Power::Call,
    Power::List,
];

/// Admits voice requests without a token. Voice authenticates their users by its own keys or website.
#[derive(Debug)]
pub(crate) struct GostreamUsers(Arc<Grants>);

impl Default for GostreamUsers {
    fn default() -> Self {
        let powers = POWERS.into_iter().map(PowerSet::of);
        let grant = Grant {
            powers: powers.fold(PowerSet::default(), PowerSet::union),
            rooms: RoomPattern::any(),
        };
        Self(Arc::new([grant].into_iter().collect()))
    }
}

impl Authenticator for GostreamUsers {
    fn authenticate<'a>(&'a self, credentials: &'a Credentials, _unix_secs: u64) -> AuthFuture<'a> {
        let is_mine = credentials.is_voice && credentials.token.is_none();
        let decision = match is_mine {
            true => AuthDecision::Admit(Principal::anonymous(self.0.clone())),
            false => AuthDecision::NotMine,
        };
        Box::pin(ready(decision))
    }
}

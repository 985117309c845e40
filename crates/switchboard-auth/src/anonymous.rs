//! The authenticator `none`: it admits clients without a credential.

use std::sync::Arc;

use futures_util::future::ready;
use switchboard_core::Grants;

use crate::{AuthDecision, AuthFuture, Authenticator, Credentials, Principal};

/// Admits every client without a credential. If it is the only authenticator, it also admits clients with one:
/// clients of the original servers send tokens that mean nothing here.
#[derive(Debug)]
pub(crate) struct Anonymous {
    pub(crate) grants: Arc<Grants>,
    pub(crate) ignores_tokens: bool,
}

impl Authenticator for Anonymous {
    fn authenticate<'a>(&'a self, credentials: &'a Credentials, _unix_secs: u64) -> AuthFuture<'a> {
        let is_mine = self.ignores_tokens || credentials.token.is_none();
        let decision = match is_mine {
            true => AuthDecision::Admit(Principal::anonymous(self.grants.clone())),
            false => AuthDecision::NotMine,
        };
        Box::pin(ready(decision))
    }
}

//! The orders of operators that every client is checked against: bans, and locks of rooms. The checks are where a client
//! connects and where it joins, in every dialect and in voice.

use std::{net::IpAddr, sync::Arc};

use switchboard_admin::{BanTable, BannedClient};
use switchboard_core::{PeerId, RoomId};
use switchboard_transport::SessionRegistry;

use crate::{app_state::unix_ms, room_locks::RoomLocks};

/// The text for a client that an operator refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct RefusedByOperator(pub(crate) String);

/// The bans and locks of this node.
#[derive(Debug, Default)]
pub(crate) struct OperatorRules {
    pub(crate) bans: Arc<BanTable>,
    pub(crate) locks: RoomLocks,
    sessions: Arc<SessionRegistry>,
}

impl OperatorRules {
    /// The rules for the clients of these sessions.
    pub(crate) fn new(sessions: Arc<SessionRegistry>) -> Self {
        Self {
            sessions,
            ..Self::default()
        }
    }

    /// Checks that a client may connect.
    pub(crate) fn check_connect(
        &self,
        identity: Option<&str>,
        address: Option<IpAddr>,
    ) -> Result<(), RefusedByOperator> {
        self.check_bans(BannedClient {
            identity,
            address,
            room: None,
        })
    }

    /// Checks that a client may join a room. `peer` is its session, if it has one.
    pub(crate) fn check_join(
        &self,
        identity: Option<&str>,
        peer: Option<PeerId>,
        room: &RoomId,
    ) -> Result<(), RefusedByOperator> {
        if self.locks.state(room) == Some(true) {
            return Err(RefusedByOperator("the room is locked".to_owned()));
        }
        if self.bans.is_empty() {
            return Ok(());
        }
        self.check_bans(BannedClient {
            identity,
            address: peer.and_then(|peer| self.sessions.client_of(peer)),
            room: Some(room),
        })
    }

    fn check_bans(&self, client: BannedClient<'_>) -> Result<(), RefusedByOperator> {
        match self.bans.find(client, unix_ms()) {
            None => Ok(()),
            Some(ban) => Err(RefusedByOperator(ban.reason.clone())),
        }
    }
}

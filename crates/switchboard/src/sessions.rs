//! The sessions as an API for the host program.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::SystemTime};

use switchboard_core::{Identity, PeerId, RoomId};
use switchboard_transport::{SessionRegistry, SessionStatus};

use crate::shards::Shards;

/// Lists the sessions of WebSocket clients on this node, and ends them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sessions {
    registry: Arc<SessionRegistry>,
    shards: Arc<Shards>,
}

/// One session.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionInfo {
    /// The id of the session. In rooms it is [`Member::peer`](crate::Member::peer).
    pub id: PeerId,
    /// The address of the client, if it is known.
    pub address: Option<IpAddr>,
    /// The name of the dialect; `undetected` until the first frame has shown it.
    pub dialect: &'static str,
    /// The identity from [`Admission::as_identity`](crate::Admission::as_identity), if the client has one.
    pub identity: Identity,
    /// The rooms that the session has joined, sorted.
    pub rooms: Vec<RoomId>,
    /// The time at which the session began.
    pub since: SystemTime,
    /// The bytes of events and frames that wait for the client.
    pub queued_bytes: usize,
}

impl Sessions {
    pub(crate) fn new(registry: Arc<SessionRegistry>, shards: Arc<Shards>) -> Self {
        Self { registry, shards }
    }

    /// The sessions on this node, sorted by id.
    #[must_use]
    pub fn list(&self) -> Vec<SessionInfo> {
        let sessions = self.registry.list();
        let mut rooms: HashMap<_, Vec<_>> = HashMap::new();
        for (peer, room) in self.shards.local_memberships() {
            rooms.entry(peer).or_default().push(room);
        }
        sessions
            .into_iter()
            .map(|session| {
                let rooms = rooms.remove(&session.id).unwrap_or_default();
                SessionInfo::new(session, rooms)
            })
            .collect()
    }

    /// Ends a session: its client is informed in its dialect, and its connection is closed with 1008 and the first
    /// 123 bytes of `reason`. The members of its rooms are notified that it left. Returns whether there was such a
    /// session on this node.
    pub fn end(&self, id: PeerId, reason: &str) -> bool {
        self.registry.end(id, reason)
    }

    /// Ends all sessions on this node whose clients have the identity
    /// [`Admission::as_identity`](crate::Admission::as_identity) of this name, as [`Sessions::end`] does. Returns their
    /// number.
    pub fn end_identity(&self, name: &str, reason: &str) -> usize {
        let has_name = |identity: &Identity| match identity {
            Identity::Claimed => false,
            Identity::Proven(proven) => **proven == *name,
        };
        self.end_all(|session| has_name(&session.identity), reason)
    }

    /// Ends all sessions on this node whose clients have this address, as [`Sessions::end`] does. Returns their number.
    pub fn end_address(&self, address: IpAddr, reason: &str) -> usize {
        let is_meant = |session: &SessionStatus| session.client == Some(address);
        self.end_all(is_meant, reason)
    }

    fn end_all(&self, is_meant: impl Fn(&SessionStatus) -> bool, reason: &str) -> usize {
        let sessions = self.registry.list().into_iter();
        let meant = sessions.filter(is_meant);
        meant
            .filter(|session| self.registry.end(session.id, reason))
            .count()
    }
}

impl SessionInfo {
    fn new(session: SessionStatus, mut rooms: Vec<RoomId>) -> Self {
        rooms.sort();
        Self {
            id: session.id,
            address: session.client,
            dialect: session.dialect,
            identity: session.identity,
            rooms,
            since: SystemTime::now() - session.opened_at.elapsed(),
            queued_bytes: session.queued_bytes,
        }
    }
}

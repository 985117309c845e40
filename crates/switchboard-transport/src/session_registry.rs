//! The sessions of a node, by id.

use std::{collections::BTreeMap, net::IpAddr, time::Instant};

use bytestring::ByteString;
use parking_lot::Mutex;
use switchboard_core::{DialectName, Identity, PeerId};

use crate::OutboxHandle;

/// Number of shards, so that clients that connect and disconnect on different cores rarely contend for one lock.
const SHARDS: usize = 16;

/// The longest reason of an end in bytes: the bound of a close frame (RFC 6455, section 5.5).
const REASON_BYTES_MAX: usize = 123;

/// One session, as its registry reports it.
#[derive(Clone, Debug)]
pub struct SessionStatus {
    /// The id of the session, which is that of its peer in rooms.
    pub id: PeerId,
    /// The address of the client, if it is known.
    pub client: Option<IpAddr>,
    /// The name of the dialect; `undetected` until the first frame has shown it.
    pub dialect: DialectName,
    /// The identity of the client.
    pub identity: Identity,
    /// The time at which the session began.
    pub opened_at: Instant,
    /// The bytes of events and frames that wait for the client.
    pub queued_bytes: usize,
}

/// The sessions of a node. A session is added when it begins and removed when it ends; frames and events do not
/// touch the registry.
#[derive(Debug, Default)]
pub struct SessionRegistry {
    shards: [Mutex<BTreeMap<PeerId, OutboxHandle>>; SHARDS],
}

impl SessionRegistry {
    /// The status of all sessions, sorted by id.
    #[must_use]
    pub fn list(&self) -> Vec<SessionStatus> {
        let mut handles: Vec<_> = Vec::new();
        for shard in &self.shards {
            handles.extend(shard.lock().values().cloned());
        }
        let mut sessions: Vec<_> = handles.iter().map(|handle| handle.status()).collect();
        sessions.sort_unstable_by_key(|session| session.id);
        sessions
    }

    /// The status of one session.
    #[must_use]
    pub fn find(&self, id: PeerId) -> Option<SessionStatus> {
        let handle = self.shard(id).lock().get(&id).cloned();
        Some(handle?.status())
    }

    /// Whether a session is on this node.
    #[must_use]
    pub fn contains(&self, id: PeerId) -> bool {
        self.shard(id).lock().contains_key(&id)
    }

    /// The address of the client of a session, if the session is on this node and the address is known.
    #[must_use]
    pub fn client_of(&self, id: PeerId) -> Option<IpAddr> {
        self.shard(id).lock().get(&id)?.client()
    }

    /// Ends a session for the host program (the program that embeds the server). Its dialect informs the client as of a
    /// kick, and the connection is closed with 1008 and the first 123 bytes of `reason`. Returns whether there is such
    /// a session.
    pub fn end(&self, id: PeerId, reason: &str) -> bool {
        let Some(handle) = self.shard(id).lock().get(&id).cloned() else {
            return false;
        };
        let reason = &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)];
        handle.end(ByteString::from(reason));
        true
    }

    /// Closes all sessions because the server shuts down.
    pub(crate) fn close_all(&self) {
        for shard in &self.shards {
            let handles: Vec<_> = shard.lock().values().cloned().collect();
            handles.iter().for_each(|handle| handle.close_for_restart());
        }
    }

    /// Adds a session.
    pub(crate) fn add(&self, handle: OutboxHandle) {
        self.shard(handle.id()).lock().insert(handle.id(), handle);
    }

    /// Removes a session that has ended.
    pub(crate) fn remove(&self, id: PeerId) {
        self.shard(id).lock().remove(&id);
    }

    fn shard(&self, id: PeerId) -> &Mutex<BTreeMap<PeerId, OutboxHandle>> {
        // Ids are random, so their first bytes are spread evenly over the shards.
        let [first, ..] = id.bytes();
        &self.shards[usize::from(first) % SHARDS]
    }
}

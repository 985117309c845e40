//! What a peer may be told.

use std::sync::Arc;

use crate::{
    command::{LeaveKind, ResourceKey},
    error::RequestError,
    id::{NameId, RoomId},
    introduction::{Member, OfferRole},
    message::RelayedMessage,
};

/// What a peer is told, in the order in which it happened.
#[derive(Debug)]
pub enum Event {
    /// The name you claimed is yours.
    Claimed(NameId),
    /// You are in the room, and who was there before you, oldest first, each with who calls.
    Joined {
        /// The room.
        room: RoomId,
        /// The others.
        others: Vec<(Arc<Member>, OfferRole)>,
    },
    /// You asked to join a room that you are in: who else is there now.
    Rejoined {
        /// The room.
        room: RoomId,
        /// The others.
        others: Vec<Arc<Member>>,
    },
    /// You asked who else is there.
    Members {
        /// The room.
        room: RoomId,
        /// The others.
        others: Vec<Arc<Member>>,
    },
    /// Somebody has come into your room.
    Introduced {
        /// The room.
        room: RoomId,
        /// Who.
        peer: Arc<Member>,
        /// Who calls.
        role: OfferRole,
    },
    /// Somebody has left your room.
    Departed {
        /// The room.
        room: RoomId,
        /// Who.
        peer: Arc<Member>,
        /// Whether it asked to go quietly.
        kind: LeaveKind,
    },
    /// Somebody has sent you something.
    Received {
        /// The room that you share.
        room: RoomId,
        /// Who.
        from: Arc<Member>,
        /// Whether it was for you alone.
        direct: bool,
        /// What.
        message: Arc<RelayedMessage>,
    },
    /// Somebody claims a name that you hold: show that you are alive, by [`crate::HubRequest::Alive`] for it.
    Probe(ResourceKey),
    /// You are thrown out; your connection ends.
    Evicted(EvictionReason),
    /// What you asked is not done.
    RequestFailed(RequestError),
}

/// Why a connection is ended from inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvictionReason {
    /// It did not answer when its name was claimed.
    Unresponsive,
    /// The same proven identity has come again.
    Replaced,
    /// The host program said so.
    Kicked,
}

//! The events that a hub delivers to its peers.

use std::sync::Arc;

use crate::{
    command::{LeaveKind, ResourceKey},
    error::RequestError,
    id::{NameId, RoomId},
    introduction::{Member, OfferRole},
    message::RelayedMessage,
    shared_frames::SharedFrames,
};

/// An event for one peer. A peer gets its events in the order in which they happened.
#[derive(Debug)]
pub enum Event {
    /// The receiver holds the name that it claimed.
    Claimed(NameId),
    /// The receiver has joined the room. Lists the earlier members, oldest first, each with the receiver's role.
    Joined {
        /// The room of the members.
        room: RoomId,
        /// The other members.
        others: Vec<(Arc<Member>, OfferRole)>,
    },
    /// Answer to a join of a room that the receiver is already in: the other members.
    Rejoined {
        /// The room of the members.
        room: RoomId,
        /// The other members.
        others: Vec<Arc<Member>>,
    },
    /// Answer to a list request: the other members.
    Members {
        /// The room of the members.
        room: RoomId,
        /// The other members.
        others: Vec<Arc<Member>>,
    },
    /// A member has joined a room of the receiver.
    Introduced {
        /// The room of the member.
        room: RoomId,
        /// The member that has joined.
        peer: Arc<Member>,
        /// The receiver's role.
        role: OfferRole,
        /// The frames of this event, for all receivers with this role.
        frames: SharedFrames,
    },
    /// A member has left a room of the receiver.
    Departed {
        /// The room of the member.
        room: RoomId,
        /// The member that has left.
        peer: Arc<Member>,
        /// `Silent` if the member left so, else `Announced`. The receiver's dialect does not notify its client of a
        /// silent leave of a member of the same dialect.
        kind: LeaveKind,
        /// The frames of this event.
        frames: SharedFrames,
    },
    /// A message from a member or from the server.
    Received {
        /// The room of sender and receiver.
        room: RoomId,
        /// The member that sent the message.
        from: Arc<Member>,
        /// Whether it was sent to this receiver only.
        direct: bool,
        /// The message.
        message: Arc<RelayedMessage>,
    },
    /// Another client claims a resource that the receiver holds. The receiver answers with
    /// [`crate::HubRequest::Alive`] if it is alive.
    Probe(ResourceKey),
    /// The receiver was removed from a room or name; its connection ends.
    Evicted(EvictionReason),
    /// A request of the receiver has failed.
    RequestFailed(RequestError),
}

/// The reason of an eviction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvictionReason {
    /// The client did not answer the probe of a challenge.
    Unresponsive,
    /// A newer connection has the same proven identity or token.
    Replaced,
    /// The host program has removed the member.
    Kicked,
}

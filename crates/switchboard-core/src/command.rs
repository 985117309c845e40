//! The inputs and outputs of the hub, and the commands of a client session.

use std::{num::NonZeroUsize, sync::Arc};

use crate::{
    event::Event,
    id::{Address, DisplayName, JoinId, NameId, PeerId, Position, RoomId, RoomName},
    introduction::{DialectTraits, Identity, Member, Token},
    log::{Entry, LeaveCause, LogId, NodeId, NodeMessage, RejectReason},
    message::RelayedMessage,
    room_policy::RoomPolicy,
};

/// A request of a client, as its dialect session decodes it.
#[derive(Debug)]
pub enum Command {
    /// Claim a name that is unique in the room, or with `None` in the space.
    Claim(Option<RoomName>, DisplayName),
    /// Release a claimed name, or withdraw a claim that is not answered yet.
    Release(Option<RoomName>, DisplayName),
    /// Join a room.
    Join {
        /// The room's name.
        room: RoomName,
        /// The address: the string by which the other members name the new member in their frames.
        address: Address,
        /// The display name.
        name: Option<DisplayName>,
        /// Further options of the join.
        options: JoinOptions,
    },
    /// Leave a room.
    Leave {
        /// The room's name.
        room: RoomName,
        /// The members that are notified, and the reason.
        kind: LeaveKind,
    },
    /// Send a message to members of a room.
    Send {
        /// The room's name.
        room: RoomName,
        /// The receivers.
        to: Target,
        /// The message.
        message: RelayedMessage,
    },
    /// List the other members of a room.
    List(RoomName),
}

/// The options of a join.
#[derive(Clone, Debug, Default)]
pub struct JoinOptions {
    /// The secret with which the client can reclaim its address after a lost connection.
    pub token: Option<Token>,
    /// Size of the group that the member joins, itself included. Members that ask for a group are grouped in the order
    /// of their joins.
    pub group_size: Option<NonZeroUsize>,
    /// The room is closed to other dialects: in other dialects the same name is another room.
    pub closed_to_other_dialects: bool,
}

/// The receivers of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// All other members of the room.
    Everyone,
    /// The member with this id.
    Peer(PeerId),
    /// The member with this address.
    Address(Address),
    /// The member with this address. If there is none, the message waits a few seconds for a member with it.
    AddressOrWait(Address),
}

/// The members that are notified of a leave, and its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaveKind {
    /// The client has left; all members are notified.
    Announced,
    /// The client has left without a notice. Some dialects (`mesh`, `ayame`) let a client leave so: their members are
    /// not notified. Other dialects have no such leave, so members of other dialects are notified.
    Silent,
    /// The connection was lost; all members are notified. If the member has a [`Token`], its address stays
    /// reserved for a client with this token.
    ConnectionLost,
}

/// The key of a resource that a request is about. It determines the [`Hub`](crate::Hub) that is responsible. Addresses
/// and names can be claimed; a whole room cannot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceKey {
    /// A whole room.
    Room(RoomId),
    /// An address within a room.
    Address(RoomId, Address),
    /// A name that is unique in a space or a room.
    Name(NameId),
}

impl ResourceKey {
    /// The membership log whose order decides which member holds the resource.
    #[must_use]
    pub fn log(&self) -> LogId {
        match self {
            Self::Room(room) | Self::Address(room, _) => LogId::Room(room.clone()),
            Self::Name(name) => LogId::Name(name.clone()),
        }
    }

    /// The address of the holder in that log; `None` for a whole room.
    pub(crate) fn address(&self) -> Option<Address> {
        match self {
            Self::Room(_) => None,
            Self::Address(_, address) => Some(address.clone()),
            Self::Name(id) => Some(id.name.clone().into()),
        }
    }
}

/// A request of a peer to a hub, already authorized by [`Peer`](crate::Peer).
#[derive(Clone, Debug)]
pub enum HubRequest {
    /// Claim this name.
    Claim(NameId, Box<Claimant>),
    /// Release this name.
    Release(NameId),
    /// Join a room. The id correlates a refusal with this join.
    Join(RoomId, Arc<Member>, JoinId),
    /// Leave a room.
    Leave(RoomId, LeaveKind),
    /// Send a message to members of a room.
    Send(RoomId, Target, Arc<RelayedMessage>),
    /// List the other members of a room.
    List(RoomId),
    /// The answer to [`Event::Probe`]: the peer, which holds the resource, is alive.
    Alive(ResourceKey),
}

/// The client that claims a name.
#[derive(Clone, Debug)]
pub struct Claimant {
    /// Its identity.
    pub identity: Identity,
    /// The traits of its dialect.
    pub dialect: &'static DialectTraits,
    /// The policy that its credential carries.
    pub policy: Option<Arc<RoomPolicy>>,
}

impl HubRequest {
    /// The resource that the request is about.
    #[must_use]
    pub fn resource(&self) -> ResourceKey {
        match self {
            Self::Claim(name, _) | Self::Release(name) => ResourceKey::Name(name.clone()),
            Self::Join(room, ..)
            | Self::Leave(room, _)
            | Self::Send(room, _, _)
            | Self::List(room) => ResourceKey::Room(room.clone()),
            Self::Alive(resource) => resource.clone(),
        }
    }
}

/// A change in a membership log: the ordered joins and leaves of a room, a claimed name or a leader election.
#[derive(Clone, Debug)]
pub enum Change {
    /// A member joins.
    Join(Arc<Member>),
    /// A member leaves.
    Leave(PeerId, LeaveCause),
}

impl Change {
    /// The member that joins or leaves.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        match self {
            Self::Join(member) => member.peer,
            Self::Leave(peer, _) => *peer,
        }
    }
}

/// An input of a hub. `L` is the handle of a connection to this node, as the driver (the code that owns the hub and
/// does its I/O) knows it. The host program is the program that embeds the server as a library.
#[derive(Debug)]
pub enum Input<L> {
    /// A request of a peer of this node.
    Request {
        /// The peer that makes the request.
        peer: PeerId,
        /// The connection that gets the answer.
        local: L,
        /// The request.
        request: HubRequest,
    },
    /// The engine has committed a change.
    Committed(LogId, Entry),
    /// The engine has rejected a change of this peer that this hub proposed.
    Rejected(LogId, PeerId, RejectReason),
    /// A message of another node.
    NodeMessage(NodeId, NodeMessage),
    /// This message of this node to another node could not be sent.
    Undeliverable(NodeMessage),
    /// The host program sends a message to members of a room as the server.
    Announce {
        /// The room's name.
        room: RoomId,
        /// The receivers.
        to: Target,
        /// The sender that the receivers see.
        from: Arc<Member>,
        /// The message.
        message: Arc<RelayedMessage>,
    },
    /// The host program ends a member's connection.
    Kick {
        /// The room's name.
        room: RoomId,
        /// The member's address.
        address: Address,
        /// The member. Another member that has got the address meanwhile stays.
        peer: PeerId,
    },
}

impl<L> Input<L> {
    pub(crate) fn request(peer: PeerId, local: L, request: HubRequest) -> Self {
        Self::Request {
            peer,
            local,
            request,
        }
    }
}

/// An output of a hub, for its driver to apply.
#[derive(Debug)]
pub enum Effect<L> {
    /// Put the event into this connection's outbox.
    Deliver(L, Arc<Event>),
    /// Propose a change to the engine. The answer is one [`Input::Committed`] or [`Input::Rejected`].
    Propose {
        /// The log to append to.
        log: LogId,
        /// The last position of the log that this hub has applied when the effect is polled.
        known_position: Position,
        /// The proposed change.
        change: Change,
    },
    /// Send a message to another node through the engine.
    Send(NodeId, NodeMessage),
    /// A cost that a request of this connection has caused. The driver charges it to the connection's budgets.
    Charge(L, Charge),
}

/// The cost of a client's request beyond one delivery to one receiver. The driver charges that delivery itself, when it
/// passes the request to the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charge {
    /// The frames that all nodes send to members because of the request.
    Deliveries {
        /// Number of frames; for a list, its entries.
        count: usize,
        /// Bytes of all frames together.
        bytes: usize,
    },
    /// A frame was delivered to a receiver whose outbox is more than half full. The driver has the outboxes, so it
    /// creates this charge. If the receiver is on another node, that node reports the delivery, and the hub of the
    /// sender's node creates the charge.
    SlowReceiver {
        /// Bytes of the delivered frame.
        bytes: usize,
    },
    /// A frame was delivered to this peer. The budgets of a client grow with the number of its peers. A client whose
    /// dialect announces no presence is not told of its peers, so they are counted by these charges.
    Reached(PeerId),
}

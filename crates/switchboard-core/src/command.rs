//! The machine's two doors: what goes in, and what comes out.

use std::{num::NonZeroUsize, sync::Arc};

use crate::{
    event::Event,
    id::{Address, DisplayName, JoinId, NameId, PeerId, Position, RoomId, RoomName},
    introduction::{Identity, Member, Token},
    log::{Entry, LeaveCause, LogId, NodeId, NodeMessage, RejectReason},
    message::RelayedMessage,
};

/// What a client asks, in the words of its session.
#[derive(Debug)]
pub enum Command {
    /// Have this name alone in the room, or with `None` in the space.
    Claim(Option<RoomName>, DisplayName),
    /// Give back a claimed name, or withdraw a claim that is not answered yet.
    Release(Option<RoomName>, DisplayName),
    /// Enter a room under this address.
    Join {
        /// The room.
        room: RoomName,
        /// What the others of the room will call it.
        address: Address,
        /// What people will call it.
        name: Option<DisplayName>,
        /// What else it asks for.
        options: JoinOptions,
    },
    /// Leave a room.
    Leave {
        /// The room.
        room: RoomName,
        /// Whether members of the same dialect are told.
        kind: LeaveKind,
    },
    /// Send something to members of a room.
    Send {
        /// The room.
        room: RoomName,
        /// To whom.
        to: Target,
        /// What.
        message: RelayedMessage,
    },
    /// Say who else is in a room.
    List(RoomName),
}

/// What a client asks for besides its seat.
#[derive(Clone, Debug, Default)]
pub struct JoinOptions {
    /// By what it will show that its address is its own.
    pub token: Option<Token>,
    /// It wants to be alone with so many, itself included: those who ask for the same at that time.
    pub group_size: Option<NonZeroUsize>,
    /// The room is closed to other dialects: in these, the same name is another room.
    pub closed_to_other_dialects: bool,
}

/// To whom something is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To all others of the room.
    Everyone,
    /// To the member with this id.
    Peer(PeerId),
    /// To the member with this address.
    Address(Address),
    /// To the member with this address; if there is none, to the next one who has it, if he comes
    /// soon.
    AddressOrWait(Address),
}

/// How a departure is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaveKind {
    /// To everybody.
    Announced,
    /// Only to members whose dialect differs: its own kind was not to be told (`mesh` has this).
    Silent,
    /// To everybody. It did not ask for it, but lost its connection: where it has shown a
    /// [`Token`], its address is kept for it.
    ConnectionLost,
}

/// What a [`Hub`](crate::Hub) holds something about; says which hub is to be asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceKey {
    /// A room.
    Room(RoomId),
    /// An address within a room.
    Address(RoomId, Address),
    /// A name that is unique in a space or a room.
    Name(NameId),
}

impl ResourceKey {
    /// The log that says who holds it.
    #[must_use]
    pub fn log(&self) -> LogId {
        match self {
            Self::Room(room) | Self::Address(room, _) => LogId::Room(room.clone()),
            Self::Name(name) => LogId::Name(name.clone()),
        }
    }
}

/// What a peer asks of a hub, with its rights already settled by [`Peer`](crate::Peer).
#[derive(Clone, Debug)]
pub enum HubRequest {
    /// Have this name alone.
    Claim(NameId, Identity),
    /// Give it back.
    Release(NameId),
    /// Enter a room.
    Join(RoomId, Arc<Member>, JoinId),
    /// Leave a room.
    Leave(RoomId, LeaveKind),
    /// Send something to members of a room.
    Send(RoomId, Target, Arc<RelayedMessage>),
    /// Say who else is in a room.
    List(RoomId),
    /// The holder of a probed place is alive.
    Alive(ResourceKey),
}

impl HubRequest {
    /// What is asked about.
    #[must_use]
    pub fn resource(&self) -> ResourceKey {
        match self {
            Self::Claim(name, _) | Self::Release(name) => ResourceKey::Name(name.clone()),
            Self::Join(room, ..)
            | Self::Leave(room, _)
            | Self::Send(room, _, _)
            | Self::List(room) => ResourceKey::Room(room.clone()),
            Self::Alive(place) => place.clone(),
        }
    }
}

/// One change in a room's ordered log of membership.
#[derive(Clone, Debug)]
pub enum Change {
    /// Somebody enters.
    Join(Arc<Member>),
    /// Somebody leaves.
    Leave(PeerId, LeaveCause),
}

impl Change {
    /// Whom it is about.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        match self {
            Self::Join(member) => member.peer,
            Self::Leave(peer, _) => *peer,
        }
    }
}

/// What a hub is told. `L` is what its driver calls a local connection.
#[derive(Debug)]
pub enum Input<L> {
    /// A peer of this node asks something.
    Request {
        /// Who.
        peer: PeerId,
        /// Where answers go.
        local: L,
        /// What.
        request: HubRequest,
    },
    /// The engine has ordered a change.
    Committed(LogId, Entry),
    /// The engine has not ordered a change that was proposed here.
    Rejected(LogId, PeerId, RejectReason),
    /// Another node says something.
    NodeMessage(NodeId, NodeMessage),
    /// What this node had to say to another cannot be brought there.
    Undeliverable(NodeMessage),
    /// The host program speaks to members of a room as the server.
    Announce {
        /// The room.
        room: RoomId,
        /// To whom.
        to: Target,
        /// In whose name.
        from: Arc<Member>,
        /// What.
        message: Arc<RelayedMessage>,
    },
    /// The host program ends a member's connection.
    Kick {
        /// The room.
        room: RoomId,
        /// The member.
        address: Address,
    },
}

/// What follows from an input.
#[derive(Debug)]
pub enum Effect<L> {
    /// Put the event into this connection's outbox.
    Deliver(L, Arc<Event>),
    /// Let the engine order a change. It is answered by one [`Input::Committed`] or
    /// [`Input::Rejected`].
    Propose {
        /// Whose log.
        log: LogId,
        /// The last position of the log known here, at the moment when the effect is fetched.
        known_position: Position,
        /// The change.
        change: Change,
    },
    /// Let the engine bring this to another node.
    Send(NodeId, NodeMessage),
    /// A request of this connection has caused this. The driver charges it to the connection's budgets.
    Charge(L, Charge),
}

/// The work that a client's request has caused beyond one delivery to one receiver, which its driver
/// counts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charge {
    /// The server sends so many frames, on all nodes.
    Deliveries {
        /// Frames; of a list, its entries.
        count: usize,
        /// Bytes of all of them.
        bytes: usize,
    },
    /// A frame was passed to a receiver of whose outbox more than half is waiting. The driver, which
    /// knows the outboxes, finds this out.
    SlowReceiver {
        /// Bytes of the frame.
        bytes: usize,
    },
    /// A frame was passed to this peer, which the client had not been told of. Only for dialects without
    /// presence.
    Reached(PeerId),
}

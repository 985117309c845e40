//! What an engine orders, and what nodes say to each other.

use std::{fmt, str::FromStr, sync::Arc};

use crate::{
    command::{Change, Target},
    event::EvictionReason,
    id::{ElectionId, NameId, PeerId, Position, RoomId},
    introduction::Member,
    message::RelayedMessage,
};

/// What has a log of changes of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogId {
    /// A room.
    Room(RoomId),
    /// A name that is unique in a space or a room: a log with at most one member.
    Name(NameId),
    /// Something that one node does for all: its members are nodes, and the oldest does it.
    Election(ElectionId),
}

/// A node, as long as its process lives. Drawn at random.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u64);

impl NodeId {
    /// The number alone.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl From<u64> for NodeId {
    fn from(random: u64) -> Self {
        Self(random)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for NodeId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

/// An ordered change.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where a newcomer's seat is among the others' seats: who joins later has a greater one.
    /// Of a departure it says nothing.
    pub position: Position,
    /// The node of who joins; none for this one.
    pub node: Option<NodeId>,
    /// What has changed.
    pub change: Change,
}

/// Why a proposed change is not ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectReason {
    /// The join: somebody has the address. The log is known here up to that somebody's join.
    Taken,
    /// The join: there are as many members as may be.
    Full,
    /// The join: the engine cannot be reached, or has too much to do.
    Unavailable,
    /// The leave: there is no such member.
    NotAMember,
}

/// A member where it sits: one that left and came back sits elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MembershipRef {
    /// Who.
    pub peer: PeerId,
    /// Where, as in [`Entry::position`].
    pub since: Position,
}

/// What one node says to another about a log.
#[derive(Clone, Debug)]
pub struct NodeMessage {
    /// Which.
    pub log: LogId,
    /// What.
    pub body: NodeMessageBody,
}

/// What stands in a [`NodeMessage`].
#[derive(Clone, Debug)]
pub enum NodeMessageBody {
    /// A member of the sending node's sends something to members of the receiving node's.
    Relay {
        /// Who.
        from: MembershipRef,
        /// To whom.
        to: Recipient,
        /// What.
        message: Arc<RelayedMessage>,
    },
    /// A relay could not be given to whom it was for, who has left.
    Bounce {
        /// Who had sent it.
        to: PeerId,
        /// For whom it was, in the sender's words.
        target: Target,
    },
    /// The host program speaks.
    Announce {
        /// To whom; none for everybody.
        to: Option<PeerId>,
        /// In whose name.
        from: Arc<Member>,
        /// What.
        message: Arc<RelayedMessage>,
    },
    /// Somebody claims what this member holds: find out whether it is alive.
    Probe(PeerId),
    /// This member is.
    Alive(PeerId),
    /// A relay has reached a member that has much waiting (see [`Charge::SlowReceiver`]).
    ///
    /// [`Charge::SlowReceiver`]: crate::Charge::SlowReceiver
    SlowReceiver {
        /// The sender of the relay, a member of the receiving node.
        sender: PeerId,
        /// Bytes of its frame.
        bytes: usize,
    },
}

/// For whom a relay is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// All others of the room.
    Everyone,
    /// One of them.
    One {
        /// Who.
        member: MembershipRef,
        /// The same, in the sender's words.
        target: Target,
    },
}

/// How a seat becomes free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaveCause {
    /// The member asked for it.
    Requested(crate::LeaveKind),
    /// It was thrown out.
    Evicted(EvictionReason),
    /// Its node was not heard of for too long.
    NodeLost,
}

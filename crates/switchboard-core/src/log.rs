//! The entries of a membership log (the ordered joins and leaves of one room, name or election), and the messages
//! between nodes.

use std::{fmt, num::ParseIntError, str::FromStr, sync::Arc};

use thiserror::Error;

use crate::{
    command::{Change, Target},
    event::EvictionReason,
    id::{ElectionId, NameId, PeerId, Position, RoomId},
    introduction::Member,
    message::RelayedMessage,
};

/// The id of a membership log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogId {
    /// The log of a room.
    Room(RoomId),
    /// The log of a name that is unique in a space or a room; it has at most one member.
    Name(NameId),
    /// The log of a leader election: its members are nodes, and the oldest member is the leader.
    Election(ElectionId),
}

/// The id of a node process, generated at random at its start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u64);

impl NodeId {
    /// The id as a number.
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
    type Err = NodeIdError;

    fn from_str(text: &str) -> Result<Self, NodeIdError> {
        let parsed = u64::from_str_radix(text, 16).map(Self);
        parsed.map_err(|source| NodeIdError {
            text: text.to_owned(),
            source,
        })
    }
}

/// The error for a text that is not a [`NodeId`].
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{text:?} is not the id of a node, which has up to 16 hexadecimal digits")]
pub struct NodeIdError {
    text: String,
    source: ParseIntError,
}

/// A committed change.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Log position. The positions of joins order the members. The position of a leave is one that the log has reached;
    /// several leaves can have the same.
    pub position: Position,
    /// The node of the joining member; `None` for this node.
    pub node: Option<NodeId>,
    /// The committed change.
    pub change: Change,
}

/// The reason why a proposed change was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectReason {
    /// A join: a member has the address. This node has applied the log up to that member's join.
    Taken,
    /// A join: the room has the maximum number of members.
    Full,
    /// The engine cannot be reached, or is overloaded.
    Unavailable,
    /// A leave: the peer is no member in the log.
    NotAMember,
}

/// A reference to one membership. A peer that leaves and joins again has another position, so an old reference does not
/// match its new membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MembershipRef {
    /// The peer that is the member.
    pub peer: PeerId,
    /// The position of its join, as in [`Entry::position`].
    pub since: Position,
}

/// A message from one node to another about a log.
#[derive(Clone, Debug)]
pub struct NodeMessage {
    /// The log that the message is about.
    pub log: LogId,
    /// The content of the message.
    pub body: NodeMessageBody,
}

/// The content of a [`NodeMessage`].
#[derive(Clone, Debug)]
pub enum NodeMessageBody {
    /// A member of the sending node sends a message to members of the receiving node.
    Relay {
        /// The member that sent the message.
        from: MembershipRef,
        /// The receivers.
        to: Recipient,
        /// The message.
        message: Arc<RelayedMessage>,
    },
    /// The sending node could not deliver a relayed message, because its receiver has left.
    Bounce {
        /// The sender of the message.
        to: PeerId,
        /// The target, as the sender wrote it.
        target: Target,
    },
    /// The host program of the sending node sends a message to members of the receiving node.
    Announce {
        /// The receiver; `None` for all members.
        to: Option<PeerId>,
        /// The sender that the receivers see.
        from: Arc<Member>,
        /// The message.
        message: Arc<RelayedMessage>,
    },
    /// A client of the sending node claims the address or name of this member: the receiving node must probe it.
    Probe(PeerId),
    /// This member of the sending node has answered a probe.
    Alive(PeerId),
    /// A relayed message has reached a member whose outbox is more than half full (see [`Charge::SlowReceiver`]).
    ///
    /// [`Charge::SlowReceiver`]: crate::Charge::SlowReceiver
    SlowReceiver {
        /// The sender of the message, a member of the receiving node.
        sender: PeerId,
        /// Bytes of the message's frame.
        bytes: usize,
    },
}

/// The receivers of a relayed message on another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// All other members of the room.
    Everyone,
    /// One member of the room.
    One {
        /// The member that receives the message.
        member: MembershipRef,
        /// The target, as the sender wrote it.
        target: Target,
    },
}

/// The cause of a leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaveCause {
    /// The member asked for it.
    Requested(crate::LeaveKind),
    /// The hub evicted the member.
    Evicted(EvictionReason),
    /// The lease of its node has expired.
    NodeLost,
}

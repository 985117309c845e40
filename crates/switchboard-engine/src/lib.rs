//! What makes several nodes act as one. What there is in common is kept in ordered logs of changes;
//! an [`Engine`] orders them and brings letters from node to node.
//!
//! To add an engine: one file, one line here, and [`contract`] run over it.
#![warn(missing_docs)]

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use bytestring::ByteString;
use switchboard_core::{
    Change, DialectTraits, Entry, LogId, MessageKind, NodeId, NodeMessage, PeerId, Position,
    RejectReason, RelayedMessage,
};

pub mod cluster;
pub mod contract;
mod memory;
pub mod redis;
mod status;

pub use memory::Memory;
pub use status::{NodeLine, Status};

/// When a proposed change has its place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProposeOutcome {
    /// At once, at this position.
    Committed(Position),
    /// Later: what becomes of it comes to the [`EngineHandler`], as every other node's changes do.
    Pending,
    /// Not at all.
    Rejected(RejectReason),
}

/// Something that takes a while.
pub type CloseFuture<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Orders the changes of logs. It guarantees:
///
/// * every proposed change is committed exactly once, on every node that has members in the log, or
///   declined to the node that proposed it;
/// * all nodes get a log's changes in one order. A node that has missed some gets what they came to:
///   first who has left, then who has come, by their positions;
/// * the changes that one node proposes to one log are committed in the order it proposed them;
/// * what a node sends to another arrives in the order sent, once or not at all, and not before
///   the changes that the sender had been told of. What cannot be sent comes back.
///
/// Logs are independent of each other.
pub trait Engine: Send + Sync + fmt::Debug {
    /// Where everything goes that comes later. Called once, before anything is proposed.
    fn attach(&self, sink: Arc<dyn EngineHandler>);

    /// Orders `change`, where the last position of the log known to the caller is `at`. The caller
    /// may hold the log's shard locked, and does not wait.
    fn propose(&self, log: &LogId, at: Position, change: &Change) -> ProposeOutcome;

    /// Brings a letter to another node. Does not wait; gives it back if too much waits already.
    fn send(&self, to: NodeId, letter: NodeMessage) -> Option<NodeMessage>;

    /// How this node stands among the others; none if there cannot be others.
    fn status(&self) -> Option<Status>;

    /// Brings out what is under way and says good-bye to the other nodes; within a few seconds.
    fn close(&self) -> CloseFuture<'_>;
}

/// What a node knows of dialects.
pub trait DialectRegistry: Send + Sync {
    /// The dialect of this name; of an unknown name, one that has no words for anything.
    fn dialect(&self, name: &str) -> &'static DialectTraits;

    /// A frame that another node's member has sent. None if its dialect is not known here.
    fn message(&self, origin: &str, kind: MessageKind, frame: ByteString)
    -> Option<RelayedMessage>;
}

/// A node that is told of ordered changes.
pub trait EngineHandler: DialectRegistry {
    /// These changes are next, in this order and in one step. After a `LeaveCause::NodeLost` of a member
    /// of this node there is its new join among them.
    fn on_committed(&self, log: &LogId, entries: Vec<Entry>);

    /// A change about this member that was proposed here is not ordered.
    fn on_rejected(&self, log: &LogId, peer: PeerId, why: RejectReason);

    /// Another node says something.
    fn on_node_message(&self, from: NodeId, letter: NodeMessage);

    /// A letter could not be sent.
    fn on_undeliverable(&self, letter: NodeMessage);
}

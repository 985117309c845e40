//! Keeps the state of several nodes in agreement. A log is the sequence of the joins and leaves of one room, one
//! display name or one election. An [`Engine`] orders the changes of logs and carries messages between nodes.
//!
//! # Two replicas of a log
//!
//! On each node of a cluster, two state machines hold a replica of a log. They know different things
//! ([`store`] explains the words *generation*, *head* and *lease*):
//!
//! | | the hub's replica (`switchboard_core::Hub`) | the node's replica (`replica.rs`, in [`Node`]) |
//! |---|---|---|
//! | purpose | tells clients of each other | keeps the log in agreement with the store |
//! | version | the position of each join, and the last position | the generation and the head, and the latest head seen in the store |
//! | members | all members, with outboxes and rights of those of this node | all members with their leases, and the memberships that members of this node want |
//! | pending | joins without a result, and the requests queued behind them | requests in flight, events that arrived early, messages that arrived before changes that the sending node had applied |
//! | after a join | groups, introductions (which member offers to which), other members to notify of its leave, addresses reserved for a reconnect | nothing: it derives nothing from a membership |
//! | after a node is lost | its members have left; members of this node are suspended until their new join | leases that are fenced, members that the store must evict or restore |
//! | does not know | leases, generations, gaps, the store | introductions, clients, frames |
//!
//! The node's replica applies a change first: [`EngineHandler::on_committed`] then passes exactly the
//! changes that the hub has not applied, in position order. The hub never queries the node's replica.
//! With [`Memory`], the engine of a single node, the hub's replica is the only one.
//!
//! To add an engine: implement [`Engine`], or implement [`store::Store`] and let [`Driver`] make an
//! engine of it. Run the engine contract of `switchboard-testkit` over the result.
#![warn(missing_docs)]

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use bytestring::ByteString;
use switchboard_core::{
    Address, Change, DialectTraits, Entry, LogId, Member, MessageKind, NodeId, NodeMessage, PeerId,
    Position, RejectReason, RelayedMessage,
};

mod discard_log;
mod driver;
mod envelope;
mod failure_detector;
mod inbox;
mod memory;
mod message_formats;
mod node;
mod outbox;
mod push_queue;
mod replica;
mod small_map;
mod status;
pub mod store;
mod store_session;

pub use driver::{Driver, DriverSettings};
pub use memory::Memory;
pub use node::{HEARTBEATS_PER_LEASE, Node, NodeEffect, NodeInput, NodeSettings};
pub use push_queue::PushQueue;
pub use status::{NodeLine, Status};

/// The result of proposing a change to a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProposeOutcome {
    /// The change is committed at this position.
    Committed(Position),
    /// The change is undecided. The [`EngineHandler`] receives the result, as it receives the
    /// changes of other nodes.
    Pending,
    /// The change is not committed.
    Rejected(RejectReason),
}

/// Future returned by [`Engine::close`].
pub type CloseFuture<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Orders the changes of logs. An engine guarantees:
///
/// * Every proposed change is either committed exactly once on every node that has members in the
///   log, or rejected to the node that proposed it.
/// * All nodes receive the changes of a log in one order. A node that missed changes receives the
///   net difference: leaves first, then joins, in position order.
/// * The changes that one node proposes to one log are committed in the order of the proposals.
/// * Messages from one node to another arrive in the order sent, at most once, and not before the
///   changes that the sender knew when it sent them. A message that cannot be sent is returned.
///
/// Logs are independent of each other.
pub trait Engine: Send + Sync + fmt::Debug {
    /// Registers the handler of all later results. Called once, before the first proposal.
    fn attach(&self, handler: Arc<dyn EngineHandler>);

    /// Proposes `change` to a log. `at` is the last position of the log that the caller knows. Does
    /// not block: the caller may hold the lock of the hub of this log.
    fn propose(&self, log: &LogId, at: Position, change: &Change) -> ProposeOutcome;

    /// Sends a message to another node. Does not block. Returns the message if the queue is full.
    fn send(&self, to: NodeId, message: NodeMessage) -> Option<NodeMessage>;

    /// The state of this node in the cluster; `None` for an engine of a single node.
    fn status(&self) -> Option<Status>;

    /// Completes the requests in progress and removes this node from the cluster, within a few
    /// seconds.
    fn close(&self) -> CloseFuture<'_>;
}

/// Looks up dialects (wire protocols of clients) by name. Encodes members for other nodes, and decodes the members and
/// frames of other nodes.
pub trait DialectRegistry: Send + Sync {
    /// The traits of the dialect with this name. An unknown name gives the traits of a dialect that carries neither
    /// signals nor messages.
    fn dialect(&self, name: &str) -> &'static DialectTraits;

    /// Encodes everything about a member except its id and its address, for the other nodes. The
    /// engine and its store carry the bytes unread. `join` is the serial number of the join on this
    /// node: the bytes of two joins must differ.
    fn encode_member(&self, member: &Member, join: u64) -> Vec<u8>;

    /// Decodes a member of another node. Malformed metadata gives a member of an unknown dialect.
    fn decode_member(&self, peer: PeerId, address: Address, metadata: &[u8]) -> Member;

    /// Decodes a frame that a member of another node sent. `None` if this node does not know the
    /// dialect.
    fn message(&self, origin: &str, kind: MessageKind, frame: ByteString)
    -> Option<RelayedMessage>;
}

/// Receives the results of an engine.
pub trait EngineHandler: DialectRegistry {
    /// Applies the next committed changes of a log, in this order and in one step. If a member of
    /// this node has a `LeaveCause::NodeLost` among them, its new join follows in the same call.
    fn on_committed(&self, log: &LogId, entries: Vec<Entry>);

    /// A change for this member that this node proposed was not committed.
    fn on_rejected(&self, log: &LogId, peer: PeerId, reason: RejectReason);

    /// A message from another node arrived.
    fn on_node_message(&self, from: NodeId, message: NodeMessage);

    /// Messages from other nodes arrived, in this order.
    fn on_node_messages(&self, messages: Vec<(NodeId, NodeMessage)>) {
        for (from, message) in messages {
            self.on_node_message(from, message);
        }
    }

    /// A message of this node could not be sent.
    fn on_undeliverable(&self, message: NodeMessage);
}

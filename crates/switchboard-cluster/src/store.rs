//! The store that the nodes of a cluster share: how a node connects ([`Store`]), and what each
//! request does in the store.
//!
//! A *log* is the sequence of the joins and leaves of one room, name or election; each change has a
//! *position*. The store holds, per log: a *generation* (a number that changes when the log begins again), the *head*
//! (the position of its last change), one record per member, and *fences* (for a node, the epoch up to which its
//! changes are rejected; see [`Lease`]). A log exists while it has a member, and for a minute after.
//!
//! A log that was deleted or that the store has lost begins again in a new generation. The positions of a
//! new generation are greater than all earlier ones, so that an old position is never mistaken for a new one.
//!
//! Every request is one atomic step. Every change takes the next position and is published, as a
//! [`LogEvent`], to the nodes that are subscribed to the log. Events may be lost, duplicated,
//! delayed or reordered. A response goes to the node that sent the request, or is lost with the
//! connection. Requests of one connection are executed in order.

use std::{error::Error, fmt, future::Future};

use switchboard_core::{Address, LeaveCause, LogId, NodeId, PeerId, Position};
use tokio::sync::mpsc;

/// A store that the nodes of a cluster share. A [`Driver`](crate::Driver) makes an engine of it.
///
/// `Display` shows the address of the store in logs, without a password.
pub trait Store: Send + Sync + fmt::Debug + fmt::Display + 'static {
    /// A connection to the store.
    type Connection: StoreConnection;

    /// Connects a node. The node receives the envelopes for it and the events of the logs to which
    /// it subscribes; [`PushQueue`](crate::PushQueue) bounds them.
    ///
    /// # Errors
    ///
    /// If the store cannot be reached within a few seconds, or refuses the connection.
    fn connect(&self, node: NodeId)
    -> impl Future<Output = ConnectResult<Self::Connection>> + Send;
}

/// The result of [`Store::connect`]: the connection, and the pushes of the store to the node.
pub type ConnectResult<C> = Result<(C, mpsc::Receiver<StorePush>), <C as StoreConnection>::Error>;

/// The connection of a node to its store. It ends at the first error: after an error or
/// [`StorePush::Lost`], the node drops it and opens another.
pub trait StoreConnection: Send + Sync + 'static {
    /// The error with which a connection ends. Its text is for operators and contains no password.
    type Error: Error + Send + Sync + 'static;

    /// Executes a batch of requests in order and returns the responses in the same order. Batches
    /// are executed in the order of the calls.
    ///
    /// # Errors
    ///
    /// If the connection fails. Some of the requests may have been executed.
    fn execute(
        &self,
        batch: &[StoreRequest],
    ) -> impl Future<Output = Result<Vec<StoreResponse>, Self::Error>> + Send;

    /// The secret that all nodes of the cluster share. The first call creates it.
    ///
    /// # Errors
    ///
    /// If the connection fails, or the stored secret is malformed.
    fn secret(&self) -> impl Future<Output = Result<String, Self::Error>> + Send;
}

/// A push of the store to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorePush {
    /// An event of a log to which the node is subscribed.
    LogEvent(LogId, LogEvent),
    /// An envelope for the node, as it was posted.
    Envelope(Vec<u8>),
    /// The last push: the connection has failed, a queue limit is exceeded, or a push is malformed.
    /// Later pushes are dropped; the node must reconnect.
    Lost(String),
}

/// The right of a node to have members, renewed by heartbeats. When they stop, another node *fences* the
/// lease (revokes it) and evicts the members. If the node still runs, it continues with the next epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lease {
    /// The node that holds the lease.
    pub node: NodeId,
    /// The epoch, counted from 1.
    pub epoch: u32,
}

/// A member as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMember {
    /// The id of the member.
    pub peer: PeerId,
    /// The address of the member, unique in the log.
    pub address: Address,
    /// The lease of its node.
    pub lease: Lease,
    /// The position of its join.
    pub since: Position,
    /// Further data about the member, opaque to the store and to the engine.
    pub metadata: Vec<u8>,
}

/// A membership that a node wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberSpec {
    /// The id of the member.
    pub peer: PeerId,
    /// The address of the member.
    pub address: Address,
    /// The position of its join, if it has joined.
    pub since: Option<Position>,
    /// Further data about the member; see [`StoredMember::metadata`].
    pub metadata: Vec<u8>,
}

/// A version of a log: its generation and the position of its last change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogVersion {
    /// The generation of the log; 0 if none is known. The generations of one log only grow.
    pub generation: u64,
    /// The position of the last change.
    pub head: Position,
}

/// A change that a node proposes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proposal {
    /// Adds a member.
    Join(MemberSpec),
    /// Removes a member.
    Leave(PeerId, LeaveCause),
}

/// A request of a node to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreRequest {
    /// Renews the lease of a node. → [`StoreResponse::Heartbeat`]
    Heartbeat {
        /// The lease that is renewed.
        lease: Lease,
        /// The heartbeat counter, which only grows.
        counter: u64,
        /// The status report of the node for operators and other nodes, as JSON.
        status: String,
    },
    /// Fences a lease, if the last heartbeat and the epoch of the node are still these. From then on,
    /// heartbeats of the node with this epoch or an older one are answered as not valid.
    /// → [`StoreResponse::Fenced`]
    Fence {
        /// The lease that is fenced.
        lease: Lease,
        /// The last heartbeat seen.
        last_heartbeat: u64,
    },
    /// Removes a node from the node list, if its epoch is still this one. A node that closes sends it for
    /// itself; another node sends it for a fenced node after its members are evicted.
    /// → [`StoreResponse::Done`]
    RemoveNode(Lease),
    /// The logs to which the node is subscribed. → [`StoreResponse::Logs`]
    SubscribedLogs(NodeId),
    /// Subscribes this node to the events of the log. → [`StoreResponse::Done`]
    Subscribe(NodeId, LogId),
    /// Ends the subscription of this node to the log. → [`StoreResponse::Done`]
    Unsubscribe(NodeId, LogId),
    /// Reads the whole log. → [`StoreResponse::Read`]
    Read(LogId),
    /// Proposes a change. A join creates the log if it does not exist. → [`StoreResponse::Changed`]
    Change {
        /// The log to change.
        log: LogId,
        /// The lease of the proposing node.
        lease: Lease,
        /// The proposed change.
        proposal: Proposal,
        /// The maximum number of members; 0 means no limit.
        members_max: usize,
    },
    /// Makes the members of the node in a log those that it wants, in one step:
    ///
    /// 1. If the log does not exist, or its head is behind `known_version.head` in the same generation (the
    ///    store has lost data), a new generation begins.
    /// 2. A fenced lease changes nothing → `fenced`.
    /// 3. A wanted member that exists is taken over by the lease, without an event. If it exists since an
    ///    earlier position than the wanted `since`, the store has lost the later membership: some nodes
    ///    know the earlier one and some the later one. The member is removed (`LeaveCause::NodeLost`) and joins
    ///    at the next position, so that all nodes observe the same new membership.
    /// 4. A wanted member that does not exist, but had joined (`since`) in another generation than the
    ///    current one of the log, is restored with its old `since` (a change with its own position).
    /// 5. Any other wanted member joins at the next position, if its address is free. A member without
    ///    `since` joins only if there are fewer than `members_max` members.
    /// 6. Other members of the node are removed (`LeaveCause::Requested(LeaveKind::Announced)`).
    ///
    /// → [`StoreResponse::Synced`]
    Sync {
        /// The log to synchronise.
        log: LogId,
        /// The lease of the node.
        lease: Lease,
        /// The version of the log that the node knew.
        known_version: LogVersion,
        /// The wanted members, oldest first.
        wanted: Vec<MemberSpec>,
        /// The maximum number of members, as in `Change`.
        members_max: usize,
    },
    /// Removes all members that the node has under this epoch or an older one (`LeaveCause::NodeLost`),
    /// and rejects changes of the node under these epochs from then on. → [`StoreResponse::Done`]
    Evict(LogId, Lease),
    /// Sends an encoded envelope to a node. → [`StoreResponse::Posted`]
    Post(NodeId, Vec<u8>),
}

/// A response of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreResponse {
    /// The response to [`StoreRequest::Heartbeat`].
    Heartbeat {
        /// Whether the lease is valid; it is not if it was fenced.
        valid: bool,
        /// Whether the node was on the node list before this heartbeat. It is not at its first heartbeat,
        /// or after the store has lost its data.
        was_listed: bool,
        /// All nodes on the list, this one included.
        nodes: Vec<NodeStatus>,
    },
    /// Whether the lease is fenced now, by this request or an earlier one.
    Fenced(bool),
    /// The logs to which the node is subscribed.
    Logs(Vec<LogId>),
    /// The current state of the log; `None` if it does not exist.
    Read(Option<Snapshot>),
    /// The response to [`StoreRequest::Change`].
    Changed {
        /// The result of the proposal.
        outcome: ChangeOutcome,
    },
    /// The response to [`StoreRequest::Sync`].
    Synced {
        /// Whether the lease is fenced; nothing has changed then.
        fenced: bool,
        /// The members that could not join.
        rejected: Vec<(PeerId, JoinRejection)>,
        /// The log after the request; `None` if it does not exist.
        snapshot: Option<Snapshot>,
    },
    /// The number of connections that received the envelope; 0 means that the node is not connected.
    Posted(u64),
    /// The request is executed; there is nothing to return.
    Done,
    /// A request about one log failed, because the data of the log in the store is corrupt. Nothing has
    /// changed, except if a [`StoreRequest::Sync`] was executed and only its snapshot cannot be read. The
    /// text is an error message.
    Failed(String),
}

/// The state of a log at one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The generation and the head.
    pub version: LogVersion,
    /// The members, ordered by `since`.
    pub members: Vec<StoredMember>,
}

/// The result of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeOutcome {
    /// The change is in the log, at this version.
    Applied(LogVersion),
    /// The joining peer is a member already, since this position. Nothing has changed.
    AlreadyMember(Position),
    /// The join was rejected.
    Rejected(JoinRejection),
    /// The lease is fenced; nothing has changed.
    Fenced,
    /// The leaving peer is not a member under this epoch of the node or an older one (or, for an eviction,
    /// not a member at all). Nothing has changed.
    NotAMember,
}

/// The reason for which a join was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinRejection {
    /// The address belongs to another member.
    Taken,
    /// The log has the maximum number of members.
    Full,
}

/// The event that is published to the subscribers of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEvent {
    /// The generation and the position of the change.
    pub version: LogVersion,
    /// The committed change.
    pub change: StoredChange,
}

/// A committed change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredChange {
    /// A member has joined. Its `since` is the position of the change, or an older one if the membership
    /// was restored.
    Join(StoredMember),
    /// A member has left.
    Leave(PeerId, LeaveCause),
}

/// An entry of the node list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// The node and its latest epoch.
    pub lease: Lease,
    /// Its last heartbeat counter.
    pub heartbeat: u64,
    /// Whether the lease is fenced.
    pub is_fenced: bool,
    /// The status report of the node, as JSON.
    pub status: String,
}

//! What a cluster asks of the store that its nodes share, and what the store answers.
//!
//! The store holds, per log: a *generation* (which of its lives this is), the *head* (the position
//! of its last change), a seat per member, and *fences* (up to which epoch a node's changes are no
//! longer taken). It exists while it has a seat, and for a minute after. Every request is one atomic step. Every change
//! takes the next position and is told, as a [`LogEvent`], to the nodes that have opened the log.
//! News may be lost, doubled, late or out of order; answers come to who asked, or are lost with the
//! connection. Requests of one connection are carried out in their order.

use switchboard_core::{Address, LeaveCause, LogId, NodeId, PeerId, Position};

/// A node's right to have seats. When it is buried, the node takes the next epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lease {
    /// Whose.
    pub node: NodeId,
    /// Counted from 1.
    pub epoch: u32,
}

/// A member as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMember {
    /// Who.
    pub peer: PeerId,
    /// What it is called in the log: nobody else of it is.
    pub address: Address,
    /// Of which node.
    pub lease: Lease,
    /// The position of its join.
    pub since: Position,
    /// Whatever else the nodes say of it; nothing to the store.
    pub metadata: String,
}

/// A seat that a node wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberSpec {
    /// Who.
    pub peer: PeerId,
    /// What it is called.
    pub address: Address,
    /// The position of its seat, if it has been given one.
    pub since: Option<Position>,
    /// As in [`StoredMember::metadata`].
    pub metadata: String,
}

/// Up to where a node knows a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogVersion {
    /// Which of the log's lives; 0 if none is known. Generations of one log only grow.
    pub generation: u64,
    /// The last position.
    pub head: Position,
}

/// A change as a node proposes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proposal {
    /// A seat for somebody.
    Join(MemberSpec),
    /// None any more.
    Leave(PeerId, LeaveCause),
}

/// What a node asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreRequest {
    /// "I live": `beat` counts up; `status` is for people and other nodes (JSON). → [`StoreResponse::Heartbeat`]
    Heartbeat {
        /// Who.
        lease: Lease,
        /// How often it has said so.
        counter: u64,
        /// How it is.
        status: String,
    },
    /// Declares a lease dead, if the node's last beat is still this one and its epoch this one.
    /// From then on the node's beats with this epoch or an older one are answered as not valid.
    /// → [`StoreResponse::Fenced`]
    Fence {
        /// Whose.
        lease: Lease,
        /// The last beat seen.
        last_heartbeat: u64,
    },
    /// Strikes a node off the list, if its epoch is still this one. Who leaves in good order says it
    /// of itself; of a buried node it is said when all its seats are free. → [`StoreResponse::Done`]
    RemoveNode(Lease),
    /// The logs that the node has opened and not closed. → [`StoreResponse::Logs`]
    SubscribedLogs(NodeId),
    /// From now on this node is told the log's news. → [`StoreResponse::Done`]
    Subscribe(NodeId, LogId),
    /// And from now on no longer. → [`StoreResponse::Done`]
    Unsubscribe(NodeId, LogId),
    /// → [`StoreResponse::Read`]
    Read(LogId),
    /// A change. A join begins the log if there is none. → [`StoreResponse::Changed`]
    Change {
        /// Of which log.
        log: LogId,
        /// By whom.
        lease: Lease,
        /// Which.
        proposal: Proposal,
        /// How many seats there may be; 0: any number.
        members_max: usize,
    },
    /// Makes the node's seats in a log those that it wants, in one step:
    ///
    /// 1. where there is no log, or its head is behind `known.head` in the same generation (the
    ///    store has forgotten something), a new generation begins;
    /// 2. a lease that is fenced changes nothing → `fenced`;
    /// 3. a wanted seat that exists is taken over by the lease (no news);
    /// 4. a wanted seat that does not exist, but had a place (`since`) in another generation than the
    ///    log's present one, is restored at its old `since` (a change, with its own position);
    /// 5. any other wanted seat is given anew, at the next position, if its address is free; one that
    ///    never had a `since` only if there are fewer than `seats`;
    /// 6. other seats of the node become free (`LeaveCause::Requested(LeaveKind::Announced)`).
    ///
    /// → [`StoreResponse::Synced`]
    Sync {
        /// Which log.
        log: LogId,
        /// Whose.
        lease: Lease,
        /// Up to where the node knew it.
        known_version: LogVersion,
        /// The seats, oldest first.
        wanted: Vec<MemberSpec>,
        /// As in `Change`.
        members_max: usize,
    },
    /// Frees all seats that the node has under this epoch or an older one (`LeaveCause::NodeLost`), and
    /// takes no changes from it under these any more. → [`StoreResponse::Done`]
    Evict(LogId, Lease),
    /// Gives a message to a node. → [`StoreResponse::Posted`]
    Post(NodeId, Vec<u8>),
}

/// What the store answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreResponse {
    /// To [`StoreRequest::Heartbeat`].
    Heartbeat {
        /// Whether the lease is (no longer, if it was buried).
        valid: bool,
        /// Whether the store had this node on its list before this beat: not before its first one,
        /// nor after the store has forgotten everything.
        is_listed: bool,
        /// All nodes on the list, this one included.
        nodes: Vec<NodeStatus>,
    },
    /// Whether the lease is buried now, by this request or before.
    Fenced(bool),
    /// Logs.
    Logs(Vec<LogId>),
    /// The log as it is; none if there is no such log.
    Read(Option<Snapshot>),
    /// To [`StoreRequest::Change`].
    Changed {
        /// What became of it.
        outcome: ChangeOutcome,
    },
    /// To [`StoreRequest::Sync`].
    Synced {
        /// The lease is fenced: nothing was done.
        fenced: bool,
        /// Who was not given a seat.
        rejected: Vec<(PeerId, JoinRejection)>,
        /// The log after it; none if nobody is left in it.
        snapshot: Option<Snapshot>,
    },
    /// How many have received it: 0 means that the node does not listen.
    Posted(u64),
    /// It is done.
    Done,
    /// To a request about one log: the store could not carry it out, because what it holds there is
    /// not what nodes write. Nothing has changed, but for a [`StoreRequest::Sync`] that was carried out
    /// and whose snapshot nobody can read. The text is for people.
    Failed(String),
}

/// A log at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Generation and head.
    pub version: LogVersion,
    /// The seats, by `since`.
    pub members: Vec<StoredMember>,
}

/// What became of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeOutcome {
    /// It is in the log, here.
    Applied(LogVersion),
    /// The join: the peer had a seat already, here. Nothing has changed.
    AlreadyMember(Position),
    /// The join did not happen.
    Rejected(JoinRejection),
    /// The lease is fenced; nothing has changed.
    Fenced,
    /// The leave: there is no such seat of this node's epoch or an older one (or, for an eviction,
    /// no such seat at all). Nothing has changed.
    NotAMember,
}

/// Why a join did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinRejection {
    /// The address is another's.
    Taken,
    /// There are as many seats as may be.
    Full,
}

/// What the nodes that have opened a log are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEvent {
    /// Generation and position of the change.
    pub version: LogVersion,
    /// What has changed.
    pub change: StoredChange,
}

/// A change that has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredChange {
    /// A seat is somebody's. Its `since` is the change's own position, or an older one where it was
    /// restored.
    Join(StoredMember),
    /// A seat is free.
    Leave(PeerId, LeaveCause),
}

/// A line of the list of nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Who, and its latest epoch.
    pub lease: Lease,
    /// Its last beat.
    pub heartbeat: u64,
    /// The lease was declared dead.
    pub is_fenced: bool,
    /// What it said of itself.
    pub status: String,
}

//! One node of a cluster, as a state machine without sockets and clocks.
//!
//! The driver ([`Driver`](crate::Driver)) does the I/O. It passes in the inputs ([`NodeInput`]) and the
//! time, and then fetches the effects ([`Node::poll_effect`]). While the store is connected and no batch is
//! in flight, the driver fetches the next requests ([`Node::next_batch`]), executes them in order, and passes
//! in the responses in the same order. When the connection breaks, all requests in flight are treated as lost.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use switchboard_core::{
    Change, Entry, JoiningClient, LeaveCause, Limits, LogId, Member, NodeId, NodeMessage, PeerId,
    RejectReason, SharedRoomPolicies, lower_limit,
};

use crate::{
    DialectRegistry, NodeLine, envelope,
    failure_detector::FailureDetector,
    message_formats::MessageFormats,
    outbox::NodeOutbox,
    replica::{DesiredMember, Replica},
    store::{Lease, LogEvent, NodeStatus, StoreRequest, StoreResponse},
};

mod connection;
mod proposals;
mod responses;

/// How long a join may wait for the store before it is rejected.
const JOIN_TIMEOUT: Duration = Duration::from_millis(1800);

/// The time in which a challenged member (one that is asked whether it is alive) must answer before it is evicted:
/// `CHALLENGE_TIMEOUT` of `switchboard-core`.
const CHALLENGE: Duration = Duration::from_secs(2);

/// How long an event may be missing before the log is read again.
const GAP_TIMEOUT: Duration = Duration::from_millis(50);

/// How long a replica is kept after its last member of this node has left. It is longer than [`CHALLENGE`], so that
/// a challenge in progress is not cut off.
const IDLE_RETENTION: Duration = Duration::from_secs(10);

/// Maximum number of requests queued for the store. Further joins are rejected.
const QUEUE_MAX: usize = 16 * 1024;

/// Maximum number of requests in one round trip, and of the members that the store reads or writes for them. They
/// bound the response time of the store.
const BATCH_MAX: usize = 512;
const BATCH_MEMBERS_MAX: usize = 2000;

/// Heartbeats per lease duration.
pub const HEARTBEATS_PER_LEASE: u32 = 10;

/// Logs that are probed (read to compare their heads) after each heartbeat, in rotation. A probe finds the
/// loss of the last event of a log: no later event would show that gap.
const PROBES_PER_HEARTBEAT: usize = 4;

/// The settings of a node.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// The id of the node, drawn at random.
    pub node: NodeId,
    /// How long the node may be silent before the other nodes declare it dead.
    pub lease: Duration,
    /// The limits in force.
    pub limits: Arc<Limits>,
    /// The room policies in force, which may limit the members of a room further.
    pub policies: SharedRoomPolicies,
}

/// An input of the state machine.
#[derive(Debug)]
pub enum NodeInput {
    /// A member of this node joins or leaves, or this node proposes to evict a member of another
    /// node.
    Propose(LogId, Change),
    /// Sends a message to another node.
    Send(NodeId, NodeMessage),
    /// The store is connected. Earlier requests are not answered any more.
    Connected,
    /// The store is disconnected.
    Disconnected,
    /// The responses to the last batch.
    Responses(Vec<StoreResponse>),
    /// An event of a log to which this node is subscribed.
    LogEvent(LogId, LogEvent),
    /// An encoded envelope with messages for this node.
    Envelope(Vec<u8>),
    /// The node will stop: it removes its members from all logs, and itself from the node list.
    Close,
}

/// An effect that the driver carries out.
#[derive(Debug)]
pub enum NodeEffect {
    /// These changes of a log are committed; the hub applies them in one step.
    Committed(LogId, Vec<Entry>),
    /// A change for this member was not committed.
    Rejected(LogId, PeerId, RejectReason),
    /// A message from another node arrived.
    NodeMessage(NodeId, NodeMessage),
    /// A message of this node could not be sent.
    Undeliverable(NodeMessage),
    /// All or some messages of an envelope were discarded: they are malformed, unknown or of another
    /// format version.
    Discarded {
        /// The sending node, if it can be read.
        from: Option<NodeId>,
        /// The format version of the envelope.
        version: u8,
    },
    /// This node of the node list has another format of messages. Messages to it are undeliverable.
    OtherFormat(NodeLine),
    /// The store has lost the entry of this node, and possibly all other data.
    StoreLost,
}

/// The use of the response to a request that is queued or in flight. A number is the epoch of this node when the
/// request was queued.
#[derive(Debug)]
enum PendingRequest {
    Heartbeat(u32),
    /// Another node is declared dead.
    Fence(Lease),
    /// The logs of a fenced node, from which its members are evicted.
    Logs(Lease),
    /// The logs to which this node is subscribed according to the store.
    OwnLogs,
    /// A whole log, and the peers whose join is rejected after it is applied, because their address is taken.
    Read(LogId, Vec<PeerId>),
    /// The head of a log, to detect missed events.
    Probe(LogId),
    Sync(LogId, u32),
    Join(LogId, DesiredMember, u32),
    Leave(LogId, PeerId, LeaveCause, u32),
    /// The removal of a membership from an abandoned join.
    RemoveOutdated(LogId, PeerId),
    Post(Vec<NodeMessage>),
    /// The response is ignored.
    Nothing,
}

/// A timer of the state machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// The next heartbeat is due.
    Heartbeat,
    /// The join has timed out.
    Join(LogId, PeerId),
    /// Missing events have not arrived: the log is read.
    Gap(LogId),
    /// The replica without members of this node is dropped.
    IdleRetention(LogId),
    /// The nodes have had time to restore the memberships that the store has lost.
    RestoreGrace(LogId),
}

/// The state machine of a node.
pub struct Node {
    settings: NodeSettings,
    dialects: Arc<dyn DialectRegistry>,
    lease: Lease,
    /// The counter of the last heartbeat.
    heartbeat: u64,
    /// The number of joins so far. It makes the metadata of each join different.
    joins: u64,
    /// The status report that the heartbeats carry.
    status: String,
    failure_detector: FailureDetector,
    message_formats: MessageFormats,
    /// `Ok`: connected since this time. `Err`: disconnected since this time.
    connected: Result<Instant, Instant>,
    is_closing: bool,
    replicas: BTreeMap<LogId, Replica>,
    /// The log that was probed last. The rotation continues after it.
    last_probed: Option<LogId>,
    /// Requests for the next round trips, each with the use of its response.
    queue: VecDeque<(StoreRequest, PendingRequest)>,
    in_flight: Vec<PendingRequest>,
    outbox: NodeOutbox,
    /// Whether the store has answered a heartbeat since it was last disconnected.
    is_store_confirmed: bool,
    timers: BTreeSet<(Instant, Timer)>,
    effects: VecDeque<NodeEffect>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("lease", &self.lease)
            .field("logs", &self.replicas.len())
            .finish_non_exhaustive()
    }
}

impl Node {
    /// Creates a node without logs and without a connection.
    #[must_use]
    pub fn new(settings: NodeSettings, dialects: Arc<dyn DialectRegistry>, now: Instant) -> Self {
        let node = settings.node;
        // Another node sees the last heartbeat up to one interval (a tenth of the lease) late, and notices the timeout
        // up to one interval late. With three quarters of the lease as the timeout, the dead node is fenced and its
        // members are evicted within the duration of the lease.
        let failure_detector = FailureDetector::new(node, settings.lease * 3 / 4);
        Self {
            lease: Lease { node, epoch: 1 },
            heartbeat: 0,
            joins: 0,
            status: String::new(),
            failure_detector,
            message_formats: MessageFormats::default(),
            connected: Err(now),
            is_closing: false,
            replicas: BTreeMap::new(),
            last_probed: None,
            queue: VecDeque::new(),
            in_flight: Vec::new(),
            outbox: NodeOutbox::default(),
            is_store_confirmed: false,
            timers: BTreeSet::new(),
            effects: VecDeque::new(),
            settings,
            dialects,
        }
    }

    /// Processes an input.
    pub fn handle(&mut self, input: NodeInput, now: Instant) {
        match input {
            NodeInput::Propose(log, Change::Join(member)) => self.propose_join(log, member, now),
            NodeInput::Propose(log, Change::Leave(peer, cause)) => {
                self.propose_leave(log, peer, cause, now);
            }
            NodeInput::Send(to, message) => self.queue_message(to, message),
            NodeInput::Connected => self.handle_connected(now),
            NodeInput::Disconnected => self.handle_disconnected(now),
            NodeInput::Responses(responses) => {
                let in_flight = std::mem::take(&mut self.in_flight);
                for (pending, response) in in_flight.into_iter().zip(responses) {
                    self.handle_response(pending, response, now);
                }
            }
            NodeInput::LogEvent(log, event) => self.handle_log_event(&log, event, now),
            NodeInput::Envelope(bytes) => self.receive_envelope(&bytes, now),
            NodeInput::Close => self.close(),
        }
    }

    /// Fires the timers that are due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, _)) = self.timers.first() {
            if *at > now {
                return;
            }
            if let Some((at, timer)) = self.timers.pop_first() {
                self.fire_timer(timer, at, now);
            }
        }
    }

    /// The time of the next timer, at or after which [`Node::handle_timeout`] must be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Removes the next effect from the queue, if any.
    pub fn poll_effect(&mut self) -> Option<NodeEffect> {
        self.effects.pop_front()
    }

    /// The requests of the next round trip. Empty if there are none, if a batch is in flight, or if
    /// the store is disconnected.
    pub fn next_batch(&mut self) -> Vec<StoreRequest> {
        if self.connected.is_err() || !self.in_flight.is_empty() {
            return Vec::new();
        }
        // Messages come first: they must arrive before the leave of their sender.
        let mut batch = self.next_messages();
        let mut members = 0;
        let fits = |(request, pending): &&(StoreRequest, PendingRequest)| {
            let fits = members < BATCH_MEMBERS_MAX && !self.has_queued_messages(pending);
            members += self.members_touched(request, pending);
            fits
        };
        let count = self.queue.iter().take(BATCH_MAX).take_while(fits).count();
        batch.extend(self.queue.drain(..count));
        let (requests, in_flight) = batch.into_iter().unzip();
        self.in_flight = in_flight;
        requests
    }

    /// Whether the request is the leave of a member that still has queued messages.
    fn has_queued_messages(&self, pending: &PendingRequest) -> bool {
        let PendingRequest::Leave(_, peer, ..) = pending else {
            return false;
        };
        self.outbox.has_waiting_of(*peer)
    }

    /// The next batch of messages, as requests.
    fn next_messages(&mut self) -> Vec<(StoreRequest, PendingRequest)> {
        let batch = self.outbox.take_batch().into_iter();
        let posts = batch.map(|(to, messages)| {
            let positioned = messages.iter().map(|(at, message)| (*at, message));
            let request = StoreRequest::Post(to, envelope::write(self.lease.node, positioned));
            let messages = messages.into_iter().map(|(_, message)| message);
            (request, PendingRequest::Post(messages.collect()))
        });
        posts.collect()
    }

    /// The number of members that the store reads or writes for a request.
    fn members_touched(&self, request: &StoreRequest, pending: &PendingRequest) -> usize {
        let (PendingRequest::Sync(log, _) | PendingRequest::Read(log, _)) = pending else {
            return 1;
        };
        let mut wanted = 0;
        if let StoreRequest::Sync { wanted: specs, .. } = request {
            wanted = specs.len();
        }
        1 + wanted + self.replicas.get(log).map_or(0, Replica::len)
    }

    /// Sets the status report that the next heartbeats carry.
    pub fn set_status(&mut self, status: String) {
        self.status = status;
    }

    /// The current lease of this node.
    #[must_use]
    pub fn lease(&self) -> Lease {
        self.lease
    }

    /// The nodes on the node list as last seen, each with the time when its heartbeat was last seen
    /// to change.
    pub fn nodes(&self) -> impl Iterator<Item = (&NodeStatus, Instant)> {
        self.failure_detector.nodes()
    }

    /// How long the store has been disconnected; `None` while it is connected.
    #[must_use]
    pub fn down_for(&self, now: Instant) -> Option<Duration> {
        let since = self.connected.err()?;
        Some(now.saturating_duration_since(since))
    }

    /// The number of requests and messages that are queued or in flight, without heartbeats.
    #[must_use]
    pub fn queue_len(&self) -> usize {
        let queued = self.queue.iter().map(|(_, pending)| pending);
        let requests = queued.chain(&self.in_flight);
        let is_counted = |pending: &&PendingRequest| {
            !matches!(
                pending,
                PendingRequest::Heartbeat(_) | PendingRequest::Post(_)
            )
        };
        requests.filter(is_counted).count() + self.outbox.len()
    }

    /// The number of logs that this node replicates, and the number of members in them.
    #[must_use]
    pub fn logs(&self) -> (usize, usize) {
        let members = self.replicas.values().map(Replica::len).sum();
        (self.replicas.len(), members)
    }

    /// The number of rooms in which this node has members, and the number of these members.
    #[must_use]
    pub fn rooms(&self) -> (usize, usize) {
        let rooms = self.replicas.iter();
        rooms
            .filter(|(log, _)| matches!(log, LogId::Room(_)))
            .map(|(_, replica)| replica.desired.len())
            .filter(|members| *members > 0)
            .fold((0, 0), |(rooms, all), members| (rooms + 1, all + members))
    }

    fn enqueue(&mut self, request: StoreRequest, pending: PendingRequest) {
        self.queue.push_back((request, pending));
    }

    fn emit_committed(&mut self, log: &LogId, entries: Vec<Entry>) {
        if !entries.is_empty() {
            self.effects
                .push_back(NodeEffect::Committed(log.clone(), entries));
        }
    }

    fn emit_rejected(&mut self, log: &LogId, peer: PeerId, reason: RejectReason) {
        self.effects
            .push_back(NodeEffect::Rejected(log.clone(), peer, reason));
    }

    /// The maximum number of members of the log when this member joins; 0 means no limit.
    fn members_max(&self, log: &LogId, newcomer: &Member) -> usize {
        match log {
            LogId::Room(room) => {
                let of_limits = self.settings.limits.members_max(newcomer);
                let policies = self.settings.policies.load();
                lower_limit(
                    of_limits,
                    policies.members_max(&room.name, &JoiningClient::of(newcomer, false)),
                )
            }
            LogId::Name(..) | LogId::Election(_) => 0,
        }
    }

    // Timers

    fn fire_timer(&mut self, timer: Timer, at: Instant, now: Instant) {
        match timer {
            Timer::Heartbeat if self.connected.is_ok() => self.send_heartbeat(now),
            // A new connection begins with a heartbeat.
            Timer::Heartbeat => {}
            Timer::Join(log, peer) => {
                let replica = self.replicas.get(&log);
                let has_timed_out = replica
                    .and_then(|replica| replica.desired.get(&peer))
                    .is_some_and(|desired| desired.join_deadline == Some(at));
                if has_timed_out && self.abandon_join(&log, peer) {
                    self.emit_rejected(&log, peer, RejectReason::Unavailable);
                    self.schedule_close(&log, now);
                }
            }
            Timer::Gap(log) => {
                if self.connected.is_ok() {
                    self.fill_gap(&log);
                }
            }
            Timer::IdleRetention(log) => self.drop_idle_log(&log, at),
            Timer::RestoreGrace(log) => {
                if let Some(replica) = self.replicas.get_mut(&log)
                    && replica.restore_grace == Some(at)
                {
                    replica.restore_grace = None;
                    replica.must_remove_unrestored = true;
                    if self.connected.is_ok() {
                        self.read(&log, Vec::new());
                    }
                }
            }
        }
    }

    /// Reads a log if its missing events have not arrived within the gap timeout.
    fn fill_gap(&mut self, log: &LogId) {
        let Some(replica) = self.replicas.get_mut(log) else {
            return;
        };
        if replica.is_behind() {
            self.read(log, Vec::new());
        } else {
            replica.is_read_planned = false;
        }
    }

    /// Drops the replica whose retention ends at `at`, unless a member of this node needs it again.
    fn drop_idle_log(&mut self, log: &LogId, at: Instant) {
        let Some(replica) = self.replicas.get(log) else {
            return;
        };
        if replica.retained_until != Some(at) || replica.is_needed() {
            return;
        }
        if let Some(mut replica) = self.replicas.remove(log) {
            // No further change of the log will arrive, so its held messages are delivered now.
            self.effects.extend(
                replica
                    .take_held()
                    .into_iter()
                    .map(|held| NodeEffect::NodeMessage(held.from, held.message)),
            );
            let entries = replica.clear();
            self.emit_committed(log, entries);
        }
        if self.connected.is_ok() {
            let request = StoreRequest::Unsubscribe(self.lease.node, log.clone());
            self.enqueue(request, PendingRequest::Nothing);
        }
    }

    fn close(&mut self) {
        self.is_closing = true;
        if self.connected.is_err() {
            return;
        }
        for (log, replica) in std::mem::take(&mut self.replicas) {
            if replica.is_needed() {
                self.leave_log(log.clone(), replica.version);
            }
            self.enqueue(
                StoreRequest::Unsubscribe(self.lease.node, log),
                PendingRequest::Nothing,
            );
        }
        self.enqueue(
            StoreRequest::RemoveNode(self.lease),
            PendingRequest::Nothing,
        );
        self.timers.clear();
    }
}

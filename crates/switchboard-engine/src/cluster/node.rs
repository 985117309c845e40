//! One node of a cluster, as a machine: it knows no socket and no clock.
//!
//! Its driver hands it what happens ([`NodeInput`]) and the time, and then fetches what follows
//! ([`Node::poll_effect`]). While the store is connected and nothing is under way, it takes the next
//! requests ([`Node::next_batch`]), has them carried out in their order, and hands in the answers in
//! the same order. When the connection breaks, everything under way is taken for lost.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use switchboard_core::{
    Change, Entry, LeaveCause, Limits, LogId, Member, NodeId, NodeMessage, PeerId, RejectReason,
};

use super::{
    envelope,
    failure_detector::FailureDetector,
    outbox::NodeOutbox,
    replica::{DesiredMember, Replica},
    store::{Lease, LogEvent, NodeStatus, StoreRequest, StoreResponse},
};
use crate::DialectRegistry;

mod connection;
mod proposals;
mod responses;

/// How long a join may wait for the store.
const JOIN_TIMEOUT: Duration = Duration::from_millis(1800);

/// How long whoever is taken for a ghost has had to answer.
const CHALLENGE: Duration = Duration::from_secs(2);

/// How long news may come out of order before the log is read anew.
const GAP_TIMEOUT: Duration = Duration::from_millis(50);

/// How long a log is kept that nobody here wants any more: longer than a challenge takes.
const IDLE_RETENTION: Duration = Duration::from_secs(10);

/// Changes that may wait for the store; joins beyond are declined.
const QUEUE_MAX: usize = 16 * 1024;

/// Requests in one round trip, and seats that the store goes through for them: it must answer in time.
const BATCH_MAX: usize = 512;
const BATCH_MEMBERS_MAX: usize = 2000;

/// Beats in the time of a lease.
pub const HEARTBEATS_PER_LEASE: u32 = 10;

/// Logs that are read with each beat, in turn: where a log's last news are lost, nothing after them
/// tells.
const PROBES_PER_HEARTBEAT: usize = 4;

/// What a node is told when it begins.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// Its id, drawn at random.
    pub node: NodeId,
    /// How long it may be silent before the others take it for dead.
    pub lease: Duration,
    /// The bounds in force.
    pub limits: Arc<Limits>,
}

/// What happens.
#[derive(Debug)]
pub enum NodeInput {
    /// A member of this node comes or goes, or another's is to go.
    Propose(LogId, Change),
    /// Something for another node.
    Send(NodeId, NodeMessage),
    /// The store is there. What was asked before is not answered any more.
    Connected,
    /// The store is away.
    Disconnected,
    /// The answers to the last batch.
    Responses(Vec<StoreResponse>),
    /// A change in a log that this node has opened.
    LogEvent(LogId, LogEvent),
    /// A message for this node.
    Envelope(Vec<u8>),
    /// The node will stop: its seats become free, and it is struck off the list.
    Close,
}

/// What follows.
#[derive(Debug)]
pub enum NodeEffect {
    /// For the hub, in one step.
    Committed(LogId, Vec<Entry>),
    /// For the hub.
    Rejected(LogId, PeerId, RejectReason),
    /// For the hub.
    NodeMessage(NodeId, NodeMessage),
    /// For the hub.
    Undeliverable(NodeMessage),
    /// The store has forgotten this node, and perhaps all else that it was told.
    StoreLost,
}

/// What a request was for.
#[derive(Debug)]
enum PendingRequest {
    Heartbeat(u32),
    Fence(Lease),
    Logs(Lease),
    OwnLogs,
    Read(LogId, Vec<PeerId>),
    Probe(LogId),
    Sync(LogId, u32),
    Join(LogId, DesiredMember, u32),
    Leave(LogId, PeerId, LeaveCause, u32),
    Release(LogId, PeerId),
    Post(Vec<NodeMessage>),
    Nothing,
}

/// What is to be looked at again at some time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Heartbeat,
    Join(LogId, PeerId),
    Gap(LogId),
    IdleRetention(LogId),
    RestoreGrace(LogId),
}

/// The machine.
pub struct Node {
    settings: NodeSettings,
    dialects: Arc<dyn DialectRegistry>,
    lease: Lease,
    heartbeat: u64,
    joins: u64,
    status: String,
    failure_detector: FailureDetector,
    /// Since when the store has been there, or away.
    connected: Result<Instant, Instant>,
    is_closing: bool,
    replicas: BTreeMap<LogId, Replica>,
    /// The last log that was read in its turn.
    last_probed: Option<LogId>,
    /// Requests for the next round trips, and what they are for.
    queue: VecDeque<(StoreRequest, PendingRequest)>,
    in_flight: Vec<PendingRequest>,
    outbox: NodeOutbox,
    /// Something has been answered since the store was last away.
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
    /// A node that has nothing yet and no connection.
    #[must_use]
    pub fn new(settings: NodeSettings, words: Arc<dyn DialectRegistry>, now: Instant) -> Self {
        let node = settings.node;
        // Others see a last beat up to one interval late, and that none follows it up to one interval
        // after their patience is over: with what must be said then, all is over within the lease.
        let watch = FailureDetector::new(node, settings.lease * 3 / 4);
        Self {
            lease: Lease { node, epoch: 1 },
            heartbeat: 0,
            joins: 0,
            status: String::new(),
            failure_detector: watch,
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
            dialects: words,
        }
    }

    /// Takes an input.
    pub fn handle(&mut self, input: NodeInput, now: Instant) {
        match input {
            NodeInput::Propose(log, Change::Join(member)) => self.propose_join(log, member, now),
            NodeInput::Propose(log, Change::Leave(peer, departure)) => {
                self.propose_leave(log, peer, departure, now);
            }
            NodeInput::Send(to, letter) => self.queue_message(to, letter),
            NodeInput::Connected => self.handle_connected(now),
            NodeInput::Disconnected => self.handle_disconnected(now),
            NodeInput::Responses(answers) => {
                let asked = std::mem::take(&mut self.in_flight);
                for (asked, answer) in asked.into_iter().zip(answers) {
                    self.handle_response(asked, answer, now);
                }
            }
            NodeInput::LogEvent(log, news) => self.handle_log_event(&log, news, now),
            NodeInput::Envelope(bytes) => self.receive_envelope(&bytes, now),
            NodeInput::Close => self.close(),
        }
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, _)) = self.timers.first() {
            if *at > now {
                return;
            }
            if let Some((at, alarm)) = self.timers.pop_first() {
                self.set_timer(alarm, at, now);
            }
        }
    }

    /// When [`Node::handle_timeout`] must be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// The next thing that follows, if any.
    pub fn poll_effect(&mut self) -> Option<NodeEffect> {
        self.effects.pop_front()
    }

    /// The requests of the next round trip; empty if there are none, or the last ones are not
    /// answered yet, or the store is away.
    pub fn next_batch(&mut self) -> Vec<StoreRequest> {
        if self.connected.is_err() || !self.in_flight.is_empty() {
            return Vec::new();
        }
        // What somebody says before it leaves is to be heard before.
        let mut batch = self.next_messages();
        let mut seats = 0;
        let is_due = |(request, asked): &&(StoreRequest, PendingRequest)| {
            let is_due = seats < BATCH_MEMBERS_MAX && !self.has_queued_messages(asked);
            seats += self.members_touched(request, asked);
            is_due
        };
        let count = self.queue.iter().take(BATCH_MAX).take_while(is_due).count();
        batch.extend(self.queue.drain(..count));
        let (requests, asked) = batch.into_iter().unzip();
        self.in_flight = asked;
        requests
    }

    /// Whether somebody is to leave whose letters still wait.
    fn has_queued_messages(&self, asked: &PendingRequest) -> bool {
        let PendingRequest::Leave(_, peer, ..) = asked else {
            return false;
        };
        self.outbox.has_waiting_of(*peer)
    }

    /// A portion of the letters.
    fn next_messages(&mut self) -> Vec<(StoreRequest, PendingRequest)> {
        let portion = self.outbox.take_batch().into_iter();
        let posts = portion.map(|(to, letters)| {
            let message = letters.iter().map(|(at, letter)| (*at, letter));
            let request = StoreRequest::Post(to, envelope::write(self.lease.node, message));
            let letters = letters.into_iter().map(|(_, letter)| letter);
            (request, PendingRequest::Post(letters.collect()))
        });
        posts.collect()
    }

    /// How many seats the store goes through for a request.
    fn members_touched(&self, request: &StoreRequest, asked: &PendingRequest) -> usize {
        let (PendingRequest::Sync(log, _) | PendingRequest::Read(log, _)) = asked else {
            return 1;
        };
        let mut wanted = 0;
        if let StoreRequest::Sync { wanted: seats, .. } = request {
            wanted = seats.len();
        }
        1 + wanted + self.replicas.get(log).map_or(0, Replica::len)
    }

    /// What the next beats say of this node.
    pub fn set_status(&mut self, status: String) {
        self.status = status;
    }

    /// Its lease.
    #[must_use]
    pub fn lease(&self) -> Lease {
        self.lease
    }

    /// The nodes on the list, as last seen, each with when its beat was last seen to change.
    pub fn nodes(&self) -> impl Iterator<Item = (&NodeStatus, Instant)> {
        self.failure_detector.nodes()
    }

    /// For how long the store has been away.
    #[must_use]
    pub fn down_for(&self, now: Instant) -> Option<Duration> {
        let since = self.connected.err()?;
        Some(now.saturating_duration_since(since))
    }

    /// Requests and letters that wait or are under way; beats are none.
    #[must_use]
    pub fn queue_len(&self) -> usize {
        let queued = self.queue.iter().map(|(_, asked)| asked);
        let requests = queued.chain(&self.in_flight);
        let is_one = |asked: &&PendingRequest| {
            !matches!(
                asked,
                PendingRequest::Heartbeat(_) | PendingRequest::Post(_)
            )
        };
        requests.filter(is_one).count() + self.outbox.len()
    }

    /// The logs known here, and how many seats they have.
    #[must_use]
    pub fn logs(&self) -> (usize, usize) {
        let seats = self.replicas.values().map(Replica::len).sum();
        (self.replicas.len(), seats)
    }

    /// The rooms that this node has members in, and how many.
    #[must_use]
    pub fn rooms(&self) -> (usize, usize) {
        let rooms = self.replicas.iter();
        rooms
            .filter(|(log, _)| matches!(log, LogId::Room(_)))
            .map(|(_, replica)| replica.desired.len())
            .filter(|members| *members > 0)
            .fold((0, 0), |(rooms, all), members| (rooms + 1, all + members))
    }

    fn enqueue(&mut self, request: StoreRequest, asked: PendingRequest) {
        self.queue.push_back((request, asked));
    }

    fn emit_committed(&mut self, log: &LogId, entries: Vec<Entry>) {
        if !entries.is_empty() {
            self.effects
                .push_back(NodeEffect::Committed(log.clone(), entries));
        }
    }

    fn emit_rejected(&mut self, log: &LogId, peer: PeerId, why: RejectReason) {
        self.effects
            .push_back(NodeEffect::Rejected(log.clone(), peer, why));
    }

    /// How many seats there may be when this member is given one.
    fn members_max(&self, log: &LogId, newcomer: &Member) -> usize {
        match log {
            LogId::Room(_) => self.settings.limits.members_max(newcomer),
            LogId::Name(..) | LogId::Election(_) => 0,
        }
    }

    // Time

    fn set_timer(&mut self, alarm: Timer, at: Instant, now: Instant) {
        match alarm {
            Timer::Heartbeat if self.connected.is_ok() => self.send_heartbeat(now),
            Timer::Heartbeat => {}
            Timer::Join(log, peer) => {
                let replica = self.replicas.get(&log);
                let is_late = replica
                    .and_then(|replica| replica.desired.get(&peer))
                    .is_some_and(|want| want.join_deadline == Some(at));
                if is_late && self.abandon_join(&log, peer) {
                    self.emit_rejected(&log, peer, RejectReason::Unavailable);
                    self.schedule_close(&log, now);
                }
            }
            Timer::Gap(log) => {
                if self.connected.is_ok() {
                    self.fill_gap(&log);
                }
            }
            Timer::IdleRetention(log) => self.give_up_log(&log, at),
            Timer::RestoreGrace(log) => {
                if let Some(replica) = self.replicas.get_mut(&log)
                    && replica.restore_grace == Some(at)
                {
                    replica.restore_grace = None;
                    replica.must_free_missing = true;
                    if self.connected.is_ok() {
                        self.read(&log, Vec::new());
                    }
                }
            }
        }
    }

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

    fn give_up_log(&mut self, log: &LogId, at: Instant) {
        let Some(replica) = self.replicas.get(log) else {
            return;
        };
        if replica.retained_until != Some(at) || replica.is_needed() {
            return;
        }
        if let Some(mut replica) = self.replicas.remove(log) {
            self.effects.extend(
                replica
                    .take_releasable(true)
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
                self.release_all(log.clone(), replica.version);
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

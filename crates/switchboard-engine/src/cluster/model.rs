//! The store in memory: what [`store`](super::store) says, in the plainest form. Simulations run
//! over it, and a real store is right if it answers the same.

use std::collections::{BTreeMap, BTreeSet};

use switchboard_core::{Address, LeaveCause, LeaveKind, LogId, NodeId, PeerId, Position};

use super::store::{
    ChangeOutcome, JoinRejection, Lease, LogEvent, LogVersion, MemberSpec, NodeStatus, Proposal,
    Snapshot, StoreRequest, StoreResponse, StoredChange, StoredMember,
};

/// A store. A clone is what a backup is to a real one: see [`InMemoryStore::restore`].
#[derive(Clone, Debug, Default)]
pub struct InMemoryStore {
    nodes: BTreeMap<NodeId, NodeStatus>,
    subscriptions: BTreeMap<NodeId, BTreeSet<LogId>>,
    logs: BTreeMap<LogId, StoredLog>,
    clock: PositionClock,
    now: u64,
}

/// How long a log is kept after its last seat became free, in microseconds: longer than a node
/// looks at a log that it has nobody in.
const EMPTY_LOG_RETENTION_US: u64 = 60_000_000;

impl InMemoryStore {
    /// Carries out a request at `now_us` (microseconds since some moment, the same for every
    /// request). What it changed is to be told to the [`subscribers`](Self::subscribers) of its log, in
    /// this order.
    ///
    /// [`StoreRequest::Post`] changes nothing and is answered by 0: who carries the messages, counts.
    pub fn execute(
        &mut self,
        request: &StoreRequest,
        now_us: u64,
    ) -> (StoreResponse, Vec<(LogId, LogEvent)>) {
        self.clock.set(now_us);
        self.now = now_us;
        self.logs.retain(|_, log| !log.is_over(now_us));
        match request {
            StoreRequest::Heartbeat {
                lease,
                counter: beat,
                status,
            } => (self.heartbeat(*lease, *beat, status), Vec::new()),
            StoreRequest::Fence {
                lease,
                last_heartbeat: beat,
            } => (StoreResponse::Fenced(self.fence(*lease, *beat)), Vec::new()),
            StoreRequest::RemoveNode(lease) => (self.remove_node(*lease), Vec::new()),
            StoreRequest::SubscribedLogs(node) => (self.logs_of(*node), Vec::new()),
            StoreRequest::Subscribe(node, log) => {
                self.subscriptions
                    .entry(*node)
                    .or_default()
                    .insert(log.clone());
                (StoreResponse::Done, Vec::new())
            }
            StoreRequest::Unsubscribe(node, log) => {
                self.unsubscribe(*node, log);
                (StoreResponse::Done, Vec::new())
            }
            StoreRequest::Read(log) => (StoreResponse::Read(self.snapshot(log)), Vec::new()),
            StoreRequest::Change {
                log,
                lease,
                proposal,
                members_max: seats,
            } => self.edit(log, |log_now, clock| {
                log_now.change(*lease, proposal, *seats, clock)
            })(|outcome, _| StoreResponse::Changed { outcome }),
            StoreRequest::Sync {
                log,
                lease,
                known_version: known,
                wanted,
                members_max: seats,
            } => self.edit(log, |log_now, clock| {
                log_now.sync(*lease, *known, wanted, *seats, clock)
            })(|synced, after| StoreResponse::Synced {
                fenced: synced.is_none(),
                rejected: synced.unwrap_or_default(),
                snapshot: after,
            }),
            StoreRequest::Evict(log, lease) => self
                .edit(log, |log_now, clock| log_now.evict(*lease, clock))(
                |(), _| StoreResponse::Done,
            ),
            StoreRequest::Post(..) => (StoreResponse::Posted(0), Vec::new()),
        }
    }

    /// The nodes that are told the log's news.
    pub fn subscribers(&self, log: &LogId) -> impl Iterator<Item = NodeId> {
        let opened = self.subscriptions.iter();
        opened.filter_map(move |(node, logs)| logs.contains(log).then_some(*node))
    }

    /// The store comes back empty. Its clock goes on.
    pub fn wipe(&mut self) {
        *self = Self {
            clock: self.clock,
            ..Self::default()
        };
    }

    /// The store comes back as it once was. Its clock goes on.
    pub fn restore(&mut self, backup: &Self) {
        *self = Self {
            clock: self.clock,
            ..backup.clone()
        };
    }

    /// Whether it holds nothing but what goes by itself.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let is_forgotten = |log: &StoredLog| log.members.is_empty();
        self.nodes.is_empty()
            && self.subscriptions.is_empty()
            && self.logs.values().all(is_forgotten)
    }

    fn heartbeat(&mut self, lease: Lease, beat: u64, status: &str) -> StoreResponse {
        let is_listed = self.nodes.contains_key(&lease.node);
        let line = self.nodes.entry(lease.node).or_insert_with(|| NodeStatus {
            lease,
            heartbeat: beat,
            is_fenced: false,
            status: status.to_owned(),
        });
        if lease.epoch > line.lease.epoch {
            line.lease = lease;
            line.is_fenced = false;
            line.heartbeat = 0;
        }
        let valid = lease == line.lease && !line.is_fenced;
        if valid && beat >= line.heartbeat {
            line.heartbeat = beat;
            status.clone_into(&mut line.status);
        }
        StoreResponse::Heartbeat {
            valid,
            is_listed,
            nodes: self.nodes.values().cloned().collect(),
        }
    }

    fn fence(&mut self, lease: Lease, beat: u64) -> bool {
        let Some(line) = self.nodes.get_mut(&lease.node) else {
            return false;
        };
        if line.lease == lease && line.heartbeat == beat {
            line.is_fenced = true;
        }
        line.lease.epoch > lease.epoch || line.lease == lease && line.is_fenced
    }

    fn remove_node(&mut self, lease: Lease) -> StoreResponse {
        if self.nodes.get(&lease.node).map(|line| line.lease) == Some(lease) {
            self.nodes.remove(&lease.node);
            self.subscriptions.remove(&lease.node);
        }
        StoreResponse::Done
    }

    fn logs_of(&self, node: NodeId) -> StoreResponse {
        let opened = self.subscriptions.get(&node);
        StoreResponse::Logs(opened.into_iter().flatten().cloned().collect())
    }

    fn unsubscribe(&mut self, node: NodeId, log: &LogId) {
        if let Some(opened) = self.subscriptions.get_mut(&node) {
            opened.remove(log);
            if opened.is_empty() {
                self.subscriptions.remove(&node);
            }
        }
    }

    fn snapshot(&self, log: &LogId) -> Option<Snapshot> {
        self.logs.get(log).map(StoredLog::snapshot)
    }

    /// Applies `change` to a log. The log is kept if it has seats afterwards, and for a while if it existed
    /// before and is empty now. The returned function makes the answer of the result and the log after
    /// the change.
    fn edit<R, A>(
        &mut self,
        id: &LogId,
        change: impl FnOnce(&mut StoredLog, &mut PositionClock) -> R,
    ) -> impl FnOnce(A) -> (StoreResponse, Vec<(LogId, LogEvent)>)
    where
        A: FnOnce(R, Option<Snapshot>) -> StoreResponse,
    {
        let mut log = self.logs.remove(id).unwrap_or_default();
        let existed = log.exists();
        let result = change(&mut log, &mut self.clock);
        let news = std::mem::take(&mut log.events);
        // What was empty before and got no seat has not begun.
        if log.exists() && (existed || !log.members.is_empty()) {
            log.empty_since = log
                .members
                .is_empty()
                .then(|| log.empty_since.unwrap_or(self.now));
            self.logs.insert(id.clone(), log);
        }
        let after = self.snapshot(id);
        let news = news.into_iter().map(|news| (id.clone(), news)).collect();
        move |answer| (answer(result, after), news)
    }
}

/// Time as positions see it: it never stands still between two lives of a log.
#[derive(Clone, Copy, Debug, Default)]
struct PositionClock(u64);

impl PositionClock {
    fn set(&mut self, now_us: u64) {
        self.0 = self.0.max(now_us);
    }

    fn pass(&mut self, position: u64) {
        self.0 = self.0.max(position);
    }

    /// Later than all that has been, and than these.
    fn after(&mut self, others: impl IntoIterator<Item = u64>) -> u64 {
        self.0 = others.into_iter().fold(self.0, u64::max) + 1;
        self.0
    }
}

/// A log; as long as its generation is 0, there is none.
#[derive(Clone, Debug, Default)]
struct StoredLog {
    version: LogVersion,
    members: BTreeMap<PeerId, StoredMember>,
    fences: BTreeMap<NodeId, u32>,
    events: Vec<LogEvent>,
    empty_since: Option<u64>,
}

impl StoredLog {
    fn exists(&self) -> bool {
        self.version.generation != 0
    }

    fn is_over(&self, now_us: u64) -> bool {
        self.empty_since
            .is_some_and(|since| now_us.saturating_sub(since) >= EMPTY_LOG_RETENTION_US)
    }

    fn snapshot(&self) -> Snapshot {
        let mut seats: Vec<_> = self.members.values().cloned().collect();
        seats.sort_by_key(|seat| (seat.since, seat.peer));
        Snapshot {
            version: self.version,
            members: seats,
        }
    }

    fn is_fenced(&self, lease: Lease) -> bool {
        let fence = self.fences.get(&lease.node);
        fence.is_some_and(|fence| *fence >= lease.epoch)
    }

    fn is_taken(&self, address: &Address) -> bool {
        self.members.values().any(|seat| seat.address == *address)
    }

    fn is_full(&self, seats: usize) -> bool {
        seats != 0 && self.members.len() >= seats
    }

    /// Begins a life that is later than all that is known of this log.
    fn begin_generation(&mut self, known: LogVersion, clock: &mut PositionClock) {
        let seed = clock.after([
            known.generation,
            known.head.get(),
            self.version.generation,
            self.version.head.get(),
        ]);
        self.version = LogVersion {
            generation: seed,
            head: seed.into(),
        };
    }

    fn append_event(&mut self, change: StoredChange, clock: &mut PositionClock) {
        clock.pass(self.version.head.get());
        self.events.push(LogEvent {
            version: self.version,
            change,
        });
    }

    /// Gives a seat at the next position, or restores one that was at `since`.
    fn add_member(
        &mut self,
        lease: Lease,
        wanted: &MemberSpec,
        since: Option<Position>,
        clock: &mut PositionClock,
    ) {
        // A restored seat is no younger than the change that restores it.
        self.version.head = self.version.head.max(since.unwrap_or_default()).next();
        let seat = StoredMember {
            peer: wanted.peer,
            address: wanted.address.clone(),
            lease,
            since: since.unwrap_or(self.version.head),
            metadata: wanted.metadata.clone(),
        };
        self.members.insert(seat.peer, seat.clone());
        self.append_event(StoredChange::Join(seat), clock);
    }

    fn remove_member(&mut self, peer: PeerId, departure: LeaveCause, clock: &mut PositionClock) {
        self.members.remove(&peer);
        self.version.head = self.version.head.next();
        self.append_event(StoredChange::Leave(peer, departure), clock);
    }

    /// The seats that a node has under this epoch or an older one, oldest first.
    fn members_of(&self, lease: Lease) -> Vec<PeerId> {
        let seats = self.snapshot().members.into_iter();
        let its = seats.filter(|seat| is_same_or_older_epoch(seat.lease, lease));
        its.map(|seat| seat.peer).collect()
    }

    fn change(
        &mut self,
        lease: Lease,
        proposal: &Proposal,
        seats: usize,
        clock: &mut PositionClock,
    ) -> ChangeOutcome {
        if self.is_fenced(lease) {
            return ChangeOutcome::Fenced;
        }
        match proposal {
            Proposal::Join(wanted) => self.join(lease, wanted, seats, clock),
            Proposal::Leave(peer, departure) => self.leave(lease, *peer, *departure, clock),
        }
    }

    fn join(
        &mut self,
        lease: Lease,
        wanted: &MemberSpec,
        seats: usize,
        clock: &mut PositionClock,
    ) -> ChangeOutcome {
        if let Some(seat) = self.members.get(&wanted.peer) {
            return ChangeOutcome::AlreadyMember(seat.since);
        }
        if self.is_taken(&wanted.address) {
            return ChangeOutcome::Rejected(JoinRejection::Taken);
        }
        if self.is_full(seats) {
            return ChangeOutcome::Rejected(JoinRejection::Full);
        }
        if !self.exists() {
            self.begin_generation(LogVersion::default(), clock);
        }
        self.add_member(lease, wanted, None, clock);
        ChangeOutcome::Applied(self.version)
    }

    fn leave(
        &mut self,
        lease: Lease,
        peer: PeerId,
        departure: LeaveCause,
        clock: &mut PositionClock,
    ) -> ChangeOutcome {
        let is_eviction = matches!(departure, LeaveCause::Evicted(_));
        let seat = self.members.get(&peer);
        if !seat.is_some_and(|seat| is_eviction || is_same_or_older_epoch(seat.lease, lease)) {
            return ChangeOutcome::NotAMember;
        }
        self.remove_member(peer, departure, clock);
        ChangeOutcome::Applied(self.version)
    }

    /// Who was declined; none if the lease is fenced.
    fn sync(
        &mut self,
        lease: Lease,
        known: LogVersion,
        wanted: &[MemberSpec],
        seats: usize,
        clock: &mut PositionClock,
    ) -> Option<Vec<(PeerId, JoinRejection)>> {
        if self.is_fenced(lease) {
            return None;
        }
        let forgot = self.version.generation < known.generation
            || self.version.generation == known.generation && self.version.head < known.head;
        if !self.exists() || forgot {
            self.begin_generation(known, clock);
        }
        // First, so that whom the node has let go stands in nobody's way.
        for peer in self.members_of(lease) {
            if wanted.iter().all(|wanted| wanted.peer != peer) {
                self.remove_member(peer, LeaveCause::Requested(LeaveKind::Announced), clock);
            }
        }
        let is_same_life = known.generation == self.version.generation;
        let mut declined = Vec::new();
        for wanted in wanted {
            if let Some(seat) = self.members.get_mut(&wanted.peer) {
                if seat.lease.node != lease.node || is_same_or_older_epoch(seat.lease, lease) {
                    seat.lease = lease;
                }
            } else if self.is_taken(&wanted.address) {
                declined.push((wanted.peer, JoinRejection::Taken));
            } else if wanted.since.is_none() && self.is_full(seats) {
                declined.push((wanted.peer, JoinRejection::Full));
            } else {
                let since = wanted.since.filter(|_| !is_same_life);
                self.add_member(lease, wanted, since, clock);
            }
        }
        Some(declined)
    }

    fn evict(&mut self, lease: Lease, clock: &mut PositionClock) {
        if !self.exists() {
            return;
        }
        for peer in self.members_of(lease) {
            self.remove_member(peer, LeaveCause::NodeLost, clock);
        }
        let fence = self.fences.entry(lease.node).or_default();
        *fence = lease.epoch.max(*fence);
    }
}

/// Whether a seat's lease is this one or an older one of the same node.
fn is_same_or_older_epoch(seat: Lease, lease: Lease) -> bool {
    seat.node == lease.node && seat.epoch <= lease.epoch
}

//! An in-memory model of the store that [`store`](switchboard_cluster::store) specifies. Simulations run over it,
//! and a real store is correct if it gives the same responses.
//!
//! The store has a membership log for each room and each claimed name. The version of a log is its generation, which
//! changes when the store has lost data, and its head, the position of the last change.

use std::collections::{BTreeMap, BTreeSet};

use switchboard_cluster::store::{
    ChangeOutcome, JoinRejection, Lease, LogEvent, LogVersion, MemberSpec, NodeStatus, Proposal,
    Snapshot, StoreRequest, StoreResponse, StoredChange, StoredMember,
};
use switchboard_core::{Address, LeaveCause, LeaveKind, LogId, NodeId, PeerId, Position};

/// A store in memory. A clone serves as a backup: see [`InMemoryStore::restore`].
#[derive(Clone, Debug, Default)]
pub struct InMemoryStore {
    nodes: BTreeMap<NodeId, NodeStatus>,
    subscriptions: BTreeMap<NodeId, BTreeSet<LogId>>,
    logs: BTreeMap<LogId, StoredLog>,
    clock: PositionClock,
    /// The time of the current request, in microseconds.
    now: u64,
}

/// Retention of a log after its last member left, in microseconds. Longer than the time for which a
/// node keeps its replica of an empty log.
const EMPTY_LOG_RETENTION_US: u64 = 60_000_000;

impl InMemoryStore {
    /// Executes a request at `now_us`: microseconds since a moment that is the same for all
    /// requests. The caller delivers the returned events, in this order, to the
    /// [`subscribers`](Self::subscribers) of their log.
    ///
    /// [`StoreRequest::Post`] changes nothing and is answered with 0: the caller delivers the
    /// message and counts its receivers.
    pub fn execute(
        &mut self,
        request: &StoreRequest,
        now_us: u64,
    ) -> (StoreResponse, Vec<(LogId, LogEvent)>) {
        self.clock.advance_to_time(now_us);
        self.now = now_us;
        self.logs.retain(|_, log| !log.is_expired(now_us));
        match request {
            StoreRequest::Heartbeat {
                lease,
                counter,
                status,
            } => (self.heartbeat(*lease, *counter, status), Vec::new()),
            StoreRequest::Fence {
                lease,
                last_heartbeat: counter,
            } => (
                StoreResponse::Fenced(self.fence(*lease, *counter)),
                Vec::new(),
            ),
            StoreRequest::RemoveNode(lease) => (self.remove_node(*lease), Vec::new()),
            StoreRequest::SubscribedLogs(node) => (self.subscribed_logs(*node), Vec::new()),
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
                members_max,
            } => self.update_log(log, |stored_log, clock| {
                stored_log.change(*lease, proposal, *members_max, clock)
            })(|outcome, _| StoreResponse::Changed { outcome }),
            StoreRequest::Sync {
                log,
                lease,
                known_version,
                wanted,
                members_max,
            } => self.update_log(log, |stored_log, clock| {
                stored_log.sync(*lease, *known_version, wanted, *members_max, clock)
            })(|rejected, after| StoreResponse::Synced {
                fenced: rejected.is_none(),
                rejected: rejected.unwrap_or_default(),
                snapshot: after,
            }),
            StoreRequest::Evict(log, lease) => self
                .update_log(log, |stored_log, clock| stored_log.evict(*lease, clock))(
                |(), _| StoreResponse::Done,
            ),
            StoreRequest::Post(..) => (StoreResponse::Posted(0), Vec::new()),
        }
    }

    /// The nodes that receive the events of a log.
    pub fn subscribers(&self, log: &LogId) -> impl Iterator<Item = NodeId> {
        let subscribed = self.subscriptions.iter();
        subscribed.filter_map(move |(node, logs)| logs.contains(log).then_some(*node))
    }

    /// Simulates a store that restarts empty. Its clock continues.
    pub fn wipe(&mut self) {
        *self = Self {
            clock: self.clock,
            ..Self::default()
        };
    }

    /// Simulates a store that restarts with the state of a backup. Its clock continues.
    pub fn restore(&mut self, backup: &Self) {
        *self = Self {
            clock: self.clock,
            ..backup.clone()
        };
    }

    /// Whether the store holds no nodes, subscriptions or members. It may hold empty logs, because
    /// they expire.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let is_empty_log = |log: &StoredLog| log.members.is_empty();
        self.nodes.is_empty()
            && self.subscriptions.is_empty()
            && self.logs.values().all(is_empty_log)
    }

    fn heartbeat(&mut self, lease: Lease, counter: u64, status: &str) -> StoreResponse {
        let was_listed = self.nodes.contains_key(&lease.node);
        let entry = self.nodes.entry(lease.node).or_insert_with(|| NodeStatus {
            lease,
            heartbeat: counter,
            is_fenced: false,
            status: status.to_owned(),
        });
        if lease.epoch > entry.lease.epoch {
            entry.lease = lease;
            entry.is_fenced = false;
            entry.heartbeat = 0;
        }
        let valid = lease == entry.lease && !entry.is_fenced;
        if valid && counter >= entry.heartbeat {
            entry.heartbeat = counter;
            status.clone_into(&mut entry.status);
        }
        StoreResponse::Heartbeat {
            valid,
            was_listed,
            nodes: self.nodes.values().cloned().collect(),
        }
    }

    fn fence(&mut self, lease: Lease, counter: u64) -> bool {
        let Some(entry) = self.nodes.get_mut(&lease.node) else {
            return false;
        };
        if entry.lease == lease && entry.heartbeat == counter {
            entry.is_fenced = true;
        }
        entry.lease.epoch > lease.epoch || entry.lease == lease && entry.is_fenced
    }

    fn remove_node(&mut self, lease: Lease) -> StoreResponse {
        if self.nodes.get(&lease.node).map(|entry| entry.lease) == Some(lease) {
            self.nodes.remove(&lease.node);
            self.subscriptions.remove(&lease.node);
        }
        StoreResponse::Done
    }

    fn subscribed_logs(&self, node: NodeId) -> StoreResponse {
        let subscribed = self.subscriptions.get(&node);
        StoreResponse::Logs(subscribed.into_iter().flatten().cloned().collect())
    }

    fn unsubscribe(&mut self, node: NodeId, log: &LogId) {
        if let Some(subscribed) = self.subscriptions.get_mut(&node) {
            subscribed.remove(log);
            if subscribed.is_empty() {
                self.subscriptions.remove(&node);
            }
        }
    }

    fn snapshot(&self, log: &LogId) -> Option<Snapshot> {
        self.logs.get(log).map(StoredLog::snapshot)
    }

    /// Applies `change` to a log. A log with members is kept; one that becomes empty is kept for the
    /// retention time. Returns a function for the second step, to which the caller passes
    /// `make_response`: it makes the response from the result of `change` and the changed log.
    fn update_log<R, A>(
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
        let events = std::mem::take(&mut log.events);
        // A log that did not exist before and has got no member is not stored.
        if log.exists() && (existed || !log.members.is_empty()) {
            log.empty_since = log
                .members
                .is_empty()
                .then(|| log.empty_since.unwrap_or(self.now));
            self.logs.insert(id.clone(), log);
        }
        let after = self.snapshot(id);
        let events = events
            .into_iter()
            .map(|event| (id.clone(), event))
            .collect();
        move |make_response| (make_response(result, after), events)
    }
}

/// The source of the numbers of generations. A new generation of a log begins when the log is created, or when the
/// store has lost a part of it. Its number must exceed every generation and position that a node may remember, so the
/// clock is at least the time in microseconds, and at least the head of every log.
#[derive(Clone, Copy, Debug, Default)]
struct PositionClock(u64);

impl PositionClock {
    fn advance_to_time(&mut self, now_us: u64) {
        self.0 = self.0.max(now_us);
    }

    fn advance_to_position(&mut self, position: u64) {
        self.0 = self.0.max(position);
    }

    /// A value greater than all earlier values and than all of `others`.
    fn next_after(&mut self, others: impl IntoIterator<Item = u64>) -> u64 {
        self.0 = others.into_iter().fold(self.0, u64::max) + 1;
        self.0
    }
}

/// A stored log. Generation 0 means that the log does not exist.
#[derive(Clone, Debug, Default)]
struct StoredLog {
    version: LogVersion,
    members: BTreeMap<PeerId, StoredMember>,
    /// The highest epoch of each node whose changes are no longer accepted.
    fences: BTreeMap<NodeId, u32>,
    /// The events of the current request.
    events: Vec<LogEvent>,
    /// The time at which the last member left, in microseconds.
    empty_since: Option<u64>,
}

impl StoredLog {
    fn exists(&self) -> bool {
        self.version.generation != 0
    }

    fn is_expired(&self, now_us: u64) -> bool {
        self.empty_since
            .is_some_and(|since| now_us.saturating_sub(since) >= EMPTY_LOG_RETENTION_US)
    }

    fn snapshot(&self) -> Snapshot {
        let mut members: Vec<_> = self.members.values().cloned().collect();
        members.sort_by_key(|member| (member.since, member.peer));
        Snapshot {
            version: self.version,
            members,
        }
    }

    fn is_fenced(&self, lease: Lease) -> bool {
        let fence = self.fences.get(&lease.node);
        fence.is_some_and(|fence| *fence >= lease.epoch)
    }

    fn is_taken(&self, address: &Address) -> bool {
        self.members
            .values()
            .any(|member| member.address == *address)
    }

    /// Whether no member can be added; `members_max` 0 means no limit.
    fn is_full(&self, members_max: usize) -> bool {
        members_max != 0 && self.members.len() >= members_max
    }

    /// Begins a generation whose number and positions are greater than those of every known version of this log.
    fn begin_generation(&mut self, known_version: LogVersion, clock: &mut PositionClock) {
        let start = clock.next_after([
            known_version.generation,
            known_version.head.get(),
            self.version.generation,
            self.version.head.get(),
        ]);
        self.version = LogVersion {
            generation: start,
            head: start.into(),
        };
    }

    fn append_event(&mut self, change: StoredChange, clock: &mut PositionClock) {
        clock.advance_to_position(self.version.head.get());
        self.events.push(LogEvent {
            version: self.version,
            change,
        });
    }

    /// Adds a member at the next position. A member that the store had lost keeps `since`, the position of its join.
    fn add_member(
        &mut self,
        lease: Lease,
        wanted: &MemberSpec,
        since: Option<Position>,
        clock: &mut PositionClock,
    ) {
        self.version.head = self.version.head.next();
        let member = StoredMember {
            peer: wanted.peer,
            address: wanted.address.clone(),
            lease,
            since: since.unwrap_or(self.version.head),
            metadata: wanted.metadata.clone(),
        };
        self.members.insert(member.peer, member.clone());
        self.append_event(StoredChange::Join(member), clock);
    }

    fn remove_member(&mut self, peer: PeerId, cause: LeaveCause, clock: &mut PositionClock) {
        self.members.remove(&peer);
        self.version.head = self.version.head.next();
        self.append_event(StoredChange::Leave(peer, cause), clock);
    }

    /// The members that a node has under this epoch or an older one, oldest first.
    fn members_of(&self, lease: Lease) -> Vec<PeerId> {
        let members = self.snapshot().members.into_iter();
        let own = members.filter(|member| is_same_or_older_epoch(member.lease, lease));
        own.map(|member| member.peer).collect()
    }

    fn change(
        &mut self,
        lease: Lease,
        proposal: &Proposal,
        members_max: usize,
        clock: &mut PositionClock,
    ) -> ChangeOutcome {
        if self.is_fenced(lease) {
            return ChangeOutcome::Fenced;
        }
        match proposal {
            Proposal::Join(wanted) => self.join(lease, wanted, members_max, clock),
            Proposal::Leave(peer, cause) => self.leave(lease, *peer, *cause, clock),
        }
    }

    fn join(
        &mut self,
        lease: Lease,
        wanted: &MemberSpec,
        members_max: usize,
        clock: &mut PositionClock,
    ) -> ChangeOutcome {
        if let Some(member) = self.members.get(&wanted.peer) {
            return ChangeOutcome::AlreadyMember(member.since);
        }
        if self.is_taken(&wanted.address) {
            return ChangeOutcome::Rejected(JoinRejection::Taken);
        }
        if self.is_full(members_max) {
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
        cause: LeaveCause,
        clock: &mut PositionClock,
    ) -> ChangeOutcome {
        // Any node may evict a member; every other leave must come from the member's own node.
        let is_eviction = matches!(cause, LeaveCause::Evicted(_));
        let member = self.members.get(&peer);
        if !member.is_some_and(|member| is_eviction || is_same_or_older_epoch(member.lease, lease))
        {
            return ChangeOutcome::NotAMember;
        }
        self.remove_member(peer, cause, clock);
        ChangeOutcome::Applied(self.version)
    }

    /// Makes `wanted` the members of a node, and returns the rejected ones; `None` if the lease is fenced.
    fn sync(
        &mut self,
        lease: Lease,
        known_version: LogVersion,
        wanted: &[MemberSpec],
        members_max: usize,
        clock: &mut PositionClock,
    ) -> Option<Vec<(PeerId, JoinRejection)>> {
        if self.is_fenced(lease) {
            return None;
        }
        let is_rolled_back = self.version.generation < known_version.generation
            || self.version.generation == known_version.generation
                && self.version.head < known_version.head;
        if !self.exists() || is_rolled_back {
            self.begin_generation(known_version, clock);
        }
        // Removals come first: a removed member must not block the address or the room for a new
        // one.
        let mut replaced = BTreeSet::new();
        for peer in self.members_of(lease) {
            match wanted.iter().find(|wanted| wanted.peer == peer) {
                None => {
                    self.remove_member(peer, LeaveCause::Requested(LeaveKind::Announced), clock);
                }
                // The store has lost the later membership: see step 3 of `StoreRequest::Sync`.
                Some(wanted) if wanted.since > Some(self.members[&peer].since) => {
                    self.remove_member(peer, LeaveCause::NodeLost, clock);
                    replaced.insert(peer);
                }
                Some(_) => {}
            }
        }
        let is_same_generation = known_version.generation == self.version.generation;
        let mut rejected = Vec::new();
        for wanted in wanted {
            if let Some(member) = self.members.get_mut(&wanted.peer) {
                // The member belongs to this lease from now on, unless a newer epoch of the node has it.
                if member.lease.node != lease.node || is_same_or_older_epoch(member.lease, lease) {
                    member.lease = lease;
                }
            } else if self.is_taken(&wanted.address) {
                rejected.push((wanted.peer, JoinRejection::Taken));
            } else if wanted.since.is_none() && self.is_full(members_max) {
                rejected.push((wanted.peer, JoinRejection::Full));
            } else {
                // A member that the store has lost keeps the position of its join.
                let is_restored = !is_same_generation && !replaced.contains(&wanted.peer);
                let since = wanted.since.filter(|_| is_restored);
                // The head must not be behind an earlier join position of the member.
                let earlier = wanted.since.unwrap_or_default();
                self.version.head = self.version.head.max(earlier);
                self.add_member(lease, wanted, since, clock);
            }
        }
        Some(rejected)
    }

    /// Removes the members of a node whose lease has ended, and fences it: later changes under this lease are rejected.
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

/// Whether the lease of a member is this one or an older one of the same node.
fn is_same_or_older_epoch(member: Lease, lease: Lease) -> bool {
    member.node == lease.node && member.epoch <= lease.epoch
}

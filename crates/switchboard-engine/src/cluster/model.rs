//! The store in memory: what [`store`](super::store) says, in the plainest form. Simulations run
//! over it, and a real store is right if it answers the same.

use std::collections::{BTreeMap, BTreeSet};

use switchboard_core::{Address, Departure, Farewell, LogId, NodeId, PeerId, Position};

use super::store::{
    Answer, Known, Lease, News, NoSeat, NodeStatus, Outcome, Proposal, Request, Seat, Snapshot,
    StoredChange, Wanted,
};

/// A store. A clone is what a backup is to a real one: see [`Model::restore`].
#[derive(Clone, Debug, Default)]
pub struct Model {
    nodes: BTreeMap<NodeId, NodeStatus>,
    opened: BTreeMap<NodeId, BTreeSet<LogId>>,
    logs: BTreeMap<LogId, Log>,
    clock: Clock,
    now: u64,
}

/// How long a log is kept after its last seat became free, in microseconds: longer than a node
/// looks at a log that it has nobody in.
const KEPT_EMPTY: u64 = 60_000_000;

impl Model {
    /// Carries out a request at `now_us` (microseconds since some moment, the same for every
    /// request). What it changed is to be told to the [`openers`](Self::openers) of its log, in
    /// this order.
    ///
    /// [`Request::Post`] changes nothing and is answered by 0: who carries the messages, counts.
    pub fn execute(&mut self, request: &Request, now_us: u64) -> (Answer, Vec<(LogId, News)>) {
        self.clock.set(now_us);
        self.now = now_us;
        self.logs.retain(|_, log| !log.is_over(now_us));
        match request {
            Request::Beat {
                lease,
                beat,
                status,
            } => (self.beat(*lease, *beat, status), Vec::new()),
            Request::Bury { lease, beat } => (Answer::Buried(self.bury(*lease, *beat)), Vec::new()),
            Request::Forget(lease) => (self.forget(*lease), Vec::new()),
            Request::Logs(node) => (self.logs_of(*node), Vec::new()),
            Request::Open(node, log) => {
                self.opened.entry(*node).or_default().insert(log.clone());
                (Answer::Done, Vec::new())
            }
            Request::Close(node, log) => {
                self.close(*node, log);
                (Answer::Done, Vec::new())
            }
            Request::Read(log) => (Answer::Read(self.snapshot(log)), Vec::new()),
            Request::Change {
                log,
                lease,
                proposal,
                seats,
            } => self.edit(log, |log_now, clock| {
                log_now.change(*lease, proposal, *seats, clock)
            })(|outcome, _| Answer::Changed { outcome }),
            Request::Sync {
                log,
                lease,
                known,
                wanted,
                seats,
            } => self.edit(log, |log_now, clock| {
                log_now.sync(*lease, *known, wanted, *seats, clock)
            })(|synced, after| Answer::Synced {
                fenced: synced.is_none(),
                declined: synced.unwrap_or_default(),
                snapshot: after,
            }),
            Request::Evict(log, lease) => {
                self.edit(log, |log_now, clock| log_now.evict(*lease, clock))(|(), _| Answer::Done)
            }
            Request::Post(..) => (Answer::Posted(0), Vec::new()),
        }
    }

    /// The nodes that are told the log's news.
    pub fn openers(&self, log: &LogId) -> impl Iterator<Item = NodeId> {
        let opened = self.opened.iter();
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
        let is_forgotten = |log: &Log| log.seats.is_empty();
        self.nodes.is_empty() && self.opened.is_empty() && self.logs.values().all(is_forgotten)
    }

    fn beat(&mut self, lease: Lease, beat: u64, status: &str) -> Answer {
        let is_listed = self.nodes.contains_key(&lease.node);
        let line = self.nodes.entry(lease.node).or_insert_with(|| NodeStatus {
            lease,
            beat,
            buried: false,
            status: status.to_owned(),
        });
        if lease.epoch > line.lease.epoch {
            line.lease = lease;
            line.buried = false;
            line.beat = 0;
        }
        let valid = lease == line.lease && !line.buried;
        if valid && beat >= line.beat {
            line.beat = beat;
            status.clone_into(&mut line.status);
        }
        Answer::Beaten {
            valid,
            is_listed,
            nodes: self.nodes.values().cloned().collect(),
        }
    }

    fn bury(&mut self, lease: Lease, beat: u64) -> bool {
        let Some(line) = self.nodes.get_mut(&lease.node) else {
            return false;
        };
        if line.lease == lease && line.beat == beat {
            line.buried = true;
        }
        line.lease.epoch > lease.epoch || line.lease == lease && line.buried
    }

    fn forget(&mut self, lease: Lease) -> Answer {
        if self.nodes.get(&lease.node).map(|line| line.lease) == Some(lease) {
            self.nodes.remove(&lease.node);
            self.opened.remove(&lease.node);
        }
        Answer::Done
    }

    fn logs_of(&self, node: NodeId) -> Answer {
        let opened = self.opened.get(&node);
        Answer::Logs(opened.into_iter().flatten().cloned().collect())
    }

    fn close(&mut self, node: NodeId, log: &LogId) {
        if let Some(opened) = self.opened.get_mut(&node) {
            opened.remove(log);
            if opened.is_empty() {
                self.opened.remove(&node);
            }
        }
    }

    fn snapshot(&self, log: &LogId) -> Option<Snapshot> {
        self.logs.get(log).map(Log::snapshot)
    }

    /// Applies `change` to a log. The log is kept if it has seats afterwards, and for a while if it existed
    /// before and is empty now. The returned function makes the answer of the result and the log after
    /// the change.
    fn edit<R, A>(
        &mut self,
        id: &LogId,
        change: impl FnOnce(&mut Log, &mut Clock) -> R,
    ) -> impl FnOnce(A) -> (Answer, Vec<(LogId, News)>)
    where
        A: FnOnce(R, Option<Snapshot>) -> Answer,
    {
        let mut log = self.logs.remove(id).unwrap_or_default();
        let existed = log.exists();
        let result = change(&mut log, &mut self.clock);
        let news = std::mem::take(&mut log.news);
        // What was empty before and got no seat has not begun.
        if log.exists() && (existed || !log.seats.is_empty()) {
            log.empty_since = log
                .seats
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
struct Clock(u64);

impl Clock {
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
struct Log {
    known: Known,
    seats: BTreeMap<PeerId, Seat>,
    fences: BTreeMap<NodeId, u32>,
    news: Vec<News>,
    empty_since: Option<u64>,
}

impl Log {
    fn exists(&self) -> bool {
        self.known.generation != 0
    }

    fn is_over(&self, now_us: u64) -> bool {
        self.empty_since
            .is_some_and(|since| now_us.saturating_sub(since) >= KEPT_EMPTY)
    }

    fn snapshot(&self) -> Snapshot {
        let mut seats: Vec<_> = self.seats.values().cloned().collect();
        seats.sort_by_key(|seat| (seat.since, seat.peer));
        Snapshot {
            known: self.known,
            seats,
        }
    }

    fn is_fenced(&self, lease: Lease) -> bool {
        let fence = self.fences.get(&lease.node);
        fence.is_some_and(|fence| *fence >= lease.epoch)
    }

    fn is_taken(&self, address: &Address) -> bool {
        self.seats.values().any(|seat| seat.address == *address)
    }

    fn is_full(&self, seats: usize) -> bool {
        seats != 0 && self.seats.len() >= seats
    }

    /// Begins a life that is later than all that is known of this log.
    fn begin(&mut self, known: Known, clock: &mut Clock) {
        let seed = clock.after([
            known.generation,
            known.head.get(),
            self.known.generation,
            self.known.head.get(),
        ]);
        self.known = Known {
            generation: seed,
            head: seed.into(),
        };
    }

    fn tell(&mut self, change: StoredChange, clock: &mut Clock) {
        clock.pass(self.known.head.get());
        self.news.push(News {
            at: self.known,
            change,
        });
    }

    /// Gives a seat at the next position, or restores one that was at `since`.
    fn seat(&mut self, lease: Lease, wanted: &Wanted, since: Option<Position>, clock: &mut Clock) {
        // A restored seat is no younger than the change that restores it.
        self.known.head = self.known.head.max(since.unwrap_or_default()).next();
        let seat = Seat {
            peer: wanted.peer,
            address: wanted.address.clone(),
            lease,
            since: since.unwrap_or(self.known.head),
            card: wanted.card.clone(),
        };
        self.seats.insert(seat.peer, seat.clone());
        self.tell(StoredChange::Join(seat), clock);
    }

    fn free(&mut self, peer: PeerId, departure: Departure, clock: &mut Clock) {
        self.seats.remove(&peer);
        self.known.head = self.known.head.next();
        self.tell(StoredChange::Leave(peer, departure), clock);
    }

    /// The seats that a node has under this epoch or an older one, oldest first.
    fn seats_of(&self, lease: Lease) -> Vec<PeerId> {
        let seats = self.snapshot().seats.into_iter();
        let its = seats.filter(|seat| is_under(seat.lease, lease));
        its.map(|seat| seat.peer).collect()
    }

    fn change(
        &mut self,
        lease: Lease,
        proposal: &Proposal,
        seats: usize,
        clock: &mut Clock,
    ) -> Outcome {
        if self.is_fenced(lease) {
            return Outcome::Fenced;
        }
        match proposal {
            Proposal::Join(wanted) => self.join(lease, wanted, seats, clock),
            Proposal::Leave(peer, departure) => self.leave(lease, *peer, *departure, clock),
        }
    }

    fn join(&mut self, lease: Lease, wanted: &Wanted, seats: usize, clock: &mut Clock) -> Outcome {
        if let Some(seat) = self.seats.get(&wanted.peer) {
            return Outcome::Present(seat.since);
        }
        if self.is_taken(&wanted.address) {
            return Outcome::NoSeat(NoSeat::Taken);
        }
        if self.is_full(seats) {
            return Outcome::NoSeat(NoSeat::Full);
        }
        if !self.exists() {
            self.begin(Known::default(), clock);
        }
        self.seat(lease, wanted, None, clock);
        Outcome::At(self.known)
    }

    fn leave(
        &mut self,
        lease: Lease,
        peer: PeerId,
        departure: Departure,
        clock: &mut Clock,
    ) -> Outcome {
        let is_eviction = matches!(departure, Departure::Evicted(_));
        let seat = self.seats.get(&peer);
        if !seat.is_some_and(|seat| is_eviction || is_under(seat.lease, lease)) {
            return Outcome::Absent;
        }
        self.free(peer, departure, clock);
        Outcome::At(self.known)
    }

    /// Who was declined; none if the lease is fenced.
    fn sync(
        &mut self,
        lease: Lease,
        known: Known,
        wanted: &[Wanted],
        seats: usize,
        clock: &mut Clock,
    ) -> Option<Vec<(PeerId, NoSeat)>> {
        if self.is_fenced(lease) {
            return None;
        }
        let forgot = self.known.generation < known.generation
            || self.known.generation == known.generation && self.known.head < known.head;
        if !self.exists() || forgot {
            self.begin(known, clock);
        }
        // First, so that whom the node has let go stands in nobody's way.
        for peer in self.seats_of(lease) {
            if wanted.iter().all(|wanted| wanted.peer != peer) {
                self.free(peer, Departure::Asked(Farewell::Aloud), clock);
            }
        }
        let is_same_life = known.generation == self.known.generation;
        let mut declined = Vec::new();
        for wanted in wanted {
            if let Some(seat) = self.seats.get_mut(&wanted.peer) {
                if seat.lease.node != lease.node || is_under(seat.lease, lease) {
                    seat.lease = lease;
                }
            } else if self.is_taken(&wanted.address) {
                declined.push((wanted.peer, NoSeat::Taken));
            } else if wanted.since.is_none() && self.is_full(seats) {
                declined.push((wanted.peer, NoSeat::Full));
            } else {
                let since = wanted.since.filter(|_| !is_same_life);
                self.seat(lease, wanted, since, clock);
            }
        }
        Some(declined)
    }

    fn evict(&mut self, lease: Lease, clock: &mut Clock) {
        if !self.exists() {
            return;
        }
        for peer in self.seats_of(lease) {
            self.free(peer, Departure::Lost, clock);
        }
        let fence = self.fences.entry(lease.node).or_default();
        *fence = lease.epoch.max(*fence);
    }
}

/// Whether a seat's lease is this one or an older one of the same node.
fn is_under(seat: Lease, lease: Lease) -> bool {
    seat.node == lease.node && seat.epoch <= lease.epoch
}

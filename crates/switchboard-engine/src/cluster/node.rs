//! One node of a cluster, as a machine: it knows no socket and no clock.
//!
//! Its driver hands it what happens ([`Input`]) and the time, and then fetches what follows
//! ([`Node::poll_effect`]). While the store is connected and nothing is under way, it takes the next
//! requests ([`Node::next_batch`]), has them carried out in their order, and hands in the answers in
//! the same order. When the connection breaks, everything under way is taken for lost.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use switchboard_core::{
    Change, Declined, Departure, Entry, Letter, Limits, LogId, Member, NodeId, PeerId,
};

use super::{
    mail,
    outbox::Outbox,
    replica::{Replica, Want},
    store::{Answer, Lease, News, NodeStatus, Request},
    watch::Watch,
};
use crate::Vocabulary;

mod answers;
mod contact;
mod wants;

/// How long a join may wait for the store.
const JOIN_PATIENCE: Duration = Duration::from_millis(1800);

/// How long whoever is taken for a ghost has had to answer.
const CHALLENGE: Duration = Duration::from_secs(2);

/// How long news may come out of order before the log is read anew.
const GAP_PATIENCE: Duration = Duration::from_millis(50);

/// How long a log is kept that nobody here wants any more: longer than a challenge takes.
const LINGER: Duration = Duration::from_secs(10);

/// Changes that may wait for the store; joins beyond are declined.
const QUEUE_MAX: usize = 16 * 1024;

/// Requests in one round trip, and seats that the store goes through for them: it must answer in time.
const BATCH_MAX: usize = 512;
const BATCH_SEATS_MAX: usize = 2000;

/// Beats in the time of a lease.
pub const BEATS_PER_LEASE: u32 = 10;

/// Logs that are read with each beat, in turn: where a log's last news are lost, nothing after them
/// tells.
const LOOKS: usize = 4;

/// What a node is told when it begins.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its id, drawn at random.
    pub node: NodeId,
    /// How long it may be silent before the others take it for dead.
    pub lease: Duration,
    /// The bounds in force.
    pub limits: Arc<Limits>,
}

/// What happens.
#[derive(Debug)]
pub enum Input {
    /// A member of this node comes or goes, or another's is to go.
    Propose(LogId, Change),
    /// Something for another node.
    Send(NodeId, Letter),
    /// The store is there. What was asked before is not answered any more.
    Connected,
    /// The store is away.
    Lost,
    /// The answers to the last batch.
    Answers(Vec<Answer>),
    /// A change in a log that this node has opened.
    News(LogId, News),
    /// A message for this node.
    Mail(Vec<u8>),
    /// The node will stop: its seats become free, and it is struck off the list.
    Close,
}

/// What follows.
#[derive(Debug)]
pub enum Effect {
    /// For the hub, in one step.
    Committed(LogId, Vec<Entry>),
    /// For the hub.
    Declined(LogId, PeerId, Declined),
    /// For the hub.
    Letter(NodeId, Letter),
    /// For the hub.
    Unsent(Letter),
    /// The store has forgotten this node, and perhaps all else that it was told.
    Forgotten,
}

/// What a request was for.
#[derive(Debug)]
enum Asked {
    Beat(u32),
    Bury(Lease),
    Logs(Lease),
    OwnLogs,
    Read(LogId, Vec<PeerId>),
    Look(LogId),
    Sync(LogId, u32),
    Join(LogId, Want, u32),
    Leave(LogId, PeerId, Departure, u32),
    Free(LogId, PeerId),
    Post(Vec<Letter>),
    Nothing,
}

/// What is to be looked at again at some time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    Beat,
    Join(LogId, PeerId),
    Gap(LogId),
    Linger(LogId),
    Doubt(LogId),
}

/// The machine.
pub struct Node {
    settings: Settings,
    words: Arc<dyn Vocabulary>,
    lease: Lease,
    beat: u64,
    joins: u64,
    status: String,
    watch: Watch,
    /// Since when the store has been there, or away.
    connected: Result<Instant, Instant>,
    is_closing: bool,
    replicas: BTreeMap<LogId, Replica>,
    /// The last log that was read in its turn.
    looked_at: Option<LogId>,
    /// Requests for the next round trips, and what they are for.
    queue: VecDeque<(Request, Asked)>,
    under_way: Vec<Asked>,
    outbox: Outbox,
    /// Something has been answered since the store was last away.
    is_known: bool,
    alarms: BTreeSet<(Instant, Alarm)>,
    effects: VecDeque<Effect>,
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
    pub fn new(settings: Settings, words: Arc<dyn Vocabulary>, now: Instant) -> Self {
        let node = settings.node;
        // Others see a last beat up to one interval late, and that none follows it up to one interval
        // after their patience is over: with what must be said then, all is over within the lease.
        let watch = Watch::new(node, settings.lease * 3 / 4);
        Self {
            lease: Lease { node, epoch: 1 },
            beat: 0,
            joins: 0,
            status: String::new(),
            watch,
            connected: Err(now),
            is_closing: false,
            replicas: BTreeMap::new(),
            looked_at: None,
            queue: VecDeque::new(),
            under_way: Vec::new(),
            outbox: Outbox::default(),
            is_known: false,
            alarms: BTreeSet::new(),
            effects: VecDeque::new(),
            settings,
            words,
        }
    }

    /// Takes an input.
    pub fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Propose(log, Change::Join(member)) => self.join(log, member, now),
            Input::Propose(log, Change::Leave(peer, departure)) => {
                self.leave(log, peer, departure, now);
            }
            Input::Send(to, letter) => self.send(to, letter),
            Input::Connected => self.connect(now),
            Input::Lost => self.lose(now),
            Input::Answers(answers) => {
                let asked = std::mem::take(&mut self.under_way);
                for (asked, answer) in asked.into_iter().zip(answers) {
                    self.answered(asked, answer, now);
                }
            }
            Input::News(log, news) => self.news(&log, news, now),
            Input::Mail(bytes) => self.receive(&bytes, now),
            Input::Close => self.close(),
        }
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, _)) = self.alarms.first() {
            if *at > now {
                return;
            }
            if let Some((at, alarm)) = self.alarms.pop_first() {
                self.ring(alarm, at, now);
            }
        }
    }

    /// When [`Node::handle_timeout`] must be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.alarms.first().map(|(at, _)| *at)
    }

    /// The next thing that follows, if any.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// The requests of the next round trip; empty if there are none, or the last ones are not
    /// answered yet, or the store is away.
    pub fn next_batch(&mut self) -> Vec<Request> {
        if self.connected.is_err() || !self.under_way.is_empty() {
            return Vec::new();
        }
        // What somebody says before it leaves is to be heard before.
        let mut batch = self.letters();
        let mut seats = 0;
        let is_due = |(request, asked): &&(Request, Asked)| {
            let is_due = seats < BATCH_SEATS_MAX && !self.has_more_to_say(asked);
            seats += self.seats_of(request, asked);
            is_due
        };
        let count = self.queue.iter().take(BATCH_MAX).take_while(is_due).count();
        batch.extend(self.queue.drain(..count));
        let (requests, asked) = batch.into_iter().unzip();
        self.under_way = asked;
        requests
    }

    /// Whether somebody is to leave whose letters still wait.
    fn has_more_to_say(&self, asked: &Asked) -> bool {
        let Asked::Leave(_, peer, ..) = asked else {
            return false;
        };
        self.outbox.has_waiting_of(*peer)
    }

    /// A portion of the letters.
    fn letters(&mut self) -> Vec<(Request, Asked)> {
        let portion = self.outbox.take().into_iter();
        let posts = portion.map(|(to, letters)| {
            let message = letters.iter().map(|(at, letter)| (*at, letter));
            let request = Request::Post(to, mail::write(self.lease.node, message));
            let letters = letters.into_iter().map(|(_, letter)| letter);
            (request, Asked::Post(letters.collect()))
        });
        posts.collect()
    }

    /// How many seats the store goes through for a request.
    fn seats_of(&self, request: &Request, asked: &Asked) -> usize {
        let (Asked::Sync(log, _) | Asked::Read(log, _)) = asked else {
            return 1;
        };
        let mut wanted = 0;
        if let Request::Sync { wanted: seats, .. } = request {
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
        self.watch.nodes()
    }

    /// For how long the store has been away.
    #[must_use]
    pub fn down_for(&self, now: Instant) -> Option<Duration> {
        let since = self.connected.err()?;
        Some(now.saturating_duration_since(since))
    }

    /// Requests and letters that wait or are under way; beats are none.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let queued = self.queue.iter().map(|(_, asked)| asked);
        let requests = queued.chain(&self.under_way);
        let is_one = |asked: &&Asked| !matches!(asked, Asked::Beat(_) | Asked::Post(_));
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
            .map(|(_, replica)| replica.wanted.len())
            .filter(|members| *members > 0)
            .fold((0, 0), |(rooms, all), members| (rooms + 1, all + members))
    }

    fn ask(&mut self, request: Request, asked: Asked) {
        self.queue.push_back((request, asked));
    }

    fn tell(&mut self, log: &LogId, entries: Vec<Entry>) {
        if !entries.is_empty() {
            self.effects
                .push_back(Effect::Committed(log.clone(), entries));
        }
    }

    fn decline(&mut self, log: &LogId, peer: PeerId, why: Declined) {
        self.effects
            .push_back(Effect::Declined(log.clone(), peer, why));
    }

    /// How many seats there may be when this member is given one.
    fn seats_max(&self, log: &LogId, newcomer: &Member) -> usize {
        match log {
            LogId::Room(_) => self.settings.limits.members_max(newcomer),
            LogId::Name(..) | LogId::Duty(_) => 0,
        }
    }

    // Time

    fn ring(&mut self, alarm: Alarm, at: Instant, now: Instant) {
        match alarm {
            Alarm::Beat if self.connected.is_ok() => self.send_beat(now),
            Alarm::Beat => {}
            Alarm::Join(log, peer) => {
                let replica = self.replicas.get(&log);
                let is_late = replica
                    .and_then(|replica| replica.wanted.get(&peer))
                    .is_some_and(|want| want.until == Some(at));
                if is_late && self.give_up(&log, peer) {
                    self.decline(&log, peer, Declined::Unavailable);
                    self.let_linger(&log, now);
                }
            }
            Alarm::Gap(log) => {
                if self.connected.is_ok() {
                    self.fill_gap(&log);
                }
            }
            Alarm::Linger(log) => self.give_up_log(&log, at),
            Alarm::Doubt(log) => {
                if let Some(replica) = self.replicas.get_mut(&log)
                    && replica.doubt == Some(at)
                {
                    replica.doubt = None;
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
            replica.is_looking = false;
        }
    }

    fn give_up_log(&mut self, log: &LogId, at: Instant) {
        let Some(replica) = self.replicas.get(log) else {
            return;
        };
        if replica.linger != Some(at) || replica.is_needed() {
            return;
        }
        if let Some(mut replica) = self.replicas.remove(log) {
            self.effects.extend(
                replica
                    .release(true)
                    .into_iter()
                    .map(|held| Effect::Letter(held.from, held.letter)),
            );
            let entries = replica.clear();
            self.tell(log, entries);
        }
        if self.connected.is_ok() {
            let request = Request::Close(self.lease.node, log.clone());
            self.ask(request, Asked::Nothing);
        }
    }

    fn close(&mut self) {
        self.is_closing = true;
        if self.connected.is_err() {
            return;
        }
        for (log, replica) in std::mem::take(&mut self.replicas) {
            if replica.is_needed() {
                self.free_all(log.clone(), replica.known);
            }
            self.ask(Request::Close(self.lease.node, log), Asked::Nothing);
        }
        self.ask(Request::Forget(self.lease), Asked::Nothing);
        self.alarms.clear();
    }
}

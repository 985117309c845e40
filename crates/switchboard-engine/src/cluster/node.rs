//! One node of a cluster, as a machine: it knows no socket and no clock.
//!
//! Its driver hands it what happens ([`Input`]) and the time, and then fetches what follows
//! ([`Node::poll_effect`]). While the store is connected and nothing is under way, it takes the next
//! requests ([`Node::next_batch`]), has them carried out in their order, and hands in the answers in
//! the same order. When the connection breaks, everything under way is taken for lost.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Bound,
    sync::Arc,
    time::{Duration, Instant},
};

use switchboard_core::{
    Change, Declined, Departure, Entry, Eviction, Letter, LogId, Member, NodeId, PeerId, Position,
};

use super::{
    mail,
    replica::{HeldBack, Replica, Taken, Want},
    store::{
        Answer, Known, Lease, News, NoSeat, NodeStatus, Outcome, Proposal, Request, Snapshot,
        StoredChange, Wanted,
    },
    watch::Watch,
};
use crate::Vocabulary;

/// How long a join may wait for the store.
const JOIN_PATIENCE: Duration = Duration::from_millis(1800);

/// How long whoever is taken for a ghost has had to answer.
const CHALLENGE: Duration = Duration::from_secs(2);

/// How long news may come out of order before the log is read anew.
const GAP_PATIENCE: Duration = Duration::from_millis(50);

/// How long a log is kept that nobody here wants any more: longer than a challenge takes.
const LINGER: Duration = Duration::from_secs(10);

/// Letters that may wait for the store, and their bytes, about.
const LETTERS_MAX: usize = 16 * 1024;
const LETTER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Requests in one round trip, and bytes of the letters in one message.
const BATCH_MAX: usize = 512;
const MESSAGE_BYTES_MAX: usize = 512 * 1024;

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
    /// Members that a room may have; 0: any number.
    pub room_members: usize,
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
}

/// What a request was for.
#[derive(Debug)]
enum Asked {
    Beat(u32),
    Bury(Lease),
    Logs(Lease),
    Read(LogId, Vec<PeerId>),
    Sync(LogId, u32),
    Join(LogId, Want, u32),
    Leave(LogId, PeerId, Departure, u32),
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
    mail: BTreeMap<NodeId, VecDeque<(Position, Letter)>>,
    letters: usize,
    letter_bytes: usize,
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
        // Others see a beat at the latest one interval after it, so all is over within the lease.
        let watch = Watch::new(node, settings.lease * 4 / 5);
        Self {
            lease: Lease { node, epoch: 1 },
            beat: 0,
            status: String::new(),
            watch,
            connected: Err(now),
            is_closing: false,
            replicas: BTreeMap::new(),
            looked_at: None,
            queue: VecDeque::new(),
            under_way: Vec::new(),
            mail: BTreeMap::new(),
            letters: 0,
            letter_bytes: 0,
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
        self.post();
        let count = self.queue.len().min(BATCH_MAX);
        let (requests, asked) = self.queue.drain(..count).unzip();
        self.under_way = asked;
        requests
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

    /// Requests and letters that wait or are under way.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.len() + self.under_way.len() + self.letters
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

    fn seats_max(&self, log: &LogId) -> usize {
        match log {
            LogId::Room(_) => self.settings.room_members,
            LogId::Name(..) | LogId::Duty(_) => 0,
        }
    }

    // What members want

    fn join(&mut self, log: LogId, member: Arc<Member>, now: Instant) {
        let peer = member.peer;
        let is_long_gone = self.down_for(now) >= Some(JOIN_PATIENCE);
        if is_long_gone || self.is_closing || self.queue.len() >= LETTERS_MAX {
            return self.decline(&log, peer, Declined::Unavailable);
        }
        let until = now + JOIN_PATIENCE;
        let card = mail::card(&member);
        let want = Want {
            member,
            card,
            until: Some(until),
        };
        let node = self.lease.node;
        let is_new = !self.replicas.contains_key(&log);
        let replica = self
            .replicas
            .entry(log.clone())
            .or_insert_with(|| Replica::new(node));
        replica.linger = None;
        replica.wanted.insert(peer, want.copy());
        self.alarms.insert((until, Alarm::Join(log.clone(), peer)));
        if self.connected.is_err() {
            return;
        }
        if is_new {
            self.open(&log);
        } else {
            self.ask_join(log, want);
        }
    }

    fn ask_join(&mut self, log: LogId, want: Want) {
        let wanted = Wanted {
            peer: want.member.peer,
            address: want.member.address.clone(),
            since: None,
            card: want.card.clone(),
        };
        let request = Request::Change {
            seats: self.seats_max(&log),
            log: log.clone(),
            lease: self.lease,
            proposal: Proposal::Join(wanted),
            snapshot: false,
        };
        let epoch = self.lease.epoch;
        self.ask(request, Asked::Join(log, want, epoch));
    }

    fn leave(&mut self, log: LogId, peer: PeerId, departure: Departure, now: Instant) {
        let Some(replica) = self.replicas.get_mut(&log) else {
            return self.decline(&log, peer, Declined::Absent);
        };
        let is_own = replica.wanted.remove(&peer).is_some() || replica.is_own(peer);
        // It may have answered when this node could not hear it.
        let is_heard = self.connected.is_ok_and(|since| now >= since + CHALLENGE);
        if !is_own && !is_heard && departure == Departure::Evicted(Eviction::Ghost) {
            return self.decline(&log, peer, Declined::Unavailable);
        }
        if is_own {
            replica.dismiss(peer, departure);
        }
        if self.connected.is_err() {
            match is_own {
                true => self.leave_alone(&log, peer),
                false => self.decline(&log, peer, Declined::Unavailable),
            }
            return self.let_linger(&log, now);
        }
        let request = Request::Change {
            log: log.clone(),
            lease: self.lease,
            proposal: Proposal::Leave(peer, departure),
            seats: 0,
            snapshot: false,
        };
        let epoch = self.lease.epoch;
        self.ask(request, Asked::Leave(log, peer, departure, epoch));
    }

    /// A member of this node goes while the store is away: those of this node see it at once, the
    /// others when the store is back.
    fn leave_alone(&mut self, log: &LogId, peer: PeerId) {
        let mut entries = Vec::new();
        if let Some(replica) = self.replicas.get_mut(log) {
            let departure = replica.farewell(peer);
            replica.unseat(peer, departure, &mut entries);
        }
        if entries.is_empty() {
            self.decline(log, peer, Declined::Absent);
        }
        self.tell(log, entries);
    }

    /// Gives a log up some time after nobody here has wanted it.
    fn let_linger(&mut self, log: &LogId, now: Instant) {
        let Some(replica) = self.replicas.get_mut(log) else {
            return;
        };
        if replica.linger.is_none() && !replica.is_needed() {
            let until = now + LINGER;
            replica.linger = Some(until);
            self.alarms.insert((until, Alarm::Linger(log.clone())));
        }
    }

    // Letters

    fn send(&mut self, to: NodeId, letter: Letter) {
        let Some(replica) = self.replicas.get(&letter.log) else {
            return self.effects.push_back(Effect::Unsent(letter));
        };
        let bytes = mail::weight(&letter);
        let is_full = self.letters >= LETTERS_MAX || self.letter_bytes + bytes > LETTER_BYTES_MAX;
        if self.connected.is_err() || is_full {
            return self.effects.push_back(Effect::Unsent(letter));
        }
        self.letters += 1;
        self.letter_bytes += bytes;
        let letters = self.mail.entry(to).or_default();
        letters.push_back((replica.known.head, letter));
    }

    /// Makes messages of the letters that wait.
    fn post(&mut self) {
        for (to, mut letters) in std::mem::take(&mut self.mail) {
            while !letters.is_empty() {
                let mut bytes = 0;
                let count = letters.iter().take_while(|(_, letter)| {
                    let fits = bytes < MESSAGE_BYTES_MAX;
                    bytes += mail::weight(letter);
                    fits
                });
                let count = count.count();
                let these: Vec<_> = letters.drain(..count).collect();
                let message = mail::write(
                    self.lease.node,
                    these.iter().map(|(at, letter)| (*at, letter)),
                );
                let these = these.into_iter().map(|(_, letter)| letter).collect();
                self.ask(Request::Post(to, message), Asked::Post(these));
            }
        }
    }

    /// Letters are under way no more.
    fn forget_letters(&mut self, letters: &[Letter]) {
        self.letters -= letters.len();
        self.letter_bytes -= letters.iter().map(mail::weight).sum::<usize>();
    }

    fn receive(&mut self, bytes: &[u8], now: Instant) {
        let Some((from, letters)) = mail::read(bytes, &*self.words) else {
            return;
        };
        for (at, letter) in letters {
            let log = letter.log.clone();
            let letter = HeldBack { from, at, letter };
            let Some(replica) = self.replicas.get_mut(&log) else {
                self.effects.push_back(Effect::Letter(from, letter.letter));
                continue;
            };
            if let Some(letter) = replica.hold(letter) {
                self.effects.push_back(Effect::Letter(from, letter.letter));
            } else {
                self.mind_the_gap(&log, now);
            }
        }
    }

    // The store comes and goes

    fn connect(&mut self, now: Instant) {
        self.lose(now);
        self.connected = Ok(now);
        self.watch.begin(now);
        self.send_beat(now);
        for log in self.replicas.keys().cloned().collect::<Vec<_>>() {
            self.open(&log);
        }
    }

    fn lose(&mut self, now: Instant) {
        if self.connected.is_ok() {
            self.connected = Err(now);
        }
        let under_way = std::mem::take(&mut self.under_way);
        let queue = std::mem::take(&mut self.queue);
        let asked = under_way
            .into_iter()
            .chain(queue.into_iter().map(|(_, asked)| asked));
        let mut evictions = Vec::new();
        for asked in asked.collect::<Vec<_>>() {
            match asked {
                Asked::Post(letters) => self.return_letters(letters),
                Asked::Leave(log, peer, ..) => evictions.push((log, peer)),
                Asked::Read(log, taken) => {
                    for peer in taken {
                        self.decline(&log, peer, Declined::Unavailable);
                    }
                }
                Asked::Beat(_)
                | Asked::Bury(_)
                | Asked::Logs(_)
                | Asked::Sync(..)
                | Asked::Join(..)
                | Asked::Nothing => {}
            }
        }
        for letters in std::mem::take(&mut self.mail).into_values() {
            self.return_letters(letters.into_iter().map(|(_, letter)| letter).collect());
        }
        self.lose_leaves(evictions);
        for log in self.replicas.keys().cloned().collect::<Vec<_>>() {
            if let Some(replica) = self.replicas.get_mut(&log) {
                replica.is_looking = false;
            }
            self.let_linger(&log, now);
        }
    }

    fn return_letters(&mut self, letters: Vec<Letter>) {
        self.forget_letters(&letters);
        self.effects.extend(letters.into_iter().map(Effect::Unsent));
    }

    /// What was to be ordered by a store that is away: the leaves of this node's members are.
    fn lose_leaves(&mut self, proposed: Vec<(LogId, PeerId)>) {
        for (log, peer) in proposed {
            let replica = self.replicas.get(&log);
            let stays = replica.is_some_and(|it| it.wanted.contains_key(&peer));
            let is_others = replica.is_some_and(|it| it.is_seated(peer) && !it.is_own(peer));
            if is_others {
                self.decline(&log, peer, Declined::Unavailable);
            } else if !stays {
                self.leave_alone(&log, peer);
            }
        }
        for (log, replica) in &mut self.replicas {
            let mut entries = Vec::new();
            for peer in replica.leaving() {
                let departure = replica.farewell(peer);
                replica.unseat(peer, departure, &mut entries);
            }
            if !entries.is_empty() {
                self.effects
                    .push_back(Effect::Committed(log.clone(), entries));
            }
        }
    }

    /// Asks for a log's news from now on, and makes the seats what they should be.
    fn open(&mut self, log: &LogId) {
        let request = Request::Open(self.lease.node, log.clone());
        self.ask(request, Asked::Nothing);
        self.sync(log);
    }

    fn sync(&mut self, log: &LogId) {
        let seats = self.seats_max(log);
        let Some(replica) = self.replicas.get_mut(log) else {
            return;
        };
        replica.is_looking = true;
        let request = Request::Sync {
            log: log.clone(),
            lease: self.lease,
            known: replica.known,
            wanted: replica.wishes(),
            seats,
        };
        self.ask(request, Asked::Sync(log.clone(), self.lease.epoch));
    }

    fn read(&mut self, log: &LogId, taken: Vec<PeerId>) {
        if let Some(replica) = self.replicas.get_mut(log) {
            replica.is_looking = true;
            let request = Request::Read(log.clone());
            self.ask(request, Asked::Read(log.clone(), taken));
        }
    }

    /// Something of a log is missing: if it does not come by itself soon, the log is read anew.
    fn mind_the_gap(&mut self, log: &LogId, now: Instant) {
        let Some(replica) = self.replicas.get_mut(log) else {
            return;
        };
        if !replica.is_looking && self.connected.is_ok() {
            replica.is_looking = true;
            self.alarms
                .insert((now + GAP_PATIENCE, Alarm::Gap(log.clone())));
        }
    }

    // News and answers

    fn news(&mut self, log: &LogId, news: News, now: Instant) {
        let Some(replica) = self.replicas.get_mut(log) else {
            return;
        };
        let (taken, entries) = replica.take(news, &*self.words);
        self.tell(log, entries);
        self.follow(log, taken, now);
    }

    /// After changes were taken.
    fn follow(&mut self, log: &LogId, taken: Taken, now: Instant) {
        match taken {
            Taken::InOrder => {}
            Taken::Gap => self.mind_the_gap(log, now),
            Taken::Fenced(epoch) if epoch == self.lease.epoch => self.lose_lease(epoch, now),
            // The seats of an epoch that is over are being asked for anew.
            Taken::Fenced(_) => self.mind_the_gap(log, now),
        }
        self.release(log, now);
        self.let_linger(log, now);
    }

    fn release(&mut self, log: &LogId, now: Instant) {
        let Some(replica) = self.replicas.get_mut(log) else {
            return;
        };
        let letters = replica.release(false).into_iter();
        self.effects
            .extend(letters.map(|held| Effect::Letter(held.from, held.letter)));
        if replica.is_behind() {
            self.mind_the_gap(log, now);
        }
    }

    fn answered(&mut self, asked: Asked, answer: Answer, now: Instant) {
        match (asked, answer) {
            (Asked::Beat(epoch), Answer::Beaten { valid, nodes }) => {
                self.beaten(epoch, valid, nodes, now);
            }
            (Asked::Bury(lease), Answer::Buried(true)) => {
                self.ask(Request::Logs(lease.node), Asked::Logs(lease));
            }
            (Asked::Logs(lease), Answer::Logs(logs)) => self.free(lease, logs),
            (Asked::Read(log, taken), Answer::Read(snapshot)) => {
                self.has_read(&log, snapshot, taken, now);
            }
            (
                Asked::Sync(log, epoch),
                Answer::Synced {
                    fenced,
                    declined,
                    snapshot,
                },
            ) => match fenced {
                true => self.lose_lease(epoch, now),
                false => self.synced(&log, declined, snapshot, now),
            },
            (Asked::Join(log, want, epoch), Answer::Changed { outcome, .. }) => {
                self.join_answered(log, want, epoch, outcome, now);
            }
            (Asked::Leave(log, peer, departure, epoch), Answer::Changed { outcome, .. }) => {
                self.leave_answered(&log, peer, departure, epoch, outcome, now);
            }
            (Asked::Post(letters), answer) => {
                self.forget_letters(&letters);
                if answer == Answer::Posted(0) {
                    self.effects.extend(letters.into_iter().map(Effect::Unsent));
                }
            }
            // Nothing to do, or a store that answers what was not asked.
            (_, _) => {}
        }
    }

    fn join_answered(
        &mut self,
        log: LogId,
        want: Want,
        epoch: u32,
        outcome: Outcome,
        now: Instant,
    ) {
        let peer = want.member.peer;
        match outcome {
            Outcome::At(at) => {
                let seat = super::store::Seat {
                    peer,
                    address: want.member.address.clone(),
                    lease: Lease {
                        epoch,
                        ..self.lease
                    },
                    since: at.head,
                    card: want.card,
                };
                let change = StoredChange::Join(seat);
                self.news(&log, News { at, change }, now);
            }
            Outcome::NoSeat(NoSeat::Taken) => {
                if self.give_up(&log, peer) {
                    self.read(&log, vec![peer]);
                }
            }
            Outcome::NoSeat(NoSeat::Full) => {
                if self.give_up(&log, peer) {
                    self.decline(&log, peer, Declined::Full);
                    self.let_linger(&log, now);
                }
            }
            Outcome::Fenced => self.lose_lease(epoch, now),
            Outcome::Present(_) | Outcome::Absent => {}
        }
    }

    /// Gives up the wish of a peer that has no seat; says whether it had it still.
    fn give_up(&mut self, log: &LogId, peer: PeerId) -> bool {
        let replica = self.replicas.get_mut(log);
        replica.is_some_and(|replica| {
            !replica.is_seated(peer) && replica.wanted.remove(&peer).is_some()
        })
    }

    fn leave_answered(
        &mut self,
        log: &LogId,
        peer: PeerId,
        departure: Departure,
        epoch: u32,
        outcome: Outcome,
        now: Instant,
    ) {
        match outcome {
            Outcome::At(at) => {
                if let Some(replica) = self.replicas.get_mut(log) {
                    replica.is_to_depart(peer, at);
                }
                let change = StoredChange::Leave(peer, departure);
                self.news(log, News { at, change }, now);
            }
            Outcome::Fenced => {
                self.lose_lease(epoch, now);
                self.has_no_seat(log, peer);
            }
            Outcome::Absent | Outcome::Present(_) | Outcome::NoSeat(_) => {
                self.has_no_seat(log, peer);
            }
        }
    }

    /// Somebody who was to leave has left already, which this node may have missed.
    fn has_no_seat(&mut self, log: &LogId, peer: PeerId) {
        if self.replicas.get(log).is_some_and(|it| it.is_seated(peer)) {
            self.read(log, Vec::new());
        } else {
            self.decline(log, peer, Declined::Absent);
        }
    }

    fn has_read(
        &mut self,
        log: &LogId,
        snapshot: Option<Snapshot>,
        taken: Vec<PeerId>,
        now: Instant,
    ) {
        let Some(replica) = self.replicas.get_mut(log) else {
            return;
        };
        let snapshot = snapshot.unwrap_or_else(|| nothing(replica.known));
        if replica.is_missed_in(&snapshot) {
            self.sync(log);
        } else {
            self.adopt(log, snapshot, now);
        }
        for peer in taken {
            self.decline(log, peer, Declined::Taken);
        }
    }

    fn synced(
        &mut self,
        log: &LogId,
        declined: Vec<(PeerId, NoSeat)>,
        snapshot: Option<Snapshot>,
        now: Instant,
    ) {
        let Some(replica) = self.replicas.get(log) else {
            return;
        };
        let snapshot = snapshot.unwrap_or_else(|| nothing(replica.known));
        let (_, never): (Vec<_>, Vec<_>) = declined
            .into_iter()
            .partition(|(peer, _)| replica.is_seated(*peer));
        self.adopt(log, snapshot, now);
        for (peer, why) in never {
            if self.give_up(log, peer) {
                let why = match why {
                    NoSeat::Taken => Declined::Taken,
                    NoSeat::Full => Declined::Full,
                };
                self.decline(log, peer, why);
            }
        }
        self.let_linger(log, now);
    }

    /// Takes a log as it is.
    fn adopt(&mut self, log: &LogId, snapshot: Snapshot, now: Instant) {
        let Some(replica) = self.replicas.get_mut(log) else {
            return;
        };
        replica.is_looking = false;
        // News that came before this answer may have overtaken it.
        let is_old = snapshot.known.head < replica.known.head
            && snapshot.known.generation <= replica.known.generation;
        if is_old {
            let (taken, entries) = replica.resume(&*self.words);
            self.tell(log, entries);
            return self.follow(log, taken, now);
        }
        let was = replica.known.generation;
        if was != 0 && was != snapshot.known.generation {
            let until = now + self.settings.lease;
            replica.doubt = Some(until);
            self.alarms.insert((until, Alarm::Doubt(log.clone())));
        }
        let mut entries = replica.adopt(snapshot, &*self.words);
        let (taken, more) = replica.resume(&*self.words);
        entries.extend(more);
        let departed = replica.departed();
        self.tell(log, entries);
        for peer in departed {
            self.decline(log, peer, Declined::Absent);
        }
        self.follow(log, taken, now);
    }

    // Leases

    fn send_beat(&mut self, now: Instant) {
        self.beat += 1;
        let request = Request::Beat {
            lease: self.lease,
            beat: self.beat,
            status: self.status.clone(),
        };
        self.queue
            .push_front((request, Asked::Beat(self.lease.epoch)));
        self.alarms.retain(|(_, alarm)| *alarm != Alarm::Beat);
        self.alarms
            .insert((now + self.settings.lease / 5, Alarm::Beat));
    }

    fn beaten(&mut self, epoch: u32, valid: bool, nodes: Vec<NodeStatus>, now: Instant) {
        if !valid {
            return self.lose_lease(epoch, now);
        }
        for dead in self.watch.look(nodes, now) {
            let (lease, beat) = (dead.lease, dead.beat);
            self.ask(Request::Bury { lease, beat }, Asked::Bury(lease));
        }
        self.look_around();
        let leases = self.replicas.values().flat_map(Replica::leases).collect();
        for stray in self.watch.strays(leases) {
            let logs = self.replicas.iter();
            let logs = logs.filter(|(_, replica)| replica.leases().any(|lease| lease == stray));
            let logs: Vec<_> = logs.map(|(log, _)| log.clone()).collect();
            for log in logs {
                self.ask(Request::Evict(log, stray), Asked::Nothing);
            }
        }
    }

    /// Reads the next few logs.
    fn look_around(&mut self) {
        let from = self
            .looked_at
            .take()
            .map_or(Bound::Unbounded, Bound::Excluded);
        let logs = self.replicas.range((from, Bound::Unbounded)).take(LOOKS);
        for log in logs.map(|(log, _)| log.clone()).collect::<Vec<_>>() {
            self.read(&log, Vec::new());
            self.looked_at = Some(log);
        }
    }

    /// Frees the seats of a dead node and strikes it off the list.
    fn free(&mut self, dead: Lease, logs: Vec<LogId>) {
        for log in logs {
            self.ask(Request::Evict(log.clone(), dead), Asked::Nothing);
            self.ask(Request::Close(dead.node, log), Asked::Nothing);
        }
        self.ask(Request::Forget(dead), Asked::Nothing);
    }

    /// The others have taken this node for dead under `epoch`: it comes back under another.
    fn lose_lease(&mut self, epoch: u32, now: Instant) {
        if epoch != self.lease.epoch {
            return;
        }
        self.lease.epoch += 1;
        self.send_beat(now);
        for log in self.replicas.keys().cloned().collect::<Vec<_>>() {
            // The list of what this node has open was torn up with the lease.
            self.open(&log);
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
                self.ask(Request::Evict(log.clone(), self.lease), Asked::Nothing);
            }
            self.ask(Request::Close(self.lease.node, log), Asked::Nothing);
        }
        self.ask(Request::Forget(self.lease), Asked::Nothing);
        self.alarms.clear();
    }
}

/// A log that nobody is in.
fn nothing(known: Known) -> Snapshot {
    Snapshot {
        known,
        seats: Vec::new(),
    }
}

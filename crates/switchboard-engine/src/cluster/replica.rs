//! One log as this node knows it, and what its members want of it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Instant,
};

use switchboard_core::{
    Change, Departure, Entry, Eviction, Farewell, Letter, Member, NodeId, PeerId, Position,
};

use super::store::{Known, Lease, News, Seat, Snapshot, StoredChange, Wanted};
use crate::Vocabulary;

/// News that may wait for what comes before them; with more, the log is read anew.
const EARLY_MAX: usize = 1024;

/// Letters that may wait for the changes that their senders knew of.
const HELD_MAX: usize = 1024;

/// A seat as the hub has been told of it.
#[derive(Clone, Debug)]
struct Held {
    lease: Lease,
    since: Position,
    member: Arc<Member>,
}

/// What a member of this node wants.
#[derive(Debug)]
pub(super) struct Want {
    pub(super) member: Arc<Member>,
    pub(super) card: String,
    /// Until when its first seat may take; none once it has had one.
    pub(super) until: Option<Instant>,
}

impl Want {
    pub(super) fn copy(&self) -> Self {
        Self {
            member: self.member.clone(),
            card: self.card.clone(),
            until: self.until,
        }
    }
}

/// A letter that came before the changes that its sender knew of.
#[derive(Debug)]
pub(super) struct HeldBack {
    pub(super) from: NodeId,
    pub(super) at: Position,
    pub(super) letter: Letter,
}

/// What becomes of a letter.
pub(super) enum Hold {
    /// It is for the hub.
    Now(HeldBack),
    /// It waits.
    Later,
    /// Too many wait: it cannot be taken.
    Full(HeldBack),
}

/// What news came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// The log is known up to here.
    InOrder,
    /// Something before it is missing.
    Gap,
    /// A member of this node has lost its seat of this epoch without being asked.
    Fenced(u32),
}

/// One log.
#[derive(Debug)]
pub(super) struct Replica {
    node: NodeId,
    pub(super) known: Known,
    seats: BTreeMap<PeerId, Held>,
    pub(super) wanted: BTreeMap<PeerId, Want>,
    /// The log was once seen to be as long as this.
    pub(super) seen: Position,
    early: BTreeMap<Position, News>,
    held: VecDeque<HeldBack>,
    /// Members of this node whose leave is ordered, but has not been taken here yet.
    departing: BTreeSet<PeerId>,
    /// Seats of earlier joins of this node's members, which those want no more.
    pub(super) outdated: BTreeSet<PeerId>,
    /// Those that are being freed.
    pub(super) freeing: BTreeSet<PeerId>,
    /// How members of this node are to leave.
    farewells: BTreeMap<PeerId, Departure>,
    /// A look at the whole log is under way, or planned.
    pub(super) is_looking: bool,
    /// Until when seats that the store has forgotten may be restored by their nodes.
    pub(super) doubt: Option<Instant>,
    /// The time to restore seats is over: seats that the next snapshot lacks are freed. A snapshot that news
    /// have overtaken does not count as the next one.
    pub(super) must_free_missing: bool,
    /// Until when it is kept though nobody here wants it.
    pub(super) linger: Option<Instant>,
}

impl Replica {
    pub(super) fn new(node: NodeId) -> Self {
        Self {
            node,
            known: Known::default(),
            seats: BTreeMap::new(),
            wanted: BTreeMap::new(),
            seen: Position::default(),
            early: BTreeMap::new(),
            held: VecDeque::new(),
            departing: BTreeSet::new(),
            outdated: BTreeSet::new(),
            freeing: BTreeSet::new(),
            farewells: BTreeMap::new(),
            is_looking: false,
            doubt: None,
            must_free_missing: false,
            linger: None,
        }
    }

    /// Whether a member of this node has a seat or wants one.
    pub(super) fn is_needed(&self) -> bool {
        !self.wanted.is_empty() || self.own().next().is_some()
    }

    pub(super) fn is_seated(&self, peer: PeerId) -> bool {
        self.seats.contains_key(&peer)
    }

    pub(super) fn is_own(&self, peer: PeerId) -> bool {
        self.seats
            .get(&peer)
            .is_some_and(|held| held.lease.node == self.node)
    }

    pub(super) fn len(&self) -> usize {
        self.seats.len()
    }

    fn own(&self) -> impl Iterator<Item = (&PeerId, &Held)> {
        self.seats
            .iter()
            .filter(|(_, held)| held.lease.node == self.node)
    }

    /// The members of this node that have a seat and want none.
    pub(super) fn leaving(&self) -> Vec<PeerId> {
        self.own()
            .map(|(peer, _)| *peer)
            .filter(|peer| !self.wanted.contains_key(peer))
            .collect()
    }

    /// The leases of the other nodes' members.
    pub(super) fn leases(&self) -> impl Iterator<Item = Lease> {
        self.seats
            .values()
            .map(|held| held.lease)
            .filter(|lease| lease.node != self.node)
    }

    /// What this node wants, oldest first.
    pub(super) fn wishes(&self) -> Vec<Wanted> {
        let mut wishes: Vec<_> = self
            .wanted
            .iter()
            .map(|(peer, want)| Wanted {
                peer: *peer,
                address: want.member.address.clone(),
                since: self.seats.get(peer).map(|held| held.since),
                card: want.card.clone(),
            })
            .collect();
        wishes.sort_by_key(|wish| (wish.since.is_none(), wish.since));
        wishes
    }

    /// Takes news in their order, and gives what the hub is to be told.
    pub(super) fn take(&mut self, news: News, words: &dyn Vocabulary) -> (Taken, Vec<Entry>) {
        let mut entries = Vec::new();
        let is_new = (news.at.generation, news.at.head) > (self.known.generation, self.known.head);
        if !is_new {
            return (Taken::InOrder, entries);
        }
        if self.early.len() >= EARLY_MAX {
            self.early.clear();
            return (Taken::Gap, entries);
        }
        self.early.insert(news.at.head, news);
        let taken = self.catch_up(words, &mut entries);
        (taken, entries)
    }

    /// Takes what has waited for what came before it.
    fn catch_up(&mut self, words: &dyn Vocabulary, entries: &mut Vec<Entry>) -> Taken {
        while let Some(first) = self.early.first_entry() {
            let at = first.get().at;
            if at.head <= self.known.head {
                first.remove();
                continue;
            }
            if at.head != self.known.head.next() || at.generation != self.known.generation {
                return Taken::Gap;
            }
            if let StoredChange::Leave(peer, Departure::Lost) = first.get().change
                && let Some(held) = self.seats.get(&peer)
                && held.lease.node == self.node
            {
                return Taken::Fenced(held.lease.epoch);
            }
            let news = first.remove();
            self.known = news.at;
            match news.change {
                StoredChange::Join(seat) => self.seat(&seat, words, entries),
                // Its outdated seat, not the one it has been told of.
                StoredChange::Leave(peer, _)
                    if self.freeing.contains(&peer) && self.wanted.contains_key(&peer) => {}
                StoredChange::Leave(peer, departure) => self.unseat(peer, departure, entries),
            }
        }
        Taken::InOrder
    }

    /// Whether a seat is of an earlier join of somebody of this node than the one that it wants.
    fn is_outdated(&self, seat: &Seat) -> bool {
        let want = self.wanted.get(&seat.peer);
        seat.lease.node == self.node && want.is_some_and(|want| want.card != seat.card)
    }

    fn seat(&mut self, seat: &Seat, words: &dyn Vocabulary, entries: &mut Vec<Entry>) {
        if self.is_outdated(seat) {
            self.outdated.insert(seat.peer);
            return;
        }
        match self.seats.get_mut(&seat.peer) {
            Some(held) if held.since == seat.since => {
                held.lease = seat.lease;
                return;
            }
            Some(held) => {
                let departure = match held.lease.node == self.node {
                    true => Departure::Lost,
                    false => Departure::Asked(Farewell::Aloud),
                };
                self.unseat(seat.peer, departure, entries);
            }
            None => {}
        }
        if self.doubt.is_some() {
            // Whoever had its address in the life before is not in doubt any more.
            let mut held = self.seats.iter();
            let before = held.find(|(_, held)| held.member.address == seat.address);
            if let Some((before, _)) = before {
                let before = *before;
                let departure = self.succession(before, Some(seat), words);
                self.unseat(before, departure, entries);
            }
        }
        let want = self.wanted.get_mut(&seat.peer);
        let is_own = seat.lease.node == self.node;
        let member = match want.filter(|_| is_own) {
            Some(want) => {
                want.until = None;
                want.member.clone()
            }
            None => Arc::new(super::mail::member(seat, words)),
        };
        entries.push(Entry {
            position: seat.since,
            node: (!is_own).then_some(seat.lease.node),
            change: Change::Join(member.clone()),
        });
        let held = Held {
            lease: seat.lease,
            since: seat.since,
            member,
        };
        self.seats.insert(seat.peer, held);
    }

    /// Frees a seat, if it is taken.
    pub(super) fn unseat(&mut self, peer: PeerId, departure: Departure, entries: &mut Vec<Entry>) {
        self.departing.remove(&peer);
        self.farewells.remove(&peer);
        let Some(held) = self.seats.remove(&peer) else {
            return;
        };
        if departure != Departure::Lost {
            self.wanted.remove(&peer);
        }
        let own = held.lease.node == self.node;
        entries.push(Entry {
            position: self.known.head,
            node: (!own).then_some(held.lease.node),
            change: Change::Leave(peer, departure),
        });
    }

    /// Frees all seats of the other nodes: nobody here looks any more.
    pub(super) fn clear(&mut self) -> Vec<Entry> {
        let mut entries = Vec::new();
        for peer in self.seats.keys().copied().collect::<Vec<_>>() {
            self.unseat(peer, Departure::Asked(Farewell::Aloud), &mut entries);
        }
        entries
    }

    /// Whether a member of this node is missing in a snapshot though nobody here has said so.
    pub(super) fn is_missed_in(&self, snapshot: &Snapshot) -> bool {
        self.own().any(|(peer, held)| {
            self.wanted.contains_key(peer)
                && !snapshot
                    .seats
                    .iter()
                    .any(|seat| seat.peer == *peer && seat.since == held.since)
        })
    }

    /// Takes the log as it is, and gives what the hub is to be told: first who has left, then who
    /// has come, by their places. Seats that the store seems to have forgotten are kept while in doubt.
    pub(super) fn adopt(&mut self, mut snapshot: Snapshot, words: &dyn Vocabulary) -> Vec<Entry> {
        let mut entries = Vec::new();
        // Who has one keeps what it had until that is settled.
        let (outdated, seats) =
            (snapshot.seats.into_iter()).partition::<Vec<_>, _>(|seat| self.is_outdated(seat));
        self.outdated.extend(outdated.iter().map(|seat| seat.peer));
        snapshot.seats = seats;
        let kept: BTreeMap<_, _> = (snapshot.seats.iter())
            .map(|seat| (seat.peer, seat.since))
            .collect();
        for peer in self.missing(&snapshot, &kept) {
            let departure = self.departure(peer, &snapshot, words);
            self.unseat(peer, departure, &mut entries);
        }
        for (peer, held) in self.seats.clone() {
            if kept.get(&peer).is_some_and(|since| *since != held.since) {
                let departure = match held.lease.node == self.node {
                    true => Departure::Lost,
                    false => Departure::Asked(Farewell::Aloud),
                };
                self.unseat(peer, departure, &mut entries);
            }
        }
        self.known = snapshot.known;
        self.seen = self.known.head;
        for seat in snapshot.seats {
            self.seat(&seat, words, &mut entries);
        }
        entries
    }

    /// A member of this node is to leave.
    pub(super) fn dismiss(&mut self, peer: PeerId, departure: Departure) {
        self.farewells.insert(peer, departure);
    }

    /// How somebody leaves of whom it is not said.
    pub(super) fn farewell(&self, peer: PeerId) -> Departure {
        let farewell = self.farewells.get(&peer).copied();
        farewell.unwrap_or(Departure::Asked(Farewell::Aloud))
    }

    /// How somebody has left who is not in a snapshot.
    fn departure(&self, peer: PeerId, snapshot: &Snapshot, words: &dyn Vocabulary) -> Departure {
        let address = self.seats.get(&peer).map(|held| &held.member.address);
        let mut heirs = snapshot.seats.iter();
        let heir = heirs.find(|seat| Some(&seat.address) == address);
        self.succession(peer, heir, words)
    }

    /// How somebody has left whose address is somebody else's now.
    fn succession(&self, peer: PeerId, heir: Option<&Seat>, words: &dyn Vocabulary) -> Departure {
        let held = self.seats.get(&peer);
        let wanted = held.filter(|_| self.wanted.contains_key(&peer) && self.is_own(peer));
        let Some(held) = wanted else {
            return self.farewell(peer);
        };
        let is_same = heir.is_some_and(|seat| {
            let heir = super::mail::member(seat, words);
            heir.is_proven_same(&held.member)
        });
        Departure::Evicted(match is_same {
            true => Eviction::Replaced,
            false => Eviction::Ghost,
        })
    }

    /// Who has left, by a snapshot.
    fn missing(&self, snapshot: &Snapshot, kept: &BTreeMap<PeerId, Position>) -> Vec<PeerId> {
        let is_kept_in_doubt = |held: &Held| {
            self.doubt.is_some()
                && held.lease.node != self.node
                && !(snapshot.seats.iter()).any(|seat| seat.address == held.member.address)
        };
        self.seats
            .iter()
            .filter(|(peer, held)| !kept.contains_key(peer) && !is_kept_in_doubt(held))
            .filter(|(peer, _)| !self.outdated.contains(peer))
            .map(|(peer, _)| *peer)
            .collect()
    }

    /// After [`Replica::adopt`]: takes what came meanwhile.
    pub(super) fn resume(&mut self, words: &dyn Vocabulary) -> (Taken, Vec<Entry>) {
        let mut entries = Vec::new();
        let taken = self.catch_up(words, &mut entries);
        (taken, entries)
    }

    /// Holds a letter back if it speaks of changes that are not known here yet.
    pub(super) fn hold(&mut self, letter: HeldBack) -> Hold {
        if letter.at <= self.known.head && self.held.is_empty() {
            return Hold::Now(letter);
        }
        if self.held.len() >= HELD_MAX {
            return Hold::Full(letter);
        }
        self.held.push_back(letter);
        Hold::Later
    }

    /// Those of them that have never had one.
    pub(super) fn newcomers(&self) -> impl Iterator<Item = &Member> {
        let wanted = self.wanted.values();
        let new = wanted.filter(|want| want.until.is_some());
        new.map(|want| &*want.member)
    }

    /// Who wants a seat and has none.
    pub(super) fn unseated(&self) -> Vec<PeerId> {
        let wanted = self.wanted.keys().copied();
        wanted.filter(|peer| !self.is_seated(*peer)).collect()
    }

    /// A leave of this member is in the log, there, and perhaps still to be taken here.
    pub(super) fn is_to_depart(&mut self, peer: PeerId, at: Known) {
        if (at.generation, at.head) > (self.known.generation, self.known.head) {
            self.departing.insert(peer);
        }
    }

    /// After a look at the whole log: the members whose join and leave were both between looks.
    pub(super) fn departed(&mut self) -> BTreeSet<PeerId> {
        let mut departed = std::mem::take(&mut self.departing);
        departed.retain(|peer| !self.seats.contains_key(peer));
        departed
    }

    /// Whether something has come that cannot be taken yet.
    pub(super) fn is_behind(&self) -> bool {
        !self.held.is_empty() || !self.early.is_empty() || self.seen > self.known.head
    }

    /// The letters that need not wait any longer; all of them if nothing more is to come.
    pub(super) fn release(&mut self, all: bool) -> Vec<HeldBack> {
        let due = self
            .held
            .iter()
            .take_while(|letter| all || letter.at <= self.known.head)
            .count();
        self.held.drain(..due).collect()
    }
}

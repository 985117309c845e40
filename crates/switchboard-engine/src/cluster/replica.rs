//! One log as this node knows it, and what its members want of it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Instant,
};

use switchboard_core::{
    Change, Entry, EvictionReason, LeaveCause, LeaveKind, Member, NodeId, NodeMessage, PeerId,
    Position,
};

use super::store::{Lease, LogEvent, LogVersion, MemberSpec, Snapshot, StoredChange, StoredMember};
use crate::DialectRegistry;

/// News that may wait for what comes before them; with more, the log is read anew.
const EARLY_EVENTS_MAX: usize = 1024;

/// Letters that may wait for the changes that their senders knew of.
const HELD_MESSAGES_MAX: usize = 1024;

/// A seat as the hub has been told of it.
#[derive(Clone, Debug)]
struct AppliedMember {
    lease: Lease,
    since: Position,
    member: Arc<Member>,
}

/// What a member of this node wants.
#[derive(Debug)]
pub(super) struct DesiredMember {
    pub(super) member: Arc<Member>,
    pub(super) metadata: String,
    /// Until when its first seat may take; none once it has had one.
    pub(super) join_deadline: Option<Instant>,
}

impl DesiredMember {
    pub(super) fn copy(&self) -> Self {
        Self {
            member: self.member.clone(),
            metadata: self.metadata.clone(),
            join_deadline: self.join_deadline,
        }
    }
}

/// A letter that came before the changes that its sender knew of.
#[derive(Debug)]
pub(super) struct HeldMessage {
    pub(super) from: NodeId,
    pub(super) at: Position,
    pub(super) message: NodeMessage,
}

/// What becomes of a letter.
pub(super) enum HoldOutcome {
    /// It is for the hub.
    Deliver(HeldMessage),
    /// It waits.
    Held,
    /// Too many wait: it cannot be taken.
    Full(HeldMessage),
}

/// What news came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ApplyResult {
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
    pub(super) version: LogVersion,
    applied: BTreeMap<PeerId, AppliedMember>,
    pub(super) desired: BTreeMap<PeerId, DesiredMember>,
    /// The log was once seen to be as long as this.
    pub(super) head_seen: Position,
    early_events: BTreeMap<Position, LogEvent>,
    held_messages: VecDeque<HeldMessage>,
    /// Members of this node whose leave is ordered, but has not been taken here yet.
    departing: BTreeSet<PeerId>,
    /// Seats of earlier joins of this node's members, which those want no more.
    pub(super) outdated: BTreeSet<PeerId>,
    /// Those that are being freed.
    pub(super) releasing: BTreeSet<PeerId>,
    /// How members of this node are to leave.
    leave_causes: BTreeMap<PeerId, LeaveCause>,
    /// A look at the whole log is under way, or planned.
    pub(super) is_read_planned: bool,
    /// Until when seats that the store has forgotten may be restored by their nodes.
    pub(super) restore_grace: Option<Instant>,
    /// The time to restore seats is over: seats that the next snapshot lacks are freed. A snapshot that news
    /// have overtaken does not count as the next one.
    pub(super) must_free_missing: bool,
    /// Until when it is kept though nobody here wants it.
    pub(super) retained_until: Option<Instant>,
}

impl Replica {
    pub(super) fn new(node: NodeId) -> Self {
        Self {
            node,
            version: LogVersion::default(),
            applied: BTreeMap::new(),
            desired: BTreeMap::new(),
            head_seen: Position::default(),
            early_events: BTreeMap::new(),
            held_messages: VecDeque::new(),
            departing: BTreeSet::new(),
            outdated: BTreeSet::new(),
            releasing: BTreeSet::new(),
            leave_causes: BTreeMap::new(),
            is_read_planned: false,
            restore_grace: None,
            must_free_missing: false,
            retained_until: None,
        }
    }

    /// Whether a member of this node has a seat or wants one.
    pub(super) fn is_needed(&self) -> bool {
        !self.desired.is_empty() || self.own().next().is_some()
    }

    pub(super) fn is_member(&self, peer: PeerId) -> bool {
        self.applied.contains_key(&peer)
    }

    pub(super) fn is_own(&self, peer: PeerId) -> bool {
        self.applied
            .get(&peer)
            .is_some_and(|held| held.lease.node == self.node)
    }

    pub(super) fn len(&self) -> usize {
        self.applied.len()
    }

    fn own(&self) -> impl Iterator<Item = (&PeerId, &AppliedMember)> {
        self.applied
            .iter()
            .filter(|(_, held)| held.lease.node == self.node)
    }

    /// The members of this node that have a seat and want none.
    pub(super) fn leaving(&self) -> Vec<PeerId> {
        self.own()
            .map(|(peer, _)| *peer)
            .filter(|peer| !self.desired.contains_key(peer))
            .collect()
    }

    /// The leases of the other nodes' members.
    pub(super) fn leases(&self) -> impl Iterator<Item = Lease> {
        self.applied
            .values()
            .map(|held| held.lease)
            .filter(|lease| lease.node != self.node)
    }

    /// What this node wants, oldest first.
    pub(super) fn member_specs(&self) -> Vec<MemberSpec> {
        let mut wishes: Vec<_> = self
            .desired
            .iter()
            .map(|(peer, want)| MemberSpec {
                peer: *peer,
                address: want.member.address.clone(),
                since: self.applied.get(peer).map(|held| held.since),
                metadata: want.metadata.clone(),
            })
            .collect();
        wishes.sort_by_key(|wish| (wish.since.is_none(), wish.since));
        wishes
    }

    /// Takes news in their order, and gives what the hub is to be told.
    pub(super) fn apply_event(
        &mut self,
        news: LogEvent,
        words: &dyn DialectRegistry,
    ) -> (ApplyResult, Vec<Entry>) {
        let mut entries = Vec::new();
        let is_new = (news.version.generation, news.version.head)
            > (self.version.generation, self.version.head);
        if !is_new {
            return (ApplyResult::InOrder, entries);
        }
        if self.early_events.len() >= EARLY_EVENTS_MAX {
            self.early_events.clear();
            return (ApplyResult::Gap, entries);
        }
        self.early_events.insert(news.version.head, news);
        let taken = self.apply_early_events(words, &mut entries);
        (taken, entries)
    }

    /// Takes what has waited for what came before it.
    fn apply_early_events(
        &mut self,
        words: &dyn DialectRegistry,
        entries: &mut Vec<Entry>,
    ) -> ApplyResult {
        while let Some(first) = self.early_events.first_entry() {
            let at = first.get().version;
            if at.head <= self.version.head {
                first.remove();
                continue;
            }
            if at.head != self.version.head.next() || at.generation != self.version.generation {
                return ApplyResult::Gap;
            }
            if let StoredChange::Leave(peer, LeaveCause::NodeLost) = first.get().change
                && let Some(held) = self.applied.get(&peer)
                && held.lease.node == self.node
            {
                return ApplyResult::Fenced(held.lease.epoch);
            }
            let news = first.remove();
            self.version = news.version;
            match news.change {
                StoredChange::Join(seat) => self.apply_join(&seat, words, entries),
                // Its outdated seat, not the one it has been told of.
                StoredChange::Leave(peer, _)
                    if self.releasing.contains(&peer) && self.desired.contains_key(&peer) => {}
                StoredChange::Leave(peer, departure) => self.apply_leave(peer, departure, entries),
            }
        }
        ApplyResult::InOrder
    }

    /// Whether a seat is of an earlier join of somebody of this node than the one that it wants.
    fn is_outdated(&self, seat: &StoredMember) -> bool {
        let want = self.desired.get(&seat.peer);
        seat.lease.node == self.node && want.is_some_and(|want| want.metadata != seat.metadata)
    }

    fn apply_join(
        &mut self,
        seat: &StoredMember,
        words: &dyn DialectRegistry,
        entries: &mut Vec<Entry>,
    ) {
        if self.is_outdated(seat) {
            self.outdated.insert(seat.peer);
            return;
        }
        match self.applied.get_mut(&seat.peer) {
            Some(held) if held.since == seat.since => {
                held.lease = seat.lease;
                return;
            }
            Some(held) => {
                let departure = match held.lease.node == self.node {
                    true => LeaveCause::NodeLost,
                    false => LeaveCause::Requested(LeaveKind::Announced),
                };
                self.apply_leave(seat.peer, departure, entries);
            }
            None => {}
        }
        if self.restore_grace.is_some() {
            // Whoever had its address in the life before is not in doubt any more.
            let mut held = self.applied.iter();
            let before = held.find(|(_, held)| held.member.address == seat.address);
            if let Some((before, _)) = before {
                let before = *before;
                let departure = self.cause_of_replacement(before, Some(seat), words);
                self.apply_leave(before, departure, entries);
            }
        }
        let want = self.desired.get_mut(&seat.peer);
        let is_own = seat.lease.node == self.node;
        let member = match want.filter(|_| is_own) {
            Some(want) => {
                want.join_deadline = None;
                want.member.clone()
            }
            None => Arc::new(super::envelope::read_member(seat, words)),
        };
        entries.push(Entry {
            position: seat.since,
            node: (!is_own).then_some(seat.lease.node),
            change: Change::Join(member.clone()),
        });
        let held = AppliedMember {
            lease: seat.lease,
            since: seat.since,
            member,
        };
        self.applied.insert(seat.peer, held);
    }

    /// Frees a seat, if it is taken.
    pub(super) fn apply_leave(
        &mut self,
        peer: PeerId,
        departure: LeaveCause,
        entries: &mut Vec<Entry>,
    ) {
        self.departing.remove(&peer);
        self.leave_causes.remove(&peer);
        let Some(held) = self.applied.remove(&peer) else {
            return;
        };
        if departure != LeaveCause::NodeLost {
            self.desired.remove(&peer);
        }
        let own = held.lease.node == self.node;
        entries.push(Entry {
            position: self.version.head,
            node: (!own).then_some(held.lease.node),
            change: Change::Leave(peer, departure),
        });
    }

    /// Frees all seats of the other nodes: nobody here looks any more.
    pub(super) fn clear(&mut self) -> Vec<Entry> {
        let mut entries = Vec::new();
        for peer in self.applied.keys().copied().collect::<Vec<_>>() {
            self.apply_leave(
                peer,
                LeaveCause::Requested(LeaveKind::Announced),
                &mut entries,
            );
        }
        entries
    }

    /// Whether a member of this node is missing in a snapshot though nobody here has said so.
    pub(super) fn is_own_member_missing_in(&self, snapshot: &Snapshot) -> bool {
        self.own().any(|(peer, held)| {
            self.desired.contains_key(peer)
                && !snapshot
                    .members
                    .iter()
                    .any(|seat| seat.peer == *peer && seat.since == held.since)
        })
    }

    /// Takes the log as it is, and gives what the hub is to be told: first who has left, then who
    /// has come, by their places. Seats that the store seems to have forgotten are kept while in doubt.
    pub(super) fn apply_snapshot(
        &mut self,
        mut snapshot: Snapshot,
        words: &dyn DialectRegistry,
    ) -> Vec<Entry> {
        let mut entries = Vec::new();
        // Who has one keeps what it had until that is settled.
        let (outdated, seats) =
            (snapshot.members.into_iter()).partition::<Vec<_>, _>(|seat| self.is_outdated(seat));
        self.outdated.extend(outdated.iter().map(|seat| seat.peer));
        snapshot.members = seats;
        let kept: BTreeMap<_, _> = (snapshot.members.iter())
            .map(|seat| (seat.peer, seat.since))
            .collect();
        for peer in self.departed_by(&snapshot, &kept) {
            let departure = self.leave_cause_in(peer, &snapshot, words);
            self.apply_leave(peer, departure, &mut entries);
        }
        for (peer, held) in self.applied.clone() {
            if kept.get(&peer).is_some_and(|since| *since != held.since) {
                let departure = match held.lease.node == self.node {
                    true => LeaveCause::NodeLost,
                    false => LeaveCause::Requested(LeaveKind::Announced),
                };
                self.apply_leave(peer, departure, &mut entries);
            }
        }
        self.version = snapshot.version;
        self.head_seen = self.version.head;
        for seat in snapshot.members {
            self.apply_join(&seat, words, &mut entries);
        }
        entries
    }

    /// A member of this node is to leave.
    pub(super) fn note_leave(&mut self, peer: PeerId, departure: LeaveCause) {
        self.leave_causes.insert(peer, departure);
    }

    /// How somebody leaves of whom it is not said.
    pub(super) fn leave_cause(&self, peer: PeerId) -> LeaveCause {
        let farewell = self.leave_causes.get(&peer).copied();
        farewell.unwrap_or(LeaveCause::Requested(LeaveKind::Announced))
    }

    /// How somebody has left who is not in a snapshot.
    fn leave_cause_in(
        &self,
        peer: PeerId,
        snapshot: &Snapshot,
        words: &dyn DialectRegistry,
    ) -> LeaveCause {
        let address = self.applied.get(&peer).map(|held| &held.member.address);
        let mut heirs = snapshot.members.iter();
        let heir = heirs.find(|seat| Some(&seat.address) == address);
        self.cause_of_replacement(peer, heir, words)
    }

    /// How somebody has left whose address is somebody else's now.
    fn cause_of_replacement(
        &self,
        peer: PeerId,
        heir: Option<&StoredMember>,
        words: &dyn DialectRegistry,
    ) -> LeaveCause {
        let held = self.applied.get(&peer);
        let wanted = held.filter(|_| self.desired.contains_key(&peer) && self.is_own(peer));
        let Some(held) = wanted else {
            return self.leave_cause(peer);
        };
        let is_same = heir.is_some_and(|seat| {
            let heir = super::envelope::read_member(seat, words);
            heir.is_proven_same(&held.member)
        });
        LeaveCause::Evicted(match is_same {
            true => EvictionReason::Replaced,
            false => EvictionReason::Unresponsive,
        })
    }

    /// Who has left, by a snapshot.
    fn departed_by(&self, snapshot: &Snapshot, kept: &BTreeMap<PeerId, Position>) -> Vec<PeerId> {
        let is_kept_in_doubt = |held: &AppliedMember| {
            self.restore_grace.is_some()
                && held.lease.node != self.node
                && !(snapshot.members.iter()).any(|seat| seat.address == held.member.address)
        };
        self.applied
            .iter()
            .filter(|(peer, held)| !kept.contains_key(peer) && !is_kept_in_doubt(held))
            .filter(|(peer, _)| !self.outdated.contains(peer))
            .map(|(peer, _)| *peer)
            .collect()
    }

    /// After [`Replica::apply_snapshot`]: takes what came meanwhile.
    pub(super) fn apply_pending_events(
        &mut self,
        words: &dyn DialectRegistry,
    ) -> (ApplyResult, Vec<Entry>) {
        let mut entries = Vec::new();
        let taken = self.apply_early_events(words, &mut entries);
        (taken, entries)
    }

    /// Holds a letter back if it speaks of changes that are not known here yet.
    pub(super) fn hold(&mut self, letter: HeldMessage) -> HoldOutcome {
        if letter.at <= self.version.head && self.held_messages.is_empty() {
            return HoldOutcome::Deliver(letter);
        }
        if self.held_messages.len() >= HELD_MESSAGES_MAX {
            return HoldOutcome::Full(letter);
        }
        self.held_messages.push_back(letter);
        HoldOutcome::Held
    }

    /// Those of them that have never had one.
    pub(super) fn newcomers(&self) -> impl Iterator<Item = &Member> {
        let wanted = self.desired.values();
        let new = wanted.filter(|want| want.join_deadline.is_some());
        new.map(|want| &*want.member)
    }

    /// Who wants a seat and has none.
    pub(super) fn desired_without_membership(&self) -> Vec<PeerId> {
        let wanted = self.desired.keys().copied();
        wanted.filter(|peer| !self.is_member(*peer)).collect()
    }

    /// A leave of this member is in the log, there, and perhaps still to be taken here.
    pub(super) fn note_committed_leave(&mut self, peer: PeerId, at: LogVersion) {
        if (at.generation, at.head) > (self.version.generation, self.version.head) {
            self.departing.insert(peer);
        }
    }

    /// After a look at the whole log: the members whose join and leave were both between looks.
    pub(super) fn take_departed(&mut self) -> BTreeSet<PeerId> {
        let mut departed = std::mem::take(&mut self.departing);
        departed.retain(|peer| !self.applied.contains_key(peer));
        departed
    }

    /// Whether something has come that cannot be taken yet.
    pub(super) fn is_behind(&self) -> bool {
        !self.held_messages.is_empty()
            || !self.early_events.is_empty()
            || self.head_seen > self.version.head
    }

    /// The letters that need not wait any longer; all of them if nothing more is to come.
    pub(super) fn take_releasable(&mut self, all: bool) -> Vec<HeldMessage> {
        let due = self
            .held_messages
            .iter()
            .take_while(|letter| all || letter.at <= self.version.head)
            .count();
        self.held_messages.drain(..due).collect()
    }
}

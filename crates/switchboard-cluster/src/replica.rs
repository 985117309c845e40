//! The replica of one log on this node, and the memberships that clients of this node want in it.
//!
//! A log is the sequence of the joins and leaves of one room, name or election. Each change has a *position*, and the
//! *head* is the position of the last one. A log that the store has lost begins again in a new *generation*. A node
//! has its members under a *lease*, whose *epoch* counts the leases of the node ([`store`](crate::store) says more).
//! Positions also grow from one generation to the next, so a position alone orders the changes of a log.
//!
//! A new generation of a log with members means that the store has lost data. The *restore grace* begins then: for the
//! duration of a lease, each node may restore its members, and those of other nodes are kept here.
//!
//! A membership in the store is *outdated* if this node has given up its join (it took too long), the store has
//! executed that join nevertheless, and the same peer has proposed another join since. It is removed before the new
//! join is repeated. The hub never sees it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Instant,
};

use switchboard_core::{
    Change, Entry, EvictionReason, LeaveCause, LeaveKind, Member, NodeId, NodeMessage, PeerId,
    Position,
};

use crate::{
    DialectRegistry,
    small_map::SmallMap,
    store::{Lease, LogEvent, LogVersion, MemberSpec, Snapshot, StoredChange, StoredMember},
};

/// Maximum number of events that wait for earlier ones. At this limit, all are dropped and the log is read again.
const EARLY_EVENTS_MAX: usize = 1024;

/// Maximum number of messages of other nodes that wait for changes that the sending node had applied already.
const HELD_MESSAGES_MAX: usize = 1024;

/// A membership that is applied here: the hub knows it.
#[derive(Clone, Debug)]
struct AppliedMember {
    lease: Lease,
    /// The position of its join.
    since: Position,
    member: Arc<Member>,
}

/// A membership that a client of this node wants: it has joined, or its join is in progress.
#[derive(Debug)]
pub(super) struct DesiredMember {
    pub(super) member: Arc<Member>,
    /// The encoded member. The bytes differ for each join, even of the same peer, so they identify the join.
    pub(super) metadata: Vec<u8>,
    /// Deadline of the first join; `None` once the member has joined.
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

/// A message that arrived before changes that the sending node had applied.
#[derive(Debug)]
pub(super) struct HeldMessage {
    pub(super) from: NodeId,
    /// The head of the log on the sending node when it sent the message.
    pub(super) at: Position,
    pub(super) message: NodeMessage,
}

/// The result of applying events to a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ApplyResult {
    /// All received events are applied.
    InOrder,
    /// An earlier event is missing.
    Gap,
    /// The next event removes a member of this node that joined in this epoch, because another node has declared
    /// this node dead. The event is not applied: the node joins its members again in its next epoch.
    Fenced(u32),
}

/// The replica of one log.
#[derive(Debug)]
pub(super) struct Replica {
    node: NodeId,
    /// The generation and the position up to which changes are applied here.
    pub(super) version: LogVersion,
    /// The members whose joins are applied here.
    applied: SmallMap<PeerId, AppliedMember>,
    /// The members of this node that want to be in the log.
    pub(super) desired: SmallMap<PeerId, DesiredMember>,
    /// The head of the log that the last snapshot or probe (a periodic read that compares heads) has shown.
    pub(super) head_seen: Position,
    /// Events that wait for earlier ones.
    early_events: BTreeMap<Position, LogEvent>,
    /// Messages that wait for changes that the sending nodes had applied, in the order of arrival.
    held_messages: VecDeque<HeldMessage>,
    /// Members of this node whose leave is committed but not applied here yet.
    departing: BTreeSet<PeerId>,
    /// Peers of this node whose membership in the store is outdated. Its removal is to be requested.
    pub(super) outdated: BTreeSet<PeerId>,
    /// Outdated memberships whose removal is requested.
    pub(super) removing: BTreeSet<PeerId>,
    /// Leave causes of members of this node whose leave is pending.
    leave_causes: BTreeMap<PeerId, LeaveCause>,
    /// Whether a read of the whole log is in flight or scheduled.
    pub(super) is_read_planned: bool,
    /// The end of the restore grace, while it lasts.
    pub(super) restore_grace: Option<Instant>,
    /// Set when the restore grace is over: members that no node has restored, so that the next snapshot lacks them, are
    /// removed. If that snapshot is older than the applied events, the log is read again.
    pub(super) must_remove_unrestored: bool,
    /// Set while no member of this node needs the replica: the time at which it is dropped.
    pub(super) retained_until: Option<Instant>,
}

impl Replica {
    pub(super) fn new(node: NodeId) -> Self {
        Self {
            node,
            version: LogVersion::default(),
            applied: SmallMap::new(),
            desired: SmallMap::new(),
            head_seen: Position::default(),
            early_events: BTreeMap::new(),
            held_messages: VecDeque::new(),
            departing: BTreeSet::new(),
            outdated: BTreeSet::new(),
            removing: BTreeSet::new(),
            leave_causes: BTreeMap::new(),
            is_read_planned: false,
            restore_grace: None,
            must_remove_unrestored: false,
            retained_until: None,
        }
    }

    /// Whether a member of this node is in the log or wants to join it.
    pub(super) fn is_needed(&self) -> bool {
        !self.desired.is_empty() || self.own_members().next().is_some()
    }

    /// Whether the peer is a member, as far as the changes are applied here.
    pub(super) fn is_member(&self, peer: PeerId) -> bool {
        self.applied.contains_key(&peer)
    }

    /// Whether the peer is a member and belongs to this node.
    pub(super) fn is_own(&self, peer: PeerId) -> bool {
        self.applied
            .get(&peer)
            .is_some_and(|applied| applied.lease.node == self.node)
    }

    pub(super) fn len(&self) -> usize {
        self.applied.len()
    }

    fn own_members(&self) -> impl Iterator<Item = (&PeerId, &AppliedMember)> {
        self.applied
            .iter()
            .filter(|(_, applied)| applied.lease.node == self.node)
    }

    /// The members of this node that are in the log and no longer want to be.
    pub(super) fn leaving(&self) -> Vec<PeerId> {
        self.own_members()
            .map(|(peer, _)| *peer)
            .filter(|peer| !self.desired.contains_key(peer))
            .collect()
    }

    /// The leases of the members of other nodes.
    pub(super) fn leases(&self) -> impl Iterator<Item = Lease> {
        self.applied
            .values()
            .map(|applied| applied.lease)
            .filter(|lease| lease.node != self.node)
    }

    /// The memberships that this node wants, oldest first.
    pub(super) fn member_specs(&self) -> Vec<MemberSpec> {
        let mut specs: Vec<_> = self
            .desired
            .iter()
            .map(|(peer, desired)| MemberSpec {
                peer: *peer,
                address: desired.member.address.clone(),
                since: self.applied.get(peer).map(|applied| applied.since),
                metadata: desired.metadata.clone(),
            })
            .collect();
        specs.sort_by_key(|spec| (spec.since.is_none(), spec.since));
        specs
    }

    /// Applies an event, or keeps it until the events before it have arrived. Returns the changes for the hub.
    pub(super) fn apply_event(
        &mut self,
        event: LogEvent,
        dialects: &dyn DialectRegistry,
    ) -> (ApplyResult, Vec<Entry>) {
        let mut entries = Vec::new();
        let is_newer = (event.version.generation, event.version.head)
            > (self.version.generation, self.version.head);
        if !is_newer {
            return (ApplyResult::InOrder, entries);
        }
        if self.early_events.len() >= EARLY_EVENTS_MAX {
            self.early_events.clear();
            return (ApplyResult::Gap, entries);
        }
        self.early_events.insert(event.version.head, event);
        let result = self.apply_early_events(dialects, &mut entries);
        (result, entries)
    }

    /// Applies the waiting events whose predecessors are applied.
    fn apply_early_events(
        &mut self,
        dialects: &dyn DialectRegistry,
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
                && let Some(applied) = self.applied.get(&peer)
                && applied.lease.node == self.node
            {
                return ApplyResult::Fenced(applied.lease.epoch);
            }
            let event = first.remove();
            self.version = event.version;
            match event.change {
                StoredChange::Join(stored_member) => {
                    self.apply_join(&stored_member, dialects, entries)
                }
                // This leave removes an outdated membership. The hub has not seen its join, so there is nothing to
                // apply.
                StoredChange::Leave(peer, _)
                    if self.removing.contains(&peer) && self.desired.contains_key(&peer) => {}
                StoredChange::Leave(peer, cause) => self.apply_leave(peer, cause, entries),
            }
        }
        // An emptied map would keep the memory for eleven events; a new map allocates nothing.
        self.early_events = BTreeMap::new();
        ApplyResult::InOrder
    }

    /// Whether a stored member of this node is from another join than the desired one: an earlier join, which this node
    /// has given up.
    fn is_outdated(&self, stored_member: &StoredMember) -> bool {
        let desired = self.desired.get(&stored_member.peer);
        stored_member.lease.node == self.node
            && desired.is_some_and(|desired| desired.metadata != stored_member.metadata)
    }

    fn apply_join(
        &mut self,
        stored_member: &StoredMember,
        dialects: &dyn DialectRegistry,
        entries: &mut Vec<Entry>,
    ) {
        if self.is_outdated(stored_member) {
            self.outdated.insert(stored_member.peer);
            return;
        }
        match self.applied.get_mut(&stored_member.peer) {
            Some(applied) if applied.since == stored_member.since => {
                applied.lease = stored_member.lease;
                return;
            }
            Some(applied) => {
                let cause = cause_of_missed_leave(applied.lease.node == self.node);
                self.apply_leave(stored_member.peer, cause, entries);
            }
            None => {}
        }
        if self.restore_grace.is_some() {
            // The address has been claimed again in this generation, so its previous member is no longer kept for a
            // restore.
            let has_address = |(_, applied): &(&PeerId, &AppliedMember)| {
                applied.member.address == stored_member.address
            };
            let previous = self.applied.iter().find(has_address);
            if let Some(previous) = previous.map(|(peer, _)| *peer) {
                let cause = self.cause_of_replacement(previous, Some(stored_member), dialects);
                self.apply_leave(previous, cause, entries);
            }
        }
        let desired = self.desired.get_mut(&stored_member.peer);
        let is_own = stored_member.lease.node == self.node;
        let member = match desired.filter(|_| is_own) {
            Some(desired) => {
                desired.join_deadline = None;
                desired.member.clone()
            }
            None => Arc::new(read_member(stored_member, dialects)),
        };
        entries.push(Entry {
            position: stored_member.since,
            node: (!is_own).then_some(stored_member.lease.node),
            change: Change::Join(member.clone()),
        });
        let applied = AppliedMember {
            lease: stored_member.lease,
            since: stored_member.since,
            member,
        };
        self.applied.insert(stored_member.peer, applied);
    }

    /// Removes a member, if it is in the log. After any cause but `NodeLost`, the member is no longer desired; after
    /// `NodeLost`, this node joins it again.
    pub(super) fn apply_leave(
        &mut self,
        peer: PeerId,
        cause: LeaveCause,
        entries: &mut Vec<Entry>,
    ) {
        self.departing.remove(&peer);
        self.leave_causes.remove(&peer);
        let Some(applied) = self.applied.remove(&peer) else {
            return;
        };
        if cause != LeaveCause::NodeLost {
            self.desired.remove(&peer);
        }
        let is_own = applied.lease.node == self.node;
        entries.push(Entry {
            position: self.version.head,
            node: (!is_own).then_some(applied.lease.node),
            change: Change::Leave(peer, cause),
        });
    }

    /// Removes all members. Call it only when no member of this node is in the log or wants to join it.
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

    /// Whether a snapshot lacks a membership of this node that its member still wants, or has it at another
    /// position.
    pub(super) fn is_own_member_missing_in(&self, snapshot: &Snapshot) -> bool {
        self.own_members().any(|(peer, applied)| {
            self.desired.contains_key(peer)
                && !snapshot.members.iter().any(|stored_member| {
                    stored_member.peer == *peer && stored_member.since == applied.since
                })
        })
    }

    /// Applies a snapshot. Returns the changes for the hub: first leaves, then joins in position order. During the
    /// restore grace, members of other nodes that the snapshot lacks are kept while their address is free.
    pub(super) fn apply_snapshot(
        &mut self,
        mut snapshot: Snapshot,
        dialects: &dyn DialectRegistry,
    ) -> Vec<Entry> {
        let mut entries = Vec::new();
        // An outdated membership in the snapshot neither adds nor removes its member here.
        let (outdated, members) = (snapshot.members.into_iter())
            .partition::<Vec<_>, _>(|stored_member| self.is_outdated(stored_member));
        self.outdated
            .extend(outdated.iter().map(|stored_member| stored_member.peer));
        snapshot.members = members;
        let stored_positions: BTreeMap<_, _> = (snapshot.members.iter())
            .map(|stored_member| (stored_member.peer, stored_member.since))
            .collect();
        for peer in self.departed_by(&snapshot, &stored_positions) {
            let cause = self.leave_cause_in(peer, &snapshot, dialects);
            self.apply_leave(peer, cause, &mut entries);
        }
        for (peer, is_own) in self.rejoined_by(&stored_positions) {
            self.apply_leave(peer, cause_of_missed_leave(is_own), &mut entries);
        }
        self.version = snapshot.version;
        self.head_seen = self.version.head;
        for stored_member in snapshot.members {
            self.apply_join(&stored_member, dialects, &mut entries);
        }
        entries
    }

    /// The members that have another position in a snapshot, each with whether it is a member of this node.
    fn rejoined_by(&self, stored_positions: &BTreeMap<PeerId, Position>) -> Vec<(PeerId, bool)> {
        let is_rejoined = |(peer, applied): &(&PeerId, &AppliedMember)| {
            let stored = stored_positions.get(peer);
            stored.is_some_and(|since| *since != applied.since)
        };
        let rejoined = self.applied.iter().filter(is_rejoined);
        rejoined
            .map(|(peer, applied)| (*peer, applied.lease.node == self.node))
            .collect()
    }

    /// Records the cause of a pending leave of a member of this node.
    pub(super) fn note_leave(&mut self, peer: PeerId, cause: LeaveCause) {
        self.leave_causes.insert(peer, cause);
    }

    /// The recorded leave cause of a member; an announced leave if none is recorded.
    pub(super) fn leave_cause(&self, peer: PeerId) -> LeaveCause {
        let cause = self.leave_causes.get(&peer).copied();
        cause.unwrap_or(LeaveCause::Requested(LeaveKind::Announced))
    }

    /// The leave cause of a member that the snapshot lacks.
    fn leave_cause_in(
        &self,
        peer: PeerId,
        snapshot: &Snapshot,
        dialects: &dyn DialectRegistry,
    ) -> LeaveCause {
        let address = self
            .applied
            .get(&peer)
            .map(|applied| &applied.member.address);
        let mut candidates = snapshot.members.iter();
        let successor = candidates.find(|stored_member| Some(&stored_member.address) == address);
        self.cause_of_replacement(peer, successor, dialects)
    }

    /// The leave cause of a member that has lost its membership. `successor` is the member that has its address now,
    /// if any. A member of this node that did not want to leave was evicted: only a successor that is proven to be
    /// the same client can replace a responsive one.
    fn cause_of_replacement(
        &self,
        peer: PeerId,
        successor: Option<&StoredMember>,
        dialects: &dyn DialectRegistry,
    ) -> LeaveCause {
        let applied = self.applied.get(&peer);
        let applied = applied.filter(|_| self.desired.contains_key(&peer) && self.is_own(peer));
        let Some(applied) = applied else {
            return self.leave_cause(peer);
        };
        let is_replaced = successor.is_some_and(|stored_member| {
            let successor = read_member(stored_member, dialects);
            successor.is_proven_same(&applied.member)
        });
        LeaveCause::Evicted(match is_replaced {
            true => EvictionReason::Replaced,
            false => EvictionReason::Unresponsive,
        })
    }

    /// The members that have left according to a snapshot.
    fn departed_by(
        &self,
        snapshot: &Snapshot,
        stored_positions: &BTreeMap<PeerId, Position>,
    ) -> Vec<PeerId> {
        let is_kept_for_restore = |applied: &AppliedMember| {
            self.restore_grace.is_some()
                && applied.lease.node != self.node
                && !(snapshot.members.iter())
                    .any(|stored_member| stored_member.address == applied.member.address)
        };
        self.applied
            .iter()
            .filter(|(peer, applied)| {
                !stored_positions.contains_key(peer) && !is_kept_for_restore(applied)
            })
            .filter(|(peer, _)| !self.outdated.contains(peer))
            .map(|(peer, _)| *peer)
            .collect()
    }

    /// Applies the events that arrived before a snapshot was applied. Call it after
    /// [`Replica::apply_snapshot`].
    pub(super) fn apply_pending_events(
        &mut self,
        dialects: &dyn DialectRegistry,
    ) -> (ApplyResult, Vec<Entry>) {
        let mut entries = Vec::new();
        let result = self.apply_early_events(dialects, &mut entries);
        (result, entries)
    }

    /// Whether a message can be delivered to the hub: all changes are applied that the sending node had applied, up to
    /// `at`, and no earlier message waits.
    pub(super) fn can_deliver(&self, at: Position) -> bool {
        at <= self.version.head && self.held_messages.is_empty()
    }

    /// Holds a message back until it can be delivered. Returns it if too many are held back.
    pub(super) fn hold(&mut self, message: HeldMessage) -> Option<HeldMessage> {
        if self.held_messages.len() >= HELD_MESSAGES_MAX {
            return Some(message);
        }
        self.held_messages.push_back(message);
        None
    }

    /// The desired members that have never joined.
    pub(super) fn newcomers(&self) -> impl Iterator<Item = &Member> {
        let desired = self.desired.values();
        let new = desired.filter(|desired| desired.join_deadline.is_some());
        new.map(|desired| &*desired.member)
    }

    /// The desired members that are not in the log.
    pub(super) fn desired_without_membership(&self) -> Vec<PeerId> {
        let desired = self.desired.keys().copied();
        desired.filter(|peer| !self.is_member(*peer)).collect()
    }

    /// Records that the leave of this member is committed at the version `at`, if that is not applied here yet.
    pub(super) fn note_committed_leave(&mut self, peer: PeerId, at: LogVersion) {
        if (at.generation, at.head) > (self.version.generation, self.version.head) {
            self.departing.insert(peer);
        }
    }

    /// Removes and returns the members of this node that joined and left between two snapshots, so that the hub has
    /// seen neither. Call it after a snapshot was applied.
    pub(super) fn take_departed(&mut self) -> BTreeSet<PeerId> {
        let mut departed = std::mem::take(&mut self.departing);
        departed.retain(|peer| !self.applied.contains_key(peer));
        departed
    }

    /// Whether messages or events wait here for earlier changes, or a probe has shown a later head.
    pub(super) fn is_behind(&self) -> bool {
        !self.held_messages.is_empty()
            || !self.early_events.is_empty()
            || self.head_seen > self.version.head
    }

    /// Removes and returns the held messages that need not wait any longer: all changes that the sending node had
    /// applied are applied here. A message behind one that must wait waits too, to keep the order.
    pub(super) fn take_deliverable(&mut self) -> Vec<HeldMessage> {
        let deliverable = self
            .held_messages
            .iter()
            .take_while(|message| message.at <= self.version.head)
            .count();
        self.held_messages.drain(..deliverable).collect()
    }

    /// Removes and returns all held messages.
    pub(super) fn take_held(&mut self) -> VecDeque<HeldMessage> {
        std::mem::take(&mut self.held_messages)
    }
}

/// The leave cause for the hub (the state of all rooms on this node) when a member is found at another position: this
/// node has missed its leave and its new join.
/// `NodeLost` makes the hub suspend a member of this node until its new join. For a member of another node, the real
/// cause is unknown; `Announced` notifies all members of the leave.
fn cause_of_missed_leave(is_own: bool) -> LeaveCause {
    match is_own {
        true => LeaveCause::NodeLost,
        false => LeaveCause::Requested(LeaveKind::Announced),
    }
}

fn read_member(stored_member: &StoredMember, dialects: &dyn DialectRegistry) -> Member {
    let address = stored_member.address.clone();
    dialects.decode_member(stored_member.peer, address, &stored_member.metadata)
}

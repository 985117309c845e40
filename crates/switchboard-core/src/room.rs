//! One room: a replica of its membership log, and the connections of its members on this node. A claimed name is a
//! room for one member.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use crate::{
    alias::Announced,
    challenge::PendingJoin,
    command::Target,
    id::{Address, Alias, PeerId, Position},
    introduction::{Group, Member},
    limits::{COUNTERPARTS_MAX, Limits, exceeds, lower_limit},
    log::{MembershipRef, NodeId},
};

/// A member, the position of its join, and its node or connection.
#[derive(Debug)]
pub(crate) struct Membership<L> {
    pub(crate) member: Arc<Member>,
    pub(crate) since: Position,
    /// The member's node; `None` for this node.
    pub(crate) node: Option<NodeId>,
    /// The member's connection. `None` for a member of another node, and for one that is leaving: it gets no more
    /// events.
    pub(crate) local: Option<L>,
    /// Members of this node without presence, of other dialects, that exchanged a session description with
    /// this one: they are notified when it leaves. Some of them may have left.
    pub(crate) counterparts: Vec<PeerId>,
}

impl<L> Membership<L> {
    pub(crate) fn is_own(&self) -> bool {
        self.node.is_none()
    }

    /// The sort key of the members; it is unique.
    pub(crate) fn order_key(&self) -> (Position, PeerId) {
        (self.since, self.member.peer)
    }

    /// Whether this member can be a counterpart of `other`: it is connected to this node, and is notified of the
    /// leave of `other` only if the two exchanged a session description.
    fn can_be_counterpart_of(&self, other: &Self) -> bool {
        let (own, other) = (self.member.dialect, other.member.dialect);
        self.local.is_some() && !own.announces_presence && own.name != other.name
    }

    pub(crate) fn reference(&self) -> MembershipRef {
        MembershipRef {
            peer: self.member.peer,
            since: self.since,
        }
    }
}

/// A change of a peer of this node that is proposed and not committed yet.
#[derive(Debug)]
pub(crate) enum Pending<L> {
    /// A pending join.
    Join(PendingJoin<L>),
    /// Leaving; `Some` if a new join is queued behind the leave.
    Leave(Option<PendingJoin<L>>),
}

/// A member of this node whose lease has expired, until its new join is committed.
#[derive(Debug)]
pub(crate) struct SuspendedMember<L> {
    pub(crate) member: Arc<Member>,
    pub(crate) local: L,
    /// The members of this node that it still sees.
    pub(crate) known_peers: Vec<PeerId>,
    /// The same as [`Membership::counterparts`].
    pub(crate) counterparts: Vec<PeerId>,
}

impl<L> SuspendedMember<L> {
    /// Removes a member that has left. Returns whether it was known.
    pub(crate) fn remove_known(&mut self, peer: PeerId) -> bool {
        let before = self.known_peers.len();
        self.known_peers.retain(|known| *known != peer);
        self.known_peers.len() != before
    }
}

/// The state of one room: its members in the order of their joins, and its pending changes.
#[derive(Debug)]
pub(crate) struct Room<L> {
    position: Position,
    /// Two members can have the same position after an engine has lost and restored its data.
    memberships: BTreeMap<(Position, PeerId), Membership<L>>,
    by_peer: HashMap<PeerId, (Position, PeerId)>,
    by_address: HashMap<Address, (Position, PeerId)>,
    /// Members whose dialect notifies them of others. A room with thousands of members may have none.
    observers: BTreeSet<(Position, PeerId)>,
    /// Members of groups, by the first member of the group.
    grouped: BTreeSet<(PeerId, (Position, PeerId))>,
    /// The member limits of the members' dialects, without those that have none.
    dialect_limits: Vec<usize>,
    /// Proposed changes. Nearly always empty: an engine commits within a millisecond.
    pub(crate) pending: BTreeMap<PeerId, Pending<L>>,
    /// Suspended members. Empty except within one batch of changes.
    pub(crate) suspended: Vec<SuspendedMember<L>>,
    /// The group that newcomers of this node join, by its first member.
    open_group: Option<PeerId>,
    /// `None` in most rooms: only one dialect has aliases.
    aliases: Option<Box<Announced>>,
}

impl<L> Default for Room<L> {
    fn default() -> Self {
        Self {
            position: Position::default(),
            memberships: BTreeMap::new(),
            by_peer: HashMap::new(),
            by_address: HashMap::new(),
            observers: BTreeSet::new(),
            grouped: BTreeSet::new(),
            dialect_limits: Vec::new(),
            pending: BTreeMap::new(),
            suspended: Vec::new(),
            open_group: None,
            aliases: None,
        }
    }
}

impl<L> Room<L> {
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.memberships.is_empty() && self.pending.is_empty() && self.suspended.is_empty()
    }

    /// Number of members, including pending joins.
    pub(crate) fn len(&self) -> usize {
        self.memberships.len() + self.pending_joins().count()
    }

    pub(crate) fn membership(&self, peer: PeerId) -> Option<&Membership<L>> {
        self.by_peer
            .get(&peer)
            .and_then(|position| self.memberships.get(position))
    }

    /// The membership that another node refers to, if this node has applied its join.
    pub(crate) fn membership_on_node(
        &self,
        node: NodeId,
        reference: MembershipRef,
    ) -> Option<&Membership<L>> {
        let membership = self.membership(reference.peer)?;
        (membership.node == Some(node) && membership.since == reference.since).then_some(membership)
    }

    pub(crate) fn membership_mut(&mut self, peer: PeerId) -> Option<&mut Membership<L>> {
        self.by_peer
            .get(&peer)
            .and_then(|position| self.memberships.get_mut(position))
    }

    /// All members, in the order of their joins.
    pub(crate) fn memberships(&self) -> impl Iterator<Item = &Membership<L>> {
        self.memberships.values()
    }

    /// The other members that are visible to a member, in the order of their joins.
    pub(crate) fn visible_to<'a>(
        &'a self,
        member: &'a Member,
    ) -> impl Iterator<Item = &'a Membership<L>> {
        self.others_visible(member, self.memberships())
    }

    /// The members that are notified when `member` joins or leaves, in the order of their joins.
    pub(crate) fn observers_of<'a>(
        &'a self,
        member: &'a Member,
    ) -> impl Iterator<Item = &'a Membership<L>> {
        let observers = self.observers.iter();
        let observers = observers.filter_map(|key| self.memberships.get(key));
        let visible = self.others_visible(member, observers);
        visible.filter(|membership| membership.member.dialect.announces_presence)
    }

    /// The members of `candidates` that are visible to a member. For a member of a group, only the group is searched.
    fn others_visible<'a>(
        &'a self,
        member: &'a Member,
        candidates: impl Iterator<Item = &'a Membership<L>>,
    ) -> impl Iterator<Item = &'a Membership<L>> {
        let candidates = member.group.is_none().then_some(candidates);
        let group = member.group.map(|group| self.group_members(group.first));
        let visible = candidates.into_iter().flatten();
        let visible = visible.chain(group.into_iter().flatten());
        visible.filter(|membership| {
            membership.member.peer != member.peer && member.sees(&membership.member)
        })
    }

    /// The members of a group, in the order of their joins.
    fn group_members(&self, first: PeerId) -> impl Iterator<Item = &Membership<L>> {
        let first_key = (Position::default(), PeerId::from([0; 16]));
        let group = self.grouped.range((first, first_key)..);
        let group = group.take_while(move |(of, _)| *of == first);
        group.filter_map(|(_, key)| self.memberships.get(key))
    }

    /// Max members of the room when `newcomer` joins.
    pub(crate) fn members_max(&self, newcomer: &Member, limits: &Limits) -> usize {
        let own = limits.members_max(newcomer);
        let pending = self
            .pending_joins()
            .map(|pending| pending.member.dialect.members_max);
        match counts_against_member_limit(newcomer) {
            true => pending.fold(
                lower_limit(own, self.dialect_members_max(newcomer)),
                lower_limit,
            ),
            false => own,
        }
    }

    /// Max members that the dialects of the members and of `newcomer` allow.
    fn dialect_members_max(&self, newcomer: &Member) -> usize {
        let limits = self.dialect_limits.iter().copied();
        limits.fold(newcomer.dialect.members_max, lower_limit)
    }

    /// Whether the committed join of `newcomer` exceeds the member limit of a dialect. This happens if members join
    /// on several nodes at the same time.
    pub(crate) fn is_overfull_with(&self, newcomer: &Member) -> bool {
        counts_against_member_limit(newcomer)
            && exceeds(
                self.memberships.len() + 1,
                self.dialect_members_max(newcomer),
            )
    }

    /// Assigns a newcomer that asks for a group to the open group, or opens a new one. All members of a group are
    /// on one node: only that node knows whether the group is open.
    pub(crate) fn assign_group(&mut self, newcomer: Arc<Member>) -> Arc<Member> {
        let Some(wanted) = newcomer.group else {
            return newcomer;
        };
        let open = self.open_group.map(|first| (first, self.group_len(first)));
        let (first, count) = (open.filter(|(_, count)| *count > 0)).unwrap_or((newcomer.peer, 0));
        self.open_group = (count + 1 < wanted.capacity.get()).then_some(first);
        let group = Some(Group { first, ..wanted });
        Arc::new(Member {
            group,
            ..(*newcomer).clone()
        })
    }

    /// Releases the group slot of a newcomer whose join has failed.
    pub(crate) fn release_group_slot(&mut self, newcomer: &Member) {
        let group = newcomer.group.map(|group| group.first);
        self.open_group = self.open_group.or(group);
    }

    /// Number of members of a group, including pending joins.
    fn group_len(&self, first: PeerId) -> usize {
        let pending = self
            .pending_joins()
            .filter_map(|pending| pending.member.group);
        let pending = pending.filter(|group| group.first == first);
        self.group_members(first).count() + pending.count()
    }

    /// Records that two members have exchanged a session description.
    pub(crate) fn note_description(&mut self, from: PeerId, to: PeerId) {
        for (listener, other) in [(from, to), (to, from)] {
            let memberships = self.membership(listener).zip(self.membership(other));
            if memberships.is_some_and(|(listener, other)| listener.can_be_counterpart_of(other)) {
                self.add_counterpart(other, listener);
            }
        }
    }

    /// Records that a member has sent a session description to all others.
    pub(crate) fn note_description_to_all(&mut self, from: PeerId) {
        if self.observers.len() == self.memberships.len() {
            return;
        }
        let Some(sender) = self.membership(from) else {
            return;
        };
        let counterparts = self.visible_to(&sender.member);
        let counterparts =
            counterparts.filter(|membership| membership.can_be_counterpart_of(sender));
        let counterparts: Vec<_> = counterparts
            .map(|membership| membership.member.peer)
            .collect();
        for listener in counterparts {
            self.add_counterpart(from, listener);
        }
    }

    fn add_counterpart(&mut self, of: PeerId, listener: PeerId) {
        let Some(membership) = self.membership_mut(of) else {
            return;
        };
        if membership.counterparts.contains(&listener) {
            return;
        }
        let mut counterparts = std::mem::take(&mut membership.counterparts);
        if counterparts.len() >= COUNTERPARTS_MAX {
            counterparts.retain(|peer| self.by_peer.contains_key(peer));
        }
        if counterparts.len() >= COUNTERPARTS_MAX {
            counterparts.remove(0);
        }
        counterparts.push(listener);
        if let Some(membership) = self.membership_mut(of) {
            membership.counterparts = counterparts;
        }
    }

    /// The connections of the counterparts of a member that leaves.
    pub(crate) fn counterparts_of<'a>(
        &'a self,
        left: &'a Membership<L>,
    ) -> impl Iterator<Item = &'a L> {
        left.counterparts.iter().filter_map(|peer| {
            let membership = self.membership(*peer);
            let suspended = || {
                self.suspended
                    .iter()
                    .find(|other| other.member.peer == *peer)
            };
            match membership {
                Some(membership) => membership.local.as_ref(),
                None => suspended().map(|suspended| &suspended.local),
            }
        })
    }

    /// Records that a member has announced this alias.
    pub(crate) fn announce(&mut self, peer: PeerId, alias: &Alias) {
        if self.by_peer.contains_key(&peer) {
            let aliases = self.aliases.get_or_insert_default();
            aliases.announce(peer, alias);
        }
    }

    /// Makes a member match every alias: its announcements were lost with its previous membership.
    pub(crate) fn reset_aliases(&mut self, peer: PeerId) {
        if let Some(aliases) = &mut self.aliases {
            aliases.set_unlimited(peer);
        }
    }

    /// The receivers of a broadcast for this alias: the members that have announced it, otherwise all members,
    /// including the sender.
    pub(crate) fn receivers<'a>(
        &'a self,
        sender: &'a Member,
        to: &'a Alias,
    ) -> impl Iterator<Item = &'a Membership<L>> {
        let aliases = self.aliases.as_ref();
        let known = aliases.and_then(|aliases| aliases.receivers(to));
        let all = known.is_none().then(|| self.memberships());
        let known = known.into_iter().flatten();
        let known = known.filter_map(|peer| self.membership(peer));
        let memberships = known.chain(all.into_iter().flatten());
        memberships.filter(|membership| sender.sees(&membership.member))
    }

    /// The member that `target` names; `None` for `Target::Everyone`.
    pub(crate) fn find(&self, target: &Target) -> Option<&Membership<L>> {
        match target {
            Target::Everyone => None,
            Target::Peer(peer) => self.membership(*peer),
            Target::Address(address) | Target::AddressOrWait(address) => self.by_address(address),
        }
    }

    /// The member with this address.
    pub(crate) fn by_address(&self, address: &Address) -> Option<&Membership<L>> {
        self.by_address
            .get(address)
            .and_then(|position| self.memberships.get(position))
    }

    /// The pending join under this address.
    pub(crate) fn pending_join_for(&self, address: &Address) -> Option<&PendingJoin<L>> {
        self.pending_joins()
            .find(|pending| pending.member.address == *address)
    }

    /// The pending join of a peer.
    pub(crate) fn pending_join_mut(&mut self, peer: PeerId) -> Option<&mut PendingJoin<L>> {
        match self.pending.get_mut(&peer)? {
            Pending::Join(pending) | Pending::Leave(Some(pending)) => Some(pending),
            Pending::Leave(None) => None,
        }
    }

    fn pending_joins(&self) -> impl Iterator<Item = &PendingJoin<L>> {
        self.pending.values().filter_map(|pending| match pending {
            Pending::Join(pending) => Some(pending),
            Pending::Leave(_) => None,
        })
    }

    /// Adds a member.
    pub(crate) fn join(&mut self, membership: Membership<L>) {
        self.position = self.position.max(membership.since);
        let key = membership.order_key();
        self.by_peer.insert(membership.member.peer, key);
        self.by_address
            .insert(membership.member.address.clone(), key);
        if membership.member.dialect.announces_presence {
            self.observers.insert(key);
        }
        if let Some(group) = membership.member.group {
            self.grouped.insert((group.first, key));
        }
        if membership.member.dialect.members_max != 0 {
            self.dialect_limits
                .push(membership.member.dialect.members_max);
        }
        self.memberships.insert(key, membership);
    }

    /// Removes and returns the membership of a peer that left at `position`.
    pub(crate) fn leave(&mut self, position: Position, peer: PeerId) -> Option<Membership<L>> {
        self.position = self.position.max(position);
        let membership = self.memberships.remove(&self.by_peer.remove(&peer)?)?;
        if let Some(aliases) = &mut self.aliases {
            aliases.forget(peer);
        }
        self.observers.remove(&membership.order_key());
        if let Some(group) = membership.member.group {
            self.grouped.remove(&(group.first, membership.order_key()));
        }
        let is_own_limit = |limit: &usize| *limit == membership.member.dialect.members_max;
        if let Some(index) = self.dialect_limits.iter().position(is_own_limit) {
            self.dialect_limits.swap_remove(index);
        }
        if self.by_address.get(&membership.member.address) == Some(&membership.order_key()) {
            self.by_address.remove(&membership.member.address);
        }
        Some(membership)
    }
}

/// Whether this member is subject to the member limits of other members' dialects. Members that others cannot see or
/// call (no presence, no signals, or in a group) are not.
fn counts_against_member_limit(newcomer: &Member) -> bool {
    let traits = newcomer.dialect;
    traits.announces_presence && traits.signals && newcomer.group.is_none()
}

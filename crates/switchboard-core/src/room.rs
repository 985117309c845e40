//! One room: a replica of its membership log, and the connections of its members on this node. A claimed name is
//! stored as a room with one member, the holder of the name. In this file `L` is the handle of a connection.

use std::sync::Arc;

use crate::{
    alias::AnnouncedAliases,
    challenge::PendingJoin,
    command::Target,
    id::{Address, Alias, PeerId, Position},
    introduction::{Group, Identity, Member},
    limits::{Limits, exceeds, lower_limit},
    log::{MembershipRef, NodeId},
};

mod counterparts;
mod members;
mod pending;

pub(crate) use counterparts::Counterparts;
use members::Members;
pub(crate) use members::UniformMembers;
pub(crate) use pending::{Pending, PendingChanges};

/// The node or the connection of a member.
#[derive(Debug)]
pub(crate) enum MemberLocation<L> {
    /// A connection of this node.
    Connected(L),
    /// The member is on this node and leaving: it gets no more events.
    Leaving,
    /// Another node.
    Remote(NodeId),
}

/// A member, the position of its join, and its node or connection.
#[derive(Debug)]
pub(crate) struct Membership<L> {
    pub(crate) member: Arc<Member>,
    /// The position of its join in the log.
    pub(crate) since: Position,
    pub(crate) location: MemberLocation<L>,
    /// The members that are notified of this member's leave only because they have exchanged a session description
    /// with it: their dialects, other than this member's, do not notify clients of joins and leaves.
    pub(crate) counterparts: Counterparts,
}

impl<L> Membership<L> {
    pub(crate) fn is_on_this_node(&self) -> bool {
        self.node().is_none()
    }

    /// The member's node; `None` for this node.
    pub(crate) fn node(&self) -> Option<NodeId> {
        match self.location {
            MemberLocation::Connected(_) | MemberLocation::Leaving => None,
            MemberLocation::Remote(node) => Some(node),
        }
    }

    /// The member's connection. `None` for a member of another node, and for one that is leaving.
    pub(crate) fn local(&self) -> Option<&L> {
        match &self.location {
            MemberLocation::Connected(local) => Some(local),
            MemberLocation::Leaving | MemberLocation::Remote(_) => None,
        }
    }

    /// The sort key of the members. The id makes it unique: two positions can be equal after the store has lost data.
    pub(crate) fn order_key(&self) -> (Position, PeerId) {
        (self.since, self.member.peer)
    }

    fn announces_presence(&self) -> bool {
        self.member.dialect.announces_presence
    }

    /// Its proven identity, if it has one.
    fn identity(&self) -> Option<&Arc<str>> {
        match &self.member.identity {
            Identity::Claimed => None,
            Identity::Proven(identity) => Some(identity),
        }
    }

    /// The first member of its group, if it has one.
    fn group_first(&self) -> Option<PeerId> {
        self.member.group.as_ref().map(|group| group.first)
    }

    /// Max members that this member's dialect allows in its room; 0 for no limit.
    fn dialect_limit(&self) -> usize {
        self.member.dialect.members_max
    }

    /// Whether this member can be a counterpart of `other`: it is connected to this node, and is notified of the
    /// leave of `other` only if the two exchanged a session description.
    fn can_be_counterpart_of(&self, other: &Self) -> bool {
        let is_same_dialect = self.member.dialect.is_same_dialect(other.member.dialect);
        self.local().is_some() && !self.announces_presence() && !is_same_dialect
    }

    pub(crate) fn reference(&self) -> MembershipRef {
        MembershipRef {
            peer: self.member.peer,
            since: self.since,
        }
    }
}

/// A member that the cluster removed because the lease of this node expired. It is still connected, so this node
/// joins it again. It is suspended until that join is committed.
#[derive(Debug)]
pub(crate) struct SuspendedMember<L> {
    pub(crate) member: Arc<Member>,
    pub(crate) local: L,
    /// The members of this node that its client still knows, so they are not introduced again.
    pub(crate) known_peers: Vec<PeerId>,
    /// The same as [`Membership::counterparts`].
    pub(crate) counterparts: Counterparts,
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
    members: Members<L>,
    pub(crate) pending: PendingChanges<L>,
    /// `None` in most rooms.
    rare: Option<Box<RareState<L>>>,
}

/// The state that few rooms have.
#[derive(Debug)]
struct RareState<L> {
    /// Suspended members. Usually empty: the engine commits a member's removal and its new join in one batch.
    suspended: Vec<SuspendedMember<L>>,
    /// The group that the next newcomer of this node joins if it asks for one, identified by the group's first member.
    /// `None` if that newcomer begins a new group.
    open_group: Option<PeerId>,
    /// The aliases of the members: ids that clients make for themselves. `None` in most rooms, because only y-webrtc
    /// has aliases.
    aliases: Option<Box<AnnouncedAliases>>,
}

impl<L> Default for RareState<L> {
    fn default() -> Self {
        Self {
            suspended: Vec::new(),
            open_group: None,
            aliases: None,
        }
    }
}

impl<L> Default for Room<L> {
    fn default() -> Self {
        Self {
            position: Position::default(),
            members: Members::default(),
            pending: PendingChanges::default(),
            rare: None,
        }
    }
}

impl<L> Room<L> {
    /// The suspended members.
    pub(crate) fn suspended(&self) -> &[SuspendedMember<L>] {
        self.rare.as_ref().map_or(&[], |rare| &rare.suspended)
    }

    /// The suspended members, to be changed.
    pub(crate) fn suspended_mut(&mut self) -> &mut [SuspendedMember<L>] {
        self.rare
            .as_mut()
            .map_or(&mut [], |rare| &mut rare.suspended)
    }

    /// Adds a suspended member.
    pub(crate) fn suspend(&mut self, suspended: SuspendedMember<L>) {
        let rare = self.rare.get_or_insert_default();
        rare.suspended.push(suspended);
    }

    /// Removes and returns the suspended member with this id.
    pub(crate) fn end_suspension(&mut self, peer: PeerId) -> Option<SuspendedMember<L>> {
        let suspended = &mut self.rare.as_mut()?.suspended;
        let index = suspended
            .iter()
            .position(|suspended| suspended.member.peer == peer)?;
        Some(suspended.remove(index))
    }

    pub(crate) fn position(&self) -> Position {
        self.position
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.pending.is_empty() && self.suspended().is_empty()
    }

    /// Number of members, without pending joins.
    pub(crate) fn members_len(&self) -> usize {
        self.members.len()
    }

    /// The number of members for which memory is reserved before those that are visible to a member are found. None for a
    /// member of a group, which is small and sees only its group.
    pub(crate) fn visible_reserve(&self, to: &Member) -> usize {
        to.group.as_ref().map_or(self.members.len(), |_| 0)
    }

    /// Number of members, including pending joins.
    pub(crate) fn len(&self) -> usize {
        self.members.len() + self.pending.joins().count()
    }

    pub(crate) fn membership(&self, peer: PeerId) -> Option<&Membership<L>> {
        self.members.get(peer)
    }

    /// The membership that another node refers to, if this node has applied its join.
    pub(crate) fn membership_on_node(
        &self,
        node: NodeId,
        reference: MembershipRef,
    ) -> Option<&Membership<L>> {
        let membership = self.membership(reference.peer)?;
        (membership.node() == Some(node) && membership.since == reference.since)
            .then_some(membership)
    }

    pub(crate) fn membership_mut(&mut self, peer: PeerId) -> Option<&mut Membership<L>> {
        self.members.get_mut(peer)
    }

    /// All members, in the order of their joins.
    pub(crate) fn memberships(&self) -> impl Iterator<Item = &Membership<L>> {
        self.members.iter()
    }

    /// All members, if the room is large and they are uniform.
    pub(crate) fn uniform_members(&self) -> Option<&UniformMembers<L>>
    where
        L: Clone,
    {
        self.members.uniform()
    }

    /// The members with this proven identity, in the order of their joins.
    pub(crate) fn of_identity<'a>(
        &'a self,
        identity: &'a Arc<str>,
    ) -> impl Iterator<Item = &'a Membership<L>> {
        self.members.of_identity(identity)
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
        let visible = self.others_visible(member, self.members.observers());
        visible.filter(|membership| membership.announces_presence())
    }

    /// The members of `candidates` that are visible to a member. For a member of a group, only the group is searched.
    fn others_visible<'a>(
        &'a self,
        member: &'a Member,
        candidates: impl Iterator<Item = &'a Membership<L>>,
    ) -> impl Iterator<Item = &'a Membership<L>> {
        let candidates = member.group.is_none().then_some(candidates);
        let group = member
            .group
            .as_ref()
            .map(|group| self.members.of_group(group.first));
        let visible = candidates.into_iter().flatten();
        let visible = visible.chain(group.into_iter().flatten());
        visible.filter(|membership| {
            membership.member.peer != member.peer && member.sees(&membership.member)
        })
    }

    /// Max members of the room when `newcomer` joins.
    pub(crate) fn members_max(&self, newcomer: &Member, limits: &Limits) -> usize {
        let configured = limits.members_max(newcomer);
        let of_pending_joins = self
            .pending
            .joins()
            .map(|pending| pending.member.dialect.members_max);
        match counts_against_member_limit(newcomer) {
            true => of_pending_joins.fold(
                lower_limit(configured, self.dialect_members_max(newcomer)),
                lower_limit,
            ),
            false => configured,
        }
    }

    /// Max members that the dialects of the members and of `newcomer` allow.
    fn dialect_members_max(&self, newcomer: &Member) -> usize {
        let limits = self.members.dialect_limits();
        limits.fold(newcomer.dialect.members_max, lower_limit)
    }

    /// Whether the committed join of `newcomer` exceeds the member limit of a dialect. This happens if members join
    /// on several nodes at the same time.
    pub(crate) fn is_overfull_with(&self, newcomer: &Member) -> bool {
        counts_against_member_limit(newcomer)
            && exceeds(self.members.len() + 1, self.dialect_members_max(newcomer))
    }

    /// Assigns a newcomer that asks for a group to the open group, or opens a new one. All members of a group are
    /// on one node: only that node knows whether the group is open.
    pub(crate) fn assign_group(&mut self, newcomer: Arc<Member>) -> Arc<Member> {
        let Some(wanted) = newcomer.group.as_deref().copied() else {
            return newcomer;
        };
        let open = self.rare.as_ref().and_then(|rare| rare.open_group);
        let open = open.map(|first| (first, self.group_len(first)));
        let (first, count) = (open.filter(|(_, count)| *count > 0)).unwrap_or((newcomer.peer, 0));
        self.rare.get_or_insert_default().open_group =
            (count + 1 < wanted.capacity.get()).then_some(first);
        let group = Some(Box::new(Group { first, ..wanted }));
        Arc::new(Member {
            group,
            ..(*newcomer).clone()
        })
    }

    /// Releases the group slot of a newcomer whose join has failed.
    pub(crate) fn release_group_slot(&mut self, newcomer: &Member) {
        if let Some(group) = &newcomer.group {
            let rare = self.rare.get_or_insert_default();
            rare.open_group.get_or_insert(group.first);
        }
    }

    /// Number of members of a group, including pending joins.
    fn group_len(&self, first: PeerId) -> usize {
        let pending = self
            .pending
            .joins()
            .filter_map(|pending| pending.member.group.as_deref());
        let pending = pending.filter(|group| group.first == first);
        self.members.of_group(first).count() + pending.count()
    }

    /// Records that two members have exchanged a session description, so that either may be notified when the other
    /// leaves.
    pub(crate) fn note_description(&mut self, from: PeerId, to: PeerId) {
        for (counterpart, of) in [(from, to), (to, from)] {
            let memberships = self.membership(counterpart).zip(self.membership(of));
            if memberships.is_some_and(|(counterpart, of)| counterpart.can_be_counterpart_of(of)) {
                self.add_counterpart(of, counterpart);
            }
        }
    }

    /// Records that a member has sent a session description to all others.
    pub(crate) fn note_description_to_all(&mut self, from: PeerId) {
        if self.members.are_all_observers() {
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
        for counterpart in counterparts {
            self.add_counterpart(from, counterpart);
        }
    }

    /// Adds a counterpart of the member `of`. At the limit, the oldest one is dropped.
    fn add_counterpart(&mut self, of: PeerId, counterpart: PeerId) {
        // Checked first: a change of a membership discards the list of uniform members.
        let is_known = |own: &Membership<L>| own.counterparts.contains(counterpart);
        if self.membership(of).is_some_and(is_known) {
            return;
        }
        let Some(membership) = self.membership_mut(of) else {
            return;
        };
        let mut counterparts = std::mem::take(&mut membership.counterparts);
        counterparts.add(counterpart, |peer| self.members.get(peer).is_some());
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
            let membership = self.membership(peer);
            let suspended = || {
                self.suspended()
                    .iter()
                    .find(|other| other.member.peer == peer)
            };
            match membership {
                Some(membership) => membership.local(),
                None => suspended().map(|suspended| &suspended.local),
            }
        })
    }

    /// Records that a member has used this alias as its own.
    pub(crate) fn note_alias(&mut self, peer: PeerId, alias: &Alias) {
        if self.members.get(peer).is_some() {
            let rare = self.rare.get_or_insert_default();
            rare.aliases.get_or_insert_default().add(peer, alias);
        }
    }

    fn aliases_mut(&mut self) -> Option<&mut AnnouncedAliases> {
        self.rare.as_mut()?.aliases.as_deref_mut()
    }

    /// Makes a member match every alias, after a suspension: its aliases were removed with its previous membership.
    pub(crate) fn match_every_alias(&mut self, peer: PeerId) {
        if let Some(aliases) = self.aliases_mut() {
            aliases.match_every_alias(peer);
        }
    }

    /// The receivers of a broadcast for this alias: the members that have announced it, otherwise all members,
    /// including the sender.
    pub(crate) fn receivers<'a>(
        &'a self,
        sender: &'a Member,
        to: &'a Alias,
    ) -> impl Iterator<Item = &'a Membership<L>> {
        let aliases = self.rare.as_ref().and_then(|rare| rare.aliases.as_ref());
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
        self.members.by_address(address)
    }

    /// The pending join under this address.
    pub(crate) fn pending_join_for(&self, address: &Address) -> Option<&PendingJoin<L>> {
        self.pending
            .joins()
            .find(|pending| pending.member.address == *address)
    }

    /// The pending join of a peer.
    pub(crate) fn pending_join_mut(&mut self, peer: PeerId) -> Option<&mut PendingJoin<L>> {
        match self.pending.get_mut(peer)? {
            Pending::Join(pending) | Pending::Leave(Some(pending)) => Some(pending),
            Pending::Leave(None) => None,
        }
    }

    /// Adds a member.
    pub(crate) fn join(&mut self, membership: Membership<L>) {
        self.position = self.position.max(membership.since);
        self.members.insert(membership);
    }

    /// Removes and returns the membership of a peer that left at `position`.
    pub(crate) fn leave(&mut self, position: Position, peer: PeerId) -> Option<Membership<L>> {
        self.position = self.position.max(position);
        let membership = self.members.remove(peer)?;
        if let Some(aliases) = self.aliases_mut() {
            aliases.remove(peer);
        }
        Some(membership)
    }
}

/// Whether this member is subject to the member limits of dialects. Members that others cannot see or call (no
/// presence, no signals, or in a group) are not.
fn counts_against_member_limit(newcomer: &Member) -> bool {
    let traits = newcomer.dialect;
    traits.announces_presence && traits.signals && newcomer.group.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Most rooms have two members, so their size counts for every connection.
    #[test]
    fn a_small_room_takes_little_memory() {
        type Local = Arc<()>;
        assert!(size_of::<Room<Local>>() <= 56);
        assert!(size_of::<Membership<Local>>() <= 64);
    }
}

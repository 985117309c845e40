//! One room: a replica of its log of changes, and where its members of this node are reached. A name
//! is a room for one.

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

/// A member and where it is reached.
#[derive(Debug)]
pub(crate) struct Membership<L> {
    pub(crate) member: Arc<Member>,
    pub(crate) since: Position,
    /// Its node; none for this one.
    pub(crate) node: Option<NodeId>,
    /// Its connection. `None` if it is another node's, or has asked to leave: it is told nothing more.
    pub(crate) local: Option<L>,
    /// Members of this node without presence, of other dialects, that exchanged a session description with
    /// this one: they are told when it leaves. Some of them may have left.
    pub(crate) counterparts: Vec<PeerId>,
}

impl<L> Membership<L> {
    pub(crate) fn is_own(&self) -> bool {
        self.node.is_none()
    }

    /// What orders the members; no two have the same.
    pub(crate) fn order_key(&self) -> (Position, PeerId) {
        (self.since, self.member.peer)
    }

    /// Whether this member of this node is told that `other` leaves only if it exchanged a description with it.
    fn is_told_only_of_calls(&self, other: &Self) -> bool {
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

/// What a peer of this node has asked for and the engine has not ordered yet.
#[derive(Debug)]
pub(crate) enum Pending<L> {
    /// A seat.
    Join(PendingJoin<L>),
    /// None any more, and then perhaps one again.
    Leave(Option<PendingJoin<L>>),
}

/// A member of this node that the others have lost and will find again.
#[derive(Debug)]
pub(crate) struct SuspendedMember<L> {
    pub(crate) member: Arc<Member>,
    pub(crate) local: L,
    /// The members of this node that it was among all the time.
    pub(crate) knows: Vec<PeerId>,
    /// As in [`Membership`].
    pub(crate) counterparts: Vec<PeerId>,
}

impl<L> SuspendedMember<L> {
    /// Another has left. Says whether it knew it.
    pub(crate) fn remove_known(&mut self, peer: PeerId) -> bool {
        let before = self.knows.len();
        self.knows.retain(|known| *known != peer);
        self.knows.len() != before
    }
}

/// The members in the order of their joins.
#[derive(Debug)]
pub(crate) struct Room<L> {
    position: Position,
    /// By place. Two may have one position after an engine has lost and restored its data.
    memberships: BTreeMap<(Position, PeerId), Membership<L>>,
    by_peer: HashMap<PeerId, (Position, PeerId)>,
    by_address: HashMap<Address, (Position, PeerId)>,
    /// Those whose dialect tells them of the others: in a directory of thousands there may be none.
    audience: BTreeSet<(Position, PeerId)>,
    /// Those who keep to a circle, by who was the first in it.
    grouped: BTreeSet<(PeerId, (Position, PeerId))>,
    /// What the dialects of members allow, where they bound the room.
    bounds: Vec<usize>,
    /// Nearly always empty: an engine takes less than a millisecond.
    pub(crate) pending: BTreeMap<PeerId, Pending<L>>,
    /// Empty but within one batch of changes.
    pub(crate) suspended: Vec<SuspendedMember<L>>,
    /// The circle that newcomers of this node come into, by its first member.
    open_group: Option<PeerId>,
    /// None in most rooms: only one dialect has ids of the clients' own.
    announced: Option<Box<Announced>>,
}

impl<L> Default for Room<L> {
    fn default() -> Self {
        Self {
            position: Position::default(),
            memberships: BTreeMap::new(),
            by_peer: HashMap::new(),
            by_address: HashMap::new(),
            audience: BTreeSet::new(),
            grouped: BTreeSet::new(),
            bounds: Vec::new(),
            pending: BTreeMap::new(),
            suspended: Vec::new(),
            open_group: None,
            announced: None,
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

    /// Members, those under way included.
    pub(crate) fn len(&self) -> usize {
        self.memberships.len() + self.pending_joins().count()
    }

    pub(crate) fn membership(&self, peer: PeerId) -> Option<&Membership<L>> {
        self.by_peer
            .get(&peer)
            .and_then(|position| self.memberships.get(position))
    }

    /// The seat that another node means, if this one knows it.
    pub(crate) fn membership_on_node(
        &self,
        node: NodeId,
        reference: MembershipRef,
    ) -> Option<&Membership<L>> {
        let seat = self.membership(reference.peer)?;
        (seat.node == Some(node) && seat.since == reference.since).then_some(seat)
    }

    pub(crate) fn membership_mut(&mut self, peer: PeerId) -> Option<&mut Membership<L>> {
        self.by_peer
            .get(&peer)
            .and_then(|position| self.memberships.get_mut(position))
    }

    /// Everybody, in the order of their joins.
    pub(crate) fn memberships(&self) -> impl Iterator<Item = &Membership<L>> {
        self.memberships.values()
    }

    /// Everybody else whom a member sees, in the order of their joins.
    pub(crate) fn visible_to<'a>(
        &'a self,
        member: &'a Member,
    ) -> impl Iterator<Item = &'a Membership<L>> {
        self.others_visible(member, self.memberships())
    }

    /// Those who are told that `member` comes or goes, in the order of their joins.
    pub(crate) fn observers_of<'a>(
        &'a self,
        member: &'a Member,
    ) -> impl Iterator<Item = &'a Membership<L>> {
        let audience = self.audience.iter();
        let audience = audience.filter_map(|place| self.memberships.get(place));
        let company = self.others_visible(member, audience);
        company.filter(|seat| seat.member.dialect.announces_presence)
    }

    /// The others of `everybody` whom a member sees; of a circle, only that is looked through.
    fn others_visible<'a>(
        &'a self,
        member: &'a Member,
        everybody: impl Iterator<Item = &'a Membership<L>>,
    ) -> impl Iterator<Item = &'a Membership<L>> {
        let everybody = member.group.is_none().then_some(everybody);
        let circle = member.group.map(|circle| self.group_members(circle.first));
        let company = everybody.into_iter().flatten();
        let company = company.chain(circle.into_iter().flatten());
        company.filter(|seat| seat.member.peer != member.peer && member.sees(&seat.member))
    }

    /// The members of a circle, in the order of their joins.
    fn group_members(&self, first: PeerId) -> impl Iterator<Item = &Membership<L>> {
        let begin = (Position::default(), PeerId::from([0; 16]));
        let of_it = self.grouped.range((first, begin)..);
        let of_it = of_it.take_while(move |(of, _)| *of == first);
        of_it.filter_map(|(_, place)| self.memberships.get(place))
    }

    /// Members that there may be when this one comes.
    pub(crate) fn members_max(&self, newcomer: &Member, limits: &Limits) -> usize {
        let own = limits.members_max(newcomer);
        let joining = self
            .pending_joins()
            .map(|wish| wish.member.dialect.members_max);
        match counts_against_member_limit(newcomer) {
            true => joining.fold(
                lower_limit(own, self.dialect_members_max(newcomer)),
                lower_limit,
            ),
            false => own,
        }
    }

    /// Members that the dialects of those who are in allow when this one comes.
    fn dialect_members_max(&self, newcomer: &Member) -> usize {
        let bounds = self.bounds.iter().copied();
        bounds.fold(newcomer.dialect.members_max, lower_limit)
    }

    /// Whether there is one too many for somebody's dialect if this newcomer has been let in. Only its
    /// own node may not have known, if others came at the same moment.
    pub(crate) fn is_overfull_with(&self, newcomer: &Member) -> bool {
        counts_against_member_limit(newcomer)
            && exceeds(
                self.memberships.len() + 1,
                self.dialect_members_max(newcomer),
            )
    }

    /// Puts a newcomer that wants to be alone with others into the open circle, or lets it open one.
    /// Circles are of members of one node: only that one knows whether they are open.
    pub(crate) fn assign_group(&mut self, newcomer: Arc<Member>) -> Arc<Member> {
        let Some(wanted) = newcomer.group else {
            return newcomer;
        };
        let open = self.open_group.map(|first| (first, self.group_len(first)));
        let (first, count) = (open.filter(|(_, count)| *count > 0)).unwrap_or((newcomer.peer, 0));
        self.open_group = (count + 1 < wanted.capacity.get()).then_some(first);
        let circle = Some(Group { first, ..wanted });
        Arc::new(Member {
            group: circle,
            ..(*newcomer).clone()
        })
    }

    /// A newcomer was not let in: its circle lacks it again.
    pub(crate) fn release_group_slot(&mut self, newcomer: &Member) {
        let circle = newcomer.group.map(|circle| circle.first);
        self.open_group = self.open_group.or(circle);
    }

    /// How many are in a circle, or about to be.
    fn group_len(&self, first: PeerId) -> usize {
        let joining = self.pending_joins().filter_map(|wish| wish.member.group);
        let joining = joining.filter(|circle| circle.first == first);
        self.group_members(first).count() + joining.count()
    }

    /// Notes that two members have exchanged a session description.
    pub(crate) fn note_description(&mut self, from: PeerId, to: PeerId) {
        for (listener, other) in [(from, to), (to, from)] {
            let seats = self.membership(listener).zip(self.membership(other));
            if seats.is_some_and(|(listener, other)| listener.is_told_only_of_calls(other)) {
                self.add_counterpart(other, listener);
            }
        }
    }

    /// Notes that a member has sent a session description to all others.
    pub(crate) fn note_description_to_all(&mut self, from: PeerId) {
        if self.audience.len() == self.memberships.len() {
            return;
        }
        let Some(sender) = self.membership(from) else {
            return;
        };
        let listeners = self.visible_to(&sender.member);
        let listeners = listeners.filter(|seat| seat.is_told_only_of_calls(sender));
        let listeners: Vec<_> = listeners.map(|seat| seat.member.peer).collect();
        for listener in listeners {
            self.add_counterpart(from, listener);
        }
    }

    fn add_counterpart(&mut self, of: PeerId, listener: PeerId) {
        let Some(seat) = self.membership_mut(of) else {
            return;
        };
        if seat.counterparts.contains(&listener) {
            return;
        }
        let mut counterparts = std::mem::take(&mut seat.counterparts);
        if counterparts.len() >= COUNTERPARTS_MAX {
            counterparts.retain(|peer| self.by_peer.contains_key(peer));
        }
        if counterparts.len() >= COUNTERPARTS_MAX {
            counterparts.remove(0);
        }
        counterparts.push(listener);
        if let Some(seat) = self.membership_mut(of) {
            seat.counterparts = counterparts;
        }
    }

    /// The connections of the counterparts of a member that leaves.
    pub(crate) fn counterparts_of<'a>(
        &'a self,
        left: &'a Membership<L>,
    ) -> impl Iterator<Item = &'a L> {
        left.counterparts.iter().filter_map(|peer| {
            let seat = self.membership(*peer);
            let withdrawn = || self.suspended.iter().find(|lost| lost.member.peer == *peer);
            match seat {
                Some(seat) => seat.local.as_ref(),
                None => withdrawn().map(|lost| &lost.local),
            }
        })
    }

    /// Notes that a member has named itself by this id.
    pub(crate) fn announce(&mut self, peer: PeerId, alias: &Alias) {
        if self.by_peer.contains_key(&peer) {
            let announced = self.announced.get_or_insert_default();
            announced.announce(peer, alias);
        }
    }

    /// Takes a member to have every id: its announcements were lost with its seat.
    pub(crate) fn forget_announced(&mut self, peer: PeerId) {
        if let Some(announced) = &mut self.announced {
            announced.set_unlimited(peer);
        }
    }

    /// The members that a broadcast for this id is for: those that have announced it, else all, the
    /// sender included.
    pub(crate) fn receivers<'a>(
        &'a self,
        sender: &'a Member,
        to: &'a Alias,
    ) -> impl Iterator<Item = &'a Membership<L>> {
        let announced = self.announced.as_ref();
        let known = announced.and_then(|announced| announced.receivers(to));
        let everybody = known.is_none().then(|| self.memberships());
        let known = known.into_iter().flatten();
        let known = known.filter_map(|peer| self.membership(peer));
        let seats = known.chain(everybody.into_iter().flatten());
        seats.filter(|seat| sender.sees(&seat.member))
    }

    /// The one member that `target` names. `Target::Everyone` names nobody in particular.
    pub(crate) fn find(&self, target: &Target) -> Option<&Membership<L>> {
        match target {
            Target::Everyone => None,
            Target::Peer(peer) => self.membership(*peer),
            Target::Address(address) | Target::AddressOrWait(address) => self.by_address(address),
        }
    }

    /// Who has this address.
    pub(crate) fn by_address(&self, address: &Address) -> Option<&Membership<L>> {
        self.by_address
            .get(address)
            .and_then(|position| self.memberships.get(position))
    }

    /// The wish whose join is under way under this address.
    pub(crate) fn pending_join_for(&self, address: &Address) -> Option<&PendingJoin<L>> {
        self.pending_joins()
            .find(|wish| wish.member.address == *address)
    }

    /// The wish of a peer to be in, if it is under way.
    pub(crate) fn pending_join_mut(&mut self, peer: PeerId) -> Option<&mut PendingJoin<L>> {
        match self.pending.get_mut(&peer)? {
            Pending::Join(wish) | Pending::Leave(Some(wish)) => Some(wish),
            Pending::Leave(None) => None,
        }
    }

    fn pending_joins(&self) -> impl Iterator<Item = &PendingJoin<L>> {
        self.pending.values().filter_map(|pending| match pending {
            Pending::Join(wish) => Some(wish),
            Pending::Leave(_) => None,
        })
    }

    /// Seats a member.
    pub(crate) fn join(&mut self, seat: Membership<L>) {
        self.position = self.position.max(seat.since);
        let place = seat.order_key();
        self.by_peer.insert(seat.member.peer, place);
        self.by_address.insert(seat.member.address.clone(), place);
        if seat.member.dialect.announces_presence {
            self.audience.insert(place);
        }
        if let Some(circle) = seat.member.group {
            self.grouped.insert((circle.first, place));
        }
        if seat.member.dialect.members_max != 0 {
            self.bounds.push(seat.member.dialect.members_max);
        }
        self.memberships.insert(place, seat);
    }

    /// Frees the seat of a member that left at `position`.
    pub(crate) fn leave(&mut self, position: Position, peer: PeerId) -> Option<Membership<L>> {
        self.position = self.position.max(position);
        let seat = self.memberships.remove(&self.by_peer.remove(&peer)?)?;
        if let Some(announced) = &mut self.announced {
            announced.forget(peer);
        }
        self.audience.remove(&seat.order_key());
        if let Some(circle) = seat.member.group {
            self.grouped.remove(&(circle.first, seat.order_key()));
        }
        let bound = |bound: &usize| *bound == seat.member.dialect.members_max;
        if let Some(index) = self.bounds.iter().position(bound) {
            self.bounds.swap_remove(index);
        }
        if self.by_address.get(&seat.member.address) == Some(&seat.order_key()) {
            self.by_address.remove(&seat.member.address);
        }
        Some(seat)
    }
}

/// Whether somebody for whom a room is tight may have one too many in it. Who is not told of others,
/// cannot call them or keeps to a circle comes to nobody: nobody can keep such a one out by being there.
fn counts_against_member_limit(newcomer: &Member) -> bool {
    let tongue = newcomer.dialect;
    tongue.announces_presence && tongue.signals && newcomer.group.is_none()
}

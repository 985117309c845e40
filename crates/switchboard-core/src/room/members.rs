//! The members of a room, found by id, by address and in the order of their joins.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::Membership;
use crate::{
    id::{Address, PeerId, Position},
    introduction::DialectTraits,
    seeded_hash::{NameHashMap, PeerIdMap},
};

/// The number of members up to which a room has no index. Most rooms have one or two members, and a claimed name, which
/// is stored like a room, has one: an index would take more memory than the members themselves.
const UNINDEXED_MAX: usize = 4;

type OrderKey = (Position, PeerId);

/// The members of a room. No two have the same id.
#[derive(Debug)]
pub(crate) enum Members<L> {
    /// The members of a small room, in the order of their joins.
    Few(Vec<Membership<L>>),
    /// A room that has had more than [`UNINDEXED_MAX`] members.
    Indexed(Box<IndexedMembers<L>>),
}

impl<L> Default for Members<L> {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl<L> Members<L> {
    fn parts(&self) -> (&[Membership<L>], Option<&IndexedMembers<L>>) {
        match self {
            Self::Few(few) => (few, None),
            Self::Indexed(indexed) => (&[], Some(indexed)),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Few(few) => few.len(),
            Self::Indexed(indexed) => indexed.by_order.len(),
        }
    }

    pub(crate) fn get(&self, peer: PeerId) -> Option<&Membership<L>> {
        match self {
            Self::Few(few) => few.iter().find(|membership| membership.member.peer == peer),
            Self::Indexed(indexed) => indexed.by_order.get(indexed.by_peer.get(&peer)?),
        }
    }

    pub(crate) fn get_mut(&mut self, peer: PeerId) -> Option<&mut Membership<L>> {
        match self {
            Self::Few(few) => few
                .iter_mut()
                .find(|membership| membership.member.peer == peer),
            Self::Indexed(indexed) => {
                indexed.uniform.take();
                indexed.by_order.get_mut(indexed.by_peer.get(&peer)?)
            }
        }
    }

    /// The member with this address. If there are two, the one that joined last. In a large room it is the last one
    /// inserted, and there is none after it has left, even if an older one remains.
    pub(crate) fn by_address(&self, address: &Address) -> Option<&Membership<L>> {
        match self {
            Self::Few(few) => few
                .iter()
                .rfind(|membership| membership.member.address == *address),
            Self::Indexed(indexed) => indexed.by_order.get(indexed.by_address.get(address)?),
        }
    }

    /// All members, in the order of their joins.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Membership<L>> {
        let (few, indexed) = self.parts();
        let indexed = indexed.map(|indexed| indexed.by_order.values());
        few.iter().chain(indexed.into_iter().flatten())
    }

    /// All members, if the room is large and they are uniform.
    pub(crate) fn uniform(&self) -> Option<&UniformMembers<L>>
    where
        L: Clone,
    {
        match self {
            Self::Few(_) => None,
            Self::Indexed(indexed) => {
                let find = || UniformMembers::of(indexed.by_order.values());
                indexed.uniform.get_or_init(find).as_ref()
            }
        }
    }

    /// The members whose dialect notifies them of others, in the order of their joins.
    pub(crate) fn observers(&self) -> impl Iterator<Item = &Membership<L>> {
        let (_, indexed) = self.parts();
        // Where most members are observers, going through all is faster than a lookup for each.
        let are_most = indexed.is_none_or(IndexedMembers::are_most_observers);
        let all = are_most.then(|| self.iter()).into_iter().flatten();
        let all = all.filter(|membership| membership.announces_presence());
        let found = indexed.filter(|_| !are_most).into_iter();
        all.chain(found.flat_map(IndexedMembers::observers))
    }

    /// Whether all members are observers.
    pub(crate) fn are_all_observers(&self) -> bool {
        match self {
            Self::Few(few) => few.iter().all(Membership::announces_presence),
            Self::Indexed(indexed) => indexed.observers.len() == indexed.by_order.len(),
        }
    }

    /// The members of the group with this first member, in the order of their joins.
    pub(crate) fn of_group(&self, first: PeerId) -> impl Iterator<Item = &Membership<L>> {
        let (few, indexed) = self.parts();
        let few = few
            .iter()
            .filter(move |membership| membership.group_first() == Some(first));
        let indexed = indexed.into_iter();
        few.chain(indexed.flat_map(move |indexed| indexed.of_group(first)))
    }

    /// The members with this proven identity, in the order of their joins.
    pub(crate) fn of_identity<'a>(
        &'a self,
        identity: &'a Arc<str>,
    ) -> impl Iterator<Item = &'a Membership<L>> {
        let (few, indexed) = self.parts();
        let few = few
            .iter()
            .filter(move |membership| membership.identity() == Some(identity));
        let indexed = indexed.into_iter();
        few.chain(indexed.flat_map(move |indexed| indexed.of_identity(identity)))
    }

    /// The member limits of the members' dialects. Dialects without a limit are left out.
    pub(crate) fn dialect_limits(&self) -> impl Iterator<Item = usize> {
        let (few, indexed) = self.parts();
        let few = few.iter().map(Membership::dialect_limit);
        let indexed = indexed.map_or(&[][..], |indexed| &indexed.dialect_limits);
        let few = few.filter(|limit| *limit != 0);
        few.chain(indexed.iter().copied())
    }

    /// Adds a member that is not in the room.
    pub(crate) fn insert(&mut self, membership: Membership<L>) {
        match self {
            Self::Few(few) if few.len() < UNINDEXED_MAX => {
                let key = membership.order_key();
                let index = few.partition_point(|membership| membership.order_key() < key);
                few.reserve_exact(1);
                few.insert(index, membership);
            }
            Self::Few(few) => {
                let mut indexed = Box::<IndexedMembers<L>>::default();
                let all = std::mem::take(few).into_iter().chain([membership]);
                all.for_each(|own| indexed.insert(own));
                *self = Self::Indexed(indexed);
            }
            Self::Indexed(indexed) => indexed.insert(membership),
        }
    }

    /// Removes a member.
    pub(crate) fn remove(&mut self, peer: PeerId) -> Option<Membership<L>> {
        match self {
            Self::Few(few) => {
                let index = few
                    .iter()
                    .position(|membership| membership.member.peer == peer)?;
                Some(few.remove(index))
            }
            Self::Indexed(indexed) => indexed.remove(peer),
        }
    }
}

/// The members of a large room with their indexes.
#[derive(Debug)]
pub(crate) struct IndexedMembers<L> {
    /// The key has the peer's id too: two members can have the same position after the engine, which orders the joins
    /// of all nodes, has lost and restored its data.
    by_order: BTreeMap<OrderKey, Membership<L>>,
    by_peer: PeerIdMap<OrderKey>,
    by_address: NameHashMap<Address, OrderKey>,
    /// The members that are notified of joins and leaves, so that finding them does not visit all members: a room of
    /// thousands may have no observer.
    observers: BTreeSet<OrderKey>,
    /// The members of groups, by the group's first member.
    grouped: BTreeSet<(PeerId, OrderKey)>,
    /// The members with a proven identity, by that identity.
    identified: BTreeSet<(Arc<str>, OrderKey)>,
    /// The member limits of the members' dialects, without zeros.
    dialect_limits: Vec<usize>,
    /// All members, if they are uniform. Found at first use, and cleared by each change. `None` inside if the members
    /// are not uniform.
    uniform: OnceCell<Option<UniformMembers<L>>>,
}

/// The members of a room that are all connected to this node, have one dialect and are in no group. Every message of
/// this dialect from one of them to all goes to all these connections but the sender's, so a broadcast need not go over
/// the members.
#[derive(Debug)]
pub(crate) struct UniformMembers<L> {
    pub(crate) dialect: &'static DialectTraits,
    /// The members in the order of their joins, with their connections.
    pub(crate) locals: Arc<[(PeerId, L)]>,
}

impl<L: Clone> UniformMembers<L> {
    fn of<'a>(memberships: impl Iterator<Item = &'a Membership<L>> + Clone) -> Option<Self>
    where
        L: 'a,
    {
        let dialect = memberships.clone().next()?.member.dialect;
        let is_uniform = |membership: &Membership<L>| {
            let member = &membership.member;
            std::ptr::eq(member.dialect, dialect)
                && member.group.is_none()
                && membership.local().is_some()
        };
        // No connection is copied for a room that is not uniform.
        if !memberships.clone().all(is_uniform) {
            return None;
        }
        let local = |membership: &Membership<L>| {
            let local = membership.local().cloned();
            local.map(|local| (membership.member.peer, local))
        };
        let locals = memberships.filter_map(local).collect();
        Some(Self { dialect, locals })
    }
}

impl<L> Default for IndexedMembers<L> {
    fn default() -> Self {
        Self {
            by_order: BTreeMap::new(),
            by_peer: PeerIdMap::default(),
            by_address: NameHashMap::default(),
            observers: BTreeSet::new(),
            grouped: BTreeSet::new(),
            identified: BTreeSet::new(),
            dialect_limits: Vec::new(),
            uniform: OnceCell::new(),
        }
    }
}

impl<L> IndexedMembers<L> {
    fn are_most_observers(&self) -> bool {
        self.observers.len() > self.by_order.len() / 2
    }

    fn observers(&self) -> impl Iterator<Item = &Membership<L>> {
        let observers = self.observers.iter();
        observers.filter_map(|key| self.by_order.get(key))
    }

    fn of_group(&self, first: PeerId) -> impl Iterator<Item = &Membership<L>> {
        let first_key = (Position::default(), PeerId::from([0; 16]));
        let group = self.grouped.range((first, first_key)..);
        let group = group.take_while(move |(of, _)| *of == first);
        group.filter_map(|(_, key)| self.by_order.get(key))
    }

    fn of_identity<'a>(
        &'a self,
        identity: &'a Arc<str>,
    ) -> impl Iterator<Item = &'a Membership<L>> {
        let first_key = (Position::default(), PeerId::from([0; 16]));
        let sessions = self.identified.range((identity.clone(), first_key)..);
        let sessions = sessions.take_while(move |(of, _)| of == identity);
        sessions.filter_map(|(_, key)| self.by_order.get(key))
    }

    fn insert(&mut self, membership: Membership<L>) {
        self.uniform.take();
        let key = membership.order_key();
        self.by_peer.insert(membership.member.peer, key);
        let address = membership.member.address.clone();
        self.by_address.insert(address, key);
        if membership.announces_presence() {
            self.observers.insert(key);
        }
        if let Some(first) = membership.group_first() {
            self.grouped.insert((first, key));
        }
        if let Some(identity) = membership.identity() {
            self.identified.insert((identity.clone(), key));
        }
        if membership.dialect_limit() != 0 {
            self.dialect_limits.push(membership.dialect_limit());
        }
        self.by_order.insert(key, membership);
    }

    fn remove(&mut self, peer: PeerId) -> Option<Membership<L>> {
        let membership = self.by_order.remove(&self.by_peer.remove(&peer)?)?;
        self.uniform.take();
        let key = membership.order_key();
        self.observers.remove(&key);
        if let Some(first) = membership.group_first() {
            self.grouped.remove(&(first, key));
        }
        if let Some(identity) = membership.identity() {
            self.identified.remove(&(identity.clone(), key));
        }
        let mut limits = self.dialect_limits.iter();
        if let Some(index) = limits.position(|limit| *limit == membership.dialect_limit()) {
            self.dialect_limits.swap_remove(index);
        }
        if self.by_address.get(&membership.member.address) == Some(&key) {
            self.by_address.remove(&membership.member.address);
        }
        Some(membership)
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroUsize, sync::Arc};

    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::{
        introduction::{DialectTraits, Group, Member},
        room::{Counterparts, MemberLocation},
    };

    static OBSERVERS: DialectTraits = DialectTraits {
        name: "observers",
        members_max: 7,
        ..DialectTraits::DEFAULT
    };

    static OTHERS: DialectTraits = DialectTraits {
        name: "others",
        announces_presence: false,
        ..DialectTraits::DEFAULT
    };

    /// The number of members that fit into a room without indexes.
    const MEMBERS: u8 = UNINDEXED_MAX as u8;

    fn peer(number: u8) -> PeerId {
        PeerId::from([number; 16])
    }

    /// A member whose dialect and group depend on its number: even numbers are observers, 0 and 1 are in one group.
    fn membership(number: u8, since: u64) -> Membership<u8> {
        let peer = peer(number);
        let dialect = if number.is_multiple_of(2) {
            &OBSERVERS
        } else {
            &OTHERS
        };
        let group = (number < 2).then(|| {
            Box::new(Group {
                first: self::peer(0),
                capacity: NonZeroUsize::MIN,
            })
        });
        let member = Member {
            group,
            ..Member::new(peer, peer.into(), dialect)
        };
        Membership {
            member: Arc::new(member),
            since: since.into(),
            location: MemberLocation::Connected(number),
            counterparts: Counterparts::default(),
        }
    }

    /// The results of all queries of the members.
    fn answers(members: &mut Members<u8>) -> impl PartialEq + std::fmt::Debug + use<> {
        let locals = |found: Vec<&Membership<u8>>| -> Vec<_> {
            found
                .into_iter()
                .map(|membership| membership.local().copied())
                .collect()
        };
        let mut limits: Vec<_> = members.dialect_limits().collect();
        limits.sort_unstable();
        let found: Vec<_> = (0..MEMBERS)
            .map(|number| {
                let by_id = members
                    .get(peer(number))
                    .and_then(|membership| membership.local().copied());
                let address = Address::from(peer(number));
                let by_address = members
                    .by_address(&address)
                    .and_then(|membership| membership.local().copied());
                (by_id, by_address, members.get_mut(peer(number)).is_some())
            })
            .collect();
        let counts = (
            members.len(),
            members.is_empty(),
            members.are_all_observers(),
        );
        let lists = [
            locals(members.iter().collect()),
            locals(members.observers().collect()),
            locals(members.of_group(peer(0)).collect()),
            locals(members.of_group(peer(3)).collect()),
        ];
        (limits, found, counts, lists)
    }

    proptest! {
        #[test]
        fn all_queries_have_the_same_results_with_and_without_indexes(
            steps in vec((0..MEMBERS, any::<bool>(), 1..9_u64), 1..40),
        ) {
            let mut few = Members::default();
            let mut indexed = Members::Indexed(Box::default());
            for (number, is_join, since) in steps {
                for members in [&mut few, &mut indexed] {
                    if !is_join {
                        let removed = members.remove(peer(number));
                        assert!(members.get(peer(number)).is_none());
                        drop(removed);
                    } else if members.get(peer(number)).is_none() {
                        members.insert(membership(number, since));
                    }
                }
                prop_assert_eq!(answers(&mut few), answers(&mut indexed));
            }
            prop_assert!(matches!(few, Members::Few(_)));
        }
    }

    #[test]
    fn members_keep_their_order_when_the_room_gets_indexes() {
        let mut members = Members::default();
        for number in 0..=MEMBERS {
            members.insert(membership(number, 9 - u64::from(number)));
        }
        assert!(matches!(members, Members::Indexed(_)));
        let in_order: Vec<_> = members
            .iter()
            .filter_map(|membership| membership.local().copied())
            .collect();
        assert_eq!(in_order, (0..=MEMBERS).rev().collect::<Vec<_>>());
    }

    #[test]
    fn the_latest_of_two_members_with_one_address_is_found() {
        for mut members in [Members::default(), Members::Indexed(Box::default())] {
            for (number, since) in [(0, 1), (1, 2)] {
                let mut membership = membership(number, since);
                Arc::make_mut(&mut membership.member).address = peer(0).into();
                members.insert(membership);
            }
            let found = members.by_address(&peer(0).into());
            assert_eq!(
                found.and_then(|membership| membership.local().copied()),
                Some(1)
            );
        }
    }
}

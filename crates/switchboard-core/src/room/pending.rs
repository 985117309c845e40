//! The proposed changes of a room that are not committed yet.

use std::collections::BTreeMap;

use crate::{challenge::PendingJoin, id::PeerId};

/// A change of a peer of this node that is proposed and not committed yet.
#[derive(Debug)]
pub(crate) enum Pending<L> {
    /// The peer is joining.
    Join(PendingJoin<L>),
    /// The peer is leaving; `Some` if a new join is queued behind the leave.
    Leave(Option<PendingJoin<L>>),
}

/// The pending changes of a room. Nearly always none, because an engine commits within a millisecond, and rarely more
/// than one.
#[derive(Debug)]
#[expect(
    clippy::box_collection,
    reason = "each room has this type, and few have a map"
)]
pub(crate) enum PendingChanges<L> {
    /// At most one change.
    Few(Option<Box<(PeerId, Pending<L>)>>),
    /// A room that has had more than one at a time. It is never empty.
    Many(Box<BTreeMap<PeerId, Pending<L>>>),
}

impl<L> Default for PendingChanges<L> {
    fn default() -> Self {
        Self::Few(None)
    }
}

impl<L> PendingChanges<L> {
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Few(None))
    }

    pub(crate) fn contains(&self, peer: PeerId) -> bool {
        match self {
            Self::Few(change) => change.as_ref().is_some_and(|change| change.0 == peer),
            Self::Many(changes) => changes.contains_key(&peer),
        }
    }

    pub(crate) fn get_mut(&mut self, peer: PeerId) -> Option<&mut Pending<L>> {
        match self {
            Self::Few(change) => {
                let change = change.as_mut().filter(|change| change.0 == peer);
                change.map(|change| &mut change.1)
            }
            Self::Many(changes) => changes.get_mut(&peer),
        }
    }

    /// Replaces and returns the pending change of a peer.
    pub(crate) fn insert(&mut self, peer: PeerId, change: Pending<L>) -> Option<Pending<L>> {
        match self {
            Self::Few(Some(own)) if own.0 == peer => Some(std::mem::replace(&mut own.1, change)),
            Self::Few(few @ None) => {
                *few = Some(Box::new((peer, change)));
                None
            }
            Self::Few(first @ Some(_)) => {
                let first = first.take().map(|first| *first);
                let all = first.into_iter().chain([(peer, change)]);
                *self = Self::Many(Box::new(all.collect()));
                None
            }
            Self::Many(changes) => changes.insert(peer, change),
        }
    }

    pub(crate) fn remove(&mut self, peer: PeerId) -> Option<Pending<L>> {
        match self {
            Self::Few(change) => {
                let removed = change.take_if(|change| change.0 == peer);
                removed.map(|change| change.1)
            }
            Self::Many(changes) => {
                let removed = changes.remove(&peer);
                if changes.is_empty() {
                    *self = Self::default();
                }
                removed
            }
        }
    }

    /// The pending joins, without those that are queued behind a leave.
    pub(crate) fn joins(&self) -> impl Iterator<Item = &PendingJoin<L>> {
        let (few, many) = match self {
            Self::Few(change) => (change.as_ref(), None),
            Self::Many(changes) => (None, Some(changes.values())),
        };
        let few = few.map(|change| &change.1).into_iter();
        let changes = few.chain(many.into_iter().flatten());
        changes.filter_map(|pending| match pending {
            Pending::Join(pending) => Some(pending),
            Pending::Leave(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn changes_are_those_of_a_map(
            steps in vec((0..4_u8, any::<bool>()), 1..40),
        ) {
            let mut changes = PendingChanges::<u8>::default();
            let mut expected = std::collections::BTreeSet::new();
            for (number, is_inserted) in steps {
                let peer = PeerId::from([number; 16]);
                let before = match is_inserted {
                    true => (changes.insert(peer, Pending::Leave(None)).is_none(), expected.insert(number)),
                    false => (changes.remove(peer).is_some(), expected.remove(&number)),
                };
                prop_assert_eq!(before.0, before.1);
                prop_assert_eq!(changes.is_empty(), expected.is_empty());
                for number in 0..4 {
                    let peer = PeerId::from([number; 16]);
                    prop_assert_eq!(changes.contains(peer), expected.contains(&number));
                    prop_assert_eq!(changes.get_mut(peer).is_some(), expected.contains(&number));
                }
                prop_assert_eq!(changes.joins().count(), 0);
            }
        }
    }
}

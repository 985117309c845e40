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
pub(crate) struct PendingChanges<L>(Option<Box<Changes<L>>>);

#[derive(Debug)]
struct Changes<L> {
    first: (PeerId, Pending<L>),
    /// The changes of all other peers.
    others: BTreeMap<PeerId, Pending<L>>,
}

impl<L> Default for PendingChanges<L> {
    fn default() -> Self {
        Self(None)
    }
}

impl<L> PendingChanges<L> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn contains(&self, peer: PeerId) -> bool {
        let changes = self.0.as_ref();
        changes.is_some_and(|changes| changes.first.0 == peer || changes.others.contains_key(&peer))
    }

    pub(crate) fn get_mut(&mut self, peer: PeerId) -> Option<&mut Pending<L>> {
        let changes = self.0.as_mut()?;
        match changes.first.0 == peer {
            true => Some(&mut changes.first.1),
            false => changes.others.get_mut(&peer),
        }
    }

    /// Replaces and returns the pending change of a peer.
    pub(crate) fn insert(&mut self, peer: PeerId, change: Pending<L>) -> Option<Pending<L>> {
        match &mut self.0 {
            Some(changes) if changes.first.0 == peer => {
                Some(std::mem::replace(&mut changes.first.1, change))
            }
            Some(changes) => changes.others.insert(peer, change),
            None => {
                self.0 = Some(Box::new(Changes {
                    first: (peer, change),
                    others: BTreeMap::new(),
                }));
                None
            }
        }
    }

    pub(crate) fn remove(&mut self, peer: PeerId) -> Option<Pending<L>> {
        let changes = self.0.as_mut()?;
        if changes.first.0 != peer {
            return changes.others.remove(&peer);
        }
        match changes.others.pop_first() {
            Some(next) => Some(std::mem::replace(&mut changes.first, next).1),
            None => self.0.take().map(|changes| changes.first.1),
        }
    }

    /// The pending joins, without those that are queued behind a leave.
    pub(crate) fn joins(&self) -> impl Iterator<Item = &PendingJoin<L>> {
        let changes = self.0.iter().flat_map(|changes| {
            let first = std::iter::once(&changes.first.1);
            first.chain(changes.others.values())
        });
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

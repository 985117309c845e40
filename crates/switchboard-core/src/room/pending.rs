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

/// The pending changes of a room. Nearly always empty, and without an allocation then: an engine commits within a
/// millisecond.
#[derive(Debug)]
pub(crate) struct PendingChanges<L>(BTreeMap<PeerId, Pending<L>>);

impl<L> Default for PendingChanges<L> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<L> PendingChanges<L> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn contains(&self, peer: PeerId) -> bool {
        self.0.contains_key(&peer)
    }

    pub(crate) fn get_mut(&mut self, peer: PeerId) -> Option<&mut Pending<L>> {
        self.0.get_mut(&peer)
    }

    /// Replaces and returns the pending change of a peer.
    pub(crate) fn insert(&mut self, peer: PeerId, change: Pending<L>) -> Option<Pending<L>> {
        self.0.insert(peer, change)
    }

    pub(crate) fn remove(&mut self, peer: PeerId) -> Option<Pending<L>> {
        let removed = self.0.remove(&peer);
        if self.0.is_empty() {
            // An emptied `BTreeMap` keeps the memory of one node, which has room for eleven changes.
            self.0 = BTreeMap::new();
        }
        removed
    }

    /// The pending joins, without those that are queued behind a leave.
    pub(crate) fn joins(&self) -> impl Iterator<Item = &PendingJoin<L>> {
        self.0.values().filter_map(|pending| match pending {
            Pending::Join(pending) => Some(pending),
            Pending::Leave(_) => None,
        })
    }
}

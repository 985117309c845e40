//! Ids that clients make for themselves, by which the frames of some dialects name their sender and
//! receiver.
//!
//! A frame for one id goes only to the members that have announced it. If several members have announced
//! it, all of them get the frame: a later announcement takes no frames away from another member, and a
//! client that has reconnected gets them even while its old connection lasts. Every node resolves the
//! id for its own members, of which it has seen every announcement; where no member is known by the id,
//! the frame goes to all, as without ids.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{Alias, PeerId};

/// Ids of one member that are kept. A client announces one for each room; a member with more is taken to
/// have every id.
const ALIASES_MAX: usize = 4;

/// The ids that a frame names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aliases {
    /// An id of the sender.
    pub from: Option<Alias>,
    /// The id of the only receiver.
    pub to: Option<Alias>,
}

/// The ids that the members of a room have announced.
#[derive(Debug, Default)]
pub(crate) struct Announced {
    holders: BTreeSet<(Alias, PeerId)>,
    of_peer: BTreeMap<PeerId, Vec<Alias>>,
    /// Members that are taken to have every id.
    unlimited: BTreeSet<PeerId>,
}

impl Announced {
    /// Notes that a member has announced an id.
    pub(crate) fn announce(&mut self, peer: PeerId, alias: &Alias) {
        if self.unlimited.contains(&peer) {
            return;
        }
        let own = self.of_peer.entry(peer).or_default();
        if own.contains(alias) {
            return;
        }
        if own.len() >= ALIASES_MAX {
            return self.set_unlimited(peer);
        }
        own.push(alias.clone());
        self.holders.insert((alias.clone(), peer));
    }

    /// Takes a member to have every id from now on.
    pub(crate) fn set_unlimited(&mut self, peer: PeerId) {
        self.forget(peer);
        self.unlimited.insert(peer);
    }

    /// Forgets the ids of a member that leaves.
    pub(crate) fn forget(&mut self, peer: PeerId) {
        for alias in self.of_peer.remove(&peer).unwrap_or_default() {
            self.holders.remove(&(alias, peer));
        }
        self.unlimited.remove(&peer);
    }

    /// The members that a frame for this id is for. `None` if no member is known by it.
    pub(crate) fn receivers(&self, alias: &Alias) -> Option<impl Iterator<Item = PeerId>> {
        let first = (alias.clone(), PeerId::from([0; 16]));
        let holders = self.holders.range(first..);
        let holders = holders.take_while(move |(of, _)| of == alias);
        let mut holders = holders.map(|(_, peer)| *peer).peekable();
        holders.peek()?;
        Some(holders.chain(self.unlimited.iter().copied()))
    }
}

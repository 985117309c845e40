//! Aliases: ids that clients make for themselves. The frames of some dialects (y-webrtc) name their sender and receiver
//! by them.
//!
//! A member announces an alias by sending a frame with this alias as the sender. A frame for an alias goes to the
//! members that have announced it, or to all members if none has. If several members have announced it, all of them get
//! the frame, for two reasons: a later announcement must not divert the frames of another member, and a client that has
//! reconnected must get its frames while its old connection still exists. Every node sees all frames of its own
//! members, so it can resolve an alias for them without the other nodes.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{Alias, PeerId};

/// Max aliases kept per member. A well-behaved client announces one per room. A member with more matches every alias:
/// it gets all broadcasts of the room, as it would without aliases.
const ALIASES_MAX: usize = 4;

/// The aliases that a frame contains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aliases {
    /// The sender's alias.
    pub from: Option<Alias>,
    /// The alias of the receiver.
    pub to: Option<Alias>,
}

/// The aliases that the members of a room have announced.
#[derive(Debug, Default)]
pub(crate) struct AnnouncedAliases {
    holders: BTreeSet<(Alias, PeerId)>,
    of_peer: BTreeMap<PeerId, Vec<Alias>>,
    /// Members that match every alias.
    match_all: BTreeSet<PeerId>,
}

impl AnnouncedAliases {
    /// Records an alias that a member has announced.
    pub(crate) fn add(&mut self, peer: PeerId, alias: &Alias) {
        if self.match_all.contains(&peer) {
            return;
        }
        let aliases = self.of_peer.entry(peer).or_default();
        if aliases.contains(alias) {
            return;
        }
        if aliases.len() >= ALIASES_MAX {
            return self.match_every_alias(peer);
        }
        aliases.push(alias.clone());
        self.holders.insert((alias.clone(), peer));
    }

    /// Makes a member match every alias from now on.
    pub(crate) fn match_every_alias(&mut self, peer: PeerId) {
        self.remove(peer);
        self.match_all.insert(peer);
    }

    /// Removes the aliases of a member that leaves.
    pub(crate) fn remove(&mut self, peer: PeerId) {
        for alias in self.of_peer.remove(&peer).unwrap_or_default() {
            self.holders.remove(&(alias, peer));
        }
        self.match_all.remove(&peer);
    }

    /// The members that match this alias. `None` if no member has announced it.
    pub(crate) fn receivers(&self, alias: &Alias) -> Option<impl Iterator<Item = PeerId>> {
        let first = (alias.clone(), PeerId::from([0; 16]));
        let holders = self.holders.range(first..);
        let holders = holders.take_while(move |(of, _)| of == alias);
        let mut holders = holders.map(|(_, peer)| *peer).peekable();
        holders.peek()?;
        Some(holders.chain(self.match_all.iter().copied()))
    }
}

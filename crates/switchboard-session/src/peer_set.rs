//! The distinct peers of a connection.

use switchboard_core::{PeerId, PeerIdSet};

/// The number of peers up to which a set is a list. Most connections have one peer or a few, and a table would take
/// more memory.
const LISTED_MAX: usize = 8;

/// A set of peers that only grows.
#[derive(Debug)]
pub(crate) enum PeerSet {
    Listed(Vec<PeerId>),
    Hashed(Box<PeerIdSet>),
}

impl Default for PeerSet {
    fn default() -> Self {
        Self::Listed(Vec::new())
    }
}

impl PeerSet {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Listed(list) => list.len(),
            Self::Hashed(table) => table.len(),
        }
    }

    /// Reserves memory for at least this many more peers, if they do not fit into a list.
    pub(crate) fn reserve(&mut self, additional: usize) {
        match self {
            Self::Listed(list) if list.len() + additional <= LISTED_MAX => {}
            Self::Listed(list) => {
                let mut table = PeerIdSet::default();
                table.reserve(list.len() + additional);
                table.extend(list.drain(..));
                *self = Self::Hashed(Box::new(table));
            }
            Self::Hashed(table) => table.reserve(additional),
        }
    }

    /// Adds a peer. Returns whether it is new.
    pub(crate) fn insert(&mut self, peer: PeerId) -> bool {
        match self {
            Self::Listed(list) if list.contains(&peer) => false,
            Self::Listed(list) if list.len() < LISTED_MAX => {
                list.reserve_exact(1);
                list.push(peer);
                true
            }
            Self::Listed(_) => {
                self.reserve(LISTED_MAX);
                self.insert(peer)
            }
            Self::Hashed(table) => table.insert(peer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_new_once_in_a_list_and_in_a_table() {
        for reserved in [0, 30] {
            let mut peers = PeerSet::default();
            peers.reserve(reserved);
            for number in 0..20_u8 {
                let peer = PeerId::from([number; 16]);
                assert!(peers.insert(peer));
                assert!((0..=number).all(|number| !peers.insert(PeerId::from([number; 16]))));
                assert_eq!(peers.len(), usize::from(number) + 1);
            }
            assert!(matches!(peers, PeerSet::Hashed(_)));
        }
        let mut pair = PeerSet::default();
        pair.insert(PeerId::from([1; 16]));
        assert!(matches!(pair, PeerSet::Listed(list) if list.capacity() == 1));
    }
}

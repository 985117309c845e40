//! The hashes of tables, with seeds that are random for each process.

use std::{
    collections::{HashMap, HashSet, hash_map::RandomState},
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hasher},
    sync::LazyLock,
};

use foldhash::{SharedSeed, fast::FoldHasher};

use crate::id::PeerId;

/// The seeds of this process, from the random source of the operating system.
static SEEDS: LazyLock<(u64, SharedSeed)> = LazyLock::new(|| {
    let random = || RandomState::new().hash_one(0);
    (random(), SharedSeed::from_u64(random()))
});

/// A fast hash for the choice of a shard. It is not cryptographic: a client that chooses keys and measures times could
/// find its seed, and then keys that collide. So tables whose keys clients choose use SipHash.
#[derive(Clone, Copy, Debug, Default)]
pub struct SeededHash;

impl BuildHasher for SeededHash {
    type Hasher = FoldHasher<'static>;

    fn build_hasher(&self) -> Self::Hasher {
        let (seed, shared) = &*SEEDS;
        FoldHasher::with_seed(*seed, shared)
    }
}

/// The key of this process for [`NameHash`]. It is independent of the seeds of [`SeededHash`].
static NAME_KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The hash of the standard library, SipHash, for tables whose keys clients choose: names of rooms and members. Unlike
/// [`RandomState`] it takes no memory in a table.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NameHash;

impl BuildHasher for NameHash {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> Self::Hasher {
        NAME_KEY.build_hasher()
    }
}

/// A map with [`NameHash`].
pub(crate) type NameHashMap<K, V> = HashMap<K, V, NameHash>;

/// The hash of an id of a peer. The server makes these ids at random, so their bits are as good as a hash: no client can
/// choose ids that collide.
#[derive(Clone, Copy, Debug, Default)]
pub struct PeerIdHasher(u64);

impl Hasher for PeerIdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(ODD);
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "these are the two halves")]
    fn write_u128(&mut self, id: u128) {
        // Some bits of each half are the version and the variant of the UUID. The other half makes up for them.
        self.0 = ((id >> 64) as u64)
            .wrapping_mul(ODD)
            .wrapping_add(id as u64);
    }
}

/// Any odd number whose bits are mixed: that of the golden ratio.
const ODD: u64 = 0x9E37_79B9_7F4A_7C15;

/// A map by the ids of peers.
pub type PeerIdMap<V> = HashMap<PeerId, V, BuildHasherDefault<PeerIdHasher>>;

/// A set of ids of peers.
pub type PeerIdSet = HashSet<PeerId, BuildHasherDefault<PeerIdHasher>>;

#[cfg(test)]
mod tests {
    use super::*;

    /// A table uses the first bits of a hash and the last ones.
    #[test]
    fn hashes_of_ids_differ_in_their_first_and_last_bits() {
        let hash = |number: u64| {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&NameHash.hash_one(number).to_be_bytes());
            bytes[8..].copy_from_slice(&NameHash.hash_one(!number).to_be_bytes());
            BuildHasherDefault::<PeerIdHasher>::default().hash_one(PeerId::from_random(bytes))
        };
        let hashes: Vec<u64> = (0..4096).map(hash).collect();
        for shift in [0, 57] {
            let parts: HashSet<_> = hashes.iter().map(|hash| hash >> shift & 0x7F).collect();
            assert_eq!(parts.len(), 128);
        }
    }
}

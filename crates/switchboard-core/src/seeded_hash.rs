//! The hash of all tables whose keys clients can choose.

use std::{
    collections::{HashMap, HashSet, hash_map::RandomState},
    hash::BuildHasher,
    sync::LazyLock,
};

use foldhash::{SharedSeed, fast::FoldHasher};

/// The seeds of this process, from the random source of the operating system.
static SEEDS: LazyLock<(u64, SharedSeed)> = LazyLock::new(|| {
    let random = || RandomState::new().hash_one(0);
    (random(), SharedSeed::from_u64(random()))
});

/// A fast hash with a seed that is random for each process, so that no client can choose names that collide. It is not
/// cryptographic: a hash must not leave the process. Unlike [`RandomState`] it takes no memory in a table.
#[derive(Clone, Copy, Debug, Default)]
pub struct SeededHash;

impl BuildHasher for SeededHash {
    type Hasher = FoldHasher<'static>;

    fn build_hasher(&self) -> Self::Hasher {
        let (seed, shared) = &*SEEDS;
        FoldHasher::with_seed(*seed, shared)
    }
}

/// A map with [`SeededHash`].
pub type SeededHashMap<K, V> = HashMap<K, V, SeededHash>;

/// A set with [`SeededHash`].
pub type SeededHashSet<T> = HashSet<T, SeededHash>;

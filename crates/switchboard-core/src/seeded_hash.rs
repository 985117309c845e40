//! The hashes of tables, with seeds that are random for each process.

use std::{
    collections::{HashMap, HashSet, hash_map::RandomState},
    hash::{BuildHasher, DefaultHasher},
    sync::LazyLock,
};

use foldhash::{SharedSeed, fast::FoldHasher};

/// The seeds of this process, from the random source of the operating system.
static SEEDS: LazyLock<(u64, SharedSeed)> = LazyLock::new(|| {
    let random = || RandomState::new().hash_one(0);
    (random(), SharedSeed::from_u64(random()))
});

/// A fast hash for keys that the server makes, and for the choice of a shard. It is not cryptographic: clients that choose
/// keys and measure times could find its seed in the end, and then keys that collide. So tables of their names use SipHash.
/// Unlike [`RandomState`] it takes no memory in a table.
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

/// A map with [`SeededHash`].
pub type SeededHashMap<K, V> = HashMap<K, V, SeededHash>;

/// A set with [`SeededHash`].
pub type SeededHashSet<T> = HashSet<T, SeededHash>;

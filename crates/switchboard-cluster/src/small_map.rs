//! A sorted map that takes little memory for few entries.

use std::collections::BTreeMap;

/// Entries up to which the map is a list. A `BTreeMap` allocates memory for eleven entries with its first one.
const LIST_MAX: usize = 4;

/// A map in the order of its keys. A node has a replica of many logs, and most logs have one or two members.
#[derive(Clone, Debug)]
pub(crate) enum SmallMap<K, V> {
    /// Sorted by key.
    List(Vec<(K, V)>),
    /// A map that has had more than [`LIST_MAX`] entries.
    Tree(BTreeMap<K, V>),
}

impl<K: Ord, V> SmallMap<K, V> {
    pub(crate) fn new() -> Self {
        Self::List(Vec::new())
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::List(list) => list.len(),
            Self::Tree(tree) => tree.len(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        match self {
            Self::List(list) => {
                let found = list.iter().find(|(other, _)| other == key);
                found.map(|(_, value)| value)
            }
            Self::Tree(tree) => tree.get(key),
        }
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        match self {
            Self::List(list) => {
                let found = list.iter_mut().find(|(other, _)| other == key);
                found.map(|(_, value)| value)
            }
            Self::Tree(tree) => tree.get_mut(key),
        }
    }

    /// Inserts an entry. Returns the value that it replaces.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        if let Some(present) = self.get_mut(&key) {
            return Some(std::mem::replace(present, value));
        }
        match self {
            Self::List(list) if list.len() < LIST_MAX => {
                let index = list.partition_point(|(other, _)| *other < key);
                list.reserve_exact(1);
                list.insert(index, (key, value));
            }
            Self::List(list) => {
                let all = std::mem::take(list).into_iter().chain([(key, value)]);
                *self = Self::Tree(all.collect());
            }
            Self::Tree(tree) => drop(tree.insert(key, value)),
        }
        None
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        match self {
            Self::List(list) => {
                let index = list.iter().position(|(other, _)| other == key)?;
                Some(list.remove(index).1)
            }
            Self::Tree(tree) => tree.remove(key),
        }
    }

    /// The entries, in the order of their keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let (list, tree) = match self {
            Self::List(list) => (list.as_slice(), None),
            Self::Tree(tree) => (&[][..], Some(tree)),
        };
        let list = list.iter().map(|(key, value)| (key, value));
        list.chain(tree.into_iter().flatten())
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_same(map: &SmallMap<u8, u32>, reference: &BTreeMap<u8, u32>) -> bool {
        map.iter().eq(reference)
            && map.keys().eq(reference.keys())
            && map.values().eq(reference.values())
            && map.len() == reference.len()
            && map.is_empty() == reference.is_empty()
            && (0..16).all(|key| map.get(&key) == reference.get(&key))
    }

    #[test]
    fn small_and_large_maps_behave_as_a_btree_map() {
        for keys in [3, 12] {
            let mut map = SmallMap::new();
            let mut reference = BTreeMap::new();
            let mut random = 1_u32;
            for step in 0..2000 {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let key = u8::try_from((random >> 16) % keys).expect("small");
                if random >> 31 == 0 {
                    assert_eq!(map.insert(key, step), reference.insert(key, step));
                } else {
                    assert_eq!(map.remove(&key), reference.remove(&key));
                }
                assert!(is_same(&map, &reference), "step {step}");
            }
            assert_eq!(matches!(map, SmallMap::List(_)), keys == 3);
        }
    }
}

//! A timer queue with one deadline per key, earliest first.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// The deadlines, indexed by time and by key.
#[derive(Debug)]
pub(crate) struct Deadlines<K> {
    by_time: BTreeSet<(Instant, K)>,
    by_key: BTreeMap<K, Instant>,
}

impl<K> Default for Deadlines<K> {
    fn default() -> Self {
        Self {
            by_time: BTreeSet::new(),
            by_key: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Clone> Deadlines<K> {
    /// Sets the deadline of `key` to `now + after`, replacing an earlier one. If the sum overflows, there is no
    /// deadline.
    pub(crate) fn set(&mut self, key: K, now: Instant, after: Duration) {
        self.clear(&key);
        if let Some(at) = now.checked_add(after) {
            self.by_time.insert((at, key.clone()));
            self.by_key.insert(key, at);
        }
    }

    pub(crate) fn clear(&mut self, key: &K) {
        if let Some(at) = self.by_key.remove(key) {
            self.by_time.remove(&(at, key.clone()));
        }
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Removes and returns the key with the earliest deadline, if that is not after `now`.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<K> {
        self.next().filter(|at| *at <= now)?;
        self.pop()
    }

    /// Removes and returns the key with the earliest deadline.
    pub(crate) fn pop(&mut self) -> Option<K> {
        let (_, key) = self.by_time.pop_first()?;
        self.by_key.remove(&key);
        Some(key)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_time.is_empty() && self.by_key.is_empty()
    }
}

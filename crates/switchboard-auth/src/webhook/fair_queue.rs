//! A bounded and fair queue of requests to a service: an address or a room whose requests are slow delays no other one.

use std::collections::{BTreeMap, VecDeque};

/// Requests of one key that may wait.
const WAITING_PER_KEY_MAX: usize = 32;

/// Requests of all keys that may wait.
const WAITING_MAX: usize = 4096;

/// A request that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueTicket(u64);

/// The result of [`FairQueue::start`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartResult {
    /// The request may be sent. It ends with [`FairQueue::finish`].
    Started,
    /// The request waits until [`FairQueue::finish`] or [`FairQueue::cancel`] returns its ticket.
    Waiting(QueueTicket),
    /// Too many requests wait.
    Full,
}

/// The requests of one key.
#[derive(Debug, Default)]
struct Share {
    running: usize,
    waiting: VecDeque<QueueTicket>,
}

/// Limits the concurrent requests to a service. A key has at most a quarter of them, and keys take turns.
#[derive(Debug)]
pub struct FairQueue<K> {
    concurrency: usize,
    running: usize,
    waiting: usize,
    shares: BTreeMap<K, Share>,
    /// The keys with waiting requests, in the order of their turns.
    turns: VecDeque<K>,
    last_ticket: u64,
}

impl<K: Ord + Clone> FairQueue<K> {
    /// A queue for this number of concurrent requests, at least one.
    #[must_use]
    pub fn new(concurrency: usize) -> Self {
        Self {
            concurrency: concurrency.max(1),
            running: 0,
            waiting: 0,
            shares: BTreeMap::new(),
            turns: VecDeque::new(),
            last_ticket: 0,
        }
    }

    /// The requests that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Starts a request of a key, or lets it wait.
    pub fn start(&mut self, key: &K) -> StartResult {
        let share = self.shares.entry(key.clone()).or_default();
        let running_max = (self.concurrency / 4).max(1);
        let is_alone = share.waiting.is_empty();
        if self.running < self.concurrency && share.running < running_max && is_alone {
            share.running += 1;
            self.running += 1;
            return StartResult::Started;
        }
        if share.waiting.len() >= WAITING_PER_KEY_MAX || self.waiting >= WAITING_MAX {
            self.forget_idle(key);
            return StartResult::Full;
        }
        self.last_ticket += 1;
        let ticket = QueueTicket(self.last_ticket);
        share.waiting.push_back(ticket);
        self.waiting += 1;
        if is_alone {
            self.turns.push_back(key.clone());
        }
        StartResult::Waiting(ticket)
    }

    /// Ends a request that was started. Returns the ticket of the request that is started in its place.
    pub fn finish(&mut self, key: &K) -> Option<QueueTicket> {
        if let Some(share) = self.shares.get_mut(key) {
            share.running = share.running.saturating_sub(1);
            self.running = self.running.saturating_sub(1);
        }
        self.forget_idle(key);
        self.start_next()
    }

    /// Removes a request that waits.
    pub fn cancel(&mut self, key: &K, ticket: QueueTicket) {
        if let Some(share) = self.shares.get_mut(key) {
            let before = share.waiting.len();
            share.waiting.retain(|waiting| *waiting != ticket);
            self.waiting -= before - share.waiting.len();
            if share.waiting.is_empty() {
                self.turns.retain(|turn| turn != key);
            }
        }
        self.forget_idle(key);
    }

    /// Starts a request of the first key in turn that has not used up its share.
    fn start_next(&mut self) -> Option<QueueTicket> {
        let running_max = (self.concurrency / 4).max(1);
        let shares = &self.shares;
        let is_free = |key: &K| {
            shares
                .get(key)
                .is_some_and(|share| share.running < running_max)
        };
        let index = self.turns.iter().position(is_free)?;
        let key = self.turns.remove(index)?;
        let share = self.shares.get_mut(&key)?;
        let ticket = share.waiting.pop_front()?;
        share.running += 1;
        let has_more = !share.waiting.is_empty();
        self.running += 1;
        self.waiting -= 1;
        if has_more {
            self.turns.push_back(key);
        }
        Some(ticket)
    }

    fn forget_idle(&mut self, key: &K) {
        let share = self.shares.get(key);
        if share.is_some_and(|share| share.running == 0 && share.waiting.is_empty()) {
            self.shares.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(result: StartResult) -> QueueTicket {
        match result {
            StartResult::Waiting(ticket) => ticket,
            StartResult::Started | StartResult::Full => panic!("{result:?}"),
        }
    }

    #[test]
    fn one_key_never_has_more_than_a_quarter() {
        let mut queue = FairQueue::new(8);
        assert_eq!(queue.start(&"slow"), StartResult::Started);
        assert_eq!(queue.start(&"slow"), StartResult::Started);
        for _ in 0..WAITING_PER_KEY_MAX {
            ticket(queue.start(&"slow"));
        }
        assert_eq!(queue.start(&"slow"), StartResult::Full);
        for other in ["a", "b", "c"] {
            assert_eq!(queue.start(&other), StartResult::Started, "{other}");
        }
        assert!(queue.finish(&"slow").is_some(), "its next one follows");
    }

    #[test]
    fn keys_take_turns() {
        let mut queue = FairQueue::new(1);
        assert_eq!(queue.start(&"a"), StartResult::Started);
        let [a1, a2, a3] = [(); 3].map(|()| ticket(queue.start(&"a")));
        let [b1, b2] = [(); 2].map(|()| ticket(queue.start(&"b")));
        let c1 = ticket(queue.start(&"c"));
        let mut order = Vec::new();
        let mut running = "a";
        while let Some(next) = queue.finish(&running) {
            order.push(next);
            running = match next {
                next if [a1, a2, a3].contains(&next) => "a",
                next if [b1, b2].contains(&next) => "b",
                _ => "c",
            };
        }
        assert_eq!(order, [a1, b1, c1, a2, b2, a3]);
        assert_eq!((queue.waiting(), queue.shares.len()), (0, 0));
    }

    #[test]
    fn cancelled_request_gives_its_turn_to_others() {
        let mut queue = FairQueue::new(1);
        assert_eq!(queue.start(&1), StartResult::Started);
        let (second, third) = (ticket(queue.start(&2)), ticket(queue.start(&3)));
        queue.cancel(&2, second);
        assert_eq!(queue.finish(&1), Some(third));
        assert_eq!(queue.finish(&3), None);
        assert!(queue.shares.is_empty());
    }

    #[test]
    fn all_keys_together_are_bounded() {
        let mut queue = FairQueue::new(1);
        let results: Vec<_> = (0..WAITING_MAX + 2).map(|key| queue.start(&key)).collect();
        assert_eq!(results.last(), Some(&StartResult::Full));
        assert_eq!(queue.waiting(), WAITING_MAX);
        assert_eq!(queue.shares.len(), WAITING_MAX + 1);
    }
}

//! The bound on the memory of the outboxes of all clients together.
//!
//! A short queue costs no atomic operation. A longer one is listed, and its size is an atomic that others can read. If a
//! queue does not fit, the largest one ends in its favor: short queues are untouched.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;

/// The first bytes of each queue, which are not counted. Most queues never exceed them. The number of connections
/// bounds their total.
pub const UNCOUNTED_BYTES: usize = 64 * 1024;

/// The counted bytes of a queue that has ended, so that its memory is free for others.
const ENDED: usize = usize::MAX;

/// The connection behind a queue.
pub trait QueueOwner: fmt::Debug + Send + Sync {
    /// Ends the connection, because its queue was the largest one when the memory was used up. The caller holds no lock of
    /// a queue.
    fn end_for_memory(&self);
}

/// The bytes in all queues beyond the first 64 KiB of each, and their bound.
#[derive(Debug, Default)]
pub struct QueueMemory {
    used: AtomicUsize,
    /// 0: no limit.
    bytes_max: AtomicUsize,
    /// The queues that are or were longer than [`UNCOUNTED_BYTES`], by their numbers.
    long: Mutex<BTreeMap<u64, Arc<LongQueue>>>,
    next_number: AtomicU64,
    /// The owners of queues that end.
    ending: Mutex<Vec<Weak<dyn QueueOwner>>>,
}

/// A queue in the list.
#[derive(Debug, Default)]
struct LongQueue {
    number: u64,
    /// The counted bytes, or [`ENDED`].
    counted: AtomicUsize,
    owner: OnceLock<Weak<dyn QueueOwner>>,
}

/// The share of one queue in a [`QueueMemory`].
#[derive(Debug, Default)]
pub struct QueueUsage(Option<Arc<LongQueue>>);

impl QueueMemory {
    /// Replaces the bound, as in [`QueueMemory::new`]. It holds when the next long queue grows.
    pub fn set_bytes_max(&self, bytes_max: usize) {
        self.bytes_max.store(bytes_max, Ordering::Relaxed);
    }

    /// A bound of `bytes_max` bytes (0: no limit).
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max: AtomicUsize::new(bytes_max),
            ..Self::default()
        }
    }

    /// The counted bytes of all queues.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether [`QueueMemory::end_largest`] has connections to end.
    pub(crate) fn has_ending(&self) -> bool {
        !self.ending.lock().is_empty()
    }

    /// Ends the connections whose queues had to give way. The caller must hold no lock of a queue. Returns their number.
    pub fn end_largest(&self) -> usize {
        let ending = std::mem::take(&mut *self.ending.lock());
        let owners = ending.iter().filter_map(Weak::upgrade);
        owners.inspect(|owner| owner.end_for_memory()).count()
    }

    /// Ends the queue with the most counted bytes, if it has at least `bytes_min`. Returns whether there is one.
    fn end_one(&self, own: &Arc<LongQueue>, bytes_min: usize) -> bool {
        let long = self.long.lock();
        let others = long.values().filter(|queue| !Arc::ptr_eq(queue, own));
        let sized = others.map(|queue| (queue.counted.load(Ordering::Relaxed), queue));
        let can_end = |(bytes, queue): &(usize, &Arc<LongQueue>)| {
            *bytes != ENDED && *bytes >= bytes_min && queue.owner.get().is_some()
        };
        let Some((_, largest)) = sized.filter(can_end).max_by_key(|(bytes, _)| *bytes) else {
            return false;
        };
        let freed = largest.counted.swap(ENDED, Ordering::Relaxed);
        if freed != ENDED {
            self.used.fetch_sub(freed, Ordering::Relaxed);
            self.ending.lock().extend(largest.owner.get().cloned());
        }
        true
    }

    fn add(&self) -> Arc<LongQueue> {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let queue = Arc::new(LongQueue {
            number,
            ..LongQueue::default()
        });
        self.long.lock().insert(number, queue.clone());
        queue
    }
}

impl QueueUsage {
    /// Changes the size of the queue from `before` to `after` bytes. Returns false, and changes nothing, if the memory is
    /// used up and the queue is the largest one, or if it has ended. After a longer queue has grown, the caller calls
    /// [`QueueMemory::end_largest`] when it holds no lock.
    #[inline]
    pub fn resize(&mut self, memory: &QueueMemory, before: usize, after: usize) -> bool {
        before.max(after) <= UNCOUNTED_BYTES || self.resize_counted(memory, before, after)
    }

    fn resize_counted(&mut self, memory: &QueueMemory, before: usize, after: usize) -> bool {
        let counted = |bytes: usize| bytes.saturating_sub(UNCOUNTED_BYTES);
        let (before, after) = (counted(before), counted(after));
        let queue = &*self.0.get_or_insert_with(|| memory.add());
        let change = || {
            let (ok, failed) = (Ordering::Relaxed, Ordering::Relaxed);
            queue
                .counted
                .compare_exchange(before, after, ok, failed)
                .is_ok()
        };
        if after <= before {
            if change() {
                memory.used.fetch_sub(before - after, Ordering::Relaxed);
            }
            return true;
        }
        let more = after - before;
        memory.used.fetch_add(more, Ordering::Relaxed);
        // Each pass ends a queue that frees at least as much as is needed.
        let bytes_max = memory.bytes_max.load(Ordering::Relaxed);
        while bytes_max != 0 && memory.used() > bytes_max {
            if !memory.end_one(queue, after) {
                memory.used.fetch_sub(more, Ordering::Relaxed);
                return false;
            }
        }
        let has_changed = change();
        if !has_changed {
            memory.used.fetch_sub(more, Ordering::Relaxed);
        }
        has_changed
    }

    /// Whether the queue needs an owner, because it is long now.
    #[must_use]
    pub fn needs_owner(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|queue| queue.owner.get().is_none())
    }

    /// Sets the connection that ends if the queue must give way.
    pub fn set_owner(&self, owner: Weak<dyn QueueOwner>) {
        if let Some(queue) = &self.0 {
            drop(queue.owner.set(owner));
        }
    }

    /// Frees the memory of the queue. Its size is 0 bytes then.
    pub fn release(&mut self, memory: &QueueMemory) {
        let Some(queue) = self.0.take() else { return };
        memory.long.lock().remove(&queue.number);
        let freed = queue.counted.swap(ENDED, Ordering::Relaxed);
        if freed != ENDED {
            memory.used.fetch_sub(freed, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default)]
    struct Owner(AtomicUsize);

    impl QueueOwner for Owner {
        fn end_for_memory(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    struct CountedQueue {
        memory: Arc<QueueMemory>,
        usage: QueueUsage,
        bytes: usize,
        owner: Arc<Owner>,
    }

    impl CountedQueue {
        fn new(memory: &Arc<QueueMemory>, counted: usize) -> Self {
            let mut queue = Self {
                memory: memory.clone(),
                usage: QueueUsage::default(),
                bytes: 0,
                owner: Arc::default(),
            };
            assert!(queue.grow(UNCOUNTED_BYTES + counted));
            queue
        }

        fn grow(&mut self, bytes: usize) -> bool {
            let after = self.bytes + bytes;
            let fits = self.usage.resize(&self.memory, self.bytes, after);
            self.bytes = if fits { after } else { self.bytes };
            if self.usage.needs_owner() {
                let owner: Weak<Owner> = Arc::downgrade(&self.owner);
                self.usage.set_owner(owner);
            }
            self.memory.end_largest();
            fits
        }

        fn has_ended(&self) -> bool {
            self.owner.0.load(Ordering::Relaxed) != 0
        }
    }

    #[test]
    fn the_largest_queue_ends_even_if_it_is_idle_and_short_ones_are_untouched() {
        let memory = Arc::new(QueueMemory::new(1000));
        let sizes = [100, 500, 200, 200];
        let [mut small, largest, middle, other] =
            sizes.map(|bytes| CountedQueue::new(&memory, bytes));
        let short: Vec<_> = (0..100).map(|_| CountedQueue::new(&memory, 0)).collect();
        assert_eq!(memory.used(), 1000);
        assert!(small.grow(1));
        assert!(largest.has_ended(), "it has not grown");
        assert_eq!(memory.used(), 501);
        for queue in short.iter().chain([&small, &middle, &other]) {
            assert!(!queue.has_ended());
        }
    }

    #[test]
    fn a_queue_that_is_the_largest_itself_does_not_fit() {
        let memory = Arc::new(QueueMemory::new(1000));
        let [mut largest, other] = [600, 400].map(|bytes| CountedQueue::new(&memory, bytes));
        assert!(!largest.grow(1));
        assert!(!other.has_ended());
        assert_eq!(memory.used(), 1000, "nothing has changed");
        largest.usage.release(&memory);
        assert_eq!(memory.used(), 400);
    }

    #[test]
    fn a_queue_that_has_ended_grows_no_more_and_is_counted_once() {
        let memory = Arc::new(QueueMemory::new(1000));
        let [mut ended, mut other] = [600, 400].map(|bytes| CountedQueue::new(&memory, bytes));
        assert!(other.grow(100) && ended.has_ended());
        assert_eq!(memory.used(), 500);
        assert!(!ended.grow(1));
        assert!(ended.usage.resize(&memory, ended.bytes, 0));
        ended.usage.release(&memory);
        assert_eq!(memory.used(), 500);
        other.usage.release(&memory);
        assert_eq!(memory.used(), 0);
        assert!(memory.long.lock().is_empty());
    }

    #[test]
    fn many_long_queues_leave_room_for_a_short_one() {
        let memory = Arc::new(QueueMemory::new(1 << 30));
        let mut queues: Vec<_> = (0..600)
            .map(|_| CountedQueue::new(&memory, 2 << 20))
            .collect();
        assert!(memory.used() <= 1 << 30);
        let ended = queues.iter().filter(|queue| queue.has_ended()).count();
        assert!((80..100).contains(&ended), "{ended}");
        assert!(CountedQueue::new(&memory, 1).grow(8192));
        queues
            .iter_mut()
            .for_each(|queue| queue.usage.release(&memory));
    }

    #[test]
    fn a_bound_of_zero_is_no_limit() {
        let memory = QueueMemory::new(0);
        assert!(QueueUsage::default().resize(&memory, 0, 1 << 50));
    }

    #[test]
    fn counts_are_exact_when_threads_resize_and_end_queues() {
        let memory = Arc::new(QueueMemory::new(10_000));
        std::thread::scope(|scope| {
            for thread in 0..4_usize {
                let memory = &memory;
                scope.spawn(move || {
                    for round in 0..2000 {
                        let mut queue = CountedQueue {
                            memory: memory.clone(),
                            usage: QueueUsage::default(),
                            bytes: 0,
                            owner: Arc::default(),
                        };
                        let mut fits = queue.grow(UNCOUNTED_BYTES);
                        while fits && queue.bytes < UNCOUNTED_BYTES + 6000 {
                            fits = queue.grow(1 + (round * 7 + thread * 131) % 900);
                        }
                        queue.usage.release(memory);
                    }
                });
            }
        });
        assert_eq!(memory.used(), 0);
        assert!(memory.long.lock().is_empty() && memory.ending.lock().len() <= 4);
    }
}

//! The bound on the memory of the outboxes of all clients together.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The first bytes of each queue, which are not counted. Most queues never exceed them. The number of connections
/// bounds their total.
pub(crate) const UNCOUNTED_BYTES: usize = 64 * 1024;

/// One queue may use the free memory divided by this number. The less memory is free, the less a queue may grow, so
/// some memory always remains for a short queue even if many clients do not read.
const SHARE_OF_FREE: usize = 8;

/// The bytes queued in all outboxes beyond the first 64 KiB of each, and their bound.
#[derive(Debug, Default)]
pub struct QueueMemory {
    used: AtomicUsize,
    /// 0: no limit.
    bytes_max: usize,
}

impl QueueMemory {
    /// A bound of `bytes_max` bytes (0: no limit).
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            used: AtomicUsize::new(0),
            bytes_max,
        }
    }

    /// Changes the size of a queue from `before` to `after` bytes. Returns false, and changes nothing, if the
    /// queue would exceed its share of the free memory.
    #[inline]
    pub(crate) fn resize(&self, before: usize, after: usize) -> bool {
        before.max(after) <= UNCOUNTED_BYTES || self.resize_counted(before, after)
    }

    /// Does the same for a queue that is counted before or after.
    fn resize_counted(&self, before: usize, after: usize) -> bool {
        let counted = |bytes: usize| bytes.saturating_sub(UNCOUNTED_BYTES);
        let (before, after) = (counted(before), counted(after));
        if after <= before {
            if after < before {
                self.used.fetch_sub(before - after, Ordering::Relaxed);
            }
            return true;
        }
        let more = after - before;
        let used = self.used.fetch_add(more, Ordering::Relaxed);
        let used_by_others = used.saturating_sub(before);
        let free = self.bytes_max.saturating_sub(used_by_others);
        let fits = self.bytes_max == 0 || after <= free / SHARE_OF_FREE;
        if !fits {
            self.used.fetch_sub(more, Ordering::Relaxed);
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_may_use_an_eighth_of_the_free_memory_beyond_its_uncounted_bytes() {
        let memory = QueueMemory::new(8000);
        assert!(memory.resize(0, UNCOUNTED_BYTES), "uncounted");
        assert!(!memory.resize(UNCOUNTED_BYTES, UNCOUNTED_BYTES + 1001));
        assert!(memory.resize(UNCOUNTED_BYTES, UNCOUNTED_BYTES + 1000));
        assert!(!memory.resize(0, UNCOUNTED_BYTES + 876), "7,000 are free");
        assert!(memory.resize(0, UNCOUNTED_BYTES + 875));
        assert!(memory.resize(UNCOUNTED_BYTES + 1000, 0));
        assert!(memory.resize(UNCOUNTED_BYTES + 875, 0));
        assert_eq!(memory.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn many_long_queues_leave_room_for_a_short_one() {
        let memory = QueueMemory::new(1 << 30);
        for _ in 0..10_000 {
            let mut bytes = 0;
            while bytes < 20 << 20 && memory.resize(bytes, bytes + 16_384) {
                bytes += 16_384;
            }
        }
        assert!(memory.resize(0, UNCOUNTED_BYTES + 8192));
        assert!(memory.used.load(Ordering::Relaxed) < 1 << 30);
    }

    #[test]
    fn a_bound_of_zero_is_no_limit() {
        assert!(QueueMemory::new(0).resize(0, usize::MAX));
    }
}

//! The memory that waits for all clients of a server together.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that each connection may have waiting without being counted: the usual queue costs nothing
/// here, and all of them together are bounded by the number of connections.
pub(crate) const UNCOUNTED_BYTES: usize = 64 * 1024;

/// The bytes that wait in all outboxes beyond [`UNCOUNTED_BYTES`] each, and their bound.
#[derive(Debug, Default)]
pub struct QueueMemory {
    used: AtomicUsize,
    /// 0: no limit.
    bytes_max: usize,
}

impl QueueMemory {
    /// Memory for so many bytes (0: no limit).
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            used: AtomicUsize::new(0),
            bytes_max,
        }
    }

    /// Changes a queue from `before` to `after` bytes. Returns false, and changes nothing, if there is not
    /// so much memory.
    pub(crate) fn resize(&self, before: usize, after: usize) -> bool {
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
        let fits = self.bytes_max == 0 || used.saturating_add(more) <= self.bytes_max;
        if !fits {
            self.used.fetch_sub(more, Ordering::Relaxed);
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARE: usize = UNCOUNTED_BYTES;

    #[test]
    fn bytes_beyond_the_uncounted_ones_are_bounded_together() {
        let memory = QueueMemory::new(1000);
        assert!(memory.resize(0, SHARE), "one queue");
        assert!(memory.resize(0, SHARE + 600), "another queue");
        assert!(!memory.resize(SHARE, SHARE + 401));
        assert!(memory.resize(SHARE, SHARE + 400));
        assert!(memory.resize(SHARE + 600, 0));
        assert!(memory.resize(SHARE + 400, SHARE + 1000));
        assert!(memory.resize(SHARE + 1000, 0));
        assert_eq!(memory.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_bound_of_0_is_none() {
        assert!(QueueMemory::new(0).resize(0, usize::MAX));
    }
}

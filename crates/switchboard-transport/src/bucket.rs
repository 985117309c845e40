//! How much a client may send: a token bucket.

use std::time::{Duration, Instant};

/// Fills at a steady rate up to its burst; each frame takes one, each byte of audio too.
#[derive(Debug)]
pub struct Bucket {
    /// The time at which the bucket is full again, if nothing is taken. GCRA: one number is all its state.
    full_at: Instant,
    per_one: Duration,
    burst: Duration,
}

impl Bucket {
    /// A full bucket, or none where either number is 0.
    #[must_use]
    pub fn new(per_second: u32, burst: u32, now: Instant) -> Option<Self> {
        if per_second == 0 || burst == 0 {
            return None;
        }
        let per_one = Duration::from_secs(1) / per_second;
        Some(Self {
            full_at: now,
            per_one,
            burst: per_one * burst,
        })
    }

    /// Takes so many, if they are there.
    pub fn take(&mut self, count: u32, now: Instant) -> bool {
        let full_at = self.full_at.max(now) + self.per_one.saturating_mul(count);
        if full_at.duration_since(now) > self.burst {
            return false;
        }
        self.full_at = full_at;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lets_a_burst_through_and_then_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(100, 400, start).expect("limited");
        assert_eq!((0..1000).filter(|_| bucket.take(1, start)).count(), 400);
        let later = start + Duration::from_secs(1);
        assert_eq!((0..1000).filter(|_| bucket.take(1, later)).count(), 100);
        let much_later = start + Duration::from_secs(60);
        assert_eq!(
            (0..1000).filter(|_| bucket.take(1, much_later)).count(),
            400
        );
    }

    #[test]
    fn zero_is_no_limit() {
        assert!(Bucket::new(0, 400, Instant::now()).is_none());
        assert!(Bucket::new(100, 0, Instant::now()).is_none());
    }
}

//! A token bucket: a limit on a rate, with a burst.

use std::time::{Duration, Instant};

const NANOS_PER_SEC: u64 = 1_000_000_000;

/// A token bucket that refills at a steady rate up to its burst. It may be overdrawn: the debt is the
/// time until the balance is zero again.
#[derive(Debug)]
pub struct TokenBucket {
    /// The time at which the bucket is full if no more tokens are taken. This is the only changing state, as in the
    /// generic cell rate algorithm (GCRA).
    full_at: Instant,
    per_second: u32,
    /// The time that an empty bucket takes to fill.
    burst_nanos: u64,
}

impl TokenBucket {
    /// A full bucket. `None` if either number is 0, which means no limit.
    #[must_use]
    pub fn new(per_second: u32, burst: u32, now: Instant) -> Option<Self> {
        if per_second == 0 || burst == 0 {
            return None;
        }
        let mut bucket = Self {
            full_at: now,
            per_second,
            burst_nanos: 0,
        };
        bucket.grow(burst);
        Some(bucket)
    }

    /// Takes `count` tokens. Returns false, and takes none, if there are fewer.
    pub fn try_take(&mut self, count: u32, now: Instant) -> bool {
        let full_at = self.full_at.max(now) + self.time_of(u64::from(count));
        if full_at.duration_since(now) > self.burst() {
            return false;
        }
        self.full_at = full_at;
        true
    }

    /// Takes `count` tokens even if there are fewer. Returns the time at which the debt is paid; `None` if
    /// there is no debt.
    pub fn charge(&mut self, count: u64, now: Instant) -> Option<Instant> {
        self.full_at = self.full_at.max(now) + self.time_of(count);
        self.debt(now)
    }

    /// The time at which the bucket is full again.
    pub fn full_at(&self) -> Instant {
        self.full_at
    }

    /// Continues another bucket, which is full again at `full_at`.
    pub fn continue_from(&mut self, full_at: Instant) {
        self.full_at = full_at;
    }

    /// Cancels a debt. A bucket that had one is empty then.
    pub fn forgive_debt(&mut self, now: Instant) {
        self.full_at = self.full_at.min(now + self.burst());
    }

    /// The time at which the debt is paid; `None` if there is no debt.
    pub fn debt(&self, now: Instant) -> Option<Instant> {
        let in_debt = self.full_at.saturating_duration_since(now) > self.burst();
        in_debt.then(|| self.full_at - self.burst())
    }

    /// Raises the burst by `count` tokens, which are available at once.
    pub fn grow(&mut self, count: u32) {
        if count != 0 {
            let nanos = u64::from(count) * NANOS_PER_SEC / u64::from(self.per_second);
            self.burst_nanos = self.burst_nanos.saturating_add(nanos);
        }
    }

    fn burst(&self) -> Duration {
        Duration::from_nanos(self.burst_nanos)
    }

    /// The time in which `count` tokens are refilled.
    fn time_of(&self, count: u64) -> Duration {
        let rate = u64::from(self.per_second);
        match count.checked_mul(NANOS_PER_SEC) {
            Some(nanos) => Duration::from_nanos(nanos / rate),
            None => Duration::from_secs(count / rate),
        }
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test needs any instant to count from"
)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_and_then_the_rate() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(100, 400, start).expect("limited");
        assert_eq!((0..1000).filter(|_| bucket.try_take(1, start)).count(), 400);
        let later = start + Duration::from_secs(1);
        assert_eq!((0..1000).filter(|_| bucket.try_take(1, later)).count(), 100);
        let much_later = start + Duration::from_secs(60);
        assert_eq!(
            (0..1000).filter(|_| bucket.try_take(1, much_later)).count(),
            400
        );
    }

    #[test]
    fn zero_is_no_limit() {
        assert!(TokenBucket::new(0, 400, Instant::now()).is_none());
        assert!(TokenBucket::new(100, 0, Instant::now()).is_none());
    }

    #[test]
    fn a_debt_is_paid_at_the_rate() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(100, 400, start).expect("limited");
        assert_eq!(bucket.charge(400, start), None, "the burst is no debt");
        let paid = bucket.charge(150, start).expect("a debt");
        assert_eq!(paid - start, Duration::from_millis(1500));
        assert_eq!(bucket.charge(0, paid), None);
        assert!(bucket.charge(1, paid).is_some());
    }

    #[test]
    fn a_larger_burst_can_be_used_at_once() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(100, 400, start).expect("limited");
        assert_eq!(bucket.charge(400, start), None);
        bucket.grow(32);
        assert_eq!(bucket.charge(32, start), None);
        assert!(bucket.charge(1, start).is_some());
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(1, u32::MAX, start).expect("limited");
        assert!(bucket.charge(u64::from(u32::MAX) * 2, start).is_some());
        bucket.grow(u32::MAX);
    }
}

//! A circuit breaker: it stops the requests to a service that does not answer, and probes it with one at a time.

use std::time::{Duration, Instant};

/// Consecutive failures after which the breaker opens.
const FAILURES_TO_OPEN: u32 = 5;

/// The time until the first probe.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The longest time until the next probe. Every failed probe doubles the time up to it.
const WAIT_MAX: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BreakerState {
    /// Requests are sent.
    Closed { failures: u32 },
    /// No request is sent before this time.
    Open { until: Instant, wait: Duration },
    /// One request probes the service.
    HalfOpen { wait: Duration },
}

/// The permission to send one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// A request like any other.
    Ordinary,
    /// The request that probes the service.
    Probe,
}

/// A change of the breaker, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerChange {
    /// No requests are sent for some time.
    Opened,
    /// Requests are sent again.
    Closed,
}

/// Stops the requests to a service after five consecutive failures.
#[derive(Debug)]
pub struct Breaker(BreakerState);

impl Default for Breaker {
    fn default() -> Self {
        Self(BreakerState::Closed { failures: 0 })
    }
}

impl Breaker {
    /// Whether requests are stopped.
    #[must_use]
    pub fn is_open(&self) -> bool {
        match self.0 {
            BreakerState::Closed { .. } => false,
            BreakerState::Open { .. } | BreakerState::HalfOpen { .. } => true,
        }
    }

    /// Begins a request.
    ///
    /// # Errors
    /// If requests are stopped: the time after which another attempt is useful.
    pub fn try_begin(&mut self, now: Instant) -> Result<Attempt, Duration> {
        match self.0 {
            BreakerState::Closed { .. } => Ok(Attempt::Ordinary),
            BreakerState::Open { until, wait } if until <= now => {
                self.0 = BreakerState::HalfOpen { wait };
                Ok(Attempt::Probe)
            }
            BreakerState::Open { until, .. } => Err(until - now),
            BreakerState::HalfOpen { .. } => Err(FIRST_WAIT),
        }
    }

    /// Records the end of a request. An ordinary request that ends while the breaker is open changes nothing: it began
    /// before.
    pub fn end(
        &mut self,
        attempt: Attempt,
        is_success: bool,
        now: Instant,
    ) -> Option<BreakerChange> {
        match (self.0, attempt, is_success) {
            (BreakerState::Closed { .. }, Attempt::Ordinary | Attempt::Probe, true) => {
                self.0 = BreakerState::Closed { failures: 0 };
                None
            }
            (BreakerState::Closed { failures }, Attempt::Ordinary | Attempt::Probe, false) => {
                let failures = failures + 1;
                self.0 = BreakerState::Closed { failures };
                (failures >= FAILURES_TO_OPEN).then(|| {
                    self.open(FIRST_WAIT, now);
                    BreakerChange::Opened
                })
            }
            (BreakerState::HalfOpen { .. }, Attempt::Probe, true) => {
                *self = Self::default();
                Some(BreakerChange::Closed)
            }
            (BreakerState::HalfOpen { wait }, Attempt::Probe, false) => {
                self.open((wait * 2).min(WAIT_MAX), now);
                None
            }
            (BreakerState::Open { .. }, Attempt::Ordinary | Attempt::Probe, _)
            | (BreakerState::HalfOpen { .. }, Attempt::Ordinary, _) => None,
        }
    }

    /// Records that a request is cancelled before its end. The next one probes the service in its place.
    pub fn cancel(&mut self, attempt: Attempt, now: Instant) {
        if let (BreakerState::HalfOpen { wait }, Attempt::Probe) = (self.0, attempt) {
            self.0 = BreakerState::Open { until: now, wait };
        }
    }

    fn open(&mut self, wait: Duration, now: Instant) {
        let until = now + wait;
        self.0 = BreakerState::Open { until, wait };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(
        clippy::disallowed_methods,
        reason = "a test needs any instant to count from"
    )]
    fn start() -> Instant {
        Instant::now()
    }

    fn open_breaker(now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        for count in 1..=FAILURES_TO_OPEN {
            let attempt = breaker.try_begin(now).expect("closed");
            let opened = (count == FAILURES_TO_OPEN).then_some(BreakerChange::Opened);
            assert_eq!(breaker.end(attempt, false, now), opened, "{count}");
        }
        breaker
    }

    #[test]
    fn success_resets_the_count_of_failures() {
        let (mut breaker, now) = (Breaker::default(), start());
        for _ in 0..3 {
            for _ in 1..FAILURES_TO_OPEN {
                assert_eq!(breaker.end(Attempt::Ordinary, false, now), None);
            }
            assert_eq!(breaker.end(Attempt::Ordinary, true, now), None);
        }
        assert!(!breaker.is_open());
    }

    #[test]
    fn open_breaker_lets_one_probe_through_after_its_wait() {
        let now = start();
        let mut breaker = open_breaker(now);
        assert_eq!(breaker.try_begin(now), Err(FIRST_WAIT));
        let later = now + FIRST_WAIT;
        assert_eq!(breaker.try_begin(later), Ok(Attempt::Probe));
        assert!(breaker.try_begin(later).is_err(), "one probe at a time");
        assert_eq!(
            breaker.end(Attempt::Ordinary, true, later),
            None,
            "began before"
        );
        assert!(breaker.is_open());
        let closed = breaker.end(Attempt::Probe, true, later);
        assert_eq!(closed, Some(BreakerChange::Closed));
        assert_eq!(breaker.try_begin(later), Ok(Attempt::Ordinary));
    }

    #[test]
    fn failed_probes_double_the_wait_up_to_its_maximum() {
        let mut now = start();
        let mut breaker = open_breaker(now);
        let mut waits = Vec::new();
        for _ in 0..8 {
            let wait = breaker.try_begin(now).expect_err("open");
            waits.push(wait.as_secs());
            now += wait;
            assert_eq!(breaker.try_begin(now), Ok(Attempt::Probe));
            assert_eq!(breaker.end(Attempt::Probe, false, now), None);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
    }

    #[test]
    fn cancelled_probe_is_replaced_by_the_next_request() {
        let now = start();
        let mut breaker = open_breaker(now);
        let later = now + FIRST_WAIT;
        assert_eq!(breaker.try_begin(later), Ok(Attempt::Probe));
        breaker.cancel(Attempt::Probe, later);
        assert_eq!(breaker.try_begin(later), Ok(Attempt::Probe));
    }
}

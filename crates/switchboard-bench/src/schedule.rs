//! The times at which messages are due at a fixed rate.

use std::time::{Duration, Instant};

/// Due times at equal distances. A late sender does not move them: the wait of a message that could not be sent in time is
/// part of its latency, which is the correction for coordinated omission.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    start: Instant,
    rate: f64,
    taken: u64,
}

impl Schedule {
    /// A schedule of `rate` units per second.
    pub(crate) fn new(start: Instant, rate: f64) -> Self {
        Self {
            start,
            rate,
            taken: 0,
        }
    }

    /// The time at which the next unit is due.
    pub(crate) fn next_due(&self) -> Instant {
        self.start + Duration::from_secs_f64(self.taken as f64 / self.rate)
    }

    /// Takes the next due time.
    pub(crate) fn take(&mut self) -> Instant {
        let due = self.next_due();
        self.taken += 1;
        due
    }
}

/// The time before a due time that is spent without a timer, because timers are coarser than a latency.
const SPIN: Duration = Duration::from_millis(2);

/// Waits until `due`, exactly to microseconds. Other tasks run meanwhile.
pub(crate) async fn wait_until(due: Instant) {
    while let Some(left) = due.checked_duration_since(Instant::now()) {
        if left > SPIN {
            tokio::time::sleep(left - SPIN).await;
        } else if left.is_zero() {
            return;
        } else {
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::Latencies;

    #[test]
    fn stalled_sender_does_not_move_the_due_times() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, 1_000.0);
        let due: Vec<_> = (0..4).map(|_| schedule.take() - start).collect();
        let millis = [0, 1, 2, 3].map(Duration::from_millis);
        assert_eq!(due, millis);
    }

    /// A server stalls for 100 ms while 1,000 messages per second are due. The uncorrected median would be 1 ms.
    #[test]
    fn stall_counts_for_every_message_that_was_due_in_it() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, 1_000.0);
        let mut latencies = Latencies::new();
        let stalled_until = start + Duration::from_millis(100);
        for _ in 0..100 {
            let due = schedule.take();
            latencies.record(stalled_until - due);
        }
        let summary = latencies.summary().expect("latencies");
        assert!((49_000.0..52_000.0).contains(&summary.p50), "{summary:?}");
        assert!((99_000.0..101_000.0).contains(&summary.max), "{summary:?}");
        assert_eq!(summary.count, 100);
    }
}

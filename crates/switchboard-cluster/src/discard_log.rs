//! Limits the rate of the log lines about discarded messages of other nodes.

use std::time::{Duration, Instant};

/// The shortest time between two lines.
const INTERVAL: Duration = Duration::from_secs(60);

/// The last line about discarded messages, and the discards since then.
#[derive(Debug, Default)]
pub(crate) struct DiscardLog {
    logged_at: Option<Instant>,
    count: u64,
}

impl DiscardLog {
    /// Counts a discard. Returns the number of discards since the last line if a line is to be logged now.
    pub(crate) fn note(&mut self, now: Instant) -> Option<u64> {
        self.count += 1;
        let is_due = self
            .logged_at
            .is_none_or(|at| now.saturating_duration_since(at) >= INTERVAL);
        is_due.then(|| {
            self.logged_at = Some(now);
            std::mem::take(&mut self.count)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn discards_are_logged_once_in_a_minute_with_their_number() {
        let start = Instant::now();
        let mut log = DiscardLog::default();
        assert_eq!(log.note(start), Some(1));
        for seconds in [0, 1, 59] {
            assert_eq!(log.note(start + Duration::from_secs(seconds)), None);
        }
        assert_eq!(log.note(start + INTERVAL), Some(4));
        assert_eq!(log.note(start + INTERVAL), None);
    }
}

//! Log lines about rejected frames of one connection, at most one in each interval.

use std::time::{Duration, Instant};

/// The minimum time between two lines.
const INTERVAL: Duration = Duration::from_secs(1);

/// Counts rejected frames between log lines.
#[derive(Debug, Default)]
pub(crate) struct RejectedFrames {
    last_line_at: Option<Instant>,
    waiting: Option<RejectionLine>,
}

/// The content of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RejectionLine {
    /// The error code of the last rejected frame.
    pub(crate) code: &'static str,
    /// The number of rejected frames since the last line.
    pub(crate) count: u64,
}

impl RejectedFrames {
    /// Counts a rejected frame.
    pub(crate) fn add(&mut self, code: &'static str) {
        let count = self.waiting.map_or(0, |line| line.count) + 1;
        self.waiting = Some(RejectionLine { code, count });
    }

    /// The line that may be logged at `now`, if rejected frames wait for one.
    pub(crate) fn poll_line(&mut self, now: Instant) -> Option<RejectionLine> {
        let is_early = |last: Instant| now.duration_since(last) < INTERVAL;
        if self.waiting.is_none() || self.last_line_at.is_some_and(is_early) {
            return None;
        }
        self.last_line_at = Some(now);
        self.waiting.take()
    }

    /// The line for the frames that were not logged yet, at the end of the connection.
    pub(crate) fn take_unlogged(&mut self) -> Option<RejectionLine> {
        self.waiting.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reject(log: &mut RejectedFrames, code: &'static str, now: Instant) -> Option<RejectionLine> {
        log.add(code);
        log.poll_line(now)
    }

    #[test]
    fn one_line_per_second_has_the_number_of_rejected_frames() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut log = RejectedFrames::default();
        let line = |code, count| Some(RejectionLine { code, count });
        assert_eq!(log.poll_line(start), None);
        assert_eq!(
            reject(&mut log, "invalid-frame", start),
            line("invalid-frame", 1)
        );
        for ms in 0..999 {
            assert_eq!(reject(&mut log, "invalid-frame", after(ms)), None);
        }
        assert_eq!(
            reject(&mut log, "unknown-type", after(1000)),
            line("unknown-type", 1000)
        );
        assert_eq!(log.poll_line(after(5000)), None, "no rejected frame waits");
    }

    #[test]
    fn frames_within_the_interval_are_logged_later_or_at_the_end() {
        let start = Instant::now();
        let mut log = RejectedFrames::default();
        assert!(reject(&mut log, "a", start).is_some());
        assert_eq!(reject(&mut log, "b", start), None);
        let later = start + Duration::from_secs(2);
        assert_eq!(
            log.poll_line(later),
            Some(RejectionLine {
                code: "b",
                count: 1
            })
        );
        assert_eq!(reject(&mut log, "c", later), None);
        assert_eq!(
            log.take_unlogged(),
            Some(RejectionLine {
                code: "c",
                count: 1
            })
        );
        assert_eq!(log.take_unlogged(), None);
    }
}

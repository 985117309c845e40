//! When to send what comes faster than it can be heard.

use std::time::{Duration, Instant};

/// A server drops what is too early. So much earlier than needed, late wake-ups are not heard.
const LEAD: Duration = Duration::from_millis(60);

/// An input that has so much ready is no microphone, however full the pipe behind one was.
const READY_MAX: Duration = Duration::from_secs(1);

/// One that has less after so long is.
const TRIAL: Duration = Duration::from_millis(1500);

/// The schedule of one source. Time is an argument.
#[derive(Debug)]
pub(super) struct SendPace {
    bytes_per_second: u32,
    of: PaceSource,
    /// When everything that was sent will have been heard.
    heard: Option<Instant>,
}

/// Who sets the pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PaceSource {
    Clock,
    Input,
    /// The clock, until it is known whether the input has a pace.
    Trial {
        since: Option<Instant>,
    },
}

impl SendPace {
    /// `is_kept`: by the clock from the start; otherwise the input shows whether it has a pace.
    pub(super) fn new(bytes_per_second: u32, is_kept: bool) -> Self {
        let of = if is_kept {
            PaceSource::Clock
        } else {
            PaceSource::Trial { since: None }
        };
        Self {
            bytes_per_second,
            of,
            heard: None,
        }
    }

    /// When the next piece may be sent.
    pub(super) fn due(&self, now: Instant) -> Instant {
        match (self.heard, self.of) {
            (None, _) | (_, PaceSource::Input) => now,
            (Some(heard), PaceSource::Clock | PaceSource::Trial { .. }) => {
                heard.checked_sub(LEAD).unwrap_or(heard).max(now)
            }
        }
    }

    /// So much is sent now, and so much more is ready. True when this shows that the input has no
    /// pace of its own.
    pub(super) fn sent(&mut self, bytes: usize, ready: usize, now: Instant) -> bool {
        let heard = self.heard(now) + self.duration(bytes);
        self.heard = Some(heard);
        let (of, heard) = match self.of {
            PaceSource::Trial { .. } if self.duration(ready) >= READY_MAX => {
                (PaceSource::Clock, heard)
            }
            PaceSource::Trial { since: Some(since) } if now - since >= TRIAL => {
                (PaceSource::Input, heard)
            }
            PaceSource::Trial { since } => (
                PaceSource::Trial {
                    since: since.or(Some(now)),
                },
                heard,
            ),
            // The server has dropped most of it.
            PaceSource::Input if heard - now > READY_MAX => (PaceSource::Clock, now + LEAD),
            of @ (PaceSource::Input | PaceSource::Clock) => (of, heard),
        };
        let is_news = of == PaceSource::Clock && self.of != PaceSource::Clock;
        (self.of, self.heard) = (of, Some(heard));
        is_news
    }

    /// When everything that was sent will have been heard, if somebody listens.
    pub(super) fn heard(&self, now: Instant) -> Instant {
        self.heard.map_or(now, |heard| heard.max(now))
    }

    fn duration(&self, bytes: usize) -> Duration {
        Duration::from_nanos(bytes as u64 * 1_000_000_000 / u64::from(self.bytes_per_second.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 20 ms of mono at 48 kHz.
    const PIECE: usize = 1920;
    const PIECE_LASTS: Duration = Duration::from_millis(20);

    /// Sends as soon as may be, with so much ready all the time.
    fn send(pace: &mut SendPace, count: u32, ready: usize, mut now: Instant) -> Instant {
        for _ in 0..count {
            now = pace.due(now);
            pace.sent(PIECE, ready, now);
        }
        now
    }

    #[test]
    fn a_file_takes_as_long_as_it_lasts() {
        let start = Instant::now();
        let mut pace = SendPace::new(96_000, true);
        let now = send(&mut pace, 500, 0, start);
        assert_eq!(pace.heard(now) - start, PIECE_LASTS * 500);
        assert_eq!(now - start, PIECE_LASTS * 499 - LEAD);
    }

    #[test]
    fn what_was_late_is_not_made_up_for() {
        let start = Instant::now();
        let mut pace = SendPace::new(96_000, true);
        pace.sent(PIECE, 0, start);
        let late = start + Duration::from_secs(5);
        assert_eq!(pace.due(late), late);
        pace.sent(PIECE, 0, late);
        assert_eq!(pace.heard(late), late + PIECE_LASTS);
    }

    #[test]
    fn a_microphone_sets_the_pace_once_it_is_known_to_be_one() {
        let mut pace = SendPace::new(96_000, false);
        // A pipe was filled while the way to the server was made.
        let mut now = send(&mut pace, 80, 65_536, Instant::now());
        assert_eq!(pace.due(now), now);
        for _ in 0..34 {
            assert!(!pace.sent(PIECE, 0, now), "the pipe is emptied at once");
        }
        // A clock that is a little fast is not waited for.
        for _ in 0..60 * 50 {
            now += Duration::from_micros(19_999);
            assert!(!pace.sent(PIECE, 0, now));
            assert_eq!(pace.due(now), now);
        }
    }

    #[test]
    fn an_input_without_a_pace_gets_one_and_nothing_is_lost() {
        let start = Instant::now();
        let mut pace = SendPace::new(96_000, false);
        assert!(!pace.sent(PIECE, PIECE, start));
        assert!(pace.sent(PIECE, 96_000, start));
        let now = send(&mut pace, 498, 0, start);
        assert_eq!(pace.heard(now) - start, PIECE_LASTS * 500);
    }

    #[test]
    fn an_input_that_loses_its_pace_later_gets_one_too() {
        let mut pace = SendPace::new(96_000, false);
        let now = send(&mut pace, 80, 0, Instant::now());
        let first = (0..200).filter(|_| pace.sent(PIECE, 0, now)).count();
        assert_eq!(first, 1, "it is seen once");
        // From where it is seen on nothing is lost; before, about a second was.
        let due = pace.due(now).saturating_duration_since(now);
        assert!(
            due > PIECE_LASTS * 145 && due < PIECE_LASTS * 155,
            "{due:?}"
        );
    }
}

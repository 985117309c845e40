//! Paces audio input that is faster than real time.

use std::time::{Duration, Instant};

/// How far ahead of real time audio is sent, so that late wake-ups cause no gap. A server drops audio that is
/// further ahead.
const LEAD: Duration = Duration::from_millis(60);

/// An input with this much audio ready is faster than real time. A live source has less ready, even if its audio has
/// waited in a full pipe: that holds 64 KiB, which are 0.7 s of mono at 48 kHz.
const READY_MAX: Duration = Duration::from_secs(1);

/// An input that has never had [`READY_MAX`] ready for this long is taken for a live source.
const TRIAL: Duration = Duration::from_millis(1500);

/// The send schedule of one source. Time is an argument.
#[derive(Debug)]
pub(super) struct SendPace {
    bytes_per_second: u32,
    source: PaceSource,
    /// When all sent audio will have been played in real time.
    played_at: Option<Instant>,
}

/// The clock or the input, whichever determines the pace of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PaceSource {
    /// Real time by the clock.
    Clock,
    /// The input itself, which is a live source.
    Input,
    /// The clock, while the pace of the input is being measured.
    Trial { since: Option<Instant> },
}

impl SendPace {
    /// Creates a schedule. If `is_paced`, sends at real time from the start; otherwise measures the pace of
    /// the input first.
    pub(super) fn new(bytes_per_second: u32, is_paced: bool) -> Self {
        let source = if is_paced {
            PaceSource::Clock
        } else {
            PaceSource::Trial { since: None }
        };
        Self {
            bytes_per_second,
            source,
            played_at: None,
        }
    }

    /// When the next chunk may be sent.
    pub(super) fn due(&self, now: Instant) -> Instant {
        match (self.played_at, self.source) {
            (None, _) | (_, PaceSource::Input) => now,
            (Some(played_at), PaceSource::Clock | PaceSource::Trial { .. }) => {
                played_at.checked_sub(LEAD).unwrap_or(played_at).max(now)
            }
        }
    }

    /// Records that `bytes` are sent now while `ready` more bytes are available. Returns true when this
    /// detects that the input is faster than real time.
    pub(super) fn record_sent(&mut self, bytes: usize, ready: usize, now: Instant) -> bool {
        let played_at = self.played_at(now) + self.duration(bytes);
        self.played_at = Some(played_at);
        let (source, played_at) = match self.source {
            PaceSource::Trial { .. } if self.duration(ready) >= READY_MAX => {
                (PaceSource::Clock, played_at)
            }
            PaceSource::Trial { since: Some(since) } if now - since >= TRIAL => {
                (PaceSource::Input, played_at)
            }
            PaceSource::Trial { since } => (
                PaceSource::Trial {
                    since: since.or(Some(now)),
                },
                played_at,
            ),
            // The input is too far ahead: the server has dropped most of that audio.
            PaceSource::Input if played_at - now > READY_MAX => (PaceSource::Clock, now + LEAD),
            source @ (PaceSource::Input | PaceSource::Clock) => (source, played_at),
        };
        let is_detected = source == PaceSource::Clock && self.source != PaceSource::Clock;
        (self.source, self.played_at) = (source, Some(played_at));
        is_detected
    }

    /// When all sent audio will have been played, if there is a listener.
    pub(super) fn played_at(&self, now: Instant) -> Instant {
        self.played_at.map_or(now, |played_at| played_at.max(now))
    }

    fn duration(&self, bytes: usize) -> Duration {
        Duration::from_nanos(bytes as u64 * 1_000_000_000 / u64::from(self.bytes_per_second.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of 20 ms of mono at 48 kHz.
    const CHUNK: usize = 1920;
    const CHUNK_DURATION: Duration = Duration::from_millis(20);

    /// Sends `count` chunks as soon as they are due, with `ready` bytes available all the time.
    fn send(pace: &mut SendPace, count: u32, ready: usize, mut now: Instant) -> Instant {
        for _ in 0..count {
            now = pace.due(now);
            pace.record_sent(CHUNK, ready, now);
        }
        now
    }

    #[test]
    fn file_is_sent_in_real_time() {
        let start = Instant::now();
        let mut pace = SendPace::new(96_000, true);
        let now = send(&mut pace, 500, 0, start);
        assert_eq!(pace.played_at(now) - start, CHUNK_DURATION * 500);
        assert_eq!(now - start, CHUNK_DURATION * 499 - LEAD);
    }

    #[test]
    fn late_audio_shifts_the_schedule() {
        let start = Instant::now();
        let mut pace = SendPace::new(96_000, true);
        pace.record_sent(CHUNK, 0, start);
        let late = start + Duration::from_secs(5);
        assert_eq!(pace.due(late), late);
        pace.record_sent(CHUNK, 0, late);
        assert_eq!(pace.played_at(late), late + CHUNK_DURATION);
    }

    #[test]
    fn live_source_sets_the_pace_after_the_trial() {
        let mut pace = SendPace::new(96_000, false);
        // A pipe has filled up while the connection was established.
        let mut now = send(&mut pace, 80, 65_536, Instant::now());
        assert_eq!(pace.due(now), now);
        for _ in 0..34 {
            assert!(
                !pace.record_sent(CHUNK, 0, now),
                "the pipe is emptied at once"
            );
        }
        // An input clock that is slightly fast is not delayed.
        for _ in 0..60 * 50 {
            now += Duration::from_micros(19_999);
            assert!(!pace.record_sent(CHUNK, 0, now));
            assert_eq!(pace.due(now), now);
        }
    }

    #[test]
    fn fast_input_is_paced_without_loss() {
        let start = Instant::now();
        let mut pace = SendPace::new(96_000, false);
        assert!(!pace.record_sent(CHUNK, CHUNK, start));
        assert!(pace.record_sent(CHUNK, 96_000, start));
        let now = send(&mut pace, 498, 0, start);
        assert_eq!(pace.played_at(now) - start, CHUNK_DURATION * 500);
    }

    #[test]
    fn input_that_becomes_fast_later_is_paced_too() {
        let mut pace = SendPace::new(96_000, false);
        let now = send(&mut pace, 80, 0, Instant::now());
        let first = (0..200).filter(|_| pace.record_sent(CHUNK, 0, now)).count();
        assert_eq!(first, 1, "it is detected once");
        // After the detection nothing is lost; before it, about 1 s was.
        let due = pace.due(now).saturating_duration_since(now);
        assert!(
            due > CHUNK_DURATION * 145 && due < CHUNK_DURATION * 155,
            "{due:?}"
        );
    }
}

//! The schedule of the mixer's frames.

use std::time::{Duration, Instant};

use crate::FRAME;

/// Minimum time between two frames while catching up, so that listeners do not get bursts.
const GAP_MIN: Duration = Duration::from_millis(10);

/// Maximum lateness that is caught up. At a greater lateness, frames are skipped. Sources buffer at most 200 ms by
/// default (`latency_max`), so a mixer that catches up more would find their buffers empty and chop the audio. 60 ms
/// of the 200 ms are left in the buffers, to absorb network jitter.
const LATENESS_MAX: Duration = Duration::from_millis(200 - 60);

/// An absolute schedule of one frame every 20 ms. Lateness of the caller does not accumulate as drift.
#[derive(Clone, Debug)]
pub struct Ticker {
    /// When the next frame would be due without any lateness.
    ideal: Instant,
    /// When the next frame is due: not before `ideal`, and at least [`GAP_MIN`] after the last frame.
    due: Instant,
}

impl Ticker {
    /// Creates a schedule whose first frame is due at `now`.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            ideal: now,
            due: now,
        }
    }

    /// The time when the next frame is due.
    #[must_use]
    pub fn next(&self) -> Instant {
        self.due
    }

    /// Records that the due frame was made at `now`. Lateness of up to 140 ms is caught up, with at least 10 ms
    /// between frames. At a greater lateness, whole frames are skipped until 140 ms or less remain.
    pub fn advance(&mut self, now: Instant) {
        self.ideal += FRAME;
        let lateness = now.saturating_duration_since(self.ideal);
        let surplus = lateness.saturating_sub(LATENESS_MAX);
        let skipped = surplus.as_nanos().div_ceil(FRAME.as_nanos());
        self.ideal += FRAME * u32::try_from(skipped).unwrap_or(u32::MAX);
        self.due = self.ideal.max(now + GAP_MIN);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Frames in an hour.
    const HOUR: u32 = 180_000;

    #[test]
    fn an_hour_on_time_has_no_drift() {
        let start = Instant::now();
        let mut ticker = Ticker::new(start);
        for frame in 0..HOUR {
            assert_eq!(ticker.next(), start + FRAME * frame);
            ticker.advance(ticker.next());
        }
    }

    /// The times of the next `count` frames of a caller that is on time, in ms after `start`.
    fn frames(ticker: &mut Ticker, start: Instant, count: usize) -> Vec<u128> {
        let frame = |_| {
            let due = ticker.next();
            ticker.advance(due);
            (due - start).as_millis()
        };
        (0..count).map(frame).collect()
    }

    #[test]
    fn lateness_within_the_source_buffers_is_caught_up() {
        let start = Instant::now();
        let mut ticker = Ticker::new(start);
        ticker.advance(start + Duration::from_millis(57));
        assert_eq!(frames(&mut ticker, start, 5), [67, 77, 87, 97, 107]);
        assert_eq!(frames(&mut ticker, start, 2), [120, 140]);
    }

    #[test]
    fn frames_beyond_the_maximum_lateness_are_skipped() {
        let start = Instant::now();
        let mut ticker = Ticker::new(start);
        ticker.advance(start + Duration::from_millis(5_007));
        let caught_up: Vec<u128> = (5_017..5_140).step_by(10).collect();
        assert_eq!(frames(&mut ticker, start, caught_up.len()), caught_up);
        assert_eq!(frames(&mut ticker, start, 3), [5_147, 5_160, 5_180]);
    }

    #[test]
    fn suspend_of_a_year_is_skipped() {
        let start = Instant::now();
        let year = start + Duration::from_secs(365 * 86_400);
        let mut ticker = Ticker::new(start);
        ticker.advance(year);
        assert_eq!(ticker.next(), year + GAP_MIN);
        frames(&mut ticker, year, 20);
        assert_eq!(ticker.next(), year + FRAME * 20 - LATENESS_MAX);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn late_callers_catch_up_without_bunching(
            seed in any::<u64>(),
            late_ms_max in 1_u64..80,
        ) {
            let start = Instant::now();
            let mut ticker = Ticker::new(start);
            let (mut random, mut last) = (seed, None::<Instant>);
            for frame in 0..HOUR {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                // Occasionally late, but never so much that frames are skipped, and on time at the end, so that
                // the schedule can catch up.
                let is_late = random >> 62 == 0 && frame % 8 == 0 && frame < HOUR - 200;
                let late = if is_late { (random >> 33) % late_ms_max } else { 0 };
                let now = ticker.next() + Duration::from_millis(late);
                if let Some(last) = last {
                    prop_assert!(now - last >= GAP_MIN);
                }
                last = Some(now);
                ticker.advance(now);
            }
            let ideal = start + FRAME * HOUR;
            prop_assert!(ticker.next() - ideal < Duration::from_millis(5));
        }

        #[test]
        fn schedule_recovers_soon_from_any_lateness(
            late_ms in prop::collection::vec((0_u64..2_000, 1_u32..40), 1..200),
        ) {
            let start = Instant::now();
            let mut ticker = Ticker::new(start);
            for (late, frames) in late_ms {
                let mut now = ticker.next() + Duration::from_millis(late);
                ticker.advance(now);
                let recovered_at = now + LATENESS_MAX * 2;
                for _ in 0..frames {
                    let due = ticker.next();
                    prop_assert!(due - now >= GAP_MIN && due - now <= FRAME);
                    if due > recovered_at {
                        prop_assert_eq!((due - start).as_nanos() % FRAME.as_nanos(), 0);
                        prop_assert_eq!(due, ticker.ideal);
                    }
                    now = due;
                    ticker.advance(now);
                }
            }
        }
    }
}

//! When frames are due.

use std::time::{Duration, Instant};

use crate::FRAME;

/// The least time between two frames, while catching up: a listener never gets a bunch at once.
const GAP_MIN: Duration = Duration::from_millis(10);

/// So much is caught up, and what goes beyond is forgotten. Sources keep 200 ms, unless set
/// otherwise (`latency_max`): whoever caught up more would take frames out of empty buffers, and
/// chop what is said for as long as that takes. 60 ms of the 200 stay in the buffers, because they
/// are what keeps an uneven network from being heard.
const LATENESS_MAX: Duration = Duration::from_millis(200 - 60);

/// An absolute schedule of one frame every 20 ms. However late the caller is each time, errors do
/// not add up.
#[derive(Clone, Debug)]
pub struct Ticker {
    /// When the next frame would be due if nobody were ever late.
    ideal: Instant,
    /// When it is due: not before that, and not too soon after the last one.
    due: Instant,
}

impl Ticker {
    /// The first frame is due at once.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            ideal: now,
            due: now,
        }
    }

    /// When the next frame is due.
    #[must_use]
    pub fn next(&self) -> Instant {
        self.due
    }

    /// The frame that was due was made, at `now`. What it was late is caught up at no less than
    /// 10 ms between frames, as far as sources keep what they said: of more than 140 ms the rest
    /// is forgotten, in whole frames.
    pub fn advance(&mut self, now: Instant) {
        self.ideal += FRAME;
        let lateness = now.saturating_duration_since(self.ideal);
        let surplus = lateness.saturating_sub(LATENESS_MAX);
        let forgotten = surplus.as_nanos().div_ceil(FRAME.as_nanos());
        self.ideal += FRAME * u32::try_from(forgotten).unwrap_or(u32::MAX);
        self.due = self.ideal.max(now + GAP_MIN);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: u32 = 180_000;

    #[test]
    fn an_hour_on_time_has_no_drift() {
        let start = Instant::now();
        let mut cadence = Ticker::new(start);
        for frame in 0..HOUR {
            assert_eq!(cadence.next(), start + FRAME * frame);
            cadence.advance(cadence.next());
        }
    }

    /// When the next `count` frames are made by somebody who is on time, in ms after `start`.
    fn frames(cadence: &mut Ticker, start: Instant, count: usize) -> Vec<u128> {
        let frame = |_| {
            let due = cadence.next();
            cadence.advance(due);
            (due - start).as_millis()
        };
        (0..count).map(frame).collect()
    }

    #[test]
    fn what_sources_keep_is_caught_up() {
        let start = Instant::now();
        let mut cadence = Ticker::new(start);
        cadence.advance(start + Duration::from_millis(57));
        assert_eq!(frames(&mut cadence, start, 5), [67, 77, 87, 97, 107]);
        assert_eq!(frames(&mut cadence, start, 2), [120, 140]);
    }

    #[test]
    fn what_they_do_not_keep_is_forgotten() {
        let start = Instant::now();
        let mut cadence = Ticker::new(start);
        cadence.advance(start + Duration::from_millis(5_007));
        let caught_up: Vec<u128> = (5_017..5_140).step_by(10).collect();
        assert_eq!(frames(&mut cadence, start, caught_up.len()), caught_up);
        assert_eq!(frames(&mut cadence, start, 3), [5_147, 5_160, 5_180]);
    }

    #[test]
    fn a_computer_that_slept_for_a_year() {
        let start = Instant::now();
        let year = start + Duration::from_secs(365 * 86_400);
        let mut cadence = Ticker::new(start);
        cadence.advance(year);
        assert_eq!(cadence.next(), year + GAP_MIN);
        frames(&mut cadence, year, 20);
        assert_eq!(cadence.next(), year + FRAME * 20 - LATENESS_MAX);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn late_callers_catch_up_without_bunching(
            seed in any::<u64>(),
            late_ms_max in 1_u64..80,
        ) {
            let start = Instant::now();
            let mut cadence = Ticker::new(start);
            let (mut random, mut last) = (seed, None::<Instant>);
            for frame in 0..HOUR {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                // Late now and then, never so often that some of it is forgotten, and on time at
                // the end, so that it can catch up.
                let is_late = random >> 62 == 0 && frame % 8 == 0 && frame < HOUR - 200;
                let late = if is_late { (random >> 33) % late_ms_max } else { 0 };
                let now = cadence.next() + Duration::from_millis(late);
                if let Some(last) = last {
                    prop_assert!(now - last >= GAP_MIN);
                }
                last = Some(now);
                cadence.advance(now);
            }
            let ideal = start + FRAME * HOUR;
            prop_assert!(cadence.next() - ideal < Duration::from_millis(5));
        }

        #[test]
        fn lateness_of_any_length_is_over_soon(
            late_ms in prop::collection::vec((0_u64..2_000, 1_u32..40), 1..200),
        ) {
            let start = Instant::now();
            let mut cadence = Ticker::new(start);
            for (late, frames) in late_ms {
                let mut now = cadence.next() + Duration::from_millis(late);
                cadence.advance(now);
                let is_over = now + LATENESS_MAX * 2;
                for _ in 0..frames {
                    let due = cadence.next();
                    prop_assert!(due - now >= GAP_MIN && due - now <= FRAME);
                    if due > is_over {
                        prop_assert_eq!((due - start).as_nanos() % FRAME.as_nanos(), 0);
                        prop_assert_eq!(due, cadence.ideal);
                    }
                    now = due;
                    cadence.advance(now);
                }
            }
        }
    }
}

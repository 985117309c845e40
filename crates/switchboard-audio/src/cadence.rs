//! When frames are due.

use std::time::{Duration, Instant};

use crate::FRAME;

/// The least time between two frames, while catching up: a listener never gets a bunch at once.
const GAP_MIN: Duration = Duration::from_millis(10);

/// Who is later than this does not catch up, but goes on from now.
const LATENESS_MAX: Duration = Duration::from_secs(1);

/// An absolute schedule of one frame every 20 ms. However late the caller is each time, errors do
/// not add up.
#[derive(Clone, Debug)]
pub struct Cadence {
    /// When the next frame would be due if nobody were ever late.
    ideal: Instant,
    /// When it is due: not before that, and not too soon after the last one.
    due: Instant,
}

impl Cadence {
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

    /// The frame that was due was made, at `now`. More than a second behind, what was missed is
    /// missed; less, it is caught up at no less than 10 ms between frames.
    pub fn advance(&mut self, now: Instant) {
        self.ideal += FRAME;
        let lateness = now.saturating_duration_since(self.ideal);
        if lateness > LATENESS_MAX {
            // Whole frames, so that the schedule stays on its grid.
            let into_frame = lateness.as_nanos() % FRAME.as_nanos();
            let into_frame = u64::try_from(into_frame).unwrap_or_default();
            self.ideal = now - Duration::from_nanos(into_frame) + FRAME;
        }
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
        let mut cadence = Cadence::new(start);
        for frame in 0..HOUR {
            assert_eq!(cadence.next(), start + FRAME * frame);
            cadence.advance(cadence.next());
        }
    }

    #[test]
    fn what_is_missed_for_long_is_forgotten() {
        let start = Instant::now();
        let mut cadence = Cadence::new(start);
        cadence.advance(start + Duration::from_millis(5_007));
        assert_eq!(cadence.next(), start + Duration::from_millis(5_020));
        cadence.advance(cadence.next());
        assert_eq!(cadence.next(), start + Duration::from_millis(5_040));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn late_callers_catch_up_without_bunching(
            seed in any::<u64>(),
            late_ms_max in 1_u64..80,
        ) {
            let start = Instant::now();
            let mut cadence = Cadence::new(start);
            let (mut random, mut last) = (seed, None::<Instant>);
            for frame in 0..HOUR {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                // Late now and then, and on time at the end, so that it can catch up.
                let is_late = random >> 60 == 0 && frame < HOUR - 200;
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
    }
}

//! How loud a source is.

use std::time::{Duration, Instant};

/// What silence reads, in dB below full scale: one step of 16 bits is 90 below.
pub(crate) const FLOOR_DBFS: f32 = -96.0;

/// Over so many samples the level follows what is pushed: 100 ms.
const FOLLOW_SAMPLES: f32 = 4_800.0;

/// So long what was pushed last counts as what is heard now; then the level falls.
const HOLD: Duration = Duration::from_millis(250);

/// How fast it falls then.
const FALL_DB_PER_SECOND: f32 = 60.0;

/// A meter that needs no clock where samples come in, only where it is read.
#[derive(Debug, Default)]
pub(crate) struct LevelMeter {
    /// The mean of the squares of late, 1.0 at full scale.
    mean_square: f32,
    /// Whether something came in since the last reading.
    has_news: bool,
    heard_at: Option<Instant>,
}

impl LevelMeter {
    /// Takes in what was pushed.
    pub(crate) fn push_samples(&mut self, samples: &[i16]) {
        if samples.is_empty() {
            return;
        }
        self.has_news = true;
        // No more than two seconds of it: what is older has faded from the mean anyway.
        let samples = &samples[samples.len().saturating_sub(96_000)..];
        for block in samples.chunks(480) {
            let count = block.len() as f32;
            let block_mean = sum_of_squares(block) / count / (32_768.0 * 32_768.0);
            let weight = (count / FOLLOW_SAMPLES).min(1.0);
            self.mean_square += (block_mean - self.mean_square) * weight;
        }
    }

    /// The level in dB below full scale, from -96 to 0.
    pub(crate) fn read(&mut self, now: Instant) -> f32 {
        if self.has_news {
            self.has_news = false;
            self.heard_at = Some(now);
        }
        let Some(heard_at) = self.heard_at else {
            return FLOOR_DBFS;
        };
        let quiet = now.saturating_duration_since(heard_at).saturating_sub(HOLD);
        let level = 10.0 * self.mean_square.log10();
        (level - FALL_DB_PER_SECOND * quiet.as_secs_f32()).clamp(FLOOR_DBFS, 0.0)
    }
}

/// In eight sums, so that it can be done eight at a time.
fn sum_of_squares(samples: &[i16]) -> f32 {
    let square = |sample: i16| f32::from(sample) * f32::from(sample);
    let (eights, rest) = samples.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for eight in eights {
        for (sum, &sample) in sums.iter_mut().zip(eight) {
            *sum += square(sample);
        }
    }
    sums.iter().sum::<f32>() + rest.iter().map(|&sample| square(sample)).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_what_comes_and_falls_when_nothing_does() {
        let start = Instant::now();
        let mut meter = LevelMeter::default();
        assert_eq!(meter.read(start), FLOOR_DBFS);
        for _ in 0..50 {
            meter.push_samples(&[16_384; 960]);
        }
        let level = meter.read(start);
        assert!((level + 6.02).abs() < 0.1, "half of full scale: {level}");
        let later = meter.read(start + Duration::from_secs(1));
        assert!(later < level - 40.0, "a second without news: {later}");
        assert_eq!(meter.read(start + Duration::from_secs(60)), FLOOR_DBFS);
        meter.push_samples(&[0; 96_000]);
        assert_eq!(meter.read(start + Duration::from_secs(61)), FLOOR_DBFS);
    }

    #[test]
    fn the_extremes_are_full_scale() {
        let mut meter = LevelMeter::default();
        meter.push_samples(&[i16::MIN; 48_000]);
        assert!(meter.read(Instant::now()) > -0.1);
    }
}

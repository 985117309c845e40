//! The level meter of a source.

use std::time::{Duration, Instant};

/// The level that stands for silence, in dBFS. It is below the smallest 16-bit step, -90 dBFS.
pub(crate) const FLOOR_DBFS: f32 = -96.0;

/// Averaging window in samples: 100 ms.
const FOLLOW_SAMPLES: f32 = 4_800.0;

/// How long the level is held after the last push before it falls.
const HOLD: Duration = Duration::from_millis(250);

/// How fast the level falls after [`HOLD`].
const FALL_DB_PER_SECOND: f32 = 60.0;

/// A level meter. Only reading needs the time; pushing samples does not.
#[derive(Debug, Default)]
pub(crate) struct LevelMeter {
    /// Moving mean of the squared samples, 1.0 at full scale.
    mean_square: f32,
    /// Whether samples were pushed since the last reading.
    has_new_samples: bool,
    last_push: Option<Instant>,
}

impl LevelMeter {
    /// Adds pushed samples to the mean.
    pub(crate) fn push_samples(&mut self, samples: &[i16]) {
        if samples.is_empty() {
            return;
        }
        self.has_new_samples = true;
        // The last two seconds are enough: older samples would have no weight in the mean.
        let samples = &samples[samples.len().saturating_sub(96_000)..];
        for block in samples.chunks(480) {
            let count = block.len() as f32;
            let block_mean = sum_of_squares(block) / count / (32_768.0 * 32_768.0);
            let weight = (count / FOLLOW_SAMPLES).min(1.0);
            self.mean_square += (block_mean - self.mean_square) * weight;
        }
    }

    /// The level in dBFS, from -96 to 0.
    pub(crate) fn read(&mut self, now: Instant) -> f32 {
        if self.has_new_samples {
            self.has_new_samples = false;
            self.last_push = Some(now);
        }
        let Some(last_push) = self.last_push else {
            return FLOOR_DBFS;
        };
        let silent_for = now
            .saturating_duration_since(last_push)
            .saturating_sub(HOLD);
        let level = 10.0 * self.mean_square.log10();
        (level - FALL_DB_PER_SECOND * silent_for.as_secs_f32()).clamp(FLOOR_DBFS, 0.0)
    }
}

/// Sum of the squared samples, in eight partial sums for vectorization.
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
    fn level_follows_pushed_samples_and_falls_without_them() {
        let start = Instant::now();
        let mut meter = LevelMeter::default();
        assert_eq!(meter.read(start), FLOOR_DBFS);
        for _ in 0..50 {
            meter.push_samples(&[16_384; 960]);
        }
        let level = meter.read(start);
        assert!((level + 6.02).abs() < 0.1, "half of full scale: {level}");
        let later = meter.read(start + Duration::from_secs(1));
        assert!(
            later < level - 40.0,
            "after a second without samples: {later}"
        );
        assert_eq!(meter.read(start + Duration::from_secs(60)), FLOOR_DBFS);
        meter.push_samples(&[0; 96_000]);
        assert_eq!(meter.read(start + Duration::from_secs(61)), FLOOR_DBFS);
    }

    #[test]
    fn extreme_samples_read_full_scale() {
        let mut meter = LevelMeter::default();
        meter.push_samples(&[i16::MIN; 48_000]);
        assert!(meter.read(Instant::now()) > -0.1);
    }
}

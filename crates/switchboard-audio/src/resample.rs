//! Resampling to 48 kHz, by the crate rubato.

use std::fmt;

use rubato::{
    Async, FixedAsync, Indexing, ResampleError, Resampler as _, ResamplerConstructionError,
    SincInterpolationParameters, SincInterpolationType, WindowFunction,
    audioadapter_buffers::direct::SequentialSlice,
};

use crate::{SAMPLE_RATE, SourceHandle};

/// Length of the windowed sinc filter in input samples. With this length its response is flat up to about 0.9 of the
/// Nyquist frequency. The filter delays the sound by half its length: 1.5 ms at 44.1 kHz, 8 ms at 8 kHz.
const SINC_SAMPLES: usize = 128;

/// Resamples one channel in chunks of 5 ms.
pub(crate) struct Resampler {
    inner: Async<f32>,
    /// Input samples per chunk.
    chunk: usize,
    /// Input samples of the incomplete chunk.
    pending: Vec<f32>,
    /// The last resampled chunk, as rubato writes it.
    resampled: Vec<f32>,
    /// The same chunk, as the source takes it.
    samples: Vec<i16>,
}

impl Resampler {
    pub(crate) fn new(rate: u32) -> Result<Self, ResamplerConstructionError> {
        let parameters = SincInterpolationParameters {
            sinc_len: SINC_SAMPLES,
            f_cutoff: None,
            oversampling_factor: 128,
            interpolation: SincInterpolationType::Linear,
            window: WindowFunction::BlackmanHarris2,
        };
        let ratio = f64::from(SAMPLE_RATE) / f64::from(rate);
        let chunk = usize::try_from(rate / 200).unwrap_or(240);
        let inner = Async::new_sinc(ratio, 1.0, &parameters, chunk, 1, FixedAsync::Input)?;
        let resampled_max = inner.output_frames_max();
        Ok(Self {
            inner,
            chunk,
            pending: Vec::with_capacity(chunk),
            resampled: vec![0.0; resampled_max],
            samples: Vec::with_capacity(resampled_max),
        })
    }

    /// Resamples any number of samples. Samples that do not fill a chunk are kept for the next call.
    pub(crate) fn push_samples(&mut self, mut samples: &[i16], to: &SourceHandle) {
        while !samples.is_empty() {
            let wanted = (self.chunk - self.pending.len()).min(samples.len());
            let (head, tail) = samples.split_at(wanted);
            self.pending
                .extend(head.iter().map(|&sample| f32::from(sample)));
            samples = tail;
            if self.pending.len() == self.chunk {
                self.flush_chunk(to);
            }
        }
    }

    /// Flushes the incomplete chunk and the samples that the filter delays, by pushing silence after them.
    pub(crate) fn finish(&mut self, to: &SourceHandle) {
        let unfinished = self.pending.len() + SINC_SAMPLES / 2;
        let silence = vec![0; unfinished.next_multiple_of(self.chunk) - self.pending.len()];
        self.push_samples(&silence, to);
    }

    fn flush_chunk(&mut self, to: &SourceHandle) {
        // The buffers have the required sizes, so this does not fail. If it did, only this chunk would be lost.
        let count = self.resample().unwrap_or_default();
        self.pending.clear();
        self.samples.clear();
        let resampled = self.resampled.iter().take(count);
        // `as` clips a sample that is out of range, but rounds towards zero; hence `round`.
        self.samples
            .extend(resampled.map(|sample| sample.round() as i16));
        to.push(&self.samples);
    }

    fn resample(&mut self) -> Result<usize, ResampleError> {
        let wrong_size = |_| ResampleError::InsufficientInputBufferSize {
            expected: self.chunk,
            actual: self.pending.len(),
        };
        let capacity = self.resampled.len();
        let from = SequentialSlice::new(&self.pending, 1, self.chunk).map_err(wrong_size)?;
        let mut to =
            SequentialSlice::new_mut(&mut self.resampled, 1, capacity).map_err(wrong_size)?;
        let (_, written) = self
            .inner
            .process_into_buffer(&from, &mut to, None::<&Indexing>)?;
        Ok(written)
    }
}

impl fmt::Debug for Resampler {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Resampler")
            .field("chunk", &self.chunk)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{FRAME_SAMPLES, MixSettings};

    #[test]
    fn finish_flushes_the_last_sample_at_every_rate() {
        let settings = MixSettings {
            latency_max: Duration::from_secs(1),
            ..MixSettings::default()
        };
        for rate in [8_000, 11_025, 12_000, 16_000, 44_100, 96_000, 192_000] {
            let chunk = rate as usize / 200;
            for length in [1, chunk - 1, chunk, chunk + 1] {
                let mut resampler = Resampler::new(rate).expect("a supported rate");
                let source = SourceHandle::new(&settings);
                let mut impulse = vec![0; length];
                impulse[length - 1] = 20_000;
                resampler.push_samples(&impulse, &source);
                resampler.finish(&source);
                let (mut frame, mut peak) = ([0; FRAME_SAMPLES], 0);
                while !source.is_empty() {
                    source.pull(&mut frame);
                    peak = frame.into_iter().fold(peak, i16::max);
                }
                // From 192 kHz, four samples become one, so about a quarter of the impulse's height is left, or less
                // between two samples. If the impulse is lost, only ripples of a few hundred are left.
                assert!(
                    peak > 2_000,
                    "{rate} Hz, {length} samples: the peak is {peak}"
                );
            }
        }
    }
}

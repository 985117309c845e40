//! Resampling to 48 kHz, by the crate rubato.

use std::fmt;

use rubato::{
    Async, FixedAsync, Indexing, ResampleError, Resampler as _, ResamplerConstructionError,
    SincInterpolationParameters, SincInterpolationType, WindowFunction,
    audioadapter_buffers::direct::SequentialSlice,
};

use crate::{SAMPLE_RATE, SourceHandle};

/// Length of the windowed sinc filter in samples: flat to about 0.9 of the band, 1.3 ms long at 48 kHz.
const SINC_SAMPLES: usize = 128;

/// Resamples one channel in chunks of 5 ms.
pub(crate) struct Resampler {
    inner: Async<f32>,
    chunk: usize,
    /// Input samples of the incomplete chunk.
    pending: Vec<f32>,
    resampled: Vec<f32>,
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

    /// Flushes the incomplete chunk and the delay of the filter, padded with silence.
    pub(crate) fn finish(&mut self, to: &SourceHandle) {
        let silence = vec![0; 2 * self.chunk - self.pending.len()];
        self.push_samples(&silence, to);
    }

    fn flush_chunk(&mut self, to: &SourceHandle) {
        // The buffers have the required sizes; on an error the chunk would be lost.
        let count = self.resample().unwrap_or_default();
        self.pending.clear();
        self.samples.clear();
        let resampled = self.resampled.iter().take(count);
        // From float, `as` rounds towards zero and saturates.
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

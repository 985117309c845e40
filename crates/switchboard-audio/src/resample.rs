//! Other sample rates to 48 kHz, by the crate rubato.

use std::fmt;

use rubato::{
    Async, FixedAsync, Indexing, ResampleError, Resampler as _, ResamplerConstructionError,
    SincInterpolationParameters, SincInterpolationType, WindowFunction,
    audioadapter_buffers::direct::SequentialSlice,
};

use crate::{SAMPLE_RATE, SourceHandle};

/// A windowed sinc of this length: flat to about 0.9 of the band, 1.3 ms long at 48 kHz.
const SINC_SAMPLES: usize = 128;

/// One channel of another rate, in chunks of 5 ms.
pub(crate) struct Resampler {
    inner: Async<f32>,
    chunk: usize,
    /// What waits until there is enough for a chunk.
    gathered: Vec<f32>,
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
            gathered: Vec::with_capacity(chunk),
            resampled: vec![0.0; resampled_max],
            samples: Vec::with_capacity(resampled_max),
        })
    }

    /// Takes any number of samples; what does not fill a chunk waits for the next ones.
    pub(crate) fn push_samples(&mut self, mut samples: &[i16], to: &SourceHandle) {
        while !samples.is_empty() {
            let wanted = (self.chunk - self.gathered.len()).min(samples.len());
            let (now, later) = samples.split_at(wanted);
            self.gathered
                .extend(now.iter().map(|&sample| f32::from(sample)));
            samples = later;
            if self.gathered.len() == self.chunk {
                self.flush_chunk(to);
            }
        }
    }

    /// Passes on the last samples, which wait for a whole chunk and for the length of the filter.
    pub(crate) fn finish(&mut self, to: &SourceHandle) {
        let silence = vec![0; 2 * self.chunk - self.gathered.len()];
        self.push_samples(&silence, to);
    }

    fn flush_chunk(&mut self, to: &SourceHandle) {
        // The buffers have the sizes it asked for; were it to refuse them, the chunk would be lost.
        let count = self.resample().unwrap_or_default();
        self.gathered.clear();
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
            actual: self.gathered.len(),
        };
        let capacity = self.resampled.len();
        let from = SequentialSlice::new(&self.gathered, 1, self.chunk).map_err(wrong_size)?;
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

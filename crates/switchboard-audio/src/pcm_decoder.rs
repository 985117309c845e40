//! Decodes the PCM bytes of a client.

use thiserror::Error;

use crate::{SAMPLE_RATE, SourceHandle, resample::Resampler};

/// Samples that are decoded before they are pushed to the source, so that a large body needs no large buffer.
const CHUNK_SAMPLES: usize = 1_024;

const RATES: std::ops::RangeInclusive<u32> = 8_000..=192_000;
const CHANNELS: std::ops::RangeInclusive<u16> = 1..=8;

/// The sample rate or the number of channels is not supported.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "unsupported PCM: {channels} channels at {rate} Hz; 1 to 8 channels at 8000 to 192000 Hz are supported"
)]
pub struct UnsupportedPcm {
    /// Sample rate in Hz.
    pub rate: u32,
    /// Number of interleaved channels.
    pub channels: u16,
}

/// Converts the interleaved signed 16-bit little-endian samples of one client, in chunks of any size, to one
/// channel at 48 kHz.
#[derive(Debug)]
pub struct PcmDecoder {
    channels: u16,
    /// The bytes at the end of the last message that are less than one sample of each channel.
    incomplete: Vec<u8>,
    /// Decoded samples that have not been pushed yet.
    chunk: Vec<i16>,
    resampler: Option<Resampler>,
}

impl PcmDecoder {
    /// Creates a decoder for a sample rate of 8,000 to 192,000 Hz and 1 to 8 channels.
    ///
    /// # Errors
    /// If the rate or the number of channels is out of range.
    pub fn new(rate: u32, channels: u16) -> Result<Self, UnsupportedPcm> {
        let unsupported = UnsupportedPcm { rate, channels };
        if !RATES.contains(&rate) || !CHANNELS.contains(&channels) {
            return Err(unsupported);
        }
        let resampler = match rate {
            SAMPLE_RATE => None,
            other => Some(Resampler::new(other).map_err(|_| unsupported)?),
        };
        Ok(Self {
            channels,
            // Eight channels of two bytes.
            incomplete: Vec::with_capacity(16),
            chunk: Vec::with_capacity(CHUNK_SAMPLES),
            resampler,
        })
    }

    /// Whether the samples are resampled, which takes about 30 times as long as decoding them.
    #[must_use]
    pub fn is_resampling(&self) -> bool {
        self.resampler.is_some()
    }

    /// Decodes a message or a part of a body, of any length, and pushes the samples. An odd byte, or an
    /// incomplete group of channels, is kept for the next call.
    pub fn decode(&mut self, bytes: &[u8], to: &SourceHandle) {
        let group = usize::from(self.channels) * 2;
        let mut rest = bytes;
        if !self.incomplete.is_empty() {
            let wanted = (group - self.incomplete.len()).min(rest.len());
            let (head, tail) = rest.split_at(wanted);
            self.incomplete.extend(head);
            rest = tail;
            if self.incomplete.len() < group {
                return;
            }
            self.chunk.push(downmix(&self.incomplete));
            self.incomplete.clear();
        }
        let groups = rest.chunks_exact(group);
        self.incomplete.extend(groups.remainder());
        for group in groups {
            self.chunk.push(downmix(group));
            if self.chunk.len() == CHUNK_SAMPLES {
                self.flush_chunk(to);
            }
        }
        self.flush_chunk(to);
    }

    /// Pushes the samples that are still in the resampler, at the end of the source. An incomplete group of channels
    /// is dropped.
    pub fn finish(&mut self, to: &SourceHandle) {
        if let Some(resampler) = &mut self.resampler {
            resampler.finish(to);
        }
    }

    fn flush_chunk(&mut self, to: &SourceHandle) {
        match &mut self.resampler {
            Some(resampler) => resampler.push_samples(&self.chunk, to),
            None if self.chunk.is_empty() => {}
            None => to.push(&self.chunk),
        }
        self.chunk.clear();
    }
}

/// Mixes one sample of each channel down to their mean.
fn downmix(group: &[u8]) -> i16 {
    let (samples, _) = group.as_chunks::<2>();
    let sum: i32 = samples
        .iter()
        .map(|&bytes| i32::from(i16::from_le_bytes(bytes)))
        .sum();
    let count = i32::try_from(samples.len().max(1)).unwrap_or(1);
    i16::try_from(sum / count).unwrap_or_default()
}

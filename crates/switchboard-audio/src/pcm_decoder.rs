//! Bytes of a client to samples.

use std::{error, fmt};

use crate::{SAMPLE_RATE, SourceHandle, resample::Resampler};

/// Samples are pushed in pieces of so many, so that a large body needs no large buffer.
const CHUNK_SAMPLES: usize = 1_024;

const RATES: std::ops::RangeInclusive<u32> = 8_000..=192_000;
const CHANNELS: std::ops::RangeInclusive<u16> = 1..=8;

/// This rate or number of channels is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnsupportedPcm {
    /// Samples a second, of each channel.
    pub rate: u32,
    /// How many samples belong together.
    pub channels: u16,
}

/// Signed 16-bit little-endian samples of one client, in pieces of any size, to one channel at
/// 48 kHz.
#[derive(Debug)]
pub struct PcmDecoder {
    channels: u16,
    /// What is left of the last message: less than one sample of each channel.
    carried: Vec<u8>,
    piece: Vec<i16>,
    resampler: Option<Resampler>,
}

impl PcmDecoder {
    /// For samples of this rate, 8,000 to 192,000 Hz, and so many channels, 1 to 8.
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
            carried: Vec::with_capacity(16),
            piece: Vec::with_capacity(CHUNK_SAMPLES),
            resampler,
        })
    }

    /// Takes a message or a piece of a body, of any length. An odd byte, or an incomplete group of
    /// channels, waits for the next one.
    pub fn decode(&mut self, bytes: &[u8], to: &SourceHandle) {
        let group = usize::from(self.channels) * 2;
        let mut rest = bytes;
        if !self.carried.is_empty() {
            let wanted = (group - self.carried.len()).min(rest.len());
            let (head, tail) = rest.split_at(wanted);
            self.carried.extend(head);
            rest = tail;
            if self.carried.len() < group {
                return;
            }
            self.piece.push(downmix(&self.carried));
            self.carried.clear();
        }
        let groups = rest.chunks_exact(group);
        self.carried.extend(groups.remainder());
        for group in groups {
            self.piece.push(downmix(group));
            if self.piece.len() == CHUNK_SAMPLES {
                self.flush_chunk(to);
            }
        }
        self.flush_chunk(to);
    }

    /// Passes on the samples that wait to be resampled, at the end of the source. An incomplete group of channels
    /// is dropped.
    pub fn finish(&mut self, to: &SourceHandle) {
        if let Some(resampler) = &mut self.resampler {
            resampler.finish(to);
        }
    }

    fn flush_chunk(&mut self, to: &SourceHandle) {
        match &mut self.resampler {
            Some(resampler) => resampler.push_samples(&self.piece, to),
            None if self.piece.is_empty() => {}
            None => to.push(&self.piece),
        }
        self.piece.clear();
    }
}

/// The mean of one sample of each channel.
fn downmix(group: &[u8]) -> i16 {
    let (samples, _) = group.as_chunks::<2>();
    let sum: i32 = samples
        .iter()
        .map(|&bytes| i32::from(i16::from_le_bytes(bytes)))
        .sum();
    let count = i32::try_from(samples.len().max(1)).unwrap_or(1);
    i16::try_from(sum / count).unwrap_or_default()
}

impl fmt::Display for UnsupportedPcm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rate, channels } = self;
        write!(
            formatter,
            "cannot take {channels} channels at {rate} Hz: 1 to 8 channels at 8000 to 192000 Hz",
        )
    }
}

impl error::Error for UnsupportedPcm {}

//! Reader of WAV files: PCM of 8 to 32 bits, or 32-bit floats.

use std::io::{self, Read};

use anyhow::{Context as _, anyhow};

use super::{
    CHUNK_SAMPLES, Decode, PcmFormat, read_full, sample_bytes, sample_from_float, unreadable,
};

/// Length field of a stream of unknown length.
const ENDLESS: u32 = u32::MAX;

const PCM: u16 = 1;
const FLOAT: u16 = 3;
const EXTENSIBLE: u16 = 0xfffe;

/// The encoding of one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SampleFormat {
    Unsigned8,
    Signed16,
    Signed24,
    Signed32,
    Float32,
}

/// Decodes a WAV file.
pub(super) struct WavReader<R> {
    input: R,
    format: PcmFormat,
    sample: SampleFormat,
    /// Remaining bytes of the data chunk.
    left: u64,
}

impl<R: Read> WavReader<R> {
    /// Reads the header, up to the first sample.
    ///
    /// # Errors
    /// If the file is not WAV or its sample format is not supported.
    pub(super) fn open(mut input: R) -> anyhow::Result<Self> {
        let mut riff = [0; 12];
        read_full(&mut input, &mut riff).map_err(unreadable)?;
        if &riff[8..] != b"WAVE" {
            return Err(anyhow!("is a RIFF file but not a WAV file"));
        }
        let mut format = None;
        loop {
            let mut head = [0; 8];
            if read_full(&mut input, &mut head).map_err(unreadable)? < head.len() {
                return Err(anyhow!("is a WAV file without samples"));
            }
            let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
            match &head[..4] {
                b"fmt " => format = Some(read_format(&mut input, length)?),
                b"data" => {
                    let (format, sample) = format.context("is a WAV file without a format")?;
                    let left = if matches!(length, 0 | ENDLESS) {
                        u64::MAX
                    } else {
                        length.into()
                    };
                    return Ok(Self {
                        input,
                        format,
                        sample,
                        left,
                    });
                }
                _ => skip(&mut input, length)?,
            }
        }
    }
}

impl<R: Read> Decode for WavReader<R> {
    fn format(&self) -> PcmFormat {
        self.format
    }

    fn next(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        let width = self.sample.width();
        let frame = width * usize::from(self.format.channels);
        let wanted = (CHUNK_SAMPLES * frame) as u64;
        let mut chunk = vec![0; usize::try_from(wanted.min(self.left)).unwrap_or_default()];
        let count = read_full(&mut self.input, &mut chunk).map_err(unreadable)?;
        self.left -= count as u64;
        let whole = count - count % frame;
        let samples = chunk[..whole].chunks_exact(width);
        let bytes_out = sample_bytes(samples.map(|bytes| self.sample.read(bytes)));
        Ok((!bytes_out.is_empty()).then_some(bytes_out))
    }
}

impl SampleFormat {
    fn from_header(kind: u16, bits: u16) -> Option<Self> {
        match (kind, bits) {
            (PCM, 8) => Some(Self::Unsigned8),
            (PCM, 16) => Some(Self::Signed16),
            (PCM, 24) => Some(Self::Signed24),
            (PCM, 32) => Some(Self::Signed32),
            (FLOAT, 32) => Some(Self::Float32),
            _ => None,
        }
    }

    fn width(self) -> usize {
        match self {
            Self::Unsigned8 => 1,
            Self::Signed16 => 2,
            Self::Signed24 => 3,
            Self::Signed32 | Self::Float32 => 4,
        }
    }

    /// Converts a sample to 16 bits.
    fn read(self, bytes: &[u8]) -> i16 {
        match (self, bytes) {
            (Self::Unsigned8, [byte]) => (i16::from(*byte) - 128) << 8,
            (Self::Float32, &[a, b, c, d]) => sample_from_float(f32::from_le_bytes([a, b, c, d])),
            (_, [.., low, high]) => i16::from_le_bytes([*low, *high]),
            (_, _) => 0,
        }
    }
}

fn read_format(input: &mut impl Read, length: u32) -> anyhow::Result<(PcmFormat, SampleFormat)> {
    let mut bytes = [0; 40];
    let kept = length.min(40) as usize;
    read_full(input, &mut bytes[..kept]).map_err(unreadable)?;
    skip(input, length.saturating_sub(40))?;
    let short = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let kind = match short(0) {
        EXTENSIBLE => short(24),
        kind => kind,
    };
    let format = PcmFormat {
        rate: u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        channels: short(2),
    };
    let bits = short(14);
    match SampleFormat::from_header(kind, bits) {
        Some(sample) if format.channels > 0 => Ok((format, sample)),
        Some(_) | None => Err(anyhow!(
            "is a WAV file of kind {kind} with {bits} bits, which cannot be read; try: \
             ffmpeg -i FILE -f s16le -ac 1 -ar 48000 clip.raw"
        )),
    }
}

/// Skips a RIFF chunk, which is padded to an even length.
fn skip(input: &mut impl Read, length: u32) -> anyhow::Result<()> {
    let length = u64::from(length) + u64::from(length % 2);
    let skipped = io::copy(&mut input.by_ref().take(length), &mut io::sink());
    skipped.map(drop).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wav(kind: u16, bits: u16, channels: u16, data: &[u8]) -> Vec<u8> {
        let mut file = b"RIFF\0\0\0\0WAVELIST\x03\0\0\0abc\0fmt \x10\0\0\0".to_vec();
        file.extend(kind.to_le_bytes());
        file.extend(channels.to_le_bytes());
        file.extend(44_100_u32.to_le_bytes());
        file.extend([0; 6]);
        file.extend(bits.to_le_bytes());
        file.extend(b"data");
        file.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        file.extend(data);
        file.extend(b"LIST\x02\0\0\0xy");
        file
    }

    fn samples(file: &[u8]) -> Vec<i16> {
        let mut wav = WavReader::open(file).unwrap_or_else(|message| panic!("{message}"));
        assert_eq!(wav.format().rate, 44_100);
        let mut bytes = Vec::new();
        while let Some(chunk) = wav.next().unwrap() {
            bytes.extend(chunk);
        }
        let pairs = bytes.chunks_exact(2);
        pairs
            .map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
            .collect()
    }

    #[test]
    fn every_width_of_sample_is_read() {
        let expected = [0, 256, -32_768];
        assert_eq!(samples(&wav(PCM, 8, 1, &[128, 129, 0])), expected);
        assert_eq!(samples(&wav(PCM, 16, 1, &[0, 0, 0, 1, 0, 0x80])), expected);
        let data = [9, 0, 0, 9, 0, 1, 9, 0, 0x80];
        assert_eq!(samples(&wav(PCM, 24, 1, &data)), expected);
        let data = [9, 9, 0, 0, 9, 9, 0, 1, 9, 9, 0, 0x80];
        assert_eq!(samples(&wav(PCM, 32, 1, &data)), expected);
        let floats = [0.0_f32, 256.0 / 32_768.0, -1.0];
        let data: Vec<u8> = floats
            .iter()
            .flat_map(|float| float.to_le_bytes())
            .collect();
        assert_eq!(samples(&wav(FLOAT, 32, 1, &data)), expected);
    }

    #[test]
    fn incomplete_group_of_channels_is_dropped() {
        assert_eq!(samples(&wav(PCM, 16, 2, &[1, 0, 2, 0, 3, 0])), [1, 2]);
    }

    #[test]
    fn stream_of_unknown_length_is_read_to_its_end() {
        let mut file = wav(PCM, 16, 1, &[]);
        file.truncate(file.len() - 10);
        let length = file.len() - 4;
        file[length..].copy_from_slice(&ENDLESS.to_le_bytes());
        file.extend([1, 0, 2, 0]);
        assert_eq!(samples(&file), [1, 2]);
    }

    #[test]
    fn files_that_are_not_wav_are_rejected() {
        for file in [
            &b"RIFF\0\0\0\0AVI "[..],
            b"RIFF\0\0\0\0WAVE",
            b"RIFF\0\0\0\0WAVEdata\x02\0\0\0ab",
            &wav(PCM, 12, 1, &[0, 0]),
            &wav(PCM, 16, 0, &[0, 0]),
        ] {
            assert!(WavReader::open(file).is_err());
        }
    }
}

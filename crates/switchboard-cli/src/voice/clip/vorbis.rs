//! Reader of Ogg Vorbis files.

use std::io::Read;

use anyhow::anyhow;
use vorbis_rs::VorbisDecoder;

use super::{Decode, PcmFormat, sample_bytes, sample_from_float};

/// Decodes an Ogg Vorbis file.
pub(super) struct OggVorbisReader<R: Read>(VorbisDecoder<R>);

impl<R: Read> OggVorbisReader<R> {
    pub(super) fn open(input: R) -> anyhow::Result<Self> {
        VorbisDecoder::new(input).map(Self).map_err(decode_error)
    }
}

impl<R: Read> Decode for OggVorbisReader<R> {
    fn format(&self) -> PcmFormat {
        PcmFormat {
            rate: self.0.sampling_frequency().get(),
            channels: self.0.channels().get().into(),
        }
    }

    fn next(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        let Some(block) = self.0.decode_audio_block().map_err(decode_error)? else {
            return Ok(None);
        };
        let channels = block.samples();
        let count = channels.first().map_or(0, |channel| channel.len());
        let interleaved = (0..count).flat_map(|at| {
            channels
                .iter()
                .map(move |channel| sample_from_float(channel[at]))
        });
        Ok(Some(sample_bytes(interleaved)))
    }
}

fn decode_error(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("is a broken Ogg file: {error}")
}

//! Ogg files: Opus (RFC 7845) and Vorbis.

use std::io::{Read, Seek};

use ogg::{Packet, PacketReader};
use ropus::{Channels, DecodeMode, Decoder};
use vorbis_rs::VorbisDecoder;

use super::{Decode, PcmFormat, bytes_of, of_float};

/// Opus decodes to 48 kHz at every rate of the encoder's input.
const RATE: u32 = 48_000;

/// The longest packet: 120 ms.
const PACKET_SAMPLES_MAX: usize = 5_760;

/// An Opus file that is being read.
pub(super) struct OggOpusReader<R: Read + Seek> {
    packets: PacketReader<R>,
    stream: OpusDecoderState,
    channels: u16,
}

/// One of the streams that follow each other in a file.
struct OpusDecoderState {
    decoder: Decoder,
    /// Samples of each channel that are yet to be dropped.
    skip: u64,
    /// Samples of each channel before the first one that is heard.
    pre_skip: u64,
    /// Samples of each channel that were decoded.
    decoded: u64,
}

impl<R: Read + Seek> OggOpusReader<R> {
    pub(super) fn open(input: R) -> Result<Self, String> {
        let mut packets = PacketReader::new(input);
        let head = read(&mut packets)?.ok_or("is an empty Ogg file")?;
        let (channels, stream) = OpusDecoderState::begin(&head.data)?;
        Ok(Self {
            packets,
            stream,
            channels,
        })
    }
}

impl<R: Read + Seek> Decode for OggOpusReader<R> {
    fn format(&self) -> PcmFormat {
        PcmFormat {
            rate: RATE,
            channels: self.channels,
        }
    }

    fn next(&mut self) -> Result<Option<Vec<u8>>, String> {
        while let Some(packet) = read(&mut self.packets)? {
            if packet.data.starts_with(b"OpusHead") {
                let (channels, stream) = OpusDecoderState::begin(&packet.data)?;
                if channels != self.channels {
                    return Err("changes its number of channels".to_owned());
                }
                self.stream = stream;
            } else if !packet.data.starts_with(b"OpusTags") {
                let sound = self.stream.decode(&packet, self.channels.into())?;
                if !sound.is_empty() {
                    return Ok(Some(bytes_of(sound.into_iter())));
                }
            }
        }
        Ok(None)
    }
}

impl OpusDecoderState {
    fn begin(head: &[u8]) -> Result<(u16, Self), String> {
        let channels = match (head.get(9), head.get(18)) {
            (Some(1), Some(0)) => Channels::Mono,
            (Some(2), Some(0)) => Channels::Stereo,
            _ => return Err("is an Opus file of more than two channels".to_owned()),
        };
        let decoder = Decoder::new(RATE, channels);
        let decoder = decoder.map_err(|error| format!("cannot be decoded: {error}"))?;
        let pre_skip = u64::from(u16::from_le_bytes([head[10], head[11]]));
        let stream = Self {
            decoder,
            skip: pre_skip,
            pre_skip,
            decoded: 0,
        };
        Ok((u16::from(head[9]), stream))
    }

    /// The samples of a packet that are to be heard.
    fn decode(&mut self, packet: &Packet, channels: usize) -> Result<Vec<i16>, String> {
        let mut sound = vec![0; PACKET_SAMPLES_MAX * channels];
        let decoded = self
            .decoder
            .decode(&packet.data, &mut sound, DecodeMode::Normal);
        let count = decoded.map_err(|error| format!("cannot be decoded: {error}"))?;
        sound.truncate(count * channels);
        let before = self.decoded;
        self.decoded += count as u64;
        if packet.last_in_stream() {
            // The granule position of the last page ends its last packet: later samples are padding.
            let end = packet.absgp_page().max(self.pre_skip);
            let heard = usize::try_from(end.saturating_sub(before)).unwrap_or(usize::MAX);
            sound.truncate(heard.saturating_mul(channels));
        }
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(count);
        self.skip -= skipped as u64;
        sound.drain(..(skipped * channels).min(sound.len()));
        Ok(sound)
    }
}

fn read<R: Read + Seek>(packets: &mut PacketReader<R>) -> Result<Option<Packet>, String> {
    let packet = packets.read_packet();
    packet.map_err(|error| format!("is a broken Ogg file: {error}"))
}

/// A Vorbis file that is being read.
pub(super) struct OggVorbisReader<R: Read>(VorbisDecoder<R>);

impl<R: Read> OggVorbisReader<R> {
    pub(super) fn open(input: R) -> Result<Self, String> {
        VorbisDecoder::new(input).map(Self).map_err(broken)
    }
}

impl<R: Read> Decode for OggVorbisReader<R> {
    fn format(&self) -> PcmFormat {
        PcmFormat {
            rate: self.0.sampling_frequency().get(),
            channels: self.0.channels().get().into(),
        }
    }

    fn next(&mut self) -> Result<Option<Vec<u8>>, String> {
        let Some(block) = self.0.decode_audio_block().map_err(broken)? else {
            return Ok(None);
        };
        let channels = block.samples();
        let count = channels.first().map_or(0, |channel| channel.len());
        let interleaved =
            (0..count).flat_map(|at| channels.iter().map(move |channel| of_float(channel[at])));
        Ok(Some(bytes_of(interleaved)))
    }
}

fn broken(error: impl std::fmt::Display) -> String {
    format!("is a broken Ogg file: {error}")
}

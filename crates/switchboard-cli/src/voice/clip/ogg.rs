//! Reader of Ogg Opus files (RFC 7845).

use std::io::{Read, Seek};

use anyhow::{Context as _, anyhow};
use ogg::{Packet, PacketReader};
use ropus::{Channels, DecodeMode, Decoder};

use super::{Decode, PcmFormat, sample_bytes};

/// Opus decodes to 48 kHz at every rate of the encoder's input.
const RATE: u32 = 48_000;

/// Maximum samples of a packet per channel: 120 ms.
const PACKET_SAMPLES_MAX: usize = 5_760;

/// Decodes an Ogg Opus file.
pub(super) struct OggOpusReader<R: Read + Seek> {
    packets: PacketReader<R>,
    stream: OpusDecoderState,
    channels: u16,
}

/// The decoder state of one of the chained streams in a file.
struct OpusDecoderState {
    decoder: Decoder,
    /// Samples per channel that are still to be dropped.
    skip: u64,
    /// Samples per channel to drop at the beginning (RFC 7845, section 4.2).
    pre_skip: u64,
    /// Samples per channel decoded so far.
    decoded: u64,
}

impl<R: Read + Seek> OggOpusReader<R> {
    pub(super) fn open(input: R) -> anyhow::Result<Self> {
        let mut packets = PacketReader::new(input);
        let head = read(&mut packets)?.context("is an empty Ogg file")?;
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

    fn next(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        while let Some(packet) = read(&mut self.packets)? {
            if packet.data.starts_with(b"OpusHead") {
                let (channels, stream) = OpusDecoderState::begin(&packet.data)?;
                if channels != self.channels {
                    return Err(anyhow!("changes its number of channels"));
                }
                self.stream = stream;
            } else if !packet.data.starts_with(b"OpusTags") {
                let samples = self.stream.decode(&packet, self.channels.into())?;
                if !samples.is_empty() {
                    return Ok(Some(sample_bytes(samples.into_iter())));
                }
            }
        }
        Ok(None)
    }
}

impl OpusDecoderState {
    fn begin(head: &[u8]) -> anyhow::Result<(u16, Self)> {
        let channels = match (head.get(9), head.get(18)) {
            (Some(1), Some(0)) => Channels::Mono,
            (Some(2), Some(0)) => Channels::Stereo,
            _ => return Err(anyhow!("is an Opus file of more than two channels")),
        };
        let decoder = Decoder::new(RATE, channels);
        let decoder = decoder.context("cannot be decoded")?;
        let pre_skip = u64::from(u16::from_le_bytes([head[10], head[11]]));
        let stream = Self {
            decoder,
            skip: pre_skip,
            pre_skip,
            decoded: 0,
        };
        Ok((u16::from(head[9]), stream))
    }

    /// Decodes a packet and removes the pre-skip and the padding at the end of the stream.
    fn decode(&mut self, packet: &Packet, channels: usize) -> anyhow::Result<Vec<i16>> {
        let mut samples = vec![0; PACKET_SAMPLES_MAX * channels];
        let decoded = self
            .decoder
            .decode(&packet.data, &mut samples, DecodeMode::Normal);
        let count = decoded.context("cannot be decoded")?;
        samples.truncate(count * channels);
        let before = self.decoded;
        self.decoded += count as u64;
        if packet.last_in_stream() {
            // The granule position of the last page ends its last packet: later samples are padding.
            let end = packet.absgp_page().max(self.pre_skip);
            let remaining = usize::try_from(end.saturating_sub(before)).unwrap_or(usize::MAX);
            samples.truncate(remaining.saturating_mul(channels));
        }
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(count);
        self.skip -= skipped as u64;
        samples.drain(..(skipped * channels).min(samples.len()));
        Ok(samples)
    }
}

fn read<R: Read + Seek>(packets: &mut PacketReader<R>) -> anyhow::Result<Option<Packet>> {
    let packet = packets.read_packet();
    packet.context("is a broken Ogg file")
}

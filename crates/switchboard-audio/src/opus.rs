//! Opus in Ogg, RFC 7845, by the crate ropus (libopus in Rust): one packet every 20 ms.
//!
//! The crate opus-rs (0.1.40) is not used for encoding. At 24 kbit/s it attenuates tones: 2 kHz at 2 % of
//! full scale by 25 dB, 10 kHz at 25 % of full scale by 15 dB. In voice mode it uses twice the configured
//! bitrate. The tests use it as a decoder.

use std::fmt;

use bytes::Bytes;
use ropus::{Application, Bitrate, Channels};

use crate::{
    FRAME_SAMPLES, Frame, MixSettings, SAMPLE_RATE,
    encoder::{Codec, EncodeError, FrameEncoder, Packet, PacketDuration},
};

/// Delay of the encoder in samples: 2.5 ms of overlap and 4 ms of delay compensation, as in libopus. A test
/// measures it.
pub(crate) const LOOKAHEAD: u16 = 312;

/// Pre-skip (samples that a decoder drops at the beginning) for a decoder that joins a running stream: 80 ms, after
/// which it has converged (RFC 7845, section 4.6).
pub(crate) const CONVERGENCE: u16 = 3_840;

/// Maximum size of a packet of one frame in bytes, with its first byte (RFC 6716, section 3.4).
const PACKET_MAX: usize = 1_276;

/// A packet of 20 ms of digital silence: CELT, full band, one channel, with the silence flag set. A packet of
/// one byte would make the decoder conceal a loss; this packet decodes to silence in any decoder state.
const SILENCE: &[u8] = &[0xf8, 0xff, 0xfe];

/// The `OpusHead` packet (RFC 7845, section 5.1).
pub(crate) fn head(pre_skip: u16) -> Vec<u8> {
    let mut head = Vec::with_capacity(19);
    head.extend(b"OpusHead");
    head.extend([1, 1]); // version, channels
    head.extend(pre_skip.to_le_bytes());
    head.extend(SAMPLE_RATE.to_le_bytes());
    head.extend([0, 0, 0]); // gain, mapping family
    head
}

/// The `OpusTags` packet (RFC 7845, section 5.2), with a vendor and no comments.
pub(crate) fn tags() -> Vec<u8> {
    const VENDOR: &[u8] = b"switchboard";
    let mut tags = Vec::with_capacity(32);
    tags.extend(b"OpusTags");
    tags.extend((VENDOR.len() as u32).to_le_bytes());
    tags.extend(VENDOR);
    tags.extend(0_u32.to_le_bytes());
    tags
}

/// Opus with the bitrate and complexity of the settings.
#[derive(Debug)]
pub(crate) struct OpusCodec {
    bitrate: u32,
    complexity: u8,
    silence: Packet,
}

impl OpusCodec {
    pub(crate) fn new(settings: &MixSettings) -> Self {
        Self {
            bitrate: settings.opus_bitrate.clamp(6_000, 256_000),
            complexity: settings.opus_complexity.min(10),
            silence: Packet::new(Bytes::from_static(SILENCE), PacketDuration::FRAME),
        }
    }
}

impl Codec for OpusCodec {
    fn encoder(&self) -> Result<Box<dyn FrameEncoder>, EncodeError> {
        // `Audio` selects CELT, which reproduces any mix and takes a fifth of the CPU time of voice mode.
        let encoder = ropus::Encoder::builder(SAMPLE_RATE, Channels::Mono, Application::Audio)
            .bitrate(Bitrate::Bits(self.bitrate))
            .complexity(self.complexity)
            .build();
        let mut encoder = RopusEncoder(encoder.map_err(|_| EncodeError)?);
        // Band energies are coded relative to the previous frame (RFC 6716, section 4.3.2.1). After a silent
        // frame, encoder and decoder agree on them, whatever came before.
        encoder.encode(&[0; FRAME_SAMPLES], &mut Vec::new())?;
        Ok(Box::new(encoder))
    }

    fn follows_silence(&self) -> bool {
        true
    }

    fn silence(&self) -> &Packet {
        &self.silence
    }
}

struct RopusEncoder(ropus::Encoder);

impl FrameEncoder for RopusEncoder {
    fn encode(&mut self, frame: &Frame, packets: &mut Vec<Packet>) -> Result<(), EncodeError> {
        let mut packet = [0; PACKET_MAX];
        let length = self.0.encode(frame, &mut packet).map_err(|_| EncodeError)?;
        let bytes = Bytes::copy_from_slice(&packet[..length.min(PACKET_MAX)]);
        packets.push(Packet::new(bytes, PacketDuration::FRAME));
        Ok(())
    }

    fn finish(&mut self, packets: &mut Vec<Packet>) -> Result<(), EncodeError> {
        self.encode(&[0; FRAME_SAMPLES], packets)
    }
}

impl fmt::Debug for RopusEncoder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RopusEncoder")
            .finish_non_exhaustive()
    }
}

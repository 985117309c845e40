//! RIFF/WAVE: a header that declares an unbounded length, then raw samples.

use bytes::Bytes;

use crate::{
    FRAME_SAMPLES, Frame, SAMPLE_RATE,
    encoder::{Codec, EncodeError, FrameEncoder, Packet, PacketDuration},
};

const BYTES_PER_SAMPLE: u16 = 2;

/// Length field of a stream of unknown length: the maximum value.
const ENDLESS: u32 = u32::MAX;

/// The 44-byte header of each stream.
pub(crate) fn header() -> Bytes {
    let mut header = Vec::with_capacity(44);
    header.extend(b"RIFF");
    header.extend(ENDLESS.to_le_bytes());
    header.extend(b"WAVEfmt ");
    header.extend(16_u32.to_le_bytes());
    header.extend(1_u16.to_le_bytes()); // PCM
    header.extend(1_u16.to_le_bytes()); // channels
    header.extend(SAMPLE_RATE.to_le_bytes());
    header.extend((SAMPLE_RATE * u32::from(BYTES_PER_SAMPLE)).to_le_bytes());
    header.extend(BYTES_PER_SAMPLE.to_le_bytes());
    header.extend((BYTES_PER_SAMPLE * 8).to_le_bytes());
    header.extend(b"data");
    header.extend(ENDLESS.to_le_bytes());
    header.into()
}

/// The WAV codec: raw 16-bit samples.
#[derive(Debug)]
pub(crate) struct WavCodec {
    silence: Packet,
}

impl WavCodec {
    pub(crate) fn new() -> Self {
        static SILENCE: [u8; FRAME_SAMPLES * 2] = [0; FRAME_SAMPLES * 2];
        Self {
            silence: Packet::new(Bytes::from_static(&SILENCE), PacketDuration::FRAME),
        }
    }
}

impl Codec for WavCodec {
    fn encoder(&self) -> Result<Box<dyn FrameEncoder>, EncodeError> {
        Ok(Box::new(PcmEncoder))
    }

    fn silence(&self) -> &Packet {
        &self.silence
    }
}

#[derive(Debug)]
struct PcmEncoder;

impl FrameEncoder for PcmEncoder {
    fn encode(&mut self, frame: &Frame, packets: &mut Vec<Packet>) -> Result<(), EncodeError> {
        let bytes: Vec<u8> = frame.iter().flat_map(|s| s.to_le_bytes()).collect();
        packets.push(Packet::new(bytes.into(), PacketDuration::FRAME));
        Ok(())
    }

    fn finish(&mut self, _packets: &mut Vec<Packet>) -> Result<(), EncodeError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_equals_the_recorded_one_except_its_lengths() {
        let golden = "52494646ffffffff57415645666d7420100000000100010080bb00000077010002001000\
            64617461ffffffff";
        let hex: String = header().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden);
    }
}

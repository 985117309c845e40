//! One encoder behind one mix: when it works, and when it may rest.

use std::{fmt, sync::Arc};

use bytes::Bytes;

use crate::{FRAME_SAMPLES, Frame};

/// After so many frames of digital silence the encoder has nothing left of the sound before, and
/// rests: one packet of silence is repeated instead. One second.
const DTX_AFTER_FRAMES: u32 = 50;

/// After so many its memory is given back. Half a minute.
const DROP_AFTER_FRAMES: u32 = 1_500;

/// A piece of encoded sound. Clones share the bytes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Packet {
    pub(crate) bytes: Bytes,
    pub(crate) duration: PacketDuration,
}

/// How much time a packet takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PacketDuration {
    /// So many samples.
    Samples(u32),
    /// A window that overlaps its neighbours: a quarter of it, in samples. Together with the packet
    /// before, this one gives as many as the two quarters (Vorbis I, 1.3.2).
    Overlapping(u32),
}

/// Why no packet came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EncodeError;

/// A way to encode: makes encoders, and knows what silence looks like when encoded.
pub(crate) trait Codec: fmt::Debug + Send + Sync {
    fn encoder(&self) -> Result<Box<dyn FrameEncoder>, EncodeError>;

    /// A packet of digital silence that fits anywhere in a stream.
    fn silence(&self) -> &Packet;

    /// Whether encoders are made to follow a packet of silence, and decoders have to have had one,
    /// so that both know the same past.
    fn follows_silence(&self) -> bool {
        false
    }
}

/// An encoder of one stream. To change one, implement this.
pub(crate) trait FrameEncoder: fmt::Debug + Send {
    /// Takes 20 ms, gives the packets that are ready.
    fn encode(&mut self, frame: &Frame, packets: &mut Vec<Packet>) -> Result<(), EncodeError>;

    /// Takes so much silence, less than a frame, after a rest. Only where packets are not frames.
    fn encode_silence(
        &mut self,
        _samples: usize,
        _packets: &mut Vec<Packet>,
    ) -> Result<(), EncodeError> {
        Ok(())
    }

    /// Nothing more comes: gives what is still inside.
    fn finish(&mut self, packets: &mut Vec<Packet>) -> Result<(), EncodeError>;
}

impl Packet {
    pub(crate) fn new(bytes: Bytes, span: PacketDuration) -> Self {
        Self {
            bytes,
            duration: span,
        }
    }
}

impl PacketDuration {
    pub(crate) const FRAME: Self = Self::Samples(960);

    /// How many samples can be heard once this packet has followed that one.
    pub(crate) fn after(self, previous: Option<Self>) -> u64 {
        match (self, previous) {
            (Self::Samples(samples), _) => samples.into(),
            (Self::Overlapping(quarter), Some(Self::Overlapping(last))) => {
                u64::from(quarter) + u64::from(last)
            }
            (Self::Overlapping(_), None | Some(Self::Samples(_))) => 0,
        }
    }

    /// How many samples it is when repeated.
    fn repeated(self) -> usize {
        usize::try_from(self.after(Some(self))).unwrap_or(FRAME_SAMPLES)
    }
}

/// An encoder that is made when there is something to encode.
#[derive(Debug)]
pub(crate) struct DtxEncoder {
    codec: Arc<dyn Codec>,
    encoder: Option<Box<dyn FrameEncoder>>,
    /// Whether the last packet was the encoder's.
    is_running: bool,
    /// Whether the next packet has to be silence, for the sake of a decoder that has had none.
    begins_with_silence: bool,
    /// Whether the last packet was silence for that reason alone. Not twice in a row: whoever joined
    /// again and again would keep everybody silent.
    was_hushed: bool,
    silent_frames: u32,
    /// Samples of silence that have passed and are in no packet yet.
    owed: usize,
}

impl DtxEncoder {
    pub(crate) fn new(codec: Arc<dyn Codec>) -> Self {
        Self {
            begins_with_silence: codec.follows_silence(),
            codec,
            encoder: None,
            is_running: false,
            was_hushed: false,
            silent_frames: 0,
            owed: 0,
        }
    }

    pub(crate) fn silence(&self) -> &Packet {
        self.codec.silence()
    }

    /// Somebody listens from the next frame on. True: he comes into the middle of something.
    pub(crate) fn is_joined(&mut self) -> bool {
        let is_running = self.is_running || self.was_hushed;
        self.begins_with_silence |= self.codec.follows_silence() && !is_running;
        is_running
    }

    /// Encodes 20 ms.
    pub(crate) fn encode(&mut self, frame: &Frame, is_silent: bool, packets: &mut Vec<Packet>) {
        self.silent_frames = match is_silent {
            true => self.silent_frames.saturating_add(1),
            false => 0,
        };
        let may_rest = self.encoder.is_none() || self.silent_frames > DTX_AFTER_FRAMES;
        let is_hushed = std::mem::take(&mut self.begins_with_silence);
        self.was_hushed = is_hushed && !is_silent;
        self.is_running = false;
        if is_hushed || (is_silent && may_rest) {
            self.encode_silence(packets);
        } else if self.encode_frame(frame, packets).is_ok() {
            self.is_running = true;
        } else {
            // The stream goes on in time, and the next frame gets a new encoder.
            self.encoder = None;
            self.encode_silence(packets);
        }
    }

    /// Gives what is still inside, at least one packet.
    pub(crate) fn finish(&mut self, packets: &mut Vec<Packet>) {
        if let Some(mut encoder) = self.encoder.take()
            && encoder.finish(packets).is_err()
        {
            packets.clear();
        }
        if packets.is_empty() {
            packets.push(self.codec.silence().clone());
        }
    }

    fn encode_frame(
        &mut self,
        frame: &Frame,
        packets: &mut Vec<Packet>,
    ) -> Result<(), EncodeError> {
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            none => none.insert(self.codec.encoder()?),
        };
        let owed = std::mem::take(&mut self.owed);
        if owed > 0 {
            encoder.encode_silence(owed, packets)?;
        }
        encoder.encode(frame, packets)
    }

    fn encode_silence(&mut self, packets: &mut Vec<Packet>) {
        if self.silent_frames > DROP_AFTER_FRAMES {
            self.encoder = None;
        }
        let silence = self.codec.silence();
        let step = silence.duration.repeated().max(1);
        self.owed += FRAME_SAMPLES;
        while self.owed >= step {
            self.owed -= step;
            packets.push(silence.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MixSettings, opus::OpusCodec};

    /// Encodes a frame of a square wave. Whether there was sound in what came out.
    fn encode(coder: &mut DtxEncoder, amplitude: i16) -> bool {
        let wave = |at| {
            if at / 48 % 2 == 0 {
                amplitude
            } else {
                -amplitude
            }
        };
        let mut packets = Vec::new();
        coder.encode(&std::array::from_fn(wave), amplitude == 0, &mut packets);
        assert_eq!(packets.len(), 1);
        packets != [coder.silence().clone()]
    }

    fn encode_silence(coder: &mut DtxEncoder, frames: u32) -> Vec<bool> {
        (0..frames).map(|_| encode(coder, 0)).collect()
    }

    fn coder() -> DtxEncoder {
        DtxEncoder::new(Arc::new(OpusCodec::new(&MixSettings::default())))
    }

    #[test]
    fn rests_after_a_second_of_silence_and_forgets_after_more() {
        let mut coder = coder();
        assert!(
            !encode(&mut coder, 0) && coder.encoder.is_none(),
            "nothing to encode"
        );
        encode(&mut coder, 1_000);
        assert!(encode(&mut coder, 1_000) && coder.is_running);
        encode_silence(&mut coder, DTX_AFTER_FRAMES);
        assert!(coder.is_running);
        assert!(!encode(&mut coder, 0) && !coder.is_running && coder.encoder.is_some());
        assert!(!encode_silence(&mut coder, DROP_AFTER_FRAMES).contains(&true));
        assert!(coder.encoder.is_none());
    }

    #[test]
    fn encoders_have_gone_silent_by_themselves_when_they_rest() {
        let mut coder = coder();
        while !encode(&mut coder, 20_000) {}
        let sounds = encode_silence(&mut coder, DTX_AFTER_FRAMES);
        assert_eq!(sounds.last(), Some(&false), "{sounds:?}");
    }

    #[test]
    fn nobody_can_keep_others_silent_by_joining() {
        let mut coder = coder();
        let sounds = (0..100).map(|_| {
            coder.is_joined();
            encode(&mut coder, 1_000)
        });
        assert_eq!(sounds.filter(|is_sound| !is_sound).count(), 1);
    }
}

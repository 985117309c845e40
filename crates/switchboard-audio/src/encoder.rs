//! The encoder of one mix, with discontinuous transmission (DTX) during silence.

use std::{fmt, sync::Arc};

use bytes::Bytes;

use crate::{FRAME_SAMPLES, Frame};

/// Frames of digital silence after which the encoder pauses and a packet of silence is repeated in place of its output:
/// 1 s. By then no previous audio is left in the encoder's state.
const DTX_AFTER_FRAMES: u32 = 50;

/// Frames of silence after which the encoder is dropped to free its memory: 30 s.
const DROP_AFTER_FRAMES: u32 = 1_500;

/// An encoded audio packet. Clones share the bytes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Packet {
    pub(crate) bytes: Bytes,
    pub(crate) duration: PacketDuration,
}

/// The duration of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PacketDuration {
    /// A fixed number of samples.
    Samples(u32),
    /// The packet is a window that overlaps the windows of its neighbours; this is a quarter of its length in
    /// samples. A decoder gets from a packet as many samples as its quarter and that of the previous packet together
    /// (Vorbis I, section 1.3.2).
    #[cfg_attr(
        not(feature = "vorbis"),
        allow(dead_code, reason = "only packets of Vorbis overlap")
    )]
    Overlapping(u32),
}

/// The encoder failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EncodeError;

/// A codec: creates encoders and provides an encoded packet of silence.
pub(crate) trait Codec: fmt::Debug + Send + Sync {
    fn encoder(&self) -> Result<Box<dyn FrameEncoder>, EncodeError>;

    /// A packet of digital silence that is valid anywhere in a stream.
    fn silence(&self) -> &Packet;

    /// Whether an encoder and a decoder that start must both process a packet of silence first, so that their states
    /// agree.
    fn follows_silence(&self) -> bool {
        false
    }
}

/// The encoder of one stream.
pub(crate) trait FrameEncoder: fmt::Debug + Send {
    /// Encodes 20 ms and appends the packets that are ready.
    fn encode(&mut self, frame: &Frame, packets: &mut Vec<Packet>) -> Result<(), EncodeError>;

    /// Encodes `samples` of silence, less than a frame, after a pause. For codecs whose packets do not have the length
    /// of a frame: when the pause ends, a part of a packet of silence may be due.
    fn encode_silence(
        &mut self,
        _samples: usize,
        _packets: &mut Vec<Packet>,
    ) -> Result<(), EncodeError> {
        Ok(())
    }

    /// Ends the stream and appends the remaining packets.
    fn finish(&mut self, packets: &mut Vec<Packet>) -> Result<(), EncodeError>;
}

impl Packet {
    pub(crate) fn new(bytes: Bytes, duration: PacketDuration) -> Self {
        Self { bytes, duration }
    }
}

impl PacketDuration {
    pub(crate) const FRAME: Self = Self::Samples(960);

    /// Number of samples that a decoder gets from this packet after `previous`.
    pub(crate) fn after(self, previous: Option<Self>) -> u64 {
        match (self, previous) {
            (Self::Samples(samples), _) => samples.into(),
            (Self::Overlapping(quarter), Some(Self::Overlapping(last))) => {
                u64::from(quarter) + u64::from(last)
            }
            (Self::Overlapping(_), None | Some(Self::Samples(_))) => 0,
        }
    }

    /// Number of samples that a decoder gets from this packet when it is repeated.
    fn repeated(self) -> usize {
        usize::try_from(self.after(Some(self))).unwrap_or(FRAME_SAMPLES)
    }
}

/// An encoder with DTX. The inner encoder is created when there is audio to encode.
#[derive(Debug)]
pub(crate) struct DtxEncoder {
    codec: Arc<dyn Codec>,
    encoder: Option<Box<dyn FrameEncoder>>,
    /// Whether the last packet came from the inner encoder.
    is_running: bool,
    /// Whether the next packet must be silence, for a new decoder that needs one to start with.
    begins_with_silence: bool,
    /// Whether the last packet was silence in place of audio, for a new decoder. There are never two of them in a
    /// row: otherwise repeated joins would silence the stream for all listeners.
    was_forced_silence: bool,
    /// Number of consecutive frames of digital silence.
    silent_frames: u32,
    /// Samples of silence during a pause that are not in any packet yet.
    pending_silence: usize,
}

impl DtxEncoder {
    pub(crate) fn new(codec: Arc<dyn Codec>) -> Self {
        Self {
            begins_with_silence: codec.follows_silence(),
            codec,
            encoder: None,
            is_running: false,
            was_forced_silence: false,
            silent_frames: 0,
            pending_silence: 0,
        }
    }

    pub(crate) fn silence(&self) -> &Packet {
        self.codec.silence()
    }

    /// Prepares for a listener that starts at the next frame. Returns true if it joins a running stream.
    pub(crate) fn prepare_listener(&mut self) -> bool {
        let is_running = self.is_running || self.was_forced_silence;
        self.begins_with_silence |= self.codec.follows_silence() && !is_running;
        is_running
    }

    /// Encodes 20 ms and appends the packets that are ready.
    pub(crate) fn encode(&mut self, frame: &Frame, is_silent: bool, packets: &mut Vec<Packet>) {
        self.silent_frames = match is_silent {
            true => self.silent_frames.saturating_add(1),
            false => 0,
        };
        let may_pause = self.encoder.is_none() || self.silent_frames > DTX_AFTER_FRAMES;
        let is_forced_silence = std::mem::take(&mut self.begins_with_silence);
        self.was_forced_silence = is_forced_silence && !is_silent;
        self.is_running = false;
        if is_forced_silence || (is_silent && may_pause) {
            self.encode_silence(packets);
        } else if self.encode_frame(frame, packets).is_ok() {
            self.is_running = true;
        } else {
            // The encoder has failed. The stream continues with silence, and the next frame creates a new encoder.
            self.encoder = None;
            self.encode_silence(packets);
        }
    }

    /// Ends the stream and appends the remaining packets, at least one.
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
            empty => empty.insert(self.codec.encoder()?),
        };
        let pending_silence = std::mem::take(&mut self.pending_silence);
        if pending_silence > 0 {
            encoder.encode_silence(pending_silence, packets)?;
        }
        encoder.encode(frame, packets)
    }

    fn encode_silence(&mut self, packets: &mut Vec<Packet>) {
        if self.silent_frames > DROP_AFTER_FRAMES {
            self.encoder = None;
        }
        let silence = self.codec.silence();
        let step = silence.duration.repeated().max(1);
        self.pending_silence += FRAME_SAMPLES;
        while self.pending_silence >= step {
            self.pending_silence -= step;
            packets.push(silence.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MixSettings, opus::OpusCodec};

    /// Encodes a frame of a square wave. Returns whether the packet is another one than that of silence.
    fn encode(dtx: &mut DtxEncoder, amplitude: i16) -> bool {
        let wave = |at| {
            if at / 48 % 2 == 0 {
                amplitude
            } else {
                -amplitude
            }
        };
        let mut packets = Vec::new();
        dtx.encode(&std::array::from_fn(wave), amplitude == 0, &mut packets);
        assert_eq!(packets.len(), 1);
        packets != [dtx.silence().clone()]
    }

    /// Encodes frames of silence. Returns for each whether the packet is another one than that of silence.
    fn encode_silence(dtx: &mut DtxEncoder, frames: u32) -> Vec<bool> {
        (0..frames).map(|_| encode(dtx, 0)).collect()
    }

    fn dtx() -> DtxEncoder {
        DtxEncoder::new(Arc::new(OpusCodec::new(&MixSettings::default())))
    }

    #[test]
    fn encoder_pauses_after_a_second_of_silence_and_is_dropped_later() {
        let mut dtx = dtx();
        assert!(
            !encode(&mut dtx, 0) && dtx.encoder.is_none(),
            "an encoder is created although there is no audio to encode"
        );
        encode(&mut dtx, 1_000);
        assert!(encode(&mut dtx, 1_000) && dtx.is_running);
        encode_silence(&mut dtx, DTX_AFTER_FRAMES);
        assert!(dtx.is_running);
        assert!(!encode(&mut dtx, 0) && !dtx.is_running && dtx.encoder.is_some());
        assert!(!encode_silence(&mut dtx, DROP_AFTER_FRAMES).contains(&true));
        assert!(dtx.encoder.is_none());
    }

    #[test]
    fn encoder_output_is_silent_before_the_pause() {
        let mut dtx = dtx();
        while !encode(&mut dtx, 20_000) {}
        let audible = encode_silence(&mut dtx, DTX_AFTER_FRAMES);
        assert_eq!(audible.last(), Some(&false), "{audible:?}");
    }

    #[test]
    fn repeated_joins_do_not_silence_the_stream() {
        let mut dtx = dtx();
        let audible = (0..100).map(|_| {
            dtx.prepare_listener();
            encode(&mut dtx, 1_000)
        });
        assert_eq!(audible.filter(|is_sound| !is_sound).count(), 1);
    }
}

//! Ogg Vorbis, by the crate vorbis_rs (libvorbis with the aoTuV changes).

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::{
    FRAME_SAMPLES, Frame, MixSettings,
    coder::{Codec, EncodeError, Encoder, Packet},
    ogg,
    vorbis_encoder::VorbisStream,
    vorbis_workers::Remote,
};

/// Vorbis of one quality. All its streams have the same headers, which is why listeners can go
/// from one to another.
#[derive(Debug)]
pub(crate) struct Vorbis {
    quality: f32,
    headers: Vec<Bytes>,
    silence: Packet,
}

/// Headers and silence take some 10 ms to make, and nearly always it is the same quality.
static LAST_USED: Mutex<Option<Arc<Vorbis>>> = Mutex::new(None);

impl Vorbis {
    /// Vorbis as the settings want it.
    pub(crate) fn new(settings: &MixSettings) -> Result<Arc<Self>, EncodeError> {
        let quality = match settings.vorbis_quality.is_nan() {
            true => MixSettings::default().vorbis_quality,
            false => settings.vorbis_quality.clamp(-0.2, 1.0),
        };
        let mut last_used = LAST_USED.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last_used {
            Some(vorbis) if vorbis.quality == quality => Ok(vorbis.clone()),
            Some(_) | None => {
                let vorbis = Arc::new(Self::probe(quality)?);
                *last_used = Some(vorbis.clone());
                Ok(vorbis)
            }
        }
    }

    /// The three header packets (Vorbis I, 4.2).
    pub(crate) fn headers(&self) -> (&Bytes, &[Bytes]) {
        (&self.headers[0], &self.headers[1..])
    }

    /// Encodes a little silence, to see what it looks like.
    fn probe(quality: f32) -> Result<Self, EncodeError> {
        let (mut stream, headers) = VorbisStream::new(quality)?;
        let fit = |packets: &[Bytes]| {
            packets
                .iter()
                .map(|packet| ogg::segments(packet))
                .sum::<usize>()
                <= ogg::SEGMENTS_MAX
        };
        if headers.len() != 3 || !fit(&headers) {
            return Err(EncodeError);
        }
        let mut packets = Vec::new();
        for _ in 0..20 {
            stream.encode(&[0.0; FRAME_SAMPLES], &mut packets)?;
        }
        let silence = packets.pop().ok_or(EncodeError)?;
        Ok(Self {
            quality,
            headers,
            silence,
        })
    }
}

impl Codec for Vorbis {
    fn encoder(&self) -> Result<Box<dyn Encoder>, EncodeError> {
        Ok(Box::new(ByVorbisRs(Remote::new(self.quality)?)))
    }

    fn silence(&self) -> &Packet {
        &self.silence
    }
}

#[derive(Debug)]
struct ByVorbisRs(Remote);

impl Encoder for ByVorbisRs {
    fn encode(&mut self, frame: &Frame, packets: &mut Vec<Packet>) -> Result<(), EncodeError> {
        let samples = frame.iter().map(|&sample| f32::from(sample) / 32_768.0);
        self.0.encode(samples.collect(), packets)
    }

    fn encode_silence(
        &mut self,
        samples: usize,
        packets: &mut Vec<Packet>,
    ) -> Result<(), EncodeError> {
        self.0.encode(vec![0.0; samples], packets)
    }

    fn finish(&mut self, packets: &mut Vec<Packet>) -> Result<(), EncodeError> {
        self.0.finish(packets)
    }
}

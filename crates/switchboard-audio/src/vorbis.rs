//! Ogg Vorbis, by the crate vorbis_rs (libvorbis with the aoTuV changes).

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::{
    FRAME_SAMPLES, Frame, MixSettings,
    encoder::{Codec, EncodeError, FrameEncoder, Packet},
    ogg,
    vorbis_encoder::VorbisStream,
    vorbis_workers::RemoteEncoder,
};

/// Vorbis of one quality. All of its streams have the same headers, so listeners can move between them.
#[derive(Debug)]
pub(crate) struct VorbisCodec {
    quality: f32,
    headers: Vec<Bytes>,
    silence: Packet,
}

/// Cache of the last codec, because it takes about 10 ms to make the headers and the packet of silence, and the quality
/// rarely changes.
static LAST_USED: Mutex<Option<Arc<VorbisCodec>>> = Mutex::new(None);

impl VorbisCodec {
    /// Creates the codec for the quality of the settings, or returns the cached one.
    pub(crate) fn new(settings: &MixSettings) -> Result<Arc<Self>, EncodeError> {
        let quality = match settings.vorbis_quality.is_nan() {
            true => MixSettings::default().vorbis_quality,
            false => settings.vorbis_quality.clamp(-0.2, 1.0),
        };
        let mut last_used = LAST_USED.lock();
        match &*last_used {
            Some(vorbis) if vorbis.quality == quality => Ok(vorbis.clone()),
            Some(_) | None => {
                let vorbis = Arc::new(Self::probe(quality)?);
                *last_used = Some(vorbis.clone());
                Ok(vorbis)
            }
        }
    }

    /// The three header packets: the first, and the other two (Vorbis I, section 4.2).
    pub(crate) fn headers(&self) -> (&Bytes, &[Bytes]) {
        (&self.headers[0], &self.headers[1..])
    }

    /// Encodes silence to obtain the headers and the packet of silence.
    fn probe(quality: f32) -> Result<Self, EncodeError> {
        let (mut stream, headers) = VorbisStream::new(quality)?;
        let fits_on_a_page = |packets: &[Bytes]| {
            packets
                .iter()
                .map(|packet| ogg::segments(packet))
                .sum::<usize>()
                <= ogg::SEGMENTS_MAX
        };
        if headers.len() != 3 || !fits_on_a_page(&headers) {
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

impl Codec for VorbisCodec {
    fn encoder(&self) -> Result<Box<dyn FrameEncoder>, EncodeError> {
        let encoder = VorbisRsEncoder::new(self.quality)?;
        Ok(Box::new(encoder))
    }

    fn silence(&self) -> &Packet {
        &self.silence
    }
}

#[derive(Debug)]
struct VorbisRsEncoder {
    remote: RemoteEncoder,
    /// Samples of silence to encode before the next frame.
    pending_silence: usize,
}

impl VorbisRsEncoder {
    fn new(quality: f32) -> Result<Self, EncodeError> {
        let remote = RemoteEncoder::new(quality)?;
        Ok(Self {
            remote,
            pending_silence: 0,
        })
    }
}

impl FrameEncoder for VorbisRsEncoder {
    fn encode(&mut self, frame: &Frame, packets: &mut Vec<Packet>) -> Result<(), EncodeError> {
        let silence = std::iter::repeat_n(0.0, std::mem::take(&mut self.pending_silence));
        let samples = frame.iter().map(|&sample| f32::from(sample) / 32_768.0);
        self.remote
            .encode(silence.chain(samples).collect(), packets)
    }

    fn encode_silence(
        &mut self,
        samples: usize,
        _packets: &mut Vec<Packet>,
    ) -> Result<(), EncodeError> {
        self.pending_silence += samples;
        Ok(())
    }

    fn finish(&mut self, packets: &mut Vec<Packet>) -> Result<(), EncodeError> {
        self.remote.finish(packets)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::encoder::DtxEncoder;

    /// A codec whose first encoder makes its worker thread panic.
    #[derive(Debug)]
    struct PanickingCodec {
        vorbis: Arc<VorbisCodec>,
        made: AtomicU32,
    }

    impl Codec for PanickingCodec {
        fn encoder(&self) -> Result<Box<dyn FrameEncoder>, EncodeError> {
            let mut encoder = VorbisRsEncoder::new(self.vorbis.quality)?;
            if self.made.fetch_add(1, Ordering::Relaxed) == 0 {
                encoder.remote.panic();
            }
            Ok(Box::new(encoder))
        }

        fn silence(&self) -> &Packet {
            &self.vorbis.silence
        }
    }

    #[test]
    fn stream_continues_with_a_new_encoder_after_a_panic() {
        let vorbis = VorbisCodec::new(&MixSettings::default()).expect("Vorbis");
        let codec = Arc::new(PanickingCodec {
            vorbis,
            made: AtomicU32::new(0),
        });
        let mut encoder = DtxEncoder::new(codec.clone());
        let mut packets = Vec::new();
        let wave: Frame = std::array::from_fn(|at| (at / 48 % 2) as i16 * 10_000);
        (0..50).for_each(|_| encoder.encode(&wave, false, &mut packets));
        assert_eq!(codec.made.load(Ordering::Relaxed), 2);
        let audible = packets.iter().filter(|packet| *packet != encoder.silence());
        assert!(audible.count() > 35);
    }
}

//! One mix in one format: an encoder and its listeners.

use std::sync::Arc;

use bytes::Bytes;

#[cfg(feature = "vorbis")]
use crate::vorbis::VorbisCodec;
use crate::{
    AudioSink, Format, Frame, MixSettings,
    encoder::{Codec, DtxEncoder, EncodeError, Packet},
    listener::MixListener,
    ogg::OggMuxer,
    opus::{self, OpusCodec},
    sum,
    wav::{self, WavCodec},
};

/// The sources that a mix contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MixKind {
    /// All sources.
    Full,
    /// All sources except this owner's.
    Without(u64),
}

/// One mix encoded in one format, with its listeners.
#[derive(Debug)]
pub(crate) struct MixStream<O> {
    pub(crate) mix: MixKind,
    pub(crate) format: Format,
    pub(crate) listeners: Vec<MixListener<O>>,
    headers: StreamHeaders,
    encoder: DtxEncoder,
    /// The packets of the current frame; kept to reuse its memory.
    packets: Vec<Packet>,
}

/// The headers that a listener's stream of this format begins with.
#[derive(Debug)]
enum StreamHeaders {
    Wav(Bytes),
    Opus,
    #[cfg(feature = "vorbis")]
    Vorbis(Arc<VorbisCodec>),
}

impl<O: AudioSink> MixStream<O> {
    pub(crate) fn new(
        mix: MixKind,
        format: Format,
        settings: &MixSettings,
    ) -> Result<Self, EncodeError> {
        let (headers, codec): (_, Arc<dyn Codec>) = match format {
            Format::Wav => (StreamHeaders::Wav(wav::header()), Arc::new(WavCodec::new())),
            Format::Opus => (StreamHeaders::Opus, Arc::new(OpusCodec::new(settings))),
            #[cfg(not(feature = "vorbis"))]
            Format::Vorbis => return Err(EncodeError),
            #[cfg(feature = "vorbis")]
            Format::Vorbis => {
                let vorbis = VorbisCodec::new(settings)?;
                (StreamHeaders::Vorbis(vorbis.clone()), vorbis)
            }
        };
        Ok(Self {
            mix,
            format,
            listeners: Vec::new(),
            headers,
            encoder: DtxEncoder::new(codec),
            packets: Vec::new(),
        })
    }

    /// Adds a listener and sends it the headers of its own stream. A sink that rejects the headers is dropped.
    pub(crate) fn add_listener(&mut self, owner: u64, serial: u32, mut sink: O) {
        let silence = self.encoder.silence().clone();
        let (muxer, headers) = match &self.headers {
            StreamHeaders::Wav(header) => (None, header.clone()),
            StreamHeaders::Opus => {
                // The pre-skip is the number of samples that a decoder drops at the beginning. A decoder that joins a
                // running stream needs some packets until its output is right, so it drops more than the delay of the
                // encoder. The muxer counts that delay only, so the stream ends on time, and its sound is shorter by
                // the other dropped samples.
                let pre_skip = match self.encoder.prepare_listener() {
                    true => opus::CONVERGENCE,
                    false => opus::LOOKAHEAD,
                };
                let mut muxer = OggMuxer::new(serial, opus::LOOKAHEAD.into(), silence);
                let pages = muxer.headers(&opus::head(pre_skip), &[opus::tags().into()]);
                (Some(muxer), pages)
            }
            #[cfg(feature = "vorbis")]
            StreamHeaders::Vorbis(vorbis) => {
                let mut muxer = OggMuxer::new(serial, 0, silence);
                let (first, others) = vorbis.headers();
                let pages = muxer.headers(first, others);
                (Some(muxer), pages)
            }
        };
        if sink.send(headers) {
            self.listeners.push(MixListener::new(owner, sink, muxer));
        }
    }

    /// Moves a listener here from another mix. Its stream continues without new headers.
    pub(crate) fn adopt_listener(&mut self, listener: MixListener<O>) {
        self.encoder.prepare_listener();
        self.listeners.push(listener);
    }

    /// Encodes 20 ms and sends the packets. Removes listeners whose sink rejects them.
    pub(crate) fn render(&mut self, frame: &Frame) {
        if self.listeners.is_empty() {
            return;
        }
        self.packets.clear();
        let is_silent = sum::is_silent(frame);
        self.encoder.encode(frame, is_silent, &mut self.packets);
        self.listeners
            .retain_mut(|listener| listener.push_packets(&self.packets));
    }

    /// Finishes the stream of every listener.
    pub(crate) fn end(mut self) {
        self.packets.clear();
        self.encoder.finish(&mut self.packets);
        for listener in &mut self.listeners {
            listener.end(&self.packets);
        }
    }
}

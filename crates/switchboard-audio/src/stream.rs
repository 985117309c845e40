//! One (mix, format): an encoder, and all who hear the same.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    AudioSink, Format, Frame, MixSettings,
    encoder::{Codec, DtxEncoder, EncodeError, Packet},
    listener::MixListener,
    ogg::OggMuxer,
    opus::{self, OpusCodec},
    sum,
    vorbis::VorbisCodec,
    wav::{self, WavCodec},
};

/// What is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MixKind {
    /// Everybody.
    Full,
    /// Everybody but this owner.
    Without(u64),
}

/// One mix in one format.
#[derive(Debug)]
pub(crate) struct MixStream<O> {
    pub(crate) mix: MixKind,
    pub(crate) format: Format,
    pub(crate) listeners: Vec<MixListener<O>>,
    headers: StreamHeaders,
    coder: DtxEncoder,
    packets: Vec<Packet>,
}

/// How a listener of this format begins.
#[derive(Debug)]
enum StreamHeaders {
    Wav(Bytes),
    Opus,
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
            coder: DtxEncoder::new(codec),
            packets: Vec::new(),
        })
    }

    /// Begins a stream of his own for this listener. A listener who takes no headers is dropped.
    pub(crate) fn add_listener(&mut self, owner: u64, serial: u32, mut outlet: O) {
        let silence = self.coder.silence().clone();
        let (pager, headers) = match &self.headers {
            StreamHeaders::Wav(header) => (None, header.clone()),
            StreamHeaders::Opus => {
                let pre_skip = match self.coder.is_joined() {
                    true => opus::CONVERGENCE,
                    false => opus::LOOKAHEAD,
                };
                let mut pager = OggMuxer::new(serial, opus::LOOKAHEAD.into(), silence);
                let pages = pager.headers(&opus::head(pre_skip), &[opus::tags().into()]);
                (Some(pager), pages)
            }
            StreamHeaders::Vorbis(vorbis) => {
                let mut pager = OggMuxer::new(serial, 0, silence);
                let (first, others) = vorbis.headers();
                let pages = pager.headers(first, others);
                (Some(pager), pages)
            }
        };
        if outlet.send(headers) {
            self.listeners.push(MixListener::new(owner, outlet, pager));
        }
    }

    /// Takes over a listener of another mix, whose stream goes on.
    pub(crate) fn adopt_listener(&mut self, listener: MixListener<O>) {
        self.coder.is_joined();
        self.listeners.push(listener);
    }

    /// Encodes 20 ms and sends them; forgets the listeners who do not take them.
    pub(crate) fn render(&mut self, frame: &Frame) {
        if self.listeners.is_empty() {
            return;
        }
        self.packets.clear();
        let is_silent = sum::is_silent(frame);
        self.coder.encode(frame, is_silent, &mut self.packets);
        self.listeners
            .retain_mut(|listener| listener.push_packets(&self.packets));
    }

    /// Sends everybody the end.
    pub(crate) fn end(mut self) {
        self.packets.clear();
        self.coder.finish(&mut self.packets);
        for listener in &mut self.listeners {
            listener.end(&self.packets);
        }
    }
}

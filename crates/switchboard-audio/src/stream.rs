//! One (mix, format): an encoder, and all who hear the same.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    Format, Frame, MixSettings, Outlet,
    coder::{Codec, Coder, EncodeError, Packet},
    listener::Listener,
    ogg::Pager,
    opus::{self, Opus},
    sum,
    vorbis::Vorbis,
    wav::{self, Wav},
};

/// What is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mix {
    /// Everybody.
    Full,
    /// Everybody but this owner.
    Without(u64),
}

/// One mix in one format.
#[derive(Debug)]
pub(crate) struct Stream<O> {
    pub(crate) mix: Mix,
    pub(crate) format: Format,
    pub(crate) listeners: Vec<Listener<O>>,
    headers: Headers,
    coder: Coder,
    packets: Vec<Packet>,
}

/// How a listener of this format begins.
#[derive(Debug)]
enum Headers {
    Wav(Bytes),
    Opus,
    Vorbis(Arc<Vorbis>),
}

impl<O: Outlet> Stream<O> {
    pub(crate) fn new(
        mix: Mix,
        format: Format,
        settings: &MixSettings,
    ) -> Result<Self, EncodeError> {
        let (headers, codec): (_, Arc<dyn Codec>) = match format {
            Format::Wav => (Headers::Wav(wav::header()), Arc::new(Wav::new())),
            Format::Opus => (Headers::Opus, Arc::new(Opus::new(settings))),
            Format::Vorbis => {
                let vorbis = Vorbis::new(settings)?;
                (Headers::Vorbis(vorbis.clone()), vorbis)
            }
        };
        Ok(Self {
            mix,
            format,
            listeners: Vec::new(),
            headers,
            coder: Coder::new(codec),
            packets: Vec::new(),
        })
    }

    /// Begins a stream of his own for this listener. A listener who takes no headers is dropped.
    pub(crate) fn welcome(&mut self, owner: u64, serial: u32, mut outlet: O) {
        let silence = self.coder.silence().clone();
        let (pager, headers) = match &self.headers {
            Headers::Wav(header) => (None, header.clone()),
            Headers::Opus => {
                let pre_skip = match self.coder.is_joined() {
                    true => opus::CONVERGENCE,
                    false => opus::LOOKAHEAD,
                };
                let mut pager = Pager::new(serial, opus::LOOKAHEAD.into(), silence);
                let pages = pager.headers(&opus::head(pre_skip), &[opus::tags().into()]);
                (Some(pager), pages)
            }
            Headers::Vorbis(vorbis) => {
                let mut pager = Pager::new(serial, 0, silence);
                let (first, others) = vorbis.headers();
                let pages = pager.headers(first, others);
                (Some(pager), pages)
            }
        };
        if outlet.send(headers) {
            self.listeners.push(Listener::new(owner, outlet, pager));
        }
    }

    /// Takes over a listener of another mix, whose stream goes on.
    pub(crate) fn take_over(&mut self, listener: Listener<O>) {
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
            .retain_mut(|listener| listener.take(&self.packets));
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

//! One mix in one format: an encoder and its listeners.

use std::sync::Arc;

use bytes::Bytes;

#[cfg(feature = "vorbis")]
use crate::vorbis::VorbisCodec;
use crate::{
    AudioSink, Format, Frame, MixSettings,
    encoder::{Codec, DtxEncoder, EncodeError, Packet},
    history::PacketHistory,
    latency::Latency,
    listener::{MixListener, PageRange, PageSent},
    ogg::OggMuxer,
    opus::{self, OpusCodec},
    schedule::PageSchedule,
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
    listeners: PageSchedule<O>,
    headers: StreamHeaders,
    encoder: DtxEncoder,
    history: PacketHistory,
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
            listeners: PageSchedule::new(),
            headers,
            encoder: DtxEncoder::new(codec),
            history: PacketHistory::default(),
            packets: Vec::new(),
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.listeners.is_empty()
    }

    pub(crate) fn listeners(&self) -> impl Iterator<Item = &MixListener<O>> {
        self.listeners.listeners()
    }

    /// Adds a listener and sends it the headers of its own stream. A sink that rejects the headers is dropped.
    /// `participates`: whether its owner has a source.
    pub(crate) fn add_listener(
        &mut self,
        (owner, participates): (u64, bool),
        latency: Latency,
        serial: u32,
        mut sink: O,
    ) {
        let is_running = self.encoder.prepare_listener();
        let (muxer, headers) = self.begin_container(serial, is_running);
        if !sink.send(headers.into()) {
            return;
        }
        let next = self.history.next_frame();
        let (recent, silent) = self.frames_before(latency, participates, is_running);
        let mut listener = MixListener::new(owner, sink, muxer, latency, next - recent);
        listener.set_participates(participates, self.format);
        listener.prepend_silence(self.encoder.silence(), silent);
        self.listeners.insert(next, Box::new(listener));
    }

    /// The muxer and the headers of a new listener. `is_running`: whether it joins a running stream.
    fn begin_container(&self, serial: u32, is_running: bool) -> (Option<OggMuxer>, Bytes) {
        match &self.headers {
            StreamHeaders::Wav(header) => (None, header.clone()),
            StreamHeaders::Opus => {
                // The pre-skip is the number of samples that a decoder drops at the beginning. A decoder that joins a
                // running stream needs some packets until its output is right, so it drops more than the delay of the
                // encoder. The muxer counts that delay only, so the stream ends on time, and its sound is shorter by
                // the other dropped samples.
                let pre_skip = match is_running {
                    true => opus::CONVERGENCE,
                    false => opus::LOOKAHEAD,
                };
                let mut muxer = OggMuxer::new(serial, opus::LOOKAHEAD.into());
                let pages = muxer.headers(opus::head(pre_skip).into(), &[opus::tags().into()]);
                (Some(muxer), pages)
            }
            #[cfg(feature = "vorbis")]
            StreamHeaders::Vorbis(vorbis) => {
                let mut muxer = OggMuxer::new(serial, 0);
                let (first, others) = vorbis.headers();
                let pages = muxer.headers(first.clone(), others);
                (Some(muxer), pages)
            }
        }
    }

    /// The numbers of recent frames and of frames of silence that the first page of a listener begins with. A player
    /// starts with the first page; if it were short and the second one long, the player would have no audio until the
    /// second one comes. The first page is therefore as long as the later ones: it is filled up with recent frames of
    /// the mix, or with silence if the mix was silent.
    fn frames_before(&self, latency: Latency, participates: bool, is_running: bool) -> (u64, u64) {
        if participates || latency <= Latency::of_conversation(self.format) {
            return (0, 0);
        }
        let before = latency.frames() - 1;
        if !is_running {
            return (0, before);
        }
        let dropped = match self.format {
            Format::Opus => u64::from(opus::CONVERGENCE) / crate::FRAME_SAMPLES as u64,
            Format::Vorbis | Format::Wav => 0,
        };
        let recent = (before + dropped).min(self.history.next_frame());
        (recent, before + dropped - recent)
    }

    /// Removes and returns the listeners that do not belong to this mix any more, and updates the latency of all.
    /// `mix_for` returns the mix of an owner, and whether the owner has a source.
    pub(crate) fn update_listeners(
        &mut self,
        mix_for: impl Fn(u64) -> (MixKind, bool),
    ) -> Vec<Box<MixListener<O>>> {
        let (mix, format) = (self.mix, self.format);
        let due_or_moved = self.listeners.extract_if(|listener| {
            let (own_mix, participates) = mix_for(listener.owner);
            listener.set_participates(participates, format) || own_mix != mix
        });
        let (due, mut moved): (Vec<_>, Vec<_>) = due_or_moved
            .into_iter()
            .partition(|listener| mix_for(listener.owner).0 == mix);
        // Pages that have become shorter are due with the next frame.
        for listener in due {
            self.listeners.insert(self.history.next_frame(), listener);
        }
        for listener in &mut moved {
            listener.detach(&self.history);
        }
        moved
    }

    /// Moves a listener here from another mix. Its stream continues without new headers.
    pub(crate) fn adopt_listener(&mut self, mut listener: Box<MixListener<O>>) {
        self.encoder.prepare_listener();
        listener.attach(&self.history);
        self.listeners.insert(self.history.next_frame(), listener);
    }

    /// Encodes 20 ms and sends the pages that are due. Removes listeners whose sink rejects them.
    pub(crate) fn render(&mut self, frame: &Frame) {
        if self.listeners.is_empty() {
            return;
        }
        self.packets.clear();
        let is_silent = sum::is_silent(frame);
        self.encoder.encode(frame, is_silent, &mut self.packets);
        let now = self.history.next_frame();
        self.history.push_frame(&self.packets);
        self.send_pages(now);
    }

    /// Sends the pages that are due with frame `now`, which is the last one of the history.
    fn send_pages(&mut self, now: u64) {
        let mut due = self.listeners.take_due(now);
        let mut ranges: Vec<PageRange> = Vec::new();
        for mut listener in due.drain(..) {
            let from = listener.next_frame();
            let at = ranges.iter().position(|range| range.from() == from);
            let at = at.unwrap_or_else(|| {
                ranges.push(PageRange::new(from, &self.history, self.format));
                ranges.len() - 1
            });
            let sent = listener.send_page(&ranges[at], &self.history, self.encoder.silence());
            let next = match sent {
                PageSent::Rejected => continue,
                PageSent::Empty => now + 1,
                PageSent::Sent if listener.has_cadence => now + listener.latency.frames(),
                PageSent::Sent => {
                    listener.has_cadence = true;
                    let frames = listener.latency.frames();
                    self.listeners.least_loaded(now, frames)
                }
            };
            self.listeners.insert(next, listener);
        }
        self.listeners.reuse(now, due);
    }

    /// Finishes the stream of every listener.
    pub(crate) fn end(mut self) {
        self.packets.clear();
        self.encoder.finish(&mut self.packets);
        let silence = self.encoder.silence().clone();
        for mut listener in self.listeners.extract_if(|_| true) {
            listener.end(&self.history, &self.packets, &silence);
        }
    }
}

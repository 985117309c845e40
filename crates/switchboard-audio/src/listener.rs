//! One listener of a stream: its sink, its pages and their latency.

use bytes::Bytes;

use crate::{
    AudioChunk, Format, Latency,
    encoder::Packet,
    history::PacketHistory,
    ogg::{OggMuxer, PageBody},
};

/// The stream that a listener requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerStream {
    /// The encoding.
    pub format: Format,
    /// How long audio is gathered before it is sent, while the listener has no source. `None`: as the settings say
    /// ([`MixSettings::listener_latency`](crate::MixSettings::listener_latency)).
    pub latency: Option<Latency>,
}

impl From<Format> for ListenerStream {
    fn from(format: Format) -> Self {
        Self {
            format,
            latency: None,
        }
    }
}

/// Receives the encoded bytes of one listener, for example a bounded queue in front of a socket.
pub trait AudioSink: Send {
    /// Accepts the next chunk of the stream without blocking. Returns false if the listener is gone or too slow;
    /// the mixer then removes it.
    fn send(&mut self, chunk: AudioChunk) -> bool;

    /// Whether the listener is still connected.
    fn is_open(&self) -> bool;
}

/// One listener of a stream.
#[derive(Debug)]
pub(crate) struct MixListener<O> {
    pub(crate) owner: u64,
    sink: O,
    /// The listener's logical Ogg stream. `None`: packets are sent without a container.
    muxer: Option<OggMuxer>,
    /// The latency while the owner has no source.
    requested: Latency,
    /// The current latency.
    pub(crate) latency: Latency,
    /// Whether the last page was of this latency, so that the next one is due this much later. Otherwise the schedule
    /// chooses the frame of the next page.
    pub(crate) has_cadence: bool,
    /// The first frame of the stream whose packets are not in a page or in `pending` yet.
    next_frame: u64,
    /// Packets for the next page, before those of the stream: of another mix, or silence.
    pending: Vec<Packet>,
}

/// The range of a stream that a listener gets on a page: the frames from one on. Listeners with the same range share
/// its body.
#[derive(Debug)]
pub(crate) struct PageRange {
    from: u64,
    body: Option<PageBody>,
    /// All packets in sequence, for streams without a container.
    bytes: Bytes,
}

impl PageRange {
    pub(crate) fn new(from: u64, history: &PacketHistory, format: Format) -> Self {
        let packets = history.since(from);
        let (body, bytes) = match format {
            Format::Wav => (None, concatenated(packets)),
            Format::Opus | Format::Vorbis => (PageBody::new(packets), Bytes::new()),
        };
        Self { from, body, bytes }
    }

    pub(crate) fn from(&self) -> u64 {
        self.from
    }
}

/// The result of sending a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PageSent {
    Sent,
    /// There is no sound to send yet: the page is due again with the next frame.
    Empty,
    /// The sink rejects the page: the listener is to be removed.
    Rejected,
}

impl<O: AudioSink> MixListener<O> {
    /// Creates a listener whose next page begins with frame `next_frame` of its stream.
    pub(crate) fn new(
        owner: u64,
        sink: O,
        muxer: Option<OggMuxer>,
        requested: Latency,
        next_frame: u64,
    ) -> Self {
        Self {
            owner,
            sink,
            muxer,
            requested,
            latency: requested,
            has_cadence: false,
            next_frame,
            pending: Vec::new(),
        }
    }

    /// Puts this many frames of silence before the next page.
    pub(crate) fn prepend_silence(&mut self, silence: &Packet, frames: u64) {
        let mut samples = 0;
        while samples < frames * crate::FRAME_SAMPLES as u64 {
            samples += silence.duration.after(Some(silence.duration)).max(1);
            self.pending.push(silence.clone());
        }
        self.advance(frames);
    }

    /// The first frame of the next page.
    pub(crate) fn next_frame(&self) -> u64 {
        self.next_frame
    }

    /// Sets the latency by whether the owner has a source. Returns whether pages have become shorter.
    pub(crate) fn set_participates(&mut self, participates: bool, format: Format) -> bool {
        let latency = match participates {
            true => self.requested.min(Latency::of_conversation(format)),
            false => self.requested,
        };
        let previous = std::mem::replace(&mut self.latency, latency);
        self.has_cadence &= previous == latency;
        latency < previous
    }

    /// Sends the packets of the frames since the last page.
    pub(crate) fn send_page(
        &mut self,
        range: &PageRange,
        history: &PacketHistory,
        silence: &Packet,
    ) -> PageSent {
        let frames = history.next_frame() - self.next_frame;
        self.next_frame = history.next_frame();
        self.advance(frames);
        let is_shared = self.pending.is_empty();
        let page = match &mut self.muxer {
            None if is_shared => Some(range.bytes.clone().into()),
            None => {
                self.pending.extend(history.since(range.from).cloned());
                let bytes = concatenated(self.pending.iter());
                self.pending.clear();
                Some(bytes.into())
            }
            Some(muxer) => {
                let body = range.body.as_ref().filter(|_| is_shared);
                body.and_then(|body| muxer.shared_page(body)).or_else(|| {
                    self.pending.extend(history.since(range.from).cloned());
                    let pages = muxer.own_pages(&mut self.pending, frames, silence);
                    pages.map(AudioChunk::from)
                })
            }
        };
        match page.map(|page| self.sink.send(page)) {
            None => PageSent::Empty,
            Some(true) => PageSent::Sent,
            Some(false) => PageSent::Rejected,
        }
    }

    /// Takes the packets of the stream that are not in a page yet, before the listener moves to another stream or ends.
    pub(crate) fn detach(&mut self, history: &PacketHistory) {
        self.pending.extend(history.since(self.next_frame).cloned());
        self.advance(history.next_frame() - self.next_frame);
        self.next_frame = history.next_frame();
    }

    /// Continues with the next frame of another stream.
    pub(crate) fn attach(&mut self, history: &PacketHistory) {
        self.next_frame = history.next_frame();
    }

    /// Sends the end of the stream, with the last packets of the encoder.
    pub(crate) fn end(&mut self, history: &PacketHistory, packets: &[Packet], silence: &Packet) {
        self.detach(history);
        let pending = std::mem::take(&mut self.pending);
        match &mut self.muxer {
            Some(muxer) => {
                self.sink.send(muxer.end(pending, packets, silence).into());
            }
            None if pending.is_empty() => {}
            None => {
                self.sink.send(concatenated(pending.iter()).into());
            }
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.sink.is_open()
    }

    fn advance(&mut self, frames: u64) {
        if let Some(muxer) = &mut self.muxer {
            muxer.advance(frames);
        }
    }
}

/// The bytes of the packets in sequence; those of a single packet are not copied.
fn concatenated<'a>(mut packets: impl Iterator<Item = &'a Packet> + Clone) -> Bytes {
    let all = packets.clone();
    match (packets.next(), packets.next()) {
        (Some(only), None) => only.bytes.clone(),
        (_, _) => {
            let mut bytes = Vec::with_capacity(all.clone().map(|packet| packet.bytes.len()).sum());
            all.for_each(|packet| bytes.extend(&packet.bytes));
            bytes.into()
        }
    }
}

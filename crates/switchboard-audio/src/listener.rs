//! One listener: where the bytes go, and how they are framed.

use bytes::Bytes;

use crate::{encoder::Packet, ogg::OggMuxer};

/// What a listener's bytes go to: a bounded queue in front of a socket, say.
pub trait AudioSink: Send {
    /// Takes some more of the stream, without waiting. False: the listener is gone, or too slow,
    /// and is to be forgotten.
    fn send(&mut self, bytes: Bytes) -> bool;

    /// Whether the listener is still there.
    fn is_open(&self) -> bool;
}

/// One listener of a stream.
#[derive(Debug)]
pub(crate) struct MixListener<O> {
    pub(crate) owner: u64,
    sink: O,
    /// His logical stream. None: packets go as they are.
    muxer: Option<OggMuxer>,
}

impl<O: AudioSink> MixListener<O> {
    pub(crate) fn new(owner: u64, outlet: O, pager: Option<OggMuxer>) -> Self {
        Self {
            owner,
            sink: outlet,
            muxer: pager,
        }
    }

    /// Sends what came out in one frame. False: forget him.
    pub(crate) fn push_packets(&mut self, packets: &[Packet]) -> bool {
        let Self {
            sink: outlet,
            muxer: pager,
            ..
        } = self;
        match pager {
            Some(pager) => pager
                .push_packets(packets)
                .is_none_or(|page| outlet.send(page)),
            None => packets
                .iter()
                .all(|packet| outlet.send(packet.bytes.clone())),
        }
    }

    /// Sends the end of the stream.
    pub(crate) fn end(&mut self, packets: &[Packet]) {
        if let Some(pager) = &mut self.muxer {
            self.sink.send(pager.end(packets));
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.sink.is_open()
    }
}

//! One listener of a stream: its sink and its Ogg framing.

use bytes::Bytes;

use crate::{encoder::Packet, ogg::OggMuxer};

/// Receives the encoded bytes of one listener, for example a bounded queue in front of a socket.
pub trait AudioSink: Send {
    /// Accepts more bytes of the stream without blocking. Returns false if the listener is gone or too slow;
    /// the mixer then removes it.
    fn send(&mut self, bytes: Bytes) -> bool;

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
}

impl<O: AudioSink> MixListener<O> {
    pub(crate) fn new(owner: u64, sink: O, muxer: Option<OggMuxer>) -> Self {
        Self { owner, sink, muxer }
    }

    /// Sends the packets of one frame. Returns false if the listener is to be removed.
    pub(crate) fn push_packets(&mut self, packets: &[Packet]) -> bool {
        let Self { sink, muxer, .. } = self;
        match muxer {
            Some(muxer) => muxer
                .push_packets(packets)
                .is_none_or(|page| sink.send(page)),
            None => packets.iter().all(|packet| sink.send(packet.bytes.clone())),
        }
    }

    /// Sends the end of the stream.
    pub(crate) fn end(&mut self, packets: &[Packet]) {
        if let Some(muxer) = &mut self.muxer {
            self.sink.send(muxer.end(packets));
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.sink.is_open()
    }
}

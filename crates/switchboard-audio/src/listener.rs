//! One listener: where the bytes go, and how they are framed.

use bytes::Bytes;

use crate::{coder::Packet, ogg::Pager};

/// What a listener's bytes go to: a bounded queue in front of a socket, say.
pub trait Outlet: Send {
    /// Takes some more of the stream, without waiting. False: the listener is gone, or too slow,
    /// and is to be forgotten.
    fn send(&mut self, bytes: Bytes) -> bool;

    /// Whether the listener is still there.
    fn is_open(&self) -> bool;
}

/// One listener of a stream.
#[derive(Debug)]
pub(crate) struct Listener<O> {
    pub(crate) owner: u64,
    outlet: O,
    /// His logical stream. None: packets go as they are.
    pager: Option<Pager>,
}

impl<O: Outlet> Listener<O> {
    pub(crate) fn new(owner: u64, outlet: O, pager: Option<Pager>) -> Self {
        Self {
            owner,
            outlet,
            pager,
        }
    }

    /// Sends what came out in one frame. False: forget him.
    pub(crate) fn take(&mut self, packets: &[Packet]) -> bool {
        let Self { outlet, pager, .. } = self;
        match pager {
            Some(pager) => pager.take(packets).is_none_or(|page| outlet.send(page)),
            None => packets
                .iter()
                .all(|packet| outlet.send(packet.bytes.clone())),
        }
    }

    /// Sends the end of the stream.
    pub(crate) fn end(&mut self, packets: &[Packet]) {
        if let Some(pager) = &mut self.pager {
            self.outlet.send(pager.end(packets));
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.outlet.is_open()
    }
}

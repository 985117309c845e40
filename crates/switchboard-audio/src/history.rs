//! The packets of the last frames of a stream. Each page of a listener is a range of them.

use std::collections::VecDeque;

use crate::encoder::Packet;

/// Number of frames that are kept: the longest page, 1 s, and the frames that a new decoder drops.
const FRAMES_MAX: u64 = 64;

/// The packets of the last frames of a stream, by the number of their frame.
#[derive(Debug, Default)]
pub(crate) struct PacketHistory {
    packets: VecDeque<(u64, Packet)>,
    next_frame: u64,
}

impl PacketHistory {
    /// The number of the next frame, which is the number of frames so far.
    pub(crate) fn next_frame(&self) -> u64 {
        self.next_frame
    }

    /// Adds the packets of the next frame. An encoder with delay may have none for it.
    pub(crate) fn push_frame(&mut self, packets: &[Packet]) {
        let frame = self.next_frame;
        self.next_frame += 1;
        let is_old = |(of, _): &(u64, Packet)| of + FRAMES_MAX <= frame;
        while self.packets.front().is_some_and(is_old) {
            self.packets.pop_front();
        }
        self.packets
            .extend(packets.iter().map(|packet| (frame, packet.clone())));
    }

    /// The packets of the frames from this one on.
    pub(crate) fn since(&self, frame: u64) -> impl Iterator<Item = &Packet> + Clone {
        let start = self.packets.partition_point(|(of, _)| *of < frame);
        self.packets.range(start..).map(|(_, packet)| packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::PacketDuration;

    #[test]
    fn frames_are_found_by_their_number_and_old_ones_are_dropped() {
        let packet = |byte: u8| Packet::new(vec![byte].into(), PacketDuration::FRAME);
        let mut history = PacketHistory::default();
        for frame in 0..200 {
            // Every third frame has no packet, and every other third has two.
            history.push_frame(&vec![packet(frame); usize::from(frame % 3)]);
        }
        let since =
            |frame| -> Vec<u8> { history.since(frame).map(|packet| packet.bytes[0]).collect() };
        assert_eq!(history.next_frame(), 200);
        assert_eq!(since(196), [196, 197, 197, 199]);
        assert_eq!(since(200), []);
        assert_eq!(since(0).first(), Some(&136));
    }
}

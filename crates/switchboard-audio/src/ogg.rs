//! Ogg, RFC 3533: each listener has a logical stream of its own, made of packets that many share.
//!
//! Written by hand, not by the crate `ogg`, whose writer keeps 8 KiB for each stream and copies
//! each packet once more. Its reader checks these pages in the tests.

use bytes::Bytes;

use crate::{
    FRAME_SAMPLES,
    encoder::{Packet, PacketDuration},
};

/// How many frames share a page: 60 ms, at 30 bytes a page.
const FRAMES_PER_PAGE: u8 = 3;

/// A page has so many segments at most, of 255 bytes at most.
pub(crate) const SEGMENTS_MAX: usize = 255;

/// How far a stream may be behind its listener's time before silence is put in: more than the
/// Vorbis encoder ever holds back of speech (about 170 ms), less than what one notices as a delay
/// that stays. 220 ms.
const LAG_MAX: u64 = 10_560;

/// Flags of the first page of a logical stream, and of its last.
const BEGINS: u8 = 2;
const ENDS: u8 = 4;

/// One listener's logical stream.
#[derive(Debug)]
pub(crate) struct OggMuxer {
    serial: u32,
    sequence: u32,
    /// Samples of the packets so far, as their decoder counts them.
    granule: u64,
    /// Samples that have passed since the listener came.
    due: u64,
    /// Samples at the beginning that are not to be heard.
    lead: u64,
    previous: Option<PacketDuration>,
    pending: Vec<Packet>,
    pending_frames: u8,
    has_begun: bool,
    /// What fills in where the encoder gives nothing.
    silence: Packet,
}

impl OggMuxer {
    /// `lead` is how far the encoder's packets are behind what it was given, in samples.
    pub(crate) fn new(serial: u32, lead: u64, silence: Packet) -> Self {
        Self {
            serial,
            sequence: 0,
            granule: 0,
            due: 0,
            lead,
            previous: None,
            pending: Vec::new(),
            pending_frames: 0,
            has_begun: false,
            silence,
        }
    }

    /// The pages that begin the stream: the first packet alone (RFC 7845, section 3; Vorbis I,
    /// A.2), then the others.
    pub(crate) fn headers(&mut self, first: &[u8], others: &[Bytes]) -> Bytes {
        let mut pages = Vec::new();
        self.write(&mut pages, BEGINS, 0, [first].into_iter());
        self.write(&mut pages, 0, 0, others.iter().map(|packet| &packet[..]));
        pages.into()
    }

    /// Takes what came out in one frame. Gives a page when it is time for one: at once for the
    /// first that can be heard, then every 60 ms.
    pub(crate) fn push_packets(&mut self, packets: &[Packet]) -> Option<Bytes> {
        let mut pages = Vec::new();
        self.due += FRAME_SAMPLES as u64;
        for packet in packets {
            self.append(packet.clone(), &mut pages);
        }
        if self.due > self.granule + LAG_MAX {
            // One a frame is more than is needed, and never too much at once.
            self.append(self.silence.clone(), &mut pages);
        }
        self.pending_frames = self.pending_frames.saturating_add(1);
        // A page that ends before there is anything to hear is an error to some readers.
        let is_heard = self.granule > 0;
        if is_heard && (!self.has_begun || self.pending_frames >= FRAMES_PER_PAGE) {
            self.flush(&mut pages);
            self.has_begun = true;
        }
        (!pages.is_empty()).then(|| pages.into())
    }

    /// The last page, which ends when the listener's time ends: `packets` as far as they are needed
    /// for that, at least one, and silence if they do not reach.
    pub(crate) fn end(&mut self, packets: &[Packet]) -> Bytes {
        let mut pages = Vec::new();
        let end = self.due + self.lead;
        let mut before = self.granule;
        let silence = self.silence.clone();
        // At most a second of silence; `take` sees to it that no more is missing.
        for packet in packets.iter().chain(std::iter::repeat_n(&silence, 50)) {
            before = self.granule;
            self.append(packet.clone(), &mut pages);
            if self.granule >= end {
                break;
            }
        }
        // Decoders cut no more than the last packet.
        let end = end.clamp(before, self.granule);
        self.write_pending(&mut pages, ENDS, end);
        pages.into()
    }

    fn append(&mut self, packet: Packet, pages: &mut Vec<u8>) {
        // No encoder makes packets that long; if one did, its time would still pass.
        let packet = match segments(&packet.bytes) <= SEGMENTS_MAX {
            true => packet,
            false => self.silence.clone(),
        };
        let pending: usize = self
            .pending
            .iter()
            .map(|packet| segments(&packet.bytes))
            .sum();
        if pending + segments(&packet.bytes) > SEGMENTS_MAX {
            self.flush(pages);
        }
        self.granule += packet.duration.after(self.previous);
        self.previous = Some(packet.duration);
        self.pending.push(packet);
    }

    fn flush(&mut self, pages: &mut Vec<u8>) {
        if !self.pending.is_empty() {
            self.write_pending(pages, 0, self.granule);
            self.pending_frames = 0;
        }
    }

    fn write_pending(&mut self, pages: &mut Vec<u8>, flags: u8, granule: u64) {
        let pending = std::mem::take(&mut self.pending);
        let packets = pending.iter().map(|packet| &packet.bytes[..]);
        self.write(pages, flags, granule, packets);
        self.pending = pending;
        self.pending.clear();
    }

    /// Writes one page of whole packets.
    fn write<'a>(
        &mut self,
        pages: &mut Vec<u8>,
        flags: u8,
        granule: u64,
        packets: impl Iterator<Item = &'a [u8]> + Clone,
    ) {
        let start = pages.len();
        let count: usize = packets.clone().map(segments).sum();
        pages.reserve_exact(27 + count + packets.clone().map(<[u8]>::len).sum::<usize>());
        pages.extend(b"OggS");
        pages.extend([0, flags]);
        pages.extend(granule.to_le_bytes());
        pages.extend(self.serial.to_le_bytes());
        pages.extend(self.sequence.to_le_bytes());
        pages.extend([0; 4]);
        pages.push(u8::try_from(count).unwrap_or(u8::MAX));
        for packet in packets.clone() {
            pages.extend(std::iter::repeat_n(u8::MAX, packet.len() / 255));
            pages.push((packet.len() % 255) as u8);
        }
        packets.for_each(|packet| pages.extend(packet));
        let checksum = crc(&pages[start..]);
        pages[start + 22..start + 26].copy_from_slice(&checksum.to_le_bytes());
        self.sequence = self.sequence.wrapping_add(1);
    }
}

/// How many segments a packet takes on its page.
pub(crate) fn segments(packet: &[u8]) -> usize {
    packet.len() / 255 + 1
}

/// The checksum of a page whose checksum is zero: CRC-32 of polynomial 04c11db7, nothing reflected
/// and nothing inverted. Eight bytes at a time.
fn crc(page: &[u8]) -> u32 {
    let (eights, rest) = page.as_chunks::<8>();
    let mut crc = 0_u32;
    for [a, b, c, d, e, f, g, h] in eights {
        let [i, j, k, l] = (crc ^ u32::from_be_bytes([*a, *b, *c, *d])).to_be_bytes();
        let bytes = [h, g, f, e, &l, &k, &j, &i];
        crc = bytes
            .into_iter()
            .zip(&CRC_TABLES)
            .fold(0, |crc, (&byte, table)| crc ^ table[usize::from(byte)]);
    }
    for &byte in rest {
        let [first, ..] = crc.to_be_bytes();
        crc = (crc << 8) ^ CRC_TABLES[0][usize::from(first ^ byte)];
    }
    crc
}

/// The checksum of each byte, followed by none to seven zeros.
static CRC_TABLES: [[u32; 256]; 8] = crc_tables();

const fn crc_tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u32) << 24;
        let mut table = 0;
        while table < 8 {
            let mut bit = 0;
            while bit < 8 {
                crc = (crc << 1) ^ (0x04c1_1db7 * (crc >> 31));
                bit += 1;
            }
            tables[table][byte] = crc;
            table += 1;
        }
        byte += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(length: usize, span: PacketDuration) -> Packet {
        Packet::new(vec![7; length].into(), span)
    }

    fn granules(pages: &[u8]) -> Vec<u64> {
        let starts = pages
            .windows(4)
            .enumerate()
            .filter(|(_, window)| window == b"OggS");
        let granule = |(at, _)| {
            pages[at + 6..]
                .first_chunk()
                .map(|b| u64::from_le_bytes(*b))
        };
        starts.filter_map(granule).collect()
    }

    #[test]
    fn checksums_as_others_make_them() {
        assert_eq!(crc(b"==!"), 0x9f85_8776);
        assert_eq!(crc(b""), 0);
        let naive = |bytes: &[u8]| {
            bytes.iter().fold(0_u32, |crc, &byte| {
                (0..8).fold(crc ^ (u32::from(byte) << 24), |crc, _| {
                    (crc << 1) ^ (0x04c1_1db7 * (crc >> 31))
                })
            })
        };
        let bytes: Vec<u8> = (0..=255).chain(3..90).collect();
        for length in 0..bytes.len() {
            assert_eq!(crc(&bytes[..length]), naive(&bytes[..length]));
        }
    }

    #[test]
    fn the_first_page_at_once_and_then_every_60_ms() {
        let mut pager = OggMuxer::new(1, 312, packet(3, PacketDuration::FRAME));
        let pages: Vec<_> = (0..7)
            .map(|_| pager.push_packets(&[packet(60, PacketDuration::FRAME)]))
            .collect();
        let granules: Vec<_> = pages
            .iter()
            .map(|p| p.as_ref().map(|p| granules(p)))
            .collect();
        let page = |granule| Some(vec![granule]);
        assert_eq!(
            granules,
            [page(960), None, None, page(3_840), None, None, page(6_720)]
        );
    }

    #[test]
    fn windows_overlap() {
        let long = packet(3, PacketDuration::Overlapping(512));
        let mut pager = OggMuxer::new(1, 0, long.clone());
        assert_eq!(
            pager.push_packets(&[packet(3, PacketDuration::Overlapping(64))]),
            None,
            "nothing to hear yet"
        );
        let page = pager.push_packets(&[long.clone(), long]).expect("a page");
        assert_eq!(granules(&page), [64 + 512 + 1_024]);
    }

    #[test]
    fn no_page_of_sound_ends_before_there_is_any() {
        let mut pager = OggMuxer::new(1, 0, packet(1, PacketDuration::Overlapping(512)));
        let first = packet(1, PacketDuration::Overlapping(64));
        let pages: Vec<_> = std::iter::once(pager.push_packets(&[first]))
            .chain((0..12).map(|_| pager.push_packets(&[])))
            .flatten()
            .flat_map(|page| granules(&page))
            .collect();
        assert!(
            !pages.is_empty() && pages.iter().all(|granule| *granule > 0),
            "{pages:?}"
        );
    }

    #[test]
    fn a_gap_is_filled_with_silence() {
        let mut pager = OggMuxer::new(1, 0, packet(1, PacketDuration::Overlapping(512)));
        for _ in 0..1_000 {
            pager.push_packets(&[]);
            assert!(pager.due - pager.granule <= LAG_MAX + 2 * 1_024);
        }
    }

    #[test]
    fn packets_too_large_for_a_page_or_for_any() {
        let mut pager = OggMuxer::new(1, 0, packet(3, PacketDuration::FRAME));
        let pages = pager.push_packets(&[
            packet(60_000, PacketDuration::FRAME),
            packet(60_000, PacketDuration::FRAME),
        ]);
        assert_eq!(granules(&pages.expect("pages")), [960, 1_920]);
        let page = pager.end(&[packet(70_000, PacketDuration::FRAME)]);
        assert!(page.len() < 200, "silence instead");
    }
}

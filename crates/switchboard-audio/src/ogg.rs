//! Ogg muxing (RFC 3533). Listeners share the encoded packets. Each listener has its own pages, so that its stream
//! begins when it connects.
//!
//! The writer of the crate `ogg` is not used: it keeps 8 KiB per stream and copies each packet once more. The
//! tests check the pages with its reader.

use bytes::Bytes;

use crate::{
    FRAME_SAMPLES,
    encoder::{Packet, PacketDuration},
};

/// Frames per page: 60 ms. More would add latency, and fewer would add overhead, which is about 30 bytes per page.
const FRAMES_PER_PAGE: u8 = 3;

/// Maximum number of segments of a page. A segment has at most 255 bytes.
pub(crate) const SEGMENTS_MAX: usize = 255;

/// How far the packets of a stream may lag behind the time since the listener was added, before silence is inserted,
/// in samples: 220 ms. The Vorbis encoder delays its packets by about 170 ms, which must not count as a lag.
const LAG_MAX: u64 = 10_560;

/// Page header flags: first and last page of a logical stream (RFC 3533, section 6).
const FIRST_PAGE: u8 = 2;
const LAST_PAGE: u8 = 4;

/// The logical Ogg stream of one listener.
#[derive(Debug)]
pub(crate) struct OggMuxer {
    serial: u32,
    sequence: u32,
    /// Samples that a decoder gets from the packets so far: the granule position of a page that ends now.
    granule: u64,
    /// Samples elapsed since the listener was added: those that the decoder should have got.
    elapsed: u64,
    /// Samples at the beginning that the decoder drops.
    pre_skip: u64,
    /// The duration of the last packet.
    previous: Option<PacketDuration>,
    /// The packets of the next page.
    pending: Vec<Packet>,
    /// Frames since the last page.
    pending_frames: u8,
    /// Whether a page with audio has been written.
    has_begun: bool,
    /// The packet of silence that fills gaps of the encoder.
    silence: Packet,
}

impl OggMuxer {
    /// Creates a logical stream. `pre_skip` is the delay of the encoder in samples.
    pub(crate) fn new(serial: u32, pre_skip: u64, silence: Packet) -> Self {
        Self {
            serial,
            sequence: 0,
            granule: 0,
            elapsed: 0,
            pre_skip,
            previous: None,
            pending: Vec::new(),
            pending_frames: 0,
            has_begun: false,
            silence,
        }
    }

    /// The header pages: the first packet alone on its page, then the others (RFC 7845, section 3; Vorbis I,
    /// section A.2).
    pub(crate) fn headers(&mut self, first: &[u8], others: &[Bytes]) -> Bytes {
        let mut pages = Vec::new();
        self.write(&mut pages, FIRST_PAGE, 0, [first].into_iter());
        self.write(&mut pages, 0, 0, others.iter().map(|packet| &packet[..]));
        pages.into()
    }

    /// Adds the packets of one frame. Returns the pages that are due: the first as soon as a decoder gets samples from
    /// it, then one every 60 ms.
    pub(crate) fn push_packets(&mut self, packets: &[Packet]) -> Option<Bytes> {
        let mut pages = Vec::new();
        self.elapsed += FRAME_SAMPLES as u64;
        for packet in packets {
            self.append(packet.clone(), &mut pages);
        }
        if self.elapsed > self.granule + LAG_MAX {
            // One packet of silence per call: the stream catches up over several frames.
            self.append(self.silence.clone(), &mut pages);
        }
        self.pending_frames = self.pending_frames.saturating_add(1);
        // Some readers reject a page of granule position 0 after the headers.
        let has_samples = self.granule > 0;
        if has_samples && (!self.has_begun || self.pending_frames >= FRAMES_PER_PAGE) {
            self.flush(&mut pages);
            self.has_begun = true;
        }
        (!pages.is_empty()).then(|| pages.into())
    }

    /// The last page. It ends the stream at the elapsed time: packets after that time are left out, except the first
    /// of `packets`, and silence is added if the packets do not reach that time.
    pub(crate) fn end(&mut self, packets: &[Packet]) -> Bytes {
        let mut pages = Vec::new();
        let end = self.elapsed + self.pre_skip;
        let mut before = self.granule;
        let silence = self.silence.clone();
        // At most 1 s of silence; `push_packets` ensures that no more is missing.
        for packet in packets.iter().chain(std::iter::repeat_n(&silence, 50)) {
            before = self.granule;
            self.append(packet.clone(), &mut pages);
            if self.granule >= end {
                break;
            }
        }
        // The granule position of the last page makes a decoder trim samples, but only those of the last packet.
        let end = end.clamp(before, self.granule);
        self.write_pending(&mut pages, LAST_PAGE, end);
        pages.into()
    }

    fn append(&mut self, packet: Packet, pages: &mut Vec<u8>) {
        // Packets are never split over pages. The encoders produce none larger than a page; if one did, silence would
        // take its place.
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

    /// Appends one page of whole packets to `pages`.
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

/// Number of segments that a packet takes on its page.
pub(crate) fn segments(packet: &[u8]) -> usize {
    packet.len() / 255 + 1
}

/// The checksum of a page whose checksum field is zero: CRC-32 of polynomial 04c11db7, neither reflected nor
/// inverted. Processes eight bytes at a time.
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

/// The checksum of each byte followed by 0 to 7 zero bytes.
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

    fn packet(length: usize, duration: PacketDuration) -> Packet {
        Packet::new(vec![7; length].into(), duration)
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
    fn checksums_equal_the_bitwise_algorithm() {
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
    fn first_page_is_sent_at_once_and_then_every_60_ms() {
        let mut muxer = OggMuxer::new(1, 312, packet(3, PacketDuration::FRAME));
        let pages: Vec<_> = (0..7)
            .map(|_| muxer.push_packets(&[packet(60, PacketDuration::FRAME)]))
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
    fn durations_of_overlapping_windows_add_up() {
        let long = packet(3, PacketDuration::Overlapping(512));
        let mut muxer = OggMuxer::new(1, 0, long.clone());
        assert_eq!(
            muxer.push_packets(&[packet(3, PacketDuration::Overlapping(64))]),
            None,
            "a decoder gets no samples from the first packet"
        );
        let page = muxer.push_packets(&[long.clone(), long]).expect("a page");
        assert_eq!(granules(&page), [64 + 512 + 1_024]);
    }

    #[test]
    fn no_audio_page_has_granule_position_zero() {
        let mut muxer = OggMuxer::new(1, 0, packet(1, PacketDuration::Overlapping(512)));
        let first = packet(1, PacketDuration::Overlapping(64));
        let pages: Vec<_> = std::iter::once(muxer.push_packets(&[first]))
            .chain((0..12).map(|_| muxer.push_packets(&[])))
            .flatten()
            .flat_map(|page| granules(&page))
            .collect();
        assert!(
            !pages.is_empty() && pages.iter().all(|granule| *granule > 0),
            "{pages:?}"
        );
    }

    #[test]
    fn gap_is_filled_with_silence() {
        let mut muxer = OggMuxer::new(1, 0, packet(1, PacketDuration::Overlapping(512)));
        for _ in 0..1_000 {
            muxer.push_packets(&[]);
            assert!(muxer.elapsed - muxer.granule <= LAG_MAX + 2 * 1_024);
        }
    }

    #[test]
    fn packets_that_do_not_fit_on_one_page_get_another_one_or_are_replaced_by_silence() {
        let mut muxer = OggMuxer::new(1, 0, packet(3, PacketDuration::FRAME));
        let pages = muxer.push_packets(&[
            packet(60_000, PacketDuration::FRAME),
            packet(60_000, PacketDuration::FRAME),
        ]);
        assert_eq!(granules(&pages.expect("pages")), [960, 1_920]);
        let page = muxer.end(&[packet(70_000, PacketDuration::FRAME)]);
        assert!(
            page.len() < 200,
            "the packet of 70,000 bytes is not replaced by silence"
        );
    }
}

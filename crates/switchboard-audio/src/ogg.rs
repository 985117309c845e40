//! Ogg muxing (RFC 3533). Listeners share the encoded packets, and the body of a page with its checksum. Each listener
//! has its own page headers, so that its stream begins when it connects: with page 0, at granule position 0, and with
//! a serial number of its own, so that saved streams can be chained.
//!
//! The writer of the crate `ogg` is not used: it keeps 8 KiB per stream and copies each packet once more. The
//! tests check the pages with its reader.

use bytes::Bytes;

use crate::{
    AudioChunk, FRAME_SAMPLES,
    encoder::{Packet, PacketDuration},
};

/// Maximum number of segments of a page. A segment has at most 255 bytes.
pub(crate) const SEGMENTS_MAX: usize = 255;

/// How far the packets of a stream may lag behind the time since the listener was added, before silence is inserted,
/// in samples: 220 ms. More than 170 ms, the usual delay of the Vorbis encoder, which is no lag.
const LAG_MAX: u64 = 10_560;

/// Page header flags: first and last page of a logical stream (RFC 3533, section 6).
const FIRST_PAGE: u8 = 2;
const LAST_PAGE: u8 = 4;

/// Length of the part of a page that each listener has for itself: the header up to its checksum and with it.
pub(crate) const HEADER: usize = 26;

/// The place of the checksum in the header.
const CHECKSUM: std::ops::Range<usize> = 22..HEADER;

/// The part of a page that is the same for all listeners: the number of segments, their lengths, and the packets.
#[derive(Debug)]
pub(crate) struct PageBody {
    bytes: Bytes,
    /// The checksum of `bytes`.
    crc: u32,
    /// Makes the checksum of a header that of the header followed by its empty checksum field and by `bytes`.
    shift: CrcShift,
    /// The durations of the first and the last packet, and the samples of all but the first.
    first: Option<PacketDuration>,
    last: Option<PacketDuration>,
    others: u64,
}

impl PageBody {
    /// Creates the body of a page of whole packets. `None` if they do not fit on one page.
    pub(crate) fn new<'a>(packets: impl Iterator<Item = &'a Packet> + Clone) -> Option<Self> {
        let lengths = packets.clone().map(|packet| packet.bytes.len());
        let count: usize = lengths.clone().map(segments_of).sum();
        if count > SEGMENTS_MAX {
            return None;
        }
        let mut bytes = Vec::with_capacity(1 + count + lengths.clone().sum::<usize>());
        bytes.push(u8::try_from(count).unwrap_or(u8::MAX));
        for length in lengths {
            bytes.extend(std::iter::repeat_n(u8::MAX, length / 255));
            bytes.push((length % 255) as u8);
        }
        let (mut first, mut last, mut others) = (None, None, 0);
        for packet in packets {
            bytes.extend(&packet.bytes);
            match first {
                None => first = Some(packet.duration),
                Some(_) => others += packet.duration.after(last),
            }
            last = Some(packet.duration);
        }
        Some(Self {
            crc: crc(&bytes),
            shift: CrcShift::new(CHECKSUM.len() + bytes.len()),
            bytes: bytes.into(),
            first,
            last,
            others,
        })
    }

    /// Number of samples that a decoder gets from this page if the packet before it has the duration `previous`.
    fn samples_after(&self, previous: Option<PacketDuration>) -> u64 {
        let first = self.first.map_or(0, |first| first.after(previous));
        first + self.others
    }
}

/// The logical Ogg stream of one listener.
#[derive(Debug)]
pub(crate) struct OggMuxer {
    serial: u32,
    sequence: u32,
    /// Samples that a decoder gets from the pages so far: the granule position of the last page.
    granule: u64,
    /// The time since the listener was added, in samples: as many as the decoder should have got.
    elapsed: u64,
    /// Samples at the beginning that the decoder drops.
    pre_skip: u64,
    /// The duration of the last packet.
    previous: Option<PacketDuration>,
}

impl OggMuxer {
    /// Creates a logical stream. `pre_skip` is the delay of the encoder in samples.
    pub(crate) fn new(serial: u32, pre_skip: u64) -> Self {
        Self {
            serial,
            sequence: 0,
            granule: 0,
            elapsed: 0,
            pre_skip,
            previous: None,
        }
    }

    /// The header pages: the first packet alone on its page, then the others (RFC 7845, section 3; Vorbis I,
    /// section A.2).
    pub(crate) fn headers(&mut self, first: Bytes, others: &[Bytes]) -> Bytes {
        let header = |bytes: Bytes| Packet::new(bytes, PacketDuration::Samples(0));
        let first = header(first);
        let others: Vec<Packet> = others.iter().cloned().map(header).collect();
        let mut pages = Vec::new();
        let bodies = [
            (FIRST_PAGE, PageBody::new([&first].into_iter())),
            (0, PageBody::new(others.iter())),
        ];
        for (flags, body) in bodies {
            if let Some(body) = body {
                self.write(&mut pages, flags, 0, &body);
            }
        }
        pages.into()
    }

    /// Records that frames have passed. Call it for the frames of a page before the page itself is made.
    pub(crate) fn advance(&mut self, frames: u64) {
        self.elapsed += frames * FRAME_SAMPLES as u64;
    }

    /// The page with this body, which other listeners share. `None` if the listener needs a page of its own from
    /// [`OggMuxer::own_pages`], because a decoder would get no samples from the shared page, or the stream lags.
    pub(crate) fn shared_page(&mut self, body: &PageBody) -> Option<AudioChunk> {
        let granule = self.granule + body.samples_after(self.previous);
        // Some readers reject a page of granule position 0 after the headers.
        if body.first.is_none() || granule == 0 || self.elapsed > granule + LAG_MAX {
            return None;
        }
        self.granule = granule;
        self.previous = body.last;
        let header = self.next_header(0, granule, body);
        Some(AudioChunk::page(header, body.bytes.clone()))
    }

    /// The pages with these packets, which are those of `frames` frames, and with silence if the stream lags. `None`
    /// if a decoder would get no samples from them. `packets` then keeps them, for the call with the next packets.
    pub(crate) fn own_pages(
        &mut self,
        packets: &mut Vec<Packet>,
        frames: u64,
        silence: &Packet,
    ) -> Option<Bytes> {
        let samples = |muxer: &Self, packets: &[Packet]| {
            let mut previous = muxer.previous;
            let samples =
                |packet: &Packet| packet.duration.after(previous.replace(packet.duration));
            packets.iter().map(samples).sum::<u64>()
        };
        // At most one packet of silence per frame: the stream catches up over several frames.
        for _ in 0..frames {
            if self.elapsed > self.granule + samples(self, packets) + LAG_MAX {
                packets.push(silence.clone());
            }
        }
        if packets.is_empty() || self.granule + samples(self, packets) == 0 {
            return None;
        }
        let mut pages = Vec::new();
        self.append(packets, silence, &mut pages);
        packets.clear();
        Some(pages.into())
    }

    /// The last pages: `pending` packets of frames that have passed, then the last `packets` of the encoder. The stream
    /// ends at the elapsed time plus `pre_skip`. All of `pending` and at least one of `packets` are written. Further
    /// ones are written only until that time is reached, followed by silence if they do not reach it.
    pub(crate) fn end(
        &mut self,
        pending: Vec<Packet>,
        packets: &[Packet],
        silence: &Packet,
    ) -> Bytes {
        let end = self.elapsed + self.pre_skip;
        let (mut granule, mut previous) = (self.granule, self.previous);
        let mut granule_after = |packet: &Packet| {
            granule += packet.duration.after(previous.replace(packet.duration));
            granule
        };
        let mut last = pending;
        let mut reached = last
            .iter()
            .map(&mut granule_after)
            .last()
            .unwrap_or(self.granule);
        let mut before = reached;
        // At most 1 s of silence; `own_pages` ensures that no more is missing.
        for packet in packets.iter().chain(std::iter::repeat_n(silence, 50)) {
            before = reached;
            reached = granule_after(packet);
            last.push(packet.clone());
            if reached >= end {
                break;
            }
        }
        // The granule position of the last page makes a decoder trim samples, but only those of the last packet.
        let end = end.clamp(before, reached);
        let mut pages = Vec::new();
        let final_page = self.append_all_but_the_last_page(&last, silence, &mut pages);
        if let Some(body) = PageBody::new(final_page.iter()) {
            self.write(&mut pages, LAST_PAGE, end, &body);
        }
        pages.into()
    }

    /// Appends pages of these packets to `pages`.
    fn append(&mut self, packets: &[Packet], silence: &Packet, pages: &mut Vec<u8>) {
        let rest = self.append_all_but_the_last_page(packets, silence, pages);
        self.append_page(&rest, pages);
    }

    /// Appends pages of these packets to `pages`, except the last page. Returns its packets. Packets are never split
    /// over pages. The encoders produce none larger than a page; if one did, silence would take its place.
    fn append_all_but_the_last_page(
        &mut self,
        packets: &[Packet],
        silence: &Packet,
        pages: &mut Vec<u8>,
    ) -> Vec<Packet> {
        let (mut pending, mut count) = (Vec::new(), 0);
        for packet in packets {
            let fits = segments(&packet.bytes) <= SEGMENTS_MAX;
            let packet = if fits { packet } else { silence };
            count += segments(&packet.bytes);
            if count > SEGMENTS_MAX {
                self.append_page(&pending, pages);
                pending.clear();
                count = segments(&packet.bytes);
            }
            pending.push(packet.clone());
        }
        pending
    }

    fn append_page(&mut self, packets: &[Packet], pages: &mut Vec<u8>) {
        if let Some(body) = PageBody::new(packets.iter()) {
            self.granule += body.samples_after(self.previous);
            self.previous = body.last;
            self.write(pages, 0, self.granule, &body);
        }
    }

    /// Appends one page to `pages`.
    fn write(&mut self, pages: &mut Vec<u8>, flags: u8, granule: u64, body: &PageBody) {
        pages.reserve_exact(HEADER + body.bytes.len());
        pages.extend(self.next_header(flags, granule, body));
        pages.extend(&body.bytes);
    }

    /// The header of the next page.
    fn next_header(&mut self, flags: u8, granule: u64, body: &PageBody) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(b"OggS");
        header[5] = flags;
        header[6..14].copy_from_slice(&granule.to_le_bytes());
        header[14..18].copy_from_slice(&self.serial.to_le_bytes());
        header[18..22].copy_from_slice(&self.sequence.to_le_bytes());
        // The checksum is linear: that of a page is the sum of those of its parts.
        let checksum = body.shift.apply(crc(&header[..CHECKSUM.start])) ^ body.crc;
        header[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
        self.sequence = self.sequence.wrapping_add(1);
        header
    }
}

/// Number of segments that a packet takes on its page.
pub(crate) fn segments(packet: &[u8]) -> usize {
    segments_of(packet.len())
}

fn segments_of(length: usize) -> usize {
    length / 255 + 1
}

/// The checksum of a page whose checksum field is zero: CRC-32 of polynomial 04c11db7, neither reflected nor
/// inverted. Processes eight bytes at a time.
fn crc(page: &[u8]) -> u32 {
    let (eights, rest) = page.as_chunks::<8>();
    let table = |table: usize, byte: u8| CRC_TABLES[table][usize::from(byte)];
    let mut crc = 0_u32;
    for [a, b, c, d, e, f, g, h] in eights {
        let [i, j, k, l] = (crc ^ u32::from_be_bytes([*a, *b, *c, *d])).to_be_bytes();
        let first = table(7, i) ^ table(6, j) ^ table(5, k) ^ table(4, l);
        crc = first ^ table(3, *e) ^ table(2, *f) ^ table(1, *g) ^ table(0, *h);
    }
    for &byte in rest {
        let [first, ..] = crc.to_be_bytes();
        crc = (crc << 8) ^ CRC_TABLES[0][usize::from(first ^ byte)];
    }
    crc
}

/// The generator polynomial of the checksum, without its highest power.
const CRC_POLYNOMIAL: u32 = 0x04c1_1db7;

/// Turns the checksum of a message into that of the message followed by a number of zero bytes, which is a product of
/// polynomials. It has the product for each value of each hexadecimal digit of a checksum.
#[derive(Debug)]
struct CrcShift([[u32; 16]; 8]);

impl CrcShift {
    fn new(zeros: usize) -> Self {
        let mut power = crc_power(zeros);
        let mut table = [[0; 16]; 8];
        for digit in &mut table {
            for bit in [1, 2, 4, 8] {
                for value in 0..bit {
                    digit[bit + value] = digit[value] ^ power;
                }
                power = (power << 1) ^ (CRC_POLYNOMIAL & (power >> 31).wrapping_neg());
            }
        }
        Self(table)
    }

    fn apply(&self, crc: u32) -> u32 {
        let digits = self.0.iter().zip((0..32).step_by(4));
        digits.fold(0, |sum, (digit, at)| sum ^ digit[(crc >> at & 15) as usize])
    }
}

/// The power of x^8 by this exponent, by squaring.
fn crc_power(exponent: usize) -> u32 {
    let (mut power, mut square, mut rest) = (1, 1 << 8, exponent);
    while rest > 0 {
        if rest & 1 == 1 {
            power = crc_multiply(power, square);
        }
        square = crc_multiply(square, square);
        rest >>= 1;
    }
    power
}

/// The product of two polynomials modulo the generator polynomial.
fn crc_multiply(a: u32, b: u32) -> u32 {
    (0..32).rev().fold(0, |product: u32, bit| {
        let shifted = (product << 1) ^ (CRC_POLYNOMIAL & (product >> 31).wrapping_neg());
        shifted ^ (b & (a >> bit & 1).wrapping_neg())
    })
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
                crc = (crc << 1) ^ (CRC_POLYNOMIAL * (crc >> 31));
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
                    (crc << 1) ^ (CRC_POLYNOMIAL * (crc >> 31))
                })
            })
        };
        let bytes: Vec<u8> = (0..=255).chain(3..90).collect();
        for length in 0..bytes.len() {
            assert_eq!(crc(&bytes[..length]), naive(&bytes[..length]));
        }
    }

    #[test]
    fn checksum_of_a_page_is_that_of_its_parts() {
        let bytes: Vec<u8> = (0..=255).cycle().take(3_000).collect();
        for split in [0, 1, 26, 299, 2_974, 3_000] {
            let (first, second) = bytes.split_at(split);
            let sum = CrcShift::new(second.len()).apply(crc(first)) ^ crc(second);
            assert_eq!(sum, crc(&bytes), "{split}");
        }
    }

    /// Adds the packets of one frame. Returns the pages if they are due.
    fn push(muxer: &mut OggMuxer, packets: &[Packet], silence: &Packet) -> Option<Bytes> {
        muxer.advance(1);
        muxer.own_pages(&mut packets.to_vec(), 1, silence)
    }

    #[test]
    fn shared_page_is_equal_to_an_own_page() {
        let packets: Vec<Packet> = [60, 255, 0, 300, 61]
            .map(|length| packet(length, PacketDuration::FRAME))
            .into();
        let body = PageBody::new(packets.iter()).expect("a page");
        let silence = packet(3, PacketDuration::FRAME);
        let (mut own, mut shared) = (OggMuxer::new(7, 312), OggMuxer::new(7, 312));
        for _ in 0..5 {
            own.advance(5);
            shared.advance(5);
            let page = own.own_pages(&mut packets.clone(), 5, &silence);
            assert_eq!(shared.shared_page(&body).map(AudioChunk::into_bytes), page);
            let page = page.expect("a page");
            let mut unsigned = page.to_vec();
            unsigned[22..26].fill(0);
            assert_eq!(page[22..26], crc(&unsigned).to_le_bytes());
        }
    }

    #[test]
    fn durations_of_overlapping_windows_add_up() {
        let long = packet(3, PacketDuration::Overlapping(512));
        let short = packet(3, PacketDuration::Overlapping(64));
        let mut muxer = OggMuxer::new(1, 0);
        let mut packets = vec![short.clone()];
        assert_eq!(
            muxer.own_pages(&mut packets, 1, &long),
            None,
            "a decoder gets no samples from the first packet"
        );
        let body = PageBody::new([short].iter()).expect("a body");
        assert!(muxer.shared_page(&body).is_none());
        packets.extend([long.clone(), long.clone()]);
        let page = muxer.own_pages(&mut packets, 1, &long).expect("a page");
        assert_eq!(granules(&page), [64 + 512 + 1_024]);
        let body = PageBody::new([long].iter()).expect("a body");
        let page = muxer.shared_page(&body).expect("a page").into_bytes();
        assert_eq!(granules(&page), [64 + 512 + 2 * 1_024]);
    }

    #[test]
    fn gap_is_filled_with_silence() {
        let silence = packet(1, PacketDuration::Overlapping(512));
        let mut muxer = OggMuxer::new(1, 0);
        let empty = PageBody::new([].iter()).expect("a body");
        let mut pending = Vec::new();
        for _ in 0..1_000 {
            muxer.advance(1);
            assert!(muxer.shared_page(&empty).is_none());
            let page = muxer.own_pages(&mut pending, 1, &silence);
            assert!(page.is_none_or(|page| !granules(&page).contains(&0)));
            assert!(muxer.elapsed - muxer.granule <= LAG_MAX + 2 * 1_024);
        }
    }

    #[test]
    fn packets_that_do_not_fit_on_one_page_get_another_one_or_are_replaced_by_silence() {
        let silence = packet(3, PacketDuration::FRAME);
        let mut muxer = OggMuxer::new(1, 0);
        let large = [
            packet(60_000, PacketDuration::FRAME),
            packet(60_000, PacketDuration::FRAME),
        ];
        assert!(PageBody::new(large.iter()).is_none());
        let pages = push(&mut muxer, &large, &silence);
        assert_eq!(granules(&pages.expect("pages")), [960, 1_920]);
        let page = muxer.end(
            Vec::new(),
            &[packet(70_000, PacketDuration::FRAME)],
            &silence,
        );
        assert!(
            page.len() < 200,
            "the packet of 70,000 bytes is not replaced by silence"
        );
    }
}

//! A recorded stream: parsed, checked and decoded.

use ogg::reading::PageParser;
use switchboard_audio::Format;

// Flags of an Ogg page (RFC 3533, section 6).
const BEGINS: u8 = 2;
const ENDS: u8 = 4;

/// The contents of a stream that passed all checks.
pub(crate) struct SavedStream {
    /// The samples that a player would play, 1.0 at full scale.
    pub(crate) samples: Vec<f32>,
    /// Number of samples that a player skips at the beginning (pre-skip of Opus).
    pub(crate) skipped: usize,
    pub(crate) serial: u32,
    /// Whether the stream has an end marker.
    pub(crate) has_ended: bool,
}

/// An Ogg page with its packets.
pub(crate) struct SavedPage {
    pub(crate) flags: u8,
    pub(crate) granule: u64,
    pub(crate) serial: u32,
    pub(crate) packets: Vec<Vec<u8>>,
}

/// Parses a stream. Panics at the first error.
pub(crate) fn read(format: Format, bytes: &[u8]) -> SavedStream {
    match format {
        Format::Wav => wav(bytes),
        Format::Opus => opus(bytes),
        Format::Vorbis => vorbis(bytes),
    }
}

fn wav(bytes: &[u8]) -> SavedStream {
    let (header, samples) = bytes.split_at(44);
    assert_eq!(&header[..4], b"RIFF");
    assert_eq!(&header[8..16], b"WAVEfmt ");
    assert_eq!(samples.len() % 1_920, 0, "whole frames");
    let samples = samples.as_chunks::<2>().0.iter();
    SavedStream {
        samples: samples
            .map(|&s| f32::from(i16::from_le_bytes(s)) / 32_768.0)
            .collect(),
        skipped: 0,
        serial: 0,
        has_ended: true,
    }
}

/// The pages of one logical stream, with checked checksums and sequence numbers.
pub(crate) fn pages(bytes: &[u8]) -> Vec<SavedPage> {
    let mut pages: Vec<SavedPage> = Vec::new();
    let mut rest = bytes;
    while let Some((header, after)) = rest.split_first_chunk::<27>() {
        let (mut parser, count) = PageParser::new(*header).expect("a page header");
        let (segments, after) = after.split_at(count);
        let length = parser.parse_segments(segments.to_vec());
        let (body, after) = after.split_at(length);
        parser
            .parse_packet_data(body.to_vec())
            .expect("the right checksum");
        rest = after;
        let word = |at: usize| u32::from_le_bytes(*header[at..].first_chunk().expect("a word"));
        assert_eq!(word(18) as usize, pages.len(), "page sequence");
        pages.push(SavedPage {
            flags: header[5],
            granule: u64::from(word(6)) | u64::from(word(10)) << 32,
            serial: word(14),
            packets: packets(segments, body),
        });
    }
    assert!(rest.is_empty(), "half a page at the end");
    check(&pages);
    pages
}

fn packets(segments: &[u8], mut body: &[u8]) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    let mut length = 0;
    for &segment in segments {
        length += usize::from(segment);
        if segment < 255 {
            packets.push(body.split_off(..length).expect("a packet").to_vec());
            length = 0;
        }
    }
    assert_eq!(length, 0, "packets end on their page");
    packets
}

fn check(pages: &[SavedPage]) {
    for (at, page) in pages.iter().enumerate() {
        assert_eq!(
            page.serial, pages[0].serial,
            "page {at} is of another logical stream"
        );
        assert_eq!(
            page.flags & BEGINS != 0,
            at == 0,
            "only the first page has the flag BEGINS"
        );
        assert!(
            page.flags & ENDS == 0 || at + 1 == pages.len(),
            "only the last page may have the flag ENDS"
        );
        assert!(!page.packets.is_empty(), "no empty page");
    }
    assert!(
        pages.is_sorted_by_key(|page| page.granule),
        "granule positions must not decrease"
    );
    assert_eq!(
        pages[0].packets.len(),
        1,
        "the first header must have its own page"
    );
}

fn opus(bytes: &[u8]) -> SavedStream {
    let pages = pages(bytes);
    let head = &pages[0].packets[0];
    assert_eq!(&head[..8], b"OpusHead");
    assert_eq!((head.len(), head[8], head[9], head[18]), (19, 1, 1, 0));
    let skipped = usize::from(u16::from_le_bytes([head[10], head[11]]));
    assert_eq!(pages[1].packets.len(), 1, "the tags are alone");
    assert_eq!(&pages[1].packets[0][..8], b"OpusTags");
    assert_eq!((pages[0].granule, pages[1].granule), (0, 0));

    let mut decoder = opus_rs::OpusDecoder::new(48_000, 1).expect("a decoder");
    let mut samples = Vec::new();
    for page in &pages[2..] {
        for packet in &page.packets {
            let mut frame = [0.0; 960];
            assert_eq!(decoder.decode(packet, 960, &mut frame), Ok(960));
            samples.extend(frame);
        }
        if page.flags & ENDS == 0 {
            assert_eq!(page.granule, samples.len() as u64);
        }
    }
    let last = pages.last().expect("pages");
    samples.truncate(usize::try_from(last.granule).expect("short"));
    SavedStream {
        samples: samples.split_off(skipped.min(samples.len())),
        skipped,
        serial: last.serial,
        has_ended: last.flags & ENDS != 0,
    }
}

#[cfg(not(feature = "vorbis"))]
fn vorbis(_bytes: &[u8]) -> SavedStream {
    panic!("this build encodes no Vorbis");
}

#[cfg(feature = "vorbis")]
fn vorbis(bytes: &[u8]) -> SavedStream {
    let pages = pages(bytes);
    assert_eq!(&pages[0].packets[0][..7], b"\x01vorbis");
    let kinds: Vec<u8> = pages[1].packets.iter().map(|packet| packet[0]).collect();
    assert_eq!(kinds, [3, 5], "comments and setup");
    assert_eq!((pages[0].granule, pages[1].granule), (0, 0));
    let last = pages.last().expect("pages");
    let mut samples = Vec::new();
    if pages.len() > 2 {
        let mut decoder = vorbis_rs::VorbisDecoder::<&[u8]>::new(bytes).expect("a Vorbis stream");
        while let Some(block) = decoder.decode_audio_block().expect("sound packets") {
            samples.extend(block.samples()[0]);
        }
        assert_eq!(
            samples.len() as u64,
            last.granule,
            "the number of samples is the last granule position"
        );
    }
    SavedStream {
        samples,
        skipped: 0,
        serial: last.serial,
        has_ended: last.flags & ENDS != 0,
    }
}

//! One Vorbis stream encoded by vorbis_rs. The crate writes Ogg pages of four packets or more, which are
//! split into packets again, because each listener gets its own pages. Packets that wait for their page add
//! to the latency of this format: about 170 ms, of which 20 ms are the frame in flight on a worker thread.

use std::{cell::RefCell, fmt, io, num::NonZero, rc::Rc};

use bytes::Bytes;
use ogg::reading::{BasePacketReader, PageParser};
use vorbis_rs::{VorbisBitrateManagementStrategy, VorbisEncoder, VorbisEncoderBuilder};

use crate::{
    SAMPLE_RATE,
    encoder::{EncodeError, Packet, PacketDuration},
};

const RATE: NonZero<u32> = match NonZero::new(SAMPLE_RATE) {
    Some(rate) => rate,
    None => panic!(),
};

/// Length of the fixed part of an Ogg page header in bytes (RFC 3533, section 6).
const PAGE_HEADER: usize = 27;

/// An encoder, and the reader that splits its pages. Not `Send`.
pub(crate) struct VorbisStream {
    encoder: VorbisEncoder<PageBuffer>,
    pages: PageBuffer,
    reader: BasePacketReader,
    /// A quarter of the short and of the long window, in samples.
    quarters: [u32; 2],
}

/// The buffer that the encoder writes pages to.
#[derive(Clone, Default)]
struct PageBuffer(Rc<RefCell<Vec<u8>>>);

impl VorbisStream {
    /// Creates an encoder and returns its header packets.
    pub(crate) fn new(quality: f32) -> Result<(Self, Vec<Bytes>), EncodeError> {
        let pages = PageBuffer::default();
        let strategy = VorbisBitrateManagementStrategy::QualityVbr {
            target_quality: quality,
        };
        let encoder = VorbisEncoderBuilder::new_with_serial(RATE, NonZero::<u8>::MIN, pages.clone(), 0)
            .bitrate_management_strategy(strategy)
            // A page is written once it has four packets.
            .minimum_page_data_size(Some(1))
            .build()
            .map_err(|_| EncodeError)?;
        let mut reader = BasePacketReader::new();
        let headers = split_pages(&mut reader, &pages.0.take())?;
        let quarters = quarters(headers.first().ok_or(EncodeError)?)?;
        let stream = Self {
            encoder,
            pages,
            reader,
            quarters,
        };
        Ok((stream, headers))
    }

    /// Encodes samples (full scale is 1.0) and appends the packets that are ready.
    pub(crate) fn encode(
        &mut self,
        samples: &[f32],
        packets: &mut Vec<Packet>,
    ) -> Result<(), EncodeError> {
        let encoded = self.encoder.encode_audio_block([samples]);
        encoded.map_err(|_| EncodeError)?;
        self.collect(packets)
    }

    /// Ends the stream and appends the remaining packets.
    pub(crate) fn finish(self, packets: &mut Vec<Packet>) -> Result<(), EncodeError> {
        let Self {
            encoder,
            pages,
            mut reader,
            quarters,
        } = self;
        encoder.finish().map_err(|_| EncodeError)?;
        let bodies = split_pages(&mut reader, &pages.0.take())?;
        packets.extend(bodies.into_iter().map(|bytes| packet(bytes, quarters)));
        Ok(())
    }

    fn collect(&mut self, packets: &mut Vec<Packet>) -> Result<(), EncodeError> {
        let pages = self.pages.0.take();
        let bodies = split_pages(&mut self.reader, &pages)?;
        packets.extend(bodies.into_iter().map(|bytes| packet(bytes, self.quarters)));
        Ok(())
    }
}

/// Wraps a packet with its duration. libvorbis has two modes, short and long windows, so the mode number is
/// the bit after the packet type bit (Vorbis I, section 4.3.1). A test compares the durations with a
/// decoder's.
fn packet(bytes: Bytes, [short, long]: [u32; 2]) -> Packet {
    let is_long = bytes.first().is_some_and(|first| first & 2 != 0);
    let quarter = if is_long { long } else { short };
    Packet::new(bytes, PacketDuration::Overlapping(quarter))
}

/// A quarter of the short and of the long window, in samples. The identification header holds the window
/// sizes as powers of two, in two halves of a byte (Vorbis I, section 4.2.2).
fn quarters(identification: &[u8]) -> Result<[u32; 2], EncodeError> {
    let sizes = *identification.get(28).ok_or(EncodeError)?;
    let quarter = |power: u8| 1_u32.checked_shl(power.into()).map(|size| size / 4);
    match (quarter(sizes & 15), quarter(sizes >> 4)) {
        (Some(short), Some(long)) => Ok([short, long]),
        (None, _) | (_, None) => Err(EncodeError),
    }
}

/// Splits whole pages into packets.
fn split_pages(reader: &mut BasePacketReader, pages: &[u8]) -> Result<Vec<Bytes>, EncodeError> {
    let mut packets = Vec::new();
    let mut rest = pages;
    while let Some((header, after)) = rest.split_first_chunk::<PAGE_HEADER>() {
        let (mut parser, segments) = PageParser::new(*header).map_err(|_| EncodeError)?;
        let (segments, after) = after.split_at_checked(segments).ok_or(EncodeError)?;
        let length = parser.parse_segments(segments.to_vec());
        let (body, after) = after.split_at_checked(length).ok_or(EncodeError)?;
        let page = parser.parse_packet_data(body.to_vec());
        let page = page.map_err(|_| EncodeError)?;
        reader.push_page(page).map_err(|_| EncodeError)?;
        packets
            .extend(std::iter::from_fn(|| reader.read_packet()).map(|packet| packet.data.into()));
        rest = after;
    }
    Ok(packets)
}

impl io::Write for PageBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for VorbisStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("VorbisStream")
            .finish_non_exhaustive()
    }
}

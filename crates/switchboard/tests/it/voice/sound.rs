//! Tones, and their levels in received audio. Samples are numbers in the range of `i16`.

use std::f64::consts::TAU;

use ogg::PacketReader;
use opus_rs::OpusDecoder;
use vorbis_rs::VorbisDecoder;

/// Samples per second.
pub(super) const RATE: usize = 48_000;

/// Samples in a frame of 20 ms.
pub(super) const FRAME: usize = 960;

/// Samples of a window: long enough to tell multiples of 10 Hz apart, short enough that a pause of the machine affects
/// few windows.
const WINDOW: usize = RATE / 10;

/// Size of the header of a WAV stream in bytes.
pub(super) const WAV_HEADER: usize = 44;

/// An endless tone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tone {
    pub(super) hertz: u32,
    pub(super) amplitude: f64,
    position: usize,
}

impl Tone {
    pub(super) fn new(hertz: u32, amplitude: f64) -> Self {
        Self {
            hertz,
            amplitude,
            position: 0,
        }
    }

    pub(super) fn next(&mut self, count: usize) -> Vec<i16> {
        let step = TAU * f64::from(self.hertz) / RATE as f64;
        let begin = self.position;
        self.position = (begin + count) % RATE;
        let sample = |at: usize| (self.amplitude * (step * at as f64).sin()).round() as i16;
        (begin..begin + count).map(sample).collect()
    }
}

pub(super) fn bytes_of(samples: &[i16]) -> Vec<u8> {
    samples
        .iter()
        .flat_map(|sample| sample.to_le_bytes())
        .collect()
}

/// The amplitude of one tone in these samples (Goertzel).
pub(super) fn amplitude(samples: &[f64], hertz: u32) -> f64 {
    let coefficient = 2.0 * (TAU * f64::from(hertz) / RATE as f64).cos();
    let (mut last, mut before) = (0.0, 0.0);
    for sample in samples {
        (last, before) = (sample + coefficient * last - before, last);
    }
    let power = last * last + before * before - coefficient * last * before;
    2.0 * power.max(0.0).sqrt() / samples.len() as f64
}

/// The median amplitude of a tone over the windows of these samples.
pub(super) fn median_amplitude(samples: &[f64], hertz: u32) -> f64 {
    let all = amplitudes(samples, hertz);
    all[all.len() / 2]
}

/// The lower quartile of the amplitude of a tone. A pause of the machine is a gap in the audio, which contains all
/// frequencies; a tone that was sent is present in every window.
pub(super) fn lower_quartile_amplitude(samples: &[f64], hertz: u32) -> f64 {
    let all = amplitudes(samples, hertz);
    all[all.len() / 4]
}

/// The amplitude of a tone in each window, sorted.
fn amplitudes(samples: &[f64], hertz: u32) -> Vec<f64> {
    let windows = samples.chunks_exact(WINDOW);
    let mut all: Vec<f64> = windows.map(|window| amplitude(window, hertz)).collect();
    assert!(!all.is_empty(), "less than a window of audio");
    all.sort_by(f64::total_cmp);
    all
}

pub(super) fn decibels(ratio: f64) -> f64 {
    20.0 * ratio.max(1e-9).log10()
}

/// Decodes a stream of this format, which may be incomplete.
pub(super) fn decode(format: &str, bytes: &[u8]) -> Vec<f64> {
    match format {
        "wav" => pcm(bytes).into_iter().map(f64::from).collect(),
        "opus" => opus(bytes),
        "ogg" => vorbis(bytes),
        other => panic!("unknown format: {other}"),
    }
}

/// The samples of a WAV stream.
pub(super) fn pcm(bytes: &[u8]) -> Vec<i16> {
    let samples = bytes.get(WAV_HEADER..).unwrap_or_default().chunks_exact(2);
    samples
        .map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
        .collect()
}

fn opus(bytes: &[u8]) -> Vec<f64> {
    let mut packets = PacketReader::new(std::io::Cursor::new(bytes));
    let mut decoder = OpusDecoder::new(RATE as i32, 1).expect("cannot create a decoder");
    let mut samples = Vec::new();
    let (mut count, mut skip) = (0, 0);
    while let Ok(Some(packet)) = packets.read_packet() {
        match count {
            0 => {
                assert!(packet.data.starts_with(b"OpusHead") && packet.data[9] == 1);
                skip = usize::from(u16::from_le_bytes([packet.data[10], packet.data[11]]));
            }
            1 => assert!(packet.data.starts_with(b"OpusTags")),
            _ => {
                let mut frame = [0.0; FRAME];
                let decoded = decoder.decode(&packet.data, FRAME, &mut frame);
                assert_eq!(decoded, Ok(FRAME), "packet {count}");
                samples.extend(frame.iter().map(|sample| f64::from(*sample) * 32_768.0));
            }
        }
        count += 1;
    }
    samples.split_off(skip.min(samples.len()))
}

fn vorbis(bytes: &[u8]) -> Vec<f64> {
    let mut decoder = VorbisDecoder::<&[u8]>::new(bytes).expect("not the headers of Vorbis");
    assert_eq!(decoder.channels().get(), 1);
    assert_eq!(decoder.sampling_frequency().get() as usize, RATE);
    let mut samples = Vec::new();
    while let Ok(Some(block)) = decoder.decode_audio_block() {
        samples.extend(
            block.samples()[0]
                .iter()
                .map(|sample| f64::from(*sample) * 32_768.0),
        );
    }
    samples
}

/// The header of an Ogg page.
#[derive(Clone, Copy, Debug)]
pub(super) struct OggPage {
    pub(super) is_first: bool,
    pub(super) is_last: bool,
    /// Granule position: samples until the end of this page.
    pub(super) position: u64,
    pub(super) sequence: u32,
}

/// The headers of the complete pages of a stream.
pub(super) fn pages(bytes: &[u8]) -> Vec<OggPage> {
    let mut pages = Vec::new();
    let mut rest = bytes;
    while rest.len() >= 27 {
        assert_eq!(&rest[..4], b"OggS", "page {} begins", pages.len());
        let segments = usize::from(rest[26]);
        let Some(table) = rest.get(27..27 + segments) else {
            break;
        };
        let length: usize = table.iter().map(|length| usize::from(*length)).sum();
        let end = 27 + segments + length;
        if rest.len() < end {
            break;
        }
        pages.push(OggPage {
            is_first: rest[5] & 2 != 0,
            is_last: rest[5] & 4 != 0,
            position: u64::from_le_bytes(rest[6..14].try_into().expect("8 bytes")),
            sequence: u32::from_le_bytes(rest[18..22].try_into().expect("4 bytes")),
        });
        rest = &rest[end..];
    }
    pages
}

/// Number of samples in the received bytes of a stream.
pub(super) fn samples_in(format: &str, bytes: &[u8]) -> usize {
    if format == "wav" {
        return bytes.len().saturating_sub(WAV_HEADER) / 2;
    }
    let position = pages(bytes).last().map_or(0, |page| page.position);
    usize::try_from(position).expect("the position is too large")
}

//! The CPU time of one second (50 frames) of a room: `cargo bench -p switchboard-audio`. `mixer` is this crate;
//! `reference` is a simple mixer, which sums and encodes separately for each listener, and writes no Ogg pages. Both
//! get the same input.

use std::{fmt, sync::Arc};

use divan::{Bencher, black_box};
use switchboard_audio::{
    AudioChunk, AudioSink, FRAME_SAMPLES, Format, Frame, MixSettings, Mixer, SourceHandle,
};

const FRAMES_PER_SECOND: usize = 50;

/// The size and format of a room.
#[derive(Clone, Copy)]
struct Room {
    format: Format,
    sources: usize,
    listeners: usize,
}

impl fmt::Display for Room {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            format,
            sources,
            listeners,
        } = self;
        write!(formatter, "{format:?} {sources} talk, {listeners} listen")
    }
}

/// Rooms of these sizes, in each format.
fn rooms(sizes: &[(usize, usize)]) -> Vec<Room> {
    let room = |format| {
        sizes.iter().map(move |&(sources, listeners)| Room {
            format,
            sources,
            listeners,
        })
    };
    Format::AVAILABLE.iter().copied().flat_map(room).collect()
}

/// A sink that discards its chunks.
struct DiscardingSink;

impl AudioSink for DiscardingSink {
    fn send(&mut self, chunk: AudioChunk) -> bool {
        black_box(chunk);
        true
    }

    fn is_open(&self) -> bool {
        true
    }
}

/// The audio of a source in one second: tones of its own that fade in and out, and some noise.
fn speech(source: usize) -> Vec<Frame> {
    let mut random = source as u64 + 1;
    let pitch = 100.0 + 7.0 * source as f64;
    let mut sample = |at: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let noise = f64::from((random >> 48) as i16) / 100.0;
        let phase = std::f64::consts::TAU * pitch * at as f64 / 48_000.0;
        let voice: f64 = (1..12)
            .map(|n| (phase * f64::from(n)).sin() / f64::from(n))
            .sum();
        let envelope = (at as f64 / 6_000.0 + source as f64).sin().max(0.0);
        (voice * envelope * 4_000.0 + noise) as i16
    };
    let frames = (0..FRAMES_PER_SECOND).map(|frame| frame * FRAME_SAMPLES);
    frames
        .map(|start| std::array::from_fn(|at| sample(start + at)))
        .collect()
}

struct MixedRoom {
    mixer: Mixer<DiscardingSink>,
    inputs: Vec<(SourceHandle, Vec<Frame>)>,
}

impl MixedRoom {
    /// The owners of the sources are 0, 1, 2…; those of the listeners begin with `first`.
    fn new(room: Room, first: usize) -> Self {
        let mut mixer = Mixer::new(Arc::new(MixSettings::default()));
        let input = |source| (mixer.add_source(source as u64), speech(source));
        let inputs = (0..room.sources).map(input).collect();
        for listener in first..first + room.listeners {
            mixer.add_listener(listener as u64, room.format, DiscardingSink);
        }
        let mut room = Self { mixer, inputs };
        room.mix_second();
        room
    }

    /// Mixes and encodes one second.
    fn mix_second(&mut self) {
        for frame in 0..FRAMES_PER_SECOND {
            for (input, frames) in &self.inputs {
                input.push(&frames[frame]);
            }
            self.mixer.begin_frame();
            while self.mixer.render_next() {}
        }
    }
}

/// Numbers of sources and of listeners that do not talk.
const SILENT_LISTENERS: [(usize, usize); 9] = [
    (2, 1),
    (2, 100),
    (2, 1_000),
    (10, 1),
    (10, 100),
    (10, 1_000),
    (100, 1),
    (100, 100),
    (100, 1_000),
];

/// Smaller rooms for the reference, whose cost grows with the number of listeners.
const SILENT_LISTENERS_REFERENCE: [(usize, usize); 6] =
    [(2, 1), (2, 100), (10, 1), (10, 100), (100, 1), (100, 100)];

/// Numbers of sources and listeners; each listener is also the owner of a source.
const TALKING_LISTENERS: [(usize, usize); 3] = [(2, 2), (10, 10), (100, 100)];

#[divan::bench_group(sample_size = 1, max_time = 2)]
mod silent_listeners {
    use super::*;

    #[divan::bench(args = rooms(&SILENT_LISTENERS), sample_count = 10)]
    fn mixer(bencher: Bencher<'_, '_>, room: &Room) {
        let mut mixed_room = MixedRoom::new(*room, room.sources);
        bencher.bench_local(|| mixed_room.mix_second());
    }

    #[divan::bench(args = rooms(&SILENT_LISTENERS_REFERENCE), sample_count = 3)]
    fn reference(bencher: Bencher<'_, '_>, room: &Room) {
        let mut reference = Reference::new(*room, room.sources);
        bencher.bench_local(|| reference.mix_second());
    }
}

#[divan::bench_group(sample_size = 1, max_time = 2)]
mod talking_listeners {
    use super::*;

    #[divan::bench(args = rooms(&TALKING_LISTENERS), sample_count = 5)]
    fn mixer(bencher: Bencher<'_, '_>, room: &Room) {
        let mut mixed_room = MixedRoom::new(*room, 0);
        bencher.bench_local(|| mixed_room.mix_second());
    }

    #[divan::bench(args = rooms(&TALKING_LISTENERS), sample_count = 3)]
    fn reference(bencher: Bencher<'_, '_>, room: &Room) {
        let mut reference = Reference::new(*room, 0);
        bencher.bench_local(|| reference.mix_second());
    }
}

/// One sum and one encoder for each listener.
struct Reference {
    sources: Vec<Vec<Frame>>,
    /// Owners and encoders.
    listeners: Vec<(usize, Encoder)>,
}

#[expect(clippy::large_enum_variant, reason = "a few hundred of them")]
enum Encoder {
    Wav,
    Opus(ropus::Encoder),
    #[cfg(feature = "vorbis")]
    Vorbis(vorbis_rs::VorbisEncoder<std::io::Sink>),
}

impl Reference {
    fn new(room: Room, first: usize) -> Self {
        let listeners = first..first + room.listeners;
        Self {
            sources: (0..room.sources).map(speech).collect(),
            listeners: listeners
                .map(|owner| (owner, Encoder::new(room.format)))
                .collect(),
        }
    }

    /// Mixes and encodes one second.
    fn mix_second(&mut self) {
        for at in 0..FRAMES_PER_SECOND {
            for (owner, encoder) in &mut self.listeners {
                let mut sum = [0_i32; FRAME_SAMPLES];
                for (source, frames) in self.sources.iter().enumerate() {
                    if source != *owner {
                        let samples = sum.iter_mut().zip(&frames[at]);
                        samples.for_each(|(sum, sample)| *sum += i32::from(*sample));
                    }
                }
                let saturated = |sample: i32| sample.clamp(-32_768, 32_767) as i16;
                encoder.encode(&sum.map(saturated));
            }
        }
    }
}

impl Encoder {
    fn new(format: Format) -> Self {
        let settings = MixSettings::default();
        match format {
            Format::Wav => Self::Wav,
            Format::Opus => {
                use ropus::{Application, Bitrate, Channels, Encoder};
                let encoder = Encoder::builder(48_000, Channels::Mono, Application::Audio)
                    .bitrate(Bitrate::Bits(settings.opus_bitrate))
                    .complexity(settings.opus_complexity);
                Self::Opus(encoder.build().expect("good settings"))
            }
            #[cfg(not(feature = "vorbis"))]
            Format::Vorbis => panic!("this build encodes no Vorbis"),
            #[cfg(feature = "vorbis")]
            Format::Vorbis => {
                use vorbis_rs::{VorbisBitrateManagementStrategy, VorbisEncoderBuilder};
                let rate = 48_000.try_into().expect("not 0");
                let channels = 1.try_into().expect("not 0");
                let mut encoder =
                    VorbisEncoderBuilder::new_with_serial(rate, channels, std::io::sink(), 0);
                encoder.bitrate_management_strategy(VorbisBitrateManagementStrategy::QualityVbr {
                    target_quality: settings.vorbis_quality,
                });
                Self::Vorbis(encoder.build().expect("good settings"))
            }
        }
    }

    fn encode(&mut self, frame: &Frame) {
        match self {
            Self::Wav => {
                let bytes: Vec<u8> = frame.iter().flat_map(|s| s.to_le_bytes()).collect();
                black_box(bytes);
            }
            Self::Opus(encoder) => {
                let mut packet = [0; 1_276];
                black_box(encoder.encode(frame, &mut packet)).expect("a frame");
                black_box(packet);
            }
            #[cfg(feature = "vorbis")]
            Self::Vorbis(encoder) => {
                let samples = frame.map(|sample| f32::from(sample) / 32_768.0);
                encoder.encode_audio_block([samples]).expect("a frame");
            }
        }
    }
}

fn main() {
    divan::main();
}

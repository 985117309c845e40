//! A sink that records its stream, tones to push, and the level of a tone in recorded samples.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use switchboard_audio::{
    AudioChunk, AudioSink, FRAME_SAMPLES, Frame, MixSettings, Mixer, PcmDecoder, SourceHandle,
};

/// A recording sink. Clones share the recording.
#[derive(Clone, Debug)]
pub(crate) struct RecordingSink {
    received: Arc<Mutex<Vec<u8>>>,
    is_open: Arc<AtomicBool>,
    /// Number of further calls of `send` that it accepts.
    sends_left: Arc<AtomicUsize>,
}

impl RecordingSink {
    pub(crate) fn new() -> Self {
        Self::accepting(usize::MAX)
    }

    /// Creates a sink that accepts this many calls of `send` and rejects all later ones.
    pub(crate) fn accepting(sends: usize) -> Self {
        Self {
            received: Arc::default(),
            is_open: Arc::new(AtomicBool::new(true)),
            sends_left: Arc::new(AtomicUsize::new(sends)),
        }
    }

    /// The bytes received so far.
    pub(crate) fn received(&self) -> Vec<u8> {
        self.received
            .lock()
            .expect("another thread has panicked")
            .clone()
    }

    pub(crate) fn close(&self) {
        self.is_open.store(false, Ordering::Relaxed);
    }
}

impl AudioSink for RecordingSink {
    fn send(&mut self, chunk: AudioChunk) -> bool {
        let sends_left = self.sends_left.load(Ordering::Relaxed);
        if sends_left == 0 || !self.is_open() {
            return false;
        }
        self.sends_left.store(sends_left - 1, Ordering::Relaxed);
        self.received
            .lock()
            .expect("another thread has panicked")
            .extend(chunk.into_bytes());
        true
    }

    fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }
}

/// A mixer must be `Send`, because it moves between threads with its task; a source is pushed to from any
/// thread.
const _: () = {
    const fn is_send<T: Send>() {}
    const fn is_sync<T: Sync>() {}
    is_send::<Mixer<RecordingSink>>();
    is_send::<PcmDecoder>();
    is_sync::<SourceHandle>();
};

pub(crate) fn mixer() -> Mixer<RecordingSink> {
    Mixer::new(Arc::new(MixSettings::default()))
}

/// Runs one frame of the mixing loop.
pub(crate) fn tick(mixer: &mut Mixer<RecordingSink>) {
    mixer.begin_frame();
    while mixer.render_next() {}
}

/// Generates a tone at 48 kHz.
pub(crate) struct ToneFrames {
    hertz: f64,
    amplitude: f64,
    /// Number of samples generated so far.
    at: u64,
}

impl ToneFrames {
    /// Creates a tone; an amplitude of 1.0 is full scale.
    pub(crate) fn new(hertz: f64, amplitude: f64) -> Self {
        Self {
            hertz,
            amplitude,
            at: 0,
        }
    }

    pub(crate) fn frame(&mut self) -> Frame {
        std::array::from_fn(|_| self.sample())
    }

    pub(crate) fn samples(&mut self, count: usize) -> Vec<i16> {
        (0..count).map(|_| self.sample()).collect()
    }

    fn sample(&mut self) -> i16 {
        let phase = std::f64::consts::TAU * self.hertz * self.at as f64 / 48_000.0;
        self.at += 1;
        (self.amplitude * 32_767.0 * phase.sin()).round() as i16
    }
}

/// The amplitude of a frequency in the samples, 1.0 at full scale (Goertzel's algorithm).
pub(crate) fn amplitude_of(samples: &[f32], hertz: f64) -> f64 {
    let step = std::f64::consts::TAU * hertz / 48_000.0;
    let coefficient = 2.0 * step.cos();
    let (mut last, mut before) = (0.0, 0.0);
    for (at, &sample) in samples.iter().enumerate() {
        // A Hann window prevents leakage of a strong tone into the frequency of another.
        let turn = std::f64::consts::TAU * at as f64 / samples.len() as f64;
        let window = 1.0 - turn.cos();
        let next = f64::from(sample) * window + coefficient * last - before;
        (last, before) = (next, last);
    }
    let power = last * last + before * before - coefficient * last * before;
    2.0 * power.max(0.0).sqrt() / samples.len() as f64
}

pub(crate) fn decibels(ratio: f64) -> f64 {
    20.0 * ratio.max(1e-9).log10()
}

/// The number of frames in `count` seconds.
pub(crate) const fn seconds(count: usize) -> usize {
    count * 48_000 / FRAME_SAMPLES
}

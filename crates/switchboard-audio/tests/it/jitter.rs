//! Sources that send too late, too early, too much, or too little.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use switchboard_audio::{FRAME_SAMPLES, Format, Mixer, SourceHandle, Ticker};

use crate::{
    recording::{RecordingSink, mixer, seconds, tick},
    saved,
};

/// The default of `latency_max`, 200 ms, in samples.
const LATENCY_MAX: usize = 9_600;

/// One source and a listener that records its mixed samples.
struct JitterFixture {
    mixer: Mixer<RecordingSink>,
    input: SourceHandle,
    recorder: RecordingSink,
    /// Number of pushed samples.
    count: usize,
}

impl JitterFixture {
    fn new() -> Self {
        let (mut mixer, recorder) = (mixer(), RecordingSink::new());
        let input = mixer.add_source(1);
        mixer.add_listener(2, Format::Wav, recorder.clone());
        Self {
            mixer,
            input,
            recorder,
            count: 0,
        }
    }

    fn push(&mut self, count: usize) {
        let samples: Vec<i16> = (self.count..self.count + count).map(sample_at).collect();
        self.input.push(&samples);
        self.count += count;
    }

    fn tick(&mut self) {
        tick(&mut self.mixer);
    }

    fn received(&self) -> Vec<i16> {
        let saved = saved::read(Format::Wav, &self.recorder.received());
        saved
            .samples
            .iter()
            .map(|sample| (sample * 32_768.0) as i16)
            .collect()
    }

    /// The received samples without silence.
    fn sound(&self) -> Vec<i16> {
        self.received()
            .into_iter()
            .filter(|&sample| sample != 0)
            .collect()
    }
}

/// The pushed sample at a position: its number modulo 30,000, plus 1. No pushed sample is zero (silence), and a lost or
/// repeated one is detected.
fn sample_at(at: usize) -> i16 {
    (at % 30_000) as i16 + 1
}

#[test]
fn flood_adds_at_most_latency_max() {
    let mut fixture = JitterFixture::new();
    fixture.push(20 * 48_000);
    for _ in 0..seconds(1) {
        fixture.tick();
    }
    let newest: Vec<i16> = (20 * 48_000 - LATENCY_MAX..20 * 48_000)
        .map(sample_at)
        .collect();
    assert_eq!(fixture.sound(), newest);
}

#[test]
fn steady_browser_input_has_no_gaps() {
    // 1024 samples every 21.3 ms, each time up to 15 ms late. The phase shifts them against the frames of the mixer.
    for phase in [0, 100, 512, 959] {
        let mut fixture = JitterFixture::new();
        let (mut sent, mut random) = (0, 1_u64);
        for frame in 0..seconds(60) {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let late = (random >> 33) as usize % 720;
            while sent * 1_024 + phase + late <= frame * FRAME_SAMPLES {
                fixture.push(1_024);
                sent += 1;
            }
            fixture.tick();
        }
        let received = fixture.received();
        let first = received
            .iter()
            .position(|&sample| sample != 0)
            .expect("sound");
        assert!(first <= 4 * FRAME_SAMPLES);
        for (at, &sample) in received[first..].iter().enumerate() {
            assert_eq!(sample, sample_at(at), "phase {phase}");
        }
    }
}

#[test]
fn first_listener_gets_current_audio() {
    let mut mixer = mixer();
    let input = mixer.add_source(1);
    let samples: Vec<i16> = (0..48_000).map(sample_at).collect();
    input.push(&samples);
    let recorder = RecordingSink::new();
    mixer.add_listener(2, Format::Wav, recorder.clone());
    for _ in 0..10 {
        tick(&mut mixer);
    }
    let received = saved::read(Format::Wav, &recorder.received()).samples;
    let sound = received.iter().filter(|sample| **sample != 0.0).count();
    assert_eq!(sound, 1_920, "the listener must get the last 40 ms");
}

/// A mixer that is late once may lose some of the audio of that time. Speech must not be chopped while the mixer
/// catches up, and must not be delayed afterwards.
#[test]
fn late_mixer_neither_chops_nor_delays_the_audio() {
    for stall in (0..400).step_by(7).chain([1_000, 5_000]) {
        let (mut fixture, start) = (JitterFixture::new(), Instant::now());
        let mut ticker = Ticker::new(start);
        let mut sent = 0;
        for frame in 0..seconds(3) {
            let late = if frame == 50 { stall } else { 0 };
            let now = ticker.next() + Duration::from_millis(late);
            while start + Duration::from_micros(21_333) * sent <= now {
                fixture.push(1_024);
                sent += 1;
            }
            ticker.advance(now);
            fixture.tick();
        }
        let received = fixture.received();
        let first = received
            .iter()
            .position(|&sample| sample != 0)
            .expect("sound");
        let gap = received[first..].iter().position(|&sample| sample == 0);
        assert_eq!(gap, None, "{stall} ms late");
        let last = usize::try_from(received[received.len() - 1]).expect("a positive sample");
        let delay = (fixture.count - last) % 30_000 * 1_000 / 48_000;
        assert!(delay <= 100, "{stall} ms late: {delay} ms behind");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn samples_that_fit_into_the_buffer_are_played_once_and_in_order(
        // Pushed samples and the frames after them. At least two frames (1920 samples) follow, so the buffer never
        // overflows.
        steps in prop::collection::vec((0_usize..1_500, 2_usize..8), 1..60),
    ) {
        let mut fixture = JitterFixture::new();
        for (samples, ticks) in steps {
            fixture.push(samples);
            (0..ticks).for_each(|_| fixture.tick());
        }
        (0..5).for_each(|_| fixture.tick());
        let expected: Vec<i16> = (0..fixture.count).map(sample_at).collect();
        prop_assert_eq!(fixture.sound(), expected);
    }

    #[test]
    fn delay_is_bounded_for_any_input(
        steps in prop::collection::vec((0_usize..20_000, 0_usize..4), 1..60),
    ) {
        let mut fixture = JitterFixture::new();
        for (samples, ticks) in steps {
            fixture.push(samples);
            (0..ticks).for_each(|_| fixture.tick());
        }
        let before = fixture.sound().len();
        let sent = fixture.count;
        (0..20).for_each(|_| fixture.tick());
        let sound = fixture.sound();
        prop_assert!(sound.len() - before <= LATENCY_MAX);
        // The newest sample is never dropped.
        if sent > 0 {
            prop_assert_eq!(sound.last(), Some(&sample_at(sent - 1)));
        }
    }
}

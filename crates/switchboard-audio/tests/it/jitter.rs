//! Sources that send too late, too early, too much, or too little.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use switchboard_audio::{FRAME_SAMPLES, Format, Mixer, SourceHandle, Ticker};

use crate::{
    saved,
    spectrum::{SpectrumAnalyzer, mixer, seconds, tick},
};

const LATENCY_MAX: usize = 9_600;

/// One source and a listener that records its mixed samples.
struct JitterFixture {
    mixer: Mixer<SpectrumAnalyzer>,
    input: SourceHandle,
    recorder: SpectrumAnalyzer,
    /// Number of pushed samples; makes samples distinguishable from their neighbours and nonzero.
    count: usize,
}

impl JitterFixture {
    fn new() -> Self {
        let (mut mixer, recorder) = (mixer(), SpectrumAnalyzer::new());
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
        let samples: Vec<i16> = (self.count..self.count + count).map(number).collect();
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

    fn sound(&self) -> Vec<i16> {
        self.received()
            .into_iter()
            .filter(|&sample| sample != 0)
            .collect()
    }
}

fn number(at: usize) -> i16 {
    (at % 30_000) as i16 + 1
}

#[test]
fn flood_adds_at_most_latency_max() {
    let mut line = JitterFixture::new();
    line.push(20 * 48_000);
    for _ in 0..seconds(1) {
        line.tick();
    }
    let newest: Vec<i16> = (20 * 48_000 - LATENCY_MAX..20 * 48_000)
        .map(number)
        .collect();
    assert_eq!(line.sound(), newest);
}

#[test]
fn steady_browser_input_has_no_gaps() {
    // A thousand and twenty-four samples every 21.3 ms, up to 15 ms late, from any phase.
    for phase in [0, 100, 512, 959] {
        let mut line = JitterFixture::new();
        let (mut sent, mut random) = (0, 1_u64);
        for frame in 0..seconds(60) {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let late = (random >> 33) as usize % 720;
            while sent * 1_024 + phase + late <= frame * FRAME_SAMPLES {
                line.push(1_024);
                sent += 1;
            }
            line.tick();
        }
        let received = line.received();
        let first = received
            .iter()
            .position(|&sample| sample != 0)
            .expect("sound");
        assert!(first <= 4 * FRAME_SAMPLES);
        for (at, &sample) in received[first..].iter().enumerate() {
            assert_eq!(sample, number(at), "phase {phase}");
        }
    }
}

#[test]
fn first_listener_gets_current_audio() {
    let mut mixer = mixer();
    let input = mixer.add_source(1);
    let samples: Vec<i16> = (0..48_000).map(number).collect();
    input.push(&samples);
    let recorder = SpectrumAnalyzer::new();
    mixer.add_listener(2, Format::Wav, recorder.clone());
    for _ in 0..10 {
        tick(&mut mixer);
    }
    let received = saved::read(Format::Wav, &recorder.received()).samples;
    let sound = received.iter().filter(|sample| **sample != 0.0).count();
    assert_eq!(sound, 1_920, "40 ms, not 200");
}

/// A late mixer loses some of the audio of the meantime and nothing else: speech is not chopped while it
/// catches up, and gets no permanent latency.
#[test]
fn late_mixer_drops_no_audio() {
    for stall in (0..400).step_by(7).chain([1_000, 5_000]) {
        let (mut line, start) = (JitterFixture::new(), Instant::now());
        let mut cadence = Ticker::new(start);
        let mut sent = 0;
        for frame in 0..seconds(3) {
            let late = if frame == 50 { stall } else { 0 };
            let now = cadence.next() + Duration::from_millis(late);
            while start + Duration::from_micros(21_333) * sent <= now {
                line.push(1_024);
                sent += 1;
            }
            cadence.advance(now);
            line.tick();
        }
        let received = line.received();
        let first = received
            .iter()
            .position(|&sample| sample != 0)
            .expect("sound");
        let gap = received[first..].iter().position(|&sample| sample == 0);
        assert_eq!(gap, None, "{stall} ms late");
        let last = usize::try_from(received[received.len() - 1]).expect("numbers");
        let delay = (line.count - last) % 30_000 * 1_000 / 48_000;
        assert!(delay <= 100, "{stall} ms late: {delay} ms behind");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_sent_in_time_is_heard_once_and_in_order(
        // The buffer never overflows, with gaps and sounds of any length.
        steps in prop::collection::vec((0_usize..1_500, 2_usize..8), 1..60),
    ) {
        let mut line = JitterFixture::new();
        for (samples, ticks) in steps {
            line.push(samples);
            (0..ticks).for_each(|_| line.tick());
        }
        (0..5).for_each(|_| line.tick());
        let expected: Vec<i16> = (0..line.count).map(number).collect();
        prop_assert_eq!(line.sound(), expected);
    }

    #[test]
    fn however_much_comes_the_delay_is_bounded(
        steps in prop::collection::vec((0_usize..20_000, 0_usize..4), 1..60),
    ) {
        let mut line = JitterFixture::new();
        for (samples, ticks) in steps {
            line.push(samples);
            (0..ticks).for_each(|_| line.tick());
        }
        let before = line.sound().len();
        let sent = line.count;
        (0..20).for_each(|_| line.tick());
        let sound = line.sound();
        prop_assert!(sound.len() - before <= LATENCY_MAX);
        // The newest sample is never dropped.
        if sent > 0 {
            prop_assert_eq!(sound.last(), Some(&number(sent - 1)));
        }
    }
}

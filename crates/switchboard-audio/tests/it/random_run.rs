//! Many owners (users with sources and listeners) that join and leave at random, with audio that is difficult to
//! encode.

use proptest::prelude::*;
use switchboard_audio::{FRAME_SAMPLES, Format, SourceHandle};

use crate::{
    recording::{RecordingSink, mixer, seconds, tick},
    saved,
};

/// The frames of a run.
const FRAMES: usize = seconds(60);
const OWNERS: u64 = 200;

/// Maximum lag of a Vorbis stream in samples: `LAG_MAX` of `ogg.rs`, with a margin of 50 ms.
const VORBIS_LAG_MAX: usize = 12_960;

/// Maximum lead of a Vorbis stream in samples: a new listener also gets the packets buffered in the encoder,
/// up to five.
const VORBIS_LEAD_MAX: usize = 5_120;

/// An action that happens before a frame.
#[derive(Clone, Debug)]
enum MixerAction {
    /// The owner adds a source.
    Talk(u64),
    /// The owner drops all its sources.
    Stop(u64),
    /// The owner adds a listener.
    Listen(u64, Format),
    /// The owner closes all its listeners.
    Leave(u64),
}

fn random_actions() -> impl Strategy<Value = Vec<(usize, MixerAction)>> {
    let format = prop::sample::select(Format::AVAILABLE);
    let action = prop_oneof![
        6 => (0..OWNERS).prop_map(MixerAction::Talk),
        4 => (0..OWNERS).prop_map(MixerAction::Stop),
        // Few owners listen, so that many listeners also talk at times.
        1 => (0..5_u64, format).prop_map(|(owner, format)| MixerAction::Listen(owner, format)),
        1 => (0..5_u64).prop_map(MixerAction::Leave),
    ];
    prop::collection::vec((0..FRAMES, action), 300..600)
}

/// A listener, and the number of frames it has listened.
struct TestListener {
    owner: u64,
    format: Format,
    recorder: RecordingSink,
    frames: usize,
    has_left: bool,
}

impl TestListener {
    /// Checks that the stream is valid and lasts as long as the listener has listened.
    fn check(&self) {
        let saved = saved::read(self.format, &self.recorder.received());
        assert_eq!(
            saved.has_ended,
            !self.has_left || self.format == Format::Wav
        );
        let lasted = self.frames * FRAME_SAMPLES;
        let played = saved.samples.len();
        match self.format {
            Format::Wav => assert_eq!(played, lasted),
            // A listener that left may lack the pre-skip (3,840 samples) and the last page (2,880 samples).
            Format::Opus if self.has_left => assert!(lasted.abs_diff(played) <= 3_840 + 2_880),
            // A pre-skip beyond the delay of the encoder (312 samples) shortens the sound.
            Format::Opus => assert_eq!(played, lasted.saturating_sub(saved.skipped - 312)),
            Format::Vorbis if self.has_left => {
                assert!(played < lasted + VORBIS_LEAD_MAX && lasted < played + VORBIS_LAG_MAX);
            }
            Format::Vorbis => assert!((lasted..lasted + VORBIS_LEAD_MAX).contains(&played)),
        }
    }
}

/// Runs a mixer with these actions, each before the frame of its number, and checks the streams.
fn run(mut actions: Vec<(usize, MixerAction)>, seed: u64) {
    actions.sort_by_key(|(frame, _)| *frame);
    let mut actions = actions.into_iter().peekable();
    let mut mixer = mixer();
    let mut talking: Vec<(u64, SourceHandle)> = Vec::new();
    let mut listening: Vec<TestListener> = Vec::new();
    let mut random = seed | 1;
    for now in 0..FRAMES {
        while let Some((_, action)) = actions.next_if(|(frame, _)| *frame <= now) {
            match action {
                MixerAction::Talk(owner) => talking.push((owner, mixer.add_source(owner))),
                MixerAction::Stop(owner) => talking.retain(|(talker, _)| *talker != owner),
                MixerAction::Listen(owner, format) => {
                    let recorder = RecordingSink::new();
                    mixer.add_listener(owner, format, recorder.clone());
                    listening.push(TestListener {
                        owner,
                        format,
                        recorder,
                        frames: 0,
                        has_left: false,
                    });
                }
                MixerAction::Leave(owner) => {
                    for left in listening.iter_mut().filter(|left| left.owner == owner) {
                        left.recorder.close();
                        left.has_left = true;
                    }
                }
            }
        }
        for (owner, input) in &talking {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(*owner);
            // Some sources push too few samples, some are silent, some are loud; at times all are silent.
            let loudness = (random >> 60) as i16 * 200;
            let silent = now / 250 % 3 == 2 || random >> 61 == 0;
            let wave: Vec<i16> = (0..FRAME_SAMPLES)
                .map(|at| {
                    if silent || at / 40 % 2 == 0 {
                        0
                    } else {
                        loudness
                    }
                })
                .collect();
            input.push(&wave[..(random >> 40) as usize % 1_100.min(FRAME_SAMPLES + 1)]);
        }
        tick(&mut mixer);
        for present in listening.iter_mut().filter(|present| !present.has_left) {
            present.frames += 1;
        }
    }
    let present = listening.iter().filter(|present| !present.has_left).count();
    assert_eq!(mixer.listeners(), present);
    mixer.end();
    listening.iter().for_each(TestListener::check);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2))]

    #[test]
    fn every_listener_gets_a_complete_stream(actions in random_actions(), seed in any::<u64>()) {
        run(actions, seed);
    }
}

/// One sample of audio that is difficult to encode.
fn difficult_sample(kind: u8, at: usize, random: &mut u64) -> i16 {
    *random = random
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1);
    let noise = (*random >> 48) as i16;
    let extreme = |is_high| if is_high { i16::MAX } else { i16::MIN };
    match kind {
        0 => noise,
        1 => i16::MAX,
        2 => i16::MIN,
        3 => extreme(at & 1 == 0),
        4 => extreme(noise > 0),
        5 => noise >> 14,
        6 if at == 0 => i16::MIN,
        6 => 0,
        _ => extreme(at / 480 == 0),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_input_is_encoded_in_full(
        chunks in prop::collection::vec((0_u8..10, 1_usize..30), 1..12),
        seed in any::<u64>(),
    ) {
        let mut mixer = mixer();
        let input = mixer.add_source(1);
        let recorders = Format::AVAILABLE.iter().map(|format| (*format, RecordingSink::new()));
        let recorders: Vec<_> = recorders.collect();
        for (format, recorder) in &recorders {
            mixer.add_listener(2, *format, recorder.clone());
        }
        let (mut random, mut frames) = (seed, 0);
        for (kind, count) in chunks {
            for _ in 0..count {
                if kind < 8 {
                    let frame: Vec<i16> =
                        (0..FRAME_SAMPLES).map(|at| difficult_sample(kind, at, &mut random)).collect();
                    input.push(&frame);
                }
                tick(&mut mixer);
                frames += 1;
            }
        }
        mixer.end();
        for (format, recorder) in recorders {
            prop_assert_eq!(saved::read(format, &recorder.received()).samples.len(), frames * FRAME_SAMPLES);
        }
    }
}

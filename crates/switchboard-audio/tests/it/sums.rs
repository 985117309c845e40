//! Arithmetic of mixing: each owner (the user that a source or listener belongs to) gets the sum of the sources of the
//! others, clamped to 16 bits once.

use proptest::prelude::*;
use switchboard_audio::{FRAME_SAMPLES, Format};

use crate::{
    recording::{RecordingSink, mixer, tick},
    saved,
};

/// Frames pushed before the first is mixed, so that no source has too few samples.
const AHEAD: usize = 3;

/// The sample of a source at a position. The samples are pseudorandom, so that misaligned frames are detected.
fn sent(seed: u64, at: usize) -> i16 {
    let bits = (seed ^ at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let loudness = seed % 16;
    (bits >> 48) as i16 >> loudness
}

/// The sample that a listener must get. A source is its owner and its seed.
fn expected(sources: &[(u64, u64)], listener: u64, at: usize) -> i16 {
    let others = sources.iter().filter(|(owner, _)| *owner != listener);
    let sum: i64 = others.map(|(_, seed)| i64::from(sent(*seed, at))).sum();
    sum.clamp(i16::MIN.into(), i16::MAX.into()) as i16
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn each_listener_gets_the_sum_of_the_other_owners(
        // The owner and the seed of each source. Owners may have several sources.
        sources in prop::collection::vec((0_u64..10, any::<u64>()), 0..12),
        frames in 1_usize..12,
    ) {
        let mut mixer = mixer();
        let inputs: Vec<_> = sources.iter().map(|(owner, _)| mixer.add_source(*owner)).collect();
        let recorders: Vec<_> = (0..12).map(|_| RecordingSink::new()).collect();
        for (owner, recorder) in (0..).zip(&recorders) {
            mixer.add_listener(owner, Format::Wav, recorder.clone());
        }
        for frame in 0..frames + AHEAD {
            for (input, (_, seed)) in inputs.iter().zip(&sources) {
                let at = frame * FRAME_SAMPLES;
                let samples: Vec<_> = (at..at + FRAME_SAMPLES).map(|at| sent(*seed, at)).collect();
                input.push(&samples);
            }
            if frame >= AHEAD {
                tick(&mut mixer);
            }
        }
        for (owner, recorder) in (0..).zip(&recorders) {
            let received = saved::read(Format::Wav, &recorder.received()).samples;
            prop_assert_eq!(received.len(), frames * FRAME_SAMPLES);
            for (at, sample) in received.iter().enumerate() {
                let expected = f32::from(expected(&sources, owner, at)) / 32_768.0;
                prop_assert_eq!(*sample, expected, "sample {} of listener {}", at, owner);
            }
        }
    }
}

//! The arithmetic: everybody gets the sum of the others, brought into 16 bits once.

use proptest::prelude::*;
use switchboard_audio::{FRAME_SAMPLES, Format};

use crate::{
    saved,
    spectrum::{SpectrumAnalyzer, mixer, tick},
};

/// So many frames are pushed before the first is taken, so that nobody starves.
const AHEAD: usize = 3;

/// What a source says: a number that repeats, and so cannot be out of step by chance.
fn said(seed: u64, at: usize) -> i16 {
    let bits = (seed ^ at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let loudness = seed % 16;
    (bits >> 48) as i16 >> loudness
}

fn expected(sources: &[(u64, u64)], listener: u64, at: usize) -> i16 {
    let others = sources.iter().filter(|(owner, _)| *owner != listener);
    let sum: i64 = others.map(|(_, seed)| i64::from(said(*seed, at))).sum();
    sum.clamp(i16::MIN.into(), i16::MAX.into()) as i16
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_sum_of_the_others(
        // Owners may have several sources.
        sources in prop::collection::vec((0_u64..10, any::<u64>()), 0..12),
        frames in 1_usize..12,
    ) {
        let mut mixer = mixer();
        let inputs: Vec<_> = sources.iter().map(|(owner, _)| mixer.add_source(*owner)).collect();
        let ears: Vec<_> = (0..12).map(|_| SpectrumAnalyzer::new()).collect();
        for (owner, ear) in (0..).zip(&ears) {
            mixer.add_listener(owner, Format::Wav, ear.clone());
        }
        for frame in 0..frames + AHEAD {
            for (input, (_, seed)) in inputs.iter().zip(&sources) {
                let at = frame * FRAME_SAMPLES;
                let samples: Vec<_> = (at..at + FRAME_SAMPLES).map(|at| said(*seed, at)).collect();
                input.push(&samples);
            }
            if frame >= AHEAD {
                tick(&mut mixer);
            }
        }
        for (owner, ear) in (0..).zip(&ears) {
            let heard = saved::read(Format::Wav, &ear.heard()).samples;
            prop_assert_eq!(heard.len(), frames * FRAME_SAMPLES);
            for (at, sample) in heard.iter().enumerate() {
                let expected = f32::from(expected(&sources, owner, at)) / 32_768.0;
                prop_assert_eq!(*sample, expected, "sample {} of listener {}", at, owner);
            }
        }
    }
}

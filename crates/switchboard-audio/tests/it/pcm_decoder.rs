//! The PCM decoder: any bytes, in chunks of any size. The decoded samples are recorded from a mixer with one source.

use proptest::prelude::*;
use switchboard_audio::{Format, PcmDecoder};

use crate::{
    recording::{RecordingSink, ToneFrames, amplitude_of, decibels, mixer, tick},
    saved,
};

/// Half a second in frames of 20 ms.
const HALF_A_SECOND: usize = 25;

/// Decodes these chunks, one in each frame of 20 ms. Returns the samples that a listener gets from the first chunk
/// until half a second after the last one.
fn record(rate: u32, channels: u16, chunks: &[&[u8]]) -> Vec<f32> {
    let (mut mixer, recorder) = (mixer(), RecordingSink::new());
    let input = mixer.add_source(1);
    mixer.add_listener(2, Format::Wav, recorder.clone());
    let mut decoder = PcmDecoder::new(rate, channels).expect("supported");
    for chunk in chunks {
        decoder.decode(chunk, &input);
        tick(&mut mixer);
    }
    (0..HALF_A_SECOND).for_each(|_| tick(&mut mixer));
    saved::read(Format::Wav, &recorder.received()).samples
}

#[test]
fn resampled_tone_keeps_its_level_and_pitch() {
    for rate in [
        8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000,
    ] {
        for channels in [1_u16, 2, 6] {
            let hertz = 997.0;
            // The generator makes tones at 48 kHz. With this frequency, its samples are a tone of `hertz` at `rate`.
            let mut tone = ToneFrames::new(hertz * 48_000.0 / f64::from(rate), 0.4);
            let samples = tone.samples(rate as usize * 2);
            let group = |sample: &i16| sample.to_le_bytes().repeat(channels.into());
            let bytes: Vec<u8> = samples.iter().flat_map(group).collect();
            let chunk = rate as usize / 50 * usize::from(channels) * 2;
            let chunks: Vec<&[u8]> = bytes.chunks(chunk).collect();
            let received = record(rate, channels, &chunks);
            let level = decibels(amplitude_of(&received[24_000..72_000], hertz) / 0.4);
            assert!(
                level.abs() < 0.1,
                "{rate} Hz, {channels} channels: {level} dB"
            );
        }
    }
}

#[test]
fn channels_are_downmixed_to_their_mean() {
    let groups = [
        [1_000_i16, 3_000],
        [-8, -4],
        [i16::MAX, i16::MAX],
        [i16::MIN, i16::MIN],
    ];
    let bytes: Vec<u8> = groups
        .iter()
        .flatten()
        .flat_map(|s| s.to_le_bytes())
        .collect();
    let received = record(48_000, 2, &[&bytes]);
    let sound: Vec<f32> = received
        .iter()
        .map(|s| s * 32_768.0)
        .filter(|s| *s != 0.0)
        .collect();
    assert_eq!(sound, [2_000.0, -6.0, 32_767.0, -32_768.0]);
}

#[test]
fn unsupported_pcm_error_names_rate_and_channels() {
    for (rate, channels) in [(7_999, 1), (192_001, 1), (48_000, 0), (48_000, 9), (0, 0)] {
        let error = PcmDecoder::new(rate, channels).expect_err("unsupported");
        assert_eq!((error.rate, error.channels), (rate, channels));
        assert!(error.to_string().contains("8000 to 192000 Hz"), "{error}");
    }
}

#[test]
fn odd_sample_rate_keeps_its_duration() {
    for rate in [8_001, 47_999, 48_001, 191_999] {
        let bytes = [1, 2].repeat(rate as usize);
        let chunks: Vec<&[u8]> = bytes.chunks(rate as usize / 50 * 2).collect();
        let sound = record(rate, 1, &chunks)
            .iter()
            .filter(|sample| **sample != 0.0)
            .count();
        assert!(sound.abs_diff(48_000) < 960, "{rate} Hz: {sound} samples");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn pieces_of_any_size_make_the_same_samples(
        bytes in prop::collection::vec(any::<u8>(), 0..4_000),
        cuts in prop::collection::vec(0_usize..4_000, 0..8),
        channels in 1_u16..=8,
    ) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let chunks: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
        let sound = |chunks: &[&[u8]]| {
            let received = record(48_000, channels, chunks);
            received.into_iter().filter(|sample| *sample != 0.0).collect::<Vec<_>>()
        };
        prop_assert_eq!(sound(&chunks), sound(&[&bytes]));
    }

    #[test]
    fn any_bytes_at_any_rate_are_decoded(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3_000), 0..12),
        rate in 8_000_u32..=192_000,
        channels in 1_u16..=8,
    ) {
        let chunks: Vec<&[u8]> = chunks.iter().map(|chunk| &chunk[..]).collect();
        let received = record(rate, channels, &chunks);
        prop_assert_eq!(received.len(), (chunks.len() + HALF_A_SECOND) * 960);
    }
}

//! Levels of tones in the mixes of sources and listeners.

use switchboard_audio::{Format, MixSettings, Mixer};

use crate::{
    recording::{RecordingSink, ToneFrames, amplitude_of, decibels, mixer, seconds, tick},
    saved,
};

/// The frequency of the tone of each of three owners (users with sources and listeners). These three and a fourth
/// owner, which makes no sound, listen.
const HERTZ: [f64; 3] = [400.0, 1_000.0, 2_600.0];
const AMPLITUDE: f64 = 0.2;

/// The level of each tone that each of the four listeners receives after 2 s, in dB relative to the input.
fn record(mixer: &mut Mixer<RecordingSink>, format: Format) -> Vec<[f64; 3]> {
    let microphones: Vec<_> = (0..3).map(|owner| mixer.add_source(owner)).collect();
    let recorders: Vec<RecordingSink> = (0..4).map(|_| RecordingSink::new()).collect();
    for (owner, recorder) in (0..).zip(&recorders) {
        mixer.add_listener(owner, format, recorder.clone());
    }
    let mut tones = HERTZ.map(|hertz| ToneFrames::new(hertz, AMPLITUDE));
    for _ in 0..seconds(4) {
        for (microphone, tone) in microphones.iter().zip(&mut tones) {
            microphone.push(&tone.frame());
        }
        tick(mixer);
    }
    mixer.end();
    let levels = recorders.iter().map(|recorder| {
        let saved = saved::read(format, &recorder.received());
        let settled = &saved.samples[2 * 48_000..3 * 48_000];
        HERTZ.map(|hertz| decibels(amplitude_of(settled, hertz) / AMPLITUDE))
    });
    levels.collect()
}

#[test]
fn each_listener_hears_all_sources_but_its_own() {
    for &format in Format::AVAILABLE {
        let levels = record(&mut mixer(), format);
        for (listener, received) in levels.iter().enumerate() {
            for (talker, level) in received.iter().enumerate() {
                if listener == talker {
                    assert!(
                        *level < -40.0,
                        "{format:?}: listener {listener} hears its own tone: {level} dB"
                    );
                } else {
                    assert!(
                        level.abs() < 1.0,
                        "{format:?}: listener {listener} gets the tone of {talker} with {level} dB"
                    );
                }
            }
        }
    }
}

#[test]
fn echo_self_includes_own_sources() {
    let settings = MixSettings {
        echo_self: true,
        ..MixSettings::default()
    };
    let levels = record(&mut Mixer::new(settings.into()), Format::Wav);
    assert!(levels.iter().flatten().all(|level| level.abs() < 0.01));
}

#[test]
fn voice_band_keeps_its_level() {
    for &format in Format::AVAILABLE {
        for hertz in [120.0, 250.0, 440.0, 1_000.0, 2_000.0, 3_400.0, 6_000.0] {
            for amplitude in [0.02, 0.25, 0.9] {
                let (mut mixer, recorder) = (mixer(), RecordingSink::new());
                let microphone = mixer.add_source(1);
                mixer.add_listener(2, format, recorder.clone());
                let mut tone = ToneFrames::new(hertz, amplitude);
                for _ in 0..seconds(2) {
                    microphone.push(&tone.frame());
                    tick(&mut mixer);
                }
                mixer.end();
                let saved = saved::read(format, &recorder.received());
                let settled = &saved.samples[24_000..72_000];
                let level = decibels(amplitude_of(settled, hertz) / amplitude);
                let allowed = if format == Format::Wav { 0.02 } else { 1.0 };
                assert!(
                    level.abs() < allowed,
                    "{format:?}, {hertz} Hz, {amplitude}: {level} dB"
                );
            }
        }
    }
}

/// Correlates received with sent noise: with the pre-skip and the granule positions, a player plays each sample at its
/// time.
#[test]
fn audio_is_at_its_granule_position() {
    for &format in Format::AVAILABLE {
        let (mut mixer, recorder) = (mixer(), RecordingSink::new());
        let microphone = mixer.add_source(1);
        mixer.add_listener(2, format, recorder.clone());
        let (mut random, mut low) = (1_u64, 0.0);
        let noise: Vec<i16> = (0..96_000)
            .map(|_| {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                // A low-pass filter of about 1 kHz: low frequencies survive any encoder.
                low += 0.1 * (f64::from((random >> 48) as i16) - low);
                low as i16
            })
            .collect();
        let (ahead, frames) = noise.split_at(2_880);
        microphone.push(ahead);
        for frame in frames.chunks(960) {
            microphone.push(frame);
            tick(&mut mixer);
        }
        mixer.end();
        let received = saved::read(format, &recorder.received()).samples;
        // The correlation if the received samples were `late - 400` samples late.
        let likeness = |late: usize| -> f64 {
            let sent = noise[24_000..72_000]
                .iter()
                .map(|&sample| f64::from(sample));
            sent.zip(&received[24_000 - 400 + late..])
                .map(|(a, &b)| a * f64::from(b))
                .sum()
        };
        let best = (0..800).max_by(|a, b| likeness(*a).total_cmp(&likeness(*b)));
        assert_eq!(best, Some(400), "{format:?}");
    }
}

//! How long the audio of a listener is gathered: the cadence of its pages, and what they contain.

use switchboard_audio::{FRAME_SAMPLES, Format, Latency, ListenerStream, MixSettings, Mixer};

use crate::{
    recording::{RecordingSink, ToneFrames, amplitude_of, mixer, seconds, tick},
    saved,
};

/// Pages of this many ms.
fn every(format: Format, millis: u64) -> ListenerStream {
    let latency = Latency::from_millis(millis).expect("within bounds");
    ListenerStream {
        format,
        latency: Some(latency),
    }
}

/// Plays a tone into the mixer for some frames. Returns the number of bytes that each frame sent to the recorder.
fn play(
    mixer: &mut Mixer<RecordingSink>,
    tone: Option<(&switchboard_audio::SourceHandle, &mut ToneFrames)>,
    recorder: &RecordingSink,
    frames: usize,
) -> Vec<usize> {
    let mut tone = tone;
    let frame = |_| {
        let before = recorder.received().len();
        if let Some((microphone, tone)) = &mut tone {
            microphone.push(&tone.frame());
        }
        tick(mixer);
        recorder.received().len() - before
    };
    (0..frames).map(frame).collect()
}

/// The number of frames from each sending to the next one.
fn steps(sent: &[usize]) -> Vec<usize> {
    let at: Vec<usize> = (0..sent.len()).filter(|at| sent[*at] > 0).collect();
    at.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[test]
fn pages_last_as_long_as_requested_and_the_first_one_comes_at_once() {
    for &format in Format::AVAILABLE {
        for (millis, frames) in [(20, 1), (60, 3), (100, 5), (200, 10), (1_000, 50)] {
            let (mut mixer, recorder) = (mixer(), RecordingSink::new());
            let microphone = mixer.add_source(1);
            mixer.add_listener(2, every(format, millis), recorder.clone());
            let mut tone = ToneFrames::new(440.0, 0.25);
            let tone = Some((&microphone, &mut tone));
            let sent = play(&mut mixer, tone, &recorder, 20 + 4 * frames);
            // The Vorbis encoder has no packets for some frames, and then several.
            if format == Format::Vorbis {
                assert!(
                    steps(&sent)
                        .iter()
                        .all(|step| (1..=frames + 10).contains(step))
                );
                continue;
            }
            assert!(sent[0] > 0, "{format:?}, {millis} ms: no page at once");
            let steps = steps(&sent);
            assert!(steps.iter().all(|step| *step == frames), "{steps:?}");
        }
    }
}

/// A player that begins with the first page always has sound: the first page is as long as the later ones.
#[test]
fn player_of_long_pages_always_has_sound() {
    for format in [Format::Wav, Format::Opus] {
        for (millis, joined) in [(100, 0), (200, 0), (200, 3), (200, 200), (1_000, 200)] {
            let (mut mixer, first, late) = (mixer(), RecordingSink::new(), RecordingSink::new());
            let microphone = mixer.add_source(1);
            mixer.add_listener(2, format, first.clone());
            let mut tone = ToneFrames::new(440.0, 0.25);
            play(&mut mixer, Some((&microphone, &mut tone)), &first, joined);
            mixer.add_listener(3, every(format, millis), late.clone());
            for played in 0..150 {
                play(&mut mixer, Some((&microphone, &mut tone)), &first, 1);
                let received = saved::read(format, &late.received()).samples.len();
                assert!(
                    received + 312 >= (played + 1) * FRAME_SAMPLES,
                    "{format:?}, {millis} ms, joined at {joined}: {received} samples after {played}"
                );
            }
        }
    }
}

#[test]
fn long_pages_decode_to_the_same_sound() {
    for &format in Format::AVAILABLE {
        let (mut mixer, short, long) = (mixer(), RecordingSink::new(), RecordingSink::new());
        let microphone = mixer.add_source(1);
        mixer.add_listener(2, format, short.clone());
        mixer.add_listener(3, every(format, 200), long.clone());
        let mut tone = ToneFrames::new(440.0, 0.25);
        play(
            &mut mixer,
            Some((&microphone, &mut tone)),
            &short,
            seconds(4),
        );
        mixer.end();
        let [short, long] = [short, long].map(|recorder| saved::read(format, &recorder.received()));
        assert!(short.has_ended && long.has_ended);
        // The long pages begin with silence in place of the 9 frames that are missing in the first page. In Vorbis, it
        // has the length of whole packets of silence.
        let is_same = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-4;
        let same_after = |before: &usize| {
            let (silence, sound) = long.samples.split_at(*before);
            silence.iter().all(|sample| sample.abs() < 1e-4)
                && short.samples.iter().zip(sound).all(is_same)
        };
        let before = (8_640..9_216).find(same_after);
        let expected = if format == Format::Vorbis {
            before.unwrap_or(0)
        } else {
            8_640
        };
        assert_eq!(before, Some(expected), "{format:?}");
        assert_eq!(
            long.samples.len() - short.samples.len(),
            8_640,
            "{format:?}"
        );
    }
}

#[test]
fn listener_that_joins_late_with_long_pages_hears_the_mix_at_once() {
    for &format in Format::AVAILABLE {
        let (mut mixer, first, late) = (mixer(), RecordingSink::new(), RecordingSink::new());
        let microphone = mixer.add_source(1);
        mixer.add_listener(2, format, first.clone());
        let mut tone = ToneFrames::new(440.0, 0.25);
        play(
            &mut mixer,
            Some((&microphone, &mut tone)),
            &first,
            seconds(2),
        );
        mixer.add_listener(3, every(format, 200), late.clone());
        play(&mut mixer, Some((&microphone, &mut tone)), &first, 1);
        let heard = saved::read(format, &late.received()).samples;
        let level = amplitude_of(&heard[..4_800], 440.0);
        assert!((0.22..0.28).contains(&level), "{format:?}: {level}");
    }
}

#[test]
fn pages_are_short_while_the_owner_has_a_source() {
    for format in [Format::Wav, Format::Opus] {
        let short = if format == Format::Wav { 1 } else { 3 };
        let (mut mixer, recorder) = (mixer(), RecordingSink::new());
        let other = mixer.add_source(1);
        mixer.add_listener(2, every(format, 200), recorder.clone());
        let mut tone = ToneFrames::new(440.0, 0.25);
        let mut play = |mixer: &mut Mixer<RecordingSink>, frames| {
            steps(&play(mixer, Some((&other, &mut tone)), &recorder, frames))
        };
        let is_long = |steps: &[usize]| steps.iter().all(|step| *step == 10);
        let is_short = |steps: &[usize]| steps.iter().all(|step| *step == short);
        let long = play(&mut mixer, 35);
        assert!(is_long(&long), "{long:?}");
        // The pages become short as soon as the owner has a source, even before the source has sound.
        let mut own_tone = ToneFrames::new(1_000.0, 0.6);
        let own = mixer.add_source(2);
        let muted = play(&mut mixer, 30);
        assert!(is_short(&muted) && muted.len() >= 8, "{muted:?}");
        for _ in 0..30 {
            own.push(&own_tone.frame());
            play(&mut mixer, 1);
        }
        let talking = play(&mut mixer, 30);
        assert!(is_short(&talking) && talking.len() >= 8, "{talking:?}");
        drop(own);
        play(&mut mixer, 13);
        let long = play(&mut mixer, 45);
        assert!(is_long(&long) && long.len() >= 3, "{long:?}");
        mixer.end();
        let saved = saved::read(format, &recorder.received());
        assert_eq!(saved.samples.len(), (35 + 30 + 30 + 30 + 13 + 45 + 9) * 960);
        assert!(saved.samples.iter().all(|sample| sample.abs() < 0.3));
    }
}

#[test]
fn settings_apply_to_listeners_that_request_no_latency() {
    let settings = MixSettings {
        listener_latency: std::time::Duration::from_millis(200),
        ..MixSettings::default()
    };
    for (requested, frames) in [(None, 10), (Some(60), 3)] {
        let (mut mixer, recorder) = (Mixer::new(settings.clone().into()), RecordingSink::new());
        let stream = requested.map_or(Format::Opus.into(), |millis| every(Format::Opus, millis));
        mixer.add_listener(2, stream, recorder.clone());
        let steps = steps(&play(&mut mixer, None, &recorder, 40));
        assert!(steps.iter().all(|step| *step == frames), "{steps:?}");
    }
}

#[test]
fn long_pages_of_many_listeners_are_spread_over_the_frames() {
    let mut mixer = mixer();
    let microphone = mixer.add_source(1);
    let recorders: Vec<RecordingSink> = (0..100).map(|_| RecordingSink::new()).collect();
    for (owner, recorder) in (2..).zip(&recorders) {
        mixer.add_listener(owner, every(Format::Opus, 200), recorder.clone());
    }
    let mut tone = ToneFrames::new(440.0, 0.25);
    let mut sizes: Vec<usize> = vec![0; recorders.len()];
    for frame in 0..40 {
        microphone.push(&tone.frame());
        tick(&mut mixer);
        let now: Vec<usize> = recorders.iter().map(|r| r.received().len()).collect();
        let pages = now.iter().zip(&sizes).filter(|(now, before)| now > before);
        let expected = if frame == 0 { 100 } else { 10 };
        assert_eq!(pages.count(), expected, "frame {frame}");
        sizes = now;
    }
    mixer.end();
    let first = saved::read(Format::Opus, &recorders[0].received());
    for recorder in &recorders {
        let saved = saved::read(Format::Opus, &recorder.received());
        assert!(saved.has_ended && saved.samples == first.samples);
    }
}

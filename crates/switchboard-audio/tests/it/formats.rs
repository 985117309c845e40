//! The streams of each format: headers, duration and end.

use switchboard_audio::{FRAME_SAMPLES, Format};

use crate::{
    recording::{RecordingSink, ToneFrames, mixer, seconds, tick},
    saved,
};

#[test]
fn headers_are_sent_at_once() {
    for &format in Format::AVAILABLE {
        let (mut mixer, recorder) = (mixer(), RecordingSink::new());
        mixer.add_listener(1, format, recorder.clone());
        let headers = recorder.received();
        match format {
            Format::Wav => assert_eq!(headers.len(), 44),
            Format::Opus | Format::Vorbis => assert_eq!(saved::pages(&headers).len(), 2),
        }
    }
}

#[test]
fn ended_stream_has_the_elapsed_duration() {
    for &format in Format::AVAILABLE {
        let (mut mixer, recorder) = (mixer(), RecordingSink::new());
        let microphone = mixer.add_source(1);
        mixer.add_listener(2, format, recorder.clone());
        let mut tone = ToneFrames::new(440.0, 0.25);
        for _ in 0..seconds(5) {
            microphone.push(&tone.frame());
            tick(&mut mixer);
        }
        mixer.end();
        assert!(mixer.is_idle());
        let saved = saved::read(format, &recorder.received());
        assert!(saved.has_ended);
        assert_eq!(saved.samples.len(), 5 * 48_000, "{format:?}");
    }
}

#[test]
fn audio_is_decodable_within_300_ms() {
    for &format in Format::AVAILABLE {
        for frames_before in [0, 1, 7, 50, 51, 52, 53, 54] {
            let (mut mixer, first, late) = (mixer(), RecordingSink::new(), RecordingSink::new());
            let microphone = mixer.add_source(1);
            mixer.add_listener(2, format, first);
            let mut tone = ToneFrames::new(440.0, 0.25);
            for frame in 0..frames_before + 15 {
                if frame == frames_before {
                    mixer.add_listener(3, format, late.clone());
                }
                microphone.push(&tone.frame());
                tick(&mut mixer);
            }
            let saved = saved::read(format, &late.received());
            let loudest = saved
                .samples
                .iter()
                .fold(0.0, |max, sample| f32::max(max, *sample));
            assert!(loudest > 0.2, "{format:?} after {frames_before}: {loudest}");
        }
    }
}

#[test]
fn late_listener_gets_its_own_stream() {
    for &format in Format::AVAILABLE
        .iter()
        .filter(|format| **format != Format::Wav)
    {
        let (mut mixer, first, late) = (mixer(), RecordingSink::new(), RecordingSink::new());
        let microphone = mixer.add_source(1);
        mixer.add_listener(2, format, first.clone());
        let mut tone = ToneFrames::new(440.0, 0.25);
        for frame in 0..seconds(8) {
            if frame == seconds(3) {
                mixer.add_listener(3, format, late.clone());
            }
            microphone.push(&tone.frame());
            tick(&mut mixer);
        }
        mixer.end();
        let [first, late] = [first, late].map(|recorder| saved::read(format, &recorder.received()));
        assert_ne!(first.serial, late.serial);
        assert!(late.has_ended);
        assert!(first.has_ended && first.samples.len() == 8 * 48_000);
        // The stream starts slightly before or after the listener joined.
        let missing = 5 * 48_000 - late.samples.len() as i64;
        assert!(
            (-1_024..3_840).contains(&missing),
            "{format:?}: {missing} samples short"
        );
    }
}

#[test]
fn stream_of_silence_keeps_its_time() {
    for &format in Format::AVAILABLE {
        let (mut mixer, recorder) = (mixer(), RecordingSink::new());
        mixer.add_listener(2, format, recorder.clone());
        for _ in 0..seconds(10) {
            tick(&mut mixer);
        }
        mixer.end();
        let saved = saved::read(format, &recorder.received());
        let missing = (10 * 48_000) - saved.samples.len() as i64;
        assert!(
            missing.abs() < 2 * 1_024,
            "{format:?}: {missing} samples short"
        );
        assert!(
            saved.samples.iter().all(|sample| sample.abs() < 1e-6),
            "{format:?}"
        );
    }
}

#[test]
fn stream_with_pauses_keeps_its_time() {
    for &format in Format::AVAILABLE {
        for pause in [1, 3, 40] {
            let (mut mixer, recorder) = (mixer(), RecordingSink::new());
            let microphone = mixer.add_source(1);
            mixer.add_listener(2, format, recorder.clone());
            let mut tone = ToneFrames::new(440.0, 0.25);
            for _ in 0..3 {
                for _ in 0..seconds(1) {
                    microphone.push(&tone.frame());
                    tick(&mut mixer);
                }
                for _ in 0..seconds(pause) {
                    tick(&mut mixer);
                }
            }
            mixer.end();
            let saved = saved::read(format, &recorder.received());
            let expected = (3 + 3 * pause) * 48_000;
            let missing = expected as i64 - saved.samples.len() as i64;
            assert!(
                missing.abs() < 9_600,
                "{format:?}, {pause} s: {missing} samples short"
            );
        }
    }
}

#[test]
fn stalled_listener_is_removed_without_affecting_others() {
    for &format in Format::AVAILABLE {
        let (mut mixer, good) = (mixer(), RecordingSink::new());
        let bad: Vec<RecordingSink> = (0..20).map(RecordingSink::accepting).collect();
        let microphone = mixer.add_source(1);
        for (owner, recorder) in (10..).zip(&bad) {
            mixer.add_listener(owner, format, recorder.clone());
        }
        mixer.add_listener(2, format, good.clone());
        // The first sink has rejected even the headers.
        assert_eq!(mixer.listeners(), 20);
        let mut tone = ToneFrames::new(440.0, 0.25);
        for frame in 0..seconds(4) {
            microphone.push(&tone.frame());
            if frame == 30 {
                bad.iter().for_each(RecordingSink::close);
            }
            tick(&mut mixer);
        }
        assert_eq!(mixer.listeners(), 1);
        mixer.end();
        let saved = saved::read(format, &good.received());
        assert_eq!(saved.samples.len(), 4 * 48_000);
        // The streams of the others are valid up to the point where they were rejected.
        for recorder in bad.iter().skip(2) {
            saved::read(format, &recorder.received());
        }
    }
}

#[test]
fn dropped_source_is_removed() {
    let mut mixer = mixer();
    let (first, second) = (mixer.add_source(1), mixer.add_source(2));
    let clone = first.clone();
    drop(first);
    mixer.begin_frame();
    assert_eq!(mixer.sources(), 2, "a source is kept while it has a handle");
    drop((clone, second));
    mixer.begin_frame();
    assert_eq!(mixer.sources(), 0);
}

#[test]
fn frame_has_960_samples() {
    assert_eq!(FRAME_SAMPLES, 960);
    assert_eq!(switchboard_audio::FRAME.as_millis() * 48, 960);
}

/// An owner that starts to talk gets a mix of its own, and after a long silence the full mix again. Its stream keeps
/// the time, and never contains the owner's own tone, which is louder than the other.
#[test]
fn stream_of_an_owner_that_talks_at_times_keeps_its_time() {
    for &format in Format::AVAILABLE {
        let (mut mixer, recorder) = (mixer(), RecordingSink::new());
        let other = mixer.add_source(1);
        mixer.add_listener(2, format, recorder.clone());
        let mut mine = None;
        let (mut tone, mut own_tone) = (ToneFrames::new(440.0, 0.2), ToneFrames::new(1_000.0, 0.6));
        for frame in 0..seconds(24) {
            match frame % seconds(8) {
                100 => mine = Some(mixer.add_source(2)),
                350 => mine = None,
                _ => {}
            }
            other.push(&tone.frame());
            if let Some(input) = mine.as_ref().filter(|_| frame % 400 < 200 || frame < 400) {
                input.push(&own_tone.frame());
            }
            tick(&mut mixer);
        }
        mixer.end();
        let saved = saved::read(format, &recorder.received());
        assert!(saved.has_ended);
        assert_eq!(saved.samples.len(), 24 * 48_000, "{format:?}");
        let loudest = saved
            .samples
            .iter()
            .fold(0.0, |max, sample| f32::max(max, sample.abs()));
        assert!(loudest < 0.3, "{format:?}: {loudest}");
    }
}

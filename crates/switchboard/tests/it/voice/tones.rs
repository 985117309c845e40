//! Levels of sent tones in the streams that other users receive.

use std::time::{Duration, Instant};

use switchboard::{Config, Server};
use tokio::time::timeout;

use super::{
    http::{HttpRequest, wait_for_metric},
    listener::Listener,
    sound::{
        FRAME, RATE, Tone, bytes_of, decibels, lower_quartile_amplitude, median_amplitude, pcm,
    },
    source::Source,
    user::{User, in_call},
};
use crate::client::{TEST_TIMEOUT, open, start};

/// Samples to record: half a second for the start of an encoder, then the two seconds that are evaluated.
const SOUND: usize = 2 * RATE + RATE / 2;

/// Amplitude of each tone.
const AMPLITUDE: f64 = 6000.0;

/// Level below which a tone counts as absent, in dB relative to its amplitude.
const SILENCE_DB: f64 = -40.0;

/// The largest change of a level by the encoding of a format, in dB.
fn tolerance_db(format: &str) -> f64 {
    if format == "wav" { 0.3 } else { 1.0 }
}

fn assert_tones(format: &str, samples: &[f64], present: &[u32], absent: &[u32]) {
    let settled = &samples[samples.len() - 2 * RATE..];
    for hertz in present {
        let level = decibels(median_amplitude(settled, *hertz) / AMPLITUDE);
        assert!(
            level.abs() <= tolerance_db(format),
            "{format}: {hertz} Hz at {level:.2} dB"
        );
    }
    for hertz in absent {
        let level = decibels(lower_quartile_amplitude(settled, *hertz) / AMPLITUDE);
        assert!(level <= SILENCE_DB, "{format}: {hertz} Hz at {level:.2} dB");
    }
}

async fn assert_call_plays_the_other_user(format: &'static str) {
    let (_server, address) = start("");
    let (ada, bob) = in_call(address).await;
    let ada_listener = ada.listen_to(&bob, format).await.in_format(format);
    let bob_listener = bob.listen_to(&ada, format).await.in_format(format);
    let by_websocket = ada.speak_to(&bob).await;
    let by_body = Source::body(address, "PUT", &bob.up_call(&ada)).await;
    let _ada = by_websocket.play(Tone::new(440, AMPLITUDE));
    let _bob = by_body.play(Tone::new(660, AMPLITUDE));
    assert_tones(format, &ada_listener.samples(SOUND).await, &[660], &[440]);
    assert_tones(format, &bob_listener.samples(SOUND).await, &[440], &[660]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn call_plays_only_the_other_user_in_wav() {
    assert_call_plays_the_other_user("wav").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn call_plays_only_the_other_user_in_opus() {
    assert_call_plays_the_other_user("opus").await;
}

#[cfg(feature = "vorbis")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn call_plays_only_the_other_user_in_vorbis() {
    assert_call_plays_the_other_user("ogg").await;
}

const TONES: [u32; 3] = [440, 1000, 1500];

async fn assert_room_plays_the_others(format: &'static str) {
    let (_server, address) = start("");
    let mut playing = Vec::new();
    let mut listeners = Vec::new();
    for (hertz, method) in TONES.into_iter().zip(["", "PUT", "POST"]) {
        let talker = User::new(address).await;
        listeners.push((Some(hertz), talker.listen("standup", format).await));
        let source = if method.is_empty() {
            talker.speak("standup").await
        } else {
            Source::body(address, method, &talker.up_room("standup")).await
        };
        playing.push(source.play(Tone::new(hertz, AMPLITUDE)));
    }
    let mute = User::new(address).await;
    listeners.push((None, mute.listen("standup", format).await));
    for (own, listener) in listeners {
        let samples = listener.in_format(format).samples(SOUND).await;
        let (absent, present): (Vec<u32>, Vec<u32>) =
            TONES.into_iter().partition(|hertz| Some(*hertz) == own);
        assert_tones(format, &samples, &present, &absent);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn room_plays_all_but_own_audio_in_wav() {
    assert_room_plays_the_others("wav").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn room_plays_all_but_own_audio_in_opus() {
    assert_room_plays_the_others("opus").await;
}

#[cfg(feature = "vorbis")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn room_plays_all_but_own_audio_in_vorbis() {
    assert_room_plays_the_others("ogg").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn echo_self_plays_own_audio() {
    let mut config = Config::default();
    config.voice.mix.echo_self = true;
    let (_server, address) = open(Server::builder().config(config));
    let ada = User::new(address).await;
    let listener = ada.listen("standup", "wav").await;
    let _playing = ada.speak("standup").await.play(Tone::new(440, AMPLITUDE));
    assert_tones("wav", &listener.samples(SOUND).await, &[440], &[660]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_rate_and_stereo_are_converted() {
    let (_server, address) = start("");
    let (ada, bob) = User::two(address).await;
    let listener = bob.listen("standup", "wav").await;
    let parameters = [("roomID", "standup"), ("rate", "24000"), ("channels", "2")];
    let source = Source::websocket(address, &ada.path("/upRoom", &parameters)).await;
    // Half the sample rate doubles the frequency of the tone; both channels are equal.
    let mut tone = Tone::new(880, AMPLITUDE);
    let _playing = source.play_frames(move || {
        let half = tone.next(FRAME / 2);
        half.into_iter()
            .flat_map(|sample| [sample, sample])
            .collect()
    });
    assert_tones("wav", &listener.samples(SOUND).await, &[440], &[880]);
}

/// Samples that are distinguishable from each other and from silence.
fn ramp(count: usize) -> Vec<i16> {
    (1..=count).map(|at| at as i16).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn audio_is_independent_of_message_boundaries() {
    let (_server, address) = start("");
    for method in ["GET", "PUT"] {
        let (ada, bob) = User::two(address).await;
        let listener = bob.listen(method, "wav").await;
        let mut source = match method {
            "GET" => ada.speak(method).await,
            method => Source::body(address, method, &ada.up_room(method)).await,
        };
        let sent = ramp(5 * FRAME);
        let mut rest = &bytes_of(&sent)[..];
        for length in [0, 1, 1, 3, 0, 2047, 1, 5, 999].into_iter().cycle() {
            let (message, later) = rest.split_at(length.min(rest.len()));
            assert!(source.send_bytes(message).await);
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        let received = |bytes: &[u8]| -> Vec<i16> {
            let received = pcm(bytes).into_iter().skip_while(|sample| *sample == 0);
            received.take(sent.len()).collect()
        };
        let mut samples = RATE / 10;
        while received(&listener.bytes(samples).await).len() < sent.len() {
            samples += FRAME;
        }
        assert_eq!(received(&listener.bytes(samples).await), sent, "{method}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flooding_source_gets_no_extra_latency() {
    let (_server, address) = start("");
    let (ada, bob) = User::two(address).await;
    let listener = bob.listen("standup", "wav").await;
    let mut source = ada.speak("standup").await;
    let mut flood = Tone::new(440, AMPLITUDE);
    // 20 s of audio within one second: 50 messages of 400 ms each.
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    for _ in 0..50 {
        ticks.tick().await;
        source.send(&flood.next(20 * FRAME)).await;
    }
    let marked = Instant::now();
    source
        .send(&Tone::new(2000, AMPLITUDE).next(10 * FRAME))
        .await;
    let (at, position) = marker(&listener, 2000).await;
    let late = at - marked;
    eprintln!("after a flood of 20 s, sound is {late:?} late, at sample {position}");
    assert!(late < Duration::from_secs(2), "{late:?}");
    // The source stays connected, because the byte limit is higher.
    source.send(&flood.next(FRAME)).await;
    source.close().await;
}

/// Waits for the first frame with this tone. Returns the time at which it had been received, and the sample position of
/// its end.
async fn marker(listener: &Listener, hertz: u32) -> (Instant, usize) {
    let mut samples = FRAME;
    loop {
        let received = listener.samples(samples).await;
        let is_audible = |frame: &[f64]| super::sound::amplitude(frame, hertz) > AMPLITUDE / 2.0;
        if let Some(at) = received.chunks_exact(FRAME).position(is_audible) {
            let position = (at + 1) * FRAME;
            return (listener.samples_by(position).await, position);
        }
        samples = received.len() + FRAME;
    }
}

#[tokio::test]
async fn byte_limit_closes_the_websocket_with_a_reason() {
    let mut config = Config::default();
    config.voice.gostream.audio_bytes_per_second = 10_000;
    let (_server, address) = open(Server::builder().config(config));
    let text = "Too much audio: the byte limit is exceeded.";
    let ada = User::new(address).await;
    let path = ada.path("/upRoom", &[("roomID", "standup"), ("rate", "8000")]);
    let mut source = Source::websocket(address, &path).await;
    // 20 kB/s are always allowed, with a burst of eight seconds. Little more is sent: bytes after the close may reset
    // the connection before the close frame is read.
    let mut ended = None;
    for _ in 0..80 {
        assert!(source.send_bytes(&[0; 4096]).await);
        ended = timeout(Duration::from_millis(20), source.closed())
            .await
            .ok();
        if ended.is_some() {
            break;
        }
    }
    assert_eq!(ended, Some((1008, text.to_owned())));
    wait_for_metric(address, "voice_sources", 0).await;
}

#[tokio::test]
async fn message_size_is_limited() {
    let mut config = Config::default();
    config.limits.frame_bytes = 50_000;
    let (_server, address) = open(Server::builder().config(config));
    let ada = User::new(address).await;
    let mut source = ada.speak("standup").await;
    assert!(source.send_bytes(&[0; 50_000]).await);
    assert!(source.send_bytes(&[0; 50_001]).await);
    assert_eq!(source.closed().await.0, 1009);
    wait_for_metric(address, "voice_sources", 0).await;
}

#[tokio::test]
async fn level_is_reported_without_listeners() {
    let (_server, address) = start("");
    let (ada, bob) = User::two(address).await;
    let _loud = ada.speak("standup").await.play(Tone::new(440, 20_000.0));
    let _quiet = bob.speak("standup").await.play(Tone::new(440, 50.0));
    let seen = async {
        loop {
            let (_, members) = HttpRequest::get("/listMembers?roomID=1")
                .text(address)
                .await;
            let members: Vec<serde_json::Value> = serde_json::from_str(&members).expect("not JSON");
            let level = |user: &User| {
                let own = members.iter().find(|member| member["pubkey"] == user.id());
                own.and_then(|own| own["level"].as_f64())
                    .expect("the member has no level")
            };
            let (loud, quiet) = (level(&ada), level(&bob));
            if loud > 0.0 && quiet > 0.0 {
                break (loud, quiet);
            }
        }
    };
    let (loud, quiet) = timeout(TEST_TIMEOUT, seen)
        .await
        .expect("timeout: a level is still 0");
    assert!(loud > 0.85 && quiet < 0.2, "{loud} {quiet}");
}

#[tokio::test]
async fn text_messages_are_rejected() {
    let (_server, address) = start("");
    let ada = User::new(address).await;
    let mut source = ada.speak("standup").await;
    source.send_text("AB").await;
    let (code, text) = source.closed().await;
    assert_eq!((code, &*text), (1003, "Send audio in binary messages."));
}

#[tokio::test]
async fn listener_continues_while_its_microphone_comes_and_goes() {
    let (_server, address) = start("");
    let (ada, bob) = User::two(address).await;
    let mut listener = ada.listen("standup", "opus").await.in_format("opus");
    let _bob = bob.speak("standup").await.play(Tone::new(660, AMPLITUDE));
    for _ in 0..3 {
        let mut source = ada.speak("standup").await;
        source
            .send(&Tone::new(440, AMPLITUDE).next(4 * FRAME))
            .await;
        listener.next_samples(RATE / 4).await;
        source.close().await;
        listener.next_samples(RATE / 4).await;
    }
    // One Ogg stream: one first page, and pages in sequence.
    let bytes = listener.bytes(RATE).await;
    for (at, page) in super::sound::pages(&bytes).iter().enumerate() {
        assert_eq!((page.is_first, page.sequence as usize), (at == 0, at));
        assert!(!page.is_last);
    }
    assert!(
        timeout(Duration::from_millis(1), listener.end())
            .await
            .is_err()
    );
}

//! Clients that do not read are disconnected without affecting others.

use std::time::{Duration, Instant};

use switchboard::{Config, Server};

use super::{
    http::{HttpRequest, metric, metric_is},
    sound::{FRAME, RATE, pcm},
    user::{Events, User},
};
use crate::client::open;

/// More than one sample in this cannot be mistaken for another.
const PERIOD: usize = 30_000;

/// Frames sent ahead of time, so that no pause of this machine is a gap.
const LEAD: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_listener_is_disconnected_and_others_lose_no_frame() {
    let mut config = Config::default();
    config.voice.mix.latency_max = Duration::from_secs(5);
    let (_server, address) = open(Server::builder().config(config));
    let (ada, bob) = User::two(address).await;
    let slow = User::new(address).await;
    let reads = bob.listen("standup", "wav").await;
    let stuck = slow
        .join_room("standup", "wav")
        .narrow()
        .send(address)
        .await;
    assert_eq!(stuck.status, 200);
    let mut source = ada.speak("standup").await;
    let mut position = 0;
    let mut ramp = move |frames: usize| -> Vec<i16> {
        let begin = position;
        position += frames * FRAME;
        (begin..position)
            .map(|at| (1 + at % PERIOD) as i16)
            .collect()
    };
    source.send(&ramp(LEAD)).await;
    let _playing = source.play_all(move || ramp(1));
    let (began, before) = (Instant::now(), reads.samples(FRAME).await.len());
    metric_is(address, "slow_total", 1).await;
    let after = reads.samples_now();
    let (elapsed, came) = (began.elapsed(), (after - before) as f64 / RATE as f64);
    eprintln!("cut off after {elapsed:?}; {came:.3} s of sound came meanwhile");
    assert!(
        (came - elapsed.as_secs_f64()).abs() < 0.5,
        "{came} s came in {elapsed:?}"
    );
    metric_is(address, "voice_listeners", 1).await;
    // It goes on.
    let samples = pcm(&reads.bytes(after + RATE).await);
    let heard: Vec<i16> = samples
        .into_iter()
        .skip_while(|sample| *sample == 0)
        .collect();
    let next = |sample: i16| 1 + sample % PERIOD as i16;
    let gap = heard.windows(2).position(|pair| pair[1] != next(pair[0]));
    let around = gap.map(|at| (at, &heard[at.saturating_sub(2)..(at + 4).min(heard.len())]));
    assert_eq!(around, None, "of {} samples", heard.len());
    assert!(heard.len() > 2 * RATE);
    drop(stuck);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_event_stream_is_disconnected_and_blocks_no_other() {
    let mut config = Config::default();
    config.limits.name_bytes = 30_000;
    let (_server, address) = open(Server::builder().config(config));
    let (mut ada, bob) = User::two(address).await;
    let stuck_user = User::new(address).await;
    let path = format!("/messages?PKey={}", stuck_user.id());
    let stuck = Events::of(HttpRequest::get(&path).narrow().send(address).await).await;
    let mut reads = bob.events().await;
    assert_eq!(metric(address, "voice_event_streams").await, 2);
    // Every user gets an event for each new room, with its name.
    let filler = "n".repeat(20_000);
    let mut rooms = 0;
    while metric(address, "slow_total").await == 0 {
        rooms += 1;
        assert!(rooms < 1000, "the one who does not read is never cut off");
        let pairs = [
            ("roomID".to_owned(), format!("{rooms} {filler}")),
            ("format".to_owned(), "wav".to_owned()),
        ];
        let ask = HttpRequest::post(format!("/joinRoom?{}", ada.proof())).multipart(&pairs);
        assert_eq!(ask.status(address).await, 200);
        let told = reads.next().await;
        assert_eq!(told.json()["roomid"], rooms);
    }
    metric_is(address, "voice_event_streams", 1).await;
    assert_eq!(ada.ring(&bob).await.0, 200);
    assert_eq!(reads.next().await.name, "newCall");
    assert_eq!(
        ada.ring(&stuck_user).await.0,
        404,
        "he hears nothing any more"
    );
    drop(stuck);
    let _again = stuck_user.events().await;
    assert_eq!(ada.ring(&stuck_user).await.0, 200);
}

#[tokio::test]
async fn source_that_does_not_read_stays_connected() {
    let (_server, address) = crate::client::start("[heartbeat]\nping = 1\ngone = 2\n");
    let (ada, bob) = User::two(address).await;
    let listener = bob.listen("standup", "wav").await;
    // It sends, and never takes the pings that it gets.
    let _playing = ada.speak("standup").await.play_all(|| vec![1000; FRAME]);
    let heard = listener.samples(3 * RATE).await;
    let last = &heard[heard.len() - RATE / 2..];
    assert!(
        last.iter().any(|sample| *sample > 900.0),
        "it is heard after its time to answer"
    );
}

#[tokio::test]
async fn silent_source_connection_times_out() {
    let (_server, address) = crate::client::start("[heartbeat]\nping = 1\ngone = 2\n");
    let (ada, bob) = User::two(address).await;
    let _silent = ada.speak("standup").await;
    let mut body = super::source::Source::body(address, "PUT", &bob.up_room("standup")).await;
    body.send(&[0; FRAME]).await;
    metric_is(address, "voice_sources", 2).await;
    assert_eq!(body.answer().await.status, 408);
    metric_is(address, "voice_sources", 0).await;
}

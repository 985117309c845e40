//! Clients that do not read are disconnected without affecting others.

use std::time::{Duration, Instant};

use switchboard::{Config, Server};

use super::{
    http::{HttpRequest, metric, wait_for_metric},
    sound::{FRAME, RATE, pcm},
    user::{Events, User},
};
use crate::client::open;

/// Period of the sent ramp, in samples. The test cannot detect a gap of a whole period, so the period is longer than
/// any expected gap.
const PERIOD: usize = 30_000;

/// Frames of audio that are sent ahead of real time, so that a pause of the machine causes no gap.
const LEAD: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_listener_is_disconnected_and_others_lose_no_frame() {
    let mut config = Config::default();
    config.voice.mix.latency_max = Duration::from_secs(5);
    let (_server, address) = open(Server::builder().config(config));
    let (ada, bob) = User::two(address).await;
    let slow = User::new(address).await;
    let listener = bob.listen("standup", "wav").await;
    let stuck = slow
        .join_room("standup", "wav")
        .small_receive_buffer()
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
    let _playing = source.play_frames(move || ramp(1));
    let (began, before) = (Instant::now(), listener.samples(FRAME).await.len());
    wait_for_metric(address, "slow_total", 1).await;
    let after = listener.samples_now();
    let (elapsed, received) = (began.elapsed(), (after - before) as f64 / RATE as f64);
    eprintln!("disconnected after {elapsed:?}; {received:.3} s of audio received meanwhile");
    assert!(
        (received - elapsed.as_secs_f64()).abs() < 1.5,
        "{received} s of audio in {elapsed:?}"
    );
    wait_for_metric(address, "voice_listeners", 1).await;
    // The stream of the other listener has no gap.
    let samples = pcm(&listener.bytes(after + RATE).await);
    let received: Vec<i16> = samples
        .into_iter()
        .skip_while(|sample| *sample == 0)
        .collect();
    let next = |sample: i16| 1 + sample % PERIOD as i16;
    let gap = received
        .windows(2)
        .position(|pair| pair[1] != next(pair[0]));
    let around = gap.map(|at| {
        (
            at,
            &received[at.saturating_sub(2)..(at + 4).min(received.len())],
        )
    });
    assert_eq!(around, None, "of {} samples", received.len());
    assert!(received.len() > 2 * RATE);
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
    let stuck = Events::of(
        HttpRequest::get(&path)
            .small_receive_buffer()
            .send(address)
            .await,
    )
    .await;
    let mut events = bob.events().await;
    assert_eq!(metric(address, "voice_event_streams").await, 2);
    // Every user gets an event for each new room, with its name.
    let filler = "n".repeat(20_000);
    let mut rooms = 0;
    while metric(address, "slow_total").await == 0 {
        rooms += 1;
        assert!(rooms < 1000, "the stalled stream is not disconnected");
        let pairs = [
            ("roomID".to_owned(), format!("{rooms} {filler}")),
            ("format".to_owned(), "wav".to_owned()),
        ];
        let request = HttpRequest::post(format!("/joinRoom?{}", ada.proof())).multipart(&pairs);
        assert_eq!(request.status(address).await, 200);
        let event = events.next().await;
        assert_eq!(event.json()["roomid"], rooms);
    }
    wait_for_metric(address, "voice_event_streams", 1).await;
    assert_eq!(ada.ring(&bob).await.0, 200);
    assert_eq!(events.next().await.name, "newCall");
    assert_eq!(
        ada.ring(&stuck_user).await.0,
        404,
        "the user has no event stream"
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
    // The client sends, and does not read the pings that it gets.
    let _playing = ada.speak("standup").await.play_frames(|| vec![1000; FRAME]);
    let received = listener.samples(3 * RATE).await;
    let last = &received[received.len() - RATE / 2..];
    assert!(
        last.iter().any(|sample| *sample > 900.0),
        "the source is audible after the timeout of the heartbeat"
    );
}

#[tokio::test]
async fn silent_source_connection_times_out() {
    let (_server, address) = crate::client::start("[heartbeat]\nping = 1\ngone = 2\n");
    let (ada, bob) = User::two(address).await;
    let _silent = ada.speak("standup").await;
    let mut body = super::source::Source::body(address, "PUT", &bob.up_room("standup")).await;
    body.send(&[0; FRAME]).await;
    wait_for_metric(address, "voice_sources", 2).await;
    assert_eq!(body.response().await.status, 408);
    wait_for_metric(address, "voice_sources", 0).await;
}

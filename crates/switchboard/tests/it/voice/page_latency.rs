//! How long the audio of a listener is gathered: the parameter `latency`, and the setting `mix.listener_latency`.

use super::{
    http::{HttpRequest, wait_for_metric},
    listener::Listener,
    sound::{FRAME, RATE, Tone, decibels, median_amplitude, pages},
    user::User,
};
use crate::client::start;

const AMPLITUDE: f64 = 6000.0;

/// The durations of the last complete pages, in frames.
async fn page_frames(listener: &Listener) -> Vec<u64> {
    let received = listener.bytes(listener.samples_now() + RATE).await;
    let positions: Vec<u64> = pages(&received).iter().map(|page| page.position).collect();
    let last = &positions[positions.len() - 4..];
    let frames = last
        .windows(2)
        .map(|pair| (pair[1] - pair[0]) / FRAME as u64);
    frames.collect()
}

fn request(user: &User, format: &str, latency: &str) -> HttpRequest {
    let path = format!(
        "/joinRoom?roomID=standup&format={format}&latency={latency}&{}",
        user.proof()
    );
    HttpRequest::get(path)
}

async fn listen(
    user: &User,
    address: std::net::SocketAddr,
    format: &'static str,
    latency: &str,
) -> Listener {
    let answer = request(user, format, latency).send(address).await;
    Listener::of(answer).in_format(format)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listener_gets_the_same_sound_in_pages_of_the_requested_latency() {
    let (_server, address) = start("");
    let (ada, bob) = User::two(address).await;
    let carol = User::new(address).await;
    let _playing = ada.speak("standup").await.play(Tone::new(440, AMPLITUDE));
    let short = bob.listen("standup", "opus").await.in_format("opus");
    let long = listen(&carol, address, "opus", "200").await;
    assert_eq!(page_frames(&short).await, [3; 3]);
    assert_eq!(page_frames(&long).await, [10; 3]);
    for listener in [&short, &long] {
        let samples = listener.samples(3 * RATE).await;
        let settled = &samples[samples.len() - RATE..];
        let level = decibels(median_amplitude(settled, 440) / AMPLITUDE);
        assert!(level.abs() < 1.0, "{level} dB");
    }
    let dave = User::new(address).await;
    let wav = listen(&dave, address, "wav", "200").await;
    let samples = wav.samples(2 * RATE).await;
    let level = decibels(median_amplitude(&samples[RATE..], 440) / AMPLITUDE);
    assert!(level.abs() < 0.3, "{level} dB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_short_while_the_listener_talks() {
    let (_server, address) = start("[mix]\nlistener_latency = 200\n");
    let (ada, bob) = User::two(address).await;
    let _playing = ada.speak("standup").await.play(Tone::new(440, AMPLITUDE));
    let listener = bob.listen("standup", "opus").await.in_format("opus");
    assert_eq!(page_frames(&listener).await, [10; 3]);
    let talking = bob.speak("standup").await.play(Tone::new(660, AMPLITUDE));
    listener.next_samples(RATE / 2).await;
    assert_eq!(page_frames(&listener).await, [3; 3]);
    drop(talking);
    listener.next_samples(RATE).await;
    assert_eq!(page_frames(&listener).await, [10; 3]);
}

#[tokio::test]
async fn latency_out_of_bounds_is_refused_with_its_value_and_the_limits() {
    let (_server, address) = start("");
    let ada = User::new(address).await;
    for (latency, reason) in [
        ("19", "`latency` must be 20 to 1000 ms, and is 19."),
        ("1001", "`latency` must be 20 to 1000 ms, and is 1001."),
        (
            "-1",
            "`latency` must be a whole number of milliseconds, from 20 to 1000.",
        ),
        (
            "2e2",
            "`latency` must be a whole number of milliseconds, from 20 to 1000.",
        ),
    ] {
        let (status, text) = request(&ada, "opus", latency).text(address).await;
        assert_eq!((status, text.trim()), (400, reason), "{latency}");
    }
    assert_eq!(request(&ada, "opus", "1000").status(address).await, 200);
    assert_eq!(request(&ada, "wav", "").status(address).await, 200);
}

/// The queue of a listener is bounded in bytes, so long pages do not let it grow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_listener_of_long_pages_is_disconnected_and_others_lose_no_page() {
    let (_server, address) = start("");
    let (ada, bob) = User::two(address).await;
    let carol = User::new(address).await;
    let _playing = ada.speak("standup").await.play(Tone::new(440, AMPLITUDE));
    let listener = listen(&bob, address, "opus", "200").await;
    let stuck = request(&carol, "wav", "1000").small_receive_buffer();
    let stuck = stuck.send(address).await;
    assert_eq!(stuck.status, 200);
    wait_for_metric(address, "slow_total", 1).await;
    wait_for_metric(address, "voice_listeners", 1).await;
    let received = listener.bytes(listener.samples_now() + RATE).await;
    let pages = pages(&received);
    // The first page is longer, and the second one ends at the place of the listener in the cadence.
    for (at, pair) in pages.windows(2).enumerate().skip(3) {
        assert_eq!(pair[1].sequence, pair[0].sequence + 1);
        assert_eq!(
            pair[1].position,
            pair[0].position + 10 * FRAME as u64,
            "{at}"
        );
    }
    assert!(pages.len() > 10, "{pages:?}");
    drop(stuck);
}

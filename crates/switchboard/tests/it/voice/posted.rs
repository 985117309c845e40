//! Clips that are posted in one request, faster than real time.

use std::time::{Duration, Instant};

use super::{
    http::{HttpRequest, wait_for_metric},
    sound::{FRAME, RATE, Tone, bytes_of},
    source::Source,
    user::{User, in_call},
};
use crate::client::start;

/// A clip without silence, in which neighbouring samples differ.
fn clip(samples: usize) -> Vec<i16> {
    (0..samples).map(|at| (at % 30_000) as i16 + 1).collect()
}

/// The samples that are not silence.
fn sound(received: Vec<f64>) -> Vec<i16> {
    let sound = received.into_iter().filter(|sample| *sample != 0.0);
    sound.map(|sample| sample as i16).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clip_posted_in_one_request_is_played_in_full() {
    let (_server, address) = start("");
    let (ada, bob) = in_call(address).await;
    let clip = clip(2 * RATE);
    for (method, target) in [("POST", ada.up_room("standup")), ("PUT", ada.up_call(&bob))] {
        let listener = match method {
            "POST" => bob.listen("standup", "wav").await,
            _ => bob.listen_to(&ada, "wav").await,
        };
        listener.samples(1).await;
        let posted = Instant::now();
        let request = HttpRequest::new(method, target).body(bytes_of(&clip));
        assert_eq!(request.text(address).await, (200, String::new()));
        let took = posted.elapsed();
        assert!(took >= Duration::from_millis(1900), "{method}: {took:?}");
        let received = listener.samples(listener.samples_now() + 5 * FRAME).await;
        assert_eq!(sound(received), clip, "{method}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clip_of_another_rate_and_many_channels_is_played_in_full() {
    let (_server, address) = start("");
    let (ada, bob) = User::two(address).await;
    let listener = bob.listen("standup", "wav").await;
    listener.samples(1).await;
    let mut tone = Tone::new(1000, 8000.0);
    // One second at 48 kHz, sent as six equal channels and as if it were sampled at 44.1 kHz.
    let samples = tone.next(RATE);
    let six: Vec<i16> = samples.iter().flat_map(|sample| [*sample; 6]).collect();
    let parameters = [("roomID", "standup"), ("rate", "44100"), ("channels", "6")];
    let request = HttpRequest::post(ada.path("/upRoom", &parameters)).body(bytes_of(&six));
    assert_eq!(request.status(address).await, 200);
    let received = listener.samples(listener.samples_now() + 5 * FRAME).await;
    // A late mixer may insert silence between the samples, so the samples are counted.
    let count = sound(received).len();
    let expected = RATE * 48_000 / 44_100;
    assert!(
        count.abs_diff(expected) < RATE / 100,
        "{count} of {expected}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upload_is_read_at_real_time() {
    let (_server, address) = start("");
    let ada = User::new(address).await;
    let parameters = [("roomID", "standup"), ("rate", "8000")];
    let mut source = Source::body(address, "POST", &ada.path("/upRoom", &parameters)).await;
    // 15 minutes of audio: more than the buffers of the kernel hold.
    let mut sent = 0_usize;
    let flood = async {
        for _ in 0..900 {
            assert!(source.send_bytes(&[1; 16_000]).await);
            sent += 16_000;
        }
    };
    let all = tokio::time::timeout(Duration::from_secs(2), flood).await;
    assert!(
        all.is_err(),
        "the server has read {sent} bytes faster than real time"
    );
    wait_for_metric(address, "voice_sources", 1).await;
    // After the client has closed the connection, the server would read the rest from the kernel for minutes, because
    // it reads at real time. A newer connection of the user replaces the old one, which ends the reading.
    drop(source);
    let newer = Source::body(address, "POST", &ada.up_room("standup")).await;
    assert_eq!(newer.finish().await.status, 200);
    wait_for_metric(address, "voice_sources", 0).await;
}

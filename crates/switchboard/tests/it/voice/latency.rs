//! Measures the latency of signaling while rooms are mixed. Run it with
//! `cargo test -p switchboard --test it -- --ignored --nocapture latency`.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::runtime::{Builder, Runtime};

use super::{
    http::HttpRequest,
    listener::Listener,
    sound::{FRAME, Tone},
    source::Playing,
    user::User,
};
use crate::client::{Client, start};

const ROOMS: usize = 30;
const FRAMES: usize = 1_500;
/// A session description, as the dialect `lightstream` sends it.
const SIGNAL: &str =
    r#"{"type":"offer","senderID":"a","targetID":"b","data":{"type":"offer","sdp":"v=0"}}"#;
const FRAME_INTERVAL: Duration = Duration::from_millis(2);

/// Opus at its highest complexity, so that encoding outweighs the clients of this test.
const CONFIG: &str = "[mix]\nopus_complexity = 10\nopus_bitrate = 96000\n";

/// Two members of a signaling room.
struct SignalingPair {
    sender: Client,
    receiver: Client,
}

impl SignalingPair {
    async fn join(address: SocketAddr) -> Self {
        let (sender, _) = Client::join(address, "room", "a").await;
        let (receiver, _) = Client::join(address, "room", "b").await;
        Self { sender, receiver }
    }

    /// Relays frames one by one. Returns their latencies, in order of size.
    async fn latencies(&mut self) -> Vec<Duration> {
        let mut latencies = Vec::with_capacity(FRAMES);
        for _ in 0..FRAMES {
            tokio::time::sleep(FRAME_INTERVAL).await;
            let sent = Instant::now();
            self.sender.send(SIGNAL).await;
            self.receiver.next_of("offer").await;
            latencies.push(sent.elapsed());
        }
        latencies.sort();
        latencies
    }
}

/// A room in which one user is heard by itself and by another, so that two mixes are encoded.
struct AudibleRoom {
    _source: Playing,
    _listeners: [Listener; 2],
}

impl AudibleRoom {
    async fn open(address: SocketAddr, number: usize) -> Self {
        let (ada, bob) = User::two(address).await;
        let room = format!("room {number}");
        let source = ada.speak(&room).await;
        let mut tone = Tone::new(440 + 10 * number as u32, 9_000.0);
        let listeners = [
            ada.listen(&room, "opus").await,
            bob.listen(&room, "opus").await,
        ];
        Self {
            _source: source.play_all(move || tone.next(FRAME)),
            _listeners: listeners,
        }
    }
}

fn runtime(threads: usize) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(threads).enable_all();
    builder.build().expect("threads")
}

/// A quantile of sorted latencies, in microseconds.
fn micros(sorted: &[Duration], percent: usize) -> u128 {
    sorted[sorted.len() * percent / 100].as_micros()
}

#[test]
#[ignore = "a measurement, not a test"]
fn latency_of_a_relayed_frame_while_rooms_are_mixed() {
    // One thread carries signaling, as on a machine with one core. The clients have threads of their own.
    let (server_runtime, clients, signaling) = (runtime(1), runtime(1), runtime(1));
    let (server, address) = server_runtime.block_on(async { start(CONFIG) });
    let mut pair = signaling.block_on(SignalingPair::join(address));
    let idle = signaling.block_on(pair.latencies());
    let rooms = clients.block_on(async {
        let mut rooms = Vec::new();
        for number in 0..ROOMS {
            rooms.push(AudibleRoom::open(address, number).await);
        }
        rooms
    });
    let mixing = signaling.block_on(pair.latencies());
    let lateness = clients
        .block_on(HttpRequest::get("/metrics").text(address))
        .1;
    for line in lateness.lines().filter(|line| line.contains("mixer_late")) {
        println!("{line}");
    }
    drop(rooms);
    let idle_again = signaling.block_on(pair.latencies());
    for percent in [50, 99] {
        let idle = micros(&idle, percent).min(micros(&idle_again, percent));
        let mixing = micros(&mixing, percent);
        let ratio = mixing as f64 / idle as f64;
        println!("p{percent}: idle {idle} µs, {ROOMS} rooms {mixing} µs, ratio {ratio:.2}");
    }
    drop(server);
}

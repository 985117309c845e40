//! Measures how much signaling is delayed while rooms are mixed: `cargo test -p switchboard --test it -- --ignored
//! --nocapture latency`. For each relayed frame, the test measures the latency, and the processor time that the
//! signaling thread used until the frame arrived. If that thread encoded audio, both would grow; other load of the
//! machine makes only the latency grow.

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

/// Rooms that are mixed during the second of the two measurements.
const ROOMS: usize = 30;
/// Frames that each measurement relays.
const FRAMES: usize = 1_000;

/// Name of the thread of the server that carries signaling.
const SIGNALING_THREAD: &str = "signaling";

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

    /// Relays frames one by one.
    async fn measure(&mut self) -> Measurement {
        let mut latencies = Vec::with_capacity(FRAMES);
        let mut cpu_times = Vec::with_capacity(FRAMES);
        for _ in 0..FRAMES {
            tokio::time::sleep(FRAME_INTERVAL).await;
            let (cpu, sent) = (signaling_cpu_time(), Instant::now());
            self.sender.send(SIGNAL).await;
            self.receiver.next_of("offer").await;
            latencies.push(sent.elapsed());
            cpu_times.push(signaling_cpu_time() - cpu);
        }
        latencies.sort();
        cpu_times.sort();
        Measurement {
            latencies,
            cpu_times,
        }
    }
}

/// The measured values of each frame, sorted.
struct Measurement {
    latencies: Vec<Duration>,
    cpu_times: Vec<Duration>,
}

/// Processor time of the signaling thread so far.
fn signaling_cpu_time() -> Duration {
    let threads =
        std::fs::read_dir("/proc/self/task").expect("cannot list the threads: not Linux?");
    let paths = threads.map(|thread| thread.expect("cannot list a thread").path());
    let is_signaling = |path: &std::path::PathBuf| {
        let name = std::fs::read_to_string(path.join("comm"));
        name.is_ok_and(|name| name.trim() == SIGNALING_THREAD)
    };
    let nanos = paths.filter(is_signaling).map(|path| {
        let times =
            std::fs::read_to_string(path.join("schedstat")).expect("no `schedstat`: not Linux?");
        let cpu = times
            .split(' ')
            .next()
            .and_then(|cpu| cpu.parse::<u64>().ok());
        cpu.expect("`schedstat` does not begin with nanoseconds")
    });
    Duration::from_nanos(nanos.sum())
}

/// A room in which one user is in the mixes of itself and of another, so that two mixes are encoded.
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
            _source: source.play_frames(move || tone.next(FRAME)),
            _listeners: listeners,
        }
    }
}

fn runtime(thread_name: &str) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).thread_name(thread_name);
    builder
        .enable_all()
        .build()
        .expect("cannot start the runtime")
}

/// A quantile of sorted values, in microseconds.
fn micros(sorted: &[Duration], percent: usize) -> u128 {
    sorted[sorted.len() * percent / 100].as_micros()
}

#[expect(clippy::print_stdout, reason = "the result of the measurement")]
fn print_ratios(name: &str, idle: &[Duration], mixing: &[Duration]) {
    for percent in [50, 99] {
        let (idle, mixing) = (micros(idle, percent), micros(mixing, percent));
        let ratio = mixing as f64 / idle.max(1) as f64;
        println!("{name} p{percent}: idle {idle} µs, {ROOMS} rooms {mixing} µs, ratio {ratio:.2}");
    }
}

#[test]
#[ignore = "a measurement, not a test"]
fn latency_of_a_relayed_frame_while_rooms_are_mixed() {
    let server_runtime = runtime(SIGNALING_THREAD);
    let (members, users) = (runtime("members"), runtime("users"));
    let (server, address) = server_runtime.block_on(async { start(CONFIG) });
    let mut pair = members.block_on(SignalingPair::join(address));
    let idle = members.block_on(pair.measure());
    let rooms = users.block_on(async {
        let mut rooms = Vec::new();
        for number in 0..ROOMS {
            rooms.push(AudibleRoom::open(address, number).await);
        }
        rooms
    });
    let mixing = members.block_on(pair.measure());
    let metrics = users.block_on(HttpRequest::get("/metrics").text(address)).1;
    for line in metrics
        .lines()
        .filter(|line| line.contains("mixer_late_seconds_"))
    {
        println!("{line}");
    }
    print_ratios("latency", &idle.latencies, &mixing.latencies);
    print_ratios("processor time", &idle.cpu_times, &mixing.cpu_times);
    drop((rooms, server));
}

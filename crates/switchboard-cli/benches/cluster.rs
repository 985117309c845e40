//! The memory of an idle connection, and the cost of rooms that span nodes: real servers and a real
//! Redis, all on this machine and on loopback. `cargo bench -p switchboard-cli --bench cluster` takes
//! about two minutes and needs `redis-server`. `SWITCHBOARD_BIN` measures another binary.
//!
//! Memory and processor time are read from `/proc` and are valid on a busy machine; latencies and
//! rates are not.
#![expect(clippy::print_stdout, reason = "a bench prints its results")]

use std::{
    ffi::OsString,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt, future::join_all};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

/// The size of an offer with a few candidates.
const SDP_BYTES: usize = 1536;
/// The number of pairs of clients that exchange offers.
const PAIRS: usize = 64;
/// The time for which the pairs exchange offers.
const RELAY_TIME: Duration = Duration::from_secs(6);
/// The number of measured joins, each by another client.
const JOINERS: usize = 2000;
const ROOM_MEMBERS: usize = 10;
/// The number of joins that are pending at the same time.
const JOINS_AT_ONCE: usize = 64;
/// The number of members on the node that is killed.
const LOST_MEMBERS: usize = 200;
const IDLE_CONNECTIONS: usize = 3000;
const TIMEOUT: Duration = Duration::from_secs(30);

/// `USER_HZ`, which is 100 on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

#[tokio::main]
async fn main() {
    // `cargo test --benches` passes this flag; the bench then does nothing.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    println!("memory of {IDLE_CONNECTIONS} idle connections, in bytes for each");
    for (name, entry) in [
        ("no frame sent", Entry::None),
        ("lightstream, rooms of two", Entry::Lightstream),
        ("p2p, rooms of two", Entry::P2p),
    ] {
        idle(name, entry).await;
    }
    println!("\nrelay of {SDP_BYTES} bytes, {PAIRS} pairs, one message under way in each");
    println!(
        "{:34} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "", "p50 us", "p99 us", "us/msg", "redis", "msgs"
    );
    for (name, nodes, engine, split) in [
        ("one node, no engine", 1, false, false),
        ("one node, Redis", 1, true, false),
        ("two nodes, pairs on the same node", 2, true, false),
        ("two nodes, pairs across", 2, true, true),
        ("three nodes, pairs across", 3, true, true),
    ] {
        relay(name, &Cluster::open(nodes, engine), split).await;
    }
    println!("\njoins into rooms of {ROOM_MEMBERS}, {JOINS_AT_ONCE} at once");
    println!(
        "{:34} {:>9} {:>9} {:>9} {:>9}",
        "", "joins/s", "p50 us", "us/join", "redis"
    );
    for (name, nodes, engine) in [
        ("one node, no engine", 1, false),
        ("one node, Redis", 1, true),
        ("two nodes", 2, true),
        ("three nodes", 3, true),
    ] {
        joins(name, &Cluster::open(nodes, engine)).await;
    }
    println!("\na node with {LOST_MEMBERS} members is killed (lease 10 s)");
    for _ in 0..3 {
        lost_node(Cluster::open(2, true)).await;
    }
}

/// Nodes (server processes), and the Redis that they share, if any.
struct Cluster {
    redis: Option<Process>,
    nodes: Vec<(Process, u16)>,
}

impl Cluster {
    /// Starts nodes. With `engine`, they share a Redis; a single node may do without.
    fn open(nodes: usize, engine: bool) -> Self {
        let redis = engine.then(|| {
            let port = free_port();
            let mut command = Command::new("redis-server");
            command.args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
            ]);
            (Process::start(&mut command, port), port)
        });
        let node = |_| {
            let port = free_port();
            let mut command = Command::new(binary());
            command.args(["--addr", "127.0.0.1", "--port", &port.to_string()]);
            command.args(["--log-level", "error"]);
            command.env("SWITCHBOARD_LIMITS_FRAMES_PER_SECOND", "0");
            command.env("SWITCHBOARD_INTERNAL_LISTEN", "");
            command.env_remove("SWITCHBOARD_BIN");
            if let Some((_, redis)) = &redis {
                command.args(["--engine", &format!("redis://127.0.0.1:{redis}")]);
            }
            (Process::start(&mut command, port), port)
        };
        let nodes = (0..nodes).map(node).collect();
        // Each node learns of the others from their first heartbeat.
        std::thread::sleep(Duration::from_millis(500));
        Self {
            nodes,
            redis: redis.map(|(process, _)| process),
        }
    }

    /// The port of the node that serves client `index`: clients are distributed over the nodes in turn.
    fn port(&self, index: usize) -> u16 {
        self.nodes[index % self.nodes.len()].1
    }

    /// The processor time used so far, in seconds: of all nodes, and of Redis.
    fn cpu_seconds(&self) -> (f64, f64) {
        let nodes = self
            .nodes
            .iter()
            .map(|(process, _)| process.cpu_seconds())
            .sum();
        (nodes, self.redis.as_ref().map_or(0.0, Process::cpu_seconds))
    }
}

/// The binary to measure: `SWITCHBOARD_BIN`, otherwise the one that cargo has built with this bench.
fn binary() -> OsString {
    let built = || env!("CARGO_BIN_EXE_switchboard").into();
    std::env::var_os("SWITCHBOARD_BIN").unwrap_or_else(built)
}

/// A process that is killed when it is dropped.
struct Process(Child);

impl Process {
    fn start(command: &mut Command, port: u16) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null());
        let process = Self(command.spawn().expect("it is installed"));
        let start = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(start.elapsed() < TIMEOUT, "no process listens on {port}");
            std::thread::sleep(Duration::from_millis(10));
        }
        process
    }

    fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id()));
        let stat = stat.expect("the process runs");
        // The command name may contain any character, but ends at the last parenthesis.
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: f64 = ticks.filter_map(|field| field.parse::<f64>().ok()).sum();
        ticks / TICKS_PER_SECOND
    }

    /// The resident memory in bytes.
    fn resident_bytes(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()));
        let status = status.expect("the process runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        kib.and_then(|kib| kib.parse::<usize>().ok())
            .expect("a size in KiB")
            * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

/// A client of the dialect `lightstream`, unless it enters its room in `p2p`.
struct LightstreamClient {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    name: String,
}

impl LightstreamClient {
    async fn join(port: u16, room: &str, name: &str) -> Self {
        let mut client = Self::connect(port, name).await;
        client.enter(room).await;
        client
    }

    async fn connect(port: u16, name: &str) -> Self {
        let url = format!("ws://127.0.0.1:{port}/ws");
        let (socket, _) = connect_async(url).await.expect("a connection");
        if let MaybeTlsStream::Plain(stream) = socket.get_ref() {
            stream.set_nodelay(true).expect("a socket");
        }
        let name = name.to_owned();
        Self { socket, name }
    }

    async fn enter(&mut self, room: &str) {
        let join = json!({"type": "join", "roomID": room, "senderID": self.name});
        self.send(&join.to_string()).await;
        self.wait_for("peers").await;
    }

    /// Enters a room in the dialect `p2p`.
    async fn enter_p2p(&mut self, room: &str) {
        let identify = json!({"type": "IDENTIFY", "username": self.name, "roomId": room});
        self.send(&identify.to_string()).await;
        self.wait_for("AUTH_SUCCESS").await;
        self.send(&json!({"type": "JOIN_ROOM", "roomId": room}).to_string())
            .await;
        self.wait_for("ROOM_MEMBERS").await;
    }

    async fn send(&mut self, text: &str) {
        self.socket
            .send(Message::text(text))
            .await
            .expect("it is open");
    }

    /// Reads frames until one of this type. Returns it.
    async fn wait_for(&mut self, wanted: &str) -> Value {
        loop {
            let next = tokio::time::timeout(TIMEOUT, self.socket.next()).await;
            let frame = next.expect("in time").expect("open").expect("a frame");
            let Message::Text(text) = frame else { continue };
            let value: Value = serde_json::from_str(&text).expect("JSON");
            assert_ne!(value["type"], "error", "{value}");
            if value["type"] == wanted {
                return value;
            }
        }
    }
}

/// How an idle client enters its room.
#[derive(Clone, Copy)]
enum Entry {
    None,
    Lightstream,
    P2p,
}

/// Prints the growth of the server's resident memory per idle connection.
async fn idle(name: &str, entry: Entry) {
    let cluster = Cluster::open(1, false);
    // The first connection allocates what all of them share.
    let first = LightstreamClient::join(cluster.port(0), "first", "first").await;
    let before = cluster.nodes[0].0.resident_bytes();
    let mut clients = Vec::new();
    for index in 0..IDLE_CONNECTIONS {
        let mut client =
            LightstreamClient::connect(cluster.port(0), &format!("peer-{index}")).await;
        let room = format!("room-{}", index / 2);
        match entry {
            Entry::None => {}
            Entry::Lightstream => client.enter(&room).await,
            Entry::P2p => client.enter_p2p(&room).await,
        }
        clients.push(client);
    }
    let growth = cluster.nodes[0].0.resident_bytes().saturating_sub(before);
    println!("{name:34} {:9}", growth / IDLE_CONNECTIONS);
    drop((first, clients));
}

/// Prints the latency and the processor time of offers that the members of pairs send to each other. With `split`, the
/// two members of a pair are on different nodes.
async fn relay(name: &str, cluster: &Cluster, split: bool) {
    let pair = async |index: usize| {
        let room = format!("pair-{index}");
        let there = if split { index + 1 } else { index };
        let one = LightstreamClient::join(cluster.port(index), &room, "one").await;
        let two = LightstreamClient::join(cluster.port(there), &room, "two").await;
        (one, two)
    };
    let mut pairs = Vec::new();
    for index in 0..PAIRS {
        pairs.push(pair(index).await);
    }
    let before = cluster.cpu_seconds();
    let until = Instant::now() + RELAY_TIME;
    let mut latencies: Vec<_> = join_all(pairs.iter_mut().map(|pair| exchange_offers(pair, until)))
        .await
        .concat();
    let after = cluster.cpu_seconds();
    latencies.sort_unstable();
    let count = latencies.len() as f64;
    let at = |quantile: f64| latencies[(count * quantile) as usize].as_micros();
    println!(
        "{name:34} {:9} {:9} {:9.1} {:9.1} {:9}",
        at(0.5),
        at(0.99),
        (after.0 - before.0) * 1e6 / count,
        (after.1 - before.1) * 1e6 / count,
        latencies.len()
    );
}

/// Sends offers in turn from one client to the other, one at a time. Returns the latency of each.
async fn exchange_offers(
    (one, two): &mut (LightstreamClient, LightstreamClient),
    until: Instant,
) -> Vec<Duration> {
    let offer = |from: &LightstreamClient, to: &LightstreamClient| {
        let offer = json!({"type": "offer", "sdp": "x".repeat(SDP_BYTES)});
        json!({"type": "offer", "senderID": from.name, "targetID": to.name, "offer": offer})
            .to_string()
    };
    let (there, back) = (offer(one, two), offer(two, one));
    let mut latencies = Vec::new();
    while Instant::now() < until {
        let sent = Instant::now();
        one.send(&there).await;
        two.wait_for("offer").await;
        latencies.push(sent.elapsed());
        let sent = Instant::now();
        two.send(&back).await;
        one.wait_for("offer").await;
        latencies.push(sent.elapsed());
    }
    latencies
}

/// Prints the rate, latency and processor time of joins.
async fn joins(name: &str, cluster: &Cluster) {
    let mut clients = Vec::new();
    for index in 0..JOINERS {
        clients
            .push(LightstreamClient::connect(cluster.port(index), &format!("peer-{index}")).await);
    }
    let before = cluster.cpu_seconds();
    let start = Instant::now();
    let lanes = clients.chunks_mut(JOINERS / JOINS_AT_ONCE);
    let lanes = lanes.enumerate().map(async |(lane, clients)| {
        let mut latencies = Vec::new();
        for (turn, client) in clients.iter_mut().enumerate() {
            let room = (lane + turn * JOINS_AT_ONCE) / ROOM_MEMBERS;
            let sent = Instant::now();
            client.enter(&format!("room-{room}")).await;
            latencies.push(sent.elapsed());
        }
        latencies
    });
    let mut latencies = join_all(lanes).await.concat();
    let took = start.elapsed();
    let after = cluster.cpu_seconds();
    latencies.sort_unstable();
    let count = latencies.len() as f64;
    println!(
        "{name:34} {:9.0} {:9} {:9.1} {:9.1}",
        count / took.as_secs_f64(),
        latencies[latencies.len() / 2].as_micros(),
        (after.0 - before.0) * 1e6 / count,
        (after.1 - before.1) * 1e6 / count
    );
}

/// Prints the time after which a member on another node has seen all members of a killed node leave.
async fn lost_node(mut cluster: Cluster) {
    let mut witness = LightstreamClient::join(cluster.port(0), "room", "witness").await;
    let mut lost = Vec::new();
    for index in 0..LOST_MEMBERS {
        lost.push(LightstreamClient::join(cluster.port(1), "room", &format!("lost-{index}")).await);
    }
    drop(cluster.nodes.pop());
    let killed = Instant::now();
    witness.wait_for("user-left").await;
    let first = killed.elapsed();
    for _ in 1..LOST_MEMBERS {
        witness.wait_for("user-left").await;
    }
    println!(
        "the first is gone after {:.2} s, the last after {:.2} s",
        first.as_secs_f64(),
        killed.elapsed().as_secs_f64()
    );
}

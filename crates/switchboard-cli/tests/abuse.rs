//! Clients that cause as much work as possible: the cost to the server is bounded.

mod server_process;

use std::{
    net::SocketAddr,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt, stream::SplitSink};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

use server_process::ServerProcess;

/// The members of the room that only receive.
const MEMBERS: u32 = 400;
/// The members that change their id over and over without a pause.
const RENAMERS: u64 = 3;

/// The defaults of `[limits]`. A delivery is a frame that a request of a client causes for one member.
const DELIVERIES_PER_SECOND: u64 = 4000;
const DELIVERIES_BURST: u64 = 20_000;

type Sender = SplitSink<WebSocketStream<MaybeTlsStream<TcpStream>>, Message>;

impl ServerProcess {
    async fn metric(&self, name: &str) -> u64 {
        let mut stream = TcpStream::connect(self.internal.expect("an internal listener"))
            .await
            .expect("connected");
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        let name = format!("switchboard_{name} ");
        let value = answer.lines().find_map(|line| line.strip_prefix(&name));
        value.expect("a metric").parse().expect("a number")
    }

    fn memory_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let value = line
            .expect("resident memory")
            .trim()
            .trim_end_matches(" kB");
        value.parse().expect("a number")
    }
}

/// Joins the room of the test as a `lightstream` client. Adds the bytes of its received frames to `bytes`.
async fn join(address: SocketAddr, id: String, bytes: Arc<AtomicU64>) -> Sender {
    let connected = connect_async(format!("ws://{address}/ws")).await;
    let (mut sender, mut receiver) = connected.expect("an upgrade").0.split();
    sender.send(rename(&id)).await.expect("the server reads");
    receiver.next().await.expect("open").expect("a list");
    tokio::spawn(async move {
        while let Some(Ok(message)) = receiver.next().await {
            bytes.fetch_add(message.len() as u64, Ordering::Relaxed);
        }
    });
    sender
}

/// A join of the room under this id. If the client is in the room already, that is a rename: the others are told of a
/// leave and of a join.
fn rename(id: &str) -> Message {
    Message::text(format!(
        r#"{{"type":"join","roomID":"r","senderID":"{id}"}}"#
    ))
}

#[tokio::test]
async fn renames_in_a_large_room_stay_within_the_delivery_budgets() {
    let server = ServerProcess::start_on("127.0.0.1", &[], Stdio::null());
    let bytes = Arc::new(AtomicU64::new(0));
    let mut members = Vec::new();
    for number in 0..MEMBERS {
        members.push(join(server.address, format!("member{number}"), bytes.clone()).await);
    }
    let before = server.metric("frames_out_total").await;
    bytes.store(0, Ordering::Relaxed);
    let start = Instant::now();
    for renamer in 0..RENAMERS {
        let mut sender = join(server.address, format!("r{renamer}"), bytes.clone()).await;
        tokio::spawn(async move {
            for number in 0_u64.. {
                let name = rename(&format!("r{renamer}-{number}"));
                if sender.send(name).await.is_err() {
                    break;
                }
            }
        });
    }
    while server.metric("paused_total").await < RENAMERS {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "fewer than {RENAMERS} clients are paused"
        );
    }

    let (begin, ticks) = (Instant::now(), server.ticks());
    // The interval of the measurement.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let share = (server.ticks() - ticks) as f64 / 100.0 / begin.elapsed().as_secs_f64();
    let deliveries = server.metric("frames_out_total").await - before;
    let bytes = bytes.load(Ordering::Relaxed);
    // One request may overdraw the budget: a rename is delivered twice to each member, and lists all.
    let once = 3 * u64::from(MEMBERS);
    let allowed = DELIVERIES_BURST + DELIVERIES_PER_SECOND * start.elapsed().as_secs() + once;
    let allowed = RENAMERS * (allowed + DELIVERIES_PER_SECOND);
    assert!(
        deliveries <= allowed,
        "{deliveries} deliveries, at most {allowed} are allowed"
    );
    assert!(
        bytes <= allowed * 128,
        "{bytes} bytes for {allowed} deliveries"
    );
    assert!(
        server.memory_kib() < 200 * 1024,
        "{} KiB",
        server.memory_kib()
    );
    // A build without optimisation takes a fifth of a core for these deliveries.
    assert!(share < 0.6, "{share:.2} of a core");
    assert_eq!(server.metric("slow_total").await, 0);
    assert_eq!(
        server.metric("connections").await,
        u64::from(MEMBERS) + RENAMERS
    );
}

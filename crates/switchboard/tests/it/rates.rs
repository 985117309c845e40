//! Rate budgets over sockets. If a client exceeds its rate, the server reads nothing from it for a while. The client is
//! paused then, but stays a member that receives frames.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

use crate::client::{Client, TEST_TIMEOUT, metrics, request, start};

/// The frames with which a `p2p` client claims its username and joins a room.
const P2P_JOIN_FRAMES: [&str; 2] = [
    r#"{"type":"IDENTIFY","username":"ada"}"#,
    r#"{"type":"JOIN_ROOM","roomId":"r"}"#,
];

type ClientSocket = WebSocketStream<TcpStream>;

/// The next message.
async fn next(socket: &mut ClientSocket) -> Message {
    let message = tokio::time::timeout(TEST_TIMEOUT, socket.next()).await;
    let message = message.expect("a message in time");
    message.expect("an open socket").expect("a message")
}

/// Connects a `p2p` member that sends far more frames than its budget.
async fn connect_over_rate(address: std::net::SocketAddr) -> ClientSocket {
    let stream = TcpStream::connect(address).await.expect("a connection");
    let upgraded = client_async(request(address, "/ws"), stream).await;
    let mut socket = upgraded.expect("an upgrade").0;
    for frame in P2P_JOIN_FRAMES {
        socket.send(Message::text(frame)).await.expect("sent");
        next(&mut socket).await;
    }
    for _ in 0..200 {
        let frame = Message::text(r#"{"type":"CHAT"}"#);
        socket.send(frame).await.expect("sent");
    }
    socket
}

/// Waits until the server has paused this number of connections.
async fn await_paused(address: std::net::SocketAddr, count: usize) {
    let expected = format!("\nswitchboard_paused_total {count}\n");
    let start = Instant::now();
    while !metrics(address).await.contains(&expected) {
        assert!(
            start.elapsed() < TEST_TIMEOUT,
            "fewer than {count} connections are paused"
        );
    }
}

/// A budget of eight frames, refilled by one frame each second, and a heartbeat timeout of two seconds.
const LOW_RATE: &str = "[limits]\nframes_per_second = 1\nframes_burst = 8\nframes_per_peer = 8\n[heartbeat]\nping = 1\ngone = 2\n";

#[tokio::test]
async fn a_burst_beyond_the_budget_is_delivered_late_but_complete() {
    let (_server, address) = start("[limits]\nframes_per_second = 100\nframes_burst = 5\n");
    let (mut bob, _) = Client::join(address, "r", "bob").await;
    let (mut ada, _) = Client::join(address, "r", "ada").await;
    for number in 0..150 {
        ada.send(&json!({"type": "message", "data": number}).to_string())
            .await;
    }
    for number in 0..150 {
        assert_eq!(bob.next_of("message").await["data"], number);
    }
}

#[tokio::test]
async fn a_client_that_stays_over_its_rate_gets_an_error_and_is_closed_with_1008() {
    let limits = "frames_per_second = 20\nframes_burst = 5\nframes_per_peer = 1\nflood_secs = 1";
    let (_server, address) = start(&format!("[limits]\n{limits}\n"));
    let (mut ada, _) = Client::join(address, "r", "ada").await;
    for _ in 0..60 {
        ada.send(r#"{"type":"message","data":"hi"}"#).await;
    }
    assert_eq!(ada.next_of("error").await["code"], "too-many-frames");
    assert_eq!(ada.close_code().await, 1008);
}

/// A `mesh` client joins when it connects. Its join is delivered to five members and lists five.
#[tokio::test]
async fn a_client_that_is_paused_by_its_first_join_resumes_when_its_budget_is_refilled() {
    let (_server, address) = start("[limits]\ndeliveries_per_second = 100\ndeliveries_burst = 1\n");
    let mut others = Vec::new();
    for number in 0..5 {
        let (other, _) = Client::join(address, "r", &format!("other{number}")).await;
        others.push(other);
    }
    let mut ada = Client::open(address, "/signalingserver?room=r").await;
    await_paused(address, 5).await;
    let chat = json!({"kind": "TextMessage", "reach": "AllPeers", "content": {"message": "hi"}});
    ada.send(&chat.to_string()).await;
    assert_eq!(others[0].next_of("message").await["data"], "hi");
}

#[tokio::test]
async fn a_paused_client_stays_a_full_member() {
    let (server, address) = start(LOW_RATE);
    let mut ada = connect_over_rate(address).await;
    await_paused(address, 1).await;

    let mut claimant = Client::open(address, "/ws").await;
    claimant.send(P2P_JOIN_FRAMES[0]).await;
    let rejection = claimant.next().await;
    assert_eq!(
        rejection["message"], "Username already taken.",
        "the server asks the holder whether it is alive, and the paused holder answers"
    );
    claimant.close().await;

    let (_bob, _) = Client::join(address, "r", "bob").await;
    let (mut pings, mut joined) = (0, 0);
    // Longer than the heartbeat timeout.
    while pings < 4 || joined < 1 {
        match next(&mut ada).await {
            Message::Ping(_) => pings += 1,
            Message::Text(text) => {
                let frame: Value = serde_json::from_str(&text).expect("JSON");
                joined += usize::from(frame["type"] == "NEW_PEER_IN_ROOM");
            }
            other @ (Message::Binary(_)
            | Message::Pong(_)
            | Message::Close(_)
            | Message::Frame(_)) => panic!("{other:?} while paused"),
        }
    }

    let stopped = tokio::spawn(async move { server.shutdown(Duration::from_secs(10)).await });
    loop {
        if let Message::Close(frame) = next(&mut ada).await {
            assert_eq!(frame.map(|frame| u16::from(frame.code)), Some(1012));
            break;
        }
    }
    drop(ada);
    assert!(
        stopped.await.expect("the task has panicked"),
        "all connections have ended"
    );
}

#[tokio::test]
async fn a_paused_client_that_resets_its_connection_leaves() {
    let (_server, address) = start(LOW_RATE);
    let (mut bob, _) = Client::join(address, "r", "bob").await;
    let ada = connect_over_rate(address).await;
    await_paused(address, 1).await;
    bob.next_of("user-joined").await;
    ada.get_ref().set_zero_linger().expect("a socket");
    drop(ada);
    bob.next_of("user-left").await;
}

#[tokio::test]
async fn renames_are_limited_by_their_deliveries() {
    let (_server, address) =
        start("[limits]\ndeliveries_per_second = 500\ndeliveries_burst = 200\n");
    let mut others = Vec::new();
    for number in 0..10 {
        others.push(
            Client::join(address, "r", &format!("other{number}"))
                .await
                .0,
        );
    }
    let (mut ada, _) = Client::join(address, "r", "ada0").await;
    let begin = Instant::now();
    for number in 1..40 {
        ada.send(
            &json!({"type": "join", "roomID": "r", "senderID": format!("ada{number}")}).to_string(),
        )
        .await;
    }
    let watcher = &mut others[9];
    for _ in 0..40 {
        watcher.next_of("user-joined").await;
    }
    // Each rename is delivered to ten members as a leave and as a join, and lists ten.
    let deliveries = 39 * 30 - 200;
    let least = Duration::from_millis(deliveries * 1000 / 500);
    assert!(
        begin.elapsed() >= least,
        "{:?} < {least:?}",
        begin.elapsed()
    );
}

/// A `lightstream` client behind a proxy.
async fn behind_a_proxy(address: std::net::SocketAddr) -> Client {
    let mut request = request(address, "/ws");
    let client = "203.0.113.7".parse().expect("a header");
    request.headers_mut().insert("x-forwarded-for", client);
    Client::try_open(request).await.expect("an upgrade")
}

#[tokio::test]
async fn a_reconnected_client_continues_its_budgets() {
    const CYCLES: u32 = 10;
    const MESSAGES: u32 = 10;
    let proxies = "[server]\ntrusted_proxies = [\"127.0.0.1/32\"]\n";
    let limits = "[limits]\ndeliveries_per_second = 500\ndeliveries_burst = 200\n";
    let (_server, address) = start(&format!("{proxies}{limits}"));
    let mut others = Vec::new();
    for number in 0..10 {
        others.push(
            Client::join(address, "r", &format!("other{number}"))
                .await
                .0,
        );
    }
    let begin = Instant::now();
    for _ in 0..CYCLES {
        let mut ada = behind_a_proxy(address).await;
        let join = json!({"type": "join", "roomID": "r", "senderID": "ada"});
        ada.send(&join.to_string()).await;
        for number in 0..MESSAGES {
            let message = json!({"type": "message", "data": number});
            ada.send(&message.to_string()).await;
        }
        ada.close().await;
        others[9].next_of("user-left").await;
    }
    // Each join, leave and message is delivered to ten members, and each join lists them.
    let deliveries = u64::from(CYCLES * (MESSAGES + 3) * 10 - 200);
    let least = Duration::from_millis(deliveries * 1000 / 500);
    let elapsed = begin.elapsed() + Duration::from_millis(500);
    assert!(elapsed >= least, "{elapsed:?} < {least:?}");
}

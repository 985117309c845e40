//! Tests of the harness: Redis, nodes and the network namespace.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::{connect_async, tungstenite::Message};

use crate::{
    ONE_AT_A_TIME,
    network::{Link, Network},
    node::{Node, NodeConfig},
    redis::Redis,
    temp_dir::TempDir,
};

/// Sends one command to Redis and returns the response.
fn redis_command(redis: &Redis, command: &str) -> String {
    let url = redis.url(Ipv4Addr::LOCALHOST.into());
    let address = url.trim_start_matches("redis://").trim_end_matches("/0");
    let mut stream = TcpStream::connect(address).expect("a connection");
    let sent = stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes());
    sent.expect("sent");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response");
    response
}

#[tokio::test]
#[cfg_attr(
    not(has_redis),
    ignore = "needs redis-server and redis-cli (Debian: redis-server)"
)]
async fn redis_restarts_with_its_data_or_empty() {
    let _guard = ONE_AT_A_TIME.lock().await;
    let dir = TempDir::create();
    let mut redis = Redis::start(dir.path().join("redis"), None);
    assert!(redis_command(&redis, "SET word known").starts_with("+OK"));
    redis.kill();
    redis.restart();
    assert!(redis_command(&redis, "GET word").contains("known"));
    redis.kill();
    redis.start_empty();
    assert!(redis_command(&redis, "GET word").starts_with("$-1"));
}

fn config(dir: &TempDir, network: Option<&Network>) -> NodeConfig {
    let host = network.map_or(Ipv4Addr::LOCALHOST.into(), |_| {
        Network::namespace_address(Link::Clients)
    });
    NodeConfig {
        name: "node".to_owned(),
        dir: dir.path().to_owned(),
        host: host.to_string(),
        namespace: network.map(|network| network.name().to_owned()),
        engine: None,
        settings: String::new(),
    }
}

/// Waits until the node answers requests, or no longer does.
async fn await_answers(node: &Node, answers: bool) {
    let start = Instant::now();
    while node.readiness().await.is_some() != answers {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "the node answers requests: {}",
            !answers
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// With Redis, a join is still pending when the next frame is read.
#[tokio::test]
#[cfg_attr(
    not(has_redis),
    ignore = "needs redis-server and redis-cli (Debian: redis-server)"
)]
async fn a_frame_right_after_a_join_is_not_rejected() {
    let _guard = ONE_AT_A_TIME.lock().await;
    let dir = TempDir::create();
    let redis = Redis::start(dir.path().join("redis"), None);
    let node = Node::start(NodeConfig {
        engine: Some(redis.url(Ipv4Addr::LOCALHOST.into())),
        ..config(&dir, None)
    });
    for (path, frames, error) in [
        (
            "/signalingserver?room=r",
            &[r#"{"kind":"GetAllPeerIDs"}"#][..],
            "not in the room",
        ),
        (
            "/ws",
            &[
                r#"{"type":"join","roomID":"r","senderID":"a"}"#,
                r#"{"type":"offer","targetID":"nobody","data":{"type":"offer","sdp":"v=0"}}"#,
            ],
            "not-in-room",
        ),
    ] {
        let url = format!("ws://{}{path}", node.address());
        let (mut socket, _) = connect_async(url).await.expect("a connection");
        for frame in frames {
            let sent = socket.send(Message::text(*frame)).await;
            sent.expect("sent");
        }
        for _ in frames {
            let response = tokio::time::timeout(Duration::from_secs(5), socket.next()).await;
            let response = response.expect("in time").expect("open").expect("a frame");
            assert!(!response.to_string().contains(error), "{response}");
        }
    }
}

#[tokio::test]
async fn a_node_is_paused_resumed_and_replaced() {
    let _guard = ONE_AT_A_TIME.lock().await;
    let dir = TempDir::create();
    let mut node = Node::start(config(&dir, None));
    await_answers(&node, true).await;
    node.pause();
    await_answers(&node, false).await;
    node.resume();
    await_answers(&node, true).await;
    node.kill();
    await_answers(&node, false).await;
    node.replace();
    await_answers(&node, true).await;
    node.terminate().await;
    await_answers(&node, false).await;
}

#[tokio::test]
#[cfg_attr(
    not(has_network_namespaces),
    ignore = "needs `ip netns add` and virtual links (Debian: iproute2; root)"
)]
async fn a_node_in_a_namespace_is_disconnected_and_reconnected() {
    let _guard = ONE_AT_A_TIME.lock().await;
    let network = Network::create().expect("a network namespace");
    let dir = TempDir::create();
    let node = Node::start(config(&dir, Some(&network)));
    await_answers(&node, true).await;
    network.cut(Link::Redis);
    await_answers(&node, true).await;
    assert_eq!(network.has_unacknowledged_data(), Ok(false));
    let mut client = TcpStream::connect(node.address()).expect("a connection");
    network.cut(Link::Clients);
    client
        .write_all(b"GET")
        .expect("the socket buffer accepts it");
    await_answers(&node, false).await;
    assert_eq!(network.has_unacknowledged_data(), Ok(true));
    for link in [Link::Clients, Link::Redis] {
        assert_eq!(network.restore(link), Ok(()));
    }
    await_answers(&node, true).await;
    let start = Instant::now();
    while network.has_unacknowledged_data() == Ok(true) && start.elapsed() < Duration::from_secs(20)
    {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(network.has_unacknowledged_data(), Ok(false));
}

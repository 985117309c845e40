//! What the stage is made of does what the rounds rely on.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::{connect_async, tungstenite::Message};

use crate::{
    TURN,
    folder::Folder,
    network::{Link, Network},
    node::{Launch, Node},
    redis::Redis,
};

/// What a Redis answers to one command.
fn ask(redis: &Redis, command: &str) -> String {
    let url = redis.url(Ipv4Addr::LOCALHOST.into());
    let address = url.trim_start_matches("redis://").trim_end_matches("/0");
    let mut stream = TcpStream::connect(address).expect("it listens");
    let sent = stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes());
    sent.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

#[tokio::test]
#[cfg_attr(
    not(has_redis),
    ignore = "needs redis-server and redis-cli (Debian: redis-server)"
)]
async fn redis_comes_back_with_its_data_or_without() {
    let _turn = TURN.lock().await;
    let folder = Folder::make();
    let mut redis = Redis::start(folder.path().join("redis"), None);
    assert!(ask(&redis, "SET word known").starts_with("+OK"));
    redis.kill();
    redis.start_again();
    assert!(ask(&redis, "GET word").contains("known"));
    redis.kill();
    redis.start_empty();
    assert!(ask(&redis, "GET word").starts_with("$-1"));
}

fn launch(folder: &Folder, network: Option<&Network>) -> Launch {
    let host = network.map_or(Ipv4Addr::LOCALHOST.into(), |_| {
        Network::inside(Link::Clients)
    });
    Launch {
        name: "node".to_owned(),
        folder: folder.path().to_owned(),
        host: host.to_string(),
        namespace: network.map(|network| network.name().to_owned()),
        engine: None,
        settings: String::new(),
    }
}

/// Waits until it is so, that the node answers or does not.
async fn must_answer(node: &Node, answers: bool) {
    let start = Instant::now();
    while node.readiness().await.is_some() != answers {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "it answers: {}",
            !answers
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// In memory a join is done when the next frame is read; over Redis it is under way.
#[tokio::test]
#[cfg_attr(
    not(has_redis),
    ignore = "needs redis-server and redis-cli (Debian: redis-server)"
)]
async fn what_is_said_right_after_a_join_is_not_refused() {
    let _turn = TURN.lock().await;
    let folder = Folder::make();
    let redis = Redis::start(folder.path().join("redis"), None);
    let node = Node::start(Launch {
        engine: Some(redis.url(Ipv4Addr::LOCALHOST.into())),
        ..launch(&folder, None)
    });
    for (path, frames, refused) in [
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
            sent.expect("it reads");
        }
        for _ in frames {
            let answer = tokio::time::timeout(Duration::from_secs(5), socket.next()).await;
            let answer = answer.expect("in time").expect("open").expect("a frame");
            assert!(!answer.to_string().contains(refused), "{answer}");
        }
    }
}

#[tokio::test]
async fn a_node_stops_goes_on_and_is_replaced() {
    let _turn = TURN.lock().await;
    let folder = Folder::make();
    let mut node = Node::start(launch(&folder, None));
    must_answer(&node, true).await;
    node.stop();
    must_answer(&node, false).await;
    node.go_on();
    must_answer(&node, true).await;
    node.kill();
    must_answer(&node, false).await;
    node.replace();
    must_answer(&node, true).await;
    node.terminate().await;
    must_answer(&node, false).await;
}

#[tokio::test]
#[cfg_attr(
    not(has_network_namespaces),
    ignore = "needs `ip netns add` and virtual cables (Debian: iproute2; root)"
)]
async fn a_node_in_a_namespace_is_cut_off_and_joined_again() {
    let _turn = TURN.lock().await;
    let network = Network::make().expect("a network namespace");
    let folder = Folder::make();
    let node = Node::start(launch(&folder, Some(&network)));
    must_answer(&node, true).await;
    network.cut(Link::Redis);
    must_answer(&node, true).await;
    assert_eq!(network.holds_back(), Ok(false));
    let mut client = TcpStream::connect(node.address()).expect("it listens");
    network.cut(Link::Clients);
    client.write_all(b"GET").expect("the kernel takes it");
    must_answer(&node, false).await;
    assert_eq!(network.holds_back(), Ok(true));
    for cable in [Link::Clients, Link::Redis] {
        assert_eq!(network.join(cable), Ok(()));
    }
    must_answer(&node, true).await;
    let start = Instant::now();
    while network.holds_back() == Ok(true) && start.elapsed() < Duration::from_secs(20) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(network.holds_back(), Ok(false));
}

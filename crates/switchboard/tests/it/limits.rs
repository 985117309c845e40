//! The limits at the socket: who exceeds one is answered, nobody else slows down. `rooms_per_peer`
//! cannot be reached in these dialects, in which a second room is a move; it is tested on `Peer`.

use std::time::Duration;

use crate::client::{Client, PATIENCE, get, http, refused_status, request, serve, start};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

#[tokio::test]
async fn a_frame_too_large_ends_the_connection_with_1009() {
    let (_server, address) = start("[limits]\nframe_bytes = 1000\n");
    let (mut ada, _) = Client::join(address, "r", "ada").await;
    ada.send(&format!(
        r#"{{"type":"message","data":"{}"}}"#,
        "x".repeat(900)
    ))
    .await;
    ada.send(&"x".repeat(1001)).await;
    assert_eq!(ada.next().await["code"], "too-large");
    assert_eq!(ada.close_code().await, 1009);
}

#[tokio::test]
async fn a_member_that_does_not_read_is_cut_off_and_disturbs_nobody() {
    let (_server, address) =
        start("[limits]\noutbox_bytes = 100000\nframes_per_second = 0\nframes_burst = 0\n");
    let (mut ada, _) = Client::join(address, "r", "ada").await;
    let (mut slow, _) = Client::join(address, "r", "slow").await;
    let (mut bob, _) = Client::join(address, "r", "bob").await;
    let frame = format!(r#"{{"type":"message","data":"{}"}}"#, "x".repeat(20_000));
    let mut heard = 0;
    loop {
        ada.send(&frame).await;
        let next = bob.next().await;
        if next["type"] == "user-left" {
            assert_eq!(next["senderID"], "slow");
            break;
        }
        heard += 1;
        assert!(heard < 5000, "the slow one is never cut off");
    }
    assert_eq!(ada.next_of("user-left").await["senderID"], "slow");
    // The reason is behind what the kernel still held for it, unless the goodbye was given up.
    assert!(matches!(slow.close_code_or_cut().await, Some(1013) | None));
}

#[tokio::test]
async fn connections_are_limited_in_all_and_by_address() {
    let (_server, address) = start("[limits]\nconnections = 2\n");
    let _two = (
        Client::open(address, "/ws").await,
        Client::open(address, "/ws").await,
    );
    assert_eq!(refused_status(request(address, "/ws")).await, 503);

    let (_server, address) = start(
        "[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n[limits]\nconnections_per_address = 1\n",
    );
    let from = |client: &str| {
        let mut request = request(address, "/ws");
        request
            .headers_mut()
            .insert("x-forwarded-for", client.parse().expect("a header"));
        request
    };
    let first = Client::try_open(from("192.0.2.1"))
        .await
        .expect("the first of its address");
    assert_eq!(refused_status(from("192.0.2.1")).await, 429);
    let _other = Client::try_open(from("192.0.2.2"))
        .await
        .expect("another address");
    let _locals = (
        Client::open(address, "/ws").await,
        Client::open(address, "/ws").await,
    );
    drop(first);
    let again = async {
        while Client::try_open(from("192.0.2.1")).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, again)
        .await
        .expect("the place is given back");
}

#[tokio::test]
async fn tcp_connections_are_limited_over_all_listeners_and_counted() {
    let (server, one) = start("[limits]\nconnections = 1\nhandshake_secs = 0\n");
    let (server, two) = serve(server);
    let mut held = Vec::new();
    for _ in 0..=256 {
        held.push(TcpStream::connect(one).await.expect("a connection"));
    }
    // Each listener accepts in order, so all the others are in by the time that this one is out.
    for address in [one, two] {
        let answer = get(address, "/metrics").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer:?}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let beside = listener.local_addr().expect("bound");
    let router = server.router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let metrics = get(beside, "/metrics").await;
    assert!(
        metrics.contains("\nswitchboard_connections_refused_total 2\n"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_head_that_does_not_come_is_not_waited_for() {
    let (_server, address) = start("[limits]\nhandshake_secs = 1\n");
    let answer = http(address, "GET /ws HTTP/1.1\r\nHost: x\r\n").await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_client_that_says_nothing_is_told_and_closed() {
    let (_server, address) = start("[limits]\nfirst_frame_secs = 1\n[p2p]\nidentify_secs = 1\n");
    for (path, kind) in [
        ("/ws", "error"),
        ("/connect", "error"),
        ("/ws?dialect=p2p", "AUTH_ERROR"),
    ] {
        let mut silent = Client::open(address, path).await;
        assert_eq!(silent.next_of(kind).await["type"], kind);
        assert_eq!(silent.close_code().await, 1008, "{path}");
    }
}

#[tokio::test]
async fn a_dead_client_is_gone_within_the_heartbeat() {
    let (_server, address) = start("[heartbeat]\nping = 1\ngone = 2\n");
    let (mut ada, _) = Client::join(address, "r", "ada").await;
    let (ghost, _) = Client::join(address, "r", "ghost").await;
    assert_eq!(ada.next().await["type"], "user-joined");
    // Ada reads, so her library answers pings; nobody reads for the ghost.
    assert_eq!(ada.next_of("user-left").await["senderID"], "ghost");
    drop(ghost);
}

#[tokio::test]
async fn a_taken_name_is_challenged() {
    let (_server, address) = start("");
    let holder = Client::open(address, "/ws").await;
    let identify = r#"{"type":"IDENTIFY","username":"ada"}"#;
    let mut holder = holder;
    holder.send(identify).await;
    assert_eq!(holder.next().await["type"], "AUTH_SUCCESS");
    // The holder lives: its library answers the ping while it waits for a frame.
    let mut claimant = Client::open(address, "/ws").await;
    claimant.send(identify).await;
    let refused = tokio::select! {
        refused = claimant.next() => refused,
        frame = holder.next() => panic!("the holder is told nothing: {frame}"),
    };
    assert_eq!(refused["message"], "Username already taken.");
    assert_eq!(claimant.close_code().await, 1008);
    // The holder is dead: nobody reads its socket any more.
    let mut claimant = Client::open(address, "/ws").await;
    claimant.send(identify).await;
    assert_eq!(claimant.next().await["type"], "AUTH_SUCCESS");
    drop(holder);
}

#[tokio::test]
async fn a_full_room_is_refused_and_another_is_not() {
    let (_server, address) = start("[limits]\nroom_members = 1\n");
    let (_ada, _) = Client::join(address, "r", "ada").await;
    let mut bob = Client::open(address, "/ws").await;
    bob.send(r#"{"type":"join","roomID":"r","senderID":"bob"}"#)
        .await;
    assert_eq!(bob.next().await["code"], "room-full");
    bob.send(r#"{"type":"join","roomID":"other","senderID":"bob"}"#)
        .await;
    assert_eq!(bob.next().await["peers"], json!([]));
}

#[tokio::test]
async fn stopping_closes_with_1012_and_ends() {
    let (server, address) = start("");
    let (mut ada, _) = Client::join(address, "r", "ada").await;
    let stopped = tokio::spawn(async move { server.shutdown(Duration::from_secs(10)).await });
    assert_eq!(ada.close_code().await, 1012);
    drop(ada);
    assert!(
        stopped.await.expect("no panic"),
        "all connections have ended in time"
    );
    assert!(
        TcpStream::connect(address).await.is_err(),
        "nobody listens any more"
    );
}

#[tokio::test]
async fn requests_end_when_the_server_stops() {
    let (server, address) = start("");
    assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
    assert!(server.shutdown(Duration::from_secs(10)).await);
}

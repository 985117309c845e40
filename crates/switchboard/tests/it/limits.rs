//! The limits over sockets: a client that exceeds one is answered, and other clients are not affected. The limit
//! `rooms_per_peer` cannot be reached in these dialects, in which a client has one room; it is tested on `Peer`.

use std::time::Duration;

use crate::client::{
    Client, RESERVED_FOR_REQUESTS, TEST_TIMEOUT, get, http, metrics, rejected_status, request,
    serve, start,
};
use serde_json::json;
use tokio::net::TcpStream;

#[tokio::test]
async fn a_frame_too_large_ends_the_connection_with_1009() {
    let (_server, address) = start("[limits]\nframe_bytes = 1024\n");
    let (mut ada, _) = Client::join(address, "r", "ada").await;
    ada.send(&format!(
        r#"{{"type":"message","data":"{}"}}"#,
        "x".repeat(900)
    ))
    .await;
    ada.send(&"x".repeat(1025)).await;
    assert_eq!(ada.next().await["code"], "too-large");
    assert_eq!(ada.close_code().await, 1009);
}

#[tokio::test]
async fn a_member_that_does_not_read_is_disconnected_without_effect_on_others() {
    let (_server, address) =
        start("[limits]\noutbox_bytes = 100000\nframes_per_second = 0\nframes_burst = 0\n");
    let (mut ada, _) = Client::join(address, "r", "ada").await;
    let (mut slow, _) = Client::join(address, "r", "slow").await;
    let (mut bob, _) = Client::join(address, "r", "bob").await;
    let frame = format!(r#"{{"type":"message","data":"{}"}}"#, "x".repeat(20_000));
    let mut received = 0;
    loop {
        ada.send(&frame).await;
        let next = bob.next().await;
        if next["type"] == "user-left" {
            assert_eq!(next["senderID"], "slow");
            break;
        }
        received += 1;
        assert!(received < 5000, "the slow member is not disconnected");
    }
    assert_eq!(ada.next_of("user-left").await["senderID"], "slow");
    // The close frame follows the data in the socket buffer, unless the server timed out while sending it.
    assert!(matches!(slow.close_code_if_any().await, Some(1013) | None));
}

#[tokio::test]
async fn connections_are_limited_in_total_and_per_address() {
    let (_server, address) = start("[limits]\nconnections = 2\n");
    let _two = (
        Client::open(address, "/ws").await,
        Client::open(address, "/ws").await,
    );
    assert_eq!(rejected_status(request(address, "/ws")).await, 503);

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
        .expect("the first connection of its address");
    assert_eq!(rejected_status(from("192.0.2.1")).await, 429);
    let _other = Client::try_open(from("192.0.2.2"))
        .await
        .expect("another address");
    // Loopback addresses have no limit per address.
    let _locals = (
        Client::open(address, "/ws").await,
        Client::open(address, "/ws").await,
    );
    drop(first);
    let reconnected = async {
        while Client::try_open(from("192.0.2.1")).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(TEST_TIMEOUT, reconnected)
        .await
        .expect("the permit is released");
}

#[tokio::test]
async fn tcp_connections_are_limited_over_all_listeners_and_counted() {
    let (server, first_address) = start("[limits]\nconnections = 2\nhandshake_secs = 0\n");
    let (_server, other_address) = serve(server);
    let mut held = Vec::new();
    for _ in 0..2 + RESERVED_FOR_REQUESTS {
        held.push(
            TcpStream::connect(first_address)
                .await
                .expect("a connection"),
        );
    }
    // Each listener accepts in order, so all earlier connections are accepted when this one is rejected.
    for address in [first_address, other_address] {
        let response = get(address, "/ice-servers").await;
        assert!(response.starts_with("HTTP/1.1 503"), "{response:?}");
    }
    // The limit covers the listeners for clients, not the internal one.
    let metrics = metrics(first_address).await;
    assert!(
        metrics.contains("\nswitchboard_connections_refused_total 2\n"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_request_head_that_is_not_completed_times_out() {
    let (_server, address) = start("[limits]\nhandshake_secs = 1\n");
    let response = http(address, "GET /ws HTTP/1.1\r\nHost: x\r\n").await;
    assert!(
        response.is_empty() || response.starts_with("HTTP/1.1 4"),
        "{response}"
    );
}

#[tokio::test]
async fn a_client_without_a_first_frame_gets_an_error_and_is_closed() {
    let (_server, address) = start("[limits]\nfirst_frame_secs = 1\n[p2p]\nidentify_secs = 1\n");
    for (path, kind) in [
        ("/ws", "error"),
        ("/connect", "error"),
        ("/ws?dialect=p2p", "AUTH_ERROR"),
    ] {
        let mut client = Client::open(address, path).await;
        assert_eq!(client.next_of(kind).await["type"], kind);
        assert_eq!(client.close_code().await, 1008, "{path}");
    }
}

#[tokio::test]
async fn an_unresponsive_client_is_removed_by_the_heartbeat() {
    let (_server, address) = start("[heartbeat]\nping = 1\ngone = 2\n");
    let (mut ada, _) = Client::join(address, "r", "ada").await;
    let (unresponsive, _) = Client::join(address, "r", "unresponsive").await;
    assert_eq!(ada.next().await["type"], "user-joined");
    // Ada's client reads, so its library answers pings; the other client does not read.
    assert_eq!(ada.next_of("user-left").await["senderID"], "unresponsive");
    drop(unresponsive);
}

#[tokio::test]
async fn the_holder_of_a_claimed_name_is_challenged() {
    let (_server, address) = start("");
    let mut holder = Client::open(address, "/ws").await;
    let identify = r#"{"type":"IDENTIFY","username":"ada"}"#;
    holder.send(identify).await;
    assert_eq!(holder.next().await["type"], "AUTH_SUCCESS");
    // The holder is responsive: its library answers the ping of the challenge while it waits for a frame.
    let mut claimant = Client::open(address, "/ws").await;
    claimant.send(identify).await;
    let rejection = tokio::select! {
        rejection = claimant.next() => rejection,
        frame = holder.next() => panic!("the holder received {frame}"),
    };
    assert_eq!(rejection["message"], "Username already taken.");
    assert_eq!(claimant.close_code().await, 1008);
    // The holder is unresponsive: its socket is not read any more.
    let mut claimant = Client::open(address, "/ws").await;
    claimant.send(identify).await;
    assert_eq!(claimant.next().await["type"], "AUTH_SUCCESS");
    drop(holder);
}

#[tokio::test]
async fn a_join_of_a_full_room_is_rejected_and_a_join_of_another_room_is_accepted() {
    let (_server, address) = start("[limits]\nroom_members = 2\n");
    let (_ada, _) = Client::join(address, "r", "ada").await;
    let (_eve, _) = Client::join(address, "r", "eve").await;
    let mut bob = Client::open(address, "/ws").await;
    bob.send(r#"{"type":"join","roomID":"r","senderID":"bob"}"#)
        .await;
    assert_eq!(bob.next().await["code"], "room-full");
    bob.send(r#"{"type":"join","roomID":"other","senderID":"bob"}"#)
        .await;
    assert_eq!(bob.next().await["peers"], json!([]));
}

#[tokio::test]
async fn a_shutdown_closes_connections_with_1012_and_ends() {
    let (server, address) = start("");
    let (mut ada, _) = Client::join(address, "r", "ada").await;
    let stopped = tokio::spawn(async move { server.shutdown(Duration::from_secs(10)).await });
    assert_eq!(ada.close_code().await, 1012);
    drop(ada);
    assert!(
        stopped.await.expect("the task has panicked"),
        "all connections have ended in time"
    );
    assert!(
        TcpStream::connect(address).await.is_err(),
        "the listener is closed"
    );
}

#[tokio::test]
async fn a_shutdown_waits_for_plain_requests() {
    let (server, address) = start("");
    assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
    assert!(server.shutdown(Duration::from_secs(10)).await);
}

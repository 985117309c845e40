//! Clients that read slowly or not at all, and the answer to a close frame.

use std::{net::SocketAddr, time::Duration};

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, protocol::CloseFrame},
};

use crate::client::{Client, TEST_TIMEOUT, metrics, request, start};

const IDENTIFY: &str = r#"{"type":"IDENTIFY","username":"ada"}"#;
const JOIN: &str = r#"{"type":"JOIN_ROOM","roomId":"r"}"#;

/// A client with a small receive buffer.
async fn connect_with_small_buffer(address: SocketAddr) -> WebSocketStream<TcpStream> {
    connect_with_small_buffer_at(address, "/ws").await
}

async fn connect_with_small_buffer_at(
    address: SocketAddr,
    path: &str,
) -> WebSocketStream<TcpStream> {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let stream = socket.connect(address).await.expect("a connection");
    client_async(request(address, path), stream)
        .await
        .expect("an upgrade")
        .0
}

#[tokio::test]
async fn a_client_with_a_full_downlink_keeps_its_name_while_it_sends_pongs() {
    let (_server, address) = start("");
    let mut ada = connect_with_small_buffer(address).await;
    for frame in [IDENTIFY, JOIN] {
        ada.send(Message::text(frame))
            .await
            .expect("the server reads");
        ada.next().await.expect("an answer").expect("a frame");
    }
    let mut bob = Client::open(address, "/ws").await;
    bob.send(r#"{"type":"IDENTIFY","username":"bob"}"#).await;
    bob.next().await;
    bob.send(JOIN).await;
    let ada_id = bob.next().await["members"][0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let filler = "x".repeat(200_000);
    for _ in 0..4 {
        bob.send(&format!(
            r#"{{"type":"SDP_OFFER","toPeerId":"{ada_id}","sdp":{{"type":"offer","sdp":"{filler}"}}}}"#
        ))
        .await;
    }
    let pongs = async {
        loop {
            ada.send(Message::Pong(Vec::new().into()))
                .await
                .expect("the server reads on");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let mut claimant = Client::open(address, "/ws").await;
    claimant.send(IDENTIFY).await;
    let rejection = tokio::select! {
        rejection = claimant.next() => rejection,
        () = pongs => unreachable!("the loop does not end"),
    };
    assert_eq!(rejection["message"], "Username already taken.");
}

#[tokio::test]
async fn a_close_frame_is_answered() {
    let (_server, address) = start("");
    for path in ["/ws", "/connect"] {
        let stream = TcpStream::connect(address).await.expect("a connection");
        let (mut client, _) = client_async(request(address, path), stream)
            .await
            .expect("an upgrade");
        let frame = CloseFrame {
            code: 1000.into(),
            reason: "bye".into(),
        };
        client.close(Some(frame)).await.expect("the server reads");
        let answered = async {
            while let Some(message) = client.next().await {
                if let Ok(Message::Close(Some(frame))) = message {
                    return u16::from(frame.code);
                }
            }
            0
        };
        assert_eq!(
            tokio::time::timeout(TEST_TIMEOUT, answered)
                .await
                .expect("in time"),
            1000
        );
    }
}

#[tokio::test]
async fn a_client_that_sends_to_itself_without_reading_is_disconnected() {
    let (_server, address) = start("[limits]\nframes_per_second = 0\n");
    let mut ada = connect_with_small_buffer_at(address, "/y-webrtc").await;
    let subscribe = r#"{"type":"subscribe","topics":["own"]}"#;
    ada.send(Message::text(subscribe))
        .await
        .expect("the server reads");
    let data = "x".repeat(200_000);
    let publish = format!(r#"{{"type":"publish","topic":"own","data":"{data}"}}"#);
    // More than the socket buffers of a connection.
    let mut accepted = 0;
    while accepted < 300 && ada.send(Message::text(publish.clone())).await.is_ok() {
        accepted += 1;
    }
    assert!(accepted < 300, "the server accepted 60 MB");
    let metrics = metrics(address).await;
    assert!(
        metrics.contains("\nswitchboard_slow_total 1\n"),
        "{metrics}"
    );
}

//! The WebSocket protocol, byte by byte: handshakes, fragments and protocol errors.

use std::{net::SocketAddr, time::Duration};

use axum::Router;
use switchboard::Server;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::client::{Client, TEST_TIMEOUT, metrics, request, start};

/// A client that sends arbitrary bytes.
pub(crate) struct RawClient(TcpStream);

impl RawClient {
    /// Sends a handshake with additional headers. Returns the client and the head of the response.
    pub(crate) async fn handshake(
        address: SocketAddr,
        path: &str,
        additional: &str,
    ) -> (Self, String) {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{additional}\r\n"
        );
        let sent = stream.write_all(head.as_bytes()).await;
        sent.expect("the server reads");
        let mut client = Self(stream);
        let response = client.head().await;
        (client, response)
    }

    async fn head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            head.push(self.read(1).await[0].into());
        }
        head
    }

    pub(crate) async fn open(address: SocketAddr, path: &str) -> Self {
        let (client, response) = Self::handshake(address, path, "Connection: Upgrade\r\n").await;
        assert!(response.starts_with("HTTP/1.1 101"), "{response}");
        client
    }

    /// Sends bytes. Returns false if the connection is closed.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).await.is_ok()
    }

    async fn read(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let read = timeout(TEST_TIMEOUT, self.0.read_exact(&mut bytes)).await;
        read.expect("bytes in time").expect("the socket is open");
        bytes
    }

    /// The first byte of the next short frame, and its payload.
    async fn frame(&mut self) -> (u8, Vec<u8>) {
        let head = self.read(2).await;
        let length = match head[1] {
            126 => {
                let length = self.read(2).await;
                u16::from_be_bytes([length[0], length[1]]).into()
            }
            short => usize::from(short),
        };
        (head[0], self.read(length).await)
    }

    /// Skips frames until the close frame. Returns its code and reason.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        loop {
            if let (0x88, payload) = self.frame().await {
                let reason = String::from_utf8(payload[2..].to_vec());
                let code = u16::from_be_bytes([payload[0], payload[1]]);
                return (code, reason.expect("text"));
            }
        }
    }
}

/// A masked frame; the mask is zero. `first` is its first byte: 0x80 for the last fragment, plus the opcode (0
/// continuation, 1 text, 8 close, 9 ping, 10 pong).
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("a short payload");
    let length = match length {
        0..=125 => vec![0x80 | length.to_be_bytes()[1]],
        _ => [vec![0x80 | 126], length.to_be_bytes().to_vec()].concat(),
    };
    [&[first][..], &length, &[0; 4], payload].concat()
}

async fn metric(address: SocketAddr, name: &str) -> u64 {
    let metrics = metrics(address).await;
    let line = format!("\nswitchboard_{name} ");
    let (_, value) = metrics.split_once(&line).expect("the metric");
    let (value, _) = value.split_once('\n').expect("a line");
    value.parse().expect("a number")
}

async fn await_metric(address: SocketAddr, name: &str, value: u64) {
    let reached = async {
        while metric(address, name).await != value {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(TEST_TIMEOUT, reached).await.expect(name);
}

#[tokio::test]
async fn connection_options_may_be_split_over_several_headers() {
    let (server, own_address) = start("");
    let host_listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let host_listener = host_listener.expect("a free port");
    let host_address = host_listener.local_addr().expect("bound");
    let app = Router::new().nest("/nested", server.router());
    tokio::spawn(async move { axum::serve(host_listener, app).await });
    for (address, path) in [
        (own_address, "/ws"),
        (own_address, "/y-webrtc"),
        (host_address, "/nested/ws"),
    ] {
        let options = "Connection: keep-alive\r\nConnection: Upgrade\r\n";
        let (mut client, response) = RawClient::handshake(address, path, options).await;
        assert!(response.starts_with("HTTP/1.1 101"), "{path}: {response}");
        assert!(
            response.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            "the example of RFC 6455: {response}"
        );
        client.send(&frame(0x89, b"there?")).await;
        assert_eq!(client.frame().await, (0x8A, b"there?".to_vec()), "{path}");
    }
}

#[tokio::test]
async fn a_client_that_offers_subprotocols_gets_one_of_them() {
    let (_server, address) = start("");
    for path in [
        "/ws",
        "/connect",
        "/signalingserver",
        "/signaling",
        "/matchbox/r",
        "/peerjs?key=peerjs&id=a&token=t",
        "/y-webrtc",
        "/ws?dialect=mesh",
    ] {
        let mut request = request(address, path);
        let offers = "auth, tok".parse().expect("a header");
        request
            .headers_mut()
            .insert("sec-websocket-protocol", offers);
        // Like browsers, the client library fails if no subprotocol is selected.
        assert!(Client::try_open(request).await.is_ok(), "{path}");
        let options = "Connection: Upgrade\r\nSec-WebSocket-Protocol: auth, tok\r\n";
        let (_client, response) = RawClient::handshake(address, path, options).await;
        assert!(
            response.contains("\r\nsec-websocket-protocol: auth\r\n"),
            "{path}: {response}"
        );
    }
}

#[tokio::test]
async fn a_protocol_error_gets_its_close_code_and_is_counted() {
    let (_server, address) = start("");
    for (path, bytes, code, reason) in [
        ("/ws", b"\x81\x02{}".to_vec(), 1002, "masked"),
        ("/connect", frame(0xC1, b"{}"), 1002, "reserved"),
        ("/y-webrtc", frame(0x83, b"{}"), 1002, "opcode"),
        ("/signaling", frame(0x80, b"{}"), 1002, "continuation"),
        ("/ws", frame(0x81, b"\xff"), 1007, "UTF-8"),
    ] {
        let mut client = RawClient::open(address, path).await;
        assert!(client.send(&bytes).await);
        let (closed, message) = client.closed().await;
        assert_eq!(closed, code, "{path}: {message}");
        assert!(message.contains(reason), "{path}: {message}");
    }
    assert_eq!(metric(address, "protocol_errors_total").await, 5);
}

#[tokio::test]
async fn buffered_bytes_of_an_unfinished_message_are_counted() {
    let (_server, address) = start("");
    let mut finishing = RawClient::open(address, "/ws").await;
    let mut leaving = RawClient::open(address, "/ws").await;
    finishing.send(&frame(0x01, &[b' '; 1000])).await;
    // A head of 8 bytes and 500 of 600 bytes.
    leaving.send(&frame(0x81, &[b' '; 600])[..508]).await;
    await_metric(address, "unfinished_bytes", 1500).await;
    finishing.send(&frame(0x80, b"{}")).await;
    await_metric(address, "unfinished_bytes", 500).await;
    drop(leaving);
    await_metric(address, "unfinished_bytes", 0).await;
}

#[tokio::test]
async fn empty_fragments_are_counted_by_the_frame_rate_limit() {
    let limits = "[limits]\nframes_per_second = 1\nframes_burst = 5\n";
    let (_server, address) = start(limits);
    let mut client = RawClient::open(address, "/ws").await;
    client.send(&frame(0x01, b"")).await;
    for _ in 0..5 {
        client.send(&frame(0x00, b"")).await;
    }
    await_metric(address, "paused_total", 1).await;
}

#[tokio::test]
async fn a_frame_in_the_same_packet_as_the_handshake_is_read() {
    let (_server, address) = start("");
    let mut client = RawClient(TcpStream::connect(address).await.expect("a connection"));
    let head = "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let bytes = [head.as_bytes(), &frame(0x89, b"early")].concat();
    assert!(client.send(&bytes).await);
    client.head().await;
    assert_eq!(client.frame().await, (0x8A, b"early".to_vec()));
}

#[tokio::test]
async fn a_fragmented_message_may_be_interleaved_with_control_frames() {
    let server = Server::builder().build().expect("valid settings");
    let (_server, address) = crate::client::serve(server);
    let mut client = RawClient::open(address, "/ws").await;
    let join = br#"{"type":"join","roomID":"r","senderID":"ada"}"#;
    let (first, rest) = join.split_at(20);
    let frames = [
        frame(0x01, first),
        frame(0x89, b"!"),
        frame(0x00, b""),
        frame(0x80, rest),
    ];
    for bytes in frames.concat().chunks(3) {
        assert!(client.send(bytes).await);
    }
    assert_eq!(client.frame().await, (0x8A, b"!".to_vec()));
    let (first, peers) = client.frame().await;
    let peers = String::from_utf8(peers).expect("text");
    assert_eq!(first, 0x81);
    assert!(peers.contains(r#""type":"peers""#), "{peers}");
}

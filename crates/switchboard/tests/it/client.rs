//! Helpers: a server on a free port, and clients that send and receive frames as text.

use std::{collections::BTreeMap, net::SocketAddr, sync::Mutex, time::Duration};

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use switchboard::{Builder, Config, Listener, Server, config::ConfigError};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest, handshake::client::Request},
};

use crate::nodes::SharedEngine;

/// The time limit of each wait in a test.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// TCP connections that the server accepts for plain requests, beyond `limits.connections`.
pub(crate) const RESERVED_FOR_REQUESTS: usize = 256;

/// TCP connections that the server accepts for health probes only, beyond all others.
pub(crate) const RESERVED_FOR_PROBES: usize = 64;

pub(crate) fn config(toml: &str) -> Config {
    let mut config = Config::default();
    assert_eq!(config.read_toml("test", toml), Vec::<ConfigError>::new());
    config
}

/// Starts a server on a free loopback port until the test ends.
pub(crate) fn start(toml: &str) -> (Server, SocketAddr) {
    open(Server::builder().config(config(toml)))
}

/// Starts a server on a free loopback port; if `SWITCHBOARD_TEST_NODES` is set, a cluster as in
/// [`open_second_of_two_nodes`].
pub(crate) fn open(builder: Builder) -> (Server, SocketAddr) {
    match std::env::var_os("SWITCHBOARD_TEST_NODES") {
        None => serve(builder.build().expect("valid settings")),
        Some(_) => open_second_of_two_nodes(builder),
    }
}

/// Starts two nodes and returns the second. The first is the voice leader: it does the work of all voice rooms, and the
/// second forwards voice requests to it.
pub(crate) fn open_second_of_two_nodes(builder: Builder) -> (Server, SocketAddr) {
    let nodes = SharedEngine::new();
    let first = nodes.serve(builder.clone());
    let second = nodes.serve(builder);
    SharedEngine::link_nodes(first.address, second.address);
    (second.server, second.address)
}

/// Serves on a free loopback port until the test ends.
pub(crate) fn serve(server: Server) -> (Server, SocketAddr) {
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let address = listener.address();
    // An earlier test may have used this port for the second node of a cluster.
    SharedEngine::unlink_node(address);
    serve_internal(&server, address);
    server.serve(listener);
    (server, address)
}

/// The addresses of the internal listeners of all test servers, by the address of their main listener.
static INTERNAL: Mutex<BTreeMap<SocketAddr, SocketAddr>> = Mutex::new(BTreeMap::new());

/// Serves the internal listener of the server whose main listener has this address.
pub(crate) fn serve_internal(server: &Server, address: SocketAddr) {
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let internal = listener.address();
    let mut addresses = INTERNAL.lock().expect("not poisoned");
    addresses.insert(address, internal);
    server.serve_internal(listener);
}

/// The address of the internal listener of the server whose main listener has this address.
pub(crate) fn internal_address(address: SocketAddr) -> SocketAddr {
    let addresses = INTERNAL.lock().expect("not poisoned");
    *addresses.get(&address).expect("an internal listener")
}

/// The response with the metrics of the server whose main listener has this address.
pub(crate) async fn metrics(address: SocketAddr) -> String {
    let head = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    http(internal_address(address), head).await
}

/// A WebSocket client of any dialect.
pub(crate) struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    pub(crate) async fn open(address: SocketAddr, path: &str) -> Self {
        Self::try_open(request(address, path))
            .await
            .expect("an upgrade")
    }

    pub(crate) async fn try_open(request: Request) -> Result<Self, Error> {
        connect_async(request).await.map(|(socket, _)| Self(socket))
    }

    /// Joins `room` in the `lightstream` dialect. Returns the ids of the other members.
    pub(crate) async fn join(address: SocketAddr, room: &str, id: &str) -> (Self, Value) {
        let mut client = Self::open(address, "/ws").await;
        client
            .send(&format!(
                r#"{{"type":"join","roomID":"{room}","senderID":"{id}"}}"#
            ))
            .await;
        let peers = client.next().await;
        assert_eq!(peers["type"], "peers", "{peers}");
        (client, peers["peers"].clone())
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.0
            .send(Message::text(text))
            .await
            .expect("the server reads");
    }

    /// Closes the connection with a close frame, and waits for the close frame of the server.
    pub(crate) async fn close(mut self) {
        self.0.close(None).await.expect("the server reads");
        while let Ok(Some(Ok(_))) = tokio::time::timeout(TEST_TIMEOUT, self.0.next()).await {}
    }

    /// Ends the connection by a TCP reset.
    pub(crate) fn reset(self) {
        if let MaybeTlsStream::Plain(stream) = self.0.get_ref() {
            stream.set_zero_linger().expect("a socket");
        }
    }

    /// The next JSON frame.
    pub(crate) async fn next(&mut self) -> Value {
        match self.message().await {
            Ok(Message::Text(text)) => serde_json::from_str(&text).expect("JSON"),
            other => panic!("expected a text frame, received {other:?}"),
        }
    }

    /// The next frame with this `type` (in `mesh`: `kind`), skipping others.
    pub(crate) async fn next_of(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.next().await;
            if frame["type"] == kind || frame["kind"] == kind {
                return frame;
            }
        }
    }

    /// The close code of the server, skipping earlier frames.
    pub(crate) async fn close_code(&mut self) -> u16 {
        self.close_frame().await.0
    }

    /// The close code and reason of the server, skipping earlier frames.
    pub(crate) async fn close_frame(&mut self) -> (u16, String) {
        loop {
            match self.message().await {
                Ok(Message::Close(Some(frame))) => {
                    return (frame.code.into(), frame.reason.to_string());
                }
                Ok(_) => {}
                other => panic!("expected a close frame, received {other:?}"),
            }
        }
    }

    /// The close code; `None` if the connection ended without a close frame.
    pub(crate) async fn close_code_if_any(&mut self) -> Option<u16> {
        loop {
            match tokio::time::timeout(TEST_TIMEOUT, self.0.next())
                .await
                .expect("an end in time")
            {
                Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }

    async fn message(&mut self) -> Result<Message, Error> {
        loop {
            let message = tokio::time::timeout(TEST_TIMEOUT, self.0.next())
                .await
                .expect("a frame in time");
            match message.expect("the socket is open") {
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                other => return other,
            }
        }
    }
}

pub(crate) fn request(address: SocketAddr, path: &str) -> Request {
    format!("ws://{address}{path}")
        .into_client_request()
        .expect("a request")
}

/// The status of a rejected upgrade.
pub(crate) async fn rejected_status(request: Request) -> u16 {
    match Client::try_open(request).await {
        Err(Error::Http(response)) => response.status().as_u16(),
        Err(other) => panic!("expected a rejected upgrade, not {other:?}"),
        Ok(_) => panic!("expected a rejected upgrade, not a connection"),
    }
}

/// Sends the head of a plain HTTP request. Returns all bytes until the server closes the connection.
pub(crate) async fn http(address: SocketAddr, head: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream
        .write_all(head.as_bytes())
        .await
        .expect("the server reads");
    let mut response = Vec::new();
    tokio::time::timeout(TEST_TIMEOUT, stream.read_to_end(&mut response))
        .await
        .expect("an answer in time")
        .expect("an answer");
    String::from_utf8_lossy(&response).into_owned()
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> String {
    http(
        address,
        &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
    )
    .await
}

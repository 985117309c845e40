//! The log of the binary: one line for each step of a connection, with its fields.

use std::{
    io::{BufRead, BufReader, Lines, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, ChildStderr, Command, Stdio},
};

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{self, Message},
};

type LightstreamSocket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

/// A running server, killed if the test fails.
struct LoggingServer {
    child: Child,
    address: SocketAddr,
    log: Lines<BufReader<ChildStderr>>,
}

impl LoggingServer {
    fn start(args: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_switchboard"))
            .args(["--addr", "127.0.0.1", "--port", "0"])
            .args(args)
            .env_remove("PORT")
            .env("SWITCHBOARD_INTERNAL_LISTEN", "")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut banner = BufReader::new(child.stdout.take().expect("piped")).lines();
        let first = banner.next().expect("a line").expect("text");
        let address = match serde_json::from_str::<Value>(&first) {
            Ok(banner) => banner["address"].as_str().map(str::to_owned),
            Err(_) => first
                .rsplit("//")
                .next()
                .and_then(|end| end.rsplit(' ').next())
                .map(str::to_owned),
        };
        let address = address.expect("the address").parse().expect("an address");
        let log = BufReader::new(child.stderr.take().expect("piped")).lines();
        Self {
            child,
            address,
            log,
        }
    }

    /// Starts a server whose log lines are JSON.
    fn json(variables: &[(&str, &str)]) -> Self {
        Self::start(&["--log-format", "json"], variables)
    }

    async fn connect(&self, path: &str) -> Result<LightstreamSocket, tungstenite::Error> {
        let connected = connect_async(format!("ws://{}{path}", self.address)).await;
        connected.map(|(socket, _)| socket)
    }

    /// Connects in the dialect `lightstream` and joins the room `lobby`.
    async fn join(&self, name: &str) -> LightstreamSocket {
        let mut socket = self.connect("/ws").await.expect("a connection");
        let join = serde_json::json!({"type": "join", "roomID": "lobby", "senderID": name});
        let join = Message::text(join.to_string());
        socket.send(join).await.expect("the server reads");
        assert!(socket.next().await.is_some(), "the members of the room");
        socket
    }

    /// The next line of the log with this message, which is JSON.
    fn next_line(&mut self, message: &str) -> Value {
        let lines = self.log.by_ref().map_while(Result::ok);
        let mut lines = lines.map(|line| serde_json::from_str::<Value>(&line).expect("JSON"));
        let found = lines.find(|line| line["message"] == message);
        found.unwrap_or_else(|| panic!("no line {message}"))
    }

    /// Stops the server and returns the rest of the log.
    fn stop(mut self) -> Vec<String> {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.expect("kill runs").success());
        self.log.by_ref().map_while(Result::ok).collect()
    }
}

impl Drop for LoggingServer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test]
async fn a_session_is_one_line_each_for_connect_join_leave_and_disconnect() {
    let mut server = LoggingServer::json(&[]);
    let mut socket = server.join("ada").await;
    let connected = server.next_line("connected");
    assert_eq!(connected["level"], "INFO");
    assert_eq!(connected["client"], "127.0.0.1");
    assert_eq!(connected["dialect"], "undetected");
    let peer = connected["peer"].clone();
    let joined = server.next_line("joined");
    assert_eq!(joined["peer"], peer);
    assert_eq!(joined["dialect"], "lightstream");
    assert_eq!(joined["room"], "lobby");
    assert_eq!(joined["address"], "ada");
    let leave = Message::text(r#"{"type":"leave"}"#);
    socket.send(leave).await.expect("the server reads");
    let left = server.next_line("left");
    assert_eq!(left["peer"], peer);
    assert_eq!(left["room"], "lobby");
    assert_eq!(left["reason"], "requested");
    drop(socket.close(None).await);
    let disconnected = server.next_line("disconnected");
    assert_eq!(disconnected["peer"], peer);
    assert_eq!(disconnected["client"], "127.0.0.1");
    assert_eq!(disconnected["dialect"], "lightstream");
    assert_eq!(disconnected["reason"], "closed by the client");
    assert!(disconnected["seconds"].as_f64() > Some(0.0));
    assert_eq!(disconnected.get("code"), None);
    for line in server.stop() {
        assert!(!line.contains(peer.as_str().expect("text")), "{line}");
    }
}

#[tokio::test]
async fn disconnects_by_a_reset_a_limit_and_a_shutdown_are_logged_with_their_reasons() {
    let mut server = LoggingServer::json(&[]);
    drop(server.join("ada").await);
    assert_eq!(server.next_line("left")["reason"], "requested");
    let disconnected = server.next_line("disconnected");
    assert_eq!(disconnected["reason"], "reset by the client");
    let mut socket = server.join("grace").await;
    let too_large = Message::Text("x".repeat(2_000_000).into());
    drop(socket.send(too_large).await);
    let disconnected = server.next_line("disconnected");
    assert_eq!(disconnected["reason"], "frame too large");
    assert_eq!(disconnected["code"], 1009);
    let _socket = server.join("ada").await;
    server.next_line("joined");
    let rest = server.stop();
    let end = rest.iter().find(|line| line.contains("disconnected"));
    assert!(end.is_some_and(|line| line.contains("1012")), "{rest:?}");
}

#[tokio::test]
async fn refused_connections_are_one_line_per_address_with_the_first_reason() {
    let mut server = LoggingServer::json(&[
        ("SWITCHBOARD_LIMITS_CONNECTIONS", "2"),
        ("SWITCHBOARD_LIMITS_CONNECTIONS_PER_ADDRESS", "2"),
    ]);
    let _sockets = [server.join("ada").await, server.join("grace").await];
    for _ in 0..3 {
        assert!(server.connect("/ws").await.is_err());
    }
    let refused = server.next_line("connection refused");
    assert_eq!(refused["level"], "INFO");
    assert_eq!(refused["client"], "127.0.0.1");
    assert_eq!(refused["reason"], "limits.connections");
    assert_eq!(refused["count"], 1);
    let rest = server.stop();
    let is_refused = |line: &&String| line.contains("connection refused");
    assert_eq!(rest.iter().find(is_refused), None);
}

#[test]
fn rejected_voice_requests_are_one_line_per_address() {
    let mut server = LoggingServer::json(&[]);
    for _ in 0..5 {
        let mut stream = TcpStream::connect(server.address).expect("a connection");
        let request = b"GET /newCall HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        stream.write_all(request).expect("the server reads");
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("text");
        assert!(response.starts_with("HTTP/1.1 4"), "{response}");
    }
    let rejected = server.next_line("voice request rejected");
    assert_eq!(rejected["level"], "INFO");
    assert_eq!(rejected["client"], "127.0.0.1");
    assert_eq!(rejected["endpoint"], "NewCall");
    assert_eq!(rejected["count"], 1);
    let rest = server.stop();
    let is_rejected = |line: &&String| line.contains("voice request rejected");
    assert_eq!(rest.iter().find(is_rejected), None);
}

#[tokio::test]
async fn a_refused_dialect_and_failed_handshakes_are_logged_with_their_reasons() {
    let server = |variables: &[_]| LoggingServer::json(variables);
    let mut no_singo = server(&[("SWITCHBOARD_SINGO_ENABLED", "false")]);
    assert!(no_singo.connect("/ws?dialect=singo").await.is_err());
    let refused = no_singo.next_line("connection refused");
    assert_eq!(refused["reason"], "unknown or disabled dialect");

    let mut plain = server(&[]);
    let mut stream = TcpStream::connect(plain.address).expect("a connection");
    let request = b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request).expect("the server reads");
    drop(stream.read_to_end(&mut Vec::new()));
    let refused = plain.next_line("connection refused");
    assert_eq!(refused["reason"], "no valid WebSocket handshake");

    let args = ["--log-format", "json", "--tls-self-signed"];
    let mut tls = LoggingServer::start(&args, &[]);
    let mut stream = TcpStream::connect(tls.address).expect("a connection");
    stream.write_all(&[22; 64]).expect("the server reads");
    drop(stream.read_to_end(&mut Vec::new()));
    let refused = tls.next_line("connection refused");
    assert_eq!(refused["reason"], "TLS handshake failed");
}

#[tokio::test]
async fn names_of_clients_cannot_forge_log_lines_and_are_truncated() {
    let name = format!("eve\n2026 INFO joined\u{1b}[31m{}", "x".repeat(300));
    for format in ["text", "json"] {
        let server = LoggingServer::start(&["--log-format", format], &[]);
        drop(server.join(&name).await);
        let log = server.stop();
        let joined = log.iter().find(|line| line.contains(r"eve\n"));
        let joined = joined.expect("the join is logged");
        assert!(joined.contains(r"eve\n2026 INFO joined"), "{joined}");
        assert!(!joined.contains('\u{1b}'), "{joined}");
        assert!(!joined.contains(&"x".repeat(128)), "{joined}");
        assert!(log.iter().all(|line| !line.starts_with("2026 INFO")));
    }
}

#[tokio::test]
async fn debug_lines_are_in_the_span_of_their_connection() {
    let mut server = LoggingServer::start(&["--log-format", "json", "--log-level", "debug"], &[]);
    let _socket = server.join("ada").await;
    let joined = server.next_line("joined");
    let span = &joined["span"];
    assert_eq!(span["name"], "connection");
    assert_eq!(span["client"], "127.0.0.1");
    assert_eq!(span["peer"], joined["peer"]);
    assert_eq!(span["dialect"], "lightstream");
    assert_eq!(span["room"], "lobby");
}

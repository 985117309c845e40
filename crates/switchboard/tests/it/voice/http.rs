//! A minimal HTTP client. It tells a complete response from one whose connection broke off, which other clients hide.

use std::{net::SocketAddr, time::Instant};

use form_urlencoded::Serializer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::{client::TEST_TIMEOUT, nodes::SharedEngine};

const BOUNDARY: &str = "----WebKitFormBoundaryX";

/// A request; each is sent on its own connection.
#[derive(Clone, Debug)]
pub(super) struct HttpRequest {
    method: &'static str,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    receive_buffer: Option<u32>,
}

/// A response whose body is not read yet.
#[derive(Debug)]
pub(super) struct HttpResponse {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Body,
    /// When the request was sent.
    pub(super) sent_at: Instant,
    /// When the head of the response was received.
    pub(super) head_at: Instant,
}

/// A body, read in parts.
#[derive(Debug)]
pub(super) struct Body {
    stream: TcpStream,
    buffer: Vec<u8>,
    framing: Framing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Chunked,
    Length(usize),
    Empty,
}

/// The next part of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BodyPart {
    Bytes(Vec<u8>),
    /// The body is complete: its last chunk or all of its length was received.
    End,
    /// The connection ended within the body.
    Cut,
}

impl HttpRequest {
    pub(super) fn new(method: &'static str, target: impl Into<String>) -> Self {
        Self {
            method,
            target: target.into(),
            headers: Vec::new(),
            body: Vec::new(),
            receive_buffer: None,
        }
    }

    pub(super) fn get(target: impl Into<String>) -> Self {
        Self::new("GET", target)
    }

    pub(super) fn post(target: impl Into<String>) -> Self {
        Self::new("POST", target)
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a URL-encoded form.
    pub(super) fn url_encoded(self, text: impl Into<String>) -> Self {
        let form = self.header("Content-Type", "application/x-www-form-urlencoded");
        form.body(text.into())
    }

    /// Adds a multipart form with the boundary of a browser.
    pub(super) fn multipart(self, pairs: &[(String, String)]) -> Self {
        let field = |(name, value): &(String, String)| {
            format!(
                "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
            )
        };
        let fields: String = pairs.iter().map(field).collect();
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        let form = self.header("Content-Type", &kind);
        form.body(format!("{fields}--{BOUNDARY}--\r\n"))
    }

    pub(super) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Makes the receive buffer of the connection small: if the client does not read, the server soon cannot send.
    pub(super) fn small_receive_buffer(mut self) -> Self {
        self.receive_buffer = Some(4096);
        self
    }

    pub(super) async fn send(self, address: SocketAddr) -> HttpResponse {
        let sent_at = Instant::now();
        let mut stream = connect(address, self.receive_buffer).await;
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: voice\r\n",
            self.method, self.target
        );
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.body.is_empty() || self.method == "POST" {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        let request = [head.as_bytes(), &self.body].concat();
        stream
            .write_all(&request)
            .await
            .expect("cannot send to the server");
        HttpResponse::read(stream, sent_at).await
    }

    /// Sends the request. Returns the status and the whole text of the response.
    pub(super) async fn text(self, address: SocketAddr) -> (u16, String) {
        let answer = self.send(address).await;
        (answer.status, answer.text().await)
    }

    pub(super) async fn status(self, address: SocketAddr) -> u16 {
        self.send(address).await.status
    }
}

pub(super) async fn connect(address: SocketAddr, receive_buffer: Option<u32>) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("cannot create a socket");
    if let Some(bytes) = receive_buffer {
        socket
            .set_recv_buffer_size(bytes)
            .expect("cannot set the size of the receive buffer");
    }
    let stream = socket.connect(address).await.expect("cannot connect");
    stream.set_nodelay(true).expect("cannot set TCP_NODELAY");
    stream
}

impl HttpResponse {
    /// Reads the head of a response from this connection.
    pub(super) async fn read(mut stream: TcpStream, sent_at: Instant) -> Self {
        let mut buffer = Vec::new();
        let end = loop {
            if let Some(at) = find(&buffer, b"\r\n\r\n") {
                break at;
            }
            let count = timeout(TEST_TIMEOUT, stream.read_buf(&mut buffer)).await;
            let count = count
                .expect("timeout: no response")
                .expect("cannot read the response");
            assert_ne!(
                count,
                0,
                "the connection ended within the head of the response: {:?}",
                String::from_utf8_lossy(&buffer)
            );
        };
        let head = String::from_utf8(buffer[..end].to_vec())
            .expect("the head of the response is not UTF-8");
        buffer.drain(..end + 4);
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let status = status
            .and_then(|status| status.parse().ok())
            .expect("the response has no status");
        let pair = |line: &str| {
            let (name, value) = line.split_once(": ").expect("a header has no value");
            (name.to_ascii_lowercase(), value.to_owned())
        };
        let mut answer = Self {
            status,
            headers: lines.map(pair).collect(),
            body: Body {
                stream,
                buffer,
                framing: Framing::Empty,
            },
            sent_at,
            head_at: Instant::now(),
        };
        answer.body.framing = answer.framing();
        answer
    }

    fn framing(&self) -> Framing {
        if self.header("transfer-encoding") == Some("chunked") {
            return Framing::Chunked;
        }
        let length = self.header("content-length").map(str::parse);
        length.map_or(Framing::Empty, |length| {
            Framing::Length(length.expect("`content-length` is not a number"))
        })
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.iter();
        let (_, value) = all.find(|(known, _)| known == name)?;
        Some(value)
    }

    /// The text of the whole body.
    pub(super) async fn text(mut self) -> String {
        let mut text = Vec::new();
        loop {
            match self.body.next().await {
                BodyPart::Bytes(bytes) => text.extend(bytes),
                BodyPart::End => return String::from_utf8(text).expect("not UTF-8"),
                BodyPart::Cut => panic!(
                    "the body breaks off after {:?}",
                    String::from_utf8_lossy(&text)
                ),
            }
        }
    }
}

impl Body {
    /// Treats the body as empty, as that of a response to HEAD.
    pub(super) fn skip(&mut self) {
        self.framing = Framing::Empty;
    }

    /// The next part; fails the test after [`TEST_TIMEOUT`].
    pub(super) async fn next(&mut self) -> BodyPart {
        timeout(TEST_TIMEOUT, self.next_without_timeout())
            .await
            .expect("timeout: no further part of the body")
    }

    /// The next part, without a timeout.
    pub(super) async fn next_without_timeout(&mut self) -> BodyPart {
        loop {
            if let Some(part) = self.buffered_part() {
                return part;
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return BodyPart::Cut,
                Ok(_) => {}
            }
        }
    }

    /// The next part if it was received completely.
    fn buffered_part(&mut self) -> Option<BodyPart> {
        match self.framing {
            Framing::Empty | Framing::Length(0) => Some(BodyPart::End),
            Framing::Length(left) => {
                let count = left.min(self.buffer.len());
                self.framing = Framing::Length(left - count);
                (count > 0).then(|| BodyPart::Bytes(self.buffer.drain(..count).collect()))
            }
            Framing::Chunked => {
                let line = find(&self.buffer, b"\r\n")?;
                let length = std::str::from_utf8(&self.buffer[..line])
                    .expect("the length of a chunk is not UTF-8");
                let length =
                    usize::from_str_radix(length, 16).expect("the length of a chunk is not hex");
                let end = line + 2 + length + 2;
                if self.buffer.len() < end {
                    return None;
                }
                let chunk: Vec<u8> = self.buffer.drain(..end).collect();
                if length == 0 {
                    self.framing = Framing::Empty;
                    return Some(BodyPart::End);
                }
                Some(BodyPart::Bytes(chunk[line + 2..end - 2].to_vec()))
            }
        }
    }
}

/// Encodes names and values for a query or a form.
pub(super) fn encoded(pairs: &[(&str, &str)]) -> String {
    Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes
        .windows(pattern.len())
        .position(|window| window == pattern)
}

/// The sum of a metric over all nodes of the cluster of `address`.
pub(super) async fn metric(address: SocketAddr, name: &str) -> u64 {
    let mut sum = 0;
    for node in SharedEngine::cluster_of(address) {
        sum += metric_of(node, name).await;
    }
    sum
}

/// The value of a metric of one node.
pub(super) async fn metric_of(address: SocketAddr, name: &str) -> u64 {
    let text = crate::client::metrics(address).await;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("switchboard_{name} ")));
    value
        .and_then(|value| value.parse().ok())
        .expect("the metric is missing")
}

/// Waits until a metric has this value.
pub(super) async fn wait_for_metric(address: SocketAddr, name: &str, value: u64) {
    let mut last = 0;
    let arrives = async {
        loop {
            last = metric(address, name).await;
            if last == value {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let arrived = timeout(TEST_TIMEOUT, arrives).await;
    assert!(arrived.is_ok(), "{name} is {last}, not {value}");
}

//! HTTP as its bytes are, so that a test sees whether an answer ended or broke off.

use std::{net::SocketAddr, time::Instant};

use form_urlencoded::Serializer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::{client::TEST_TIMEOUT, nodes::SharedEngine};

const BOUNDARY: &str = "----WebKitFormBoundaryX";

/// A request, each on a connection of its own.
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
    /// When the request was sent, and when the head of its answer was there.
    pub(super) asked: Instant,
    pub(super) answered: Instant,
}

/// A body, read piece by piece.
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
    Over,
}

/// The next part of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BodyPart {
    Bytes(Vec<u8>),
    /// The body is whole: its last chunk is there, or all of its length.
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

    /// A form as scripts send it.
    pub(super) fn url_encoded(self, text: impl Into<String>) -> Self {
        let form = self.header("Content-Type", "application/x-www-form-urlencoded");
        form.body(text.into())
    }

    /// A form as browsers send it.
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

    /// A client whose kernel takes next to nothing that it does not read.
    pub(super) fn narrow(mut self) -> Self {
        self.receive_buffer = Some(4096);
        self
    }

    pub(super) async fn send(self, address: SocketAddr) -> HttpResponse {
        let asked = Instant::now();
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
        stream.write_all(&request).await.expect("the server reads");
        HttpResponse::read(stream, asked).await
    }

    /// Status and text of an answer that ends.
    pub(super) async fn text(self, address: SocketAddr) -> (u16, String) {
        let answer = self.send(address).await;
        (answer.status, answer.text().await)
    }

    pub(super) async fn status(self, address: SocketAddr) -> u16 {
        self.send(address).await.status
    }
}

pub(super) async fn connect(address: SocketAddr, receive_buffer: Option<u32>) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    if let Some(bytes) = receive_buffer {
        socket.set_recv_buffer_size(bytes).expect("a buffer");
    }
    let stream = socket.connect(address).await.expect("a connection");
    stream.set_nodelay(true).expect("a setting");
    stream
}

impl HttpResponse {
    /// Reads the head of what is answered on this connection.
    pub(super) async fn read(mut stream: TcpStream, asked: Instant) -> Self {
        let mut buffer = Vec::new();
        let end = loop {
            if let Some(at) = find(&buffer, b"\r\n\r\n") {
                break at;
            }
            let count = timeout(TEST_TIMEOUT, stream.read_buf(&mut buffer)).await;
            let count = count.expect("an answer in time").expect("an answer");
            assert_ne!(
                count,
                0,
                "an answer, not {:?}",
                String::from_utf8_lossy(&buffer)
            );
        };
        let head = String::from_utf8(buffer[..end].to_vec()).expect("a head of text");
        buffer.drain(..end + 4);
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let status = status
            .and_then(|status| status.parse().ok())
            .expect("a status");
        let pair = |line: &str| {
            let (name, value) = line.split_once(": ").expect("a header");
            (name.to_ascii_lowercase(), value.to_owned())
        };
        let mut answer = Self {
            status,
            headers: lines.map(pair).collect(),
            body: Body {
                stream,
                buffer,
                framing: Framing::Over,
            },
            asked,
            answered: Instant::now(),
        };
        answer.body.framing = answer.framing();
        answer
    }

    fn framing(&self) -> Framing {
        if self.header("transfer-encoding") == Some("chunked") {
            return Framing::Chunked;
        }
        let length = self.header("content-length").map(str::parse);
        length.map_or(Framing::Over, |length| {
            Framing::Length(length.expect("a length"))
        })
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.iter();
        let (_, value) = all.find(|(known, _)| known == name)?;
        Some(value)
    }

    /// The body of an answer that ends.
    pub(super) async fn text(mut self) -> String {
        let mut text = Vec::new();
        loop {
            match self.body.next().await {
                BodyPart::Bytes(bytes) => text.extend(bytes),
                BodyPart::End => return String::from_utf8(text).expect("text"),
                BodyPart::Cut => panic!(
                    "the body breaks off after {:?}",
                    String::from_utf8_lossy(&text)
                ),
            }
        }
    }
}

impl Body {
    /// This answer is to a HEAD.
    pub(super) fn has_none(&mut self) {
        self.framing = Framing::Over;
    }

    /// The next piece, which must come in time.
    pub(super) async fn next(&mut self) -> BodyPart {
        timeout(TEST_TIMEOUT, self.any_time())
            .await
            .expect("a piece in time")
    }

    /// The next piece, whenever it comes.
    pub(super) async fn any_time(&mut self) -> BodyPart {
        loop {
            if let Some(piece) = self.ready() {
                return piece;
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return BodyPart::Cut,
                Ok(_) => {}
            }
        }
    }

    /// A piece that is there whole.
    fn ready(&mut self) -> Option<BodyPart> {
        match self.framing {
            Framing::Over | Framing::Length(0) => Some(BodyPart::End),
            Framing::Length(left) => {
                let count = left.min(self.buffer.len());
                self.framing = Framing::Length(left - count);
                (count > 0).then(|| BodyPart::Bytes(self.buffer.drain(..count).collect()))
            }
            Framing::Chunked => {
                let line = find(&self.buffer, b"\r\n")?;
                let length = std::str::from_utf8(&self.buffer[..line]).expect("a length");
                let length = usize::from_str_radix(length, 16).expect("a length in hex");
                let end = line + 2 + length + 2;
                if self.buffer.len() < end {
                    return None;
                }
                let chunk: Vec<u8> = self.buffer.drain(..end).collect();
                if length == 0 {
                    self.framing = Framing::Over;
                    return Some(BodyPart::End);
                }
                Some(BodyPart::Bytes(chunk[line + 2..end - 2].to_vec()))
            }
        }
    }
}

/// Names and values, escaped for a query or a form.
pub(super) fn encoded(pairs: &[(&str, &str)]) -> String {
    Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// The value of one metric, of all nodes that belong together.
pub(super) async fn metric(address: SocketAddr, name: &str) -> u64 {
    let mut sum = 0;
    for node in SharedEngine::cluster_of(address) {
        sum += metric_of(node, name).await;
    }
    sum
}

/// The value of one metric of one node.
pub(super) async fn metric_of(address: SocketAddr, name: &str) -> u64 {
    let (_, text) = HttpRequest::get("/metrics").text(address).await;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("switchboard_{name} ")));
    value
        .and_then(|value| value.parse().ok())
        .expect("a metric")
}

/// Waits until a metric is at this value.
pub(super) async fn metric_is(address: SocketAddr, name: &str, value: u64) {
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

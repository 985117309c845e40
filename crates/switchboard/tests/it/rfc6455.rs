//! The WebSocket protocol (RFC 6455) over sockets: the server has an endpoint that sends each message back, and gets the
//! cases that also test its frame decoder.

use std::net::SocketAddr;

use switchboard::{
    Builder, Server,
    dialect::{
        ClientFrame, Content, Dialect, DialectTraits, Event, Handshake, RequestError, Session,
        SessionOutput,
    },
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    client::{TEST_TIMEOUT, config, open},
    tls,
};

#[path = "../../../switchboard-transport/src/frame/cases/mod.rs"]
mod cases;

use cases::{Answer, Chop, End, RawFrame, Step, WebSocketCase};

/// A dialect that answers a text with the same text. Dialects send no binary frames: it answers a binary message with a
/// text that begins with [`BINARY_MARK`], and has the bytes as hexadecimal digits.
#[derive(Debug)]
struct Echo;

const BINARY_MARK: &[u8] = b"binary:";

static TRAITS: DialectTraits = DialectTraits {
    name: "echo",
    ..DialectTraits::DEFAULT
};

impl Dialect for Echo {
    fn traits(&self) -> &'static DialectTraits {
        &TRAITS
    }

    fn paths(&self) -> &'static [&'static str] {
        &["/echo"]
    }

    fn open(&self, _handshake: &Handshake, _output: &mut SessionOutput) -> Box<dyn Session> {
        Box::new(Self)
    }

    fn parse_content<'a>(&self, _frame: &'a str) -> Option<Content<'a>> {
        None
    }
}

impl Session for Echo {
    fn on_frame(
        &mut self,
        frame: ClientFrame<'_>,
        output: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        output.frames.push(match frame {
            ClientFrame::Text(text) => text.clone(),
            ClientFrame::Binary(bytes) => {
                let answer = expected_text(&Answer::Binary(bytes.to_vec()));
                String::from_utf8_lossy(&answer).into_owned().into()
            }
        });
        Ok(())
    }

    fn on_event(&mut self, _event: &Event, _output: &mut SessionOutput) {}
}

/// The payload with which the server answers.
fn expected_text(answer: &Answer) -> Vec<u8> {
    match answer {
        Answer::Text(payload) | Answer::Pong(payload) => payload.clone(),
        Answer::Binary(bytes) => {
            let digit = |half: u8| char::from_digit(half.into(), 16).expect("below 16") as u8;
            let digits = bytes
                .iter()
                .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
            BINARY_MARK.iter().copied().chain(digits).collect()
        }
    }
}

/// A server without rate limits: the cases test the protocol only.
fn builder() -> Builder {
    let limits = format!(
        "[limits]\nframe_bytes = {}\nframes_per_second = 0\n",
        cases::MESSAGE_BYTES_MAX
    );
    Server::builder().config(config(&limits)).dialect(&Echo)
}

/// A client on a stream.
struct RawClient<S>(S);

impl<S: AsyncRead + AsyncWrite + Unpin> RawClient<S> {
    async fn upgrade(stream: S) -> Self {
        let mut client = Self(stream);
        let head = "GET /echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        client.send(head.as_bytes()).await;
        let mut response = Vec::new();
        while !response.ends_with(b"\r\n\r\n") {
            response.extend(client.read(1).await);
        }
        assert!(response.starts_with(b"HTTP/1.1 101"));
        client
    }

    /// Sends bytes, unless the server has closed the connection already.
    async fn send(&mut self, bytes: &[u8]) {
        if self.0.write_all(bytes).await.is_ok() {
            let _ = self.0.flush().await;
        }
    }

    async fn read(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let read = timeout(TEST_TIMEOUT, self.0.read_exact(&mut bytes)).await;
        read.expect("bytes in time").expect("the stream is open");
        bytes
    }

    /// The opcode and the payload of the next frame of the server. It is whole, not masked, and has the shortest
    /// encoding of its length (sections 5.1 and 5.2).
    async fn frame(&mut self) -> (u8, Vec<u8>) {
        let head = self.read(2).await;
        assert_eq!(head[0] & 0xF0, cases::FIN, "FIN and no reserved bit");
        let (length, shortest) = match head[1] {
            127 => (self.length(8).await, 1 << 16),
            126 => (self.length(2).await, 126),
            short => (short.into(), 0),
        };
        assert!(head[1] & 0x80 == 0, "the server masks no frame");
        assert!(length >= shortest, "the shortest encoding of {length}");
        (head[0] & 0x0F, self.read(length).await)
    }

    async fn length(&mut self, bytes: usize) -> usize {
        let bytes = self.read(bytes).await;
        bytes
            .into_iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(byte))
    }

    /// Checks the whole case.
    async fn check(mut self, case: &WebSocketCase) {
        // A frame that comes in place of an answer that may be missing.
        let mut early = None;
        for step in &case.steps {
            for piece in case.pieces(step) {
                self.send(&piece).await;
            }
            for (index, answer) in step.answers.iter().enumerate() {
                let frame = match early.take() {
                    Some(frame) => frame,
                    None => self.frame().await,
                };
                if !is_answer(answer, &frame) {
                    let may_be_missing = case.may_lose_answers || is_superseded(step, index);
                    assert!(
                        may_be_missing,
                        "{answer:.60?} is missing, got opcode {}",
                        frame.0
                    );
                    early = Some(frame);
                }
            }
        }
        self.check_end(case, early).await;
    }

    /// Checks the close frame of the server, and that the server then closes the stream (section 7.1.1).
    async fn check_end(mut self, case: &WebSocketCase, early: Option<(u8, Vec<u8>)>) {
        let normal = 1000_u16.to_be_bytes().to_vec();
        let closed = match &case.end {
            End::Open => {
                let close = RawFrame::new(cases::FIN | cases::CLOSE, &normal);
                self.send(&close.bytes()).await;
                Some(&normal)
            }
            End::Closed(payload) => Some(payload),
            End::Failed(_) => None,
        };
        let (opcode, payload) = match early {
            Some(frame) => frame,
            None => self.frame().await,
        };
        assert_eq!(opcode, cases::CLOSE, "no other frame after the answers");
        match (closed, &case.end) {
            (Some(expected), _) => assert_eq!(&payload, expected),
            (None, End::Failed(code)) => {
                assert_eq!(payload[..2], code.to_be_bytes(), "the close code");
                assert!((3..=125).contains(&payload.len()), "a reason");
                assert!(
                    std::str::from_utf8(&payload[2..]).is_ok(),
                    "a reason in UTF-8"
                );
            }
            (None, End::Open | End::Closed(_)) => unreachable!("they have a payload"),
        }
        let mut rest = Vec::new();
        let end = timeout(TEST_TIMEOUT, self.0.read_to_end(&mut rest)).await;
        end.expect("an end in time")
            .expect("an end without a reset");
        assert_eq!(rest, b"", "nothing follows the close frame");
    }
}

fn is_answer(answer: &Answer, (opcode, payload): &(u8, Vec<u8>)) -> bool {
    let expected = match answer {
        Answer::Text(_) | Answer::Binary(_) => cases::TEXT,
        Answer::Pong(_) => cases::PONG,
    };
    *opcode == expected && *payload == expected_text(answer)
}

/// Whether the answer is a pong, and another one follows (section 5.5.3).
fn is_superseded(step: &Step, index: usize) -> bool {
    let is_pong = |answer: &Answer| matches!(answer, Answer::Pong(_));
    is_pong(&step.answers[index]) && step.answers[index + 1..].iter().any(is_pong)
}

/// Runs all cases, short ones also octet by octet and as a whole. Each has a connection of its own.
async fn check_all<S, C>(address: SocketAddr, connect: impl Fn(TcpStream) -> C)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    C: Future<Output = S>,
{
    let mut failed = Vec::new();
    for case in cases::all() {
        let bytes: usize = case
            .steps
            .iter()
            .map(|step| case.pieces(step).concat().len())
            .sum();
        let others = if bytes < 500 {
            &[Chop::Bytes(1), Chop::Whole][..]
        } else {
            &[]
        };
        for chop in [case.chop].iter().chain(others) {
            let case = case.in_pieces_of(*chop);
            let stream = TcpStream::connect(address).await.expect("a connection");
            stream.set_nodelay(true).expect("a socket");
            let client = RawClient::upgrade(connect(stream).await).await;
            let name = format!("{} in {chop:?}", case.name);
            // In a task of its own, so that a case that fails does not hide the others.
            let checked = tokio::spawn(async move { client.check(&case).await });
            if checked.await.is_err() {
                failed.push(name);
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[tokio::test]
async fn the_cases_of_the_autobahn_test_suite_have_their_answers() {
    let (_server, address) = open(builder());
    check_all(address, async |stream| stream).await;
}

#[tokio::test]
async fn the_cases_of_the_autobahn_test_suite_have_their_answers_over_tls() {
    let server = builder().build().expect("valid settings");
    let (listener, address) = tls::listener();
    server.serve(listener);
    check_all(address, tls::connect_over).await;
}

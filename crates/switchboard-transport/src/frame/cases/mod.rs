//! Cases of the WebSocket protocol (RFC 6455) as data: the frames of a client, and the answers of a server that sends
//! each message back. A case with a number like `5.3` tests the same property as the case of that number in the
//! Autobahn test suite; the others have names. Sections are those of RFC 6455.
//!
//! The tests of the frame decoder use these cases, and those of the server over sockets.

use std::iter::once;

mod closing;
mod framing;
mod utf8;

/// The FIN bit (section 5.2).
pub(crate) const FIN: u8 = 0x80;

/// The opcodes (section 5.2).
pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xA;

/// The largest message of the server that is tested, in bytes.
pub(crate) const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// The masking key of the client. All its bytes differ, so that a wrong offset is detected.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The cases of all sections.
pub(crate) fn all() -> Vec<WebSocketCase> {
    [framing::cases(), utf8::cases(), closing::cases()].concat()
}

/// A client's connection.
#[derive(Clone, Debug)]
pub(crate) struct WebSocketCase {
    pub(crate) name: String,
    pub(crate) chop: Chop,
    pub(crate) steps: Vec<Step>,
    pub(crate) end: End,
    /// Whether the client's close frame comes so soon that the answers before it may be missing (section 5.5.1).
    pub(crate) may_lose_answers: bool,
}

/// Frames that the client sends at once, and the answers for which it waits before it continues.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) frames: Vec<RawFrame>,
    pub(crate) answers: Vec<Answer>,
}

/// The pieces in which the bytes of a step are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Chop {
    /// One piece for each frame.
    Frames,
    /// All frames in one piece.
    Whole,
    /// Pieces of this number of bytes.
    Bytes(usize),
}

/// An answer of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    /// May be missing if another pong follows in the same step (section 5.5.3).
    Pong(Vec<u8>),
}

/// The end of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The connection is still open after the last answer.
    Open,
    /// The server answers the client's close frame with one of this payload (section 5.5.1).
    Closed(Vec<u8>),
    /// The server fails the connection with this close code (section 7.1.7).
    Failed(u16),
}

/// A frame of the client.
#[derive(Clone, Debug)]
pub(crate) struct RawFrame {
    /// The FIN bit, the reserved bits and the opcode.
    first: u8,
    payload: Vec<u8>,
    length: Length,
    is_masked: bool,
}

/// The encoding of the payload length (section 5.2).
#[derive(Clone, Copy, Debug)]
enum Length {
    Minimal,
    Bits16,
    Bits64,
    /// 64 bits with this length, of which no payload is sent.
    Announced(u64),
}

impl RawFrame {
    pub(crate) fn new(first: u8, payload: impl AsRef<[u8]>) -> Self {
        Self {
            first,
            payload: payload.as_ref().to_vec(),
            length: Length::Minimal,
            is_masked: true,
        }
    }

    fn unmasked(self) -> Self {
        let is_masked = false;
        Self { is_masked, ..self }
    }

    fn with_length(self, length: Length) -> Self {
        Self { length, ..self }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.first];
        bytes.extend(self.encoded_length());
        if self.is_masked {
            bytes[1] |= 0x80;
            bytes.extend(MASK);
            let masked = self.payload.iter().zip(MASK.iter().cycle());
            bytes.extend(masked.map(|(byte, mask)| byte ^ mask));
        } else {
            bytes.extend(&self.payload);
        }
        bytes
    }

    fn encoded_length(&self) -> Vec<u8> {
        let bits_64 = |length: u64| once(127).chain(length.to_be_bytes()).collect();
        let bits_16 = |length: u16| once(126).chain(length.to_be_bytes()).collect();
        let length = self.payload.len();
        let short = u16::try_from(length);
        match (self.length, short) {
            (Length::Announced(length), _) => bits_64(length),
            (Length::Minimal, Ok(short @ 0..=125)) => vec![short.to_be_bytes()[1]],
            (Length::Minimal | Length::Bits16, Ok(short)) => bits_16(short),
            (Length::Minimal | Length::Bits16, Err(_)) | (Length::Bits64, _) => {
                bits_64(length as u64)
            }
        }
    }
}

impl WebSocketCase {
    /// A case with one step.
    fn new(name: impl Into<String>, frames: &[RawFrame], answers: &[Answer], end: End) -> Self {
        Self {
            name: name.into(),
            chop: Chop::Frames,
            steps: vec![Step {
                frames: frames.to_vec(),
                answers: answers.to_vec(),
            }],
            end,
            may_lose_answers: false,
        }
    }

    fn with_chop(self, chop: Chop) -> Self {
        Self { chop, ..self }
    }

    fn then(mut self, frames: &[RawFrame], answers: &[Answer]) -> Self {
        self.steps.push(Step {
            frames: frames.to_vec(),
            answers: answers.to_vec(),
        });
        self
    }

    /// The pieces of a step.
    pub(crate) fn pieces(&self, step: &Step) -> Vec<Vec<u8>> {
        let frames: Vec<_> = step.frames.iter().map(RawFrame::bytes).collect();
        match self.chop {
            Chop::Frames => frames,
            Chop::Whole => vec![frames.concat()],
            Chop::Bytes(bytes) => frames.concat().chunks(bytes).map(<[u8]>::to_vec).collect(),
        }
    }

    /// The same frames in other pieces.
    pub(crate) fn in_pieces_of(&self, chop: Chop) -> Self {
        self.clone().with_chop(chop)
    }
}

/// One case for each name, which differ only in the pieces.
fn in_each_chop<const COUNT: usize>(
    names: [(&str, Chop); COUNT],
    frames: &[RawFrame],
    answers: &[Answer],
    end: &End,
) -> [WebSocketCase; COUNT] {
    names.map(|(name, chop)| WebSocketCase::new(name, frames, answers, end.clone()).with_chop(chop))
}

/// A whole text message.
fn text(payload: impl AsRef<[u8]>) -> RawFrame {
    RawFrame::new(FIN | TEXT, payload)
}

fn ping(payload: impl AsRef<[u8]>) -> RawFrame {
    RawFrame::new(FIN | PING, payload)
}

/// The first fragment of a text message.
fn begin(payload: impl AsRef<[u8]>) -> RawFrame {
    RawFrame::new(TEXT, payload)
}

/// A fragment in the middle of a message.
fn middle(payload: impl AsRef<[u8]>) -> RawFrame {
    RawFrame::new(CONTINUATION, payload)
}

/// The last fragment of a message.
fn last(payload: impl AsRef<[u8]>) -> RawFrame {
    RawFrame::new(FIN | CONTINUATION, payload)
}

/// A text message in fragments that end at these positions and at its end.
fn fragments(payload: &[u8], ends: impl IntoIterator<Item = usize>) -> Vec<RawFrame> {
    let ends = ends.into_iter().chain(once(payload.len()));
    let mut start = 0;
    let mut frames = Vec::new();
    for end in ends {
        let opcode = if start == 0 { TEXT } else { CONTINUATION };
        let fin = if end == payload.len() { FIN } else { 0 };
        frames.push(RawFrame::new(fin | opcode, &payload[start..end]));
        start = end;
    }
    frames
}

/// The answer to a text message.
fn echo(payload: impl AsRef<[u8]>) -> Answer {
    Answer::Text(payload.as_ref().to_vec())
}

fn pong(payload: impl AsRef<[u8]>) -> Answer {
    Answer::Pong(payload.as_ref().to_vec())
}

//! Decoding and encoding of WebSocket frames on the server side (RFC 6455, section 5), free of I/O and clocks.

use bytes::Bytes;
use bytestring::ByteString;

pub mod fuzz;
mod violation;

pub use violation::Violation;

/// The size of the largest frame head in bytes: two, an extended length of eight, a mask of four.
const HEAD_BYTES_MAX: usize = 14;

/// The bytes that are unmasked in one go.
const UNMASK_BYTES: usize = 128;

/// The largest payload of a control frame in bytes.
const CONTROL_BYTES_MAX: u64 = 125;

/// The FIN bit, which marks the last frame of a message.
const FIN: u8 = 0x80;

/// The bits reserved for extensions. The server negotiates none.
const RESERVED: u8 = 0x70;

/// The MASK bit of the second byte, which marks a masked payload.
const MASKED: u8 = 0x80;

/// The frame types (section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn parse(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xA,
        }
    }

    fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// A message or control frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebSocketMessage {
    /// A text message.
    Text(ByteString),
    /// A binary message.
    Binary(Bytes),
    /// A ping, which requests a pong with the same payload of at most 125 bytes.
    Ping(Bytes),
    /// The answer to a ping, or an unsolicited pong; the payload has at most 125 bytes.
    Pong(Bytes),
    /// A close frame with an optional code and reason.
    Close(Option<CloseFrame>),
}

impl WebSocketMessage {
    /// The length of the payload in bytes; 0 for a close frame.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) | Self::Ping(bytes) | Self::Pong(bytes) => bytes.len(),
            Self::Close(_) => 0,
        }
    }
}

/// The payload of a close frame (section 5.5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseFrame {
    /// The status code.
    pub code: u16,
    /// The reason, at most 123 bytes.
    pub reason: ByteString,
}

/// A complete frame from the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A message, completed by its last frame, or a control frame.
    Message(WebSocketMessage),
    /// A data frame that is not the last one of its message. It may be empty.
    Fragment,
}

/// The head of a frame that is being read.
#[derive(Clone, Copy, Debug)]
struct FrameHead {
    is_last: bool,
    opcode: Opcode,
    mask: [u8; 4],
    payload_len: u64,
}

/// Decodes the frames of one client from pieces of any length.
#[derive(Debug)]
pub struct FrameDecoder {
    message_bytes_max: usize,
    /// The number of data payload bytes read so far.
    data_bytes_total: u64,
    /// The incomplete frame and message. `None` between two messages, as in nearly all connections.
    partial: Option<Box<PartialMessage>>,
}

impl FrameDecoder {
    /// A decoder for messages with a maximum size in bytes. Memory is not reserved by the announced length.
    #[must_use]
    pub fn new(message_bytes_max: usize) -> Self {
        Self {
            message_bytes_max,
            data_bytes_total: 0,
            partial: None,
        }
    }

    /// Decodes at most one frame and removes its bytes from `input`, in which it may unmask them. `None` if `input` ends
    /// before the frame is complete. After an error the decoder must not be used again.
    ///
    /// # Errors
    /// If the client violates the protocol or sends a message that is too large.
    pub fn decode(&mut self, input: &mut &mut [u8]) -> Result<Option<Decoded>, Violation> {
        if self.partial.is_none()
            && let Some((opcode, payload)) = split_whole(input, self.message_bytes_max)
        {
            if !opcode.is_control() {
                self.data_bytes_total += payload.len() as u64;
            }
            return whole_message(opcode, payload).map(|message| Some(Decoded::Message(message)));
        }
        if input.is_empty() {
            return Ok(None);
        }
        let mut partial = self.partial.take().unwrap_or_default();
        let before = partial.data_bytes;
        let decoded = partial.decode(input, self.message_bytes_max)?;
        self.data_bytes_total += partial.data_bytes - before;
        if partial.is_incomplete() {
            self.partial = Some(partial);
        }
        Ok(decoded)
    }

    /// The bytes of payload that are kept for an incomplete frame or message.
    #[must_use]
    pub fn buffered(&self) -> usize {
        let partial = self.partial.as_ref();
        partial.map_or(0, |partial| partial.message.len() + partial.control.len())
    }

    /// The progress of an incomplete frame or message, as a number that grows with each received byte of data payload.
    /// Control frames and empty fragments do not change it. `None` if no frame or message is incomplete.
    #[must_use]
    pub fn unfinished(&self) -> Option<u64> {
        self.partial.as_ref().map(|_| self.data_bytes_total)
    }
}

/// Removes a frame from the front of `input`, and unmasks it, if it is the whole of a message or control frame and has
/// arrived completely. `None` for any other frame, also an invalid one.
fn split_whole<'a>(input: &mut &'a mut [u8], bytes_max: usize) -> Option<(Opcode, &'a mut [u8])> {
    let [first, second, rest @ ..] = &**input else {
        return None;
    };
    let opcode = Opcode::parse(first & 0x0F)?;
    let is_whole = first & !0x0F == FIN && second & MASKED != 0;
    let (length, head) = match (second & !MASKED, rest) {
        (126, [high, low, ..]) => (usize::from(u16::from_be_bytes([*high, *low])), 8),
        (126 | 127, _) => return None,
        (short, _) => (usize::from(short), 6),
    };
    let is_short = head == 6;
    let fits = match opcode {
        // A longer form of a length than it needs is a violation.
        Opcode::Text | Opcode::Binary => length <= bytes_max && is_short == (length < 126),
        Opcode::Ping | Opcode::Pong => is_short,
        Opcode::Close | Opcode::Continuation => false,
    };
    if !is_whole || !fits {
        return None;
    }
    let frame = input.split_off_mut(..head + length)?;
    let (head, payload) = frame.split_at_mut(head);
    unmask(payload, *head.last_chunk()?, 0);
    Some((opcode, payload))
}

/// The message of an unmasked payload. The check of a text and the copy are one pass each over bytes that the first
/// one has brought into the cache.
fn whole_message(opcode: Opcode, payload: &[u8]) -> Result<WebSocketMessage, Violation> {
    let copy = Bytes::copy_from_slice;
    Ok(match opcode {
        Opcode::Text => {
            let text = simdutf8::basic::from_utf8(payload).map_err(|_| Violation::NotUtf8)?;
            WebSocketMessage::Text(text.into())
        }
        Opcode::Binary | Opcode::Continuation => WebSocketMessage::Binary(copy(payload)),
        Opcode::Ping => WebSocketMessage::Ping(copy(payload)),
        Opcode::Pong => WebSocketMessage::Pong(copy(payload)),
        Opcode::Close => WebSocketMessage::Close(close_frame(payload)?),
    })
}

/// An incomplete frame, and the message of which it is a part.
#[derive(Debug, Default)]
struct PartialMessage {
    /// The bytes of an incomplete head.
    head_bytes: [u8; HEAD_BYTES_MAX],
    head_len: u8,
    /// The frame whose payload is incomplete, and the number of payload bytes received.
    frame: Option<(FrameHead, u64)>,
    /// The type of the incomplete message: text or binary.
    message_type: Option<Opcode>,
    message: Vec<u8>,
    control: Vec<u8>,
    /// The number of data payload bytes read.
    data_bytes: u64,
}

impl PartialMessage {
    /// The same as [`FrameDecoder::decode`].
    fn decode(
        &mut self,
        input: &mut &mut [u8],
        message_bytes_max: usize,
    ) -> Result<Option<Decoded>, Violation> {
        let (head, read) = match self.frame.take() {
            Some(frame) => frame,
            None => match self.decode_head(input, message_bytes_max)? {
                Some(head) => (head, 0),
                None => return Ok(None),
            },
        };
        let piece = split_payload(input, head.payload_len - read);
        self.push_payload(head, read, piece);
        let read = read + piece.len() as u64;
        if read < head.payload_len {
            self.frame = Some((head, read));
            return Ok(None);
        }
        self.finish_frame(head).map(Some)
    }

    fn is_incomplete(&self) -> bool {
        self.head_len != 0 || self.frame.is_some() || self.message_type.is_some()
    }

    /// Reads a head as far as it has arrived.
    fn decode_head(
        &mut self,
        input: &mut &mut [u8],
        message_bytes_max: usize,
    ) -> Result<Option<FrameHead>, Violation> {
        let mut expected = 2;
        loop {
            let have = usize::from(self.head_len);
            let missing = expected - have.min(expected);
            let piece = split_payload(input, missing as u64);
            self.head_bytes[have..have + piece.len()].copy_from_slice(piece);
            self.head_len += u8::try_from(piece.len()).unwrap_or(u8::MAX);
            if piece.len() < missing {
                return Ok(None);
            }
            if expected > 2 {
                break;
            }
            expected = self.check_start()?;
        }
        self.head_len = 0;
        self.finish_head(expected, message_bytes_max).map(Some)
    }

    /// Checks the first two bytes of a head. Returns the length of the whole head.
    fn check_start(&self) -> Result<usize, Violation> {
        let [first, second, ..] = self.head_bytes;
        if first & RESERVED != 0 {
            return Err(Violation::ReservedBits);
        }
        let opcode = Opcode::parse(first & 0x0F).ok_or(Violation::UnknownOpcode)?;
        if second & MASKED == 0 {
            return Err(Violation::Unmasked);
        }
        let length = u64::from(second & !MASKED);
        if opcode.is_control() {
            if first & FIN == 0 {
                return Err(Violation::FragmentedControl);
            }
            if length > CONTROL_BYTES_MAX {
                return Err(Violation::LongControl);
            }
        } else {
            let is_first = opcode != Opcode::Continuation;
            match (is_first, self.message_type.is_some()) {
                (true, true) => return Err(Violation::Interleaved),
                (false, false) => return Err(Violation::NoMessageToContinue),
                (true, false) | (false, true) => {}
            }
        }
        Ok(match length {
            126 => 8,
            127 => HEAD_BYTES_MAX,
            _ => 6,
        })
    }

    /// Parses the complete head of `length` bytes.
    fn finish_head(
        &mut self,
        length: usize,
        message_bytes_max: usize,
    ) -> Result<FrameHead, Violation> {
        let bytes = &self.head_bytes;
        let payload_len = match length {
            8 => u64::from(u16::from_be_bytes([bytes[2], bytes[3]])),
            HEAD_BYTES_MAX => bytes[2..10]
                .iter()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
            _ => u64::from(bytes[1] & !MASKED),
        };
        let is_valid_length = match length {
            8 => payload_len > CONTROL_BYTES_MAX,
            HEAD_BYTES_MAX => (1 << 16..1 << 63).contains(&payload_len),
            _ => true,
        };
        if !is_valid_length {
            return Err(Violation::LengthEncoding);
        }
        let mut mask = [0; 4];
        mask.copy_from_slice(&bytes[length - 4..length]);
        let opcode = Opcode::parse(bytes[0] & 0x0F).ok_or(Violation::UnknownOpcode)?;
        if !opcode.is_control() {
            let left = message_bytes_max - self.message.len().min(message_bytes_max);
            if payload_len > left as u64 {
                return Err(Violation::TooLarge);
            }
            if opcode != Opcode::Continuation {
                self.message_type = Some(opcode);
            }
        }
        Ok(FrameHead {
            is_last: bytes[0] & FIN != 0,
            opcode,
            mask,
            payload_len,
        })
    }

    /// Unmasks and keeps a piece of payload. `read` is the offset of the piece within its frame.
    fn push_payload(&mut self, head: FrameHead, read: u64, piece: &[u8]) {
        if piece.is_empty() {
            return;
        }
        let buffer = if head.opcode.is_control() {
            &mut self.control
        } else {
            self.data_bytes += piece.len() as u64;
            &mut self.message
        };
        let missing = usize::try_from(head.payload_len - read).unwrap_or(usize::MAX);
        reserve(buffer, piece.len(), missing, head.is_last);
        let start = buffer.len();
        buffer.extend_from_slice(piece);
        unmask(&mut buffer[start..], head.mask, read);
    }

    fn finish_frame(&mut self, head: FrameHead) -> Result<Decoded, Violation> {
        let message = match head.opcode {
            Opcode::Ping => WebSocketMessage::Ping(std::mem::take(&mut self.control).into()),
            Opcode::Pong => WebSocketMessage::Pong(std::mem::take(&mut self.control).into()),
            Opcode::Close => {
                WebSocketMessage::Close(close_frame(&std::mem::take(&mut self.control))?)
            }
            Opcode::Continuation | Opcode::Text | Opcode::Binary if !head.is_last => {
                return Ok(Decoded::Fragment);
            }
            Opcode::Continuation | Opcode::Text | Opcode::Binary => {
                let bytes = std::mem::take(&mut self.message);
                if self.message_type.take() == Some(Opcode::Text) {
                    let text = String::from_utf8(bytes).map_err(|_| Violation::NotUtf8)?;
                    WebSocketMessage::Text(text.into())
                } else {
                    WebSocketMessage::Binary(bytes.into())
                }
            }
        };
        Ok(Decoded::Message(message))
    }
}

/// Removes at most `length` bytes from the front of `input`.
fn split_payload<'a>(input: &mut &'a mut [u8], length: u64) -> &'a [u8] {
    let length = usize::try_from(length).map_or(input.len(), |length| length.min(input.len()));
    input.split_off_mut(..length).unwrap_or_default()
}

/// Reserves memory for a piece. The capacity is at most twice the bytes received so far and, in the last frame of a
/// message, at most the length of the message.
fn reserve(buffer: &mut Vec<u8>, piece: usize, missing: usize, is_last: bool) {
    if buffer.capacity() - buffer.len() >= piece {
        return;
    }
    let most = if is_last { missing } else { usize::MAX };
    buffer.reserve_exact(piece.max(buffer.len().min(most)));
}

/// Removes the mask from a piece of payload that begins at `offset` within its frame.
fn unmask(piece: &mut [u8], mask: [u8; 4], offset: u64) {
    let mut mask = mask;
    mask.rotate_left((offset % 4) as usize);
    let mask_twice = u64::from_ne_bytes([
        mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3],
    ]);
    let (blocks, rest) = piece.as_chunks_mut::<UNMASK_BYTES>();
    // The compiler unrolls the loop over the words of a block, and makes vectors of them.
    for block in blocks {
        unmask_words(block, mask_twice);
    }
    let rest = unmask_words(rest, mask_twice);
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// Unmasks whole words. Returns the bytes after them.
fn unmask_words(bytes: &mut [u8], mask_twice: u64) -> &mut [u8] {
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ mask_twice).to_ne_bytes();
    }
    rest
}

/// The payload of a close frame (sections 5.5.1 and 7.4).
fn close_frame(payload: &[u8]) -> Result<Option<CloseFrame>, Violation> {
    let [high, low, reason @ ..] = payload else {
        return if payload.is_empty() {
            Ok(None)
        } else {
            Err(Violation::CloseCode)
        };
    };
    let code = u16::from_be_bytes([*high, *low]);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Violation::CloseCode);
    }
    let reason = std::str::from_utf8(reason).map_err(|_| Violation::NotUtf8)?;
    let reason = reason.into();
    Ok(Some(CloseFrame { code, reason }))
}

/// Appends the head of a frame from the server.
fn encode_head(opcode: Opcode, payload_len: usize, output: &mut Vec<u8>) {
    output.push(FIN | opcode.bits());
    match (u8::try_from(payload_len), u16::try_from(payload_len)) {
        (Ok(short @ 0..=125), _) => output.push(short),
        (_, Ok(length)) => {
            output.push(126);
            output.extend_from_slice(&length.to_be_bytes());
        }
        (_, Err(_)) => {
            output.push(127);
            output.extend_from_slice(&(payload_len as u64).to_be_bytes());
        }
    }
}

/// Appends a frame to `output`, as a server sends it. A payload of `copied_max` bytes or more is
/// returned instead of copied: it follows the content of `output`.
pub(crate) fn encode(message: WebSocketMessage, copied_max: usize, output: &mut Vec<u8>) -> Bytes {
    let (opcode, payload) = match message {
        WebSocketMessage::Text(text) => (Opcode::Text, text.into_bytes()),
        WebSocketMessage::Binary(bytes) => (Opcode::Binary, bytes),
        WebSocketMessage::Ping(bytes) => (Opcode::Ping, bytes),
        WebSocketMessage::Pong(bytes) => (Opcode::Pong, bytes),
        WebSocketMessage::Close(None) => (Opcode::Close, Bytes::new()),
        WebSocketMessage::Close(Some(CloseFrame { code, reason })) => {
            encode_head(Opcode::Close, 2 + reason.len(), output);
            output.extend_from_slice(&code.to_be_bytes());
            output.extend_from_slice(reason.as_bytes());
            return Bytes::new();
        }
    };
    encode_head(opcode, payload.len(), output);
    if payload.len() >= copied_max {
        return payload;
    }
    output.extend_from_slice(&payload);
    Bytes::new()
}

#[cfg(test)]
#[expect(dead_code, reason = "only the tests of the server use all of it")]
mod cases;
#[cfg(test)]
mod tests;

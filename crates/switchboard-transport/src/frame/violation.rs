//! Violations of the WebSocket protocol by a client.

use switchboard_dialects::CloseReason;
use thiserror::Error;

/// A frame that the protocol or a limit forbids (RFC 6455). It ends the connection.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{}", self.close().reason)]
pub enum Violation {
    /// The frame is not masked (section 5.1).
    Unmasked,
    /// A reserved bit is set (section 5.2).
    ReservedBits,
    /// There is no such opcode (section 5.2).
    UnknownOpcode,
    /// A control frame is fragmented (section 5.5).
    FragmentedControl,
    /// A control frame has more than 125 bytes (section 5.5).
    LongControl,
    /// The length is encoded in more bytes than it needs, or its most significant bit is set (section 5.2).
    LengthEncoding,
    /// A continuation frame comes without a message that it could continue (section 5.4).
    NoMessageToContinue,
    /// A new message begins before the one before it is complete (section 5.4).
    Interleaved,
    /// A close frame has a code that may not be sent, or one byte (sections 5.5.1 and 7.4).
    CloseCode,
    /// A text or a close reason is not UTF-8 (section 8.1).
    NotUtf8,
    /// The message is larger than allowed.
    TooLarge,
}

impl Violation {
    /// The close code and reason for the violation.
    #[must_use]
    pub fn close(self) -> CloseReason {
        let protocol_error = |reason| CloseReason {
            reason,
            ..CloseReason::PROTOCOL_ERROR
        };
        match self {
            Self::Unmasked => protocol_error("protocol error: the frame is not masked"),
            Self::ReservedBits => protocol_error("protocol error: a reserved bit is set"),
            Self::UnknownOpcode => protocol_error("protocol error: unknown opcode"),
            Self::FragmentedControl => {
                protocol_error("protocol error: a control frame is fragmented")
            }
            Self::LongControl => {
                protocol_error("protocol error: a control frame has more than 125 bytes")
            }
            Self::LengthEncoding => {
                protocol_error("protocol error: invalid encoding of the payload length")
            }
            Self::NoMessageToContinue => {
                protocol_error("protocol error: a continuation frame without a message")
            }
            Self::Interleaved => {
                protocol_error("protocol error: a message begins inside another one")
            }
            Self::CloseCode => protocol_error("protocol error: invalid close code"),
            Self::NotUtf8 => CloseReason::INVALID_TEXT,
            Self::TooLarge => CloseReason::TOO_BIG,
        }
    }
}

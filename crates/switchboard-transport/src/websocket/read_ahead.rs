//! The frames that are read while a connection waits for a decision.

use std::collections::VecDeque;

use crate::{
    SocketError,
    frame::{Decoded, WebSocketMessage},
};

/// The number of frames that are read ahead while a connection waits for a decision. Only reading shows that the
/// client has disconnected. Further frames stay in the socket.
const READ_AHEAD_FRAMES_MAX: usize = 64;

/// The total bytes of frames that were read ahead at which no more are read. The last frame may exceed it.
const READ_AHEAD_BYTES_MAX: usize = 64 * 1024;

/// Frames that were received while the connection waited for a decision, oldest first.
#[derive(Default)]
pub(super) struct ReadAhead(pub(super) VecDeque<Result<Decoded, SocketError>>);

impl ReadAhead {
    /// Removes the oldest frame. Frees the memory with the last one.
    pub(super) fn pop(read_ahead: &mut Option<Box<Self>>) -> Option<Result<Decoded, SocketError>> {
        let oldest = read_ahead.as_mut()?.0.pop_front();
        read_ahead.take_if(|read_ahead| read_ahead.0.is_empty());
        oldest
    }

    /// Whether one more frame may be read ahead.
    pub(super) fn has_room(&self) -> bool {
        let bytes = self.0.iter().map(length).fold(0, usize::saturating_add);
        self.0.len() < READ_AHEAD_FRAMES_MAX && bytes < READ_AHEAD_BYTES_MAX
    }
}

fn length(received: &Result<Decoded, SocketError>) -> usize {
    match received {
        // No frame follows these.
        Ok(Decoded::Message(WebSocketMessage::Close(_))) | Err(_) => usize::MAX,
        Ok(Decoded::Message(message)) => message.payload_len(),
        Ok(Decoded::Fragment) => 0,
    }
}

//! What a session gives out, and what it takes in.

use std::{fmt, time::Duration};

use bytes::Bytes;
use bytestring::ByteString;
use switchboard_core::{Command, ErrorCode, RequestError};

use crate::CloseReason;

/// A frame from the client.
#[derive(Clone, Copy, Debug)]
pub enum ClientFrame<'a> {
    /// Text.
    Text(&'a ByteString),
    /// Bytes.
    Binary(&'a Bytes),
}

impl ClientFrame<'_> {
    /// Its bytes.
    #[must_use]
    #[expect(
        clippy::len_without_is_empty,
        reason = "nobody asks whether a frame is empty"
    )]
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// The text of the frame. Bytes count as the text they hold: the Go servers whose clients we
    /// serve never looked at the opcode.
    pub fn text(&self) -> Result<ByteString, ErrorCode> {
        match self {
            Self::Text(text) => Ok((*text).clone()),
            Self::Binary(bytes) => {
                ByteString::try_from((*bytes).clone()).map_err(|_| ErrorCode::Malformed)
            }
        }
    }
}

/// How long a client may wait with its first frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FirstFrameTimeout {
    /// As long as the limit `first_frame_secs` says.
    #[default]
    Default,
    /// The dialect says how long.
    Within(Duration),
    /// For ever: in this dialect a client that only listens is in order.
    Never,
}

/// A request of a session's own, to an HTTP service of whoever runs the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookRequest {
    /// An `http` or `https` address. Redirections are not followed.
    pub url: String,
    /// JSON.
    pub body: ByteString,
    /// How long the answer may take.
    pub timeout: Duration,
}

/// What a session wants done. Frames are sent before commands are carried out, and
/// those before the request is made; the end comes last.
#[derive(Default)]
pub struct SessionOutput {
    /// Frames for the client, in order.
    pub frames: Vec<ByteString>,
    /// Commands of the client, in order.
    pub commands: Vec<Command>,
    /// What the client asked earlier and is refused only now; told by [`crate::Session::on_event`].
    pub errors: Vec<RequestError>,
    /// A request to make now; its answer goes to [`crate::Session::on_webhook_response`].
    pub webhook: Option<WebhookRequest>,
    /// End the connection, when the frames are sent.
    pub close: Option<CloseReason>,
    /// How long to wait for the first frame.
    pub first_frame: FirstFrameTimeout,
    /// Call [`crate::Session::on_tick`] that often from now on.
    pub tick: Option<Duration>,
    /// What time it is, in seconds since 1970. Set by the driver.
    pub unix_secs: u64,
}

impl fmt::Debug for SessionOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Out")
            .field("frames", &self.frames.len())
            .field("commands", &self.commands.len())
            .field("post", &self.webhook)
            .field("close", &self.close)
            .finish_non_exhaustive()
    }
}

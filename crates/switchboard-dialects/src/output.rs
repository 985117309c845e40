//! The input of a session (frames) and its output (frames, commands, webhook requests).

use std::{fmt, time::Duration};

use bytes::Bytes;
use bytestring::ByteString;
use switchboard_core::{Command, ErrorCode, HubRequest, RequestError, ResourceKey};

use crate::{CloseReason, DialectTable, KeepSession, ResumeRequest};

/// A frame from the client.
#[derive(Clone, Copy, Debug)]
pub enum ClientFrame<'a> {
    /// A text frame.
    Text(&'a ByteString),
    /// A binary frame.
    Binary(&'a Bytes),
}

impl ClientFrame<'_> {
    /// The length of the payload in bytes.
    #[must_use]
    #[expect(
        clippy::len_without_is_empty,
        reason = "no caller needs to know whether a frame is empty"
    )]
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// The text of the frame. The payload of a binary frame is read as UTF-8 text, because the original
    /// servers in Go ignore the opcode.
    ///
    /// # Errors
    /// [`ErrorCode::Malformed`] if a binary frame is not UTF-8.
    pub fn text(&self) -> Result<ByteString, ErrorCode> {
        match self {
            Self::Text(text) => Ok((*text).clone()),
            Self::Binary(bytes) => {
                ByteString::try_from((*bytes).clone()).map_err(|_| ErrorCode::Malformed)
            }
        }
    }
}

/// The time limit for the first frame of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FirstFrameTimeout {
    /// The limit `first_frame_secs`.
    #[default]
    Default,
    /// A limit set by the dialect: at most a year.
    Within(Duration),
    /// No limit, because a client of this dialect may only receive.
    Never,
}

/// An HTTP request from a session to a web service of the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookRequest {
    /// An `http` or `https` URL. Redirects are not followed.
    pub url: String,
    /// The body of the request, JSON.
    pub body: ByteString,
    /// The time limit for the response.
    pub timeout: Duration,
}

/// The output of one step of a session. Each layer fills it in place: the dialect adds frames, commands and errors;
/// the client's session turns the commands into requests; the connection's state machine adds pings. The connection
/// layer, which does the I/O, then sends the frames, the ping and the requests, makes the webhook request, and
/// closes the connection last.
#[derive(Default)]
pub struct SessionOutput {
    /// Frames for the client, in order.
    pub frames: Vec<ByteString>,
    /// Commands of the client, in order. Empty when the connection layer gets the output.
    pub commands: Vec<Command>,
    /// Errors of frames that the session had queued earlier and has handled in this step. The caller passes them to
    /// [`crate::Session::on_event`]. Empty when the connection layer gets the output.
    pub errors: Vec<RequestError>,
    /// The requests to the hubs that follow from the commands, in order.
    pub requests: Vec<HubRequest>,
    /// The error codes of rejected frames and requests of the client.
    pub error_codes: Vec<&'static str>,
    /// Ping the client, because another client claims this name or address of it. Its next frame or pong shows that the
    /// client is alive, and is reported to the hub as [`HubRequest::Alive`].
    pub probe: Option<ResourceKey>,
    /// Send a ping.
    pub ping: bool,
    /// A webhook request. Its response goes to [`crate::Session::on_webhook_response`].
    pub webhook: Option<WebhookRequest>,
    /// The credential in a frame of the client. The client's session sets it, and waits for the decision of the
    /// authenticators.
    pub credential: Option<Box<str>>,
    /// Close the connection after the frames have been sent.
    pub close: Option<CloseReason>,
    /// The time limit for the first frame.
    pub first_frame: FirstFrameTimeout,
    /// The interval of calls of [`crate::Session::on_tick`] from now on. It is clamped to 10 ms at least and a year at
    /// most.
    pub tick: Option<Duration>,
    /// Keep the session and its output for a client that resumes it.
    pub keep: Option<Box<KeepSession>>,
    /// The number of the last frame that the client has received, for a session that is kept.
    pub acknowledged: Option<u64>,
    /// Continue an earlier session over this connection, in place of this session.
    pub resume: Option<Box<ResumeRequest>>,
    /// The current time in seconds since 1970, set by the caller for frames and events.
    pub unix_secs: u64,
    /// The dialects of the server, set by the caller. They read the frames of members of other dialects.
    pub dialects: DialectTable,
    /// Whether the client may get STUN and TURN servers with credentials, set by the caller.
    pub may_relay: bool,
}

/// The capacity up to which the vectors of an output keep their memory for the next step.
const KEPT_CAPACITY: usize = 64;

impl SessionOutput {
    /// An empty output of a step at `unix_secs`.
    #[must_use]
    pub fn at(unix_secs: u64) -> Self {
        Self {
            unix_secs,
            ..Self::default()
        }
    }

    /// Frees the memory of large vectors. Returns whether the output is empty, so that the next step can use it.
    pub fn trim(&mut self) -> bool {
        if self.frames.capacity() > KEPT_CAPACITY {
            self.frames = Vec::new();
        }
        if self.commands.capacity() > KEPT_CAPACITY {
            self.commands = Vec::new();
        }
        if self.requests.capacity() > KEPT_CAPACITY {
            self.requests = Vec::new();
        }
        self.frames.is_empty() && self.has_only_frames()
    }

    /// Whether the output has nothing but frames, or nothing at all.
    #[must_use]
    pub fn has_only_frames(&self) -> bool {
        self.commands.is_empty()
            && self.errors.is_empty()
            && self.requests.is_empty()
            && self.error_codes.is_empty()
            && self.probe.is_none()
            && !self.ping
            && self.webhook.is_none()
            && self.credential.is_none()
            && self.close.is_none()
            && matches!(self.first_frame, FirstFrameTimeout::Default)
            && self.tick.is_none()
            && self.keep.is_none()
            && self.acknowledged.is_none()
            && self.resume.is_none()
    }

    /// Removes and returns the whole output. The time and the dialects stay, for the rest of the step.
    #[must_use]
    pub fn take(&mut self) -> Self {
        let rest = Self {
            unix_secs: self.unix_secs,
            dialects: self.dialects,
            may_relay: self.may_relay,
            ..Self::default()
        };
        std::mem::replace(self, rest)
    }
}

impl fmt::Debug for SessionOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionOutput")
            .field("frames", &self.frames.len())
            .field("commands", &self.commands.len())
            .field("requests", &self.requests.len())
            .field("webhook", &self.webhook)
            .field("close", &self.close)
            .finish_non_exhaustive()
    }
}

//! Sessions that outlive their connections: how a dialect keeps one, and how a client resumes it.

use std::time::Duration;

use switchboard_core::PeerId;
use thiserror::Error;

/// Keeps a session after its connection is lost, and the frames that its client has not acknowledged.
///
/// The frames of a session are numbered from 1 in the order of [`SessionOutput::frames`](crate::SessionOutput).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeepSession {
    /// The secret with which the client resumes the session.
    pub token: String,
    /// The time after the loss of the connection in which the client may resume: at most a year.
    pub time: Duration,
}

/// The request of a client to continue an earlier session over its new connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResumeRequest {
    /// The id of the session, which is that of its peer.
    pub session: PeerId,
    /// The token of the session.
    pub token: String,
    /// The number of the last frame that the client has received.
    pub received: u64,
}

/// The reason why a session cannot be resumed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ResumeError {
    /// The session has ended, or the client has not proved that the session is its own.
    #[error("there is no such session, or the token, identity or dialect is another one")]
    NotFound,
    /// Frames that the client has missed were dropped, because they exceeded `limits.outbox_bytes`.
    #[error("frames after the last received one were dropped: they exceeded limits.outbox_bytes")]
    OutputDropped,
    /// The client claims to have received a frame that was not sent yet.
    #[error("the number of the last received frame is greater than that of the last sent frame")]
    NotSent,
}

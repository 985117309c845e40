//! Responses to voice requests: errors and JSON.

use std::borrow::Cow;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::signaling::{CallError, VoiceRoomError};

/// An error response.
#[derive(Debug)]
pub(crate) enum VoiceError {
    /// A status and one human-readable line.
    Message(StatusCode, Cow<'static, str>),
    /// A complete response that the server produces for all of its paths.
    Response(Box<Response>),
}

pub(crate) type VoiceResult = Result<Response, VoiceError>;

impl VoiceError {
    pub(crate) fn new(status: StatusCode, message: &str) -> Self {
        Self::Message(status, Cow::Owned(message.to_owned()))
    }

    pub(crate) fn bad(message: &'static str) -> Self {
        Self::Message(StatusCode::BAD_REQUEST, Cow::Borrowed(message))
    }

    pub(crate) fn forbidden(message: &'static str) -> Self {
        Self::Message(StatusCode::FORBIDDEN, Cow::Borrowed(message))
    }

    pub(crate) fn not_found(message: &'static str) -> Self {
        Self::Message(StatusCode::NOT_FOUND, Cow::Borrowed(message))
    }

    pub(crate) fn too_many(message: &'static str) -> Self {
        Self::Message(StatusCode::TOO_MANY_REQUESTS, Cow::Borrowed(message))
    }
}

impl From<Response> for VoiceError {
    fn from(response: Response) -> Self {
        Self::Response(Box::new(response))
    }
}

impl From<CallError> for VoiceError {
    fn from(error: CallError) -> Self {
        let (status, message) = match error {
            CallError::NoSuchCall => (StatusCode::NOT_FOUND, "There is no such call."),
            CallError::Busy => (
                StatusCode::CONFLICT,
                "This user has reached its limit of calls (call.per_user).",
            ),
            CallError::TooManyCalls => (
                StatusCode::TOO_MANY_REQUESTS,
                "You have reached your limit of calls (call.per_user).",
            ),
            CallError::NotConfirmed => (
                StatusCode::CONFLICT,
                "The caller has not proven its identity yet. Wait for its /answer2.",
            ),
            CallError::TooManyRingsFromAddress => (
                StatusCode::TOO_MANY_REQUESTS,
                "Too many callers from your address are ringing this user (call.rings_per_address). Retry later.",
            ),
            CallError::SelfCall => (StatusCode::BAD_REQUEST, "A user cannot call itself."),
            CallError::ChallengeInUse => (
                StatusCode::CONFLICT,
                "This challenge is already in use in another call. Send a new one.",
            ),
            CallError::RateExceeded => (
                StatusCode::TOO_MANY_REQUESTS,
                "Too many calls: a caller may ring a user ten times at once and then once a second, an address four times as often. Retry later.",
            ),
        };
        Self::Message(status, Cow::Borrowed(message))
    }
}

impl From<VoiceRoomError> for VoiceError {
    fn from(error: VoiceRoomError) -> Self {
        let (status, message) = match error {
            VoiceRoomError::TooManyRooms => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The server has reached its limit of voice rooms (room.rooms).",
            ),
            VoiceRoomError::TooManySources => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The room has reached its limit of microphones (room.sources).",
            ),
            VoiceRoomError::RoomFull => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The room has as many members as its policy allows (rooms.max_members).",
            ),
            VoiceRoomError::TooManyListeners => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The room has reached its limit of listeners (room.listeners).",
            ),
        };
        Self::Message(status, Cow::Borrowed(message))
    }
}

/// Response to an upload that a newer connection has replaced. Programs compare the first word.
pub(crate) const REPLACED: &str =
    "replaced: a newer connection of this user has taken over its microphone.";

impl IntoResponse for VoiceError {
    fn into_response(self) -> Response {
        match self {
            Self::Message(status, message) => (status, format!("{message}\n")).into_response(),
            Self::Response(response) => *response,
        }
    }
}

/// A 503 with `Retry-After: 1`, for conditions that are temporary.
pub(crate) fn retry_later(message: &'static str) -> VoiceError {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let response = (status, [(header::RETRY_AFTER, "1")], format!("{message}\n"));
    VoiceError::from(response.into_response())
}

/// A JSON response from already encoded text.
pub(crate) fn json(text: String) -> Response {
    let content_type = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, content_type)], text).into_response()
}

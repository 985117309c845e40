//! What a request is answered.

use std::borrow::Cow;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use switchboard_core::{CallError, VoiceRoomError};

/// A refusal: a status and one line for people.
#[derive(Debug)]
pub(super) enum VoiceError {
    Message(StatusCode, Cow<'static, str>),
    /// One that the server gives for all its paths.
    Response(Box<Response>),
}

pub(super) type VoiceResult = Result<Response, VoiceError>;

impl VoiceError {
    pub(super) fn new(status: StatusCode, words: &str) -> Self {
        Self::Message(status, Cow::Owned(words.to_owned()))
    }

    pub(super) fn bad(words: &'static str) -> Self {
        Self::Message(StatusCode::BAD_REQUEST, Cow::Borrowed(words))
    }

    pub(super) fn forbidden(words: &'static str) -> Self {
        Self::Message(StatusCode::FORBIDDEN, Cow::Borrowed(words))
    }

    pub(super) fn not_found(words: &'static str) -> Self {
        Self::Message(StatusCode::NOT_FOUND, Cow::Borrowed(words))
    }

    pub(super) fn too_many(words: &'static str) -> Self {
        Self::Message(StatusCode::TOO_MANY_REQUESTS, Cow::Borrowed(words))
    }
}

impl From<Response> for VoiceError {
    fn from(response: Response) -> Self {
        Self::Response(Box::new(response))
    }
}

impl From<CallError> for VoiceError {
    fn from(refusal: CallError) -> Self {
        let (status, words) = match refusal {
            CallError::NoSuchCall => (StatusCode::NOT_FOUND, "There is no such call."),
            CallError::Busy => (
                StatusCode::CONFLICT,
                "This user is in as many calls as allowed.",
            ),
            CallError::TooMany => (
                StatusCode::TOO_MANY_REQUESTS,
                "You are in as many calls as allowed.",
            ),
            CallError::NotConfirmed => (
                StatusCode::CONFLICT,
                "The caller has not shown yet who it is.",
            ),
            CallError::TooManyFromAddress => (
                StatusCode::TOO_MANY_REQUESTS,
                "Too many callers at your address ring this user now. Try again later.",
            ),
            CallError::WithOneself => (StatusCode::BAD_REQUEST, "Nobody can call himself."),
            CallError::ChallengeInUse => {
                (StatusCode::CONFLICT, "This challenge is another's already.")
            }
            CallError::TooOften => (StatusCode::TOO_MANY_REQUESTS, "You ring too often."),
        };
        Self::Message(status, Cow::Borrowed(words))
    }
}

impl From<VoiceRoomError> for VoiceError {
    fn from(refusal: VoiceRoomError) -> Self {
        let (status, words) = match refusal {
            VoiceRoomError::TooManyRooms => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The server has as many voice rooms as it may.",
            ),
            VoiceRoomError::TooManySources => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The room has as many microphones as it may.",
            ),
            VoiceRoomError::TooManyListeners => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The room has as many listeners as it may.",
            ),
        };
        Self::Message(status, Cow::Borrowed(words))
    }
}

/// The answer to a request body that a newer connection has replaced. The first word is for programs.
pub(super) const REPLACED: &str =
    "replaced: a newer connection of this user has its microphone now.";

impl IntoResponse for VoiceError {
    fn into_response(self) -> Response {
        match self {
            Self::Message(status, words) => (status, format!("{words}\n")).into_response(),
            Self::Response(response) => *response,
        }
    }
}

/// JSON, as text that is JSON already.
pub(super) fn json(text: String) -> Response {
    let kind = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

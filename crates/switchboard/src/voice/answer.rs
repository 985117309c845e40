//! What a request is answered.

use std::borrow::Cow;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use switchboard_core::{CallRefusal, VoiceRoomRefusal};

/// A refusal: a status and one line for people.
#[derive(Debug)]
pub(super) enum Refusal {
    Words(StatusCode, Cow<'static, str>),
    /// One that the server gives for all its paths.
    Ready(Box<Response>),
}

pub(super) type Answer = Result<Response, Refusal>;

impl Refusal {
    pub(super) fn new(status: StatusCode, words: &str) -> Self {
        Self::Words(status, Cow::Owned(words.to_owned()))
    }

    pub(super) fn bad(words: &'static str) -> Self {
        Self::Words(StatusCode::BAD_REQUEST, Cow::Borrowed(words))
    }

    pub(super) fn forbidden(words: &'static str) -> Self {
        Self::Words(StatusCode::FORBIDDEN, Cow::Borrowed(words))
    }

    pub(super) fn not_found(words: &'static str) -> Self {
        Self::Words(StatusCode::NOT_FOUND, Cow::Borrowed(words))
    }

    pub(super) fn too_many(words: &'static str) -> Self {
        Self::Words(StatusCode::TOO_MANY_REQUESTS, Cow::Borrowed(words))
    }
}

impl From<Response> for Refusal {
    fn from(response: Response) -> Self {
        Self::Ready(Box::new(response))
    }
}

impl From<CallRefusal> for Refusal {
    fn from(refusal: CallRefusal) -> Self {
        let (status, words) = match refusal {
            CallRefusal::NoSuchCall => (StatusCode::NOT_FOUND, "There is no such call."),
            CallRefusal::Busy => (
                StatusCode::CONFLICT,
                "This user is in as many calls as allowed.",
            ),
            CallRefusal::TooMany => (
                StatusCode::TOO_MANY_REQUESTS,
                "You are in as many calls as allowed.",
            ),
            CallRefusal::NotConfirmed => (
                StatusCode::CONFLICT,
                "The caller has not shown yet who it is.",
            ),
            CallRefusal::TooManyFromAddress => (
                StatusCode::TOO_MANY_REQUESTS,
                "Too many callers at your address ring this user now. Try again later.",
            ),
            CallRefusal::WithOneself => (StatusCode::BAD_REQUEST, "Nobody can call himself."),
            CallRefusal::ChallengeInUse => {
                (StatusCode::CONFLICT, "This challenge is another's already.")
            }
            CallRefusal::TooOften => (StatusCode::TOO_MANY_REQUESTS, "You ring too often."),
        };
        Self::Words(status, Cow::Borrowed(words))
    }
}

impl From<VoiceRoomRefusal> for Refusal {
    fn from(refusal: VoiceRoomRefusal) -> Self {
        let (status, words) = match refusal {
            VoiceRoomRefusal::TooManyRooms => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The server has as many voice rooms as it may.",
            ),
            VoiceRoomRefusal::TooManySources => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The room has as many microphones as it may.",
            ),
            VoiceRoomRefusal::TooManyListeners => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The room has as many listeners as it may.",
            ),
        };
        Self::Words(status, Cow::Borrowed(words))
    }
}

/// The answer to a request body that a newer connection has replaced. The first word is for programs.
pub(super) const REPLACED: &str =
    "replaced: a newer connection of this user has its microphone now.";

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Words(status, words) => (status, format!("{words}\n")).into_response(),
            Self::Ready(response) => *response,
        }
    }
}

/// JSON, as text that is JSON already.
pub(super) fn json(text: String) -> Response {
    let kind = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

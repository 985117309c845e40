//! The words for people, one sentence per reason.

use switchboard_core::{ErrorCode, RequestError};

/// What is wrong, in one sentence.
#[must_use]
pub fn error_message(refused: &RequestError) -> String {
    let room = refused
        .room
        .as_ref()
        .map(|room| format!(" {room:?}"))
        .unwrap_or_default();
    let target = refused
        .target
        .as_ref()
        .map(|target| format!(" {target:?}"))
        .unwrap_or_default();
    match refused.code {
        ErrorCode::Malformed => "The frame is not a JSON object in UTF-8.".into(),
        ErrorCode::TooDeep => "The frame is nested too deeply.".into(),
        ErrorCode::TooLarge => "The frame is too large.".into(),
        ErrorCode::UnknownType => {
            "The frame's type is missing or is none that clients send.".into()
        }
        ErrorCode::BadField(field) => {
            format!("The field {field:?} is missing or of the wrong type.")
        }
        ErrorCode::EmptyName(field) => format!("The field {field:?} must not be empty."),
        ErrorCode::NameTooLong(field) => format!("The field {field:?} is too long."),
        ErrorCode::InvisibleName(field) => {
            format!("The field {field:?} must have a visible character.")
        }
        ErrorCode::Reserved => "This name is kept for the server.".into(),
        ErrorCode::TooManyFrames => {
            "Too many frames or bytes in too short a time; the connection is closed.".into()
        }
        ErrorCode::FirstFrameTimeout => {
            "No first frame came in time; the connection is closed.".into()
        }
        ErrorCode::NotInRoom if room.is_empty() => "Join a room first.".into(),
        ErrorCode::NotInRoom => format!("You are not in the room{room}."),
        ErrorCode::NoSuchPeer => format!("There is no peer{target} in your room."),
        ErrorCode::Expired => format!("No peer{target} has come into your room."),
        ErrorCode::Untranslatable => format!("The peer{target} has no way to understand this."),
        ErrorCode::RoomFull => format!("The room{room} is full."),
        ErrorCode::TooManyRooms => format!("You are in too many rooms to join{room}."),
        ErrorCode::Taken => format!("The name{target} is already taken."),
        ErrorCode::Unavailable => {
            "The server cannot reach its other nodes now; try again in a moment.".into()
        }
        ErrorCode::Denied => format!("You may not enter the room{room}."),
    }
}

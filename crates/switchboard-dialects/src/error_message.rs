//! The texts of errors for users, one sentence for each error code.

use switchboard_core::{ErrorCode, RequestError};

/// The text of an error for a user: one sentence, or the host program's own text if it has denied the join.
#[must_use]
pub fn error_message(error: &RequestError) -> String {
    let room = error
        .room
        .as_ref()
        .map(|room| format!(" {room:?}"))
        .unwrap_or_default();
    let target = error
        .target
        .as_ref()
        .map(|target| format!(" {target:?}"))
        .unwrap_or_default();
    match &error.code {
        ErrorCode::Malformed => "The frame is not a JSON object in UTF-8.".into(),
        ErrorCode::TooDeep => "The frame is nested too deeply.".into(),
        ErrorCode::TooLarge => "The frame is too large.".into(),
        ErrorCode::UnknownType => "The message type is missing or unknown.".into(),
        ErrorCode::BadField(field) => {
            format!("The field {field:?} is missing or of the wrong type.")
        }
        ErrorCode::EmptyName(field) => format!("The field {field:?} must not be empty."),
        ErrorCode::NameTooLong(field) => format!("The field {field:?} is too long."),
        ErrorCode::InvisibleName(field) => {
            format!("The field {field:?} must have a visible character.")
        }
        ErrorCode::Reserved => "This name is reserved for the server.".into(),
        ErrorCode::TooManyFrames => {
            "Too many frames or bytes in too short a time; the connection is closed.".into()
        }
        ErrorCode::FirstFrameTimeout => {
            "No first frame came in time; the connection is closed.".into()
        }
        ErrorCode::NotInRoom if room.is_empty() => "Join a room first.".into(),
        ErrorCode::NotInRoom => format!("You are not in the room{room}."),
        ErrorCode::NoSuchPeer => format!("There is no peer{target} in your room."),
        ErrorCode::Expired => format!("No peer{target} joined your room in time."),
        ErrorCode::Untranslatable => {
            format!("The peer{target} uses a dialect that has no such message.")
        }
        ErrorCode::RoomFull => format!("The room{room} is full."),
        ErrorCode::TooManyRooms => format!("You are in too many rooms to join{room}."),
        ErrorCode::Taken => format!("The name{target} is already taken."),
        ErrorCode::Unavailable => {
            "The server cannot reach its other nodes now; try again in a moment.".into()
        }
        ErrorCode::Denied(Some(text)) => text.as_ref().to_owned(),
        ErrorCode::Denied(None) => format!("You may not enter the room{room}."),
    }
}

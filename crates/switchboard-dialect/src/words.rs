//! The words for people, one sentence per reason.

use switchboard_core::{Refusal, Refused};

/// What is wrong, in one sentence.
#[must_use]
pub fn words(refused: &Refused) -> String {
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
    match refused.reason {
        Refusal::Unreadable => "The frame is not a JSON object in UTF-8.".into(),
        Refusal::TooDeep => "The frame is nested too deeply.".into(),
        Refusal::TooLarge => "The frame is too large.".into(),
        Refusal::UnknownType => "The frame's type is missing or is none that clients send.".into(),
        Refusal::BadField(field) => format!("The field {field:?} is missing or of the wrong type."),
        Refusal::EmptyName(field) => format!("The field {field:?} must not be empty."),
        Refusal::NameTooLong(field) => format!("The field {field:?} is too long."),
        Refusal::InvisibleName(field) => {
            format!("The field {field:?} must have a visible character.")
        }
        Refusal::Reserved => "This name is kept for the server.".into(),
        Refusal::TooManyFrames => {
            "Too many frames or bytes in too short a time; the connection is closed.".into()
        }
        Refusal::Silent => "No first frame came in time; the connection is closed.".into(),
        Refusal::NotInRoom if room.is_empty() => "Join a room first.".into(),
        Refusal::NotInRoom => format!("You are not in the room{room}."),
        Refusal::NoSuchPeer => format!("There is no peer{target} in your room."),
        Refusal::Expired => format!("No peer{target} has come into your room."),
        Refusal::NotUnderstood => format!("The peer{target} has no way to understand this."),
        Refusal::RoomFull => format!("The room{room} is full."),
        Refusal::TooManyRooms => format!("You are in too many rooms to join{room}."),
        Refusal::Taken => format!("The name{target} is already taken."),
        Refusal::Unavailable => {
            "The server cannot reach its other nodes now; try again in a moment.".into()
        }
        Refusal::Denied => format!("You may not enter the room{room}."),
    }
}

//! The error codes of failed requests. The texts for people are in `error_message.rs` of the crate of the dialects.

use std::{error::Error, sync::Arc};

use crate::{
    command::Target,
    id::{Address, JoinId, NameError, NameId, RoomName},
};

/// The reason of a failed request. [`ErrorCode::as_str`] and `Display` return the code for programs. The names in
/// backticks below are settings of the section `[limits]` (see [`Limits`](crate::Limits)).
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{}", self.as_str())]
pub enum ErrorCode {
    /// The frame cannot be parsed as a frame of the dialect (bad JSON, not an object, not UTF-8).
    Malformed,
    /// The interpreted part of the frame is nested deeper than `json_depth`.
    TooDeep,
    /// The frame has more bytes than `frame_bytes`.
    TooLarge,
    /// The frame's type is not one that clients send.
    UnknownType,
    /// A field is missing or of the wrong type.
    BadField(&'static str),
    /// A name is empty.
    EmptyName(&'static str),
    /// A name has more bytes than `name_bytes`.
    NameTooLong(&'static str),
    /// A name has no character that people can see.
    InvisibleName(&'static str),
    /// The name is reserved for the server.
    Reserved,
    /// The connection exceeded one of its rates for `flood_secs`, or sent too much while its claim or join was pending.
    TooManyFrames,
    /// The client did not send its first frame in time.
    FirstFrameTimeout,
    /// The sender is in no room, or not in this one.
    NotInRoom,
    /// The room has no member with that address.
    NoSuchPeer,
    /// No member with that address has joined while the message waited.
    Expired,
    /// The receiver's dialect cannot express the message.
    Untranslatable,
    /// The room has the maximum number of members: `room_members` or `directory_members`, or the limit of a dialect.
    RoomFull,
    /// The peer is in `rooms_per_peer` rooms.
    TooManyRooms,
    /// A live peer has this name or address.
    Taken,
    /// The access check denied the request, with or without a text for the client.
    Denied(Option<Arc<str>>),
    /// The other nodes or the store cannot be reached. The request can be retried later.
    Unavailable,
}

impl ErrorCode {
    /// The code for programs. It is part of the wire format and must not change, so some codes have another word than
    /// their variant.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Malformed => "unreadable",
            Self::TooDeep => "too-deep",
            Self::TooLarge => "too-large",
            Self::UnknownType => "unknown-type",
            Self::BadField(_) => "bad-field",
            Self::EmptyName(_) => "empty-name",
            Self::NameTooLong(_) => "name-too-long",
            Self::InvisibleName(_) => "invisible-name",
            Self::Reserved => "reserved",
            Self::TooManyFrames => "too-many-frames",
            Self::FirstFrameTimeout => "silent",
            Self::NotInRoom => "not-in-room",
            Self::NoSuchPeer => "no-such-peer",
            Self::Expired => "expired",
            Self::Untranslatable => "not-understood",
            Self::RoomFull => "room-full",
            Self::TooManyRooms => "too-many-rooms",
            Self::Taken => "taken",
            Self::Denied(_) => "denied",
            Self::Unavailable => "unavailable",
        }
    }

    /// The code for an invalid name in `field`.
    #[must_use]
    pub fn of_name(field: &'static str, error: NameError) -> Self {
        match error {
            NameError::Empty => Self::EmptyName(field),
            NameError::TooLong => Self::NameTooLong(field),
            NameError::Invisible => Self::InvisibleName(field),
        }
    }
}

/// The text of an error and its causes, separated by colons. A cause is left out if the text so far ends with it: some
/// libraries print the cause with the error.
#[must_use]
pub fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

/// The error that answers a request.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("the request is rejected: {code}")]
pub struct RequestError {
    /// The reason of the rejection.
    pub code: ErrorCode,
    /// The room of the request.
    pub room: Option<RoomName>,
    /// The target of the request, as the client wrote it.
    pub target: Option<Address>,
    /// The join of `room` that this error answers. The peer is not in the room then.
    pub join: Option<JoinId>,
    /// The claim that this error answers. The peer does not hold the name then.
    pub claim: Option<NameId>,
}

impl RequestError {
    /// An error with this code and no context.
    #[must_use]
    pub fn new(code: ErrorCode) -> Self {
        Self {
            code,
            room: None,
            target: None,
            join: None,
            claim: None,
        }
    }

    /// The same error, about this room.
    #[must_use]
    pub fn in_room(self, room: &RoomName) -> Self {
        Self {
            room: Some(room.clone()),
            ..self
        }
    }

    /// The error that answers a join of `room`.
    #[must_use]
    pub fn join(code: ErrorCode, room: &RoomName, join_id: JoinId) -> Self {
        Self {
            join: Some(join_id),
            ..Self::new(code).in_room(room)
        }
    }

    /// The error that answers the claim of a name.
    #[must_use]
    pub fn claim(code: ErrorCode, name: NameId) -> Self {
        Self {
            claim: Some(name),
            ..Self::new(code)
        }
    }

    /// The same error, about a frame for this target.
    #[must_use]
    pub(crate) fn to(self, target: Target) -> Self {
        let target = match target {
            Target::Everyone => None,
            Target::Peer(peer) => Some(peer.into()),
            Target::Address(address) | Target::AddressOrWait(address) => Some(address),
        };
        Self { target, ..self }
    }
}

impl From<ErrorCode> for RequestError {
    fn from(code: ErrorCode) -> Self {
        Self::new(code)
    }
}

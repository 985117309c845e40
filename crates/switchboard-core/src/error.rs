//! Why something was not done. The words for people are the dialects' matter.

use crate::{
    command::Target,
    id::{Address, JoinId, NameError, NameId, RoomName},
};

/// The reason, typed. [`ErrorCode::as_str`] is what programs read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// The frame is not what the dialect's frames are made of (bad JSON, not an object, not UTF-8).
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
    /// The name is kept for the server itself.
    Reserved,
    /// The connection was over one of its rates for `flood_secs`, or sent too much before it was let in.
    TooManyFrames,
    /// No first frame in time.
    FirstFrameTimeout,
    /// The sender is in no room, or not in this one.
    NotInRoom,
    /// Nobody of that address is in the room.
    NoSuchPeer,
    /// Nobody of that address has come in the time that the sender waited.
    Expired,
    /// The receiver's dialect has no words for this.
    Untranslatable,
    /// The room has `room_members` members.
    RoomFull,
    /// The peer is in `rooms_per_peer` rooms.
    TooManyRooms,
    /// Somebody alive has this name.
    Taken,
    /// The access check said no.
    Denied,
    /// The other nodes, or what joins them, cannot be reached; later it may go.
    Unavailable,
}

impl ErrorCode {
    /// The reason as a word for programs. Part of the wire: do not change.
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
            Self::Denied => "denied",
            Self::Unavailable => "unavailable",
        }
    }

    /// The refusal of `field` for this error.
    #[must_use]
    pub fn of_name(field: &'static str, error: NameError) -> Self {
        match error {
            NameError::Empty => Self::EmptyName(field),
            NameError::TooLong => Self::NameTooLong(field),
            NameError::Invisible => Self::InvisibleName(field),
        }
    }
}

/// What the one who asked is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestError {
    /// Why.
    pub code: ErrorCode,
    /// The room it was about.
    pub room: Option<RoomName>,
    /// The peer it was about, as the client wrote it.
    pub target: Option<Address>,
    /// Which attempt to enter `room` it answers, if it was one: the peer is not in it then.
    pub join: Option<JoinId>,
    /// The name that was claimed, if it answers a claim: the peer does not have it.
    pub claim: Option<NameId>,
}

impl RequestError {
    /// A refusal with that reason alone.
    #[must_use]
    pub fn new(reason: ErrorCode) -> Self {
        Self {
            code: reason,
            room: None,
            target: None,
            join: None,
            claim: None,
        }
    }

    /// The same, about this room.
    #[must_use]
    pub fn in_room(self, room: &RoomName) -> Self {
        Self {
            room: Some(room.clone()),
            ..self
        }
    }

    /// The refusal to let a peer into `room`.
    #[must_use]
    pub fn join(reason: ErrorCode, room: &RoomName, attempt: JoinId) -> Self {
        Self {
            join: Some(attempt),
            ..Self::new(reason).in_room(room)
        }
    }

    /// The refusal to give a peer this name.
    #[must_use]
    pub fn claim(reason: ErrorCode, name: NameId) -> Self {
        Self {
            claim: Some(name),
            ..Self::new(reason)
        }
    }

    /// The same, about a frame for this target.
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
    fn from(reason: ErrorCode) -> Self {
        Self::new(reason)
    }
}

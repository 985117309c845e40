//! The ids of users, calls and voice rooms.

use std::{fmt, sync::Arc};

use switchboard_core::RoomName;

/// A user of voice calls and rooms, on any number of connections: a public key in hexadecimal digits, or a
/// website's user number. The identity provider normalizes the id, so that each user has one spelling.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct User(Arc<str>);

impl User {
    /// The user with this id, or `None` if the id is empty.
    #[must_use]
    pub fn parse(id: &str) -> Option<Self> {
        (!id.is_empty()).then(|| Self(id.into()))
    }

    /// The id of the user, unchanged.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// Identifies a mixer: that of a call or of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum MixId {
    Call(CallId),
    Room(VoiceRoomId),
}

impl fmt::Display for MixId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(call) => write!(f, "voice call {call}"),
            Self::Room(room) => write!(f, "voice room {room}"),
        }
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(u64);

        impl $type {
            /// The number, as on the wire.
            #[must_use]
            pub fn get(self) -> u64 {
                self.0
            }
        }

        impl From<u64> for $type {
            fn from(number: u64) -> Self {
                Self(number)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number!(
    /// The id of a call between two users, from its accept to its end. Assigned from 1, never reused.
    CallId
);
number!(
    /// The id of a voice room. Ids of named rooms are assigned from 1 and never reused. The id of a
    /// numbered room is the number that the website gave it.
    VoiceRoomId
);

impl VoiceRoomId {
    /// The name of a numbered room: its number.
    #[must_use]
    pub fn to_name(self) -> RoomName {
        RoomName::parse(&self.to_string(), 0)
            .expect("digits are visible, and 0 means no limit of the length")
    }
}

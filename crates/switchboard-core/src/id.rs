//! Every id is a type of its own, parsed and bounded where it enters.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use uuid::Uuid;

use crate::visible::is_visible;

/// One connected session of a client, on whatever node. Made by the server at random.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(Uuid);

impl PeerId {
    /// The id made of these 16 bytes, which the caller draws at random (RFC 9562, version 4).
    #[must_use]
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }

    /// Its 16 bytes.
    #[must_use]
    pub fn bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }

    /// Reads any of the usual spellings: lower or upper case, with or without dashes, braced, URN.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().map(Self)
    }
}

impl From<[u8; 16]> for PeerId {
    /// The id that has these bytes already.
    fn from(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// It has no characters.
    Empty,
    /// It has more bytes than `Limits::name_bytes`.
    TooLong,
    /// It has no character that people can see.
    Invisible,
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// Takes `text` if it has at most `max` bytes (0: no limit) and a character that people can see.
            pub fn parse(text: &str, max: usize) -> Result<Self, NameError> {
                if text.is_empty() {
                    Err(NameError::Empty)
                } else if max != 0 && text.len() > max {
                    Err(NameError::TooLong)
                } else if !is_visible(text) {
                    Err(NameError::Invisible)
                } else {
                    Ok(Self(text.into()))
                }
            }

            /// The name as it was given.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

name!(
    /// A room's name within its space.
    RoomName
);
name!(
    /// A namespace of rooms and claimed names.
    SpaceName
);
name!(
    /// The string by which the others of a room name a peer.
    Address
);
name!(
    /// An id by which the clients of a room name each other in their frames, made by a client.
    Alias
);
name!(
    /// A name for people, shown where a dialect has a place for it. In the dialects where it is
    /// unique in a space or a room, it is also what is claimed.
    DisplayName
);
name!(
    /// What one node does for all of them.
    ElectionId
);
name!(
    /// Somebody who calls and is called, on however many connections: a public key in hexadecimal
    /// digits, or a site's number. The driver spells each user in one way only.
    User
);

impl Default for SpaceName {
    fn default() -> Self {
        Self("default".into())
    }
}

impl From<DisplayName> for Address {
    fn from(name: DisplayName) -> Self {
        Self(name.0)
    }
}

impl From<PeerId> for Address {
    fn from(id: PeerId) -> Self {
        Self(id.to_string().into())
    }
}

/// The dialects that can enter a room. Rooms of one name with different scopes are different rooms, so no
/// member of a closed room can be met, listed or counted from outside its scope.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum RoomScope {
    /// Every dialect.
    #[default]
    Shared,
    /// The dialect of this name only. Owned, because another node may know more dialects than this one.
    Dialect(Arc<str>),
}

impl Hash for RoomScope {
    /// Adds nothing for a shared room: every relayed frame looks one up.
    fn hash<H: Hasher>(&self, state: &mut H) {
        if let Self::Dialect(name) = self {
            name.hash(state);
        }
    }
}

impl RoomScope {
    /// The scope of a room that is closed to every dialect but this one.
    #[must_use]
    pub fn only(dialect: &str) -> Self {
        Self::Dialect(dialect.into())
    }

    /// The only dialect that can enter, if the room is closed to others.
    #[must_use]
    pub fn dialect(&self) -> Option<&str> {
        match self {
            Self::Shared => None,
            Self::Dialect(name) => Some(name),
        }
    }
}

/// A room: its space, its name and its scope.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomId {
    /// The namespace.
    pub space: SpaceName,
    /// The name within it.
    pub name: RoomName,
    /// The dialects that can enter.
    pub scope: RoomScope,
}

impl RoomId {
    /// The room of this name that every dialect can enter.
    #[must_use]
    pub fn shared(space: SpaceName, name: RoomName) -> Self {
        Self {
            space,
            name,
            scope: RoomScope::Shared,
        }
    }
}

/// A name that is claimed, and where it is unique.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameId {
    /// The namespace.
    pub space: SpaceName,
    /// The room of the namespace in which the name is unique; `None`: the name is unique in the namespace.
    /// These are different names: a claim in a room does not conflict with a claim in the whole namespace.
    pub room: Option<RoomName>,
    /// The name.
    pub name: DisplayName,
}

impl NameId {
    /// The name that is unique in the whole namespace.
    #[must_use]
    pub fn in_space(space: SpaceName, name: DisplayName) -> Self {
        Self {
            space,
            room: None,
            name,
        }
    }
}

/// The name of a dialect, as in `?dialect=`.
pub type DialectName = &'static str;

/// A place in a room's log of changes. The first change has position 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u64);

impl Position {
    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The number alone.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl From<u64> for Position {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

/// Tells one peer's attempts to join apart, so that the answer to an old one is not taken for
/// the answer to a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JoinId(u32);

impl JoinId {
    /// The attempt after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(u64);

        impl $type {
            /// The number alone, as it stands on the wire.
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
    /// One call between two users, from its accept to its end. Counted from 1, never reused.
    CallId
);
number!(
    /// A voice room. Named ones are counted from 1 and their numbers never reused; numbered ones
    /// keep the number that the site gave them.
    VoiceRoomId
);

impl From<VoiceRoomId> for RoomName {
    fn from(id: VoiceRoomId) -> Self {
        Self(id.to_string().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded() {
        assert_eq!(RoomName::parse("", 8), Err(NameError::Empty));
        assert_eq!(RoomName::parse("123456789", 8), Err(NameError::TooLong));
        assert_eq!(RoomName::parse("\u{200b} ", 8), Err(NameError::Invisible));
        assert_eq!(
            RoomName::parse("123456789", 0)
                .expect("0 is no limit")
                .as_str(),
            "123456789"
        );
    }

    #[test]
    fn peer_ids_are_read_in_every_spelling() {
        let id = PeerId::from_random([7; 16]);
        let plain = id.to_string();
        for spelling in [
            plain.to_uppercase(),
            plain.replace('-', ""),
            format!("{{{plain}}}"),
            format!("urn:uuid:{plain}"),
        ] {
            assert_eq!(PeerId::parse(&spelling), Some(id), "{spelling}");
        }
        assert_eq!(PeerId::parse("not-a-uuid"), None);
    }
}

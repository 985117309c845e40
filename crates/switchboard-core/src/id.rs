//! Identifier types. Each kind of id has its own type; names are validated and bounded when they are parsed.

use std::{
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
    sync::Arc,
};

use thiserror::Error;
use uuid::Uuid;

use crate::visible::{is_visible, visible_form};

/// The bytes of the text of a [`PeerId`].
pub const PEER_ID_BYTES: usize = uuid::fmt::Hyphenated::LENGTH;

/// The id of one client connection, unique over all nodes. The server generates it at random.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerId(Uuid);

impl Hash for PeerId {
    /// Hashes one number, which is faster than a list of bytes.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.0.as_u128());
    }
}

impl PeerId {
    /// Makes a version 4 UUID (RFC 9562) from 16 random bytes.
    #[must_use]
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }

    /// The text of the id, written into a buffer: without an allocation, unlike `to_string`.
    #[must_use]
    pub fn encode(self, buffer: &mut [u8; PEER_ID_BYTES]) -> &str {
        self.0.hyphenated().encode_lower(buffer)
    }

    /// The 16 bytes of the id.
    #[must_use]
    pub fn bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }
}

/// The error for a text that is not a [`PeerId`].
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{text:?} is not the id of a peer, which is a UUID")]
pub struct PeerIdError {
    text: String,
    source: uuid::Error,
}

impl FromStr for PeerId {
    type Err = PeerIdError;

    /// Parses a UUID in any usual form: lower or upper case, with or without dashes, in braces, as a URN.
    fn from_str(text: &str) -> Result<Self, PeerIdError> {
        let parsed = Uuid::try_parse(text).map(Self);
        parsed.map_err(|source| PeerIdError {
            text: text.to_owned(),
            source,
        })
    }
}

impl From<[u8; 16]> for PeerId {
    /// Makes the id with exactly these bytes.
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

/// The reason why a text is not a valid name.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum NameError {
    /// The text is empty.
    #[error("a name must not be empty")]
    Empty,
    /// The text has more bytes than `Limits::name_bytes`.
    #[error("the name has more bytes than limits.name_bytes")]
    TooLong,
    /// The text has no visible character.
    #[error("a name must have a visible character")]
    Invisible,
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// Parses a name of at most `max` bytes (0: no limit) with at least one visible character.
            ///
            /// # Errors
            /// The [`NameError`] of the first rule that `text` breaks.
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

            /// The text of the name, unchanged.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            /// Parses a name of any length. [`Self::parse`] enforces a limit.
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::parse(text, 0)
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
    /// The address of a member within its room: the string that other members put into their frames. Not an IP
    /// address.
    Address
);
name!(
    /// An id that a client makes for itself and puts into its frames, and that the server learns from them. Unlike an
    /// [`Address`], it is not part of a join and need not be unique.
    Alias
);
name!(
    /// A display name. Some dialects require that it is unique in a space or a room: their clients claim it first.
    DisplayName
);
name!(
    /// The name of a leader election. The leader is the one node that does a certain task for the cluster.
    ElectionId
);

impl DisplayName {
    /// The name as it looks: without characters that are not displayed, and with single spaces between words. Names
    /// that differ only in these have the same visible form. It is not empty, and not longer than the name.
    #[must_use]
    pub fn visible_form(&self) -> Self {
        visible_form(&self.0).map_or_else(|| self.clone(), |visible| Self(visible.into()))
    }
}

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

/// The dialects that can join a room. Two scopes of one room name are two rooms, so the members of a closed room are
/// invisible outside its scope.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum RoomScope {
    /// Every dialect.
    #[default]
    Shared,
    /// The dialect of this name only. The type is not [`DialectName`], a static string, because the name can be that of
    /// a dialect that only another node has.
    Dialect(Arc<str>),
}

impl Hash for RoomScope {
    /// Hashes nothing for [`RoomScope::Shared`], to save time: every relayed frame looks up a room.
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

    /// The only dialect that can join, if the room is closed to others.
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
    /// The namespace of the name.
    pub space: SpaceName,
    /// The name within the namespace.
    pub name: RoomName,
    /// The dialects that can join.
    pub scope: RoomScope,
}

impl RoomId {
    /// The room of this name that every dialect can join.
    #[must_use]
    pub fn shared(space: SpaceName, name: RoomName) -> Self {
        Self {
            space,
            name,
            scope: RoomScope::Shared,
        }
    }
}

/// A claimed name and the scope in which it is unique.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameId {
    /// The namespace of the name.
    pub space: SpaceName,
    /// The room in which the name is unique; `None` if it is unique in the namespace. A claim in a room does not
    /// conflict with a claim of the same name in the namespace.
    pub room: Option<RoomName>,
    /// The claimed name.
    pub name: DisplayName,
}

impl NameId {
    /// A name that is unique in the whole namespace.
    #[must_use]
    pub fn in_space(space: SpaceName, name: DisplayName) -> Self {
        Self {
            space,
            room: None,
            name,
        }
    }
}

/// The name of a dialect, as in the query parameter `?dialect=`.
pub type DialectName = &'static str;

/// A position in a membership log. The first change has position 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u64);

impl Position {
    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The position as a number.
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

/// Correlates a join of a peer with its refusal, so that a late refusal is not applied to a newer join.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JoinId(u32);

impl JoinId {
    /// The id of the next join.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
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
    fn peer_ids_are_parsed_in_every_uuid_form() {
        let id = PeerId::from_random([7; 16]);
        let plain = id.to_string();
        for spelling in [
            plain.to_uppercase(),
            plain.replace('-', ""),
            format!("{{{plain}}}"),
            format!("urn:uuid:{plain}"),
        ] {
            assert_eq!(spelling.parse(), Ok(id), "{spelling}");
        }
        let error = "not-a-uuid".parse::<PeerId>().expect_err("not an id");
        assert_eq!(
            error.to_string(),
            "\"not-a-uuid\" is not the id of a peer, which is a UUID"
        );
    }

    #[test]
    fn names_are_parsed_from_text_without_a_limit() {
        let long = "n".repeat(10_000);
        let room: RoomName = long.parse().expect("a name");
        assert_eq!(room.as_str(), long);
        assert_eq!("".parse::<Address>(), Err(NameError::Empty));
    }
}

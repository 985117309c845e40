//! Grants: the powers of a client, each for the rooms whose names match a pattern.

use std::{
    fmt,
    str::FromStr,
    sync::{Arc, LazyLock},
};

use thiserror::Error;

use crate::{id::RoomName, message::MessageKind};

/// The grants that one client can have.
const GRANTS_MAX: usize = 64;

/// The bytes of all grants of a client together. Nodes send them to each other in a header.
const GRANTS_BYTES_MAX: usize = 4 * 1024;

/// The bytes of a room pattern.
const PATTERN_BYTES_MAX: usize = 512;

/// A power of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Power {
    /// Join a room, and claim a name in it.
    Join,
    /// Send offers, answers and candidates to members of a room.
    Signal,
    /// Send messages to members of a room.
    Message,
    /// List the members of a room without joining it.
    List,
    /// Talk in a voice room.
    PublishAudio,
    /// Listen to a voice room.
    ListenAudio,
    /// Call another user of voice.
    Call,
    /// Get STUN and TURN servers with credentials.
    Relay,
    /// Kick, ban, lock, close and announce in a room.
    Moderate,
    /// Everything that the admin API offers.
    Admin,
}

impl Power {
    /// All powers, in the order of the documentation.
    pub const ALL: [Self; 10] = [
        Self::Join,
        Self::Signal,
        Self::Message,
        Self::List,
        Self::PublishAudio,
        Self::ListenAudio,
        Self::Call,
        Self::Relay,
        Self::Moderate,
        Self::Admin,
    ];

    /// The name of the power in settings and tokens.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Signal => "signal",
            Self::Message => "message",
            Self::List => "list",
            Self::PublishAudio => "publish_audio",
            Self::ListenAudio => "listen_audio",
            Self::Call => "call",
            Self::Relay => "relay",
            Self::Moderate => "moderate",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Power {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of powers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PowerSet(u16);

impl PowerSet {
    /// Every power except `moderate` and `admin`: the powers of a participant.
    pub const PARTICIPANT: Self =
        Self((1 << Power::ALL.len()) - 1 - Self::of(Power::Moderate).0 - Self::of(Power::Admin).0);

    /// The set with this power only.
    #[must_use]
    pub const fn of(power: Power) -> Self {
        Self(1 << power as u16)
    }

    /// The powers that a client needs to send a message of this kind. The server cannot see whether opaque data is
    /// signaling, so a client needs both powers for it.
    #[must_use]
    pub(crate) const fn to_send(kind: MessageKind) -> Self {
        match kind {
            MessageKind::Offer | MessageKind::Answer | MessageKind::Candidate => {
                Self::of(Power::Signal)
            }
            MessageKind::Message => Self::of(Power::Message),
            MessageKind::Opaque => Self::of(Power::Signal).union(Self::of(Power::Message)),
        }
    }

    /// The powers of both sets.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the set has all powers of `other`.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The first power of `wanted` that is not in this set.
    #[must_use]
    pub fn first_missing(self, wanted: Self) -> Option<Power> {
        if self.contains(wanted) {
            return None;
        }
        Self(wanted.0 & !self.0).iter().next()
    }

    /// The powers in the set.
    pub fn iter(self) -> impl Iterator<Item = Power> {
        let has = move |power: &Power| self.contains(Self::of(*power));
        Power::ALL.into_iter().filter(has)
    }
}

/// A pattern of room names: `*` for all rooms, `team-*` for the names that begin with `team-`, or one name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RoomPattern {
    /// The rooms whose names begin with this text; all rooms if it is empty.
    Prefix(Arc<str>),
    /// The room of this name.
    Exact(Arc<str>),
}

impl RoomPattern {
    /// The pattern of all rooms.
    #[must_use]
    pub fn any() -> Self {
        Self::Prefix("".into())
    }

    /// Whether a room of this name matches.
    #[must_use]
    pub fn matches(&self, room: &RoomName) -> bool {
        match self {
            Self::Prefix(prefix) => room.as_str().starts_with(&**prefix),
            Self::Exact(name) => room.as_str() == &**name,
        }
    }

    /// Whether every room that matches `other` matches this pattern.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Prefix(prefix), Self::Prefix(text) | Self::Exact(text)) => {
                text.starts_with(&**prefix)
            }
            (Self::Exact(name), Self::Exact(other)) => name == other,
            (Self::Exact(_), Self::Prefix(_)) => false,
        }
    }
}

impl FromStr for RoomPattern {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        if text.is_empty() {
            return Err(GrantError::EmptyPattern);
        }
        if text.len() > PATTERN_BYTES_MAX {
            return Err(GrantError::LongPattern(text.len()));
        }
        match text.strip_suffix('*') {
            Some(prefix) if prefix.contains('*') => Err(GrantError::Pattern(text.to_owned())),
            Some(prefix) => Ok(Self::Prefix(prefix.into())),
            None if text.contains('*') => Err(GrantError::Pattern(text.to_owned())),
            None => Ok(Self::Exact(text.into())),
        }
    }
}

impl fmt::Display for RoomPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::Exact(name) => f.write_str(name),
        }
    }
}

/// Powers in the rooms of one pattern. As text: `POWER`, `POWER:PATTERN`, or with `*` in place of the power for every
/// power except `moderate` and `admin`. Without a pattern the grant holds in all rooms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The powers that are granted.
    pub powers: PowerSet,
    /// The rooms in which the powers hold.
    pub rooms: RoomPattern,
}

impl FromStr for Grant {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let (name, rooms) = match text.split_once(':') {
            Some((name, pattern)) => (name, pattern.parse()?),
            None => (text, RoomPattern::any()),
        };
        let named = || {
            let mut powers = Power::ALL.into_iter();
            powers.find(|power| power.as_str() == name)
        };
        let powers = match name {
            "*" => PowerSet::PARTICIPANT,
            _ => PowerSet::of(named().ok_or_else(|| GrantError::UnknownPower(name.to_owned()))?),
        };
        Ok(Self { powers, rooms })
    }
}

impl Grant {
    /// The texts of the grant: one for each power, or one with `*`.
    fn to_texts(&self) -> Vec<String> {
        let rooms = match self.rooms == RoomPattern::any() {
            true => String::new(),
            false => format!(":{}", self.rooms),
        };
        let text = |name: &str| format!("{name}{rooms}");
        match self.powers {
            PowerSet::PARTICIPANT => vec![text("*")],
            powers => powers.iter().map(|power| text(power.as_str())).collect(),
        }
    }
}

/// The error for a text that is no grant.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum GrantError {
    /// The power does not exist.
    #[error(
        "{0:?} is no power; there are: *, join, signal, message, list, publish_audio, listen_audio, call, relay, moderate, admin"
    )]
    UnknownPower(String),
    /// The pattern has a `*` that is not its last character.
    #[error("the room pattern {0:?} has a \"*\" that is not its last character")]
    Pattern(String),
    /// The pattern is empty.
    #[error("a room pattern must not be empty; \"*\" stands for all rooms")]
    EmptyPattern,
    /// The pattern is too long.
    #[error("a room pattern has {0} bytes; at most {PATTERN_BYTES_MAX} are allowed")]
    LongPattern(usize),
    /// The grants are too long together.
    #[error("the grants have {0} bytes; at most {GRANTS_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// The client has too many grants.
    #[error("{0} grants; at most {GRANTS_MAX} are allowed")]
    TooMany(usize),
}

/// The grants of one client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants(Vec<Grant>);

static PARTICIPANT: LazyLock<Arc<Grants>> = LazyLock::new(|| {
    Arc::new(Grants(vec![Grant {
        powers: PowerSet::PARTICIPANT,
        rooms: RoomPattern::any(),
    }]))
});

static NONE: LazyLock<Arc<Grants>> = LazyLock::new(Arc::default);

impl Grants {
    /// Every power except `moderate` and `admin`, in all rooms.
    #[must_use]
    pub fn participant() -> Arc<Self> {
        PARTICIPANT.clone()
    }

    /// No power at all.
    #[must_use]
    pub fn none() -> Arc<Self> {
        NONE.clone()
    }

    /// Parses a list of grants.
    ///
    /// # Errors
    /// The error of the first text that is no grant, or the number of grants if there are too many.
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Self, GrantError> {
        if texts.len() > GRANTS_MAX {
            return Err(GrantError::TooMany(texts.len()));
        }
        let bytes = texts.iter().map(|text| text.as_ref().len()).sum();
        if bytes > GRANTS_BYTES_MAX {
            return Err(GrantError::TooLong(bytes));
        }
        let grants = texts.iter().map(|text| text.as_ref().parse());
        grants.collect::<Result<_, _>>().map(Self)
    }

    /// The texts of the grants.
    #[must_use]
    pub fn to_texts(&self) -> Vec<String> {
        self.0.iter().flat_map(Grant::to_texts).collect()
    }

    /// The powers in a room.
    #[must_use]
    pub fn in_room(&self, room: &RoomName) -> PowerSet {
        let matching = self.0.iter().filter(|grant| grant.rooms.matches(room));
        matching.fold(PowerSet::default(), |set, grant| set.union(grant.powers))
    }

    /// Whether the client has the power in this room.
    #[must_use]
    pub fn allows(&self, power: Power, room: &RoomName) -> bool {
        self.in_room(room).contains(PowerSet::of(power))
    }

    /// Whether the client has the power in some room.
    #[must_use]
    pub fn has(&self, power: Power) -> bool {
        let mut grants = self.0.iter();
        grants.any(|grant| grant.powers.contains(PowerSet::of(power)))
    }
}

impl FromIterator<Grant> for Grants {
    fn from_iter<I: IntoIterator<Item = Grant>>(grants: I) -> Self {
        Self(grants.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(name: &str) -> RoomName {
        RoomName::parse(name, 0).expect("a name")
    }

    #[test]
    fn grants_hold_in_the_rooms_of_their_patterns() {
        let grants = Grants::parse(&["join:team-*", "signal:team-a", "list"]).expect("grants");
        let has = |power, name: &str| grants.allows(power, &room(name));
        assert!(has(Power::Join, "team-a") && has(Power::Join, "team-"));
        assert!(!has(Power::Join, "team") && !has(Power::Join, "Team-a"));
        assert!(has(Power::Signal, "team-a") && !has(Power::Signal, "team-ab"));
        assert!(has(Power::List, "anything") && !has(Power::Message, "team-a"));
        assert!(grants.has(Power::Signal) && !grants.has(Power::Admin));
    }

    #[test]
    fn star_grants_no_moderation() {
        let grants = Grants::participant();
        for power in Power::ALL {
            let is_special = matches!(power, Power::Moderate | Power::Admin);
            assert_eq!(grants.has(power), !is_special, "{power}");
        }
        assert!(Power::ALL.iter().all(|power| !Grants::none().has(*power)));
    }

    #[test]
    fn text_of_grants_is_parsed_to_the_same_grants() {
        let texts = ["*", "*:team-*", "join", "moderate:a:b", "publish_audio:x*"];
        let grants = Grants::parse(&texts).expect("grants");
        assert_eq!(grants.to_texts(), texts);
    }

    #[test]
    fn invalid_grants_are_errors() {
        let error = |text: &str| text.parse::<Grant>().expect_err(text);
        assert_eq!(error("jion"), GrantError::UnknownPower("jion".into()));
        assert_eq!(error(""), GrantError::UnknownPower(String::new()));
        assert_eq!(error("join:"), GrantError::EmptyPattern);
        for pattern in ["a*b", "**", "*a"] {
            let expected = GrantError::Pattern(pattern.into());
            assert_eq!(error(&format!("join:{pattern}")), expected);
        }
        let long = format!("join:{}", "a".repeat(513));
        assert_eq!(error(&long), GrantError::LongPattern(513));
        let long = vec![format!("join:{}", "a".repeat(500)); 9];
        assert_eq!(Grants::parse(&long), Err(GrantError::TooLong(9 * 505)));
        let many = vec!["join"; 65];
        assert_eq!(Grants::parse(&many), Err(GrantError::TooMany(65)));
    }

    #[test]
    fn opaque_data_needs_both_powers() {
        let signal = PowerSet::of(Power::Signal);
        let missing = signal.first_missing(PowerSet::to_send(MessageKind::Opaque));
        assert_eq!(missing, Some(Power::Message));
        let offer = PowerSet::to_send(MessageKind::Offer);
        assert_eq!(signal.first_missing(offer), None);
    }

    #[test]
    fn pattern_covers_narrower_patterns() {
        let pattern = |text: &str| text.parse::<RoomPattern>().expect(text);
        assert!(pattern("*").covers(&pattern("a*")) && pattern("a*").covers(&pattern("ab")));
        assert!(!pattern("ab").covers(&pattern("ab*")) && !pattern("ab*").covers(&pattern("a*")));
    }
}

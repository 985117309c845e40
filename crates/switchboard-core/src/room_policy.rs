//! Room policies: which clients may join the rooms whose names match a pattern, and how many.
//!
//! A policy guards the room: the hub checks it before a join or a claim becomes a change of the membership log, so it
//! holds for every dialect, path and node. Members that are in the room already stay when a policy changes.

use std::{
    fmt,
    str::FromStr,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    error::ErrorCode,
    grants::RoomPattern,
    id::RoomName,
    introduction::{Identity, Member},
    limits::lower_limit,
};

/// The rules of a room. A field without a value restricts nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomPolicy {
    /// Max members of the room; 0 means that only the limits of [`Limits`](crate::Limits) apply.
    pub max_members: Option<usize>,
    /// The names of the dialects whose clients may join; voice rooms have the name `gostream`.
    pub dialects: Option<Vec<Arc<str>>>,
    /// Whether members may learn of each other from the server. If not, only clients of dialects that reveal no members
    /// may join (see [`DialectTraits::reveals_members`](crate::DialectTraits::reveals_members)), and the members are not
    /// listed.
    pub presence: Option<bool>,
    /// Whether no client may join. Members stay, and a client with a reserved address may come back.
    pub locked: Option<bool>,
    /// The clients that may join.
    pub who_may_join: Option<Vec<ClientPattern>>,
}

/// The clients that an entry of [`RoomPolicy::who_may_join`] admits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientPattern {
    /// Every client, written `anyone`.
    Anyone,
    /// Every client with a proven identity, written `authenticated`.
    Authenticated,
    /// The client with this proven identity.
    Subject(Arc<str>),
    /// The clients whose proven identity begins with this text, written with a `*` at its end.
    SubjectPrefix(Arc<str>),
}

impl ClientPattern {
    fn admits(&self, identity: &Identity) -> bool {
        match (self, identity) {
            (Self::Anyone, _) | (Self::Authenticated, Identity::Proven(_)) => true,
            (Self::Subject(subject), Identity::Proven(proven)) => subject == proven,
            (Self::SubjectPrefix(prefix), Identity::Proven(proven)) => {
                proven.starts_with(&**prefix)
            }
            (
                Self::Authenticated | Self::Subject(_) | Self::SubjectPrefix(_),
                Identity::Claimed,
            ) => false,
        }
    }
}

impl fmt::Display for ClientPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => f.write_str("anyone"),
            Self::Authenticated => f.write_str("authenticated"),
            Self::Subject(subject) => f.write_str(subject),
            Self::SubjectPrefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

/// The error for a text that is not a [`ClientPattern`].
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{0:?} is not `anyone`, `authenticated`, a subject or the beginning of subjects with one `*` at its end"
)]
pub struct ClientPatternError(String);

impl FromStr for ClientPattern {
    type Err = ClientPatternError;

    fn from_str(text: &str) -> Result<Self, ClientPatternError> {
        match (text, text.strip_suffix('*')) {
            ("anyone", _) => Ok(Self::Anyone),
            ("authenticated" | "*", _) => Ok(Self::Authenticated),
            (_, Some(prefix)) if !prefix.contains('*') => Ok(Self::SubjectPrefix(prefix.into())),
            (subject, None) if !subject.is_empty() && !subject.contains('*') => {
                Ok(Self::Subject(subject.into()))
            }
            _ => Err(ClientPatternError(text.to_owned())),
        }
    }
}

/// The rule for a client that joins a room in which another session has the same proven identity.
///
/// A client that proves with a [`Token`](crate::Token) that it is the same client as the holder of its address replaces
/// that session under every rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DuplicateIdentity {
    /// The new session replaces an older one that has the same address or name. Sessions with different addresses stay.
    #[default]
    Replace,
    /// The new session is refused, whatever its address.
    Refuse,
    /// The older session is probed, whatever its address. If it answers, the new session is refused; if it does not, it
    /// is evicted.
    Challenge,
}

/// A reason for which a room policy refuses a join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinRefusal {
    /// The room is locked.
    Locked,
    /// The room does not admit the client's dialect.
    Dialect,
    /// The room does not reveal its members, and the client's dialect does.
    Presence,
    /// The room does not admit the client's identity.
    Client,
    /// The room has the maximum number of members.
    MaxMembers,
    /// Another session has the client's identity.
    DuplicateIdentity,
}

impl JoinRefusal {
    /// All reasons.
    pub const ALL: [Self; 6] = [
        Self::Locked,
        Self::Dialect,
        Self::Presence,
        Self::Client,
        Self::MaxMembers,
        Self::DuplicateIdentity,
    ];

    /// The name of the reason, as in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Locked => "locked",
            Self::Dialect => "dialect",
            Self::Presence => "presence",
            Self::Client => "client",
            Self::MaxMembers => "max_members",
            Self::DuplicateIdentity => "duplicate_identity",
        }
    }

    /// The sentence that tells a client of `dialect` why it may not join `room`.
    #[must_use]
    pub fn text(self, room: &RoomName, dialect: &str) -> Arc<str> {
        let text = match self {
            Self::Locked => format!("The room {room:?} is locked."),
            Self::Dialect => format!("The room {room:?} does not admit the dialect {dialect:?}."),
            Self::Presence => format!(
                "The room {room:?} does not reveal its members, and the dialect {dialect:?} needs that."
            ),
            Self::Client => format!("The room {room:?} does not admit this client."),
            Self::MaxMembers => format!("The room {room:?} is full."),
            Self::DuplicateIdentity => {
                format!("Another session of this client is in the room {room:?}.")
            }
        };
        text.into()
    }

    /// The error that answers the join of `room` by a client of `dialect`.
    #[must_use]
    pub fn error(self, room: &RoomName, dialect: &str) -> ErrorCode {
        match self {
            Self::MaxMembers => ErrorCode::RoomFull,
            Self::DuplicateIdentity => ErrorCode::Taken,
            Self::Locked | Self::Dialect | Self::Presence | Self::Client => {
                ErrorCode::Denied(Some(self.text(room, dialect)))
            }
        }
    }
}

/// A client that wants to join a room.
#[derive(Clone, Copy, Debug)]
pub struct JoiningClient<'a> {
    /// The name of its dialect.
    pub dialect: &'a str,
    /// Whether its dialect reveals the members of a room.
    pub reveals_members: bool,
    /// Its identity.
    pub identity: &'a Identity,
    /// The policy that its credential carries. It applies in addition to those of the room.
    pub policy: Option<&'a RoomPolicy>,
    /// Whether it asks for a group of members. The name of its room then ends with the parameters of the group, from the
    /// last `?` on. Patterns match the name with and without them.
    pub is_grouped: bool,
    /// Whether it comes back: its address is reserved for it, or it replaces its own session.
    pub is_returning: bool,
}

impl<'a> JoiningClient<'a> {
    /// The name of the room without the parameters of a group.
    fn plain_name(&self, room: &RoomName) -> Option<RoomName> {
        let (plain, _) = room.as_str().rsplit_once('?')?;
        self.is_grouped.then(|| plain.parse().ok())?
    }

    /// A member that wants to join.
    #[must_use]
    pub fn of(member: &'a Member, is_returning: bool) -> Self {
        Self {
            dialect: member.dialect.name,
            reveals_members: member.dialect.reveals_members,
            identity: &member.identity,
            policy: member.policy.as_deref(),
            is_grouped: member.group.is_some(),
            is_returning,
        }
    }
}

/// The room policies of a server.
///
/// Several patterns may match a room. For each field, the most specific pattern with a value for the field applies: the
/// exact name, then the longest prefix, then `*`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomPolicies {
    /// The most specific pattern first.
    rules: Vec<(RoomPattern, RoomPolicy)>,
    /// The rule for two sessions in a room with the same identity.
    pub duplicate_identity: DuplicateIdentity,
}

impl RoomPolicies {
    /// The policies, the most specific pattern first.
    #[must_use]
    pub fn rules(&self) -> &[(RoomPattern, RoomPolicy)] {
        &self.rules
    }

    /// Policies by pattern. Of two policies with the same pattern, the first applies.
    #[must_use]
    pub fn new(
        rules: impl IntoIterator<Item = (RoomPattern, RoomPolicy)>,
        duplicate_identity: DuplicateIdentity,
    ) -> Self {
        let mut rules: Vec<_> = rules.into_iter().collect();
        rules.sort_by_key(|(pattern, _)| std::cmp::Reverse(specificity(pattern)));
        Self {
            rules,
            duplicate_identity,
        }
    }

    /// Checks every rule but the number of members, which the hub and the engine count.
    ///
    /// # Errors
    /// The first rule that refuses the join.
    pub fn check_join(
        &self,
        room: &RoomName,
        client: &JoiningClient<'_>,
    ) -> Result<(), JoinRefusal> {
        self.check_list(room, client)?;
        let is_locked = |locked: &bool| *locked && !client.is_returning;
        match self.any_refuses(room, client, |policy| policy.locked.as_ref(), is_locked) {
            true => Err(JoinRefusal::Locked),
            false => Ok(()),
        }
    }

    /// Checks whether a client may list the members of a room: it could join if the room were neither locked nor full.
    ///
    /// # Errors
    /// The first rule that refuses the list.
    pub fn check_list(
        &self,
        room: &RoomName,
        client: &JoiningClient<'_>,
    ) -> Result<(), JoinRefusal> {
        let is_other_dialect =
            |dialects: &Vec<Arc<str>>| !dialects.iter().any(|name| **name == *client.dialect);
        let is_other_client = |patterns: &Vec<ClientPattern>| {
            let mut patterns = patterns.iter();
            !patterns.any(|pattern| pattern.admits(client.identity))
        };
        let reveals_members = |presence: &bool| !*presence && client.reveals_members;
        if self.any_refuses(
            room,
            client,
            |policy| policy.dialects.as_ref(),
            is_other_dialect,
        ) {
            Err(JoinRefusal::Dialect)
        } else if self.any_refuses(
            room,
            client,
            |policy| policy.who_may_join.as_ref(),
            is_other_client,
        ) {
            Err(JoinRefusal::Client)
        } else if self.any_refuses(
            room,
            client,
            |policy| policy.presence.as_ref(),
            reveals_members,
        ) {
            Err(JoinRefusal::Presence)
        } else {
            Ok(())
        }
    }

    /// Whether the members of a room may be listed to a member.
    #[must_use]
    pub fn reveals_members(&self, room: &RoomName, member: &Member) -> bool {
        let client = JoiningClient::of(member, false);
        !self.any_refuses(
            room,
            &client,
            |policy| policy.presence.as_ref(),
            |flag| !flag,
        )
    }

    /// Max members of a room for a client that joins it; 0 for no limit.
    #[must_use]
    pub fn members_max(&self, room: &RoomName, client: &JoiningClient<'_>) -> usize {
        let of_room = self.find(room, client, |policy| policy.max_members.as_ref());
        let own = client.policy.and_then(|policy| policy.max_members);
        lower_limit(of_room.copied().unwrap_or(0), own.unwrap_or(0))
    }

    /// Whether the value of the room's policies or that of the client's own policy refuses the client.
    fn any_refuses<'a, T: 'a>(
        &'a self,
        room: &RoomName,
        client: &JoiningClient<'a>,
        field: impl Fn(&'a RoomPolicy) -> Option<&'a T> + Copy,
        refuses: impl Fn(&T) -> bool,
    ) -> bool {
        let of_room = self.find(room, client, field);
        let own = client.policy.and_then(field);
        of_room.into_iter().chain(own).any(refuses)
    }

    /// The value of a field for a room.
    fn find<'a, T: 'a>(
        &'a self,
        room: &RoomName,
        client: &JoiningClient<'_>,
        field: impl Fn(&'a RoomPolicy) -> Option<&'a T>,
    ) -> Option<&'a T> {
        let mut rules = self.rules.iter().peekable();
        rules.peek()?;
        let plain = client.plain_name(room);
        let names = [Some(room), plain.as_ref()].into_iter().flatten();
        let mut matching =
            rules.filter(|(pattern, _)| names.clone().any(|name| pattern.matches(name)));
        matching.find_map(|(_, policy)| field(policy))
    }
}

/// The sort key of a pattern: an exact name is above every prefix, and a longer prefix is above a shorter one.
fn specificity(pattern: &RoomPattern) -> (bool, usize) {
    match pattern {
        RoomPattern::Prefix(prefix) => (false, prefix.len()),
        RoomPattern::Exact(name) => (true, name.len()),
    }
}

/// The room policies that all hubs of a server share. They can be replaced while the server runs.
#[derive(Clone, Debug, Default)]
pub struct SharedRoomPolicies(Arc<PolicyState>);

#[derive(Debug, Default)]
struct PolicyState {
    current: RwLock<Arc<RoomPolicies>>,
    /// The number of refused joins, by [`JoinRefusal`].
    refused: [AtomicU64; JoinRefusal::ALL.len()],
}

impl SharedRoomPolicies {
    /// Shares these policies.
    #[must_use]
    pub fn new(policies: RoomPolicies) -> Self {
        let shared = Self::default();
        shared.replace(policies);
        shared
    }

    /// The policies in force.
    #[must_use]
    pub fn load(&self) -> Arc<RoomPolicies> {
        // The value is replaced in one step, so it is valid after a panic too.
        let current = self.0.current.read();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the policies. Later joins are checked by the new ones.
    pub fn replace(&self, policies: RoomPolicies) {
        let current = self.0.current.write();
        *current.unwrap_or_else(PoisonError::into_inner) = Arc::new(policies);
    }

    /// Like [`RoomPolicies::check_join`], and counts a refusal.
    ///
    /// # Errors
    /// The first rule that refuses the join.
    pub fn check_join(
        &self,
        room: &RoomName,
        client: &JoiningClient<'_>,
    ) -> Result<(), JoinRefusal> {
        let checked = self.load().check_join(room, client);
        checked.inspect_err(|refusal| self.count(*refusal))
    }

    /// Like [`RoomPolicies::check_list`], and counts a refusal.
    ///
    /// # Errors
    /// The first rule that refuses the list.
    pub fn check_list(
        &self,
        room: &RoomName,
        client: &JoiningClient<'_>,
    ) -> Result<(), JoinRefusal> {
        let checked = self.load().check_list(room, client);
        checked.inspect_err(|refusal| self.count(*refusal))
    }

    /// Counts a refused join.
    pub fn count(&self, refusal: JoinRefusal) {
        self.0.refused[refusal as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The numbers of refused joins and lists, by reason.
    #[must_use]
    pub fn refused(&self) -> [(JoinRefusal, u64); JoinRefusal::ALL.len()] {
        JoinRefusal::ALL.map(|reason| {
            (
                reason,
                self.0.refused[reason as usize].load(Ordering::Relaxed),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(name: &str) -> RoomName {
        name.parse().expect("a name")
    }

    fn names(names: &[&str]) -> Option<Vec<Arc<str>>> {
        Some(names.iter().map(|name| (*name).into()).collect())
    }

    fn clients(patterns: &[&str]) -> Option<Vec<ClientPattern>> {
        let parse = |pattern: &&str| pattern.parse().expect("a pattern");
        Some(patterns.iter().map(parse).collect())
    }

    fn policies(rules: Vec<(&str, RoomPolicy)>) -> RoomPolicies {
        let rules = rules.into_iter();
        let rules = rules.map(|(pattern, policy)| (pattern.parse().expect("a pattern"), policy));
        RoomPolicies::new(rules, DuplicateIdentity::Replace)
    }

    fn client<'a>(dialect: &'a str, identity: &'a Identity) -> JoiningClient<'a> {
        JoiningClient {
            dialect,
            reveals_members: true,
            identity,
            policy: None,
            is_grouped: false,
            is_returning: false,
        }
    }

    #[test]
    fn the_most_specific_pattern_with_a_value_applies_for_each_field() {
        let limited = |max_members| RoomPolicy {
            max_members: Some(max_members),
            ..RoomPolicy::default()
        };
        let policies = policies(vec![
            ("*", limited(9)),
            ("team-*", limited(5)),
            ("team-a*", limited(4)),
            ("team-a", limited(2)),
            (
                "team-ab",
                RoomPolicy {
                    locked: Some(true),
                    ..RoomPolicy::default()
                },
            ),
            ("open", limited(0)),
        ]);
        for (name, expected) in [
            ("other", 9),
            ("team-", 5),
            ("team-b", 5),
            ("team-a", 2),
            ("team-ab", 4),
            ("team-abc", 4),
            ("open", 0),
        ] {
            let unknown = client("mesh", &Identity::Claimed);
            assert_eq!(
                policies.members_max(&room(name), &unknown),
                expected,
                "{name}"
            );
        }
        let nobody = Identity::Claimed;
        let join = |name: &str| policies.check_join(&room(name), &client("mesh", &nobody));
        assert_eq!(join("team-ab"), Err(JoinRefusal::Locked));
        assert_eq!(join("team-a"), Ok(()));
    }

    #[test]
    fn each_field_refuses_other_clients() {
        let ada = Identity::Proven("ada".into());
        let bob = Identity::Proven("bob@example.org".into());
        let unknown = Identity::Claimed;
        let policies = policies(vec![
            (
                "mesh-only",
                RoomPolicy {
                    dialects: names(&["mesh"]),
                    ..RoomPolicy::default()
                },
            ),
            (
                "hidden",
                RoomPolicy {
                    presence: Some(false),
                    ..RoomPolicy::default()
                },
            ),
            (
                "known",
                RoomPolicy {
                    who_may_join: clients(&["authenticated"]),
                    ..RoomPolicy::default()
                },
            ),
            (
                "some",
                RoomPolicy {
                    who_may_join: clients(&["ada", "bob@*"]),
                    ..RoomPolicy::default()
                },
            ),
            (
                "nobody",
                RoomPolicy {
                    who_may_join: clients(&[]),
                    ..RoomPolicy::default()
                },
            ),
        ]);
        for (name, dialect, identity, expected) in [
            ("mesh-only", "mesh", &unknown, Ok(())),
            ("mesh-only", "p2p", &ada, Err(JoinRefusal::Dialect)),
            ("hidden", "mesh", &ada, Err(JoinRefusal::Presence)),
            ("known", "mesh", &ada, Ok(())),
            ("known", "mesh", &unknown, Err(JoinRefusal::Client)),
            ("some", "mesh", &ada, Ok(())),
            ("some", "mesh", &bob, Ok(())),
            ("some", "mesh", &unknown, Err(JoinRefusal::Client)),
            ("nobody", "mesh", &ada, Err(JoinRefusal::Client)),
            ("free", "mesh", &unknown, Ok(())),
        ] {
            let client = client(dialect, identity);
            let found = policies.check_join(&room(name), &client);
            assert_eq!(found, expected, "{name} {dialect} {identity:?}");
            assert_eq!(policies.check_list(&room(name), &client), expected);
        }
        let hidden = JoiningClient {
            reveals_members: false,
            ..client("peerjs", &unknown)
        };
        assert_eq!(policies.check_join(&room("hidden"), &hidden), Ok(()));
    }

    #[test]
    fn a_lock_admits_a_returning_client_and_allows_lists() {
        let locked = RoomPolicy {
            locked: Some(true),
            ..RoomPolicy::default()
        };
        let policies = policies(vec![("*", locked)]);
        let unknown = Identity::Claimed;
        let newcomer = client("peerjs", &unknown);
        let returning = JoiningClient {
            is_returning: true,
            ..newcomer
        };
        let join = |client| policies.check_join(&room("r"), client);
        assert_eq!(join(&newcomer), Err(JoinRefusal::Locked));
        assert_eq!(join(&returning), Ok(()));
        assert_eq!(policies.check_list(&room("r"), &newcomer), Ok(()));
    }

    #[test]
    fn the_policy_of_a_credential_restricts_in_addition() {
        let own = RoomPolicy {
            max_members: Some(3),
            dialects: names(&["p2p"]),
            who_may_join: clients(&["ada"]),
            ..RoomPolicy::default()
        };
        let wide = RoomPolicy {
            max_members: Some(5),
            dialects: names(&["mesh", "p2p"]),
            ..RoomPolicy::default()
        };
        let policies = policies(vec![("r", wide)]);
        let ada = Identity::Proven("ada".into());
        let with_own = |dialect| JoiningClient {
            policy: Some(&own),
            ..client(dialect, &ada)
        };
        assert_eq!(policies.check_join(&room("r"), &with_own("p2p")), Ok(()));
        for name in ["r", "other"] {
            let found = policies.check_join(&room(name), &with_own("mesh"));
            assert_eq!(found, Err(JoinRefusal::Dialect), "{name}");
            assert_eq!(
                policies.members_max(&room(name), &with_own("p2p")),
                3,
                "{name}"
            );
        }
        let found = policies.check_join(&room("r"), &with_own("singo"));
        assert_eq!(found, Err(JoinRefusal::Dialect));
    }

    #[test]
    fn a_policy_holds_for_the_groups_of_its_room() {
        let limited = |max_members| RoomPolicy {
            max_members: Some(max_members),
            ..RoomPolicy::default()
        };
        let policies = policies(vec![("r", limited(4)), ("lobby?next=2", limited(6))]);
        let unknown = Identity::Claimed;
        let single = client("matchbox", &unknown);
        let grouped = JoiningClient {
            is_grouped: true,
            ..single
        };
        for (name, client, expected) in [
            ("r?next=2", &grouped, 4),
            ("r?next=2", &single, 0),
            ("r?x?next=2", &grouped, 0),
            ("lobby?next=2", &grouped, 6),
            ("lobby?next=3", &grouped, 0),
        ] {
            assert_eq!(
                policies.members_max(&room(name), client),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn client_patterns_have_one_text_form() {
        for text in ["anyone", "authenticated", "ada", "ada@*"] {
            let parsed: ClientPattern = text.parse().expect(text);
            assert_eq!(parsed.to_string(), text);
        }
        assert_eq!("*".parse(), Ok(ClientPattern::Authenticated));
        for text in ["", "a*b", "*a", "a**"] {
            assert!(text.parse::<ClientPattern>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn replaced_policies_apply_to_all_holders_of_the_handle() {
        let shared = SharedRoomPolicies::default();
        let other = shared.clone();
        shared.replace(policies(vec![(
            "*",
            RoomPolicy {
                max_members: Some(7),
                ..RoomPolicy::default()
            },
        )]));
        let unknown = client("mesh", &Identity::Claimed);
        assert_eq!(other.load().members_max(&room("r"), &unknown), 7);
        other.count(JoinRefusal::Locked);
        assert_eq!(shared.refused()[0], (JoinRefusal::Locked, 1));
        for (index, (reason, _)) in shared.refused().into_iter().enumerate() {
            assert_eq!(reason as usize, index, "{reason:?}");
        }
    }
}

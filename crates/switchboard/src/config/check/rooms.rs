//! Checks the policies of rooms against the dialects and the limits.

use switchboard_core::{ClientPattern, DialectTraits, Limits, RoomPattern, RoomPolicy, exceeds};
use thiserror::Error;

use super::{Config, Reason, Validator};
use crate::config::VoiceIdentity;

/// The setting of the policies.
const ROOMS: &str = "rooms";

/// The dialect of voice rooms, by its name in policies.
pub(crate) const VOICE_DIALECT: &str = "gostream";

/// A policy that contradicts other settings, or that admits no client.
#[derive(Debug, Error)]
pub(in crate::config) enum RoomPolicyProblem {
    #[error("matches no room: it has {bytes} bytes, and limits.name_bytes is {max}")]
    LongPattern { bytes: usize, max: usize },
    #[error(
        "presence = false does not admit the dialect {0:?}, whose clients learn of each other from the server"
    )]
    RevealsMembers(String),
    #[error("max_members = {wanted} has no effect: a room has at most {most} members")]
    AboveLimits { wanted: usize, most: usize },
    #[error("admits no client: its dialects are off")]
    DialectsOff,
    #[error(
        "admits only clients that are authenticated, and access.authenticators = [\"none\"] authenticates none"
    )]
    NoIdentities,
}

impl Validator<'_> {
    /// Reports policies that no room or client can meet.
    pub(super) fn rooms(&mut self) {
        for (pattern, policy) in &self.config.rooms {
            if let Some(reason) = self.config.policy_problem(pattern, policy) {
                let reason = reason.within(format!("pattern {:?}", pattern.to_string()));
                self.report(&[ROOMS], reason);
            }
        }
    }

    /// Reports policies for identities that no client can have, unless the host program authenticates clients.
    pub(super) fn room_identities(&mut self) {
        let config = self.config;
        let needs_identity = |policy: &RoomPolicy| {
            let patterns = policy.who_may_join.as_deref();
            patterns.is_some_and(|patterns| !patterns.contains(&ClientPattern::Anyone))
        };
        let has_voice = |policy: &RoomPolicy| {
            let mut names = policy.dialects.iter().flatten();
            config.voice.gostream.identity != VoiceIdentity::Off
                && names.any(|name| &**name == VOICE_DIALECT)
        };
        for (pattern, policy) in &config.rooms {
            if config.access.is_open() && needs_identity(policy) && !has_voice(policy) {
                let reason = Reason::from(RoomPolicyProblem::NoIdentities);
                let reason = reason.within(format!("pattern {:?}", pattern.to_string()));
                self.report(&[ROOMS, "access.authenticators"], reason);
            }
        }
    }
}

impl Config {
    fn policy_problem(&self, pattern: &RoomPattern, policy: &RoomPolicy) -> Option<Reason> {
        let long = self.long_pattern(pattern).map(Reason::from);
        long.or_else(|| self.dialect_problem(policy))
            .or_else(|| self.ineffective_limit(policy).map(Reason::from))
    }

    fn long_pattern(&self, pattern: &RoomPattern) -> Option<RoomPolicyProblem> {
        let (RoomPattern::Prefix(text) | RoomPattern::Exact(text)) = pattern;
        let (bytes, max) = (text.len(), self.limits.name_bytes);
        exceeds(bytes, max).then_some(RoomPolicyProblem::LongPattern { bytes, max })
    }

    fn dialect_problem(&self, policy: &RoomPolicy) -> Option<Reason> {
        let names = policy.dialects.as_deref()?;
        let unknown = names.iter().find(|name| self.admitted(name).is_none());
        if let Some(name) = unknown {
            let value = name.to_string();
            let dialects = self.dialects.table().iter();
            let choices = dialects.map(|dialect| dialect.traits().name);
            let choices = choices.chain([VOICE_DIALECT]).collect();
            return Some(Reason::NoChoice { value, choices }.within("dialects"));
        }
        let mut admitted = names.iter().filter_map(|name| self.admitted(name));
        let reveals = admitted.clone().find(|dialect| dialect.reveals_members);
        match reveals.filter(|_| policy.presence == Some(false)) {
            Some(dialect) => {
                Some(RoomPolicyProblem::RevealsMembers(dialect.name.to_owned()).into())
            }
            None if !admitted.any(|dialect| dialect.is_on) => {
                Some(RoomPolicyProblem::DialectsOff.into())
            }
            None => None,
        }
    }

    /// `max_members` above the limits that hold for every dialect that the policy admits.
    fn ineffective_limit(&self, policy: &RoomPolicy) -> Option<RoomPolicyProblem> {
        let wanted = policy.max_members?;
        let most = match policy.dialects.as_deref() {
            Some(names) => {
                let admitted = names.iter().filter_map(|name| self.admitted(name));
                admitted.map(|dialect| dialect.members_max).max()
            }
            None => Some(members_max(&self.limits, None)),
        }?;
        let is_above = wanted > most;
        is_above.then_some(RoomPolicyProblem::AboveLimits { wanted, most })
    }

    /// The dialect of this name in a policy; `None` if there is none.
    fn admitted(&self, name: &str) -> Option<AdmittedDialect> {
        if name == VOICE_DIALECT {
            return Some(AdmittedDialect {
                name: VOICE_DIALECT,
                reveals_members: true,
                members_max: usize::MAX,
                is_on: self.voice.gostream.identity != VoiceIdentity::Off,
            });
        }
        let dialect = self.dialects.table().find(name)?;
        let traits = dialect.traits();
        Some(AdmittedDialect {
            name: traits.name,
            reveals_members: traits.reveals_members,
            members_max: members_max(&self.limits, Some(traits)),
            is_on: self.is_enabled(dialect),
        })
    }
}

/// The facts about a dialect that a policy admits.
struct AdmittedDialect {
    name: &'static str,
    reveals_members: bool,
    /// The most members of a room that the limits allow for its clients; `usize::MAX` for no limit.
    members_max: usize,
    is_on: bool,
}

/// The most members of a room for clients of a dialect, or of any dialect. Which of the two limits applies depends on
/// the join, so this is the larger one.
fn members_max(limits: &Limits, dialect: Option<&DialectTraits>) -> usize {
    let unlimited = |limit: usize| if limit == 0 { usize::MAX } else { limit };
    let of_limits = unlimited(limits.room_members).max(unlimited(limits.directory_members));
    let of_dialect = dialect.map_or(usize::MAX, |dialect| unlimited(dialect.members_max));
    of_limits.min(of_dialect)
}

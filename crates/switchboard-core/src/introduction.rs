//! Who is introduced to whom, and which of the two calls.
//!
//! Promise 1: for every two members of a room exactly one is told to call the other. Two of one
//! dialect follow that dialect's own custom. In a mixed pair the newcomer calls, if its dialect
//! has words to be told so; else the member that was there before.

use std::{fmt, num::NonZeroUsize, sync::Arc, time::Duration};

use crate::id::{Address, DialectName, DisplayName, PeerId};

/// What the core must know of a dialect.
#[derive(Debug, PartialEq, Eq)]
pub struct DialectTraits {
    /// Its name.
    pub name: DialectName,
    /// Who calls among its own.
    pub offer_policy: OfferPolicy,
    /// Whether it carries offers, answers and candidates that can be translated.
    pub signals: bool,
    /// Whether it carries text for people.
    pub messages: bool,
    /// Whether its clients are told who is in a room. Where they are not, they find each other by
    /// address alone, and `directory_members` bounds the room instead of `room_members`. They are told when a
    /// member of another dialect leaves that they exchanged a session description with.
    pub announces_presence: bool,
    /// Members that a room may have while somebody who speaks it is in it; 0: any number.
    pub members_max: usize,
    /// Whether its members can be called `server`: the server itself never speaks under that name in it.
    pub allows_server_address: bool,
}

impl DialectTraits {
    /// What most dialects are; for the fields that a dialect has nothing to say of.
    pub const DEFAULT: Self = Self {
        name: "",
        offer_policy: OfferPolicy::Unspecified,
        signals: true,
        messages: true,
        announces_presence: true,
        members_max: 0,
        allows_server_address: false,
    };
}

impl DialectTraits {
    /// Whether members of other dialects can be sent anything that this one carries.
    #[must_use]
    pub fn reaches_other_dialects(&self) -> bool {
        self.signals || self.messages
    }
}

/// Who calls among members of one dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferPolicy {
    /// The newcomer calls everybody who is there.
    NewcomerOffers,
    /// Those who are there call the newcomer.
    MemberOffers,
    /// Nobody is told to call, and the dialect has no words for it; clients decide by themselves.
    Unspecified,
}

/// How sure we are who a peer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// It says so.
    Claimed,
    /// An access check vouches for it, under this name.
    Proven(Arc<str>),
}

impl Identity {
    /// Whether both are proven to be the same.
    #[must_use]
    pub fn is_proven_same(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Proven(a), Self::Proven(b)) if a == b)
    }
}

/// A secret by which a client that lost its connection shows that an address is still its own.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// The client's own words.
    pub secret: Arc<str>,
    /// How long its address is kept for it after its connection was lost.
    pub grace: Duration,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("grace", &self.grace)
            .finish_non_exhaustive()
    }
}

/// Some of a room's members, who see only each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// Who was the first in it.
    pub first: PeerId,
    /// When so many have come in, it is closed: nobody comes in any more, whoever leaves.
    pub capacity: NonZeroUsize,
}

/// A peer as a member of a room.
#[derive(Clone, Debug)]
pub struct Member {
    /// Who it is.
    pub peer: PeerId,
    /// What the others of the room call it.
    pub address: Address,
    /// What people call it, if it said so.
    pub name: Option<DisplayName>,
    /// How it speaks.
    pub dialect: &'static DialectTraits,
    /// How sure we are of it.
    pub identity: Identity,
    /// By what it shows that its address is its own, where its dialect has that.
    pub token: Option<Token>,
    /// With whom alone it wants to be.
    pub group: Option<Group>,
}

impl Member {
    /// Whether it is shown to be the same client as `other`.
    #[must_use]
    pub fn is_proven_same(&self, other: &Self) -> bool {
        let is_same_token = match (&self.token, &other.token) {
            (Some(a), Some(b)) => a.secret == b.secret,
            (Some(_), None) | (None, _) => false,
        };
        is_same_token || self.identity.is_proven_same(&other.identity)
    }

    /// Whether the two are among each other.
    #[must_use]
    pub fn sees(&self, other: &Self) -> bool {
        let first = |member: &Self| member.group.map(|circle| circle.first);
        first(self) == first(other)
    }
}

/// Which of two members calls, seen from one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferRole {
    /// You call.
    Offerer,
    /// The other one calls.
    Answerer,
    /// Neither is told to (both dialects leave it to the clients).
    None,
}

impl OfferRole {
    /// The same decision seen from the other one.
    #[must_use]
    pub fn flipped(self) -> Self {
        match self {
            Self::Offerer => Self::Answerer,
            Self::Answerer => Self::Offerer,
            Self::None => Self::None,
        }
    }
}

/// Whether `newcomer` calls `member`, seen from the newcomer.
#[must_use]
pub fn offer_role(newcomer: &DialectTraits, member: &DialectTraits) -> OfferRole {
    if newcomer.name != member.name && !(newcomer.signals && member.signals) {
        return OfferRole::None;
    }
    match (newcomer.offer_policy, member.offer_policy) {
        (OfferPolicy::MemberOffers, _) if newcomer.name == member.name => OfferRole::Answerer,
        (OfferPolicy::NewcomerOffers | OfferPolicy::MemberOffers, _) => OfferRole::Offerer,
        (OfferPolicy::Unspecified, OfferPolicy::NewcomerOffers | OfferPolicy::MemberOffers) => {
            OfferRole::Answerer
        }
        (OfferPolicy::Unspecified, OfferPolicy::Unspecified) => OfferRole::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn tongue(name: DialectName, custom: OfferPolicy) -> DialectTraits {
        DialectTraits {
            name,
            offer_policy: custom,
            ..DialectTraits::DEFAULT
        }
    }

    #[test]
    fn own_custom_among_equals_newcomer_among_strangers() {
        let newcomer_calls = tongue("a", OfferPolicy::NewcomerOffers);
        let member_calls = tongue("b", OfferPolicy::MemberOffers);
        let never = tongue("c", OfferPolicy::Unspecified);
        let data_only = DialectTraits {
            signals: false,
            ..tongue("d", OfferPolicy::Unspecified)
        };
        for (newcomer, member, expected) in [
            (&newcomer_calls, &newcomer_calls, OfferRole::Offerer),
            (&member_calls, &member_calls, OfferRole::Answerer),
            (&never, &never, OfferRole::None),
            (&member_calls, &newcomer_calls, OfferRole::Offerer),
            (&newcomer_calls, &member_calls, OfferRole::Offerer),
            (&newcomer_calls, &never, OfferRole::Offerer),
            (&never, &newcomer_calls, OfferRole::Answerer),
            (&never, &member_calls, OfferRole::Answerer),
            (&newcomer_calls, &data_only, OfferRole::None),
        ] {
            assert_eq!(
                offer_role(newcomer, member),
                expected,
                "{} joins {}",
                newcomer.name,
                member.name
            );
        }
    }
}

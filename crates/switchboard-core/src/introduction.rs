//! Who is introduced to whom, and which of the two calls.
//!
//! Promise 1: for every two members of a room exactly one is told to call the other. Two of one
//! dialect follow that dialect's own custom. In a mixed pair the newcomer calls, if its dialect
//! has words to be told so; else the member that was there before.

use std::sync::Arc;

use crate::id::{Address, DialectName, DisplayName, PeerId};

/// What the core must know of a dialect.
#[derive(Debug, PartialEq, Eq)]
pub struct Tongue {
    /// Its name.
    pub name: DialectName,
    /// Who calls among its own.
    pub custom: Custom,
    /// Whether it carries offers, answers and candidates that can be translated.
    pub signals: bool,
    /// Whether it carries text for people.
    pub messages: bool,
}

/// Who calls among members of one dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Custom {
    /// The newcomer calls everybody who is there.
    NewcomerCalls,
    /// Those who are there call the newcomer.
    MemberCalls,
    /// Nobody is told to call, and the dialect has no words for it; clients decide by themselves.
    NeverTold,
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

/// A peer as a member of a room.
#[derive(Debug)]
pub struct Member {
    /// Who it is.
    pub peer: PeerId,
    /// What the others of the room call it.
    pub address: Address,
    /// What people call it, if it said so.
    pub name: Option<DisplayName>,
    /// How it speaks.
    pub tongue: &'static Tongue,
    /// How sure we are of it.
    pub identity: Identity,
}

/// Which of two members calls, seen from one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// You call.
    You,
    /// The other one calls.
    They,
    /// Neither is told to (both dialects leave it to the clients).
    Nobody,
}

impl Call {
    /// The same decision seen from the other one.
    #[must_use]
    pub fn flipped(self) -> Self {
        match self {
            Self::You => Self::They,
            Self::They => Self::You,
            Self::Nobody => Self::Nobody,
        }
    }
}

/// Whether `newcomer` calls `member`, seen from the newcomer.
#[must_use]
pub(crate) fn decide(newcomer: &Tongue, member: &Tongue) -> Call {
    if newcomer.name != member.name && !(newcomer.signals && member.signals) {
        return Call::Nobody;
    }
    match (newcomer.custom, member.custom) {
        (Custom::MemberCalls, _) if newcomer.name == member.name => Call::They,
        (Custom::NewcomerCalls | Custom::MemberCalls, _) => Call::You,
        (Custom::NeverTold, Custom::NewcomerCalls | Custom::MemberCalls) => Call::They,
        (Custom::NeverTold, Custom::NeverTold) => Call::Nobody,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn tongue(name: DialectName, custom: Custom) -> Tongue {
        Tongue {
            name,
            custom,
            signals: true,
            messages: true,
        }
    }

    #[test]
    fn own_custom_among_equals_newcomer_among_strangers() {
        let newcomer_calls = tongue("a", Custom::NewcomerCalls);
        let member_calls = tongue("b", Custom::MemberCalls);
        let never = tongue("c", Custom::NeverTold);
        let data_only = Tongue {
            signals: false,
            ..tongue("d", Custom::NeverTold)
        };
        for (newcomer, member, expected) in [
            (&newcomer_calls, &newcomer_calls, Call::You),
            (&member_calls, &member_calls, Call::They),
            (&never, &never, Call::Nobody),
            (&member_calls, &newcomer_calls, Call::You),
            (&newcomer_calls, &member_calls, Call::You),
            (&newcomer_calls, &never, Call::You),
            (&never, &newcomer_calls, Call::They),
            (&never, &member_calls, Call::They),
            (&newcomer_calls, &data_only, Call::Nobody),
        ] {
            assert_eq!(
                decide(newcomer, member),
                expected,
                "{} joins {}",
                newcomer.name,
                member.name
            );
        }
    }
}

//! Members, and which of two members sends the WebRTC offer.
//!
//! Invariant 1 of `ARCHITECTURE.md`: of every two members of a room exactly one is told to send the offer. Two
//! members of one dialect follow its [`OfferPolicy`]. In a mixed pair the newcomer offers if its dialect can be
//! told so; otherwise the earlier member offers.

use std::{fmt, num::NonZeroUsize, sync::Arc, time::Duration};

use crate::{
    id::{Address, DialectName, DisplayName, PeerId},
    room_policy::RoomPolicy,
};

/// The properties of a dialect that the core depends on.
#[derive(Debug, PartialEq, Eq)]
pub struct DialectTraits {
    /// The dialect's name.
    pub name: DialectName,
    /// The offerer among members of this dialect.
    pub offer_policy: OfferPolicy,
    /// Whether it carries offers, answers and candidates that can be translated.
    pub signals: bool,
    /// Whether it carries text messages for people.
    pub messages: bool,
    /// Whether its clients are notified of the other members. If not, clients find each other by address alone,
    /// and `directory_members` bounds the room instead of `room_members`. Even then a client is notified when a
    /// member of another dialect leaves, if the two have exchanged a session description.
    pub announces_presence: bool,
    /// Whether a client of this dialect can learn from the server which other members are in its room. If not, it can be
    /// in rooms whose policy hides the members (see [`RoomPolicy::presence`]).
    pub reveals_members: bool,
    /// Max members of a room while a member of this dialect is in it; 0: no limit.
    pub members_max: usize,
    /// Whether a member can have the address `server`. Must be false in a dialect in which the server itself sends
    /// frames under this address.
    pub allows_server_address: bool,
}

impl DialectTraits {
    /// The usual values; a dialect replaces those that differ.
    pub const DEFAULT: Self = Self {
        name: "",
        offer_policy: OfferPolicy::Unspecified,
        signals: true,
        messages: true,
        announces_presence: true,
        reveals_members: true,
        members_max: 0,
        allows_server_address: false,
    };
}

impl DialectTraits {
    /// Whether anything that this dialect carries can be sent to members of other dialects.
    #[must_use]
    pub fn reaches_other_dialects(&self) -> bool {
        self.signals || self.messages
    }

    /// Whether both are the traits of one dialect.
    pub(crate) fn is_same_dialect(&self, other: &Self) -> bool {
        // A dialect usually has one static value, which is found faster than a text is compared.
        std::ptr::eq(self, other) || self.name == other.name
    }
}

/// The offerer among members of one dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferPolicy {
    /// The newcomer sends an offer to each earlier member.
    NewcomerOffers,
    /// Each earlier member sends an offer to the newcomer.
    MemberOffers,
    /// The dialect has no frame that assigns the offer; the clients decide.
    Unspecified,
}

/// Whether a peer is authenticated, and under which name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Not authenticated.
    Claimed,
    /// Authenticated by an access check under this name.
    Proven(Arc<str>),
}

impl Identity {
    /// Whether both are authenticated under the same name.
    #[must_use]
    pub fn is_proven_same(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Proven(a), Self::Proven(b)) if a == b)
    }
}

/// A secret with which a client reclaims its address after it lost its connection.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// The secret, chosen by the client.
    pub secret: Arc<str>,
    /// The time for which the address stays reserved after the connection was lost.
    pub grace: Duration,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("grace", &self.grace)
            .finish_non_exhaustive()
    }
}

/// A group within a room: its members see only each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// The first member; it identifies the group.
    pub first: PeerId,
    /// The number of members at which the group is sealed; later leaves do not reopen it.
    pub capacity: NonZeroUsize,
}

/// A peer as a member of a room.
#[derive(Clone, Debug)]
pub struct Member {
    /// The connection of the member.
    pub peer: PeerId,
    /// The address by which other members name it.
    pub address: Address,
    /// The display name, if the client sent one.
    pub name: Option<DisplayName>,
    /// The traits of its dialect.
    pub dialect: &'static DialectTraits,
    /// Whether the client is authenticated, and under which name.
    pub identity: Identity,
    /// The secret for reclaiming its address, if its dialect has one. Boxed, because few members have one.
    pub token: Option<Box<Token>>,
    /// Its group within the room, if any. Boxed, because few members have one.
    pub group: Option<Box<Group>>,
    /// The policy that the client's credential carries, for all rooms that it joins. Other nodes do not get it.
    pub policy: Option<Arc<RoomPolicy>>,
}

impl Member {
    /// A member that is not authenticated, and has no name, token or group.
    #[must_use]
    pub fn new(peer: PeerId, address: Address, dialect: &'static DialectTraits) -> Self {
        Self {
            peer,
            address,
            name: None,
            dialect,
            identity: Identity::Claimed,
            token: None,
            group: None,
            policy: None,
        }
    }

    /// Whether both have the same token.
    #[must_use]
    pub(crate) fn has_same_token(&self, other: &Self) -> bool {
        match (&self.token, &other.token) {
            (Some(a), Some(b)) => a.secret == b.secret,
            (Some(_), None) | (None, _) => false,
        }
    }

    /// Whether both are proven to be the same client, by token or by authenticated identity.
    #[must_use]
    pub fn is_proven_same(&self, other: &Self) -> bool {
        self.has_same_token(other) || self.identity.is_proven_same(&other.identity)
    }

    /// Whether the two members see each other: both are in the same group, or both in none.
    #[must_use]
    pub fn sees(&self, other: &Self) -> bool {
        match (&self.group, &other.group) {
            (None, None) => true,
            (Some(own), Some(other)) => own.first == other.first,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

/// The role of a member towards another member in the offer/answer exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferRole {
    /// This member sends the offer.
    Offerer,
    /// The other member sends the offer.
    Answerer,
    /// No role is assigned: both dialects leave it to the clients, or no signals can pass between them.
    None,
}

impl OfferRole {
    /// The role of the other member.
    #[must_use]
    pub fn flipped(self) -> Self {
        match self {
            Self::Offerer => Self::Answerer,
            Self::Answerer => Self::Offerer,
            Self::None => Self::None,
        }
    }
}

/// The role of `newcomer` towards the earlier `member`.
#[must_use]
pub fn offer_role(newcomer: &DialectTraits, member: &DialectTraits) -> OfferRole {
    let is_same = newcomer.is_same_dialect(member);
    let can_signal = newcomer.signals && member.signals;
    if !is_same && !can_signal {
        return OfferRole::None;
    }
    match (newcomer.offer_policy, member.offer_policy) {
        (OfferPolicy::MemberOffers, _) if is_same => OfferRole::Answerer,
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

    const fn traits(name: DialectName, offer_policy: OfferPolicy) -> DialectTraits {
        DialectTraits {
            name,
            offer_policy,
            ..DialectTraits::DEFAULT
        }
    }

    #[test]
    fn one_dialect_follows_its_policy_and_in_mixed_pairs_the_newcomer_offers_if_its_dialect_can() {
        let newcomer_offers = traits("a", OfferPolicy::NewcomerOffers);
        let member_offers = traits("b", OfferPolicy::MemberOffers);
        let unspecified = traits("c", OfferPolicy::Unspecified);
        let data_only = DialectTraits {
            signals: false,
            ..traits("d", OfferPolicy::Unspecified)
        };
        for (newcomer, member, expected) in [
            (&newcomer_offers, &newcomer_offers, OfferRole::Offerer),
            (&member_offers, &member_offers, OfferRole::Answerer),
            (&unspecified, &unspecified, OfferRole::None),
            (&member_offers, &newcomer_offers, OfferRole::Offerer),
            (&newcomer_offers, &member_offers, OfferRole::Offerer),
            (&newcomer_offers, &unspecified, OfferRole::Offerer),
            (&unspecified, &newcomer_offers, OfferRole::Answerer),
            (&unspecified, &member_offers, OfferRole::Answerer),
            (&newcomer_offers, &data_only, OfferRole::None),
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

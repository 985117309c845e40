//! The state of a pair of users: their rings in both directions and their call.

use std::net::IpAddr;

use bytestring::ByteString;

use super::CallError;
use crate::{
    id::{CallId, User},
    overview::CallReport,
    signaling::direction::ConnectedAudio,
};

/// Two users, in an order that does not depend on the direction of a ring.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct UserPair {
    pub(crate) low: User,
    pub(crate) high: User,
}

impl UserPair {
    /// The pair of two users, and the side of `by` in it.
    pub(crate) fn of(by: &User, other: &User) -> (Self, PairSide) {
        let side = if by < other {
            PairSide::Low
        } else {
            PairSide::High
        };
        let (low, high) = match side {
            PairSide::Low => (by, other),
            PairSide::High => (other, by),
        };
        let (low, high) = (low.clone(), high.clone());
        (Self { low, high }, side)
    }

    pub(crate) fn user(&self, side: PairSide) -> &User {
        match side {
            PairSide::Low => &self.low,
            PairSide::High => &self.high,
        }
    }

    pub(crate) fn side(&self, user: &User) -> Option<PairSide> {
        let sides = [PairSide::Low, PairSide::High];
        sides.into_iter().find(|side| self.user(*side) == user)
    }
}

/// One user of a pair; the index into the arrays of [`PairState`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PairSide {
    Low,
    High,
}

impl PairSide {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Low => Self::High,
            Self::High => Self::Low,
        }
    }
}

/// The state of a pair: at least one ring or a call.
#[derive(Debug, Default)]
pub(crate) struct PairState {
    /// Rings, indexed by the side of the caller.
    pub(crate) rings: [Option<RingState>; 2],
    pub(crate) call: Option<ActiveCall>,
    /// Whether each side has rung or connected audio. If a side has not, the pair exists only because of the other
    /// side, and is not counted toward this side's limit of calls.
    pub(crate) has_acted: [bool; 2],
}

/// The contribution of a pair to the counts of one of its users.
#[derive(Debug)]
pub(crate) struct UserShare {
    pub(crate) load: CallLoad,
    /// The stored challenges that the side may sign or has signed. Users of a website sign nothing: their
    /// challenges are empty and left out.
    pub(crate) challenges: Vec<ByteString>,
}

/// The number of pairs that a user belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CallLoad {
    /// Pairs in which the user has rung or connected audio.
    pub(crate) active: usize,
    /// Other pairs, in which the user is only rung.
    pub(crate) rung: usize,
}

impl PairState {
    pub(crate) fn is_idle(&self) -> bool {
        self.rings.iter().all(Option::is_none) && self.call.is_none()
    }

    /// The ring or call; `None` if there is neither.
    pub(crate) fn report(&self, pair: &UserPair) -> Option<CallReport> {
        let caller = match self.is_ringing() {
            [false, true] => PairSide::High,
            [true, _] | [false, false] => PairSide::Low,
        };
        (!self.is_idle()).then(|| CallReport {
            caller: pair.user(caller).clone(),
            callee: pair.user(caller.other()).clone(),
            is_accepted: self.call.is_some(),
        })
    }

    /// Whether each side rings the other one.
    pub(crate) fn is_ringing(&self) -> [bool; 2] {
        self.rings.each_ref().map(Option::is_some)
    }

    /// The contribution of this pair to the counts of the user at `side`.
    pub(crate) fn share(&self, side: PairSide) -> UserShare {
        UserShare {
            load: self.load(side),
            challenges: self.challenges_of(side),
        }
    }

    fn load(&self, side: PairSide) -> CallLoad {
        let is_active = self.has_acted[side as usize] && !self.is_idle();
        let is_rung = self.rings[side.other() as usize].is_some();
        CallLoad {
            active: usize::from(is_active),
            rung: usize::from(is_rung && !is_active),
        }
    }

    fn challenges_of(&self, side: PairSide) -> Vec<ByteString> {
        let incoming = self.rings[side.other() as usize].iter();
        let outgoing = self.rings[side as usize].iter();
        let accepted = self
            .call
            .iter()
            .flat_map(|call| &call.accepted[side as usize]);
        let challenges = incoming
            .flat_map(|ring| std::iter::once(&ring.first_challenge).chain(&ring.confirmations))
            .chain(outgoing.flat_map(|ring| &ring.answers))
            .chain(accepted);
        challenges
            .filter(|challenge| !challenge.is_empty())
            .cloned()
            .collect()
    }
}

/// Max challenges kept for one step of a ring: one for each client of a user that takes part in it. Bounds the
/// verifications that one signature costs.
const CLIENTS_MAX: usize = 8;

/// A ring and the challenges that were relayed in each direction.
///
/// The handshake has four steps:
/// 1. The caller rings with a challenge.
/// 2. A client of the callee answers: it signs that challenge and sends its own.
/// 3. The caller confirms: it signs the callee's challenge and sends a second one.
/// 4. The callee accepts or rejects: it signs the caller's second challenge.
///
/// Between users without keys (accounts of a website), only steps 1 and 4 exist.
#[derive(Debug)]
pub(crate) struct RingState {
    /// The caller's challenge. The callee answers by signing it.
    pub(crate) first_challenge: ByteString,
    /// The callee's challenges, one for each of its clients that has answered. The caller confirms by signing one.
    pub(crate) answers: Vec<ByteString>,
    /// The caller's second challenges. The callee accepts by signing one.
    pub(crate) confirmations: Vec<ByteString>,
    /// The caller's IPv4 address or IPv6 network, if it is known.
    pub(crate) address: Option<IpAddr>,
}

impl RingState {
    pub(crate) fn add_answer(&mut self, challenge: ByteString) {
        push_bounded(&mut self.answers, challenge);
    }

    pub(crate) fn add_confirmation(&mut self, challenge: ByteString) {
        push_bounded(&mut self.confirmations, challenge);
    }

    /// Whether the callee has answered by signing this challenge, so that the caller has its signature.
    pub(crate) fn has_signed(&self, challenge: &ByteString) -> bool {
        !challenge.is_empty() && !self.answers.is_empty() && self.first_challenge == *challenge
    }

    /// The challenges of which the callee must sign one to accept or reject.
    pub(crate) fn challenges_to_accept(&self) -> Result<Vec<ByteString>, CallError> {
        if self.answers.is_empty() {
            Ok(vec![self.first_challenge.clone()])
        } else if self.confirmations.is_empty() {
            Err(CallError::NotConfirmed)
        } else {
            Ok(self.confirmations.clone())
        }
    }
}

/// Appends a challenge without duplicates; drops the oldest at [`CLIENTS_MAX`].
fn push_bounded(challenges: &mut Vec<ByteString>, challenge: ByteString) {
    challenges.retain(|known| *known != challenge);
    if challenges.len() == CLIENTS_MAX {
        challenges.remove(0);
    }
    challenges.push(challenge);
}

/// A call: the connected audio of each side, and for the callee the challenges of which one was signed to accept.
#[derive(Debug)]
pub(crate) struct ActiveCall {
    pub(crate) id: CallId,
    pub(crate) audio: [ConnectedAudio; 2],
    pub(crate) accepted: [Vec<ByteString>; 2],
}

impl ActiveCall {
    pub(crate) fn new(id: CallId) -> Self {
        Self {
            id,
            audio: [ConnectedAudio::default(); 2],
            accepted: [Vec::new(), Vec::new()],
        }
    }

    pub(crate) fn has_no_audio(&self) -> bool {
        self.audio.iter().all(|audio| audio.is_none())
    }
}

//! What there is between two users, whoever of them called.

use std::net::IpAddr;

use bytestring::ByteString;

use crate::{
    call::CallError,
    direction::ConnectedAudio,
    id::{CallId, User},
};

/// Two users, in an order that does not depend on who calls.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct UserPair {
    pub(crate) low: User,
    pub(crate) high: User,
}

impl UserPair {
    /// The pair, and which side of it `by` is.
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

/// One of a pair; an index into what is kept for both.
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

/// What there is between two users: at least one of these.
#[derive(Debug, Default)]
pub(crate) struct PairState {
    /// By the side of the caller.
    pub(crate) rings: [Option<RingState>; 2],
    pub(crate) call: Option<ActiveCall>,
    /// Which sides have done something for it that they had to prove: rung, or connected.
    pub(crate) is_own: [bool; 2],
}

/// What a line is to one side.
#[derive(Debug)]
pub(crate) struct UserShare {
    pub(crate) load: CallLoad,
    /// What the side has to sign, or had: all of it that the line knows. Users of sites sign nothing,
    /// and what they are asked is empty: that is not in here.
    pub(crate) asked: Vec<ByteString>,
}

/// How many lines a user has: those that are his own doing, and those in which he is only rung.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CallLoad {
    pub(crate) own: usize,
    pub(crate) rung: usize,
}

impl PairState {
    pub(crate) fn is_idle(&self) -> bool {
        self.rings.iter().all(Option::is_none) && self.call.is_none()
    }

    /// The sides that ring the other side.
    pub(crate) fn is_ringing(&self) -> [bool; 2] {
        self.rings.each_ref().map(Option::is_some)
    }

    pub(crate) fn share(&self, side: PairSide) -> UserShare {
        UserShare {
            load: self.load(side),
            asked: self.asked(side),
        }
    }

    fn load(&self, side: PairSide) -> CallLoad {
        let is_own = self.is_own[side as usize] && !self.is_idle();
        let is_rung = self.rings[side.other() as usize].is_some();
        CallLoad {
            own: usize::from(is_own),
            rung: usize::from(is_rung && !is_own),
        }
    }

    fn asked(&self, side: PairSide) -> Vec<ByteString> {
        let called = self.rings[side.other() as usize].iter();
        let calls = self.rings[side as usize].iter();
        let accepted = self
            .call
            .iter()
            .flat_map(|call| &call.accepted[side as usize]);
        let asked = called
            .flat_map(|ring| std::iter::once(&ring.first_challenge).chain(&ring.confirmations))
            .chain(calls.flat_map(|ring| &ring.answers))
            .chain(accepted);
        asked
            .filter(|challenge| !challenge.is_empty())
            .cloned()
            .collect()
    }
}

/// So many clients of one user may answer one ring.
const CLIENTS_MAX: usize = 8;

/// An attempt to call: the challenges relayed in each direction.
#[derive(Debug)]
pub(crate) struct RingState {
    /// What the callee signs to answer.
    pub(crate) first_challenge: ByteString,
    /// What the caller signs to confirm: each of the callee's clients that answers asks its own.
    pub(crate) answers: Vec<ByteString>,
    /// What the callee signs to accept, once it has answered.
    pub(crate) confirmations: Vec<ByteString>,
    /// The caller's address, if it is known.
    pub(crate) address: Option<IpAddr>,
}

impl RingState {
    pub(crate) fn answered(&mut self, challenge: ByteString) {
        keep(&mut self.answers, challenge);
    }

    pub(crate) fn confirmed(&mut self, challenge: ByteString) {
        keep(&mut self.confirmations, challenge);
    }

    /// Whether the callee has signed this to answer, so that the caller has its signature.
    pub(crate) fn has_signed(&self, challenge: &ByteString) -> bool {
        !challenge.is_empty() && !self.answers.is_empty() && self.first_challenge == *challenge
    }

    /// One of these the callee signs to accept or reject.
    pub(crate) fn to_accept(&self) -> Result<Vec<ByteString>, CallError> {
        if self.answers.is_empty() {
            Ok(vec![self.first_challenge.clone()])
        } else if self.confirmations.is_empty() {
            Err(CallError::NotConfirmed)
        } else {
            Ok(self.confirmations.clone())
        }
    }
}

/// Keeps the newest, each once.
fn keep(challenges: &mut Vec<ByteString>, challenge: ByteString) {
    challenges.retain(|known| *known != challenge);
    if challenges.len() == CLIENTS_MAX {
        challenges.remove(0);
    }
    challenges.push(challenge);
}

/// A call: what each side has connected, and what it could sign to accept, if it was called.
#[derive(Debug)]
pub(crate) struct ActiveCall {
    pub(crate) id: CallId,
    pub(crate) ends: [ConnectedAudio; 2],
    pub(crate) accepted: [Vec<ByteString>; 2],
}

impl ActiveCall {
    pub(crate) fn new(id: CallId) -> Self {
        Self {
            id,
            ends: [ConnectedAudio::default(); 2],
            accepted: [Vec::new(), Vec::new()],
        }
    }

    pub(crate) fn has_no_audio(&self) -> bool {
        self.ends.iter().all(|ends| ends.is_none())
    }
}

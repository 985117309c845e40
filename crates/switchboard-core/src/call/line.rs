//! What there is between two users, whoever of them called.

use std::time::Instant;

use bytestring::ByteString;

use crate::{
    id::{CallId, User},
    voice_end::Ends,
};

/// Two users, in an order that does not depend on who calls.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Pair {
    pub(crate) low: User,
    pub(crate) high: User,
}

impl Pair {
    /// The pair, and which side of it `by` is.
    pub(crate) fn of(by: &User, other: &User) -> (Self, Side) {
        let side = if by < other { Side::Low } else { Side::High };
        let (low, high) = match side {
            Side::Low => (by, other),
            Side::High => (other, by),
        };
        let (low, high) = (low.clone(), high.clone());
        (Self { low, high }, side)
    }

    pub(crate) fn user(&self, side: Side) -> &User {
        match side {
            Side::Low => &self.low,
            Side::High => &self.high,
        }
    }

    pub(crate) fn side(&self, user: &User) -> Option<Side> {
        let sides = [Side::Low, Side::High];
        sides.into_iter().find(|side| self.user(*side) == user)
    }
}

/// One of a pair; an index into what is kept for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Low,
    High,
}

impl Side {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Low => Self::High,
            Self::High => Self::Low,
        }
    }
}

/// What there is between two users: at least one of these.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// By the side of the caller.
    pub(crate) rings: [Option<Ring>; 2],
    pub(crate) call: Option<Call>,
    /// Which sides have done something for it that they had to prove: rung, or connected.
    pub(crate) is_own: [bool; 2],
    /// Until when each side has paid for its rings.
    pub(crate) paid_until: [Option<Instant>; 2],
}

/// What a line is to one side.
#[derive(Debug)]
pub(crate) struct Share {
    pub(crate) load: Load,
    /// What the side has to sign, or had: all of it that the line knows. Users of sites sign nothing,
    /// and what they are asked is empty: that is not in here.
    pub(crate) asked: Vec<ByteString>,
}

/// How many lines a user has: those that are his own doing, and those in which he is only rung.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) own: usize,
    pub(crate) rung: usize,
}

impl Line {
    pub(crate) fn is_idle(&self) -> bool {
        self.rings.iter().all(Option::is_none) && self.call.is_none()
    }

    pub(crate) fn share(&self, side: Side) -> Share {
        Share {
            load: self.load(side),
            asked: self.asked(side),
        }
    }

    fn load(&self, side: Side) -> Load {
        let is_own = self.is_own[side as usize] && !self.is_idle();
        let is_rung = self.rings[side.other() as usize].is_some();
        Load {
            own: usize::from(is_own),
            rung: usize::from(is_rung && !is_own),
        }
    }

    fn asked(&self, side: Side) -> Vec<ByteString> {
        let rung = self.rings[side.other() as usize].as_ref();
        let asked = [
            rung.map(|ring| &ring.to_callee),
            rung.and_then(|ring| ring.signed.as_ref()),
            self.to_caller(side),
            self.accepted(side),
        ];
        let asked = asked.into_iter().flatten().cloned();
        asked.filter(|challenge| !challenge.is_empty()).collect()
    }

    /// What `side` must sign, or had to, as the one who is called.
    pub(crate) fn to_callee(&self, side: Side) -> Option<&ByteString> {
        let ring = self.rings[side.other() as usize].as_ref();
        let rings = ring.map(|ring| &ring.to_callee);
        rings.or_else(|| self.accepted(side))
    }

    fn accepted(&self, side: Side) -> Option<&ByteString> {
        self.call.as_ref()?.accepted[side as usize].as_ref()
    }

    pub(crate) fn to_caller(&self, side: Side) -> Option<&ByteString> {
        self.rings[side as usize].as_ref()?.to_caller.as_ref()
    }
}

/// An attempt to call: the last challenge relayed in each direction.
#[derive(Debug)]
pub(crate) struct Ring {
    pub(crate) to_callee: ByteString,
    /// `None` until the callee answers.
    pub(crate) to_caller: Option<ByteString>,
    /// The challenge that the callee has signed to answer.
    pub(crate) signed: Option<ByteString>,
}

impl Ring {
    /// The callee has answered, and nothing has come since that it has not signed.
    pub(crate) fn is_unconfirmed(&self) -> bool {
        self.signed.as_ref() == Some(&self.to_callee)
    }

    pub(crate) fn is_confirmed(&self) -> bool {
        self.signed.is_some() && !self.is_unconfirmed()
    }
}

/// A call: what each side has connected, and the challenge it accepted with, if it was called.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) id: CallId,
    pub(crate) ends: [Ends; 2],
    pub(crate) accepted: [Option<ByteString>; 2],
}

impl Call {
    pub(crate) fn new(id: CallId) -> Self {
        Self {
            id,
            ends: [Ends::default(); 2],
            accepted: [None, None],
        }
    }

    pub(crate) fn is_deserted(&self) -> bool {
        self.ends.iter().all(|ends| ends.is_none())
    }
}

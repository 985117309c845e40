//! A taken name is challenged, not stolen and not squatted (promise 8).
//!
//! Whoever claims a name in use waits while its holder is probed. If the holder shows that it is
//! alive, the claimants are refused; if it is silent for [`CHALLENGE`], it is a ghost and goes.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use crate::{
    command::{Ask, Place},
    id::{Address, PeerId, RoomId},
    limits::{CHALLENGE, CLAIMANTS_MAX},
};

/// Who waits for a name, and what it asked.
#[derive(Debug)]
pub(crate) struct Claimant<L> {
    pub(crate) peer: PeerId,
    pub(crate) local: L,
    pub(crate) ask: Ask,
}

#[derive(Debug)]
struct Challenge<L> {
    /// `None` once the holder was found dead and only its departure must still be ordered.
    deadline: Option<Instant>,
    waiting: VecDeque<Claimant<L>>,
}

/// What became of a claimant.
pub(crate) enum Wait<L> {
    /// It is the first: the holder must be probed.
    Probe,
    /// It waits with others.
    Queued,
    /// Too many wait already.
    Full(Claimant<L>),
}

/// The challenges under way.
#[derive(Debug)]
pub(crate) struct Challenges<L>(BTreeMap<Place, Challenge<L>>);

impl<L> Default for Challenges<L> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<L> Challenges<L> {
    pub(crate) fn wait(&mut self, place: Place, claimant: Claimant<L>, now: Instant) -> Wait<L> {
        let challenge = self.0.entry(place).or_insert_with(|| Challenge {
            deadline: Some(now + CHALLENGE),
            waiting: VecDeque::new(),
        });
        let mut waiting = challenge.waiting.iter_mut();
        if let Some(earlier) = waiting.find(|waiting| waiting.peer == claimant.peer) {
            *earlier = claimant;
            return Wait::Queued;
        }
        if challenge.waiting.len() >= CLAIMANTS_MAX {
            return Wait::Full(claimant);
        }
        challenge.waiting.push_back(claimant);
        if challenge.waiting.len() == 1 {
            Wait::Probe
        } else {
            Wait::Queued
        }
    }

    /// Ends the challenge of `place` and gives back who waited.
    pub(crate) fn take(&mut self, place: &Place) -> VecDeque<Claimant<L>> {
        self.0
            .remove(place)
            .map(|challenge| challenge.waiting)
            .unwrap_or_default()
    }

    /// The places whose holders did not answer until `now`. They stay until taken, but are not due again.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Place> {
        let mut due = Vec::new();
        for (place, challenge) in &mut self.0 {
            if challenge.deadline.is_some_and(|deadline| deadline <= now) {
                challenge.deadline = None;
                due.push(place.clone());
            }
        }
        due
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.0
            .values()
            .filter_map(|challenge| challenge.deadline)
            .min()
    }

    /// Forgets the claims of a peer to addresses in `room` other than `address`.
    pub(crate) fn forget_others(&mut self, peer: PeerId, room: &RoomId, address: &Address) {
        self.0.retain(|claimed, challenge| {
            if matches!(claimed, Place::Address(at, other) if at == room && other != address) {
                challenge.waiting.retain(|claimant| claimant.peer != peer);
            }
            !challenge.waiting.is_empty()
        });
    }

    /// Forgets the claims of a peer that concern `place` or, if it is a room, an address in it.
    pub(crate) fn forget(&mut self, peer: PeerId, place: &Place) {
        self.0.retain(|claimed, challenge| {
            let concerned = claimed == place
                || matches!((claimed, place), (Place::Address(room, _), Place::Room(left)) if room == left);
            if concerned {
                challenge.waiting.retain(|claimant| claimant.peer != peer);
            }
            !challenge.waiting.is_empty()
        });
    }
}

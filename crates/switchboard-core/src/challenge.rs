//! A taken name is challenged, not stolen and not squatted (promise 8).
//!
//! Whoever claims a name in use waits while its holder is probed. If the holder shows that it is
//! alive, the claimants are refused; if it is silent for [`CHALLENGE`], it is a ghost and goes.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use crate::{
    command::{HubRequest, ResourceKey},
    id::{Address, JoinId, PeerId, RoomId},
    introduction::Member,
    limits::{CHALLENGE, CLAIMANTS_MAX, STANDSTILL},
    log::LogId,
};

/// Who wants a seat, and where.
#[derive(Debug)]
pub(crate) struct PendingJoin<L> {
    pub(crate) log: LogId,
    pub(crate) member: Arc<Member>,
    pub(crate) join_id: JoinId,
    pub(crate) local: L,
    /// What it has asked of the room since: to be answered when it is in, or refused.
    pub(crate) queued_requests: Vec<HubRequest>,
}

#[derive(Debug)]
struct Challenge<L> {
    /// Who is asked. Another may come to hold the place before this one has answered.
    holder: PeerId,
    /// `None` once the holder was found dead and only its departure must still be ordered.
    deadline: Option<Instant>,
    waiting: VecDeque<PendingJoin<L>>,
}

/// A challenge whose time is over.
pub(crate) struct ExpiredChallenge {
    pub(crate) resource: ResourceKey,
    /// Whether an answer would have been heard: a driver that comes much too late stood still.
    pub(crate) is_heard: bool,
}

/// What became of a claimant.
pub(crate) enum QueueOutcome<L> {
    /// It is the first: the holder must be probed.
    Probe,
    /// It waits with others.
    Queued,
    /// Too many wait already.
    Full(PendingJoin<L>),
}

/// The challenges under way.
#[derive(Debug)]
pub(crate) struct Challenges<L>(BTreeMap<ResourceKey, Challenge<L>>);

impl<L> Default for Challenges<L> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<L> Challenges<L> {
    pub(crate) fn enqueue(
        &mut self,
        place: ResourceKey,
        holder: PeerId,
        wish: PendingJoin<L>,
        now: Instant,
    ) -> QueueOutcome<L> {
        let is_new = self.restart_for_new_holder(&place, holder, now);
        let challenge = self.0.entry(place).or_insert_with(|| Challenge {
            holder,
            deadline: Some(now + CHALLENGE),
            waiting: VecDeque::new(),
        });
        let is_first = is_new || challenge.waiting.is_empty();
        let queued = match is_first {
            true => QueueOutcome::Probe,
            false => QueueOutcome::Queued,
        };
        let mut waiting = challenge.waiting.iter_mut();
        if let Some(earlier) = waiting.find(|earlier| earlier.member.peer == wish.member.peer) {
            let early = std::mem::take(&mut earlier.queued_requests);
            *earlier = PendingJoin {
                queued_requests: early,
                ..wish
            };
            return queued;
        }
        if challenge.waiting.len() >= CLAIMANTS_MAX {
            return QueueOutcome::Full(wish);
        }
        challenge.waiting.push_back(wish);
        queued
    }

    /// Says who holds a place now. If a challenge of it is to another, it begins anew: the new
    /// holder must be probed.
    pub(crate) fn restart_for_new_holder(
        &mut self,
        place: &ResourceKey,
        holder: PeerId,
        now: Instant,
    ) -> bool {
        let challenge = self.0.get_mut(place);
        let Some(challenge) = challenge.filter(|challenge| challenge.holder != holder) else {
            return false;
        };
        challenge.holder = holder;
        challenge.deadline = Some(now + CHALLENGE);
        true
    }

    /// Ends the challenge of `place` and gives back who waited.
    pub(crate) fn end(&mut self, place: &ResourceKey) -> VecDeque<PendingJoin<L>> {
        self.0
            .remove(place)
            .map(|challenge| challenge.waiting)
            .unwrap_or_default()
    }

    /// The places whose holders did not answer until `now`. They stay until taken, but are not due
    /// again.
    pub(crate) fn take_expired(&mut self, now: Instant) -> Vec<ExpiredChallenge> {
        let mut due = Vec::new();
        for (place, challenge) in &mut self.0 {
            let Some(deadline) = challenge.deadline.filter(|deadline| *deadline <= now) else {
                continue;
            };
            challenge.deadline = None;
            due.push(ExpiredChallenge {
                resource: place.clone(),
                is_heard: now - deadline < STANDSTILL,
            });
        }
        due
    }

    /// Begins a challenge anew.
    pub(crate) fn restart(&mut self, place: &ResourceKey, now: Instant) {
        if let Some(challenge) = self.0.get_mut(place) {
            challenge.deadline = Some(now + CHALLENGE);
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.0
            .values()
            .filter_map(|challenge| challenge.deadline)
            .min()
    }

    /// The wish of a peer for a place in `room`, if it waits for one.
    pub(crate) fn pending_join_mut(
        &mut self,
        peer: PeerId,
        room: &RoomId,
    ) -> Option<&mut PendingJoin<L>> {
        let challenges = self.0.iter_mut();
        let of_room = challenges
            .filter(|(claimed, _)| matches!(claimed, ResourceKey::Address(at, _) if at == room));
        of_room
            .flat_map(|(_, challenge)| &mut challenge.waiting)
            .find(|wish| wish.member.peer == peer)
    }

    /// Forgets the claims of a peer to addresses in `room` other than `address`, and gives them back.
    pub(crate) fn remove_other_claims(
        &mut self,
        peer: PeerId,
        room: &RoomId,
        address: &Address,
    ) -> Vec<PendingJoin<L>> {
        self.remove_claims_where(peer, |claimed| {
            matches!(claimed, ResourceKey::Address(at, other) if at == room && other != address)
        })
    }

    /// Forgets the claims of a peer to a seat of a log, and gives them back.
    pub(crate) fn remove_claims(&mut self, peer: PeerId, log: &LogId) -> Vec<PendingJoin<L>> {
        self.remove_claims_where(peer, |claimed| match (claimed, log) {
            (ResourceKey::Room(room) | ResourceKey::Address(room, _), LogId::Room(left)) => {
                room == left
            }
            (ResourceKey::Name(name), LogId::Name(left)) => name == left,
            _ => false,
        })
    }

    fn remove_claims_where(
        &mut self,
        peer: PeerId,
        is_concerned: impl Fn(&ResourceKey) -> bool,
    ) -> Vec<PendingJoin<L>> {
        let mut forgotten = Vec::new();
        self.0.retain(|claimed, challenge| {
            let wish = (challenge.waiting.iter()).position(|wish| wish.member.peer == peer);
            if let Some(index) = wish.filter(|_| is_concerned(claimed)) {
                forgotten.extend(challenge.waiting.remove(index));
            }
            !challenge.waiting.is_empty()
        });
        forgotten
    }
}

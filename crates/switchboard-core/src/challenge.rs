//! Liveness checks of the holders of claimed names and addresses (invariant 8 of `ARCHITECTURE.md`).
//!
//! A claim is a join under an address, or a claim to a name. A client that claims an address or name in use waits
//! while the holder is probed. If the holder answers, the claims are refused. If it does not answer within
//! [`CHALLENGE_TIMEOUT`], it is evicted and the claims are retried. An eviction may be lost, so it is repeated
//! until the holder has left.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use crate::{
    command::{HubRequest, ResourceKey},
    id::{Address, JoinId, PeerId, RoomId},
    introduction::Member,
    limits::{CHALLENGE_TIMEOUT, CLAIMANTS_MAX, LATE_TIMEOUT},
    log::LogId,
};

/// A join or a claim that is not committed yet.
#[derive(Debug)]
pub(crate) struct PendingJoin<L> {
    pub(crate) log: LogId,
    pub(crate) member: Arc<Member>,
    pub(crate) join_id: JoinId,
    /// The connection of the peer.
    pub(crate) local: L,
    /// Later requests of the same peer to the room: handled after the commit, refused if the join is refused.
    pub(crate) queued_requests: Vec<HubRequest>,
    /// The join replaces an older session of the same client, so a lock of the room does not refuse it.
    pub(crate) replaces_own_session: bool,
}

/// The challenge of one holder, and the claims to its resource.
#[derive(Debug)]
struct Challenge<L> {
    /// The member that is probed. The resource can get another holder before this member answers.
    holder: PeerId,
    /// Whether the holder has been sent a probe. It gets none if a claimant is proven to be the same client.
    is_probed: bool,
    /// The time by which the holder must have answered or left.
    deadline: Instant,
    /// The claims that wait for the answer.
    waiting: VecDeque<PendingJoin<L>>,
}

/// A challenge whose deadline has passed.
pub(crate) struct ExpiredChallenge {
    pub(crate) resource: ResourceKey,
    /// Whether the holder was probed and has not answered. False if the timeout was handled more than
    /// [`LATE_TIMEOUT`] after the deadline: then the process was paused, and an answer may be waiting to be read.
    pub(crate) is_unanswered: bool,
}

/// The result of [`Challenges::enqueue`].
pub(crate) enum QueueOutcome<L> {
    /// The claim is the first to this holder, which must be probed.
    Probe,
    /// The claim waits with earlier ones.
    Queued,
    /// [`CLAIMANTS_MAX`] claims wait already; this one is returned.
    Full(PendingJoin<L>),
}

/// The challenges in progress, by the claimed resource.
#[derive(Debug)]
pub(crate) struct Challenges<L>(BTreeMap<ResourceKey, Challenge<L>>);

impl<L> Default for Challenges<L> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<L> Challenges<L> {
    /// Queues a claim until the holder has answered or left. A later claim of the same peer replaces its earlier
    /// one and keeps the queued requests.
    pub(crate) fn enqueue(
        &mut self,
        resource: ResourceKey,
        holder: PeerId,
        pending: PendingJoin<L>,
        now: Instant,
    ) -> QueueOutcome<L> {
        let has_new_holder = self.restart_for_new_holder(&resource, holder, now);
        let challenge = self.0.entry(resource).or_insert_with(|| Challenge {
            holder,
            is_probed: false,
            deadline: now + CHALLENGE_TIMEOUT,
            waiting: VecDeque::new(),
        });
        let outcome = match has_new_holder || challenge.waiting.is_empty() {
            true => QueueOutcome::Probe,
            false => QueueOutcome::Queued,
        };
        let mut waiting = challenge.waiting.iter_mut();
        if let Some(earlier) = waiting.find(|earlier| earlier.member.peer == pending.member.peer) {
            let queued = std::mem::take(&mut earlier.queued_requests);
            *earlier = PendingJoin {
                queued_requests: queued,
                ..pending
            };
            return outcome;
        }
        if challenge.waiting.len() >= CLAIMANTS_MAX {
            return QueueOutcome::Full(pending);
        }
        challenge.waiting.push_back(pending);
        outcome
    }

    /// Restarts the challenge of a resource if its holder has changed. Returns true if it was restarted: the new
    /// holder must be probed.
    pub(crate) fn restart_for_new_holder(
        &mut self,
        resource: &ResourceKey,
        holder: PeerId,
        now: Instant,
    ) -> bool {
        let challenge = self.0.get_mut(resource);
        let Some(challenge) = challenge.filter(|challenge| challenge.holder != holder) else {
            return false;
        };
        challenge.holder = holder;
        challenge.is_probed = false;
        challenge.deadline = now + CHALLENGE_TIMEOUT;
        true
    }

    /// Records that the holder of a resource has been sent a probe.
    pub(crate) fn note_probe(&mut self, resource: &ResourceKey) {
        if let Some(challenge) = self.0.get_mut(resource) {
            challenge.is_probed = true;
        }
    }

    /// The clients that wait for a resource.
    pub(crate) fn claimants(&self, resource: &ResourceKey) -> impl Iterator<Item = &Member> {
        let waiting = self.0.get(resource).map(|challenge| &challenge.waiting);
        waiting
            .into_iter()
            .flatten()
            .map(|pending| &*pending.member)
    }

    /// Removes the challenge of `resource` and returns the claims that waited.
    pub(crate) fn end(&mut self, resource: &ResourceKey) -> VecDeque<PendingJoin<L>> {
        self.0
            .remove(resource)
            .map(|challenge| challenge.waiting)
            .unwrap_or_default()
    }

    /// The challenges whose deadline has passed at `now`. Each gets a new deadline.
    pub(crate) fn restart_expired(&mut self, now: Instant) -> Vec<ExpiredChallenge> {
        let mut expired = Vec::new();
        for (resource, challenge) in &mut self.0 {
            if challenge.deadline > now {
                continue;
            }
            let fired_in_time = now - challenge.deadline < LATE_TIMEOUT;
            challenge.deadline = now + CHALLENGE_TIMEOUT;
            expired.push(ExpiredChallenge {
                resource: resource.clone(),
                is_unanswered: challenge.is_probed && fired_in_time,
            });
        }
        expired
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let challenges = self.0.values();
        challenges.map(|challenge| challenge.deadline).min()
    }

    /// The join of `room` by a peer that waits until its address is free.
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
            .find(|pending| pending.member.peer == peer)
    }

    /// Removes and returns the claims of a peer to addresses in `room` other than `address`.
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

    /// Removes and returns the claims of a peer to the resources of a log.
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
        matches: impl Fn(&ResourceKey) -> bool,
    ) -> Vec<PendingJoin<L>> {
        let mut removed = Vec::new();
        self.0.retain(|claimed, challenge| {
            let pending =
                (challenge.waiting.iter()).position(|pending| pending.member.peer == peer);
            if let Some(index) = pending.filter(|_| matches(claimed)) {
                removed.extend(challenge.waiting.remove(index));
            }
            !challenge.waiting.is_empty()
        });
        removed
    }
}

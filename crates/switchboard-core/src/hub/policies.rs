//! Checks the room policies, and the rule for sessions with the same identity, before a join or a claim is proposed and
//! when it is committed.

use std::{sync::Arc, time::Instant};

use super::{Holder, Hub, claim, members, rejoined_event, resource_key};
use crate::{
    challenge::PendingJoin,
    command::{Change, Claimant},
    error::ErrorCode,
    event::EvictionReason,
    id::{Address, NameId, PeerId, Position, RoomId},
    introduction::{Identity, Member},
    limits::{NOTICE_BYTES, exceeds, lower_limit},
    log::{LeaveCause, LogId},
    room::{Membership, Pending, Room},
    room_policy::{DuplicateIdentity, JoinRefusal, JoiningClient, SharedRoomPolicies},
};

impl<L: Clone> Hub<L> {
    /// The same hub with these room policies. Without this call nothing but [`Limits`](crate::Limits) restricts a room.
    #[must_use]
    pub fn with_policies(self, policies: SharedRoomPolicies) -> Self {
        Self { policies, ..self }
    }

    /// Handles the claim of a name. A client can claim a name in a room only if it may join the room.
    pub(super) fn request_claim(
        &mut self,
        peer: PeerId,
        name: NameId,
        claimant: Claimant,
        local: L,
        now: Instant,
    ) {
        let refused = self.refused_claim(peer, &name, &claimant);
        let pending = claim(peer, name, claimant.identity, local);
        match refused {
            Some(code) => self.refuse_join(pending, code),
            None => self.request_join(pending, now),
        }
    }

    fn refused_claim(&self, peer: PeerId, name: &NameId, claimant: &Claimant) -> Option<ErrorCode> {
        let room = name.room.as_ref()?;
        let holds_name = |log: &Room<L>| {
            let mut holders = log.memberships();
            holders.any(|holder| {
                let is_same = holder.member.identity.is_proven_same(&claimant.identity);
                holder.member.peer == peer || is_same
            })
        };
        let log = self.rooms.get(&LogId::Name(name.clone()));
        let client = JoiningClient {
            dialect: claimant.dialect.name,
            reveals_members: claimant.dialect.reveals_members,
            identity: &claimant.identity,
            policy: claimant.policy.as_deref(),
            is_grouped: false,
            is_returning: log.is_some_and(holds_name),
        };
        let refusal = self.policies.check_join(room, &client).err()?;
        Some(refusal.error(room, client.dialect))
    }

    /// Returns the join if the policies admit it. Otherwise it is refused, or waits for the session that has the same
    /// identity.
    pub(super) fn check_policies(
        &mut self,
        pending: PendingJoin<L>,
        now: Instant,
    ) -> Option<PendingJoin<L>> {
        if let Some((refusal, code)) = self.refused_join(&pending, now) {
            self.policies.count(refusal);
            self.refuse_join(pending, code);
            return None;
        }
        let rule = self.policies.load().duplicate_identity;
        let Some((address, is_leaving)) = self.duplicate_of(&pending, rule) else {
            return Some(pending);
        };
        if rule == DuplicateIdentity::Refuse && !is_leaving {
            self.policies.count(JoinRefusal::DuplicateIdentity);
            self.refuse_join(pending, ErrorCode::Taken);
        } else {
            self.challenge_holder(pending, &address, false, now);
        }
        None
    }

    /// The policy that refuses a join of a room, and the error for the client.
    fn refused_join(
        &self,
        pending: &PendingJoin<L>,
        now: Instant,
    ) -> Option<(JoinRefusal, ErrorCode)> {
        let LogId::Room(room) = &pending.log else {
            return None;
        };
        let policies = self.policies.load();
        let client = JoiningClient::of(&pending.member, false);
        let refusal = policies.check_join(&room.name, &client).err()?;
        let is_returning = refusal == JoinRefusal::Locked && self.is_returning(room, pending, now);
        (!is_returning).then(|| (refusal, refusal.error(&room.name, client.dialect)))
    }

    /// Whether the client of a join gets an address back: it is reserved for the client, or its own session has it.
    fn is_returning(&self, room: &RoomId, pending: &PendingJoin<L>, now: Instant) -> bool {
        let member = &pending.member;
        let log = LogId::Room(room.clone());
        let holder = self
            .rooms
            .get(&log)
            .and_then(|room| room.by_address(&member.address));
        let replaces = |holder: &Membership<L>| self.may_replace(&holder.member, member);
        let reserved = resource_key(&log, &member.address);
        pending.replaces_own_session
            || holder.is_some_and(replaces)
            || reserved.is_some_and(|key| self.reservations.is_kept_for(&key, member, now))
    }

    /// Whether the room hides its members from this member.
    pub(super) fn hides_members(&self, room: &RoomId, member: &Member) -> bool {
        !self.policies.load().reveals_members(&room.name, member)
    }

    /// Answers a join of a room, or a claim of a name, by the client that is in the room or has the name already.
    pub(super) fn answer_rejoin(&mut self, pending: PendingJoin<L>, now: Instant) {
        let peer = pending.member.peer;
        let hides_members = match &pending.log {
            LogId::Room(room) => self.hides_members(room, &pending.member),
            LogId::Name(..) | LogId::Election(_) => false,
        };
        let room = self.rooms.get(&pending.log).filter(|_| !hides_members);
        let visible = room.into_iter().flat_map(|room| {
            let membership = room.membership(peer).into_iter();
            membership.flat_map(|own| room.visible_to(&own.member))
        });
        let others = members(visible);
        self.charge(pending.local.clone(), others.len(), NOTICE_BYTES);
        self.deliver(pending.local.clone(), rejoined_event(pending.log, others));
        self.replay_queued_requests(peer, &pending.local, pending.queued_requests, now);
    }

    /// Whether a newcomer replaces the holder of its address without a probe.
    pub(super) fn may_replace(&self, holder: &Member, newcomer: &Member) -> bool {
        let rule = self.policies.load().duplicate_identity;
        let is_same_identity = rule == DuplicateIdentity::Replace
            && holder.identity.is_proven_same(&newcomer.identity);
        holder.address == newcomer.address && (holder.has_same_token(newcomer) || is_same_identity)
    }

    /// The address of another session with the same identity in the log, and whether that session is leaving. `None` if
    /// the rule allows several, and for a session that the newcomer replaces by its token.
    fn duplicate_of(
        &self,
        pending: &PendingJoin<L>,
        rule: DuplicateIdentity,
    ) -> Option<(Address, bool)> {
        let newcomer = &pending.member;
        let Identity::Proven(identity) = &newcomer.identity else {
            return None;
        };
        if rule == DuplicateIdentity::Replace {
            return None;
        }
        let room = self.rooms.get(&pending.log)?;
        let members = room.of_identity(identity).map(|other| &other.member);
        let joining = room.pending.joins().map(|other| &other.member);
        let joining = joining.filter(|other| other.identity == newcomer.identity);
        let mut others = members.chain(joining);
        let duplicate = others
            .find(|other| other.peer != newcomer.peer && !self.may_replace(other, newcomer))?;
        let resource = resource_key(&pending.log, &duplicate.address)?;
        let holder = self.holder(&resource).map(|(_, holder)| holder);
        let is_leaving = matches!(holder, Some(Holder::Leaving));
        Some((duplicate.address.clone(), is_leaving))
    }

    /// Max members of the room when this join is committed; 0 for no limit.
    pub(super) fn policy_members_max(&self, log: &LogId, newcomer: &Member) -> usize {
        match log {
            LogId::Room(room) => {
                let client = JoiningClient::of(newcomer, false);
                self.policies.load().members_max(&room.name, &client)
            }
            LogId::Name(..) | LogId::Election(_) => 0,
        }
    }

    /// Whether the room has no place for a join that is not proposed yet. Counts the refusals of policies.
    pub(super) fn is_full_for(&mut self, pending: &PendingJoin<L>) -> bool {
        let of_policy = self.policy_members_max(&pending.log, &pending.member);
        let room = self.rooms.entry(pending.log.clone()).or_default();
        let limit = room.members_max(&pending.member, &self.limits);
        let count = room.len() + 1;
        if exceeds(count, of_policy) {
            self.policies.count(JoinRefusal::MaxMembers);
        }
        exceeds(count, lower_limit(limit, of_policy))
    }

    /// Counts a join that the engine has rejected because the room is full, if a policy limits the room.
    pub(super) fn count_full(&self, pending: &PendingJoin<L>) {
        if self.policy_members_max(&pending.log, &pending.member) != 0 {
            self.policies.count(JoinRefusal::MaxMembers);
        }
    }

    /// Refuses a newcomer of this node if concurrent joins on other nodes have filled the room, or if another session of
    /// its identity was committed first. Its join is committed but no longer pending; `apply_join` notices that and
    /// proposes its leave.
    pub(super) fn reject_overtaken(&mut self, log: &LogId, since: Position, newcomer: &Member) {
        let of_policy = self.policy_members_max(log, newcomer);
        let rule = self.policies.load().duplicate_identity;
        let Some(room) = self.rooms.get_mut(log) else {
            return;
        };
        let is_overfull =
            room.is_overfull_with(newcomer) || exceeds(room.members_len() + 1, of_policy);
        let is_duplicate = has_earlier_session(room, rule, since, newcomer);
        if !is_overfull && !is_duplicate {
            return;
        }
        match room.pending.remove(newcomer.peer) {
            Some(Pending::Join(pending)) if is_duplicate => {
                self.policies.count(JoinRefusal::DuplicateIdentity);
                self.refuse_join(pending, ErrorCode::Taken);
            }
            Some(Pending::Join(pending)) => {
                self.count_full(&pending);
                self.refuse_join(pending, ErrorCode::RoomFull);
            }
            Some(leave @ Pending::Leave(_)) => drop(room.pending.insert(newcomer.peer, leave)),
            None => {}
        }
    }

    /// Evicts the members of this node that have the identity of `newcomer` and joined after another member with it. A
    /// join that was requested after such a member is refused before, so this concerns members that were joined again
    /// after the lease of their node had expired or the store had lost its data.
    pub(super) fn evict_later_sessions(&mut self, log: &LogId, newcomer: &Member) {
        let rule = self.policies.load().duplicate_identity;
        let Some(room) = self.rooms.get(log) else {
            return;
        };
        let sessions = sessions_of(room, rule, &newcomer.identity);
        let later = sessions.skip(1).filter(|session| session.local().is_some());
        let later: Vec<_> = later.map(|session| session.member.peer).collect();
        for peer in later {
            let cause = LeaveCause::Evicted(EvictionReason::Replaced);
            self.propose(log.clone(), Change::Leave(peer, cause));
        }
    }
}

/// Whether another session with the identity of `newcomer` joined before it, where the rule allows one session only.
fn has_earlier_session<L>(
    room: &Room<L>,
    rule: DuplicateIdentity,
    since: Position,
    newcomer: &Member,
) -> bool {
    let key = (since, newcomer.peer);
    let mut sessions = sessions_of(room, rule, &newcomer.identity);
    sessions.any(|session| session.order_key() < key && session.member.peer != newcomer.peer)
}

/// The sessions with this identity in the order of their joins, where the rule allows one session only. None if the
/// identity is not proven.
fn sessions_of<'a, L>(
    room: &'a Room<L>,
    rule: DuplicateIdentity,
    identity: &'a Identity,
) -> impl Iterator<Item = &'a Membership<L>> {
    let identity = match (identity, rule) {
        (_, DuplicateIdentity::Replace) | (Identity::Claimed, _) => None,
        (Identity::Proven(identity), _) => Some(identity),
    };
    identity
        .into_iter()
        .flat_map(|identity: &'a Arc<str>| room.of_identity(identity))
}

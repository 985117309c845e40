//! The state machine of the rooms and claimed names of one shard.
//!
//! A claim is a request for a name, or a join of a room under an address (the string by which the members of a room
//! name one member). A resource is an address or a name, and its holder is the member that has it. A challenge checks
//! with a probe whether the holder of a claimed resource is still alive.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use crate::{
    challenge::{Challenges, ExpiredChallenge, PendingJoin, QueueOutcome},
    command::{Change, Charge, Effect, HubRequest, Input, LeaveKind, ResourceKey},
    deferred::DeferredDelivery,
    error::{ErrorCode, RequestError},
    event::{Event, EvictionReason},
    id::{Address, JoinId, NameId, PeerId, Position},
    introduction::{DialectTraits, Identity, Member},
    limits::{Limits, NOTICE_BYTES},
    log::{LeaveCause, LogId, NodeId, NodeMessage, NodeMessageBody},
    reservation::Reservations,
    room::{MemberLocation, Membership, Pending, Room},
    room_policy::SharedRoomPolicies,
    seeded_hash::NameHashMap,
};

mod broadcast;
mod deferred;
mod effects;
mod log;
mod node_messages;
mod parsing;
mod policies;
mod queries;
mod relay;

use effects::Effects;
pub use effects::{Deliveries, EventReceivers};
pub use parsing::UnparsedInput;
use relay::not_in_room;

/// The traits of the holder of a claimed name, which is the only member of the name's log. It can neither send nor
/// receive.
static NAME_HOLDER: DialectTraits = DialectTraits {
    name: "name",
    signals: false,
    messages: false,
    ..DialectTraits::DEFAULT
};

/// A sans-IO state machine of rooms and names. The crate documentation says what its driver, the code that owns the
/// hub and does its I/O, must do.
///
/// `L` is the driver's handle of a connection to this node; clones of one handle are equal to it.
#[derive(Debug)]
pub struct Hub<L> {
    limits: Arc<Limits>,
    policies: SharedRoomPolicies,
    /// The rooms and claimed names, by their membership logs. A name is a room with one member, the holder.
    rooms: NameHashMap<LogId, Room<L>>,
    challenges: Challenges<L>,
    /// The nodes that have probed a resource held by a peer of this node. They are notified when that peer answers.
    waiting_nodes: BTreeMap<ResourceKey, Vec<NodeId>>,
    reservations: Reservations,
    deferred: DeferredDelivery<L>,
    effects: Effects<L>,
    /// The current input, if its frame must be parsed before it is handled.
    unparsed: Option<UnparsedInput<L>>,
}

/// The holder of a claimed resource.
enum Holder<L> {
    /// A peer of this node.
    Local(L),
    /// A peer of this node that is already leaving.
    Leaving,
    /// A peer of another node.
    Remote(NodeId),
}

impl<L: Clone> Hub<L> {
    /// An empty hub.
    #[must_use]
    pub fn new(limits: Arc<Limits>) -> Self {
        Self {
            limits,
            policies: SharedRoomPolicies::default(),
            rooms: NameHashMap::default(),
            challenges: Challenges::default(),
            waiting_nodes: BTreeMap::new(),
            reservations: Reservations::default(),
            deferred: DeferredDelivery::default(),
            effects: Effects::default(),
            unparsed: None,
        }
    }

    /// Replaces the limits. They hold for later inputs.
    pub fn set_limits(&mut self, limits: Arc<Limits>) {
        self.limits = limits;
    }

    /// Handles an input. The caller must then drain [`Hub::poll_effect`]. Parses the frame of the input if a receiver
    /// has another dialect. A driver that keeps the hub under a lock calls [`Hub::try_handle`] instead.
    pub fn handle(&mut self, input: Input<L>, now: Instant) {
        if let Some(unparsed) = self.try_handle(input, now) {
            self.dispatch(unparsed.parse(), now);
        }
    }

    /// Handles an input whose frame need not be parsed, or has been. The caller must then drain
    /// [`Hub::poll_effect`]. Any other input is returned and has no effect: the caller releases its lock, parses it
    /// with [`UnparsedInput::parse`], and passes the result to this function before other inputs of this sender.
    #[must_use]
    pub fn try_handle(&mut self, input: Input<L>, now: Instant) -> Option<UnparsedInput<L>> {
        self.dispatch(input, now);
        self.unparsed.take()
    }

    fn dispatch(&mut self, input: Input<L>, now: Instant) {
        match input {
            Input::Request {
                peer,
                local,
                request,
            } => self.handle_request(peer, local, request, now),
            Input::Committed(log, entry) => self.apply_entry(&log, entry, now),
            Input::Rejected(log, peer, reason) => self.handle_rejection(&log, peer, reason, now),
            Input::NodeMessage(from, message) => self.handle_node_message(from, message, now),
            Input::Undeliverable(message) => self.handle_undeliverable(message, now),
            Input::Announce {
                room,
                to,
                from,
                message,
            } => self.announce(&room, &to, &from, &message),
            Input::Kick {
                room,
                address,
                peer,
            } => self.kick(&ResourceKey::Address(room, address), peer),
        }
    }

    /// Expires challenges, reservations and deferred messages whose deadline has passed at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.reservations.expire(now);
        self.expire_deferred(now);
        for ExpiredChallenge {
            resource,
            is_unanswered,
        } in self.challenges.restart_expired(now)
        {
            let Some((holder, _)) = self.holder(&resource) else {
                self.retry_pending_joins(&resource, now);
                continue;
            };
            let has_new_holder = (self.challenges).restart_for_new_holder(&resource, holder, now);
            if self.is_reclaimed(&resource) {
                // The eviction that followed the claim was lost.
                self.evict(&resource, EvictionReason::Replaced);
            } else if is_unanswered && !has_new_holder {
                self.evict(&resource, EvictionReason::Unresponsive);
            } else {
                self.probe(&resource);
            }
        }
    }

    /// Removes and returns the next effect. Sets the `known_position` of a proposal, which may have advanced since
    /// the proposal was queued.
    pub fn poll_effect(&mut self) -> Option<Effect<L>> {
        let mut effect = self.effects.pop();
        if let Some(Effect::Propose {
            log,
            known_position,
            ..
        }) = &mut effect
        {
            *known_position = self.rooms.get(log).map(Room::position).unwrap_or_default();
        }
        effect
    }

    /// Removes and returns the next effects if they are deliveries of one event to several connections, for a driver that
    /// makes them at once. [`Hub::poll_effect`] returns them one by one.
    pub fn poll_deliveries(&mut self) -> Option<Deliveries<L>> {
        self.effects.pop_deliveries()
    }

    /// The time of the next deadline, at or after which [`Hub::handle_timeout`] must be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let deadlines = [
            self.challenges.next_deadline(),
            self.reservations.next_deadline(),
            self.deferred.next_deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    fn handle_request(&mut self, peer: PeerId, local: L, request: HubRequest, now: Instant) {
        match request {
            HubRequest::Claim(name, claimant) => {
                self.request_claim(peer, name, *claimant, local, now);
            }
            HubRequest::Release(name) => self.leave(peer, LogId::Name(name), LeaveKind::Announced),
            HubRequest::Join(room, member, join_id) => {
                let others =
                    (self.challenges).remove_other_claims(member.peer, &room, &member.address);
                // A join under another address keeps the requests that the peer has queued.
                let queued = others
                    .into_iter()
                    .flat_map(|pending| pending.queued_requests)
                    .collect();
                let pending = PendingJoin {
                    log: LogId::Room(room),
                    member,
                    join_id,
                    local,
                    queued_requests: queued,
                    replaces_own_session: false,
                };
                self.request_join(pending, now);
            }
            HubRequest::Leave(room, kind) => {
                let log = LogId::Room(room);
                self.charge_leave(peer, local, &log);
                self.leave(peer, log, kind);
            }
            request @ (HubRequest::Send(..) | HubRequest::List(_)) => {
                self.handle_room_request(peer, local, request, now)
            }
            HubRequest::Alive(resource) => self.handle_alive(peer, &resource),
        }
    }

    fn deliver(&mut self, to: L, event: Event) {
        self.effects.deliver(to, Arc::new(event));
    }

    fn refuse(&mut self, to: L, error: RequestError) {
        self.deliver(to, Event::RequestFailed(error));
    }

    /// Charges `count` frames of `bytes` bytes each to a connection.
    fn charge(&mut self, to: L, count: usize, bytes: usize) {
        if count > 0 {
            let bytes = count.saturating_mul(bytes);
            let charge = Charge::Deliveries { count, bytes };
            self.effects.charge(to, charge);
        }
    }

    /// Charges a leave to the connection that requests it, once for each notified member.
    fn charge_leave(&mut self, peer: PeerId, local: L, log: &LogId) {
        let room = self.rooms.get(log);
        let found = room.and_then(|room| Some((room, room.membership(peer)?)));
        let notified = found.map_or(0, |(room, leaving)| {
            room.observers_of(&leaving.member).count()
        });
        self.charge(local, notified, NOTICE_BYTES);
    }

    fn propose(&mut self, log: LogId, change: Change) {
        self.effects.push(Effect::Propose {
            log,
            // `poll_effect` sets it.
            known_position: Position::default(),
            change,
        });
    }

    fn send(&mut self, to: NodeId, log: LogId, body: NodeMessageBody) {
        let message = NodeMessage { log, body };
        self.effects.push(Effect::Send(to, message));
    }

    /// The local connection of a member of this node.
    fn local(&self, log: &LogId, peer: PeerId) -> Option<L> {
        self.rooms.get(log)?.membership(peer)?.local().cloned()
    }

    // Joins and leaves

    /// Handles a join of a room or a claim of a name:
    /// - while an earlier join or leave of the peer is pending, the request waits for the commit of that change;
    /// - if the peer is a member already, it is answered at once;
    /// - if a policy of the room forbids it, it is refused;
    /// - if the address is in use, the request waits for the result of a challenge of the holder;
    /// - otherwise it is refused or proposed.
    fn request_join(&mut self, pending: PendingJoin<L>, now: Instant) {
        let peer = pending.member.peer;
        let room = self.rooms.entry(pending.log.clone()).or_default();
        match room.pending.get_mut(peer) {
            // The earlier join is not repeated; its result is reported under the newer id.
            Some(Pending::Join(earlier)) => return earlier.join_id = pending.join_id,
            Some(Pending::Leave(rejoin)) => {
                let queued = rejoin.take().map(|earlier| earlier.queued_requests);
                let queued = queued
                    .unwrap_or_default()
                    .into_iter()
                    .chain(pending.queued_requests);
                let queued = queued.collect();
                return *rejoin = Some(PendingJoin {
                    queued_requests: queued,
                    ..pending
                });
            }
            None => {}
        }
        if room.membership(peer).is_some() {
            return self.answer_rejoin(pending, now);
        }
        let Some(pending) = self.check_policies(pending, now) else {
            return;
        };
        let address = &pending.member.address;
        if let Some(holder) = self.member_with(&pending.log, address) {
            let is_same_client = self.may_replace(&holder, &pending.member);
            let address = address.clone();
            return self.challenge_holder(pending, &address, is_same_client, now);
        }
        let resource = resource_key(&pending.log, address);
        // The peer may have claimed an address of this log before; the new claim replaces that.
        let earlier = self.challenges.remove_claims(peer, &pending.log);
        let queued = earlier.into_iter().flat_map(|claim| claim.queued_requests);
        let queued = queued.chain(pending.queued_requests).collect();
        let pending = PendingJoin {
            queued_requests: queued,
            ..pending
        };
        if resource.is_some_and(|key| self.reservations.blocks(&key, &pending.member, now)) {
            return self.refuse_join(pending, ErrorCode::Taken);
        }
        self.propose_join(pending);
    }

    /// Proposes a join under an address that is not in use, or refuses it if the room is full.
    fn propose_join(&mut self, mut pending: PendingJoin<L>) {
        if self.is_full_for(&pending) {
            return self.refuse_join(pending, ErrorCode::RoomFull);
        }
        let room = self.rooms.entry(pending.log.clone()).or_default();
        pending.member = room.assign_group(pending.member);
        let (log, member) = (pending.log.clone(), pending.member.clone());
        room.pending.insert(member.peer, Pending::Join(pending));
        self.propose(log, Change::Join(member));
    }

    /// Queues a claim until the holder of `address` has answered a probe or left. The address is that of the claim, or
    /// that of another session with the claimant's identity. A holder that is proven to be the same client as the
    /// claimant is evicted without a probe.
    fn challenge_holder(
        &mut self,
        pending: PendingJoin<L>,
        address: &Address,
        is_same_client: bool,
        now: Instant,
    ) {
        let Some(resource) = resource_key(&pending.log, address) else {
            return;
        };
        let pending = PendingJoin {
            replaces_own_session: pending.replaces_own_session || is_same_client,
            ..pending
        };
        let Some((holder, _)) = self.holder(&resource) else {
            return;
        };
        let local = pending.local.clone();
        let challenges = &mut self.challenges;
        match challenges.enqueue(resource.clone(), holder, pending, now) {
            QueueOutcome::Full(pending) => self.refuse_join(pending, ErrorCode::Taken),
            QueueOutcome::Probe | QueueOutcome::Queued if is_same_client => {}
            QueueOutcome::Probe => {
                self.charge(local, 1, NOTICE_BYTES);
                self.probe(&resource);
            }
            QueueOutcome::Queued => {}
        }
        if is_same_client {
            self.evict(&resource, EvictionReason::Replaced);
        }
    }

    /// Sends a probe to the holder of a resource.
    fn probe(&mut self, resource: &ResourceKey) {
        self.challenges.note_probe(resource);
        match self.holder(resource) {
            Some((_, Holder::Local(local))) => self.deliver(local, Event::Probe(resource.clone())),
            Some((peer, Holder::Remote(node))) => {
                self.send(node, resource.log(), NodeMessageBody::Probe(peer))
            }
            Some((_, Holder::Leaving)) | None => {}
        }
    }

    fn refuse_join(&mut self, pending: PendingJoin<L>, reason: ErrorCode) {
        let error = match &pending.log {
            LogId::Room(room) => RequestError {
                target: (reason == ErrorCode::Taken).then(|| pending.member.address.clone()),
                ..RequestError::join(reason, &room.name, pending.join_id)
            },
            LogId::Name(name) => RequestError::claim(reason, name.clone()),
            LogId::Election(_) => RequestError::new(reason),
        };
        self.refuse(pending.local.clone(), error);
        self.remove_room_if_empty(&pending.log);
        self.reject_queued_requests(pending);
    }

    /// Refuses the queued requests of a join that has failed.
    fn reject_queued_requests(&mut self, pending: PendingJoin<L>) {
        for request in pending.queued_requests {
            self.refuse(pending.local.clone(), not_in_room(request));
        }
    }

    fn leave(&mut self, peer: PeerId, log: LogId, kind: LeaveKind) {
        for pending in self.challenges.remove_claims(peer, &log) {
            self.reject_queued_requests(pending);
        }
        if let LogId::Room(room) = &log {
            self.deferred.remove_sender(peer, room);
        }
        let Some(room) = self.rooms.get_mut(&log) else {
            return;
        };
        if let Some(Pending::Leave(rejoin)) = room.pending.get_mut(peer) {
            if let Some(pending) = rejoin.take() {
                self.reject_queued_requests(pending);
            }
            return;
        }
        if let Some(membership) = room.membership_mut(peer) {
            if membership.is_on_this_node() {
                membership.location = MemberLocation::Leaving;
            }
        } else if !room.pending.contains(peer) {
            return;
        }
        let before = room.pending.insert(peer, Pending::Leave(None));
        if let Some(Pending::Join(pending)) = before {
            self.reject_queued_requests(pending);
        }
        self.propose(log, Change::Leave(peer, LeaveCause::Requested(kind)));
    }

    /// Removes a room without members and pending requests.
    fn remove_room_if_empty(&mut self, log: &LogId) {
        if self.rooms.get(log).is_some_and(Room::is_empty) {
            self.rooms.remove(log);
        }
    }

    // Holders and challenges

    /// Whether a client that waits for a resource is proven to be the same as its holder.
    fn is_reclaimed(&self, resource: &ResourceKey) -> bool {
        let address = resource.address();
        let holder = address.and_then(|address| self.member_with(&resource.log(), &address));
        holder.is_some_and(|holder| {
            let mut claimants = self.challenges.claimants(resource);
            claimants.any(|claimant| self.may_replace(&holder, claimant))
        })
    }

    /// The member that has this address, or will have it when its join is committed.
    fn member_with(&self, log: &LogId, address: &Address) -> Option<Arc<Member>> {
        let room = self.rooms.get(log)?;
        let holder = room.by_address(address).map(|holder| &holder.member);
        let joining = || Some(&room.pending_join_for(address)?.member);
        holder.or_else(joining).cloned()
    }

    /// The holder of a resource, or the peer that will hold it when its join is committed.
    fn holder(&self, resource: &ResourceKey) -> Option<(PeerId, Holder<L>)> {
        let room = self.rooms.get(&resource.log())?;
        let address = resource.address()?;
        if let Some(membership) = room.by_address(&address) {
            let holder = match (membership.node(), membership.local()) {
                (Some(node), _) => Holder::Remote(node),
                (None, Some(local)) => Holder::Local(local.clone()),
                (None, None) => Holder::Leaving,
            };
            return Some((membership.member.peer, holder));
        }
        let pending = room.pending_join_for(&address)?;
        Some((pending.member.peer, Holder::Local(pending.local.clone())))
    }

    /// Handles a sign of life of `peer`: if it holds the resource, refuses the claims to it on this node, and lets the
    /// nodes that have probed it refuse theirs.
    fn handle_alive(&mut self, peer: PeerId, resource: &ResourceKey) {
        let holder = self.holder(resource);
        if holder.is_none_or(|(holder, _)| holder != peer) {
            return;
        }
        for node in self.waiting_nodes.remove(resource).unwrap_or_default() {
            self.send(node, resource.log(), NodeMessageBody::Alive(peer));
        }
        for pending in self.challenges.end(resource) {
            self.refuse_join(pending, ErrorCode::Taken);
        }
    }

    /// Evicts `peer`, if it holds the address.
    fn kick(&mut self, resource: &ResourceKey, peer: PeerId) {
        let holder = self.holder(resource);
        if holder.is_some_and(|(holder, _)| holder == peer) {
            self.evict(resource, EvictionReason::Kicked);
        }
    }

    /// Proposes the leave of a resource's holder. The holder's connection ends when the leave is committed, or at once
    /// if its join is not committed yet.
    fn evict(&mut self, resource: &ResourceKey, reason: EvictionReason) {
        let log = resource.log();
        let Some((peer, Holder::Local(_) | Holder::Remote(_))) = self.holder(resource) else {
            return;
        };
        let room = self.rooms.get_mut(&log);
        if let Some(room) = room.filter(|room| room.membership(peer).is_none())
            && let Some(Pending::Join(pending)) = room.pending.insert(peer, Pending::Leave(None))
        {
            self.deliver(pending.local, Event::Evicted(reason));
            return self.propose(
                log,
                Change::Leave(peer, LeaveCause::Requested(LeaveKind::Announced)),
            );
        }
        self.propose(log, Change::Leave(peer, LeaveCause::Evicted(reason)));
    }

    /// Retries the claims that waited for a resource after its holder has left.
    fn retry_pending_joins(&mut self, resource: &ResourceKey, now: Instant) {
        for pending in self.challenges.end(resource) {
            self.request_join(pending, now);
        }
    }
}

/// A claim to a name, as a join of the name's log: the holder of the name is the only member of that log.
fn claim<L>(peer: PeerId, id: NameId, identity: Identity, local: L) -> PendingJoin<L> {
    let member = Member {
        peer,
        address: id.name.clone().into(),
        name: None,
        dialect: &NAME_HOLDER,
        identity,
        token: None,
        group: None,
        policy: None,
    };
    PendingJoin {
        log: LogId::Name(id),
        member: Arc::new(member),
        join_id: JoinId::default(),
        local,
        queued_requests: Vec::new(),
        replaces_own_session: false,
    }
}

/// The key of an address in a log: an address of a room, or the name itself.
fn resource_key(log: &LogId, address: &Address) -> Option<ResourceKey> {
    match log {
        LogId::Room(room) => Some(ResourceKey::Address(room.clone(), address.clone())),
        LogId::Name(name) => Some(ResourceKey::Name(name.clone())),
        LogId::Election(_) => None,
    }
}

fn rejoined_event(log: LogId, others: Vec<Arc<Member>>) -> Event {
    match log {
        LogId::Room(room) => Event::Rejoined { room, others },
        LogId::Name(name) => Event::Claimed(name),
        // Peers do not join elections.
        LogId::Election(_) => Event::RequestFailed(RequestError::new(ErrorCode::NotInRoom)),
    }
}

fn members<'a, L: 'a>(memberships: impl Iterator<Item = &'a Membership<L>>) -> Vec<Arc<Member>> {
    memberships
        .map(|membership| membership.member.clone())
        .collect()
}

//! The rooms and names of one shard of a node.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use crate::{
    challenge::{Challenges, ExpiredChallenge, PendingJoin, QueueOutcome},
    command::{Change, Charge, Effect, HubRequest, Input, LeaveKind, ResourceKey, Target},
    deferred::DeferredDelivery,
    error::{ErrorCode, RequestError},
    event::{Event, EvictionReason},
    id::{Address, JoinId, NameId, PeerId, Position, RoomId},
    introduction::{DialectTraits, Identity, Member},
    limits::{EARLY_BYTES_MAX, EARLY_MAX, Limits, NOTICE_BYTES, exceeds},
    log::{LeaveCause, LogId, NodeId, NodeMessage, NodeMessageBody, Recipient},
    message::RelayedMessage,
    reservation::Reservations,
    room::{Membership, Pending, Room},
};

mod deferred;
mod log;
mod node_messages;

/// Who holds a name says nothing in it.
static NAME_HOLDER: DialectTraits = DialectTraits {
    name: "name",
    signals: false,
    messages: false,
    ..DialectTraits::DEFAULT
};

/// Rooms and names, as a machine. See the crate's page for how to drive it.
///
/// `L` is the driver's handle of a local connection; clones of one handle are equal to it.
#[derive(Debug)]
pub struct Hub<L> {
    limits: Arc<Limits>,
    rooms: HashMap<LogId, Room<L>>,
    challenges: Challenges<L>,
    /// The nodes that want to know whether the holder of a place, a peer of this node, is alive.
    waiting_nodes: BTreeMap<ResourceKey, Vec<NodeId>>,
    reservations: Reservations,
    deferred: DeferredDelivery<L>,
    effects: VecDeque<Effect<L>>,
}

/// Who has what somebody else wants.
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
            rooms: HashMap::new(),
            challenges: Challenges::default(),
            waiting_nodes: BTreeMap::new(),
            reservations: Reservations::default(),
            deferred: DeferredDelivery::default(),
            effects: VecDeque::new(),
        }
    }

    /// Takes an input. What follows is to be fetched with [`Hub::poll_effect`].
    pub fn handle(&mut self, input: Input<L>, now: Instant) {
        match input {
            Input::Request {
                peer,
                local,
                request: ask,
            } => self.handle_request(peer, local, ask, now),
            Input::Committed(log, entry) => self.apply_entry(&log, entry, now),
            Input::Rejected(log, peer, why) => self.handle_rejection(&log, peer, why, now),
            Input::NodeMessage(from, letter) => self.handle_node_message(from, letter, now),
            Input::Undeliverable(letter) => self.handle_undeliverable(letter, now),
            Input::Announce {
                room,
                to,
                from,
                message: relay,
            } => self.announce(&room, &to, &from, &relay),
            Input::Kick { room, address } => {
                self.evict(&ResourceKey::Address(room, address), EvictionReason::Kicked);
            }
        }
    }

    /// Ends what is due at `now`: challenges, reservations, and the patience of those who wait for
    /// somebody to come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.reservations.expire(now);
        self.expire_deferred(now);
        for ExpiredChallenge {
            resource: place,
            is_heard,
        } in self.challenges.take_expired(now)
        {
            match self.holder(&place) {
                None => self.retry_pending_joins(&place, now),
                Some((holder, _))
                    if self.challenges.restart_for_new_holder(&place, holder, now) =>
                {
                    self.probe(&place);
                }
                Some(_) if is_heard => self.evict(&place, EvictionReason::Unresponsive),
                Some(_) => {
                    self.challenges.restart(&place, now);
                    self.probe(&place);
                }
            }
        }
    }

    /// The next thing to do, if any.
    pub fn poll_effect(&mut self) -> Option<Effect<L>> {
        let mut effect = self.effects.pop_front();
        if let Some(Effect::Propose {
            log,
            known_position: at,
            ..
        }) = &mut effect
        {
            *at = self.rooms.get(log).map(Room::position).unwrap_or_default();
        }
        effect
    }

    /// When [`Hub::handle_timeout`] must be called at the latest, if ever.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let deadlines = [
            self.challenges.next_deadline(),
            self.reservations.next_deadline(),
            self.deferred.next_deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// The rooms, in no particular order, each with the number of its members.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "for the host program, which sorts as it likes; nothing here depends on the order"
    )]
    pub fn rooms(&self) -> Vec<(RoomId, usize)> {
        let count = |(log, room): (&LogId, &Room<L>)| match log {
            LogId::Room(id) => Some((id.clone(), room.memberships().count())),
            LogId::Name(..) | LogId::Election(_) => None,
        };
        self.rooms.iter().filter_map(count).collect()
    }

    /// The members of a room, oldest first.
    #[must_use]
    pub fn members(&self, room: &RoomId) -> Vec<Arc<Member>> {
        let room = self.rooms.get(&LogId::Room(room.clone()));
        members(room.into_iter().flat_map(Room::memberships))
    }

    fn handle_request(&mut self, peer: PeerId, local: L, ask: HubRequest, now: Instant) {
        match ask {
            HubRequest::Claim(name, identity) => {
                self.request_join(claim(peer, name, identity, local), now)
            }
            HubRequest::Release(name) => self.leave(peer, LogId::Name(name), LeaveKind::Announced),
            HubRequest::Join(room, member, attempt) => {
                let others =
                    (self.challenges).remove_other_claims(member.peer, &room, &member.address);
                // Who asks for another address has not given up what it has to say.
                let early = others
                    .into_iter()
                    .flat_map(|wish| wish.queued_requests)
                    .collect();
                let wish = PendingJoin {
                    log: LogId::Room(room),
                    member,
                    join_id: attempt,
                    local,
                    queued_requests: early,
                };
                self.request_join(wish, now);
            }
            HubRequest::Leave(room, farewell) => {
                let log = LogId::Room(room);
                self.charge_leave(peer, local, &log);
                self.leave(peer, log, farewell);
            }
            ask @ (HubRequest::Send(..) | HubRequest::List(_)) => {
                self.handle_room_request(peer, local, ask, now)
            }
            HubRequest::Alive(place) => self.handle_alive(peer, &place),
        }
    }

    fn deliver(&mut self, to: L, event: Event) {
        self.effects.push_back(Effect::Deliver(to, Arc::new(event)));
    }

    fn refuse(&mut self, to: L, refused: RequestError) {
        self.deliver(to, Event::RequestFailed(refused));
    }

    /// Charges `count` frames of `bytes` bytes each to a connection.
    fn charge(&mut self, to: L, count: usize, bytes: usize) {
        if count > 0 {
            let bytes = count.saturating_mul(bytes);
            let charge = Charge::Deliveries { count, bytes };
            self.effects.push_back(Effect::Charge(to, charge));
        }
    }

    /// Charges a leave to the connection that asks for it, for every member that is told of it.
    fn charge_leave(&mut self, peer: PeerId, local: L, log: &LogId) {
        let room = self.rooms.get(log);
        let seated = room.and_then(|room| Some((room, room.membership(peer)?)));
        let told = seated.map_or(0, |(room, seat)| room.observers_of(&seat.member).count());
        self.charge(local, told, NOTICE_BYTES);
    }

    fn propose(&mut self, log: LogId, change: Change) {
        let at = Position::default();
        self.effects.push_back(Effect::Propose {
            log,
            known_position: at,
            change,
        });
    }

    fn send(&mut self, to: NodeId, log: LogId, message: NodeMessageBody) {
        let letter = NodeMessage { log, body: message };
        self.effects.push_back(Effect::Send(to, letter));
    }

    /// The local connection of a member of this node.
    fn local(&self, log: &LogId, peer: PeerId) -> Option<L> {
        self.rooms.get(log)?.membership(peer)?.local.clone()
    }

    // Coming and going

    fn request_join(&mut self, wish: PendingJoin<L>, now: Instant) {
        let peer = wish.member.peer;
        let room = self.rooms.entry(wish.log.clone()).or_default();
        match room.pending.get_mut(&peer) {
            Some(Pending::Join(earlier)) => return earlier.join_id = wish.join_id,
            Some(Pending::Leave(then)) => {
                let early = then.take().map(|earlier| earlier.queued_requests);
                let early = early
                    .unwrap_or_default()
                    .into_iter()
                    .chain(wish.queued_requests);
                let early = early.collect();
                return *then = Some(PendingJoin {
                    queued_requests: early,
                    ..wish
                });
            }
            None => {}
        }
        if let Some(seat) = room.membership(peer) {
            let others = members(room.visible_to(&seat.member));
            self.charge(wish.local.clone(), others.len(), NOTICE_BYTES);
            self.deliver(wish.local.clone(), entered_again(wish.log, others));
            return self.replay_queued_requests(peer, &wish.local, wish.queued_requests, now);
        }
        let address = &wish.member.address;
        let is_same = (room.by_address(address).map(|seat| &seat.member))
            .or_else(|| {
                room.pending_join_for(address)
                    .map(|joining| &joining.member)
            })
            .map(|holder| holder.is_proven_same(&wish.member));
        if let Some(replaces) = is_same {
            return self.challenge_holder(wish, replaces, now);
        }
        let place = place(&wish.log, address);
        // It has asked before, when the address was taken: what it asks now is what counts.
        let earlier = self.challenges.remove_claims(peer, &wish.log);
        let early = earlier.into_iter().flat_map(|wish| wish.queued_requests);
        let early = early.chain(wish.queued_requests).collect();
        let wish = PendingJoin {
            queued_requests: early,
            ..wish
        };
        if place.is_some_and(|place| self.reservations.is_against(&place, &wish.member, now)) {
            return self.refuse_join(wish, ErrorCode::Taken);
        }
        self.propose_join(wish);
    }

    /// Lets a seat be ordered for somebody whose address is free.
    fn propose_join(&mut self, mut wish: PendingJoin<L>) {
        let room = self.rooms.entry(wish.log.clone()).or_default();
        let limit = room.members_max(&wish.member, &self.limits);
        if exceeds(room.len() + 1, limit) {
            return self.refuse_join(wish, ErrorCode::RoomFull);
        }
        wish.member = room.assign_group(wish.member);
        let (log, member) = (wish.log.clone(), wish.member.clone());
        room.pending.insert(member.peer, Pending::Join(wish));
        self.propose(log, Change::Join(member));
    }

    /// Lets a claimant wait for a taken address: for what the holder answers, or, where nobody
    /// needs to be asked, for the holder's departure.
    fn challenge_holder(&mut self, wish: PendingJoin<L>, replaces: bool, now: Instant) {
        let Some(place) = place(&wish.log, &wish.member.address) else {
            return;
        };
        let Some((holder, _)) = self.holder(&place) else {
            return;
        };
        let local = wish.local.clone();
        match self.challenges.enqueue(place.clone(), holder, wish, now) {
            QueueOutcome::Full(wish) => self.refuse_join(wish, ErrorCode::Taken),
            QueueOutcome::Probe | QueueOutcome::Queued if replaces => {}
            QueueOutcome::Probe => {
                self.charge(local, 1, NOTICE_BYTES);
                self.probe(&place);
            }
            QueueOutcome::Queued => {}
        }
        if replaces {
            self.evict(&place, EvictionReason::Replaced);
        }
    }

    /// Asks the holder of a place whether it is alive.
    fn probe(&mut self, place: &ResourceKey) {
        match self.holder(place) {
            Some((_, Holder::Local(local))) => self.deliver(local, Event::Probe(place.clone())),
            Some((peer, Holder::Remote(node))) => {
                self.send(node, place.log(), NodeMessageBody::Probe(peer))
            }
            Some((_, Holder::Leaving)) | None => {}
        }
    }

    fn refuse_join(&mut self, wish: PendingJoin<L>, reason: ErrorCode) {
        let refused = match &wish.log {
            LogId::Room(room) => RequestError {
                target: (reason == ErrorCode::Taken).then(|| wish.member.address.clone()),
                ..RequestError::join(reason, &room.name, wish.join_id)
            },
            LogId::Name(name) => RequestError::claim(reason, name.clone()),
            LogId::Election(_) => RequestError::new(reason),
        };
        self.refuse(wish.local.clone(), refused);
        self.remove_room_if_empty(&wish.log);
        self.reject_queued_requests(wish);
    }

    /// Answers what somebody has asked early who will not be in.
    fn reject_queued_requests(&mut self, wish: PendingJoin<L>) {
        for ask in wish.queued_requests {
            self.refuse(wish.local.clone(), not_in_room(ask));
        }
    }

    fn leave(&mut self, peer: PeerId, log: LogId, farewell: LeaveKind) {
        for wish in self.challenges.remove_claims(peer, &log) {
            self.reject_queued_requests(wish);
        }
        if let LogId::Room(room) = &log {
            self.deferred.remove_sender(peer, room);
        }
        let Some(room) = self.rooms.get_mut(&log) else {
            return;
        };
        if let Some(Pending::Leave(then)) = room.pending.get_mut(&peer) {
            if let Some(wish) = then.take() {
                self.reject_queued_requests(wish);
            }
            return;
        }
        if let Some(seat) = room.membership_mut(peer) {
            seat.local = None;
        } else if !room.pending.contains_key(&peer) {
            return;
        }
        let before = room.pending.insert(peer, Pending::Leave(None));
        if let Some(Pending::Join(wish)) = before {
            self.reject_queued_requests(wish);
        }
        self.propose(log, Change::Leave(peer, LeaveCause::Requested(farewell)));
    }

    /// Forgets a room that nobody is in or wants to be in.
    fn remove_room_if_empty(&mut self, log: &LogId) {
        if self.rooms.get(log).is_some_and(Room::is_empty) {
            self.rooms.remove(log);
        }
    }

    // Holders and challenges

    /// Who has this place, or will have it when its join is ordered.
    fn holder(&self, place: &ResourceKey) -> Option<(PeerId, Holder<L>)> {
        let room = self.rooms.get(&place.log())?;
        let address = match place {
            ResourceKey::Room(_) => return None,
            ResourceKey::Address(_, address) => address.clone(),
            ResourceKey::Name(id) => id.name.clone().into(),
        };
        if let Some(seat) = room.by_address(&address) {
            let holder = match (seat.node, &seat.local) {
                (Some(node), _) => Holder::Remote(node),
                (None, Some(local)) => Holder::Local(local.clone()),
                (None, None) => Holder::Leaving,
            };
            return Some((seat.member.peer, holder));
        }
        let wish = room.pending_join_for(&address)?;
        Some((wish.member.peer, Holder::Local(wish.local.clone())))
    }

    fn handle_alive(&mut self, peer: PeerId, place: &ResourceKey) {
        if self.holder(place).is_none_or(|(holder, _)| holder != peer) {
            return;
        }
        for node in self.waiting_nodes.remove(place).unwrap_or_default() {
            self.send(node, place.log(), NodeMessageBody::Alive(peer));
        }
        for wish in self.challenges.end(place) {
            self.refuse_join(wish, ErrorCode::Taken);
        }
    }

    /// Lets a holder's leave be ordered. Its connection ends when it is; at once, if it has no seat
    /// yet.
    fn evict(&mut self, place: &ResourceKey, why: EvictionReason) {
        let log = place.log();
        let Some((peer, Holder::Local(_) | Holder::Remote(_))) = self.holder(place) else {
            return;
        };
        let room = self.rooms.get_mut(&log);
        if let Some(room) = room.filter(|room| room.membership(peer).is_none())
            && let Some(Pending::Join(wish)) = room.pending.insert(peer, Pending::Leave(None))
        {
            self.deliver(wish.local, Event::Evicted(why));
            return self.propose(
                log,
                Change::Leave(peer, LeaveCause::Requested(LeaveKind::Announced)),
            );
        }
        self.propose(log, Change::Leave(peer, LeaveCause::Evicted(why)));
    }

    /// Lets those who waited for a place ask again, now that it is free.
    fn retry_pending_joins(&mut self, place: &ResourceKey, now: Instant) {
        for wish in self.challenges.end(place) {
            self.request_join(wish, now);
        }
    }

    // Frames

    /// What a member asks of its room.
    fn handle_room_request(&mut self, peer: PeerId, local: L, ask: HubRequest, now: Instant) {
        match ask {
            HubRequest::Send(room, to, relay) => self.relay(peer, local, &room, to, relay, now),
            HubRequest::List(room) => self.list(peer, local, room),
            HubRequest::Claim(..)
            | HubRequest::Release(..)
            | HubRequest::Join(..)
            | HubRequest::Leave(..)
            | HubRequest::Alive(_) => {}
        }
    }

    /// Who asks as a member and is about to be one is answered when it is: its join may take a
    /// moment, and clients do not wait for it. Anybody else is refused.
    fn queue_request(&mut self, peer: PeerId, local: L, room: &RoomId, ask: HubRequest) {
        let log = LogId::Room(room.clone());
        let pending = self.rooms.get_mut(&log);
        let wish = pending.and_then(|pending| pending.pending_join_mut(peer));
        let wish = wish.or_else(|| self.challenges.pending_join_mut(peer, room));
        let bytes = |wish: &PendingJoin<L>| {
            wish.queued_requests
                .iter()
                .map(request_bytes)
                .sum::<usize>()
        };
        let has_place = |wish: &&mut PendingJoin<L>| {
            wish.queued_requests.len() < EARLY_MAX
                && bytes(wish) + request_bytes(&ask) <= EARLY_BYTES_MAX
        };
        match wish.filter(has_place) {
            Some(wish) => wish.queued_requests.push(ask),
            None => self.refuse(local, not_in_room(ask)),
        }
    }

    fn replay_queued_requests(
        &mut self,
        peer: PeerId,
        local: &L,
        early: Vec<HubRequest>,
        now: Instant,
    ) {
        for ask in early {
            self.handle_room_request(peer, local.clone(), ask, now);
        }
    }

    fn list(&mut self, peer: PeerId, local: L, id: RoomId) {
        let log = LogId::Room(id.clone());
        let room = self.rooms.get(&log);
        let seated = room.and_then(|room| Some((room, room.membership(peer)?)));
        let Some((room, seat)) = seated.filter(|(_, seat)| seat.local.is_some()) else {
            return self.queue_request(peer, local, &id, HubRequest::List(id.clone()));
        };
        let others = members(room.visible_to(&seat.member));
        self.charge(local.clone(), others.len(), NOTICE_BYTES);
        self.deliver(local, Event::Members { room: id, others });
    }

    fn relay(
        &mut self,
        peer: PeerId,
        local: L,
        id: &RoomId,
        to: Target,
        relay: Arc<RelayedMessage>,
        now: Instant,
    ) {
        let log = LogId::Room(id.clone());
        if let (Some(alias), Some(room)) = (&relay.aliases.from, self.rooms.get_mut(&log)) {
            room.announce(peer, alias);
        }
        let room = self.rooms.get(&log);
        let seated = room.and_then(|room| Some((room, room.membership(peer)?)));
        let Some((room, sender)) = seated.filter(|(_, seat)| seat.local.is_some()) else {
            let ask = HubRequest::Send(id.clone(), to, relay);
            return self.queue_request(peer, local, id, ask);
        };
        let from = sender.member.clone();
        let message = |to, relay| NodeMessageBody::Relay {
            from: sender.reference(),
            to,
            message: relay,
        };
        if to == Target::Everyone {
            for node in nodes(room.visible_to(&from)) {
                let message = message(Recipient::Everyone, relay.clone());
                let log = log.clone();
                self.effects
                    .push_back(Effect::Send(node, NodeMessage { log, body: message }));
            }
            let effects = &mut self.effects;
            let count = match &relay.aliases.to {
                None => deliver_to_all(room.visible_to(&from), effects, id, &from, &relay),
                Some(to) => deliver_to_all(room.receivers(&from, to), effects, id, &from, &relay),
            };
            if relay.is_untranslatable() {
                let refused = RequestError::new(ErrorCode::Untranslatable).in_room(&id.name);
                self.refuse(local.clone(), refused);
            }
            self.charge(local, count, relay.frame.len());
            if relay.kind.is_description() {
                self.note_description(&log, peer, None);
            }
            return;
        }
        let receiver = room.find(&to).filter(|seat| from.sees(&seat.member));
        match check_receiver(receiver, &relay) {
            Err(ErrorCode::NoSuchPeer) if let Target::AddressOrWait(address) = to => {
                self.defer(id, address, (peer, local), &relay, now);
            }
            Err(reason) => self.refuse(local, RequestError::new(reason).in_room(&id.name).to(to)),
            Ok(seat) => {
                let (own, other) = (from.dialect, seat.member.dialect);
                let is_told_anyway =
                    own.announces_presence && other.announces_presence || own.name == other.name;
                let is_noted = !is_told_anyway && relay.kind.is_description();
                let noted = is_noted.then(|| (log.clone(), seat.member.peer));
                if !from.dialect.announces_presence {
                    let reached = Charge::Reached(seat.member.peer);
                    self.effects.push_back(Effect::Charge(local, reached));
                }
                match (seat.node, &seat.local) {
                    (Some(node), _) => {
                        let (seat, target) = (seat.reference(), to);
                        let message = message(
                            Recipient::One {
                                member: seat,
                                target,
                            },
                            relay,
                        );
                        self.send(node, log, message);
                    }
                    (None, Some(receiver)) => {
                        let receiver = receiver.clone();
                        self.deliver(receiver, received(id, &from, true, relay));
                    }
                    (None, None) => {}
                }
                if let Some((log, receiver)) = noted {
                    self.note_description(&log, peer, Some(receiver));
                }
            }
        }
    }

    /// Notes that a member has sent a session description to another, or with `None` to all others, so that
    /// members without presence are told when it leaves.
    fn note_description(&mut self, log: &LogId, from: PeerId, to: Option<PeerId>) {
        match (self.rooms.get_mut(log), to) {
            (Some(room), Some(to)) => room.note_description(from, to),
            (Some(room), None) => room.note_description_to_all(from),
            (None, _) => {}
        }
    }

    fn announce(
        &mut self,
        id: &RoomId,
        to: &Target,
        from: &Arc<Member>,
        relay: &Arc<RelayedMessage>,
    ) {
        let log = LogId::Room(id.clone());
        let Some(room) = self.rooms.get(&log) else {
            return;
        };
        let message = |to| NodeMessageBody::Announce {
            to,
            from: from.clone(),
            message: relay.clone(),
        };
        let letters: Vec<_> = match to {
            Target::Everyone => {
                // The host program has no budget.
                let _ = deliver_to_all(room.memberships(), &mut self.effects, id, from, relay);
                let nodes = nodes(room.memberships()).into_iter();
                nodes.map(|node| (node, message(None))).collect()
            }
            // The host program has nobody to be answered through; it can list the members itself.
            Target::Peer(_) | Target::Address(_) | Target::AddressOrWait(_) => {
                let Ok(seat) = check_receiver(room.find(to), relay) else {
                    return;
                };
                if let Some(local) = &seat.local {
                    let event = received(id, from, true, relay.clone());
                    self.effects
                        .push_back(Effect::Deliver(local.clone(), Arc::new(event)));
                }
                let to = Some(seat.member.peer);
                seat.node
                    .map(|node| (node, message(to)))
                    .into_iter()
                    .collect()
            }
        };
        for (node, message) in letters {
            self.send(node, log.clone(), message);
        }
    }
}

/// A claim to a name as a wish for the one seat of its log.
fn claim<L>(peer: PeerId, id: NameId, identity: Identity, local: L) -> PendingJoin<L> {
    let member = Member {
        peer,
        address: id.name.clone().into(),
        name: None,
        dialect: &NAME_HOLDER,
        identity,
        token: None,
        group: None,
    };
    PendingJoin {
        log: LogId::Name(id),
        member: Arc::new(member),
        join_id: JoinId::default(),
        local,
        queued_requests: Vec::new(),
    }
}

/// The bytes of a frame that waits to be asked about.
fn request_bytes(ask: &HubRequest) -> usize {
    match ask {
        HubRequest::Send(_, _, relay) => relay.frame.len(),
        HubRequest::Claim(..)
        | HubRequest::Release(..)
        | HubRequest::Join(..)
        | HubRequest::Leave(..)
        | HubRequest::List(_)
        | HubRequest::Alive(_) => 0,
    }
}

/// The refusal of what only a member may ask.
fn not_in_room(ask: HubRequest) -> RequestError {
    let refused = |room: &RoomId| RequestError::new(ErrorCode::NotInRoom).in_room(&room.name);
    match ask {
        HubRequest::Send(room, to, _) => refused(&room).to(to),
        HubRequest::List(room) => refused(&room),
        HubRequest::Claim(..)
        | HubRequest::Release(..)
        | HubRequest::Join(..)
        | HubRequest::Leave(..)
        | HubRequest::Alive(_) => RequestError::new(ErrorCode::NotInRoom),
    }
}

/// What of a log can be held: an address, or the one name.
fn place(log: &LogId, address: &Address) -> Option<ResourceKey> {
    match log {
        LogId::Room(room) => Some(ResourceKey::Address(room.clone(), address.clone())),
        LogId::Name(name) => Some(ResourceKey::Name(name.clone())),
        LogId::Election(_) => None,
    }
}

fn entered_again(log: LogId, others: Vec<Arc<Member>>) -> Event {
    match log {
        LogId::Room(room) => Event::Rejoined { room, others },
        LogId::Name(name) => Event::Claimed(name),
        // No peer joins one.
        LogId::Election(_) => Event::RequestFailed(RequestError::new(ErrorCode::NotInRoom)),
    }
}

fn received(room: &RoomId, from: &Arc<Member>, direct: bool, relay: Arc<RelayedMessage>) -> Event {
    Event::Received {
        room: room.clone(),
        from: from.clone(),
        direct,
        message: relay,
    }
}

/// The one receiver of a relay, or why it cannot be one.
fn check_receiver<'a, L>(
    receiver: Option<&'a Membership<L>>,
    relay: &RelayedMessage,
) -> Result<&'a Membership<L>, ErrorCode> {
    let seat = receiver
        .filter(|seat| seat.node.is_some() || seat.local.is_some())
        .ok_or(ErrorCode::NoSuchPeer)?;
    if relay.is_understood_by(seat.member.dialect) {
        Ok(seat)
    } else {
        Err(ErrorCode::Untranslatable)
    }
}

fn members<'a, L: 'a>(seats: impl Iterator<Item = &'a Membership<L>>) -> Vec<Arc<Member>> {
    seats.map(|seat| seat.member.clone()).collect()
}

/// The nodes that members are of, but for this one; each once.
fn nodes<'a, L: 'a>(seats: impl Iterator<Item = &'a Membership<L>>) -> Vec<NodeId> {
    let mut nodes: Vec<_> = seats.filter_map(|seat| seat.node).collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

/// Gives a relay to members of this node. Returns how many members of all nodes it is for.
fn deliver_to_all<'a, L: Clone + 'a>(
    seats: impl Iterator<Item = &'a Membership<L>>,
    effects: &mut VecDeque<Effect<L>>,
    id: &RoomId,
    from: &Arc<Member>,
    relay: &Arc<RelayedMessage>,
) -> usize {
    let event = Arc::new(received(id, from, false, relay.clone()));
    let mut count = 0;
    for seat in seats.filter(|seat| relay.is_understood_by(seat.member.dialect)) {
        count += 1;
        if let Some(local) = &seat.local {
            effects.push_back(Effect::Deliver(local.clone(), event.clone()));
        }
    }
    count
}

//! The hub as a replica: what an ordered change means for the members of this node.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use super::{Hub, place};
use crate::{
    command::{Change, Charge, Effect, HubRequest, LeaveKind},
    error::ErrorCode,
    event::{Event, EvictionReason},
    id::{Address, PeerId, Position, RoomId},
    introduction::{Member, OfferRole, offer_role},
    limits::NOTICE_BYTES,
    log::{Entry, LeaveCause, LogId, NodeId, RejectReason},
    room::{Membership, Pending, Room, SuspendedMember},
};

impl<L: Clone> Hub<L> {
    pub(super) fn apply_entry(&mut self, log: &LogId, entry: Entry, now: Instant) {
        let Entry {
            position,
            node,
            change,
        } = entry;
        match change {
            Change::Join(member) => self.apply_join(log, position, node, member, now),
            Change::Leave(peer, LeaveCause::NodeLost) if self.awaits_reseat(log, peer) => {
                self.suspend(log, position, peer);
            }
            Change::Leave(peer, departure) => self.apply_leave(log, position, peer, departure, now),
        }
    }

    pub(super) fn handle_rejection(
        &mut self,
        log: &LogId,
        peer: PeerId,
        why: RejectReason,
        now: Instant,
    ) {
        let Some(room) = self.rooms.get_mut(log) else {
            return;
        };
        match (room.pending.remove(&peer), why) {
            (Some(Pending::Join(wish)), RejectReason::Taken) => {
                room.release_group_slot(&wish.member);
                return self.request_join(wish, now);
            }
            (Some(Pending::Join(wish)), RejectReason::Full) => {
                room.release_group_slot(&wish.member);
                return self.refuse_join(wish, ErrorCode::RoomFull);
            }
            (Some(Pending::Join(wish)), RejectReason::Unavailable) => {
                room.release_group_slot(&wish.member);
                return self.refuse_join(wish, ErrorCode::Unavailable);
            }
            (Some(Pending::Leave(then)), RejectReason::NotAMember) => {
                if let Some(wish) = then {
                    return self.request_join(wish, now);
                }
            }
            // An eviction that came too late, or the join before a leave that is still to come.
            (Some(pending @ (Pending::Join(_) | Pending::Leave(_))), _) => {
                room.pending.insert(peer, pending);
            }
            // An eviction that could not be ordered: whoever waits for it waits in vain.
            (None, RejectReason::Unavailable) => {
                let seat = room.membership(peer).map(|seat| &seat.member.address);
                if let Some(place) = seat.and_then(|address| place(log, address)) {
                    for wish in self.challenges.end(&place) {
                        self.refuse_join(wish, ErrorCode::Unavailable);
                    }
                }
            }
            (None, _) => {}
        }
        self.remove_room_if_empty(log);
    }

    /// Takes a newcomer in and introduces it and the others to each other. Who has the earlier seat
    /// is the member, who has the later one the newcomer, in whatever order this node hears of them.
    fn apply_join(
        &mut self,
        log: &LogId,
        since: Position,
        node: Option<NodeId>,
        newcomer: Arc<Member>,
        now: Instant,
    ) {
        self.reject_overfull(log, &newcomer);
        let Self { rooms, effects, .. } = self;
        let room = rooms.entry(log.clone()).or_default();
        if room.membership(newcomer.peer).is_some() {
            return;
        }
        let arrival = Newcomer::of(room, newcomer.peer, node);
        let Introductions {
            notified: told,
            others,
        } = introduce_all(room, effects, log, (since, &newcomer), &arrival);
        if let Some(local) = arrival.local.clone() {
            let count = told + others.len();
            if count > 0 && !arrival.returns {
                let bytes = count * NOTICE_BYTES;
                let charge = Charge::Deliveries { count, bytes };
                effects.push_back(Effect::Charge(local.clone(), charge));
            }
            for event in arrival.events(log, others) {
                effects.push_back(Effect::Deliver(local.clone(), Arc::new(event)));
            }
        }
        let (peer, address) = (newcomer.peer, newcomer.address.clone());
        let is_nobodys = node.is_none() && arrival.is_orphaned;
        let (early, waiting, returns) = (
            arrival.queued_requests,
            arrival.local.clone(),
            arrival.returns,
        );
        room.join(Membership {
            member: newcomer,
            since,
            node,
            local: arrival.local,
            counterparts: arrival.counterparts,
        });
        if returns {
            room.forget_announced(peer);
        }
        if is_nobodys {
            // A join of this node's that was given up before it was ordered.
            room.pending.insert(peer, Pending::Leave(None));
            let departure = LeaveCause::Requested(LeaveKind::Announced);
            self.propose(log.clone(), Change::Leave(peer, departure));
        }
        if let Some(local) = waiting {
            self.replay_queued_requests(peer, &local, early, now);
        }
        self.address_taken(log, &address, now);
    }

    /// Somebody has this address now.
    fn address_taken(&mut self, log: &LogId, address: &Address, now: Instant) {
        if let Some(place) = place(log, address) {
            self.reservations.lift(&place);
        }
        if let LogId::Room(room) = log {
            self.deliver_deferred(room, address, now);
        }
    }

    /// Refuses a newcomer of this node that is one too many: nobody knew it when it asked. Its seat is
    /// nobody's then.
    fn reject_overfull(&mut self, log: &LogId, newcomer: &Member) {
        let room = self.rooms.get_mut(log);
        let Some(room) = room.filter(|room| room.is_overfull_with(newcomer)) else {
            return;
        };
        match room.pending.remove(&newcomer.peer) {
            Some(Pending::Join(wish)) => self.refuse_join(wish, ErrorCode::RoomFull),
            Some(leave @ Pending::Leave(_)) => drop(room.pending.insert(newcomer.peer, leave)),
            None => {}
        }
    }

    fn apply_leave(
        &mut self,
        log: &LogId,
        position: Position,
        peer: PeerId,
        departure: LeaveCause,
        now: Instant,
    ) {
        let Self { rooms, effects, .. } = self;
        let Some(room) = rooms.get_mut(log) else {
            return;
        };
        let Some(seat) = room.leave(position, peer) else {
            return;
        };
        if let (Some(local), LeaveCause::Evicted(why)) = (&seat.local, departure) {
            let event = Arc::new(Event::Evicted(why));
            effects.push_back(Effect::Deliver(local.clone(), event));
        }
        if let LogId::Room(id) = log {
            let event = Arc::new(departed(id, &seat.member, departure));
            let told = room.observers_of(&seat.member);
            let told = told.filter_map(|seat| seat.local.as_ref());
            for local in told.chain(room.counterparts_of(&seat)) {
                effects.push_back(Effect::Deliver(local.clone(), event.clone()));
            }
            for lost in &mut room.suspended {
                if lost.remove_known(peer) && observes_presence(&lost.member) {
                    effects.push_back(Effect::Deliver(lost.local.clone(), event.clone()));
                }
            }
        }
        let then = match room.pending.remove(&peer) {
            // Who is lost comes back, and leaves then.
            Some(Pending::Leave(then)) if seat.is_own() && departure != LeaveCause::NodeLost => {
                then
            }
            Some(pending @ (Pending::Join(_) | Pending::Leave(_))) => {
                room.pending.insert(peer, pending);
                None
            }
            None => None,
        };
        self.remove_room_if_empty(log);
        if let Some(wish) = then {
            self.request_join(wish, now);
        }
        if let Some(place) = place(log, &seat.member.address) {
            if is_connection_loss(departure) {
                self.reservations.keep(place.clone(), &seat.member, now);
            }
            self.waiting_nodes.remove(&place);
            self.retry_pending_joins(&place, now);
        }
    }

    /// Whether the other nodes have lost a member that still has its connection here.
    fn awaits_reseat(&self, log: &LogId, peer: PeerId) -> bool {
        let seat = self.rooms.get(log).and_then(|room| room.membership(peer));
        seat.is_some_and(|seat| seat.local.is_some())
    }

    /// A member of this node has left for all the others, and will be given a new seat: it loses
    /// sight of them, but not of those who are on this node too.
    fn suspend(&mut self, log: &LogId, position: Position, peer: PeerId) {
        let Self { rooms, effects, .. } = self;
        let Some(room) = rooms.get_mut(log) else {
            return;
        };
        let Some(seat) = room.leave(position, peer) else {
            return;
        };
        let Some(local) = seat.local else {
            return;
        };
        if let LogId::Room(id) = log {
            let is_known = |other: &Membership<L>| {
                observes_presence(&seat.member) || other.counterparts.contains(&peer)
            };
            let seen = room
                .visible_to(&seat.member)
                .filter(|other| is_known(other));
            for other in seen.filter(|other| !other.is_own()) {
                let event = departed(id, &other.member, LeaveCause::NodeLost);
                effects.push_back(Effect::Deliver(local.clone(), Arc::new(event)));
            }
        }
        let seated = room.memberships().filter(|other| other.is_own());
        let withdrawn = room.suspended.iter().map(|other| other.member.peer);
        let knows = seated.map(|other| other.member.peer).chain(withdrawn);
        let knows = knows.collect();
        room.suspended.push(SuspendedMember {
            member: seat.member,
            local,
            knows,
            counterparts: seat.counterparts,
        });
    }
}

/// The members that a newcomer met.
struct Introductions {
    /// The number of members that were told of it, on all nodes.
    notified: usize,
    /// The members that it is told of.
    others: Vec<(Arc<Member>, OfferRole)>,
}

/// Introduces the members of this node to a newcomer, and gives who they and the others are to it.
fn introduce_all<L: Clone>(
    room: &Room<L>,
    effects: &mut VecDeque<Effect<L>>,
    log: &LogId,
    (since, newcomer): (Position, &Arc<Member>),
    arrival: &Newcomer<L>,
) -> Introductions {
    let mut told = 0;
    let is_new = |seat: &&Membership<L>| !arrival.knows.contains(&seat.member.peer);
    let call = |seat: &Membership<L>| {
        if (since, newcomer.peer) > seat.order_key() {
            offer_role(newcomer.dialect, seat.member.dialect)
        } else {
            offer_role(seat.member.dialect, newcomer.dialect).flipped()
        }
    };
    if let LogId::Room(id) = log {
        for seat in room.observers_of(newcomer).filter(is_new) {
            told += 1;
            if let Some(local) = &seat.local {
                let event = introduced(id, newcomer, call(seat).flipped());
                effects.push_back(Effect::Deliver(local.clone(), Arc::new(event)));
            }
        }
    }
    if !observes_presence(newcomer) || arrival.local.is_none() {
        let others = Vec::new();
        return Introductions {
            notified: told,
            others,
        };
    }
    let others = room.visible_to(newcomer).filter(is_new);
    let others = others.map(|seat| (seat.member.clone(), call(seat)));
    let others = others.collect();
    Introductions {
        notified: told,
        others,
    }
}

/// Whether a member is told of the others.
fn observes_presence(member: &Member) -> bool {
    member.dialect.announces_presence
}

/// Whether who leaves so has lost its connection.
fn is_connection_loss(departure: LeaveCause) -> bool {
    matches!(
        departure,
        LeaveCause::Requested(LeaveKind::ConnectionLost)
            | LeaveCause::NodeLost
            | LeaveCause::Evicted(EvictionReason::Unresponsive)
    )
}

/// A newcomer as this node meets it.
struct Newcomer<L> {
    local: Option<L>,
    /// Whom it has not lost sight of.
    knows: Vec<PeerId>,
    /// Its counterparts from before.
    counterparts: Vec<PeerId>,
    /// What it has asked already.
    queued_requests: Vec<HubRequest>,
    /// It was here before.
    returns: bool,
    /// It is of this node, and nobody here waits for it.
    is_orphaned: bool,
}

impl<L> Newcomer<L> {
    /// Takes from the room what it holds for the newcomer.
    fn of(room: &mut Room<L>, peer: PeerId, node: Option<NodeId>) -> Self {
        let mut arrival = Self {
            local: None,
            knows: Vec::new(),
            counterparts: Vec::new(),
            queued_requests: Vec::new(),
            returns: false,
            is_orphaned: false,
        };
        if node.is_some() {
            return arrival;
        }
        let withdrawn = (room.suspended.iter()).position(|lost| lost.member.peer == peer);
        if let Some(index) = withdrawn {
            let lost = room.suspended.remove(index);
            arrival.knows = lost.knows;
            arrival.counterparts = lost.counterparts;
            arrival.local = Some(lost.local);
            arrival.returns = true;
            return arrival;
        }
        match room.pending.remove(&peer) {
            Some(Pending::Join(wish)) => {
                arrival.local = Some(wish.local);
                arrival.queued_requests = wish.queued_requests;
            }
            Some(leave @ Pending::Leave(_)) => drop(room.pending.insert(peer, leave)),
            None => arrival.is_orphaned = true,
        }
        arrival
    }

    /// What it is told.
    fn events(&self, log: &LogId, others: Vec<(Arc<Member>, OfferRole)>) -> Vec<Event> {
        match log {
            LogId::Room(room) if self.returns => others
                .iter()
                .map(|(other, call)| introduced(room, other, *call))
                .collect(),
            LogId::Room(room) => vec![Event::Joined {
                room: room.clone(),
                others,
            }],
            LogId::Name(..) if self.returns => Vec::new(),
            LogId::Name(name) => vec![Event::Claimed(name.clone())],
            LogId::Election(_) => Vec::new(),
        }
    }
}

fn introduced(room: &RoomId, peer: &Arc<Member>, call: OfferRole) -> Event {
    Event::Introduced {
        room: room.clone(),
        peer: peer.clone(),
        role: call,
    }
}

fn departed(room: &RoomId, peer: &Arc<Member>, departure: LeaveCause) -> Event {
    let farewell = match departure {
        LeaveCause::Requested(LeaveKind::Silent) => LeaveKind::Silent,
        LeaveCause::Requested(LeaveKind::Announced | LeaveKind::ConnectionLost)
        | LeaveCause::Evicted(_)
        | LeaveCause::NodeLost => LeaveKind::Announced,
    };
    Event::Departed {
        room: room.clone(),
        peer: peer.clone(),
        kind: farewell,
    }
}

//! The hub as a replica: what an ordered change means for the members of this node.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use super::{Hub, place};
use crate::{
    command::{Ask, Change, Charge, Effect, Farewell},
    event::{Event, Eviction},
    id::{Address, PeerId, Position, RoomId},
    introduction::{Call, Member, decide},
    limits::NOTICE_BYTES,
    log::{Declined, Departure, Entry, LogId, NodeId},
    refusal::Refusal,
    room::{Pending, Room, Seat, Withdrawn},
};

impl<L: Clone> Hub<L> {
    pub(super) fn commit(&mut self, log: &LogId, entry: Entry, now: Instant) {
        let Entry {
            position,
            node,
            change,
        } = entry;
        match change {
            Change::Join(member) => self.joined(log, position, node, member, now),
            Change::Leave(peer, Departure::Lost) if self.is_to_return(log, peer) => {
                self.withdraw(log, position, peer);
            }
            Change::Leave(peer, departure) => self.left(log, position, peer, departure, now),
        }
    }

    pub(super) fn declined(&mut self, log: &LogId, peer: PeerId, why: Declined, now: Instant) {
        let Some(room) = self.rooms.get_mut(log) else {
            return;
        };
        match (room.pending.remove(&peer), why) {
            (Some(Pending::Join(wish)), Declined::Taken) => {
                room.uncircle(&wish.member);
                return self.enter(wish, now);
            }
            (Some(Pending::Join(wish)), Declined::Full) => {
                room.uncircle(&wish.member);
                return self.refuse_join(wish, Refusal::RoomFull);
            }
            (Some(Pending::Join(wish)), Declined::Unavailable) => {
                room.uncircle(&wish.member);
                return self.refuse_join(wish, Refusal::Unavailable);
            }
            (Some(Pending::Leave(then)), Declined::Absent) => {
                if let Some(wish) = then {
                    return self.enter(wish, now);
                }
            }
            // An eviction that came too late, or the join before a leave that is still to come.
            (Some(pending @ (Pending::Join(_) | Pending::Leave(_))), _) => {
                room.pending.insert(peer, pending);
            }
            // An eviction that could not be ordered: whoever waits for it waits in vain.
            (None, Declined::Unavailable) => {
                let seat = room.seat(peer).map(|seat| &seat.member.address);
                if let Some(place) = seat.and_then(|address| place(log, address)) {
                    for wish in self.challenges.take(&place) {
                        self.refuse_join(wish, Refusal::Unavailable);
                    }
                }
            }
            (None, _) => {}
        }
        self.tidy(log);
    }

    /// Takes a newcomer in and introduces it and the others to each other. Who has the earlier seat
    /// is the member, who has the later one the newcomer, in whatever order this node hears of them.
    fn joined(
        &mut self,
        log: &LogId,
        since: Position,
        node: Option<NodeId>,
        newcomer: Arc<Member>,
        now: Instant,
    ) {
        self.turn_away(log, &newcomer);
        let Self { rooms, effects, .. } = self;
        let room = rooms.entry(log.clone()).or_default();
        if room.seat(newcomer.peer).is_some() {
            return;
        }
        let arrival = Arrival::of(room, newcomer.peer, node);
        let Met { told, others } = meet(room, effects, log, (since, &newcomer), &arrival);
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
        let is_nobodys = node.is_none() && arrival.is_nobodys;
        let (early, waiting, returns) = (arrival.early, arrival.local.clone(), arrival.returns);
        room.join(Seat {
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
            let departure = Departure::Asked(Farewell::Aloud);
            self.propose(log.clone(), Change::Leave(peer, departure));
        }
        if let Some(local) = waiting {
            self.ask_early(peer, &local, early, now);
        }
        self.arrived(log, &address, now);
    }

    /// Somebody has this address now.
    fn arrived(&mut self, log: &LogId, address: &Address, now: Instant) {
        if let Some(place) = place(log, address) {
            self.reservations.lift(&place);
        }
        if let LogId::Room(room) = log {
            self.welcome(room, address, now);
        }
    }

    /// Refuses a newcomer of this node that is one too many: nobody knew it when it asked. Its seat is
    /// nobody's then.
    fn turn_away(&mut self, log: &LogId, newcomer: &Member) {
        let room = self.rooms.get_mut(log);
        let Some(room) = room.filter(|room| room.is_overfull_with(newcomer)) else {
            return;
        };
        match room.pending.remove(&newcomer.peer) {
            Some(Pending::Join(wish)) => self.refuse_join(wish, Refusal::RoomFull),
            Some(leave @ Pending::Leave(_)) => drop(room.pending.insert(newcomer.peer, leave)),
            None => {}
        }
    }

    fn left(
        &mut self,
        log: &LogId,
        position: Position,
        peer: PeerId,
        departure: Departure,
        now: Instant,
    ) {
        let Self { rooms, effects, .. } = self;
        let Some(room) = rooms.get_mut(log) else {
            return;
        };
        let Some(seat) = room.leave(position, peer) else {
            return;
        };
        if let (Some(local), Departure::Evicted(why)) = (&seat.local, departure) {
            let event = Arc::new(Event::Evicted(why));
            effects.push_back(Effect::Deliver(local.clone(), event));
        }
        if let LogId::Room(id) = log {
            let event = Arc::new(departed(id, &seat.member, departure));
            let told = room.told_of(&seat.member);
            let told = told.filter_map(|seat| seat.local.as_ref());
            for local in told.chain(room.counterparts_of(&seat)) {
                effects.push_back(Effect::Deliver(local.clone(), event.clone()));
            }
            for lost in &mut room.withdrawn {
                if lost.forgets(peer) && is_told(&lost.member) {
                    effects.push_back(Effect::Deliver(lost.local.clone(), event.clone()));
                }
            }
        }
        let then = match room.pending.remove(&peer) {
            // Who is lost comes back, and leaves then.
            Some(Pending::Leave(then)) if seat.is_own() && departure != Departure::Lost => then,
            Some(pending @ (Pending::Join(_) | Pending::Leave(_))) => {
                room.pending.insert(peer, pending);
                None
            }
            None => None,
        };
        self.tidy(log);
        if let Some(wish) = then {
            self.enter(wish, now);
        }
        if let Some(place) = place(log, &seat.member.address) {
            if is_drop(departure) {
                self.reservations.keep(place.clone(), &seat.member, now);
            }
            self.askers.remove(&place);
            self.retry(&place, now);
        }
    }

    /// Whether the other nodes have lost a member that still has its connection here.
    fn is_to_return(&self, log: &LogId, peer: PeerId) -> bool {
        let seat = self.rooms.get(log).and_then(|room| room.seat(peer));
        seat.is_some_and(|seat| seat.local.is_some())
    }

    /// A member of this node has left for all the others, and will be given a new seat: it loses
    /// sight of them, but not of those who are on this node too.
    fn withdraw(&mut self, log: &LogId, position: Position, peer: PeerId) {
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
            let is_known =
                |other: &Seat<L>| is_told(&seat.member) || other.counterparts.contains(&peer);
            let seen = room.seen_by(&seat.member).filter(|other| is_known(other));
            for other in seen.filter(|other| !other.is_own()) {
                let event = departed(id, &other.member, Departure::Lost);
                effects.push_back(Effect::Deliver(local.clone(), Arc::new(event)));
            }
        }
        let seated = room.seats().filter(|other| other.is_own());
        let withdrawn = room.withdrawn.iter().map(|other| other.member.peer);
        let knows = seated.map(|other| other.member.peer).chain(withdrawn);
        let knows = knows.collect();
        room.withdrawn.push(Withdrawn {
            member: seat.member,
            local,
            knows,
            counterparts: seat.counterparts,
        });
    }
}

/// The members that a newcomer met.
struct Met {
    /// The number of members that were told of it, on all nodes.
    told: usize,
    /// The members that it is told of.
    others: Vec<(Arc<Member>, Call)>,
}

/// Introduces the members of this node to a newcomer, and gives who they and the others are to it.
fn meet<L: Clone>(
    room: &Room<L>,
    effects: &mut VecDeque<Effect<L>>,
    log: &LogId,
    (since, newcomer): (Position, &Arc<Member>),
    arrival: &Arrival<L>,
) -> Met {
    let mut told = 0;
    let is_new = |seat: &&Seat<L>| !arrival.knows.contains(&seat.member.peer);
    let call = |seat: &Seat<L>| {
        if (since, newcomer.peer) > seat.place() {
            decide(newcomer.tongue, seat.member.tongue)
        } else {
            decide(seat.member.tongue, newcomer.tongue).flipped()
        }
    };
    if let LogId::Room(id) = log {
        for seat in room.told_of(newcomer).filter(is_new) {
            told += 1;
            if let Some(local) = &seat.local {
                let event = introduced(id, newcomer, call(seat).flipped());
                effects.push_back(Effect::Deliver(local.clone(), Arc::new(event)));
            }
        }
    }
    if !is_told(newcomer) || arrival.local.is_none() {
        let others = Vec::new();
        return Met { told, others };
    }
    let others = room.seen_by(newcomer).filter(is_new);
    let others = others.map(|seat| (seat.member.clone(), call(seat)));
    let others = others.collect();
    Met { told, others }
}

/// Whether a member is told of the others.
fn is_told(member: &Member) -> bool {
    member.tongue.introduced
}

/// Whether who leaves so has lost its connection.
fn is_drop(departure: Departure) -> bool {
    matches!(
        departure,
        Departure::Asked(Farewell::Dropped) | Departure::Lost | Departure::Evicted(Eviction::Ghost)
    )
}

/// A newcomer as this node meets it.
struct Arrival<L> {
    local: Option<L>,
    /// Whom it has not lost sight of.
    knows: Vec<PeerId>,
    /// Its counterparts from before.
    counterparts: Vec<PeerId>,
    /// What it has asked already.
    early: Vec<Ask>,
    /// It was here before.
    returns: bool,
    /// It is of this node, and nobody here waits for it.
    is_nobodys: bool,
}

impl<L> Arrival<L> {
    /// Takes from the room what it holds for the newcomer.
    fn of(room: &mut Room<L>, peer: PeerId, node: Option<NodeId>) -> Self {
        let mut arrival = Self {
            local: None,
            knows: Vec::new(),
            counterparts: Vec::new(),
            early: Vec::new(),
            returns: false,
            is_nobodys: false,
        };
        if node.is_some() {
            return arrival;
        }
        let withdrawn = (room.withdrawn.iter()).position(|lost| lost.member.peer == peer);
        if let Some(index) = withdrawn {
            let lost = room.withdrawn.remove(index);
            arrival.knows = lost.knows;
            arrival.counterparts = lost.counterparts;
            arrival.local = Some(lost.local);
            arrival.returns = true;
            return arrival;
        }
        match room.pending.remove(&peer) {
            Some(Pending::Join(wish)) => {
                arrival.local = Some(wish.local);
                arrival.early = wish.early;
            }
            Some(leave @ Pending::Leave(_)) => drop(room.pending.insert(peer, leave)),
            None => arrival.is_nobodys = true,
        }
        arrival
    }

    /// What it is told.
    fn events(&self, log: &LogId, others: Vec<(Arc<Member>, Call)>) -> Vec<Event> {
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
            LogId::Duty(_) => Vec::new(),
        }
    }
}

fn introduced(room: &RoomId, peer: &Arc<Member>, call: Call) -> Event {
    Event::Introduced {
        room: room.clone(),
        peer: peer.clone(),
        call,
    }
}

fn departed(room: &RoomId, peer: &Arc<Member>, departure: Departure) -> Event {
    let farewell = match departure {
        Departure::Asked(Farewell::Quiet) => Farewell::Quiet,
        Departure::Asked(Farewell::Aloud | Farewell::Dropped)
        | Departure::Evicted(_)
        | Departure::Lost => Farewell::Aloud,
    };
    Event::Departed {
        room: room.clone(),
        peer: peer.clone(),
        farewell,
    }
}

//! The rooms and names of one shard of a node.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use crate::{
    challenge::{Challenges, Claimant, Wait},
    command::{Ask, Change, Effect, Farewell, Input, Place, Target},
    event::{Event, Eviction},
    id::{Address, Attempt, DisplayName, PeerId, Position, RoomId, SpaceName},
    introduction::{Call, Identity, Member, decide},
    limits::{Limits, exceeds},
    refusal::{Refusal, Refused},
    relay::Relay,
    room::Room,
};

/// Who holds a name that is unique in its space.
#[derive(Debug)]
struct Holder<L> {
    peer: PeerId,
    local: L,
    identity: Identity,
}

/// Rooms and names, as a machine. See the crate's page for how to drive it.
///
/// `L` is the driver's handle of a local connection; clones of one handle are equal to it.
#[derive(Debug)]
pub struct Hub<L> {
    limits: Arc<Limits>,
    rooms: HashMap<RoomId, Room<L>>,
    names: HashMap<(SpaceName, DisplayName), Holder<L>>,
    challenges: Challenges<L>,
    effects: VecDeque<Effect<L>>,
}

impl<L: Clone> Hub<L> {
    /// An empty hub.
    #[must_use]
    pub fn new(limits: Arc<Limits>) -> Self {
        Self {
            limits,
            rooms: HashMap::new(),
            names: HashMap::new(),
            challenges: Challenges::default(),
            effects: VecDeque::new(),
        }
    }

    /// Takes an input. What follows is to be fetched with [`Hub::poll_effect`].
    pub fn handle(&mut self, input: Input<L>, now: Instant) {
        match input {
            Input::Ask { peer, local, ask } => self.ask(peer, local, ask, now),
            Input::Committed {
                room,
                position,
                change,
            } => self.commit(room, position, change, now),
            Input::Announce {
                room,
                to,
                from,
                relay,
            } => self.announce(&room, &to, &from, relay),
            Input::Kick { room, address } => self.kick(&room, &address),
        }
    }

    /// Ends the challenges that are due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        for place in self.challenges.due(now) {
            self.evict(&place, Eviction::Ghost, now);
        }
    }

    /// The next thing to do, if any.
    pub fn poll_effect(&mut self) -> Option<Effect<L>> {
        let mut effect = self.effects.pop_front();
        if let Some(Effect::Propose { room, at, .. }) = &mut effect {
            *at = self.rooms.get(room).map(Room::position).unwrap_or_default();
        }
        effect
    }

    /// When [`Hub::handle_timeout`] must be called at the latest, if ever.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.challenges.next_deadline()
    }

    /// The rooms, in no particular order, each with the number of its members.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "for the host program, which sorts as it likes; nothing here depends on the order"
    )]
    pub fn rooms(&self) -> Vec<(RoomId, usize)> {
        self.rooms
            .iter()
            .map(|(id, room)| (id.clone(), room.seats().count()))
            .collect()
    }

    /// The members of a room, oldest first.
    #[must_use]
    pub fn members(&self, room: &RoomId) -> Vec<Arc<Member>> {
        let room = self.rooms.get(room);
        room.into_iter()
            .flat_map(Room::seats)
            .map(|seat| seat.member.clone())
            .collect()
    }

    fn ask(&mut self, peer: PeerId, local: L, ask: Ask, now: Instant) {
        match ask {
            Ask::Claim(space, name, identity) => {
                self.claim(
                    space,
                    name,
                    Holder {
                        peer,
                        local,
                        identity,
                    },
                    now,
                );
            }
            Ask::Release(space, name) => self.release(peer, space, name, now),
            Ask::Join(room, member, attempt) => self.join(room, member, attempt, local, now),
            Ask::Leave(room, farewell) => self.leave(peer, room, farewell),
            Ask::Relay(room, to, relay) => self.relay(peer, local, &room, to, relay),
            Ask::List(room) => self.list(peer, local, room),
            Ask::Alive(place) => self.alive(peer, &place),
        }
    }

    fn deliver(&mut self, to: L, event: Event) {
        self.effects.push_back(Effect::Deliver(to, Arc::new(event)));
    }

    fn refuse(&mut self, to: L, refused: Refused) {
        self.deliver(to, Event::Refused(refused));
    }

    fn propose(&mut self, room: RoomId, change: Change) {
        let at = Position::default();
        self.effects.push_back(Effect::Propose { room, at, change });
    }

    // Names

    fn claim(&mut self, space: SpaceName, name: DisplayName, claimant: Holder<L>, now: Instant) {
        let key = (space, name);
        let replaced = match self.names.get(&key) {
            Some(holder) if holder.peer == claimant.peer => false,
            Some(holder) if holder.identity.is_proven_same(&claimant.identity) => true,
            Some(_) => return self.challenge_name(key, claimant, now),
            None => false,
        };
        let (local, name) = (claimant.local.clone(), key.1.clone());
        let previous = self.names.insert(key, claimant);
        if let Some(holder) = previous.filter(|_| replaced) {
            self.deliver(holder.local, Event::Evicted(Eviction::Replaced));
        }
        self.deliver(local, Event::Claimed(name));
    }

    fn challenge_name(&mut self, key: (SpaceName, DisplayName), claimant: Holder<L>, now: Instant) {
        let Some(holder) = self.names.get(&key).map(|holder| holder.local.clone()) else {
            return;
        };
        let place = Place::Name(key.0.clone(), key.1.clone());
        let Holder {
            peer,
            local,
            identity,
        } = claimant;
        let ask = Ask::Claim(key.0, key.1, identity);
        self.challenge(place, holder, Claimant { peer, local, ask }, now);
    }

    fn release(&mut self, peer: PeerId, space: SpaceName, name: DisplayName, now: Instant) {
        let key = (space, name);
        let held = self
            .names
            .get(&key)
            .is_some_and(|holder| holder.peer == peer);
        let place = Place::Name(key.0.clone(), key.1.clone());
        if held {
            self.names.remove(&key);
            self.retry(&place, now);
        } else {
            self.challenges.forget(peer, &place);
        }
    }

    // Challenges

    fn challenge(&mut self, place: Place, holder: L, claimant: Claimant<L>, now: Instant) {
        match self.challenges.wait(place.clone(), claimant, now) {
            Wait::Probe => self.deliver(holder, Event::Probe(place)),
            Wait::Queued => {}
            Wait::Full(claimant) => self.refuse_taken(claimant),
        }
    }

    fn refuse_taken(&mut self, claimant: Claimant<L>) {
        let refused = if let Ask::Join(room, member, attempt) = claimant.ask {
            let target = Some(member.address.clone());
            Refused {
                target,
                ..Refused::join(Refusal::Taken, &room.name, attempt)
            }
        } else {
            Refused::new(Refusal::Taken)
        };
        self.refuse(claimant.local, refused);
    }

    fn alive(&mut self, peer: PeerId, place: &Place) {
        if self.holder(place) != Some(peer) {
            return;
        }
        for claimant in self.challenges.take(place) {
            self.refuse_taken(claimant);
        }
    }

    fn holder(&self, place: &Place) -> Option<PeerId> {
        match place {
            Place::Room(_) => None,
            Place::Address(room, address) => {
                Some(self.rooms.get(room)?.holder(address)?.member.peer)
            }
            Place::Name(space, name) => Some(self.names.get(&(space.clone(), name.clone()))?.peer),
        }
    }

    /// Takes a place from its holder and ends the holder's connection.
    fn evict(&mut self, place: &Place, why: Eviction, now: Instant) {
        match place {
            Place::Room(_) => {}
            Place::Address(room, address) => self.unseat(room, address, why),
            Place::Name(space, name) => {
                if let Some(holder) = self.names.remove(&(space.clone(), name.clone())) {
                    self.deliver(holder.local, Event::Evicted(why));
                }
                self.retry(place, now);
            }
        }
    }

    /// Ends a member's connection and lets its leave be ordered, once.
    fn unseat(&mut self, room: &RoomId, address: &Address, why: Eviction) {
        let Some(peer) = self.holder(&Place::Address(room.clone(), address.clone())) else {
            return;
        };
        let seat = self
            .rooms
            .get_mut(room)
            .and_then(|room| room.seat_mut(peer));
        let Some(local) = seat.and_then(|seat| seat.local.take()) else {
            return;
        };
        self.deliver(local, Event::Evicted(why));
        self.propose(room.clone(), Change::Leave(peer, Farewell::Aloud));
    }

    /// Lets those who waited for a place ask again, now that it is free.
    fn retry(&mut self, place: &Place, now: Instant) {
        for claimant in self.challenges.take(place) {
            self.ask(claimant.peer, claimant.local, claimant.ask, now);
        }
    }

    // Rooms

    fn join(&mut self, id: RoomId, member: Arc<Member>, attempt: Attempt, local: L, now: Instant) {
        self.challenges
            .forget_others(member.peer, &id, &member.address);
        let room = self.rooms.entry(id.clone()).or_default();
        if room.is_proposed(member.peer) {
            return;
        }
        if room.seat(member.peer).is_some() {
            let others = room
                .others(member.peer)
                .map(|seat| seat.member.clone())
                .collect();
            return self.deliver(local, Event::Rejoined { room: id, others });
        }
        if let Some(holder) = room.holder(&member.address) {
            let replaces = holder.member.identity.is_proven_same(&member.identity);
            let holder = holder.local.clone();
            let place = Place::Address(id.clone(), member.address.clone());
            let claimant = Claimant {
                peer: member.peer,
                local,
                ask: Ask::Join(id, member, attempt),
            };
            return self.join_taken(place, claimant, holder.filter(|_| !replaces), now);
        }
        if exceeds(room.len() + 1, self.limits.room_members) {
            return self.refuse(local, Refused::join(Refusal::RoomFull, &id.name, attempt));
        }
        room.propose(member.clone(), local);
        self.propose(id, Change::Join(member));
    }

    /// Lets a claimant wait for a taken address: for what the holder answers, or, where nobody
    /// needs to be asked, for the holder's departure.
    fn join_taken(&mut self, place: Place, claimant: Claimant<L>, asked: Option<L>, now: Instant) {
        if let Some(holder) = asked {
            return self.challenge(place, holder, claimant, now);
        }
        if let Wait::Full(claimant) = self.challenges.wait(place.clone(), claimant, now) {
            self.refuse_taken(claimant);
        }
        self.evict(&place, Eviction::Replaced, now);
    }

    fn leave(&mut self, peer: PeerId, id: RoomId, farewell: Farewell) {
        self.challenges.forget(peer, &Place::Room(id.clone()));
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        if let Some(seat) = room.seat_mut(peer) {
            seat.local = None;
        } else if !room.is_proposed(peer) {
            return;
        }
        self.propose(id, Change::Leave(peer, farewell));
    }

    fn commit(&mut self, id: RoomId, position: Position, change: Change, now: Instant) {
        if self
            .rooms
            .get(&id)
            .is_some_and(|room| position <= room.position())
        {
            return;
        }
        match change {
            Change::Join(member) => self.joined(id, position, &member),
            Change::Leave(peer, farewell) => self.left(&id, position, peer, farewell, now),
        }
    }

    fn joined(&mut self, id: RoomId, position: Position, newcomer: &Arc<Member>) {
        let Self { rooms, effects, .. } = self;
        let room = rooms.entry(id.clone()).or_default();
        let mut others = Vec::with_capacity(room.len());
        for seat in room.seats() {
            let call = decide(newcomer.tongue, seat.member.tongue);
            others.push((seat.member.clone(), call));
            if let Some(local) = &seat.local {
                let event = introduced(&id, newcomer, call.flipped());
                effects.push_back(Effect::Deliver(local.clone(), Arc::new(event)));
            }
        }
        room.join(position, newcomer.clone());
        if let Some(local) = room.seat(newcomer.peer).and_then(|seat| seat.local.clone()) {
            self.deliver(local, Event::Joined { room: id, others });
        }
    }

    fn left(
        &mut self,
        id: &RoomId,
        position: Position,
        peer: PeerId,
        farewell: Farewell,
        now: Instant,
    ) {
        let Self { rooms, effects, .. } = self;
        let Some(room) = rooms.get_mut(id) else {
            return;
        };
        let Some(member) = room.leave(position, peer) else {
            return;
        };
        let place = Place::Address(id.clone(), member.address.clone());
        let event = Arc::new(Event::Departed {
            room: id.clone(),
            peer: member,
            farewell,
        });
        for local in room.seats().filter_map(|seat| seat.local.as_ref()) {
            effects.push_back(Effect::Deliver(local.clone(), event.clone()));
        }
        if room.is_empty() {
            rooms.remove(id);
        }
        self.retry(&place, now);
    }

    fn list(&mut self, peer: PeerId, local: L, id: RoomId) {
        let Some(room) = self.rooms.get(&id).filter(|room| room.seat(peer).is_some()) else {
            return self.refuse(local, Refused::new(Refusal::NotInRoom).in_room(&id.name));
        };
        let others = room.others(peer).map(|seat| seat.member.clone()).collect();
        self.deliver(local, Event::Members { room: id, others });
    }

    fn relay(&mut self, peer: PeerId, local: L, id: &RoomId, to: Target, relay: Arc<Relay>) {
        let room = self.rooms.get(id);
        let Some((room, sender)) = room.and_then(|room| Some((room, room.seat(peer)?))) else {
            return self.refuse(local, Refused::new(Refusal::NotInRoom).in_room(&id.name));
        };
        let from = sender.member.clone();
        if let Err(reason) = pass_on(room, &mut self.effects, id, &to, &from, relay) {
            self.refuse(local, Refused::new(reason).in_room(&id.name).to(to));
        }
    }

    fn announce(&mut self, id: &RoomId, to: &Target, from: &Arc<Member>, relay: Arc<Relay>) {
        let Some(room) = self.rooms.get(id) else {
            return;
        };
        // The host program has nobody to be answered through; it can list the members itself.
        drop(pass_on(room, &mut self.effects, id, to, from, relay));
    }

    fn kick(&mut self, id: &RoomId, address: &Address) {
        self.unseat(id, address, Eviction::Kicked);
    }
}

fn introduced(room: &RoomId, peer: &Arc<Member>, call: Call) -> Event {
    Event::Introduced {
        room: room.clone(),
        peer: peer.clone(),
        call,
    }
}

/// Gives a relayed frame to whom it is for, or says why not.
fn pass_on<L: Clone>(
    room: &Room<L>,
    effects: &mut VecDeque<Effect<L>>,
    id: &RoomId,
    to: &Target,
    from: &Arc<Member>,
    relay: Arc<Relay>,
) -> Result<(), Refusal> {
    let direct = *to != Target::Everyone;
    if direct {
        let seat = room
            .find(to)
            .filter(|seat| seat.local.is_some())
            .ok_or(Refusal::NoSuchPeer)?;
        if !relay.is_understood_by(seat.member.tongue) {
            return Err(Refusal::NotUnderstood);
        }
        let event = Event::Heard {
            room: id.clone(),
            from: from.clone(),
            direct,
            relay,
        };
        effects.extend(
            seat.local
                .clone()
                .map(|local| Effect::Deliver(local, Arc::new(event))),
        );
        return Ok(());
    }
    let event = Arc::new(Event::Heard {
        room: id.clone(),
        from: from.clone(),
        direct,
        relay: relay.clone(),
    });
    let hearers = room
        .others(from.peer)
        .filter(|seat| relay.is_understood_by(seat.member.tongue));
    for local in hearers.filter_map(|seat| seat.local.as_ref()) {
        effects.push_back(Effect::Deliver(local.clone(), event.clone()));
    }
    Ok(())
}

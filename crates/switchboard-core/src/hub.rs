//! The rooms and names of one shard of a node.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use crate::{
    absent::Absent,
    challenge::{Challenges, Due, Wait, Wish},
    command::{Ask, Change, Charge, Effect, Farewell, Input, Place, Target},
    event::{Event, Eviction},
    id::{Address, Attempt, NameId, PeerId, Position, RoomId},
    introduction::{Identity, Member, Tongue},
    limits::{EARLY_BYTES_MAX, EARLY_MAX, Limits, NOTICE_BYTES, exceeds},
    log::{Addressee, Departure, Letter, LogId, Message, NodeId},
    refusal::{Refusal, Refused},
    relay::Relay,
    reservation::Reservations,
    room::{Pending, Room, Seat},
};

mod absent;
mod letters;
mod log;

/// Who holds a name says nothing in it.
static SILENT: Tongue = Tongue {
    name: "name",
    signals: false,
    messages: false,
    ..Tongue::USUAL
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
    askers: BTreeMap<Place, Vec<NodeId>>,
    reservations: Reservations,
    absent: Absent<L>,
    effects: VecDeque<Effect<L>>,
}

/// Who has what somebody else wants.
enum Holder<L> {
    /// A peer of this node.
    Own(L),
    /// A peer of this node that is already leaving.
    Leaving,
    /// A peer of another node.
    Of(NodeId),
}

impl<L: Clone> Hub<L> {
    /// An empty hub.
    #[must_use]
    pub fn new(limits: Arc<Limits>) -> Self {
        Self {
            limits,
            rooms: HashMap::new(),
            challenges: Challenges::default(),
            askers: BTreeMap::new(),
            reservations: Reservations::default(),
            absent: Absent::default(),
            effects: VecDeque::new(),
        }
    }

    /// Takes an input. What follows is to be fetched with [`Hub::poll_effect`].
    pub fn handle(&mut self, input: Input<L>, now: Instant) {
        match input {
            Input::Ask { peer, local, ask } => self.ask(peer, local, ask, now),
            Input::Committed(log, entry) => self.commit(&log, entry, now),
            Input::Declined(log, peer, why) => self.declined(&log, peer, why, now),
            Input::Letter(from, letter) => self.letter(from, letter, now),
            Input::Unsent(letter) => self.unsent(letter, now),
            Input::Announce {
                room,
                to,
                from,
                relay,
            } => self.announce(&room, &to, &from, &relay),
            Input::Kick { room, address } => {
                self.evict(&Place::Address(room, address), Eviction::Kicked);
            }
        }
    }

    /// Ends what is due at `now`: challenges, reservations, and the patience of those who wait for
    /// somebody to come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.reservations.expire(now);
        self.give_up_absent(now);
        for Due { place, is_heard } in self.challenges.due(now) {
            match self.holder(&place) {
                None => self.retry(&place, now),
                Some((holder, _)) if self.challenges.renew(&place, holder, now) => {
                    self.probe(&place);
                }
                Some(_) if is_heard => self.evict(&place, Eviction::Ghost),
                Some(_) => {
                    self.challenges.extend(&place, now);
                    self.probe(&place);
                }
            }
        }
    }

    /// The next thing to do, if any.
    pub fn poll_effect(&mut self) -> Option<Effect<L>> {
        let mut effect = self.effects.pop_front();
        if let Some(Effect::Propose { log, at, .. }) = &mut effect {
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
            self.absent.next_deadline(),
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
            LogId::Room(id) => Some((id.clone(), room.seats().count())),
            LogId::Name(..) | LogId::Duty(_) => None,
        };
        self.rooms.iter().filter_map(count).collect()
    }

    /// The members of a room, oldest first.
    #[must_use]
    pub fn members(&self, room: &RoomId) -> Vec<Arc<Member>> {
        let room = self.rooms.get(&LogId::Room(room.clone()));
        members(room.into_iter().flat_map(Room::seats))
    }

    fn ask(&mut self, peer: PeerId, local: L, ask: Ask, now: Instant) {
        match ask {
            Ask::Claim(name, identity) => self.enter(claim(peer, name, identity, local), now),
            Ask::Release(name) => self.leave(peer, LogId::Name(name), Farewell::Aloud),
            Ask::Join(room, member, attempt) => {
                let others = (self.challenges).forget_others(member.peer, &room, &member.address);
                // Who asks for another address has not given up what it has to say.
                let early = others.into_iter().flat_map(|wish| wish.early).collect();
                let wish = Wish {
                    log: LogId::Room(room),
                    member,
                    attempt,
                    local,
                    early,
                };
                self.enter(wish, now);
            }
            Ask::Leave(room, farewell) => {
                let log = LogId::Room(room);
                self.charge_leave(peer, local, &log);
                self.leave(peer, log, farewell);
            }
            ask @ (Ask::Relay(..) | Ask::List(_)) => self.ask_room(peer, local, ask, now),
            Ask::Alive(place) => self.alive(peer, &place),
        }
    }

    fn deliver(&mut self, to: L, event: Event) {
        self.effects.push_back(Effect::Deliver(to, Arc::new(event)));
    }

    fn refuse(&mut self, to: L, refused: Refused) {
        self.deliver(to, Event::Refused(refused));
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
        let seated = room.and_then(|room| Some((room, room.seat(peer)?)));
        let told = seated.map_or(0, |(room, seat)| room.told_of(&seat.member).count());
        self.charge(local, told, NOTICE_BYTES);
    }

    fn propose(&mut self, log: LogId, change: Change) {
        let at = Position::default();
        self.effects.push_back(Effect::Propose { log, at, change });
    }

    fn send(&mut self, to: NodeId, log: LogId, message: Message) {
        let letter = Letter { log, message };
        self.effects.push_back(Effect::Send(to, letter));
    }

    /// The local connection of a member of this node.
    fn local(&self, log: &LogId, peer: PeerId) -> Option<L> {
        self.rooms.get(log)?.seat(peer)?.local.clone()
    }

    // Coming and going

    fn enter(&mut self, wish: Wish<L>, now: Instant) {
        let peer = wish.member.peer;
        let room = self.rooms.entry(wish.log.clone()).or_default();
        match room.pending.get_mut(&peer) {
            Some(Pending::Join(earlier)) => return earlier.attempt = wish.attempt,
            Some(Pending::Leave(then)) => {
                let early = then.take().map(|earlier| earlier.early);
                let early = early.unwrap_or_default().into_iter().chain(wish.early);
                let early = early.collect();
                return *then = Some(Wish { early, ..wish });
            }
            None => {}
        }
        if let Some(seat) = room.seat(peer) {
            let others = members(room.seen_by(&seat.member));
            self.charge(wish.local.clone(), others.len(), NOTICE_BYTES);
            self.deliver(wish.local.clone(), entered_again(wish.log, others));
            return self.ask_early(peer, &wish.local, wish.early, now);
        }
        let address = &wish.member.address;
        let is_same = (room.at(address).map(|seat| &seat.member))
            .or_else(|| room.joining_as(address).map(|joining| &joining.member))
            .map(|holder| holder.is_proven_same(&wish.member));
        if let Some(replaces) = is_same {
            return self.enter_taken(wish, replaces, now);
        }
        let place = place(&wish.log, address);
        // It has asked before, when the address was taken: what it asks now is what counts.
        let earlier = self.challenges.forget(peer, &wish.log);
        let early = earlier.into_iter().flat_map(|wish| wish.early);
        let early = early.chain(wish.early).collect();
        let wish = Wish { early, ..wish };
        if place.is_some_and(|place| self.reservations.is_against(&place, &wish.member, now)) {
            return self.refuse_join(wish, Refusal::Taken);
        }
        self.enter_free(wish);
    }

    /// Lets a seat be ordered for somebody whose address is free.
    fn enter_free(&mut self, mut wish: Wish<L>) {
        let room = self.rooms.entry(wish.log.clone()).or_default();
        let limit = room.members_max(&wish.member, &self.limits);
        if exceeds(room.len() + 1, limit) {
            return self.refuse_join(wish, Refusal::RoomFull);
        }
        wish.member = room.encircle(wish.member);
        let (log, member) = (wish.log.clone(), wish.member.clone());
        room.pending.insert(member.peer, Pending::Join(wish));
        self.propose(log, Change::Join(member));
    }

    /// Lets a claimant wait for a taken address: for what the holder answers, or, where nobody
    /// needs to be asked, for the holder's departure.
    fn enter_taken(&mut self, wish: Wish<L>, replaces: bool, now: Instant) {
        let Some(place) = place(&wish.log, &wish.member.address) else {
            return;
        };
        let Some((holder, _)) = self.holder(&place) else {
            return;
        };
        let local = wish.local.clone();
        match self.challenges.wait(place.clone(), holder, wish, now) {
            Wait::Full(wish) => self.refuse_join(wish, Refusal::Taken),
            Wait::Probe | Wait::Queued if replaces => {}
            Wait::Probe => {
                self.charge(local, 1, NOTICE_BYTES);
                self.probe(&place);
            }
            Wait::Queued => {}
        }
        if replaces {
            self.evict(&place, Eviction::Replaced);
        }
    }

    /// Asks the holder of a place whether it is alive.
    fn probe(&mut self, place: &Place) {
        match self.holder(place) {
            Some((_, Holder::Own(local))) => self.deliver(local, Event::Probe(place.clone())),
            Some((peer, Holder::Of(node))) => self.send(node, place.log(), Message::Probe(peer)),
            Some((_, Holder::Leaving)) | None => {}
        }
    }

    fn refuse_join(&mut self, wish: Wish<L>, reason: Refusal) {
        let refused = match &wish.log {
            LogId::Room(room) => Refused {
                target: (reason == Refusal::Taken).then(|| wish.member.address.clone()),
                ..Refused::join(reason, &room.name, wish.attempt)
            },
            LogId::Name(name) => Refused::claim(reason, name.clone()),
            LogId::Duty(_) => Refused::new(reason),
        };
        self.refuse(wish.local.clone(), refused);
        self.tidy(&wish.log);
        self.give_up(wish);
    }

    /// Answers what somebody has asked early who will not be in.
    fn give_up(&mut self, wish: Wish<L>) {
        for ask in wish.early {
            self.refuse(wish.local.clone(), not_in_room(ask));
        }
    }

    fn leave(&mut self, peer: PeerId, log: LogId, farewell: Farewell) {
        for wish in self.challenges.forget(peer, &log) {
            self.give_up(wish);
        }
        if let LogId::Room(room) = &log {
            self.absent.forget(peer, room);
        }
        let Some(room) = self.rooms.get_mut(&log) else {
            return;
        };
        if let Some(Pending::Leave(then)) = room.pending.get_mut(&peer) {
            if let Some(wish) = then.take() {
                self.give_up(wish);
            }
            return;
        }
        if let Some(seat) = room.seat_mut(peer) {
            seat.local = None;
        } else if !room.pending.contains_key(&peer) {
            return;
        }
        let before = room.pending.insert(peer, Pending::Leave(None));
        if let Some(Pending::Join(wish)) = before {
            self.give_up(wish);
        }
        self.propose(log, Change::Leave(peer, Departure::Asked(farewell)));
    }

    /// Forgets a room that nobody is in or wants to be in.
    fn tidy(&mut self, log: &LogId) {
        if self.rooms.get(log).is_some_and(Room::is_empty) {
            self.rooms.remove(log);
        }
    }

    // Holders and challenges

    /// Who has this place, or will have it when its join is ordered.
    fn holder(&self, place: &Place) -> Option<(PeerId, Holder<L>)> {
        let room = self.rooms.get(&place.log())?;
        let address = match place {
            Place::Room(_) => return None,
            Place::Address(_, address) => address.clone(),
            Place::Name(id) => id.name.clone().into(),
        };
        if let Some(seat) = room.at(&address) {
            let holder = match (seat.node, &seat.local) {
                (Some(node), _) => Holder::Of(node),
                (None, Some(local)) => Holder::Own(local.clone()),
                (None, None) => Holder::Leaving,
            };
            return Some((seat.member.peer, holder));
        }
        let wish = room.joining_as(&address)?;
        Some((wish.member.peer, Holder::Own(wish.local.clone())))
    }

    fn alive(&mut self, peer: PeerId, place: &Place) {
        if self.holder(place).is_none_or(|(holder, _)| holder != peer) {
            return;
        }
        for node in self.askers.remove(place).unwrap_or_default() {
            self.send(node, place.log(), Message::Alive(peer));
        }
        for wish in self.challenges.take(place) {
            self.refuse_join(wish, Refusal::Taken);
        }
    }

    /// Lets a holder's leave be ordered. Its connection ends when it is; at once, if it has no seat
    /// yet.
    fn evict(&mut self, place: &Place, why: Eviction) {
        let log = place.log();
        let Some((peer, Holder::Own(_) | Holder::Of(_))) = self.holder(place) else {
            return;
        };
        let room = self.rooms.get_mut(&log);
        if let Some(room) = room.filter(|room| room.seat(peer).is_none())
            && let Some(Pending::Join(wish)) = room.pending.insert(peer, Pending::Leave(None))
        {
            self.deliver(wish.local, Event::Evicted(why));
            return self.propose(log, Change::Leave(peer, Departure::Asked(Farewell::Aloud)));
        }
        self.propose(log, Change::Leave(peer, Departure::Evicted(why)));
    }

    /// Lets those who waited for a place ask again, now that it is free.
    fn retry(&mut self, place: &Place, now: Instant) {
        for wish in self.challenges.take(place) {
            self.enter(wish, now);
        }
    }

    // Frames

    /// What a member asks of its room.
    fn ask_room(&mut self, peer: PeerId, local: L, ask: Ask, now: Instant) {
        match ask {
            Ask::Relay(room, to, relay) => self.relay(peer, local, &room, to, relay, now),
            Ask::List(room) => self.list(peer, local, room),
            Ask::Claim(..) | Ask::Release(..) | Ask::Join(..) | Ask::Leave(..) | Ask::Alive(_) => {}
        }
    }

    /// Who asks as a member and is about to be one is answered when it is: its join may take a
    /// moment, and clients do not wait for it. Anybody else is refused.
    fn postpone(&mut self, peer: PeerId, local: L, room: &RoomId, ask: Ask) {
        let log = LogId::Room(room.clone());
        let pending = self.rooms.get_mut(&log);
        let wish = pending.and_then(|pending| pending.wish_mut(peer));
        let wish = wish.or_else(|| self.challenges.wish_mut(peer, room));
        let bytes = |wish: &Wish<L>| wish.early.iter().map(weight).sum::<usize>();
        let has_place = |wish: &&mut Wish<L>| {
            wish.early.len() < EARLY_MAX && bytes(wish) + weight(&ask) <= EARLY_BYTES_MAX
        };
        match wish.filter(has_place) {
            Some(wish) => wish.early.push(ask),
            None => self.refuse(local, not_in_room(ask)),
        }
    }

    fn ask_early(&mut self, peer: PeerId, local: &L, early: Vec<Ask>, now: Instant) {
        for ask in early {
            self.ask_room(peer, local.clone(), ask, now);
        }
    }

    fn list(&mut self, peer: PeerId, local: L, id: RoomId) {
        let log = LogId::Room(id.clone());
        let room = self.rooms.get(&log);
        let seated = room.and_then(|room| Some((room, room.seat(peer)?)));
        let Some((room, seat)) = seated.filter(|(_, seat)| seat.local.is_some()) else {
            return self.postpone(peer, local, &id, Ask::List(id.clone()));
        };
        let others = members(room.seen_by(&seat.member));
        self.charge(local.clone(), others.len(), NOTICE_BYTES);
        self.deliver(local, Event::Members { room: id, others });
    }

    fn relay(
        &mut self,
        peer: PeerId,
        local: L,
        id: &RoomId,
        to: Target,
        relay: Arc<Relay>,
        now: Instant,
    ) {
        let log = LogId::Room(id.clone());
        if let (Some(alias), Some(room)) = (&relay.aliases.from, self.rooms.get_mut(&log)) {
            room.announce(peer, alias);
        }
        let room = self.rooms.get(&log);
        let seated = room.and_then(|room| Some((room, room.seat(peer)?)));
        let Some((room, sender)) = seated.filter(|(_, seat)| seat.local.is_some()) else {
            let ask = Ask::Relay(id.clone(), to, relay);
            return self.postpone(peer, local, id, ask);
        };
        let from = sender.member.clone();
        let message = |to, relay| Message::Relay {
            from: sender.reference(),
            to,
            relay,
        };
        if to == Target::Everyone {
            for node in nodes(room.seen_by(&from)) {
                let message = message(Addressee::Everyone, relay.clone());
                let log = log.clone();
                self.effects
                    .push_back(Effect::Send(node, Letter { log, message }));
            }
            let effects = &mut self.effects;
            let count = match &relay.aliases.to {
                None => hear_all(room.seen_by(&from), effects, id, &from, &relay),
                Some(to) => hear_all(room.receivers(&from, to), effects, id, &from, &relay),
            };
            if relay.is_found_unreadable() {
                let refused = Refused::new(Refusal::NotUnderstood).in_room(&id.name);
                self.refuse(local.clone(), refused);
            }
            self.charge(local, count, relay.frame.len());
            if relay.kind.is_description() {
                self.note_description(&log, peer, None);
            }
            return;
        }
        let receiver = room.find(&to).filter(|seat| from.sees(&seat.member));
        match passable(receiver, &relay) {
            Err(Refusal::NoSuchPeer) if let Target::Awaited(address) = to => {
                self.wait_for(id, address, (peer, local), &relay, now);
            }
            Err(reason) => self.refuse(local, Refused::new(reason).in_room(&id.name).to(to)),
            Ok(seat) => {
                let (own, other) = (from.tongue, seat.member.tongue);
                let is_told_anyway = own.introduced && other.introduced || own.name == other.name;
                let is_noted = !is_told_anyway && relay.kind.is_description();
                let noted = is_noted.then(|| (log.clone(), seat.member.peer));
                if !from.tongue.introduced {
                    let reached = Charge::Reached(seat.member.peer);
                    self.effects.push_back(Effect::Charge(local, reached));
                }
                match (seat.node, &seat.local) {
                    (Some(node), _) => {
                        let (seat, target) = (seat.reference(), to);
                        let message = message(Addressee::One { seat, target }, relay);
                        self.send(node, log, message);
                    }
                    (None, Some(receiver)) => {
                        let receiver = receiver.clone();
                        self.deliver(receiver, heard(id, &from, true, relay));
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

    fn announce(&mut self, id: &RoomId, to: &Target, from: &Arc<Member>, relay: &Arc<Relay>) {
        let log = LogId::Room(id.clone());
        let Some(room) = self.rooms.get(&log) else {
            return;
        };
        let message = |to| Message::Announce {
            to,
            from: from.clone(),
            relay: relay.clone(),
        };
        let letters: Vec<_> = match to {
            Target::Everyone => {
                // The host program has no budget.
                let _ = hear_all(room.seats(), &mut self.effects, id, from, relay);
                let nodes = nodes(room.seats()).into_iter();
                nodes.map(|node| (node, message(None))).collect()
            }
            // The host program has nobody to be answered through; it can list the members itself.
            Target::Peer(_) | Target::Address(_) | Target::Awaited(_) => {
                let Ok(seat) = passable(room.find(to), relay) else {
                    return;
                };
                if let Some(local) = &seat.local {
                    let event = heard(id, from, true, relay.clone());
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
fn claim<L>(peer: PeerId, id: NameId, identity: Identity, local: L) -> Wish<L> {
    let member = Member {
        peer,
        address: id.name.clone().into(),
        name: None,
        tongue: &SILENT,
        identity,
        token: None,
        circle: None,
    };
    Wish {
        log: LogId::Name(id),
        member: Arc::new(member),
        attempt: Attempt::default(),
        local,
        early: Vec::new(),
    }
}

/// The bytes of a frame that waits to be asked about.
fn weight(ask: &Ask) -> usize {
    match ask {
        Ask::Relay(_, _, relay) => relay.frame.len(),
        Ask::Claim(..)
        | Ask::Release(..)
        | Ask::Join(..)
        | Ask::Leave(..)
        | Ask::List(_)
        | Ask::Alive(_) => 0,
    }
}

/// The refusal of what only a member may ask.
fn not_in_room(ask: Ask) -> Refused {
    let refused = |room: &RoomId| Refused::new(Refusal::NotInRoom).in_room(&room.name);
    match ask {
        Ask::Relay(room, to, _) => refused(&room).to(to),
        Ask::List(room) => refused(&room),
        Ask::Claim(..) | Ask::Release(..) | Ask::Join(..) | Ask::Leave(..) | Ask::Alive(_) => {
            Refused::new(Refusal::NotInRoom)
        }
    }
}

/// What of a log can be held: an address, or the one name.
fn place(log: &LogId, address: &Address) -> Option<Place> {
    match log {
        LogId::Room(room) => Some(Place::Address(room.clone(), address.clone())),
        LogId::Name(name) => Some(Place::Name(name.clone())),
        LogId::Duty(_) => None,
    }
}

fn entered_again(log: LogId, others: Vec<Arc<Member>>) -> Event {
    match log {
        LogId::Room(room) => Event::Rejoined { room, others },
        LogId::Name(name) => Event::Claimed(name),
        // No peer joins one.
        LogId::Duty(_) => Event::Refused(Refused::new(Refusal::NotInRoom)),
    }
}

fn heard(room: &RoomId, from: &Arc<Member>, direct: bool, relay: Arc<Relay>) -> Event {
    Event::Heard {
        room: room.clone(),
        from: from.clone(),
        direct,
        relay,
    }
}

/// The one receiver of a relay, or why it cannot be one.
fn passable<'a, L>(receiver: Option<&'a Seat<L>>, relay: &Relay) -> Result<&'a Seat<L>, Refusal> {
    let seat = receiver
        .filter(|seat| seat.node.is_some() || seat.local.is_some())
        .ok_or(Refusal::NoSuchPeer)?;
    if relay.is_understood_by(seat.member.tongue) {
        Ok(seat)
    } else {
        Err(Refusal::NotUnderstood)
    }
}

fn members<'a, L: 'a>(seats: impl Iterator<Item = &'a Seat<L>>) -> Vec<Arc<Member>> {
    seats.map(|seat| seat.member.clone()).collect()
}

/// The nodes that members are of, but for this one; each once.
fn nodes<'a, L: 'a>(seats: impl Iterator<Item = &'a Seat<L>>) -> Vec<NodeId> {
    let mut nodes: Vec<_> = seats.filter_map(|seat| seat.node).collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

/// Gives a relay to members of this node. Returns how many members of all nodes it is for.
fn hear_all<'a, L: Clone + 'a>(
    seats: impl Iterator<Item = &'a Seat<L>>,
    effects: &mut VecDeque<Effect<L>>,
    id: &RoomId,
    from: &Arc<Member>,
    relay: &Arc<Relay>,
) -> usize {
    let event = Arc::new(heard(id, from, false, relay.clone()));
    let mut count = 0;
    for seat in seats.filter(|seat| relay.is_understood_by(seat.member.tongue)) {
        count += 1;
        if let Some(local) = &seat.local {
            effects.push_back(Effect::Deliver(local.clone(), event.clone()));
        }
    }
    count
}

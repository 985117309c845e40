//! A hub is asked anything that peers can ask, and its engine orders changes when it likes.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant},
};

use bytestring::ByteString;
use switchboard_core::{
    Address, Change, Command, DialectTraits, DisconnectReason, DisplayName, Effect, Entry, Event,
    Hub, HubRequest, Identity, Input, JoinOptions, LeaveKind, Limits, LogId, Member, MessageKind,
    NameId, OfferPolicy, Peer, PeerId, Position, RejectReason, RelayedMessage, ResourceKey, RoomId,
    RoomName, SpaceName, Target, Token,
};

/// Clients at any time; who goes is followed by another.
const CLIENTS: usize = 6;
const ROOM_MEMBERS: usize = 4;

static TONGUES: [DialectTraits; 5] = [
    tongue("newcomers", OfferPolicy::NewcomerOffers),
    tongue("members", OfferPolicy::MemberOffers),
    tongue("nobody", OfferPolicy::Unspecified),
    DialectTraits {
        announces_presence: false,
        ..tongue("discreet", OfferPolicy::Unspecified)
    },
    DialectTraits {
        members_max: 2,
        ..tongue("tight", OfferPolicy::NewcomerOffers)
    },
];

const fn tongue(name: &'static str, custom: OfferPolicy) -> DialectTraits {
    DialectTraits {
        name,
        offer_policy: custom,
        ..DialectTraits::DEFAULT
    }
}

/// Reads `bytes` as things that happen to a hub with six clients, and lets them happen.
///
/// # Panics
/// If a promise is broken.
pub fn hub(bytes: &[u8]) {
    let mut node = FuzzNode::new();
    let mut bytes = bytes.iter().copied();
    while let Some(what) = bytes.next() {
        let mut next = || bytes.next().unwrap_or_default();
        let (who, more) = (usize::from(next()) % CLIENTS, next());
        node.step(what, who, more);
        node.check_invariants();
    }
    node.end();
}

/// A connection, by the order in which they came.
type ConnectionId = usize;

struct FuzzNode {
    hub: Hub<ConnectionId>,
    /// The peers of all connections there have been.
    peers: Vec<Peer>,
    /// The connections of the clients that are there.
    clients: [ConnectionId; CLIENTS],
    connected: BTreeSet<ConnectionId>,
    limits: Limits,
    /// Changes that the engine has not ordered yet, and how far each log is.
    proposed: VecDeque<(LogId, Change)>,
    logs: BTreeMap<LogId, FuzzLog>,
    now: Instant,
}

/// A log as the engine has it.
#[derive(Default)]
struct FuzzLog {
    head: Position,
    seated: BTreeSet<PeerId>,
}

impl FuzzLog {
    fn order(&mut self, log: LogId, change: Change) -> Input<ConnectionId> {
        let changed = match &change {
            Change::Join(member) => self.seated.insert(member.peer),
            Change::Leave(peer, _) => self.seated.remove(peer),
        };
        match change {
            Change::Leave(peer, _) if !changed => {
                Input::Rejected(log, peer, RejectReason::NotAMember)
            }
            Change::Join(_) | Change::Leave(..) => {
                self.head = self.head.next();
                let (position, node) = (self.head, None);
                let entry = Entry {
                    position,
                    node,
                    change,
                };
                Input::Committed(log, entry)
            }
        }
    }
}

impl FuzzNode {
    #[expect(
        clippy::disallowed_methods,
        reason = "an Instant can be had in no other way; only differences to it count"
    )]
    fn new() -> Self {
        let limits = Limits {
            room_members: ROOM_MEMBERS,
            directory_members: ROOM_MEMBERS,
            rooms_per_peer: 2,
            ..Limits::default()
        };
        Self {
            hub: Hub::new(Arc::new(limits.clone())),
            peers: (0..CLIENTS).map(peer).collect(),
            clients: std::array::from_fn(|line| line),
            connected: (0..CLIENTS).collect(),
            limits,
            proposed: VecDeque::new(),
            logs: BTreeMap::new(),
            now: Instant::now(),
        }
    }

    fn step(&mut self, what: u8, client: usize, more: u8) {
        let who = self.clients[client];
        match what % 16 {
            0..=3 => self.command(who, join(more)),
            4 => self.command(who, leave(more)),
            5..=7 => self.command(who, self.relay(more)),
            8 => self.command(who, Command::List(room_name(more))),
            9 if more < 192 => self.command(who, Command::Claim(claim_scope(more / 4), name(more))),
            9 => self.command(who, Command::Release(claim_scope(more / 4), name(more))),
            10 => self.request(who, HubRequest::Alive(place(more))),
            11 => self.advance(Duration::from_millis(u64::from(more) * 16)),
            12 => self.kick(more),
            13 => self.replace(client),
            _ => self.order(usize::from(more) % 4 + 1),
        }
    }

    fn command(&mut self, who: ConnectionId, command: Command) {
        if !self.connected.contains(&who) {
            return;
        }
        if let Ok(ask) = self.peers[who].authorize(command, &self.limits) {
            self.request(who, ask);
        }
    }

    fn request(&mut self, who: ConnectionId, ask: HubRequest) {
        let peer = self.peers[who].id();
        let input = Input::Request {
            peer,
            local: who,
            request: ask,
        };
        self.hub.handle(input, self.now);
        self.drain_effects();
    }

    fn kick(&mut self, more: u8) {
        let input = Input::Kick {
            room: room(more),
            address: address(more / 2),
        };
        self.hub.handle(input, self.now);
        self.drain_effects();
    }

    fn advance(&mut self, time: Duration) {
        self.now += time;
        self.hub.handle_timeout(self.now);
        self.drain_effects();
        let next = self.hub.poll_timeout();
        assert!(
            next.is_none_or(|at| at > self.now),
            "a timeout that is over"
        );
    }

    /// The client's connection ends, and another client comes.
    fn replace(&mut self, client: usize) {
        self.disconnect(self.clients[client]);
        let line = self.peers.len();
        self.peers.push(peer(line));
        self.clients[client] = line;
        self.connected.insert(line);
    }

    fn disconnect(&mut self, who: ConnectionId) {
        self.connected.remove(&who);
        for ask in self.peers[who].disconnect(DisconnectReason::Lost) {
            self.request(who, ask);
        }
    }

    /// The engine orders so many of the proposed changes.
    fn order(&mut self, count: usize) {
        for _ in 0..count {
            let Some((log, change)) = self.proposed.pop_front() else {
                return;
            };
            let input = self.logs.entry(log.clone()).or_default().order(log, change);
            self.hub.handle(input, self.now);
            self.drain_effects();
        }
    }

    fn drain_effects(&mut self) {
        let mut effects = 0;
        while let Some(effect) = self.hub.poll_effect() {
            effects += 1;
            match effect {
                Effect::Deliver(who, event) => self.deliver(who, &event),
                Effect::Propose { log, change, .. } => self.proposed.push_back((log, change)),
                Effect::Charge(..) => {}
                Effect::Send(node, letter) => panic!("{letter:?} to {node} of one node"),
            }
        }
        // What waited for somebody comes at once.
        assert!(effects <= 400, "{effects} effects of one input");
    }

    fn deliver(&mut self, who: ConnectionId, event: &Event) {
        match event {
            Event::RequestFailed(refused) => {
                self.peers[who].note_rejected_join(refused);
            }
            // The connection ends once what is said before has been carried out.
            Event::Evicted(_) => drop(self.connected.remove(&who)),
            Event::Joined { room, others } => {
                let others = others.iter().map(|(other, _)| other);
                others.for_each(|other| self.check_introduced(who, room, other));
            }
            Event::Rejoined { room, others } | Event::Members { room, others } => {
                others
                    .iter()
                    .for_each(|other| self.check_introduced(who, room, other));
            }
            Event::Introduced { room, peer, .. } => self.check_introduced(who, room, peer),
            Event::Received { room, from, .. } => self.check_introduced(who, room, from),
            Event::Claimed(_) | Event::Departed { .. } | Event::Probe(_) => {}
        }
    }

    /// Who is told of another as a member is among the same.
    fn check_introduced(&self, who: ConnectionId, room: &RoomId, other: &Member) {
        let members = self.hub.members(room);
        let me = members
            .iter()
            .find(|member| member.peer == self.peers[who].id());
        assert!(
            me.is_none_or(|me| me.sees(other)),
            "{who} is told of {other:?} in {room:?}"
        );
    }

    fn relay(&self, more: u8) -> Command {
        let to = match more / 4 % 4 {
            0 => Target::Everyone,
            1 => Target::AddressOrWait(address(more / 16)),
            2 => Target::Address(address(more / 16)),
            _ => Target::Peer(self.peers[self.clients[usize::from(more / 16) % CLIENTS]].id()),
        };
        Command::Send {
            room: room_name(more),
            to,
            message: RelayedMessage::new(
                "newcomers",
                MessageKind::Offer,
                ByteString::from_static("{}"),
                |_, _| true,
            ),
        }
    }

    fn check_invariants(&self) {
        for (room, count) in self.hub.rooms() {
            let members = self.hub.members(&room);
            assert_eq!(members.len(), count);
            assert!(count <= ROOM_MEMBERS, "{room:?} is too full");
            let addresses: BTreeSet<_> = members.iter().map(|member| &member.address).collect();
            assert_eq!(addresses.len(), count, "an address twice in {room:?}");
            // Who has given up may be seated for a moment, if its join was under way.
            if self.proposed.is_empty() {
                check_groups(&members);
            }
        }
    }

    fn end(&mut self) {
        for who in 0..self.peers.len() {
            self.disconnect(who);
        }
        while !self.proposed.is_empty() {
            self.order(1);
        }
        assert!(self.hub.rooms().is_empty(), "rooms of nobody");
        self.advance(GRACE);
        assert!(self.hub.poll_timeout().is_none(), "challenges of nobody");
    }
}

/// No circle has more members than it has seats.
fn check_groups(members: &[Arc<Member>]) {
    for member in members {
        let company = members.iter().filter(|other| member.sees(other)).count();
        let seats = member
            .group
            .map_or(usize::MAX, |circle| circle.capacity.get());
        assert!(company <= seats, "{member:?} among {company}");
    }
}

fn peer(line: ConnectionId) -> Peer {
    let id = PeerId::from_random((line as u128).to_be_bytes());
    let tongue = &TONGUES[line % TONGUES.len()];
    // Every third of them is the same person.
    let identity = match line % 3 {
        0 => Identity::Proven("one".into()),
        _ => Identity::Claimed,
    };
    Peer::new(id, tongue, identity, SpaceName::default())
}

fn room_name(more: u8) -> RoomName {
    RoomName::parse(["red", "blue", "green"][usize::from(more % 3)], 0).expect("not empty")
}

fn room(more: u8) -> RoomId {
    RoomId::shared(SpaceName::default(), room_name(more))
}

fn address(more: u8) -> Address {
    Address::parse(["ann", "ben", "cyd"][usize::from(more % 3)], 0).expect("not empty")
}

fn name(more: u8) -> DisplayName {
    DisplayName::parse(["ann", "ben", "cyd"][usize::from(more % 3)], 0).expect("not empty")
}

/// Where a name is claimed: in a room, or in the space.
fn claim_scope(more: u8) -> Option<RoomName> {
    (more % 2 == 1).then(|| room_name(more / 2))
}

fn place(more: u8) -> ResourceKey {
    match more % 2 {
        0 => ResourceKey::Address(room(more / 2), address(more / 8)),
        _ => ResourceKey::Name(NameId {
            space: SpaceName::default(),
            room: claim_scope(more / 8),
            name: name(more / 2),
        }),
    }
}

fn join(more: u8) -> Command {
    Command::Join {
        room: room_name(more),
        address: address(more / 4),
        name: None,
        options: JoinOptions {
            token: (more / 16 % 4 == 3).then(|| Token {
                secret: "secret".into(),
                grace: GRACE,
            }),
            group_size: NonZeroUsize::new(usize::from(more / 64)).filter(|seats| seats.get() == 2),
            closed_to_other_dialects: more / 32 % 2 == 1,
        },
    }
}

/// How long an address is kept.
const GRACE: Duration = Duration::from_secs(1);

fn leave(more: u8) -> Command {
    Command::Leave {
        room: room_name(more),
        kind: [LeaveKind::Announced, LeaveKind::Silent][usize::from(more / 8 % 2)],
    }
}

//! Fuzzes a hub with all requests that peers can make; the engine commits changes at arbitrary times.

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

/// Number of clients at any time; a client that disconnects is replaced.
const CLIENTS: usize = 6;
const ROOM_MEMBERS: usize = 4;

static DIALECTS: [DialectTraits; 5] = [
    traits("newcomers", OfferPolicy::NewcomerOffers),
    traits("members", OfferPolicy::MemberOffers),
    traits("unspecified", OfferPolicy::Unspecified),
    DialectTraits {
        announces_presence: false,
        ..traits("no-presence", OfferPolicy::Unspecified)
    },
    DialectTraits {
        members_max: 2,
        ..traits("limited", OfferPolicy::NewcomerOffers)
    },
];

const fn traits(name: &'static str, offer_policy: OfferPolicy) -> DialectTraits {
    DialectTraits {
        name,
        offer_policy,
        ..DialectTraits::DEFAULT
    }
}

/// Interprets each three bytes as an action of one of six clients: the kind, the client, and an argument.
///
/// # Panics
/// If an invariant is broken.
pub fn hub(bytes: &[u8]) {
    let mut node = FuzzNode::new();
    let mut bytes = bytes.iter().copied();
    while let Some(action) = bytes.next() {
        let mut next = || bytes.next().unwrap_or_default();
        let (connection, argument) = (usize::from(next()) % CLIENTS, next());
        node.step(action, connection, argument);
        node.check_invariants();
    }
    node.disconnect_all();
}

/// A connection, numbered in the order in which they were opened.
type ConnectionId = usize;

struct FuzzNode {
    hub: Hub<ConnectionId>,
    /// The peers of all connections, including ended ones.
    peers: Vec<Peer>,
    /// The current connection of each client.
    clients: [ConnectionId; CLIENTS],
    connected: BTreeSet<ConnectionId>,
    limits: Limits,
    /// Changes that the engine has not committed yet.
    proposed: VecDeque<(LogId, Change)>,
    logs: BTreeMap<LogId, FuzzLog>,
    now: Instant,
}

/// The engine's state of a log.
#[derive(Default)]
struct FuzzLog {
    head: Position,
    members: BTreeSet<PeerId>,
}

impl FuzzLog {
    fn commit(&mut self, log: LogId, change: Change) -> Input<ConnectionId> {
        let is_effective = match &change {
            Change::Join(member) => self.members.insert(member.peer),
            Change::Leave(peer, _) => self.members.remove(peer),
        };
        match change {
            Change::Leave(peer, _) if !is_effective => {
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
        reason = "there is no other way to get an Instant; only differences to it are used"
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
            clients: std::array::from_fn(|connection| connection),
            connected: (0..CLIENTS).collect(),
            limits,
            proposed: VecDeque::new(),
            logs: BTreeMap::new(),
            now: Instant::now(),
        }
    }

    fn step(&mut self, action: u8, client: usize, argument: u8) {
        let connection = self.clients[client];
        match action % 16 {
            0..=3 => self.command(connection, join(argument)),
            4 => self.command(connection, leave(argument)),
            5..=7 => self.command(connection, self.relay(argument)),
            8 => self.command(connection, Command::List(room_name(argument))),
            9 if argument < 192 => self.command(
                connection,
                Command::Claim(claim_scope(argument / 4), name(argument)),
            ),
            9 => self.command(
                connection,
                Command::Release(claim_scope(argument / 4), name(argument)),
            ),
            10 => self.request(connection, HubRequest::Alive(resource(argument))),
            11 => self.advance(Duration::from_millis(u64::from(argument) * 16)),
            12 => self.kick(argument),
            13 => self.replace(client),
            _ => self.commit(usize::from(argument) % 4 + 1),
        }
    }

    fn command(&mut self, connection: ConnectionId, command: Command) {
        if !self.connected.contains(&connection) {
            return;
        }
        if let Ok(request) = self.peers[connection].authorize(command, &self.limits) {
            self.request(connection, request);
        }
    }

    fn request(&mut self, connection: ConnectionId, request: HubRequest) {
        let peer = self.peers[connection].id();
        let input = Input::Request {
            peer,
            local: connection,
            request,
        };
        self.hub.handle(input, self.now);
        self.drain_effects();
    }

    fn kick(&mut self, argument: u8) {
        let (room, address) = (room(argument), address(argument / 2));
        let members = self.hub.members(&room);
        let holder = members.iter().find(|member| member.address == address);
        let input = Input::Kick {
            peer: holder.map_or(self.peers[0].id(), |member| member.peer),
            room,
            address,
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
            "the next timeout is in the past"
        );
    }

    /// Ends the client's connection and opens a connection for another client.
    fn replace(&mut self, client: usize) {
        self.disconnect(self.clients[client]);
        let connection = self.peers.len();
        self.peers.push(peer(connection));
        self.clients[client] = connection;
        self.connected.insert(connection);
    }

    fn disconnect(&mut self, connection: ConnectionId) {
        self.connected.remove(&connection);
        for request in self.peers[connection].disconnect(DisconnectReason::Lost) {
            self.request(connection, request);
        }
    }

    /// Commits up to `count` of the proposed changes.
    fn commit(&mut self, count: usize) {
        for _ in 0..count {
            let Some((log, change)) = self.proposed.pop_front() else {
                return;
            };
            let input = self
                .logs
                .entry(log.clone())
                .or_default()
                .commit(log, change);
            self.hub.handle(input, self.now);
            self.drain_effects();
        }
    }

    fn drain_effects(&mut self) {
        let mut effects = 0;
        while let Some(effect) = self.hub.poll_effect() {
            effects += 1;
            match effect {
                Effect::Deliver(connection, event) => self.deliver(connection, &event),
                Effect::Propose { log, change, .. } => self.proposed.push_back((log, change)),
                Effect::Charge(..) => {}
                Effect::Send(node, message) => panic!("a single node sends {message:?} to {node}"),
            }
        }
        // The most effects come from a join that delivers all messages deferred for its address.
        assert!(effects <= 400, "{effects} effects of one input");
    }

    fn deliver(&mut self, connection: ConnectionId, event: &Event) {
        match event {
            Event::RequestFailed(error) => {
                self.peers[connection].note_rejected_join(error);
            }
            // The connection ends after the earlier effects are applied.
            Event::Evicted(_) => drop(self.connected.remove(&connection)),
            Event::Joined { room, others } => {
                let others = others.iter().map(|(other, _)| other);
                others.for_each(|other| self.check_introduced(connection, room, other));
            }
            Event::Rejoined { room, others } | Event::Members { room, others } => {
                others
                    .iter()
                    .for_each(|other| self.check_introduced(connection, room, other));
            }
            Event::Introduced { room, peer, .. } => self.check_introduced(connection, room, peer),
            Event::Received { room, from, .. } => self.check_introduced(connection, room, from),
            Event::Claimed(_) | Event::Departed { .. } | Event::Probe(_) => {}
        }
    }

    /// Checks that `other`, of which a connection is told, may be known to it: members of a group see only each other.
    fn check_introduced(&self, connection: ConnectionId, room: &RoomId, other: &Member) {
        let members = self.hub.members(room);
        let receiver = members
            .iter()
            .find(|member| member.peer == self.peers[connection].id());
        assert!(
            receiver.is_none_or(|receiver| receiver.sees(other)),
            "connection {connection} is told of {other:?} in {room:?}, which is not in its group"
        );
    }

    fn relay(&self, argument: u8) -> Command {
        let to = match argument / 4 % 4 {
            0 => Target::Everyone,
            1 => Target::AddressOrWait(address(argument / 16)),
            2 => Target::Address(address(argument / 16)),
            _ => Target::Peer(self.peers[self.clients[usize::from(argument / 16) % CLIENTS]].id()),
        };
        Command::Send {
            room: room_name(argument),
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
            assert!(count <= ROOM_MEMBERS, "{room:?} exceeds its member limit");
            let addresses: BTreeSet<_> = members.iter().map(|member| &member.address).collect();
            assert_eq!(
                addresses.len(),
                count,
                "an address is used twice in {room:?}"
            );
            // After a client has withdrawn its join, it may be a member until its leave is committed.
            if self.proposed.is_empty() {
                check_groups(&members);
            }
        }
    }

    fn disconnect_all(&mut self) {
        for connection in 0..self.peers.len() {
            self.disconnect(connection);
        }
        while !self.proposed.is_empty() {
            self.commit(1);
        }
        assert!(self.hub.rooms().is_empty(), "a room is left");
        self.advance(GRACE);
        assert!(
            self.hub.poll_timeout().is_none(),
            "the hub still has a timer: a challenge or a reservation is left"
        );
    }
}

/// Checks that no group has more members than its capacity.
fn check_groups(members: &[Arc<Member>]) {
    for member in members {
        let visible = members.iter().filter(|other| member.sees(other)).count();
        let capacity = member
            .group
            .as_ref()
            .map_or(usize::MAX, |group| group.capacity.get());
        assert!(
            visible <= capacity,
            "{member:?} sees {visible} members, itself included"
        );
    }
}

fn peer(connection: ConnectionId) -> Peer {
    let id = PeerId::from_random((connection as u128).to_be_bytes());
    let traits = &DIALECTS[connection % DIALECTS.len()];
    // Every third connection has the same authenticated identity.
    let identity = match connection % 3 {
        0 => Identity::Proven("one".into()),
        _ => Identity::Claimed,
    };
    Peer::new(id, traits, identity, SpaceName::default())
}

fn room_name(argument: u8) -> RoomName {
    RoomName::parse(["red", "blue", "green"][usize::from(argument % 3)], 0).expect("not empty")
}

fn room(argument: u8) -> RoomId {
    RoomId::shared(SpaceName::default(), room_name(argument))
}

fn address(argument: u8) -> Address {
    Address::parse(["ann", "ben", "cyd"][usize::from(argument % 3)], 0).expect("not empty")
}

fn name(argument: u8) -> DisplayName {
    DisplayName::parse(["ann", "ben", "cyd"][usize::from(argument % 3)], 0).expect("not empty")
}

/// The scope of a claimed name: a room, or the whole space.
fn claim_scope(argument: u8) -> Option<RoomName> {
    (argument % 2 == 1).then(|| room_name(argument / 2))
}

fn resource(argument: u8) -> ResourceKey {
    match argument % 2 {
        0 => ResourceKey::Address(room(argument / 2), address(argument / 8)),
        _ => ResourceKey::Name(NameId {
            space: SpaceName::default(),
            room: claim_scope(argument / 8),
            name: name(argument / 2),
        }),
    }
}

fn join(argument: u8) -> Command {
    Command::Join {
        room: room_name(argument),
        address: address(argument / 4),
        name: None,
        options: JoinOptions {
            token: (argument / 16 % 4 == 3).then(|| Token {
                secret: "secret".into(),
                grace: GRACE,
            }),
            group_size: NonZeroUsize::new(usize::from(argument / 64))
                .filter(|capacity| capacity.get() == 2),
            closed_to_other_dialects: argument / 32 % 2 == 1,
        },
    }
}

/// The time for which an address stays reserved for the token of a lost client.
const GRACE: Duration = Duration::from_secs(1);

fn leave(argument: u8) -> Command {
    Command::Leave {
        room: room_name(argument),
        kind: [LeaveKind::Announced, LeaveKind::Silent][usize::from(argument / 8 % 2)],
    }
}

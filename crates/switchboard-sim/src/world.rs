//! The world: its clock, its hub, and the clients around it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use bytestring::ByteString;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::Value;
use switchboard_core::{
    Ask, Effect, Entry, Event, Hub, Identity, Input, Limits, LogId, Member, Parting, PeerId,
    Position, Refusal, RoomId, SpaceName,
};
use switchboard_dialect::{
    ALL, Close, Conversation, Dialect, Door, Handshake, Post, Query, Settings, Turn,
    Value as Setting, find,
};
use switchboard_engine::{Engine, Memory, Ordered};

use crate::client::{Asking, Client, ClientId, Due, Frame, Sent, patience};

/// The world begins at this second since 1970.
const BEGINNING: u64 = 1_700_000_000;

/// How long a connection may be silent, as the server's heartbeat has it by default.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// A change of membership that has happened.
#[derive(Clone, Debug)]
pub struct Change {
    /// Where.
    pub room: RoomId,
    /// What.
    pub change: switchboard_core::Change,
}

/// The dialects' settings with which a room may have any name, is shared by all dialects whose members
/// can reach each other, and no id is kept for a silent client.
#[must_use]
pub fn hospitable() -> Settings {
    let mut settings = Settings::default();
    for dialect in ALL {
        for setting in dialect.settings() {
            let value = match setting.key {
                "keys" => Setting::Text("*".into()),
                "grace" => Setting::Int(0),
                "mixed" => Setting::Flag(true),
                _ => continue,
            };
            settings.set(dialect.tongue().name, setting, value);
        }
    }
    settings
}

/// One hub, its clients, and the time.
#[derive(Debug)]
pub struct World {
    hub: Hub<ClientId>,
    limits: Arc<Limits>,
    settings: Arc<Settings>,
    clients: Vec<Client>,
    log: Vec<Change>,
    epoch: Instant,
    elapsed: Duration,
    chance: StdRng,
    holding: bool,
}

impl World {
    /// A world with the usual limits.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with(seed, Limits::default(), hospitable())
    }

    /// A world with these limits and settings.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "an Instant can be had in no other way; only differences to it count"
    )]
    pub fn with(seed: u64, limits: Limits, settings: Settings) -> Self {
        let limits = Arc::new(limits);
        Self {
            hub: Hub::new(limits.clone()),
            limits,
            settings: Arc::new(settings),
            clients: Vec::new(),
            log: Vec::new(),
            epoch: Instant::now(),
            elapsed: Duration::ZERO,
            chance: StdRng::seed_from_u64(seed),
            holding: false,
        }
    }

    // What clients do

    /// A client connects and speaks `dialect`; if there is no such dialect, its first frame tells. A
    /// pair of `query` whose key begins with a colon is a parameter of the path.
    pub fn open(&mut self, dialect: &str, query: &[(&str, &str)]) -> ClientId {
        self.open_as(dialect, query, Identity::Claimed)
    }

    /// The same, with an identity.
    pub fn open_as(
        &mut self,
        dialect: &str,
        query: &[(&str, &str)],
        identity: Identity,
    ) -> ClientId {
        self.open_in(find(dialect), query, identity)
    }

    /// The same, in a dialect that need not be one of ours.
    pub fn open_in(
        &mut self,
        dialect: Option<&'static dyn Dialect>,
        query: &[(&str, &str)],
        identity: Identity,
    ) -> ClientId {
        let handshake = self.handshake(dialect, query, identity);
        let (conversation, turn) = Conversation::open(dialect, handshake, SpaceName::default());
        let client = ClientId(self.clients.len());
        let wait = patience(turn.first_frame, self.limits.first_frame_secs);
        self.clients.push(Client {
            first_frame: wait.map(|wait| self.elapsed + wait),
            held: self.holding,
            ..Client::new(conversation)
        });
        self.carry_out(client, turn, self.log.len());
        self.settle();
        client
    }

    /// The client sends a text frame.
    pub fn send(&mut self, client: ClientId, text: impl Into<ByteString>) {
        self.hear(client, Sent::Text(text.into()));
    }

    /// The client sends a binary frame.
    pub fn send_binary(&mut self, client: ClientId, bytes: impl Into<Bytes>) {
        self.hear(client, Sent::Binary(bytes.into()));
    }

    /// The client's socket ends, whatever was under way.
    pub fn crash(&mut self, client: ClientId) {
        self.part(client, Parting::Reset);
    }

    /// The client says goodbye, with a close frame.
    pub fn leave(&mut self, client: ClientId) {
        self.part(client, Parting::Said);
    }

    /// The request that the client's session waits for is answered, with this body if with any. Says
    /// whether it waits for one.
    pub fn reply(&mut self, client: ClientId, reply: Option<&str>) -> bool {
        let is_asking = self.clients[client.0].asking.is_some();
        if is_asking {
            self.answer(client, reply);
            self.settle();
        }
        is_asking
    }

    /// The client falls silent, but its connection stands: it sends nothing and answers no probe.
    pub fn freeze(&mut self, client: ClientId) {
        self.clients[client.0].frozen.get_or_insert(self.elapsed);
    }

    // The weather

    /// Time passes, and what is due happens.
    pub fn advance(&mut self, time: Duration) {
        let until = self.elapsed + time;
        while let Some((at, due)) = self.next_due().filter(|(at, _)| *at <= until) {
            self.elapsed = self.elapsed.max(at);
            self.come_due(due);
            self.settle();
        }
        self.elapsed = until;
    }

    /// From now on events wait in their outboxes until [`World::deliver`] is called.
    pub fn hold(&mut self) {
        self.holding = true;
        self.clients
            .iter_mut()
            .for_each(|client| client.held = true);
    }

    /// The client is told the next thing that waits for it, if any; says whether there was one.
    pub fn deliver(&mut self, client: ClientId) -> bool {
        let it = &mut self.clients[client.0];
        if !it.has_news() {
            return false;
        }
        let Some((at, event)) = it.outbox.pop_front() else {
            return false;
        };
        self.tell(client, at, &event);
        self.settle();
        true
    }

    /// Everybody is told everything, until nothing is on its way.
    pub fn deliver_all(&mut self) {
        while self.ids().any(|client| self.clients[client.0].has_news()) {
            for client in self.ids() {
                while self.deliver(client) {}
            }
        }
    }

    // What can be seen

    /// The clients, those that are gone included.
    pub fn ids(&self) -> impl Iterator<Item = ClientId> + use<> {
        (0..self.clients.len()).map(ClientId)
    }

    /// What the client was sent since the last call.
    pub fn take_frames(&mut self, client: ClientId) -> Vec<Frame> {
        self.clients[client.0].frames.drain(..).collect()
    }

    /// The requests that the client's session has made since the last call.
    pub fn take_posts(&mut self, client: ClientId) -> Vec<Post> {
        self.clients[client.0].posts.drain(..).collect()
    }

    /// What the client was sent since the last call, as values.
    ///
    /// # Panics
    /// If a frame is not JSON.
    pub fn received(&mut self, client: ClientId) -> Vec<Value> {
        let frames = self.take_frames(client).into_iter();
        frames
            .map(|frame| serde_json::from_str(&frame.text).expect("frames are JSON"))
            .collect()
    }

    /// The codes of what the client was refused since the last call, whether it was told or not.
    pub fn take_refused(&mut self, client: ClientId) -> Vec<&'static str> {
        std::mem::take(&mut self.clients[client.0].refused)
    }

    /// Those of them that it was refused without a word: some dialects have none for errors.
    pub fn take_unsaid(&mut self, client: ClientId) -> Vec<&'static str> {
        self.clients[client.0].unsaid.drain(..).collect()
    }

    /// How the server has ended the connection, if it has.
    #[must_use]
    pub fn closed(&self, client: ClientId) -> Option<Close> {
        self.clients[client.0].closed
    }

    /// Whether the connection stands: ended from neither side.
    #[must_use]
    pub fn is_connected(&self, client: ClientId) -> bool {
        self.clients[client.0].is_connected()
    }

    /// Whether the client has fallen silent.
    #[must_use]
    pub fn is_frozen(&self, client: ClientId) -> bool {
        self.clients[client.0].frozen.is_some()
    }

    /// The id of the client's peer.
    #[must_use]
    pub fn peer(&self, client: ClientId) -> PeerId {
        self.clients[client.0].conversation.peer().id()
    }

    /// The client's dialect, as far as it is known.
    #[must_use]
    pub fn dialect(&self, client: ClientId) -> &'static str {
        self.clients[client.0].conversation.peer().tongue().name
    }

    /// The client as a member of the room it is in; the first, if it is in several.
    #[must_use]
    pub fn member(&self, client: ClientId) -> Option<(RoomId, Arc<Member>)> {
        let peer = self.peer(client);
        let rooms = self.rooms().into_iter();
        rooms
            .flat_map(|room| {
                let members = self.hub.members(&room);
                members
                    .into_iter()
                    .map(move |member| (room.clone(), member))
            })
            .find(|(_, member)| member.peer == peer)
    }

    /// The rooms that exist, in the order of their names.
    #[must_use]
    pub fn rooms(&self) -> Vec<RoomId> {
        let mut rooms: Vec<_> = self.hub.rooms().into_iter().map(|(room, _)| room).collect();
        rooms.sort();
        rooms
    }

    /// The hub.
    #[must_use]
    pub fn hub(&self) -> &Hub<ClientId> {
        &self.hub
    }

    /// Every change of membership so far, in order.
    #[must_use]
    pub fn log(&self) -> &[Change] {
        &self.log
    }

    /// The seconds since 1970 of this world.
    #[must_use]
    pub fn unix_secs(&self) -> u64 {
        BEGINNING + self.elapsed.as_secs()
    }

    /// The host program speaks or acts: an input that no client can make.
    pub fn handle(&mut self, input: Input<ClientId>) {
        self.hub.handle(input, self.epoch + self.elapsed);
        self.carry_out_effects();
        self.settle();
    }

    // The shell

    fn handshake(
        &mut self,
        dialect: Option<&'static dyn Dialect>,
        query: &[(&str, &str)],
        identity: Identity,
    ) -> Handshake {
        let (params, query): (Vec<_>, Vec<_>) =
            query.iter().partition(|(key, _)| key.starts_with(':'));
        let millis = u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX);
        Handshake {
            peer: PeerId::from_random(self.chance.random()),
            identity,
            door: dialect.map_or(Door::MAIN, entrance),
            params: pairs(&params),
            query: pairs(&query),
            random: self.chance.random(),
            unix_ms: BEGINNING * 1000 + millis,
            limits: self.limits.clone(),
            settings: self.settings.clone(),
        }
    }

    fn hear(&mut self, id: ClientId, sent: Sent) {
        let client = &mut self.clients[id.0];
        if !client.is_connected() || client.frozen.is_some() {
            return;
        }
        if client.asking.is_some() {
            return client.early.push_back(sent);
        }
        self.take(id, &sent);
        self.settle();
    }

    /// Hands a frame to the client's session.
    fn take(&mut self, id: ClientId, sent: &Sent) {
        let unix_secs = self.unix_secs();
        let client = &mut self.clients[id.0];
        client.first_frame = None;
        let frame = match sent {
            Sent::Text(text) => switchboard_dialect::Frame::Text(text),
            Sent::Binary(bytes) => switchboard_dialect::Frame::Binary(bytes),
        };
        let turn = client.conversation.on_frame(frame, unix_secs);
        self.carry_out(id, turn, self.log.len());
    }

    /// Hands an answer to the client's session, and then what the client has sent meanwhile.
    fn answer(&mut self, id: ClientId, reply: Option<&str>) {
        let unix_secs = self.unix_secs();
        let client = &mut self.clients[id.0];
        let close = client.asking.take().and_then(|asking| asking.close);
        let mut turn = client.conversation.on_reply(reply, unix_secs);
        turn.close = turn.close.or(close);
        self.carry_out(id, turn, self.log.len());
        while self.clients[id.0].asking.is_none()
            && let Some(sent) = self.clients[id.0].early.pop_front()
        {
            self.take(id, &sent);
        }
    }

    fn part(&mut self, client: ClientId, parting: Parting) {
        if self.is_connected(client) {
            self.end(client, parting);
            self.settle();
        }
    }

    fn tell(&mut self, id: ClientId, at: usize, event: &Event) {
        let unix_secs = self.unix_secs();
        let client = &mut self.clients[id.0];
        if client.is_connected() {
            let turn = client.conversation.on_event(event, unix_secs);
            self.carry_out(id, turn, at);
        }
    }

    /// Does what a conversation wants done, in the order that [`Turn`] asks for.
    fn carry_out(&mut self, id: ClientId, turn: Turn, at: usize) {
        let client = &mut self.clients[id.0];
        if turn.frames.is_empty() {
            client.unsaid.extend(&turn.refused);
        }
        let frames = turn.frames.into_iter().map(|text| Frame { text, at });
        client.frames.extend(frames);
        client.refused.extend(turn.refused);
        client.tick = match turn.tick {
            Some(every) => Some((every, self.elapsed + every)),
            None => client.tick,
        };
        let probed = turn.probe.filter(|_| client.frozen.is_none());
        for ask in turn.asks.into_iter().chain(probed.map(Ask::Alive)) {
            self.ask(id, ask);
        }
        let client = &mut self.clients[id.0];
        if let Some(post) = turn.post {
            let (until, close) = (self.elapsed + post.within, turn.close);
            client.asking = Some(Asking { until, close });
            client.posts.push_back(post);
        } else if let Some(close) = turn.close {
            client.closed = turn.close;
            self.end(id, close.parting());
        }
    }

    fn end(&mut self, id: ClientId, parting: Parting) {
        let client = &mut self.clients[id.0];
        client.gone = true;
        client.asking = None;
        client.early.clear();
        client.outbox.clear();
        for ask in client.conversation.farewell(parting) {
            self.ask(id, ask);
        }
        let client = &mut self.clients[id.0];
        client.posts.extend(client.conversation.on_end());
    }

    fn ask(&mut self, local: ClientId, ask: Ask) {
        let peer = self.peer(local);
        let input = Input::Ask { peer, local, ask };
        self.hub.handle(input, self.epoch + self.elapsed);
        self.carry_out_effects();
    }

    fn carry_out_effects(&mut self) {
        while let Some(effect) = self.hub.poll_effect() {
            match effect {
                Effect::Deliver(id, event) => {
                    let client = &mut self.clients[id.0];
                    if client.is_connected() {
                        client.outbox.push_back((self.log.len(), event));
                    }
                }
                Effect::Propose { log, at, change } => self.propose(log, at, change),
                // Budgets belong to the connections, which are not simulated here.
                Effect::Charge(..) => {}
                Effect::Send(node, letter) => unreachable!("{letter:?} to {node} of one node"),
            }
        }
    }

    fn propose(&mut self, log: LogId, at: Position, change: switchboard_core::Change) {
        let Ordered::Now(position) = Memory.propose(&log, at, &change) else {
            return;
        };
        if let LogId::Room(room) = &log {
            let (room, change) = (room.clone(), change.clone());
            self.log.push(Change { room, change });
        }
        let node = None;
        let entry = Entry {
            position,
            node,
            change,
        };
        let input = Input::Committed(log, entry);
        self.hub.handle(input, self.epoch + self.elapsed);
    }

    /// Tells everybody whose outbox is not held back what waits there.
    fn settle(&mut self) {
        let waiting = |client: &Client| !client.held && client.has_news();
        while let Some(index) = self.clients.iter().position(waiting) {
            if let Some((at, event)) = self.clients[index].outbox.pop_front() {
                self.tell(ClientId(index), at, &event);
            }
        }
    }

    /// What is due next: the hub's own timeout, or something of a client's.
    fn next_due(&self) -> Option<(Duration, Option<(ClientId, Due)>)> {
        let hub = self.hub.poll_timeout();
        let hub = hub.map(|at| (at.saturating_duration_since(self.epoch), None));
        let clients = self.ids().filter_map(|id| {
            let (at, due) = self.clients[id.0].next_due(SILENCE_MAX)?;
            Some((at, Some((id, due))))
        });
        hub.into_iter().chain(clients).min_by_key(|(at, _)| *at)
    }

    fn come_due(&mut self, due: Option<(ClientId, Due)>) {
        let Some((id, due)) = due else {
            self.hub.handle_timeout(self.epoch + self.elapsed);
            return self.carry_out_effects();
        };
        if let Due::Answer = due {
            return self.answer(id, None);
        }
        let client = &mut self.clients[id.0];
        let turn = match due {
            Due::FirstFrame => {
                client.first_frame = None;
                client
                    .conversation
                    .on_violation(Refusal::Silent, Close::SILENT)
            }
            Due::Tick => {
                client.tick = client.tick.map(|(every, at)| (every, at + every));
                client.conversation.on_tick()
            }
            Due::Answer => Turn::default(),
            Due::Gone => Turn {
                close: Some(Close::GONE),
                ..Turn::default()
            },
        };
        self.carry_out(id, turn, self.log.len());
    }
}

/// The door at which a client of this dialect stands: the first one for connections.
fn entrance(dialect: &dyn Dialect) -> &'static str {
    let doors = dialect.doors(dialect.home());
    let mut doors = doors.iter().filter(|door| door.opens.takes_sockets());
    doors.next().map_or(Door::MAIN, |door| door.name)
}

fn pairs(pairs: &[&(&str, &str)]) -> Query {
    let owned = |(key, value): &&(&str, &str)| {
        let key = key.strip_prefix(':').unwrap_or(key);
        (key.to_owned(), (*value).to_owned())
    };
    pairs.iter().map(owned).collect()
}

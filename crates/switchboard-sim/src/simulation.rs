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
    DisconnectReason, Effect, Entry, ErrorCode, Event, Hub, HubRequest, Identity, Input, Limits,
    LogId, Member, PeerId, Position, RoomId, SpaceName,
};
use switchboard_dialect::{
    ALL, Actions, ClientSession, CloseReason, Dialect, DialectSettings, Endpoint, Handshake, Query,
    SettingValue as Setting, WebhookRequest, find,
};
use switchboard_engine::{Engine, Memory, ProposeOutcome};

use crate::client::{
    ClientId, ClientTimer, InboundFrame, PendingWebhook, SentFrame, SimClient, first_frame_timeout,
};

/// The world begins at this second since 1970.
const BEGINNING: u64 = 1_700_000_000;

/// How long a connection may be silent, as the server's heartbeat has it by default.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// A change of membership that has happened.
#[derive(Clone, Debug)]
pub struct RecordedChange {
    /// Where.
    pub room: RoomId,
    /// What.
    pub change: switchboard_core::Change,
}

/// The dialects' settings with which a room may have any name, is shared by all dialects whose members
/// can reach each other, and no id is kept for a silent client.
#[must_use]
pub fn permissive_settings() -> DialectSettings {
    let mut settings = DialectSettings::default();
    for dialect in ALL {
        for setting in dialect.settings() {
            let value = match setting.key {
                "keys" => Setting::Text("*".into()),
                "grace" => Setting::Int(0),
                "mixed" => Setting::Flag(true),
                _ => continue,
            };
            settings.set(dialect.traits().name, setting, value);
        }
    }
    settings
}

/// One hub, its clients, and the time.
#[derive(Debug)]
pub struct Simulation {
    hub: Hub<ClientId>,
    limits: Arc<Limits>,
    settings: Arc<DialectSettings>,
    clients: Vec<SimClient>,
    log: Vec<RecordedChange>,
    epoch: Instant,
    elapsed: Duration,
    rng: StdRng,
    holding: bool,
}

impl Simulation {
    /// A world with the usual limits.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with(seed, Limits::default(), permissive_settings())
    }

    /// A world with these limits and settings.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "an Instant can be had in no other way; only differences to it count"
    )]
    pub fn with(seed: u64, limits: Limits, settings: DialectSettings) -> Self {
        let limits = Arc::new(limits);
        Self {
            hub: Hub::new(limits.clone()),
            limits,
            settings: Arc::new(settings),
            clients: Vec::new(),
            log: Vec::new(),
            epoch: Instant::now(),
            elapsed: Duration::ZERO,
            rng: StdRng::seed_from_u64(seed),
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
        let (conversation, turn) = ClientSession::open(dialect, handshake, SpaceName::default());
        let client = ClientId(self.clients.len());
        let wait = first_frame_timeout(turn.first_frame, self.limits.first_frame_secs);
        self.clients.push(SimClient {
            first_frame: wait.map(|wait| self.elapsed + wait),
            held: self.holding,
            ..SimClient::new(conversation)
        });
        self.apply_actions(client, turn, self.log.len());
        self.run_until_quiescent();
        client
    }

    /// The client sends a text frame.
    pub fn send(&mut self, client: ClientId, text: impl Into<ByteString>) {
        self.receive(client, InboundFrame::Text(text.into()));
    }

    /// The client sends a binary frame.
    pub fn send_binary(&mut self, client: ClientId, bytes: impl Into<Bytes>) {
        self.receive(client, InboundFrame::Binary(bytes.into()));
    }

    /// The client's socket ends, whatever was under way.
    pub fn crash(&mut self, client: ClientId) {
        self.disconnect(client, DisconnectReason::Reset);
    }

    /// The client says goodbye, with a close frame.
    pub fn leave(&mut self, client: ClientId) {
        self.disconnect(client, DisconnectReason::Graceful);
    }

    /// The request that the client's session waits for is answered, with this body if with any. Says
    /// whether it waits for one.
    pub fn reply(&mut self, client: ClientId, reply: Option<&str>) -> bool {
        let is_asking = self.clients[client.0].pending_webhook.is_some();
        if is_asking {
            self.answer(client, reply);
            self.run_until_quiescent();
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
            self.fire_timer(due);
            self.run_until_quiescent();
        }
        self.elapsed = until;
    }

    /// From now on events wait in their outboxes until [`Simulation::deliver`] is called.
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
        self.deliver_event(client, at, &event);
        self.run_until_quiescent();
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
    pub fn take_frames(&mut self, client: ClientId) -> Vec<SentFrame> {
        self.clients[client.0].frames.drain(..).collect()
    }

    /// The requests that the client's session has made since the last call.
    pub fn take_posts(&mut self, client: ClientId) -> Vec<WebhookRequest> {
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
    pub fn closed(&self, client: ClientId) -> Option<CloseReason> {
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
        self.clients[client.0].conversation.peer().dialect().name
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
    pub fn log(&self) -> &[RecordedChange] {
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
        self.drain_effects();
        self.run_until_quiescent();
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
            peer: PeerId::from_random(self.rng.random()),
            identity,
            endpoint: dialect.map_or(Endpoint::MAIN, main_endpoint),
            params: pairs(&params),
            query: pairs(&query),
            random: self.rng.random(),
            unix_ms: BEGINNING * 1000 + millis,
            limits: self.limits.clone(),
            settings: self.settings.clone(),
        }
    }

    fn receive(&mut self, id: ClientId, sent: InboundFrame) {
        let client = &mut self.clients[id.0];
        if !client.is_connected() || client.frozen.is_some() {
            return;
        }
        if client.pending_webhook.is_some() {
            return client.queued_frames.push_back(sent);
        }
        self.process_frame(id, &sent);
        self.run_until_quiescent();
    }

    /// Hands a frame to the client's session.
    fn process_frame(&mut self, id: ClientId, sent: &InboundFrame) {
        let unix_secs = self.unix_secs();
        let client = &mut self.clients[id.0];
        client.first_frame = None;
        let frame = match sent {
            InboundFrame::Text(text) => switchboard_dialect::ClientFrame::Text(text),
            InboundFrame::Binary(bytes) => switchboard_dialect::ClientFrame::Binary(bytes),
        };
        let turn = client.conversation.on_frame(frame, unix_secs);
        self.apply_actions(id, turn, self.log.len());
    }

    /// Hands an answer to the client's session, and then what the client has sent meanwhile.
    fn answer(&mut self, id: ClientId, reply: Option<&str>) {
        let unix_secs = self.unix_secs();
        let client = &mut self.clients[id.0];
        let close = client
            .pending_webhook
            .take()
            .and_then(|asking| asking.close);
        let mut turn = client.conversation.on_webhook_response(reply, unix_secs);
        turn.close = turn.close.or(close);
        self.apply_actions(id, turn, self.log.len());
        while self.clients[id.0].pending_webhook.is_none()
            && let Some(sent) = self.clients[id.0].queued_frames.pop_front()
        {
            self.process_frame(id, &sent);
        }
    }

    fn disconnect(&mut self, client: ClientId, parting: DisconnectReason) {
        if self.is_connected(client) {
            self.end(client, parting);
            self.run_until_quiescent();
        }
    }

    fn deliver_event(&mut self, id: ClientId, at: usize, event: &Event) {
        let unix_secs = self.unix_secs();
        let client = &mut self.clients[id.0];
        if client.is_connected() {
            let turn = client.conversation.on_event(event, unix_secs);
            self.apply_actions(id, turn, at);
        }
    }

    /// Does what a conversation wants done, in the order that [`Actions`] asks for.
    fn apply_actions(&mut self, id: ClientId, turn: Actions, at: usize) {
        let client = &mut self.clients[id.0];
        if turn.frames.is_empty() {
            client.unsaid.extend(&turn.error_codes);
        }
        let frames = turn.frames.into_iter().map(|text| SentFrame { text, at });
        client.frames.extend(frames);
        client.refused.extend(turn.error_codes);
        client.tick = match turn.tick {
            Some(every) => Some((every, self.elapsed + every)),
            None => client.tick,
        };
        let probed = turn.probe.filter(|_| client.frozen.is_none());
        for ask in turn
            .requests
            .into_iter()
            .chain(probed.map(HubRequest::Alive))
        {
            self.request(id, ask);
        }
        let client = &mut self.clients[id.0];
        if let Some(post) = turn.webhook {
            let (until, close) = (self.elapsed + post.timeout, turn.close);
            client.pending_webhook = Some(PendingWebhook { until, close });
            client.posts.push_back(post);
        } else if let Some(close) = turn.close {
            client.closed = turn.close;
            self.end(id, close.disconnect_reason());
        }
    }

    fn end(&mut self, id: ClientId, parting: DisconnectReason) {
        let client = &mut self.clients[id.0];
        client.gone = true;
        client.pending_webhook = None;
        client.queued_frames.clear();
        client.outbox.clear();
        for ask in client.conversation.disconnect(parting) {
            self.request(id, ask);
        }
        let client = &mut self.clients[id.0];
        client.posts.extend(client.conversation.on_end());
    }

    fn request(&mut self, local: ClientId, ask: HubRequest) {
        let peer = self.peer(local);
        let input = Input::Request {
            peer,
            local,
            request: ask,
        };
        self.hub.handle(input, self.epoch + self.elapsed);
        self.drain_effects();
    }

    fn drain_effects(&mut self) {
        while let Some(effect) = self.hub.poll_effect() {
            match effect {
                Effect::Deliver(id, event) => {
                    let client = &mut self.clients[id.0];
                    if client.is_connected() {
                        client.outbox.push_back((self.log.len(), event));
                    }
                }
                Effect::Propose {
                    log,
                    known_position: at,
                    change,
                } => self.propose(log, at, change),
                // Budgets belong to the connections, which are not simulated here.
                Effect::Charge(..) => {}
                Effect::Send(node, letter) => unreachable!("{letter:?} to {node} of one node"),
            }
        }
    }

    fn propose(&mut self, log: LogId, at: Position, change: switchboard_core::Change) {
        let ProposeOutcome::Committed(position) = Memory.propose(&log, at, &change) else {
            return;
        };
        if let LogId::Room(room) = &log {
            let (room, change) = (room.clone(), change.clone());
            self.log.push(RecordedChange { room, change });
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
    fn run_until_quiescent(&mut self) {
        let waiting = |client: &SimClient| !client.held && client.has_news();
        while let Some(index) = self.clients.iter().position(waiting) {
            if let Some((at, event)) = self.clients[index].outbox.pop_front() {
                self.deliver_event(ClientId(index), at, &event);
            }
        }
    }

    /// What is due next: the hub's own timeout, or something of a client's.
    fn next_due(&self) -> Option<(Duration, Option<(ClientId, ClientTimer)>)> {
        let hub = self.hub.poll_timeout();
        let hub = hub.map(|at| (at.saturating_duration_since(self.epoch), None));
        let clients = self.ids().filter_map(|id| {
            let (at, due) = self.clients[id.0].next_due(SILENCE_MAX)?;
            Some((at, Some((id, due))))
        });
        hub.into_iter().chain(clients).min_by_key(|(at, _)| *at)
    }

    fn fire_timer(&mut self, due: Option<(ClientId, ClientTimer)>) {
        let Some((id, due)) = due else {
            self.hub.handle_timeout(self.epoch + self.elapsed);
            return self.drain_effects();
        };
        if let ClientTimer::Answer = due {
            return self.answer(id, None);
        }
        let client = &mut self.clients[id.0];
        let turn = match due {
            ClientTimer::FirstFrame => {
                client.first_frame = None;
                client
                    .conversation
                    .on_violation(ErrorCode::FirstFrameTimeout, CloseReason::SILENT)
            }
            ClientTimer::Tick => {
                client.tick = client.tick.map(|(every, at)| (every, at + every));
                client.conversation.on_tick()
            }
            ClientTimer::Answer => Actions::default(),
            ClientTimer::Gone => Actions {
                close: Some(CloseReason::GONE),
                ..Actions::default()
            },
        };
        self.apply_actions(id, turn, self.log.len());
    }
}

/// The door at which a client of this dialect stands: the first one for connections.
fn main_endpoint(dialect: &dyn Dialect) -> &'static str {
    let doors = dialect.endpoints(dialect.standalone_path());
    let mut doors = doors.iter().filter(|door| door.accepts.accepts_sockets());
    doors.next().map_or(Endpoint::MAIN, |door| door.name)
}

fn pairs(pairs: &[&(&str, &str)]) -> Query {
    let owned = |(key, value): &&(&str, &str)| {
        let key = key.strip_prefix(':').unwrap_or(key);
        (key.to_owned(), (*value).to_owned())
    };
    pairs.iter().map(owned).collect()
}

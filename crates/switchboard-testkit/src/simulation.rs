//! The simulation of one server: virtual time, one hub, and its clients.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use bytestring::ByteString;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::Value;
use switchboard_cluster::{Engine, Memory, ProposeOutcome};
use switchboard_core::{
    Deliveries, DisconnectReason, Effect, Entry, ErrorCode, Event, Hub, HubRequest, Identity,
    Input, Limits, LogId, Member, PeerId, Position, RoomId, SharedRoomPolicies,
};
use switchboard_dialects::{
    ALL, CloseReason, Dialect, DialectSettings, Endpoint, Handshake, Query, ResumeError,
    ResumeRequest, SessionOutput, SettingValue, WebhookRequest, find,
};
use switchboard_session::{ClientSession, SessionAccess};

use crate::client::{
    ClientId, ClientTimer, InboundFrame, PendingWebhook, SentFrame, SimClient, first_frame_timeout,
};

/// The Unix time at which a simulation starts, in seconds.
const START_UNIX_SECS: u64 = 1_700_000_000;

/// The time after which the server ends the connection of a client that answers no pings: the default of its heartbeat
/// settings.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// A committed change of membership.
#[derive(Clone, Debug)]
pub struct RecordedChange {
    /// The room of the change.
    pub room: RoomId,
    /// The committed change.
    pub change: switchboard_core::Change,
}

/// Settings for tests of all dialects in one room: PeerJS accepts every `key` (its name for a room), lets clients of
/// other dialects join that room, and reserves no id for a client that has lost its connection.
#[must_use]
pub fn permissive_settings() -> DialectSettings {
    let mut settings = DialectSettings::default();
    for dialect in ALL {
        for setting in dialect.settings() {
            let value = match setting.key {
                "keys" => SettingValue::Text("*".into()),
                "grace" => SettingValue::Int(0),
                "mixed" => SettingValue::Flag(true),
                _ => continue,
            };
            settings.set(dialect.traits().name, setting, value);
        }
    }
    settings
}

/// A simulated server: one hub (the rooms), its clients, and virtual time. Each client has an outbox: the events that
/// the hub has for it and that its session (the state of the connection) has not turned into frames yet.
#[derive(Debug)]
pub struct Simulation {
    hub: Hub<ClientId>,
    limits: Arc<Limits>,
    policies: SharedRoomPolicies,
    settings: Arc<DialectSettings>,
    clients: Vec<SimClient>,
    log: Vec<RecordedChange>,
    epoch: Instant,
    elapsed: Duration,
    rng: StdRng,
    /// Whether the events of new clients are held in their outboxes.
    holding: bool,
}

impl Simulation {
    /// A simulation with default limits and [`permissive_settings`].
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with(seed, Limits::default(), permissive_settings())
    }

    /// A simulation with these limits and settings.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "there is no other way to get an Instant; only differences to it are used"
    )]
    pub fn with(seed: u64, limits: Limits, settings: DialectSettings) -> Self {
        let limits = Arc::new(limits);
        let policies = SharedRoomPolicies::default();
        Self {
            hub: Hub::new(limits.clone()).with_policies(policies.clone()),
            limits,
            policies,
            settings: Arc::new(settings),
            clients: Vec::new(),
            log: Vec::new(),
            epoch: Instant::now(),
            elapsed: Duration::ZERO,
            rng: StdRng::seed_from_u64(seed),
            holding: false,
        }
    }

    /// The room policies of the server.
    #[must_use]
    pub fn policies(&self) -> &SharedRoomPolicies {
        &self.policies
    }

    // Actions of clients

    /// Connects a client of the dialect named `dialect`. With a name that no dialect has, such as `shared`, it connects
    /// to the endpoint of all dialects, and its first frame decides which one it speaks. A pair of `query` whose key
    /// begins with a colon is a parameter of the path.
    pub fn open(&mut self, dialect: &str, query: &[(&str, &str)]) -> ClientId {
        self.open_as(dialect, query, Identity::Claimed)
    }

    /// Like [`Simulation::open`], with an identity: one that an access check has proven, or one that is only claimed.
    pub fn open_as(
        &mut self,
        dialect: &str,
        query: &[(&str, &str)],
        identity: Identity,
    ) -> ClientId {
        self.open_in(find(dialect), query, identity)
    }

    /// Like [`Simulation::open_as`], with any implementation of a dialect; `None` for the endpoint of all dialects.
    pub fn open_in(
        &mut self,
        dialect: Option<&'static dyn Dialect>,
        query: &[(&str, &str)],
        identity: Identity,
    ) -> ClientId {
        let handshake = self.handshake(dialect, query, identity);
        let (session, output) = ClientSession::open(dialect, handshake, SessionAccess::default());
        let client = ClientId(self.clients.len());
        let wait = first_frame_timeout(output.first_frame, self.limits.first_frame_secs);
        self.clients.push(SimClient {
            first_frame: wait.map(|wait| self.elapsed + wait),
            held: self.holding,
            ..SimClient::new(session)
        });
        self.apply_output(client, output, self.log.len());
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

    /// The client's connection breaks without a close frame.
    pub fn crash(&mut self, client: ClientId) {
        self.disconnect(client, DisconnectReason::Reset);
    }

    /// The client closes the connection with a close frame.
    pub fn leave(&mut self, client: ClientId) {
        self.disconnect(client, DisconnectReason::Graceful);
    }

    /// Answers the webhook request that the client's session waits for; `None` means that the request has failed.
    /// Returns false if no webhook request is pending.
    pub fn reply(&mut self, client: ClientId, reply: Option<&str>) -> bool {
        let is_pending = self.clients[client.0].pending_webhook.is_some();
        if is_pending {
            self.handle_webhook_response(client, reply);
            self.run_until_quiescent();
        }
        is_pending
    }

    /// The client stops responding while its connection stays open. It sends nothing and answers no probe, with which
    /// the hub asks whether it is alive.
    pub fn freeze(&mut self, client: ClientId) {
        self.clients[client.0].frozen_at.get_or_insert(self.elapsed);
    }

    // Time and delivery

    /// Advances the time and fires the timers that are due.
    pub fn advance(&mut self, time: Duration) {
        let until = self.elapsed + time;
        while let Some((at, due)) = self.next_due().filter(|(at, _)| *at <= until) {
            self.elapsed = self.elapsed.max(at);
            self.fire_timer(due);
            self.run_until_quiescent();
        }
        self.elapsed = until;
    }

    /// Holds events in the outboxes from now on, until [`Simulation::deliver`] is called.
    pub fn hold(&mut self) {
        self.holding = true;
        self.clients
            .iter_mut()
            .for_each(|client| client.held = true);
    }

    /// Delivers the next event of a client's outbox. Returns false if there is none.
    pub fn deliver(&mut self, client: ClientId) -> bool {
        let state = &mut self.clients[client.0];
        if !state.has_deliverable_event() {
            return false;
        }
        let Some((at, event)) = state.outbox.pop_front() else {
            return false;
        };
        self.deliver_event(client, at, &event);
        self.run_until_quiescent();
        true
    }

    /// Delivers events to all clients until all outboxes are empty.
    pub fn deliver_all(&mut self) {
        while self
            .ids()
            .any(|client| self.clients[client.0].has_deliverable_event())
        {
            for client in self.ids() {
                while self.deliver(client) {}
            }
        }
    }

    // Observations

    /// All clients, including disconnected ones.
    pub fn ids(&self) -> impl Iterator<Item = ClientId> + use<> {
        (0..self.clients.len()).map(ClientId)
    }

    /// The frames sent to the client since the last call.
    pub fn take_frames(&mut self, client: ClientId) -> Vec<SentFrame> {
        self.clients[client.0].frames.drain(..).collect()
    }

    /// The webhook requests of the client's session since the last call.
    pub fn take_webhooks(&mut self, client: ClientId) -> Vec<WebhookRequest> {
        self.clients[client.0].webhooks.drain(..).collect()
    }

    /// The frames sent to the client since the last call, parsed as JSON.
    ///
    /// # Panics
    /// If a frame is not JSON.
    pub fn received(&mut self, client: ClientId) -> Vec<Value> {
        let frames = self.take_frames(client).into_iter();
        frames
            .map(|frame| serde_json::from_str(&frame.text).expect("frames are JSON"))
            .collect()
    }

    /// The error codes of the client's failed requests since the last call, with or without an error frame.
    pub fn take_error_codes(&mut self, client: ClientId) -> Vec<&'static str> {
        std::mem::take(&mut self.clients[client.0].error_codes)
    }

    /// The error codes since the last call for which the client got no frame: some dialects have no error frames.
    pub fn take_silent_errors(&mut self, client: ClientId) -> Vec<&'static str> {
        self.clients[client.0].silent_errors.drain(..).collect()
    }

    /// The reason with which the server has closed the connection, if it has.
    #[must_use]
    pub fn closed(&self, client: ClientId) -> Option<CloseReason> {
        self.clients[client.0].closed
    }

    /// Whether the client's session goes on: neither side has ended its connection, or it was lost and can be resumed.
    #[must_use]
    pub fn is_connected(&self, client: ClientId) -> bool {
        self.clients[client.0].is_connected()
    }

    /// Whether the client has stopped responding.
    #[must_use]
    pub fn is_frozen(&self, client: ClientId) -> bool {
        self.clients[client.0].frozen_at.is_some()
    }

    /// The id of the client's peer.
    #[must_use]
    pub fn peer(&self, client: ClientId) -> PeerId {
        self.clients[client.0].session.peer().id()
    }

    /// The name of the client's dialect. At the endpoint of all dialects, the first frame determines it.
    #[must_use]
    pub fn dialect(&self, client: ClientId) -> &'static str {
        self.clients[client.0].session.peer().dialect().name
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

    /// The simulated hub.
    #[must_use]
    pub fn hub(&self) -> &Hub<ClientId> {
        &self.hub
    }

    /// All committed changes of membership, in order.
    #[must_use]
    pub fn log(&self) -> &[RecordedChange] {
        &self.log
    }

    /// The virtual Unix time in seconds.
    #[must_use]
    pub fn unix_secs(&self) -> u64 {
        START_UNIX_SECS + self.elapsed.as_secs()
    }

    /// Passes to the hub an input that no client causes, such as a kick by the program that embeds the server.
    pub fn handle(&mut self, input: Input<ClientId>) {
        self.hub.handle(input, self.epoch + self.elapsed);
        self.drain_effects();
        self.run_until_quiescent();
    }

    // Between the clients and the hub

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
            unix_ms: START_UNIX_SECS * 1000 + millis,
            limits: self.limits.clone(),
            settings: self.settings.clone(),
        }
    }

    fn receive(&mut self, id: ClientId, sent: InboundFrame) {
        let client = &mut self.clients[id.0];
        let is_unresponsive = client.frozen_at.is_some() || client.detached_until.is_some();
        if !client.is_connected() || is_unresponsive {
            return;
        }
        if client.pending_webhook.is_some() {
            return client.queued_frames.push_back(sent);
        }
        self.process_frame(id, &sent);
        self.run_until_quiescent();
    }

    /// Passes a frame to the client's session.
    fn process_frame(&mut self, id: ClientId, sent: &InboundFrame) {
        let unix_secs = self.unix_secs();
        let client = &mut self.clients[id.0];
        client.first_frame = None;
        let frame = match sent {
            InboundFrame::Text(text) => switchboard_dialects::ClientFrame::Text(text),
            InboundFrame::Binary(bytes) => switchboard_dialects::ClientFrame::Binary(bytes),
        };
        let mut output = SessionOutput::at(unix_secs);
        client.session.on_frame(frame, &mut output);
        self.apply_output(id, output, self.log.len());
    }

    /// Passes a webhook response to the client's session, and then the frames that were queued meanwhile.
    fn handle_webhook_response(&mut self, id: ClientId, reply: Option<&str>) {
        let unix_secs = self.unix_secs();
        let client = &mut self.clients[id.0];
        let close = client
            .pending_webhook
            .take()
            .and_then(|pending| pending.close);
        let mut output = SessionOutput::at(unix_secs);
        client.session.on_webhook_response(reply, &mut output);
        output.close = output.close.or(close);
        self.apply_output(id, output, self.log.len());
        while self.clients[id.0].pending_webhook.is_none()
            && let Some(sent) = self.clients[id.0].queued_frames.pop_front()
        {
            self.process_frame(id, &sent);
        }
    }

    fn disconnect(&mut self, client: ClientId, reason: DisconnectReason) {
        if !self.is_connected(client) {
            return;
        }
        let state = &mut self.clients[client.0];
        match state.session.kept_time() {
            // The session is kept without a connection, so that the client can resume it.
            Some(time) if reason != DisconnectReason::Graceful => {
                state.detached_until.get_or_insert(self.elapsed + time);
            }
            _ => self.end(client, reason),
        }
        self.run_until_quiescent();
    }

    fn deliver_event(&mut self, id: ClientId, at: usize, event: &Event) {
        let unix_secs = self.unix_secs();
        let client = &mut self.clients[id.0];
        if client.is_connected() {
            let mut output = SessionOutput::at(unix_secs);
            client.session.on_event(event, &mut output);
            self.apply_output(id, output, at);
        }
    }

    /// Applies the output of a session in the order that [`SessionOutput`] specifies. `at` is the length of the log
    /// when the cause of the output happened: see [`SentFrame::at`].
    fn apply_output(&mut self, id: ClientId, mut output: SessionOutput, at: usize) {
        let resume = output.resume.take();
        let client = &mut self.clients[id.0];
        if output.frames.is_empty() {
            client.silent_errors.extend(&output.error_codes);
        }
        let frames = output.frames.into_iter().map(|text| SentFrame { text, at });
        if client.detached_until.is_none() {
            client.frames.extend(frames);
        }
        client.error_codes.extend(output.error_codes);
        client.tick = match output.tick {
            Some(every) => Some((every, self.elapsed + every)),
            None => client.tick,
        };
        let is_unresponsive = client.frozen_at.is_some() || client.detached_until.is_some();
        // Every other client answers a probe at once.
        let answered_probe = output.probe.filter(|_| !is_unresponsive);
        for request in output
            .requests
            .into_iter()
            .chain(answered_probe.map(HubRequest::Alive))
        {
            self.request(id, request);
        }
        let client = &mut self.clients[id.0];
        if let Some(webhook) = output.webhook {
            let (until, close) = (self.elapsed + webhook.timeout, output.close);
            client.pending_webhook = Some(PendingWebhook { until, close });
            client.webhooks.push_back(webhook);
        } else if let Some(close) = output.close {
            client.closed = output.close;
            self.end(id, close.disconnect_reason());
        } else if client.detached_until.is_some() && client.session.kept_time().is_none() {
            self.end(id, DisconnectReason::Lost);
        }
        if let Some(request) = resume {
            self.resume(id, &request);
        }
    }

    /// Continues the session that `request` names over the connection of `by`, or refuses to.
    fn resume(&mut self, by: ClientId, request: &ResumeRequest) {
        let mut output = SessionOutput::at(self.unix_secs());
        let is_requested = |id: &ClientId| {
            *id != by && self.is_connected(*id) && self.peer(*id) == request.session
        };
        let resumed = match self.ids().find(is_requested) {
            None => Err(ResumeError::NotFound),
            Some(id) => {
                let clients = self.clients.get_disjoint_mut([id.0, by.0]);
                let [kept, new] = clients.expect("the two ids differ");
                let peer = new.session.peer();
                let resumed = kept.session.resume(request, peer, &mut output);
                resumed.map(|()| id)
            }
        };
        match resumed {
            Ok(id) => {
                self.end(by, DisconnectReason::Graceful);
                let client = &mut self.clients[id.0];
                (client.detached_until, client.frozen_at) = (None, None);
                self.apply_output(id, output, self.log.len());
            }
            Err(error) => {
                let client = &mut self.clients[by.0];
                client.session.refuse_resume(error, &mut output);
                self.apply_output(by, output, self.log.len());
            }
        }
    }

    /// Ends a client's session, also one that is kept without a connection.
    fn end(&mut self, id: ClientId, reason: DisconnectReason) {
        let client = &mut self.clients[id.0];
        client.disconnected = true;
        client.pending_webhook = None;
        client.queued_frames.clear();
        client.outbox.clear();
        for request in client.session.disconnect(reason) {
            self.request(id, request);
        }
        let client = &mut self.clients[id.0];
        client.webhooks.extend(client.session.on_end());
    }

    fn queue_event(&mut self, id: ClientId, event: Arc<Event>) {
        let client = &mut self.clients[id.0];
        if client.is_connected() {
            client.outbox.push_back((self.log.len(), event));
        }
    }

    fn request(&mut self, local: ClientId, request: HubRequest) {
        let peer = self.peer(local);
        let input = Input::Request {
            peer,
            local,
            request,
        };
        self.hub.handle(input, self.epoch + self.elapsed);
        self.drain_effects();
    }

    /// Fetches the effects as a server does: deliveries of one event to several clients come together.
    fn drain_effects(&mut self) {
        loop {
            if let Some(Deliveries { receivers, event }) = self.hub.poll_deliveries() {
                receivers.for_each(|id| self.queue_event(id, event.clone()));
                continue;
            }
            let Some(effect) = self.hub.poll_effect() else {
                return;
            };
            match effect {
                Effect::Deliver(id, event) => self.queue_event(id, event),
                Effect::Propose {
                    log,
                    known_position,
                    change,
                } => self.propose(log, known_position, change),
                // Charges reduce the byte budgets of connections, which are not simulated.
                Effect::Charge(..) => {}
                Effect::Send(node, message) => {
                    unreachable!("a single node sends {message:?} to {node}")
                }
            }
        }
    }

    /// Commits a change that the hub proposes, unless the engine of a single server rejects it.
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

    /// Delivers all events of outboxes that are not held back.
    fn run_until_quiescent(&mut self) {
        let waiting = |client: &SimClient| !client.held && client.has_deliverable_event();
        while let Some(index) = self.clients.iter().position(waiting) {
            if let Some((at, event)) = self.clients[index].outbox.pop_front() {
                self.deliver_event(ClientId(index), at, &event);
            }
        }
    }

    /// The next timer and its time: a client's timer, or `None` for the hub's timeout.
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
        if let ClientTimer::WebhookTimeout = due {
            return self.handle_webhook_response(id, None);
        }
        let client = &mut self.clients[id.0];
        let mut output = SessionOutput::default();
        match due {
            ClientTimer::FirstFrame => {
                client.first_frame = None;
                let (reason, close) = (ErrorCode::FirstFrameTimeout, CloseReason::SILENT);
                client.session.on_violation(reason, close, &mut output);
            }
            ClientTimer::Tick => {
                client.tick = client.tick.map(|(every, at)| (every, at + every));
                client.session.on_tick(&mut output);
            }
            ClientTimer::WebhookTimeout => {} // Handled above.
            ClientTimer::DetachedTimeout => return self.end(id, DisconnectReason::Lost),
            ClientTimer::HeartbeatTimeout => output.close = Some(CloseReason::GONE),
        }
        self.apply_output(id, output, self.log.len());
    }
}

/// The endpoint at which a client of this dialect connects: the first one that accepts WebSocket connections.
fn main_endpoint(dialect: &dyn Dialect) -> &'static str {
    let endpoints = dialect.endpoints(dialect.standalone_path());
    let mut endpoints = endpoints
        .iter()
        .filter(|endpoint| endpoint.accepts.accepts_sockets());
    endpoints
        .next()
        .map_or(Endpoint::MAIN, |endpoint| endpoint.name)
}

/// These pairs as a query, without the colons that mark parameters of the path.
fn pairs(pairs: &[&(&str, &str)]) -> Query {
    let owned = |(key, value): &&(&str, &str)| {
        let key = key.strip_prefix(':').unwrap_or(key);
        (key.to_owned(), (*value).to_owned())
    };
    pairs.iter().map(owned).collect()
}

//! A simulated cluster: several hubs with their machines over one store, in virtual time and in bad
//! weather, all of it by seed.
//!
//! Each [station](SimNode) is what one process is: a hub, a [`Node`](switchboard_engine::cluster::Node)
//! and their clients. Its carrier takes the node's requests to the store, a
//! [`InMemoryStore`], and answers, news and mail back, as a
//! connection to Redis does: requests and answers in order or not at all, news of the logs with all
//! that may befall a publication, mail of one node to another in order. Connections break, stations
//! stop, stop for ever and come anew, and the store goes away and comes back with less than it had.
//!
//! Clients are peers without a dialect: they ask what [`Command`]s ask,
//! and everything they asked and were told stands in their [`ClusterClient::log`], for a judge to read.

mod carrier;
mod client;
mod events;
mod faults;
mod node;
mod schedule;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use switchboard_core::{
    Command, Input, JoinOptions, Limits, LogId, NameId, NodeId, PeerId, RoomId,
};
use switchboard_engine::cluster::{
    self, NodeSettings,
    model::InMemoryStore,
    store::{LogEvent, Snapshot, StoreRequest},
};

use self::{client::peer, events::ScheduledEvent};
pub use self::{
    client::{ClientKey, ClientLogEntry, ClientRequest, ClusterClient, SentMessage, TONGUES, room},
    faults::{Fault, FaultPlan, Outage, RandomAction, StoreRecovery},
    node::{NodeKey, SimNode},
    schedule::play,
};

/// How long a node may be silent in a simulation.
pub const LEASE: Duration = Duration::from_secs(3);

/// Members that a room may have.
pub const ROOM_MEMBERS: usize = 6;

/// Stations, their clients and the store between them.
#[derive(Debug)]
pub struct ClusterSimulation {
    epoch: Instant,
    now: Duration,
    rng: StdRng,
    faults: FaultPlan,
    limits: Arc<Limits>,
    model: InMemoryStore,
    is_away: bool,
    backups: Vec<InMemoryStore>,
    nodes: Vec<SimNode>,
    clients: Vec<ClusterClient>,
    by_peer: BTreeMap<PeerId, ClientKey>,
    sent: Vec<SentMessage>,
    stays: u32,
    queue: BTreeMap<(Duration, u64), ScheduledEvent>,
    count: u64,
    history: Vec<(Duration, LogId, LogEvent)>,
    outages: Vec<Outage>,
    trace: Option<Vec<String>>,
}

impl ClusterSimulation {
    /// A store, and nobody yet.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "an Instant can be had in no other way; only differences to it count"
    )]
    pub fn new(seed: u64, weather: FaultPlan) -> Self {
        let limits = Limits {
            room_members: ROOM_MEMBERS,
            ..Limits::default()
        };
        Self {
            epoch: Instant::now(),
            // Later than nothing, so that a moment before the beginning can be named.
            now: Duration::from_secs(100),
            rng: StdRng::seed_from_u64(seed),
            faults: weather,
            limits: Arc::new(limits),
            model: InMemoryStore::default(),
            is_away: false,
            backups: vec![InMemoryStore::default()],
            nodes: Vec::new(),
            clients: Vec::new(),
            by_peer: BTreeMap::new(),
            sent: Vec::new(),
            stays: 0,
            queue: BTreeMap::new(),
            count: 0,
            history: Vec::new(),
            outages: Vec::new(),
            trace: None,
        }
    }

    /// From now on everything that happens is written down.
    pub fn trace(&mut self) {
        self.trace = Some(Vec::new());
    }

    /// What has been written down.
    #[must_use]
    pub fn traced(&self) -> &[String] {
        self.trace.as_deref().unwrap_or_default()
    }

    /// The time since some moment before all that happens here.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Lets time pass, and everything happen that is due in it.
    pub fn advance(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.next_event_time().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            let due = self.queue.first_entry().filter(|due| due.key().0 <= at);
            match due {
                Some(due) => {
                    let happening = due.remove();
                    self.handle_event(happening);
                }
                None => self.time_out(),
            }
        }
        self.now = until;
    }

    // Stations

    /// A process begins. It connects to the store within a moment.
    pub fn start(&mut self) -> NodeKey {
        let key = self.nodes.len();
        let settings = NodeSettings {
            node: NodeId::from(self.rng.random::<u64>()),
            lease: LEASE,
            limits: self.limits.clone(),
        };
        let node = cluster::Node::new(settings, Arc::new(client::SimDialects), self.instant());
        self.nodes.push(SimNode::new(node, &self.limits));
        self.trace_event(|| format!("s{key} begins"));
        self.schedule(Duration::ZERO, ScheduledEvent::Reconnect(key));
        key
    }

    /// All stations there have been.
    #[must_use]
    pub fn nodes(&self) -> &[SimNode] {
        &self.nodes
    }

    // Clients

    /// A client connects. `person` says who it proves to be, if it does.
    pub fn connect(&mut self, station: NodeKey, tongue: usize, person: Option<&str>) -> ClientKey {
        let key = self.clients.len();
        let id = PeerId::from_random(self.rng.random());
        self.clients
            .push(ClusterClient::new(station, peer(id, tongue, person)));
        self.by_peer.insert(id, key);
        self.trace_event(|| {
            format!("c{key} ({id}) connects to s{station}, tongue {tongue}, {person:?}")
        });
        key
    }

    /// All clients there have been.
    #[must_use]
    pub fn clients(&self) -> &[ClusterClient] {
        &self.clients
    }

    /// Which client this peer is.
    #[must_use]
    pub fn client_of(&self, peer: PeerId) -> Option<ClientKey> {
        self.by_peer.get(&peer).copied()
    }

    /// Asks to enter a room under an address. Each stay in a room has a display name of its own.
    pub fn join(&mut self, client: ClientKey, room: &str, address: &str) {
        self.stays += 1;
        let command = Command::Join {
            room: client::room_name(room),
            address: client::address(address),
            name: Some(client::name(&format!("stay {}", self.stays))),
            options: JoinOptions::default(),
        };
        self.command(client, command);
    }

    /// Leaves a room.
    pub fn leave(&mut self, client: ClientKey, room: &str) {
        let command = Command::Leave {
            room: client::room_name(room),
            kind: switchboard_core::LeaveKind::Announced,
        };
        self.command(client, command);
    }

    /// Sends something to everybody in a room, or to one client. Says its serial number.
    pub fn send(&mut self, client: ClientKey, room: &str, to: Option<ClientKey>) -> usize {
        let serial = self.sent.len();
        let to_peer = to.map(|to| self.clients[to].id());
        let is_offer = to.is_some() && self.rng.random_bool(0.5);
        let command = client::relay(
            self.clients[client].dialect(),
            room,
            to_peer,
            serial,
            is_offer,
        );
        self.sent.push(SentMessage {
            from: client,
            to,
            room: client::room(room),
            at: self.now,
            is_offer,
        });
        self.command(client, command);
        serial
    }

    /// Everything that was sent, by serial number.
    #[must_use]
    pub fn sent(&self) -> &[SentMessage] {
        &self.sent
    }

    /// Claims a name in a room, or with `None` in the space.
    pub fn claim_name(&mut self, client: ClientKey, room: Option<&str>, name: &str) {
        let room = room.map(client::room_name);
        self.command(client, Command::Claim(room, client::name(name)));
    }

    /// Gives back a name that it has claimed in a room, or with `None` in the space.
    pub fn release(&mut self, client: ClientKey, room: Option<&str>, name: &str) {
        let room = room.map(client::room_name);
        self.command(client, Command::Release(room, client::name(name)));
    }

    /// Asks who is in a room.
    pub fn list(&mut self, client: ClientKey, room: &str) {
        self.command(client, Command::List(client::room_name(room)));
    }

    /// From now on it answers no probe, and does nothing else.
    pub fn freeze(&mut self, client: ClientKey) {
        self.trace_event(|| format!("c{client} freezes"));
        self.clients[client].freeze(self.now);
    }

    /// Its connection ends.
    pub fn disconnect_abruptly(&mut self, client: ClientKey) {
        self.handle_event(ScheduledEvent::Hangup(client));
    }

    fn command(&mut self, client: ClientKey, command: Command) {
        self.handle_event(ScheduledEvent::Command(client, command));
    }

    // The store

    /// The log of a room as the store has it.
    #[must_use]
    pub fn stored(&self, room: &RoomId) -> Option<Snapshot> {
        self.stored_log(LogId::Room(room.clone()))
    }

    /// The log of a name as the store has it.
    #[must_use]
    pub fn stored_name(&self, name: &NameId) -> Option<Snapshot> {
        self.stored_log(LogId::Name(name.clone()))
    }

    fn stored_log(&self, log: LogId) -> Option<Snapshot> {
        let mut model = self.model.clone();
        let answer = model.execute(&StoreRequest::Read(log), self.micros()).0;
        let cluster::store::StoreResponse::Read(snapshot) = answer else {
            unreachable!("{answer:?}");
        };
        snapshot
    }

    /// The store.
    #[must_use]
    pub fn model(&self) -> &InMemoryStore {
        &self.model
    }

    /// All news there have been, and when, in their order.
    #[must_use]
    pub fn history(&self) -> &[(Duration, LogId, LogEvent)] {
        &self.history
    }

    /// What has befallen whom, and when.
    #[must_use]
    pub fn outages(&self) -> &[Outage] {
        &self.outages
    }

    // Time and chance

    fn instant(&self) -> Instant {
        self.epoch + self.now
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.now.as_micros()).unwrap_or(u64::MAX)
    }

    fn schedule(&mut self, after: Duration, happening: ScheduledEvent) {
        self.schedule_at(self.now + after, happening);
    }

    fn schedule_at(&mut self, at: Duration, happening: ScheduledEvent) {
        self.count += 1;
        self.queue.insert((at, self.count), happening);
    }

    /// A time of up to `max`, at random.
    fn up_to(&mut self, max: Duration) -> Duration {
        let micros = u64::try_from(max.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.rng.random_range(0..=micros))
    }

    fn trace_event(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            let at = self.now.as_micros();
            let line = format!("{:>4}.{:06} {}", at / 1_000_000, at % 1_000_000, what());
            trace.push(line);
        }
    }

    fn next_event_time(&self) -> Option<Duration> {
        let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
        let timeouts = self.nodes.iter().filter_map(SimNode::timeout);
        let timeouts = timeouts.map(|at| at.saturating_duration_since(self.epoch));
        queued.into_iter().chain(timeouts).min()
    }

    /// The stations do what is due.
    fn time_out(&mut self) {
        let now = self.instant();
        for key in 0..self.nodes.len() {
            if self.nodes[key].timeout().is_some_and(|at| at <= now) {
                self.nodes[key].node.handle_timeout(now);
                self.nodes[key].hub.handle_timeout(now);
                self.pump(key);
            }
        }
    }

    fn hub(&mut self, station: NodeKey, input: Input<ClientKey>) {
        let now = self.instant();
        self.nodes[station].hub.handle(input, now);
        self.pump(station);
    }

    fn node(&mut self, station: NodeKey, input: cluster::NodeInput) {
        let now = self.instant();
        self.nodes[station].node.handle(input, now);
        self.pump(station);
    }
}

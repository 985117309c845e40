//! A simulated cluster: several nodes over one store, in virtual time and with injected faults. A
//! run is determined by its seed.
//!
//! Each [`SimNode`] is one server process: a hub, which has the rooms of the process, and a
//! [`Node`](switchboard_cluster::Node), which commits the changes of memberships to the store. The
//! store is an [`InMemoryStore`]. It has one membership log for each room and each claimed name.
//!
//! A simulated connection carries the requests of a node to the store. In the other direction it
//! carries the responses, log events (changes that any node has committed to a log), and envelopes
//! (messages of other nodes). Requests and responses arrive in order or not at all; log events may be
//! lost, duplicated, delayed and reordered; envelopes of one sender arrive in order. Connections
//! break, processes pause, crash and start, and the store becomes unavailable and may lose data.
//!
//! Clients are peers without a dialect codec: they send [`Command`]s instead of frames. All their
//! requests and events are recorded in [`ClusterClient::log`]. From these records, the oracle of the
//! tests finds violated invariants.

mod client;
mod events;
mod faults;
mod node;
mod schedule;
mod store_link;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use switchboard_cluster::{
    self as cluster, NodeSettings,
    store::{LogEvent, Snapshot, StoreRequest},
};
use switchboard_core::{
    Command, Input, JoinOptions, Limits, LogId, NameId, NodeId, PeerId, Position, RoomId,
    SharedRoomPolicies,
};

use crate::InMemoryStore;

use self::{client::peer, events::ScheduledEvent};
pub use self::{
    client::{
        ClientKey, ClientLogEntry, ClientRequest, ClusterClient, DIALECTS, SentMessage,
        SimDialects, room,
    },
    faults::{Fault, FaultPlan, Outage, RandomAction, StoreRecovery},
    node::{NodeKey, SimNode},
    schedule::run_seed,
};

/// The lease of the simulated nodes: a node without a heartbeat for this time loses its members.
pub const LEASE: Duration = Duration::from_secs(3);

/// The maximum number of members of a room, so low that rooms become full.
pub const ROOM_MEMBERS: usize = 6;

/// A join that the hub of a node has applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedJoin {
    /// The time at which the node applied it.
    pub at: Duration,
    /// The node that applied it.
    pub node: NodeKey,
    /// The log of the join.
    pub log: LogId,
    /// The member that joined.
    pub peer: PeerId,
    /// The position of the join.
    pub since: Position,
}

/// A simulated cluster: nodes, their clients and the store.
#[derive(Debug)]
pub struct ClusterSimulation {
    epoch: Instant,
    /// The virtual time since `epoch`.
    now: Duration,
    rng: StdRng,
    faults: FaultPlan,
    limits: Arc<Limits>,
    policies: SharedRoomPolicies,
    model: InMemoryStore,
    is_store_unavailable: bool,
    /// Former states of the store, to one of which it may return after an outage.
    backups: Vec<InMemoryStore>,
    nodes: Vec<SimNode>,
    clients: Vec<ClusterClient>,
    by_peer: BTreeMap<PeerId, ClientKey>,
    sent: Vec<SentMessage>,
    /// The number of join requests so far, which makes the display name of each join unique.
    joins: u32,
    /// The scheduled events by their time. A serial number keeps the order of events with the same time.
    queue: BTreeMap<(Duration, u64), ScheduledEvent>,
    scheduled_count: u64,
    /// All log events that the store has published.
    history: Vec<(Duration, LogId, LogEvent)>,
    applied_joins: Vec<AppliedJoin>,
    outages: Vec<Outage>,
    trace: Option<Vec<String>>,
}

impl ClusterSimulation {
    /// Creates a simulation with an empty store and without nodes.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "there is no other way to get an Instant; only differences to it are used"
    )]
    pub fn new(seed: u64, faults: FaultPlan) -> Self {
        let limits = Limits {
            room_members: ROOM_MEMBERS,
            ..Limits::default()
        };
        Self {
            epoch: Instant::now(),
            // Not zero, so that times before the start can be expressed.
            now: Duration::from_secs(100),
            rng: StdRng::seed_from_u64(seed),
            faults,
            limits: Arc::new(limits),
            policies: SharedRoomPolicies::default(),
            model: InMemoryStore::default(),
            is_store_unavailable: false,
            backups: vec![InMemoryStore::default()],
            nodes: Vec::new(),
            clients: Vec::new(),
            by_peer: BTreeMap::new(),
            sent: Vec::new(),
            joins: 0,
            queue: BTreeMap::new(),
            scheduled_count: 0,
            history: Vec::new(),
            applied_joins: Vec::new(),
            outages: Vec::new(),
            trace: None,
        }
    }

    /// The room policies of all nodes.
    #[must_use]
    pub fn policies(&self) -> &SharedRoomPolicies {
        &self.policies
    }

    /// Starts to record a trace of all events.
    pub fn trace(&mut self) {
        self.trace = Some(Vec::new());
    }

    /// The recorded trace, one line per event.
    #[must_use]
    pub fn trace_lines(&self) -> &[String] {
        self.trace.as_deref().unwrap_or_default()
    }

    /// The virtual time since a moment before the start.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Advances the virtual time and handles all events that are due.
    pub fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.next_event_time().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            let due = self.queue.first_entry().filter(|due| due.key().0 <= at);
            match due {
                Some(due) => {
                    let event = due.remove();
                    self.handle_event(event);
                }
                None => self.fire_timeouts(),
            }
        }
        self.now = end;
    }

    // Nodes

    /// Starts a process. It connects to the store soon.
    pub fn start(&mut self) -> NodeKey {
        let key = self.nodes.len();
        let settings = NodeSettings {
            node: NodeId::from(self.rng.random::<u64>()),
            lease: LEASE,
            limits: self.limits.clone(),
            policies: self.policies.clone(),
        };
        let node = cluster::Node::new(settings, Arc::new(SimDialects), self.instant());
        self.nodes
            .push(SimNode::new(node, &self.limits, &self.policies));
        self.trace_event(|| format!("s{key} starts"));
        self.schedule(Duration::ZERO, ScheduledEvent::Reconnect(key));
        key
    }

    /// All nodes that have been started, including stopped ones.
    #[must_use]
    pub fn nodes(&self) -> &[SimNode] {
        &self.nodes
    }

    // Clients

    /// Connects a client to a node. `dialect` is an index of [`DIALECTS`]; `identity` is the proven identity, if the
    /// client has one.
    pub fn connect(&mut self, node: NodeKey, dialect: usize, identity: Option<&str>) -> ClientKey {
        let key = self.clients.len();
        let id = PeerId::from_random(self.rng.random());
        self.clients
            .push(ClusterClient::new(node, peer(id, dialect, identity)));
        self.by_peer.insert(id, key);
        self.trace_event(|| {
            format!("c{key} ({id}) connects to s{node}, dialect {dialect}, {identity:?}")
        });
        key
    }

    /// All clients that have connected, including disconnected ones.
    #[must_use]
    pub fn clients(&self) -> &[ClusterClient] {
        &self.clients
    }

    /// The client with this peer id.
    #[must_use]
    pub fn client_of(&self, peer: PeerId) -> Option<ClientKey> {
        self.by_peer.get(&peer).copied()
    }

    /// Joins a room under an address. Each join has a display name of its own.
    pub fn join(&mut self, client: ClientKey, room: &str, address: &str) {
        self.joins += 1;
        let command = Command::Join {
            room: client::room_name(room),
            address: client::address(address),
            name: Some(client::name(&format!("membership {}", self.joins))),
            options: JoinOptions::default(),
        };
        self.command(client, command);
    }

    /// Leaves a room with a notification.
    pub fn leave(&mut self, client: ClientKey, room: &str) {
        let command = Command::Leave {
            room: client::room_name(room),
            kind: switchboard_core::LeaveKind::Announced,
        };
        self.command(client, command);
    }

    /// Sends a message to all members of a room, or to one client. Returns its serial number.
    pub fn send(&mut self, client: ClientKey, room: &str, to: Option<ClientKey>) -> usize {
        let serial = self.sent.len();
        let to_peer = to.map(|to| self.clients[to].id());
        let is_offer = to.is_some() && self.rng.random_bool(0.5);
        let command = client::message(
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

    /// All sent messages, by serial number.
    #[must_use]
    pub fn sent(&self) -> &[SentMessage] {
        &self.sent
    }

    /// Claims a name, which only one client can hold in the room or, with `None`, among all rooms.
    pub fn claim_name(&mut self, client: ClientKey, room: Option<&str>, name: &str) {
        let room = room.map(client::room_name);
        self.command(client, Command::Claim(room, client::name(name)));
    }

    /// Releases a name that the client has claimed in the room or, with `None`, among all rooms.
    pub fn release(&mut self, client: ClientKey, room: Option<&str>, name: &str) {
        let room = room.map(client::room_name);
        self.command(client, Command::Release(room, client::name(name)));
    }

    /// Requests the member list of a room.
    pub fn list(&mut self, client: ClientKey, room: &str) {
        self.command(client, Command::List(client::room_name(room)));
    }

    /// Freezes a client: from now on it sends no request and answers no probe, with which a hub asks whether it is
    /// alive.
    pub fn freeze(&mut self, client: ClientKey) {
        self.trace_event(|| format!("c{client} freezes"));
        self.clients[client].freeze(self.now);
    }

    /// Ends the connection of a client without a leave.
    pub fn disconnect_abruptly(&mut self, client: ClientKey) {
        self.handle_event(ScheduledEvent::Disconnect(client));
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
        let response = model.execute(&StoreRequest::Read(log), self.micros()).0;
        let cluster::store::StoreResponse::Read(snapshot) = response else {
            unreachable!("{response:?}");
        };
        snapshot
    }

    /// The simulated store.
    #[must_use]
    pub fn model(&self) -> &InMemoryStore {
        &self.model
    }

    /// All log events of the store in order, each with its time.
    #[must_use]
    pub fn history(&self) -> &[(Duration, LogId, LogEvent)] {
        &self.history
    }

    /// The joins that the hubs of the nodes have applied, in order.
    #[must_use]
    pub fn applied_joins(&self) -> &[AppliedJoin] {
        &self.applied_joins
    }

    /// All recorded outages.
    #[must_use]
    pub fn outages(&self) -> &[Outage] {
        &self.outages
    }

    // Time and randomness

    fn instant(&self) -> Instant {
        self.epoch + self.now
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.now.as_micros()).unwrap_or(u64::MAX)
    }

    fn schedule(&mut self, after: Duration, event: ScheduledEvent) {
        self.schedule_at(self.now + after, event);
    }

    fn schedule_at(&mut self, at: Duration, event: ScheduledEvent) {
        self.scheduled_count += 1;
        self.queue.insert((at, self.scheduled_count), event);
    }

    /// A random duration of at most `max`.
    fn up_to(&mut self, max: Duration) -> Duration {
        let micros = u64::try_from(max.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.rng.random_range(0..=micros))
    }

    fn trace_event(&mut self, message: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            let at = self.now.as_micros();
            let line = format!("{:>4}.{:06} {}", at / 1_000_000, at % 1_000_000, message());
            trace.push(line);
        }
    }

    fn next_event_time(&self) -> Option<Duration> {
        let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
        let timeouts = self.nodes.iter().filter_map(SimNode::timeout);
        let timeouts = timeouts.map(|at| at.saturating_duration_since(self.epoch));
        queued.into_iter().chain(timeouts).min()
    }

    /// Fires the timeouts of the nodes that are due.
    fn fire_timeouts(&mut self) {
        let now = self.instant();
        for key in 0..self.nodes.len() {
            if self.nodes[key].timeout().is_some_and(|at| at <= now) {
                self.nodes[key].node.handle_timeout(now);
                self.nodes[key].hub.handle_timeout(now);
                self.pump(key);
            }
        }
    }

    fn handle_hub_input(&mut self, node: NodeKey, input: Input<ClientKey>) {
        let now = self.instant();
        self.nodes[node].hub.handle(input, now);
        self.pump(node);
    }

    fn handle_node_input(&mut self, node: NodeKey, input: cluster::NodeInput) {
        let now = self.instant();
        self.nodes[node].node.handle(input, now);
        self.pump(node);
    }
}

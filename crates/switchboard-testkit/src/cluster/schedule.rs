//! A random run: clients perform random actions while faults are injected. Then all faults end, and the run continues
//! until the cluster is quiescent: all timeouts are over, and the nodes exchange nothing but heartbeats.

use std::time::Duration;

use rand::{RngExt, seq::IndexedRandom};
use switchboard_cluster::HEARTBEATS_PER_LEASE;

use super::{
    ClusterSimulation, Fault, FaultPlan, LEASE, NodeKey, RandomAction, client::ClientKey,
    events::ScheduledEvent,
};

/// The time during which clients act and faults occur.
const ACTIVE_TIME: Duration = Duration::from_secs(15);

/// The time for which the run continues without actions and faults, longer than all timeouts. After it, the cluster is
/// quiescent.
const QUIESCENCE: Duration = Duration::from_secs(25);

const ROOMS: [&str; 2] = ["red", "blue"];
const NAMES: [&str; 4] = ["ann", "ben", "cyd", "dov"];
const NODES_MAX: usize = 4;
const CLIENTS_MAX: usize = 10;
const ACTIONS: usize = 90;

/// The number of heartbeats within which a node has probed all its logs: at each heartbeat it reads the heads (the last
/// positions) of four of them. There are at most 14 logs: those of two rooms, and of four names claimed in each room
/// and outside rooms.
const PROBE_ROUNDS_MAX: u32 = 5;

/// Runs the simulation of a seed. At the end, the faults are over and the cluster is quiescent.
#[must_use]
pub fn run_seed(seed: u64, faults: FaultPlan, is_traced: bool) -> ClusterSimulation {
    let mut cluster = ClusterSimulation::new(seed, faults);
    if is_traced {
        cluster.trace();
    }
    for _ in 0..cluster.rng.random_range(2..=NODES_MAX) {
        cluster.start();
    }
    cluster.advance(Duration::from_millis(50));
    cluster.schedule_actions();
    cluster.advance(ACTIVE_TIME);
    cluster.end_faults();
    cluster.advance(QUIESCENCE);
    cluster
}

impl ClusterSimulation {
    fn schedule_actions(&mut self) {
        for _ in 0..6 {
            let at = self.up_to(Duration::from_secs(1));
            self.schedule(at, ScheduledEvent::Act(RandomAction::Connect));
        }
        let mut actions = 0;
        while actions < ACTIONS {
            // Several actions often occur at nearly the same time.
            let at = self.up_to(ACTIVE_TIME);
            for _ in 0..self.rng.random_range(1..=4) {
                let later = self.up_to(Duration::from_millis(3));
                self.schedule(at + later, ScheduledEvent::Act(RandomAction::Any));
                actions += 1;
            }
        }
        let total = self.faults.weights.iter().map(|(_, weight)| weight).sum();
        for _ in 0..self.faults.fault_count {
            let mut drawn = self.rng.random_range(0..total);
            let weights = self.faults.weights.iter();
            let mut weights = weights.skip_while(|(_, weight)| {
                let is_later = drawn >= *weight;
                drawn = drawn.saturating_sub(*weight);
                is_later
            });
            let fault = weights.next().map(|(fault, _)| *fault);
            let at = self.up_to(ACTIVE_TIME);
            if let Some(fault) = fault {
                self.schedule(at, ScheduledEvent::InjectFault(fault));
            }
        }
    }

    /// Ends all faults at once: paused processes resume, the store recovers, and no fault is injected any more.
    pub fn end_faults(&mut self) {
        self.trace_event(|| "all faults end".to_owned());
        self.faults = FaultPlan {
            detection_delay_max: self.faults.detection_delay_max,
            ..FaultPlan::calm()
        };
        for node in &mut self.nodes {
            node.cut_until = Duration::ZERO;
        }
        let scheduled = std::mem::take(&mut self.queue);
        let (recoveries, rest): (Vec<_>, Vec<_>) = scheduled.into_iter().partition(|(_, event)| {
            matches!(
                event,
                ScheduledEvent::Resume(_) | ScheduledEvent::RecoverStore(_)
            )
        });
        self.queue = rest.into_iter().collect();
        for (_, recovery) in recoveries {
            self.handle_event(recovery);
        }
        if !self.nodes.iter().any(super::SimNode::is_alive) {
            self.start();
        }
    }

    /// Disconnects all clients and runs until the cluster is quiescent.
    pub fn disconnect_all(&mut self) {
        for client in 0..self.clients.len() {
            self.disconnect_abruptly(client);
        }
        self.advance(QUIESCENCE);
    }

    /// A random node whose process is neither stopped nor paused.
    fn random_node(&mut self) -> Option<NodeKey> {
        let nodes = 0..self.nodes.len();
        let alive: Vec<_> = nodes.filter(|key| self.nodes[*key].is_running()).collect();
        alive.choose(&mut self.rng).copied()
    }

    /// A random client that can still send requests.
    fn random_client(&mut self) -> Option<ClientKey> {
        let clients = 0..self.clients.len();
        let able: Vec<_> = clients.filter(|key| self.clients[*key].can_act()).collect();
        able.choose(&mut self.rng).copied()
    }

    fn pick(&mut self, choices: &[&'static str]) -> &'static str {
        choices.choose(&mut self.rng).copied().unwrap_or("default")
    }

    pub(super) fn apply_fault(&mut self, fault: Fault) {
        let node = self.random_node();
        match (fault, node) {
            (Fault::Start, _) => {
                let alive = self.nodes.iter().filter(|node| node.is_alive());
                if alive.count() < NODES_MAX {
                    self.start();
                }
            }
            (Fault::StoreUnavailable(recovery), _) => {
                let time = self.outage_duration();
                self.make_store_unavailable(time, recovery);
            }
            (Fault::Break, Some(node)) => self.break_link(node),
            (Fault::Cut, Some(node)) => {
                let time = self.outage_duration();
                self.cut(node, time);
            }
            (Fault::Crash, Some(node)) => self.crash(node),
            (Fault::Close, Some(node)) => self.close(node),
            (Fault::Pause, Some(node)) => {
                let time = self.outage_duration();
                self.pause(node, time);
            }
            (_, None) => {}
        }
    }

    pub(super) fn act(&mut self, action: RandomAction) {
        if self.rng.random_bool(0.1) {
            self.back_up();
        }
        let connected = self.clients.iter().filter(|client| client.is_connected);
        let is_full = connected.count() >= CLIENTS_MAX;
        let client = self.random_client();
        let drawn = self.rng.random_range(0..100);
        match (client, drawn) {
            (_, 0..12) if !is_full => self.act_connect(),
            (None, _) if !is_full => self.act_connect(),
            _ if action == RandomAction::Connect => self.act_connect(),
            (None, _) => {}
            (Some(client), _) => self.act_as_client(client),
        }
    }

    fn act_connect(&mut self) {
        let Some(node) = self.random_node() else {
            return;
        };
        let dialect = self.rng.random_range(0..4);
        let identity = self.rng.random_bool(0.25);
        let identity = identity.then(|| self.pick(&["one", "two"]));
        let client = self.connect(node, dialect, identity);
        self.act_join(client);
    }

    fn act_join(&mut self, client: ClientKey) {
        let (room, address) = (self.pick(&ROOMS), self.pick(&NAMES));
        // Usually a unique address, so that rooms have several members.
        match self.rng.random_bool(0.6) {
            true => self.join(client, room, &format!("own {client}")),
            false => self.join(client, room, address),
        }
    }

    fn act_as_client(&mut self, client: ClientKey) {
        let room = self.pick(&ROOMS);
        let drawn = self.rng.random_range(0..100);
        match drawn {
            0..25 => self.act_join(client),
            25..32 => self.leave(client, room),
            32..38 => {
                self.leave(client, room);
                let address = self.pick(&NAMES);
                self.join(client, room, address);
            }
            38..68 => self.act_signal(client),
            68..80 => {
                self.send(client, room, None);
            }
            80..89 => {
                let name = self.pick(&NAMES);
                self.claim_name(client, (drawn >= 85).then_some(room), name);
            }
            89..92 => self.freeze(client),
            92..97 => self.disconnect_abruptly(client),
            _ => self.list(client, room),
        }
    }

    fn act_signal(&mut self, client: ClientKey) {
        let known = self.clients[client].known_members.iter();
        let known: Vec<_> = known
            .flat_map(|(room, members)| members.keys().map(|peer| (room.name.clone(), *peer)))
            .collect();
        let Some((room, peer)) = known.choose(&mut self.rng).cloned() else {
            return;
        };
        let to = self.client_of(peer);
        for _ in 0..self.rng.random_range(1..=3) {
            self.send(client, room.as_str(), to);
        }
    }

    /// The time after which all members of a dead node must be gone: the lease plus a tolerance. If
    /// events are lost, also the time in which a node probes all its logs once.
    #[must_use]
    pub fn eviction_deadline(&self) -> Duration {
        let tolerance = Duration::from_millis(200);
        if self.faults.event_loss == 0.0 {
            return LEASE + tolerance;
        }
        LEASE + LEASE / HEARTBEATS_PER_LEASE * PROBE_ROUNDS_MAX + tolerance
    }
}

//! A play by seed: clients do what comes to their minds while the weather turns, and then all is
//! calm.

use std::time::Duration;

use rand::{RngExt, seq::IndexedRandom};

use super::{
    ClusterSimulation, Fault, FaultPlan, LEASE, NodeKey, RandomAction, client::ClientKey,
    events::ScheduledEvent,
};

/// How long clients do something.
const ACTIVE_TIME: Duration = Duration::from_secs(15);

/// How long it is calm then: longer than everything takes that is still to come.
const QUIESCENCE: Duration = Duration::from_secs(25);

const ROOMS: [&str; 2] = ["red", "blue"];
const NAMES: [&str; 4] = ["ann", "ben", "cyd", "dov"];
const NODES_MAX: usize = 4;
const CLIENTS_MAX: usize = 10;
const ACTIONS: usize = 90;

/// Plays by seed. In the end the weather is calm, and everything has come to rest.
#[must_use]
pub fn play(seed: u64, weather: FaultPlan, is_traced: bool) -> ClusterSimulation {
    let mut cluster = ClusterSimulation::new(seed, weather);
    if is_traced {
        cluster.trace();
    }
    for _ in 0..cluster.rng.random_range(2..=NODES_MAX) {
        cluster.start();
    }
    cluster.advance(Duration::from_millis(50));
    cluster.schedule_actions();
    cluster.advance(ACTIVE_TIME);
    cluster.run_until_quiescent();
    cluster.advance(QUIESCENCE);
    cluster
}

impl ClusterSimulation {
    fn schedule_actions(&mut self) {
        for _ in 0..6 {
            let at = self.up_to(Duration::from_secs(1));
            self.schedule(at, ScheduledEvent::Act(RandomAction::Connect));
        }
        let mut whims = 0;
        while whims < ACTIONS {
            // Often several at nearly the same moment.
            let at = self.up_to(ACTIVE_TIME);
            for _ in 0..self.rng.random_range(1..=4) {
                let later = self.up_to(Duration::from_millis(3));
                self.schedule(at + later, ScheduledEvent::Act(RandomAction::Any));
                whims += 1;
            }
        }
        let total = self.faults.weights.iter().map(|(_, weight)| weight).sum();
        for _ in 0..self.faults.disturbances {
            let mut drawn = self.rng.random_range(0..total);
            let weights = self.faults.weights.iter();
            let mut weights = weights.skip_while(|(_, weight)| {
                let is_later = drawn >= *weight;
                drawn = drawn.saturating_sub(*weight);
                is_later
            });
            let disturbance = weights.next().map(|(disturbance, _)| *disturbance);
            let at = self.up_to(ACTIVE_TIME);
            if let Some(disturbance) = disturbance {
                self.schedule(at, ScheduledEvent::Disturb(disturbance));
            }
        }
    }

    /// All disturbances end.
    pub fn run_until_quiescent(&mut self) {
        self.trace_event(|| "calm".to_owned());
        self.faults = FaultPlan {
            detection_delay_max: self.faults.detection_delay_max,
            ..FaultPlan::calm()
        };
        for station in &mut self.nodes {
            station.cut_until = Duration::ZERO;
        }
        let due = std::mem::take(&mut self.queue);
        let (ends, rest): (Vec<_>, Vec<_>) = due.into_iter().partition(|(_, happening)| {
            matches!(
                happening,
                ScheduledEvent::Resume(_) | ScheduledEvent::Back(_)
            )
        });
        self.queue = rest.into_iter().collect();
        for (_, end) in ends {
            self.handle_event(end);
        }
        if !self.nodes.iter().any(super::SimNode::is_alive) {
            self.start();
        }
    }

    /// All clients go, and what follows from it takes place.
    pub fn disconnect_all(&mut self) {
        for client in 0..self.clients.len() {
            self.disconnect_abruptly(client);
        }
        self.advance(QUIESCENCE);
    }

    fn random_node(&mut self) -> Option<NodeKey> {
        let stations = 0..self.nodes.len();
        let alive: Vec<_> = stations
            .filter(|key| self.nodes[*key].is_running())
            .collect();
        alive.choose(&mut self.rng).copied()
    }

    fn random_client(&mut self) -> Option<ClientKey> {
        let clients = 0..self.clients.len();
        let able: Vec<_> = clients.filter(|key| self.clients[*key].can_act()).collect();
        able.choose(&mut self.rng).copied()
    }

    fn word(&mut self, words: &[&'static str]) -> &'static str {
        words.choose(&mut self.rng).copied().unwrap_or("word")
    }

    pub(super) fn apply_fault(&mut self, disturbance: Fault) {
        let station = self.random_node();
        match (disturbance, station) {
            (Fault::Start, _) => {
                let alive = self.nodes.iter().filter(|station| station.is_alive());
                if alive.count() < NODES_MAX {
                    self.start();
                }
            }
            (Fault::Away(back), _) => {
                let time = self.lasting();
                self.store_away(time, back);
            }
            (Fault::Break, Some(station)) => self.break_link(station),
            (Fault::Cut, Some(station)) => {
                let time = self.lasting();
                self.cut(station, time);
            }
            (Fault::Crash, Some(station)) => self.crash(station),
            (Fault::Close, Some(station)) => self.close(station),
            (Fault::Pause, Some(station)) => {
                let time = self.lasting();
                self.pause(station, time);
            }
            (_, None) => {}
        }
    }

    pub(super) fn act(&mut self, whim: RandomAction) {
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
            _ if whim == RandomAction::Connect => self.act_connect(),
            (None, _) => {}
            (Some(client), _) => self.act_as(client),
        }
    }

    fn act_connect(&mut self) {
        let Some(station) = self.random_node() else {
            return;
        };
        let tongue = self.rng.random_range(0..4);
        let person = self.rng.random_bool(0.25);
        let person = person.then(|| self.word(&["one", "two"]));
        let client = self.connect(station, tongue, person);
        self.act_join(client);
    }

    fn act_join(&mut self, client: ClientKey) {
        let (room, address) = (self.word(&ROOMS), self.word(&NAMES));
        // Mostly an address of its own, so that there is somebody to talk to.
        match self.rng.random_bool(0.6) {
            true => self.join(client, room, &format!("own {client}")),
            false => self.join(client, room, address),
        }
    }

    fn act_as(&mut self, client: ClientKey) {
        let room = self.word(&ROOMS);
        let drawn = self.rng.random_range(0..100);
        match drawn {
            0..25 => self.act_join(client),
            25..32 => self.leave(client, room),
            32..38 => {
                self.leave(client, room);
                let address = self.word(&NAMES);
                self.join(client, room, address);
            }
            38..68 => self.act_signal(client),
            68..80 => {
                self.send(client, room, None);
            }
            80..89 => {
                let name = self.word(&NAMES);
                self.claim_name(client, (drawn >= 85).then_some(room), name);
            }
            89..92 => self.freeze(client),
            92..97 => self.disconnect_abruptly(client),
            _ => self.list(client, room),
        }
    }

    fn act_signal(&mut self, client: ClientKey) {
        let known = self.clients[client].knows.iter();
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

    /// The lease and what may come on top of it until everybody has seen a dead node's members go.
    #[must_use]
    pub fn ghosts_gone_after() -> Duration {
        LEASE + Duration::from_millis(200)
    }
}

//! The simulated connection between a node and the store.

use std::{collections::VecDeque, time::Duration};

use rand::RngExt;
use switchboard_cluster::{
    self as cluster,
    store::{LogEvent, StoreRequest, StoreResponse},
};
use switchboard_core::{LogId, NodeId};

use super::{
    ClusterSimulation, NodeKey,
    events::ScheduledEvent,
    faults::StoreRecovery,
    node::{SimNodeState, StoreLink},
};

impl ClusterSimulation {
    /// Schedules taking the node's new requests, if any, to send them to the store.
    pub(super) fn schedule_fetch(&mut self, key: NodeKey) {
        let sim_node = &mut self.nodes[key];
        if sim_node.link.is_open_at_node && !sim_node.is_fetching {
            sim_node.is_fetching = true;
            let after = self.scheduling_delay();
            self.schedule(after, ScheduledEvent::Fetch(key));
        }
    }

    /// Takes the next batch of requests from the node and sends it to the store.
    pub(super) fn fetch(&mut self, key: NodeKey) {
        let sim_node = &mut self.nodes[key];
        sim_node.is_fetching = false;
        if !sim_node.link.is_open_at_node {
            return;
        }
        let requests = sim_node.node.next_batch();
        if requests.is_empty() {
            return self.end_if_done(key);
        }
        let number = sim_node.link.number;
        self.trace_event(|| format!("s{key} > {requests:?}"));
        if self.nodes[key].link.is_severed {
            return;
        }
        let after = self.network_delay();
        let requests = ScheduledEvent::Execute(key, number, requests.into(), Vec::new());
        self.schedule(after, requests);
    }

    /// Executes some or all of the remaining requests of a batch. The requests of a broken connection may or may not
    /// have reached the store before it broke: they are executed with a probability of one half. After the node has
    /// connected again, they are executed only if the faults include `runs_stale_requests`.
    pub(super) fn execute(
        &mut self,
        key: NodeKey,
        number: u64,
        mut requests: VecDeque<StoreRequest>,
        mut responses: Vec<StoreResponse>,
    ) {
        let link = &self.nodes[key].link;
        let is_of_old_link = link.number != number;
        let is_stale = is_of_old_link || link.is_severed;
        let is_refused = is_of_old_link && !self.faults.runs_stale_requests;
        if self.is_store_unavailable || is_refused || is_stale && self.rng.random_bool(0.5) {
            return;
        }
        while let Some(request) = requests.pop_front() {
            let response = self.execute_request(key, &request);
            responses.push(response);
            if self.rng.random_bool(self.faults.batch_split) {
                break;
            }
        }
        if !requests.is_empty() {
            let after = self.network_delay() / 4;
            let rest = ScheduledEvent::Execute(key, number, requests, responses);
            return self.schedule(after, rest);
        }
        let after = self.network_delay();
        self.schedule(after, ScheduledEvent::Responses(key, number, responses));
    }

    fn execute_request(&mut self, key: NodeKey, request: &StoreRequest) -> StoreResponse {
        let now = self.micros();
        let (response, events) = self.model.execute(request, now);
        self.trace_event(|| format!("store: s{key} {request:?} -> {response:?}"));
        for (log, event) in events {
            self.publish(&log, &event);
            self.history.push((self.now, log, event));
        }
        if let StoreRequest::Post(to, bytes) = request {
            return self.post(key, *to, bytes);
        }
        response
    }

    fn publish(&mut self, log: &LogId, event: &LogEvent) {
        self.trace_event(|| format!("store: {log:?} {event:?}"));
        for node in self.model.subscribers(log).collect::<Vec<_>>() {
            let Some(key) = self.key_of_node(node) else {
                continue;
            };
            if !self.nodes[key].link.is_open_at_store
                || self.rng.random_bool(self.faults.event_loss)
            {
                continue;
            }
            let copies = match self.rng.random_bool(self.faults.event_duplication) {
                true => 2,
                false => 1,
            };
            for _ in 0..copies {
                let at = self.event_arrival_time(key);
                let number = self.nodes[key].link.number;
                let arrival = ScheduledEvent::LogEvent(key, number, log.clone(), event.clone());
                self.schedule_at(at, arrival);
            }
        }
    }

    /// The time at which a log event that is published now arrives at the node.
    fn event_arrival_time(&mut self, key: NodeKey) -> Duration {
        let mut at = self.now + self.network_delay();
        if self.rng.random_bool(self.faults.event_delay) {
            return at + self.up_to(self.faults.event_delay_max);
        }
        if self.faults.events_in_order {
            at = at.max(self.nodes[key].link.last_event_at);
            self.nodes[key].link.last_event_at = at;
        }
        at
    }

    /// Sends an envelope from one node to another. Returns the number of receivers.
    fn post(&mut self, from: NodeKey, to: NodeId, bytes: &[u8]) -> StoreResponse {
        let to = self.key_of_node(to);
        let Some(to) = to.filter(|to| self.nodes[*to].link.is_open_at_store) else {
            return StoreResponse::Posted(0);
        };
        let at = self.now + self.network_delay();
        let link = &mut self.nodes[to].link;
        let last = link.last_envelope_at.entry(from).or_default();
        *last = at.max(*last);
        let (at, number) = (*last, link.number);
        self.schedule_at(at, ScheduledEvent::Envelope(to, number, bytes.to_vec()));
        StoreResponse::Posted(1)
    }

    fn key_of_node(&self, node: NodeId) -> Option<NodeKey> {
        self.nodes.iter().position(|sim_node| sim_node.id() == node)
    }

    // Arrivals at the node

    fn is_current_link(&self, key: NodeKey, number: u64) -> bool {
        let link = &self.nodes[key].link;
        link.number == number && link.is_open_at_node
    }

    pub(super) fn deliver_responses(
        &mut self,
        key: NodeKey,
        number: u64,
        responses: Vec<StoreResponse>,
    ) {
        if self.is_current_link(key, number) {
            self.trace_event(|| format!("s{key} < {responses:?}"));
            self.handle_node_input(key, cluster::NodeInput::Responses(responses));
        }
    }

    pub(super) fn deliver_event(&mut self, key: NodeKey, number: u64, log: LogId, event: LogEvent) {
        if self.is_current_link(key, number) {
            self.trace_event(|| format!("s{key} < {log:?} {event:?}"));
            self.handle_node_input(key, cluster::NodeInput::LogEvent(log, event));
        }
    }

    pub(super) fn deliver_envelope(&mut self, key: NodeKey, number: u64, bytes: Vec<u8>) {
        if self.is_current_link(key, number) {
            self.trace_event(|| format!("s{key} < {} bytes of an envelope", bytes.len()));
            self.handle_node_input(key, cluster::NodeInput::Envelope(bytes));
        }
    }

    // Connections

    /// Breaks a connection. Each side detects it after its own delay.
    pub fn break_link(&mut self, key: NodeKey) {
        let link = &mut self.nodes[key].link;
        if link.is_severed || !link.is_open_at_node {
            return;
        }
        link.is_severed = true;
        let number = link.number;
        let (store, node) = (self.detection_delay(), self.detection_delay());
        self.record_outage(Some(key), node, "broken connection");
        self.schedule(store, ScheduledEvent::StoreDetectsLoss(key, number));
        self.schedule(node, ScheduledEvent::NodeDetectsLoss(key, number));
    }

    /// Separates a node from the store for a while.
    pub fn cut(&mut self, key: NodeKey, time: Duration) {
        self.nodes[key].cut_until = self.now + time;
        self.record_outage(Some(key), time, "cut");
        self.break_link(key);
    }

    pub(super) fn store_detects_loss(&mut self, key: NodeKey, number: u64) {
        let link = &mut self.nodes[key].link;
        if link.number == number {
            link.is_open_at_store = false;
        }
    }

    pub(super) fn node_detects_loss(&mut self, key: NodeKey, number: u64) {
        if !self.is_current_link(key, number) {
            return;
        }
        self.trace_event(|| format!("s{key} has lost the store"));
        self.nodes[key].link.is_open_at_node = false;
        self.handle_node_input(key, cluster::NodeInput::Disconnected);
        self.end_if_done(key);
        let after = self.up_to(Duration::from_millis(500));
        self.schedule(after, ScheduledEvent::Reconnect(key));
    }

    pub(super) fn reconnect(&mut self, key: NodeKey) {
        let sim_node = &self.nodes[key];
        if sim_node.link.is_open_at_node || sim_node.state != SimNodeState::Running {
            return;
        }
        if self.is_store_unavailable || sim_node.cut_until > self.now {
            let after = Duration::from_millis(100) + self.up_to(Duration::from_millis(400));
            return self.schedule(after, ScheduledEvent::Reconnect(key));
        }
        let number = sim_node.link.number + 1;
        self.trace_event(|| format!("s{key} is connected"));
        self.nodes[key].link = StoreLink {
            number,
            is_open_at_node: true,
            is_open_at_store: true,
            ..StoreLink::default()
        };
        self.handle_node_input(key, cluster::NodeInput::Connected);
    }

    // The store

    /// Makes the store unavailable to all nodes for a while.
    pub fn make_store_unavailable(&mut self, time: Duration, recovery: StoreRecovery) {
        if self.is_store_unavailable {
            return;
        }
        self.is_store_unavailable = true;
        self.record_outage(None, time, "store unavailable");
        for key in 0..self.nodes.len() {
            self.break_link(key);
            self.nodes[key].link.is_open_at_store = false;
        }
        self.schedule(time, ScheduledEvent::RecoverStore(recovery));
    }

    pub(super) fn recover_store(&mut self, recovery: &StoreRecovery) {
        self.is_store_unavailable = false;
        self.trace_event(|| format!("the store is back: {recovery:?}"));
        match recovery {
            StoreRecovery::Complete => {}
            StoreRecovery::Empty => self.model.wipe(),
            StoreRecovery::FromBackup => {
                let index = self.rng.random_range(0..self.backups.len());
                let backup = self.backups[index].clone();
                self.model.restore(&backup);
            }
        }
        if *recovery != StoreRecovery::Complete {
            self.record_outage(None, Duration::ZERO, "data lost");
        }
    }

    /// Makes a backup of the store for a later recovery.
    pub fn back_up(&mut self) {
        self.backups.push(self.model.clone());
    }

    /// A random network delay.
    fn network_delay(&mut self) -> Duration {
        let max = match self.rng.random_bool(self.faults.slow) {
            true => self.faults.slow_max,
            false => self.faults.delay_max,
        };
        Duration::from_micros(50) + self.up_to(max)
    }

    fn detection_delay(&mut self) -> Duration {
        let max = match self.rng.random_bool(0.5) {
            true => Duration::from_millis(5),
            false => self.faults.detection_delay_max,
        };
        self.up_to(max)
    }
}

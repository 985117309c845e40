//! One simulated server process: its hub (the rooms of its clients), its node (the state machine that shares the
//! memberships with the other processes over the store), and the connection of the node to the store.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use rand::RngExt;
use switchboard_cluster as cluster;
use switchboard_core::{
    Change, Effect, Entry, Hub, Input, Limits, LogId, NodeId, SharedRoomPolicies,
};

use super::{AppliedJoin, ClusterSimulation, client::ClientKey, events::ScheduledEvent};

/// Index of a node, in the order of starting.
pub type NodeKey = usize;

/// The state of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SimNodeState {
    Running,
    /// The process is stopped; its sockets stay open.
    Paused,
    /// The process is shutting down.
    Closing,
    Gone,
}

/// The connection of a node to the store.
#[derive(Debug, Default)]
pub(super) struct StoreLink {
    /// The serial number of the connection among those of the node, counted from 1; 0 before the first.
    pub(super) number: u64,
    /// Whether the node believes that the connection is open.
    pub(super) is_open_at_node: bool,
    /// Whether the store believes that the connection is open.
    pub(super) is_open_at_store: bool,
    /// Whether the connection is broken: nothing arrives any more, and each side detects that later.
    pub(super) is_severed: bool,
    /// The arrival time of the last log event that must keep its order: the next one arrives no earlier.
    pub(super) last_event_at: Duration,
    /// The arrival time of the last envelope (a message from another node) of each sender.
    pub(super) last_envelope_at: BTreeMap<NodeKey, Duration>,
}

/// A simulated process.
#[derive(Debug)]
pub struct SimNode {
    pub(super) hub: Hub<ClientKey>,
    pub(super) node: cluster::Node,
    pub(super) state: SimNodeState,
    pub(super) link: StoreLink,
    /// The node cannot reach the store until this time.
    pub(super) cut_until: Duration,
    /// The events that occurred while the process was paused.
    pub(super) inbox: VecDeque<ScheduledEvent>,
    /// Effects of the node that the hub has not received yet.
    pub(super) effects: VecDeque<cluster::NodeEffect>,
    /// Whether passing the effects to the hub is scheduled.
    pub(super) is_draining: bool,
    /// Whether it is scheduled that the connection takes the next batch of requests from the node.
    pub(super) is_fetching: bool,
}

impl SimNode {
    pub(super) fn new(
        node: cluster::Node,
        limits: &Arc<Limits>,
        policies: &SharedRoomPolicies,
    ) -> Self {
        Self {
            hub: Hub::new(limits.clone()).with_policies(policies.clone()),
            node,
            state: SimNodeState::Running,
            link: StoreLink::default(),
            cut_until: Duration::ZERO,
            inbox: VecDeque::new(),
            effects: VecDeque::new(),
            is_draining: false,
            is_fetching: false,
        }
    }

    /// The hub of the process.
    #[must_use]
    pub fn hub(&self) -> &Hub<ClientKey> {
        &self.hub
    }

    /// The node state machine of the process.
    #[must_use]
    pub fn node(&self) -> &cluster::Node {
        &self.node
    }

    /// The id of the node.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.node.lease().node
    }

    /// Whether the process exists and is not shutting down.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        matches!(self.state, SimNodeState::Running | SimNodeState::Paused)
    }

    pub(super) fn is_running(&self) -> bool {
        self.state == SimNodeState::Running
    }

    pub(super) fn timeout(&self) -> Option<Instant> {
        if !matches!(self.state, SimNodeState::Running | SimNodeState::Closing) {
            return None;
        }
        let timeouts = [self.node.poll_timeout(), self.hub.poll_timeout()];
        timeouts.into_iter().flatten().min()
    }
}

impl ClusterSimulation {
    /// After an input: dispatches the effects of the hub, and schedules the handling of the node's effects and
    /// requests.
    pub(super) fn pump(&mut self, key: NodeKey) {
        self.dispatch_effects(key);
        let sim_node = &mut self.nodes[key];
        if !sim_node.effects.is_empty() && !sim_node.is_draining {
            sim_node.is_draining = true;
            let after = self.scheduling_delay();
            self.schedule(after, ScheduledEvent::Drain(key));
        }
        self.schedule_fetch(key);
    }

    /// Passes the effects of the node to the hub.
    pub(super) fn drain(&mut self, key: NodeKey) {
        self.nodes[key].is_draining = false;
        while let Some(effect) = self.nodes[key].effects.pop_front() {
            self.handle_effect(key, effect);
            // Sometimes the rest is passed later, so that other events happen in between.
            if self.rng.random_bool(0.1) {
                break;
            }
        }
        self.pump(key);
    }

    fn record_joins(&mut self, node: NodeKey, log: &LogId, entries: &[Entry]) {
        let at = self.now;
        let joins = entries.iter().filter_map(|entry| match &entry.change {
            Change::Join(member) => Some(AppliedJoin {
                at,
                node,
                log: log.clone(),
                peer: member.peer,
                since: entry.position,
            }),
            Change::Leave(..) => None,
        });
        self.applied_joins.extend(joins);
    }

    fn handle_effect(&mut self, key: NodeKey, effect: cluster::NodeEffect) {
        let now = self.instant();
        self.trace_event(|| format!("s{key} hub < {effect:?}"));
        let inputs = match effect {
            cluster::NodeEffect::Committed(log, entries) => {
                self.record_joins(key, &log, &entries);
                let entries = entries.into_iter();
                entries
                    .map(|entry| Input::Committed(log.clone(), entry))
                    .collect()
            }
            cluster::NodeEffect::Rejected(log, peer, reason) => {
                vec![Input::Rejected(log, peer, reason)]
            }
            cluster::NodeEffect::NodeMessage(from, message) => {
                vec![Input::NodeMessage(from, message)]
            }
            cluster::NodeEffect::Undeliverable(message) => vec![Input::Undeliverable(message)],
            cluster::NodeEffect::Discarded { from, version } => {
                unreachable!(
                    "all nodes read version {version}, but a message of {from:?} was discarded"
                )
            }
            cluster::NodeEffect::OtherFormat(other) => {
                unreachable!("all nodes have one format, but {other:?} was reported")
            }
            cluster::NodeEffect::StoreLost => Vec::new(),
        };
        for input in inputs {
            self.nodes[key].hub.handle(input, now);
            self.dispatch_effects(key);
        }
    }

    /// Dispatches the effects of the hub, and queues those of the node.
    fn dispatch_effects(&mut self, key: NodeKey) {
        let now = self.instant();
        while let Some(effect) = self.nodes[key].hub.poll_effect() {
            match effect {
                Effect::Deliver(client, event) => self.deliver(client, event),
                Effect::Charge(..) => {}
                Effect::Propose { log, change, .. } => {
                    self.trace_event(|| format!("s{key} proposes {log:?} {change:?}"));
                    let input = cluster::NodeInput::Propose(log, change);
                    self.nodes[key].node.handle(input, now);
                }
                Effect::Send(to, message) => {
                    self.trace_event(|| format!("s{key} sends {message:?} to {to}"));
                    let input = cluster::NodeInput::Send(to, message);
                    self.nodes[key].node.handle(input, now);
                }
            }
        }
        let sim_node = &mut self.nodes[key];
        while let Some(effect) = sim_node.node.poll_effect() {
            sim_node.effects.push_back(effect);
        }
    }

    /// The scheduling delay of a task: usually zero.
    pub(super) fn scheduling_delay(&mut self) -> Duration {
        match self.rng.random_bool(0.7) {
            true => Duration::ZERO,
            false => self.up_to(Duration::from_micros(500)),
        }
    }
}

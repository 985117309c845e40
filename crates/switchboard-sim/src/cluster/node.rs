//! One process: a hub, a node and their connection to the store.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use rand::RngExt;
use switchboard_core::{Effect, Hub, Input, Limits, NodeId};
use switchboard_engine::cluster;

use super::{ClusterSimulation, client::ClientKey, events::ScheduledEvent};

/// A station, by the order in which they came.
pub type NodeKey = usize;

/// How a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SimNodeState {
    Running,
    /// It does nothing, and keeps its sockets.
    Paused,
    /// It says good-bye.
    Closing,
    Gone,
}

/// A connection to the store.
#[derive(Debug, Default)]
pub(super) struct StoreLink {
    pub(super) number: u64,
    /// Whether each side believes that it is there.
    pub(super) here: bool,
    pub(super) there: bool,
    /// Nothing passes any more.
    pub(super) is_severed: bool,
    /// When the last of what keeps its order arrives: news (if the weather keeps theirs), and mail by
    /// its sender.
    pub(super) news: Duration,
    pub(super) mail: BTreeMap<NodeKey, Duration>,
}

/// One process and its clients.
#[derive(Debug)]
pub struct SimNode {
    pub(super) hub: Hub<ClientKey>,
    pub(super) node: cluster::Node,
    pub(super) state: SimNodeState,
    pub(super) link: StoreLink,
    /// It cannot reach the store until then.
    pub(super) cut_until: Duration,
    /// What has happened to it while it was paused.
    pub(super) inbox: VecDeque<ScheduledEvent>,
    /// What the hub has not been told yet.
    pub(super) follows: VecDeque<cluster::NodeEffect>,
    pub(super) is_draining: bool,
    pub(super) is_fetching: bool,
}

impl SimNode {
    pub(super) fn new(node: cluster::Node, limits: &Arc<Limits>) -> Self {
        Self {
            hub: Hub::new(limits.clone()),
            node,
            state: SimNodeState::Running,
            link: StoreLink::default(),
            cut_until: Duration::ZERO,
            inbox: VecDeque::new(),
            follows: VecDeque::new(),
            is_draining: false,
            is_fetching: false,
        }
    }

    /// Its hub.
    #[must_use]
    pub fn hub(&self) -> &Hub<ClientKey> {
        &self.hub
    }

    /// Its machine.
    #[must_use]
    pub fn node(&self) -> &cluster::Node {
        &self.node
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.node.lease().node
    }

    /// Whether its process is there, and not about to end.
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
    /// Lets everything follow that follows from an input, but for what waits a moment.
    pub(super) fn pump(&mut self, key: NodeKey) {
        self.settle(key);
        let station = &mut self.nodes[key];
        if !station.follows.is_empty() && !station.is_draining {
            station.is_draining = true;
            let after = self.moment();
            self.schedule(after, ScheduledEvent::Drain(key));
        }
        self.wake_carrier(key);
    }

    /// The hub is told what the node has for it.
    pub(super) fn drain(&mut self, key: NodeKey) {
        self.nodes[key].is_draining = false;
        while let Some(effect) = self.nodes[key].follows.pop_front() {
            self.follow(key, effect);
            // Others may come between.
            if self.rng.random_bool(0.1) {
                break;
            }
        }
        self.pump(key);
    }

    fn follow(&mut self, key: NodeKey, effect: cluster::NodeEffect) {
        let now = self.instant();
        self.trace_event(|| format!("s{key} hub < {effect:?}"));
        let inputs = match effect {
            cluster::NodeEffect::Committed(log, entries) => {
                let entries = entries.into_iter();
                entries
                    .map(|entry| Input::Committed(log.clone(), entry))
                    .collect()
            }
            cluster::NodeEffect::Rejected(log, peer, why) => vec![Input::Rejected(log, peer, why)],
            cluster::NodeEffect::NodeMessage(from, letter) => {
                vec![Input::NodeMessage(from, letter)]
            }
            cluster::NodeEffect::Undeliverable(letter) => vec![Input::Undeliverable(letter)],
            cluster::NodeEffect::StoreLost => Vec::new(),
        };
        for input in inputs {
            self.nodes[key].hub.handle(input, now);
            self.settle(key);
        }
    }

    /// Carries out the hub's effects, and keeps the node's.
    fn settle(&mut self, key: NodeKey) {
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
                Effect::Send(to, letter) => {
                    self.trace_event(|| format!("s{key} sends {letter:?} to {to}"));
                    let input = cluster::NodeInput::Send(to, letter);
                    self.nodes[key].node.handle(input, now);
                }
            }
        }
        let station = &mut self.nodes[key];
        while let Some(effect) = station.node.poll_effect() {
            station.follows.push_back(effect);
        }
    }

    /// How long a task waits for its turn: mostly not at all.
    pub(super) fn moment(&mut self) -> Duration {
        match self.rng.random_bool(0.7) {
            true => Duration::ZERO,
            false => self.up_to(Duration::from_micros(500)),
        }
    }
}

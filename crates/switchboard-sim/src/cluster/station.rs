//! One process: a hub, a node and their connection to the store.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use rand::RngExt;
use switchboard_core::{Effect, Hub, Input, Limits, NodeId};
use switchboard_engine::cluster;

use super::{Cluster, client::ClientKey, happening::Happening};

/// A station, by the order in which they came.
pub type StationKey = usize;

/// How a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Running,
    /// It does nothing, and keeps its sockets.
    Paused,
    /// It says good-bye.
    Closing,
    Gone,
}

/// A connection to the store.
#[derive(Debug, Default)]
pub(super) struct Link {
    pub(super) number: u64,
    /// Whether each side believes that it is there.
    pub(super) here: bool,
    pub(super) there: bool,
    /// Nothing passes any more.
    pub(super) is_severed: bool,
    /// When the last of what keeps its order arrives: news (if the weather keeps theirs), and mail by
    /// its sender.
    pub(super) news: Duration,
    pub(super) mail: BTreeMap<StationKey, Duration>,
}

/// One process and its clients.
#[derive(Debug)]
pub struct Station {
    pub(super) hub: Hub<ClientKey>,
    pub(super) node: cluster::Node,
    pub(super) state: State,
    pub(super) link: Link,
    /// It cannot reach the store until then.
    pub(super) cut_until: Duration,
    /// What has happened to it while it was paused.
    pub(super) inbox: VecDeque<Happening>,
    /// What the hub has not been told yet.
    pub(super) follows: VecDeque<cluster::Effect>,
    pub(super) is_draining: bool,
    pub(super) is_fetching: bool,
}

impl Station {
    pub(super) fn new(node: cluster::Node, limits: &Arc<Limits>) -> Self {
        Self {
            hub: Hub::new(limits.clone()),
            node,
            state: State::Running,
            link: Link::default(),
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
        matches!(self.state, State::Running | State::Paused)
    }

    pub(super) fn is_running(&self) -> bool {
        self.state == State::Running
    }

    pub(super) fn timeout(&self) -> Option<Instant> {
        if !matches!(self.state, State::Running | State::Closing) {
            return None;
        }
        let timeouts = [self.node.poll_timeout(), self.hub.poll_timeout()];
        timeouts.into_iter().flatten().min()
    }
}

impl Cluster {
    /// Lets everything follow that follows from an input, but for what waits a moment.
    pub(super) fn pump(&mut self, key: StationKey) {
        self.settle(key);
        let station = &mut self.stations[key];
        if !station.follows.is_empty() && !station.is_draining {
            station.is_draining = true;
            let after = self.moment();
            self.schedule(after, Happening::Drain(key));
        }
        self.wake_carrier(key);
    }

    /// The hub is told what the node has for it.
    pub(super) fn drain(&mut self, key: StationKey) {
        self.stations[key].is_draining = false;
        while let Some(effect) = self.stations[key].follows.pop_front() {
            self.follow(key, effect);
            // Others may come between.
            if self.chance.random_bool(0.1) {
                break;
            }
        }
        self.pump(key);
    }

    fn follow(&mut self, key: StationKey, effect: cluster::Effect) {
        let now = self.instant();
        self.note(|| format!("s{key} hub < {effect:?}"));
        let inputs = match effect {
            cluster::Effect::Committed(log, entries) => {
                let entries = entries.into_iter();
                entries
                    .map(|entry| Input::Committed(log.clone(), entry))
                    .collect()
            }
            cluster::Effect::Declined(log, peer, why) => vec![Input::Declined(log, peer, why)],
            cluster::Effect::Letter(from, letter) => vec![Input::Letter(from, letter)],
            cluster::Effect::Unsent(letter) => vec![Input::Unsent(letter)],
            cluster::Effect::Forgotten => Vec::new(),
        };
        for input in inputs {
            self.stations[key].hub.handle(input, now);
            self.settle(key);
        }
    }

    /// Carries out the hub's effects, and keeps the node's.
    fn settle(&mut self, key: StationKey) {
        let now = self.instant();
        while let Some(effect) = self.stations[key].hub.poll_effect() {
            match effect {
                Effect::Deliver(client, event) => self.deliver(client, event),
                Effect::Charge(..) => {}
                Effect::Propose { log, change, .. } => {
                    self.note(|| format!("s{key} proposes {log:?} {change:?}"));
                    let input = cluster::Input::Propose(log, change);
                    self.stations[key].node.handle(input, now);
                }
                Effect::Send(to, letter) => {
                    self.note(|| format!("s{key} sends {letter:?} to {to}"));
                    let input = cluster::Input::Send(to, letter);
                    self.stations[key].node.handle(input, now);
                }
            }
        }
        let station = &mut self.stations[key];
        while let Some(effect) = station.node.poll_effect() {
            station.follows.push_back(effect);
        }
    }

    /// How long a task waits for its turn: mostly not at all.
    pub(super) fn moment(&mut self) -> Duration {
        match self.chance.random_bool(0.7) {
            true => Duration::ZERO,
            false => self.up_to(Duration::from_micros(500)),
        }
    }
}

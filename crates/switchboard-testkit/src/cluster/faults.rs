//! The faults of nodes, connections and the store.

use std::time::Duration;

use super::{ClusterSimulation, LEASE, NodeKey};

/// The fault model of a run. Probabilities are between 0 and 1. An event is a log event: the store's notification of a
/// change of a log.
#[derive(Clone, Debug)]
pub struct FaultPlan {
    /// The longest usual network delay.
    pub delay_max: Duration,
    /// The longest delay of a slow message.
    pub slow_max: Duration,
    /// The probability that a message is slow.
    pub slow: f64,
    /// The probability that the store interleaves other work between two requests of a batch.
    pub batch_split: f64,
    /// The probability that an event is lost.
    pub event_loss: f64,
    /// The probability that an event is duplicated.
    pub event_duplication: f64,
    /// The probability that an event is delayed.
    pub event_delay: f64,
    /// The longest additional delay of an event.
    pub event_delay_max: Duration,
    /// Whether events that are not delayed arrive in order.
    pub events_in_order: bool,
    /// Whether requests of a broken connection may be executed after those of the next connection.
    pub runs_stale_requests: bool,
    /// The longest time until a side detects a broken connection.
    pub detection_delay_max: Duration,
    /// The number of faults in a run.
    pub fault_count: usize,
    /// The faults to draw from, each with its weight.
    pub weights: Vec<(Fault, u32)>,
}

impl FaultPlan {
    /// Without faults: only network delays.
    #[must_use]
    pub fn calm() -> Self {
        Self {
            delay_max: Duration::from_millis(1),
            slow_max: Duration::from_millis(15),
            slow: 0.05,
            batch_split: 0.2,
            event_loss: 0.0,
            event_duplication: 0.0,
            event_delay: 0.0,
            event_delay_max: Duration::ZERO,
            events_in_order: true,
            runs_stale_requests: false,
            detection_delay_max: Duration::ZERO,
            fault_count: 0,
            weights: Vec::new(),
        }
    }

    /// Events are lost, duplicated, delayed and reordered.
    #[must_use]
    pub fn lossy_events() -> Self {
        Self {
            event_loss: 0.1,
            event_duplication: 0.05,
            event_delay: 0.15,
            event_delay_max: Duration::from_millis(200),
            events_in_order: false,
            ..Self::calm()
        }
    }

    fn with_faults(fault_count: usize, weights: &[(Fault, u32)]) -> Self {
        Self {
            detection_delay_max: Duration::from_millis(1500),
            fault_count,
            weights: weights.to_vec(),
            ..Self::calm()
        }
    }

    /// Connections to the store break; after some breaks the node cannot reach the store for a while.
    #[must_use]
    pub fn broken_connections() -> Self {
        Self::with_faults(8, &[(Fault::Break, 3), (Fault::Cut, 1)])
    }

    /// Processes crash, shut down and start.
    #[must_use]
    pub fn crashes() -> Self {
        let weights = [(Fault::Crash, 2), (Fault::Close, 1), (Fault::Start, 2)];
        Self::with_faults(6, &weights)
    }

    /// Processes pause and resume.
    #[must_use]
    pub fn pauses() -> Self {
        Self::with_faults(5, &[(Fault::Pause, 1)])
    }

    /// The store becomes unavailable and returns with its data.
    #[must_use]
    pub fn store_unavailable() -> Self {
        Self::with_faults(4, &[(Fault::StoreUnavailable(StoreRecovery::Complete), 1)])
    }

    /// The store becomes unavailable and returns with the data of a backup.
    #[must_use]
    pub fn store_restored_from_backup() -> Self {
        Self::with_faults(
            4,
            &[(Fault::StoreUnavailable(StoreRecovery::FromBackup), 1)],
        )
    }

    /// The store becomes unavailable and returns empty.
    #[must_use]
    pub fn store_loses_all_data() -> Self {
        Self::with_faults(4, &[(Fault::StoreUnavailable(StoreRecovery::Empty), 1)])
    }

    /// All kinds of faults.
    #[must_use]
    pub fn everything() -> Self {
        let weights = [
            (Fault::Break, 3),
            (Fault::Cut, 2),
            (Fault::Crash, 1),
            (Fault::Close, 1),
            (Fault::Start, 2),
            (Fault::Pause, 2),
            (Fault::StoreUnavailable(StoreRecovery::Complete), 1),
            (Fault::StoreUnavailable(StoreRecovery::FromBackup), 1),
            (Fault::StoreUnavailable(StoreRecovery::Empty), 1),
        ];
        Self {
            detection_delay_max: Duration::from_millis(1500),
            fault_count: 8,
            weights: weights.to_vec(),
            ..Self::lossy_events()
        }
    }
}

/// A fault of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A connection to the store breaks.
    Break,
    /// A node cannot reach the store for a while.
    Cut,
    /// A process crashes.
    Crash,
    /// A process shuts down.
    Close,
    /// A process starts.
    Start,
    /// A process is paused for a while.
    Pause,
    /// The store becomes unavailable.
    StoreUnavailable(StoreRecovery),
}

/// The data with which the store returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreRecovery {
    /// All data of the store.
    Complete,
    /// The data of a backup.
    FromBackup,
    /// No data at all.
    Empty,
}

/// A random action of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RandomAction {
    /// A new client connects and joins a room.
    Connect,
    /// Any action, drawn at random.
    Any,
}

/// A recorded fault.
#[derive(Clone, Debug)]
pub struct Outage {
    /// The affected node; `None` for the store.
    pub node: Option<NodeKey>,
    /// The start of the fault.
    pub from: Duration,
    /// The end of the fault; its consequences may last longer.
    pub until: Duration,
    /// The kind of the fault.
    pub kind: &'static str,
}

impl ClusterSimulation {
    pub(super) fn record_outage(
        &mut self,
        node: Option<NodeKey>,
        time: Duration,
        kind: &'static str,
    ) {
        self.trace_event(|| format!("{kind}: {node:?} for {time:?}"));
        self.outages.push(Outage {
            node,
            from: self.now,
            until: self.now + time,
            kind,
        });
    }

    /// A random duration of an outage, up to three leases.
    pub(super) fn outage_duration(&mut self) -> Duration {
        let half = LEASE / 2;
        let max = [half, LEASE, LEASE * 3][rand::RngExt::random_range(&mut self.rng, 0..3)];
        self.up_to(max)
    }
}

//! What may befall stations, connections and the store.

use std::time::Duration;

use super::{ClusterSimulation, LEASE, NodeKey};

/// How bad it is, by chances between 0 and 1.
#[derive(Clone, Debug)]
pub struct FaultPlan {
    /// How long a message takes at most; mostly, and sometimes.
    pub delay_max: Duration,
    /// As before.
    pub slow_max: Duration,
    /// How often it takes longer.
    pub slow: f64,
    /// How often the store does something else between two requests of one batch.
    pub pieces: f64,
    /// How often news are lost.
    pub news_lost: f64,
    /// How often they come twice.
    pub news_doubled: f64,
    /// How often they come later than others.
    pub news_late: f64,
    /// By how much at most.
    pub late_max: Duration,
    /// Whether news come in their order, but for the late ones.
    pub news_in_order: bool,
    /// Whether requests of a broken connection may be carried out after those of the next one.
    pub is_stale: bool,
    /// How long it may take until a side learns that the connection is broken.
    pub detection_delay_max: Duration,
    /// How many disturbances there are in a play, and which: a disturbance per weight.
    pub disturbances: usize,
    /// How often each is drawn.
    pub weights: Vec<(Fault, u32)>,
}

impl FaultPlan {
    /// Nothing happens but delay.
    #[must_use]
    pub fn calm() -> Self {
        Self {
            delay_max: Duration::from_millis(1),
            slow_max: Duration::from_millis(15),
            slow: 0.05,
            pieces: 0.2,
            news_lost: 0.0,
            news_doubled: 0.0,
            news_late: 0.0,
            late_max: Duration::ZERO,
            news_in_order: true,
            is_stale: false,
            detection_delay_max: Duration::ZERO,
            disturbances: 0,
            weights: Vec::new(),
        }
    }

    /// News are lost, doubled, late and out of order.
    #[must_use]
    pub fn lossy_news() -> Self {
        Self {
            news_lost: 0.1,
            news_doubled: 0.05,
            news_late: 0.15,
            late_max: Duration::from_millis(200),
            news_in_order: false,
            ..Self::calm()
        }
    }

    fn disturbed(disturbances: usize, weights: &[(Fault, u32)]) -> Self {
        Self {
            detection_delay_max: Duration::from_millis(1500),
            disturbances,
            weights: weights.to_vec(),
            ..Self::calm()
        }
    }

    /// Connections to the store break, for a moment or longer.
    #[must_use]
    pub fn broken_connections() -> Self {
        Self::disturbed(8, &[(Fault::Break, 3), (Fault::Cut, 1)])
    }

    /// Processes end, with and without a word, and others begin.
    #[must_use]
    pub fn crashes() -> Self {
        let weights = [(Fault::Crash, 2), (Fault::Close, 1), (Fault::Start, 2)];
        Self::disturbed(6, &weights)
    }

    /// Processes stop, and go on.
    #[must_use]
    pub fn pauses() -> Self {
        Self::disturbed(5, &[(Fault::Pause, 1)])
    }

    /// The store goes away and comes back as it was.
    #[must_use]
    pub fn store_away() -> Self {
        Self::disturbed(4, &[(Fault::Away(StoreRecovery::Complete), 1)])
    }

    /// The store goes away and comes back as it once was.
    #[must_use]
    pub fn store_older() -> Self {
        Self::disturbed(4, &[(Fault::Away(StoreRecovery::FromBackup), 1)])
    }

    /// The store goes away and comes back with nothing.
    #[must_use]
    pub fn store_empty() -> Self {
        Self::disturbed(4, &[(Fault::Away(StoreRecovery::Empty), 1)])
    }

    /// All of it.
    #[must_use]
    pub fn everything() -> Self {
        let weights = [
            (Fault::Break, 3),
            (Fault::Cut, 2),
            (Fault::Crash, 1),
            (Fault::Close, 1),
            (Fault::Start, 2),
            (Fault::Pause, 2),
            (Fault::Away(StoreRecovery::Complete), 1),
            (Fault::Away(StoreRecovery::FromBackup), 1),
            (Fault::Away(StoreRecovery::Empty), 1),
        ];
        Self {
            detection_delay_max: Duration::from_millis(1500),
            disturbances: 8,
            weights: weights.to_vec(),
            ..Self::lossy_news()
        }
    }
}

/// What may happen to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A connection breaks.
    Break,
    /// A station cannot reach the store for a while.
    Cut,
    /// A process ends without a word.
    Crash,
    /// A process says good-bye.
    Close,
    /// A process begins.
    Start,
    /// A process stops for a while.
    Pause,
    /// The store goes away.
    Away(StoreRecovery),
}

/// How the store comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreRecovery {
    /// With its data.
    Complete,
    /// With data it once had.
    FromBackup,
    /// With nothing.
    Empty,
}

/// What came to a client's mind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RandomAction {
    /// A client connects, and joins.
    Connect,
    /// Anything else, by chance.
    Any,
}

/// Something that has befallen a station, or all.
#[derive(Clone, Debug)]
pub struct Outage {
    /// Whom; none for all.
    pub station: Option<NodeKey>,
    /// From when.
    pub from: Duration,
    /// Until when; what follows from it may take longer.
    pub until: Duration,
    /// What.
    pub what: &'static str,
}

impl ClusterSimulation {
    pub(super) fn trouble(&mut self, station: Option<NodeKey>, time: Duration, what: &'static str) {
        self.trace_event(|| format!("{what}: {station:?} for {time:?}"));
        self.outages.push(Outage {
            station,
            from: self.now,
            until: self.now + time,
            what,
        });
    }

    /// How long trouble lasts: mostly a moment, sometimes beyond the lease.
    pub(super) fn lasting(&mut self) -> Duration {
        let half = LEASE / 2;
        let max = [half, LEASE, LEASE * 3][rand::RngExt::random_range(&mut self.rng, 0..3)];
        self.up_to(max)
    }
}

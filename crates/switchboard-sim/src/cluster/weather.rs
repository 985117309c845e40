//! What may befall stations, connections and the store.

use std::time::Duration;

use super::{Cluster, LEASE, StationKey};

/// How bad it is, by chances between 0 and 1.
#[derive(Clone, Debug)]
pub struct Weather {
    /// How long a message takes at most; mostly, and sometimes.
    pub travel_max: Duration,
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
    pub noticing_max: Duration,
    /// How many disturbances there are in a play, and which: a disturbance per weight.
    pub disturbances: usize,
    /// How often each is drawn.
    pub weights: Vec<(Disturbance, u32)>,
}

impl Weather {
    /// Nothing happens but delay.
    #[must_use]
    pub fn calm() -> Self {
        Self {
            travel_max: Duration::from_millis(1),
            slow_max: Duration::from_millis(15),
            slow: 0.05,
            pieces: 0.2,
            news_lost: 0.0,
            news_doubled: 0.0,
            news_late: 0.0,
            late_max: Duration::ZERO,
            news_in_order: true,
            is_stale: false,
            noticing_max: Duration::ZERO,
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

    fn disturbed(disturbances: usize, weights: &[(Disturbance, u32)]) -> Self {
        Self {
            noticing_max: Duration::from_millis(1500),
            disturbances,
            weights: weights.to_vec(),
            ..Self::calm()
        }
    }

    /// Connections to the store break, for a moment or longer.
    #[must_use]
    pub fn broken_connections() -> Self {
        Self::disturbed(8, &[(Disturbance::Break, 3), (Disturbance::Cut, 1)])
    }

    /// Processes end, with and without a word, and others begin.
    #[must_use]
    pub fn crashes() -> Self {
        let weights = [
            (Disturbance::Crash, 2),
            (Disturbance::Close, 1),
            (Disturbance::Start, 2),
        ];
        Self::disturbed(6, &weights)
    }

    /// Processes stop, and go on.
    #[must_use]
    pub fn pauses() -> Self {
        Self::disturbed(5, &[(Disturbance::Pause, 1)])
    }

    /// The store goes away and comes back as it was.
    #[must_use]
    pub fn store_away() -> Self {
        Self::disturbed(4, &[(Disturbance::Away(Back::Whole), 1)])
    }

    /// The store goes away and comes back as it once was.
    #[must_use]
    pub fn store_older() -> Self {
        Self::disturbed(4, &[(Disturbance::Away(Back::Older), 1)])
    }

    /// The store goes away and comes back with nothing.
    #[must_use]
    pub fn store_empty() -> Self {
        Self::disturbed(4, &[(Disturbance::Away(Back::Empty), 1)])
    }

    /// All of it.
    #[must_use]
    pub fn everything() -> Self {
        let weights = [
            (Disturbance::Break, 3),
            (Disturbance::Cut, 2),
            (Disturbance::Crash, 1),
            (Disturbance::Close, 1),
            (Disturbance::Start, 2),
            (Disturbance::Pause, 2),
            (Disturbance::Away(Back::Whole), 1),
            (Disturbance::Away(Back::Older), 1),
            (Disturbance::Away(Back::Empty), 1),
        ];
        Self {
            noticing_max: Duration::from_millis(1500),
            disturbances: 8,
            weights: weights.to_vec(),
            ..Self::lossy_news()
        }
    }
}

/// What may happen to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disturbance {
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
    Away(Back),
}

/// How the store comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Back {
    /// With its data.
    Whole,
    /// With data it once had.
    Older,
    /// With nothing.
    Empty,
}

/// What came to a client's mind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whim {
    /// A client connects, and joins.
    Connect,
    /// Anything else, by chance.
    Any,
}

/// Something that has befallen a station, or all.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// Whom; none for all.
    pub station: Option<StationKey>,
    /// From when.
    pub from: Duration,
    /// Until when; what follows from it may take longer.
    pub until: Duration,
    /// What.
    pub what: &'static str,
}

impl Cluster {
    pub(super) fn trouble(
        &mut self,
        station: Option<StationKey>,
        time: Duration,
        what: &'static str,
    ) {
        self.note(|| format!("{what}: {station:?} for {time:?}"));
        self.troubles.push(Trouble {
            station,
            from: self.now,
            until: self.now + time,
            what,
        });
    }

    /// How long trouble lasts: mostly a moment, sometimes beyond the lease.
    pub(super) fn lasting(&mut self) -> Duration {
        let half = LEASE / 2;
        let max = [half, LEASE, LEASE * 3][rand::RngExt::random_range(&mut self.chance, 0..3)];
        self.up_to(max)
    }
}

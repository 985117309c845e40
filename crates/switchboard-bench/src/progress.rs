//! Reports on a run while it goes on.

use std::{
    fmt,
    time::{Duration, Instant},
};

/// The state of a run, about once a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Progress {
    /// Connections are set up.
    Connecting {
        /// The connections so far.
        connected: usize,
        /// The connections of the run.
        of: usize,
    },
    /// The load is on.
    Running {
        /// The name of the part of the run: `warm-up` or `measure`.
        part: &'static str,
        /// The time since the start of the part.
        elapsed: Duration,
        /// The units so far.
        units: u64,
        /// Units per second since the last progress.
        per_second: f64,
    },
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting { connected, of } => write!(f, "connect {connected} of {of}"),
            Self::Running {
                part,
                elapsed,
                units,
                per_second,
            } => {
                let seconds = elapsed.as_secs();
                write!(
                    f,
                    "{part} {seconds} s: {units} units, {per_second:.0} per second"
                )
            }
        }
    }
}

/// Limits how often progress is reported.
pub(crate) struct Reporter<'a> {
    report: &'a mut dyn FnMut(Progress),
    reported_at: Instant,
    reported_units: u64,
}

impl fmt::Debug for Reporter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reporter").finish_non_exhaustive()
    }
}

impl<'a> Reporter<'a> {
    /// The time between two reports.
    pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

    pub(crate) fn new(report: &'a mut dyn FnMut(Progress)) -> Self {
        Self {
            report,
            reported_at: Instant::now(),
            reported_units: 0,
        }
    }

    pub(crate) fn connected(&mut self, connected: usize, of: usize) {
        if self.reported_at.elapsed() >= Self::INTERVAL {
            self.reported_at = Instant::now();
            (self.report)(Progress::Connecting { connected, of });
        }
    }

    /// Starts a part of the run with the load on.
    pub(crate) fn start(&mut self) {
        self.reported_at = Instant::now();
        self.reported_units = 0;
    }

    pub(crate) fn running(&mut self, part: &'static str, elapsed: Duration, units: u64) {
        let interval = self.reported_at.elapsed();
        if interval < Self::INTERVAL {
            return;
        }
        let new_units = units.saturating_sub(self.reported_units);
        let per_second = new_units as f64 / interval.as_secs_f64();
        (self.reported_at, self.reported_units) = (Instant::now(), units);
        (self.report)(Progress::Running {
            part,
            elapsed,
            units,
            per_second,
        });
    }
}

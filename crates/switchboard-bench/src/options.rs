//! The options of a run, their defaults and bounds.

use std::{fmt, time::Duration};

use serde::{Serialize, Serializer};

use crate::{BenchDialect, BenchError, target::BenchTarget};

/// The kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Workload {
    /// Pairs of members of one room exchange session descriptions.
    Relay,
    /// One member of each room sends to all others.
    Fanout,
    /// Clients connect and join rooms.
    Join,
    /// Joined clients do nothing.
    Idle,
    /// Pairs connect, join a new room, relay one message and leave.
    Churn,
    /// One large room of several dialects, with joins and leaves, beside clients that stop reading for seconds.
    Mixed,
    /// Two talkers and many listeners of a voice room.
    Voice,
}

impl Workload {
    /// All workloads.
    pub const ALL: [Self; 7] = [
        Self::Relay,
        Self::Fanout,
        Self::Join,
        Self::Idle,
        Self::Churn,
        Self::Mixed,
        Self::Voice,
    ];

    /// The name, as on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Fanout => "fanout",
            Self::Join => "join",
            Self::Idle => "idle",
            Self::Churn => "churn",
            Self::Mixed => "mixed",
            Self::Voice => "voice",
        }
    }

    fn default_clients(self) -> usize {
        match self {
            Self::Relay => 64,
            Self::Fanout | Self::Voice => 100,
            Self::Join | Self::Mixed => 1_000,
            Self::Idle => 10_000,
            Self::Churn => 32,
        }
    }

    /// The members of one room; `None` for one room with all clients.
    fn default_members(self) -> Option<usize> {
        match self {
            Self::Relay | Self::Idle | Self::Churn => Some(2),
            Self::Join => Some(10),
            Self::Fanout | Self::Mixed | Self::Voice => None,
        }
    }

    fn default_window(self) -> usize {
        match self {
            Self::Join => 64,
            Self::Relay | Self::Fanout | Self::Idle | Self::Churn | Self::Mixed | Self::Voice => 1,
        }
    }

    fn default_rate(self) -> f64 {
        match self {
            Self::Mixed => 5.0,
            Self::Relay | Self::Fanout | Self::Join | Self::Idle | Self::Churn | Self::Voice => 0.0,
        }
    }

    fn default_payload(self) -> usize {
        match self {
            Self::Fanout | Self::Mixed => 256,
            Self::Relay | Self::Churn | Self::Join | Self::Idle | Self::Voice => 1_536,
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Workload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// The options of a run. [`BenchOptions::new`] has the defaults of each workload.
#[derive(Clone, Debug)]
pub struct BenchOptions {
    /// The kind of load.
    pub workload: Workload,
    /// The address of the server: `http://HOST:PORT`, `ws://HOST:PORT`, or with a path.
    pub url: String,
    /// The dialect of the clients.
    pub dialect: BenchDialect,
    /// The path of the dialect on the server; `None` for the path of the URL, or the one that Switchboard has.
    pub path: Option<String>,
    /// The number of connections.
    pub clients: usize,
    /// The members of one room; `None` for the default of the workload. A dialect with smaller rooms has its maximum.
    pub members: Option<usize>,
    /// Units per second of all clients together: messages, broadcasts, joins or cycles. Zero is a closed loop. For `mixed`,
    /// the members per second that leave and are replaced.
    pub rate: f64,
    /// Closed loop: messages in flight in each pair or room. For `join`, the rooms that fill at a time.
    pub window: usize,
    /// The measured time. `join` runs in rounds and finishes its last one.
    pub duration: Duration,
    /// The time of the load before the measured time; for `idle`, the time after the last connection.
    pub warm_up: Duration,
    /// The bytes of a message's content, before it is escaped.
    pub payload: usize,
    /// The process of the server, for CPU time and memory.
    pub pid: Option<u32>,
    /// Whether the process runs under `valgrind --tool=callgrind --instr-atstart=no`, for instructions per unit.
    pub callgrind: bool,
    /// Whether the target may be another machine.
    pub allow_remote: bool,
}

/// The maximum of [`BenchOptions::clients`].
const CLIENTS_MAX: usize = 100_000;
/// The maximum of [`BenchOptions::duration`] and [`BenchOptions::warm_up`].
const DURATION_MAX: Duration = Duration::from_hours(1);
/// The minimum of [`BenchOptions::rate`], if it is not zero.
const RATE_MIN: f64 = 0.1;
/// The maximum of [`BenchOptions::rate`].
const RATE_MAX: f64 = 10_000_000.0;
/// The maximum of [`BenchOptions::window`].
const WINDOW_MAX: usize = 1_024;
/// The maximum of [`BenchOptions::payload`].
const PAYLOAD_MAX: usize = 1 << 20;

impl BenchOptions {
    /// The default options of a workload.
    #[must_use]
    pub fn new(workload: Workload, url: impl Into<String>, dialect: BenchDialect) -> Self {
        Self {
            workload,
            url: url.into(),
            dialect,
            path: None,
            clients: workload.default_clients(),
            members: None,
            rate: workload.default_rate(),
            window: workload.default_window(),
            duration: Duration::from_secs(10),
            warm_up: Duration::from_secs(2),
            payload: workload.default_payload(),
            pid: None,
            callgrind: false,
            allow_remote: false,
        }
    }

    /// Checks that the load is bounded, and that the options fit each other.
    ///
    /// # Errors
    /// [`BenchError::Option`] for the first option that is outside of its bounds.
    pub fn validate(&self) -> Result<(), BenchError> {
        in_range("--clients", self.clients, 2, CLIENTS_MAX)?;
        in_range("--window", self.window, 1, WINDOW_MAX)?;
        in_range("--size", self.payload, 0, PAYLOAD_MAX)?;
        in_range("--members", self.members.unwrap_or(2), 2, self.clients)?;
        if self.rate != 0.0 && !(RATE_MIN..=RATE_MAX).contains(&self.rate) {
            let problem = format!(
                "{} is neither 0 nor from {RATE_MIN} to {RATE_MAX}",
                self.rate
            );
            return Err(BenchError::option("--rate", problem));
        }
        for (option, time) in [("--duration", self.duration), ("--warm-up", self.warm_up)] {
            if time > DURATION_MAX {
                let problem = format!("{time:?} is over {DURATION_MAX:?}");
                return Err(BenchError::option(option, problem));
            }
        }
        self.validate_combination()
    }

    fn validate_combination(&self) -> Result<(), BenchError> {
        if self.callgrind && self.pid.is_none() {
            let problem = "needs --pid with the process of valgrind";
            return Err(BenchError::option("--callgrind", problem));
        }
        if self.workload == Workload::Mixed && self.dialect != BenchDialect::Lightstream {
            let problem = "mixed has clients of several dialects, with lightstream as the first";
            return Err(BenchError::option("--dialect", problem));
        }
        if self.workload == Workload::Mixed && BenchTarget::path_of(self)?.is_some() {
            let problem = "mixed has clients of several dialects, each with the path of its own";
            return Err(BenchError::option("--path", problem));
        }
        if (self.workload == Workload::Voice) != (self.dialect == BenchDialect::Gostream) {
            let problem = format!("{} has no workload {}", self.dialect, self.workload);
            return Err(BenchError::option("--dialect", problem));
        }
        Ok(())
    }

    /// The members of one room, within the bounds of the dialect.
    pub(crate) fn room_size(&self) -> usize {
        let default = self.workload.default_members().unwrap_or(self.clients);
        let members = self.members.unwrap_or(default.min(self.clients));
        let members_max = self.dialect.wire().map(|wire| wire.traits().members_max);
        members.min(members_max.flatten().unwrap_or(usize::MAX))
    }
}

fn in_range(option: &'static str, value: usize, min: usize, max: usize) -> Result<(), BenchError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    let problem = format!("{value} is not from {min} to {max}");
    Err(BenchError::option(option, problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay() -> BenchOptions {
        BenchOptions::new(
            Workload::Relay,
            "http://127.0.0.1",
            BenchDialect::Lightstream,
        )
    }

    #[test]
    fn load_is_bounded() {
        assert!(relay().validate().is_ok());
        let change: [fn(&mut BenchOptions); 7] = [
            |options| options.clients = CLIENTS_MAX + 1,
            |options| options.clients = 1,
            |options| options.rate = f64::NAN,
            |options| options.window = 0,
            |options| options.members = Some(options.clients + 1),
            |options| options.duration = DURATION_MAX + Duration::from_secs(1),
            |options| options.callgrind = true,
        ];
        for change in change {
            let mut options = relay();
            change(&mut options);
            assert!(options.validate().is_err(), "{options:?}");
        }
    }

    #[test]
    fn mixed_has_no_path_that_all_dialects_would_share() {
        let url = "http://127.0.0.1:8080/";
        let mut mixed = BenchOptions::new(Workload::Mixed, url, BenchDialect::Lightstream);
        assert!(mixed.validate().is_ok());
        mixed.path = Some("/".to_owned());
        assert!(mixed.validate().is_err());
        mixed.path = None;
        mixed.url += "ws";
        assert!(mixed.validate().is_err());
    }

    #[test]
    fn rooms_have_at_most_the_members_of_the_dialect() {
        let fanout = |dialect| BenchOptions::new(Workload::Fanout, "http://127.0.0.1", dialect);
        assert_eq!(fanout(BenchDialect::Lightstream).room_size(), 100);
        assert_eq!(fanout(BenchDialect::Ayame).room_size(), 2);
        let mut join = BenchOptions::new(Workload::Join, "http://127.0.0.1", BenchDialect::Mesh);
        assert_eq!(join.room_size(), 10);
        join.clients = 6;
        assert_eq!(join.room_size(), 6);
    }
}

//! Settings: what there is, where they come from, and what is wrong with them.
//!
//! Every setting is one row in the table of `keys.rs`. Flags, environment, file, `switchboard
//! check` and the example file all read that table.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;
use switchboard_core::{DialectName, Limits};
use switchboard_dialect::{ALL, Dialect, Settings};
use switchboard_transport::Heartbeat;

mod engine;
mod given;
mod keys;
mod load;
mod voice;

pub use engine::{EngineConfig, EngineUrl};
pub use load::{Mistake, Source};
pub use voice::{Gostream, KeysConfig, SiteConfig, VoiceConfig, VoiceIdentity};

/// Everything that can be set. The default is what runs without any configuration.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Where to listen and what to serve.
    pub server: ServerConfig,
    /// The bounds.
    pub limits: Limits,
    /// How dead clients are noticed.
    pub heartbeat: Heartbeat,
    /// How the server stops.
    pub shutdown: Shutdown,
    /// What is logged.
    pub log: Log,
    /// What makes several nodes one.
    pub engine: EngineConfig,
    /// The paths of dialects that are not served on their usual ones.
    pub paths: BTreeMap<DialectName, Vec<String>>,
    /// The dialects' own settings.
    pub dialects: Settings,
    /// Voice calls and rooms.
    pub voice: VoiceConfig,
}

/// Where to listen and what to serve.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The address of the main listener.
    pub addr: IpAddr,
    /// The port of the main listener.
    pub port: u16,
    /// More listeners.
    pub listen: Vec<SocketAddr>,
    /// A folder to serve at `/` instead of the call page.
    pub web_root: Option<PathBuf>,
    /// Reverse proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            addr: Ipv4Addr::UNSPECIFIED.into(),
            port: 8080,
            listen: Vec::new(),
            web_root: None,
            trusted_proxies: Vec::new(),
        }
    }
}

/// How the server stops.
#[derive(Clone, Copy, Debug)]
pub struct Shutdown {
    /// Time that connections have to end.
    pub grace: Duration,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(10),
        }
    }
}

/// What is logged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Log {
    /// How a line looks.
    pub format: LogFormat,
    /// What is left out.
    pub level: LogLevel,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON object a line.
    Json,
}

/// The least important log lines that are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Nothing is.
    Off,
    /// What stops the server.
    Error,
    /// What an operator should look at.
    Warn,
    /// Connects, joins, leaves and refusals.
    #[default]
    Info,
    /// What a developer wants to know.
    Debug,
    /// Everything.
    Trace,
}

impl Config {
    /// Every address to listen on.
    #[must_use]
    pub fn listeners(&self) -> Vec<SocketAddr> {
        let main = SocketAddr::new(self.server.addr, self.server.port);
        std::iter::once(main)
            .chain(self.server.listen.iter().copied())
            .collect()
    }

    /// Every dialect with its paths.
    #[must_use]
    pub fn served(&self) -> Vec<(DialectName, Vec<String>)> {
        ALL.iter()
            .map(|dialect| (dialect.tongue().name, self.paths_of(*dialect)))
            .collect()
    }

    /// The paths of a dialect.
    pub(crate) fn paths_of(&self, dialect: &dyn Dialect) -> Vec<String> {
        let usual = || {
            dialect
                .paths()
                .iter()
                .map(|path| (*path).to_owned())
                .collect()
        };
        self.paths
            .get(dialect.tongue().name)
            .cloned()
            .unwrap_or_else(usual)
    }

    /// Every path with the dialect it serves, or none where the first frame must tell several apart.
    pub(crate) fn routes(&self) -> BTreeMap<String, Option<&'static dyn Dialect>> {
        let mut routes = BTreeMap::new();
        for dialect in ALL.iter().copied() {
            for path in self.paths_of(dialect) {
                routes
                    .entry(path)
                    .and_modify(|shared| *shared = None)
                    .or_insert(Some(dialect));
            }
        }
        routes
    }
}

//! Settings: what there is, where they come from, and what is wrong with them.
//!
//! Every setting is one row in the table of `keys.rs`. Flags, environment, file, `switchboard
//! check` and the example file all read that table.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;
use switchboard_core::{DialectName, Limits};
use switchboard_dialect::{ALL, Dialect, DialectSettings, find, ice::IceServers};
use switchboard_transport::Heartbeat;

use crate::route_table::RouteTable;

mod address;
mod check;
mod engine;
mod error;
mod keys;
mod load;
mod raw_value;
mod suggest;
#[cfg(test)]
mod tests;
mod tls;
mod voice;

pub use engine::{EngineConfig, EngineUrl};
pub use error::{ConfigError, SettingSource, SettingSources};
pub use tls::TlsConfig;
pub use voice::{Gostream, KeysConfig, SiteConfig, VoiceConfig, VoiceIdentity};

/// Everything that can be set. The default is what runs without any configuration.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Where to listen and what to serve.
    pub server: ServerConfig,
    /// The certificate of all listeners. A host program gives it to each with
    /// [`Listener::with_tls`](crate::Listener::with_tls).
    pub tls: TlsConfig,
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
    /// The STUN and TURN servers that clients are told.
    pub ice: IceServers,
    /// The base paths of dialects that are not served under their usual ones.
    pub paths: BTreeMap<DialectName, Vec<String>>,
    /// Addresses where a dialect alone is served.
    pub listen: BTreeMap<DialectName, Vec<SocketAddr>>,
    /// The dialects' own settings.
    pub dialects: DialectSettings,
    /// Voice calls and rooms.
    pub voice: VoiceConfig,
    /// The source of each setting, for error messages.
    pub origins: SettingSources,
}

/// Where to listen and what to serve.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The address of the main listener. `::` is all addresses of IPv6 and IPv4, `0.0.0.0` those of IPv4.
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
            addr: Ipv6Addr::UNSPECIFIED.into(),
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
    /// Time that `/readyz` answers 503 and everything else goes on, before connections are closed.
    pub drain: Duration,
    /// Time that connections have to end.
    pub grace: Duration,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            drain: Duration::ZERO,
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

/// An address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listening {
    /// The address.
    pub address: SocketAddr,
    /// The dialect that alone is served there; none for everything.
    pub alone: Option<DialectName>,
}

impl Listening {
    /// The setting that says so.
    #[must_use]
    pub fn setting(&self) -> String {
        format!("{}.listen", self.alone.unwrap_or("server"))
    }
}

impl Config {
    /// Every address to listen on, the main one first.
    #[must_use]
    pub fn listeners(&self) -> Vec<Listening> {
        let main = SocketAddr::new(self.server.addr, self.server.port);
        let all = std::iter::once(&main).chain(&self.server.listen);
        let all = all.map(|address| (address, None));
        let alone = self.listen.iter().flat_map(|(dialect, addresses)| {
            let addresses = addresses.iter();
            addresses.map(|address| (address, Some(*dialect)))
        });
        let listening = |(address, alone): (&SocketAddr, _)| Listening {
            address: *address,
            alone,
        };
        all.chain(alone).map(listening).collect()
    }

    /// Every dialect that is not switched off, with the paths where its clients connect: for each base path the first.
    #[must_use]
    pub fn served(&self) -> Vec<(DialectName, Vec<String>)> {
        let served = |dialect: &&dyn Dialect| {
            let bases = self.paths_of(*dialect);
            let paths = bases.iter().filter_map(|base| first_path(*dialect, base));
            (dialect.traits().name, paths.collect())
        };
        let enabled = ALL.iter().filter(|dialect| self.is_enabled(**dialect));
        enabled.map(served).collect()
    }

    /// Whether a dialect is not switched off.
    pub(crate) fn is_enabled(&self, dialect: &dyn Dialect) -> bool {
        self.dialects.is_enabled(dialect.traits().name)
    }

    /// The dialects' settings for clients of the listeners that all dialects share. A dialect without a
    /// path has switched itself off there: no other way leads to it.
    pub(crate) fn shared_settings(&self) -> DialectSettings {
        let mut settings = self.dialects.clone();
        settings.set_ice_servers(self.ice.clone());
        for dialect in ALL {
            if self.paths_of(*dialect).is_empty() {
                settings.set_enabled(dialect.traits().name, false);
            }
        }
        settings
    }

    /// The path where the clients of a dialect connect on a listener of its own.
    #[must_use]
    pub fn served_alone(dialect: &str) -> Option<String> {
        let dialect = find(dialect)?;
        first_path(dialect, dialect.standalone_path())
    }

    /// The base paths of a dialect.
    pub(crate) fn paths_of(&self, dialect: &dyn Dialect) -> Vec<String> {
        let usual = || {
            dialect
                .paths()
                .iter()
                .map(|path| (*path).to_owned())
                .collect()
        };
        self.paths
            .get(dialect.traits().name)
            .cloned()
            .unwrap_or_else(usual)
    }

    /// What is met on which path of the main listener.
    pub(crate) fn entrances(&self) -> RouteTable {
        let bases = ALL
            .iter()
            .filter(|dialect| self.is_enabled(**dialect))
            .map(|dialect| (*dialect, self.paths_of(*dialect)));
        RouteTable::new(&bases.collect::<Vec<_>>(), crate::web::is_reserved_path)
    }
}

/// The first path under a base where clients of a dialect connect.
fn first_path(dialect: &dyn Dialect, base: &str) -> Option<String> {
    let mut doors = dialect.endpoints(base).into_iter();
    doors
        .find(|door| door.accepts.accepts_sockets())
        .map(|door| door.path)
}

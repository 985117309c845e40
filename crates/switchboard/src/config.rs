//! The settings: their definitions, their sources and their validation.
//!
//! Every setting is one row in the table of `keys.rs`. The flags, the environment variables, the configuration file,
//! `switchboard check` and the example file use this table.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;
use switchboard_core::{DialectName, Limits, Power, RoomPattern, RoomPolicies, RoomPolicy};
use switchboard_dialects::{Dialect, DialectSettings, ice::IceServers};
use switchboard_transport::Heartbeat;

use crate::route_table::RouteTable;

mod address;
mod changes;
mod check;
mod engine;
mod error;
mod internal;
mod keys;
mod load;
mod raw_value;
mod reason;
mod renamed;
mod suggest;
#[cfg(test)]
mod tests;

pub(crate) use check::rooms::VOICE_DIALECT;

pub use crate::tls::{AcmeConfig, CertificateFiles, TlsConfig, TlsVersion};
pub(crate) use changes::SettingChanges;
pub use engine::{EngineConfig, EngineUrl, EngineUrlError};
pub use error::{ConfigError, SettingSource, SettingSources};
pub use internal::InternalConfig;
pub use switchboard_auth::{
    AccessConfig, AuthenticatorKind, JwtAlgorithm, JwtConfig, JwtSecret, KeyError, KeySet,
    StaticKey,
    webhook::{AccessEvent, AccessWebhook},
};
pub use switchboard_voice::config::{Gostream, KeysConfig, SiteConfig, VoiceConfig, VoiceIdentity};

/// All settings. The default is used without any configuration.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Config {
    /// The main listeners and the served files.
    pub server: ServerConfig,
    /// The certificate of all listeners. A host program passes it to each listener with
    /// [`Listener::with_tls`](crate::Listener::with_tls).
    pub tls: TlsConfig,
    /// Access control: authenticators, keys, origins.
    pub access: AccessConfig,
    /// The internal listener, which the binary serves with
    /// [`Server::serve_internal`](crate::Server::serve_internal).
    pub internal: InternalConfig,
    /// Limits of connections, rooms, frames and requests.
    pub limits: Limits,
    /// The policies of the rooms whose names match a pattern.
    pub rooms: Vec<(RoomPattern, RoomPolicy)>,
    /// The detection of dead clients.
    pub heartbeat: Heartbeat,
    /// The phases of the shutdown.
    pub shutdown: Shutdown,
    /// The format and level of the log.
    pub log: Log,
    /// The engine that connects several nodes to a cluster.
    pub engine: EngineConfig,
    /// The STUN and TURN servers that are sent to clients.
    pub ice: IceServers,
    /// The base paths of dialects, where they differ from the default.
    pub paths: BTreeMap<DialectName, Vec<String>>,
    /// Addresses of listeners that serve one dialect only.
    pub listen: BTreeMap<DialectName, Vec<SocketAddr>>,
    /// The settings that each dialect defines.
    pub dialects: DialectSettings,
    /// The settings of voice calls and rooms.
    pub voice: VoiceConfig,
    /// The source of each setting, for error messages.
    pub origins: SettingSources,
}

/// The main listeners and the served files.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerConfig {
    /// The address of the main listener. `::` stands for all IPv6 and IPv4 addresses, `0.0.0.0` for all IPv4 addresses.
    pub addr: IpAddr,
    /// The port of the main listener.
    pub port: u16,
    /// Addresses of additional listeners that serve everything.
    pub listen: Vec<SocketAddr>,
    /// A folder that is served at `/` in place of the call page.
    pub web_root: Option<PathBuf>,
    /// The Content-Security-Policy of the files of `web_root`; empty for none.
    pub web_root_policy: String,
    /// Networks of reverse proxies whose `X-Forwarded-For` headers are trusted.
    pub trusted_proxies: Vec<IpNet>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            addr: Ipv6Addr::UNSPECIFIED.into(),
            port: 8080,
            listen: Vec::new(),
            web_root: None,
            web_root_policy: crate::web::POLICY.to_owned(),
            trusted_proxies: Vec::new(),
        }
    }
}

/// The phases of the shutdown.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Shutdown {
    /// Time between the stop signal and the closing of connections. Meanwhile `/readyz` answers 503, and everything
    /// else is served.
    pub drain: Duration,
    /// Time that connections have to end after the drain.
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

/// The format and level of the log.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Log {
    /// The format of a log line.
    pub format: LogFormat,
    /// The least important level that is logged.
    pub level: LogLevel,
}

/// The format of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Text for people.
    #[default]
    Text,
    /// One JSON object per line, for programs.
    Json,
}

/// The least important log lines that are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// No log lines.
    Off,
    /// Errors that stop the server.
    Error,
    /// Problems that an operator should look at.
    Warn,
    /// Connects, joins, leaves and rejections.
    #[default]
    Info,
    /// Details for developers.
    Debug,
    /// All log lines.
    Trace,
}

/// An address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listening {
    /// The address and port to bind.
    pub address: SocketAddr,
    /// The only dialect that is served there; `None` for a listener that serves everything.
    pub alone: Option<DialectName>,
}

impl Listening {
    /// The setting that contains the address.
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

    /// The room policies of these settings.
    #[must_use]
    pub fn room_policies(&self) -> RoomPolicies {
        RoomPolicies::new(self.rooms.iter().cloned(), self.access.duplicate_identity)
    }

    /// Whether a configured authenticator can give the grant `admin`.
    #[must_use]
    pub fn can_grant_admin(&self) -> bool {
        self.access.authenticators.iter().any(|kind| match kind {
            AuthenticatorKind::None | AuthenticatorKind::Gostream => false,
            // A token or the web service may name any grant.
            AuthenticatorKind::Jwt | AuthenticatorKind::Webhook => true,
            AuthenticatorKind::Keys => {
                let mut keys = self.access.keys.iter();
                keys.any(|key| key.grants.has(Power::Admin))
            }
        })
    }

    /// Every enabled dialect, with the paths where its clients connect, one for each base path.
    #[must_use]
    pub fn served(&self) -> Vec<(DialectName, Vec<String>)> {
        let served = |dialect: &'static dyn Dialect| {
            let bases = self.paths_of(dialect);
            let paths = bases.iter().filter_map(|base| first_path(dialect, base));
            (dialect.traits().name, paths.collect())
        };
        self.enabled_dialects().map(served).collect()
    }

    /// The enabled dialects.
    pub(crate) fn enabled_dialects(&self) -> impl Iterator<Item = &'static dyn Dialect> {
        let dialects = self.dialects.table().iter();
        dialects.filter(|dialect| self.is_enabled(*dialect))
    }

    /// Whether pages of every origin may connect.
    #[must_use]
    pub fn allows_every_origin(&self) -> bool {
        self.access
            .allowed_origins
            .iter()
            .any(|origin| origin == "*")
    }

    /// Whether a dialect is enabled.
    pub(crate) fn is_enabled(&self, dialect: &dyn Dialect) -> bool {
        self.dialects.is_enabled(dialect.traits().name)
    }

    /// The dialects' settings for the listeners that serve all dialects. A dialect without a path is disabled on
    /// these listeners: `?dialect=`, a subprotocol and the first frame cannot select it.
    pub(crate) fn shared_settings(&self) -> DialectSettings {
        let mut settings = self.dialects.clone();
        settings.set_ice_servers(self.ice.clone());
        for dialect in settings.table().iter() {
            if self.paths_of(dialect).is_empty() {
                settings.set_enabled(dialect.traits().name, false);
            }
        }
        settings
    }

    /// The path where the clients of a dialect connect on a listener of its own.
    #[must_use]
    pub fn served_alone(&self, dialect: &str) -> Option<String> {
        let dialect = self.dialects.table().find(dialect)?;
        first_path(dialect, dialect.standalone_path())
    }

    /// The base paths of a dialect, under which its endpoints are: those of the settings, or its defaults.
    pub(crate) fn paths_of(&self, dialect: &dyn Dialect) -> Vec<String> {
        let default_paths = || {
            dialect
                .paths()
                .iter()
                .map(|path| (*path).to_owned())
                .collect()
        };
        self.paths
            .get(dialect.traits().name)
            .cloned()
            .unwrap_or_else(default_paths)
    }

    /// The route table of the main listener.
    pub(crate) fn routes(&self) -> RouteTable {
        let bases = self
            .enabled_dialects()
            .map(|dialect| (dialect, self.paths_of(dialect)));
        RouteTable::new(&bases.collect::<Vec<_>>(), crate::web::is_reserved_path)
    }
}

/// The first path under a base where clients of a dialect connect.
fn first_path(dialect: &dyn Dialect, base: &str) -> Option<String> {
    let mut endpoints = dialect.endpoints(base).into_iter();
    endpoints
        .find(|endpoint| endpoint.accepts.accepts_sockets())
        .map(|endpoint| endpoint.path)
}

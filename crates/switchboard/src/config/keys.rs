//! The table of settings, with one row for each.

use std::{fmt::Display, net::SocketAddr, ops::RangeInclusive, str::FromStr, time::Duration};

use axum::http::{HeaderValue, Uri};
use switchboard_dialects::{ALL, Dialect, DialectSetting, SECS_MAX, SettingError, SettingValue};

use super::{Config, LogFormat, LogLevel, address, raw_value::RawValue, reason::Reason};
use crate::route_table::RouteTable;

/// The highest rate of a rate limit. Above it, the time per token would round to zero.
const TOKENS_PER_SECOND_MAX: u64 = 1_000_000_000;

type SetFn = Box<dyn Fn(&mut Config, &RawValue) -> Result<(), Reason>>;
type ShowFn = Box<dyn Fn(&Config) -> String>;

/// The definition of a setting: its section and key, its description, its parser and its formatter.
pub(super) struct SettingDef {
    pub(super) section: &'static str,
    pub(super) key: &'static str,
    pub(super) doc: String,
    pub(super) set: SetFn,
    /// Formats the current value as TOML.
    pub(super) show: ShowFn,
}

macro_rules! int {
    ($section:literal, $key:literal, $doc:literal, $($field:ident).+) => {
        int!($section, $key, $doc, $($field).+, 0..=u64::MAX)
    };
    ($section:literal, $key:literal, $doc:literal, $($field:ident).+, $range:expr) => {
        row($section, $key, $doc,
            |config, raw| {
                config.$($field).+ = to_field_type(raw.int()?, $range)?;
                Ok(())
            },
            |config| config.$($field).+.to_string())
    };
}

macro_rules! secs {
    ($section:literal, $key:literal, $doc:literal, $($field:ident).+, $range:expr) => {
        row($section, $key, $doc,
            |config, raw| {
                config.$($field).+ = Duration::from_secs(within(raw.int()?, $range)?);
                Ok(())
            },
            |config| config.$($field).+.as_secs().to_string())
    };
}

macro_rules! boolean {
    ($section:literal, $key:literal, $doc:literal, $($field:ident).+) => {
        row($section, $key, $doc,
            |config, raw| {
                config.$($field).+ = raw.boolean()?;
                Ok(())
            },
            |config| config.$($field).+.to_string())
    };
}

// The modules use the macros above.
mod access;
mod engine;
mod ice;
mod internal;
mod jwt;
mod rooms;
mod tls;
mod voice;
mod webhooks;

/// Every setting, in the order of the example file. Those outside the sections come first, as TOML requires.
pub(super) fn rows() -> Vec<SettingDef> {
    let mut rows = Vec::from(rooms::rows());
    rows.extend(server());
    rows.extend(tls::rows());
    rows.extend(access::rows());
    rows.extend(webhooks::rows());
    rows.extend(internal::rows());
    rows.extend(jwt::rows());
    rows.extend(limits());
    rows.extend([
        secs!(
            "heartbeat",
            "ping",
            "Seconds between WebSocket pings.",
            heartbeat.ping,
            1..=SECS_MAX
        ),
        secs!(
            "heartbeat",
            "gone",
            "Seconds without any data from a client after which its connection is closed.",
            heartbeat.timeout,
            1..=SECS_MAX
        ),
        secs!(
            "shutdown",
            "drain",
            "Seconds between the stop signal and the closing of connections. /readyz answers 503, everything else is served.",
            shutdown.drain,
            0..=SECS_MAX
        ),
        secs!(
            "shutdown",
            "grace",
            "Seconds that connections have to end after shutdown.drain.",
            shutdown.grace,
            0..=SECS_MAX
        ),
    ]);
    rows.extend(log());
    rows.extend(engine::rows());
    rows.extend(ice::rows());
    rows.extend(ALL.iter().copied().flat_map(dialect_settings));
    rows.extend(voice::rows());
    rows
}

fn row(
    section: &'static str,
    key: &'static str,
    doc: &str,
    set: impl Fn(&mut Config, &RawValue) -> Result<(), Reason> + 'static,
    show: impl Fn(&Config) -> String + 'static,
) -> SettingDef {
    SettingDef {
        section,
        key,
        doc: doc.to_owned(),
        set: Box::new(set),
        show: Box::new(show),
    }
}

fn server() -> [SettingDef; 6] {
    [
        row(
            "server",
            "addr",
            "The address to listen on: \"::\" for IPv6 and IPv4 (IPv4 only on a system without IPv6), \"0.0.0.0\" for IPv4 only, or \"localhost\". A value with a port, as \":5000\", sets server.port too.",
            |config, raw| address::host(raw.text()?).map(|addr| config.server.addr = addr),
            |config| quoted(config.server.addr),
        ),
        int!(
            "server",
            "port",
            "The port to listen on; 0 lets the system choose.",
            server.port,
            0..=u64::from(u16::MAX)
        ),
        row(
            "server",
            "listen",
            "More addresses to listen on, as \"ADDRESS:PORT\" or \":PORT\".",
            |config, raw| addresses(raw).map(|listen| config.server.listen = listen),
            |config| list(&config.server.listen),
        ),
        row(
            "server",
            "web_root",
            "A folder that is served at / in place of the call page; empty for the call page. Files whose name begins with a dot are not served, except those in /.well-known/, and neither are links that lead out of the folder.",
            |config, raw| {
                let path = raw.text()?;
                if !path.is_empty() && !std::path::Path::new(path).is_dir() {
                    return Err(Reason::unexpected(path, "a folder"));
                }
                config.server.web_root = (!path.is_empty()).then(|| path.into());
                Ok(())
            },
            |config| {
                quoted(
                    config
                        .server
                        .web_root
                        .as_deref()
                        .unwrap_or("".as_ref())
                        .display(),
                )
            },
        ),
        row(
            "server",
            "web_root_policy",
            "The Content-Security-Policy of the files of web_root; empty for none. The default is that of the call page: scripts and styles only from files of the folder.",
            |config, raw| {
                let text = raw.text()?;
                if HeaderValue::from_str(text).is_err() {
                    return Err(Reason::unexpected(text, "the value of a header"));
                }
                config.server.web_root_policy = text.to_owned();
                Ok(())
            },
            |config| quoted(&config.server.web_root_policy),
        ),
        row(
            "server",
            "trusted_proxies",
            "Networks of reverse proxies whose X-Forwarded-For headers are trusted, as \"127.0.0.1/32\".",
            |config, raw| {
                parse_all(raw, "a network like 10.0.0.0/8")
                    .map(|nets| config.server.trusted_proxies = nets)
            },
            |config| list(&config.server.trusted_proxies),
        ),
    ]
}

fn limits() -> [SettingDef; 30] {
    [
        int!(
            "limits",
            "frame_bytes",
            "Maximum bytes of one frame; a larger one closes the connection (1009).",
            limits.frame_bytes
        ),
        int!(
            "limits",
            "json_depth",
            "Maximum nesting levels of the interpreted part of a JSON frame; a payload that is only relayed may be nested deeper.",
            limits.json_depth
        ),
        int!(
            "limits",
            "name_bytes",
            "Maximum bytes of the name of a room, peer or user; longer ones are rejected. Tokens are limited only by the size of the request head.",
            limits.name_bytes
        ),
        int!(
            "limits",
            "rooms_per_peer",
            "Maximum rooms of one connection, such as the topics of a y-webrtc page; further joins are rejected.",
            limits.rooms_per_peer
        ),
        int!(
            "limits",
            "room_members",
            "Maximum members of one room; further joins are rejected.",
            limits.room_members
        ),
        int!(
            "limits",
            "directory_members",
            "Maximum members of a room whose members are not announced to each other: PeerJS clients of one key, and all groups of a matchbox room with ?next=.",
            limits.directory_members
        ),
        int!(
            "limits",
            "connections",
            "Maximum connections to this server; further ones are answered 503.",
            limits.connections
        ),
        int!(
            "limits",
            "connections_per_address",
            "Maximum connections from one IPv4 address or IPv6 /64; further ones are answered 429. Loopback is exempt.",
            limits.connections_per_address
        ),
        int!(
            "limits",
            "connections_per_second",
            "New connections per second from one IPv4 address or IPv6 /64. Beyond this rate and the burst they are answered 429, with TLS closed. Loopback is exempt; behind a trusted proxy WebSockets count in place of connections.",
            limits.connections_per_second,
            0..=TOKENS_PER_SECOND_MAX
        ),
        int!(
            "limits",
            "connections_burst",
            "New connections that one address may make at once.",
            limits.connections_burst
        ),
        int!(
            "limits",
            "http_requests_per_second",
            "HTTP requests per second from one IPv4 address or IPv6 /64, files of the pages included, WebSockets and health probes not. Beyond this rate and the burst they are answered 429. Loopback is exempt.",
            limits.http_requests_per_second,
            0..=TOKENS_PER_SECOND_MAX
        ),
        int!(
            "limits",
            "http_requests_burst",
            "HTTP requests that one address may make at once.",
            limits.http_requests_burst
        ),
        int!(
            "limits",
            "frames_per_second",
            "Frames per second that are read from one connection. A connection that is over this limit, or over one of the limits up to flood_secs, is read more slowly.",
            limits.frames_per_second,
            0..=TOKENS_PER_SECOND_MAX
        ),
        int!(
            "limits",
            "frames_burst",
            "Frames that one connection may send at once.",
            limits.frames_burst
        ),
        int!(
            "limits",
            "frames_per_peer",
            "Frames that one connection may send at once for each distinct peer that was announced to it or that it has sent to, if that is more than frames_burst.",
            limits.frames_per_peer
        ),
        int!(
            "limits",
            "deliveries_per_second",
            "Frames per second that the server sends because of one connection's joins, leaves, broadcasts and lists; each receiver and each entry of a list counts.",
            limits.deliveries_per_second,
            0..=TOKENS_PER_SECOND_MAX
        ),
        int!(
            "limits",
            "deliveries_burst",
            "Deliveries that one connection may cause at once.",
            limits.deliveries_burst
        ),
        int!(
            "limits",
            "delivered_bytes_per_second",
            "Bytes per second that the server sends because of one connection's frames: the bytes of a frame times its receivers.",
            limits.delivered_bytes_per_second,
            0..=TOKENS_PER_SECOND_MAX
        ),
        int!(
            "limits",
            "delivered_bytes_burst",
            "Delivered bytes that one connection may cause at once.",
            limits.delivered_bytes_burst
        ),
        int!(
            "limits",
            "slow_receiver_bytes_per_second",
            "Bytes per second that one connection may send to slow clients: those for which more than half of outbox_bytes is queued.",
            limits.slow_receiver_bytes_per_second,
            0..=TOKENS_PER_SECOND_MAX
        ),
        int!(
            "limits",
            "slow_receiver_bytes_burst",
            "Bytes that one connection may send at once to slow clients.",
            limits.slow_receiver_bytes_burst
        ),
        int!(
            "limits",
            "flood_secs",
            "Seconds that a connection may be continuously over the limits above; after them it is closed (1008). A connection that is over the limit for slow clients only is not closed.",
            limits.flood_secs,
            0..=SECS_MAX
        ),
        int!(
            "limits",
            "expensive_requests_per_second",
            "Expensive requests per second from one IPv4 address or IPv6 /64: wrong signatures, challenges, requests to a website or webhook, lists of peers, ICE servers, event streams. Beyond this rate and the burst they are answered 429. Loopback is exempt.",
            limits.expensive_requests_per_second,
            0..=TOKENS_PER_SECOND_MAX
        ),
        int!(
            "limits",
            "expensive_requests_burst",
            "Expensive requests that one address may make at once.",
            limits.expensive_requests_burst
        ),
        int!(
            "limits",
            "handshake_secs",
            "Seconds for the head of a request to arrive, and for a TLS handshake; after them the connection is closed.",
            limits.handshake_secs,
            0..=SECS_MAX
        ),
        int!(
            "limits",
            "keep_alive_secs",
            "Seconds without a request after which an HTTP connection is closed; must be longer than the idle timeout of a reverse proxy.",
            limits.keep_alive_secs,
            0..=SECS_MAX
        ),
        int!(
            "limits",
            "first_frame_secs",
            "Seconds for the first frame of a client to arrive, unless its dialect sets another time.",
            limits.first_frame_secs,
            0..=SECS_MAX
        ),
        int!(
            "limits",
            "outbox_bytes",
            "Maximum bytes queued for one client; exceeding it closes the connection of the client (1013).",
            limits.outbox_bytes
        ),
        int!(
            "limits",
            "outbox_bytes_per_peer",
            "Bytes that may be queued for one client beyond outbox_bytes, for each peer that was announced to it or that it has sent to.",
            limits.outbox_bytes_per_peer
        ),
        int!(
            "limits",
            "memory_max",
            "Maximum bytes queued for all clients of signaling together, without the first 65536 of each. At the bound the client with the longest queue is closed (1013), and the others are untouched.",
            limits.memory_max
        ),
    ]
}

fn log() -> [SettingDef; 2] {
    [
        row(
            "log",
            "format",
            "The format of log lines: \"text\" or \"json\".",
            |config, raw| {
                one_of(raw, &[("text", LogFormat::Text), ("json", LogFormat::Json)])
                    .map(|format| config.log.format = format)
            },
            |config| {
                quoted(if config.log.format == LogFormat::Json {
                    "json"
                } else {
                    "text"
                })
            },
        ),
        row(
            "log",
            "level",
            "The least important level that is logged: \"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\".",
            |config, raw| one_of(raw, &LEVELS).map(|level| config.log.level = level),
            |config| {
                quoted(
                    LEVELS
                        .iter()
                        .find(|(_, level)| *level == config.log.level)
                        .map_or("info", |(name, _)| name),
                )
            },
        ),
    ]
}

const LEVELS: [(&str, LogLevel); 6] = [
    ("off", LogLevel::Off),
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

fn dialect_settings(dialect: &'static dyn Dialect) -> Vec<SettingDef> {
    let name = dialect.traits().name;
    let mut rows = vec![
        row(
            name,
            "enabled",
            "Whether the dialect is served; if not, clients cannot reach it by path, ?dialect=, subprotocol, first frame or listener.",
            move |config, raw| {
                raw.boolean()
                    .map(|flag| config.dialects.set_enabled(name, flag))
            },
            move |config| config.dialects.is_enabled(name).to_string(),
        ),
        row(
            name,
            "paths",
            "The paths under which the dialect is served; if empty, it is served only on its own listeners.",
            move |config, raw| {
                paths(dialect, raw).map(|paths| drop(config.paths.insert(name, paths)))
            },
            move |config| list(&config.paths_of(dialect)),
        ),
        row(
            name,
            "listen",
            "Addresses of listeners that serve only this dialect, on the paths of its original server, as \"ADDRESS:PORT\" or \":PORT\".",
            move |config, raw| {
                addresses(raw).map(|listen| drop(config.listen.insert(name, listen)))
            },
            move |config| list(config.listen.get(name).map_or(&[], Vec::as_slice)),
        ),
    ];
    rows.extend(dialect.settings().iter().map(|setting| {
        row(
            name,
            setting.key,
            setting.doc,
            move |config, raw| {
                dialect_value(setting, raw).map(|value| config.dialects.set(name, setting, value))
            },
            move |config| match config.dialects.get(name, setting) {
                SettingValue::Int(value) => value.to_string(),
                SettingValue::Flag(value) => value.to_string(),
                SettingValue::Text(value) | SettingValue::Url(value) => quoted(value),
            },
        )
    }));
    rows
}

fn dialect_value(setting: &DialectSetting, raw: &RawValue) -> Result<SettingValue, Reason> {
    let value = match (setting.default)() {
        SettingValue::Int(_) => SettingValue::Int(raw.int()?),
        SettingValue::Flag(_) => SettingValue::Flag(raw.boolean()?),
        SettingValue::Text(_) => SettingValue::Text(raw.text()?.to_owned()),
        SettingValue::Url(_) => SettingValue::Url(raw.text()?.to_owned()),
    };
    setting.check(&value)?;
    match &value {
        SettingValue::Url(url) if !url.is_empty() => check_url(url).map(|()| value),
        SettingValue::Url(_)
        | SettingValue::Int(_)
        | SettingValue::Flag(_)
        | SettingValue::Text(_) => Ok(value),
    }
}

/// Checks that the server can send requests to a URL: it has a host, and its port is a number.
fn check_url(url: &str) -> Result<(), Reason> {
    let uri = parse::<Uri>(url, "an address")?;
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if uri.host() == Some(authority) || uri.port_u16().is_some() {
        return Ok(());
    }
    Err(Reason::UrlPort(url.to_owned()))
}

fn paths(dialect: &'static dyn Dialect, raw: &RawValue) -> Result<Vec<String>, Reason> {
    let paths = raw.list()?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    for (index, path) in paths.iter().enumerate() {
        if paths.iter().take(index).any(|earlier| earlier == path) {
            return Err(Reason::ListedTwice(path.clone()));
        }
        if !path.starts_with('/') || !path.bytes().all(is_plain) {
            let expected = "a path like \"/ws\", of letters, digits and - . _ ~ /";
            return Err(Reason::unexpected(path, expected));
        }
    }
    let bases = [(dialect, paths.clone())];
    match RouteTable::new(&bases, crate::web::is_reserved_path)
        .conflicts()
        .first()
    {
        Some(conflict) => Err(conflict.error.clone().into()),
        None => Ok(paths),
    }
}

fn within(value: u64, range: RangeInclusive<u64>) -> Result<u64, Reason> {
    if range.contains(&value) {
        return Ok(value);
    }
    Err(SettingError::OutOfRange { value, range }.into())
}

/// Converts the value to the type of its field. It must be in `range`, and not greater than the type allows.
fn to_field_type<T: Bounded>(value: u64, range: RangeInclusive<u64>) -> Result<T, Reason> {
    let range = *range.start()..=T::MAX.min(*range.end());
    let value = within(value, range.clone())?;
    T::try_from(value).map_err(|_| SettingError::OutOfRange { value, range }.into())
}

/// A type of numbers, with its largest value.
trait Bounded: TryFrom<u64> {
    const MAX: u64;
}

macro_rules! bounded {
    ($($type:ty)+) => {
        $(impl Bounded for $type {
            const MAX: u64 = <$type>::MAX as u64;
        })+
    };
}

bounded!(u8 u16 u32 u64 usize);

fn parse<T: FromStr>(text: &str, expected: &'static str) -> Result<T, Reason> {
    text.parse().map_err(|_| Reason::unexpected(text, expected))
}

fn parse_all<T: FromStr>(raw: &RawValue, expected: &'static str) -> Result<Vec<T>, Reason> {
    let texts = raw.list()?;
    texts.iter().map(|text| parse(text, expected)).collect()
}

/// Parses addresses to listen on.
fn addresses(raw: &RawValue) -> Result<Vec<SocketAddr>, Reason> {
    raw.list()?
        .iter()
        .map(|text| address::socket(text))
        .collect()
}

fn one_of<T: Copy>(raw: &RawValue, choices: &[(&'static str, T)]) -> Result<T, Reason> {
    let text = raw.text()?;
    let found = choices
        .iter()
        .find(|(name, _)| *name == text)
        .map(|(_, value)| *value);
    found.ok_or_else(|| Reason::NoChoice {
        value: text.to_owned(),
        choices: choices.iter().map(|(name, _)| *name).collect(),
    })
}

fn quoted(value: impl Display) -> String {
    toml::Value::String(value.to_string()).to_string()
}

fn list<T: Display>(items: &[T]) -> String {
    format!(
        "[{}]",
        items.iter().map(quoted).collect::<Vec<_>>().join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_with_an_invalid_host_or_port_is_an_error() {
        static HOOK: DialectSetting = DialectSetting {
            key: "webhook_url",
            doc: "",
            default: || SettingValue::Url(String::new()),
            range: 0..=2048,
        };
        let set = |url: &str| dialect_value(&HOOK, &RawValue::Text(url.to_owned()));
        for url in ["", "http://localhost:81/x?y", "https://[::1]/"] {
            assert_eq!(set(url).expect(url), SettingValue::Url(url.to_owned()));
        }
        for url in ["http://a:b", "http://[::1", "localhost"] {
            assert!(set(url).is_err(), "{url}");
        }
    }
}

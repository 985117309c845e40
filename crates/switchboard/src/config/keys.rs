//! The table of settings: one row each.

use std::{fmt::Display, net::SocketAddr, ops::RangeInclusive, str::FromStr, time::Duration};

use axum::http::Uri;
use switchboard_dialect::{ALL, Dialect, DialectSetting, SECS_MAX, SettingValue};

use super::{
    Config, LogFormat, LogLevel, address,
    raw_value::RawValue,
    suggest::{closest, did_you_mean},
};
use crate::route_table::RouteTable;

/// The highest rate of a budget: at more, the time of one token would round to zero.
const TOKENS_PER_SECOND_MAX: u64 = 1_000_000_000;

type SetFn = Box<dyn Fn(&mut Config, &RawValue) -> Result<(), String>>;
type ShowFn = Box<dyn Fn(&Config) -> String>;

/// One setting: where it stands, what it does, how it is set and shown.
pub(super) struct SettingDef {
    pub(super) section: &'static str,
    pub(super) key: &'static str,
    pub(super) doc: String,
    pub(super) set: SetFn,
    /// The value in force as TOML; empty where there is none.
    pub(super) show: ShowFn,
}

macro_rules! int {
    ($section:literal, $key:literal, $doc:literal, $($field:ident).+) => {
        int!($section, $key, $doc, $($field).+, 0..=u64::MAX)
    };
    ($section:literal, $key:literal, $doc:literal, $($field:ident).+, $range:expr) => {
        row($section, $key, $doc,
            |config, given| {
                config.$($field).+ = narrow(within(given.int()?, $range)?)?;
                Ok(())
            },
            |config| config.$($field).+.to_string())
    };
}

macro_rules! secs {
    ($section:literal, $key:literal, $doc:literal, $($field:ident).+, $range:expr) => {
        row($section, $key, $doc,
            |config, given| {
                config.$($field).+ = Duration::from_secs(within(given.int()?, $range)?);
                Ok(())
            },
            |config| config.$($field).+.as_secs().to_string())
    };
}

macro_rules! flag {
    ($section:literal, $key:literal, $doc:literal, $($field:ident).+) => {
        row($section, $key, $doc,
            |config, given| {
                config.$($field).+ = given.flag()?;
                Ok(())
            },
            |config| config.$($field).+.to_string())
    };
}

// After the macros, which they use.
mod engine;
mod ice;
mod tls;
mod voice;

/// Every setting, in the order of the example file.
pub(super) fn rows() -> Vec<SettingDef> {
    let mut rows = Vec::from(server());
    rows.extend(tls::rows());
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
            "Seconds without a sign of life until a client is gone.",
            heartbeat.gone,
            1..=SECS_MAX
        ),
        secs!(
            "shutdown",
            "drain",
            "Seconds between the signal to stop and the end of connections, in which the server serves on and /readyz answers 503.",
            shutdown.drain,
            0..=SECS_MAX
        ),
        secs!(
            "shutdown",
            "grace",
            "Seconds that connections have to end when the server stops, after shutdown.drain.",
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
    set: impl Fn(&mut Config, &RawValue) -> Result<(), String> + 'static,
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

fn server() -> [SettingDef; 5] {
    [
        row(
            "server",
            "addr",
            "The address to listen on: \"::\" for IPv6 and IPv4 (IPv4 alone where the system has no IPv6), \"0.0.0.0\" for IPv4 alone, or \"localhost\"; with a port, as \":5000\", it sets server.port too.",
            |config, given| address::host(given.text()?).map(|addr| config.server.addr = addr),
            |config| quoted(config.server.addr),
        ),
        int!(
            "server",
            "port",
            "The port to listen on; 0 lets the system choose.",
            server.port
        ),
        row(
            "server",
            "listen",
            "More addresses to listen on, as \"ADDRESS:PORT\" or \":PORT\".",
            |config, given| addresses(given).map(|listen| config.server.listen = listen),
            |config| list(&config.server.listen),
        ),
        row(
            "server",
            "web_root",
            "A folder to serve at / instead of the call page; empty for the call page.",
            |config, given| {
                let path = given.text()?;
                if !path.is_empty() && !std::path::Path::new(path).is_dir() {
                    return Err(format!("{path:?} is not a folder"));
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
            "trusted_proxies",
            "Networks of reverse proxies whose X-Forwarded-For is believed, as \"127.0.0.1/32\".",
            |config, given| {
                parse_all(given, "a network like 10.0.0.0/8")
                    .map(|nets| config.server.trusted_proxies = nets)
            },
            |config| list(&config.server.trusted_proxies),
        ),
    ]
}

fn limits() -> [SettingDef; 26] {
    [
        int!(
            "limits",
            "frame_bytes",
            "Bytes of one frame; a larger one ends the connection (1009).",
            limits.frame_bytes
        ),
        int!(
            "limits",
            "json_depth",
            "Levels of nesting that are interpreted in a JSON frame; a payload that is only passed on may be nested deeper.",
            limits.json_depth
        ),
        int!(
            "limits",
            "name_bytes",
            "Bytes of a room's, a peer's or a user's name; longer ones are refused. Tokens are bounded by the request's head only.",
            limits.name_bytes
        ),
        int!(
            "limits",
            "rooms_per_peer",
            "Rooms that one connection may be in, as the topics of a y-webrtc page; more are refused.",
            limits.rooms_per_peer
        ),
        int!(
            "limits",
            "room_members",
            "Members of one room.",
            limits.room_members
        ),
        int!(
            "limits",
            "directory_members",
            "Members of one room who are not told of each other: PeerJS clients of one key, and all groups of a matchbox room with ?next=.",
            limits.directory_members
        ),
        int!(
            "limits",
            "connections",
            "Connections to this server; more are answered 503.",
            limits.connections
        ),
        int!(
            "limits",
            "connections_per_address",
            "Connections from one IPv4 address or IPv6 /64; more are answered 429. Loopback is exempt.",
            limits.connections_per_address
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
            "Frames that one connection may send at once for each distinct peer that it was told of or has reached, if that is more than frames_burst.",
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
            "Bytes per second that one connection may send to clients for which more than half of outbox_bytes is waiting.",
            limits.slow_receiver_bytes_per_second,
            0..=TOKENS_PER_SECOND_MAX
        ),
        int!(
            "limits",
            "slow_receiver_bytes_burst",
            "Bytes that one connection may send at once to such clients.",
            limits.slow_receiver_bytes_burst
        ),
        int!(
            "limits",
            "flood_secs",
            "Seconds that a connection may be over these limits without a break; after them it is closed (1008). A connection that is read more slowly for the sake of slow clients is not closed.",
            limits.flood_secs,
            0..=SECS_MAX
        ),
        int!(
            "limits",
            "expensive_requests_per_second",
            "Expensive requests per second from one IPv4 address or IPv6 /64: wrong signatures, challenges, questions to a website or webhook, lists of peers, ICE servers, event streams. Over it and the burst they are answered 429. Loopback is exempt.",
            limits.expensive_requests_per_second,
            0..=TOKENS_PER_SECOND_MAX
        ),
        int!(
            "limits",
            "expensive_requests_burst",
            "Expensive requests one address may make at once.",
            limits.expensive_requests_burst
        ),
        int!(
            "limits",
            "handshake_secs",
            "Seconds for a request's head to arrive, and for a TLS handshake.",
            limits.handshake_secs,
            0..=SECS_MAX
        ),
        int!(
            "limits",
            "keep_alive_secs",
            "Seconds without a request until an HTTP connection is closed; longer than a reverse proxy keeps it.",
            limits.keep_alive_secs,
            0..=SECS_MAX
        ),
        int!(
            "limits",
            "first_frame_secs",
            "Seconds for a client's first frame, where its dialect says nothing else.",
            limits.first_frame_secs,
            0..=SECS_MAX
        ),
        int!(
            "limits",
            "outbox_bytes",
            "Bytes that may wait for one client; over this limit, the client is closed (1013).",
            limits.outbox_bytes
        ),
        int!(
            "limits",
            "outbox_bytes_per_peer",
            "Bytes that may wait for one client beyond outbox_bytes, for each peer that it was told of or has reached.",
            limits.outbox_bytes_per_peer
        ),
        int!(
            "limits",
            "queued_bytes",
            "Bytes that may wait for all clients together, without the first 65536 of each. A client for which more than an eighth of the free rest has to wait is closed (1013).",
            limits.queued_bytes
        ),
    ]
}

fn log() -> [SettingDef; 2] {
    [
        row(
            "log",
            "format",
            "How a log line looks: \"text\" or \"json\".",
            |config, given| {
                one_of(
                    given,
                    &[("text", LogFormat::Text), ("json", LogFormat::Json)],
                )
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
            "What is logged: \"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\".",
            |config, given| one_of(given, &LEVELS).map(|level| config.log.level = level),
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
            "Whether it is served; if not, no path, ?dialect=, subprotocol, first frame or listener reaches it.",
            move |config, given| {
                given
                    .flag()
                    .map(|flag| config.dialects.set_enabled(name, flag))
            },
            move |config| config.dialects.is_enabled(name).to_string(),
        ),
        row(
            name,
            "paths",
            "The paths it is served under; without one, it is served on its own listeners only.",
            move |config, given| {
                paths(dialect, given).map(|paths| drop(config.paths.insert(name, paths)))
            },
            move |config| list(&config.paths_of(dialect)),
        ),
        row(
            name,
            "listen",
            "Addresses where it alone is served, as by its original server, as \"ADDRESS:PORT\" or \":PORT\".",
            move |config, given| {
                addresses(given).map(|listen| drop(config.listen.insert(name, listen)))
            },
            move |config| list(config.listen.get(name).map_or(&[], Vec::as_slice)),
        ),
    ];
    rows.extend(dialect.settings().iter().map(|setting| {
        row(
            name,
            setting.key,
            setting.doc,
            move |config, given| {
                dialect_value(setting, given).map(|value| config.dialects.set(name, setting, value))
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

fn dialect_value(setting: &DialectSetting, given: &RawValue) -> Result<SettingValue, String> {
    let value = match (setting.default)() {
        SettingValue::Int(_) => SettingValue::Int(given.int()?),
        SettingValue::Flag(_) => SettingValue::Flag(given.flag()?),
        SettingValue::Text(_) => SettingValue::Text(given.text()?.to_owned()),
        SettingValue::Url(_) => SettingValue::Url(given.text()?.to_owned()),
    };
    setting.check(&value)?;
    match &value {
        SettingValue::Url(url) if !url.is_empty() => reachable(url).map(|()| value),
        SettingValue::Url(_)
        | SettingValue::Int(_)
        | SettingValue::Flag(_)
        | SettingValue::Text(_) => Ok(value),
    }
}

/// Whether requests can be sent to this address.
fn reachable(url: &str) -> Result<(), String> {
    let uri = parse::<Uri>(url, "an address")?;
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if uri.host() == Some(authority) || uri.port_u16().is_some() {
        return Ok(());
    }
    Err(format!("{url:?} has no port that is a number"))
}

fn paths(dialect: &'static dyn Dialect, given: &RawValue) -> Result<Vec<String>, String> {
    let paths = given.list()?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    for (index, path) in paths.iter().enumerate() {
        if paths.iter().take(index).any(|earlier| earlier == path) {
            return Err(format!("{path:?} is there twice"));
        }
        if !path.starts_with('/') || !path.bytes().all(is_plain) {
            return Err(format!(
                "{path:?} is not a path like \"/ws\", of letters, digits and - . _ ~ /"
            ));
        }
    }
    let bases = [(dialect, paths.clone())];
    match RouteTable::new(&bases, crate::web::is_reserved_path)
        .conflicts()
        .first()
    {
        Some(clash) => Err(clash.message.clone()),
        None => Ok(paths),
    }
}

fn within(value: u64, range: RangeInclusive<u64>) -> Result<u64, String> {
    let (start, end) = (range.start(), range.end());
    range
        .contains(&value)
        .then_some(value)
        .ok_or_else(|| format!("{value} is not from {start} to {end}"))
}

fn narrow<T: TryFrom<u64>>(value: u64) -> Result<T, String> {
    T::try_from(value).map_err(|_| format!("{value} is too large"))
}

fn parse<T: FromStr>(text: &str, wanted: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not {wanted}"))
}

fn parse_all<T: FromStr>(given: &RawValue, wanted: &str) -> Result<Vec<T>, String> {
    given
        .list()?
        .iter()
        .map(|text| parse(text, wanted))
        .collect()
}

/// Addresses to listen on.
fn addresses(given: &RawValue) -> Result<Vec<SocketAddr>, String> {
    given
        .list()?
        .iter()
        .map(|text| address::socket(text))
        .collect()
}

fn one_of<T: Copy>(given: &RawValue, choices: &[(&str, T)]) -> Result<T, String> {
    let text = given.text()?;
    let found = choices
        .iter()
        .find(|(name, _)| *name == text)
        .map(|(_, value)| *value);
    found.ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        let meant = did_you_mean(closest(text, names.iter().copied()));
        format!("{text:?} is none of {}{meant}", names.join(", "))
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
    fn an_address_that_nothing_can_be_sent_to_is_a_mistake() {
        static HOOK: DialectSetting = DialectSetting {
            key: "webhook_url",
            doc: "",
            default: || SettingValue::Url(String::new()),
            range: 0..=2048,
        };
        let set = |url: &str| dialect_value(&HOOK, &RawValue::Text(url.to_owned()));
        for url in ["", "http://localhost:81/x?y", "https://[::1]/"] {
            assert_eq!(set(url), Ok(SettingValue::Url(url.to_owned())));
        }
        for url in ["http://a:b", "http://[::1", "localhost"] {
            assert!(set(url).is_err(), "{url}");
        }
    }
}

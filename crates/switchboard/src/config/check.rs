//! Validation across settings: values that conflict with each other, or with which no client can be served.

use std::net::{IpAddr, SocketAddr};

use super::{
    Config, ConfigError, SettingSource, VoiceIdentity,
    keys::{SettingDef, rows},
    reason::Reason,
};

/// The least value of a limit with which a client can be served. The value 0 means no limit and is always allowed.
struct MinimumValue {
    key: &'static str,
    value: fn(&Config) -> usize,
    least: usize,
    why: &'static str,
}

const MINIMUM_VALUES: [MinimumValue; 7] = [
    MinimumValue {
        key: "limits.frame_bytes",
        value: |config| config.limits.frame_bytes,
        least: 1024,
        why: "a session description needs as many bytes",
    },
    MinimumValue {
        key: "limits.json_depth",
        value: |config| config.limits.json_depth,
        least: 5,
        why: "frames of clients have as many levels",
    },
    MinimumValue {
        key: "limits.name_bytes",
        value: |config| config.limits.name_bytes,
        least: 36,
        why: "ids assigned by the server have as many bytes",
    },
    MinimumValue {
        key: "limits.room_members",
        value: |config| config.limits.room_members,
        least: 2,
        why: "a call has two members",
    },
    MinimumValue {
        key: "limits.directory_members",
        value: |config| config.limits.directory_members,
        least: 2,
        why: "a call has two members",
    },
    MinimumValue {
        key: "limits.outbox_bytes",
        value: |config| config.limits.outbox_bytes,
        least: 16 * 1024,
        why: "session descriptions of calls have as many bytes",
    },
    MinimumValue {
        key: "limits.connections",
        value: |config| config.limits.connections,
        least: 2,
        why: "a call has two connections",
    },
];

/// Bytes of a small session description, which every client of a call sends.
const DESCRIPTION_BYTES: u64 = 1024;

/// Frames that a client sends for a call: a description and some candidates.
const CALL_FRAMES: u64 = 16;

/// A rate limit of a connection, and the charges that it must cover. A charge is a unit that the limit counts: a frame,
/// a delivery or a byte. A client that stays over the limit for `limits.flood_secs` is disconnected.
struct BudgetNeed {
    /// The keys of the rate and the burst.
    keys: [&'static str; 2],
    /// The values of the rate and the burst. If one is 0, there is no limit.
    rate: [u32; 2],
    flood_secs: u64,
    /// The burst of charges that every client causes.
    least: u64,
    /// The largest burst of charges that a client can cause. The setting `bound` limits it.
    most: u64,
    bound: &'static str,
    why: &'static str,
}

impl BudgetNeed {
    /// Whether a client that causes a burst of `need` charges stays over the limit for longer than `flood_secs`.
    fn is_below(&self, need: u64) -> bool {
        let [per_second, burst] = self.rate.map(u64::from);
        let refilled = per_second.saturating_mul(self.flood_secs);
        let is_unlimited = per_second == 0 || burst == 0 || self.flood_secs == 0;
        !is_unlimited && burst.saturating_add(refilled) < need
    }

    fn keys(&self) -> [&'static str; 3] {
        let [rate, burst] = self.keys;
        [rate, burst, "limits.flood_secs"]
    }
}

impl Config {
    /// Errors across settings: conflicts, and limits with which no client can be served. Settings with an error of
    /// their own are left out, because their current values are not the intended ones.
    #[must_use]
    pub fn validate(&self) -> Vec<ConfigError> {
        let mut check = Validator::new(self);
        check.limits();
        check.times();
        check.turn();
        check.jwt();
        check.tls();
        check.access();
        check.voice();
        check.webhooks();
        check.dialects();
        check.rooms();
        check.paths();
        check.addresses();
        check.redirect_addresses();
        check.finish()
    }

    /// Warnings: limits that are too low for the largest allowed room or frame, settings that disclose more than their
    /// names say, and a certificate that is not valid yet or expires soon.
    #[must_use]
    pub fn warnings(&self) -> Vec<ConfigError> {
        let mut check = Validator::new(self);
        check.errors.extend(self.origins.renamed());
        check.tight_limits();
        check.disclosures();
        check.room_identities();
        check.webhooks_without_tls();
        check.authenticators_after_webhook();
        check.certificate_dates();
        check.unused_jwt();
        check.finish()
    }
}

mod access;
mod jwt;
pub(in crate::config) mod rooms;
mod tls;
mod webhooks;

struct Validator<'a> {
    config: &'a Config,
    rows: Vec<SettingDef>,
    errors: Vec<ConfigError>,
}

impl<'a> Validator<'a> {
    fn new(config: &'a Config) -> Self {
        Self {
            config,
            rows: rows(),
            errors: Vec::new(),
        }
    }

    fn finish(mut self) -> Vec<ConfigError> {
        self.errors.sort();
        self.errors
    }

    fn limits(&mut self) {
        for limit in &MINIMUM_VALUES {
            let value = (limit.value)(self.config);
            if value != 0 && value < limit.least {
                let (least, why) = (limit.least, limit.why);
                self.report(&[limit.key], Reason::TooSmall { value, least, why });
            }
        }
        for budget in &self.budgets() {
            if budget.is_below(budget.least) {
                let problem =
                    "every client would be over the limit for flood_secs and be disconnected";
                self.report_together(&budget.keys(), problem);
            }
        }
    }

    /// Reports limits that serve some clients, but not those in the largest allowed room or with the largest allowed
    /// frame.
    fn tight_limits(&mut self) {
        for budget in &self.budgets() {
            if budget.is_below(budget.most) && !budget.is_below(budget.least) {
                let keys = [&budget.keys()[..], &[budget.bound]].concat();
                self.report_together(&keys, budget.why);
            }
        }
        let limits = &self.config.limits;
        let (outbox, frame) = (limits.outbox_bytes, limits.frame_bytes);
        let slow = usize::try_from(limits.slow_receiver_bytes_burst).unwrap_or(usize::MAX);
        if outbox != 0 && frame > outbox {
            self.report_pair(
                ["limits.outbox_bytes", "limits.frame_bytes"],
                "should not be less than",
                "the receiver of a larger frame is disconnected",
            );
        } else if outbox != 0 && slow != 0 && slow.saturating_add(frame) > outbox / 2 {
            let keys = [
                "limits.outbox_bytes",
                "limits.slow_receiver_bytes_burst",
                "limits.frame_bytes",
            ];
            let problem = "half of outbox_bytes should be at least slow_receiver_bytes_burst + frame_bytes, or one sender can get a slow receiver disconnected";
            self.report_together(&keys, problem);
        }
    }

    /// The rate limits of a connection, with the charges that they must cover.
    fn budgets(&self) -> [BudgetNeed; 4] {
        let limits = &self.config.limits;
        let flood_secs = limits.flood_secs;
        let members = u64::try_from(limits.room_members).unwrap_or(u64::MAX);
        let frame = u64::try_from(limits.frame_bytes).unwrap_or(u64::MAX);
        [
            BudgetNeed {
                keys: ["limits.frames_per_second", "limits.frames_burst"],
                rate: [limits.frames_per_second, limits.frames_burst],
                flood_secs,
                least: CALL_FRAMES,
                most: CALL_FRAMES,
                bound: "limits.flood_secs",
                why: "a client that sets up a call would be over the limit for flood_secs and be disconnected",
            },
            BudgetNeed {
                keys: ["limits.deliveries_per_second", "limits.deliveries_burst"],
                rate: [limits.deliveries_per_second, limits.deliveries_burst],
                flood_secs,
                // The charges of a join in a room of two, counted as for `most`: the join is delivered to each member,
                // and each member is listed to the joiner.
                least: 4,
                most: members.saturating_mul(2),
                bound: "limits.room_members",
                why: "a client that joins a full room would be over the limit for flood_secs and be disconnected",
            },
            BudgetNeed {
                keys: [
                    "limits.delivered_bytes_per_second",
                    "limits.delivered_bytes_burst",
                ],
                rate: [
                    limits.delivered_bytes_per_second,
                    limits.delivered_bytes_burst,
                ],
                flood_secs,
                least: DESCRIPTION_BYTES,
                most: frame,
                bound: "limits.frame_bytes",
                why: "a client that sends the largest frame would be over the limit for flood_secs and be disconnected",
            },
            BudgetNeed {
                keys: [
                    "limits.slow_receiver_bytes_per_second",
                    "limits.slow_receiver_bytes_burst",
                ],
                rate: [
                    limits.slow_receiver_bytes_per_second,
                    limits.slow_receiver_bytes_burst,
                ],
                flood_secs,
                least: DESCRIPTION_BYTES,
                most: frame,
                bound: "limits.frame_bytes",
                why: "a client that sends the largest frame to a slow receiver would not be read for longer than flood_secs",
            },
        ]
    }

    fn times(&mut self) {
        let heartbeat = &self.config.heartbeat;
        if heartbeat.timeout <= heartbeat.ping {
            self.report_pair(
                ["heartbeat.gone", "heartbeat.ping"],
                "must be greater than",
                "every quiet client would be disconnected",
            );
        }
    }

    /// TURN addresses and the secret must be set together: the credentials are computed from the secret.
    fn turn(&mut self) {
        let turn = &self.config.ice.turn;
        let pair = match (turn.urls.is_empty(), turn.secret.is_empty()) {
            (false, true) => ["ice.turn.urls", "ice.turn.secret"],
            (true, false) => ["ice.turn.secret", "ice.turn.urls"],
            (true, true) | (false, false) => return,
        };
        let why = "the credentials for these addresses are computed from the secret";
        self.report_pair(pair, "must be set with", why);
    }

    fn voice(&mut self) {
        let gostream = &self.config.voice.gostream;
        if gostream.identity == VoiceIdentity::Site && gostream.site.url.is_empty() {
            self.report_pair(
                ["gostream.site.url", "gostream.identity"],
                "must be set with",
                "no website could authenticate users",
            );
        }
    }

    /// Reports the conflicts that the dialects find, and an error if no client can connect to any dialect.
    fn dialects(&mut self) {
        let config = self.config;
        for dialect in config.dialects.table().iter() {
            let name = dialect.traits().name;
            if !config.is_enabled(dialect) {
                self.report_listeners(name);
                continue;
            }
            for conflict in dialect.conflicts(&self.config.dialects, &self.config.limits) {
                let key = format!("{name}.{}", conflict.key);
                match conflict.with {
                    Some(with) => self.report_pair([&key, with], conflict.rule, conflict.why),
                    None => {
                        let (this, rule, why) =
                            (self.setting_text(&key), conflict.rule, conflict.why);
                        self.report(&[&key], Reason::Useless { this, rule, why });
                    }
                }
            }
        }
        let has_paths = config.served().iter().any(|(_, paths)| !paths.is_empty());
        let is_on = |name: &str| config.dialects.is_enabled(name);
        let mut listen = config.listen.iter();
        let has_listeners = listen.any(|(name, listen)| is_on(name) && !listen.is_empty());
        let has_voice = config.voice.gostream.identity != VoiceIdentity::Off;
        if !has_paths && !has_listeners && !has_voice {
            let dialects = config.dialects.table().iter();
            let keys: Vec<_> = dialects
                .map(
                    |dialect| match (dialect.traits().name, config.is_enabled(dialect)) {
                        (name, true) => format!("{name}.paths"),
                        (name, false) => format!("{name}.enabled"),
                    },
                )
                .chain(["gostream.identity".to_owned()])
                .collect();
            let keys: Vec<_> = keys.iter().map(String::as_str).collect();
            self.report(&keys, Reason::NothingServed);
        }
    }

    /// Reports settings of dialects that disclose more than their names say.
    fn disclosures(&mut self) {
        let config = self.config;
        for dialect in config.enabled_dialects() {
            for (key, message) in dialect.warnings(&config.dialects) {
                let key = format!("{}.{key}", dialect.traits().name);
                self.report(&[&key], Reason::Disclosure(message));
            }
        }
        let internal = config.internal.listen;
        if internal.is_some_and(|listen| !listen.ip().to_canonical().is_loopback()) {
            let message = "other machines can reach the internal listener, and its requests are not encrypted: keep it in a private network";
            self.report(&["internal.listen"], Reason::Disclosure(message));
        }
    }

    /// Reports listeners of a disabled dialect.
    fn report_listeners(&mut self, dialect: &str) {
        let listen = self.config.listen.get(dialect);
        if listen.is_some_and(|listen| !listen.is_empty()) {
            let keys = [format!("{dialect}.listen"), format!("{dialect}.enabled")];
            self.report_pair(
                [&keys[0], &keys[1]],
                "must be empty with",
                "no client would be served there",
            );
        }
    }

    /// Reports paths that conflict with each other, with the server's own or with the web root.
    fn paths(&mut self) {
        let routes = self.config.routes();
        for conflict in routes.conflicts() {
            let others = conflict
                .others
                .iter()
                .filter(|other| **other != conflict.dialect);
            let others = others.map(|other| format!("{other}.paths"));
            let mut keys = vec![format!("{}.paths", conflict.dialect)];
            keys.extend(others);
            let keys: Vec<_> = keys.iter().map(String::as_str).collect();
            let (problem, settings) = (conflict.error.clone(), self.settings_text(&keys));
            self.report(&keys, Reason::Paths { problem, settings });
        }
        let web_root = self.config.server.web_root.as_ref();
        if let Some(route) = web_root.and_then(|_| routes.at("/index.html")) {
            let dialects = route.dialects.iter();
            let mut keys = vec!["server.web_root".to_owned()];
            keys.extend(dialects.map(|dialect| format!("{}.paths", dialect.traits().name)));
            let keys: Vec<_> = keys.iter().map(String::as_str).collect();
            let (path, settings) = (route.path.clone(), self.settings_text(&keys));
            self.report(&keys, Reason::HiddenFolder { path, settings });
        }
    }

    /// Reports addresses that several listeners would bind.
    fn addresses(&mut self) {
        let listeners = self.config.listeners();
        for (index, listening) in listeners.iter().enumerate() {
            let mut earlier = listeners.iter().take(index);
            let same =
                earlier.position(|earlier| is_same_socket(earlier.address, listening.address));
            if let Some(same) = same {
                let other = match same {
                    0 => PORT.to_owned(),
                    _ => listeners[same].setting(),
                };
                let keys = [&*listening.setting(), &*other];
                let (address, settings) = (listening.address, self.settings_text(&keys));
                self.report(&keys, Reason::AddressInUse { address, settings });
            }
        }
    }

    /// Reports a conflict of two settings as "first `rule` second: `why`".
    fn report_pair(&mut self, keys: [&str; 2], rule: &'static str, why: &'static str) {
        let [this, other] = keys.map(|key| self.setting_text(key));
        let reason = Reason::Conflict {
            this,
            rule,
            other,
            why,
        };
        self.report(&keys, reason);
    }

    /// Reports a problem of these settings together, with their values.
    fn report_together(&mut self, keys: &[&str], problem: &'static str) {
        let settings = self.settings_text(keys);
        self.report(keys, Reason::Together { problem, settings });
    }

    /// Reports an error of these settings together. Its position is the source that is read last: a later line, a
    /// variable after the file, a flag after the variables. Reports nothing if one of the settings has an error of its
    /// own.
    fn report(&mut self, keys: &[&str], reason: impl Into<Reason>) {
        let origins = &self.config.origins;
        if !keys.iter().all(|key| origins.is_certain(key)) {
            return;
        }
        let with_source = keys.iter().filter(|key| origins.of(key).is_some());
        // Reversed, because `max_by_key` returns the last of several maxima, and the first key with the latest source
        // is wanted.
        let latest = with_source.rev().max_by_key(|key| origins.of(key));
        let key = latest.or(keys.first()).copied().unwrap_or_default();
        let origin = origins.of(key).cloned();
        let origin = origin.unwrap_or(SettingSource::CrossField);
        self.errors.push(ConfigError::new(origin, key, reason));
    }

    /// The text of a setting with its value and its source.
    fn setting_text(&self, key: &str) -> String {
        let row = self.rows.iter().find(|row| row.path() == key);
        let value = row.map(|row| (row.show)(self.config)).unwrap_or_default();
        match self.config.origins.of(key) {
            Some(source) => format!("{key} = {value} ({source})"),
            None => format!("{key} = {value} (the default)"),
        }
    }

    /// These settings with their values and sources.
    fn settings_text(&self, keys: &[&str]) -> String {
        let mut named: Vec<_> = keys.iter().map(|key| self.setting_text(key)).collect();
        named.dedup();
        named.join(", ")
    }
}

/// The setting that errors name for the main listener, the first of [`Config::listeners`].
const PORT: &str = "server.port";

/// Whether the system refuses to bind one of these addresses while a socket is bound to the other.
fn is_same_socket(first: SocketAddr, second: SocketAddr) -> bool {
    // An IPv6 socket for all addresses accepts IPv4 too.
    let covers = |all: IpAddr, one: IpAddr| match all {
        IpAddr::V6(_) => all.is_unspecified(),
        IpAddr::V4(_) => all.is_unspecified() && one.is_ipv4(),
    };
    let [a, b] = [first, second].map(|address| address.ip().to_canonical());
    let is_shared = a == b || covers(a, b) || covers(b, a);
    first.port() == second.port() && first.port() != 0 && is_shared
}

//! Where settings come from: file, environment, flags; later ones win.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    net::SocketAddr,
    path::Path,
};

use toml::de::{DeTable, DeValue};

use super::{
    Config, Listening, VoiceIdentity,
    given::Given,
    keys::{Row, rows},
};

/// What environment variables of ours begin with.
const ENV_PREFIX: &str = "SWITCHBOARD_";

/// Where a setting was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In a file, at a line that counts from 1.
    File {
        /// The file, as it was named.
        file: String,
        /// The line.
        line: usize,
    },
    /// In this environment variable.
    Environment(String),
    /// By this flag.
    Flag(String),
    /// By settings that do not go together, wherever each was given.
    Together,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line } => write!(f, "{file}:{line}"),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
            Self::Together => f.write_str("settings in force"),
        }
    }
}

/// Something wrong with a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where.
    pub source: Source,
    /// The key, as `section.key`; empty if the file cannot be read at all.
    pub key: String,
    /// What is wrong.
    pub words: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.source)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.words)
    }
}

impl Config {
    /// Takes the settings of a TOML text. `file` is what mistakes call it. Good settings are taken
    /// although others are wrong.
    pub fn read_toml(&mut self, file: &str, text: &str) -> Vec<Mistake> {
        let reader = Reader {
            file,
            text,
            rows: rows(),
        };
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut mistakes = Vec::new();
        for error in errors {
            let at = error.span().map_or(0, |span| span.start);
            mistakes.push(reader.mistake(at, String::new(), error.message().to_owned()));
        }
        reader.sections(self, table.get_ref(), &mut mistakes);
        mistakes
    }

    /// Reads a TOML file.
    ///
    /// # Errors
    /// If the file cannot be read, in words for people.
    pub fn read_file(&mut self, path: &Path) -> Result<Vec<Mistake>, String> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read {name}: {error}"))?;
        Ok(self.read_toml(&name, &text))
    }

    /// Takes settings from environment variables: `SWITCHBOARD_LIMITS_FRAME_BYTES` is
    /// `limits.frame_bytes`, `SWITCHBOARD_Y_WEBRTC_PATHS` is `y-webrtc.paths`, `SWITCHBOARD_PORT` is
    /// `server.port`; so is `PORT`, which hosting platforms set. Other variables are not looked at, nor are those that Kubernetes sets for a
    /// service named `switchboard`.
    pub fn read_environment<T: Into<OsString>>(
        &mut self,
        variables: impl IntoIterator<Item = (T, T)>,
    ) -> Vec<Mistake> {
        let rows = rows();
        let mut mistakes = Vec::new();
        let mut variables: Vec<_> = variables
            .into_iter()
            .filter_map(|(name, value)| ours(&name.into(), value.into()))
            .collect();
        // PORT comes first, so that the variable of ours wins.
        variables.sort_by_key(|(name, _)| name != "PORT");
        for (name, value) in variables {
            let row = rows.iter().find(|row| row.is_named_by(&name));
            let key = row.map(Row::path).unwrap_or_default();
            let taken = match row {
                Some(row) => value
                    .into_string()
                    .map_err(|value| format!("{value:?} is not UTF-8"))
                    .and_then(|value| (row.set)(self, &Given::Bare(value))),
                None => Err("there is no such setting".to_owned()),
            };
            mistakes.extend(taken.err().map(|words| Mistake {
                source: Source::Environment(name),
                key,
                words,
            }));
        }
        mistakes
    }

    /// Sets `section.key` from a command line's flag.
    ///
    /// # Errors
    /// What is wrong with the value or the key.
    pub fn set(&mut self, flag: &str, key: &str, value: &str) -> Result<(), Mistake> {
        let mistake = |words| Mistake {
            source: Source::Flag(flag.to_owned()),
            key: key.to_owned(),
            words,
        };
        let rows = rows();
        let row = rows
            .iter()
            .find(|row| row.path() == key)
            .ok_or_else(|| mistake("there is no such setting".to_owned()))?;
        (row.set)(self, &Given::Bare(value.to_owned())).map_err(mistake)
    }

    /// What does not go together in the settings in force.
    #[must_use]
    pub fn contradictions(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if self.heartbeat.gone <= self.heartbeat.ping {
            mistakes.push(together(
                "heartbeat.gone",
                "must be longer than heartbeat.ping, or every quiet client is gone",
            ));
        }
        if self.voice.gostream.identity == VoiceIdentity::Site
            && self.voice.gostream.site.url.is_empty()
        {
            mistakes.push(together(
                "gostream.site.url",
                "must be set where gostream.identity is \"site\"",
            ));
        }
        mistakes.extend(self.clashes());
        mistakes.extend(self.addresses_in_use());
        mistakes
    }

    /// Paths that cannot be told apart, or are not free.
    fn clashes(&self) -> Vec<Mistake> {
        let entrances = self.entrances();
        let clashes = entrances.clashes().iter();
        let mut mistakes: Vec<_> = clashes
            .map(|clash| together(&format!("{}.paths", clash.dialect), &clash.words))
            .collect();
        let hider = self.server.web_root.as_ref();
        let hider = hider.and_then(|_| entrances.at("/index.html"));
        mistakes.extend(hider.map(|entrance| {
            let words = format!(
                "would be hidden by the path {:?} of a dialect",
                entrance.path
            );
            together("server.web_root", &words)
        }));
        mistakes
    }

    /// Addresses that are listened on twice.
    fn addresses_in_use(&self) -> Vec<Mistake> {
        let listeners = self.listeners();
        let is_twice = |(index, listening): &(usize, &Listening)| {
            let mut earlier = listeners.iter().take(*index);
            earlier.any(|earlier| are_one(earlier.address, listening.address))
        };
        let twice = listeners.iter().enumerate().filter(is_twice);
        let mistake = |(_, listening): (usize, &Listening)| {
            let words = format!("{:?} is listened on already", listening.address.to_string());
            together(&listening.setting(), &words)
        };
        twice.map(mistake).collect()
    }

    /// The settings in force as TOML, each with what it does.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        let mut section = "";
        for row in rows() {
            if row.section != section {
                section = row.section;
                let gap = if out.is_empty() { "" } else { "\n" };
                out.push_str(&format!("{gap}[{section}]\n"));
            }
            out.push_str(&format!(
                "# {}\n{} = {}\n",
                row.doc,
                row.key,
                (row.show)(self)
            ));
        }
        out
    }
}

fn together(key: &str, words: &str) -> Mistake {
    Mistake {
        source: Source::Together,
        key: key.to_owned(),
        words: words.to_owned(),
    }
}

/// Whether the system gives the second of these to nobody who has the first.
fn are_one(first: SocketAddr, second: SocketAddr) -> bool {
    let is_all = first.ip().is_unspecified() || second.ip().is_unspecified();
    first.port() == second.port()
        && first.port() != 0
        && (first.ip() == second.ip() || (is_all && first.is_ipv4() == second.is_ipv4()))
}

/// A variable that is meant for us. Names that are not UTF-8 are no settings, but may be meant so.
fn ours(name: &OsStr, value: OsString) -> Option<(String, OsString)> {
    let name = name.to_string_lossy().into_owned();
    let is_ours = name == "PORT" || name.starts_with(ENV_PREFIX);
    (is_ours && !is_of_kubernetes(&name, &value.to_string_lossy())).then_some((name, value))
}

/// Kubernetes tells every pod of each service by variables that begin with its name; ours is
/// likely to be `switchboard`, and then `SWITCHBOARD_PORT` is `tcp://…`.
fn is_of_kubernetes(name: &str, value: &str) -> bool {
    name.contains("_SERVICE_")
        || name.contains("_PORT_")
        || ["tcp://", "udp://", "sctp://"]
            .iter()
            .any(|scheme| value.starts_with(scheme))
}

impl Row {
    fn path(&self) -> String {
        format!("{}.{}", self.section, self.key)
    }

    fn is_named_by(&self, variable: &str) -> bool {
        let key = self.key.to_ascii_uppercase();
        if self.section == "server" {
            return variable.strip_prefix(ENV_PREFIX) == Some(&key)
                || (variable == "PORT" && self.key == "port");
        }
        let section = self.section.to_ascii_uppercase().replace(['.', '-'], "_");
        variable.strip_prefix(ENV_PREFIX) == Some(&format!("{section}_{key}"))
    }
}

struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    rows: Vec<Row>,
}

impl Reader<'_> {
    fn mistake(&self, at: usize, key: String, words: String) -> Mistake {
        let line = self
            .text
            .bytes()
            .take(at)
            .filter(|byte| *byte == b'\n')
            .count()
            + 1;
        Mistake {
            source: Source::File {
                file: self.file.to_owned(),
                line,
            },
            key,
            words,
        }
    }

    fn sections(&self, config: &mut Config, table: &DeTable<'_>, mistakes: &mut Vec<Mistake>) {
        for (name, section) in table {
            let DeValue::Table(keys) = section.get_ref() else {
                let words = "settings stand in sections, like [limits]".to_owned();
                mistakes.push(self.mistake(name.span().start, name.get_ref().to_string(), words));
                continue;
            };
            if !self.is_section(name.get_ref()) {
                let words = "there is no such section".to_owned();
                mistakes.push(self.mistake(name.span().start, name.get_ref().to_string(), words));
                continue;
            }
            self.keys(config, name.get_ref(), keys, mistakes);
        }
    }

    /// Whether settings stand in the section of this name, or in one within it.
    fn is_section(&self, name: &str) -> bool {
        let within = |section: &str| section.strip_prefix(name)?.chars().next();
        self.rows
            .iter()
            .any(|row| row.section == name || within(row.section) == Some('.'))
    }

    fn keys(
        &self,
        config: &mut Config,
        section: &str,
        keys: &DeTable<'_>,
        mistakes: &mut Vec<Mistake>,
    ) {
        for (key, value) in keys {
            let inner = format!("{section}.{}", key.get_ref());
            if let (DeValue::Table(keys), true) = (value.get_ref(), self.is_section(&inner)) {
                self.keys(config, &inner, keys, mistakes);
                continue;
            }
            let row = self
                .rows
                .iter()
                .find(|row| row.section == section && row.key == key.get_ref());
            let taken = match row {
                Some(row) => (row.set)(config, &Given::of_toml(value.get_ref())),
                None => Err(self.unknown(section)),
            };
            if let Err(words) = taken {
                mistakes.push(self.mistake(key.span().start, inner, words));
            }
        }
    }

    fn unknown(&self, section: &str) -> String {
        let known = self
            .rows
            .iter()
            .filter(|row| row.section == section)
            .map(|row| row.key);
        format!(
            "unknown key; [{section}] has {}",
            known.collect::<Vec<_>>().join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str) -> Vec<String> {
        Config::default()
            .read_toml("f.toml", text)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn the_defaults_read_back_as_themselves() {
        let text = Config::default().to_toml();
        let mut config = Config::default();
        config.limits.frame_bytes = 1;
        assert_eq!(config.read_toml("f", &text), []);
        assert_eq!(config.to_toml(), text);
    }

    #[test]
    fn every_mistake_is_named_with_its_line_and_key() {
        let text = "[limits]\nframe_bytes = \"many\"\nframe_byte = 7\n\n[nowhere]\nx = 1\n[server]\nport = 70000\nport2 = 1\n";
        let found = mistakes(text);
        assert!(
            found.contains(
                &"f.toml:2: limits.frame_bytes: \"many\" is not a whole number, 0 or more"
                    .to_owned()
            ),
            "{found:#?}"
        );
        assert!(
            found.iter().any(|m| m.starts_with(
                "f.toml:3: limits.frame_byte: unknown key; [limits] has frame_bytes, "
            )),
            "{found:#?}"
        );
        assert!(
            found.contains(&"f.toml:5: nowhere: there is no such section".to_owned()),
            "{found:#?}"
        );
        assert!(
            found.contains(&"f.toml:8: server.port: 70000 is too large".to_owned()),
            "{found:#?}"
        );
        assert_eq!(found.len(), 5);
    }

    #[test]
    fn a_file_that_is_no_toml_is_a_mistake_with_a_line() {
        let found = mistakes("[limits]\nframe_bytes = = 7\n");
        assert!(found[0].starts_with("f.toml:2: "), "{found:?}");
    }

    #[test]
    fn paths_that_are_taken_or_no_paths_are_mistakes() {
        for bad in ["ws", "/", "/healthz", "/a b", "/{x}", "/index.html"] {
            assert_eq!(
                mistakes(&format!("[singo]\npaths = [\"{bad}\"]\n")).len(),
                1,
                "{bad}"
            );
        }
        assert_eq!(
            mistakes("[singo]\npaths = [\"/connect\", \"/ws2\"]\n"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn settings_that_do_not_go_together_are_mistakes() {
        assert_eq!(Config::default().contradictions(), []);
        let mut config = Config::default();
        assert_eq!(config.read_toml("f", "[heartbeat]\nping = 60\n"), []);
        assert_eq!(config.contradictions().len(), 1);
    }

    #[test]
    fn the_environment_wins_over_the_file_and_ours_over_port() {
        let mut config = Config::default();
        assert_eq!(
            config.read_toml("f", "[server]\nport = 1\n[singo]\nping_secs = 9\n"),
            []
        );
        let variables = [
            ("SWITCHBOARD_PORT", "3"),
            ("PORT", "2"),
            ("SWITCHBOARD_LIMITS_NAME_BYTES", "5"),
            ("SWITCHBOARD_Y_WEBRTC_PATHS", "/y"),
            ("HOME", "/"),
        ];
        assert_eq!(config.read_environment(variables), []);
        assert_eq!((config.server.port, config.limits.name_bytes), (3, 5));
        let unknown = config.read_environment([("SWITCHBOARD_PROT", "3")]);
        assert_eq!(
            unknown[0].to_string(),
            "environment variable SWITCHBOARD_PROT: there is no such setting"
        );
    }

    #[test]
    fn what_kubernetes_sets_for_a_service_of_our_name_is_ignored() {
        let mut config = Config::default();
        let variables = [
            ("SWITCHBOARD_SERVICE_HOST", "10.0.0.7"),
            ("SWITCHBOARD_SERVICE_PORT", "8080"),
            ("SWITCHBOARD_SERVICE_PORT_HTTP", "8080"),
            ("SWITCHBOARD_PORT", "tcp://10.0.0.7:8080"),
            ("SWITCHBOARD_PORT_8080_TCP", "tcp://10.0.0.7:8080"),
            ("SWITCHBOARD_PORT_8080_TCP_ADDR", "10.0.0.7"),
            ("SWITCHBOARD_PORT_8080_TCP_PORT", "8080"),
            ("SWITCHBOARD_PORT_8080_TCP_PROTO", "tcp"),
            ("SWITCHBOARD_WEB_PORT_8080_TCP_ADDR", "10.0.0.8"),
            ("PORT", "9000"),
        ];
        assert_eq!(config.read_environment(variables), []);
        assert_eq!(config.server.port, 9000);
        assert_eq!(config.read_environment([("SWITCHBOARD_PORT", "9001")]), []);
        assert_eq!(config.server.port, 9001);
        let unknown = [("SWITCHBOARD_SERVICES", "1"), ("SWITCHBOARD_PORTS", "1")];
        assert_eq!(config.read_environment(unknown).len(), 2);
    }

    #[cfg(unix)]
    #[test]
    fn only_variables_of_ours_must_be_utf_8() {
        use std::os::unix::ffi::OsStringExt as _;
        let broken = || OsString::from_vec(vec![b'9', 0xff]);
        let found = Config::default().read_environment([
            ("LESS_TERMCAP".into(), broken()),
            (broken(), broken()),
            (OsString::from("SWITCHBOARD_PORT"), broken()),
        ]);
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0].to_string(),
            "environment variable SWITCHBOARD_PORT: server.port: \"9\\xFF\" is not UTF-8"
        );
    }

    #[test]
    fn what_is_out_of_range_is_a_mistake() {
        for (section, bad) in [
            ("limits", "first_frame_secs = 31536001"),
            ("limits", "handshake_secs = 9223372036854775807"),
            ("limits", "frames_per_second = 1000001"),
            ("heartbeat", "ping = 0"),
            ("heartbeat", "gone = 31536001"),
            ("shutdown", "grace = 31536001"),
            ("p2p", "identify_secs = 0"),
            ("p2p", "identify_secs = 31536001"),
            ("singo", "ping_secs = 31536001"),
            ("mesh", "id_length = 7"),
            ("mesh", "id_length = 65"),
            ("mesh", "room = \"\""),
        ] {
            let found = mistakes(&format!("[{section}]\n{bad}\n"));
            assert_eq!(found.len(), 1, "{bad}: {found:?}");
        }
        let huge = [(
            "SWITCHBOARD_LIMITS_FIRST_FRAME_SECS",
            "18446744073709551615",
        )];
        assert_eq!(
            Config::default().read_environment(huge)[0].words,
            "18446744073709551615 is not from 0 to 31536000"
        );
        let most = "[limits]\nfirst_frame_secs = 31536000\nhandshake_secs = 0\nframes_per_second = 1000000\n[singo]\nping_secs = 0\n[mesh]\nid_length = 64\n";
        assert_eq!(mistakes(most), Vec::<String>::new());
    }

    #[test]
    fn a_path_serves_several_dialects_only_if_a_first_frame_tells_them_apart() {
        assert_eq!(
            mistakes("[singo]\npaths = [\"/connect\", \"/connect\"]\n"),
            ["f.toml:2: singo.paths: \"/connect\" is there twice"]
        );
        let contradictions = |text| {
            let mut config = Config::default();
            assert_eq!(config.read_toml("f", text), []);
            config.contradictions()
        };
        for bad in [
            "[singo]\npaths = [\"/ws\"]",
            "[mesh]\npaths = [\"/connect\"]",
        ] {
            let found = contradictions(bad);
            assert_eq!(found.len(), 1, "{bad}");
            assert_eq!(found[0].key, "singo.paths", "{bad}");
        }
        assert_eq!(contradictions("[mesh]\npaths = [\"/ws\"]"), []);
        assert_eq!(contradictions("[singo]\npaths = [\"/rtc\"]"), []);
    }

    #[test]
    fn a_dialect_may_have_listeners_of_its_own_that_nobody_else_has() {
        let mut config = Config::default();
        let text = "[server]\nlisten = [\"0.0.0.0:7001\"]\n[singo]\nlisten = [\"127.0.0.1:7000\", \"[::1]:7001\"]\n";
        assert_eq!(config.read_toml("f", text), []);
        assert_eq!(config.contradictions(), []);
        let alone: Vec<_> = config.listeners().iter().map(|at| at.alone).collect();
        assert_eq!(alone, [None, None, Some("singo"), Some("singo")]);
        for taken in ["127.0.0.1:8080", "127.0.0.1:7001", "0.0.0.0:7000"] {
            let text = format!("[mesh]\nlisten = [\"127.0.0.1:0\", \"{taken}\"]\n");
            assert_eq!(config.read_toml("f", &text), []);
            let found = config.contradictions();
            assert_eq!(found.len(), 1, "{taken}: {found:?}");
            let mine = found[0].key == "mesh.listen" || taken.ends_with("7000");
            assert!(mine, "{taken}: {found:?}");
        }
    }
}

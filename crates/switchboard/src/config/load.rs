//! Where settings come from: file, environment, flags; later ones win.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    path::Path,
};

use toml::de::{DeTable, DeValue};

use super::{
    Config, ConfigError, SettingSource, address,
    keys::{SettingDef, rows},
    raw_value::RawValue,
    suggest::{closest, did_you_mean, is_same},
};

/// What environment variables of ours begin with.
const ENV_PREFIX: &str = "SWITCHBOARD_";

/// Variables of the commands that are clients; they are no settings of the server.
const CLIENT_VARIABLES: [&str; 1] = ["SWITCHBOARD_URL"];

/// The setting that may also name the port, as `ADDRESS:PORT`.
const ADDR: &str = "server.addr";
const PORT: &str = "server.port";

impl Config {
    /// Takes the settings of a TOML text. `file` is what mistakes call it. Good settings are taken
    /// although others are wrong. After a syntax error the rest of the text is not read.
    pub fn read_toml(&mut self, file: &str, text: &str) -> Vec<ConfigError> {
        let (table, errors) = DeTable::parse_recoverable(text);
        let first = errors
            .iter()
            .min_by_key(|error| error.span().map_or(0, |span| span.start));
        let end = first.map(|error| error.span().map_or(0, |span| span.start));
        let mut reader = TomlReader {
            file,
            text,
            end: end.unwrap_or(usize::MAX),
            batch: SettingWriter::new(self),
        };
        reader.sections(table.get_ref());
        if let Some(error) = first {
            reader.syntax_error(error.message());
        }
        reader.batch.mistakes.sort();
        reader.batch.mistakes
    }

    /// Reads a TOML file.
    ///
    /// # Errors
    /// If the file cannot be read, in words for people.
    pub fn read_file(&mut self, path: &Path) -> Result<Vec<ConfigError>, String> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            self.origins.note_incomplete();
            format!("cannot read {name}: {error}")
        })?;
        Ok(self.read_toml(&name, &text))
    }

    /// Takes settings from environment variables: `SWITCHBOARD_LIMITS_FRAME_BYTES` is
    /// `limits.frame_bytes`, `SWITCHBOARD_Y_WEBRTC_PATHS` is `y-webrtc.paths`. In the section `server`
    /// the section's name may be left out: `SWITCHBOARD_PORT` and `SWITCHBOARD_SERVER_PORT` are
    /// `server.port`. So is `PORT`, which hosting platforms set and which ours win over. Other variables
    /// are not looked at, nor are those that Kubernetes sets for a service named `switchboard`.
    pub fn read_environment<T: Into<OsString>>(
        &mut self,
        variables: impl IntoIterator<Item = (T, T)>,
    ) -> Vec<ConfigError> {
        let variables = variables.into_iter();
        let ours = variables.filter_map(|(name, value)| own_variable(&name.into(), value.into()));
        let (port, mut ours): (Vec<_>, Vec<_>) = ours.partition(|(name, _)| name == "PORT");
        ours.sort();
        let mut mistakes = Vec::new();
        for variables in [port, ours] {
            let mut batch = SettingWriter::new(self);
            for (name, value) in variables {
                batch.take_variable(name, value);
            }
            mistakes.append(&mut batch.mistakes);
        }
        mistakes
    }

    /// Takes settings from a command line's flags: each is the flag, its `section.key` and its value.
    pub fn read_flags<'a>(
        &mut self,
        flags: impl IntoIterator<Item = (&'a str, &'a str, &'a str)>,
    ) -> Vec<ConfigError> {
        let mut batch = SettingWriter::new(self);
        for (flag, key, value) in flags {
            let given = RawValue::Untyped(value.to_owned());
            batch.take(key, &given, SettingSource::Flag(flag.to_owned()));
        }
        batch.mistakes
    }

    /// Sets `section.key` from a command line's flag.
    ///
    /// # Errors
    /// What is wrong with the value or the key.
    pub fn set(&mut self, flag: &str, key: &str, value: &str) -> Result<(), ConfigError> {
        match self.read_flags([(flag, key, value)]).pop() {
            Some(mistake) => Err(mistake),
            None => Ok(()),
        }
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

/// A variable that is meant for us. Names that are not UTF-8 are no settings, but may be meant so.
fn own_variable(name: &OsStr, value: OsString) -> Option<(String, OsString)> {
    let name = name.to_string_lossy().into_owned();
    let is_ours = name == "PORT" || name.starts_with(ENV_PREFIX);
    let is_other =
        CLIENT_VARIABLES.contains(&&*name) || is_of_kubernetes(&name, &value.to_string_lossy());
    (is_ours && !is_other).then_some((name, value))
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

impl SettingDef {
    pub(super) fn path(&self) -> String {
        format!("{}.{}", self.section, self.key)
    }

    /// The environment variables that set it.
    fn variables(&self) -> Vec<String> {
        let key = self.key.to_ascii_uppercase();
        let section = self.section.to_ascii_uppercase().replace(['.', '-'], "_");
        let mut variables = vec![format!("{ENV_PREFIX}{section}_{key}")];
        if self.section == "server" {
            variables.push(format!("{ENV_PREFIX}{key}"));
        }
        if self.path() == PORT {
            variables.push("PORT".to_owned());
        }
        variables
    }

    fn is_named_by(&self, variable: &str) -> bool {
        self.variables().iter().any(|known| known == variable)
    }
}

/// Settings that are given side by side: none of them wins over another.
struct SettingWriter<'a> {
    config: &'a mut Config,
    rows: Vec<SettingDef>,
    /// The source of each setting so far, and its value as it is shown.
    taken: BTreeMap<String, (SettingSource, String)>,
    mistakes: Vec<ConfigError>,
}

impl<'a> SettingWriter<'a> {
    fn new(config: &'a mut Config) -> Self {
        Self {
            config,
            rows: rows(),
            taken: BTreeMap::new(),
            mistakes: Vec::new(),
        }
    }

    fn mistake(&mut self, source: SettingSource, key: &str, words: String) {
        let key = key.to_owned();
        self.mistakes.push(ConfigError {
            source,
            key,
            message: words,
        });
    }

    fn take_variable(&mut self, name: String, value: OsString) {
        let row = self.rows.iter().find(|row| row.is_named_by(&name));
        let Some(key) = row.map(SettingDef::path) else {
            return self.unknown_variable(name);
        };
        let source = SettingSource::Environment(name);
        match value.into_string() {
            Ok(value) => self.take(&key, &RawValue::Untyped(value), source),
            Err(value) => self.wrong(&key, source, format!("{value:?} is not UTF-8")),
        }
    }

    fn unknown_variable(&mut self, name: String) {
        let given = name.strip_prefix(ENV_PREFIX).unwrap_or(&name);
        let meant = self.suggested_variable(given);
        let words = format!("there is no such setting{}", did_you_mean(meant.as_deref()));
        let is_meant =
            |row: &&SettingDef| meant.as_ref().is_some_and(|meant| row.is_named_by(meant));
        if let Some(row) = self.rows.iter().find(is_meant) {
            self.config.origins.note_mistaken(&row.path());
        }
        self.mistake(SettingSource::Environment(name), "", words);
    }

    /// The variable that was probably meant by one that has this behind the prefix.
    fn suggested_variable(&self, given: &str) -> Option<String> {
        let mut of_key = self.rows.iter().filter(|row| is_same(row.key, given));
        // A key that only one section has is recognized without its section.
        if let (Some(row), None) = (of_key.next(), of_key.next()) {
            return row.variables().into_iter().next();
        }
        let known: Vec<_> = self.rows.iter().flat_map(SettingDef::variables).collect();
        let known = known
            .iter()
            .filter_map(|name| name.strip_prefix(ENV_PREFIX));
        closest(given, known).map(|meant| format!("{ENV_PREFIX}{meant}"))
    }

    /// Takes the value of the setting `key`. That of `server.addr` may hold a port.
    fn take(&mut self, key: &str, given: &RawValue, source: SettingSource) {
        let text = given.text().ok().filter(|_| key == ADDR);
        match text.and_then(address::split) {
            Some((address, port)) => {
                self.put(ADDR, &RawValue::Untyped(address), source.clone());
                self.put(PORT, &RawValue::Untyped(port), source);
            }
            None => self.put(key, given, source),
        }
    }

    fn put(&mut self, key: &str, given: &RawValue, source: SettingSource) {
        let Some(row) = self.rows.iter().find(|row| row.path() == key) else {
            return self.mistake(source, key, "there is no such setting".to_owned());
        };
        if let Err(words) = (row.set)(self.config, given) {
            return self.wrong(key, source, words);
        }
        let shown = (row.show)(self.config);
        self.config.origins.note(key, source.clone());
        let earlier = self.taken.insert(key.to_owned(), (source.clone(), shown));
        let shown = &self.taken[key].1;
        if let Some((other, before)) = earlier.filter(|(_, before)| before != shown) {
            let words = format!("is {shown} here and {before} by {other}; give it once");
            self.wrong(key, source, words);
        }
    }

    /// The value of a setting is wrong, so that the value in force is not the intended one.
    fn wrong(&mut self, key: &str, source: SettingSource, words: String) {
        self.config.origins.note_mistaken(key);
        self.mistake(source, key, words);
    }
}

/// Reads a file.
struct TomlReader<'a> {
    file: &'a str,
    text: &'a str,
    /// The position of the first syntax error, if there is one.
    end: usize,
    batch: SettingWriter<'a>,
}

impl TomlReader<'_> {
    fn source(&self, at: usize) -> SettingSource {
        let before = self.text.bytes().take(at);
        SettingSource::File {
            file: self.file.to_owned(),
            line: before.filter(|byte| *byte == b'\n').count() + 1,
        }
    }

    fn syntax_error(&mut self, message: &str) {
        self.batch.config.origins.note_incomplete();
        let words = format!("{message} (the file is not read beyond this)");
        self.batch.mistake(self.source(self.end), "", words);
    }

    fn sections(&mut self, table: &DeTable<'_>) {
        for (name, section) in table {
            let at = name.span().start;
            let name = &**name.get_ref();
            match section.get_ref() {
                _ if at >= self.end => {}
                DeValue::Table(keys) if self.is_section(name) => self.keys(name, keys),
                DeValue::Table(_) => {
                    let meant = closest(name, self.batch.rows.iter().map(|row| row.section));
                    let words = format!("there is no such section{}", did_you_mean(meant));
                    self.doubt_section(meant);
                    self.batch.mistake(self.source(at), name, words);
                }
                DeValue::String(_)
                | DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_)
                | DeValue::Array(_) => {
                    let words = format!(
                        "settings stand in sections, like [limits]{}",
                        self.elsewhere(name, name)
                    );
                    self.batch.mistake(self.source(at), name, words);
                }
            }
        }
    }

    /// Whether settings stand in the section of this name, or in one within it.
    fn is_section(&self, name: &str) -> bool {
        let within = |section: &str| section.strip_prefix(name)?.chars().next();
        let mut rows = self.batch.rows.iter();
        rows.any(|row| row.section == name || within(row.section) == Some('.'))
    }

    fn keys(&mut self, section: &str, keys: &DeTable<'_>) {
        for (key, value) in keys {
            let inner = format!("{section}.{}", key.get_ref());
            if key.span().start >= self.end {
                continue;
            }
            if let (DeValue::Table(keys), true) = (value.get_ref(), self.is_section(&inner)) {
                self.keys(&inner, keys);
                continue;
            }
            let source = self.source(key.span().start);
            let is_known = self.batch.rows.iter().any(|row| row.path() == inner);
            if !is_known {
                let words = self.unknown(section, key.get_ref());
                self.batch.mistake(source, &inner, words);
            } else if value.span().end < self.end {
                let given = RawValue::of_toml(value.get_ref());
                self.batch.take(&inner, &given, source);
            }
        }
    }

    /// The error text for a key that the section does not have.
    fn unknown(&mut self, section: &str, key: &str) -> String {
        let rows = self.batch.rows.iter();
        let known: Vec<_> = rows
            .filter(|row| row.section == section)
            .map(|row| row.key)
            .collect();
        if let Some(meant) = closest(key, known.iter().copied()) {
            let path = format!("{section}.{meant}");
            self.batch.config.origins.note_mistaken(&path);
            return format!("unknown key{}", did_you_mean(Some(meant)));
        }
        match self.elsewhere(&format!("{section}.{key}"), key) {
            there if there.is_empty() => {
                format!("unknown key; [{section}] has {}", known.join(", "))
            }
            there => format!("unknown key{there}"),
        }
    }

    /// Names the section of a key that stands in the wrong place, or has the section's name in its own; empty
    /// if no section has it.
    fn elsewhere(&mut self, path: &str, key: &str) -> String {
        let is_meant = |row: &&SettingDef| {
            row.key == key || [path, key].iter().any(|name| is_same(&row.path(), name))
        };
        let Some(row) = self.batch.rows.iter().find(is_meant) else {
            return String::new();
        };
        self.batch.config.origins.note_mistaken(&row.path());
        format!("; did you mean {} in [{}]?", row.key, row.section)
    }

    /// The settings of a section whose name is misspelled are not the intended ones.
    fn doubt_section(&mut self, meant: Option<&str>) {
        let rows = self.batch.rows.iter();
        for row in rows.filter(|row| Some(row.section) == meant) {
            self.batch.config.origins.note_mistaken(&row.path());
        }
    }
}

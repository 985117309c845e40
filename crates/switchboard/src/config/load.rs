//! Loads settings from a file, the environment and flags. Later sources override earlier ones.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    path::Path,
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    Config, ConfigError, SettingSource, address,
    keys::{SettingDef, rows},
    raw_value::RawValue,
    reason::Reason,
    renamed::RenamedSetting,
    suggest::{closest, did_you_mean, is_same},
};

/// The prefix of the environment variables for settings.
const ENV_PREFIX: &str = "SWITCHBOARD_";

/// Variables of the client commands, which are not settings of the server.
const CLIENT_VARIABLES: [&str; 3] = [
    "SWITCHBOARD_URL",
    "SWITCHBOARD_ADMIN_URL",
    "SWITCHBOARD_ADMIN_TOKEN",
];

/// The setting of the address, whose value may include the port as `ADDRESS:PORT`.
const ADDR: &str = "server.addr";
const PORT: &str = "server.port";

impl Config {
    /// Applies the settings of a TOML text. `file` is its name in errors. Valid settings are applied even if others
    /// are invalid. The text is not read beyond a syntax error.
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
            writer: SettingWriter::new(self),
        };
        reader.sections(table.get_ref());
        if let Some(error) = first {
            reader.syntax_error(error.clone());
        }
        reader.writer.errors.sort();
        reader.writer.errors
    }

    /// Applies the settings of a TOML file. A file that cannot be read is one error.
    pub fn read_file(&mut self, path: &Path) -> Vec<ConfigError> {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => self.read_toml(&name, &text),
            Err(error) => {
                self.origins.mark_incomplete();
                vec![ConfigError::new(SettingSource::WholeFile(name), "", error)]
            }
        }
    }

    /// Applies settings from environment variables: `SWITCHBOARD_LIMITS_FRAME_BYTES` is `limits.frame_bytes`,
    /// `SWITCHBOARD_Y_WEBRTC_PATHS` is `y-webrtc.paths`. For the section `server` the section's name may be left out:
    /// `SWITCHBOARD_PORT` and `SWITCHBOARD_SERVER_PORT` are `server.port`. `PORT`, which hosting platforms set, is
    /// `server.port` too, with a lower precedence. Other variables are ignored, and so are those that Kubernetes sets
    /// for a service named `switchboard`.
    pub fn read_environment<T: Into<OsString>>(
        &mut self,
        variables: impl IntoIterator<Item = (T, T)>,
    ) -> Vec<ConfigError> {
        let variables = variables.into_iter();
        let ours = variables.filter_map(|(name, value)| own_variable(&name.into(), value.into()));
        let (port, mut ours): (Vec<_>, Vec<_>) = ours.partition(|(name, _)| name == "PORT");
        ours.sort();
        let mut errors = Vec::new();
        for variables in [port, ours] {
            let mut writer = SettingWriter::new(self);
            for (name, value) in variables {
                writer.apply_variable(name, value);
            }
            errors.append(&mut writer.errors);
        }
        errors
    }

    /// Applies settings from command-line flags. Each item is the flag, its `section.key` and its value.
    pub fn read_flags<'a>(
        &mut self,
        flags: impl IntoIterator<Item = (&'a str, &'a str, &'a str)>,
    ) -> Vec<ConfigError> {
        let mut writer = SettingWriter::new(self);
        for (flag, key, value) in flags {
            let raw = RawValue::Untyped(value.to_owned());
            writer.apply(key, &raw, SettingSource::Flag(flag.to_owned()));
        }
        writer.errors
    }

    /// Sets `section.key` from a command-line flag.
    ///
    /// # Errors
    /// If the key is unknown or the value is invalid.
    pub fn set(&mut self, flag: &str, key: &str, value: &str) -> Result<(), ConfigError> {
        match self.read_flags([(flag, key, value)]).pop() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// The current settings as TOML, each with its description.
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

/// The variable, if it is for Switchboard. Invalid UTF-8 in its name is replaced, so the variable is reported as
/// unknown.
fn own_variable(name: &OsStr, value: OsString) -> Option<(String, OsString)> {
    let name = name.to_string_lossy().into_owned();
    let is_ours = name == "PORT" || name.starts_with(ENV_PREFIX);
    let is_other =
        CLIENT_VARIABLES.contains(&&*name) || is_of_kubernetes(&name, &value.to_string_lossy());
    (is_ours && !is_other).then_some((name, value))
}

/// Whether Kubernetes has set a variable. It announces each service to every pod by variables that begin with the
/// service's name: with a service named `switchboard`, `SWITCHBOARD_PORT` is `tcp://…`.
fn is_of_kubernetes(name: &str, value: &str) -> bool {
    name.contains("_SERVICE_")
        || name.contains("_PORT_")
        || ["tcp://", "udp://", "sctp://"]
            .iter()
            .any(|scheme| value.starts_with(scheme))
}

impl SettingDef {
    pub(super) fn path(&self) -> String {
        match self.section {
            "" => self.key.to_owned(),
            section => format!("{section}.{}", self.key),
        }
    }

    /// The environment variables that set this setting.
    fn variables(&self) -> Vec<String> {
        let key = self.key.to_ascii_uppercase();
        let section = self.section.to_ascii_uppercase().replace(['.', '-'], "_");
        if section.is_empty() {
            return vec![format!("{ENV_PREFIX}{key}")];
        }
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

/// Applies the settings of one source. Two different values for one setting are an error.
struct SettingWriter<'a> {
    config: &'a mut Config,
    rows: Vec<SettingDef>,
    /// The source and the value, as TOML, of each setting so far.
    applied: BTreeMap<String, (SettingSource, String)>,
    errors: Vec<ConfigError>,
}

impl<'a> SettingWriter<'a> {
    fn new(config: &'a mut Config) -> Self {
        Self {
            config,
            rows: rows(),
            applied: BTreeMap::new(),
            errors: Vec::new(),
        }
    }

    fn error(&mut self, source: SettingSource, key: &str, reason: Reason) {
        self.errors.push(ConfigError::new(source, key, reason));
    }

    /// The name of a setting that may be written with its old name, which is noted for a warning.
    fn current_name(&mut self, key: String, source: &SettingSource) -> String {
        let Some(renamed) = RenamedSetting::of_key(&key) else {
            return key;
        };
        self.config.origins.record_renamed(renamed, source.clone());
        renamed.new.to_owned()
    }

    fn apply_variable(&mut self, name: String, value: OsString) {
        let row = self.rows.iter().find(|row| row.is_named_by(&name));
        let renamed = RenamedSetting::of_variable(&name);
        let old = renamed.map(|setting| setting.old.to_owned());
        let Some(key) = row.map(SettingDef::path).or(old) else {
            return self.unknown_variable(name);
        };
        let source = SettingSource::Environment(name);
        let key = self.current_name(key, &source);
        match value.into_string() {
            Ok(value) => self.apply(&key, &RawValue::Untyped(value), source),
            // The value may be a password.
            Err(_) => self.invalid_value(&key, source, Reason::NotUtf8),
        }
    }

    fn unknown_variable(&mut self, name: String) {
        let variable = name.strip_prefix(ENV_PREFIX).unwrap_or(&name);
        let meant = self.suggested_variable(variable);
        let reason = Reason::Unknown {
            kind: "setting",
            hint: did_you_mean(meant.as_deref()),
        };
        let is_meant =
            |row: &&SettingDef| meant.as_ref().is_some_and(|meant| row.is_named_by(meant));
        if let Some(row) = self.rows.iter().find(is_meant) {
            self.config.origins.mark_invalid(&row.path());
        }
        self.error(SettingSource::Environment(name), "", reason);
    }

    /// The variable to suggest for an unknown one, given without its prefix.
    fn suggested_variable(&self, variable: &str) -> Option<String> {
        let mut of_key = self.rows.iter().filter(|row| is_same(row.key, variable));
        // A key that exists in only one section is recognized without the section's name.
        if let (Some(row), None) = (of_key.next(), of_key.next()) {
            return row.variables().into_iter().next();
        }
        let known: Vec<_> = self.rows.iter().flat_map(SettingDef::variables).collect();
        let known = known
            .iter()
            .filter_map(|name| name.strip_prefix(ENV_PREFIX));
        closest(variable, known).map(|meant| format!("{ENV_PREFIX}{meant}"))
    }

    /// Applies a value to the setting `key`. A value of `server.addr` may include the port.
    fn apply(&mut self, key: &str, raw: &RawValue, source: SettingSource) {
        let text = raw.text().ok().filter(|_| key == ADDR);
        match text.and_then(address::split) {
            Some((address, port)) => {
                self.set_value(ADDR, &RawValue::Untyped(address), source.clone());
                self.set_value(PORT, &RawValue::Untyped(port), source);
            }
            None => self.set_value(key, raw, source),
        }
    }

    fn set_value(&mut self, key: &str, raw: &RawValue, source: SettingSource) {
        let Some(row) = self.rows.iter().find(|row| row.path() == key) else {
            let (kind, hint) = ("setting", String::new());
            return self.error(source, key, Reason::Unknown { kind, hint });
        };
        if let Err(reason) = (row.set)(self.config, raw) {
            return self.invalid_value(key, source, reason);
        }
        let shown = (row.show)(self.config);
        self.config.origins.record(key, source.clone());
        let earlier = self.applied.insert(key.to_owned(), (source.clone(), shown));
        let shown = &self.applied[key].1;
        if let Some((other, before)) = earlier.filter(|(_, before)| before != shown) {
            let reason = Reason::SetTwice {
                here: shown.clone(),
                earlier: before,
                other,
            };
            self.invalid_value(key, source, reason);
        }
    }

    /// Adds an error for an invalid value and marks the setting as invalid.
    fn invalid_value(&mut self, key: &str, source: SettingSource, reason: Reason) {
        self.config.origins.mark_invalid(key);
        self.error(source, key, reason);
    }
}

/// Applies the settings of a TOML document.
struct TomlReader<'a> {
    file: &'a str,
    text: &'a str,
    /// The byte position of the first syntax error, where reading ends; `usize::MAX` without an error.
    end: usize,
    writer: SettingWriter<'a>,
}

impl TomlReader<'_> {
    fn source(&self, at: usize) -> SettingSource {
        let before = self.text.bytes().take(at);
        SettingSource::File {
            file: self.file.to_owned(),
            line: before.filter(|byte| *byte == b'\n').count() + 1,
        }
    }

    fn syntax_error(&mut self, error: toml::de::Error) {
        self.writer.config.origins.mark_incomplete();
        let source = self.source(self.end);
        self.writer.error(source, "", Reason::Syntax(error));
    }

    fn sections(&mut self, table: &DeTable<'_>) {
        for (name, section) in table {
            let at = name.span().start;
            let name = &**name.get_ref();
            match section.get_ref() {
                _ if at >= self.end => {}
                _ if self.is_top_level(name) => self.setting(name, section, self.source(at)),
                DeValue::Table(keys) if self.is_section(name) => self.keys(name, keys),
                DeValue::Table(_) => {
                    let meant = closest(name, self.writer.rows.iter().map(|row| row.section));
                    let (kind, hint) = ("section", did_you_mean(meant));
                    self.mark_section_invalid(meant);
                    let reason = Reason::Unknown { kind, hint };
                    self.writer.error(self.source(at), name, reason);
                }
                DeValue::String(_)
                | DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_)
                | DeValue::Array(_) => {
                    let hint = self.other_section_hint(name, name);
                    self.writer
                        .error(self.source(at), name, Reason::NoSection { hint });
                }
            }
        }
    }

    /// Whether this is a setting outside the sections, like the list of tables `[[rooms]]`.
    fn is_top_level(&self, name: &str) -> bool {
        let mut rows = self.writer.rows.iter();
        rows.any(|row| row.section.is_empty() && row.key == name)
    }

    /// Whether this section or one of its subsections has settings.
    fn is_section(&self, name: &str) -> bool {
        let char_after_name = |section: &str| section.strip_prefix(name)?.chars().next();
        let mut rows = self.writer.rows.iter();
        rows.any(|row| row.section == name || char_after_name(row.section) == Some('.'))
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
            let inner = self.writer.current_name(inner, &source);
            let is_known = self.writer.rows.iter().any(|row| row.path() == inner);
            if !is_known {
                let (kind, hint) = ("key", self.unknown_key_hint(section, key.get_ref()));
                self.writer
                    .error(source, &inner, Reason::Unknown { kind, hint });
            } else {
                self.setting(&inner, value, source);
            }
        }
    }

    /// Applies the value of a known setting, unless it is not complete because of the syntax error.
    fn setting(&mut self, key: &str, value: &Spanned<DeValue<'_>>, source: SettingSource) {
        if value.span().end < self.end {
            let raw = RawValue::of_toml(value.get_ref());
            self.writer.apply(key, &raw, source);
        }
    }

    /// The hint after "unknown key": a similar key, another section, or the keys of the section. The file probably means
    /// the suggested setting, whose current value is then not the intended one, so that setting is marked as invalid.
    fn unknown_key_hint(&mut self, section: &str, key: &str) -> String {
        let rows = self.writer.rows.iter();
        let known: Vec<_> = rows
            .filter(|row| row.section == section)
            .map(|row| row.key)
            .collect();
        if let Some(meant) = closest(key, known.iter().copied()) {
            let path = format!("{section}.{meant}");
            self.writer.config.origins.mark_invalid(&path);
            return did_you_mean(Some(meant));
        }
        match self.other_section_hint(&format!("{section}.{key}"), key) {
            hint if hint.is_empty() => format!("; [{section}] has {}", known.join(", ")),
            hint => hint,
        }
    }

    /// The suggestion of another section for a key that is in the wrong section, or whose name includes that of the
    /// section. Empty if no section has the key. Marks the suggested setting as invalid.
    fn other_section_hint(&mut self, path: &str, key: &str) -> String {
        let is_meant = |row: &&SettingDef| {
            row.key == key || [path, key].iter().any(|name| is_same(&row.path(), name))
        };
        let Some(row) = self.writer.rows.iter().find(is_meant) else {
            return String::new();
        };
        self.writer.config.origins.mark_invalid(&row.path());
        format!("; did you mean {} in [{}]?", row.key, row.section)
    }

    /// Marks the settings of the section `meant` as invalid. The file probably means this section by a misspelled name,
    /// so the current values are not the intended ones.
    fn mark_section_invalid(&mut self, meant: Option<&str>) {
        let rows = self.writer.rows.iter();
        for row in rows.filter(|row| Some(row.section) == meant) {
            self.writer.config.origins.mark_invalid(&row.path());
        }
    }
}

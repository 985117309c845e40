//! Errors in settings, and the source of each setting.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fmt,
};

use super::{reason::Reason, renamed::RenamedSetting};

/// The source of a setting. A source that is read later, and a later line, is greater.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum SettingSource {
    /// A whole file, of this path.
    WholeFile(String),
    /// A line of a file.
    File {
        /// The path of the file, as given by the user.
        file: String,
        /// The line number, counted from 1.
        line: usize,
    },
    /// The environment variable of this name.
    Environment(String),
    /// The command-line flag of this name.
    Flag(String),
    /// A conflict between settings that have no source, because a program has set them.
    CrossField,
}

impl fmt::Display for SettingSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WholeFile(file) => f.write_str(file),
            Self::File { file, line } => write!(f, "{file}:{line}"),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
            Self::CrossField => f.write_str("settings in force"),
        }
    }
}

/// An error in a setting. Errors are ordered by their origin: files by line, then environment variables, then flags.
///
/// Its text has the origin, the key and the reason. [`Error::source`] is the cause of the reason, if there is one.
#[derive(Debug)]
#[non_exhaustive]
pub struct ConfigError {
    /// The source of the setting.
    pub origin: SettingSource,
    /// The key, as `section.key`; empty if the error is not in a setting, as in a file that is not TOML.
    pub key: String,
    reason: Box<Reason>,
}

impl ConfigError {
    pub(super) fn new(origin: SettingSource, key: &str, reason: impl Into<Reason>) -> Self {
        Self {
            origin,
            key: key.to_owned(),
            reason: Box::new(reason.into()),
        }
    }

    /// The reason, without origin and key.
    #[must_use]
    pub fn message(&self) -> String {
        self.reason.to_string()
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        self.reason.fmt(f)
    }
}

impl Error for ConfigError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.reason.source()
    }
}

impl PartialEq for ConfigError {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for ConfigError {}

impl PartialOrd for ConfigError {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ConfigError {
    fn cmp(&self, other: &Self) -> Ordering {
        let place = (&self.origin, &self.key).cmp(&(&other.origin, &other.key));
        place.then_with(|| self.message().cmp(&other.message()))
    }
}

/// The source of each setting. A setting without a source has its default.
#[derive(Clone, Debug, Default)]
pub struct SettingSources {
    by_key: BTreeMap<String, SettingSource>,
    /// Settings with an invalid value, so that the current value is not the intended one.
    invalid: BTreeSet<String>,
    /// Whether a file was not read to its end.
    is_incomplete: bool,
    /// The settings that are written with their old names.
    renamed: Vec<(RenamedSetting, SettingSource)>,
}

impl SettingSources {
    /// Notes that a setting is written with its old name.
    pub(super) fn record_renamed(&mut self, setting: RenamedSetting, source: SettingSource) {
        self.renamed.push((setting, source));
    }

    /// The warnings about settings that are written with their old names.
    pub(super) fn renamed(&self) -> impl Iterator<Item = ConfigError> {
        let renamed = self.renamed.iter();
        renamed.map(|(setting, source)| setting.warning(source.clone()))
    }

    /// The source of the setting `section.key`; `None` if it has its default.
    #[must_use]
    pub fn of(&self, key: &str) -> Option<&SettingSource> {
        self.by_key.get(key)
    }

    pub(super) fn record(&mut self, key: &str, source: SettingSource) {
        self.by_key.insert(key.to_owned(), source);
    }

    pub(super) fn mark_invalid(&mut self, key: &str) {
        self.invalid.insert(key.to_owned());
    }

    pub(super) fn mark_incomplete(&mut self) {
        self.is_incomplete = true;
    }

    /// Whether the current value of `section.key` is the intended one: no error has hidden another value.
    #[must_use]
    pub fn is_certain(&self, key: &str) -> bool {
        !self.is_incomplete && !self.invalid.contains(key)
    }
}

//! Mistakes in settings, and where each setting was given.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// The source of a setting. A source that is read later, and a later line, is greater.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SettingSource {
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
    /// By settings that do not go together and that were not read by this program.
    CrossField,
}

impl fmt::Display for SettingSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line } => write!(f, "{file}:{line}"),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
            Self::CrossField => f.write_str("settings in force"),
        }
    }
}

/// A mistake in a setting. Mistakes are ordered by their source: files by line, then
/// environment variables, then flags.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigError {
    /// The source of the setting.
    pub source: SettingSource,
    /// The key, as `section.key`; empty if the mistake is in no setting, as in a file that is no TOML.
    pub key: String,
    /// The error text.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.source)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// The source of each setting in force. A setting without an origin has its default.
#[derive(Clone, Debug, Default)]
pub struct SettingSources {
    by_key: BTreeMap<String, SettingSource>,
    /// Settings that were given with a mistake, so that the value in force is not the intended one.
    mistaken: BTreeSet<String>,
    /// Whether a file could not be read to its end.
    is_incomplete: bool,
}

impl SettingSources {
    /// The source of the setting `section.key`, unless it has its default.
    #[must_use]
    pub fn of(&self, key: &str) -> Option<&SettingSource> {
        self.by_key.get(key)
    }

    pub(super) fn note(&mut self, key: &str, source: SettingSource) {
        self.by_key.insert(key.to_owned(), source);
    }

    pub(super) fn note_mistaken(&mut self, key: &str) {
        self.mistaken.insert(key.to_owned());
    }

    pub(super) fn note_incomplete(&mut self) {
        self.is_incomplete = true;
    }

    /// Whether the value in force of `section.key` is the intended one: no mistake is in the way.
    #[must_use]
    pub fn is_certain(&self, key: &str) -> bool {
        !self.is_incomplete && !self.mistaken.contains(key)
    }
}

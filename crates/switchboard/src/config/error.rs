//! Errors in settings, and the source of each setting.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// The source of a setting. A source that is read later, and a later line, is greater.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SettingSource {
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
            Self::File { file, line } => write!(f, "{file}:{line}"),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
            Self::CrossField => f.write_str("settings in force"),
        }
    }
}

/// An error in a setting. Errors are ordered by their source: files by line, then environment variables, then flags.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigError {
    /// The source of the setting.
    pub source: SettingSource,
    /// The key, as `section.key`; empty if the error is not in a setting, as in a file that is not TOML.
    pub key: String,
    /// The error text, without source and key.
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

/// The source of each setting. A setting without a source has its default.
#[derive(Clone, Debug, Default)]
pub struct SettingSources {
    by_key: BTreeMap<String, SettingSource>,
    /// Settings with an invalid value, so that the current value is not the intended one.
    invalid: BTreeSet<String>,
    /// Whether a file was not read to its end.
    is_incomplete: bool,
}

impl SettingSources {
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

//! Settings that belong to one dialect, declared in its own file.

use std::{collections::BTreeMap, ops::RangeInclusive};

use switchboard_core::DialectName;

/// The value of a dialect's setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number, not negative.
    Int(u64),
    /// Yes or no.
    Flag(bool),
    /// A text.
    Text(String),
}

/// One setting: its key within the dialect's section, its default, and what it does.
#[derive(Debug)]
pub struct Setting {
    /// The key.
    pub key: &'static str,
    /// What it does, in one line.
    pub doc: &'static str,
    /// The value unless the configuration says otherwise.
    pub default: fn() -> Value,
    /// What a number may be, or how many bytes a text may have. Says nothing of a flag.
    pub range: RangeInclusive<u64>,
}

impl Setting {
    /// Whether the value is in the range.
    ///
    /// # Errors
    /// What is wrong with it, in words for people.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        let (start, end) = (self.range.start(), self.range.end());
        match value {
            Value::Int(number) if !self.range.contains(number) => {
                Err(format!("{number} is not from {start} to {end}"))
            }
            Value::Text(text) if !self.range.contains(&(text.len() as u64)) => {
                Err(format!("{text:?} has not from {start} to {end} bytes"))
            }
            Value::Int(_) | Value::Flag(_) | Value::Text(_) => Ok(()),
        }
    }
}

/// A year, the longest time that can be set: a clock can count further ahead, but not without end.
pub const SECS_MAX: u64 = 365 * 24 * 60 * 60;

/// The settings in force. Empty means: all defaults.
#[derive(Clone, Debug, Default)]
pub struct Settings(BTreeMap<(DialectName, &'static str), Value>);

impl Settings {
    /// Sets one. The caller has checked that it is of the default's kind and in the range.
    pub fn set(&mut self, dialect: DialectName, setting: &'static Setting, value: Value) {
        self.0.insert((dialect, setting.key), value);
    }

    /// What is in force.
    #[must_use]
    pub fn get(&self, dialect: DialectName, setting: &Setting) -> Value {
        self.0
            .get(&(dialect, setting.key))
            .cloned()
            .unwrap_or_else(setting.default)
    }

    /// A number in force; 0 if the setting is no number.
    #[must_use]
    pub fn int(&self, dialect: DialectName, setting: &Setting) -> u64 {
        match self.get(dialect, setting) {
            Value::Int(value) => value,
            Value::Flag(_) | Value::Text(_) => 0,
        }
    }

    /// A yes or no in force; no if the setting is neither.
    #[must_use]
    pub fn flag(&self, dialect: DialectName, setting: &Setting) -> bool {
        self.get(dialect, setting) == Value::Flag(true)
    }

    /// A text in force; empty if the setting is none.
    #[must_use]
    pub fn text(&self, dialect: DialectName, setting: &Setting) -> String {
        match self.get(dialect, setting) {
            Value::Text(value) => value,
            Value::Int(_) | Value::Flag(_) => String::new(),
        }
    }
}

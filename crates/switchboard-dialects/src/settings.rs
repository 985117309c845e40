//! Settings of the dialects. Each dialect declares its settings in its own file.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use switchboard_core::DialectName;
use thiserror::Error;

use crate::{Dialect, DialectNameError, DialectTable, ice::IceServers};

/// The value of a setting of a dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingValue {
    /// A non-negative integer.
    Int(u64),
    /// A boolean value.
    Flag(bool),
    /// A text, bounded in bytes.
    Text(String),
    /// The `http` or `https` URL of a web service, or an empty text.
    Url(String),
}

/// The declaration of a setting.
#[derive(Debug)]
pub struct DialectSetting {
    /// The key within the configuration section of the dialect.
    pub key: &'static str,
    /// The description for operators, in one line.
    pub doc: &'static str,
    /// The default value.
    pub default: fn() -> SettingValue,
    /// The valid numbers, or the valid lengths of a text or URL in bytes. Not used for a flag.
    pub range: RangeInclusive<u64>,
}

impl DialectSetting {
    /// Checks that the value is in the range and that a URL is well-formed.
    ///
    /// # Errors
    /// If the value is not valid.
    pub fn check(&self, value: &SettingValue) -> Result<(), SettingError> {
        match value {
            SettingValue::Int(number) if !self.range.contains(number) => {
                Err(SettingError::OutOfRange {
                    value: *number,
                    range: self.range.clone(),
                })
            }
            SettingValue::Text(text) | SettingValue::Url(text)
                if !self.range.contains(&(text.len() as u64)) =>
            {
                Err(SettingError::Length {
                    bytes: text.len(),
                    text: without_login(text),
                    range: self.range.clone(),
                })
            }
            SettingValue::Url(url) if !url.is_empty() && !is_web_address(url) => {
                Err(SettingError::NotAUrl(without_login(url)))
            }
            SettingValue::Int(_)
            | SettingValue::Flag(_)
            | SettingValue::Text(_)
            | SettingValue::Url(_) => Ok(()),
        }
    }
}

/// The reason why a value is not valid for a setting of a dialect.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettingError {
    /// A number is out of range.
    #[error("{value} is not from {} to {}", range.start(), range.end())]
    OutOfRange {
        /// The number in the settings.
        value: u64,
        /// The valid numbers.
        range: RangeInclusive<u64>,
    },
    /// A text is too short or too long.
    #[error("{text:?} has {bytes} bytes; {} to {} are allowed", range.start(), range.end())]
    Length {
        /// The length of the text in the settings.
        bytes: usize,
        /// The text, without the login of a URL.
        text: String,
        /// The valid lengths in bytes.
        range: RangeInclusive<u64>,
    },
    /// A text is not a URL to which requests can be sent. The login of a URL is not shown.
    #[error("{0:?} is not an address like \"http://localhost:8081/path\"")]
    NotAUrl(String),
}

/// A setting of a dialect whose value contradicts another setting, or is useless by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingConflict {
    /// The key within the section of the dialect.
    pub key: &'static str,
    /// The other setting, as `section.key`; `None` if the value is useless by itself.
    pub with: Option<&'static str>,
    /// The rule between the first setting and the second: "must not be greater than".
    pub rule: &'static str,
    /// The consequence if the rule is broken: "no client could connect".
    pub why: &'static str,
}

impl SettingConflict {
    /// A conflict of a setting with `limits.name_bytes`, which bounds the names of clients and rooms.
    #[must_use]
    pub fn with_name_bytes(key: &'static str, rule: &'static str, why: &'static str) -> Self {
        Self {
            key,
            with: Some("limits.name_bytes"),
            rule,
            why,
        }
    }
}

/// The text with `…` for the login of a URL, which may be a password.
fn without_login(text: &str) -> String {
    match (text.find("://"), text.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 <= at => {
            format!("{}…{}", &text[..scheme + 3], &text[at..])
        }
        (Some(_) | None, Some(_) | None) => text.to_owned(),
    }
}

/// Whether the text is an `http` or `https` URL with a host, without user information and fragment.
fn is_web_address(text: &str) -> bool {
    let rest = ["http://", "https://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    let authority = rest.and_then(|rest| rest.split(['/', '?']).next());
    authority.is_some_and(|authority| !authority.is_empty() && !authority.contains('@'))
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b'#')
}

/// The largest number of seconds of a setting: one year. With it, the sum of a clock and a setting cannot overflow.
pub const SECS_MAX: u64 = 365 * 24 * 60 * 60;

/// The configured settings of all dialects. A setting that was not set has its default.
#[derive(Clone, Debug, Default)]
pub struct DialectSettings {
    values: BTreeMap<(DialectName, &'static str), SettingValue>,
    /// The disabled dialects.
    off: BTreeSet<DialectName>,
    /// The STUN and TURN servers that are sent to clients.
    ice: IceServers,
    /// The dialects that exist.
    table: DialectTable,
}

impl DialectSettings {
    /// Sets a value. The caller has checked it by [`DialectSetting::check`], and that it has the type of the default.
    pub fn set(
        &mut self,
        dialect: DialectName,
        setting: &'static DialectSetting,
        value: SettingValue,
    ) {
        self.values.insert((dialect, setting.key), value);
    }

    /// Enables or disables a dialect. A disabled dialect is not detected and not served.
    pub fn set_enabled(&mut self, dialect: DialectName, is_enabled: bool) {
        match is_enabled {
            true => self.off.remove(dialect),
            false => self.off.insert(dialect),
        };
    }

    /// Whether a dialect is enabled.
    #[must_use]
    pub fn is_enabled(&self, dialect: &str) -> bool {
        !self.off.contains(dialect)
    }

    /// Replaces the values of all settings by those of `other`. The dialects that exist and are enabled stay the same.
    pub fn replace_values(&mut self, other: Self) {
        self.values = other.values;
    }

    /// Adds dialects of the host program. They are enabled.
    ///
    /// # Errors
    /// The first name that is empty, reserved or in use. No dialect is added then.
    pub fn add_dialects(&mut self, more: &[&'static dyn Dialect]) -> Result<(), DialectNameError> {
        self.table = self.table.with(more)?;
        Ok(())
    }

    /// The dialects that exist, enabled or not.
    #[must_use]
    pub fn table(&self) -> DialectTable {
        self.table
    }

    /// Sets the STUN and TURN servers that are sent to clients.
    pub fn set_ice_servers(&mut self, ice: IceServers) {
        self.ice = ice;
    }

    /// The STUN and TURN servers that are sent to clients.
    #[must_use]
    pub fn ice_servers(&self) -> &IceServers {
        &self.ice
    }

    /// The value of a setting, or its default if it was not set.
    #[must_use]
    pub fn get(&self, dialect: DialectName, setting: &DialectSetting) -> SettingValue {
        self.values
            .get(&(dialect, setting.key))
            .cloned()
            .unwrap_or_else(setting.default)
    }

    /// The value of a numeric setting; 0 if the setting has another type.
    #[must_use]
    pub fn int(&self, dialect: DialectName, setting: &DialectSetting) -> u64 {
        match self.get(dialect, setting) {
            SettingValue::Int(value) => value,
            SettingValue::Flag(_) | SettingValue::Text(_) | SettingValue::Url(_) => 0,
        }
    }

    /// The value of a boolean setting; false if the setting has another type.
    #[must_use]
    pub fn flag(&self, dialect: DialectName, setting: &DialectSetting) -> bool {
        self.get(dialect, setting) == SettingValue::Flag(true)
    }

    /// The value of a text or URL setting; empty if the setting has another type.
    #[must_use]
    pub fn text(&self, dialect: DialectName, setting: &DialectSetting) -> String {
        match self.get(dialect, setting) {
            SettingValue::Text(value) | SettingValue::Url(value) => value,
            SettingValue::Int(_) | SettingValue::Flag(_) => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_accepts_http_urls_and_rejects_others() {
        let setting = DialectSetting {
            key: "url",
            doc: "",
            default: || SettingValue::Url(String::new()),
            range: 0..=64,
        };
        let check = |url: &str| setting.check(&SettingValue::Url(url.to_owned()));
        for fine in [
            "",
            "http://a",
            "https://a.example:81/hook?key=1",
            "http://[::1]/",
        ] {
            assert_eq!(check(fine), Ok(()), "{fine}");
        }
        let long = format!("http://{}", "a".repeat(64));
        for bad in [
            "a",
            "ftp://a",
            "http://",
            "http:///a",
            "http://ada:key@a/",
            "http://a b",
            "http://a#b",
            &long,
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn errors_do_not_show_the_login_of_a_url() {
        let setting = DialectSetting {
            key: "url",
            doc: "",
            default: || SettingValue::Url(String::new()),
            range: 0..=24,
        };
        for url in ["http://ada:key@a/", "http://ada:key@a.example.org/hook"] {
            let error = setting.check(&SettingValue::Url(url.to_owned()));
            let text = error.unwrap_err().to_string();
            assert!(
                text.contains("http://…@a") && !text.contains("key"),
                "{text}"
            );
        }
    }
}

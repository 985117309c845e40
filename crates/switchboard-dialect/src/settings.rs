//! Settings that belong to one dialect, declared in its own file.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use switchboard_core::DialectName;

use crate::ice::IceServers;

/// The value of a dialect's setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingValue {
    /// A number, not negative.
    Int(u64),
    /// Yes or no.
    Flag(bool),
    /// A text.
    Text(String),
    /// The address of a web service, `http` or `https`; or empty.
    Url(String),
}

/// One setting: its key within the dialect's section, its default, and what it does.
#[derive(Debug)]
pub struct DialectSetting {
    /// The key.
    pub key: &'static str,
    /// What it does, in one line.
    pub doc: &'static str,
    /// The value unless the configuration says otherwise.
    pub default: fn() -> SettingValue,
    /// What a number may be, or how many bytes a text or an address may have. Says nothing of a flag.
    pub range: RangeInclusive<u64>,
}

impl DialectSetting {
    /// Whether the value is in the range.
    ///
    /// # Errors
    /// What is wrong with it, in words for people.
    pub fn check(&self, value: &SettingValue) -> Result<(), String> {
        let (start, end) = (self.range.start(), self.range.end());
        match value {
            SettingValue::Int(number) if !self.range.contains(number) => {
                Err(format!("{number} is not from {start} to {end}"))
            }
            SettingValue::Text(text) | SettingValue::Url(text)
                if !self.range.contains(&(text.len() as u64)) =>
            {
                Err(format!("{text:?} has not from {start} to {end} bytes"))
            }
            SettingValue::Url(url) if !url.is_empty() && !is_web_address(url) => Err(format!(
                "{url:?} is not an address like \"http://localhost:8081/path\""
            )),
            SettingValue::Int(_)
            | SettingValue::Flag(_)
            | SettingValue::Text(_)
            | SettingValue::Url(_) => Ok(()),
        }
    }
}

/// A setting of a dialect that is of no use together with another setting, or at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingConflict {
    /// The key within the dialect's section.
    pub key: &'static str,
    /// The other setting, as `section.key`; none if the value alone is of no use.
    pub with: Option<&'static str>,
    /// The rule between the first setting and the second: "must not be greater than".
    pub rule: &'static str,
    /// The consequence of a breach of the rule.
    pub why: &'static str,
}

impl SettingConflict {
    /// The conflict of a setting with `limits.name_bytes`, which bounds the names of clients and rooms.
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

/// Whether this is an address with a host, of which nothing is for browsers alone.
fn is_web_address(text: &str) -> bool {
    let rest = ["http://", "https://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    let authority = rest.and_then(|rest| rest.split(['/', '?']).next());
    authority.is_some_and(|authority| !authority.is_empty() && !authority.contains('@'))
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b'#')
}

/// A year, the longest time that can be set: a clock can count further ahead, but not without end.
pub const SECS_MAX: u64 = 365 * 24 * 60 * 60;

/// The settings in force. Empty means: all defaults.
#[derive(Clone, Debug, Default)]
pub struct DialectSettings {
    values: BTreeMap<(DialectName, &'static str), SettingValue>,
    /// The dialects that are switched off.
    off: BTreeSet<DialectName>,
    /// The STUN and TURN servers that clients are told.
    ice: IceServers,
}

impl DialectSettings {
    /// Sets one. The caller has checked that it is of the default's kind and in the range.
    pub fn set(
        &mut self,
        dialect: DialectName,
        setting: &'static DialectSetting,
        value: SettingValue,
    ) {
        self.values.insert((dialect, setting.key), value);
    }

    /// Switches a dialect on or off. A dialect that is off is not spoken to any client.
    pub fn set_enabled(&mut self, dialect: DialectName, is_enabled: bool) {
        match is_enabled {
            true => self.off.remove(dialect),
            false => self.off.insert(dialect),
        };
    }

    /// Whether a dialect is not switched off.
    #[must_use]
    pub fn is_enabled(&self, dialect: &str) -> bool {
        !self.off.contains(dialect)
    }

    /// Sets the STUN and TURN servers that clients are told.
    pub fn set_ice_servers(&mut self, ice: IceServers) {
        self.ice = ice;
    }

    /// The STUN and TURN servers that clients are told.
    #[must_use]
    pub fn ice_servers(&self) -> &IceServers {
        &self.ice
    }

    /// What is in force.
    #[must_use]
    pub fn get(&self, dialect: DialectName, setting: &DialectSetting) -> SettingValue {
        self.values
            .get(&(dialect, setting.key))
            .cloned()
            .unwrap_or_else(setting.default)
    }

    /// A number in force; 0 if the setting is no number.
    #[must_use]
    pub fn int(&self, dialect: DialectName, setting: &DialectSetting) -> u64 {
        match self.get(dialect, setting) {
            SettingValue::Int(value) => value,
            SettingValue::Flag(_) | SettingValue::Text(_) | SettingValue::Url(_) => 0,
        }
    }

    /// A yes or no in force; no if the setting is neither.
    #[must_use]
    pub fn flag(&self, dialect: DialectName, setting: &DialectSetting) -> bool {
        self.get(dialect, setting) == SettingValue::Flag(true)
    }

    /// A text or address in force; empty if the setting is none.
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
    fn an_address_is_checked_when_it_is_set() {
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
}

//! The difference between two sets of settings, and the settings that a running server can change.

use super::{Config, keys::rows};

/// The sections whose settings a running server changes for later connections and requests.
const RELOADED_SECTIONS: [&str; 5] = ["access", "access.jwt", "limits", "ice", "ice.turn"];

/// Further settings that a running server changes.
const RELOADED_KEYS: [&str; 2] = ["log.level", "rooms"];

/// Settings of these sections that need a restart after all.
const NOT_RELOADED: [&str; 4] = [
    "limits.handshake_secs",
    "limits.keep_alive_secs",
    "access.cookie",
    "access.unauthenticated_per_address",
];

/// The settings that differ between two sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SettingChanges {
    /// Those that a running server can change.
    pub(crate) reloaded: Vec<String>,
    /// Those that need a restart.
    pub(crate) needs_restart: Vec<String>,
}

impl Config {
    /// The settings that differ in `other`. Secrets are shown as `***`, so a new secret in place of another is not
    /// listed; it is applied all the same.
    pub(crate) fn changes(&self, other: &Self) -> SettingChanges {
        let mut changes = SettingChanges::default();
        for row in rows() {
            if (row.show)(self) == (row.show)(other) {
                continue;
            }
            let path = row.path();
            match self.is_reloaded(row.section, &path) {
                true => changes.reloaded.push(path),
                false => changes.needs_restart.push(path),
            }
        }
        changes
    }

    /// These settings with those of `new` that a running server can change.
    pub(crate) fn with_reloaded(&self, new: Self) -> Self {
        let mut merged = self.clone();
        merged.access = new.access;
        merged.access.webhook = self.access.webhook.clone();
        merged.access.cookie.clone_from(&self.access.cookie);
        merged.access.unauthenticated_per_address = self.access.unauthenticated_per_address;
        merged.rooms = new.rooms;
        merged.ice = new.ice;
        merged.log.level = new.log.level;
        merged.limits = new.limits;
        merged.limits.handshake_secs = self.limits.handshake_secs;
        merged.limits.keep_alive_secs = self.limits.keep_alive_secs;
        merged.dialects.replace_values(new.dialects);
        merged.origins = new.origins;
        merged
    }

    /// Whether a running server can change the setting. Of a dialect it changes the dialect's own settings, and neither
    /// its paths nor its listeners.
    fn is_reloaded(&self, section: &str, path: &str) -> bool {
        let is_of_dialect = || {
            let dialect = self.dialects.table().find(section)?;
            let mut keys = dialect.settings().iter().map(|setting| setting.key);
            Some(keys.any(|key| path == format!("{section}.{key}")))
        };
        let is_listed = RELOADED_SECTIONS.contains(&section) || RELOADED_KEYS.contains(&path);
        !NOT_RELOADED.contains(&path) && (is_listed || is_of_dialect().unwrap_or(false))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn config(toml: &str) -> Config {
        let mut config = Config::default();
        assert!(config.read_toml("f", toml).is_empty());
        config
    }

    const TOML: &str = "[server]\nport = 9\n[limits]\nroom_members = 7\n[log]\nlevel = \"debug\"\nformat = \"json\"\n[access]\ncookie = \"a\"\nallowed_origins = [\"https://a.example\"]\n[access.webhook]\nurl = \"http://127.0.0.1/\"\n[peerjs]\nmixed = true\n[[rooms]]\npattern = \"a\"\nlocked = true\n";

    #[test]
    fn changes_are_told_apart_by_whether_they_need_a_restart() {
        let before = Config::default();
        let changes = before.changes(&config(TOML));
        let restart = [
            "server.port",
            "access.cookie",
            "access.webhook.url",
            "log.format",
        ];
        assert_eq!(changes.needs_restart, restart);
        let reloaded = [
            "access.allowed_origins",
            "rooms",
            "limits.room_members",
            "log.level",
            "peerjs.mixed",
        ];
        let listed: BTreeSet<_> = changes.reloaded.iter().map(String::as_str).collect();
        assert_eq!(listed, BTreeSet::from(reloaded));
        assert_eq!(before.changes(&before), SettingChanges::default());
    }

    /// A setting that is listed as reloaded must also be applied, and no other.
    #[test]
    fn merged_settings_have_the_reloaded_changes_only() {
        let (before, after) = (Config::default(), config(TOML));
        let merged = before.with_reloaded(after.clone());
        let left = merged.changes(&after);
        assert_eq!(left.needs_restart, before.changes(&after).needs_restart);
        assert!(left.reloaded.is_empty(), "{left:?}");
        let changed = before.changes(&merged);
        assert!(changed.needs_restart.is_empty(), "{changed:?}");
    }
}

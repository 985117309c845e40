//! Settings that had another name in the previous version. The old names work for one version, with a warning.

use super::{ConfigError, SettingSource, reason::Reason};

/// A setting with its old name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RenamedSetting {
    pub(super) old: &'static str,
    pub(super) new: &'static str,
    /// The environment variable of the old name.
    pub(super) old_variable: &'static str,
}

const RENAMED: [RenamedSetting; 1] = [RenamedSetting {
    old: "limits.queued_bytes",
    new: "limits.memory_max",
    old_variable: "SWITCHBOARD_LIMITS_QUEUED_BYTES",
}];

impl RenamedSetting {
    /// The setting that had this name.
    pub(super) fn of_key(key: &str) -> Option<Self> {
        RENAMED.into_iter().find(|setting| setting.old == key)
    }

    /// The setting that had this environment variable.
    pub(super) fn of_variable(variable: &str) -> Option<Self> {
        let mut renamed = RENAMED.into_iter();
        renamed.find(|setting| setting.old_variable == variable)
    }

    /// The warning about the use of the old name.
    pub(super) fn warning(self, source: SettingSource) -> ConfigError {
        ConfigError::new(source, self.old, Reason::Renamed(self.new))
    }
}

//! The dialects of one server: those of this crate, and those that its host program has added.

use switchboard_core::DialectName;
use thiserror::Error;

use crate::{ALL, Dialect, HOST};

/// The dialects of a server, in the order in which they are asked whether they recognize a first frame. Cheap to copy.
#[derive(Clone, Copy, Debug)]
pub struct DialectTable(&'static [&'static dyn Dialect]);

impl Default for DialectTable {
    /// The dialects of this crate.
    fn default() -> Self {
        Self(ALL)
    }
}

/// The name of a dialect that cannot be added, because the name is empty, reserved or in use by another dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the dialect name {0:?} is empty, reserved or in use")]
pub struct DialectNameError(pub DialectName);

/// Names that are no dialects, but stand in the place of a dialect's name in logs, metrics or stored metadata.
const RESERVED: [&str; 5] = [
    "",
    // The metadata of a node that takes part in the election of the voice leader, the one node that serves voice.
    "duty",
    // A client whose first frame has not selected a dialect yet.
    "undetected",
    // A member on another node whose dialect this node does not have.
    "unknown",
    // The wire format of voice calls, which is used over HTTP and not over WebSocket.
    "gostream",
];

impl DialectTable {
    /// The table with more dialects, after those that it has. The new table is leaked: its memory is never freed. So
    /// call this at startup only.
    ///
    /// # Errors
    /// The first name that is empty, reserved or in use.
    pub fn with(self, more: &[&'static dyn Dialect]) -> Result<Self, DialectNameError> {
        let mut dialects = self.0.to_vec();
        for dialect in more {
            let name = dialect.traits().name;
            let has_name = |other: &&dyn Dialect| other.traits().name == name;
            if RESERVED.contains(&name) || name == HOST.name || dialects.iter().any(has_name) {
                return Err(DialectNameError(name));
            }
            dialects.push(*dialect);
        }
        match more {
            [] => Ok(self),
            [_, ..] => Ok(Self(dialects.leak())),
        }
    }

    /// The dialect with this name, if there is one.
    #[must_use]
    pub fn find(self, name: &str) -> Option<&'static dyn Dialect> {
        self.iter().find(|dialect| dialect.traits().name == name)
    }

    /// All dialects.
    pub fn iter(self) -> impl Iterator<Item = &'static dyn Dialect> + Clone {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dialect_whose_name_is_in_use_is_not_added() {
        let table = DialectTable::default();
        let error = table.with(ALL).expect_err("in use");
        assert_eq!(error, DialectNameError("p2p"));
        assert_eq!(
            table.with(&[]).map(|table| table.iter().count()),
            Ok(ALL.len())
        );
    }
}

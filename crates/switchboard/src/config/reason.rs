//! The reasons of errors in settings. The text of a reason says the value, and its limit or the next step. It does not
//! name the setting: the text of [`ConfigError`](super::ConfigError) has the setting's name before the reason.

use std::net::SocketAddr;

use switchboard_auth::KeyError;
use switchboard_core::{ClientPatternError, GrantError};
use switchboard_dialects::SettingError;
use thiserror::Error;

use super::{
    EngineUrlError, SettingSource,
    check::rooms::RoomPolicyProblem,
    suggest::{closest, did_you_mean},
};
use crate::{route_table::RouteError, tls::CertificateError};

/// The reason why a setting, or a combination of settings, is not valid.
#[derive(Debug, Error)]
pub(super) enum Reason {
    /// A value that is not of the expected kind. `found` is the value as it is shown.
    #[error("{found} is not {expected}")]
    Unexpected {
        found: String,
        expected: &'static str,
    },
    /// A value that is not shown, because it may contain a password.
    #[error("is not {expected}")]
    Secret { expected: &'static str },
    #[error(transparent)]
    Value(#[from] SettingError),
    #[error("{value:?} is not one of {}{}", choices.join(", "), did_you_mean(closest(value, choices.iter().copied())))]
    NoChoice {
        value: String,
        choices: Vec<&'static str>,
    },
    #[error("has {count} {unit}; {max} are allowed")]
    TooMany {
        count: usize,
        unit: &'static str,
        max: usize,
    },
    #[error("{0:?} is listed twice")]
    ListedTwice(String),
    #[error("the port of {0:?} is not a number up to 65535")]
    UrlPort(String),
    #[error("{0:?} has a path; an origin has none")]
    OriginPath(String),
    #[error(transparent)]
    Engine(#[from] EngineUrlError),
    #[error(transparent)]
    Route(#[from] RouteError),
    /// The value is not shown, because it may contain a password.
    #[error("is not UTF-8")]
    NotUtf8,
    #[error(transparent)]
    ClientPattern(#[from] ClientPatternError),
    #[error(transparent)]
    RoomPolicy(#[from] RoomPolicyProblem),
    /// A reason within a part of the value, such as a server in a list.
    #[error("{part}: {reason}")]
    Part { part: String, reason: Box<Self> },
    #[error("unknown key {key:?}; there are: {keys}")]
    UnknownKey { key: String, keys: &'static str },
    #[error(transparent)]
    Grant(#[from] GrantError),
    #[error("{0} is missing or empty; name a PEM file")]
    NoCertificateFile(&'static str),
    #[error("urls is missing or empty")]
    NoUrls,
    #[error("{0:?} needs username and credential; [ice.turn] computes them from a secret")]
    NoLogin(String),

    /// A name that no setting or section has. `hint` suggests another one.
    #[error("unknown {kind}{hint}")]
    Unknown { kind: &'static str, hint: String },
    #[error("a setting must be in a section like [limits]{hint}")]
    NoSection { hint: String },
    #[error("{} (the file is not read beyond this)", .0.message())]
    Syntax(toml::de::Error),
    #[error("cannot be read")]
    Unreadable(#[from] std::io::Error),
    #[error("is {here} here and {earlier} in {other}; set it only once")]
    SetTwice {
        here: String,
        earlier: String,
        other: SettingSource,
    },

    #[error("{value} is too small: must be 0 or at least {least}, because {why}")]
    TooSmall {
        value: usize,
        least: usize,
        why: &'static str,
    },
    /// Two settings that contradict each other, each with its value.
    #[error("{this} {rule} {other}: {why}")]
    Conflict {
        this: String,
        rule: &'static str,
        other: String,
        why: &'static str,
    },
    /// A setting that is useless with its value.
    #[error("{this} {rule}: {why}")]
    Useless {
        this: String,
        rule: &'static str,
        why: &'static str,
    },
    /// Settings that do not work together. `settings` are their values.
    #[error("{problem}: {settings}")]
    Together {
        problem: &'static str,
        settings: String,
    },
    #[error("{problem}: {settings}")]
    Paths {
        problem: RouteError,
        settings: String,
    },
    #[error("the folder would be hidden by the path {path:?} of a dialect: {settings}")]
    HiddenFolder { path: String, settings: String },
    #[error("\"{address}\" is the address of another listener: {settings}")]
    AddressInUse {
        address: SocketAddr,
        settings: String,
    },
    #[error("all dialects are off: no client could connect")]
    NothingServed,
    #[error(transparent)]
    Certificate(#[from] CertificateError),

    #[error(transparent)]
    TokenKeys(#[from] KeyError),
    #[error("is not used: access.authenticators does not have \"jwt\"")]
    UnusedJwt,
    #[error("is named {0} since this version; the old name works until the next one")]
    Renamed(&'static str),
    /// A warning of a dialect.
    #[error("{0}")]
    Disclosure(&'static str),
    #[error("is valid from {0} on; is the clock of this machine right?")]
    NotValidYet(String),
    #[error("ends on {0}; renew it: the server reads the new file")]
    EndsSoon(String),
}

impl Reason {
    /// A text that is not of the expected kind.
    pub(super) fn unexpected(text: &str, expected: &'static str) -> Self {
        Self::Unexpected {
            found: format!("{text:?}"),
            expected,
        }
    }

    /// The same reason, within this part of the value.
    pub(super) fn within(self, part: impl Into<String>) -> Self {
        Self::Part {
            part: part.into(),
            reason: Box::new(self),
        }
    }
}

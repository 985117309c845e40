//! Errors of the store.

use std::fmt;

use redis::{RedisError, ServerError};

/// An error of the store. The texts are for operators and contain no password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// The store cannot be reached, did not answer in time, or closed the connection.
    Unreachable(String),
    /// The store refused a command: wrong password, unsupported version, or a failed script.
    Refused(String),
    /// Stored data or a reply does not have the format that Switchboard writes.
    Malformed(String),
}

impl StoreError {
    pub(super) fn malformed(expected: impl fmt::Display) -> Self {
        Self::Malformed(format!("unexpected reply from Redis: expected {expected}"))
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(reason) | Self::Refused(reason) | Self::Malformed(reason) => {
                f.write_str(reason)
            }
        }
    }
}

impl std::error::Error for StoreError {}

impl From<RedisError> for StoreError {
    fn from(error: RedisError) -> Self {
        if error.is_timeout() {
            return Self::Unreachable("Redis did not answer in time".to_owned());
        }
        if error.is_io_error() || error.is_connection_dropped() || error.is_connection_refusal() {
            return Self::Unreachable(format!("Redis cannot be reached: {error}"));
        }
        let reason = error
            .code()
            .and_then(authentication_error)
            .map(ToOwned::to_owned);
        Self::Refused(reason.unwrap_or_else(|| format!("Redis refused the command: {error}")))
    }
}

impl From<&ServerError> for StoreError {
    fn from(error: &ServerError) -> Self {
        let detail = error.details().unwrap_or_default();
        match error.code() {
            "GARBAGE" | "WRONGTYPE" => Self::Malformed(format!("corrupt data in Redis: {detail}")),
            code => {
                let reason = authentication_error(code).map(ToOwned::to_owned);
                Self::Refused(
                    reason.unwrap_or_else(|| format!("Redis refused the command: {code} {detail}")),
                )
            }
        }
    }
}

/// A short explanation of the authentication errors of Redis.
fn authentication_error(code: &str) -> Option<&'static str> {
    match code {
        "NOAUTH" => Some("Redis requires a password"),
        "WRONGPASS" => Some("Redis rejected the user or the password"),
        _ => None,
    }
}

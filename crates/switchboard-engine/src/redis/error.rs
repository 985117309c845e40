use std::fmt;

use redis::{RedisError, ServerError};

/// Why the store did not answer. The sentences are for people; they hold no password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// It cannot be reached, or did not answer in time, or the connection has broken.
    Unreachable(String),
    /// It does not want what was asked of it: a wrong password, too old a version, a failed script.
    Refused(String),
    /// What it holds or says is not what Switchboard writes.
    Malformed(String),
}

impl StoreError {
    pub(super) fn malformed(what: impl fmt::Display) -> Self {
        Self::Malformed(format!("Redis answers something else than {what}"))
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) | Self::Refused(why) | Self::Malformed(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<RedisError> for StoreError {
    fn from(error: RedisError) -> Self {
        if error.is_timeout() {
            return Self::Unreachable("Redis does not answer in time".to_owned());
        }
        if error.is_io_error() || error.is_connection_dropped() || error.is_connection_refusal() {
            return Self::Unreachable(format!("Redis cannot be reached: {error}"));
        }
        let why = error.code().and_then(locked_out).map(ToOwned::to_owned);
        Self::Refused(why.unwrap_or_else(|| format!("Redis refuses: {error}")))
    }
}

impl From<&ServerError> for StoreError {
    fn from(error: &ServerError) -> Self {
        let detail = error.details().unwrap_or_default();
        match error.code() {
            "GARBAGE" | "WRONGTYPE" => Self::Malformed(format!("in Redis, {detail}")),
            code => {
                let why = locked_out(code).map(ToOwned::to_owned);
                Self::Refused(why.unwrap_or_else(|| format!("Redis refuses: {code} {detail}")))
            }
        }
    }
}

/// What these codes mean, which Redis explains at length and not to operators.
fn locked_out(code: &str) -> Option<&'static str> {
    match code {
        "NOAUTH" => Some("Redis wants a password"),
        "WRONGPASS" => Some("Redis does not accept the user or the password"),
        _ => None,
    }
}

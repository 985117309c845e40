use std::fmt;

use redis::{RedisError, ServerError};

/// Why the store did not answer. The sentences are for people; they hold no password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// It cannot be reached, or did not answer in time, or the connection has broken.
    Unreachable(String),
    /// It does not want what was asked of it: a wrong password, too old a version, a failed script.
    Refused(String),
    /// What it holds or says is not what Switchboard writes.
    Garbage(String),
}

impl Error {
    pub(super) fn garbage(what: impl fmt::Display) -> Self {
        Self::Garbage(format!("Redis answers something else than {what}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) | Self::Refused(why) | Self::Garbage(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Error {}

impl From<RedisError> for Error {
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

impl From<&ServerError> for Error {
    fn from(error: &ServerError) -> Self {
        let detail = error.details().unwrap_or_default();
        match error.code() {
            "GARBAGE" | "WRONGTYPE" => Self::Garbage(format!("in Redis, {detail}")),
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

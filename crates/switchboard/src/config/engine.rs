//! Settings of the engine, which connects several nodes to a cluster.

use std::{fmt, str::FromStr, time::Duration};

use switchboard_redis::{RedisAddress, RedisAddressError};
use thiserror::Error;

/// Settings of the engine, which connects several nodes to a cluster.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EngineConfig {
    /// The Redis that the nodes share; empty for a single node.
    pub url: EngineUrl,
    /// The prefix of all keys and channels in Redis. Nodes with the same prefix form one cluster.
    pub prefix: String,
    /// Time without a heartbeat after which the other nodes remove a node's members.
    pub lease: Duration,
    /// The URL at which other nodes reach this one, as `http://HOST:PORT`; empty to derive it.
    pub advertise_url: String,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            url: EngineUrl::default(),
            prefix: "switchboard".to_owned(),
            lease: Duration::from_secs(10),
            advertise_url: String::new(),
        }
    }
}

/// The address of Redis, or empty. `Display` and `Debug` show `***` for the password.
///
/// ```
/// # use switchboard::config::EngineUrl;
/// let url: EngineUrl = "redis://ada:secret@cache:6379/1".parse().expect("a valid URL");
/// assert_eq!(url.to_string(), "redis://ada:***@cache:6379/1");
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct EngineUrl {
    address: Option<RedisAddress>,
    shown: String,
}

impl EngineUrl {
    /// Whether no Redis is set: the node is not part of a cluster.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.address.is_none()
    }

    /// The parsed address; `None` if the URL is empty.
    pub(crate) fn address(&self) -> Option<&RedisAddress> {
        self.address.as_ref()
    }
}

impl FromStr for EngineUrl {
    type Err = EngineUrlError;

    /// Parses the URL. The error never repeats the text, because it may contain a password.
    fn from_str(text: &str) -> Result<Self, EngineUrlError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        Ok(Self {
            address: Some(text.parse()?),
            shown: masked(text),
        })
    }
}

impl fmt::Display for EngineUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for EngineUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.shown, f)
    }
}

/// The error for a text that is not an [`EngineUrl`]. The source is the reason.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("is not an address like \"redis://HOST:6379\"")]
pub struct EngineUrlError(#[from] RedisAddressError);

/// Replaces the password in a URL by `***`. The password is the text between the first colon after the scheme and the
/// last `@`.
fn masked(text: &str) -> String {
    let parts = text
        .split_once("://")
        .and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?)));
    let Some((scheme, (login, rest))) = parts else {
        return text.to_owned();
    };
    match login.split_once(':') {
        Some((user, _)) => format!("{scheme}://{user}:***@{rest}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_is_never_shown() {
        for (text, shown) in [
            ("", ""),
            ("redis://cache", "redis://cache"),
            ("redis://:GEHEIM@cache", "redis://:***@cache"),
            ("rediss://u:GEHEIM@cache/1", "rediss://u:***@cache/1"),
            ("redis://u:GE:HE@IM@a,b:1", "redis://u:***@a,b:1"),
        ] {
            let url: EngineUrl = text.parse().expect(text);
            assert_eq!(url.to_string(), shown);
            assert_eq!(url.is_empty(), text.is_empty());
            assert!(!format!("{url:?} {:?}", url.address()).contains("GEHEIM"));
        }
    }
}

//! Settings of what makes several nodes one.

use std::{fmt, str::FromStr, time::Duration};

use switchboard_engine::redis::RedisAddress;

/// What makes several nodes one.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The Redis that the nodes share; none for a node of its own.
    pub url: EngineUrl,
    /// What everything in Redis begins with. Nodes with the same one are one switchboard.
    pub prefix: String,
    /// How long a node that is not heard of keeps its members.
    pub lease: Duration,
    /// Where the other nodes reach this one, as `http://HOST:PORT`; empty to find out.
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

/// Where Redis is, or that there is none. Shown, it has `***` for its password.
///
/// ```
/// # use switchboard::config::EngineUrl;
/// let url: EngineUrl = "redis://ada:secret@cache:6379/1".parse().expect("it is one");
/// assert_eq!(url.to_string(), "redis://ada:***@cache:6379/1");
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct EngineUrl {
    address: Option<RedisAddress>,
    shown: String,
}

impl EngineUrl {
    /// Whether there is no Redis: the node is alone.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.address.is_none()
    }

    /// What it says.
    pub(crate) fn address(&self) -> Option<&RedisAddress> {
        self.address.as_ref()
    }
}

impl FromStr for EngineUrl {
    type Err = String;

    /// The error says what is wrong and never repeats the text, which may hold a password.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let address = text
            .parse()
            .map_err(|error| format!("is not an address like \"redis://HOST:6379\": it {error}"))?;
        Ok(Self {
            address: Some(address),
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

/// The text without its password, which stands between the first colon after the scheme and the
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
    fn a_password_is_never_shown() {
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

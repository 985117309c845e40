//! The settings of the engine, which connects several nodes to a cluster.

use std::time::Duration;

use crate::config::EngineUrl;

use super::{Reason, SettingDef, quoted, row, within};

/// Maximum bytes of the prefix, which is part of every key in Redis.
const PREFIX_BYTES_MAX: usize = 64;

/// The description of valid prefixes in errors.
const PREFIX: &str = "1 to 64 letters, digits and _ . -";

/// The allowed seconds of the lease. With a shorter one, a busy node would be taken for dead; with a longer one, the
/// members of a dead node would stay for minutes.
const LEASE_SECS: std::ops::RangeInclusive<u64> = 3..=300;

pub(super) fn rows() -> [SettingDef; 4] {
    [
        row(
            "engine",
            "url",
            "The Redis (or Valkey) that connects several nodes to a cluster, as \"redis://USER:PASSWORD@HOST:6379/0\", \"rediss://\" for TLS; empty for one node. `switchboard check` shows *** for the password.",
            |config, raw| {
                config.engine.url = raw.text()?.parse::<EngineUrl>()?;
                Ok(())
            },
            |config| quoted(&config.engine.url),
        ),
        row(
            "engine",
            "prefix",
            "The prefix of every key and channel in Redis. Nodes with the same prefix form one cluster.",
            |config, raw| {
                let text = raw.text()?;
                prefix(text)?;
                text.clone_into(&mut config.engine.prefix);
                Ok(())
            },
            |config| quoted(&config.engine.prefix),
        ),
        secs!(
            "engine",
            "lease",
            "Seconds without a heartbeat of a node after which the other nodes remove its members; must be the same on all nodes.",
            engine.lease,
            LEASE_SECS
        ),
        row(
            "engine",
            "advertise_url",
            "The URL at which other nodes reach this one, as \"http://HOST:PORT\", or with tls.cert as \"https://NAME:PORT\"; empty for the address of its connection to Redis and server.port.",
            |config, raw| {
                let text = raw.text()?;
                advertise_url(text)?;
                text.clone_into(&mut config.engine.advertise_url);
                Ok(())
            },
            |config| quoted(&config.engine.advertise_url),
        ),
    ]
}

fn prefix(text: &str) -> Result<(), Reason> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if (1..=PREFIX_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_plain) {
        return Ok(());
    }
    Err(Reason::unexpected(text, PREFIX))
}

fn advertise_url(text: &str) -> Result<(), Reason> {
    if text.is_empty() || is_origin(text) {
        return Ok(());
    }
    let expected = "an address like \"http://10.0.0.1:8080\", without a path";
    Err(Reason::unexpected(text, expected))
}

/// Whether the text is `http://HOST` or `https://HOST`, with a port or without.
fn is_origin(text: &str) -> bool {
    let rest = ["http://", "https://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    let Some(rest) = rest else {
        return false;
    };
    is_host_with_port(rest)
}

/// Whether the text is `HOST` or `HOST:PORT`.
pub(super) fn is_host_with_port(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_port = |port: &str| {
        port.bytes().all(|byte| byte.is_ascii_digit())
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    is_host(host) && port.is_none_or(is_port)
}

fn is_host(host: &str) -> bool {
    if let Some(v6) = host.strip_prefix('[') {
        return v6
            .strip_suffix(']')
            .is_some_and(|v6| v6.parse::<std::net::Ipv6Addr>().is_ok());
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    !host.is_empty() && host.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use crate::Config;

    fn errors(text: &str) -> Vec<String> {
        Config::default()
            .read_toml("f.toml", &format!("[engine]\n{text}\n"))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn valid_values_are_accepted() {
        let longest = format!("prefix = {:?}", "p".repeat(64));
        for good in [
            "url = \"\"",
            "url = \"redis://cache\"",
            "url = \"rediss://ada:secret@cache:6380/1\"",
            "url = \"redis://a:7000,b:7000\"",
            "url = \"redis-cluster://[::1]:7000\"",
            "prefix = \"my_app.v2-test\"",
            &longest,
            "lease = 3",
            "lease = 300",
            "advertise_url = \"\"",
            "advertise_url = \"http://10.0.0.1:8080\"",
            "advertise_url = \"https://node-1.calls.internal\"",
            "advertise_url = \"http://[fd00::1]:8080\"",
            "advertise_url = \"http://[fd00::1]\"",
        ] {
            assert_eq!(errors(good), Vec::<String>::new(), "{good}");
        }
    }

    #[test]
    fn errors_have_their_line() {
        let too_long = format!("prefix = {:?}", "p".repeat(65));
        for (bad, message) in [
            ("url = \"http://cache\"", "engine.url: is not an address"),
            ("url = \"redis://\"", "engine.url: is not an address"),
            ("url = \"cache:6379\"", "engine.url: is not an address"),
            ("url = 7", "engine.url: 7 is not a text in quotes"),
            ("prefix = \"\"", "engine.prefix: \"\" is not 1 to 64"),
            ("prefix = \"a b\"", "engine.prefix: \"a b\" is not"),
            ("prefix = \"{a}\"", "engine.prefix: \"{a}\" is not"),
            (&too_long, "engine.prefix: \"ppp"),
            ("lease = 2", "engine.lease: 2 is not from 3 to 300"),
            ("lease = 301", "engine.lease: 301 is not from 3 to 300"),
            ("node = 1", "engine.node: unknown key; [engine] has url,"),
        ] {
            let found = errors(bad);
            assert_eq!(found.len(), 1, "{bad}: {found:?}");
            assert!(
                found[0].starts_with(&format!("f.toml:2: {message}")),
                "{found:?}"
            );
        }
        for bad in [
            "10.0.0.1:8080",
            "ws://h",
            "http://",
            "http://h/",
            "http://h/path",
            "http://h:0",
            "http://h:70000",
            "http://h:",
            "http://h:+1",
            "http://u:p@h",
            "http://a b",
            "http://[::1",
            "http://[x]:1",
            "http://fd00::1",
        ] {
            let found = errors(&format!("advertise_url = {bad:?}"));
            assert_eq!(found.len(), 1, "{bad}");
            assert!(
                found[0].starts_with("f.toml:2: engine.advertise_url: "),
                "{found:?}"
            );
        }
    }

    #[test]
    fn password_is_neither_shown_nor_in_errors() {
        let mut config = Config::default();
        let variables = [("SWITCHBOARD_ENGINE_URL", "redis://ada:GEHEIM@cache:6379/0")];
        assert_eq!(config.read_environment(variables), []);
        let shown = config.to_toml();
        assert!(shown.contains("url = \"redis://ada:***@cache:6379/0\""));
        assert!(!format!("{shown} {config:?}").contains("GEHEIM"));
        for bad in [
            "redis:/ada:GEHEIM@cache",
            "http://ada:GEHEIM@cache",
            "redis://ada:GEHEIM@",
            "redis://ada:GEHEIM@cache:x",
            "redis://ada:GEHEIM@cache/x",
            "redis://ada:GEHEIM@cache?x",
        ] {
            let found = errors(&format!("url = {bad:?}"));
            assert_eq!(found.len(), 1, "{bad}");
            assert!(!found[0].contains("GEHEIM"), "{found:?}");
        }
    }
}

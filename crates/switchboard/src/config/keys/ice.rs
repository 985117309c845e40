//! The settings of STUN and TURN servers.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use switchboard_dialects::ice::IceServer;

use super::{Reason, SettingDef, list, quoted, row, within};
use crate::config::raw_value::RawValue;

/// Maximum entries of `ice.servers`. Browsers slow down with more than a few.
const SERVERS_MAX: usize = 16;

/// Maximum addresses of one server.
const URLS_MAX: usize = 8;

/// Maximum bytes of one address, username, credential or secret. A TURN username has less than 509 bytes (RFC 8489,
/// section 14.3).
const TEXT_BYTES_MAX: usize = 508;

/// The allowed validity of TURN credentials in seconds. Shorter ones expire while a call is set up; longer ones can be
/// misused for too long after a leak.
const TTL_SECS: RangeInclusive<u64> = 60..=30 * 24 * 60 * 60;

/// The schemes of TURN servers, and the format of their addresses, for errors.
const TURN_SCHEMES: [&str; 2] = ["turn:", "turns:"];
const TURN_URL: &str = "an address like \"turn:HOST:3478\" (turn: turns:)";

/// The schemes of all servers, and the format of their addresses, for errors.
const SCHEMES: [&str; 4] = ["stun:", "stuns:", "turn:", "turns:"];
const ICE_URL: &str = "an address like \"stun:HOST:3478\" (stun: stuns: turn: turns:)";

pub(super) fn rows() -> [SettingDef; 4] {
    [
        row(
            "ice",
            "servers",
            "STUN and TURN servers that are sent to every client, as { urls = [\"stun:HOST:3478\"] } or { urls = [\"turn:HOST:3478\"], username = \"USER\", credential = \"PASSWORD\" }; in the environment the list is inline TOML or JSON. Calls between networks need them. `switchboard check` shows *** for credentials.",
            |config, raw| servers(raw).map(|servers| config.ice.servers = servers),
            |config| shown(&config.ice.servers),
        ),
        row(
            "ice.turn",
            "urls",
            "Addresses of a TURN server that shares ice.turn.secret with this server, as \"turn:HOST:3478?transport=udp\"; each client gets its own credentials.",
            |config, raw| {
                let urls = raw.list()?;
                check_urls(&urls, &TURN_SCHEMES, TURN_URL)?;
                config.ice.turn.urls = urls;
                Ok(())
            },
            |config| list(&config.ice.turn.urls),
        ),
        row(
            "ice.turn",
            "secret",
            "The secret that the TURN server shares with this server, such as static-auth-secret of coturn with use-auth-secret. `switchboard check` shows ***.",
            |config, raw| {
                config.ice.turn.secret = secret_text(raw)?;
                Ok(())
            },
            |config| {
                quoted(if config.ice.turn.secret.is_empty() {
                    ""
                } else {
                    "***"
                })
            },
        ),
        secs!(
            "ice.turn",
            "ttl",
            "Seconds for which the TURN credentials of one client are valid; with expired credentials a client gets no new relay.",
            ice.turn.ttl,
            TTL_SECS
        ),
    ]
}

/// The text of a secret setting. Errors do not repeat it.
fn secret_text(raw: &RawValue) -> Result<String, Reason> {
    let text = raw.text().map_err(|_| Reason::Secret {
        expected: "a text in quotes",
    })?;
    if text.len() > TEXT_BYTES_MAX {
        return Err(Reason::TooMany {
            count: text.len(),
            unit: "bytes",
            max: TEXT_BYTES_MAX,
        });
    }
    Ok(text.to_owned())
}

fn servers(raw: &RawValue) -> Result<Vec<IceServer>, Reason> {
    let tables = raw.tables()?;
    if tables.len() > SERVERS_MAX {
        return Err(Reason::TooMany {
            count: tables.len(),
            unit: "servers",
            max: SERVERS_MAX,
        });
    }
    let servers = tables.iter().enumerate();
    let servers = servers.map(|(index, table)| {
        server(table).map_err(|reason| reason.within(format!("server {}", index + 1)))
    });
    servers.collect()
}

fn server(table: &BTreeMap<String, RawValue>) -> Result<IceServer, Reason> {
    let mut server = IceServer::default();
    for (key, raw) in table {
        let secret = || secret_text(raw).map_err(|reason| reason.within(key));
        match key.as_str() {
            "urls" => server.urls = urls(raw)?,
            "username" => server.username = Some(secret()?),
            "credential" => server.credential = Some(secret()?),
            other => {
                return Err(Reason::UnknownKey {
                    key: other.to_owned(),
                    keys: "urls, username, credential",
                });
            }
        }
    }
    check_login(&server)?;
    Ok(server)
}

/// The addresses of one server: a list, or a single string as in `RTCIceServer`.
fn urls(raw: &RawValue) -> Result<Vec<String>, Reason> {
    let urls = match raw {
        RawValue::Text(url) => vec![url.clone()],
        RawValue::Int(_)
        | RawValue::Bool(_)
        | RawValue::List(_)
        | RawValue::Untyped(_)
        | RawValue::Table(_)
        | RawValue::Tables(_)
        | RawValue::Other(_) => raw.list()?,
    };
    check_urls(&urls, &SCHEMES, ICE_URL)?;
    Ok(urls)
}

/// Checks that a server with TURN has a username and a credential. Without them `new RTCPeerConnection` throws.
fn check_login(server: &IceServer) -> Result<(), Reason> {
    if server.urls.is_empty() {
        return Err(Reason::NoUrls);
    }
    let is_given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let has_login = is_given(&server.username) && is_given(&server.credential);
    match server.urls.iter().find(|url| url.starts_with("turn")) {
        Some(url) if !has_login => Err(Reason::NoLogin(url.clone())),
        Some(_) | None => Ok(()),
    }
}

fn check_urls(urls: &[String], schemes: &[&str], expected: &'static str) -> Result<(), Reason> {
    if urls.len() > URLS_MAX {
        return Err(Reason::TooMany {
            count: urls.len(),
            unit: "addresses",
            max: URLS_MAX,
        });
    }
    match urls.iter().find(|url| !is_ice_url(url, schemes)) {
        Some(url) => Err(Reason::unexpected(url, expected)),
        None => Ok(()),
    }
}

/// Whether a URL is a STUN or TURN URI (RFC 7064, RFC 7065) with one of these schemes. Only a TURN URI may end with
/// `?transport=…`.
fn is_ice_url(url: &str, schemes: &[&str]) -> bool {
    let mut schemes = schemes.iter();
    let Some(rest) = schemes.find_map(|scheme| url.strip_prefix(scheme)) else {
        return false;
    };
    let (authority, query) = match rest.split_once('?') {
        Some((authority, query)) => (authority, Some(query)),
        None => (rest, None),
    };
    let is_transport =
        |query| url.starts_with("turn") && ["transport=udp", "transport=tcp"].contains(&query);
    url.len() <= TEXT_BYTES_MAX
        && super::engine::is_host_with_port(authority)
        && query.is_none_or(is_transport)
}

/// Formats the servers as inline TOML.
fn shown(servers: &[IceServer]) -> String {
    let servers: Vec<_> = servers.iter().map(shown_server).collect();
    format!("[{}]", servers.join(", "))
}

fn shown_server(server: &IceServer) -> String {
    let mut text = format!("{{ urls = {}", list(&server.urls));
    if let Some(username) = &server.username {
        text.push_str(&format!(", username = {}", quoted(username)));
    }
    if server.credential.is_some() {
        text.push_str(", credential = \"***\"");
    }
    text + " }"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, config::ConfigError};

    fn errors(text: &str) -> Vec<String> {
        let mut config = Config::default();
        let mut errors = config.read_toml("f.toml", text);
        errors.extend(config.validate());
        errors.iter().map(ToString::to_string).collect()
    }

    fn of_environment(value: &str) -> Result<Vec<IceServer>, ConfigError> {
        let mut config = Config::default();
        match config
            .read_environment([("SWITCHBOARD_ICE_SERVERS", value)])
            .pop()
        {
            Some(error) => Err(error),
            None => Ok(config.ice.servers),
        }
    }

    fn stun_and_turn() -> Vec<IceServer> {
        vec![
            IceServer {
                urls: vec!["stun:a.example".to_owned(), "stun:[::1]:3478".to_owned()],
                ..IceServer::default()
            },
            IceServer {
                urls: vec!["turns:b.example:443?transport=tcp".to_owned()],
                username: Some("ada".to_owned()),
                credential: Some("GEHEIM".to_owned()),
            },
        ]
    }

    const INLINE: &str = r#"[{ urls = ["stun:a.example", "stun:[::1]:3478"] }, { urls = "turns:b.example:443?transport=tcp", username = "ada", credential = "GEHEIM" }]"#;
    const JSON: &str = r#"[{"urls":["stun:a.example","stun:[::1]:3478"]},{"urls":"turns:b.example:443?transport=tcp","username":"ada","credential":"GEHEIM"}]"#;

    #[test]
    fn servers_are_read_from_tables_and_inline_toml_and_json() {
        let tables = "[[ice.servers]]\nurls = [\"stun:a.example\", \"stun:[::1]:3478\"]\n[[ice.servers]]\nurls = [\"turns:b.example:443?transport=tcp\"]\nusername = \"ada\"\ncredential = \"GEHEIM\"\n";
        for text in [tables.to_owned(), format!("[ice]\nservers = {INLINE}\n")] {
            let mut config = Config::default();
            assert_eq!(config.read_toml("f.toml", &text), [], "{text}");
            assert_eq!(config.ice.servers, stun_and_turn(), "{text}");
        }
        assert_eq!(of_environment(INLINE), Ok(stun_and_turn()));
        assert_eq!(of_environment(JSON), Ok(stun_and_turn()));
        for empty in ["", " ", "[]"] {
            assert_eq!(of_environment(empty), Ok(Vec::new()), "{empty:?}");
        }
    }

    #[test]
    fn turn_secret_is_read_from_file_and_environment() {
        let mut config = Config::default();
        let text = "[ice.turn]\nurls = [\"turn:a.example\"]\nttl = 600\n";
        assert_eq!(config.read_toml("f.toml", text), []);
        let secret = [("SWITCHBOARD_ICE_TURN_SECRET", "GEHEIM")];
        assert_eq!(config.read_environment(secret), []);
        assert_eq!(config.validate(), []);
        assert_eq!(config.ice.turn.secret, "GEHEIM");
        assert_eq!(config.ice.turn.ttl, Duration::from_secs(600));
        let urls = [(
            "SWITCHBOARD_ICE_TURN_URLS",
            "turn:a.example, turns:b.example",
        )];
        assert_eq!(config.read_environment(urls), []);
        assert_eq!(config.ice.turn.urls, ["turn:a.example", "turns:b.example"]);
    }

    #[test]
    fn error_for_an_invalid_environment_variable_does_not_repeat_its_text() {
        for bad in [
            "stun:a.example",
            "[\"stun:a.example\", \"GEHEIM\"]",
            "{\"urls\":\"stun:a.example\",\"credential\":\"GEHEIM\"}",
            "[{\"urls\":\"stun:a.example\",\"credential\":\"GEHEIM\"",
            "[]\nother = \"GEHEIM\"",
            "[{\"urls\":\"turn:a.example\",\"credential\":\"GEHEIM\"}]",
            "[{\"urls\":\"stun:a.example\",\"credential\":7770}]",
            "[{ urls = [\"stun:a.example\"], credential = GEHEIM }]",
        ] {
            let message = of_environment(bad).expect_err(bad).to_string();
            assert!(!message.contains("GEHEIM"), "{message}");
            assert!(!message.contains("7770"), "{message}");
        }
    }

    #[test]
    fn errors_name_the_server_and_the_reason() {
        let urls = |urls: &str| format!("[ice]\nservers = [{{ urls = {urls} }}]\n");
        let many = format!(
            "[ice]\nservers = [{}]\n",
            "{ urls = [\"stun:a\"] },".repeat(17)
        );
        let nine = urls(&format!("[{}]", "\"stun:a\",".repeat(9)));
        let long = format!("[ice.turn]\nsecret = \"{}\"\n", "x".repeat(509));
        for (bad, message) in [
            (
                urls("[\"http://a\"]"),
                "server 1: \"http://a\" is not an address",
            ),
            (urls("[]"), "server 1: urls is missing or empty"),
            (
                urls("[\"turn:a\"]"),
                "server 1: \"turn:a\" needs username and",
            ),
            (urls("[\"stun:\"]"), "server 1: \"stun:\" is not"),
            (urls("[\"stun://a\"]"), "server 1: \"stun://a\" is not"),
            (urls("[\"stun:a:0\"]"), "server 1: \"stun:a:0\" is not"),
            (urls("[\"stun:a?transport=udp\"]"), "server 1: \"stun:a?"),
            (urls("[\"stun:u@a\"]"), "server 1: \"stun:u@a\" is not"),
            (nine, "server 1: has 9 addresses; 8 are allowed"),
            (many, "has 17 servers; 16 are allowed"),
            (
                "[ice]\nservers = [{ url = \"stun:a\" }]\n".to_owned(),
                "server 1: unknown key \"url\"",
            ),
        ] {
            let found = errors(&bad);
            assert_eq!(found.len(), 1, "{bad}: {found:?}");
            let message = format!("f.toml:2: ice.servers: {message}");
            assert!(found[0].starts_with(&message), "{found:?}");
        }
        for (bad, message) in [
            (long, "ice.turn.secret: has 509 bytes; 508 are allowed"),
            (
                "[ice.turn]\nurls = [\"stun:a\"]\nsecret = \"x\"\n".to_owned(),
                "ice.turn.urls: \"stun:a\" is not",
            ),
            (
                "[ice.turn]\nurls = [\"turn:a?transport=sctp\"]\nsecret = \"x\"\n".to_owned(),
                "ice.turn.urls: \"turn:a?",
            ),
            (
                "[ice.turn]\nttl = 59\n".to_owned(),
                "ice.turn.ttl: 59 is not from 60",
            ),
            (
                "[ice.turn]\nurls = [\"turn:a\"]\n".to_owned(),
                "ice.turn.urls: ice.turn.urls = [\"turn:a\"]",
            ),
            (
                "[ice.turn]\nsecret = \"GEHEIM\"\n".to_owned(),
                "ice.turn.secret: ice.turn.secret = \"***\"",
            ),
        ] {
            let found = errors(&bad);
            assert_eq!(found.len(), 1, "{bad}: {found:?}");
            assert!(
                found[0].starts_with(&format!("f.toml:2: {message}")),
                "{found:?}"
            );
        }
    }

    #[test]
    fn secret_and_credential_are_shown_as_asterisks() {
        let mut config = Config::default();
        let text = format!(
            "[ice]\nservers = {INLINE}\n[ice.turn]\nurls = [\"turn:c\"]\nsecret = \"GEHEIM\"\n"
        );
        assert_eq!(config.read_toml("f.toml", &text), []);
        let shown = config.to_toml();
        assert!(!format!("{shown} {config:?}").contains("GEHEIM"), "{shown}");
        assert!(shown.contains("secret = \"***\""), "{shown}");
        assert!(shown.contains("username = \"ada\", credential = \"***\""));
        assert_eq!(Config::default().read_toml("shown", &shown), []);
    }
}

//! The settings of access control.

use std::{collections::BTreeMap, sync::Arc};

use switchboard_auth::{AuthenticatorKind, StaticKey};
use switchboard_core::{DuplicateIdentity, Grants, SpaceName};

use super::{Reason, SettingDef, list, one_of, quoted, row};
use crate::{
    config::raw_value::RawValue,
    origins::{self, InvalidPattern},
};

/// Maximum entries of `access.keys`.
const KEYS_MAX: usize = 1024;

/// The least bytes of a key: a shorter one can be guessed.
const KEY_BYTES_MIN: usize = 16;

const DUPLICATE_RULES: [(&str, DuplicateIdentity); 3] = [
    ("replace", DuplicateIdentity::Replace),
    ("refuse", DuplicateIdentity::Refuse),
    ("challenge", DuplicateIdentity::Challenge),
];

pub(super) fn rows() -> [SettingDef; 8] {
    [
        row(
            "access",
            "authenticators",
            "The ways to authenticate clients, in the order in which they are asked: \"none\" (clients without a token get access.anonymous_grants), \"keys\" (access.keys), \"jwt\" (JSON Web Tokens, section access.jwt), \"webhook\" (access.webhook), \"gostream\" (voice requests without a token: their users have keys or accounts of gostream). A client that none of them admits gets 401.",
            |config, raw| kinds(raw).map(|kinds| config.access.authenticators = kinds),
            |config| {
                let kinds = config.access.authenticators.iter();
                list(&kinds.map(|kind| kind.as_str()).collect::<Vec<_>>())
            },
        ),
        row(
            "access",
            "anonymous_grants",
            "Grants of clients without a token, as \"POWER\" or \"POWER:ROOMS\", with ROOMS a name or the beginning of names like team-*. Powers: join, signal, message, list, publish_audio, listen_audio, call, relay, moderate, admin; \"*\" for all but the last two.",
            |config, raw| grants(raw).map(|grants| config.access.anonymous_grants = grants),
            |config| list(&config.access.anonymous_grants.to_texts()),
        ),
        row(
            "access",
            "keys",
            "Keys that clients may send as their token, as { key = \"SECRET\", subject = \"USER\", name = \"DISPLAY NAME\", space = \"SPACE\", grants = [\"*:team-*\"] }; all but key are optional. `switchboard check` shows *** for keys.",
            |config, raw| keys(raw).map(|keys| config.access.keys = keys),
            |config| shown(&config.access.keys),
        ),
        row(
            "access",
            "cookie",
            "The name of the cookie that carries a token; empty for none.",
            |config, raw| {
                raw.text()?.clone_into(&mut config.access.cookie);
                Ok(())
            },
            |config| quoted(&config.access.cookie),
        ),
        row(
            "access",
            "unauthenticated_per_address",
            "Maximum connections of one IPv4 address or IPv6 /64 that wait for the access token in their first frame; further ones are answered 429. 0 for no limit. Loopback is exempt.",
            |config, raw| {
                config.access.unauthenticated_per_address =
                    usize::try_from(raw.int()?).unwrap_or(usize::MAX);
                Ok(())
            },
            |config| config.access.unauthenticated_per_address.to_string(),
        ),
        row(
            "access",
            "allowed_origins",
            "The origins whose pages may connect, as \"https://app.example.org\", \"https://*.example.org\" (names below a domain), \"null\" or \"*\" (all); pages of other origins get 403. The server's own origin, gostream.site.origin and peerjs.cors_origins are always allowed, and so are programs.",
            |config, raw| {
                patterns(raw, origins::check_origin)
                    .map(|patterns| config.access.allowed_origins = patterns)
            },
            |config| list(&config.access.allowed_origins),
        ),
        row(
            "access",
            "allowed_hosts",
            "The hosts under which the server may be used, as \"example.org\", \"example.org:8080\", \"[::1]\" or \"*.example.org\"; requests with another Host get 403, which stops DNS rebinding. Health probes are exempt. If empty, every host is allowed.",
            |config, raw| {
                patterns(raw, origins::check_host)
                    .map(|patterns| config.access.allowed_hosts = patterns)
            },
            |config| list(&config.access.allowed_hosts),
        ),
        row(
            "access",
            "duplicate_identity",
            "The rule if a client joins a room in which another session has its identity: \"replace\" (the new session replaces an older one with the same address or name; sessions with different addresses stay), \"refuse\" (the new session is refused), \"challenge\" (the older session is pinged; if it answers, the new one is refused, else the older one ends).",
            |config, raw| {
                one_of(raw, &DUPLICATE_RULES).map(|rule| config.access.duplicate_identity = rule)
            },
            |config| {
                let rule = config.access.duplicate_identity;
                let found = DUPLICATE_RULES.iter().find(|(_, known)| *known == rule);
                quoted(found.map_or("replace", |(name, _)| name))
            },
        ),
    ]
}

fn kinds(raw: &RawValue) -> Result<Vec<AuthenticatorKind>, Reason> {
    let mut kinds = Vec::new();
    for name in raw.list()? {
        let found = AuthenticatorKind::ALL.into_iter();
        let kind = found.into_iter().find(|kind| kind.as_str() == name);
        let kind = kind.ok_or_else(|| Reason::NoChoice {
            value: name.clone(),
            choices: AuthenticatorKind::ALL
                .map(AuthenticatorKind::as_str)
                .to_vec(),
        })?;
        if kinds.contains(&kind) {
            return Err(Reason::ListedTwice(name));
        }
        kinds.push(kind);
    }
    match kinds.is_empty() {
        true => Err(Reason::unexpected("[]", "a list with an authenticator")),
        false => Ok(kinds),
    }
}

/// Maximum entries of `access.allowed_origins` and `access.allowed_hosts`.
const PATTERNS_MAX: usize = 1024;

fn patterns(
    raw: &RawValue,
    check: fn(&str) -> Result<(), InvalidPattern>,
) -> Result<Vec<String>, Reason> {
    let patterns = raw.list()?;
    if patterns.len() > PATTERNS_MAX {
        return Err(Reason::TooMany {
            count: patterns.len(),
            unit: "entries",
            max: PATTERNS_MAX,
        });
    }
    for (index, pattern) in patterns.iter().enumerate() {
        if patterns
            .iter()
            .take(index)
            .any(|earlier| earlier == pattern)
        {
            return Err(Reason::ListedTwice(pattern.clone()));
        }
        check(pattern).map_err(|invalid| Reason::unexpected(&invalid.value, invalid.expected))?;
    }
    Ok(patterns)
}

pub(super) fn grants(raw: &RawValue) -> Result<Arc<Grants>, Reason> {
    Ok(Arc::new(Grants::parse(&raw.list()?)?))
}

fn keys(raw: &RawValue) -> Result<Vec<StaticKey>, Reason> {
    let tables = raw.tables()?;
    if tables.len() > KEYS_MAX {
        return Err(Reason::TooMany {
            count: tables.len(),
            unit: "keys",
            max: KEYS_MAX,
        });
    }
    let keys = tables.iter().enumerate();
    let keys = keys.map(|(index, table)| {
        key(table).map_err(|reason| reason.within(format!("key {}", index + 1)))
    });
    keys.collect()
}

fn key(table: &BTreeMap<String, RawValue>) -> Result<StaticKey, Reason> {
    let mut parsed = StaticKey {
        key: String::new(),
        subject: String::new(),
        name: String::new(),
        space: SpaceName::default(),
        grants: Grants::participant(),
    };
    for (name, raw) in table {
        let text = || raw.text().map(str::to_owned);
        match name.as_str() {
            "key" => parsed.key = secret(raw).map_err(|reason| reason.within(name))?,
            "subject" => parsed.subject = text()?,
            "name" => parsed.name = text()?,
            "space" => parsed.space = space(raw)?,
            "grants" => parsed.grants = grants(raw)?,
            other => {
                return Err(Reason::UnknownKey {
                    key: other.to_owned(),
                    keys: "key, subject, name, space, grants",
                });
            }
        }
    }
    match parsed.key.is_empty() {
        true => Err(Reason::Secret {
            expected: "complete: its key is missing",
        }),
        false => Ok(parsed),
    }
}

/// The text of a key. Errors do not repeat it.
fn secret(raw: &RawValue) -> Result<String, Reason> {
    let expected = "a text of at least 16 bytes in quotes";
    let text = raw.text().map_err(|_| Reason::Secret { expected })?;
    match text.len() < KEY_BYTES_MIN {
        true => Err(Reason::Secret { expected }),
        false => Ok(text.to_owned()),
    }
}

fn space(raw: &RawValue) -> Result<SpaceName, Reason> {
    let text = raw.text()?;
    let parsed = SpaceName::parse(text, 0);
    parsed.map_err(|_| Reason::unexpected(text, "the name of a space"))
}

/// Formats the keys as inline TOML, without their secrets.
fn shown(keys: &[StaticKey]) -> String {
    let keys = keys.iter().map(|key| {
        format!(
            "{{ key = \"***\", subject = {}, name = {}, space = {}, grants = {} }}",
            quoted(&key.subject),
            quoted(&key.name),
            quoted(key.space.as_str()),
            list(&key.grants.to_texts())
        )
    });
    format!("[{}]", keys.collect::<Vec<_>>().join(", "))
}

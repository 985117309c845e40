//! The settings of JSON Web Tokens.

use axum::http::Uri;
use std::fs;
use switchboard_auth::{JwtAlgorithm, JwtSecret, KeySet};

use super::{Reason, SettingDef, access::grants, list, quoted, row, within};
use crate::config::raw_value::RawValue;

/// The section of the settings.
const SECTION: &str = "access.jwt";

/// The largest file of keys, in bytes.
const KEYS_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The longest leeway, in seconds. A longer one would only keep expired tokens alive.
const LEEWAY_SECS_MAX: u64 = 600;

pub(super) fn rows() -> [SettingDef; 8] {
    [
        row(
            SECTION,
            "secret",
            "The secret of HS256 tokens, at least 32 bytes; `switchboard token key` makes one. Set one of secret, keys_file and jwks_url. `switchboard check` shows ***.",
            |config, raw| {
                config.access.jwt.secret = secret(raw)?;
                Ok(())
            },
            |config| {
                let shown = config.access.jwt.secret.as_ref().map_or("", |_| "***");
                quoted(shown)
            },
        ),
        row(
            SECTION,
            "keys_file",
            "A file of public keys or certificates as PEM, or of a JSON Web Key Set. It is read at the start and at each reload of the settings.",
            |config, raw| {
                config.access.jwt.keys_file = keys_file(raw)?;
                Ok(())
            },
            |config| {
                let file = config.access.jwt.keys_file.as_ref();
                quoted(file.map_or("", |(path, _)| path))
            },
        ),
        row(
            SECTION,
            "jwks_url",
            "The URL of the issuer's JSON Web Key Set, with https (http is allowed for this machine only). The keys are fetched at the start, before they are too old, and when a token has an unknown key ID, at most twice in 20 seconds.",
            |config, raw| {
                config.access.jwt.jwks_url = jwks_url(raw)?;
                Ok(())
            },
            |config| {
                let url = config.access.jwt.jwks_url.as_ref();
                quoted(url.map(Uri::to_string).unwrap_or_default())
            },
        ),
        row(
            SECTION,
            "algorithms",
            "The allowed algorithms: HS256 (with secret), RS256, ES256, EdDSA; empty for all that the keys have.",
            |config, raw| {
                config.access.jwt.algorithms = algorithms(raw)?;
                Ok(())
            },
            |config| {
                let algorithms = config.access.jwt.algorithms.iter();
                list(
                    &algorithms
                        .map(|algorithm| algorithm.as_str())
                        .collect::<Vec<_>>(),
                )
            },
        ),
        row(
            SECTION,
            "issuer",
            "The issuer (iss) of the tokens; empty for any. Tokens of another issuer are left to the next authenticator.",
            |config, raw| {
                raw.text()?.clone_into(&mut config.access.jwt.issuer);
                Ok(())
            },
            |config| quoted(&config.access.jwt.issuer),
        ),
        row(
            SECTION,
            "audience",
            "The audiences (aud) of this server. A token must name one of them; with an empty list, a token with an audience is refused.",
            |config, raw| {
                config.access.jwt.audience = raw.list()?;
                Ok(())
            },
            |config| list(&config.access.jwt.audience),
        ),
        row(
            SECTION,
            "leeway",
            "Seconds that the clocks of the issuer and of this server may differ, for exp and nbf.",
            |config, raw| {
                config.access.jwt.leeway = within(raw.int()?, 0..=LEEWAY_SECS_MAX)?;
                Ok(())
            },
            |config| config.access.jwt.leeway.to_string(),
        ),
        row(
            SECTION,
            "default_grants",
            "Grants of clients whose token has no claim grants; empty for none.",
            |config, raw| {
                config.access.jwt.default_grants = grants(raw)?;
                Ok(())
            },
            |config| list(&config.access.jwt.default_grants.to_texts()),
        ),
    ]
}

/// The secret. Errors do not repeat it.
fn secret(raw: &RawValue) -> Result<Option<JwtSecret>, Reason> {
    let expected = "a text of at least 32 bytes in quotes";
    let text = raw.text().map_err(|_| Reason::Secret { expected })?;
    if text.is_empty() {
        return Ok(None);
    }
    Ok(Some(JwtSecret::parse(text)?))
}

fn keys_file(raw: &RawValue) -> Result<Option<(String, KeySet)>, Reason> {
    let path = raw.text()?;
    if path.is_empty() {
        return Ok(None);
    }
    let bytes = fs::metadata(path)?.len();
    if bytes > KEYS_FILE_BYTES_MAX {
        return Err(Reason::unexpected(path, "a file of at most 1 MiB"));
    }
    let keys = KeySet::of_file(&fs::read(path)?)?;
    Ok(Some((path.to_owned(), keys)))
}

/// An https URL, or an http URL of this machine. A login in it would be shown in logs.
fn jwks_url(raw: &RawValue) -> Result<Option<Uri>, Reason> {
    let text = raw.text()?;
    if text.is_empty() {
        return Ok(None);
    }
    let url = text.parse::<Uri>().ok();
    let url = url.filter(|url| {
        let host = url.host().unwrap_or_default();
        let has_login = url
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'));
        match url.scheme_str() {
            Some("https") => !host.is_empty() && !has_login,
            Some("http") => is_loopback(host) && !has_login,
            Some(_) | None => false,
        }
    });
    let expected = "a URL like https://HOST/.well-known/jwks.json, or http with a loopback address, without a login";
    url.map(Some).ok_or_else(|| match text.contains('@') {
        true => Reason::Secret { expected },
        false => Reason::unexpected(text, expected),
    })
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let ip = host.parse::<std::net::IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.to_canonical().is_loopback())
}

fn algorithms(raw: &RawValue) -> Result<Vec<JwtAlgorithm>, Reason> {
    let names = raw.list()?;
    let algorithms = names.into_iter().map(|name| {
        let mut all = JwtAlgorithm::ALL.into_iter();
        let found = all.find(|algorithm| algorithm.as_str() == name);
        found.ok_or_else(|| Reason::NoChoice {
            value: name,
            choices: JwtAlgorithm::ALL.map(JwtAlgorithm::as_str).to_vec(),
        })
    });
    algorithms.collect()
}

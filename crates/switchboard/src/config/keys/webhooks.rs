//! The settings of the webhook that decides about clients.

use std::time::Duration;

use switchboard_auth::webhook::AccessEvent;
use switchboard_dialects::SECS_MAX;

use super::{Reason, SettingDef, check_url, list, quoted, row, to_field_type, within};
use crate::config::raw_value::RawValue;

/// The least bytes of a secret: a shorter one can be guessed.
const SECRET_BYTES_MIN: usize = 16;

/// The most bytes of a secret.
const SECRET_BYTES_MAX: usize = 1024;

/// The range of the concurrent requests.
const CONCURRENCY: std::ops::RangeInclusive<u64> = 1..=1024;

pub(super) fn rows() -> [SettingDef; 5] {
    [
        row(
            "access.webhook",
            "url",
            "The URL of a web service that decides about clients; empty for none. With \"webhook\" in access.authenticators it authenticates them.",
            |config, raw| url(raw).map(|url| config.access.webhook.url = url),
            |config| quoted(&config.access.webhook.url),
        ),
        row(
            "access.webhook",
            "secret",
            "The secret of at least 16 bytes with which the requests are signed (HMAC-SHA256). `switchboard check` shows ***.",
            |config, raw| secret(raw).map(|secret| config.access.webhook.secret = secret),
            |config| shown(&config.access.webhook.secret),
        ),
        secs!(
            "access.webhook",
            "timeout",
            "Seconds for a decision; without one in time the client is refused.",
            access.webhook.timeout,
            1..=SECS_MAX
        ),
        int!(
            "access.webhook",
            "concurrency",
            "Maximum concurrent requests; one address or room has at most a quarter of them, and further ones wait for their turn.",
            access.webhook.concurrency,
            CONCURRENCY
        ),
        row(
            "access.webhook",
            "events",
            "The occasions on which the service is called: \"connect\" (it authenticates the client), \"join\" (it allows a join of a room, in every dialect and in voice).",
            |config, raw| {
                let events = choices(raw, &AccessEvent::ALL, AccessEvent::as_str)?;
                config.access.webhook.events = events;
                Ok(())
            },
            |config| {
                let events = config.access.webhook.events.iter();
                list(&events.map(|event| event.as_str()).collect::<Vec<_>>())
            },
        ),
    ]
}

fn url(raw: &RawValue) -> Result<String, Reason> {
    let text = raw.text()?;
    if !text.is_empty() {
        if !text.starts_with("http://") && !text.starts_with("https://") {
            return Err(Reason::unexpected(text, "a URL like \"https://HOST/PATH\""));
        }
        check_url(text)?;
    }
    Ok(text.to_owned())
}

/// The text of a secret. Errors do not repeat it.
fn secret(raw: &RawValue) -> Result<String, Reason> {
    let expected = "a text of 16 to 1024 bytes in quotes";
    let text = raw.text().map_err(|_| Reason::Secret { expected })?;
    let is_valid = text.is_empty() || (SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&text.len());
    match is_valid {
        true => Ok(text.to_owned()),
        false => Err(Reason::Secret { expected }),
    }
}

fn shown(secret: &str) -> String {
    quoted(if secret.is_empty() { "" } else { "***" })
}

/// A list of names, each of which is one of `all`.
fn choices<T: Copy + PartialEq>(
    raw: &RawValue,
    all: &[T],
    name_of: fn(T) -> &'static str,
) -> Result<Vec<T>, Reason> {
    let mut chosen = Vec::new();
    for name in raw.list()? {
        let found = all.iter().copied().find(|choice| name_of(*choice) == name);
        let found = found.ok_or_else(|| Reason::NoChoice {
            value: name.clone(),
            choices: all.iter().map(|choice| name_of(*choice)).collect(),
        })?;
        if chosen.contains(&found) {
            return Err(Reason::ListedTwice(name));
        }
        chosen.push(found);
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use crate::Config;

    fn errors(toml: &str) -> Vec<String> {
        let mut config = Config::default();
        let mut errors = config.read_toml("f", toml);
        errors.extend(config.validate());
        errors.iter().map(ToString::to_string).collect()
    }

    fn warnings(toml: &str) -> Vec<String> {
        let mut config = Config::default();
        assert_eq!(config.read_toml("f", toml), []);
        let warnings = config.warnings();
        warnings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn webhook_needs_its_url_and_a_long_secret() {
        let secret = "secret = \"0123456789abcdef\"";
        let kind = "[access]\nauthenticators = [\"webhook\"]\n";
        for (toml, part) in [
            (kind.to_owned(), "no web service could authenticate clients"),
            (
                format!(
                    "{kind}[access.webhook]\nurl = \"https://a.example\"\n{secret}\nevents = [\"join\"]\n"
                ),
                "must contain \"connect\" with",
            ),
            (
                "[access.webhook]\nurl = \"https://a.example\"\n".to_owned(),
                "could not verify that the requests come from this server",
            ),
            (
                "[access.webhook]\nsecret = \"short-secret\"\n".to_owned(),
                "is not a text of 16 to 1024 bytes",
            ),
            (
                "[access.webhook]\nurl = \"ftp://a.example\"\n".to_owned(),
                "is not a URL like",
            ),
            (
                "[access.webhook]\nevents = [\"joins\"]\n".to_owned(),
                "did you mean \"join\"",
            ),
        ] {
            let errors = errors(&toml);
            assert!(
                errors.len() == 1 && errors[0].contains(part),
                "{toml}: {errors:?}"
            );
            assert!(!errors[0].contains("short-secret"), "{errors:?}");
        }
        let valid = format!("{kind}[access.webhook]\nurl = \"https://a.example/hook\"\n{secret}\n");
        assert_eq!(errors(&valid), Vec::<String>::new());
    }

    #[test]
    fn webhook_without_tls_on_another_machine_is_a_warning() {
        let secret = "secret = \"0123456789abcdef\"";
        let of = |url: &str| warnings(&format!("[access.webhook]\nurl = \"{url}\"\n{secret}\n"));
        for url in [
            "http://a.example",
            "http://10.0.0.1:81/x",
            "http://[fd00::1]/",
        ] {
            let warnings = of(url);
            assert_eq!(warnings.len(), 1, "{url}: {warnings:?}");
            assert!(warnings[0].contains("use https://"), "{warnings:?}");
        }
        for url in [
            "https://a.example",
            "http://localhost:81",
            "http://127.0.0.1/",
            "http://[::1]/",
        ] {
            assert_eq!(of(url), Vec::<String>::new(), "{url}");
        }
    }
}

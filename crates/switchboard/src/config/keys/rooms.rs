//! The policies of rooms: the list of tables `[[rooms]]`.

use std::{collections::BTreeMap, sync::Arc};

use switchboard_core::{ClientPattern, RoomPattern, RoomPolicy};

use super::{Reason, SettingDef, list, quoted, row};
use crate::config::raw_value::RawValue;

/// Maximum entries of `rooms`. Each join compares the room's name with all of them.
const RULES_MAX: usize = 1024;

/// Maximum entries of `dialects` or `who_may_join` of one policy.
const ENTRIES_MAX: usize = 1024;

/// The keys of a policy, for errors.
const KEYS: &str = "pattern, max_members, dialects, presence, locked, who_may_join";

pub(super) fn rows() -> [SettingDef; 1] {
    [row(
        "",
        "rooms",
        "Policies of the rooms of a pattern, each as a table [[rooms]] with pattern = \"team-*\" and any of max_members = 10, dialects = [\"p2p\", \"gostream\"], presence = false (only peerjs and y-webrtc may join), locked = true (no joins), who_may_join = [\"anyone\", \"authenticated\", \"ada\", \"bot-*\"]. For each key, the most specific pattern that has it applies. In the environment the list is JSON.",
        |config, raw| rules(raw).map(|rules| config.rooms = rules),
        |config| shown(&config.rooms),
    )]
}

fn rules(raw: &RawValue) -> Result<Vec<(RoomPattern, RoomPolicy)>, Reason> {
    let tables = raw.tables().map_err(|_| Reason::Secret {
        expected: "a list of tables, like [[rooms]] with pattern = \"team-*\", or JSON",
    })?;
    check_count(tables.len(), "policies", RULES_MAX)?;
    let mut rules = Vec::new();
    for (index, table) in tables.iter().enumerate() {
        let named = |reason: Reason| reason.within(part_name(table, index));
        let (pattern, policy) = rule(table).map_err(named)?;
        if rules.iter().any(|(earlier, _)| *earlier == pattern) {
            return Err(Reason::ListedTwice(pattern.to_string()));
        }
        rules.push((pattern, policy));
    }
    Ok(rules)
}

/// The name of a policy in errors: its pattern, or its number.
fn part_name(table: &BTreeMap<String, RawValue>, index: usize) -> String {
    let pattern = table.get("pattern").and_then(|raw| raw.text().ok());
    pattern.map_or_else(
        || format!("policy {}", index + 1),
        |pattern| format!("pattern {pattern:?}"),
    )
}

fn rule(table: &BTreeMap<String, RawValue>) -> Result<(RoomPattern, RoomPolicy), Reason> {
    let (mut pattern, mut policy) = (None, RoomPolicy::default());
    for (key, raw) in table {
        set_key(key, raw, &mut pattern, &mut policy).map_err(|reason| reason.within(key))?;
    }
    let pattern = pattern.ok_or(Reason::Secret {
        expected: "complete: its pattern is missing",
    })?;
    Ok((pattern, policy))
}

fn set_key(
    key: &str,
    raw: &RawValue,
    pattern: &mut Option<RoomPattern>,
    policy: &mut RoomPolicy,
) -> Result<(), Reason> {
    match key {
        "pattern" => *pattern = Some(raw.text()?.parse()?),
        "max_members" => {
            let count = raw.int()?;
            policy.max_members = Some(usize::try_from(count).unwrap_or(usize::MAX));
        }
        "dialects" => {
            let names = entries(raw)?.into_iter();
            policy.dialects = Some(names.map(Arc::from).collect());
        }
        "presence" => policy.presence = Some(raw.boolean()?),
        "locked" => policy.locked = Some(raw.boolean()?),
        "who_may_join" => policy.who_may_join = Some(clients(raw)?),
        other => {
            return Err(Reason::UnknownKey {
                key: other.to_owned(),
                keys: KEYS,
            });
        }
    }
    Ok(())
}

fn clients(raw: &RawValue) -> Result<Vec<ClientPattern>, Reason> {
    let parse = |text: &String| Ok(text.parse::<ClientPattern>()?);
    entries(raw)?.iter().map(parse).collect()
}

/// The entries of a list, which is neither empty nor too long.
fn entries(raw: &RawValue) -> Result<Vec<String>, Reason> {
    let entries = raw.list()?;
    check_count(entries.len(), "entries", ENTRIES_MAX)?;
    match entries.is_empty() {
        true => Err(Reason::unexpected(
            "[]",
            "a list with an entry; locked = true admits no client",
        )),
        false => Ok(entries),
    }
}

fn check_count(count: usize, unit: &'static str, max: usize) -> Result<(), Reason> {
    match count > max {
        true => Err(Reason::TooMany { count, unit, max }),
        false => Ok(()),
    }
}

/// Formats the policies as inline TOML.
fn shown(rules: &[(RoomPattern, RoomPolicy)]) -> String {
    let rules = rules.iter().map(shown_rule).collect::<Vec<_>>();
    format!("[{}]", rules.join(", "))
}

fn shown_rule((pattern, policy): &(RoomPattern, RoomPolicy)) -> String {
    let text = |value: &dyn ToString| value.to_string();
    let keys = [
        ("pattern", Some(quoted(pattern))),
        ("max_members", policy.max_members.map(|max| text(&max))),
        ("dialects", policy.dialects.as_deref().map(list)),
        ("presence", policy.presence.map(|flag| text(&flag))),
        ("locked", policy.locked.map(|flag| text(&flag))),
        ("who_may_join", policy.who_may_join.as_deref().map(list)),
    ];
    let keys = keys.into_iter();
    let keys = keys.filter_map(|(key, value)| Some(format!("{key} = {}", value?)));
    format!("{{ {} }}", keys.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    fn errors(text: &str) -> Vec<String> {
        let mut config = Config::default();
        let mut errors = config.read_toml("f.toml", text);
        errors.extend(config.validate());
        errors.iter().map(ToString::to_string).collect()
    }

    fn expected() -> Vec<(RoomPattern, RoomPolicy)> {
        let policy = RoomPolicy {
            max_members: Some(4),
            dialects: Some(vec!["p2p".into(), "gostream".into()]),
            presence: Some(true),
            locked: Some(false),
            who_may_join: Some(vec![
                ClientPattern::Anyone,
                ClientPattern::SubjectPrefix("bot-".into()),
            ]),
        };
        let locked = RoomPolicy {
            locked: Some(true),
            ..RoomPolicy::default()
        };
        vec![
            ("team-*".parse().expect("a pattern"), policy),
            ("old".parse().expect("a pattern"), locked),
        ]
    }

    const TABLES: &str = r#"[[rooms]]
pattern = "team-*"
max_members = 4
dialects = ["p2p", "gostream"]
presence = true
locked = false
who_may_join = ["anyone", "bot-*"]
[[rooms]]
pattern = "old"
locked = true
"#;
    const JSON: &str = r#"[{"pattern":"team-*","max_members":4,"dialects":["p2p","gostream"],"presence":true,"locked":false,"who_may_join":["anyone","bot-*"]},{"pattern":"old","locked":true}]"#;

    #[test]
    fn policies_are_read_from_tables_and_json_and_shown() {
        let mut of_tables = Config::default();
        assert_eq!(of_tables.read_toml("f.toml", TABLES), []);
        assert_eq!(of_tables.validate(), []);
        assert_eq!(of_tables.rooms, expected());
        let mut of_environment = Config::default();
        assert_eq!(
            of_environment.read_environment([("SWITCHBOARD_ROOMS", JSON)]),
            []
        );
        assert_eq!(of_environment.rooms, expected());
        let mut of_shown = Config::default();
        assert_eq!(of_shown.read_toml("shown", &of_tables.to_toml()), []);
        assert_eq!(of_shown.rooms, expected());
        assert_eq!(of_shown.read_environment([("SWITCHBOARD_ROOMS", "[]")]), []);
        assert_eq!(of_shown.rooms, []);
    }

    #[test]
    fn errors_name_the_policy_and_the_reason() {
        let many = "[[rooms]]\npattern = \"r\"\n".repeat(1025);
        for (bad, message) in [
            (
                "[[rooms]]\n",
                "policy 1: is not complete: its pattern is missing",
            ),
            (
                "[[rooms]]\npattern = \"a*b\"\n",
                "pattern \"a*b\": pattern: ",
            ),
            ("[[rooms]]\npattern = \"\"\n", "pattern \"\": pattern: "),
            (
                "[[rooms]]\npattern = \"r\"\nmaximum = 4\n",
                "pattern \"r\": maximum: unknown key \"maximum\"",
            ),
            (
                "[[rooms]]\npattern = \"r\"\ndialects = []\n",
                "pattern \"r\": dialects: \"[]\" is not a list with an entry",
            ),
            (
                "[[rooms]]\npattern = \"r\"\nwho_may_join = [\"a*b\"]\n",
                "pattern \"r\": who_may_join: \"a*b\" is not `anyone`",
            ),
            (
                "[[rooms]]\npattern = \"r\"\nlocked = 1\n",
                "pattern \"r\": locked: 1 is not true or false",
            ),
            (
                "[[rooms]]\npattern = \"r\"\n[[rooms]]\npattern = \"r\"\n",
                "\"r\" is listed twice",
            ),
            (
                "[rooms]\npattern = \"r\"\n",
                "is not a list of tables, like [[rooms]]",
            ),
            ("rooms = \"r\"\n", "is not a list of tables, like [[rooms]]"),
            (&many, "has 1025 policies; 1024 are allowed"),
            // Checks across settings.
            (
                "[[rooms]]\npattern = \"r\"\ndialects = [\"p3p\"]\n",
                "pattern \"r\": dialects: \"p3p\" is not one of",
            ),
            (
                "[[rooms]]\npattern = \"r\"\npresence = false\ndialects = [\"peerjs\", \"mesh\"]\n",
                "pattern \"r\": presence = false does not admit the dialect \"mesh\"",
            ),
            (
                "[[rooms]]\npattern = \"r\"\nmax_members = 3\ndialects = [\"ayame\"]\n",
                "pattern \"r\": max_members = 3 has no effect: a room has at most 2 members",
            ),
            (
                "[[rooms]]\npattern = \"r\"\nmax_members = 100001\n",
                "pattern \"r\": max_members = 100001 has no effect: a room has at most 100000 members",
            ),
        ] {
            let found = errors(bad);
            assert_eq!(found.len(), 1, "{bad}: {found:?}");
            let message = format!("f.toml:1: rooms: {message}");
            assert!(found[0].starts_with(&message), "{bad}: {found:?}");
        }
        let long = format!("[[rooms]]\npattern = \"{}*\"\n", "x".repeat(500));
        assert_eq!(errors(&long), [] as [&str; 0]);
        let found = errors(&format!("{long}[limits]\nname_bytes = 64\n"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].contains("matches no room: it has 500 bytes"),
            "{found:?}"
        );
        let found =
            errors("[[rooms]]\npattern = \"r\"\ndialects = [\"mesh\"]\n[mesh]\nenabled = false\n");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].contains("admits no client: its dialects are off"),
            "{found:?}"
        );
    }

    #[test]
    fn a_policy_for_identities_that_no_client_can_have_is_a_warning() {
        let warnings = |text: &str| {
            let mut config = Config::default();
            assert_eq!(config.read_toml("f.toml", text), []);
            assert_eq!(config.validate(), []);
            let warnings = config.warnings();
            warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let known = "[[rooms]]\npattern = \"r\"\nwho_may_join = [\"ada\"]\n";
        let found = warnings(known);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("access.authenticators"), "{found:?}");
        let open = known.replace("\"ada\"", "\"ada\", \"anyone\"");
        assert_eq!(warnings(&open), [] as [&str; 0]);
        let keys = "[access]\nauthenticators = [\"keys\"]\nkeys = [{ key = \"0123456789abcdef\", subject = \"ada\" }]\n";
        assert_eq!(warnings(&format!("{known}{keys}")), [] as [&str; 0]);
    }
}

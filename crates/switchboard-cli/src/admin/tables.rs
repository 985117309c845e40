//! Answers of the admin API as tables for people.

use serde_json::Value;

/// Text that is safe for a terminal: without control characters.
pub(super) fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// A value as a cell.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => plain(text),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Array(_) | Value::Object(_) => plain(&value.to_string()),
    }
}

/// Aligned columns. `none` is printed without rows.
fn table<const N: usize>(head: [&str; N], rows: Vec<[String; N]>, none: &str) -> String {
    if rows.is_empty() {
        return format!("{none}\n");
    }
    let all: Vec<_> = std::iter::once(head.map(str::to_owned))
        .chain(rows)
        .collect();
    let widths: [usize; N] = std::array::from_fn(|column| {
        let cells = all.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or_default()
    });
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths);
        let cells = cells.map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        format!("{}\n", line.trim_end())
    };
    all.iter().map(line).collect()
}

fn list<'a>(answer: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    answer[key].as_array().into_iter().flatten()
}

/// The name of a room, with its space and its dialect.
fn room_name(room: &Value) -> String {
    let space = room["space"].as_str().filter(|space| !space.is_empty());
    let space = space.map(|space| format!("{}/", plain(space)));
    let only = room["dialect"].as_str();
    let only = only.map(|only| format!(" ({} only)", plain(only)));
    let name = cell(&room["name"]);
    format!(
        "{}{name}{}",
        space.unwrap_or_default(),
        only.unwrap_or_default()
    )
}

fn lock(value: &Value) -> String {
    match value {
        Value::Bool(true) => "locked",
        Value::Bool(false) => "unlocked",
        Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            "-"
        }
    }
    .to_owned()
}

pub(super) fn nodes(answer: &Value) -> String {
    let rows = list(answer, "nodes").map(|node| {
        let state = &node["state"];
        let status = match (node["alive"].as_bool(), state["draining"].as_bool()) {
            (Some(false), _) => "lapsed",
            (_, Some(true)) => "draining",
            (_, None) => "no answer",
            (_, Some(false)) if state["ready"] == false => "not ready",
            (_, Some(false)) => "ready",
        };
        [
            cell(&node["id"]),
            cell(&node["url"]),
            status.to_owned(),
            cell(&node["version"]),
            cell(&state["connections"]),
            cell(&state["rooms"]),
            cell(&state["voice"]),
        ]
    });
    let head = [
        "NODE",
        "URL",
        "STATE",
        "VERSION",
        "CONNECTIONS",
        "ROOMS",
        "VOICE",
    ];
    table(head, rows.collect(), "No node.")
}

pub(super) fn rooms(answer: &Value) -> String {
    let rows = list(answer, "rooms").map(|it| {
        [
            room_name(&it["room"]),
            cell(&it["members"]),
            lock(&it["locked"]),
        ]
    });
    let text = table(
        ["ROOM", "MEMBERS", "LOCK"],
        rows.collect(),
        "No room has members.",
    );
    text + more(answer)
}

pub(super) fn room(answer: &Value) -> String {
    let rows = list(answer, "members").map(|member| {
        [
            cell(&member["address"]),
            cell(&member["name"]),
            cell(&member["dialect"]),
            cell(&member["identity"]),
            cell(&member["client_address"]),
            cell(&member["node"]),
            cell(&member["session"]),
        ]
    });
    let head = [
        "MEMBER", "NAME", "DIALECT", "IDENTITY", "ADDRESS", "NODE", "SESSION",
    ];
    let text = table(head, rows.collect(), "The room has no members.");
    let total = cell(&answer["total"]);
    format!(
        "{text}\n{total} members; lock: {}\n",
        lock(&answer["locked"])
    )
}

fn session_row(session: &Value) -> [String; 6] {
    let rooms: Vec<_> = list(session, "rooms").map(room_name).collect();
    [
        cell(&session["id"]),
        cell(&session["dialect"]),
        cell(&session["identity"]),
        cell(&session["address"]),
        cell(&session["node"]),
        rooms.join(", "),
    ]
}

const SESSION_HEAD: [&str; 6] = ["SESSION", "DIALECT", "IDENTITY", "ADDRESS", "NODE", "ROOMS"];

pub(super) fn sessions(answer: &Value) -> String {
    let rows = list(answer, "sessions").map(session_row).collect();
    table(SESSION_HEAD, rows, "No session.") + more(answer)
}

pub(super) fn session(answer: &Value) -> String {
    let session = Some(&answer["session"]).filter(|session| session.is_object());
    let rows = session.map(session_row).into_iter().collect();
    let text = table(SESSION_HEAD, rows, "The session has ended.");
    let events: String = list(answer, "events").map(event).collect();
    format!("{text}\n{events}")
}

pub(super) fn voice(answer: &Value) -> String {
    let calls = list(answer, "calls").map(|call| {
        [
            cell(&call["caller"]),
            cell(&call["callee"]),
            cell(&call["phase"]),
        ]
    });
    let calls = table(["CALLER", "CALLEE", "PHASE"], calls.collect(), "No call.");
    let rooms = list(answer, "rooms").map(|room| {
        let users = list(room, "users").count().to_string();
        [cell(&room["id"]), cell(&room["name"]), users]
    });
    let rooms = table(["ROOM", "NAME", "USERS"], rooms.collect(), "No voice room.");
    format!("{calls}\n{rooms}")
}

pub(super) fn bans(answer: &Value) -> String {
    let rows = list(answer, "bans").map(|ban| {
        let identity = ban["identity"].as_str();
        let identity = identity.map(|name| format!("identity {}", plain(name)));
        let target = identity.unwrap_or_else(|| format!("address {}", cell(&ban["network"])));
        let room = Some(&ban["room"]).filter(|room| room.is_object());
        [
            cell(&ban["id"]),
            target,
            room.map_or_else(|| "-".to_owned(), room_name),
            time(&ban["expires_ms"]),
            cell(&ban["by"]),
            cell(&ban["reason"]),
        ]
    });
    table(
        ["BAN", "CLIENTS", "ROOM", "UNTIL", "BY", "REASON"],
        rows.collect(),
        "No ban.",
    )
}

pub(super) fn settings(answer: &Value) -> String {
    let toml = answer["toml"].as_str().unwrap_or_default();
    let changed: Vec<_> = list(answer, "changed").map(cell).collect();
    let changed = if changed.is_empty() {
        "none".to_owned()
    } else {
        changed.join(", ")
    };
    format!("{toml}\n# Changed from the default: {changed}\n")
}

pub(super) fn outcome(answer: &Value) -> String {
    let count = cell(&answer["count"]);
    let ban = answer["ban"]["id"].as_str();
    let ban = ban.map(|id| format!("; ban {}", plain(id)));
    format!("done: {count}{}\n", ban.unwrap_or_default())
}

/// One line of the live events.
pub(super) fn event(event: &Value) -> String {
    let shown = ["time_ms", "type", "node"];
    let fields = event.as_object().into_iter().flatten();
    let fields = fields.filter(|(key, value)| !shown.contains(&key.as_str()) && !value.is_null());
    let fields = fields.map(|(key, value)| match key.as_str() {
        "room" => format!(" room={}", room_name(value)),
        key => format!(" {key}={}", cell(value)),
    });
    format!(
        "{} {} {}{}\n",
        time(&event["time_ms"]),
        cell(&event["node"]),
        cell(&event["type"]),
        fields.collect::<String>()
    )
}

fn more(answer: &Value) -> &'static str {
    match answer["next"].is_string() {
        true => "There are more: set --limit.\n",
        false => "",
    }
}

/// A time in milliseconds since 1970 as date and time in UTC.
fn time(millis: &Value) -> String {
    let millis = millis.as_u64().unwrap_or_default();
    let (days, seconds) = (millis / 86_400_000, millis / 1000 % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The date of a day since 1970 (Hinnant, "chrono-compatible low-level date algorithms").
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_are_dates_in_utc() {
        for (millis, text) in [
            (0_u64, "1970-01-01T00:00:00Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_796_083_199_999, "2026-11-30T23:59:59Z"),
        ] {
            assert_eq!(time(&json!(millis)), text);
        }
    }

    #[test]
    fn names_of_clients_cannot_control_the_terminal() {
        let answer = json!({"rooms": [{"room": {"name": "a\u{1b}[31mb", "dialect": "peerjs"}, "members": 2}]});
        let text = rooms(&answer);
        assert!(!text.contains('\u{1b}'), "{text:?}");
        assert!(text.contains("a[31mb (peerjs only)  2"), "{text}");
        let line = event(
            &json!({"time_ms": 0, "node": "n", "type": "joined", "room": {"name": "r"}, "member": "m"}),
        );
        assert_eq!(line, "1970-01-01T00:00:00Z n joined member=m room=r\n");
        assert_eq!(rooms(&json!({"rooms": []})), "No room has members.\n");
    }
}

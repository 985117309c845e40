//! `switchboard admin`: shows and governs a running cluster through its admin API.

mod args;
mod client;
mod tables;

use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use hyper::Method;
use serde_json::{Value, json};

pub(crate) use args::AdminArgs;

use crate::{report, terminal};
use args::{AdminCommand, RoomArgs, TargetArgs};
use client::{AdminClient, query};

/// The most entries of one request.
const PAGE_MAX: usize = 1000;

/// A request of a command, and how its answer is shown.
struct AdminRequest {
    method: Method,
    path: String,
    body: Option<Value>,
    show: fn(&Value) -> String,
}

/// Runs the command.
pub(crate) fn run(args: &AdminArgs) -> ExitCode {
    match execute(args) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failed) => {
            let text = format!("{failed} nodes did not act or answer");
            report::print_failure(&anyhow!(text));
            ExitCode::FAILURE
        }
        Err(error) => {
            report::print_failure(&error);
            ExitCode::FAILURE
        }
    }
}

/// Returns the number of nodes that did not answer.
fn execute(args: &AdminArgs) -> anyhow::Result<usize> {
    let client = AdminClient::new(&args.server)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(execute_with(args, &client));
    // Does not wait for the thread of a DNS lookup that is still running.
    runtime.shutdown_background();
    result
}

async fn execute_with(args: &AdminArgs, client: &AdminClient) -> anyhow::Result<usize> {
    if let AdminCommand::Events = &args.command {
        return client.follow(args.server.json).await.map(|()| 0);
    }
    if let AdminCommand::Rooms { prefix, limit } = &args.command {
        let filter = [("prefix", prefix.as_deref())];
        let rooms = pages(client, "/rooms", "rooms", &filter, *limit).await?;
        return Ok(print(args, &rooms, tables::rooms));
    }
    if let AdminCommand::Sessions {
        identity,
        address,
        dialect,
        limit,
    } = &args.command
    {
        let filter = [
            ("identity", identity.as_deref()),
            ("address", address.as_deref()),
            ("dialect", dialect.as_deref()),
        ];
        let sessions = pages(client, "/sessions", "sessions", &filter, *limit).await?;
        return Ok(print(args, &sessions, tables::sessions));
    }
    let order = order(&args.command)?;
    let answer = client.call(&order.method, &order.path, order.body).await?;
    Ok(print(args, &answer, order.show))
}

/// Prints an answer. Returns the number of nodes that did not answer.
fn print(args: &AdminArgs, answer: &Value, show: fn(&Value) -> String) -> usize {
    terminal::print(&match args.server.json {
        true => format!("{answer:#}\n"),
        false => show(answer),
    });
    let failed = answer["failed_nodes"].as_array();
    failed.map_or(0, |failed| {
        for node in failed {
            let (name, error) = (&node["node"], &node["error"]);
            terminal::print_error(&tables::plain(&format!("node {name}: {error}")));
        }
        failed.len()
    })
}

/// Reads the pages of a list up to `limit` entries, and joins them to one answer.
async fn pages(
    client: &AdminClient,
    path: &str,
    list: &str,
    filter: &[(&str, Option<&str>)],
    limit: usize,
) -> anyhow::Result<Value> {
    let mut all = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let size = (limit - all.len()).min(PAGE_MAX).to_string();
        let mut parameters = filter.to_vec();
        parameters.push(("limit", Some(&size)));
        parameters.push(("cursor", cursor.as_deref()));
        let path = format!("{path}{}", query(&parameters));
        let mut page = client.call(&Method::GET, &path, None).await?;
        if let Value::Array(entries) = page[list].take() {
            all.extend(entries);
        }
        cursor = page["next"].as_str().map(str::to_owned);
        if cursor.is_none() || all.len() >= limit {
            page[list] = all.into();
            return Ok(page);
        }
    }
}

/// The request of a command with one request.
fn order(command: &AdminCommand) -> anyhow::Result<AdminRequest> {
    let get = |path: &str, show| AdminRequest {
        method: Method::GET,
        path: path.to_owned(),
        body: None,
        show,
    };
    let post = |path: &str, body: Value| AdminRequest {
        method: Method::POST,
        body: Some(body),
        ..get(path, tables::outcome)
    };
    Ok(match command {
        AdminCommand::Nodes => get("/nodes", tables::nodes),
        AdminCommand::Room(room) => get(&format!("/room{}", room_query(room)), tables::room),
        AdminCommand::Session { id } => get(&format!("/sessions/{}", segment(id)), tables::session),
        AdminCommand::Voice => get("/voice", tables::voice),
        AdminCommand::Bans => get("/bans", tables::bans),
        AdminCommand::Settings => get("/settings", tables::settings),
        AdminCommand::Kick(target) => post("/kick", target_body(target)),
        AdminCommand::Ban { target, ttl } => {
            let mut body = target_body(target);
            body["ttl_secs"] = seconds(ttl)?.into();
            post("/bans", body)
        }
        AdminCommand::Unban { id } => AdminRequest {
            method: Method::DELETE,
            ..get(&format!("/bans/{}", segment(id)), tables::outcome)
        },
        AdminCommand::Close { room, lock, reason } => {
            let room = room_body(room);
            let mut body = json!({ "room": room, "lock": lock });
            if let Some(reason) = reason {
                body["reason"] = reason.as_str().into();
            }
            post("/room/close", body)
        }
        AdminCommand::Lock(room) => {
            let body = json!({ "room": room_body(room), "locked": true });
            post("/room/lock", body)
        }
        AdminCommand::Unlock { room, open } => {
            let locked = open.then_some(false);
            post(
                "/room/lock",
                json!({ "room": room_body(room), "locked": locked }),
            )
        }
        AdminCommand::Message { room, text } => post(
            "/room/message",
            json!({ "room": room_body(room), "text": text }),
        ),
        AdminCommand::Drain { node, off } => AdminRequest {
            method: if *off { Method::DELETE } else { Method::POST },
            ..get(&format!("/nodes/{}/drain", segment(node)), tables::outcome)
        },
        AdminCommand::Rooms { .. } | AdminCommand::Sessions { .. } | AdminCommand::Events => {
            return Err(anyhow!("the command has several requests"));
        }
    })
}

fn room_query(room: &RoomArgs) -> String {
    query(&[
        ("name", Some(&room.room)),
        ("space", room.space.as_deref()),
        ("dialect", room.only.as_deref()),
    ])
}

fn room_body(room: &RoomArgs) -> Value {
    let mut body = json!({ "name": room.room });
    if let Some(space) = &room.space {
        body["space"] = space.as_str().into();
    }
    if let Some(dialect) = &room.only {
        body["dialect"] = dialect.as_str().into();
    }
    body
}

fn target_body(target: &TargetArgs) -> Value {
    let mut body = json!({});
    for (key, value) in [
        ("session", &target.session),
        ("identity", &target.identity),
        ("address", &target.address),
        ("member", &target.member),
        ("reason", &target.reason),
    ] {
        if let Some(value) = value {
            body[key] = value.as_str().into();
        }
    }
    if let Some(room) = &target.room {
        let (room, space, only) = (room.clone(), target.space.clone(), target.only.clone());
        body["room"] = room_body(&RoomArgs { room, space, only });
    }
    body
}

/// A part of a path.
fn segment(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

/// The seconds of a text as `90`, `90s`, `15m`, `12h` or `7d`.
fn seconds(text: &str) -> anyhow::Result<u64> {
    let (number, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => 0,
    };
    let number: Option<u64> = number.parse().ok();
    let seconds = number.and_then(|number| number.checked_mul(unit));
    let seconds = seconds.filter(|seconds| *seconds > 0);
    seconds.ok_or_else(|| anyhow!("--ttl {text}: not a time such as 90s, 15m, 12h or 7d"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_of_a_ban_has_a_unit() {
        for (text, expected) in [
            ("90", 90),
            ("90s", 90),
            ("15m", 900),
            ("12h", 43_200),
            ("7d", 604_800),
        ] {
            assert_eq!(seconds(text).expect(text), expected);
        }
        for bad in [
            "",
            "0",
            "h",
            "1w",
            "-1",
            "99999999999999999999",
            "9999999999999999999d",
        ] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_encoded() {
        assert_eq!(segment("a/b c?"), "a%2Fb%20c%3F");
        let room = RoomArgs {
            room: "a&b".to_owned(),
            space: None,
            only: Some("peerjs".to_owned()),
        };
        assert_eq!(room_query(&room), "?name=a%26b&dialect=peerjs");
    }
}

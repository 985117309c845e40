//! Fuzzes the frames of a client of one dialect in a room with members of every dialect.

use std::time::Duration;

use switchboard_core::DialectTraits;
use switchboard_dialects::{
    ALL,
    json::{JsonObject, quote},
};

use crate::{ClientId, Simulation};

/// Max frames of one input; more are ignored.
const FRAMES_MAX: usize = 64;

/// Max bytes of a frame of the server that do not repeat the input: names, keys and fixed texts.
const OWN_BYTES_MAX: usize = 8 * 1024;

/// Max factor by which a frame that is translated to another dialect is longer than its cause, including JSON quoting.
const REPETITIONS_MAX: usize = 8;

/// Sends the lines of `bytes` as frames of a client that speaks `dialect`. In a line:
///
/// * `$0` … `$9` stand for the ids of the clients in the order of their joins: one of each dialect without a member
///   limit, in the order of [`ALL`], then the sender, then another client of the sender's dialect;
/// * a line that is not UTF-8, or begins with a zero byte, is sent as a binary frame;
/// * `!` alone closes the sender's socket; it reconnects.
///
/// For dialects with a member limit, the input is sent once for each other dialect, in a room with one member of it.
///
/// # Panics
/// If an invariant is broken.
pub fn frames(dialect: &str, bytes: &[u8]) {
    let (limited, unlimited): (Vec<_>, Vec<_>) = ALL
        .iter()
        .map(|one| one.traits())
        .partition(has_member_limit);
    let names = |all: Vec<&DialectTraits>| all.iter().map(|one| one.name).collect::<Vec<_>>();
    let (limited, unlimited) = (names(limited), names(unlimited));
    for other in &limited {
        send_among(dialect, &[other], None, bytes);
    }
    if !limited.contains(&dialect) {
        return send_among(dialect, &unlimited, Some(dialect), bytes);
    }
    for other in &unlimited {
        send_among(dialect, &[other], None, bytes);
    }
}

/// Whether the dialect limits the members of a room.
fn has_member_limit(traits: &&DialectTraits) -> bool {
    traits.members_max != 0
}

/// Sends the lines in a room that members of the dialects `before` have joined already. A member of `after` joins after
/// the sender has connected.
fn send_among(dialect: &str, before: &[&str], after: Option<&str>, bytes: &[u8]) {
    let mut simulation = Simulation::new(0);
    for (index, other) in before.iter().enumerate() {
        join(&mut simulation, other, index);
    }
    let mut sender = open(&mut simulation, dialect, "sender");
    if let Some(other) = after {
        join(&mut simulation, other, before.len() + 1);
    }
    discard_frames(&mut simulation);
    for line in bytes.split(|byte| *byte == b'\n').take(FRAMES_MAX) {
        if line == b"!" {
            simulation.crash(sender);
            sender = open(&mut simulation, dialect, "sender");
        } else {
            send(&mut simulation, sender, dialect, line);
        }
        check_invariants(&mut simulation, line.len());
    }
    disconnect_all(&mut simulation);
}

/// Opens a connection with the query parameters that some dialects use for the room and the client's id.
fn open(simulation: &mut Simulation, dialect: &str, nick: &str) -> ClientId {
    let query = [
        ("room", "room"),
        ("key", "room"),
        ("id", nick),
        ("token", nick),
    ];
    simulation.open(dialect, &query)
}

/// Adds a member to the room by sending the join frames of all dialects. A frame of another dialect is answered with
/// an error, which is discarded.
fn join(simulation: &mut Simulation, dialect: &str, index: usize) {
    let client = open(simulation, dialect, &format!("user{index}"));
    for frame in [
        greeting(dialect, index),
        format!(r#"{{"type":"join","roomID":"room","senderID":"user{index}"}}"#),
        r#"{"type":"JOIN_ROOM","roomId":"room"}"#.to_owned(),
        r#"{"type":"join","payload":{"room_id":"room"}}"#.to_owned(),
        r#"{"type":"subscribe","topics":["room"]}"#.to_owned(),
    ] {
        simulation.send(client, frame);
    }
    debug_assert!(
        simulation.member(client).is_some(),
        "{dialect} is in the room"
    );
}

/// The frame with which clients of `ayame` and `p2p` must begin.
fn greeting(dialect: &str, index: usize) -> String {
    match dialect {
        "ayame" => r#"{"type":"register","roomId":"room"}"#.to_owned(),
        _ => format!(r#"{{"type":"IDENTIFY","username":"user{index}"}}"#),
    }
}

fn send(simulation: &mut Simulation, sender: ClientId, dialect: &str, line: &[u8]) {
    let text = std::str::from_utf8(line).ok();
    match text.filter(|text| !text.starts_with('\0')) {
        Some(text) => simulation.send(sender, fill_in(simulation, dialect, text)),
        None => simulation.send_binary(sender, line.strip_prefix(b"\0").unwrap_or(line).to_vec()),
    }
}

/// Replaces `$0` to `$9` in `text` by ids.
fn fill_in(simulation: &Simulation, dialect: &str, text: &str) -> String {
    let ids = text
        .contains('$')
        .then(|| simulation.ids().take(10))
        .into_iter()
        .flatten();
    ids.enumerate()
        .fold(text.to_owned(), |text, (index, client)| {
            let id = id_of(simulation, client, dialect);
            let quoted = quote(&id);
            text.replace(&format!("${index}"), &quoted[1..quoted.len() - 1])
        })
}

/// The id by which a client of `dialect` names another client in its frames.
fn id_of(simulation: &Simulation, client: ClientId, dialect: &str) -> String {
    match simulation.member(client) {
        Some((_, member)) if !matches!(dialect, "p2p" | "matchbox") => member.address.to_string(),
        _ => simulation.peer(client).to_string(),
    }
}

/// Checks the frames that an input of `cause` bytes has caused.
fn check_invariants(simulation: &mut Simulation, cause: usize) {
    for client in simulation.ids() {
        for frame in simulation.take_frames(client) {
            let text = &frame.text;
            assert!(
                JsonObject::parse(text, 0).is_ok(),
                "not a JSON object: {text}"
            );
            let max_bytes = REPETITIONS_MAX * cause + OWN_BYTES_MAX;
            assert!(
                text.len() <= max_bytes,
                "a frame of {} bytes is caused by {cause} bytes",
                text.len()
            );
        }
    }
}

fn discard_frames(simulation: &mut Simulation) {
    for client in simulation.ids() {
        simulation.take_frames(client);
    }
}

fn disconnect_all(simulation: &mut Simulation) {
    for client in simulation.ids() {
        simulation.crash(client);
    }
    assert!(simulation.rooms().is_empty(), "a room is left");
    // Addresses of lost connections stay reserved for a while.
    simulation.advance(Duration::from_secs(60));
    assert!(
        simulation.hub().poll_timeout().is_none(),
        "the hub still has a timer: a challenge or a reservation is left"
    );
}

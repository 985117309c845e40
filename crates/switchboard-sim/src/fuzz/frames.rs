//! A client of one dialect sends anything, among members of every dialect.

use std::time::Duration;

use switchboard_core::DialectTraits;
use switchboard_dialect::{
    ALL,
    json::{JsonObject, quote},
};

use crate::{ClientId, Simulation};

/// Frames of one input that are sent; more are left out.
const FRAMES_MAX: usize = 64;

/// Beside what it repeats, a frame of the server's has names, keys and words.
const OWN_WORDS_MAX: usize = 8 * 1024;

/// In no translation is a text said more often, quoting included.
const REPETITIONS_MAX: usize = 8;

/// Sends the lines of `bytes` as frames of a client that speaks `dialect`. In a line:
///
/// * `$0` … `$9` stand for the id of the client that came first, second, …: one of each dialect in
///   the order of [`ALL`], but for those whose rooms are for a few, the sender, and another of the
///   sender's dialect;
/// * a line that is no UTF-8, or begins with a zero byte, is sent as a binary frame;
/// * `!` alone ends the sender's socket; it comes back.
///
/// Where rooms are for a few, everything is sent again and again, each time to a member of another
/// dialect.
///
/// # Panics
/// If a promise is broken.
pub fn frames(dialect: &str, bytes: &[u8]) {
    let (tight, loose): (Vec<_>, Vec<_>) = ALL
        .iter()
        .map(|one| one.traits())
        .partition(has_member_limit);
    let names = |all: Vec<&DialectTraits>| all.iter().map(|one| one.name).collect::<Vec<_>>();
    let (tight, loose) = (names(tight), names(loose));
    for one in &tight {
        send_among(dialect, &[one], None, bytes);
    }
    if !tight.contains(&dialect) {
        return send_among(dialect, &loose, Some(dialect), bytes);
    }
    for one in &loose {
        send_among(dialect, &[one], None, bytes);
    }
}

/// Whether rooms in which it is spoken are for a few.
fn has_member_limit(tongue: &&DialectTraits) -> bool {
    tongue.members_max != 0
}

/// Sends the lines to those who came before the sender, and one who came after.
fn send_among(dialect: &str, before: &[&str], after: Option<&str>, bytes: &[u8]) {
    let mut world = Simulation::new(0);
    for (index, other) in before.iter().enumerate() {
        enter(&mut world, other, index);
    }
    let mut sender = open(&mut world, dialect, "sender");
    if let Some(other) = after {
        enter(&mut world, other, before.len() + 1);
    }
    forget(&mut world);
    for line in bytes.split(|byte| *byte == b'\n').take(FRAMES_MAX) {
        if line == b"!" {
            world.crash(sender);
            sender = open(&mut world, dialect, "sender");
        } else {
            send(&mut world, sender, dialect, line);
        }
        check_invariants(&mut world, line.len());
    }
    end(&mut world);
}

/// A connection to the room, for a dialect that says in its address where it goes and who it is.
fn open(world: &mut Simulation, dialect: &str, nick: &str) -> ClientId {
    let query = [
        ("room", "room"),
        ("key", "room"),
        ("id", nick),
        ("token", nick),
    ];
    world.open(dialect, &query)
}

/// A member of the room, however its dialect makes it one: what is no frame of its own is
/// answered with an error, and forgotten.
fn enter(world: &mut Simulation, dialect: &str, index: usize) {
    let client = open(world, dialect, &format!("user{index}"));
    for join in [
        greeting(dialect, index),
        format!(r#"{{"type":"join","roomID":"room","senderID":"user{index}"}}"#),
        r#"{"type":"JOIN_ROOM","roomId":"room"}"#.to_owned(),
        r#"{"type":"join","payload":{"room_id":"room"}}"#.to_owned(),
        r#"{"type":"subscribe","topics":["room"]}"#.to_owned(),
    ] {
        world.send(client, join);
    }
    debug_assert!(world.member(client).is_some(), "{dialect} is in the room");
}

/// What comes first, in the dialects where nothing else may.
fn greeting(dialect: &str, index: usize) -> String {
    match dialect {
        "ayame" => r#"{"type":"register","roomId":"room"}"#.to_owned(),
        _ => format!(r#"{{"type":"IDENTIFY","username":"user{index}"}}"#),
    }
}

fn send(world: &mut Simulation, sender: ClientId, dialect: &str, line: &[u8]) {
    let text = std::str::from_utf8(line).ok();
    match text.filter(|text| !text.starts_with('\0')) {
        Some(text) => world.send(sender, fill_in(world, dialect, text)),
        None => world.send_binary(sender, line.strip_prefix(b"\0").unwrap_or(line).to_vec()),
    }
}

/// `text` with ids in place of `$0` to `$9`.
fn fill_in(world: &Simulation, dialect: &str, text: &str) -> String {
    let ids = text
        .contains('$')
        .then(|| world.ids().take(10))
        .into_iter()
        .flatten();
    ids.enumerate()
        .fold(text.to_owned(), |text, (index, client)| {
            let id = id_of(world, client, dialect);
            let quoted = quote(&id);
            text.replace(&format!("${index}"), &quoted[1..quoted.len() - 1])
        })
}

fn id_of(world: &Simulation, client: ClientId, dialect: &str) -> String {
    match world.member(client) {
        Some((_, member)) if !matches!(dialect, "p2p" | "matchbox") => member.address.to_string(),
        _ => world.peer(client).to_string(),
    }
}

fn check_invariants(world: &mut Simulation, cause: usize) {
    for client in world.ids() {
        for frame in world.take_frames(client) {
            let text = &frame.text;
            assert!(JsonObject::parse(text, 0).is_ok(), "no JSON object: {text}");
            let most = REPETITIONS_MAX * cause + OWN_WORDS_MAX;
            assert!(text.len() <= most, "{} bytes for {cause}", text.len());
        }
    }
}

fn forget(world: &mut Simulation) {
    for client in world.ids() {
        world.take_frames(client);
    }
}

fn end(world: &mut Simulation) {
    for client in world.ids() {
        world.crash(client);
    }
    assert!(world.rooms().is_empty(), "rooms of nobody");
    // Addresses are kept for a while for those who were lost.
    world.advance(Duration::from_secs(60));
    assert!(world.hub().poll_timeout().is_none(), "challenges of nobody");
}

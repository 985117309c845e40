//! `switchboard voice talk`: standard input, into a room.

use super::{
    client::Server,
    meter::{Meter, size},
    output::tell,
    source,
    uplink::{self, End, Speaking},
};
use crate::stop::Stop;

const NO_INPUT: &str = "there is nothing to send: standard input is this terminal. Give it audio, for example\n  \
    arecord -t raw -f S16_LE -r 48000 -c 1 | switchboard voice talk ROOM";

/// Talks until standard input ends, the server ends it, or somebody says stop.
pub(super) async fn talk(server: &Server, room: &str, speaking: Speaking) -> Result<(), String> {
    if !source::is_piped() {
        return Err(NO_INPUT.to_owned());
    }
    let mut stop = Stop::new()?;
    let mut parameters = speaking.parameters();
    parameters.push(("roomID", room.to_owned()));
    let socket = tokio::select! {
        socket = server.upgrade("/upRoom", parameters) => socket?,
        () = stop.asked() => return Ok(()),
    };
    let pace = if speaking.is_paced {
        ", at real time"
    } else {
        ""
    };
    tell(&format!("Talking to {room} at {}{pace}", server.base()));
    let gauge = uplink::gauge();
    let meter = Meter::start(vec![gauge.clone()]);
    let ended = tokio::select! {
        ended = uplink::speak(socket, speaking, &gauge) => ended,
        () = stop.asked() => Ok(End::Input),
    };
    drop(meter);
    if let Ok(End::Server(words)) = &ended {
        tell(&format!("The server ended it: {words}"));
    }
    tell(&format!("Sent {}", size(gauge.bytes())));
    ended.map(drop)
}

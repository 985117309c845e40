//! `switchboard voice talk`: standard input or a file, into a room.

use futures_util::TryStreamExt as _;

use super::{
    client::Server,
    clip::{Clip, Origin, PcmFormat},
    meter::{Meter, size},
    output::tell,
    source,
    uplink::{self, End, Speaking},
    wav::Samples,
};
use crate::stop::Stop;

const NO_INPUT: &str = "there is nothing to send: standard input is this terminal. Give it audio, for example\n  \
    arecord -t raw -f S16_LE -r 48000 -c 1 | switchboard voice talk ROOM";

/// Talks until standard input ends, the server ends it, or somebody says stop.
pub(super) async fn talk(server: &Server, room: &str, speaking: Speaking) -> Result<(), String> {
    if !source::is_piped() {
        return Err(NO_INPUT.to_owned());
    }
    if source::is_file() {
        return send(server, room, Origin::Stdin, speaking).await;
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

/// Sends a file, until all of it could be heard. The server reads it no faster than that.
pub(super) async fn send(
    server: &Server,
    room: &str,
    file: Origin,
    speaking: Speaking,
) -> Result<(), String> {
    let raw = PcmFormat {
        rate: speaking.rate,
        channels: speaking.channels,
    };
    let mut stop = Stop::new()?;
    let name = file.to_string();
    let clip = Clip::open(file, raw).await?;
    let PcmFormat { rate, channels } = clip.format;
    let parameters = vec![
        ("rate", rate.to_string()),
        ("channels", channels.to_string()),
        ("roomID", room.to_owned()),
    ];
    tell(&format!(
        "Talking to {room} at {}, from {name}, at real time",
        server.base()
    ));
    let gauge = uplink::gauge();
    let meter = Meter::start(vec![gauge.clone()]);
    let (counter, mut samples) = (gauge.clone(), Samples::default());
    let audio = clip.pieces().inspect_ok(move |piece| {
        counter.count(piece.len());
        counter.hear(samples.take(piece));
    });
    let ended = tokio::select! {
        words = server.upload("/upRoom", parameters, audio) => words.map_err(String::from),
        () = stop.asked() => Err("stopped before all was heard".to_owned()),
    };
    drop(meter);
    let words = ended?;
    if !words.is_empty() {
        return Err(format!("the server ended it: {words}"));
    }
    tell(&format!("Sent {}, all of it", size(gauge.bytes())));
    Ok(())
}

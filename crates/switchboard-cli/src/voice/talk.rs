//! `switchboard voice talk`: standard input or a file, into a room.

use futures_util::TryStreamExt as _;

use super::{
    client::VoiceClient,
    clip::{Clip, ClipOrigin, PcmFormat},
    meter::{MeterThread, size},
    output::print_status,
    source,
    uplink::{self, UplinkConfig, UplinkEnd},
    wav::SampleReader,
};
use crate::stop::StopSignals;

const NO_INPUT: &str = "there is nothing to send: standard input is this terminal. Give it audio, for example\n  \
    arecord -t raw -f S16_LE -r 48000 -c 1 | switchboard voice talk ROOM";

/// Talks until standard input ends, the server ends it, or somebody says stop.
pub(super) async fn talk(
    server: &VoiceClient,
    room: &str,
    speaking: UplinkConfig,
) -> Result<(), String> {
    if !source::is_piped() {
        return Err(NO_INPUT.to_owned());
    }
    if source::is_file() {
        return send(server, room, ClipOrigin::Stdin, speaking).await;
    }
    let mut stop = StopSignals::new()?;
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
    print_status(&format!("Talking to {room} at {}{pace}", server.base()));
    let gauge = uplink::gauge();
    let meter = MeterThread::start(vec![gauge.clone()]);
    let ended = tokio::select! {
        ended = uplink::speak(socket, speaking, &gauge) => ended,
        () = stop.asked() => Ok(UplinkEnd::Input),
    };
    drop(meter);
    if let Ok(UplinkEnd::Server(words)) = &ended {
        print_status(&format!("The server ended it: {words}"));
    }
    print_status(&format!("Sent {}", size(gauge.bytes())));
    ended.map(drop)
}

/// Sends a file, until all of it could be heard. The server reads it no faster than that.
pub(super) async fn send(
    server: &VoiceClient,
    room: &str,
    file: ClipOrigin,
    speaking: UplinkConfig,
) -> Result<(), String> {
    let raw = PcmFormat {
        rate: speaking.rate,
        channels: speaking.channels,
    };
    let mut stop = StopSignals::new()?;
    let name = file.to_string();
    let clip = Clip::open(file, raw).await?;
    let PcmFormat { rate, channels } = clip.format;
    let parameters = vec![
        ("rate", rate.to_string()),
        ("channels", channels.to_string()),
        ("roomID", room.to_owned()),
    ];
    print_status(&format!(
        "Talking to {room} at {}, from {name}, at real time",
        server.base()
    ));
    let gauge = uplink::gauge();
    let meter = MeterThread::start(vec![gauge.clone()]);
    let (counter, mut samples) = (gauge.clone(), SampleReader::default());
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
    print_status(&format!("Sent {}, all of it", size(gauge.bytes())));
    Ok(())
}

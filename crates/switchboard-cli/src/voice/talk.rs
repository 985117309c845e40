//! `switchboard voice talk`: sends standard input or a file to a room.

use anyhow::anyhow;
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

const NO_INPUT: &str = "no audio to send: standard input is a terminal. Pipe audio into it, for example\n  \
    arecord -t raw -f S16_LE -r 48000 -c 1 | switchboard voice talk ROOM";

/// Sends standard input until it ends, the server closes the connection, or a stop signal arrives.
pub(super) async fn send_stdin(
    server: &VoiceClient,
    room: &str,
    config: UplinkConfig,
) -> anyhow::Result<()> {
    if !source::is_piped() {
        return Err(anyhow!(NO_INPUT));
    }
    if source::is_file() {
        return send_file(server, room, ClipOrigin::Stdin, config).await;
    }
    let mut stop = StopSignals::new()?;
    let mut parameters = config.parameters();
    parameters.push(("roomID", room.to_owned()));
    let socket = tokio::select! {
        socket = server.upgrade("/upRoom", parameters) => socket?,
        () = stop.recv() => return Ok(()),
    };
    let pace = if config.is_paced {
        ", at real time"
    } else {
        ""
    };
    print_status(&format!("Talking to {room} at {}{pace}", server.base()));
    let gauge = uplink::gauge();
    let meter = MeterThread::start(vec![gauge.clone()]);
    let ended = tokio::select! {
        ended = uplink::send_stdin(socket, config, &gauge) => ended,
        () = stop.recv() => Ok(UplinkEnd::Input),
    };
    drop(meter);
    if let Ok(UplinkEnd::Server(message)) = &ended {
        print_status(&format!("The server closed the connection: {message}"));
    }
    print_status(&format!("Sent {}", size(gauge.bytes())));
    ended.map(drop)
}

/// Sends a file until all of it has been played. The server reads it at real time.
pub(super) async fn send_file(
    server: &VoiceClient,
    room: &str,
    file: ClipOrigin,
    config: UplinkConfig,
) -> anyhow::Result<()> {
    let raw = PcmFormat {
        rate: config.rate,
        channels: config.channels,
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
    let audio = clip.chunks().inspect_ok(move |chunk| {
        counter.count(chunk.len());
        counter.push_samples(samples.push(chunk));
    });
    let ended = tokio::select! {
        message = server.upload("/upRoom", parameters, audio) => message.map_err(Into::into),
        () = stop.recv() => Err(anyhow!("stopped before the end of the file was played")),
    };
    drop(meter);
    let message = ended?;
    if !message.is_empty() {
        return Err(anyhow!("the server ended the upload: {message}"));
    }
    print_status(&format!("Sent {}, all of it", size(gauge.bytes())));
    Ok(())
}

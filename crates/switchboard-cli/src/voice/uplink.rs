//! Sends audio from standard input as binary WebSocket messages.

use std::{sync::Arc, time::Duration};

use anyhow::anyhow;
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

use super::{
    client::FormParameters, client::printable, meter::LevelGauge, source::StdinSource,
    wav::SampleReader,
};

/// Timeout for sending one message.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Timeout of the closing handshake.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

const REPLACED: &str =
    "another program with the same key is sending there now. Use another key with --key";

/// A WebSocket connection to the server.
pub(super) type UplinkSocket = WebSocketStream<TokioIo<Upgraded>>;

/// Format and pacing of the audio on standard input.
#[derive(Clone, Copy)]
pub(super) struct UplinkConfig {
    pub(super) rate: u32,
    pub(super) channels: u16,
    pub(super) is_paced: bool,
}

/// Why sending ended.
#[derive(Debug)]
pub(super) enum UplinkEnd {
    /// Standard input has ended, and its audio has been played.
    Input,
    /// The server has closed the connection, for this reason.
    Server(String),
}

impl UplinkConfig {
    pub(super) fn parameters(self) -> FormParameters {
        vec![
            ("rate", self.rate.to_string()),
            ("channels", self.channels.to_string()),
        ]
    }
}

/// Sends standard input until it ends or the server closes the connection.
pub(super) async fn send_stdin(
    mut socket: UplinkSocket,
    config: UplinkConfig,
    gauge: &LevelGauge,
) -> anyhow::Result<UplinkEnd> {
    let mut source = StdinSource::start(config);
    let mut samples = SampleReader::default();
    loop {
        tokio::select! {
            biased;
            message = socket.next() => if let Some(end) = end_of(message) {
                return end;
            },
            chunk = source.next() => {
                let Some(chunk) = chunk.transpose()? else {
                    break;
                };
                gauge.count(chunk.len());
                gauge.push_samples(samples.push(&chunk));
                let sent = timeout(TIMEOUT, socket.send(Message::Binary(chunk))).await;
                if let Err(error) = sent.map_err(|_| anyhow!("timeout: the server accepts no more audio"))? {
                    // The server's close frame has the reason.
                    let end = timeout(CLOSE_TIMEOUT, closing(&mut socket)).await;
                    return end.unwrap_or_else(|_late| Err(connection_error(error)));
                }
            }
        }
    }
    tokio::select! {
        end = closing(&mut socket) => end,
        () = source.wait_until_played() => {
            drop(timeout(CLOSE_TIMEOUT, socket.close(None)).await);
            Ok(UplinkEnd::Input)
        }
    }
}

/// Waits until the server closes the connection.
async fn closing(socket: &mut UplinkSocket) -> anyhow::Result<UplinkEnd> {
    loop {
        if let Some(end) = end_of(socket.next().await) {
            return end;
        }
    }
}

/// The result of sending, if this message ends the connection.
fn end_of(message: Option<Result<Message, Error>>) -> Option<anyhow::Result<UplinkEnd>> {
    match message {
        Some(Ok(Message::Close(frame))) => Some(end_of_close(frame)),
        Some(Ok(
            Message::Text(_)
            | Message::Binary(_)
            | Message::Ping(_)
            | Message::Pong(_)
            | Message::Frame(_),
        )) => None,
        Some(Err(error)) => Some(Err(connection_error(error))),
        None => Some(Err(anyhow!(
            "the server closed the connection without a close frame"
        ))),
    }
}

/// Interprets the close frame of the server.
fn end_of_close(frame: Option<CloseFrame>) -> anyhow::Result<UplinkEnd> {
    let (code, reason) = frame.map_or((CloseCode::Normal, String::new()), |frame| {
        (frame.code, printable(&frame.reason))
    });
    if matches!(
        code,
        CloseCode::Normal | CloseCode::Away | CloseCode::Restart
    ) {
        return Ok(UplinkEnd::Server(reason));
    }
    if reason.starts_with("replaced") {
        return Err(anyhow!(REPLACED));
    }
    Err(anyhow!(
        "the server closed the connection ({code}): {reason}"
    ))
}

fn connection_error(error: Error) -> anyhow::Error {
    anyhow::Error::new(error).context("connection to the server failed")
}

/// Creates a gauge for the sent audio.
pub(super) fn gauge() -> Arc<LevelGauge> {
    LevelGauge::new("sent")
}

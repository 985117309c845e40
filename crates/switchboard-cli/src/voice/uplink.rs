//! Audio out: standard input, as binary messages of a WebSocket.

use std::{sync::Arc, time::Duration};

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

/// How long a server may take none of our audio.
const TIMEOUT: Duration = Duration::from_secs(20);

/// How long a goodbye may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

const REPLACED: &str = "another program with the same key speaks there now. Use another with --key";

/// A WebSocket to the server.
pub(super) type UplinkSocket = WebSocketStream<TokioIo<Upgraded>>;

/// What comes on standard input.
#[derive(Clone, Copy)]
pub(super) struct UplinkConfig {
    pub(super) rate: u32,
    pub(super) channels: u16,
    pub(super) is_paced: bool,
}

/// Why the sending is over.
#[derive(Debug)]
pub(super) enum UplinkEnd {
    /// Standard input has ended, and what it said could be heard.
    Input,
    /// The server has ended it, for what it has to do.
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

/// Sends standard input until it ends or the server wants no more.
pub(super) async fn speak(
    mut socket: UplinkSocket,
    speaking: UplinkConfig,
    gauge: &LevelGauge,
) -> Result<UplinkEnd, String> {
    let mut source = StdinSource::start(speaking);
    let mut samples = SampleReader::default();
    loop {
        tokio::select! {
            biased;
            message = socket.next() => if let Some(end) = ended(message) {
                return end;
            },
            piece = source.next() => {
                let Some(piece) = piece.transpose()? else {
                    break;
                };
                gauge.count(piece.len());
                gauge.hear(samples.take(&piece));
                let sent = timeout(TIMEOUT, socket.send(Message::Binary(piece))).await;
                if let Err(error) = sent.map_err(|_| "the server takes no more audio".to_owned())? {
                    // Why it has closed is what it said last.
                    let end = timeout(CLOSE_TIMEOUT, closing(&mut socket)).await;
                    return end.unwrap_or_else(|_late| Err(broken(&error)));
                }
            }
        }
    }
    tokio::select! {
        end = closing(&mut socket) => end,
        () = source.heard() => {
            drop(timeout(CLOSE_TIMEOUT, socket.close(None)).await);
            Ok(UplinkEnd::Input)
        }
    }
}

/// Waits until the server ends it.
async fn closing(socket: &mut UplinkSocket) -> Result<UplinkEnd, String> {
    loop {
        if let Some(end) = ended(socket.next().await) {
            return end;
        }
    }
}

/// Whether this message is the last one, and what it means.
fn ended(message: Option<Result<Message, Error>>) -> Option<Result<UplinkEnd, String>> {
    match message {
        Some(Ok(Message::Close(frame))) => Some(goodbye(frame)),
        Some(Ok(
            Message::Text(_)
            | Message::Binary(_)
            | Message::Ping(_)
            | Message::Pong(_)
            | Message::Frame(_),
        )) => None,
        Some(Err(error)) => Some(Err(broken(&error))),
        None => Some(Err("the server has hung up".to_owned())),
    }
}

/// What a server means that closes with this.
fn goodbye(frame: Option<CloseFrame>) -> Result<UplinkEnd, String> {
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
        return Err(REPLACED.to_owned());
    }
    Err(format!("the server ended it ({code}): {reason}"))
}

fn broken(error: &Error) -> String {
    format!("the way to the server broke off: {error}")
}

/// A gauge for what is sent.
pub(super) fn gauge() -> Arc<LevelGauge> {
    LevelGauge::new("sent")
}

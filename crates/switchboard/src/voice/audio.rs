//! Audio in and out: microphones as WebSocket messages or request bodies, listeners as responses.

use std::{
    ops::ControlFlow,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::{
    body::{Body, BodyDataStream},
    http::{HeaderValue, Method, StatusCode, header, request::Parts},
    response::IntoResponse,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use switchboard_audio::{Format, Input, Intake, SAMPLE_RATE};
use switchboard_core::Way;
use switchboard_dialect::Close;
use switchboard_transport::{
    Bucket, Counters, Exchange, Fault, Hangup, Permit, Socket, Upgrade, Violation,
    frame::{CloseFrame, Message, Received},
    upgrade,
};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, timeout},
};

use super::{
    NOT_BUFFERED, PROXY_BUFFERING, STOPS, Voice,
    answer::{Answer, Refusal},
    parameters::Parameters,
    seat::{Goal, Seat},
    studio::Line,
};

/// Seconds of audio that a source may send at once.
const BURST_SECS: u32 = 8;

/// WebSocket messages, fragments and control frames of a source that are read each second: five times as
/// many as an audio worklet sends that sends each of its blocks of 128 samples alone.
const FRAMES_PER_SECOND: u32 = 2000;

/// Time for the goodbye of a source that is ended.
const GOODBYE: Duration = Duration::from_secs(1);

impl Voice {
    /// `/upCall`, `/upRoom`: a microphone.
    pub(super) async fn up(
        self: &Arc<Self>,
        goal: Goal,
        asked: &Parameters,
        mut parts: Parts,
        body: Body,
        permit: Permit,
    ) -> Answer {
        let sound = self.sound(asked)?;
        let is_upgrade = upgrade::is_requested(&parts.headers);
        if parts.method == Method::GET && !is_upgrade {
            return Err(Refusal::bad(
                "Audio comes by WebSocket, or as the body of a POST or PUT.",
            ));
        }
        if !is_upgrade {
            let seat = self.seat(goal, Way::In, asked, permit).await?;
            return self.up_by_body(seat, sound, body).await;
        }
        let upgrade = Upgrade::of(&mut parts)
            .map_err(|error| Refusal::from(error.into_response()))?
            .choose_first();
        let seat = self.seat(goal, Way::In, asked, permit).await?;
        let (response, connecting) = upgrade.accept(self.limits.frame_bytes);
        let voice = self.clone();
        self.tasks.spawn(async move {
            if let Some(socket) = connecting.socket().await {
                voice.up_by_websocket(socket, seat, sound).await;
            }
        });
        Ok(response)
    }

    async fn up_by_body(self: &Arc<Self>, seat: Seat, sound: Sound, body: Body) -> Answer {
        let mut source = Source::new(self, &seat, sound);
        let mut body = body.into_data_stream();
        let ended = loop {
            tokio::select! {
                biased;
                () = self.drain.cancelled() => break Ok(STOPS),
                () = seat.studio.ended() => break Ok("The call has ended.\n"),
                bytes = next_piece(&mut body, self.heartbeat.gone) => match bytes? {
                    None => break Ok(""),
                    Some(bytes) if source.take(&bytes) => {}
                    Some(_) => break Err(Refusal::too_many("You send more audio than allowed.")),
                },
            }
        };
        ended.map(IntoResponse::into_response)
    }

    async fn up_by_websocket(self: Arc<Self>, mut socket: Socket, seat: Seat, sound: Sound) {
        let mut source = Source::new(&self, &seat, sound);
        let mut pings = interval(self.heartbeat.ping);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        let (code, reason) = loop {
            tokio::select! {
                biased;
                () = self.drain.cancelled() => break (1012, "The server stops."),
                () = seat.studio.ended() => break (1000, "The call has ended."),
                _ = pings.tick() => {
                    if heard.elapsed() >= self.heartbeat.gone {
                        return;
                    }
                    // Who sends audio lives, and is not made to wait for a ping that nobody takes.
                    if heard.elapsed() < self.heartbeat.ping {
                        continue;
                    }
                    let ping = timeout(GOODBYE, socket.send(Message::Ping(Bytes::new())));
                    if let Ok(Err(_)) = ping.await {
                        return;
                    }
                }
                received = socket.receive() => {
                    heard = Instant::now();
                    if received.as_ref().is_err_and(Fault::is_protocol_error) {
                        Counters::add(&self.shards.counters().protocol_errors_total, 1);
                    }
                    match source.on_received(received) {
                        ControlFlow::Continue(()) => {}
                        ControlFlow::Break(Some(Close { code, reason })) => break (code, reason),
                        ControlFlow::Break(None) => return,
                    }
                }
            }
        };
        drop(seat);
        Counters::add(
            &self.shards.counters().refused_total,
            u64::from(matches!(code, 1002 | 1003 | 1007..=1009)),
        );
        let close = CloseFrame {
            code,
            reason: reason.into(),
        };
        let closing = async {
            socket.send(Message::Close(Some(close))).await.ok()?;
            socket.finish().await;
            Some(())
        };
        drop(timeout(GOODBYE, closing).await);
    }

    /// `/joinCall`, `/joinRoom`: a listener.
    pub(super) async fn join(
        self: &Arc<Self>,
        goal: Goal,
        asked: &Parameters,
        hangup: Hangup,
        permit: Permit,
    ) -> Answer {
        let format = match asked.format() {
            None => Format::Opus,
            Some(text) => Format::parse(text).ok_or_else(|| {
                let words = format!("There is no such format. There are: {}.", Format::NAMES);
                Refusal::new(StatusCode::BAD_REQUEST, &words)
            })?,
        };
        let seat = self.seat(goal, Way::Out, asked, permit).await?;
        let (line, pieces) = Line::new(hangup, self.shards.clone());
        let owner = self.desk.owner(&seat.user);
        seat.studio.add_listener(owner, format, line, &self.tasks);
        let headers = [
            (
                header::CONTENT_TYPE,
                HeaderValue::from_static(format.content_type()),
            ),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (PROXY_BUFFERING, NOT_BUFFERED),
        ];
        let body = Body::from_stream(Listening {
            pieces,
            _seat: seat,
        });
        Ok((headers, body).into_response())
    }
}

impl Voice {
    /// What a source says that it will send.
    fn sound(&self, asked: &Parameters) -> Result<Sound, Refusal> {
        let rate = asked.number("rate")?.unwrap_or(SAMPLE_RATE);
        let channels: u16 = asked.number("channels")?.unwrap_or(1);
        let intake = Intake::new(rate, channels)
            .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, &error.to_string()))?;
        let samples = u64::from(rate) * u64::from(channels);
        let share = samples.min(u64::from(SAMPLE_RATE));
        let bytes = u64::from(self.audio_bytes_per_second) * share / u64::from(SAMPLE_RATE);
        Ok(Sound {
            intake,
            // Not more than the setting, which fits.
            bytes_per_second: u32::try_from(bytes).unwrap_or(u32::MAX),
        })
    }
}

/// What a source sends, and how much of it: fewer bytes where they last longer, because what costs
/// is the time they fill.
struct Sound {
    intake: Intake,
    bytes_per_second: u32,
}

/// The next piece of a body, or that it is over. A client that sends nothing for too long is gone.
async fn next_piece(body: &mut BodyDataStream, gone: Duration) -> Result<Option<Bytes>, Refusal> {
    match timeout(gone, body.next()).await {
        Ok(Some(Ok(bytes))) => Ok(Some(bytes)),
        Ok(Some(Err(_))) => Err(Refusal::bad("The audio broke off.")),
        Ok(None) => Ok(None),
        Err(_) => Err(Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            "No audio came for too long.",
        )),
    }
}

/// What one microphone sends, on its way to the mixer.
struct Source {
    input: Input,
    intake: Intake,
    bucket: Option<Bucket>,
    frames: Option<Bucket>,
}

impl Source {
    fn new(voice: &Voice, seat: &Seat, sound: Sound) -> Self {
        let rate = sound.bytes_per_second;
        Self {
            input: seat
                .studio
                .add_source(&seat.user, voice.desk.owner(&seat.user)),
            intake: sound.intake,
            bucket: Bucket::new(rate, rate.saturating_mul(BURST_SECS), Instant::now()),
            frames: Bucket::new(
                FRAMES_PER_SECOND,
                FRAMES_PER_SECOND * BURST_SECS,
                Instant::now(),
            ),
        }
    }

    /// Takes what a WebSocket has received. Breaks with the close frame to send, or without one if the
    /// client has ended the connection.
    fn on_received(&mut self, received: Result<Received, Fault>) -> ControlFlow<Option<Close>> {
        let close = |code, reason| ControlFlow::Break(Some(Close { code, reason }));
        let now = Instant::now();
        let has_room = |frames: &mut Bucket| frames.take(1, now);
        if !self.frames.as_mut().is_none_or(has_room) {
            return close(1008, "You send more messages than allowed.");
        }
        match received {
            Ok(Received::Message(Message::Binary(bytes))) => {
                if !self.take(&bytes) {
                    return close(1008, "You send more audio than allowed.");
                }
                ControlFlow::Continue(())
            }
            Ok(Received::Message(Message::Text(_))) => {
                close(1003, "Audio comes in binary messages.")
            }
            Ok(Received::Message(Message::Ping(_) | Message::Pong(_)) | Received::Fragment) => {
                ControlFlow::Continue(())
            }
            Ok(Received::Message(Message::Close(_))) => ControlFlow::Break(None),
            Err(Fault::Violation(Violation::TooLarge)) => {
                close(1009, "The message is larger than allowed.")
            }
            Err(fault) => ControlFlow::Break(fault.close()),
        }
    }

    /// Takes samples, unless there are more of them than allowed.
    fn take(&mut self, bytes: &[u8]) -> bool {
        let count = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let has_room = |bucket: &mut Bucket| bucket.take(count, Instant::now());
        if !self.bucket.as_mut().is_none_or(has_room) {
            return false;
        }
        self.intake.take(bytes, &self.input);
        true
    }
}

/// A listener's response: pieces of its stream until the call ends. Its seat is given back with it.
struct Listening {
    pieces: mpsc::Receiver<Bytes>,
    _seat: Seat,
}

impl Stream for Listening {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.pieces.poll_recv(context).map(|piece| piece.map(Ok))
    }
}

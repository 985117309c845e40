//! Audio in and out: microphones as WebSocket messages or request bodies, listeners as responses.

use std::{
    ops::ControlFlow,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    http::{HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{Stream, stream};
use switchboard_audio::{Format, Input, Intake, SAMPLE_RATE};
use switchboard_core::{User, Way};
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
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{
    NOT_BUFFERED, PROXY_BUFFERING, Voice,
    answer::{Answer, Refusal},
    parameters::Parameters,
    seat::{Goal, Seat},
    studio::{Line, Studio},
};

/// Seconds of audio that a source may send at once.
pub(super) const BURST_SECS: u32 = 8;

/// The byte limit of a source is at least so many quarters of its bytes in real time.
const MARGIN_QUARTERS: u64 = 5;

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
        if parts.method == Method::HEAD || (parts.method == Method::GET && !is_upgrade) {
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
                () = seat.replaced() => break (Close::REPLACED.code, Close::REPLACED.reason),
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
                        ControlFlow::Break(None) => {
                            drop((seat, source));
                            drop(timeout(GOODBYE, socket.finish()).await);
                            return;
                        }
                    }
                }
            }
        };
        drop((seat, source));
        let is_refused = matches!(code, 1002 | 1003 | 1007..=1009);
        let is_replaced = reason == Close::REPLACED.reason;
        Counters::add(
            &self.shards.counters().refused_total,
            u64::from(is_refused && !is_replaced),
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
        let format = format(asked)?;
        let seat = self.seat(goal, Way::Out, asked, permit).await?;
        let (line, pieces) = Line::new(hangup, self.shards.clone());
        let owner = self.desk.owner(&seat.user);
        seat.studio.add_listener(owner, format, line, &self.tasks);
        let body = Body::from_stream(Listening {
            pieces,
            replaced: Box::pin(seat.replaced_owned()),
            _seat: seat,
        });
        Ok(stream_head(format, body))
    }

    /// `HEAD` of `/joinCall`, `/joinRoom`: the head of the answer to `GET`, without a seat.
    pub(super) async fn join_head(&self, goal: Goal, asked: &Parameters) -> Answer {
        let format = format(asked)?;
        self.check_access(goal, asked).await?;
        // Of no known length, as the stream is.
        let body = stream::empty::<Result<Bytes, std::convert::Infallible>>();
        Ok(stream_head(format, Body::from_stream(body)))
    }
}

fn format(asked: &Parameters) -> Result<Format, Refusal> {
    let Some(text) = asked.format() else {
        return Ok(Format::Opus);
    };
    Format::parse(text).ok_or_else(|| {
        let words = format!("There is no such format. There are: {}.", Format::NAMES);
        Refusal::new(StatusCode::BAD_REQUEST, &words)
    })
}

/// The response to a listener.
fn stream_head(format: Format, body: Body) -> Response {
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static(format.content_type()),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (PROXY_BUFFERING, NOT_BUFFERED),
    ];
    (headers, body).into_response()
}

impl Voice {
    /// What a source says that it will send.
    fn sound(&self, asked: &Parameters) -> Result<Sound, Refusal> {
        let rate = asked.number("rate")?.unwrap_or(SAMPLE_RATE);
        let channels: u16 = asked.number("channels")?.unwrap_or(1);
        let intake = Intake::new(rate, channels)
            .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, &error.to_string()))?;
        Ok(Sound {
            intake,
            rate,
            channels,
            bytes_per_second: limit_of(self.audio_bytes_per_second, rate, channels),
        })
    }
}

/// The bytes a second that a source may send: in proportion to the setting, fewer where they last
/// longer, because the cost is the time they fill; and always enough for real time.
fn limit_of(setting: u32, rate: u32, channels: u16) -> u32 {
    if setting == 0 {
        return 0;
    }
    let samples = u64::from(rate) * u64::from(channels);
    let share = samples.min(u64::from(SAMPLE_RATE));
    let bytes = u64::from(setting) * share / u64::from(SAMPLE_RATE);
    let real_time = samples * 2 * MARGIN_QUARTERS / 4;
    u32::try_from(bytes.max(real_time)).unwrap_or(u32::MAX)
}

/// The format of a source, and its limits.
pub(super) struct Sound {
    intake: Intake,
    rate: u32,
    channels: u16,
    /// 0: no limit.
    pub(super) bytes_per_second: u32,
}

impl Sound {
    /// Bytes that last a second.
    pub(super) fn real_time(&self) -> u64 {
        u64::from(self.rate) * u64::from(self.channels) * 2
    }
}

/// What one microphone sends, on its way to the mixer.
pub(super) struct Source {
    user: User,
    studio: Arc<Studio>,
    input: Input,
    intake: Intake,
    bucket: Option<Bucket>,
    frames: Option<Bucket>,
}

impl Source {
    pub(super) fn new(voice: &Voice, seat: &Seat, sound: Sound) -> Self {
        let rate = sound.bytes_per_second;
        Self {
            user: seat.user.clone(),
            studio: seat.studio.clone(),
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

    /// Handles a received message. Breaks with the close frame to send, or without one if the
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
        self.pass_on(bytes);
        true
    }

    /// Passes samples to the mixer.
    pub(super) fn pass_on(&mut self, bytes: &[u8]) {
        self.intake.take(bytes, &self.input);
    }

    /// Passes on the samples that wait to be resampled.
    pub(super) fn finish(&mut self) {
        self.intake.finish(&self.input);
    }

    /// Whether the mixer has taken everything.
    pub(super) fn is_empty(&self) -> bool {
        self.input.is_empty()
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.studio.forget_source(&self.user, &self.input);
    }
}

/// A listener's response: pieces of its stream until the call ends. Its seat is given back with it.
struct Listening {
    pieces: mpsc::Receiver<Bytes>,
    replaced: Pin<Box<WaitForCancellationFutureOwned>>,
    _seat: Seat,
}

impl Stream for Listening {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.replaced.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        self.pieces.poll_recv(context).map(|piece| piece.map(Ok))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rate_and_count_of_channels_may_be_sent_in_real_time() {
        for setting in [1, 400_000] {
            for rate in [8_000, 11_025, 48_000, 192_000] {
                for channels in 1..=8_u16 {
                    let real_time = rate * u32::from(channels) * 2;
                    let limit = limit_of(setting, rate, channels);
                    assert!(limit >= real_time / 4 * 5, "{rate} Hz, {channels}: {limit}");
                }
            }
        }
        assert_eq!(limit_of(400_000, 48_000, 1), 400_000);
        assert_eq!(limit_of(400_000, 8_000, 1), 66_666);
        assert_eq!(limit_of(400_000, 48_000, 6), 720_000);
        assert_eq!(limit_of(0, 48_000, 6), 0);
    }
}

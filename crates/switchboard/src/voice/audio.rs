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
use switchboard_audio::{Format, PcmDecoder, SAMPLE_RATE, SourceHandle};
use switchboard_core::{Direction, User};
use switchboard_dialect::CloseReason;
use switchboard_transport::{
    ConnectionAbort, Counters, NodeHandle, Permit, Socket, SocketError, TokenBucket, Upgrade,
    Violation,
    frame::{CloseFrame, Decoded, WebSocketMessage},
    upgrade,
};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{
    NOT_BUFFERED, PROXY_BUFFERING, VoiceService,
    answer::{VoiceError, VoiceResult},
    attachment::{AudioAttachment, AudioTarget},
    parameters::RequestParameters,
    room_mixer::{ListenerSink, RoomMixer},
};

/// Seconds of audio that a source may send at once.
pub(super) const BURST_SECS: u32 = 8;

/// The byte limit of a source is at least so many quarters of its bytes in real time.
const MARGIN_QUARTERS: u64 = 5;

/// WebSocket messages, fragments and control frames of a source that are read each second: five times as
/// many as an audio worklet sends that sends each of its blocks of 128 samples alone.
const FRAMES_PER_SECOND: u32 = 2000;

/// Time for the goodbye of a source that is ended.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

impl VoiceService {
    /// `/upCall`, `/upRoom`: a microphone.
    pub(super) async fn up(
        self: &Arc<Self>,
        goal: AudioTarget,
        asked: &RequestParameters,
        mut parts: Parts,
        body: Body,
        permit: Permit,
    ) -> VoiceResult {
        let sound = self.sound(asked)?;
        let is_upgrade = upgrade::is_requested(&parts.headers);
        if parts.method == Method::HEAD || (parts.method == Method::GET && !is_upgrade) {
            return Err(VoiceError::bad(
                "Audio comes by WebSocket, or as the body of a POST or PUT.",
            ));
        }
        if !is_upgrade {
            let seat = self.attach(goal, Direction::Publish, asked, permit).await?;
            return self.up_by_body(seat, sound, body).await;
        }
        let upgrade = Upgrade::from_parts(&mut parts)
            .map_err(|error| VoiceError::from(error.into_response()))?
            .choose_first();
        let seat = self.attach(goal, Direction::Publish, asked, permit).await?;
        let (response, connecting) = upgrade.accept(self.limits.frame_bytes);
        let voice = self.clone();
        self.tasks.spawn(async move {
            if let Some(socket) = connecting.socket().await {
                voice.up_by_websocket(socket, seat, sound).await;
            }
        });
        Ok(response)
    }

    async fn up_by_websocket(
        self: Arc<Self>,
        mut socket: Socket,
        seat: AudioAttachment,
        sound: PcmParameters,
    ) {
        let mut source = AudioSource::new(&self, &seat, sound);
        let mut pings = interval(self.heartbeat.ping);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        let (code, reason) = loop {
            tokio::select! {
                biased;
                () = self.drain.cancelled() => break (1012, "The server stops."),
                () = seat.studio.ended() => break (1000, "The call has ended."),
                () = seat.replaced() => break (CloseReason::REPLACED.code, CloseReason::REPLACED.reason),
                _ = pings.tick() => {
                    if heard.elapsed() >= self.heartbeat.gone {
                        return;
                    }
                    // Who sends audio lives, and is not made to wait for a ping that nobody takes.
                    if heard.elapsed() < self.heartbeat.ping {
                        continue;
                    }
                    let ping = timeout(CLOSE_TIMEOUT, socket.send(WebSocketMessage::Ping(Bytes::new())));
                    if let Ok(Err(_)) = ping.await {
                        return;
                    }
                }
                received = socket.receive() => {
                    heard = Instant::now();
                    if received.as_ref().is_err_and(SocketError::is_protocol_error) {
                        Counters::add(&self.shards.counters().protocol_errors_total, 1);
                    }
                    match source.on_received(received) {
                        ControlFlow::Continue(()) => {}
                        ControlFlow::Break(Some(CloseReason { code, reason })) => break (code, reason),
                        ControlFlow::Break(None) => {
                            drop((seat, source));
                            drop(timeout(CLOSE_TIMEOUT, socket.finish()).await);
                            return;
                        }
                    }
                }
            }
        };
        drop((seat, source));
        let is_refused = matches!(code, 1002 | 1003 | 1007..=1009);
        let is_replaced = reason == CloseReason::REPLACED.reason;
        Counters::add(
            &self.shards.counters().refused_total,
            u64::from(is_refused && !is_replaced),
        );
        let close = CloseFrame {
            code,
            reason: reason.into(),
        };
        let closing = async {
            socket
                .send(WebSocketMessage::Close(Some(close)))
                .await
                .ok()?;
            socket.finish().await;
            Some(())
        };
        drop(timeout(CLOSE_TIMEOUT, closing).await);
    }

    /// `/joinCall`, `/joinRoom`: a listener.
    pub(super) async fn join(
        self: &Arc<Self>,
        goal: AudioTarget,
        asked: &RequestParameters,
        hangup: ConnectionAbort,
        permit: Permit,
    ) -> VoiceResult {
        let format = format(asked)?;
        let seat = self
            .attach(goal, Direction::Subscribe, asked, permit)
            .await?;
        let (line, pieces) = ListenerSink::new(hangup, self.shards.clone());
        let owner = self.state.owner(&seat.user);
        seat.studio.add_listener(owner, format, line, &self.tasks);
        let body = Body::from_stream(AudioStream {
            pieces,
            replaced: Box::pin(seat.replaced_owned()),
            _seat: seat,
        });
        Ok(stream_head(format, body))
    }

    /// `HEAD` of `/joinCall`, `/joinRoom`: the head of the answer to `GET`, without a seat.
    pub(super) async fn join_head(
        &self,
        goal: AudioTarget,
        asked: &RequestParameters,
    ) -> VoiceResult {
        let format = format(asked)?;
        self.check_access(goal, asked).await?;
        // Of no known length, as the stream is.
        let body = stream::empty::<Result<Bytes, std::convert::Infallible>>();
        Ok(stream_head(format, Body::from_stream(body)))
    }
}

fn format(asked: &RequestParameters) -> Result<Format, VoiceError> {
    let Some(text) = asked.format() else {
        return Ok(Format::Opus);
    };
    Format::parse(text).ok_or_else(|| {
        let words = format!("There is no such format. There are: {}.", Format::NAMES);
        VoiceError::new(StatusCode::BAD_REQUEST, &words)
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

impl VoiceService {
    /// What a source says that it will send.
    fn sound(&self, asked: &RequestParameters) -> Result<PcmParameters, VoiceError> {
        let rate = asked.number("rate")?.unwrap_or(SAMPLE_RATE);
        let channels: u16 = asked.number("channels")?.unwrap_or(1);
        let intake = PcmDecoder::new(rate, channels)
            .map_err(|error| VoiceError::new(StatusCode::BAD_REQUEST, &error.to_string()))?;
        Ok(PcmParameters {
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
pub(super) struct PcmParameters {
    intake: PcmDecoder,
    rate: u32,
    channels: u16,
    /// 0: no limit.
    pub(super) bytes_per_second: u32,
}

impl PcmParameters {
    /// Bytes that last a second.
    pub(super) fn real_time(&self) -> u64 {
        u64::from(self.rate) * u64::from(self.channels) * 2
    }
}

/// What one microphone sends, on its way to the mixer.
pub(super) struct AudioSource {
    user: User,
    studio: Arc<RoomMixer>,
    input: SourceHandle,
    intake: PcmDecoder,
    bucket: Option<TokenBucket>,
    frames: Option<TokenBucket>,
}

impl AudioSource {
    pub(super) fn new(voice: &VoiceService, seat: &AudioAttachment, sound: PcmParameters) -> Self {
        let rate = sound.bytes_per_second;
        Self {
            user: seat.user.clone(),
            studio: seat.studio.clone(),
            input: seat
                .studio
                .add_source(&seat.user, voice.state.owner(&seat.user)),
            intake: sound.intake,
            bucket: TokenBucket::new(rate, rate.saturating_mul(BURST_SECS), Instant::now()),
            frames: TokenBucket::new(
                FRAMES_PER_SECOND,
                FRAMES_PER_SECOND * BURST_SECS,
                Instant::now(),
            ),
        }
    }

    /// Handles a received message. Breaks with the close frame to send, or without one if the
    /// client has ended the connection.
    fn on_received(
        &mut self,
        received: Result<Decoded, SocketError>,
    ) -> ControlFlow<Option<CloseReason>> {
        let close = |code, reason| ControlFlow::Break(Some(CloseReason { code, reason }));
        let now = Instant::now();
        let has_room = |frames: &mut TokenBucket| frames.try_take(1, now);
        if !self.frames.as_mut().is_none_or(has_room) {
            return close(1008, "You send more messages than allowed.");
        }
        match received {
            Ok(Decoded::Message(WebSocketMessage::Binary(bytes))) => {
                if !self.try_take(&bytes) {
                    return close(1008, "You send more audio than allowed.");
                }
                ControlFlow::Continue(())
            }
            Ok(Decoded::Message(WebSocketMessage::Text(_))) => {
                close(1003, "Audio comes in binary messages.")
            }
            Ok(
                Decoded::Message(WebSocketMessage::Ping(_) | WebSocketMessage::Pong(_))
                | Decoded::Fragment,
            ) => ControlFlow::Continue(()),
            Ok(Decoded::Message(WebSocketMessage::Close(_))) => ControlFlow::Break(None),
            Err(SocketError::Violation(Violation::TooLarge)) => {
                close(1009, "The message is larger than allowed.")
            }
            Err(fault) => ControlFlow::Break(fault.close()),
        }
    }

    /// Takes samples, unless there are more of them than allowed.
    fn try_take(&mut self, bytes: &[u8]) -> bool {
        let count = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let has_room = |bucket: &mut TokenBucket| bucket.try_take(count, Instant::now());
        if !self.bucket.as_mut().is_none_or(has_room) {
            return false;
        }
        self.push(bytes);
        true
    }

    /// Passes samples to the mixer.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.intake.decode(bytes, &self.input);
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

impl Drop for AudioSource {
    fn drop(&mut self) {
        self.studio.forget_source(&self.user, &self.input);
    }
}

/// A listener's response: pieces of its stream until the call ends. Its seat is given back with it.
struct AudioStream {
    pieces: mpsc::Receiver<Bytes>,
    replaced: Pin<Box<WaitForCancellationFutureOwned>>,
    _seat: AudioAttachment,
}

impl Stream for AudioStream {
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

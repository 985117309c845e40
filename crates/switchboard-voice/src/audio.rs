//! Requests that carry audio: microphones send WebSocket messages or a request body (`upload`), listeners receive a
//! response body.

use std::{
    ops::ControlFlow,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::{
    body::Body,
    http::{HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{Stream, stream};
use switchboard_audio::{Format, FormatError, Latency, ListenerStream, PcmDecoder, SAMPLE_RATE};
use switchboard_dialects::CloseReason;
use switchboard_transport::{
    ConnectionAbort, Counters, Socket, SocketError, TokenBucket, Upgrade, Violation,
    frame::{CloseFrame, Decoded, WebSocketMessage},
    upgrade,
};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::{
    access::end_at,
    answer::{VoiceError, VoiceResult},
    attachment::AudioAttachment,
    clock,
    endpoint::AudioTarget,
    host::AdmittedRequest,
    id::User,
    listener_queue::{ListenerChunks, ListenerSink},
    parameters::RequestParameters,
    room_mixer::RoomMixer,
    service::{NOT_BUFFERED, PROXY_BUFFERING, VoiceService},
    signaling::Direction,
    source_decoder::SourceDecoder,
};

/// The burst of a source's byte limit: the bytes of this many seconds at that limit.
pub(crate) const BURST_SECS: u32 = 8;

/// The smallest byte limit of a source, in quarters of the rate of real time. More than four, because a source whose
/// clock is fast sends slightly more than the rate of real time.
const MARGIN_QUARTERS: u64 = 5;

/// Limit of WebSocket messages, fragments and control frames of a source per second: five times the rate
/// of an audio worklet that sends each block of 128 samples in a message of its own.
const FRAMES_PER_SECOND: u32 = 2000;

/// Timeout for sending a ping or a close frame to a source.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

impl VoiceService {
    /// `/upCall`, `/upRoom`: receives the audio of a microphone.
    pub(crate) async fn publish(
        self: &Arc<Self>,
        target: AudioTarget,
        params: &RequestParameters,
        mut parts: Parts,
        body: Body,
        admitted: AdmittedRequest,
    ) -> VoiceResult {
        let pcm = self.pcm(params).await?;
        let hold = (admitted.permit, admitted.access.deadline());
        let is_upgrade = upgrade::is_requested(&parts.headers);
        if parts.method == Method::HEAD || (parts.method == Method::GET && !is_upgrade) {
            return Err(VoiceError::bad(
                "Send audio by WebSocket, or as the body of a POST or PUT.",
            ));
        }
        if !is_upgrade {
            let attachment = self
                .attach(target, Direction::Publish, params, hold)
                .await?;
            return self.publish_by_body(attachment, pcm, body).await;
        }
        let upgrade = Upgrade::from_parts(&mut parts)
            .map_err(|error| VoiceError::from(error.into_response()))?
            .choose_first();
        let attachment = self
            .attach(target, Direction::Publish, params, hold)
            .await?;
        let (response, connecting) = upgrade.accept(self.limits.frame_bytes);
        let voice = self.clone();
        self.tasks.spawn(async move {
            if let Some(socket) = connecting.socket().await {
                voice.publish_by_websocket(socket, attachment, pcm).await;
            }
        });
        Ok(response)
    }

    async fn publish_by_websocket(
        self: Arc<Self>,
        mut socket: Socket,
        attachment: AudioAttachment,
        pcm: PcmParameters,
    ) {
        let mut source = AudioSource::new(&self, &attachment, pcm);
        let mut pings = interval(self.heartbeat.ping);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_received = clock::now();
        let (code, reason) = loop {
            tokio::select! {
                biased;
                () = self.drain.cancelled() => break (1012, "The server stops."),
                () = attachment.mixer.ended() => break (1000, "The call has ended."),
                () = attachment.replaced() => break (CloseReason::REPLACED.code, CloseReason::REPLACED.reason),
                () = attachment.expired() => break (CloseReason::TOKEN_EXPIRED.code, CloseReason::TOKEN_EXPIRED.reason),
                _ = pings.tick() => {
                    if clock::since(last_received) >= self.heartbeat.timeout {
                        return;
                    }
                    // A source that sends audio is alive, and needs no ping: a ping would block if the client does not
                    // read.
                    if clock::since(last_received) < self.heartbeat.ping {
                        continue;
                    }
                    let ping = timeout(CLOSE_TIMEOUT, socket.send(WebSocketMessage::Ping(Bytes::new())));
                    if let Ok(Err(_)) = ping.await {
                        return;
                    }
                }
                received = source.receive_from(&mut socket) => {
                    last_received = clock::now();
                    if received.as_ref().is_err_and(SocketError::is_protocol_error) {
                        Counters::add(&self.host.counters().protocol_errors_total, 1);
                    }
                    match source.on_received(received) {
                        ControlFlow::Continue(()) => {}
                        ControlFlow::Break(Some(CloseReason { code, reason })) => break (code, reason),
                        ControlFlow::Break(None) => {
                            drop((attachment, source));
                            drop(timeout(CLOSE_TIMEOUT, socket.finish()).await);
                            return;
                        }
                    }
                }
            }
        };
        drop((attachment, source));
        // These codes report a fault of the client. 1008 also reports a replaced connection, which is no fault.
        let is_refused = matches!(code, 1002 | 1003 | 1007..=1009);
        let is_replaced = reason == CloseReason::REPLACED.reason;
        Counters::add(
            &self.host.counters().refused_total,
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

    /// `/joinCall`, `/joinRoom`: streams the mix to a listener.
    pub(crate) async fn subscribe(
        self: &Arc<Self>,
        target: AudioTarget,
        params: &RequestParameters,
        abort_handle: ConnectionAbort,
        admitted: AdmittedRequest,
    ) -> VoiceResult {
        let stream = listener_stream(params)?;
        let deadline = admitted.access.deadline();
        let attachment = self
            .attach(
                target,
                Direction::Subscribe,
                params,
                (admitted.permit, deadline),
            )
            .await?;
        let (sink, chunks) =
            ListenerSink::new(abort_handle, self.host.counters().slow_total.clone());
        let owner = self.state.owner(&attachment.user);
        attachment
            .mixer
            .add_listener(owner, stream, sink, &self.audio_threads);
        let body = Body::from_stream(AudioStream {
            chunks,
            replaced: Box::pin(attachment.replaced_owned()),
            awaits_replacement: None,
            attachment,
        });
        Ok(end_at(deadline, stream_head(stream.format, body)))
    }

    /// `HEAD` of `/joinCall`, `/joinRoom`: the head of the response to `GET`, without attaching.
    pub(crate) async fn subscribe_head(
        &self,
        target: AudioTarget,
        params: &RequestParameters,
    ) -> VoiceResult {
        let stream = listener_stream(params)?;
        self.check_access(target, params).await?;
        // The body has no known length, like the stream of `GET`.
        let body = stream::empty::<Result<Bytes, std::convert::Infallible>>();
        Ok(stream_head(stream.format, Body::from_stream(body)))
    }
}

/// Reads the stream that a listener requests (parameters `format` and `latency`).
fn listener_stream(params: &RequestParameters) -> Result<ListenerStream, VoiceError> {
    let format = format(params)?;
    let latency = params.text("latency").map(latency).transpose()?;
    Ok(ListenerStream { format, latency })
}

fn latency(text: &str) -> Result<Latency, VoiceError> {
    let (min, max) = (Latency::MILLIS_MIN, Latency::MILLIS_MAX);
    let latency = match text.parse() {
        Ok(millis) => Latency::from_millis(millis).map_err(|error| error.to_string()),
        Err(_) => Err(format!(
            "must be a whole number of milliseconds, from {min} to {max}"
        )),
    };
    latency.map_err(|problem| {
        VoiceError::new(StatusCode::BAD_REQUEST, &format!("`latency` {problem}."))
    })
}

fn format(params: &RequestParameters) -> Result<Format, VoiceError> {
    let Some(text) = params.format() else {
        return Ok(Format::Opus);
    };
    Format::parse(text).map_err(|error| {
        let status = match error {
            FormatError::BuiltWithoutVorbis => StatusCode::NOT_IMPLEMENTED,
            FormatError::Unknown => StatusCode::BAD_REQUEST,
        };
        VoiceError::new(status, &error.to_string())
    })
}

/// The response to a listener, with `body` as its audio stream.
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
    /// Reads the PCM format that a source announces (parameters `rate` and `channels`), and computes its byte limit.
    async fn pcm(&self, params: &RequestParameters) -> Result<PcmParameters, VoiceError> {
        let rate = params.number("rate")?.unwrap_or(SAMPLE_RATE);
        let channels: u16 = params.number("channels")?.unwrap_or(1);
        let new_decoder = move || PcmDecoder::new(rate, channels);
        let decoder = match rate {
            SAMPLE_RATE => new_decoder(),
            // Computing the filter of a resampler takes about 0.7 ms, too long for a thread that carries signaling.
            _ => self.audio_threads.run(new_decoder).await,
        }
        .map_err(|error| VoiceError::new(StatusCode::BAD_REQUEST, &error.to_string()))?;
        Ok(PcmParameters {
            decoder,
            rate,
            channels,
            bytes_per_second_max: byte_limit(
                self.config.gostream.audio_bytes_per_second,
                rate,
                channels,
            ),
        })
    }
}

/// The byte limit of a source per second; 0 is no limit. `setting` is the limit at 48 kHz mono. A lower
/// sample rate has a proportionally lower limit, because its bytes last longer and the work of the mixer
/// depends on the duration. The limit always allows real time.
fn byte_limit(setting: u32, rate: u32, channels: u16) -> u32 {
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
pub(crate) struct PcmParameters {
    decoder: PcmDecoder,
    rate: u32,
    channels: u16,
    /// Byte limit per second; 0 is no limit.
    pub(crate) bytes_per_second_max: u32,
}

impl PcmParameters {
    /// Bytes per second of audio that is played in real time.
    pub(crate) fn real_time_bytes_per_second(&self) -> u64 {
        u64::from(self.rate) * u64::from(self.channels) * 2
    }
}

/// One microphone: decodes and limits its audio on the way to the mixer.
pub(crate) struct AudioSource {
    user: User,
    mixer: Arc<RoomMixer>,
    decoder: SourceDecoder,
    bytes: Option<TokenBucket>,
    frames: Option<TokenBucket>,
}

impl AudioSource {
    pub(crate) fn new(
        voice: &VoiceService,
        attachment: &AudioAttachment,
        pcm: PcmParameters,
    ) -> Self {
        let rate = pcm.bytes_per_second_max;
        let owner = voice.state.owner(&attachment.user);
        let input = attachment.mixer.add_source(&attachment.user, owner);
        Self {
            user: attachment.user.clone(),
            mixer: attachment.mixer.clone(),
            decoder: SourceDecoder::new(pcm.decoder, input, voice.audio_threads.clone()),
            bytes: TokenBucket::new(rate, rate.saturating_mul(BURST_SECS), clock::now()),
            frames: TokenBucket::new(
                FRAMES_PER_SECOND,
                FRAMES_PER_SECOND * BURST_SECS,
                clock::now(),
            ),
        }
    }

    /// Waits until the previous message is decoded, then receives the next one. Loses no message if it is cancelled.
    async fn receive_from(&mut self, socket: &mut Socket) -> Result<Decoded, SocketError> {
        self.decoder.decoded().await;
        socket.receive().await
    }

    /// Handles a received message. Breaks with the close frame to send, or without one if the
    /// client has ended the connection.
    fn on_received(
        &mut self,
        received: Result<Decoded, SocketError>,
    ) -> ControlFlow<Option<CloseReason>> {
        let close = |code, reason| ControlFlow::Break(Some(CloseReason { code, reason }));
        let now = clock::now();
        let has_room = |frames: &mut TokenBucket| frames.try_take(1, now);
        if !self.frames.as_mut().is_none_or(has_room) {
            return close(1008, "Too many messages per second.");
        }
        match received {
            Ok(Decoded::Message(WebSocketMessage::Binary(bytes))) => {
                if !self.try_push(bytes) {
                    return close(1008, "Too much audio: the byte limit is exceeded.");
                }
                ControlFlow::Continue(())
            }
            Ok(Decoded::Message(WebSocketMessage::Text(_))) => {
                close(1003, "Send audio in binary messages.")
            }
            Ok(
                Decoded::Message(WebSocketMessage::Ping(_) | WebSocketMessage::Pong(_))
                | Decoded::Fragment,
            ) => ControlFlow::Continue(()),
            Ok(Decoded::Message(WebSocketMessage::Close(_))) => ControlFlow::Break(None),
            Err(SocketError::Violation(Violation::TooLarge)) => {
                close(1009, "The message is too large.")
            }
            Err(error) => ControlFlow::Break(error.close()),
        }
    }

    /// Starts to decode samples. Returns false if they exceed the byte limit.
    fn try_push(&mut self, bytes: Bytes) -> bool {
        let count = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let has_room = |bucket: &mut TokenBucket| bucket.try_take(count, clock::now());
        let is_accepted = self.bytes.as_mut().is_none_or(has_room);
        if is_accepted {
            self.decoder.decode(bytes);
        }
        is_accepted
    }

    /// Decodes samples and passes them to the mixer.
    pub(crate) async fn push(&mut self, bytes: Bytes) {
        self.decoder.decode(bytes);
        self.decoder.decoded().await;
    }

    /// Passes the samples that the resampler still holds to the mixer.
    pub(crate) async fn finish(&mut self) {
        self.decoder.finish();
        self.decoder.decoded().await;
    }

    /// Whether the mixer has consumed all samples.
    pub(crate) fn is_empty(&self) -> bool {
        self.decoder.input().is_empty()
    }
}

impl Drop for AudioSource {
    fn drop(&mut self) {
        self.mixer.remove_source(&self.user, self.decoder.input());
    }
}

/// The response body of a listener. It ends with the call or room, or when a newer connection takes over. Dropping it
/// detaches the listener.
struct AudioStream {
    chunks: ListenerChunks,
    replaced: Pin<Box<WaitForCancellationFutureOwned>>,
    /// The task that is woken when a newer connection takes over.
    awaits_replacement: Option<Waker>,
    attachment: AudioAttachment,
}

impl AudioStream {
    /// Whether a newer connection has taken over. Registers the task once: a stream is polled for each page.
    fn is_replaced(&mut self, context: &mut Context<'_>) -> bool {
        let is_same = |known: &Waker| known.will_wake(context.waker());
        if self.awaits_replacement.as_ref().is_some_and(is_same) {
            return self.attachment.is_replaced();
        }
        self.awaits_replacement = Some(context.waker().clone());
        self.replaced.as_mut().poll(context).is_ready()
    }
}

impl Stream for AudioStream {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_replaced(context) {
            return Poll::Ready(None);
        }
        self.chunks.poll_next(context).map(|chunk| chunk.map(Ok))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_limit_allows_real_time_at_every_rate_and_channel_count() {
        for setting in [1, 400_000] {
            for rate in [8_000, 11_025, 48_000, 192_000] {
                for channels in 1..=8_u16 {
                    let real_time = rate * u32::from(channels) * 2;
                    let limit = byte_limit(setting, rate, channels);
                    assert!(limit >= real_time / 4 * 5, "{rate} Hz, {channels}: {limit}");
                }
            }
        }
        assert_eq!(byte_limit(400_000, 48_000, 1), 400_000);
        assert_eq!(byte_limit(400_000, 8_000, 1), 66_666);
        assert_eq!(byte_limit(400_000, 48_000, 6), 720_000);
        assert_eq!(byte_limit(0, 48_000, 6), 0);
    }
}

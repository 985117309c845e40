//! A WebSocket connection on a byte stream. An idle connection keeps no buffers.

use std::{
    cell::Cell,
    fmt,
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use switchboard_dialects::CloseReason;
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep_until},
};

use crate::{
    frame::{self, Decoded, FrameDecoder, Violation, WebSocketMessage},
    upgraded_stream::UpgradedStream,
};

/// The bytes of one read from a stream. All connections of a thread share the read buffer.
const READ_BYTES: usize = 16 * 1024;

/// Messages are combined into one write up to this number of bytes.
const WRITE_BYTES: usize = 16 * 1024;

/// Payloads of this size or larger are written from their own memory; smaller ones are copied into the write buffer.
pub(crate) const COPIED_BYTES_MAX: usize = 4 * 1024;

/// A write buffer that has grown beyond this size is not reused for the next connection.
const SPARE_BYTES_MAX: usize = 2 * WRITE_BYTES;

/// The time limit between two pieces of data of an unfinished message.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(10);

thread_local! {
    static READ_BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static SPARE_OUTPUT: Cell<Option<Box<Output>>> = const { Cell::new(None) };
}

/// The reason why no more messages can be received.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SocketError {
    /// The client violated the protocol, or sent a message that is too large.
    #[error("the client violated the protocol")]
    Violation(#[source] Violation),
    /// No data of an unfinished message arrived for ten seconds.
    #[error("no data of an unfinished message arrived for ten seconds")]
    NotCompleted,
    /// The stream has ended without a close frame.
    #[error("the stream ended without a close frame")]
    Closed,
    /// The stream failed, for example by a reset.
    #[error("the stream failed: {0}")]
    Failed(io::ErrorKind),
}

impl SocketError {
    /// The close code and reason for the client. `None` if the client is gone.
    #[must_use]
    pub fn close(self) -> Option<CloseReason> {
        match self {
            Self::Violation(violation) => Some(violation.close()),
            Self::NotCompleted => Some(CloseReason::NOT_COMPLETED),
            Self::Closed | Self::Failed(_) => None,
        }
    }

    /// Whether the client has violated the WebSocket protocol. A message that is too large violates only a
    /// limit.
    #[must_use]
    pub fn is_protocol_error(&self) -> bool {
        match self {
            Self::Violation(violation) => *violation != Violation::TooLarge,
            Self::NotCompleted => true,
            Self::Closed | Self::Failed(_) => false,
        }
    }
}

/// The server's side of a WebSocket connection.
pub struct Socket<S = UpgradedStream> {
    stream: S,
    decoder: FrameDecoder,
    /// Bytes that were read and are not decoded yet.
    unread: Option<Box<Unread>>,
    /// The bytes that are being written. `None` if all were written and the stream was flushed.
    output: Option<Box<Output>>,
    /// The answer to the client's last ping, or to its close frame.
    pending_control: Option<Box<WebSocketMessage>>,
    /// Whether the server's close frame was queued. No message is sent after it.
    is_closing: bool,
    /// The error after which no more messages are received; `Closed` after the client's close frame.
    ended: Option<SocketError>,
    /// The timer of an unfinished message, once reading has waited for its data.
    stall: Option<Box<Stall>>,
}

impl<S> fmt::Debug for Socket<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket")
            .field("decoder", &self.decoder)
            .field("end", &self.ended)
            .finish_non_exhaustive()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// A connection on `stream`, of which the bytes `unread` were read before. They are copied, because even an empty
    /// slice would keep the HTTP server's whole read buffer (8 KiB). A message may have `message_bytes_max` bytes
    /// (0: no limit).
    pub fn new(stream: S, unread: &[u8], message_bytes_max: usize) -> Self {
        let message_bytes_max = match message_bytes_max {
            0 => usize::MAX,
            limit => limit,
        };
        Self {
            stream,
            decoder: FrameDecoder::new(message_bytes_max),
            unread: Unread::of(unread),
            output: None,
            pending_control: None,
            is_closing: false,
            ended: None,
            stall: None,
        }
    }

    /// The bytes that are kept for an unfinished message.
    pub fn buffered(&self) -> usize {
        self.decoder.buffered()
    }

    /// Receives the next message, fragment or control frame. The next flush sends the answers to pings and to
    /// the close frame.
    ///
    /// # Errors
    /// If no more can be received. The same error is returned from then on; after a close frame it is
    /// [`SocketError::Closed`].
    pub fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Decoded, SocketError>> {
        if let Some(end) = self.ended {
            return Poll::Ready(Err(end));
        }
        let received = ready!(self.poll_decode(context));
        match &received {
            Ok(Decoded::Message(WebSocketMessage::Ping(payload))) => {
                self.queue_control(WebSocketMessage::Pong(payload.clone()));
            }
            Ok(Decoded::Message(close @ WebSocketMessage::Close(_))) => {
                self.ended = Some(SocketError::Closed);
                self.queue_control(close.clone());
            }
            Ok(Decoded::Message(_) | Decoded::Fragment) => {}
            Err(error) => {
                self.ended = Some(*error);
                self.decoder = FrameDecoder::new(0);
                self.unread = None;
                self.stall = None;
            }
        }
        Poll::Ready(received)
    }

    /// Queues a control frame for the next flush, unless the connection is being closed.
    fn queue_control(&mut self, message: WebSocketMessage) {
        self.pending_control = (!self.is_closing).then(|| Box::new(message));
    }

    fn poll_decode(&mut self, context: &mut Context<'_>) -> Poll<Result<Decoded, SocketError>> {
        loop {
            if let Some(unread) = &mut self.unread {
                let decoded = unread.decode(&mut self.decoder);
                self.unread.take_if(|unread| unread.is_empty());
                if let Some(received) = decoded.map_err(SocketError::Violation)? {
                    return Poll::Ready(Ok(received));
                }
            }
            match self.poll_read(context) {
                Poll::Ready(Ok(None)) => {}
                Poll::Ready(Ok(Some(received))) => return Poll::Ready(Ok(received)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    ready!(self.poll_stall(context));
                    return Poll::Ready(Err(SocketError::NotCompleted));
                }
            }
        }
    }

    /// Reads once, and decodes the first frame of the data.
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Decoded>, SocketError>> {
        let mut buffer = READ_BUFFER.take();
        buffer.resize(READ_BYTES, 0);
        let mut bytes = ReadBuf::new(&mut buffer);
        let polled = Pin::new(&mut self.stream).poll_read(context, &mut bytes);
        let read = match polled {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(SocketError::Failed(error.kind()))),
            Poll::Ready(Ok(())) if bytes.filled().is_empty() => {
                Poll::Ready(Err(SocketError::Closed))
            }
            Poll::Ready(Ok(())) => {
                let mut input = bytes.filled_mut();
                let decoded = self.decoder.decode(&mut input);
                self.unread = Unread::of(input);
                Poll::Ready(decoded.map_err(SocketError::Violation))
            }
        };
        READ_BUFFER.set(buffer);
        read
    }

    /// Ready if a message is unfinished and none of its data has arrived for [`PROGRESS_TIMEOUT`]. Called only when
    /// there is no data to read, so time in which the caller does not read does not count.
    fn poll_stall(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(progress) = self.decoder.unfinished() else {
            self.stall = None;
            return Poll::Pending;
        };
        let new = || Box::new(Stall::new(progress));
        self.stall.get_or_insert_with(new).poll(progress, context)
    }

    /// Whether one more message can be sent now.
    pub(crate) fn has_room(&self) -> bool {
        self.output.as_ref().is_none_or(|output| output.has_room())
    }

    /// Whether all messages were written to the stream.
    pub fn is_flushed(&self) -> bool {
        self.output.is_none() && self.pending_control.is_none()
    }

    /// Ready when one more message can be sent.
    ///
    /// # Errors
    /// If the stream fails.
    pub fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.has_room() {
            return Poll::Ready(Ok(()));
        }
        self.poll_write(context)
    }

    /// Queues a message for [`Socket::poll_flush`]; messages after a close frame are dropped. The caller must
    /// call [`Socket::poll_ready`] before.
    pub fn start_send(&mut self, message: WebSocketMessage) {
        if self.is_closing {
            return;
        }
        if matches!(message, WebSocketMessage::Close(_)) {
            self.is_closing = true;
            self.pending_control = None;
        }
        let output = self.output.get_or_insert_with(Output::spare);
        output.push(message);
    }

    /// Sends the queued messages, and the answers to control frames.
    ///
    /// # Errors
    /// If the stream fails.
    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.pending_control.is_some() {
            ready!(self.poll_ready(context))?;
            if let Some(answer) = self.pending_control.take() {
                self.start_send(*answer);
            }
        }
        self.poll_write(context)
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(output) = &mut self.output {
            ready!(output.poll_write(&mut self.stream, context))?;
            self.output.take().into_iter().for_each(Output::recycle);
        }
        Poll::Ready(Ok(()))
    }

    /// Receives as [`Socket::poll_receive`] does, and sends the answers to pings. No message is lost if the
    /// future is dropped.
    ///
    /// # Errors
    /// If no more can be received.
    pub async fn receive(&mut self) -> Result<Decoded, SocketError> {
        poll_fn(|context| {
            if let Poll::Ready(Err(error)) = self.poll_flush(context) {
                return Poll::Ready(Err(SocketError::Failed(error.kind())));
            }
            self.poll_receive(context)
        })
        .await
    }

    /// Sends a message.
    ///
    /// # Errors
    /// If the stream fails.
    pub async fn send(&mut self, message: WebSocketMessage) -> io::Result<()> {
        poll_fn(|context| self.poll_ready(context)).await?;
        self.start_send(message);
        poll_fn(|context| self.poll_flush(context)).await
    }

    /// Closes the connection after a close frame was sent or received (RFC 6455, sections 7.1.1 and 7.1.7). Waits for
    /// the client's close frame and sends the queued messages. After a violation, reads until the client has closed:
    /// closing a socket with unread data resets the connection, and the client could lose the close frame.
    pub async fn finish(&mut self) {
        while self.receive().await.is_ok() {}
        if poll_fn(|context| self.poll_flush(context)).await.is_err() {
            return;
        }
        // With TLS this sends `close_notify`, which tells the client that no data is missing (RFC 8446,
        // section 6.1).
        let shut_down = poll_fn(|context| Pin::new(&mut self.stream).poll_shutdown(context));
        let is_open = shut_down.await.is_ok();
        if let (true, Some(SocketError::Violation(_) | SocketError::NotCompleted)) =
            (is_open, self.ended)
        {
            self.discard().await;
        }
    }

    /// Reads until the client has closed.
    async fn discard(&mut self) {
        poll_fn(|context| {
            loop {
                match ready!(self.poll_skip(context)) {
                    Ok(1..) => {}
                    Ok(0) | Err(_) => return Poll::Ready(()),
                }
            }
        })
        .await;
    }

    fn poll_skip(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut buffer = READ_BUFFER.take();
        buffer.resize(READ_BYTES, 0);
        let mut bytes = ReadBuf::new(&mut buffer);
        let polled = Pin::new(&mut self.stream).poll_read(context, &mut bytes);
        let count = bytes.filled().len();
        READ_BUFFER.set(buffer);
        polled.map_ok(|()| count)
    }
}

impl Socket {
    /// Whether the stream is a plain TCP connection.
    pub(crate) fn is_plain_tcp(&self) -> bool {
        self.stream.plain_tcp().is_some()
    }

    /// Writes the queued messages to a plain TCP connection as far as it accepts them, and wakes no task when it
    /// accepts more. Returns whether all were written.
    ///
    /// # Errors
    /// If the stream fails.
    pub(crate) fn try_flush(&mut self) -> io::Result<bool> {
        if let (Some(stream), Some(output)) = (self.stream.plain_tcp(), &mut self.output) {
            if !output.try_write(stream)? {
                return Ok(false);
            }
            self.output.take().into_iter().for_each(Output::recycle);
        }
        Ok(self.output.is_none())
    }

    /// Writes an encoded frame to a plain TCP connection that is flushed, as far as it accepts it, and keeps the rest.
    /// Wakes no task when it accepts more. Returns whether all was written.
    ///
    /// # Errors
    /// If the stream fails.
    pub(crate) fn try_send_encoded(&mut self, frame: &[u8]) -> io::Result<bool> {
        debug_assert!(self.is_flushed(), "the rest of the last frame comes first");
        if self.is_closing {
            return Ok(true);
        }
        let stream = self.stream.plain_tcp();
        let written = match stream.map(|stream| try_send(stream, frame)) {
            Some(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Some(Ok(count)) => count,
            Some(Err(error)) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            Some(Err(_)) | None => 0,
        };
        if written == frame.len() {
            return Ok(true);
        }
        let output = self.output.get_or_insert_with(Output::spare);
        output.frames.extend_from_slice(&frame[written..]);
        Ok(false)
    }
}

#[cfg(test)]
impl Socket {
    /// Whether the stream is a TLS connection directly on TCP.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self.stream, UpgradedStream::Tls(_))
    }
}

/// Bytes that were read from a stream and are not decoded yet.
struct Unread {
    bytes: Box<[u8]>,
    /// The number of bytes that were decoded.
    decoded: usize,
}

impl Unread {
    fn of(bytes: &[u8]) -> Option<Box<Self>> {
        let unread = || Self {
            bytes: bytes.into(),
            decoded: 0,
        };
        (!bytes.is_empty()).then(|| Box::new(unread()))
    }

    fn is_empty(&self) -> bool {
        self.decoded == self.bytes.len()
    }

    fn decode(&mut self, decoder: &mut FrameDecoder) -> Result<Option<Decoded>, Violation> {
        let mut input = &mut self.bytes[self.decoded..];
        let decoded = decoder.decode(&mut input);
        let left = input.len();
        self.decoded = self.bytes.len() - left;
        decoded
    }
}

/// The bytes that are being written to a stream.
#[derive(Default)]
struct Output {
    /// Encoded frames, of which the first `written` bytes were written.
    frames: Vec<u8>,
    written: usize,
    /// The payload of the last frame, if it is large.
    payload: Bytes,
}

impl Output {
    /// An empty output, with the memory of the last one of this thread.
    fn spare() -> Box<Self> {
        SPARE_OUTPUT.take().unwrap_or_default()
    }

    /// Leaves the memory to the next connection of this thread that writes, unless it is large.
    fn recycle(mut self: Box<Self>) {
        if self.frames.capacity() <= SPARE_BYTES_MAX {
            self.clear();
            SPARE_OUTPUT.set(Some(self));
        }
    }

    fn clear(&mut self) {
        self.frames.clear();
        self.written = 0;
        self.payload = Bytes::new();
    }

    fn has_room(&self) -> bool {
        self.payload.is_empty() && self.frames.len() < WRITE_BYTES
    }

    fn push(&mut self, message: WebSocketMessage) {
        self.payload = frame::encode(message, COPIED_BYTES_MAX, &mut self.frames);
    }

    /// Ready when all bytes were written and the stream was flushed.
    fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut stream = Pin::new(stream);
        loop {
            let frames = &self.frames[self.written..];
            let written = match (frames.is_empty(), self.payload.is_empty()) {
                (true, true) => break,
                (false, true) => stream.as_mut().poll_write(context, frames),
                (true, false) => stream.as_mut().poll_write(context, &self.payload),
                (false, false) => {
                    let both = [IoSlice::new(frames), IoSlice::new(&self.payload)];
                    stream.as_mut().poll_write_vectored(context, &both)
                }
            };
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.advance(count),
            }
        }
        self.clear();
        let flushed = stream.poll_flush(context);
        if flushed.is_pending() {
            // A client that reads slowly keeps no buffer.
            self.frames = Vec::new();
        }
        flushed
    }

    /// Writes as far as the stream accepts it. Returns whether all bytes were written.
    fn try_write(&mut self, stream: &TcpStream) -> io::Result<bool> {
        loop {
            let frames = &self.frames[self.written..];
            let written = match (frames.is_empty(), self.payload.is_empty()) {
                (true, true) => return Ok(true),
                (false, true) => try_send(stream, frames),
                (true, false) => try_send(stream, &self.payload),
                (false, false) => {
                    stream.try_write_vectored(&[IoSlice::new(frames), IoSlice::new(&self.payload)])
                }
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.advance(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    fn advance(&mut self, count: usize) {
        let of_frames = count.min(self.frames.len() - self.written);
        self.written += of_frames;
        self.payload.advance(count - of_frames);
    }
}

/// Writes as much as the connection accepts now. The system call of `rustix` goes neither through the C library nor through
/// its check for a cancelled thread.
#[cfg(target_os = "linux")]
fn try_send(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let send = || {
        Ok(rustix::net::send(
            stream,
            bytes,
            rustix::net::SendFlags::NOSIGNAL,
        )?)
    };
    stream.try_io(tokio::io::Interest::WRITABLE, send)
}

/// Writes as much as the connection accepts now.
#[cfg(not(target_os = "linux"))]
fn try_send(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    stream.try_write(bytes)
}

/// A timer that detects an unfinished message without progress.
struct Stall {
    /// The value of [`FrameDecoder::unfinished`] at the last progress.
    progress: u64,
    /// The time of the last progress.
    since: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl Stall {
    fn new(progress: u64) -> Self {
        let since = Instant::now();
        Self {
            progress,
            since,
            sleep: Box::pin(sleep_until(since + PROGRESS_TIMEOUT)),
        }
    }

    /// Ready if there was no progress for [`PROGRESS_TIMEOUT`]. To save time, progress does not reset the timer: it
    /// fires early and is set to the true deadline then.
    fn poll(&mut self, progress: u64, context: &mut Context<'_>) -> Poll<()> {
        if self.progress != progress {
            self.progress = progress;
            self.since = Instant::now();
        }
        loop {
            ready!(self.sleep.as_mut().poll(context));
            let deadline = self.since + PROGRESS_TIMEOUT;
            if self.sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests;

//! WebSocket connections (RFC 6455).

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering},
    task::{Context as TaskContext, Poll, ready},
    time::{Duration, Instant, SystemTime},
};

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use bytestring::ByteString;
use futures_util::{Sink, StreamExt};
use switchboard_core::{Ask, Event, Farewell, Limits, Parting, Refusal, Refused};
use switchboard_dialect::{Close, Conversation, Frame, Post, Turn};
use tokio::time::{Instant as TokioInstant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    Counters, Exchange, Heartbeat, Local, Outbox, Permit,
    line::{Line, Steps},
    outbox::{Appetite, Charges, Overflow},
};

/// Bytes read from the socket at a time. The library's own choice of 128 KiB is what an idle
/// connection would cost. Most frames of signaling fit into this; larger ones take a few reads more.
const READ_BUFFER_BYTES: usize = 2048;

/// Frames that wait for one another are written together up to so many bytes.
const WRITE_BUFFER_BYTES: usize = 16 * 1024;

/// Events told before the client's own frames have their turn again.
const EVENTS_PER_WRITE: usize = 64;

/// Frames that may wait for the socket when more are to join them, `outbox_bytes` of them at most.
/// Events wait in the outbox; these are answers to a client that goes on asking and does not read.
const PENDING_FRAMES_MAX: usize = 1024;

/// Frames that are read while a session waits for the answer to its request: as many as show that
/// the client is there, and find out if it goes. More stay in the socket.
const EARLY_FRAMES_MAX: usize = 64;

/// Bytes of them, besides the last one.
const EARLY_BYTES_MAX: usize = 64 * 1024;

/// Time for the goodbye of a connection that is ended: the close frame, and the client's answer.
const GOODBYE: Duration = Duration::from_secs(1);

/// Sets an upgrade's buffers and bounds: nothing larger than `frame_bytes` is ever gathered.
pub fn configure(upgrade: WebSocketUpgrade, limits: &Limits) -> WebSocketUpgrade {
    let frame_bytes = if limits.frame_bytes == 0 {
        usize::MAX
    } else {
        limits.frame_bytes
    };
    upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_message_size(frame_bytes)
        .max_frame_size(frame_bytes)
}

/// What a connection needs of its node.
#[derive(Clone, Debug)]
pub struct Context {
    /// The node.
    pub exchange: Arc<dyn Exchange>,
    /// The bounds in force.
    pub limits: Arc<Limits>,
    /// How a dead client is noticed.
    pub heartbeat: Heartbeat,
    /// When this is cancelled, connections are closed with 1012.
    pub drain: CancellationToken,
}

/// Serves one connection to its end. `opened` is what [`Conversation::open`] gave.
///
/// Boxed, and not an async function: what a connection needs only at its beginning is not kept.
pub fn serve(
    socket: WebSocket,
    opened: (Conversation, Turn),
    context: Context,
    permit: Permit,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let local = Arc::new(Outbox::new(context.limits.outbox_bytes));
    let (line, first) = Line::new(opened, &context.limits, context.heartbeat, Instant::now());
    let counters = context.exchange.counters();
    Counters::add(&counters.connections, 1);
    Counters::add(&counters.connections_total, 1);
    let mut connection = Box::new(Connection {
        socket,
        line,
        local,
        context,
        pending: VecDeque::new(),
        pending_bytes: 0,
        asking: None,
        early: VecDeque::new(),
        unflushed: false,
        blocked: false,
        _permit: permit,
    });
    let first = Box::new(first);
    Box::pin(async move {
        let end = connection.run(first).await;
        connection.leave(end.parting());
        connection.goodbye(end).await;
    })
}

struct Connection {
    socket: WebSocket,
    line: Line,
    local: Local,
    context: Context,
    /// Frames that the socket has not taken yet. Events wait in the outbox meanwhile.
    pending: VecDeque<Message>,
    pending_bytes: usize,
    /// What the session asks a web service; until it is answered, nothing else is done.
    asking: Option<Box<Asking>>,
    /// What the client has sent while its session waited for an answer.
    early: VecDeque<Result<Message, axum::Error>>,
    /// The socket has taken frames that it has not sent yet.
    unflushed: bool,
    /// The socket takes nothing until the client takes something.
    blocked: bool,
    _permit: Permit,
}

/// A request that a session wants to be made.
struct Asking {
    post: Post,
    /// How the connection ends then, if it does.
    close: Option<Close>,
}

/// Why a connection ends.
enum End {
    /// We end it, and say so.
    Close(Close),
    /// The client has said goodbye.
    Said,
    /// The client's socket was closed or reset, without a close frame.
    Reset,
    /// The network has lost the client.
    Lost,
}

impl End {
    fn parting(&self) -> Parting {
        match self {
            Self::Close(close) => close.parting(),
            Self::Said => Parting::Said,
            Self::Reset => Parting::Reset,
            Self::Lost => Parting::Lost,
        }
    }
}

/// What a connection wakes for.
enum Wake {
    /// The client, which was slow, has taken some of what was sent: it lives.
    Taken,
    /// The outbox has something to say.
    Event,
    /// The client has sent something, or has gone.
    Message(Option<Result<Message, axum::Error>>),
    Timer,
    Drain,
    /// The socket cannot be written to any more.
    Broken(axum::Error),
}

impl Connection {
    /// Serves until something ends it. A client that does not take what it is sent is read from
    /// all the same, so that it can show that it lives; only events wait for it.
    async fn run(&mut self, first: Box<Steps>) -> End {
        let drain = self.context.drain.clone();
        let mut drained = pin!(drain.cancelled());
        let mut timer = pin!(sleep_until(TokioInstant::from_std(
            self.line.poll_timeout()
        )));
        let begun = async {
            self.perform(*first).await?;
            self.be_answered().await
        };
        if let Err(end) = begun.await {
            return end;
        }
        let mut events_first = true;
        loop {
            let wake = poll_fn(|context| {
                if drained.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Wake::Drain);
                }
                // What was sent before is a sign of life, which no timer may overlook.
                let may_read = !self.line.is_paused();
                if may_read && let Some(message) = self.early.pop_front() {
                    return Poll::Ready(Wake::Message(Some(message)));
                }
                if timer.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Wake::Timer);
                }
                self.poll_wake(context, events_first)
            });
            let wake = wake.await;
            // Neither the room nor the client can keep the other from being heard.
            events_first = !matches!(wake, Wake::Event);
            let was_paused = self.line.is_paused();
            if let Err(end) = self.on_wake(wake).await {
                return end;
            }
            if !was_paused && self.line.is_paused() {
                Counters::add(&self.context.exchange.counters().paused_total, 1);
            }
            let next = TokioInstant::from_std(self.line.poll_timeout());
            if timer.is_elapsed() || next < timer.deadline() {
                timer.as_mut().reset(next);
            }
        }
    }

    fn poll_wake(&mut self, context: &mut TaskContext<'_>, events_first: bool) -> Poll<Wake> {
        let (waited, was_blocked) = (self.pending.len(), self.blocked);
        let written = self.poll_write(context);
        self.blocked = written.is_pending();
        if let Poll::Ready(Err(error)) = written {
            return Poll::Ready(Wake::Broken(error));
        }
        if was_blocked && (written.is_ready() || self.pending.len() < waited) {
            return Poll::Ready(Wake::Taken);
        }
        if events_first && self.poll_event(context).is_ready() {
            return Poll::Ready(Wake::Event);
        }
        if !self.line.is_paused()
            && let Poll::Ready(message) = self.socket.poll_next_unpin(context)
        {
            return Poll::Ready(Wake::Message(message));
        }
        if !events_first && self.poll_event(context).is_ready() {
            return Poll::Ready(Wake::Event);
        }
        Poll::Pending
    }

    fn poll_event(&self, context: &TaskContext<'_>) -> Poll<()> {
        self.local.poll_filled(context, self.appetite())
    }

    fn appetite(&self) -> Appetite {
        if self.pending.is_empty() && !self.unflushed {
            Appetite::All
        } else {
            Appetite::Urgent
        }
    }

    /// Gives the socket what waits for it, as far as it takes it, and sends it off.
    fn poll_write(&mut self, context: &mut TaskContext<'_>) -> Poll<Result<(), axum::Error>> {
        let mut socket = Pin::new(&mut self.socket);
        while !self.pending.is_empty() {
            ready!(socket.as_mut().poll_ready(context))?;
            let Some(message) = self.pending.pop_front() else {
                break;
            };
            self.pending_bytes -= weight(&message);
            socket.as_mut().start_send(message)?;
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(socket.as_mut().poll_flush(context))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    async fn on_wake(&mut self, wake: Wake) -> Result<(), End> {
        let steps = match wake {
            Wake::Taken => self.line.on_taken(Instant::now()),
            Wake::Event => return self.on_events().await,
            Wake::Message(message) => self.on_message(message)?,
            Wake::Timer => self.line.handle_timeout(Instant::now()),
            Wake::Drain => return Err(End::Close(Close::RESTART)),
            Wake::Broken(error) => return Err(end_of(&error)),
        };
        self.perform(steps).await?;
        self.be_answered().await
    }

    /// Tells the client some of what waits for it: many frames are one write.
    async fn on_events(&mut self) -> Result<(), End> {
        let appetite = self.appetite();
        for _ in 0..EVENTS_PER_WRITE {
            if self.has_enough_pending() {
                break;
            }
            let Some(event) = self.next_event(appetite)? else {
                break;
            };
            let steps = self.line.on_event(&event, Instant::now(), unix_secs());
            self.perform(steps).await?;
            self.be_answered().await?;
        }
        Ok(())
    }

    /// Whether what waits for the socket is as much as may wait.
    fn has_enough_pending(&self) -> bool {
        let bytes_max = self.context.limits.outbox_bytes;
        self.pending.len() > PENDING_FRAMES_MAX || bytes_max != 0 && self.pending_bytes > bytes_max
    }

    fn push(&mut self, message: Message) {
        self.pending_bytes += weight(&message);
        self.pending.push_back(message);
    }

    fn next_event(&self, appetite: Appetite) -> Result<Option<Arc<Event>>, End> {
        self.local.pop(appetite).map_err(|Overflow| self.too_slow())
    }

    fn too_slow(&self) -> End {
        Counters::add(&self.context.exchange.counters().slow_total, 1);
        End::Close(Close::SLOW)
    }

    fn on_message(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<Steps, End> {
        let now = Instant::now();
        let frames_in = &self.context.exchange.counters().frames_in_total;
        match message {
            Some(Ok(Message::Text(text))) => {
                Counters::add(frames_in, 1);
                let text =
                    ByteString::try_from(axum::body::Bytes::from(text)).map_err(|_| End::Lost)?;
                Ok(self.line.on_frame(Frame::Text(&text), now, unix_secs()))
            }
            Some(Ok(Message::Binary(bytes))) => {
                Counters::add(frames_in, 1);
                Ok(self.line.on_frame(Frame::Binary(&bytes), now, unix_secs()))
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(self.line.on_control(now)),
            Some(Err(error)) if is_too_large(&error) => {
                Ok(self
                    .line
                    .on_violation(Refusal::TooLarge, Close::TOO_BIG, now))
            }
            Some(Ok(Message::Close(_))) => Err(End::Said),
            Some(Err(error)) => Err(end_of(&error)),
            None => Err(End::Reset),
        }
    }

    async fn perform(&mut self, steps: Steps) -> Result<(), End> {
        let Steps { turn, ping } = steps;
        let counters = self.context.exchange.counters();
        Counters::add(&counters.refused_total, turn.refused.len() as u64);
        Counters::add(&counters.frames_out_total, turn.frames.len() as u64);
        for code in turn.refused {
            tracing::info!(peer = %self.line.peer().id(), code, "refused");
        }
        if !turn.frames.is_empty() && self.has_enough_pending() {
            return Err(self.too_slow());
        }
        for frame in turn.frames {
            self.push(text(frame));
        }
        if ping {
            self.push(Message::Ping(axum::body::Bytes::new()));
        }
        if !turn.asks.is_empty() {
            for ask in turn.asks {
                self.ask(ask).await;
            }
            self.pay();
        }
        if let Some(post) = turn.post {
            let close = turn.close;
            self.asking = Some(Box::new(Asking { post, close }));
            return Ok(());
        }
        turn.close.map_or(Ok(()), |close| Err(End::Close(close)))
    }

    /// Charges the connection's budgets with what its requests have caused.
    fn pay(&mut self) {
        let charges = self.local.take_charges();
        if charges != Charges::default() {
            self.line.on_charges(&charges, Instant::now());
        }
    }

    /// Makes the requests that the session asks for, and does what follows from the answers.
    async fn be_answered(&mut self) -> Result<(), End> {
        while let Some(asking) = self.asking.take() {
            // Boxed: few connections need it, and each would have to keep room for it.
            Box::pin(self.answer(*asking)).await?;
        }
        Ok(())
    }

    async fn answer(&mut self, asking: Asking) -> Result<(), End> {
        let reply = self.post(asking.post).await?;
        let steps = self
            .line
            .on_reply(reply.as_deref(), Instant::now(), unix_secs());
        self.perform(steps).await?;
        match (&mut self.asking, asking.close) {
            (Some(again), close) => again.close = again.close.or(close),
            (None, Some(close)) => return Err(End::Close(close)),
            (None, None) => {}
        }
        Ok(())
    }

    /// Makes a request and waits for the answer, or for the end of the connection. What the client
    /// is sent goes out meanwhile; what it sends waits.
    async fn post(&mut self, post: Post) -> Result<Option<String>, End> {
        let mut reply = self.context.exchange.post(post);
        let drain = self.context.drain.clone();
        let mut drained = pin!(drain.cancelled());
        poll_fn(|context| {
            if drained.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(End::Close(Close::RESTART)));
            }
            if let Poll::Ready(end) = self.poll_gone(context) {
                return Poll::Ready(Err(end));
            }
            reply.as_mut().poll(context).map(Ok)
        })
        .await
    }

    /// Ready if the client goes. Keeps what it sends.
    fn poll_gone(&mut self, context: &mut TaskContext<'_>) -> Poll<End> {
        if let Poll::Ready(Err(error)) = self.poll_write(context) {
            return Poll::Ready(end_of(&error));
        }
        while self.may_read_early() {
            match ready!(self.socket.poll_next_unpin(context)) {
                Some(Ok(Message::Close(_))) => return Poll::Ready(End::Said),
                Some(Err(error)) if !is_too_large(&error) => return Poll::Ready(end_of(&error)),
                None => return Poll::Ready(End::Reset),
                Some(message) => self.early.push_back(message),
            }
        }
        Poll::Pending
    }

    /// Whether one more frame has room beside those that wait.
    fn may_read_early(&self) -> bool {
        let length = |message: &Result<Message, _>| match message {
            Ok(Message::Text(text)) => text.len(),
            Ok(Message::Binary(bytes) | Message::Ping(bytes) | Message::Pong(bytes)) => bytes.len(),
            // Nothing comes after these.
            Ok(Message::Close(_)) | Err(_) => usize::MAX,
        };
        let bytes = self.early.iter().map(length).fold(0, usize::saturating_add);
        self.early.len() < EARLY_FRAMES_MAX && bytes < EARLY_BYTES_MAX
    }

    async fn ask(&mut self, ask: Ask) {
        let (exchange, peer) = (&self.context.exchange, self.line.peer().id());
        if let Ask::Join(room, _, attempt) = &ask
            && let Some(check) = exchange.may_join(self.line.peer(), room)
            && !check.await
        {
            let refused = Refused::join(Refusal::Denied, &room.name, *attempt);
            // It may be in already, let in by an earlier answer.
            exchange.ask(peer, &self.local, Ask::Leave(room.clone(), Farewell::Aloud));
            let _ = self.local.push(Arc::new(Event::Refused(refused)));
            return;
        }
        exchange.ask(peer, &self.local, ask);
    }

    /// Gives back all that the peer holds, so that the others see it leave now.
    fn leave(&mut self, parting: Parting) {
        let exchange = &self.context.exchange;
        for ask in self.line.farewell(parting) {
            exchange.ask(self.line.peer().id(), &self.local, ask);
        }
        if let Some(post) = self.line.on_end() {
            exchange.post_later(post);
        }
    }

    /// Says goodbye, or answers the client's, and hangs up.
    async fn goodbye(&mut self, end: End) {
        let peer = self.line.peer().id();
        let dialect = self.line.peer().tongue().name;
        if let End::Close(close) = end {
            tracing::info!(%peer, dialect, code = close.code, reason = close.reason, "closed");
            let frame = CloseFrame {
                code: close.code,
                reason: close.reason.into(),
            };
            self.push(Message::Close(Some(frame)));
        } else {
            tracing::info!(%peer, dialect, "disconnected");
            self.pending.clear();
            self.pending_bytes = 0;
        }
        let closing = async {
            poll_fn(|context| self.poll_write(context)).await.ok()?;
            // Reading also sends the answer to a close frame that was read before.
            while let Some(Ok(_)) = self.socket.next().await {}
            Some(())
        };
        drop(timeout(GOODBYE, closing).await);
    }
}

/// However a connection ends, in a panic or with the runtime, its peer does not stay.
impl Drop for Connection {
    fn drop(&mut self) {
        self.leave(Parting::Lost);
        self.context
            .exchange
            .counters()
            .connections
            .fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a message takes while it waits.
fn weight(message: &Message) -> usize {
    match message {
        Message::Text(text) => text.len(),
        Message::Binary(bytes) | Message::Ping(bytes) | Message::Pong(bytes) => bytes.len(),
        Message::Close(_) => 0,
    }
}

fn text(frame: ByteString) -> Message {
    // A `ByteString` is UTF-8, so this is never the empty text.
    Message::Text(frame.into_bytes().try_into().unwrap_or_default())
}

fn unix_secs() -> u64 {
    SystemTime::UNIX_EPOCH
        .elapsed()
        .map_or(0, |since| since.as_secs())
}

/// How a connection has ended whose socket failed with this error. If the network gave up on the client,
/// the client may be there and come back; any other error is the end of its side.
fn end_of(error: &axum::Error) -> End {
    use std::io::ErrorKind::{HostUnreachable, NetworkDown, NetworkUnreachable, TimedOut};
    let source = std::error::Error::source(error);
    match source.and_then(|source| source.downcast_ref::<tungstenite::Error>()) {
        Some(tungstenite::Error::Io(error))
            if [TimedOut, HostUnreachable, NetworkUnreachable, NetworkDown]
                .contains(&error.kind()) =>
        {
            End::Lost
        }
        Some(_) | None => End::Reset,
    }
}

/// Whether receiving ended because a message was larger than allowed (close code 1009).
#[must_use]
pub fn is_too_large(error: &axum::Error) -> bool {
    let source = std::error::Error::source(error);
    let source = source.and_then(|source| source.downcast_ref::<tungstenite::Error>());
    matches!(source, Some(tungstenite::Error::Capacity(_)))
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    #[test]
    fn a_reset_frees_addresses_and_an_unreachable_client_keeps_them() {
        for (kind, expected) in [
            (ErrorKind::ConnectionReset, Parting::Reset),
            (ErrorKind::BrokenPipe, Parting::Reset),
            (ErrorKind::UnexpectedEof, Parting::Reset),
            (ErrorKind::TimedOut, Parting::Lost),
            (ErrorKind::HostUnreachable, Parting::Lost),
        ] {
            let error = tungstenite::Error::Io(kind.into());
            assert_eq!(end_of(&axum::Error::new(error)).parting(), expected);
        }
        let protocol = tungstenite::error::ProtocolError::ResetWithoutClosingHandshake;
        let error = axum::Error::new(tungstenite::Error::Protocol(protocol));
        assert_eq!(end_of(&error).parting(), Parting::Reset);
        assert_eq!(End::Close(Close::GONE).parting(), Parting::Lost);
    }
}

//! WebSocket connections (RFC 6455).

use std::{
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant, SystemTime},
};

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use bytestring::ByteString;
use futures_util::{FutureExt, SinkExt, StreamExt};
use switchboard_core::{Ask, Event, Farewell, Limits, Refusal, Refused};
use switchboard_dialect::{Close, Conversation, Frame, Turn};
use tokio::time::{Instant as TokioInstant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    Counters, Exchange, Heartbeat, Local, Outbox, Permit,
    line::{Line, Steps},
    outbox::Overflow,
};

/// Bytes read from the socket at a time. The library's own choice of 128 KiB is what an idle
/// connection would cost. Most frames of signaling fit into this; larger ones take a few reads more.
const READ_BUFFER_BYTES: usize = 2048;

/// Frames that wait for one another are written together up to so many bytes.
const WRITE_BUFFER_BYTES: usize = 16 * 1024;

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
        unflushed: false,
        _permit: permit,
    });
    let first = Box::new(first);
    Box::pin(async move {
        let end = connection.run(first).await;
        connection.leave();
        connection.goodbye(end).await;
    })
}

struct Connection {
    socket: WebSocket,
    line: Line,
    local: Local,
    context: Context,
    /// Frames wait in the socket's buffer.
    unflushed: bool,
    _permit: Permit,
}

/// Why a connection ends.
enum End {
    /// We end it, and say so.
    Close(Close),
    /// It is gone already, or the client has said goodbye.
    Gone,
}

impl Connection {
    /// Serves until something ends it. Priorities: what waits for the client, what comes from it,
    /// timers, drain. The runtime's budget for a task lets the later ones have their turn.
    async fn run(&mut self, first: Box<Steps>) -> End {
        let drain = self.context.drain.clone();
        let mut drained = pin!(drain.cancelled());
        let mut timer = pin!(sleep_until(TokioInstant::from_std(
            self.line.poll_timeout()
        )));
        let local = self.local.clone();
        if let Err(end) = self.perform(*first).await {
            return end;
        }
        loop {
            if let Err(end) = self.flush().await {
                return end;
            }
            let done = tokio::select! {
                biased;
                () = local.filled() => Ok(()),
                message = self.socket.next() => self.on_message(message).await,
                () = &mut timer => {
                    let done = Box::pin(self.on_timer()).await;
                    timer.as_mut().reset(TokioInstant::from_std(self.line.poll_timeout()));
                    done
                }
                () = &mut drained => return End::Close(Close::RESTART),
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    async fn on_timer(&mut self) -> Result<(), End> {
        let now = Instant::now();
        if now < self.line.poll_timeout() {
            return Ok(());
        }
        let steps = self.line.handle_timeout(now);
        self.perform(steps).await
    }

    async fn on_message(
        &mut self,
        message: Option<Result<Message, axum::Error>>,
    ) -> Result<(), End> {
        let now = Instant::now();
        let steps = match message {
            Some(Ok(Message::Text(text))) => {
                Counters::add(&self.context.exchange.counters().frames_in_total, 1);
                match ByteString::try_from(axum::body::Bytes::from(text)) {
                    Ok(text) => self.line.on_frame(Frame::Text(&text), now, unix_secs()),
                    Err(_) => return Err(End::Gone),
                }
            }
            Some(Ok(Message::Binary(bytes))) => {
                Counters::add(&self.context.exchange.counters().frames_in_total, 1);
                self.line.on_frame(Frame::Binary(&bytes), now, unix_secs())
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => self.line.on_control(now),
            Some(Ok(Message::Close(_))) | None => return Err(End::Gone),
            Some(Err(error)) if is_too_large(&error) => {
                self.line
                    .on_violation(Refusal::TooLarge, Close::TOO_BIG, now)
            }
            Some(Err(_)) => return Err(End::Gone),
        };
        self.perform(steps).await
    }

    /// Sends all that waits. One flush for all of it: one write for many frames.
    async fn flush(&mut self) -> Result<(), End> {
        while let Some(event) = self.next_event()? {
            let steps = self.line.on_event(&event, Instant::now(), unix_secs());
            self.perform(steps).await?;
        }
        if std::mem::take(&mut self.unflushed) {
            self.while_open(Write::Flush).await?;
        }
        Ok(())
    }

    fn next_event(&self) -> Result<Option<Arc<Event>>, End> {
        self.local.pop().map_err(|Overflow| {
            Counters::add(&self.context.exchange.counters().slow_total, 1);
            End::Close(Close::SLOW)
        })
    }

    async fn perform(&mut self, steps: Steps) -> Result<(), End> {
        let Steps { turn, ping } = steps;
        let counters = self.context.exchange.counters();
        Counters::add(&counters.refused_total, turn.refused.len() as u64);
        Counters::add(&counters.frames_out_total, turn.frames.len() as u64);
        for code in turn.refused {
            tracing::info!(peer = %self.line.peer().id(), code, "refused");
        }
        for frame in turn.frames {
            self.feed(text(frame)).await?;
        }
        for ask in turn.asks {
            self.ask(ask).await?;
        }
        if ping {
            self.feed(Message::Ping(axum::body::Bytes::new())).await?;
        }
        turn.close.map_or(Ok(()), |close| Err(End::Close(close)))
    }

    async fn feed(&mut self, message: Message) -> Result<(), End> {
        self.unflushed = true;
        self.while_open(Write::Feed(message)).await
    }

    async fn ask(&mut self, ask: Ask) -> Result<(), End> {
        if let Ask::Join(room, _, attempt) = &ask
            && let Some(check) = self.context.exchange.may_join(self.line.peer(), room)
            && !check.await
        {
            let refused = Refused::join(Refusal::Denied, &room.name, *attempt);
            // It may be in already, let in by an earlier answer.
            let leave = Ask::Leave(room.clone(), Farewell::Aloud);
            self.context
                .exchange
                .ask(self.line.peer().id(), &self.local, leave);
            self.local.push(Arc::new(Event::Refused(refused)));
            return Ok(());
        }
        self.context
            .exchange
            .ask(self.line.peer().id(), &self.local, ask);
        Ok(())
    }

    /// Writes, as long as the client reads: one whose outbox overflows meanwhile, or who takes
    /// nothing for as long as a dead one is waited for, is not waited for.
    async fn while_open(&mut self, write: Write) -> Result<(), End> {
        let Self {
            socket,
            local,
            context,
            ..
        } = self;
        let mut writing = pin!(async {
            match write {
                Write::Feed(message) => socket.feed(message).await,
                Write::Flush => socket.flush().await,
            }
        });
        match writing.as_mut().now_or_never() {
            Some(done) => done.map_err(|_| End::Gone),
            // Rare, so that what it needs is not part of every connection.
            None => Box::pin(patiently(writing, local, context)).await,
        }
    }

    /// Gives back all that the peer holds, so that the others see it leave now.
    fn leave(&mut self) {
        for ask in self.line.farewell() {
            self.context
                .exchange
                .ask(self.line.peer().id(), &self.local, ask);
        }
        self.context
            .exchange
            .counters()
            .connections
            .fetch_sub(1, Ordering::Relaxed);
    }

    /// Says goodbye, waits a moment for the client's, and hangs up.
    async fn goodbye(&mut self, end: End) {
        let peer = self.line.peer().id();
        let dialect = self.line.peer().tongue().name;
        let End::Close(close) = end else {
            tracing::info!(%peer, dialect, "disconnected");
            return;
        };
        tracing::info!(%peer, dialect, code = close.code, reason = close.reason, "closed");
        let frame = CloseFrame {
            code: close.code,
            reason: close.reason.into(),
        };
        let closing = async {
            self.socket.send(Message::Close(Some(frame))).await.ok()?;
            while let Some(Ok(_)) = self.socket.next().await {}
            Some(())
        };
        drop(timeout(GOODBYE, closing).await);
    }
}

/// Waits for a write that the socket does not take at once.
async fn patiently(
    mut writing: Pin<&mut impl Future<Output = Result<(), axum::Error>>>,
    local: &Local,
    context: &Context,
) -> Result<(), End> {
    let mut patience = pin!(tokio::time::sleep(context.heartbeat.gone));
    tokio::select! {
        done = &mut writing => done.map_err(|_| End::Gone),
        () = local.overflowed() => {
            Counters::add(&context.exchange.counters().slow_total, 1);
            Err(End::Close(Close::SLOW))
        }
        () = &mut patience => Err(End::Close(Close::GONE)),
        () = context.drain.cancelled() => Err(End::Close(Close::RESTART)),
    }
}

enum Write {
    Feed(Message),
    Flush,
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

fn is_too_large(error: &axum::Error) -> bool {
    let source = std::error::Error::source(error);
    let source = source.and_then(|source| source.downcast_ref::<tungstenite::Error>());
    matches!(source, Some(tungstenite::Error::Capacity(_)))
}

//! WebSocket connections (RFC 6455).

use std::{
    collections::VecDeque,
    future::poll_fn,
    io::{self, ErrorKind},
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering},
    task::{Context as TaskContext, Poll, ready},
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use switchboard_core::{Ask, Event, Farewell, Limits, Parting, Refusal, Refused, RoomId};
use switchboard_dialect::{Close, Conversation, Frame, Post, Turn};
use tokio::time::{Instant as TokioInstant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    Counters, Exchange, Fault, Heartbeat, Local, Outbox, Permit, QueueMemory, Socket, Violation,
    frame::{CloseFrame, Message, Received},
    line::{Line, Steps},
    outbox::{Appetite, Charges, Overflow},
    refusal_log::{RefusalLine, RefusalLog},
};

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

/// What a connection needs of its node.
#[derive(Clone, Debug)]
pub struct Context {
    /// The node.
    pub exchange: Arc<dyn Exchange>,
    /// The bounds in force.
    pub limits: Arc<Limits>,
    /// How a dead client is noticed.
    pub heartbeat: Heartbeat,
    /// The memory for the queues of all clients of the server.
    pub queue_memory: Arc<QueueMemory>,
    /// When this is cancelled, connections are closed with 1012.
    pub drain: CancellationToken,
}

/// Serves one connection to its end. `opened` is what [`Conversation::open`] gave.
///
/// Boxed, and not an async function: what a connection needs only at its beginning is not kept.
pub fn serve(
    socket: Socket,
    opened: (Conversation, Turn),
    context: Context,
    permit: Permit,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let (connection, first) = Connection::new(socket, opened, context, permit);
    let mut connection = Box::new(connection);
    let first = Box::new(first);
    Box::pin(async move {
        let end = connection.run(first).await;
        connection.leave(end.parting());
        connection.goodbye(end).await;
    })
}

struct Connection {
    socket: Socket,
    line: Line,
    local: Local,
    context: Context,
    /// Frames that the socket has not taken yet. Events wait in the outbox meanwhile.
    pending: VecDeque<Message>,
    pending_bytes: usize,
    /// What the session asks a web service; until it is answered, nothing else is done.
    asking: Option<Box<Asking>>,
    /// What the client has sent while its session waited for an answer.
    early: VecDeque<Result<Received, Fault>>,
    /// Bytes of an unfinished message, as they are counted in the gauge.
    unfinished_bytes: usize,
    /// The socket takes nothing until the client takes something.
    blocked: bool,
    refusals: RefusalLog,
    permit: Permit,
    has_left: bool,
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
    Message(Result<Received, Fault>),
    Timer,
    Drain,
    /// The socket cannot be written to any more.
    Broken(ErrorKind),
}

impl Connection {
    /// A connection, and the first output of its session.
    fn new(
        socket: Socket,
        opened: (Conversation, Turn),
        context: Context,
        permit: Permit,
    ) -> (Self, Steps) {
        let local = Arc::new(Outbox::new(&context.limits, context.queue_memory.clone()));
        let now = Instant::now();
        let (mut line, first) = Line::new(opened, &context.limits, context.heartbeat, now);
        if let Some(spent) = permit.take_spent(now) {
            line.continue_from(&spent, now);
        }
        let counters = context.exchange.counters();
        Counters::add(&counters.connections, 1);
        Counters::add(&counters.connections_total, 1);
        let connection = Self {
            socket,
            line,
            local,
            context,
            pending: VecDeque::new(),
            pending_bytes: 0,
            asking: None,
            early: VecDeque::new(),
            unfinished_bytes: 0,
            blocked: false,
            refusals: RefusalLog::default(),
            permit,
            has_left: false,
        };
        (connection, first)
    }

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
        let (mut events_first, mut was_paused) = (true, false);
        loop {
            let is_paused = self.line.is_paused();
            if is_paused && !was_paused {
                Counters::add(&self.context.exchange.counters().paused_total, 1);
            }
            was_paused = is_paused;
            let next = TokioInstant::from_std(self.line.poll_timeout());
            if timer.is_elapsed() || next < timer.deadline() {
                timer.as_mut().reset(next);
            }
            let wake = poll_fn(|context| {
                if drained.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Wake::Drain);
                }
                // What was sent before is a sign of life, which no timer may overlook.
                let may_read = !self.line.is_paused();
                if may_read && let Some(message) = self.early.pop_front() {
                    return Poll::Ready(Wake::Message(message));
                }
                if timer.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Wake::Timer);
                }
                self.poll_wake(context, events_first)
            });
            let wake = wake.await;
            // Neither the room nor the client can keep the other from being heard.
            events_first = !matches!(wake, Wake::Event);
            if let Err(end) = self.on_wake(wake).await {
                return end;
            }
        }
    }

    fn poll_wake(&mut self, context: &mut TaskContext<'_>, events_first: bool) -> Poll<Wake> {
        let (waited, was_blocked) = (self.pending.len(), self.blocked);
        let written = self.poll_write(context);
        self.blocked = written.is_pending();
        if let Poll::Ready(Err(error)) = written {
            return Poll::Ready(Wake::Broken(error.kind()));
        }
        if was_blocked && (written.is_ready() || self.pending.len() < waited) {
            return Poll::Ready(Wake::Taken);
        }
        if events_first && self.poll_event(context).is_ready() {
            return Poll::Ready(Wake::Event);
        }
        if !self.line.is_paused()
            && let Poll::Ready(message) = self.poll_receive(context)
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
        if self.pending.is_empty() && self.socket.is_flushed() {
            Appetite::All
        } else {
            Appetite::Urgent
        }
    }

    /// Gives the socket what waits for it, as far as it takes it, and sends it off.
    fn poll_write(&mut self, context: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            ready!(self.socket.poll_ready(context))?;
            let Some(message) = self.pending.pop_front() else {
                break;
            };
            self.pending_bytes -= message.payload_len();
            self.socket.start_send(message);
        }
        self.socket.poll_flush(context)
    }

    /// Reads from the socket, and updates the gauge of bytes kept for unfinished messages.
    fn poll_receive(&mut self, context: &mut TaskContext<'_>) -> Poll<Result<Received, Fault>> {
        let received = self.socket.poll_receive(context);
        let buffered = self.socket.buffered();
        if buffered != self.unfinished_bytes {
            self.gauge_unfinished(buffered);
        }
        received
    }

    fn gauge_unfinished(&mut self, bytes: usize) {
        let gauge = &self.context.exchange.counters().unfinished_bytes;
        gauge.fetch_add(bytes as u64, Ordering::Relaxed);
        gauge.fetch_sub(self.unfinished_bytes as u64, Ordering::Relaxed);
        self.unfinished_bytes = bytes;
    }

    async fn on_wake(&mut self, wake: Wake) -> Result<(), End> {
        let steps = match wake {
            Wake::Taken => self.line.on_taken(Instant::now()),
            Wake::Event => return self.on_events().await,
            Wake::Message(message) => self.on_message(message)?,
            Wake::Timer => {
                self.log_refusals();
                self.line.handle_timeout(Instant::now())
            }
            Wake::Drain => return Err(End::Close(Close::RESTART)),
            Wake::Broken(error) => return Err(end_of(error)),
        };
        self.perform(steps).await?;
        self.be_answered().await
    }

    /// Tells the client some of what waits for it: many frames are one write.
    async fn on_events(&mut self) -> Result<(), End> {
        let appetite = self.appetite();
        for _ in 0..EVENTS_PER_WRITE {
            // Urgent events do not wait for the socket: left in the outbox, they would wake this task
            // again at once.
            if appetite == Appetite::All && self.has_enough_pending() {
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

    /// Whether the queue for the socket has reached its bound, together with the bytes kept for an
    /// unfinished message.
    fn has_enough_pending(&self) -> bool {
        let bytes_max = self.context.limits.outbox_bytes;
        let bytes = self.pending_bytes + self.unfinished_bytes;
        self.pending.len() > PENDING_FRAMES_MAX
            || bytes_max != 0 && self.pending_bytes != 0 && bytes > bytes_max
    }

    fn push(&mut self, message: Message) {
        self.pending_bytes += message.payload_len();
        self.pending.push_back(message);
    }

    fn next_event(&self, appetite: Appetite) -> Result<Option<Arc<Event>>, End> {
        self.local.pop(appetite).map_err(|Overflow| self.too_slow())
    }

    fn too_slow(&self) -> End {
        Counters::add(&self.context.exchange.counters().slow_total, 1);
        End::Close(Close::SLOW)
    }

    fn on_message(&mut self, message: Result<Received, Fault>) -> Result<Steps, End> {
        let now = Instant::now();
        let frames_in = &self.context.exchange.counters().frames_in_total;
        match message {
            Ok(Received::Message(Message::Text(text))) => {
                Counters::add(frames_in, 1);
                Ok(self.line.on_frame(Frame::Text(&text), now, unix_secs()))
            }
            Ok(Received::Message(Message::Binary(bytes))) => {
                Counters::add(frames_in, 1);
                Ok(self.line.on_frame(Frame::Binary(&bytes), now, unix_secs()))
            }
            Ok(Received::Message(Message::Pong(_))) => Ok(self.line.on_pong(now)),
            Ok(Received::Message(Message::Ping(_)) | Received::Fragment) => {
                Ok(self.line.on_control(now))
            }
            Ok(Received::Message(Message::Close(_))) => Err(End::Said),
            Err(Fault::Violation(Violation::TooLarge)) => {
                Ok(self
                    .line
                    .on_violation(Refusal::TooLarge, Close::TOO_BIG, now))
            }
            Err(fault) => Err(self.on_fault(fault)),
        }
    }

    fn on_fault(&self, fault: Fault) -> End {
        if fault.is_protocol_error() {
            let counters = self.context.exchange.counters();
            Counters::add(&counters.protocol_errors_total, 1);
        }
        match fault {
            Fault::Violation(violation) => End::Close(violation.close()),
            Fault::NotCompleted => End::Close(Close::NOT_COMPLETED),
            Fault::Ended => End::Reset,
            Fault::Failed(error) => end_of(error),
        }
    }

    fn log_refusals(&mut self) {
        if let Some(line) = self.refusals.poll_line(Instant::now()) {
            self.log_refusal(line);
        }
    }

    fn log_refusal(&self, line: RefusalLine) {
        let RefusalLine { code, count } = line;
        tracing::info!(peer = %self.line.peer().id(), code, count, "refused");
    }

    async fn perform(&mut self, steps: Steps) -> Result<(), End> {
        let Steps { turn, ping } = steps;
        let counters = self.context.exchange.counters();
        Counters::add(&counters.refused_total, turn.refused.len() as u64);
        Counters::add(&counters.frames_out_total, turn.frames.len() as u64);
        if !turn.refused.is_empty() {
            turn.refused.iter().for_each(|code| self.refusals.add(code));
            self.log_refusals();
        }
        if !turn.frames.is_empty() && self.has_enough_pending() {
            return Err(self.too_slow());
        }
        for frame in turn.frames {
            self.push(Message::Text(frame));
        }
        // A client that reads its queue shows that it lives, so it is sent no ping.
        if ping && !self.has_enough_pending() {
            self.push(Message::Ping(Bytes::new()));
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

    /// Charges the connection's budgets with the work that its requests have caused.
    fn pay(&mut self) {
        let charges = self.local.take_charges();
        if charges != Charges::default() {
            let peers = self.line.on_charges(&charges, Instant::now());
            self.local.expect_peers(peers);
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
            return Poll::Ready(end_of(error.kind()));
        }
        while self.may_read_early() {
            match ready!(self.poll_receive(context)) {
                Ok(Received::Message(Message::Close(_))) => return Poll::Ready(End::Said),
                Err(Fault::Ended) => return Poll::Ready(End::Reset),
                Err(Fault::Failed(error)) => return Poll::Ready(end_of(error)),
                message => self.early.push_back(message),
            }
        }
        Poll::Pending
    }

    /// Whether one more frame has room beside those that wait.
    fn may_read_early(&self) -> bool {
        let length = |message: &Result<Received, _>| match message {
            // Nothing comes after these.
            Ok(Received::Message(Message::Close(_))) | Err(_) => usize::MAX,
            Ok(Received::Message(message)) => message.payload_len(),
            Ok(Received::Fragment) => 0,
        };
        let bytes = self.early.iter().map(length).fold(0, usize::saturating_add);
        self.early.len() < EARLY_FRAMES_MAX && bytes < EARLY_BYTES_MAX
    }

    async fn ask(&mut self, ask: Ask) {
        let (exchange, peer) = (&self.context.exchange, self.line.peer().id());
        if let Some((room, refused)) = checked_room(&ask)
            && let Some(check) = exchange.may_join(self.line.peer(), &room)
            && !check.await
        {
            // It may be in already, let in by an earlier answer.
            if refused.join.is_some() {
                exchange.ask(peer, &self.local, Ask::Leave(room, Farewell::Aloud));
            }
            let _ = self.local.push(Arc::new(Event::Refused(refused)));
            return;
        }
        exchange.ask(peer, &self.local, ask);
    }

    /// Gives back all that the peer holds, so that the others see it leave now.
    fn leave(&mut self, parting: Parting) {
        if std::mem::replace(&mut self.has_left, true) {
            return;
        }
        for ask in self.line.farewell(parting) {
            let exchange = &self.context.exchange;
            exchange.ask(self.line.peer().id(), &self.local, ask);
        }
        self.pay();
        let now = Instant::now();
        if let Some(spent) = self.line.spent(now) {
            self.permit.keep_spent(spent, now);
        }
        let exchange = &self.context.exchange;
        if let Some(post) = self.line.on_end() {
            exchange.post_later(post);
        }
    }

    /// Says goodbye, or answers the client's, and hangs up.
    async fn goodbye(&mut self, end: End) {
        if let Some(line) = self.refusals.last_line() {
            self.log_refusal(line);
        }
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
            self.socket.finish().await;
            Some(())
        };
        drop(timeout(GOODBYE, closing).await);
    }
}

/// However a connection ends, in a panic or with the runtime, its peer does not stay.
impl Drop for Connection {
    fn drop(&mut self) {
        self.leave(Parting::Lost);
        self.gauge_unfinished(0);
        self.context
            .exchange
            .counters()
            .connections
            .fetch_sub(1, Ordering::Relaxed);
    }
}

/// The room of which the host program must allow the request, and the refusal if it does not. A claim of a
/// name in a room tells whether a member has the name, so it is checked as a join is.
fn checked_room(ask: &Ask) -> Option<(RoomId, Refused)> {
    match ask {
        Ask::Join(room, _, attempt) => {
            let refused = Refused::join(Refusal::Denied, &room.name, *attempt);
            Some((room.clone(), refused))
        }
        Ask::Claim(name, _) => {
            let room = RoomId::shared(name.space.clone(), name.room.clone()?);
            let refused = Refused::claim(Refusal::Denied, name.clone());
            let refused = refused.in_room(&room.name);
            Some((room, refused))
        }
        Ask::Release(_) | Ask::Leave(..) | Ask::Relay(..) | Ask::List(_) | Ask::Alive(_) => None,
    }
}

fn unix_secs() -> u64 {
    SystemTime::UNIX_EPOCH
        .elapsed()
        .map_or(0, |since| since.as_secs())
}

/// The end of a connection whose stream failed with this error. If the network gave up on the client,
/// the client may be there and come back; any other error is the end of its side.
fn end_of(error: ErrorKind) -> End {
    let is_network = matches!(
        error,
        ErrorKind::TimedOut
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
    );
    if is_network { End::Lost } else { End::Reset }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use switchboard_core::{DisplayName, Identity, Peer, PeerId, Place, RoomId, SpaceName};
    use switchboard_dialect::{Door, Handshake, Query, find};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::{Check, Permits, Posted, UpgradedStream};

    /// A node that does nothing.
    #[derive(Debug, Default)]
    struct IdleNode(Counters);

    impl Exchange for IdleNode {
        fn ask(&self, _peer: PeerId, _local: &Local, _ask: Ask) {}

        fn may_join(&self, _peer: &Peer, _room: &RoomId) -> Option<Check> {
            None
        }

        fn post(&self, _post: Post) -> Posted {
            Box::pin(std::future::pending())
        }

        fn post_later(&self, _post: Post) {}

        fn counters(&self) -> &Counters {
            &self.0
        }
    }

    /// A `mesh` connection, and its client.
    async fn connect() -> (TcpStream, Connection) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let client = TcpStream::connect(address).await.expect("a connection");
        let (stream, _) = listener.accept().await.expect("a connection");
        let handshake = Handshake {
            peer: PeerId::from_random([1; 16]),
            identity: Identity::Claimed,
            door: Door::MAIN,
            params: Query::default(),
            query: Query::default(),
            random: [2; 32],
            unix_ms: 0,
            limits: Arc::default(),
            settings: Arc::default(),
        };
        let opened = Conversation::open(find("mesh"), handshake, SpaceName::default());
        let context = Context {
            exchange: Arc::new(IdleNode::default()),
            limits: Arc::default(),
            heartbeat: Heartbeat::default(),
            queue_memory: Arc::default(),
            drain: CancellationToken::new(),
        };
        let socket = Socket::new(UpgradedStream::Tcp(stream), Bytes::new(), 0);
        let permit = Permits::new(0, 0, Vec::new()).admit(None);
        let permit = permit.expect("no limit");
        (client, Connection::new(socket, opened, context, permit).0)
    }

    #[tokio::test]
    async fn urgent_events_are_handled_while_the_most_frames_wait_for_the_socket() {
        let (_client, mut connection) = connect().await;
        let frame = "x".repeat(64 * 1024);
        let poll = |connection: &mut Connection| {
            connection.poll_wake(&mut TaskContext::from_waker(Waker::noop()), true)
        };
        while !connection.blocked {
            for _ in connection.pending.len()..=PENDING_FRAMES_MAX {
                connection.push(Message::Text(frame.as_str().into()));
            }
            assert!(poll(&mut connection).is_pending());
        }
        for _ in connection.pending.len()..=PENDING_FRAMES_MAX {
            connection.push(Message::Text(frame.as_str().into()));
        }
        assert!(connection.has_enough_pending());
        let waiting = connection.pending.len();
        let name = DisplayName::parse("ada", 0).expect("a name");
        let probe = Arc::new(Event::Probe(Place::Name(
            switchboard_core::NameId::in_space(SpaceName::default(), name),
        )));
        for _ in 0..3 {
            connection.local.push(probe.clone());
        }
        assert!(matches!(poll(&mut connection), Poll::Ready(Wake::Event)));
        assert!(connection.on_wake(Wake::Event).await.is_ok());
        assert!(poll(&mut connection).is_pending(), "nothing is left to do");
        assert_eq!(connection.pending.len(), waiting, "no pings are added");
    }

    #[test]
    fn a_reset_frees_addresses_and_an_unreachable_client_keeps_them() {
        for (kind, expected) in [
            (ErrorKind::ConnectionReset, Parting::Reset),
            (ErrorKind::BrokenPipe, Parting::Reset),
            (ErrorKind::UnexpectedEof, Parting::Reset),
            (ErrorKind::TimedOut, Parting::Lost),
            (ErrorKind::HostUnreachable, Parting::Lost),
        ] {
            assert_eq!(end_of(kind).parting(), expected);
        }
        assert_eq!(End::Close(Close::GONE).parting(), Parting::Lost);
    }
}

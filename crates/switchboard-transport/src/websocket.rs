//! The task of a WebSocket connection (RFC 6455). It passes the client's frames to its session and the session's
//! requests to the hubs, which answer with events. The events wait in the connection's outbox.
//!
//! A *decision* is the result of an access check or a webhook request. A session that waits for one is suspended: it
//! gets no frames until then.

use std::{
    collections::VecDeque,
    future::poll_fn,
    io::{self, ErrorKind},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use switchboard_core::{
    DisconnectReason, ErrorCode, Event, EvictionReason, HubRequest, Limits, RequestError,
};
use switchboard_dialects::{ClientFrame, CloseReason, ResumeError, SessionOutput, WebhookRequest};
use switchboard_session::{
    Awaited, ClientSession, Decision, Heartbeat, Overflow, PopMode, QueueMemory, SessionMachine,
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use checked_join::CheckedJoin;
use connection_end::ConnectionEnd;
use connection_task::TaskTimer;
use read_ahead::ReadAhead;
use spare_output::with_output;

pub(crate) use connection_task::ConnectionCell;
pub use connection_task::serve;
pub(crate) use spare_output::IdleStep;

use crate::{
    Counters, HubClient, JoinAuthorizer, JoinCheck, Live, Outbox, OutboxHandle, Permit,
    SessionAuthenticator, SessionRegistry, Socket, SocketError, Violation, WebhookClient,
    connection_log::{ConnectionLog, LoggedEnd},
    frame::{Decoded, WebSocketMessage},
    outbox::OutboxEnd,
};

/// The number of events handled before the next frame of the client is read.
const EVENTS_PER_WRITE: usize = 64;

/// The number of frames that may already wait for the socket when a step adds more. Above it, the client counts as too
/// slow; `outbox_bytes` bounds their bytes in the same way. Events wait in the outbox, so the frames that accumulate
/// here are answers to a client that sends requests and does not read.
const PENDING_FRAMES_MAX: usize = 1024;

/// The time limit of the closing handshake: the close frame, and the client's answer.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The services of a node that its connections use, and the configuration.
#[derive(Debug)]
pub struct ConnectionContext {
    /// The hubs to which requests are sent.
    pub hubs: Arc<dyn HubClient>,
    /// The access checks of joins.
    pub joins: Arc<dyn JoinAuthorizer>,
    /// The authentication of clients by their frames.
    pub authenticator: Arc<dyn SessionAuthenticator>,
    /// The client for webhooks.
    pub webhooks: Arc<dyn WebhookClient>,
    /// The metrics of the node.
    pub counters: Arc<Counters>,
    /// The limits of later connections.
    pub limits: Live<Limits>,
    /// The intervals by which a dead client is detected.
    pub heartbeat: Heartbeat,
    /// The memory for the queues of all clients of the server.
    pub queue_memory: Arc<QueueMemory>,
    /// The sessions of the node.
    pub sessions: Arc<SessionRegistry>,
    /// Cancelled when the server shuts down, by [`ConnectionContext::shut_down`].
    pub drain: CancellationToken,
}

impl ConnectionContext {
    /// Closes with 1012 all connections: those that are open, and those that begin later. A connection first handles
    /// the frames that its client has sent.
    pub fn shut_down(&self) {
        // A connection that begins meanwhile is added to the registry before it reads the token.
        self.drain.cancel();
        self.sessions.close_all();
    }
}

struct WebSocketConnection {
    socket: Socket,
    session: SessionMachine,
    outbox: OutboxHandle,
    context: Arc<ConnectionContext>,
    /// Frames that wait for the socket. Meanwhile events wait in the outbox.
    pending: VecDeque<WebSocketMessage>,
    pending_bytes: usize,
    /// The decision that the suspended session waits for.
    decision: Option<PendingDecision>,
    /// The frames that were received while the connection waited for a decision.
    read_ahead: Option<Box<ReadAhead>>,
    /// The rest of a step that another thread has run in place of the task.
    left_over: Option<LeftOver>,
    /// The bytes of an unfinished message, as counted in the gauge `unfinished_bytes`.
    unfinished_bytes: usize,
    /// Whether the socket accepts no data until the client reads.
    blocked: bool,
    log: ConnectionLog,
    permit: Permit,
    /// Whether the dialect of the session was copied to the outbox, from which the registry reads it.
    has_dialect: bool,
    /// Whether the memberships of the peer were released.
    has_left: bool,
    /// Whether events are handled before the next frame of the client. Events and client frames alternate, so that
    /// neither can starve the other.
    events_first: bool,
    /// Whether reading was paused after the last step.
    was_paused: bool,
    /// Whether a step is running. It stays true after a step has panicked; the connection is then not used any more.
    in_step: bool,
    /// The time at which the timer of the task fires.
    timer_at: Instant,
}

/// The part of a step that another thread leaves to the task of the connection.
enum LeftOver {
    /// An output of which the frames were sent.
    Output(Box<SessionOutput>),
    /// The connection has ended.
    End(Box<ConnectionEnd>),
}

/// A decision that a connection waits for. Dropping it cancels the check or the webhook request.
type PendingDecision = Pin<Box<dyn Future<Output = Decision> + Send>>;

/// The event that wakes the task of a connection.
enum WakeReason {
    /// A slow client has read some data, which is a sign of life.
    Written,
    /// The outbox has an event or has overflowed, or the session ends.
    Event,
    /// The client has sent a frame or has disconnected.
    Message(Result<Decoded, SocketError>),
    Timer,
    /// The decision that the connection waits for has been made.
    Decision(Decision),
    /// A write to the socket has failed.
    Broken(ErrorKind),
}

impl WebSocketConnection {
    /// A connection, and the first output of its session.
    fn new(
        socket: Socket,
        (session, mut first): (ClientSession, SessionOutput),
        context: Arc<ConnectionContext>,
        permit: Permit,
    ) -> (Self, SessionOutput) {
        let now = Instant::now();
        let (limits, heartbeat) = (context.limits.get(), context.heartbeat);
        let mut session = SessionMachine::new(session, &mut first, &limits, heartbeat, now);
        let outbox = Arc::new(Outbox::new(
            session.peer(),
            permit.client(),
            &limits,
            context.queue_memory.clone(),
            now,
        ));
        context.sessions.add(outbox.clone());
        if context.drain.is_cancelled() {
            outbox.close_for_restart();
        }
        if let Some(spent) = permit.take_spent(now) {
            session.continue_from(&spent, now);
        }
        let counters = &context.counters;
        Counters::add(&counters.connections, 1);
        Counters::add(&counters.connections_total, 1);
        let connection = Self {
            timer_at: session.poll_timeout(),
            socket,
            session,
            outbox,
            context,
            pending: VecDeque::new(),
            pending_bytes: 0,
            decision: None,
            read_ahead: None,
            left_over: None,
            unfinished_bytes: 0,
            blocked: false,
            log: ConnectionLog::default(),
            permit,
            has_dialect: false,
            has_left: false,
            events_first: true,
            was_paused: false,
            in_step: false,
        };
        (connection, first)
    }

    /// Runs steps until there is nothing to do, or the connection ends. The server continues to read from a client that
    /// does not read its frames, so that the client's signs of life are seen. Only events wait for the client.
    fn poll_steps(
        &mut self,
        context: &mut TaskContext<'_>,
        timer: &mut TaskTimer<'_>,
    ) -> Poll<ConnectionEnd> {
        if let Err(end) = self.finish_left_over() {
            return Poll::Ready(end);
        }
        loop {
            self.count_pause();
            let wake = match self.poll_wake(context, self.events_first) {
                Poll::Ready(wake) => wake,
                // A connection that always has something to do runs out of its cooperative budget, so that the timer
                // is polled even then.
                Poll::Pending => {
                    let polled = timer.poll(context, self.session.poll_timeout());
                    self.timer_at = timer.deadline();
                    ready!(polled)
                }
            };
            self.events_first = !matches!(wake, WakeReason::Event);
            if let Err(end) = self.on_wake(wake) {
                return Poll::Ready(end);
            }
        }
    }

    fn count_pause(&mut self) {
        let is_paused = self.session.is_paused();
        if is_paused && !self.was_paused {
            Counters::add(&self.context.counters.paused_total, 1);
        }
        self.was_paused = is_paused;
    }

    fn poll_wake(&mut self, context: &mut TaskContext<'_>, events_first: bool) -> Poll<WakeReason> {
        let (waited, was_blocked) = (self.pending.len(), self.blocked);
        let written = self.poll_write(context);
        self.blocked = written.is_pending();
        if self.blocked || was_blocked {
            self.outbox.set_socket_bytes(self.pending_bytes);
        }
        if let Poll::Ready(Err(error)) = written {
            return Poll::Ready(WakeReason::Broken(error.kind()));
        }
        if was_blocked && (written.is_ready() || self.pending.len() < waited) {
            return Poll::Ready(WakeReason::Written);
        }
        let may_read = !self.session.is_paused() && !self.session.is_suspended();
        if may_read && let Some(message) = ReadAhead::pop(&mut self.read_ahead) {
            return Poll::Ready(WakeReason::Message(message));
        }
        if self.session.is_suspended()
            && let Poll::Ready(wake) = self.poll_suspended(context)
        {
            return Poll::Ready(wake);
        }
        if events_first && self.outbox.is_filled(self.pop_mode()) {
            return Poll::Ready(WakeReason::Event);
        }
        if may_read && let Poll::Ready(message) = self.poll_receive(context) {
            return Poll::Ready(WakeReason::Message(message));
        }
        self.outbox
            .poll_filled(context, self.pop_mode())
            .map(|()| WakeReason::Event)
    }

    /// Reads ahead, and polls the decision. Reading comes first, so that a client that has left joins no room.
    fn poll_suspended(&mut self, context: &mut TaskContext<'_>) -> Poll<WakeReason> {
        if self.may_read_ahead()
            && let Poll::Ready(message) = self.poll_receive(context)
        {
            return Poll::Ready(WakeReason::Message(message));
        }
        match &mut self.decision {
            Some(decision) => decision.as_mut().poll(context).map(WakeReason::Decision),
            None => Poll::Pending,
        }
    }

    fn pop_mode(&self) -> PopMode {
        let may_pop = self.pending.is_empty() && self.socket.is_flushed();
        if may_pop && !self.session.defers_events() {
            PopMode::All
        } else {
            PopMode::Urgent
        }
    }

    /// Writes pending frames as far as the socket accepts them, and flushes the socket.
    fn poll_write(&mut self, context: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            ready!(self.socket.poll_ready(context))?;
            let Some(message) = self.pop_pending() else {
                break;
            };
            self.socket.start_send(message);
        }
        self.socket.poll_flush(context)
    }

    fn pop_pending(&mut self) -> Option<WebSocketMessage> {
        let message = self.pending.pop_front()?;
        self.pending_bytes -= message.payload_len();
        Some(message)
    }

    /// Reads from the socket, and updates the gauge of bytes kept for unfinished messages.
    fn poll_receive(
        &mut self,
        context: &mut TaskContext<'_>,
    ) -> Poll<Result<Decoded, SocketError>> {
        let received = self.socket.poll_receive(context);
        let buffered = self.socket.buffered();
        if buffered != self.unfinished_bytes {
            self.gauge_unfinished(buffered);
        }
        received
    }

    fn gauge_unfinished(&mut self, bytes: usize) {
        let gauge = &self.context.counters.unfinished_bytes;
        let signed = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
        gauge.add(signed(bytes) - signed(self.unfinished_bytes));
        self.unfinished_bytes = bytes;
    }

    fn on_wake(&mut self, wake: WakeReason) -> Result<(), ConnectionEnd> {
        let now = Instant::now();
        with_output(now, |output| self.run_step(wake, now, output))
    }

    /// Runs a step. `output` is empty.
    fn run_step(
        &mut self,
        wake: WakeReason,
        now: Instant,
        output: &mut SessionOutput,
    ) -> Result<(), ConnectionEnd> {
        // A frame that waits for a decision is measured when it is handled.
        let is_handled = matches!(wake, WakeReason::Message(_)) && !self.session.is_suspended();
        match wake {
            WakeReason::Written => self.session.on_sign_of_life(now, output),
            WakeReason::Event => return self.on_events(now, output),
            WakeReason::Message(message) if self.session.is_suspended() => {
                self.on_message_ahead(message, now, output)?;
            }
            WakeReason::Message(message) => self.on_message(message, now, output)?,
            WakeReason::Decision(decision) => return self.on_decision(&decision, now, output),
            WakeReason::Timer => {
                self.log
                    .log_rejections(self.session.peer(), self.permit.client());
                self.session.handle_timeout(now, output);
            }
            WakeReason::Broken(error) => return Err(ConnectionEnd::of_error(error)),
        }
        self.apply_output(output, now)?;
        if is_handled {
            let frame_seconds = &self.context.counters.frame_seconds;
            frame_seconds.observe(now.elapsed().as_secs_f64());
        }
        Ok(())
    }

    /// Handles events from the outbox; the frames of several events are sent with one write. `output` is empty before
    /// and after each event.
    fn on_events(&mut self, now: Instant, output: &mut SessionOutput) -> Result<(), ConnectionEnd> {
        let mut mode = self.pop_mode();
        self.observe_depth(self.outbox.len());
        for handled in 0..EVENTS_PER_WRITE {
            if self.session.defers_events() {
                mode = PopMode::Urgent;
            }
            // Urgent events do not wait for the socket. If they stayed in the outbox, they would wake this task
            // again at once.
            if mode == PopMode::All && self.has_enough_pending() {
                break;
            }
            let event = match self.outbox.pop(mode) {
                Ok(Some(event)) => event,
                Ok(None) => break,
                // The client's frames are read first.
                Err(OutboxEnd::Restart) if handled > 0 => break,
                Err(end) => return Err(self.announce_end(self.end_of(end), output, now)),
            };
            self.log.observe_event(&event, &self.context.counters);
            self.session.on_event(&event, now, output);
            self.apply_output(output, now)?;
        }
        Ok(())
    }

    /// Whether the frames that wait for the socket have reached a bound: their number, or their bytes together with
    /// those kept for an unfinished message of the client.
    fn has_enough_pending(&self) -> bool {
        let bytes_max = self.session.limits().outbox_bytes;
        let bytes = self.pending_bytes + self.unfinished_bytes;
        self.pending.len() > PENDING_FRAMES_MAX
            || bytes_max != 0 && self.pending_bytes != 0 && bytes > bytes_max
    }

    fn push(&mut self, message: WebSocketMessage) {
        if self.pending.is_empty() && self.socket.has_room() {
            return self.socket.start_send(message);
        }
        self.pending_bytes += message.payload_len();
        self.pending.push_back(message);
    }

    fn end_of(&self, end: OutboxEnd) -> ConnectionEnd {
        match end {
            OutboxEnd::Overflow(Overflow::Queue) => self.too_slow(),
            OutboxEnd::Overflow(Overflow::Memory) => {
                Counters::add(&self.context.counters.memory_max_total, 1);
                let (client, peer) = (self.permit.client(), self.outbox.id());
                let client = client.map(tracing::field::display);
                tracing::info!(client, %peer, "connection ended: limits.memory_max is reached");
                self.too_slow()
            }
            OutboxEnd::Ended(reason) => ConnectionEnd::EndedByHost(reason),
            OutboxEnd::Restart => ConnectionEnd::Close(CloseReason::RESTART),
        }
    }

    /// Informs the client in its dialect if the host program (the program that embeds the server) has ended the
    /// connection. Returns `end`.
    fn announce_end(
        &mut self,
        end: ConnectionEnd,
        output: &mut SessionOutput,
        now: Instant,
    ) -> ConnectionEnd {
        if let ConnectionEnd::EndedByHost(_) = end {
            let event = Event::Evicted(EvictionReason::Kicked);
            self.session.on_event(&event, now, output);
            // The event makes the session close the connection. That close is ignored: `end` has the host's reason.
            let _ = self.apply_output(output, now);
        }
        end
    }

    fn too_slow(&self) -> ConnectionEnd {
        Counters::add(&self.context.counters.slow_total, 1);
        ConnectionEnd::Close(CloseReason::SLOW)
    }

    fn on_message(
        &mut self,
        message: Result<Decoded, SocketError>,
        now: Instant,
        output: &mut SessionOutput,
    ) -> Result<(), ConnectionEnd> {
        match message {
            Ok(Decoded::Message(WebSocketMessage::Text(text))) => {
                self.on_frame(ClientFrame::Text(&text), now, output);
            }
            Ok(Decoded::Message(WebSocketMessage::Binary(bytes))) => {
                self.on_frame(ClientFrame::Binary(&bytes), now, output);
            }
            Ok(Decoded::Message(WebSocketMessage::Pong(_))) => self.session.on_pong(now, output),
            Ok(Decoded::Message(WebSocketMessage::Ping(_)) | Decoded::Fragment) => {
                self.session.on_control(now, output);
            }
            Ok(Decoded::Message(WebSocketMessage::Close(_))) => {
                return Err(ConnectionEnd::Graceful);
            }
            Err(SocketError::Violation(Violation::TooLarge)) => {
                let (reason, close) = (ErrorCode::TooLarge, CloseReason::TOO_BIG);
                self.session.on_violation(reason, close, now, output);
            }
            Err(error) => return Err(self.on_socket_error(error)),
        }
        Ok(())
    }

    fn on_frame(&mut self, frame: ClientFrame<'_>, now: Instant, output: &mut SessionOutput) {
        Counters::add(&self.context.counters.frames_in_total, 1);
        self.session.on_frame(frame, now, output);
        if !std::mem::replace(&mut self.has_dialect, true) {
            // The first frame may have shown the dialect.
            self.outbox.set_dialect(self.session.peer().dialect().name);
        }
    }

    /// Copies the dialect and the identity to the outbox after an authentication, which may precede the frame that shows
    /// the dialect.
    fn update_status(&mut self) {
        let peer = self.session.peer();
        self.outbox.set_dialect(peer.dialect().name);
        self.outbox.set_identity(peer.identity().clone());
        self.has_dialect = false;
    }

    fn on_socket_error(&self, error: SocketError) -> ConnectionEnd {
        if error.is_protocol_error() {
            let counters = &self.context.counters;
            Counters::add(&counters.protocol_errors_total, 1);
        }
        match error {
            SocketError::Violation(violation) => ConnectionEnd::Close(violation.close()),
            SocketError::NotCompleted => ConnectionEnd::Close(CloseReason::NOT_COMPLETED),
            SocketError::Closed => ConnectionEnd::Reset,
            SocketError::Failed(error) => ConnectionEnd::of_error(error),
        }
    }

    /// Executes the output of a step, and leaves it empty.
    fn apply_output(
        &mut self,
        output: &mut SessionOutput,
        now: Instant,
    ) -> Result<(), ConnectionEnd> {
        if output.resume.take().is_some() {
            // A session ends with its connection, so there is no earlier session to resume.
            self.session
                .refuse_resume(ResumeError::NotFound, now, output);
        }
        self.send_frames(output)?;
        self.session.queue_behind_decision(output);
        self.run_steps(output, now)
    }

    /// Queues the frames and the ping of `output` for the socket, and counts its errors.
    fn send_frames(&mut self, output: &mut SessionOutput) -> Result<(), ConnectionEnd> {
        let counters = &self.context.counters;
        if !output.error_codes.is_empty() {
            Counters::add(&counters.refused_total, output.error_codes.len() as u64);
            self.log.add_rejections(
                (self.session.peer(), self.permit.client()),
                &output.error_codes,
                counters,
            );
            output.error_codes.clear();
        }
        if !output.frames.is_empty() {
            Counters::add(&counters.frames_out_total, output.frames.len() as u64);
            if self.has_enough_pending() {
                return Err(self.too_slow());
            }
            for frame in output.frames.drain(..) {
                self.push(WebSocketMessage::Text(frame));
            }
        }
        // A client with a long queue gets no ping: reading the queue is a sign of life.
        if std::mem::take(&mut output.ping) && !self.has_enough_pending() {
            self.push(WebSocketMessage::Ping(Bytes::new()));
        }
        Ok(())
    }

    /// Sends the requests of `output`, makes its webhook request, and closes the connection, as far as `output` has
    /// these. At the first request that needs a decision it stops: the session keeps what follows.
    fn run_steps(&mut self, output: &mut SessionOutput, now: Instant) -> Result<(), ConnectionEnd> {
        if !output.requests.is_empty() {
            let checked = self.send_requests(output, now);
            self.charge_budgets(now);
            if let Some((request, check, error)) = checked {
                let check = async move { Decision::Access(check.await) };
                self.decision = Some(Box::pin(check));
                let awaited = Awaited::Access(request, error);
                self.session.suspend(awaited, output.take());
                return Ok(());
            }
        }
        if let Some(credential) = output.credential.take() {
            let (peer, client) = (self.session.peer(), self.permit.client());
            let authenticator = &self.context.authenticator;
            let authentication = authenticator.authenticate(peer, client, &credential);
            let authentication = async move { Decision::Authentication(authentication.await) };
            self.decision = Some(Box::pin(authentication));
            self.session.suspend(Awaited::Authentication, output.take());
            return Ok(());
        }
        if let Some(request) = output.webhook.take() {
            let response = self.context.webhooks.send_webhook(request);
            let response = async move { Decision::Webhook(response.await) };
            self.decision = Some(Box::pin(response));
            self.session.suspend(Awaited::Webhook, output.take());
            return Ok(());
        }
        output
            .close
            .map_or(Ok(()), |close| Err(ConnectionEnd::Close(close)))
    }

    /// Sends the requests of `output`, up to the first that needs an access check. Returns that one, its check, and
    /// the error if it is denied.
    fn send_requests(
        &mut self,
        output: &mut SessionOutput,
        now: Instant,
    ) -> Option<(HubRequest, JoinCheck, RequestError)> {
        let mut requests = output.requests.drain(..);
        while let Some(request) = requests.next() {
            if let Some((check, error)) = self.access_check(&request) {
                output.requests = requests.collect();
                return Some((request, check, error));
            }
            self.request(request, now);
        }
        None
    }

    /// Continues with the output that has waited for the decision.
    fn on_decision(
        &mut self,
        decision: &Decision,
        now: Instant,
        output: &mut SessionOutput,
    ) -> Result<(), ConnectionEnd> {
        self.decision = None;
        let Some(resumed) = self.session.on_decision(decision, now, output) else {
            return Ok(());
        };
        if let Decision::Authentication(_) = decision {
            self.update_status();
        }
        for request in resumed.authorized {
            self.request(request, now);
            self.charge_budgets(now);
        }
        for error in resumed.rejected {
            let _ = self.outbox.push(Arc::new(Event::RequestFailed(error)));
        }
        // The session's reaction to the decision comes before the output that has waited.
        self.apply_output(output, now)?;
        match self.session.append_to_decision(resumed.queued) {
            Some(mut queued) => self.run_steps(&mut queued, now),
            None => Ok(()),
        }
    }

    /// Charges the budgets of the connection with the cost of its requests.
    fn charge_budgets(&mut self, now: Instant) {
        if let Some(charges) = self.outbox.take_charges() {
            let peers = self.session.on_charges(&charges, now);
            self.outbox.expect_peers(peers);
        }
    }

    /// Handles a frame that is read while the connection waits for a decision. Frames for the session are queued;
    /// signs of life and the end of the connection are handled at once.
    fn on_message_ahead(
        &mut self,
        message: Result<Decoded, SocketError>,
        now: Instant,
        output: &mut SessionOutput,
    ) -> Result<(), ConnectionEnd> {
        let is_control = match &message {
            Ok(Decoded::Message(WebSocketMessage::Text(_) | WebSocketMessage::Binary(_)))
            | Err(SocketError::Violation(_) | SocketError::NotCompleted) => false,
            Ok(Decoded::Message(WebSocketMessage::Close(_)))
            | Err(SocketError::Closed | SocketError::Failed(_)) => true,
            // While a client is over its rate, its control frames are queued too, so that they are bounded.
            Ok(
                Decoded::Message(WebSocketMessage::Ping(_) | WebSocketMessage::Pong(_))
                | Decoded::Fragment,
            ) => !self.session.is_paused(),
        };
        if is_control {
            return self.on_message(message, now, output);
        }
        self.read_ahead.get_or_insert_default().0.push_back(message);
        self.session.on_sign_of_life(now, output);
        Ok(())
    }

    /// Whether one more frame may be read ahead.
    fn may_read_ahead(&self) -> bool {
        let read_ahead = self.read_ahead.as_ref();
        read_ahead.is_none_or(|read_ahead| read_ahead.has_room())
    }

    /// The access check that a request needs, and the error if it is denied.
    fn access_check(&self, request: &HubRequest) -> Option<(JoinCheck, RequestError)> {
        let join = CheckedJoin::of(request)?;
        let (joins, peer) = (&self.context.joins, self.session.peer());
        let check = joins.check_join(peer, &join.room, Some(join.address))?;
        Some((check, join.error))
    }

    fn request(&mut self, request: HubRequest, now: Instant) {
        if let HubRequest::Join(room, ..) = &request {
            self.log.record_join(self.session.peer(), room);
        }
        let (hubs, peer) = (&self.context.hubs, self.session.peer().id());
        hubs.request_at(peer, &self.outbox, request, now);
    }

    /// Releases the memberships and names of the peer, so that other members see it leave now.
    fn release_memberships(&mut self, reason: DisconnectReason) {
        if std::mem::replace(&mut self.has_left, true) {
            return;
        }
        self.decision = None;
        self.context.sessions.remove(self.outbox.id());
        for request in self.session.disconnect(reason) {
            let hubs = &self.context.hubs;
            hubs.request(self.session.peer().id(), &self.outbox, request);
        }
        let now = Instant::now();
        self.charge_budgets(now);
        if let Some(spent) = self.session.spent(now) {
            self.permit.keep_spent(spent, now);
        }
        if let Some(request) = end_session(&mut self.session) {
            self.context.webhooks.send_webhook_detached(request);
        }
    }

    /// Performs the closing handshake and closes the stream.
    async fn close(&mut self, end: ConnectionEnd) {
        let context = &self.context;
        self.log
            .log_end(self.session.peer(), &self.outbox, end.logged(), context);
        match end.close_frame() {
            Some(frame) => self.push(WebSocketMessage::Close(Some(frame))),
            None => {
                self.pending.clear();
                self.pending_bytes = 0;
            }
        }
        let closing = async {
            poll_fn(|context| self.poll_write(context)).await.ok()?;
            self.socket.finish().await;
            Some(())
        };
        drop(timeout(CLOSE_TIMEOUT, closing).await);
    }
}

/// Releases the memberships of the peer even if the task panics or the runtime shuts down.
impl Drop for WebSocketConnection {
    fn drop(&mut self) {
        let is_aborted = !self.has_left;
        self.release_memberships(DisconnectReason::Lost);
        if is_aborted {
            let context = &self.context;
            self.log.log_end(
                self.session.peer(),
                &self.outbox,
                LoggedEnd::ABORTED,
                context,
            );
        }
        self.gauge_unfinished(0);
        Counters::less(&self.context.counters.connections);
    }
}

/// Ends the session, and returns its last webhook request. The connection may be dropped because the session has
/// panicked. A second panic while the first one unwinds would abort the process, so it is caught.
fn end_session(session: &mut SessionMachine) -> Option<WebhookRequest> {
    let dialect = session.peer().dialect().name;
    let ended = catch_unwind(AssertUnwindSafe(|| session.on_end()));
    ended.unwrap_or_else(|_| {
        tracing::error!(dialect, "a dialect panicked at the end of a session");
        None
    })
}

mod checked_join;
mod connection_end;
mod connection_task;
mod idle_events;
mod read_ahead;
mod spare_output;
#[cfg(test)]
mod tests;

//! The driver: makes an [`Engine`] (the component that orders membership changes for all nodes) of any [`Store`]. It
//! runs the state machine of a node ([`Node`]) over a connection to the store.
//!
//! It has a thread of its own, for two reasons: the embedding program need not have an async runtime, and a busy
//! program does not delay the heartbeats.
//!
//! The thread works in turns. A turn processes all that is ready (tasks of the callers, pushes and responses of the
//! store) and sends one batch of requests. Under load, a turn begins at the earliest [`PACE`] after the end of
//! the one before: the cost of a turn, which is mostly system calls, is shared by the messages of that time.

use std::{
    fmt,
    future::Future,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytestring::ByteString;
use parking_lot::{Mutex, MutexGuard};
use rand::RngExt as _;
use switchboard_core::{
    Address, Change, DialectTraits, Limits, LogId, Member, MessageKind, NodeId, NodeMessage,
    PeerId, Position, RejectReason, RelayedMessage, SharedRoomPolicies, error_chain,
};
use tokio::sync::oneshot;

use crate::{
    CloseFuture, DialectRegistry, Engine, EngineHandler, Node, NodeEffect, NodeInput, NodeLine,
    NodeSettings, ProposeOutcome, Status,
    discard_log::DiscardLog,
    envelope,
    inbox::{EngineTask, Inbox, InboxSender, WakeMode, inbox},
    store::{Lease, Store, StoreConnection, StorePush},
    store_session::{ConnectionError, StoreEvent, StoreSession},
};

/// Maximum number of tasks that are processed before their effects are dispatched.
const TASKS_PER_BATCH: usize = 256;

/// The pause between two turns under load. A message waits for one on its way out and one on its way in, so it comes at
/// most twice this time later.
const PACE: Duration = Duration::from_micros(150);

/// The node is under load if a turn has handled at least this many tasks and effects. With fewer, a pause saves
/// nothing.
const TURN_UNDER_LOAD: usize = 2;

/// The first and the longest wait before an attempt to reconnect, without jitter.
const BACKOFF: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// The shortest interval between two updates of the status.
const STATUS_INTERVAL: Duration = Duration::from_millis(200);

/// How long [`Engine::close`] waits for the engine thread.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// The settings of a node that joins a cluster.
#[derive(Clone, Debug)]
pub struct DriverSettings {
    /// How long the node may be silent before the other nodes declare it dead.
    pub lease: Duration,
    /// The limits in force.
    pub limits: Arc<Limits>,
    /// The room policies in force, which may limit the members of a room further.
    pub policies: SharedRoomPolicies,
    /// The URL under which the other nodes reach this one, as `http://HOST:PORT`.
    pub url: String,
}

/// The engine of a cluster of nodes that share a store.
pub struct Driver<S> {
    store: Arc<S>,
    settings: DriverSettings,
    node: NodeId,
    inbox: InboxSender,
    tasks: Mutex<Option<Inbox>>,
    shared: Arc<DriverState>,
}

impl<S: fmt::Debug> fmt::Debug for Driver<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("node", &self.node)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

/// State shared between the engine thread and the callers.
struct DriverState {
    /// [`Status::unavailable_total`].
    unavailable: AtomicU64,
    /// The time since which the store has not answered; `None` while it answers.
    down_since: Mutex<Option<Instant>>,
    status: Mutex<Status>,
}

impl DriverState {
    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock()
    }

    fn down_since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.down_since.lock()
    }
}

impl<S: Store> Driver<S> {
    /// Creates a node. It connects when it is attached, and reconnects until it is closed.
    #[must_use]
    pub fn new(store: S, settings: DriverSettings) -> Self {
        let node = NodeId::from(rand::rng().random::<u64>());
        let (inbox, tasks) = inbox();
        let status = Status {
            node,
            epoch: 1,
            url: settings.url.clone(),
            down_for: Some(Duration::ZERO),
            last_error: "not connected yet".to_owned(),
            nodes: Vec::new(),
            queue: 0,
            lag: Duration::ZERO,
            unavailable_total: 0,
            discarded_total: 0,
            reconnects_total: 0,
            secret: None,
        };
        Self {
            store: Arc::new(store),
            settings,
            node,
            inbox,
            tasks: Mutex::new(Some(tasks)),
            shared: Arc::new(DriverState {
                unavailable: AtomicU64::new(0),
                down_since: Mutex::new(Some(Instant::now())),
                status: Mutex::new(status),
            }),
        }
    }

    fn count_unavailable(&self) {
        self.shared.unavailable.fetch_add(1, Ordering::Relaxed);
    }
}

impl<S: Store> Engine for Driver<S> {
    fn attach(&self, handler: Arc<dyn EngineHandler>) {
        let tasks = self.tasks.lock().take();
        let Some(tasks) = tasks else {
            return;
        };
        let engine_thread = EngineThread::new(self, handler, tasks);
        let thread = std::thread::Builder::new().name("engine".to_owned());
        if let Err(error) = thread.spawn(move || engine_thread.run()) {
            self.shared.status().last_error = format!("cannot start the engine thread: {error}");
        }
    }

    fn propose(&self, log: &LogId, _at: Position, change: &Change) -> ProposeOutcome {
        let task = EngineTask::Propose(log.clone(), change.clone());
        if self.inbox.submit(task).is_none() {
            return ProposeOutcome::Pending;
        }
        self.count_unavailable();
        ProposeOutcome::Rejected(match change {
            Change::Join(_) => RejectReason::Unavailable,
            // A leave is refused only after the engine thread has ended.
            Change::Leave(..) => RejectReason::NotAMember,
        })
    }

    fn send(&self, to: NodeId, message: NodeMessage) -> Option<NodeMessage> {
        let returned = self.inbox.submit(EngineTask::Send(to, message))?;
        self.count_unavailable();
        match returned {
            EngineTask::Send(_, message) => Some(message),
            EngineTask::Propose(..) | EngineTask::Close(_) => None,
        }
    }

    fn status(&self) -> Option<Status> {
        let status = self.shared.status().clone();
        Some(Status {
            down_for: self.shared.down_since().map(|since| since.elapsed()),
            unavailable_total: self.shared.unavailable.load(Ordering::Relaxed),
            ..status
        })
    }

    fn close(&self) -> CloseFuture<'_> {
        let (closed_sender, closed) = oneshot::channel();
        drop(self.inbox.submit(EngineTask::Close(closed_sender)));
        Box::pin(async move {
            // A timeout is harmless: the other nodes notice the closed node by its lease.
            drop(tokio::time::timeout(CLOSE_TIMEOUT, closed).await);
        })
    }
}

/// The event that ended a wait of the engine thread.
enum DriverWake<T> {
    /// The future that the thread has waited for is complete.
    Completed(T),
    Task,
    Timer,
}

/// The state of the engine thread.
struct EngineThread<S> {
    store: Arc<S>,
    settings: DriverSettings,
    node: NodeId,
    machine: Node,
    handler: Arc<dyn EngineHandler>,
    tasks: Inbox,
    batch: Vec<EngineTask>,
    /// Messages of other nodes that are not yet passed to the handler.
    received: Vec<(NodeId, NodeMessage)>,
    /// The number of tasks and effects since the last pause.
    handled: usize,
    shared: Arc<DriverState>,
    last_report: Option<Instant>,
    /// Attempts to connect since the last answer.
    attempt: u32,
    closing: Option<oneshot::Sender<()>>,
    is_finished: bool,
    /// Whether the store has lost the entry of this node, and so probably all data: the shared secret is fetched again.
    is_store_lost: bool,
    discard_log: DiscardLog,
}

impl<S: Store> EngineThread<S> {
    fn new(engine: &Driver<S>, handler: Arc<dyn EngineHandler>, tasks: Inbox) -> Self {
        let settings = engine.settings.clone();
        let machine = NodeSettings {
            node: engine.node,
            lease: settings.lease,
            limits: settings.limits.clone(),
            policies: settings.policies.clone(),
        };
        let dialects = HandlerDialects(handler.clone());
        Self {
            store: engine.store.clone(),
            settings,
            node: engine.node,
            machine: Node::new(machine, Arc::new(dialects), Instant::now()),
            handler,
            tasks,
            batch: Vec::with_capacity(TASKS_PER_BATCH),
            received: Vec::new(),
            handled: 0,
            shared: engine.shared.clone(),
            last_report: None,
            attempt: 0,
            closing: None,
            is_finished: false,
            is_store_lost: false,
            discard_log: DiscardLog::default(),
        }
    }

    fn run(mut self) {
        let _final_status = FinalStatusGuard(self.shared.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        match runtime {
            Ok(runtime) => {
                // As a task of its own, it yields to the tasks of the connection. An error is a panic, which ends
                // the thread.
                let task = runtime.spawn(async move { self.run_until_closed().await });
                drop(runtime.block_on(task));
            }
            Err(error) => {
                self.shared.status().last_error =
                    format!("cannot start the engine thread: {error}");
            }
        }
    }

    async fn run_until_closed(&mut self) {
        // The first heartbeat tells the other nodes the format of this node's messages.
        self.report();
        while !self.is_finished {
            let (store, node) = (self.store.clone(), self.node);
            let connecting = async move {
                let (connection, pushes) = store.connect(node).await?;
                let secret = connection.secret().await?;
                Ok::<_, ConnectionError<S>>((StoreSession::new(connection, pushes), secret))
            };
            let reason = match self.handle_until(connecting).await {
                None => return,
                Some(Ok((session, secret))) => {
                    tracing::info!(node = %self.node, address = %self.store, "connected to the engine");
                    self.shared.status().secret = Some(secret);
                    self.serve(session).await
                }
                Some(Err(error)) => error_chain(&error),
            };
            self.handle_disconnect(&reason);
            let pause = backoff(self.attempt);
            self.attempt = self.attempt.saturating_add(1);
            if self.handle_until(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    fn handle_disconnect(&mut self, reason: &str) {
        self.shared.down_since().get_or_insert_with(Instant::now);
        self.machine.handle(NodeInput::Disconnected, Instant::now());
        self.dispatch_effects();
        if self.attempt == 0 && !self.is_finished {
            tracing::warn!(error = reason, "engine connection lost or failed");
        }
        let mut status = self.shared.status();
        status.last_error = reason.to_owned();
        status.reconnects_total += u64::from(self.attempt == 0);
        drop(status);
        self.report();
    }

    /// Processes tasks and timers while it waits for `future`. `None` if the node has closed.
    async fn handle_until<F: Future>(&mut self, future: F) -> Option<F::Output> {
        let mut future = std::pin::pin!(future);
        loop {
            match self.wait_for(future.as_mut(), WakeMode::Any).await {
                DriverWake::Completed(output) => return Some(output),
                DriverWake::Task | DriverWake::Timer => {
                    self.machine.handle_timeout(Instant::now());
                    self.dispatch_effects();
                    // An inbox that is never empty would keep this thread from its sockets and timers, and so from the
                    // new connection.
                    tokio::task::yield_now().await;
                }
            }
            if self.closing.is_some() {
                self.finish();
                return None;
            }
        }
    }

    /// Waits for a task, the timer of the state machine, or `other`. Passes tasks and timers to the
    /// state machine.
    async fn wait_for<F: Future>(&mut self, other: F, mode: WakeMode) -> DriverWake<F::Output> {
        let timer = self
            .machine
            .poll_timeout()
            .map(tokio::time::Instant::from_std);
        let is_set = timer.is_some();
        let timer = tokio::time::sleep_until(timer.unwrap_or_else(tokio::time::Instant::now));
        tokio::select! {
            output = other => DriverWake::Completed(output),
            () = self.tasks.wait(mode) => {
                self.take_tasks(mode);
                DriverWake::Task
            }
            () = timer, if is_set => {
                self.machine.handle_timeout(Instant::now());
                DriverWake::Timer
            }
        }
    }

    fn take_tasks(&mut self, mode: WakeMode) {
        // The engine may have been dropped without a close. The node closes then.
        let is_open = self
            .tasks
            .try_receive(mode, &mut self.batch, TASKS_PER_BATCH);
        self.is_finished |= !is_open;
        self.handled += self.batch.len();
        let now = Instant::now();
        for task in self.batch.drain(..) {
            let input = match task {
                EngineTask::Propose(log, change) => NodeInput::Propose(log, change),
                EngineTask::Send(to, message) => NodeInput::Send(to, message),
                EngineTask::Close(closed_sender) => {
                    self.closing = Some(closed_sender);
                    NodeInput::Close
                }
            };
            self.machine.handle(input, now);
        }
        if self.is_finished && self.closing.is_none() {
            self.machine.handle(NodeInput::Close, now);
            self.closing = Some(oneshot::channel().0);
        }
    }

    /// Runs the node over a connection until the connection breaks or the node has closed. Returns the reason.
    async fn serve(&mut self, mut session: StoreSession<S>) -> String {
        self.machine.handle(NodeInput::Connected, Instant::now());
        loop {
            if let ControlFlow::Break(reason) = self.take_turn(&mut session).await {
                return reason;
            }
            if self.closing.is_some() && session.is_idle() {
                self.finish();
                return "closed".to_owned();
            }
            let is_under_load = std::mem::take(&mut self.handled) >= TURN_UNDER_LOAD;
            let event = if is_under_load {
                session.pause(PACE).await
            } else {
                let mode = wake_mode(&session);
                match self.wait_for(session.next_event(), mode).await {
                    DriverWake::Completed(event) => Some(event),
                    DriverWake::Task | DriverWake::Timer => None,
                }
            };
            if let ControlFlow::Break(reason) = self.handle_event(event) {
                return reason;
            }
        }
    }

    /// Processes all that is ready, and sends the next batch if none is in flight. `Break` has the reason for
    /// which the connection has ended.
    async fn take_turn(&mut self, session: &mut StoreSession<S>) -> ControlFlow<String> {
        // There may be responses, and pushes.
        for _ in 0..2 {
            let event = session.try_next_event().await;
            self.handle_event(event)?;
        }
        self.take_tasks(wake_mode(session));
        self.machine.handle_timeout(Instant::now());
        self.dispatch_effects();
        if std::mem::take(&mut self.is_store_lost) {
            // The store has lost the secret too. The first node that asks creates a new one.
            let secret = session.connection().secret().await;
            match secret {
                Ok(secret) => self.shared.status().secret = Some(secret),
                Err(error) => return ControlFlow::Break(error_chain(&error)),
            }
        }
        if session.is_idle() {
            let batch = self.machine.next_batch();
            if !batch.is_empty() {
                session.begin(batch);
            }
        }
        ControlFlow::Continue(())
    }

    fn handle_event(&mut self, event: Option<StoreEvent>) -> ControlFlow<String> {
        match event {
            None => {}
            Some(StoreEvent::Ended(reason)) => return ControlFlow::Break(reason),
            Some(StoreEvent::Responses(responses, lag)) => {
                self.shared.status().lag = lag;
                *self.shared.down_since() = None;
                self.attempt = 0;
                self.machine
                    .handle(NodeInput::Responses(responses), Instant::now());
            }
            Some(StoreEvent::Pushes(pushes)) => {
                let now = Instant::now();
                for push in pushes {
                    self.handle_push(push, now)?;
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn handle_push(&mut self, push: StorePush, now: Instant) -> ControlFlow<String> {
        let input = match push {
            StorePush::LogEvent(log, event) => NodeInput::LogEvent(log, event),
            StorePush::Envelope(envelope) => NodeInput::Envelope(envelope),
            StorePush::Lost(reason) => return ControlFlow::Break(reason),
        };
        self.machine.handle(input, now);
        ControlFlow::Continue(())
    }

    fn finish(&mut self) {
        self.dispatch_effects();
        self.is_finished = true;
        if let Some(closed_sender) = self.closing.take() {
            // The receiver may be gone.
            let _ = closed_sender.send(());
        }
    }

    /// Dispatches the effects of the state machine to the handler.
    fn dispatch_effects(&mut self) {
        while let Some(effect) = self.machine.poll_effect() {
            self.handled += 1;
            if !matches!(effect, NodeEffect::NodeMessage(..)) {
                self.pass_received();
            }
            match effect {
                NodeEffect::Committed(log, entries) => self.handler.on_committed(&log, entries),
                NodeEffect::Rejected(log, peer, reason) => {
                    self.count_if_unavailable(reason == RejectReason::Unavailable);
                    self.handler.on_rejected(&log, peer, reason);
                }
                NodeEffect::NodeMessage(from, message) => self.received.push((from, message)),
                NodeEffect::Undeliverable(message) => {
                    self.count_if_unavailable(true);
                    self.handler.on_undeliverable(message);
                }
                NodeEffect::Discarded { from, version } => self.note_discarded(from, version),
                NodeEffect::OtherFormat(other) => warn_of_other_format(&other),
                NodeEffect::StoreLost => self.is_store_lost = true,
            }
        }
        self.pass_received();
        if self
            .last_report
            .is_none_or(|at| at.elapsed() >= STATUS_INTERVAL)
        {
            self.report();
        }
    }

    /// Passes the messages of other nodes that have arrived since the last effect of another kind.
    fn pass_received(&mut self) {
        if !self.received.is_empty() {
            self.handler
                .on_node_messages(std::mem::take(&mut self.received));
        }
    }

    fn note_discarded(&mut self, from: Option<NodeId>, version: u8) {
        self.shared.status().discarded_total += 1;
        if let Some(count) = self.discard_log.note(Instant::now()) {
            let from = from.map_or_else(|| "unknown".to_owned(), |from| from.to_string());
            let own_version = envelope::VERSION;
            tracing::warn!(
                from,
                version,
                own_version,
                count,
                "messages of another node discarded"
            );
        }
    }

    fn count_if_unavailable(&self, is_unavailable: bool) {
        let amount = u64::from(is_unavailable);
        self.shared.unavailable.fetch_add(amount, Ordering::Relaxed);
    }

    /// Updates the status for operators and the status report for the other nodes.
    fn report(&mut self) {
        let now = Instant::now();
        self.last_report = Some(now);
        let lease = self.machine.lease();
        let (rooms, members) = self.machine.rooms();
        let mut status = self.shared.status();
        let own_entry = NodeLine {
            rooms,
            members,
            queue: self.machine.queue_len(),
            lag_ms: u64::try_from(status.lag.as_millis()).unwrap_or(u64::MAX),
            ..NodeLine::new(lease.node, lease.epoch, &self.settings.url)
        };
        self.machine.set_status(own_entry.to_report());
        status.epoch = lease.epoch;
        status.queue = own_entry.queue;
        status.nodes = (self.machine.nodes())
            .map(|(node, since)| {
                let Lease { node: id, epoch } = node.lease;
                NodeLine::from_report(id, epoch, !node.is_fenced, &node.status)
                    .with_age(now.saturating_duration_since(since))
            })
            .collect();
    }
}

/// Warns of a node that cannot read the messages of this one.
fn warn_of_other_format(other: &NodeLine) {
    tracing::warn!(
        node = %other.node,
        release = other.version,
        version = other.message_format,
        own_release = env!("CARGO_PKG_VERSION"),
        own_version = envelope::VERSION,
        "messages to another node are refused: its release has another format"
    );
}

/// Sets the final status when the engine thread ends for any reason, including a panic.
struct FinalStatusGuard(Arc<DriverState>);

impl Drop for FinalStatusGuard {
    fn drop(&mut self) {
        self.0.down_since().get_or_insert_with(Instant::now);
        "the engine thread has ended".clone_into(&mut self.0.status().last_error);
    }
}

/// The tasks for which the engine thread wakes.
fn wake_mode<S: Store>(session: &StoreSession<S>) -> WakeMode {
    match session.is_idle() {
        true => WakeMode::Any,
        false => WakeMode::Gather,
    }
}

/// The wait before the next attempt to connect: exponential backoff, with a random jitter down to half of it.
fn backoff(attempt: u32) -> Duration {
    let longest = BACKOFF
        .saturating_mul(1 << attempt.min(16))
        .min(BACKOFF_MAX);
    longest.mul_f64(rand::rng().random_range(0.5..=1.0))
}

/// Lets the state machine use the dialects of a handler.
struct HandlerDialects(Arc<dyn EngineHandler>);

impl DialectRegistry for HandlerDialects {
    fn dialect(&self, name: &str) -> &'static DialectTraits {
        self.0.dialect(name)
    }

    fn encode_member(&self, member: &Member, join: u64) -> Vec<u8> {
        self.0.encode_member(member, join)
    }

    fn decode_member(&self, peer: PeerId, address: Address, metadata: &[u8]) -> Member {
        self.0.decode_member(peer, address, metadata)
    }

    fn message(
        &self,
        origin: &str,
        kind: MessageKind,
        frame: ByteString,
    ) -> Option<RelayedMessage> {
        self.0.message(origin, kind, frame)
    }
}

#[cfg(test)]
mod tests;

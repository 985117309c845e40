//! The driver: makes an [`Engine`] (the component that orders membership changes for all nodes) of any [`Store`]. It
//! runs the state machine of a node ([`Node`]) over a connection to the store.
//!
//! It has a thread of its own, for two reasons: the embedding program need not have an async runtime, and a busy
//! program does not delay the heartbeats.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytestring::ByteString;
use parking_lot::{Mutex, MutexGuard};
use rand::RngExt as _;
use switchboard_core::{
    Address, Change, DialectTraits, Limits, LogId, Member, MessageKind, NodeId, NodeMessage,
    PeerId, Position, RejectReason, RelayedMessage, error_chain,
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    CloseFuture, DialectRegistry, Engine, EngineHandler, Node, NodeEffect, NodeInput, NodeLine,
    NodeSettings, ProposeOutcome, Status,
    discard_log::DiscardLog,
    envelope::{self, approximate_bytes},
    store::{Lease, Store, StoreConnection, StorePush, StoreResponse},
};

/// Maximum number of tasks queued for the engine thread; leaves are queued even above it.
const INBOX_MAX: usize = 64 * 1024;
/// Maximum number of bytes (approximate) of the messages among these tasks.
const INBOX_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Maximum number of tasks or pushes that are processed before their effects are dispatched.
const TASKS_PER_BATCH: usize = 256;

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
    /// The URL under which the other nodes reach this one, as `http://HOST:PORT`.
    pub url: String,
}

/// A task for the engine thread.
enum EngineTask {
    Propose(LogId, Change),
    Send(NodeId, NodeMessage),
    Close(oneshot::Sender<()>),
}

impl EngineTask {
    fn bytes(&self) -> usize {
        match self {
            Self::Send(_, message) => approximate_bytes(message),
            Self::Propose(..) | Self::Close(_) => 0,
        }
    }
}

/// The engine of a cluster of nodes that share a store.
pub struct Driver<S> {
    store: Arc<S>,
    settings: DriverSettings,
    node: NodeId,
    inbox: mpsc::UnboundedSender<EngineTask>,
    tasks: Mutex<Option<mpsc::UnboundedReceiver<EngineTask>>>,
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
    /// The number of tasks in the inbox.
    waiting: AtomicUsize,
    /// The approximate bytes of the messages in the inbox.
    bytes: AtomicUsize,
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
    #[expect(
        clippy::disallowed_methods,
        reason = "leaves are never refused and bounded by the number of members; all other tasks are bounded by INBOX_MAX"
    )]
    pub fn new(store: S, settings: DriverSettings) -> Self {
        let node = NodeId::from(rand::rng().random::<u64>());
        let (inbox, tasks) = mpsc::unbounded_channel();
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
                waiting: AtomicUsize::new(0),
                bytes: AtomicUsize::new(0),
                unavailable: AtomicU64::new(0),
                down_since: Mutex::new(Some(Instant::now())),
                status: Mutex::new(status),
            }),
        }
    }

    fn is_full(&self) -> bool {
        self.shared.waiting.load(Ordering::Relaxed) >= INBOX_MAX
            || self.shared.bytes.load(Ordering::Relaxed) >= INBOX_BYTES_MAX
    }

    /// Queues a task for the engine thread, or returns it if the thread has ended.
    fn submit(&self, task: EngineTask) -> Option<EngineTask> {
        self.shared.waiting.fetch_add(1, Ordering::Relaxed);
        self.shared.bytes.fetch_add(task.bytes(), Ordering::Relaxed);
        let returned = self.inbox.send(task);
        returned.err().map(|returned| returned.0)
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
        let is_join = matches!(change, Change::Join(_));
        if !(is_join && self.is_full()) {
            let task = EngineTask::Propose(log.clone(), change.clone());
            if self.submit(task).is_none() {
                return ProposeOutcome::Pending;
            }
        }
        self.count_unavailable();
        ProposeOutcome::Rejected(match is_join {
            true => RejectReason::Unavailable,
            // A leave is refused only after the engine thread has ended.
            false => RejectReason::NotAMember,
        })
    }

    fn send(&self, to: NodeId, message: NodeMessage) -> Option<NodeMessage> {
        let unsent = match self.is_full() {
            true => Some(message),
            false => match self.submit(EngineTask::Send(to, message)) {
                Some(EngineTask::Send(_, message)) => Some(message),
                Some(EngineTask::Propose(..) | EngineTask::Close(_)) | None => None,
            },
        };
        if unsent.is_some() {
            self.count_unavailable();
        }
        unsent
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
        drop(self.submit(EngineTask::Close(closed_sender)));
        Box::pin(async move {
            // A timeout is harmless: the other nodes notice the closed node by its lease.
            drop(tokio::time::timeout(CLOSE_TIMEOUT, closed).await);
        })
    }
}

type ConnectionError<S> = <<S as Store>::Connection as StoreConnection>::Error;

type BatchResult<S> = Result<Vec<StoreResponse>, ConnectionError<S>>;

type InFlightBatch<S> = Pin<Box<dyn Future<Output = BatchResult<S>> + Send>>;

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
    tasks: mpsc::UnboundedReceiver<EngineTask>,
    batch: Vec<EngineTask>,
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
    fn new(
        engine: &Driver<S>,
        handler: Arc<dyn EngineHandler>,
        tasks: mpsc::UnboundedReceiver<EngineTask>,
    ) -> Self {
        let settings = engine.settings.clone();
        let machine = NodeSettings {
            node: engine.node,
            lease: settings.lease,
            limits: settings.limits.clone(),
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
            Ok(runtime) => runtime.block_on(self.run_until_closed()),
            Err(error) => {
                self.shared.status().last_error =
                    format!("cannot start the engine thread: {error}");
            }
        }
    }

    async fn run_until_closed(&mut self) {
        while !self.is_finished {
            let (store, node) = (self.store.clone(), self.node);
            let connecting = async move {
                let (connection, pushes) = store.connect(node).await?;
                let secret = connection.secret().await?;
                Ok::<_, ConnectionError<S>>((connection, pushes, secret))
            };
            let reason = match self.handle_until(connecting).await {
                None => return,
                Some(Ok((connection, pushes, secret))) => {
                    tracing::info!(node = %self.node, address = %self.store, "connected to the engine");
                    self.shared.status().secret = Some(secret);
                    self.serve(connection, pushes).await
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
            match self.wait_for(future.as_mut()).await {
                DriverWake::Completed(output) => return Some(output),
                DriverWake::Task | DriverWake::Timer => self.dispatch_effects(),
            }
            if self.closing.is_some() {
                self.finish();
                return None;
            }
        }
    }

    /// Waits for a task, the timer of the state machine, or `other`. Passes tasks and timers to the
    /// state machine.
    async fn wait_for<F: Future>(&mut self, other: F) -> DriverWake<F::Output> {
        let timer = self
            .machine
            .poll_timeout()
            .map(tokio::time::Instant::from_std);
        let is_set = timer.is_some();
        let timer = tokio::time::sleep_until(timer.unwrap_or_else(tokio::time::Instant::now));
        tokio::select! {
            output = other => DriverWake::Completed(output),
            count = self.tasks.recv_many(&mut self.batch, TASKS_PER_BATCH) => {
                // 0 means that all senders are gone: the engine was dropped without a close, so the node closes.
                self.is_finished |= count == 0;
                self.take_tasks();
                DriverWake::Task
            }
            () = timer, if is_set => {
                self.machine.handle_timeout(Instant::now());
                DriverWake::Timer
            }
        }
    }

    fn take_tasks(&mut self) {
        self.shared
            .waiting
            .fetch_sub(self.batch.len(), Ordering::Relaxed);
        let bytes = self.batch.iter().map(EngineTask::bytes).sum();
        self.shared.bytes.fetch_sub(bytes, Ordering::Relaxed);
        for task in self.batch.drain(..) {
            match task {
                EngineTask::Propose(log, change) => {
                    self.machine
                        .handle(NodeInput::Propose(log, change), Instant::now());
                }
                EngineTask::Send(to, message) => self
                    .machine
                    .handle(NodeInput::Send(to, message), Instant::now()),
                EngineTask::Close(closed_sender) => {
                    self.machine.handle(NodeInput::Close, Instant::now());
                    self.closing = Some(closed_sender);
                }
            }
        }
        if self.is_finished && self.closing.is_none() {
            self.machine.handle(NodeInput::Close, Instant::now());
            self.closing = Some(oneshot::channel().0);
        }
    }

    /// Runs the node over a connection until the connection breaks or the node has closed. Returns the reason.
    async fn serve(
        &mut self,
        connection: S::Connection,
        mut pushes: mpsc::Receiver<StorePush>,
    ) -> String {
        let connection = Arc::new(connection);
        let mut in_flight: Option<(Instant, InFlightBatch<S>)> = None;
        let mut received = Vec::with_capacity(TASKS_PER_BATCH);
        self.machine.handle(NodeInput::Connected, Instant::now());
        loop {
            self.dispatch_effects();
            if std::mem::take(&mut self.is_store_lost) {
                // The store has lost the secret too. The first node that asks creates a new one.
                match connection.secret().await {
                    Ok(secret) => self.shared.status().secret = Some(secret),
                    Err(error) => return error_chain(&error),
                }
            }
            if in_flight.is_none() {
                let batch = self.machine.next_batch();
                if !batch.is_empty() {
                    let connection = connection.clone();
                    let execution = async move { connection.execute(&batch).await };
                    in_flight = Some((Instant::now(), Box::pin(execution)));
                } else if self.closing.is_some() {
                    self.finish();
                    return "closed".to_owned();
                }
            }
            // `Ok` holds the result of the batch, `Err` the number of received pushes: 0 if the connection has ended.
            let next = async {
                tokio::select! {
                    responses = await_in_flight::<S>(&mut in_flight) => Ok(responses),
                    count = pushes.recv_many(&mut received, TASKS_PER_BATCH) => Err(count),
                }
            };
            match self.wait_for(next).await {
                DriverWake::Completed(Ok(Ok(responses))) => {
                    let started = in_flight
                        .take()
                        .map_or_else(Instant::now, |(started, _)| started);
                    self.shared.status().lag = started.elapsed();
                    *self.shared.down_since() = None;
                    self.attempt = 0;
                    self.machine
                        .handle(NodeInput::Responses(responses), Instant::now());
                }
                DriverWake::Completed(Ok(Err(error))) => return error_chain(&error),
                DriverWake::Completed(Err(0)) => {
                    return "the connection to the store was closed".to_owned();
                }
                DriverWake::Completed(Err(_)) => {
                    for push in received.drain(..) {
                        match push {
                            StorePush::LogEvent(log, event) => {
                                self.machine
                                    .handle(NodeInput::LogEvent(log, event), Instant::now());
                            }
                            StorePush::Envelope(envelope) => self
                                .machine
                                .handle(NodeInput::Envelope(envelope), Instant::now()),
                            StorePush::Lost(reason) => return reason,
                        }
                    }
                }
                DriverWake::Task | DriverWake::Timer => {}
            }
        }
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
            match effect {
                NodeEffect::Committed(log, entries) => self.handler.on_committed(&log, entries),
                NodeEffect::Rejected(log, peer, reason) => {
                    self.count_if_unavailable(reason == RejectReason::Unavailable);
                    self.handler.on_rejected(&log, peer, reason);
                }
                NodeEffect::NodeMessage(from, message) => {
                    self.handler.on_node_message(from, message)
                }
                NodeEffect::Undeliverable(message) => {
                    self.count_if_unavailable(true);
                    self.handler.on_undeliverable(message);
                }
                NodeEffect::Discarded { from, version } => self.note_discarded(from, version),
                NodeEffect::StoreLost => self.is_store_lost = true,
            }
        }
        if self
            .last_report
            .is_none_or(|at| at.elapsed() >= STATUS_INTERVAL)
        {
            self.report();
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

/// Sets the final status when the engine thread ends for any reason, including a panic.
struct FinalStatusGuard(Arc<DriverState>);

impl Drop for FinalStatusGuard {
    fn drop(&mut self) {
        self.0.down_since().get_or_insert_with(Instant::now);
        "the engine thread has ended".clone_into(&mut self.0.status().last_error);
    }
}

/// Awaits the responses to the batch in flight; pending forever if no batch is in flight.
async fn await_in_flight<S: Store>(
    in_flight: &mut Option<(Instant, InFlightBatch<S>)>,
) -> BatchResult<S> {
    match in_flight {
        Some((_, in_flight)) => in_flight.await,
        None => std::future::pending().await,
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

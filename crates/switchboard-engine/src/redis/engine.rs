//! The engine: the machine of a node, driven over a connection to Redis.
//!
//! It has a thread of its own, so that it needs no runtime of the host program's and a busy one does
//! not make it late with its beats.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytestring::ByteString;
use rand::RngExt as _;
use switchboard_core::{
    Change, DialectTraits, Limits, LogId, MessageKind, NodeId, NodeMessage, Position, RejectReason,
    RelayedMessage,
};
use tokio::sync::{mpsc, oneshot};

use super::{RedisAddress, StoreConnection, StoreError, StorePush};
use crate::{
    CloseFuture, DialectRegistry, Engine, EngineHandler, NodeLine, ProposeOutcome, Status,
    cluster::{
        Node, NodeEffect, NodeInput, NodeSettings, approximate_bytes,
        store::{Lease, StoreResponse},
    },
};

/// Joins and letters that may wait for the engine's thread, and bytes of the letters, about.
const INBOX_MAX: usize = 64 * 1024;
const INBOX_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Tasks and pushes that are taken at once before what follows from them is done.
const TASKS_PER_BATCH: usize = 256;

/// How long to wait before the first new attempt to connect, and at most.
const BACKOFF: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// How often the figures for operators are renewed, at most.
const STATUS_INTERVAL: Duration = Duration::from_millis(200);

/// How long a good-bye may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// What a node must know to join a cluster.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// Where Redis is.
    pub address: RedisAddress,
    /// What every key and channel begins with: nodes of one prefix are one cluster.
    pub prefix: String,
    /// How long a node may be silent before the others take it for dead.
    pub lease: Duration,
    /// The bounds in force.
    pub limits: Arc<Limits>,
    /// Where the other nodes reach this one, as `http://HOST:PORT`.
    pub url: String,
}

enum EngineTask {
    Propose(LogId, Change),
    Send(NodeId, NodeMessage),
    Close(oneshot::Sender<()>),
}

impl EngineTask {
    fn bytes(&self) -> usize {
        match self {
            Self::Send(_, letter) => approximate_bytes(letter),
            Self::Propose(..) | Self::Close(_) => 0,
        }
    }
}

/// Many nodes as one over Redis 7 or later, or Valkey; a single server or a cluster of them.
pub struct Redis {
    settings: RedisSettings,
    node: NodeId,
    inbox: mpsc::UnboundedSender<EngineTask>,
    tasks: Mutex<Option<mpsc::UnboundedReceiver<EngineTask>>>,
    shared: Arc<SharedState>,
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("node", &self.node)
            .field("address", &self.settings.address)
            .finish_non_exhaustive()
    }
}

/// What the engine's thread and the others share.
struct SharedState {
    waiting: AtomicUsize,
    bytes: AtomicUsize,
    unavailable: AtomicU64,
    /// Since when nothing that was asked has been answered.
    down_since: Mutex<Option<Instant>>,
    status: Mutex<Status>,
}

impl SharedState {
    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn down_since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.down_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Redis {
    /// A node that connects when it is attached, and goes on trying for as long as it lives.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "a leave is never refused: there are as many as there are seats; all else is counted and bounded by INBOX_MAX"
    )]
    pub fn new(settings: RedisSettings) -> Self {
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
            reconnects_total: 0,
            secret: None,
        };
        Self {
            settings,
            node,
            inbox,
            tasks: Mutex::new(Some(tasks)),
            shared: Arc::new(SharedState {
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

    /// Hands a task to the thread, or gives it back if there is none any more.
    fn submit(&self, task: EngineTask) -> Option<EngineTask> {
        self.shared.waiting.fetch_add(1, Ordering::Relaxed);
        self.shared.bytes.fetch_add(task.bytes(), Ordering::Relaxed);
        let refused = self.inbox.send(task);
        refused.err().map(|refused| refused.0)
    }

    fn count_unavailable(&self) {
        self.shared.unavailable.fetch_add(1, Ordering::Relaxed);
    }
}

impl Engine for Redis {
    fn attach(&self, sink: Arc<dyn EngineHandler>) {
        let tasks = self
            .tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(tasks) = tasks else {
            return;
        };
        let driver = EngineThread::new(self, sink, tasks);
        let thread = std::thread::Builder::new().name("switchboard-engine".to_owned());
        if let Err(error) = thread.spawn(move || driver.run()) {
            self.shared.status().last_error = format!("the engine's thread cannot start: {error}");
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
            false => RejectReason::NotAMember,
        })
    }

    fn send(&self, to: NodeId, letter: NodeMessage) -> Option<NodeMessage> {
        let unsent = match self.is_full() {
            true => Some(letter),
            false => match self.submit(EngineTask::Send(to, letter)) {
                Some(EngineTask::Send(_, letter)) => Some(letter),
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
        let (done, closed) = oneshot::channel();
        drop(self.submit(EngineTask::Close(done)));
        Box::pin(async move {
            // Late or gone makes no difference: the others will notice by the lease.
            drop(tokio::time::timeout(CLOSE_TIMEOUT, closed).await);
        })
    }
}

type InFlightBatch = Pin<Box<dyn Future<Output = Result<Vec<StoreResponse>, StoreError>> + Send>>;

/// What happened while waiting.
enum WakeReason<T> {
    Completed(T),
    Task,
    Timer,
}

/// The engine's thread.
struct EngineThread {
    settings: RedisSettings,
    node: NodeId,
    machine: Node,
    handler: Arc<dyn EngineHandler>,
    tasks: mpsc::UnboundedReceiver<EngineTask>,
    batch: Vec<EngineTask>,
    shared: Arc<SharedState>,
    last_report: Option<Instant>,
    /// Attempts to connect since something was answered.
    attempt: u32,
    closing: Option<oneshot::Sender<()>>,
    is_over: bool,
    /// The store knows nothing of this node any more.
    is_forgotten: bool,
}

impl EngineThread {
    fn new(
        engine: &Redis,
        sink: Arc<dyn EngineHandler>,
        tasks: mpsc::UnboundedReceiver<EngineTask>,
    ) -> Self {
        let settings = engine.settings.clone();
        let machine = NodeSettings {
            node: engine.node,
            lease: settings.lease,
            limits: settings.limits.clone(),
        };
        let words = HandlerDialects(sink.clone());
        Self {
            settings,
            node: engine.node,
            machine: Node::new(machine, Arc::new(words), Instant::now()),
            handler: sink,
            tasks,
            batch: Vec::with_capacity(TASKS_PER_BATCH),
            shared: engine.shared.clone(),
            last_report: None,
            attempt: 0,
            closing: None,
            is_over: false,
            is_forgotten: false,
        }
    }

    fn run(mut self) {
        let _last_words = FinalStatusGuard(self.shared.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        match runtime {
            Ok(runtime) => runtime.block_on(self.run_until_closed()),
            Err(error) => {
                self.shared.status().last_error =
                    format!("the engine's thread cannot start: {error}");
            }
        }
    }

    async fn run_until_closed(&mut self) {
        while !self.is_over {
            let address = self.settings.address.clone();
            let (prefix, node) = (self.settings.prefix.clone(), self.node);
            let opening = async move {
                let (connection, pushes) = StoreConnection::open(&address, &prefix, node).await?;
                let secret = connection.secret().await?;
                Ok::<_, StoreError>((connection, pushes, secret))
            };
            let why = match self.handle_until(opening).await {
                None => return,
                Some(Ok((connection, pushes, secret))) => {
                    tracing::info!(node = %self.node, "connected to the engine");
                    self.shared.status().secret = Some(secret);
                    self.serve(connection, pushes).await
                }
                Some(Err(error)) => error.to_string(),
            };
            self.handle_disconnect(&why);
            let pause = backoff(self.attempt);
            self.attempt = self.attempt.saturating_add(1);
            if self.handle_until(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    fn handle_disconnect(&mut self, why: &str) {
        self.shared.down_since().get_or_insert_with(Instant::now);
        self.machine.handle(NodeInput::Disconnected, Instant::now());
        self.dispatch_effects();
        if self.attempt == 0 && !self.is_over {
            tracing::warn!(why, "the engine cannot be reached");
        }
        let mut status = self.shared.status();
        status.last_error = why.to_owned();
        status.reconnects_total += u64::from(self.attempt == 0);
        drop(status);
        self.report();
    }

    /// Does what comes in while it waits for `future`. None: the node has closed.
    async fn handle_until<F: Future>(&mut self, future: F) -> Option<F::Output> {
        let mut future = std::pin::pin!(future);
        loop {
            match self.wait_for(future.as_mut()).await {
                WakeReason::Completed(output) => return Some(output),
                WakeReason::Task | WakeReason::Timer => self.dispatch_effects(),
            }
            if self.closing.is_some() {
                self.finish();
                return None;
            }
        }
    }

    /// Waits for a task, the machine's timer, or `other`, and lets the machine have the first two.
    async fn wait_for<F: Future>(&mut self, other: F) -> WakeReason<F::Output> {
        let timer = self
            .machine
            .poll_timeout()
            .map(tokio::time::Instant::from_std);
        let is_set = timer.is_some();
        let timer = tokio::time::sleep_until(timer.unwrap_or_else(tokio::time::Instant::now));
        tokio::select! {
            output = other => WakeReason::Completed(output),
            count = self.tasks.recv_many(&mut self.batch, TASKS_PER_BATCH) => {
                // Without a server that could ask for anything, the node is over.
                self.is_over |= count == 0;
                self.take_tasks();
                WakeReason::Task
            }
            () = timer, if is_set => {
                self.machine.handle_timeout(Instant::now());
                WakeReason::Timer
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
                EngineTask::Send(to, letter) => self
                    .machine
                    .handle(NodeInput::Send(to, letter), Instant::now()),
                EngineTask::Close(done) => {
                    self.machine.handle(NodeInput::Close, Instant::now());
                    self.closing = Some(done);
                }
            }
        }
        if self.is_over && self.closing.is_none() {
            self.machine.handle(NodeInput::Close, Instant::now());
            self.closing = Some(oneshot::channel().0);
        }
    }

    /// Works over a connection until it breaks; says why it did.
    async fn serve(
        &mut self,
        connection: StoreConnection,
        mut pushes: mpsc::Receiver<StorePush>,
    ) -> String {
        let connection = Arc::new(connection);
        let mut flight: Option<(Instant, InFlightBatch)> = None;
        let mut news = Vec::with_capacity(TASKS_PER_BATCH);
        self.machine.handle(NodeInput::Connected, Instant::now());
        loop {
            self.dispatch_effects();
            if std::mem::take(&mut self.is_forgotten) {
                match connection.secret().await {
                    Ok(secret) => self.shared.status().secret = Some(secret),
                    Err(error) => return error.to_string(),
                }
            }
            if flight.is_none() {
                let batch = self.machine.next_batch();
                if !batch.is_empty() {
                    let connection = connection.clone();
                    let flown = async move { connection.execute(&batch).await };
                    flight = Some((Instant::now(), Box::pin(flown)));
                } else if self.closing.is_some() {
                    self.finish();
                    return "closed".to_owned();
                }
            }
            let next = async {
                tokio::select! {
                    landed = await_in_flight(&mut flight) => Ok(landed),
                    count = pushes.recv_many(&mut news, TASKS_PER_BATCH) => Err(count),
                }
            };
            match self.wait_for(next).await {
                WakeReason::Completed(Ok(Ok(answers))) => {
                    let began = flight.take().map_or_else(Instant::now, |(began, _)| began);
                    self.shared.status().lag = began.elapsed();
                    *self.shared.down_since() = None;
                    self.attempt = 0;
                    self.machine
                        .handle(NodeInput::Responses(answers), Instant::now());
                }
                WakeReason::Completed(Ok(Err(error))) => return error.to_string(),
                WakeReason::Completed(Err(0)) => return "the connection has ended".to_owned(),
                WakeReason::Completed(Err(_)) => {
                    for push in news.drain(..) {
                        match push {
                            StorePush::LogEvent(log, news) => {
                                self.machine
                                    .handle(NodeInput::LogEvent(log, news), Instant::now());
                            }
                            StorePush::Envelope(mail) => self
                                .machine
                                .handle(NodeInput::Envelope(mail), Instant::now()),
                            StorePush::Lost(why) => return why,
                        }
                    }
                }
                WakeReason::Task | WakeReason::Timer => {}
            }
        }
    }

    fn finish(&mut self) {
        self.dispatch_effects();
        self.is_over = true;
        if let Some(done) = self.closing.take() {
            // Nobody need wait for it.
            let _ = done.send(());
        }
    }

    /// Does what follows from what has happened.
    fn dispatch_effects(&mut self) {
        while let Some(effect) = self.machine.poll_effect() {
            match effect {
                NodeEffect::Committed(log, entries) => self.handler.on_committed(&log, entries),
                NodeEffect::Rejected(log, peer, why) => {
                    self.count(why == RejectReason::Unavailable);
                    self.handler.on_rejected(&log, peer, why);
                }
                NodeEffect::NodeMessage(from, letter) => self.handler.on_node_message(from, letter),
                NodeEffect::Undeliverable(letter) => {
                    self.count(true);
                    self.handler.on_undeliverable(letter);
                }
                NodeEffect::StoreLost => self.is_forgotten = true,
            }
        }
        if self
            .last_report
            .is_none_or(|at| at.elapsed() >= STATUS_INTERVAL)
        {
            self.report();
        }
    }

    fn count(&self, is_unavailable: bool) {
        let more = u64::from(is_unavailable);
        self.shared.unavailable.fetch_add(more, Ordering::Relaxed);
    }

    /// Renews what operators and the other nodes are told.
    fn report(&mut self) {
        let now = Instant::now();
        self.last_report = Some(now);
        let lease = self.machine.lease();
        let (rooms, members) = self.machine.rooms();
        let mut status = self.shared.status();
        let line = NodeLine {
            rooms,
            members,
            queue: self.machine.queue_len(),
            lag_ms: u64::try_from(status.lag.as_millis()).unwrap_or(u64::MAX),
            ..NodeLine::new(lease.node, lease.epoch, &self.settings.url)
        };
        self.machine.set_status(line.to_report());
        status.epoch = lease.epoch;
        status.queue = line.queue;
        status.nodes = (self.machine.nodes())
            .map(|(node, since)| {
                let Lease { node: id, epoch } = node.lease;
                NodeLine::from_report(id, epoch, !node.is_fenced, &node.status)
                    .with_age(now.saturating_duration_since(since))
            })
            .collect();
    }
}

/// Says that the engine's thread has ended, however it has: nothing is answered any more.
struct FinalStatusGuard(Arc<SharedState>);

impl Drop for FinalStatusGuard {
    fn drop(&mut self) {
        self.0.down_since().get_or_insert_with(Instant::now);
        "the engine's thread has ended".clone_into(&mut self.0.status().last_error);
    }
}

/// The answers under way; for ever, if there are none.
async fn await_in_flight(
    flight: &mut Option<(Instant, InFlightBatch)>,
) -> Result<Vec<StoreResponse>, StoreError> {
    match flight {
        Some((_, flight)) => flight.await,
        None => std::future::pending().await,
    }
}

/// How long to wait before the next attempt: longer each time, and not all nodes at once.
fn backoff(attempt: u32) -> Duration {
    let longest = BACKOFF
        .saturating_mul(1 << attempt.min(16))
        .min(BACKOFF_MAX);
    longest.mul_f64(rand::rng().random_range(0.5..=1.0))
}

/// The words of a sink, for the machine.
struct HandlerDialects(Arc<dyn EngineHandler>);

impl DialectRegistry for HandlerDialects {
    fn dialect(&self, name: &str) -> &'static DialectTraits {
        self.0.dialect(name)
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

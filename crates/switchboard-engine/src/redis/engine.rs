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
    Change, Declined, Letter, Limits, LogId, NodeId, Position, Relay, RelayKind, Tongue,
};
use tokio::sync::{mpsc, oneshot};

use super::{Address, Connection, Error, Push};
use crate::{
    Closing, Engine, NodeLine, Ordered, Sink, Status, Vocabulary,
    cluster::{
        Effect, Input, Node, Settings,
        store::{Answer, Lease},
        weight,
    },
};

/// Joins and letters that may wait for the engine's thread, and bytes of the letters, about.
const INBOX_MAX: usize = 64 * 1024;
const INBOX_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Tasks and pushes that are taken at once before what follows from them is done.
const GULP: usize = 256;

/// How long to wait before the first new attempt to connect, and at most.
const BACKOFF: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// How often the figures for operators are renewed, at most.
const STATUS_INTERVAL: Duration = Duration::from_millis(200);

/// How long a good-bye may take.
const CLOSE_PATIENCE: Duration = Duration::from_secs(3);

/// What a node must know to join a cluster.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// Where Redis is.
    pub address: Address,
    /// What every key and channel begins with: nodes of one prefix are one cluster.
    pub prefix: String,
    /// How long a node may be silent before the others take it for dead.
    pub lease: Duration,
    /// The bounds in force.
    pub limits: Arc<Limits>,
    /// Where the other nodes reach this one, as `http://HOST:PORT`.
    pub url: String,
}

enum Task {
    Propose(LogId, Change),
    Send(NodeId, Letter),
    Close(oneshot::Sender<()>),
}

impl Task {
    fn bytes(&self) -> usize {
        match self {
            Self::Send(_, letter) => weight(letter),
            Self::Propose(..) | Self::Close(_) => 0,
        }
    }
}

/// Many nodes as one over Redis 7 or later, or Valkey; a single server or a cluster of them.
pub struct Redis {
    settings: RedisSettings,
    node: NodeId,
    inbox: mpsc::UnboundedSender<Task>,
    tasks: Mutex<Option<mpsc::UnboundedReceiver<Task>>>,
    shared: Arc<Shared>,
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
struct Shared {
    waiting: AtomicUsize,
    bytes: AtomicUsize,
    unavailable: AtomicU64,
    /// Since when nothing that was asked has been answered.
    down_since: Mutex<Option<Instant>>,
    status: Mutex<Status>,
}

impl Shared {
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
            why: "not connected yet".to_owned(),
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
            shared: Arc::new(Shared {
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
    fn hand(&self, task: Task) -> Option<Task> {
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
    fn attach(&self, sink: Arc<dyn Sink>) {
        let tasks = self
            .tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(tasks) = tasks else {
            return;
        };
        let driver = Driver::new(self, sink, tasks);
        let thread = std::thread::Builder::new().name("switchboard-engine".to_owned());
        if let Err(error) = thread.spawn(move || driver.run()) {
            self.shared.status().why = format!("the engine's thread cannot start: {error}");
        }
    }

    fn propose(&self, log: &LogId, _at: Position, change: &Change) -> Ordered {
        let is_join = matches!(change, Change::Join(_));
        if !(is_join && self.is_full()) {
            let task = Task::Propose(log.clone(), change.clone());
            if self.hand(task).is_none() {
                return Ordered::Later;
            }
        }
        self.count_unavailable();
        Ordered::Never(match is_join {
            true => Declined::Unavailable,
            false => Declined::Absent,
        })
    }

    fn send(&self, to: NodeId, letter: Letter) -> Option<Letter> {
        let unsent = match self.is_full() {
            true => Some(letter),
            false => match self.hand(Task::Send(to, letter)) {
                Some(Task::Send(_, letter)) => Some(letter),
                Some(Task::Propose(..) | Task::Close(_)) | None => None,
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

    fn close(&self) -> Closing<'_> {
        let (done, closed) = oneshot::channel();
        drop(self.hand(Task::Close(done)));
        Box::pin(async move {
            // Late or gone makes no difference: the others will notice by the lease.
            drop(tokio::time::timeout(CLOSE_PATIENCE, closed).await);
        })
    }
}

type Flight = Pin<Box<dyn Future<Output = Result<Vec<Answer>, Error>> + Send>>;

/// What happened while waiting.
enum Woken<T> {
    By(T),
    Task,
    Timer,
}

/// The engine's thread.
struct Driver {
    settings: RedisSettings,
    node: NodeId,
    machine: Node,
    sink: Arc<dyn Sink>,
    tasks: mpsc::UnboundedReceiver<Task>,
    gulp: Vec<Task>,
    shared: Arc<Shared>,
    said: Option<Instant>,
    /// Attempts to connect since something was answered.
    attempt: u32,
    closing: Option<oneshot::Sender<()>>,
    is_over: bool,
    /// The store knows nothing of this node any more.
    is_forgotten: bool,
}

impl Driver {
    fn new(engine: &Redis, sink: Arc<dyn Sink>, tasks: mpsc::UnboundedReceiver<Task>) -> Self {
        let settings = engine.settings.clone();
        let machine = Settings {
            node: engine.node,
            lease: settings.lease,
            limits: settings.limits.clone(),
        };
        let words = Words(sink.clone());
        Self {
            settings,
            node: engine.node,
            machine: Node::new(machine, Arc::new(words), Instant::now()),
            sink,
            tasks,
            gulp: Vec::with_capacity(GULP),
            shared: engine.shared.clone(),
            said: None,
            attempt: 0,
            closing: None,
            is_over: false,
            is_forgotten: false,
        }
    }

    fn run(mut self) {
        let _last_words = LastWords(self.shared.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        match runtime {
            Ok(runtime) => runtime.block_on(self.live()),
            Err(error) => {
                self.shared.status().why = format!("the engine's thread cannot start: {error}");
            }
        }
    }

    async fn live(&mut self) {
        while !self.is_over {
            let address = self.settings.address.clone();
            let (prefix, node) = (self.settings.prefix.clone(), self.node);
            let opening = async move {
                let (connection, pushes) = Connection::open(&address, &prefix, node).await?;
                let secret = connection.secret().await?;
                Ok::<_, Error>((connection, pushes, secret))
            };
            let why = match self.meanwhile(opening).await {
                None => return,
                Some(Ok((connection, pushes, secret))) => {
                    tracing::info!(node = %self.node, "connected to the engine");
                    self.shared.status().secret = Some(secret);
                    self.serve(connection, pushes).await
                }
                Some(Err(error)) => error.to_string(),
            };
            self.lose(&why);
            let pause = backoff(self.attempt);
            self.attempt = self.attempt.saturating_add(1);
            if self.meanwhile(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    fn lose(&mut self, why: &str) {
        self.shared.down_since().get_or_insert_with(Instant::now);
        self.machine.handle(Input::Lost, Instant::now());
        self.settle();
        if self.attempt == 0 && !self.is_over {
            tracing::warn!(why, "the engine cannot be reached");
        }
        let mut status = self.shared.status();
        status.why = why.to_owned();
        status.reconnects_total += u64::from(self.attempt == 0);
        drop(status);
        self.report();
    }

    /// Does what comes in while it waits for `future`. None: the node has closed.
    async fn meanwhile<F: Future>(&mut self, future: F) -> Option<F::Output> {
        let mut future = std::pin::pin!(future);
        loop {
            match self.wait(future.as_mut()).await {
                Woken::By(output) => return Some(output),
                Woken::Task | Woken::Timer => self.settle(),
            }
            if self.closing.is_some() {
                self.finish();
                return None;
            }
        }
    }

    /// Waits for a task, the machine's timer, or `other`, and lets the machine have the first two.
    async fn wait<F: Future>(&mut self, other: F) -> Woken<F::Output> {
        let timer = self
            .machine
            .poll_timeout()
            .map(tokio::time::Instant::from_std);
        let is_set = timer.is_some();
        let timer = tokio::time::sleep_until(timer.unwrap_or_else(tokio::time::Instant::now));
        tokio::select! {
            output = other => Woken::By(output),
            count = self.tasks.recv_many(&mut self.gulp, GULP) => {
                // Without a server that could ask for anything, the node is over.
                self.is_over |= count == 0;
                self.take_tasks();
                Woken::Task
            }
            () = timer, if is_set => {
                self.machine.handle_timeout(Instant::now());
                Woken::Timer
            }
        }
    }

    fn take_tasks(&mut self) {
        self.shared
            .waiting
            .fetch_sub(self.gulp.len(), Ordering::Relaxed);
        let bytes = self.gulp.iter().map(Task::bytes).sum();
        self.shared.bytes.fetch_sub(bytes, Ordering::Relaxed);
        for task in self.gulp.drain(..) {
            match task {
                Task::Propose(log, change) => {
                    self.machine
                        .handle(Input::Propose(log, change), Instant::now());
                }
                Task::Send(to, letter) => {
                    self.machine.handle(Input::Send(to, letter), Instant::now())
                }
                Task::Close(done) => {
                    self.machine.handle(Input::Close, Instant::now());
                    self.closing = Some(done);
                }
            }
        }
        if self.is_over && self.closing.is_none() {
            self.machine.handle(Input::Close, Instant::now());
            self.closing = Some(oneshot::channel().0);
        }
    }

    /// Works over a connection until it breaks; says why it did.
    async fn serve(&mut self, connection: Connection, mut pushes: mpsc::Receiver<Push>) -> String {
        let connection = Arc::new(connection);
        let mut flight: Option<(Instant, Flight)> = None;
        let mut news = Vec::with_capacity(GULP);
        self.machine.handle(Input::Connected, Instant::now());
        loop {
            self.settle();
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
                    landed = land(&mut flight) => Ok(landed),
                    count = pushes.recv_many(&mut news, GULP) => Err(count),
                }
            };
            match self.wait(next).await {
                Woken::By(Ok(Ok(answers))) => {
                    let began = flight.take().map_or_else(Instant::now, |(began, _)| began);
                    self.shared.status().lag = began.elapsed();
                    *self.shared.down_since() = None;
                    self.attempt = 0;
                    self.machine.handle(Input::Answers(answers), Instant::now());
                }
                Woken::By(Ok(Err(error))) => return error.to_string(),
                Woken::By(Err(0)) => return "the connection has ended".to_owned(),
                Woken::By(Err(_)) => {
                    for push in news.drain(..) {
                        match push {
                            Push::News(log, news) => {
                                self.machine.handle(Input::News(log, news), Instant::now());
                            }
                            Push::Mail(mail) => {
                                self.machine.handle(Input::Mail(mail), Instant::now())
                            }
                            Push::Lost(why) => return why,
                        }
                    }
                }
                Woken::Task | Woken::Timer => {}
            }
        }
    }

    fn finish(&mut self) {
        self.settle();
        self.is_over = true;
        if let Some(done) = self.closing.take() {
            // Nobody need wait for it.
            let _ = done.send(());
        }
    }

    /// Does what follows from what has happened.
    fn settle(&mut self) {
        while let Some(effect) = self.machine.poll_effect() {
            match effect {
                Effect::Committed(log, entries) => self.sink.committed(&log, entries),
                Effect::Declined(log, peer, why) => {
                    self.count(why == Declined::Unavailable);
                    self.sink.declined(&log, peer, why);
                }
                Effect::Letter(from, letter) => self.sink.letter(from, letter),
                Effect::Unsent(letter) => {
                    self.count(true);
                    self.sink.unsent(letter);
                }
                Effect::Forgotten => self.is_forgotten = true,
            }
        }
        if self.said.is_none_or(|at| at.elapsed() >= STATUS_INTERVAL) {
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
        self.said = Some(now);
        let lease = self.machine.lease();
        let (rooms, members) = self.machine.rooms();
        let mut status = self.shared.status();
        let line = NodeLine {
            rooms,
            members,
            queue: self.machine.waiting(),
            lag_ms: u64::try_from(status.lag.as_millis()).unwrap_or(u64::MAX),
            ..NodeLine::new(lease.node, lease.epoch, &self.settings.url)
        };
        self.machine.set_status(line.said());
        status.epoch = lease.epoch;
        status.queue = line.queue;
        status.nodes = (self.machine.nodes())
            .map(|(node, since)| {
                let Lease { node: id, epoch } = node.lease;
                NodeLine::heard(id, epoch, !node.buried, &node.status)
                    .aged(now.saturating_duration_since(since))
            })
            .collect();
    }
}

/// Says that the engine's thread has ended, however it has: nothing is answered any more.
struct LastWords(Arc<Shared>);

impl Drop for LastWords {
    fn drop(&mut self) {
        self.0.down_since().get_or_insert_with(Instant::now);
        "the engine's thread has ended".clone_into(&mut self.0.status().why);
    }
}

/// The answers under way; for ever, if there are none.
async fn land(flight: &mut Option<(Instant, Flight)>) -> Result<Vec<Answer>, Error> {
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
struct Words(Arc<dyn Sink>);

impl Vocabulary for Words {
    fn tongue(&self, name: &str) -> &'static Tongue {
        self.0.tongue(name)
    }

    fn relay(&self, origin: &str, kind: RelayKind, frame: ByteString) -> Option<Relay> {
        self.0.relay(origin, kind, frame)
    }
}

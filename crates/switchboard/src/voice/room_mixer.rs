//! The mixer of one call or room, and the task that drives it while it has listeners.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use prometheus::Histogram;
use switchboard_audio::{AudioSink, Format, MixSettings, Mixer, SourceHandle, Ticker};
use switchboard_transport::{ConnectionAbort, Counters, NodeHandle};
use switchboard_voice::User;
use tokio::{sync::mpsc, task::yield_now, time::sleep_until};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::shards::Shards;

/// Maximum chunks queued for a listener that does not read: 2.5 s of WAV.
const QUEUED_CHUNKS_MAX: usize = 128;

/// How long a mixer encodes before it yields to other tasks of its thread.
const TIME_SLICE: Duration = Duration::from_millis(1);

/// A mixer and its tick task. The task runs only while there are listeners.
pub(super) struct RoomMixer {
    state: Mutex<MixerState>,
    ended: CancellationToken,
}

struct MixerState {
    mixer: Mixer<ListenerSink>,
    is_ticking: bool,
    /// The open microphones, for reading their levels.
    inputs: HashMap<User, SourceHandle>,
}

impl std::fmt::Debug for RoomMixer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RoomMixer").finish_non_exhaustive()
    }
}

impl RoomMixer {
    pub(super) fn new(settings: Arc<MixSettings>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(MixerState {
                mixer: Mixer::new(settings),
                is_ticking: false,
                inputs: HashMap::new(),
            }),
            ended: CancellationToken::new(),
        })
    }

    /// Adds a microphone. `owner` is the same for all microphones and headphones of one user.
    pub(super) fn add_source(&self, user: &User, owner: u64) -> SourceHandle {
        let mut state = self.lock();
        let input = state.mixer.add_source(owner);
        state.inputs.insert(user.clone(), input.clone());
        input
    }

    /// Removes the user's microphone from the level list. The mixer removes the source when the last clone of
    /// its handle is dropped.
    pub(super) fn remove_source(&self, user: &User, input: &SourceHandle) {
        let mut state = self.lock();
        let current = state.inputs.get(user);
        if current.is_some_and(|current| current.is_same(input)) {
            state.inputs.remove(user);
        }
    }

    /// Adds a listener and sends it the stream's headers. Does nothing if the mixer has ended.
    pub(super) fn add_listener(
        self: &Arc<Self>,
        owner: u64,
        format: Format,
        sink: ListenerSink,
        tasks: &TaskTracker,
    ) {
        let mut state = self.lock();
        // Checked under the lock: `end` cancels the token first and then ends the mixer's listeners.
        if self.ended.is_cancelled() {
            return;
        }
        let late_seconds = sink.shards.counters().voice_mixer_late_seconds.clone();
        state.mixer.add_listener(owner, format, sink);
        if !state.is_ticking {
            state.is_ticking = true;
            tasks.spawn(self.clone().tick(late_seconds));
        }
    }

    /// Current level of a user, from 0 (-60 dBFS or less) to 1 (full scale).
    pub(super) fn level(&self, user: &User) -> f32 {
        let input = self.lock().inputs.get(user).cloned();
        let dbfs = input.map_or(f32::NEG_INFINITY, |input| input.level(Instant::now()));
        (dbfs / 60.0 + 1.0).clamp(0.0, 1.0)
    }

    /// Ends the mixer: finishes the listeners' streams and makes the sources disconnect.
    pub(super) fn end(&self) {
        self.ended.cancel();
        let mut state = self.lock();
        state.mixer.end();
        state.inputs.clear();
    }

    /// Completes when the call or room has ended.
    pub(super) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    async fn tick(self: Arc<Self>, late_seconds: Histogram) {
        let _guard = TickerGuard(&self);
        let mut ticker = Ticker::new(Instant::now());
        loop {
            sleep_until(ticker.next().into()).await;
            let (due, now) = (ticker.next(), Instant::now());
            late_seconds.observe(now.saturating_duration_since(due).as_secs_f64());
            ticker.advance(now);
            if !self.begin_frame() {
                return;
            }
            let mut began = Instant::now();
            while self.lock().mixer.render_next() {
                if began.elapsed() >= TIME_SLICE {
                    yield_now().await;
                    began = Instant::now();
                }
            }
        }
    }

    /// Begins the next 20 ms frame. Returns false, and stops ticking, if there is no listener left.
    fn begin_frame(&self) -> bool {
        let mut state = self.lock();
        state.mixer.begin_frame();
        state.is_ticking = !state.mixer.is_idle();
        state.is_ticking
    }

    fn lock(&self) -> MutexGuard<'_, MixerState> {
        // A panic under the lock is a bug of this server; ignore the poison so that the room continues.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Marks a running tick task. Resets `is_ticking` on a panic, so that the next listener starts a new task.
struct TickerGuard<'a>(&'a RoomMixer);

impl Drop for TickerGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().is_ticking = false;
        }
    }
}

/// The bounded queue of one listener. A listener whose queue is full is disconnected.
pub(super) struct ListenerSink {
    chunks: mpsc::Sender<Bytes>,
    abort_handle: ConnectionAbort,
    shards: Arc<Shards>,
}

impl ListenerSink {
    pub(super) fn new(
        abort_handle: ConnectionAbort,
        shards: Arc<Shards>,
    ) -> (Self, mpsc::Receiver<Bytes>) {
        let (chunks, receiver) = mpsc::channel(QUEUED_CHUNKS_MAX);
        let sink = Self {
            chunks,
            abort_handle,
            shards,
        };
        (sink, receiver)
    }
}

impl AudioSink for ListenerSink {
    fn send(&mut self, bytes: Bytes) -> bool {
        match self.chunks.try_send(bytes) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => false,
            Err(mpsc::error::TrySendError::Full(_)) => {
                Counters::add(&self.shards.counters().slow_total, 1);
                self.abort_handle.abort();
                false
            }
        }
    }

    fn is_open(&self) -> bool {
        !self.chunks.is_closed()
    }
}

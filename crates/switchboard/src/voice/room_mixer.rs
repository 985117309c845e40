//! One call's or room's mixer, and the clock that drives it while somebody listens.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use switchboard_audio::{AudioSink, Format, MixSettings, Mixer, SourceHandle, Ticker};
use switchboard_core::User;
use switchboard_transport::{ConnectionAbort, Counters, NodeHandle};
use tokio::{sync::mpsc, task::yield_now, time::sleep_until};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::shards::Shards;

/// Pieces of a stream that may wait for a listener that does not read: two and a half seconds of WAV.
const QUEUED_CHUNKS_MAX: usize = 128;

/// How long a mixer encodes before other tasks of its thread have their turn.
const TIME_SLICE: Duration = Duration::from_millis(1);

/// A mixer with its clock. Without listeners nothing ticks.
pub(super) struct RoomMixer {
    state: Mutex<MixerState>,
    ended: CancellationToken,
}

struct MixerState {
    mixer: Mixer<ListenerSink>,
    is_ticking: bool,
    /// The open microphones, to see who speaks.
    inputs: HashMap<User, SourceHandle>,
}

impl std::fmt::Debug for RoomMixer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Studio").finish_non_exhaustive()
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

    /// A microphone. `owner` is the same number for everything of one user.
    pub(super) fn add_source(&self, user: &User, owner: u64) -> SourceHandle {
        let mut state = self.lock();
        let input = state.mixer.add_source(owner);
        state.inputs.insert(user.clone(), input.clone());
        input
    }

    /// This microphone of the user is gone; the mixer notices when the last clone of its input is.
    pub(super) fn forget_source(&self, user: &User, input: &SourceHandle) {
        let mut state = self.lock();
        let current = state.inputs.get(user);
        if current.is_some_and(|current| current.is_same(input)) {
            state.inputs.remove(user);
        }
    }

    /// A listener, which gets the stream's headers at once; nothing, if it has all ended already.
    pub(super) fn add_listener(
        self: &Arc<Self>,
        owner: u64,
        format: Format,
        line: ListenerSink,
        tasks: &TaskTracker,
    ) {
        let mut state = self.lock();
        // Under the lock: who ends it cancels first, and then ends whoever is in the mixer.
        if self.ended.is_cancelled() {
            return;
        }
        state.mixer.add_listener(owner, format, line);
        if !state.is_ticking {
            state.is_ticking = true;
            tasks.spawn(self.clone().tick());
        }
    }

    /// How loud a user is now: 0 is 60 dB below full scale or less, 1 is full scale.
    pub(super) fn level(&self, user: &User) -> f32 {
        let input = self.lock().inputs.get(user).cloned();
        let dbfs = input.map_or(f32::NEG_INFINITY, |input| input.level(Instant::now()));
        (dbfs / 60.0 + 1.0).clamp(0.0, 1.0)
    }

    /// Ends it for everybody: listeners get the end of their streams, sources hang up.
    pub(super) fn end(&self) {
        self.ended.cancel();
        let mut state = self.lock();
        state.mixer.end();
        state.inputs.clear();
    }

    /// Done when the call or room has ended.
    pub(super) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    async fn tick(self: Arc<Self>) {
        let _ticking = TickerGuard(&self);
        let mut cadence = Ticker::new(Instant::now());
        loop {
            sleep_until(cadence.next().into()).await;
            cadence.advance(Instant::now());
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

    /// Takes the next 20 ms, unless nobody listens any more.
    fn begin_frame(&self) -> bool {
        let mut state = self.lock();
        state.mixer.begin_frame();
        state.is_ticking = !state.mixer.is_idle();
        state.is_ticking
    }

    fn lock(&self) -> MutexGuard<'_, MixerState> {
        // A panic while it is held is a bug of ours; the other rooms go on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A clock that runs. If it ends in a panic of ours, the next listener starts a new one.
struct TickerGuard<'a>(&'a RoomMixer);

impl Drop for TickerGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().is_ticking = false;
        }
    }
}

/// The way to one listener: a bounded queue. Who lets it fill up is cut off, and nobody waits for him.
pub(super) struct ListenerSink {
    pieces: mpsc::Sender<Bytes>,
    hangup: ConnectionAbort,
    shards: Arc<Shards>,
}

impl ListenerSink {
    pub(super) fn new(
        hangup: ConnectionAbort,
        shards: Arc<Shards>,
    ) -> (Self, mpsc::Receiver<Bytes>) {
        let (pieces, receiver) = mpsc::channel(QUEUED_CHUNKS_MAX);
        let line = Self {
            pieces,
            hangup,
            shards,
        };
        (line, receiver)
    }
}

impl AudioSink for ListenerSink {
    fn send(&mut self, bytes: Bytes) -> bool {
        match self.pieces.try_send(bytes) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => false,
            Err(mpsc::error::TrySendError::Full(_)) => {
                Counters::add(&self.shards.counters().slow_total, 1);
                self.hangup.abort();
                false
            }
        }
    }

    fn is_open(&self) -> bool {
        !self.pieces.is_closed()
    }
}

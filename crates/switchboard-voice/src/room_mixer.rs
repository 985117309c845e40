//! The mixer of one call or room. While it has listeners, a task on the audio threads encodes a frame every 20 ms.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::{Mutex, MutexGuard};
use prometheus::Histogram;
use switchboard_audio::{AudioSink, ListenerStream, MixSettings, Mixer, SourceHandle, Ticker};
use tokio::{task::yield_now, time::sleep_until};
use tokio_util::sync::CancellationToken;

use crate::{audio_threads::AudioThreads, clock, id::User, listener_queue::ListenerSink};

/// Time for which a mixer encodes before it yields to the mixers of other calls and rooms.
const TIME_SLICE: Duration = Duration::from_millis(1);

/// The mixer of one call or room.
pub(crate) struct RoomMixer<S: AudioSink + 'static = ListenerSink> {
    requests: Mutex<MixerRequests<S>>,
    /// Locked only by the mixer's task, while it encodes.
    mixer: Mutex<Mixer<S>>,
    settings: Arc<MixSettings>,
    ended: CancellationToken,
}

/// The requests of connections since the last frame. This lock is never held while audio is encoded.
struct MixerRequests<S> {
    /// Whether the mixer's task runs.
    is_ticking: bool,
    /// The open microphones, from which [`RoomMixer::level`] reads.
    inputs: HashMap<User, SourceHandle>,
    /// New microphones and their owners.
    sources: Vec<(u64, SourceHandle)>,
    listeners: Vec<NewListener<S>>,
}

/// A listener that the mixer adds before its next frame.
struct NewListener<S> {
    owner: u64,
    stream: ListenerStream,
    sink: S,
}

impl<S: AudioSink> std::fmt::Debug for RoomMixer<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RoomMixer").finish_non_exhaustive()
    }
}

impl<S: AudioSink> RoomMixer<S> {
    pub(crate) fn new(settings: Arc<MixSettings>) -> Arc<Self> {
        Arc::new(Self {
            requests: Mutex::new(MixerRequests {
                is_ticking: false,
                inputs: HashMap::new(),
                sources: Vec::new(),
                listeners: Vec::new(),
            }),
            mixer: Mutex::new(Mixer::new(settings.clone())),
            settings,
            ended: CancellationToken::new(),
        })
    }

    /// Adds a microphone. `owner` is the same for all microphones and headphones of one user.
    pub(crate) fn add_source(&self, user: &User, owner: u64) -> SourceHandle {
        let input = SourceHandle::new(&self.settings);
        let mut requests = self.requests();
        requests.inputs.insert(user.clone(), input.clone());
        // Drops closed microphones: while there is no listener, no task takes them out of the list.
        requests.sources.retain(|(_, source)| source.is_held());
        requests.sources.push((owner, input.clone()));
        input
    }

    /// Forgets the user's microphone, so that [`RoomMixer::level`] no longer reads it. The mixer removes the source
    /// when the last clone of its handle is dropped.
    pub(crate) fn remove_source(&self, user: &User, input: &SourceHandle) {
        let mut requests = self.requests();
        let current = requests.inputs.get(user);
        if current.is_some_and(|current| current.is_same(input)) {
            requests.inputs.remove(user);
        }
    }

    /// Adds a listener; the task of the mixer sends it the stream's headers. Does nothing if the mixer has
    /// ended.
    pub(crate) fn add_listener(
        self: &Arc<Self>,
        owner: u64,
        stream: impl Into<ListenerStream>,
        sink: S,
        threads: &AudioThreads,
    ) {
        let mut requests = self.requests();
        // Checked under the lock: `end` cancels the token under it.
        if self.ended.is_cancelled() {
            return;
        }
        // Drops closed listeners: if the mixer is late, its task does not take them out of the list for a while.
        requests
            .listeners
            .retain(|listener| listener.sink.is_open());
        requests.listeners.push(NewListener {
            owner,
            stream: stream.into(),
            sink,
        });
        if !requests.is_ticking {
            requests.is_ticking = true;
            let ticker = Ticker::new(clock::now());
            threads.spawn_mixer(self.clone().tick(ticker, threads.late_seconds.clone()));
        }
    }

    /// Current level of a user, from 0 (-60 dBFS or less) to 1 (full scale).
    pub(crate) fn level(&self, user: &User) -> f32 {
        let input = self.requests().inputs.get(user).cloned();
        let dbfs = input.map_or(f32::NEG_INFINITY, |input| input.level(clock::now()));
        (dbfs / 60.0 + 1.0).clamp(0.0, 1.0)
    }

    /// Ends the mixer and makes the sources disconnect. The task of the mixer finishes the listeners' streams.
    pub(crate) fn end(&self) {
        let mut requests = self.requests();
        self.ended.cancel();
        requests.inputs.clear();
    }

    /// Completes when the call or room has ended.
    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    async fn tick(self: Arc<Self>, mut ticker: Ticker, late_seconds: Histogram) {
        let _guard = TickerGuard(&self);
        loop {
            tokio::select! {
                biased;
                () = self.ended() => return self.mixer_with_requests().end(),
                () = sleep_until(ticker.next().into()) => {}
            }
            let (due, now) = (ticker.next(), clock::now());
            late_seconds.observe(now.saturating_duration_since(due).as_secs_f64());
            ticker.advance(now);
            if !self.begin_frame() {
                return;
            }
            let mut began = clock::now();
            while self.mixer().render_next() {
                if clock::since(began) >= TIME_SLICE {
                    yield_now().await;
                    began = clock::now();
                }
            }
        }
    }

    /// Begins the next 20 ms frame. Returns false, and stops ticking, if there is no listener left.
    fn begin_frame(&self) -> bool {
        let mut mixer = self.mixer_with_requests();
        mixer.begin_frame();
        let mut requests = self.requests();
        requests.is_ticking = !mixer.is_idle() || !requests.listeners.is_empty();
        requests.is_ticking
    }

    /// The locked mixer, after the requested sources and listeners have been added.
    fn mixer_with_requests(&self) -> MutexGuard<'_, Mixer<S>> {
        let mut mixer = self.mixer();
        let mut requests = self.requests();
        let sources = std::mem::take(&mut requests.sources);
        let listeners = std::mem::take(&mut requests.listeners);
        drop(requests);
        for (owner, source) in sources {
            mixer.insert_source(owner, source);
        }
        for listener in listeners {
            mixer.add_listener(listener.owner, listener.stream, listener.sink);
        }
        mixer
    }

    fn mixer(&self) -> MutexGuard<'_, Mixer<S>> {
        // This lock is not poisoned: after a panic under it, which is a bug, the room continues.
        self.mixer.lock()
    }

    fn requests(&self) -> MutexGuard<'_, MixerRequests<S>> {
        self.requests.lock()
    }
}

/// Held by the running task of a mixer. Resets `is_ticking` on a panic, so that the next listener starts a new task.
struct TickerGuard<'a, S: AudioSink + 'static>(&'a RoomMixer<S>);

impl<S: AudioSink> Drop for TickerGuard<'_, S> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.requests().is_ticking = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self as std_mpsc, RecvTimeoutError};

    use switchboard_audio::{AudioChunk, Format};
    use tokio::sync::mpsc;

    use super::{super::audio_threads::tests::audio_threads, *};

    /// How long a blocked encoder waits for the test, so that a failing test ends.
    const BLOCKED_MAX: Duration = Duration::from_secs(10);

    /// The events that a [`BlockingSink`] reports.
    #[derive(Debug, PartialEq)]
    enum SinkEvent {
        Blocked,
        Unblocked(Result<(), RecvTimeoutError>),
    }

    /// Blocks its thread in the middle of the first frame, like an encoder that does not return.
    struct BlockingSink {
        chunks: u32,
        events: mpsc::Sender<SinkEvent>,
        unblock: std_mpsc::Receiver<()>,
    }

    impl AudioSink for BlockingSink {
        fn send(&mut self, _chunk: AudioChunk) -> bool {
            self.chunks += 1;
            // The first chunk is the header.
            if self.chunks == 2 {
                let _ = self.events.try_send(SinkEvent::Blocked);
                let unblocked = self.unblock.recv_timeout(BLOCKED_MAX);
                let _ = self.events.try_send(SinkEvent::Unblocked(unblocked));
            }
            true
        }

        fn is_open(&self) -> bool {
            true
        }
    }

    fn blocking_sink() -> (
        BlockingSink,
        mpsc::Receiver<SinkEvent>,
        std_mpsc::Sender<()>,
    ) {
        let (events, reported) = mpsc::channel(8);
        let (sender, unblock) = std_mpsc::channel();
        let sink = BlockingSink {
            chunks: 0,
            events,
            unblock,
        };
        (sink, reported, sender)
    }

    /// Sends frames back and forth between two tasks, as signaling does. Completes only if this runtime is not blocked.
    async fn relay_frames() {
        let (to_peer, mut from_client) = mpsc::channel(1);
        let (to_client, mut from_peer) = mpsc::channel(1);
        let peer = tokio::spawn(async move {
            while let Some(frame) = from_client.recv().await {
                to_client
                    .send(frame)
                    .await
                    .expect("the client task has ended");
            }
        });
        for frame in 0..100 {
            to_peer.send(frame).await.expect("the peer task has ended");
            assert_eq!(from_peer.recv().await, Some(frame));
        }
        drop(to_peer);
        peer.await.expect("the peer task panicked");
    }

    #[tokio::test]
    async fn blocked_encoder_delays_neither_signaling_nor_requests_of_its_room() {
        let threads = audio_threads();
        let room = RoomMixer::new(Arc::new(MixSettings::default()));
        let user = User::parse("user").unwrap();
        let (sink, mut events, unblock) = blocking_sink();
        room.add_listener(1, Format::Wav, sink, &threads);
        assert_eq!(events.recv().await, Some(SinkEvent::Blocked));

        relay_frames().await;
        let input = room.add_source(&user, 2);
        input.push(&[i16::MAX; 4_800]);
        assert!(room.level(&user) > 0.9);
        let (second_sink, ..) = blocking_sink();
        room.add_listener(2, Format::Wav, second_sink, &threads);
        room.remove_source(&user, &input);
        room.end();
        room.ended().await;

        unblock.send(()).expect("the sink no longer waits");
        assert_eq!(events.recv().await, Some(SinkEvent::Unblocked(Ok(()))));
        threads.all_mixers_ended().await;
        assert_eq!(events.recv().await, None, "the sink must be dropped");
    }

    /// Reports its chunks. If `panics` is set, panics at the second one.
    struct ReportingSink {
        panics: bool,
        chunks: mpsc::Sender<AudioChunk>,
        sent: u32,
    }

    impl AudioSink for ReportingSink {
        fn send(&mut self, chunk: AudioChunk) -> bool {
            self.sent += 1;
            assert!(!(self.panics && self.sent == 2), "requested by the test");
            self.chunks.try_send(chunk).is_ok()
        }

        fn is_open(&self) -> bool {
            !self.chunks.is_closed()
        }
    }

    #[tokio::test]
    async fn room_continues_with_its_next_listener_after_a_panic() {
        let threads = audio_threads();
        let room = RoomMixer::new(Arc::new(MixSettings::default()));
        let (chunks, mut received) = mpsc::channel(64);
        let sink = |panics| ReportingSink {
            panics,
            chunks: chunks.clone(),
            sent: 0,
        };
        room.add_listener(1, Format::Wav, sink(true), &threads);
        received
            .recv()
            .await
            .expect("the sink was dropped before the header");
        threads.all_mixers_ended().await;
        room.add_listener(2, Format::Wav, sink(false), &threads);
        for _ in 0..3 {
            received
                .recv()
                .await
                .expect("the sink was dropped before the second frame");
        }
    }
}

//! The bounded queue between a mixer and the response body of one listener.
//!
//! A channel of tokio reserves a block of 32 entries, and counts its free entries by a semaphore. This queue is a list
//! that grows when it is needed, behind a lock that is held for the time of one push.

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;
use prometheus::IntCounter;
use switchboard_audio::{AudioChunk, AudioSink};
use switchboard_transport::ConnectionAbort;

use crate::clock;

/// Maximum chunks queued for a listener that does not read.
const QUEUED_CHUNKS_MAX: usize = 128;

/// Maximum bytes queued for a listener that does not read: 3 s of WAV, which comes in chunks of at most 1 s.
const QUEUED_BYTES_MAX: usize = 3 * 96_000;

/// The longest time that a chunk is queued. It holds for pages of every duration: 128 pages of 1 s would be two minutes.
const QUEUED_TIME_MAX: Duration = Duration::from_secs(8);

/// The end of the queue at the mixer. A listener whose queue is full is disconnected.
pub(crate) struct ListenerSink {
    queue: Arc<Mutex<ChunkQueue>>,
    abort_handle: ConnectionAbort,
    slow_total: IntCounter,
}

/// The end of the queue at the response.
#[derive(Debug)]
pub(crate) struct ListenerChunks {
    queue: Arc<Mutex<ChunkQueue>>,
}

#[derive(Debug, Default)]
struct ChunkQueue {
    /// The chunks, each with the time since which it is queued.
    chunks: VecDeque<(Instant, AudioChunk)>,
    bytes: usize,
    /// The task of the response. It is kept for the next chunk.
    reader: Option<Waker>,
    /// Whether the reader waits for a chunk, so that the next one must wake it.
    is_awaited: bool,
    /// Whether the other end has been dropped.
    is_closed: bool,
}

impl ListenerSink {
    pub(crate) fn new(
        abort_handle: ConnectionAbort,
        slow_total: IntCounter,
    ) -> (Self, ListenerChunks) {
        let queue = Arc::<Mutex<ChunkQueue>>::default();
        let chunks = ListenerChunks {
            queue: queue.clone(),
        };
        let sink = Self {
            queue,
            abort_handle,
            slow_total,
        };
        (sink, chunks)
    }
}

impl ListenerSink {
    fn send_at(&mut self, now: Instant, chunk: AudioChunk) -> bool {
        let mut queue = self.queue.lock();
        if queue.is_closed {
            return false;
        }
        if queue.is_full(now, chunk.len()) {
            self.slow_total.inc();
            self.abort_handle.abort();
            return false;
        }
        queue.bytes += chunk.len();
        queue.chunks.push_back((now, chunk));
        queue.wake();
        true
    }
}

impl AudioSink for ListenerSink {
    fn send(&mut self, chunk: AudioChunk) -> bool {
        self.send_at(clock::now(), chunk)
    }

    fn is_open(&self) -> bool {
        !self.queue.lock().is_closed
    }
}

impl Drop for ListenerSink {
    fn drop(&mut self) {
        let mut queue = self.queue.lock();
        queue.is_closed = true;
        queue.wake();
    }
}

impl ListenerChunks {
    /// The next chunk; `None` if the mixer has dropped its end and all chunks have been read.
    pub(crate) fn poll_next(&mut self, context: &Context<'_>) -> Poll<Option<Bytes>> {
        let mut queue = self.queue.lock();
        if let Some((_, chunk)) = queue.chunks.pop_front() {
            queue.bytes -= chunk.len();
            drop(queue);
            // Allocated and freed on the thread of the response, and not on that of the mixer.
            return Poll::Ready(Some(chunk.into_bytes()));
        }
        if queue.is_closed {
            return Poll::Ready(None);
        }
        queue.await_chunk(context.waker());
        Poll::Pending
    }
}

impl Drop for ListenerChunks {
    fn drop(&mut self) {
        let mut queue = self.queue.lock();
        queue.is_closed = true;
        queue.chunks = VecDeque::new();
        queue.reader = None;
    }
}

impl ChunkQueue {
    /// Whether the listener reads too slowly for one more chunk of this many bytes.
    fn is_full(&self, now: Instant, bytes: usize) -> bool {
        let is_late =
            |(since, _): &(Instant, _)| now.saturating_duration_since(*since) > QUEUED_TIME_MAX;
        self.chunks.len() >= QUEUED_CHUNKS_MAX
            || self.bytes + bytes > QUEUED_BYTES_MAX
            || self.chunks.front().is_some_and(is_late)
    }

    fn await_chunk(&mut self, reader: &Waker) {
        let is_same = |known: &Waker| known.will_wake(reader);
        if !self.reader.as_ref().is_some_and(is_same) {
            self.reader = Some(reader.clone());
        }
        self.is_awaited = true;
    }

    fn wake(&mut self) {
        if std::mem::take(&mut self.is_awaited)
            && let Some(reader) = &self.reader
        {
            reader.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    /// Counts its wakes.
    #[derive(Default)]
    struct CountingWaker(AtomicUsize);

    impl Wake for CountingWaker {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn chunk(bytes: Vec<u8>) -> AudioChunk {
        Bytes::from(bytes).into()
    }

    struct TestQueue {
        sink: ListenerSink,
        chunks: ListenerChunks,
        slow_total: IntCounter,
        wakes: Arc<CountingWaker>,
    }

    impl TestQueue {
        fn new() -> Self {
            let slow_total = IntCounter::new("slow", "Slow.").expect("a valid name");
            let (sink, chunks) = ListenerSink::new(ConnectionAbort::default(), slow_total.clone());
            Self {
                sink,
                chunks,
                slow_total,
                wakes: Arc::default(),
            }
        }

        fn poll(&mut self) -> Poll<Option<Bytes>> {
            let waker = self.wakes.clone().into();
            self.chunks.poll_next(&Context::from_waker(&waker))
        }

        fn wakes(&self) -> usize {
            self.wakes.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn reader_is_woken_once_for_the_chunks_since_it_was_pending() {
        let mut queue = TestQueue::new();
        assert!(queue.poll().is_pending());
        for byte in 0..3 {
            assert!(queue.sink.send(chunk(vec![byte])));
        }
        assert_eq!(queue.wakes(), 1);
        for byte in 0..3 {
            assert_eq!(queue.poll(), Poll::Ready(Some(vec![byte].into())));
        }
        assert!(queue.poll().is_pending());
        let TestQueue { sink, .. } = queue;
        drop(sink);
        assert_eq!(queue.wakes.0.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn queued_chunks_are_read_after_the_mixer_has_dropped_its_end() {
        let mut queue = TestQueue::new();
        assert!(queue.sink.send(chunk(b"last".to_vec())));
        let (other, _) = ListenerSink::new(ConnectionAbort::default(), queue.slow_total.clone());
        drop(std::mem::replace(&mut queue.sink, other));
        assert_eq!(queue.poll(), Poll::Ready(Some(Bytes::from_static(b"last"))));
        assert_eq!(queue.poll(), Poll::Ready(None));
    }

    #[test]
    fn listener_that_does_not_read_is_disconnected_at_either_bound() {
        for (size, count) in [(100, QUEUED_CHUNKS_MAX), (96_000, 3)] {
            let mut queue = TestQueue::new();
            for _ in 0..count {
                assert!(queue.sink.send(chunk(vec![0; size])));
            }
            assert_eq!(queue.slow_total.get(), 0);
            assert!(!queue.sink.send(chunk(vec![0; size])));
            assert_eq!(queue.slow_total.get(), 1);
        }
    }

    #[test]
    fn listener_that_reads_too_late_is_disconnected() {
        let mut queue = TestQueue::new();
        let start = clock::now();
        let sent = |queue: &mut TestQueue, at| queue.sink.send_at(start + at, chunk(vec![0]));
        assert!(sent(&mut queue, Duration::ZERO));
        assert!(sent(&mut queue, QUEUED_TIME_MAX));
        assert!(queue.poll().is_ready());
        assert!(
            sent(&mut queue, 2 * QUEUED_TIME_MAX),
            "the first chunk was read"
        );
        assert!(!sent(
            &mut queue,
            2 * QUEUED_TIME_MAX + Duration::from_millis(1)
        ));
        assert_eq!(queue.slow_total.get(), 1);
    }

    #[test]
    fn sink_of_a_dropped_reader_is_closed() {
        let TestQueue {
            mut sink,
            chunks,
            slow_total,
            ..
        } = TestQueue::new();
        assert!(sink.is_open());
        drop(chunks);
        assert!(!sink.is_open() && !sink.send(chunk(b"x".to_vec())));
        assert_eq!(slow_total.get(), 0, "the listener was not slow");
    }
}

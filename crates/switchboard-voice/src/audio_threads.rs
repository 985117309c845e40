//! The threads that mix, encode and decode audio, apart from the runtime that carries signaling.
//!
//! * **Number.** One thread fewer than the machine has cores, so that signaling keeps a core; at least 2, so that
//!   one slow frame does not delay all rooms, and at most 8. The threads start with the first work; a server
//!   without voice users has none.
//! * **Bounded work.** A room with listeners is one task (`room_mixer.rs`). A source is at most one more task,
//!   and nothing is read from its client meanwhile (`source_decoder.rs`). The queue of the threads therefore
//!   holds at most one entry for each room and each connection, and connections are limited.
//! * **Order.** The task of a room makes one frame after the other, and a source decodes one message after the
//!   other.
//! * **Overload.** A room that is late by more than 140 ms skips frames (`Ticker`), so late frames do not pile
//!   up. The metric `voice_mixer_late_seconds` includes the time that a frame waits for a thread.
//! * **Locks.** No lock that signaling or the handler of a request takes is held while audio is encoded.
//! * **End.** The task of a room ends with the room. The threads end when [`AudioThreads`] is dropped, which the
//!   voice service of the server holds.

use std::{num::NonZero, panic::resume_unwind, sync::OnceLock, thread};

use prometheus::Histogram;
use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::JoinHandle,
};
use tokio_util::task::TaskTracker;

/// Bounds of the number of threads.
const THREADS_MIN: usize = 2;
const THREADS_MAX: usize = 8;

/// A runtime of a few threads for audio. It starts with the first task.
#[derive(Debug)]
pub(crate) struct AudioThreads {
    /// Empty until the first task. `None` if the system provides no threads.
    runtime: OnceLock<Option<Runtime>>,
    /// Counts the tasks of rooms; the server waits for them when it shuts down.
    tasks: TaskTracker,
    /// Receives the lateness of each frame of each mixer, in seconds.
    pub(crate) late_seconds: Histogram,
}

impl AudioThreads {
    pub(crate) fn new(tasks: TaskTracker, late_seconds: Histogram) -> Self {
        Self {
            runtime: OnceLock::new(),
            tasks,
            late_seconds,
        }
    }

    /// Spawns the task of a room.
    pub(crate) fn spawn_mixer(&self, mixing: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_on(mixing, &self.handle());
    }

    /// Starts `work` on one of the threads.
    pub(crate) fn start<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        self.handle().spawn(async { work() })
    }

    /// Runs `work` on one of the threads. Panics if `work` does.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        finish(&mut self.start(work)).await
    }

    /// The runtime of these threads, or that of the caller if the system provides no threads.
    fn handle(&self) -> Handle {
        let runtime = self.runtime.get_or_init(start_threads);
        runtime
            .as_ref()
            .map_or_else(Handle::current, |runtime| runtime.handle().clone())
    }
}

impl Drop for AudioThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take().flatten() {
            // Does not wait: the caller may be a task of another runtime.
            runtime.shutdown_background();
        }
    }
}

/// Waits for work that [`AudioThreads::start`] started. Panics if the work did. Does not complete after the
/// threads have ended; their owner has then been dropped.
pub(crate) async fn finish<T>(work: &mut JoinHandle<T>) -> T {
    match work.await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_) => std::future::pending().await,
        },
    }
}

fn start_threads() -> Option<Runtime> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    Builder::new_multi_thread()
        .worker_threads(cores.saturating_sub(1).clamp(THREADS_MIN, THREADS_MAX))
        .thread_name("audio")
        .enable_time()
        .build()
        .inspect_err(|error| tracing::error!(%error, "audio threads not started: signaling shares its threads with audio"))
        .ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::mpsc;

    use prometheus::HistogramOpts;

    use super::*;

    pub(crate) fn audio_threads() -> AudioThreads {
        let late_seconds = Histogram::with_opts(HistogramOpts::new("late", "Lateness."));
        AudioThreads::new(TaskTracker::new(), late_seconds.expect("valid options"))
    }

    impl AudioThreads {
        /// Completes when no room is mixed.
        pub(crate) async fn all_mixers_ended(&self) {
            self.tasks.close();
            self.tasks.wait().await;
            self.tasks.reopen();
        }
    }

    /// Sends a message when it is dropped.
    struct DropSignal(mpsc::Sender<()>);

    impl Drop for DropSignal {
        fn drop(&mut self) {
            // The test may have failed and ended.
            let _ = self.0.send(());
        }
    }

    thread_local! {
        static THREAD_END: std::cell::RefCell<Option<DropSignal>> = const { std::cell::RefCell::new(None) };
    }

    #[tokio::test]
    async fn threads_end_with_their_owner() {
        let (ended, wait_for_end) = mpsc::channel();
        let threads = audio_threads();
        assert!(
            threads.runtime.get().is_none(),
            "threads have started without work"
        );
        let name = threads.run(move || {
            THREAD_END.set(Some(DropSignal(ended)));
            thread::current().name().map(String::from)
        });
        assert_eq!(name.await.as_deref(), Some("audio"));
        drop(threads);
        assert_eq!(wait_for_end.recv(), Ok(()));
    }

    #[tokio::test]
    #[should_panic(expected = "in the work")]
    async fn panic_of_work_reaches_its_caller() {
        audio_threads().run(|| panic!("in the work")).await
    }
}

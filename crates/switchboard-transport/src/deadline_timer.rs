//! A timer for a state machine behind a lock: it calls a function once, at the earliest deadline that was set.

use std::time::Instant;

use tokio::{runtime::Handle, task::AbortHandle, time::sleep_until};

/// A task that sleeps until a deadline. It exists at most once, so that many changes of the deadline cost no memory.
#[derive(Debug, Default)]
pub struct DeadlineTimer {
    armed: Option<(Instant, AbortHandle)>,
}

impl DeadlineTimer {
    /// Calls `on_deadline` at `at`, in a task of `runtime`. If an earlier deadline is set already, that one stays and
    /// this call has no effect. A later deadline is replaced, and its function is not called.
    ///
    /// The callback must call [`clear`](Self::clear) with `at`, under the lock that guards the timer.
    pub fn set<F>(&mut self, runtime: &Handle, at: Instant, on_deadline: F)
    where
        F: FnOnce() + Send + 'static,
    {
        if let Some((armed, task)) = &self.armed {
            // A task that ended without its callback has lost its runtime.
            if *armed <= at && !task.is_finished() {
                return;
            }
            task.abort();
        }
        let task = runtime.spawn(async move {
            sleep_until(at.into()).await;
            on_deadline();
        });
        self.armed = Some((at, task.abort_handle()));
    }

    /// Forgets the deadline `at`, which has been reached. A deadline that replaced it meanwhile stays.
    pub fn clear(&mut self, at: Instant) {
        self.armed.take_if(|(armed, _)| *armed == at);
    }
}

impl Drop for DeadlineTimer {
    fn drop(&mut self) {
        if let Some((_, task)) = &self.armed {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, Mutex},
        time::Duration,
    };

    use super::*;

    /// A timer whose callbacks record their deadlines, in seconds after the start.
    #[derive(Clone)]
    struct RecordingTimer {
        start: Instant,
        timer: Arc<Mutex<DeadlineTimer>>,
        reached: Arc<Mutex<Vec<u64>>>,
    }

    impl RecordingTimer {
        fn new() -> Self {
            Self {
                start: tokio::time::Instant::now().into_std(),
                timer: Arc::default(),
                reached: Arc::default(),
            }
        }

        fn set(&self, secs: u64) {
            let (this, at) = (self.clone(), self.start + Duration::from_secs(secs));
            let on_deadline = move || {
                this.timer.lock().unwrap().clear(at);
                this.reached.lock().unwrap().push(secs);
            };
            let mut timer = self.timer.lock().unwrap();
            timer.set(&Handle::current(), at, on_deadline);
        }

        async fn reached_after(&self, secs: u64) -> Vec<u64> {
            sleep_until((self.start + Duration::from_secs(secs)).into()).await;
            tokio::task::yield_now().await;
            self.reached.lock().unwrap().clone()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn earlier_deadline_replaces_a_later_one() {
        let timer = RecordingTimer::new();
        timer.set(30);
        timer.set(5);
        assert_eq!(timer.reached_after(6).await, [5]);
        assert_eq!(
            timer.reached_after(31).await,
            [5],
            "the later deadline was replaced"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn later_deadline_does_not_replace_an_earlier_one() {
        let timer = RecordingTimer::new();
        timer.set(5);
        timer.set(30);
        assert_eq!(timer.reached_after(31).await, [5]);
    }

    #[tokio::test(start_paused = true)]
    async fn deadline_can_be_set_after_one_was_reached() {
        let timer = RecordingTimer::new();
        timer.set(5);
        assert_eq!(timer.reached_after(6).await, [5]);
        timer.set(8);
        assert_eq!(timer.reached_after(9).await, [5, 8]);
    }

    #[test]
    fn deadline_of_an_ended_runtime_is_replaced() {
        let runtime = || {
            tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .unwrap()
        };
        let at = Instant::now();
        let mut timer = DeadlineTimer::default();
        let ended = runtime();
        timer.set(ended.handle(), at, || ());
        drop(ended);
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let other = runtime();
        timer.set(other.handle(), at, move || sender.send(()).unwrap());
        assert_eq!(other.block_on(receiver), Ok(()));
    }
}

//! The queue of events for one connection, which hubs fill and its task empties.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use switchboard_core::{Charge, Event, Limits};
use switchboard_session::{EventQueue, FillLevel, Overflow, PendingCharges, PopMode, QueueMemory};

/// The [`EventQueue`] of one connection behind a lock, and the task that waits for it.
#[derive(Debug)]
pub struct Outbox {
    state: Mutex<OutboxState>,
}

#[derive(Debug)]
struct OutboxState {
    queue: EventQueue,
    /// The waker of the connection task, if it waits for an event.
    waiting: Option<Waker>,
}

impl Outbox {
    /// An empty outbox with the bounds of `limits`. Its bytes are counted in `memory`.
    #[must_use]
    pub fn new(limits: &Limits, memory: Arc<QueueMemory>) -> Self {
        let state = OutboxState {
            queue: EventQueue::new(limits, memory),
            waiting: None,
        };
        Self {
            state: Mutex::new(state),
        }
    }

    /// Queues an event, and wakes the task of the connection. If the event does not fit, the outbox overflows for
    /// good. Returns the fill level afterwards.
    pub fn push(&self, event: Arc<Event>) -> FillLevel {
        let mut state = self.lock();
        let level = state.queue.push(event);
        let waiting = state.waiting.take();
        drop(state);
        if let Some(waker) = waiting {
            waker.wake();
        }
        level
    }

    /// Raises the bound for the frames of `count` more peers, which the client has reached although they were
    /// not announced to it.
    pub(crate) fn expect_peers(&self, count: usize) {
        if count != 0 {
            self.lock().queue.expect_peers(count);
        }
    }

    /// Adds the charge for a frame of this connection.
    pub fn charge(&self, charge: Charge) {
        self.lock().queue.charge(charge);
    }

    /// Takes the charges since the last call.
    pub(crate) fn take_charges(&self) -> PendingCharges {
        self.lock().queue.take_charges()
    }

    /// Removes the next event that `mode` allows, if there is one.
    ///
    /// # Errors
    /// If the outbox has overflowed.
    pub(crate) fn pop(&self, mode: PopMode) -> Result<Option<Arc<Event>>, Overflow> {
        self.lock().queue.pop(mode)
    }

    /// The number of queued events.
    pub(crate) fn len(&self) -> usize {
        self.lock().queue.len()
    }

    /// Ready when [`Outbox::pop`] returns an event or an error.
    pub(crate) fn poll_filled(&self, context: &Context<'_>, mode: PopMode) -> Poll<()> {
        let mut state = self.lock();
        if state.queue.is_filled(mode) {
            return Poll::Ready(());
        }
        let waiting = state.waiting.as_ref();
        if !waiting.is_some_and(|waker| waker.will_wake(context.waker())) {
            state.waiting = Some(context.waker().clone());
        }
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, OutboxState> {
        // No code under this lock panics in the middle of a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use switchboard_core::ErrorCode;

    use super::*;

    #[tokio::test]
    async fn a_push_wakes_the_waiting_task() {
        let outbox = Arc::new(Outbox::new(&Limits::default(), Arc::default()));
        let waiting = tokio::spawn({
            let outbox = outbox.clone();
            async move { poll_fn(|context| outbox.poll_filled(context, PopMode::All)).await }
        });
        tokio::task::yield_now().await;
        outbox.push(Arc::new(Event::RequestFailed(ErrorCode::Taken.into())));
        waiting.await.expect("woken");
    }
}

//! What waits for one connection.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use switchboard_core::Event;

/// What an event takes in the queue besides the frame it carries.
const EVENT_BYTES: usize = 128;

/// An emptied queue that had room for more events gives its memory back.
const EVENTS_KEPT: usize = 4;

/// A queue of events for one connection, bounded in bytes. Pushing never waits: an event that
/// does not fit ends the connection, because one who misses an event can no longer be told the truth.
#[derive(Debug)]
pub struct Outbox {
    state: Mutex<State>,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    overflowed: bool,
    /// The connection's task, if it waits.
    waiting: Option<Waker>,
}

/// An event did not fit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overflow;

impl Outbox {
    /// An empty outbox for so many bytes (0: no limit).
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            state: Mutex::default(),
            bytes_max,
        }
    }

    /// Puts an event in, or marks the outbox as overflowed for good.
    pub fn push(&self, event: Arc<Event>) {
        let bytes = cost(&event);
        let mut state = self.lock();
        if state.overflowed {
            return;
        }
        if self.bytes_max != 0 && state.bytes + bytes > self.bytes_max {
            state.overflowed = true;
            state.events = VecDeque::new();
        } else {
            state.bytes += bytes;
            state.events.push_back(event);
        }
        let waiting = state.waiting.take();
        drop(state);
        if let Some(waker) = waiting {
            waker.wake();
        }
    }

    /// The oldest event, if there is one.
    pub(crate) fn pop(&self) -> Result<Option<Arc<Event>>, Overflow> {
        let mut state = self.lock();
        if state.overflowed {
            return Err(Overflow);
        }
        let Some(event) = state.events.pop_front() else {
            return Ok(None);
        };
        state.bytes -= cost(&event);
        if state.events.is_empty() && state.events.capacity() > EVENTS_KEPT {
            state.events = VecDeque::new();
        }
        Ok(Some(event))
    }

    /// Waits until [`Outbox::pop`] has something to say.
    pub(crate) fn filled(&self) -> impl Future<Output = ()> {
        poll_fn(|context| {
            let mut state = self.lock();
            if state.overflowed || !state.events.is_empty() {
                return Poll::Ready(());
            }
            wait(&mut state, context)
        })
    }

    /// Waits until an event does not fit.
    pub(crate) fn overflowed(&self) -> impl Future<Output = ()> {
        poll_fn(|context| {
            let mut state = self.lock();
            if state.overflowed {
                return Poll::Ready(());
            }
            wait(&mut state, context)
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that holds this lock panics half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait(state: &mut State, context: &Context<'_>) -> Poll<()> {
    if !state
        .waiting
        .as_ref()
        .is_some_and(|waker| waker.will_wake(context.waker()))
    {
        state.waiting = Some(context.waker().clone());
    }
    Poll::Pending
}

fn cost(event: &Event) -> usize {
    let carried = match event {
        Event::Heard { relay, .. } => relay.frame.len(),
        Event::Joined { others, .. } => others.len() * EVENT_BYTES,
        Event::Rejoined { others, .. } | Event::Members { others, .. } => {
            others.len() * EVENT_BYTES
        }
        Event::Claimed(_)
        | Event::Introduced { .. }
        | Event::Departed { .. }
        | Event::Probe(_)
        | Event::Evicted(_)
        | Event::Refused(_) => 0,
    };
    EVENT_BYTES + carried
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use switchboard_core::Refusal;

    use super::*;

    fn event() -> Arc<Event> {
        Arc::new(Event::Refused(Refusal::Taken.into()))
    }

    #[test]
    fn gives_out_in_order_what_was_put_in() {
        let outbox = Outbox::new(0);
        let events = [event(), event(), event()];
        events.iter().for_each(|event| outbox.push(event.clone()));
        for event in &events {
            let popped = outbox.pop().expect("no overflow").expect("an event");
            assert!(Arc::ptr_eq(event, &popped));
        }
        assert!(outbox.pop().expect("no overflow").is_none());
    }

    #[test]
    fn what_does_not_fit_ends_it() {
        let outbox = Outbox::new(3 * EVENT_BYTES);
        (0..3).for_each(|_| outbox.push(event()));
        assert!(outbox.overflowed().now_or_never().is_none());
        outbox.push(event());
        assert!(outbox.overflowed().now_or_never().is_some());
        assert_eq!(
            outbox.pop().err(),
            Some(Overflow),
            "nothing is told after a gap"
        );
    }

    #[test]
    fn room_comes_back_when_events_are_taken() {
        let outbox = Outbox::new(2 * EVENT_BYTES);
        for _ in 0..100 {
            outbox.push(event());
            outbox.push(event());
            assert!(outbox.pop().is_ok_and(|event| event.is_some()));
            assert!(outbox.pop().is_ok_and(|event| event.is_some()));
        }
    }

    #[tokio::test]
    async fn a_push_wakes_who_waits() {
        let outbox = Arc::new(Outbox::new(0));
        let waiting = tokio::spawn({
            let outbox = outbox.clone();
            async move { outbox.filled().await }
        });
        tokio::task::yield_now().await;
        outbox.push(event());
        waiting.await.expect("woken");
    }
}

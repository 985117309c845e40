//! What waits for one connection.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use switchboard_core::Event;
use tokio::sync::Notify;

/// What an event takes in the queue besides the frame it carries.
const EVENT_BYTES: usize = 128;

/// A queue of events for one connection, bounded in bytes. Pushing never waits: an event that
/// does not fit ends the connection, because one who misses an event can no longer be told the truth.
#[derive(Debug)]
pub struct Outbox {
    state: Mutex<State>,
    changed: Notify,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    overflowed: bool,
}

impl Outbox {
    /// An empty outbox for so many bytes (0: no limit).
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            state: Mutex::default(),
            changed: Notify::new(),
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
        drop(state);
        self.changed.notify_one();
    }

    /// The oldest event. An emptied queue gives its memory back.
    pub(crate) fn pop(&self) -> Option<Arc<Event>> {
        let mut state = self.lock();
        let event = state.events.pop_front()?;
        state.bytes -= cost(&event);
        if state.events.is_empty() && state.events.capacity() > 4 {
            state.events = VecDeque::new();
        }
        Some(event)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().events.is_empty()
    }

    /// Whether an event did not fit.
    pub(crate) fn has_overflowed(&self) -> bool {
        self.lock().overflowed
    }

    /// Waits for a push after the last wait.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that holds this lock panics half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
            assert!(Arc::ptr_eq(event, &outbox.pop().expect("an event")));
        }
        assert!(outbox.pop().is_none());
    }

    #[test]
    fn what_does_not_fit_ends_it() {
        let outbox = Outbox::new(3 * EVENT_BYTES);
        (0..3).for_each(|_| outbox.push(event()));
        assert!(!outbox.has_overflowed());
        outbox.push(event());
        assert!(outbox.has_overflowed());
        assert!(outbox.pop().is_none(), "nothing is told after a gap");
    }

    #[test]
    fn room_comes_back_when_events_are_taken() {
        let outbox = Outbox::new(2 * EVENT_BYTES);
        for _ in 0..100 {
            outbox.push(event());
            outbox.push(event());
            assert!(outbox.pop().is_some() && outbox.pop().is_some());
        }
        assert!(!outbox.has_overflowed());
    }
}

//! What waits for one connection.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use switchboard_core::{Call, Charge, Event, Member, PeerId};

/// What an event takes in the queue besides the frame it carries.
const EVENT_BYTES: usize = 128;

/// What a list of members takes for each; they themselves are shared.
const OTHER_BYTES: usize = size_of::<(Arc<Member>, Call)>();

/// An emptied queue that had room for more events gives its memory back.
const EVENTS_KEPT: usize = 4;

/// A queue of events for one connection, bounded in bytes, and the charges against the connection's
/// budgets. Pushing never waits: an event that does not fit ends the connection, because a client that
/// misses an event can no longer be told the truth.
#[derive(Debug)]
pub struct Outbox {
    state: Mutex<State>,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<Arc<Event>>,
    /// What must not wait behind the others: probes, and the end.
    urgent: VecDeque<Arc<Event>>,
    bytes: usize,
    overflowed: bool,
    charges: Charges,
    /// The connection's task, if it waits.
    waiting: Option<Waker>,
}

/// The peers without presence that a connection may have reached between two readings of its charges;
/// more raise its burst later.
const REACHED_MAX: usize = 64;

/// The work that a connection's frames have caused since its charges were last taken.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Charges {
    /// Frames that the server sends.
    pub(crate) deliveries: u64,
    /// Bytes of them.
    pub(crate) bytes: u64,
    /// Bytes of frames for receivers of whose outbox more than half is waiting.
    pub(crate) slow_receiver_bytes: u64,
    /// Peers that the connection has reached without being told of them.
    pub(crate) reached: Vec<PeerId>,
}

/// How much waits in an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backlog {
    /// At most half of what may wait.
    Low,
    /// More than half of it, or more than fits.
    High,
}

/// An event did not fit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overflow;

/// What a connection can take now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Appetite {
    /// Every event.
    All,
    /// Only urgent ones: the client has not taken yet what was sent before.
    Urgent,
}

impl Outbox {
    /// An empty outbox for so many bytes (0: no limit).
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            state: Mutex::default(),
            bytes_max,
        }
    }

    /// Puts an event in, or marks the outbox as overflowed for good. Returns how much waits then.
    pub fn push(&self, event: Arc<Event>) -> Backlog {
        let bytes = cost(&event);
        let mut state = self.lock();
        if state.overflowed {
            return Backlog::High;
        }
        if matches!(*event, Event::Probe(_) | Event::Evicted(_)) {
            state.urgent.push_back(event);
        } else if self.bytes_max != 0 && state.bytes + bytes > self.bytes_max {
            state.overflowed = true;
            state.events = VecDeque::new();
        } else {
            state.bytes += bytes;
            state.events.push_back(event);
        }
        let is_high = state.overflowed || self.bytes_max != 0 && state.bytes > self.bytes_max / 2;
        let waiting = state.waiting.take();
        drop(state);
        if let Some(waker) = waiting {
            waker.wake();
        }
        match is_high {
            true => Backlog::High,
            false => Backlog::Low,
        }
    }

    /// Notes what a frame of this connection has caused.
    pub fn charge(&self, charge: Charge) {
        let charges = &mut self.lock().charges;
        match charge {
            Charge::Deliveries { count, bytes } => {
                charges.deliveries = charges.deliveries.saturating_add(count as u64);
                charges.bytes = charges.bytes.saturating_add(bytes as u64);
            }
            Charge::SlowReceiver { bytes } => {
                let total = &mut charges.slow_receiver_bytes;
                *total = total.saturating_add(bytes as u64);
            }
            Charge::Reached(peer) if charges.reached.len() < REACHED_MAX => {
                charges.reached.push(peer);
            }
            Charge::Reached(_) => {}
        }
    }

    /// The charges since the last call.
    pub(crate) fn take_charges(&self) -> Charges {
        std::mem::take(&mut self.lock().charges)
    }

    /// The next event, if there is one that can be taken.
    pub(crate) fn pop(&self, appetite: Appetite) -> Result<Option<Arc<Event>>, Overflow> {
        let mut state = self.lock();
        if state.overflowed {
            return Err(Overflow);
        }
        if let Some(event) = state.urgent.pop_front() {
            return Ok(Some(event));
        }
        if appetite == Appetite::Urgent {
            return Ok(None);
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

    /// Ready when [`Outbox::pop`] has something to say.
    pub(crate) fn poll_filled(&self, context: &Context<'_>, appetite: Appetite) -> Poll<()> {
        let mut state = self.lock();
        let filled = appetite == Appetite::All && !state.events.is_empty();
        if state.overflowed || filled || !state.urgent.is_empty() {
            return Poll::Ready(());
        }
        let waiting = state.waiting.as_ref();
        if !waiting.is_some_and(|waker| waker.will_wake(context.waker())) {
            state.waiting = Some(context.waker().clone());
        }
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that holds this lock panics half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cost(event: &Event) -> usize {
    let carried = match event {
        Event::Heard { relay, .. } => relay.frame.len(),
        Event::Joined { others, .. } => others.len() * OTHER_BYTES,
        Event::Rejoined { others, .. } | Event::Members { others, .. } => {
            others.len() * OTHER_BYTES
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
    use std::future::poll_fn;

    use switchboard_core::{Eviction, Refusal};

    use super::*;

    fn event() -> Arc<Event> {
        Arc::new(Event::Refused(Refusal::Taken.into()))
    }

    #[test]
    fn gives_out_in_order_what_was_put_in() {
        let outbox = Outbox::new(0);
        let events = [event(), event(), event()];
        for event in &events {
            outbox.push(event.clone());
        }
        for event in &events {
            let popped = outbox
                .pop(Appetite::All)
                .expect("no overflow")
                .expect("an event");
            assert!(Arc::ptr_eq(event, &popped));
        }
        assert!(outbox.pop(Appetite::All).expect("no overflow").is_none());
    }

    #[test]
    fn what_does_not_fit_ends_it() {
        let outbox = Outbox::new(3 * EVENT_BYTES);
        let backlogs = [(); 3].map(|()| outbox.push(event()));
        assert_eq!(backlogs, [Backlog::Low, Backlog::High, Backlog::High]);
        assert!(outbox.pop(Appetite::Urgent).is_ok());
        outbox.push(event());
        assert_eq!(
            outbox.pop(Appetite::All).err(),
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
            assert!(outbox.pop(Appetite::All).is_ok_and(|event| event.is_some()));
            assert!(outbox.pop(Appetite::All).is_ok_and(|event| event.is_some()));
        }
    }

    #[test]
    fn the_end_does_not_wait_behind_a_full_queue() {
        let outbox = Outbox::new(EVENT_BYTES);
        outbox.push(event());
        outbox.push(Arc::new(Event::Evicted(Eviction::Ghost)));
        let first = outbox
            .pop(Appetite::Urgent)
            .expect("no overflow")
            .expect("an event");
        assert!(matches!(*first, Event::Evicted(Eviction::Ghost)));
        assert!(outbox.pop(Appetite::Urgent).expect("no overflow").is_none());
    }

    #[tokio::test]
    async fn a_push_wakes_who_waits() {
        let outbox = Arc::new(Outbox::new(0));
        let waiting = tokio::spawn({
            let outbox = outbox.clone();
            async move { poll_fn(|context| outbox.poll_filled(context, Appetite::All)).await }
        });
        tokio::task::yield_now().await;
        outbox.push(event());
        waiting.await.expect("woken");
    }
}

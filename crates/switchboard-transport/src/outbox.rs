//! The queue of events for one connection.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use switchboard_core::{Charge, Event, Limits, Member, OfferRole, PeerId};

use crate::queue_memory::QueueMemory;

/// The bytes of an event in the queue besides its frame.
const EVENT_BYTES: usize = 128;

/// The bytes of each member in a list of members. The members themselves are shared.
const OTHER_BYTES: usize = size_of::<(Arc<Member>, OfferRole)>();

/// An empty queue with capacity for more events than this is freed.
const EVENTS_KEPT: usize = 4;

/// The queue of events for one connection, bounded in bytes, and the charges against the budgets of the
/// connection. Pushing never waits: an event that does not fit ends the connection, because a client that
/// misses an event has a wrong view of its room.
#[derive(Debug)]
pub struct Outbox {
    state: Mutex<OutboxState>,
    bounds: OutboxLimits,
    memory: Arc<QueueMemory>,
}

/// The bound on the bytes queued in an outbox; 0 bytes for no limit.
#[derive(Clone, Copy, Debug)]
struct OutboxLimits {
    bytes: usize,
    /// Additional bytes for each peer of the client, up to [`PEERS_MAX`] peers.
    bytes_per_peer: usize,
}

/// The number of peers up to which each peer raises the bound of an outbox.
const PEERS_MAX: usize = 1024;

#[derive(Debug, Default)]
struct OutboxState {
    events: VecDeque<Arc<Event>>,
    /// Events that do not wait behind others: probes and evictions.
    urgent: VecDeque<Arc<Event>>,
    bytes: usize,
    /// The number of peers that may send to the client: peers that were announced to it and have not left, and
    /// peers that it has sent a frame to by their address. It stays when the client itself leaves a room.
    peers: usize,
    overflowed: bool,
    charges: PendingCharges,
    /// The waker of the connection task, if it waits for an event.
    waiting: Option<Waker>,
}

/// Max peers without presence that are noted as reached until the charges are taken. For further ones the
/// budgets grow when a later frame reaches them.
const REACHED_MAX: usize = 64;

/// The cost of the frames of a connection since its charges were last taken.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct PendingCharges {
    /// The number of frames that the server sends to receivers.
    pub(crate) deliveries: u64,
    /// The bytes of these frames.
    pub(crate) bytes: u64,
    /// The bytes of frames for receivers whose outbox is more than half full.
    pub(crate) slow_receiver_bytes: u64,
    /// The peers that the connection has reached although they were not announced to it.
    pub(crate) reached: Vec<PeerId>,
}

/// The fill level of an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FillLevel {
    /// At most half of its bound.
    Low,
    /// More than half of its bound, or overflowed.
    High,
}

/// The outbox has overflowed: an event did not fit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overflow;

/// The events that a connection can handle now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PopMode {
    /// All queued events.
    All,
    /// Only urgent events, because frames are still waiting for the socket.
    Urgent,
}

impl Outbox {
    /// An empty outbox with the bounds of `limits`. Its bytes are counted in `memory`.
    #[must_use]
    pub fn new(limits: &Limits, memory: Arc<QueueMemory>) -> Self {
        let bounds = OutboxLimits {
            bytes: limits.outbox_bytes,
            bytes_per_peer: limits.outbox_bytes_per_peer,
        };
        Self {
            state: Mutex::default(),
            bounds,
            memory,
        }
    }

    /// Queues an event. If it does not fit, the outbox overflows for good. Returns the fill level afterwards.
    pub fn push(&self, event: Arc<Event>) -> FillLevel {
        let bytes = event_bytes(&event);
        let mut state = self.lock();
        if state.overflowed {
            return FillLevel::High;
        }
        if matches!(*event, Event::Probe(_) | Event::Evicted(_)) {
            state.urgent.push_back(event);
        } else {
            state.count_peers(&event);
            if self.has_room(&state, bytes) {
                state.bytes += bytes;
                state.events.push_back(event);
            } else {
                self.overflow(&mut state);
            }
        }
        let half = self.bounds.of(&state) / 2;
        let is_high = state.overflowed || half != 0 && state.bytes > half;
        let waiting = state.waiting.take();
        drop(state);
        if let Some(waker) = waiting {
            waker.wake();
        }
        match is_high {
            true => FillLevel::High,
            false => FillLevel::Low,
        }
    }

    /// Whether `bytes` more fit. If they do, their memory is reserved.
    fn has_room(&self, state: &OutboxState, bytes: usize) -> bool {
        let (bound, after) = (self.bounds.of(state), state.bytes + bytes);
        (bound == 0 || after <= bound) && self.memory.resize(state.bytes, after)
    }

    fn overflow(&self, state: &mut OutboxState) {
        state.overflowed = true;
        state.events = VecDeque::new();
        self.memory.resize(state.bytes, 0);
        state.bytes = 0;
    }

    /// Raises the bound for the frames of `count` more peers, which the client has reached although they were
    /// not announced to it.
    pub(crate) fn expect_peers(&self, count: usize) {
        if count == 0 {
            return;
        }
        let mut state = self.lock();
        state.peers = state.peers.saturating_add(count);
    }

    /// Adds the charge for a frame of this connection.
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

    /// Takes the charges since the last call.
    pub(crate) fn take_charges(&self) -> PendingCharges {
        std::mem::take(&mut self.lock().charges)
    }

    /// Removes the next event that `mode` allows, if there is one.
    ///
    /// # Errors
    /// If the outbox has overflowed.
    pub(crate) fn pop(&self, mode: PopMode) -> Result<Option<Arc<Event>>, Overflow> {
        let mut state = self.lock();
        if state.overflowed {
            return Err(Overflow);
        }
        if let Some(event) = state.urgent.pop_front() {
            return Ok(Some(event));
        }
        if mode == PopMode::Urgent {
            return Ok(None);
        }
        let Some(event) = state.events.pop_front() else {
            return Ok(None);
        };
        let bytes = state.bytes - event_bytes(&event);
        self.memory.resize(state.bytes, bytes);
        state.bytes = bytes;
        if state.events.is_empty() && state.events.capacity() > EVENTS_KEPT {
            state.events = VecDeque::new();
        }
        Ok(Some(event))
    }

    /// The number of queued events.
    pub(crate) fn len(&self) -> usize {
        let state = self.lock();
        state.events.len() + state.urgent.len()
    }

    /// Ready when [`Outbox::pop`] returns an event or an error.
    pub(crate) fn poll_filled(&self, context: &Context<'_>, mode: PopMode) -> Poll<()> {
        let mut state = self.lock();
        let filled = mode == PopMode::All && !state.events.is_empty();
        if state.overflowed || filled || !state.urgent.is_empty() {
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

/// Releases the reserved memory.
impl Drop for Outbox {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.memory.resize(state.bytes, 0);
    }
}

impl OutboxLimits {
    /// The bound of an outbox in bytes; 0 for no limit.
    fn of(self, state: &OutboxState) -> usize {
        match self.bytes {
            0 => 0,
            bytes => {
                let peers = state.peers.min(PEERS_MAX);
                bytes.saturating_add(self.bytes_per_peer.saturating_mul(peers))
            }
        }
    }
}

impl OutboxState {
    /// Counts the peers that an event announces, and subtracts those that leave.
    fn count_peers(&mut self, event: &Event) {
        match event {
            Event::Joined { others, .. } => self.peers = self.peers.saturating_add(others.len()),
            Event::Introduced { .. } => self.peers = self.peers.saturating_add(1),
            Event::Departed { .. } => self.peers = self.peers.saturating_sub(1),
            Event::Rejoined { .. }
            | Event::Members { .. }
            | Event::Received { .. }
            | Event::Claimed(_)
            | Event::Probe(_)
            | Event::Evicted(_)
            | Event::RequestFailed(_) => {}
        }
    }
}

fn event_bytes(event: &Event) -> usize {
    let carried = match event {
        Event::Received { message, .. } => message.frame.len(),
        Event::Joined { others, .. } => others.len() * OTHER_BYTES,
        Event::Rejoined { others, .. } | Event::Members { others, .. } => {
            others.len() * OTHER_BYTES
        }
        Event::Claimed(_)
        | Event::Introduced { .. }
        | Event::Departed { .. }
        | Event::Probe(_)
        | Event::Evicted(_)
        | Event::RequestFailed(_) => 0,
    };
    EVENT_BYTES + carried
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use switchboard_core::{
        DialectTraits, ErrorCode, EvictionReason, Identity, RoomId, RoomName, SpaceName,
    };

    use crate::queue_memory::UNCOUNTED_BYTES;

    use super::*;

    fn bounded(bytes_max: usize) -> Outbox {
        let limits = Limits {
            outbox_bytes: bytes_max,
            ..Limits::default()
        };
        Outbox::new(&limits, Arc::default())
    }

    fn event() -> Arc<Event> {
        Arc::new(Event::RequestFailed(ErrorCode::Taken.into()))
    }

    #[test]
    fn events_are_popped_in_the_order_they_were_pushed() {
        let outbox = bounded(0);
        let events = [event(), event(), event()];
        for event in &events {
            outbox.push(event.clone());
        }
        for event in &events {
            let popped = outbox
                .pop(PopMode::All)
                .expect("no overflow")
                .expect("an event");
            assert!(Arc::ptr_eq(event, &popped));
        }
        assert!(outbox.pop(PopMode::All).expect("no overflow").is_none());
    }

    #[test]
    fn an_event_that_does_not_fit_overflows_the_outbox() {
        let outbox = bounded(3 * EVENT_BYTES);
        let backlogs = [(); 3].map(|()| outbox.push(event()));
        assert_eq!(backlogs, [FillLevel::Low, FillLevel::High, FillLevel::High]);
        assert!(outbox.pop(PopMode::Urgent).is_ok());
        outbox.push(event());
        assert_eq!(
            outbox.pop(PopMode::All).err(),
            Some(Overflow),
            "no event follows a gap"
        );
    }

    #[test]
    fn popped_events_free_their_bytes() {
        let outbox = bounded(2 * EVENT_BYTES);
        for _ in 0..100 {
            outbox.push(event());
            outbox.push(event());
            assert!(outbox.pop(PopMode::All).is_ok_and(|event| event.is_some()));
            assert!(outbox.pop(PopMode::All).is_ok_and(|event| event.is_some()));
        }
    }

    #[test]
    fn an_eviction_does_not_wait_behind_a_full_queue() {
        let outbox = bounded(EVENT_BYTES);
        outbox.push(event());
        outbox.push(Arc::new(Event::Evicted(EvictionReason::Unresponsive)));
        let first = outbox
            .pop(PopMode::Urgent)
            .expect("no overflow")
            .expect("an event");
        assert!(matches!(
            *first,
            Event::Evicted(EvictionReason::Unresponsive)
        ));
        assert!(outbox.pop(PopMode::Urgent).expect("no overflow").is_none());
    }

    #[tokio::test]
    async fn a_push_wakes_the_waiting_task() {
        let outbox = Arc::new(bounded(0));
        let waiting = tokio::spawn({
            let outbox = outbox.clone();
            async move { poll_fn(|context| outbox.poll_filled(context, PopMode::All)).await }
        });
        tokio::task::yield_now().await;
        outbox.push(event());
        waiting.await.expect("woken");
    }

    fn joined(others: usize) -> Arc<Event> {
        let member = Arc::new(Member {
            peer: PeerId::from_random([1; 16]),
            address: PeerId::from_random([1; 16]).into(),
            name: None,
            dialect: &DialectTraits::DEFAULT,
            identity: Identity::Claimed,
            token: None,
            group: None,
        });
        let room = RoomName::parse("r", 0).expect("a name");
        Arc::new(Event::Joined {
            room: RoomId::shared(SpaceName::default(), room),
            others: vec![(member, OfferRole::Offerer); others],
        })
    }

    #[test]
    fn the_bound_of_a_newcomer_grows_with_the_number_of_members() {
        let mut limits = Limits::default();
        let limit = limits.outbox_bytes;
        limits.outbox_bytes_per_peer = 10_000;
        let events_until_full = |others| {
            let outbox = Outbox::new(&limits, Arc::default());
            outbox.push(joined(others));
            assert!(outbox.pop(PopMode::All).is_ok_and(|event| event.is_some()));
            let is_full = |outbox: &Outbox| outbox.pop(PopMode::Urgent).is_err();
            let mut count = 0;
            while !is_full(&outbox) {
                outbox.push(event());
                count += 1;
            }
            count - 1
        };
        assert_eq!(events_until_full(0), limit / EVENT_BYTES);
        assert_eq!(events_until_full(100), (limit + 1_000_000) / EVENT_BYTES);
    }

    #[test]
    fn the_largest_bound_for_each_peer_does_not_overflow() {
        let limits = Limits {
            outbox_bytes_per_peer: usize::MAX,
            ..Limits::default()
        };
        let outbox = Outbox::new(&limits, Arc::default());
        assert_eq!(outbox.push(joined(3)), FillLevel::Low);
        assert_eq!(outbox.push(event()), FillLevel::Low);
    }

    #[test]
    fn all_outboxes_together_are_bounded() {
        let memory = Arc::new(QueueMemory::new(800 * EVENT_BYTES));
        let limits = Limits::default();
        let fill = |count| {
            let outbox = Outbox::new(&limits, memory.clone());
            (0..UNCOUNTED_BYTES / EVENT_BYTES + count).for_each(|_| {
                outbox.push(event());
            });
            outbox
        };
        let is_full = |outbox: &Outbox| outbox.pop(PopMode::Urgent).is_err();
        assert!(is_full(&fill(101)));
        let first = fill(80);
        assert!(!is_full(&first));
        assert!(is_full(&fill(91)), "720 are free");
        drop(first);
        assert!(!is_full(&fill(95)), "memory comes back");
    }
}

//! What waits for one connection.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use switchboard_core::{Charge, Event, Limits, Member, OfferRole, PeerId};

use crate::queue_memory::QueueMemory;

/// What an event takes in the queue besides the frame it carries.
const EVENT_BYTES: usize = 128;

/// What a list of members takes for each; they themselves are shared.
const OTHER_BYTES: usize = size_of::<(Arc<Member>, OfferRole)>();

/// An emptied queue that had room for more events gives its memory back.
const EVENTS_KEPT: usize = 4;

/// A queue of events for one connection, bounded in bytes, and the charges against the connection's
/// budgets. Pushing never waits: an event that does not fit ends the connection, because a client that
/// has missed an event has a wrong view of its room.
#[derive(Debug)]
pub struct Outbox {
    state: Mutex<OutboxState>,
    bounds: OutboxLimits,
    memory: Arc<QueueMemory>,
}

/// The bound on the bytes that wait in an outbox; 0 bytes: no limit.
#[derive(Clone, Copy, Debug)]
struct OutboxLimits {
    bytes: usize,
    /// More of them for each peer that may send at once, up to [`PEERS_MAX`].
    bytes_per_peer: usize,
}

/// Peers for which an outbox has room beside its usual bound.
const PEERS_MAX: usize = 1024;

#[derive(Debug, Default)]
struct OutboxState {
    events: VecDeque<Arc<Event>>,
    /// What must not wait behind the others: probes, and the end.
    urgent: VecDeque<Arc<Event>>,
    bytes: usize,
    /// The peers that the client was told of and that have not left, or that it has reached; not less when
    /// the client itself leaves a room.
    peers: usize,
    overflowed: bool,
    charges: PendingCharges,
    /// The connection's task, if it waits.
    waiting: Option<Waker>,
}

/// The peers without presence that a connection may have reached between two readings of its charges;
/// more raise its burst later.
const REACHED_MAX: usize = 64;

/// The work that a connection's frames have caused since its charges were last taken.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct PendingCharges {
    /// Frames that the server sends.
    pub(crate) deliveries: u64,
    /// Bytes of them.
    pub(crate) bytes: u64,
    /// Bytes of frames for receivers of whose outbox more than half is waiting.
    pub(crate) slow_receiver_bytes: u64,
    /// Peers that the connection has reached without being told of them.
    pub(crate) reached: Vec<PeerId>,
}

/// How full an outbox is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FillLevel {
    /// At most half of its bound.
    Low,
    /// More than half of it, or more than fits.
    High,
}

/// An event did not fit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overflow;

/// What a connection can take now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PopMode {
    /// Every event.
    All,
    /// Only urgent ones: the client has not taken yet what was sent before.
    Urgent,
}

impl Outbox {
    /// An empty outbox with the bounds of `limits`, whose bytes are part of `memory`.
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

    /// Puts an event in, or marks the outbox as overflowed for good. Returns how much waits then.
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

    /// Whether `bytes` more may wait. If so, the memory for them is taken.
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

    /// Makes room for the frames of `count` more peers, which the client has reached without being told
    /// of them.
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

    /// The charges since the last call.
    pub(crate) fn take_charges(&self) -> PendingCharges {
        std::mem::take(&mut self.lock().charges)
    }

    /// The next event, if there is one that can be taken.
    pub(crate) fn pop(&self, appetite: PopMode) -> Result<Option<Arc<Event>>, Overflow> {
        let mut state = self.lock();
        if state.overflowed {
            return Err(Overflow);
        }
        if let Some(event) = state.urgent.pop_front() {
            return Ok(Some(event));
        }
        if appetite == PopMode::Urgent {
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

    /// Ready when [`Outbox::pop`] has something to say.
    pub(crate) fn poll_filled(&self, context: &Context<'_>, appetite: PopMode) -> Poll<()> {
        let mut state = self.lock();
        let filled = appetite == PopMode::All && !state.events.is_empty();
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
        // Nothing that holds this lock panics half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The memory of an outbox is given back with it.
impl Drop for Outbox {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.memory.resize(state.bytes, 0);
    }
}

impl OutboxLimits {
    /// The bytes that may wait in an outbox; 0: no limit.
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
    /// Counts the peers that an event tells of.
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
        Event::Received { message: relay, .. } => relay.frame.len(),
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
    fn gives_out_in_order_what_was_put_in() {
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
    fn what_does_not_fit_ends_it() {
        let outbox = bounded(3 * EVENT_BYTES);
        let backlogs = [(); 3].map(|()| outbox.push(event()));
        assert_eq!(backlogs, [FillLevel::Low, FillLevel::High, FillLevel::High]);
        assert!(outbox.pop(PopMode::Urgent).is_ok());
        outbox.push(event());
        assert_eq!(
            outbox.pop(PopMode::All).err(),
            Some(Overflow),
            "nothing is told after a gap"
        );
    }

    #[test]
    fn room_comes_back_when_events_are_taken() {
        let outbox = bounded(2 * EVENT_BYTES);
        for _ in 0..100 {
            outbox.push(event());
            outbox.push(event());
            assert!(outbox.pop(PopMode::All).is_ok_and(|event| event.is_some()));
            assert!(outbox.pop(PopMode::All).is_ok_and(|event| event.is_some()));
        }
    }

    #[test]
    fn the_end_does_not_wait_behind_a_full_queue() {
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
    async fn a_push_wakes_who_waits() {
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
    fn a_newcomer_has_room_for_the_frames_of_every_member() {
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

//! The queue of events for one session, and its bound.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
};

use switchboard_core::{Charge, Event, Limits, Member, OfferRole, PeerId};

use crate::queue_memory::{QueueMemory, QueueOwner, QueueUsage, UNCOUNTED_BYTES};

/// The bytes of an event in the queue besides its frame.
const EVENT_BYTES: usize = 128;

/// The bytes of each member in a list of members. The members themselves are shared.
const OTHER_BYTES: usize = size_of::<(Arc<Member>, OfferRole)>();

/// An empty queue with capacity for more events than this is freed.
const EVENTS_KEPT: usize = 4;

/// The bound of a queue grows with the number of the client's peers, up to this number.
const PEERS_MAX: usize = 1024;

/// Max peers that are recorded as reached until the charges are taken. A further peer is recorded when a later frame
/// reaches it.
const REACHED_MAX: usize = 64;

/// The bound on the queued bytes; 0 bytes for no limit.
#[derive(Clone, Copy, Debug)]
struct QueueLimits {
    bytes: usize,
    /// Additional bytes for each peer of the client, up to [`PEERS_MAX`] peers.
    bytes_per_peer: usize,
}

/// The cost of the frames of a session since its charges were last taken.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PendingCharges {
    /// The number of frames that the server sends to receivers.
    pub deliveries: u64,
    /// The bytes of these frames.
    pub bytes: u64,
    /// The bytes of frames for receivers whose queue is more than half full.
    pub slow_receiver_bytes: u64,
    /// The peers that the session has reached although they were not announced to it.
    pub reached: Vec<PeerId>,
}

/// The fill level of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FillLevel {
    /// At most half of its bound.
    Low,
    /// More than half of its bound, or overflowed.
    High,
}

/// The reason why a queue has overflowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// An event did not fit within the bound of the queue.
    Queue,
    /// The memory of all queues was used up, and this queue was the largest one.
    Memory,
}

/// The events that a connection can handle now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PopMode {
    /// All queued events.
    All,
    /// Only urgent events, because frames still wait for the socket or a decision is pending.
    Urgent,
}

/// The events for one session, bounded in bytes, and the charges against its budgets. Pushing never waits. After an
/// event that does not fit, the queue is overflowed and its connection must end: a client that has missed an event has
/// a wrong view of its room.
#[derive(Debug)]
pub struct EventQueue {
    events: VecDeque<Arc<Event>>,
    /// Events that do not wait behind others: probes and evictions. `None` while there are none, as nearly always.
    urgent: Option<Box<UrgentEvents>>,
    bytes: usize,
    /// The number of peers that may send to the client: peers that were announced to it and have not left, and
    /// peers that it has sent a frame to by their address. A leave of the client itself does not lower it.
    peers: usize,
    overflowed: Option<Overflow>,
    charges: PendingCharges,
    limits: QueueLimits,
    memory: Arc<QueueMemory>,
    usage: QueueUsage,
}

/// The urgent events, oldest first.
#[derive(Debug, Default)]
struct UrgentEvents(VecDeque<Arc<Event>>);

impl EventQueue {
    /// An empty queue with the bounds of `limits`. Its bytes are counted in `memory`.
    #[must_use]
    pub fn new(limits: &Limits, memory: Arc<QueueMemory>) -> Self {
        Self {
            events: VecDeque::new(),
            urgent: None,
            bytes: 0,
            peers: 0,
            overflowed: None,
            charges: PendingCharges::default(),
            limits: QueueLimits {
                bytes: limits.outbox_bytes,
                bytes_per_peer: limits.outbox_bytes_per_peer,
            },
            memory,
            usage: QueueUsage::default(),
        }
    }

    /// Queues an event. If it does not fit, the queue overflows. Returns the fill level afterwards.
    pub fn push(&mut self, event: Arc<Event>) -> FillLevel {
        if self.overflowed.is_some() {
            return FillLevel::High;
        }
        self.count_peers(&event);
        let bound = self.bytes_max();
        if matches!(*event, Event::Probe(_) | Event::Evicted(_)) {
            self.urgent.get_or_insert_default().0.push_back(event);
        } else {
            let after = self.bytes + event_bytes(&event);
            if bound != 0 && after > bound {
                self.overflow(Overflow::Queue);
                return FillLevel::High;
            }
            if !self.usage.resize(&self.memory, self.bytes, after) {
                self.overflow(Overflow::Memory);
                return FillLevel::High;
            }
            self.bytes = after;
            self.events.push_back(event);
        }
        match bound != 0 && self.bytes > bound / 2 {
            true => FillLevel::High,
            false => FillLevel::Low,
        }
    }

    fn overflow(&mut self, reason: Overflow) {
        self.overflowed.get_or_insert(reason);
        self.events = VecDeque::new();
        self.usage.release(&self.memory);
        self.bytes = 0;
    }

    /// Makes the queue overflow, because it was the largest one when the memory of all queues was used up.
    pub fn end_for_memory(&mut self) {
        self.overflow(Overflow::Memory);
    }

    /// Tells the memory of all queues the owner of a queue that has become long. Returns the memory if other queues may
    /// have to end: the caller calls [`QueueMemory::end_largest`] when it holds no lock.
    pub fn register_owner(
        &mut self,
        owner: impl FnOnce() -> Weak<dyn QueueOwner>,
    ) -> Option<Arc<QueueMemory>> {
        if self.bytes <= UNCOUNTED_BYTES && self.overflowed.is_none() {
            return None;
        }
        if self.usage.needs_owner() {
            self.usage.set_owner(owner());
        }
        self.memory.has_ending().then(|| self.memory.clone())
    }

    /// Raises the bound for `count` more peers: the client has sent frames to them although they were not announced to
    /// it, so they may answer.
    pub fn expect_peers(&mut self, count: usize) {
        self.peers = self.peers.saturating_add(count);
    }

    /// Adds the charge for a frame of this session.
    pub fn charge(&mut self, charge: Charge) {
        let charges = &mut self.charges;
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
    pub fn take_charges(&mut self) -> PendingCharges {
        std::mem::take(&mut self.charges)
    }

    /// Removes the next event that `mode` allows, if there is one.
    ///
    /// # Errors
    /// If the queue has overflowed.
    pub fn pop(&mut self, mode: PopMode) -> Result<Option<Arc<Event>>, Overflow> {
        if let Some(reason) = self.overflowed {
            return Err(reason);
        }
        if let Some(event) = self.urgent.as_mut().and_then(|urgent| urgent.0.pop_front()) {
            self.urgent.take_if(|urgent| urgent.0.is_empty());
            return Ok(Some(event));
        }
        if mode == PopMode::Urgent {
            return Ok(None);
        }
        let Some(event) = self.events.pop_front() else {
            return Ok(None);
        };
        let bytes = self.bytes - event_bytes(&event);
        self.usage.resize(&self.memory, self.bytes, bytes);
        self.bytes = bytes;
        if self.events.is_empty() && self.events.capacity() > EVENTS_KEPT {
            self.events = VecDeque::new();
        }
        Ok(Some(event))
    }

    /// Whether [`EventQueue::pop`] returns an event or an error.
    #[must_use]
    pub fn is_filled(&self, mode: PopMode) -> bool {
        let has_event = mode == PopMode::All && !self.events.is_empty();
        self.overflowed.is_some() || has_event || self.urgent.is_some()
    }

    /// The number of queued events.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "the length is only measured")]
    pub fn len(&self) -> usize {
        let urgent = self.urgent.as_ref().map_or(0, |urgent| urgent.0.len());
        self.events.len() + urgent
    }

    /// The bytes of the queued events that are not urgent.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The bound in bytes; 0 for no limit.
    fn bytes_max(&self) -> usize {
        match self.limits.bytes {
            0 => 0,
            bytes => {
                let peers = self.peers.min(PEERS_MAX);
                bytes.saturating_add(self.limits.bytes_per_peer.saturating_mul(peers))
            }
        }
    }

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

/// Frees the memory that the queued bytes have reserved.
impl Drop for EventQueue {
    fn drop(&mut self) {
        self.usage.release(&self.memory);
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
    use switchboard_core::{
        DialectTraits, ErrorCode, EvictionReason, Identity, RoomId, RoomName, SpaceName,
    };

    use super::*;

    fn bounded(bytes_max: usize) -> EventQueue {
        let limits = Limits {
            outbox_bytes: bytes_max,
            ..Limits::default()
        };
        EventQueue::new(&limits, Arc::default())
    }

    fn event() -> Arc<Event> {
        Arc::new(Event::RequestFailed(ErrorCode::Taken.into()))
    }

    #[test]
    fn events_are_popped_in_the_order_they_were_pushed() {
        let mut queue = bounded(0);
        let events = [event(), event(), event()];
        for event in &events {
            queue.push(event.clone());
        }
        for event in &events {
            let popped = queue
                .pop(PopMode::All)
                .expect("no overflow")
                .expect("an event");
            assert!(Arc::ptr_eq(event, &popped));
        }
        assert!(queue.pop(PopMode::All).expect("no overflow").is_none());
    }

    #[test]
    fn an_event_that_does_not_fit_overflows_the_queue() {
        let mut queue = bounded(3 * EVENT_BYTES);
        let levels = [(); 3].map(|()| queue.push(event()));
        assert_eq!(levels, [FillLevel::Low, FillLevel::High, FillLevel::High]);
        assert!(queue.pop(PopMode::Urgent).is_ok());
        queue.push(event());
        assert_eq!(
            queue.pop(PopMode::All).err(),
            Some(Overflow::Queue),
            "no event may follow a dropped one"
        );
    }

    #[test]
    fn popped_events_free_their_bytes() {
        let mut queue = bounded(2 * EVENT_BYTES);
        for _ in 0..100 {
            queue.push(event());
            queue.push(event());
            assert!(queue.pop(PopMode::All).is_ok_and(|event| event.is_some()));
            assert!(queue.pop(PopMode::All).is_ok_and(|event| event.is_some()));
        }
    }

    #[test]
    fn an_eviction_does_not_wait_behind_a_full_queue() {
        let mut queue = bounded(EVENT_BYTES);
        queue.push(event());
        queue.push(Arc::new(Event::Evicted(EvictionReason::Unresponsive)));
        let first = queue
            .pop(PopMode::Urgent)
            .expect("no overflow")
            .expect("an event");
        assert!(matches!(
            *first,
            Event::Evicted(EvictionReason::Unresponsive)
        ));
        assert!(queue.pop(PopMode::Urgent).expect("no overflow").is_none());
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
            policy: None,
        });
        let room = RoomName::parse("r", 0).expect("a name");
        Arc::new(Event::Joined {
            room: RoomId::shared(SpaceName::default(), room),
            others: vec![(member, OfferRole::Offerer); others],
        })
    }

    #[test]
    fn the_bound_of_a_queue_grows_with_the_number_of_members_in_the_joined_room() {
        let mut limits = Limits::default();
        let limit = limits.outbox_bytes;
        limits.outbox_bytes_per_peer = 10_000;
        let events_until_full = |others| {
            let mut queue = EventQueue::new(&limits, Arc::default());
            queue.push(joined(others));
            assert!(queue.pop(PopMode::All).is_ok_and(|event| event.is_some()));
            let is_full = |queue: &mut EventQueue| queue.pop(PopMode::Urgent).is_err();
            let mut count = 0;
            while !is_full(&mut queue) {
                queue.push(event());
                count += 1;
            }
            count - 1
        };
        assert_eq!(events_until_full(0), limit / EVENT_BYTES);
        assert_eq!(events_until_full(100), (limit + 1_000_000) / EVENT_BYTES);
    }

    #[test]
    fn the_largest_bound_per_peer_causes_no_arithmetic_overflow() {
        let limits = Limits {
            outbox_bytes_per_peer: usize::MAX,
            ..Limits::default()
        };
        let mut queue = EventQueue::new(&limits, Arc::default());
        assert_eq!(queue.push(joined(3)), FillLevel::Low);
        assert_eq!(queue.push(event()), FillLevel::Low);
    }

    #[test]
    fn all_queues_together_are_bounded() {
        let memory = Arc::new(QueueMemory::new(800 * EVENT_BYTES));
        let limits = Limits::default();
        let fill = |count| {
            let mut queue = EventQueue::new(&limits, memory.clone());
            (0..UNCOUNTED_BYTES / EVENT_BYTES + count).for_each(|_| {
                queue.push(event());
            });
            queue
        };
        let end = |queue: &mut EventQueue| queue.pop(PopMode::Urgent).err();
        assert_eq!(end(&mut fill(801)), Some(Overflow::Memory));
        let mut first = fill(500);
        assert_eq!(end(&mut first), None);
        // The first queue has no owner, so it cannot end in favor of the other one.
        assert_eq!(end(&mut fill(301)), Some(Overflow::Memory));
        assert_eq!(memory.used(), 500 * EVENT_BYTES);
        first.end_for_memory();
        assert_eq!(end(&mut first), Some(Overflow::Memory));
        assert_eq!(memory.used(), 0);
        assert_eq!(
            end(&mut fill(800)),
            None,
            "a queue that has ended frees its memory"
        );
    }
}

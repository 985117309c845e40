//! The budgets of a connection: token buckets for its frames, and for the deliveries that they cause.
//!
//! One frame may overdraw a budget, which is in debt then. While a budget is in debt, the connection is not read. So a
//! client over its rate is slowed down; it is disconnected only if it stays over its rate.

use std::{
    num::NonZeroU64,
    sync::Arc,
    time::{Duration, Instant},
};

use switchboard_core::{Event, HubRequest, Limits, PeerId, Target};

use crate::{bucket::TokenBucket, event_queue::PendingCharges, peer_set::PeerSet};

/// The number of distinct peers up to which each new peer raises the burst of frames. It bounds the memory for them.
const PEERS_MAX: usize = 4096;

/// After this time without debt, the time in debt is counted from zero again.
const DEBT_BREAK: Duration = Duration::from_secs(1);

/// The spent budgets of an ended connection are not kept if they are full again within this time.
const NEARLY_FULL: Duration = Duration::from_millis(100);

/// The times at which the budgets of an ended connection are full again. The next connection of the same
/// address continues them, so a client gains nothing by reconnecting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpentBudgets {
    frames: Option<Instant>,
    deliveries: Option<Instant>,
    bytes: Option<Instant>,
}

impl SpentBudgets {
    /// The budgets of a connection that has spent only frames.
    #[must_use]
    pub fn of_frames(full_at: Instant) -> Self {
        Self {
            frames: Some(full_at),
            deliveries: None,
            bytes: None,
        }
    }

    /// The time at which all budgets are full again.
    pub fn until(&self) -> Option<Instant> {
        self.frames.max(self.deliveries).max(self.bytes)
    }
}

/// A period in which the connection was in debt, without a break longer than [`DEBT_BREAK`].
#[derive(Clone, Copy, Debug)]
struct Debt {
    since: Instant,
    /// The time at which the last debt is or was paid.
    until: Instant,
}

/// The rate and the burst of a budget; 0 for no limit.
#[derive(Clone, Copy, Debug)]
struct Rate {
    per_second: u32,
    burst: u32,
}

impl Rate {
    fn full_bucket(self, now: Instant) -> Option<TokenBucket> {
        TokenBucket::new(self.per_second, self.burst, now)
    }
}

/// A budget whose rate is that of the limits. Only a charged one has a time, so that a full one takes little memory.
#[derive(Clone, Copy, Debug, Default)]
struct DeliveryBudget {
    /// The time at which the bucket is full again.
    full_at: Option<Instant>,
}

impl DeliveryBudget {
    /// Charges `count` tokens. Returns the time at which the debt is paid, if there is one.
    fn charge(&mut self, rate: Rate, count: u64, now: Instant) -> Option<Instant> {
        if count == 0 {
            return None;
        }
        let mut bucket = self.bucket(rate, now)?;
        let debt = bucket.charge(count, now);
        self.full_at = Some(bucket.full_at());
        debt
    }

    fn bucket(self, rate: Rate, now: Instant) -> Option<TokenBucket> {
        let mut bucket = rate.full_bucket(now)?;
        if let Some(full_at) = self.full_at {
            bucket.continue_from(full_at);
        }
        Some(bucket)
    }

    /// Continues another budget, which is full again at `full_at`. Returns the time at which the debt is paid.
    fn continue_from(
        &mut self,
        rate: Rate,
        full_at: Option<Instant>,
        now: Instant,
    ) -> Option<Instant> {
        self.full_at = full_at.or(self.full_at);
        self.bucket(rate, now)?.debt(now)
    }

    fn release_full(&mut self, now: Instant) {
        self.full_at.take_if(|at| *at < now);
    }
}

/// The budgets of one connection. A limit of 0 is no limit.
#[derive(Debug)]
pub(crate) struct Budgets {
    frames: Option<TokenBucket>,
    limits: Arc<Limits>,
    deliveries: DeliveryBudget,
    bytes: DeliveryBudget,
    /// The part of the initial burst that is not assigned to a peer. New peers are assigned their frames from it first;
    /// only when it is used up does the burst grow.
    unused_burst: u32,
    /// The distinct peers that were announced to the connection or that it has reached.
    peers: PeerSet,
    /// `None` in most connections.
    debts: Option<Box<Debts>>,
}

/// The debts of all budgets, and the budget that few connections spend.
#[derive(Debug, Default)]
struct Debts {
    slow_receivers: DeliveryBudget,
    debt: Option<Debt>,
    /// The end of the pause for slow receivers. The time of this pause is not part of `flood_secs`.
    slowed_until: Option<Instant>,
}

impl Debts {
    /// Whether no debt counts any more and the budget is full.
    fn are_paid(&self, now: Instant) -> bool {
        let forgotten_at = self.debt.map(|debt| debt.until + DEBT_BREAK);
        let times = [forgotten_at, self.slowed_until, self.slow_receivers.full_at];
        times.into_iter().flatten().all(|at| at < now)
    }
}

fn deliveries_rate(limits: &Limits) -> Rate {
    Rate {
        per_second: limits.deliveries_per_second,
        burst: limits.deliveries_burst,
    }
}

fn bytes_rate(limits: &Limits) -> Rate {
    Rate {
        per_second: limits.delivered_bytes_per_second,
        burst: limits.delivered_bytes_burst,
    }
}

fn slow_receivers_rate(limits: &Limits) -> Rate {
    Rate {
        per_second: limits.slow_receiver_bytes_per_second,
        burst: limits.slow_receiver_bytes_burst,
    }
}

impl Budgets {
    pub(crate) fn new(limits: Arc<Limits>, now: Instant) -> Self {
        let frames = TokenBucket::new(limits.frames_per_second, limits.frames_burst, now);
        Self {
            frames,
            deliveries: DeliveryBudget::default(),
            bytes: DeliveryBudget::default(),
            unused_burst: limits.frames_burst,
            peers: PeerSet::default(),
            debts: None,
            limits,
        }
    }

    /// Frees the memory of budgets that are full.
    pub(crate) fn release_full(&mut self, now: Instant) {
        self.deliveries.release_full(now);
        self.bytes.release_full(now);
        self.debts.take_if(|debts| debts.are_paid(now));
    }

    /// Continues the budgets of an ended connection. A debt of frames is cancelled, because the burst of the
    /// new connection is smaller until it gets to know the same peers.
    pub(crate) fn continue_from(&mut self, spent: &SpentBudgets, now: Instant) {
        let limits = &self.limits;
        let (deliveries, bytes) = (deliveries_rate(limits), bytes_rate(limits));
        let deliveries = self
            .deliveries
            .continue_from(deliveries, spent.deliveries, now);
        let bytes = self.bytes.continue_from(bytes, spent.bytes, now);
        if let (Some(frames), Some(full_at)) = (&mut self.frames, spent.frames) {
            frames.continue_from(full_at);
            frames.forgive_debt(now);
        }
        self.enter_debt(deliveries.max(bytes), now);
    }

    /// The spent budgets of the connection. `None` if they are full again within [`NEARLY_FULL`].
    pub(crate) fn spent(&self, now: Instant) -> Option<SpentBudgets> {
        let spent = SpentBudgets {
            frames: self.frames.as_ref().map(TokenBucket::full_at),
            deliveries: self.deliveries.full_at,
            bytes: self.bytes.full_at,
        };
        let until = spent.until();
        until
            .is_some_and(|until| until > now + NEARLY_FULL)
            .then_some(spent)
    }

    /// Charges one frame from the client.
    pub(crate) fn charge_frame(&mut self, now: Instant) {
        let frames = self.frames.as_mut();
        let paid = frames.and_then(|frames| frames.charge(1, now));
        self.enter_debt(paid, now);
    }

    /// Charges requests with their minimum cost: one delivery each, and the bytes of a frame for a single
    /// receiver. The hub adds further charges. [`HubRequest::Alive`] is free.
    pub(crate) fn charge_requests(&mut self, requests: &[HubRequest], now: Instant) {
        let charged = requests
            .iter()
            .filter(|request| !matches!(request, HubRequest::Alive(_)));
        let count = charged.count() as u64;
        if count == 0 {
            return;
        }
        let bytes = requests.iter().map(direct_bytes).sum();
        self.charge_deliveries(count, bytes, now);
    }

    /// Adds the charges of the hub. Returns the number of peers that the connection has reached for the first
    /// time.
    pub(crate) fn charge(&mut self, charges: &PendingCharges, now: Instant) -> usize {
        let before = self.peers.len();
        charges.reached.iter().for_each(|peer| self.add_peer(*peer));
        let reached = self.peers.len() - before;
        if charges.slow_receiver_bytes != 0 {
            let rate = slow_receivers_rate(&self.limits);
            let bytes = charges.slow_receiver_bytes;
            let debts = self.debts.get_or_insert_default();
            let until = debts.slow_receivers.charge(rate, bytes, now);
            debts.slowed_until = until.or(debts.slowed_until);
        }
        self.charge_deliveries(charges.deliveries, charges.bytes, now);
        reached
    }

    fn charge_deliveries(&mut self, count: u64, bytes: u64, now: Instant) {
        let limits = &self.limits;
        let deliveries = self.deliveries.charge(deliveries_rate(limits), count, now);
        let bytes = self.bytes.charge(bytes_rate(limits), bytes, now);
        self.enter_debt(deliveries.max(bytes), now);
    }

    /// Counts the peers that an event announces.
    pub(crate) fn observe(&mut self, event: &Event) {
        match event {
            Event::Joined { others, .. } => {
                let unknown_max = PEERS_MAX - self.peers.len();
                self.peers.reserve(others.len().min(unknown_max));
                others
                    .iter()
                    .for_each(|(other, _)| self.add_peer(other.peer));
            }
            Event::Rejoined { others, .. } | Event::Members { others, .. } => {
                others.iter().for_each(|other| self.add_peer(other.peer));
            }
            Event::Introduced { peer, .. } => self.add_peer(peer.peer),
            Event::Received { from, direct, .. } if *direct && !from.dialect.announces_presence => {
                self.add_peer(from.peer);
            }
            Event::Received { .. }
            | Event::Claimed(_)
            | Event::Departed { .. }
            | Event::Probe(_)
            | Event::Evicted(_)
            | Event::RequestFailed(_) => {}
        }
    }

    /// The time until which the connection is in debt, as of the last charge.
    pub(crate) fn in_debt_until(&self) -> Option<Instant> {
        let debts = self.debts.as_ref()?;
        debts.debt.map(|debt| debt.until).max(debts.slowed_until)
    }

    /// The time at which the connection has been in debt for `flood_secs`; `None` if its debt is paid before.
    pub(crate) fn flood_deadline(&self) -> Option<Instant> {
        let debt = self.debts.as_ref()?.debt?;
        let flood_secs = NonZeroU64::new(self.limits.flood_secs)?;
        let deadline = debt.since + Duration::from_secs(flood_secs.get());
        (deadline <= debt.until).then_some(deadline)
    }

    fn add_peer(&mut self, peer: PeerId) {
        if self.peers.len() == PEERS_MAX || !self.peers.insert(peer) {
            return;
        }
        let Some(frames) = &mut self.frames else {
            return;
        };
        let frames_per_peer = self.limits.frames_per_peer;
        let unused = self.unused_burst.min(frames_per_peer);
        self.unused_burst -= unused;
        frames.grow(frames_per_peer - unused);
    }

    fn enter_debt(&mut self, until: Option<Instant>, now: Instant) {
        let Some(until) = until else {
            return;
        };
        match &mut self.debts.get_or_insert_default().debt {
            Some(debt) if now <= debt.until + DEBT_BREAK => debt.until = debt.until.max(until),
            debt => *debt = Some(Debt { since: now, until }),
        }
    }
}

/// The bytes of a frame for a single receiver. The hub charges the bytes of a broadcast.
fn direct_bytes(request: &HubRequest) -> u64 {
    match request {
        HubRequest::Send(_, Target::Everyone, _)
        | HubRequest::Claim(..)
        | HubRequest::Release(..)
        | HubRequest::Join(..)
        | HubRequest::Leave(..)
        | HubRequest::List(_)
        | HubRequest::Alive(_) => 0,
        HubRequest::Send(
            _,
            Target::Peer(_) | Target::Address(_) | Target::AddressOrWait(_),
            message,
        ) => message.frame.len() as u64,
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test needs any instant to count from"
)]
mod tests {
    use super::*;

    fn peer(number: u16) -> PeerId {
        let [high, low] = number.to_be_bytes();
        let mut bytes = [0; 16];
        (bytes[0], bytes[1]) = (high, low);
        PeerId::from_random(bytes)
    }

    /// The number of frames until the budgets are in debt.
    fn burst(budgets: &mut Budgets, now: Instant) -> usize {
        (0..)
            .take_while(|_| {
                budgets.charge_frame(now);
                budgets.in_debt_until().is_none_or(|until| until <= now)
            })
            .count()
    }

    #[test]
    fn the_burst_is_32_frames_for_each_distinct_peer_and_400_at_least() {
        let now = Instant::now();
        for (peers, expected) in [(0, 400), (12, 400), (13, 416), (45, 1440), (1000, 32_000)] {
            let mut budgets = Budgets::new(Arc::default(), now);
            for _ in 0..2 {
                (0..peers).for_each(|number| budgets.add_peer(peer(number)));
            }
            assert_eq!(burst(&mut budgets, now), expected, "{peers} peers");
        }
    }

    #[test]
    fn a_second_without_debt_restarts_the_flood_deadline() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let mut budgets = Budgets::new(Arc::default(), start);
        assert_eq!(budgets.flood_deadline(), None);
        (0..500).for_each(|_| budgets.charge_frame(start));
        assert_eq!(budgets.in_debt_until(), Some(at(1)));
        assert_eq!(budgets.flood_deadline(), None, "paid before");
        (0..6000).for_each(|_| budgets.charge_frame(at(2)));
        assert_eq!(budgets.in_debt_until(), Some(at(61)));
        assert_eq!(
            budgets.flood_deadline(),
            Some(at(60)),
            "the time without debt was only a second"
        );
        let later = at(63);
        (0..6600).for_each(|_| budgets.charge_frame(later));
        assert_eq!(
            budgets.flood_deadline(),
            Some(later + Duration::from_secs(60))
        );
    }

    #[test]
    fn full_budgets_take_no_memory() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let released = |deliveries, released_at| {
            let mut budgets = Budgets::new(Arc::default(), start);
            let charges = PendingCharges {
                deliveries,
                ..PendingCharges::default()
            };
            budgets.charge(&charges, start);
            budgets.release_full(released_at);
            let budget = budgets.deliveries;
            budget.full_at.is_none() && budgets.debts.is_none()
        };
        assert!(released(0, start), "nothing is charged");
        assert!(!released(4000, start));
        assert!(!released(4000, at(999)));
        assert!(released(4000, at(1001)));
        // A debt that is paid after 1 s is remembered for another second, and the full burst takes 5 s.
        assert!(!released(24_000, at(5999)));
        assert!(released(24_000, at(6001)));
        let mut budgets = Budgets::new(Arc::default(), start);
        (0..500).for_each(|_| budgets.charge_frame(start));
        budgets.release_full(at(1999));
        assert_eq!(budgets.in_debt_until(), Some(at(1000)));
        budgets.release_full(at(2001));
        assert_eq!(budgets.in_debt_until(), None);
        assert!(size_of::<Budgets>() <= 128);
    }

    #[test]
    fn a_pause_for_slow_receivers_is_not_taken_for_a_flood() {
        let start = Instant::now();
        let mut budgets = Budgets::new(Arc::default(), start);
        let charges = PendingCharges {
            slow_receiver_bytes: 64 << 20,
            ..PendingCharges::default()
        };
        budgets.charge(&charges, start);
        let until = budgets.in_debt_until().expect("a debt");
        assert!(until > start + Duration::from_secs(120));
        assert_eq!(budgets.flood_deadline(), None);
    }

    #[test]
    fn each_budget_is_paid_off_at_its_own_rate() {
        let now = Instant::now();
        let limits = Arc::<Limits>::default();
        let debt_of = |charges: PendingCharges| {
            let mut budgets = Budgets::new(limits.clone(), now);
            budgets.charge(&charges, now);
            budgets.in_debt_until().map(|until| until - now)
        };
        let seconds = |secs| Some(Duration::from_secs(secs));
        let deliveries = |deliveries| PendingCharges {
            deliveries,
            ..PendingCharges::default()
        };
        assert_eq!(debt_of(deliveries(20_000)), None);
        assert_eq!(debt_of(deliveries(24_000)), seconds(1));
        let bytes = |mib: u64| PendingCharges {
            bytes: mib << 20,
            ..PendingCharges::default()
        };
        assert_eq!(debt_of(bytes(64)), None);
        assert_eq!(debt_of(bytes(80)), seconds(2));
        let slow = |kib: u64| PendingCharges {
            slow_receiver_bytes: kib << 10,
            ..PendingCharges::default()
        };
        assert_eq!(debt_of(slow(512)), None);
        assert_eq!(debt_of(slow(1024)), seconds(4));
    }

    #[test]
    fn a_limit_of_zero_is_no_limit() {
        let now = Instant::now();
        let limits = Arc::new(Limits {
            frames_per_second: 0,
            deliveries_burst: 0,
            delivered_bytes_per_second: 0,
            slow_receiver_bytes_burst: 0,
            flood_secs: 0,
            ..Limits::default()
        });
        let mut budgets = Budgets::new(limits, now);
        (0..100_000).for_each(|_| budgets.charge_frame(now));
        let reached = budgets.charge(
            &PendingCharges {
                deliveries: 1 << 40,
                bytes: 1 << 40,
                slow_receiver_bytes: 1 << 40,
                reached: vec![peer(1)],
            },
            now,
        );
        assert_eq!(
            reached, 1,
            "a new peer must be reported even if frames have no limit"
        );
        assert_eq!(budgets.in_debt_until(), None);
        assert_eq!(budgets.flood_deadline(), None);
    }

    /// Simulates a sender with frames of `frame_bytes` that pauses only when it is in debt, and a receiver that reads
    /// `read_bytes` a second. Returns the seconds until the receiver's outbox overflows, at most 600.
    fn seconds_until_overflow(frame_bytes: usize, read_bytes: usize) -> u64 {
        let limits = Arc::<Limits>::default();
        let start = Instant::now();
        let mut budgets = Budgets::new(limits.clone(), start);
        // As in the outbox, the bytes of a frame are freed when the whole frame is read.
        let (mut waiting, mut read) = (0, 0);
        for tenth in 0..6000 {
            let now = start + Duration::from_millis(tenth * 100);
            let can_read = read_bytes / 10;
            read = (read + can_read).min(waiting.max(can_read));
            while read >= frame_bytes && waiting >= frame_bytes {
                read -= frame_bytes;
                waiting -= frame_bytes;
            }
            while budgets.in_debt_until().is_none_or(|until| until <= now) {
                budgets.charge_frame(now);
                waiting += frame_bytes;
                if waiting > limits.outbox_bytes {
                    return tenth / 10;
                }
                let is_slow = waiting > limits.outbox_bytes / 2;
                let charges = PendingCharges {
                    bytes: frame_bytes as u64,
                    slow_receiver_bytes: if is_slow { frame_bytes as u64 } else { 0 },
                    ..PendingCharges::default()
                };
                budgets.charge(&charges, now);
            }
        }
        600
    }

    #[test]
    fn one_sender_cannot_overflow_the_outbox_of_a_receiver_that_reads_a_mebibit_per_second() {
        for frame_bytes in [512, 6 * 1024, 64 * 1024, 256 * 1024] {
            assert_eq!(seconds_until_overflow(frame_bytes, 128 * 1024), 600);
        }
    }

    #[test]
    fn the_outbox_of_a_receiver_that_has_stopped_reading_overflows_within_a_minute() {
        for frame_bytes in [6 * 1024, 64 * 1024, 256 * 1024] {
            let seconds = seconds_until_overflow(frame_bytes, 0);
            assert!(seconds < 60, "{frame_bytes}: {seconds} s");
        }
    }

    #[test]
    fn a_new_connection_continues_the_budgets_of_an_ended_one() {
        let now = Instant::now();
        let limits = Arc::<Limits>::default();
        let mut ended = Budgets::new(limits.clone(), now);
        assert_eq!(ended.spent(now), None, "nothing is spent");
        (0..300).for_each(|_| ended.charge_frame(now));
        let spent = ended.spent(now).expect("300 frames");
        let mut next = Budgets::new(limits.clone(), now);
        next.continue_from(&spent, now);
        assert_eq!(next.in_debt_until(), None);
        assert_eq!(burst(&mut next, now), 100);
        let charges = PendingCharges {
            deliveries: 24_000,
            ..PendingCharges::default()
        };
        next.charge(&charges, now);
        let spent = next.spent(now).expect("a debt of deliveries");
        let mut last = Budgets::new(limits, now);
        last.continue_from(&spent, now);
        assert_eq!(last.in_debt_until(), Some(now + Duration::from_secs(1)));
        let later = now + Duration::from_secs(6);
        assert_eq!(last.spent(later), None, "paid off");
    }

    #[test]
    fn a_reconnect_after_offers_to_a_large_room_is_not_paused() {
        let now = Instant::now();
        let limits = Arc::<Limits>::default();
        let mut ended = Budgets::new(limits.clone(), now);
        (0..1000).for_each(|number| ended.add_peer(peer(number)));
        (0..10_000).for_each(|_| ended.charge_frame(now));
        let spent = ended.spent(now).expect("10,000 frames");
        let mut next = Budgets::new(limits, now);
        next.continue_from(&spent, now);
        assert_eq!(next.in_debt_until(), None, "the join is read");
        next.charge_frame(now);
        let until = next.in_debt_until().expect("the burst is used up");
        assert_eq!(until - now, Duration::from_millis(10));
        (0..1000).for_each(|number| next.add_peer(peer(number)));
        assert!(burst(&mut next, until) >= 10_000);
    }
}

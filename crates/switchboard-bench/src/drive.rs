//! Sends messages through groups of members for some time, and measures their delivery.
//!
//! A group is the members that hear each other: a pair, or a room. Its speakers take turns. In a closed loop the next turn
//! begins when the last one is delivered to all its receivers; at a rate, turns begin on a [`Schedule`].

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    BenchError,
    client::Net,
    dialect::WireClient,
    histogram::Latencies,
    member::Participant,
    progress::Reporter,
    schedule::{Schedule, wait_until},
    sequence::Place,
    stamp::{ALL, Stamp},
};

/// The time after a phase for the messages that are on their way.
const DRAIN: Duration = Duration::from_secs(5);
/// The orders that may wait for one speaker.
const ORDERS_MAX: usize = 4_096;
/// The errors whose text is kept.
const ERROR_TEXTS_MAX: usize = 5;
/// The turns that a late schedule begins before other tasks run.
const TURNS_WITHOUT_YIELD: u64 = 16;

/// The order to a speaker to begin a turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    pub(crate) slot: u32,
    pub(crate) due: Instant,
}

/// Members that hear each other. Those that have speeches take turns.
#[derive(Debug)]
pub(crate) struct SpeakerGroup {
    pub(crate) members: Vec<Participant>,
}

impl SpeakerGroup {
    /// The deliveries of one turn.
    fn deliveries(&self) -> u32 {
        let speaker = self
            .members
            .iter()
            .find(|member| !member.speeches.is_empty());
        let speeches = speaker.map_or(&[][..], |speaker| &speaker.speeches);
        let to_all = speeches.iter().any(|speech| speech.to == ALL);
        let deliveries = if to_all {
            self.members.len() - 1
        } else {
            speeches.len()
        };
        u32::try_from(deliveries).unwrap_or(u32::MAX)
    }
}

/// The pace of a phase.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// This number of turns of each group is in progress.
    ClosedLoop { window: u32 },
    /// Turns per second of all groups together.
    Rate(f64),
}

/// The results of a phase.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) latencies: Latencies,
    /// The deliveries.
    pub(crate) units: u64,
    /// The notifications of joins.
    pub(crate) notifications: u64,
    /// Deliveries after a missing or later message of the same sender, or twice.
    pub(crate) out_of_order: u64,
    /// Turns that were due while too many waited for the speaker.
    pub(crate) skipped: u64,
    /// Deliveries that did not come within [`DRAIN`].
    pub(crate) lost: u64,
    pub(crate) errors: u64,
    pub(crate) error_texts: Vec<String>,
    /// The time from the first turn to the last delivery.
    pub(crate) elapsed: Duration,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            latencies: Latencies::new(),
            units: 0,
            notifications: 0,
            out_of_order: 0,
            skipped: 0,
            lost: 0,
            errors: 0,
            error_texts: Vec::new(),
            elapsed: Duration::ZERO,
        }
    }

    pub(crate) fn fail(&mut self, error: &BenchError) {
        self.errors += 1;
        if self.error_texts.len() < ERROR_TEXTS_MAX {
            self.error_texts.push(error.to_string());
        }
    }

    /// Keeps the errors of an earlier phase.
    pub(crate) fn add_errors(&mut self, earlier: &Self) {
        self.errors += earlier.errors;
        self.error_texts
            .splice(..0, earlier.error_texts.iter().cloned());
        self.error_texts.truncate(ERROR_TEXTS_MAX);
    }

    /// Keeps the errors and the faults of deliveries of another phase.
    pub(crate) fn add_faults(&mut self, other: &Self) {
        self.add_errors(other);
        self.lost += other.lost;
        self.out_of_order += other.out_of_order;
    }

    /// Counts a delivery, and the messages that are missing before it as lost. A repeated or late message is only a fault.
    pub(crate) fn add_delivery(&mut self, place: Place, latency: Duration) {
        if place == Place::Repeated {
            self.out_of_order += 1;
            return;
        }
        self.units += 1;
        self.latencies.record(latency);
        if let Place::AfterGap(missing) = place {
            self.lost += missing;
        }
    }
}

/// The shared state of the tasks of a phase.
#[derive(Debug)]
pub(crate) struct Phase {
    pub(crate) wire: &'static dyn WireClient,
    /// Stops the members.
    pub(crate) stop: CancellationToken,
    run_started: Instant,
    started: Instant,
    until: Instant,
    is_closed_loop: bool,
    is_pace_over: Cell<bool>,
    in_flight: Cell<u64>,
    living: Cell<usize>,
    tally: RefCell<Tally>,
}

impl Phase {
    fn new(net: &Net, duration: Duration, pace: Pace) -> Self {
        let started = Instant::now();
        Self {
            wire: net.wire,
            stop: CancellationToken::new(),
            run_started: net.started,
            started,
            until: started + duration,
            is_closed_loop: matches!(pace, Pace::ClosedLoop { .. }),
            is_pace_over: Cell::new(false),
            in_flight: Cell::new(0),
            living: Cell::new(0),
            tally: RefCell::new(Tally::new()),
        }
    }

    /// A time as stamps hold it.
    pub(crate) fn nanos(&self, time: Instant) -> u64 {
        let since = time.saturating_duration_since(self.run_started);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Counts a delivery. One of an earlier phase is lost already.
    pub(crate) fn receive(&self, stamp: &Stamp, is_in_order: bool) {
        if !self.covers(stamp) {
            return;
        }
        let latency = self.nanos(Instant::now()).saturating_sub(stamp.due_nanos);
        let mut tally = self.tally.borrow_mut();
        tally.latencies.record(Duration::from_nanos(latency));
        tally.units += 1;
        tally.out_of_order += u64::from(!is_in_order);
        self.in_flight.set(self.in_flight.get().saturating_sub(1));
    }

    /// Counts a member whose connection failed.
    pub(crate) fn fail(&self, error: &BenchError) {
        self.tally.borrow_mut().fail(error);
        self.living.set(self.living.get() - 1);
        if self.living.get() == 0 {
            self.stop.cancel();
        }
    }

    fn covers(&self, stamp: &Stamp) -> bool {
        stamp.due_nanos >= self.nanos(self.started)
    }

    fn stop_if_idle(&self) {
        if self.is_pace_over.get() && self.in_flight.get() == 0 {
            self.stop.cancel();
        }
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }
}

/// The turns of one group.
#[derive(Debug)]
pub(crate) struct GroupTurns {
    speakers: Vec<(u32, mpsc::Sender<Order>)>,
    next_speaker: Cell<usize>,
    deliveries: u32,
    /// The deliveries that are missing for each turn in progress, in a closed loop.
    missing: RefCell<Vec<u32>>,
}

impl GroupTurns {
    /// Notes a delivery. Returns an order if the receiver must begin a turn itself.
    pub(crate) fn on_delivery(&self, stamp: &Stamp, phase: &Phase) -> Option<Order> {
        if phase.is_closed_loop && phase.covers(stamp) && self.is_turn_over(stamp.slot) {
            if !phase.is_over() {
                return self.begin_turn(stamp, phase);
            }
            phase.is_pace_over.set(true);
        }
        phase.stop_if_idle();
        None
    }

    fn is_turn_over(&self, slot: u32) -> bool {
        let mut missing = self.missing.borrow_mut();
        let slot = usize::try_from(slot).ok();
        let Some(missing) = slot.and_then(|slot| missing.get_mut(slot)) else {
            return false;
        };
        *missing = missing.saturating_sub(1);
        *missing == 0
    }

    fn begin_turn(&self, last: &Stamp, phase: &Phase) -> Option<Order> {
        let due = Instant::now();
        let slot = last.slot;
        let order = Order { slot, due };
        let is_mine = |(number, _): &(u32, _)| *number == last.to;
        if self
            .speakers
            .get(self.next_speaker.get())
            .is_some_and(is_mine)
        {
            self.note_turn(slot, phase);
            return Some(order);
        }
        self.order_turn(order, phase);
        None
    }

    /// Orders the next speaker to begin a turn.
    fn order_turn(&self, order: Order, phase: &Phase) {
        let Some((_, speaker)) = self.speakers.get(self.next_speaker.get()) else {
            return;
        };
        if speaker.try_send(order).is_ok() {
            self.note_turn(order.slot, phase);
        } else {
            phase.tally.borrow_mut().skipped += 1;
        }
    }

    fn note_turn(&self, slot: u32, phase: &Phase) {
        let next = (self.next_speaker.get() + 1) % self.speakers.len();
        self.next_speaker.set(next);
        phase
            .in_flight
            .set(phase.in_flight.get() + u64::from(self.deliveries));
        let mut missing = self.missing.borrow_mut();
        if let Some(missing) = usize::try_from(slot)
            .ok()
            .and_then(|slot| missing.get_mut(slot))
        {
            *missing = self.deliveries;
        }
    }
}

/// Sends messages for `duration` and waits until they are delivered. Members whose connections failed are removed from
/// their groups.
pub(crate) async fn drive(
    net: &Net,
    groups: &mut Vec<SpeakerGroup>,
    duration: Duration,
    pace: Pace,
    part: &'static str,
    reporter: &mut Reporter<'_>,
) -> Tally {
    let phase = Rc::new(Phase::new(net, duration, pace));
    let mut tasks = JoinSet::new();
    let groups_before = std::mem::take(groups).into_iter().enumerate();
    let turns: Vec<_> = groups_before
        .map(|(index, group)| start_group(index, group, pace, &phase, &mut tasks))
        .collect();
    groups.extend(turns.iter().map(|_| SpeakerGroup {
        members: Vec::new(),
    }));
    tasks.spawn_local(keep_pace(turns, pace, Rc::clone(&phase)));
    report_until_stopped(&phase, part, reporter).await;
    phase.stop.cancel();
    while let Some(member) = tasks.join_next().await {
        if let Ok(Some((group, member))) = member {
            groups[group].members.push(member);
        }
    }
    for group in groups {
        group.members.sort_by_key(|member| member.client.number);
    }
    let mut tally = phase.tally.replace(Tally::new());
    tally.lost = phase.in_flight.get();
    tally
}

type MemberTasks = JoinSet<Option<(usize, Participant)>>;

fn start_group(
    index: usize,
    group: SpeakerGroup,
    pace: Pace,
    phase: &Rc<Phase>,
    tasks: &mut MemberTasks,
) -> Rc<GroupTurns> {
    let slots = match pace {
        Pace::ClosedLoop { window } => window as usize,
        Pace::Rate(_) => 0,
    };
    let deliveries = group.deliveries();
    let (mut speakers, mut starts) = (Vec::new(), Vec::new());
    for member in group.members {
        let (order, orders) = mpsc::channel(ORDERS_MAX);
        if !member.speeches.is_empty() {
            speakers.push((member.client.number, order));
        }
        starts.push((member, orders));
    }
    let turns = Rc::new(GroupTurns {
        speakers,
        next_speaker: Cell::new(0),
        deliveries,
        missing: RefCell::new(vec![0; slots]),
    });
    phase.living.set(phase.living.get() + starts.len());
    for (member, orders) in starts {
        let take_part = member.take_part(orders, Rc::clone(&turns), Rc::clone(phase));
        tasks.spawn_local(async move { Some((index, take_part.await?)) });
    }
    turns
}

/// Begins the turns: the first ones of a closed loop, or all on a schedule.
async fn keep_pace(
    groups: Vec<Rc<GroupTurns>>,
    pace: Pace,
    phase: Rc<Phase>,
) -> Option<(usize, Participant)> {
    match pace {
        Pace::ClosedLoop { window } => {
            for group in &groups {
                for slot in 0..window {
                    let due = Instant::now();
                    group.order_turn(Order { slot, due }, &phase);
                }
            }
        }
        Pace::Rate(rate) => follow_schedule(&groups, rate, &phase).await,
    }
    tokio::time::sleep_until(phase.until.into()).await;
    phase.is_pace_over.set(true);
    phase.stop_if_idle();
    // The members stop when the last message is delivered.
    None
}

async fn follow_schedule(groups: &[Rc<GroupTurns>], rate: f64, phase: &Phase) {
    let mut schedule = Schedule::new(phase.started, rate);
    let mut turns = 0;
    for group in groups.iter().cycle() {
        let due = schedule.take();
        if due >= phase.until || phase.stop.is_cancelled() {
            return;
        }
        wait_until(due).await;
        group.order_turn(Order { slot: 0, due }, phase);
        turns += 1;
        if turns % TURNS_WITHOUT_YIELD == 0 {
            tokio::task::yield_now().await;
        }
    }
}

async fn report_until_stopped(phase: &Phase, part: &'static str, reporter: &mut Reporter<'_>) {
    reporter.start();
    let mut ticks = tokio::time::interval(Reporter::INTERVAL);
    let drained = phase.until + DRAIN;
    loop {
        tokio::select! {
            () = phase.stop.cancelled() => break,
            () = tokio::time::sleep_until(drained.into()) => break,
            _ = ticks.tick() => {
                let units = phase.tally.borrow().units;
                reporter.running(part, phase.started.elapsed(), units);
            }
        }
    }
    phase.tally.borrow_mut().elapsed = phase.started.elapsed();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_and_late_messages_are_faults_and_no_deliveries() {
        let mut tally = Tally::new();
        for place in [Place::Next, Place::AfterGap(3), Place::Repeated] {
            tally.add_delivery(place, Duration::from_millis(1));
        }
        let mut all = Tally::new();
        all.add_faults(&tally);
        all.add_faults(&tally);
        assert_eq!((tally.units, tally.lost, tally.out_of_order), (2, 3, 1));
        assert_eq!((all.units, all.lost, all.out_of_order), (0, 6, 2));
    }
}

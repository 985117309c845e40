//! The wake-ups of receivers that a sender has pushed events for.
//!
//! A sleeping task whose waker is in its outbox waits for events. The push that finds the waker takes it out and
//! returns a [`PendingWake`], whose owner must have the events handled. Later pushes find no waker; so that their
//! events are not missed, each of its two ends checks the outbox again:
//!
//! * The waker goes back into the outbox. That happens under the lock of the outbox, and only if the outbox has no event
//!   that can be handled now.
//! * The task is woken. It checks the outbox, under the same lock, before it puts its waker back and sleeps.
//!
//! Two wakes of one connection may be pending, if the task has run for another reason in the meantime and has put its
//! waker back. Each ends independently.

use std::{
    task::{Context, Poll, Waker},
    time::Instant,
};

use tokio::{runtime::Handle, task::coop};

use crate::{OutboxHandle, websocket::IdleStep};

/// The most receivers whose events a sender handles in one step, in place of their tasks. Each helper task handles as
/// many; helper tasks take turns with all other tasks.
const RECEIVERS_PER_STEP: usize = 64;

/// With fewer receivers left, their own tasks are woken: a helper task would cost more.
const RECEIVERS_PER_TASK_MIN: usize = 4;

/// A sleeping task whose outbox has events. Dropping it wakes the task, unless the outbox has the waker again.
#[derive(Debug)]
#[must_use = "dropping it wakes the task"]
pub struct PendingWake {
    outbox: OutboxHandle,
    /// `None` after the wake-up, or when the outbox has it again.
    waker: Option<Waker>,
}

impl PendingWake {
    pub(crate) fn new(outbox: OutboxHandle, waker: Waker) -> Self {
        let waker = Some(waker);
        Self { outbox, waker }
    }

    /// Handles the events in place of the task if the connection is idle. Else wakes the task.
    fn handle(mut self, step: &mut IdleStep) {
        self.outbox
            .connection()
            .handle_events(&mut self.waker, step);
    }
}

impl Drop for PendingWake {
    fn drop(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// The pending wake-ups of the receivers of one step. The first one needs no allocation.
#[derive(Debug, Default)]
pub struct PendingWakes {
    first: Option<PendingWake>,
    others: Vec<PendingWake>,
}

impl Extend<PendingWake> for PendingWakes {
    fn extend<T: IntoIterator<Item = PendingWake>>(&mut self, wakes: T) {
        wakes.into_iter().for_each(|wake| self.push(wake));
    }
}

impl PendingWakes {
    /// Reserves memory for `count` more wakes, of which the first may need none.
    pub fn reserve(&mut self, count: usize) {
        self.others.reserve(count);
    }

    /// Adds a wake.
    pub fn push(&mut self, wake: PendingWake) {
        match &self.first {
            None => self.first = Some(wake),
            Some(_) => self.others.push(wake),
        }
    }

    /// Has the events of all receivers handled by helper tasks of `runtime`, for a caller that must not call sessions.
    /// The tasks of connections that only their own task can write to (not plain TCP) are woken instead; without a
    /// runtime, all are.
    ///
    /// The runtime must be running: the receivers get the events when it runs the helper tasks.
    pub fn handle_in_tasks(self, runtime: Option<&Handle>) {
        if let Some(runtime) = runtime {
            let wakes = self.first.into_iter().chain(self.others);
            let wakes = wakes.filter(|wake| wake.outbox.connection().is_plain_tcp());
            spawn_helpers(runtime, wakes.collect(), 1);
        }
    }

    /// Has the events of all receivers handled: those of the first idle connections by the caller, those of the
    /// others by helper tasks. A receiver costs the caller as much of its cooperative budget as one read or write.
    ///
    /// The caller must not hold a lock that a connection needs, such as that of a shard. Without a `runtime` for the
    /// helper tasks, the tasks of the receivers are woken.
    pub fn handle(self, runtime: Option<&Handle>, now: Instant) {
        let mut wakes = self.first.into_iter().chain(self.others);
        let next = handle_some(&mut wakes, now);
        if let (Some(next), Some(runtime)) = (next, runtime) {
            let wakes = std::iter::once(next).chain(wakes).collect();
            spawn_helpers(runtime, wakes, RECEIVERS_PER_TASK_MIN);
        }
    }
}

/// Handles the events of receivers until the caller should let other tasks run. Returns the next receiver, if there is
/// one.
fn handle_some(wakes: &mut impl Iterator<Item = PendingWake>, now: Instant) -> Option<PendingWake> {
    let mut wake = wakes.next()?;
    let mut step = IdleStep::at(now);
    for _ in 0..RECEIVERS_PER_STEP {
        if !consume_budget() {
            break;
        }
        wake.handle(&mut step);
        match wakes.next() {
            Some(next) => wake = next,
            None => {
                step.finish();
                return None;
            }
        }
    }
    step.finish();
    Some(wake)
}

/// Consumes one unit of the cooperative budget of the current task. Returns false if the task should yield.
pub(crate) fn consume_budget() -> bool {
    match coop::poll_proceed(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(unit) => {
            unit.made_progress();
            true
        }
        Poll::Pending => false,
    }
}

/// Has the events of receivers handled by helper tasks. Each of these takes as long as one step, so that the tasks of
/// other connections run in between. If fewer than `per_task_min` are left, their own tasks are woken.
fn spawn_helpers(runtime: &Handle, mut wakes: Vec<PendingWake>, per_task_min: usize) {
    while wakes.len() >= per_task_min {
        let some = wakes.split_off(wakes.len().saturating_sub(RECEIVERS_PER_STEP));
        runtime.spawn(async move {
            let mut some = some.into_iter();
            // The receivers that are left are woken when `some` is dropped.
            drop(handle_some(&mut some, Instant::now()));
        });
    }
}

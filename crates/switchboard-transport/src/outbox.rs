//! The outbox of one session: hubs push events into it. The task of its connection pops them, or the task of a sender
//! while the connection is idle.

use std::{
    net::IpAddr,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Instant,
};

use bytestring::ByteString;
use parking_lot::{Mutex, MutexGuard};
use switchboard_core::{Charge, DialectName, Event, Identity, Limits, Peer, PeerId};
use switchboard_session::{
    EventQueue, FillLevel, Overflow, PendingCharges, PopMode, QueueMemory, QueueOwner,
};

use crate::{PendingWake, SessionStatus, websocket::ConnectionCell};

/// The [`EventQueue`] of one session behind a lock, the connection that sends the events, the task that waits for them,
/// and the facts about the session that the [registry](crate::SessionRegistry) reports.
#[derive(Debug)]
pub struct Outbox {
    id: PeerId,
    client: Option<IpAddr>,
    opened_at: Instant,
    /// The bytes that wait for a socket that is blocked; 0 while it is not.
    socket_bytes: AtomicUsize,
    /// Whether there may be events or an end, for a look without the lock. Changes under the lock.
    may_have_events: AtomicBool,
    /// Whether there may be charges, likewise.
    may_have_charges: AtomicBool,
    state: Mutex<OutboxState>,
    /// The connection, while its task serves it. A thread that holds its lock may lock `state`, and not the reverse.
    connection: ConnectionCell,
}

#[derive(Debug)]
struct OutboxState {
    queue: EventQueue,
    dialect: DialectName,
    identity: Identity,
    /// The reason with which the host program ends the session.
    ended: Option<Box<ByteString>>,
    /// Whether the server closes the session because it shuts down.
    is_restarting: bool,
    /// The waker of the connection task, if it waits for an event. [`PendingWake`] says how it is handed on.
    waiting: Option<Waker>,
}

impl OutboxState {
    /// Whether there is an event that `mode` allows, or the session ends for another reason than the end of the server.
    fn is_filled(&self, mode: PopMode) -> bool {
        self.queue.is_filled(mode) || self.ended.is_some()
    }

    /// Whether [`Outbox::pop`] returns an event or an error.
    fn has_next(&self, mode: PopMode) -> bool {
        self.is_filled(mode) || self.is_restarting
    }
}

/// The result of [`Outbox::pop_or_park`].
#[derive(Debug)]
pub(crate) enum Popped {
    /// The next event, and the number of events left.
    Event(Arc<Event>, usize),
    /// There is no event for this mode. The outbox has the waker again.
    Parked,
    /// The task of the connection must handle the rest: the session ends, or the waker of another push is in the
    /// outbox.
    Wake,
}

/// The reason why an outbox has no further events.
#[derive(Debug)]
pub(crate) enum OutboxEnd {
    /// An event did not fit, or the memory of all queues was used up.
    Overflow(Overflow),
    /// The host program ends the session for this reason.
    Ended(ByteString),
    /// The server shuts down.
    Restart,
}

impl QueueOwner for Outbox {
    fn end_for_memory(&self) {
        self.change_and_wake(|state| state.queue.end_for_memory());
    }
}

impl Outbox {
    /// The empty outbox of a session of `peer`, whose client has this address, with the bounds of `limits`. Its
    /// bytes are counted in `memory`.
    #[must_use]
    pub fn new(
        peer: &Peer,
        client: Option<IpAddr>,
        limits: &Limits,
        memory: Arc<QueueMemory>,
        now: Instant,
    ) -> Self {
        let state = OutboxState {
            queue: EventQueue::new(limits, memory),
            dialect: peer.dialect().name,
            identity: peer.identity().clone(),
            ended: None,
            is_restarting: false,
            waiting: None,
        };
        Self {
            id: peer.id(),
            client,
            opened_at: now,
            socket_bytes: AtomicUsize::new(0),
            may_have_events: AtomicBool::new(false),
            may_have_charges: AtomicBool::new(false),
            state: Mutex::new(state),
            connection: ConnectionCell::default(),
        }
    }

    /// The id of the session, which is that of its peer.
    pub(crate) fn id(&self) -> PeerId {
        self.id
    }

    /// The address of the client, if it is known.
    pub(crate) fn client(&self) -> Option<IpAddr> {
        self.client
    }

    /// The time at which the session began.
    pub(crate) fn opened_at(&self) -> Instant {
        self.opened_at
    }

    /// Sets the dialect after it was detected.
    pub(crate) fn set_dialect(&self, dialect: DialectName) {
        self.lock().dialect = dialect;
    }

    /// Sets the identity after the client was authenticated by a frame.
    pub(crate) fn set_identity(&self, identity: Identity) {
        self.lock().identity = identity;
    }

    /// Sets the bytes that wait for the socket.
    pub(crate) fn set_socket_bytes(&self, bytes: usize) {
        self.socket_bytes.store(bytes, Ordering::Relaxed);
    }

    /// The current status of the session.
    pub(crate) fn status(&self) -> SessionStatus {
        let state = self.lock();
        SessionStatus {
            id: self.id,
            client: self.client,
            dialect: state.dialect,
            identity: state.identity.clone(),
            opened_at: self.opened_at,
            queued_bytes: state.queue.bytes() + self.socket_bytes.load(Ordering::Relaxed),
        }
    }

    /// Ends the session for a reason that its client gets. A second reason is ignored.
    pub(crate) fn end(&self, reason: ByteString) {
        self.change_and_wake(|state| {
            state.ended.get_or_insert_with(|| Box::new(reason));
        });
    }

    /// Closes the session because the server shuts down, after the events that can be handled now and after the frames that
    /// the client has sent.
    pub(crate) fn close_for_restart(&self) {
        self.change_and_wake(|state| state.is_restarting = true);
    }

    /// Changes the state so that [`Outbox::pop`] returns an error, and wakes the task of the connection.
    fn change_and_wake(&self, change: impl FnOnce(&mut OutboxState)) {
        let mut state = self.lock();
        change(&mut state);
        self.may_have_events.store(true, Ordering::Relaxed);
        let waiting = state.waiting.take();
        drop(state);
        if let Some(waker) = waiting {
            waker.wake();
        }
    }

    /// The connection of the session.
    pub(crate) fn connection(&self) -> &ConnectionCell {
        &self.connection
    }

    /// Queues an event, and wakes the task of the connection. If the event does not fit, the outbox overflows and
    /// takes no more events. Returns the fill level afterwards.
    pub fn push(self: &Arc<Self>, event: Arc<Event>) -> FillLevel {
        let (level, waiting) = self.push_unwoken(event);
        if let Some(waker) = waiting {
            waker.wake();
        }
        level
    }

    /// Queues an event as [`Outbox::push`] does, and leaves it to the caller to wake the task of the connection. `None`
    /// if the task does not wait, or another caller will wake it.
    #[must_use]
    pub fn push_deferring_wake(
        self: Arc<Self>,
        event: Arc<Event>,
    ) -> (FillLevel, Option<PendingWake>) {
        let (level, waiting) = self.push_unwoken(event);
        (level, waiting.map(|waker| PendingWake::new(self, waker)))
    }

    fn push_unwoken(self: &Arc<Self>, event: Arc<Event>) -> (FillLevel, Option<Waker>) {
        let mut state = self.lock();
        self.may_have_events.store(true, Ordering::Relaxed);
        let level = state.queue.push(event);
        let full_memory = state.queue.register_owner(|| {
            let owner: Weak<Self> = Arc::downgrade(self);
            owner
        });
        let waiting = state.waiting.take();
        drop(state);
        if let Some(memory) = full_memory {
            memory.end_largest();
        }
        (level, waiting)
    }

    /// Raises the bound of the queue for `count` more peers: the client has sent frames to them although they were not
    /// announced to it, so they may answer.
    pub(crate) fn expect_peers(&self, count: usize) {
        if count != 0 {
            self.lock().queue.expect_peers(count);
        }
    }

    /// Adds the charge for a frame of this connection.
    pub fn charge(&self, charge: Charge) {
        let mut state = self.lock();
        state.queue.charge(charge);
        self.may_have_charges.store(true, Ordering::Relaxed);
    }

    /// Takes the charges since the last call. `None` if there are none.
    pub(crate) fn take_charges(&self) -> Option<PendingCharges> {
        if !self.may_have_charges.load(Ordering::Relaxed) {
            return None;
        }
        let mut state = self.lock();
        self.may_have_charges.store(false, Ordering::Relaxed);
        Some(state.queue.take_charges())
    }

    /// Removes the next event that `mode` allows, if there is one.
    ///
    /// # Errors
    /// If the outbox has overflowed, the host program ends the session, or the server shuts down.
    pub(crate) fn pop(&self, mode: PopMode) -> Result<Option<Arc<Event>>, OutboxEnd> {
        let mut state = self.lock();
        if let Some(reason) = state.ended.take() {
            return Err(OutboxEnd::Ended(*reason));
        }
        match state.queue.pop(mode) {
            Ok(None) if state.is_restarting => Err(OutboxEnd::Restart),
            popped => popped.map_err(OutboxEnd::Overflow),
        }
    }

    /// Removes the next event that `mode` allows, for a thread that handles events in the place of the connection's
    /// task. If there is none, puts the waker of the task back, so that the next push gets it.
    pub(crate) fn pop_or_park(&self, mode: PopMode, waker: &mut Option<Waker>) -> Popped {
        let mut state = self.lock();
        if state.ended.is_some() {
            return Popped::Wake;
        }
        match state.queue.pop(mode) {
            Ok(Some(event)) => Popped::Event(event, state.queue.len()),
            Ok(None) if state.waiting.is_none() && !state.is_restarting => {
                self.note_emptiness(&state);
                state.waiting = waker.take();
                Popped::Parked
            }
            Ok(None) | Err(Overflow::Queue | Overflow::Memory) => Popped::Wake,
        }
    }

    /// Puts the waker of the connection's task back, unless there is an event that `mode` allows or the session ends.
    pub(crate) fn park(&self, mode: PopMode, waker: &mut Option<Waker>) {
        let mut state = self.lock();
        if !state.has_next(mode) && state.waiting.is_none() {
            self.note_emptiness(&state);
            state.waiting = waker.take();
        }
    }

    /// Whether [`Outbox::pop`] returns an event, or an error before the connection has read what its client has sent. An
    /// event of the last moment may be missed.
    pub(crate) fn is_filled(&self, mode: PopMode) -> bool {
        self.may_have_events.load(Ordering::Relaxed) && self.lock().is_filled(mode)
    }

    /// The number of queued events.
    pub(crate) fn len(&self) -> usize {
        self.lock().queue.len()
    }

    /// Ready when [`Outbox::pop`] returns an event or an error.
    pub(crate) fn poll_filled(&self, context: &Context<'_>, mode: PopMode) -> Poll<()> {
        let mut state = self.lock();
        if state.has_next(mode) {
            return Poll::Ready(());
        }
        self.note_emptiness(&state);
        let waiting = state.waiting.as_ref();
        if !waiting.is_some_and(|waker| waker.will_wake(context.waker())) {
            state.waiting = Some(context.waker().clone());
        }
        Poll::Pending
    }

    fn note_emptiness(&self, state: &OutboxState) {
        if !state.is_filled(PopMode::All) {
            self.may_have_events.store(false, Ordering::Relaxed);
        }
    }

    /// Whether the task of the connection waits for an event.
    #[cfg(test)]
    pub(crate) fn has_waiting_task(&self) -> bool {
        self.lock().waiting.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, OutboxState> {
        // No code under this lock panics in the middle of a change.
        self.state.lock()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use switchboard_core::{DialectTraits, ErrorCode, SpaceName};

    use super::*;

    fn outbox() -> Arc<Outbox> {
        outbox_in(Arc::default())
    }

    fn outbox_in(memory: Arc<QueueMemory>) -> Arc<Outbox> {
        let id = PeerId::from_random([1; 16]);
        let space = SpaceName::default();
        let peer = Peer::new(id, &DialectTraits::DEFAULT, Identity::Claimed, space);
        let (limits, now) = (Limits::default(), Instant::now());
        Arc::new(Outbox::new(&peer, None, &limits, memory, now))
    }

    #[test]
    fn an_idle_outbox_that_is_the_longest_ends_in_favor_of_a_growing_one() {
        const EVENT_BYTES: usize = 128;
        let memory = Arc::new(QueueMemory::new(1000 * EVENT_BYTES));
        let [longest, growing, short] = [(); 3].map(|()| outbox_in(memory.clone()));
        let fill = |outbox: &Arc<Outbox>, counted: usize| {
            for _ in 0..switchboard_session::UNCOUNTED_BYTES / EVENT_BYTES + counted {
                outbox.push(Arc::new(Event::RequestFailed(ErrorCode::Taken.into())));
            }
        };
        fill(&longest, 600);
        fill(&short, 0);
        fill(&growing, 500);
        let end = longest.pop(PopMode::All);
        assert!(matches!(end, Err(OutboxEnd::Overflow(Overflow::Memory))));
        for outbox in [&growing, &short] {
            assert!(outbox.pop(PopMode::All).is_ok_and(|event| event.is_some()));
        }
        assert_eq!(memory.used(), 499 * EVENT_BYTES);
    }

    #[tokio::test]
    async fn a_push_wakes_the_waiting_task() {
        let outbox = outbox();
        let waiting = tokio::spawn({
            let outbox = outbox.clone();
            async move { poll_fn(|context| outbox.poll_filled(context, PopMode::All)).await }
        });
        tokio::task::yield_now().await;
        outbox.push(Arc::new(Event::RequestFailed(ErrorCode::Taken.into())));
        waiting.await.expect("woken");
    }

    #[test]
    fn the_first_end_of_a_session_overtakes_its_events_and_is_reported_once() {
        let outbox = outbox();
        outbox.push(Arc::new(Event::RequestFailed(ErrorCode::Taken.into())));
        outbox.end("first".into());
        outbox.end("second".into());
        let is_end = |popped| matches!(popped, Err(OutboxEnd::Ended(reason)) if reason == "first");
        assert!(is_end(outbox.pop(PopMode::Urgent)));
        assert!(matches!(outbox.pop(PopMode::All), Ok(Some(_))));
    }

    #[test]
    fn the_end_of_the_server_closes_a_session_after_its_events() {
        let outbox = outbox();
        outbox.push(Arc::new(Event::RequestFailed(ErrorCode::Taken.into())));
        outbox.close_for_restart();
        assert!(matches!(outbox.pop(PopMode::All), Ok(Some(_))));
        let popped = outbox.pop_or_park(PopMode::All, &mut None);
        assert!(matches!(popped, Popped::Wake), "its task closes it");
        assert!(matches!(outbox.pop(PopMode::All), Err(OutboxEnd::Restart)));
    }
}

//! The task of a connection, and the cell in which the connection is between two of its polls.

use std::{
    fmt,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context as TaskContext, Poll, Waker, ready},
    time::Instant,
};

use parking_lot::Mutex;
use switchboard_dialects::SessionOutput;
use switchboard_session::ClientSession;
use tokio::{
    task::coop,
    time::{Sleep, sleep_until},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use tracing::Instrument as _;

use crate::{OutboxHandle, Permit, Socket, connection_log::ConnectionLog};

use super::{
    ConnectionContext, ConnectionEnd, IdleStep, LeftOver, WakeReason, WebSocketConnection,
};

/// Serves one connection to its end. `opened` is the result of [`ClientSession::open`].
///
/// This function is not async, because the future of an async function would keep memory for the values that only
/// its beginning needs.
pub fn serve(
    socket: Socket,
    opened: (ClientSession, SessionOutput),
    context: Arc<ConnectionContext>,
    permit: Permit,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let drain = context.drain.clone();
    let (mut connection, first) = WebSocketConnection::new(socket, opened, context, permit);
    connection.left_over = Some(LeftOver::Output(Box::new(first)));
    let span = ConnectionLog::span(connection.session.peer(), connection.outbox.client());
    let task = ConnectionTask::new(connection).serve(drain);
    if span.is_disabled() {
        Box::pin(task)
    } else {
        Box::pin(task.instrument(span))
    }
}

/// A connection between two polls of its task. `None` after its end.
///
/// The task locks it for each poll. A sender's thread, which has pushed events for the connection, tries to lock it, and
/// handles the events if the connection is idle. It does not wait for the lock: the threads of two connections that send
/// to each other both hold their own locks.
#[derive(Default)]
pub(crate) struct ConnectionCell(Mutex<Option<Box<WebSocketConnection>>>);

impl fmt::Debug for ConnectionCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ConnectionCell").finish_non_exhaustive()
    }
}

impl ConnectionCell {
    /// Handles the events of the outbox if the connection is idle, and takes the waker of its task if no events are
    /// left. Else the caller must wake the task.
    pub(crate) fn handle_events(&self, waker: &mut Option<Waker>, step: &mut IdleStep) {
        let Some(mut cell) = self.0.try_lock() else {
            return;
        };
        let Some(connection) = cell.as_deref_mut().filter(|connection| !connection.in_step) else {
            return;
        };
        connection.in_step = true;
        // A panic of a dialect ends the connection of its session, and not the sender's.
        let handled = AssertUnwindSafe(|| connection.handle_events(waker, step));
        match catch_unwind(handled) {
            Ok(()) => connection.in_step = false,
            Err(_) => step.clear(),
        }
    }
}

#[cfg(test)]
impl ConnectionCell {
    /// Locks the connection, as its task does during a poll.
    pub(super) fn lock(&self) -> impl Drop + '_ {
        self.0.lock()
    }
}

/// Ends the connection when it is dropped, even if the task has panicked or the runtime shuts down.
pub(super) struct ConnectionTask {
    outbox: OutboxHandle,
    first_timeout: Instant,
}

impl ConnectionTask {
    pub(super) fn new(connection: WebSocketConnection) -> Self {
        let outbox = connection.outbox.clone();
        let first_timeout = connection.session.poll_timeout();
        *outbox.connection().0.lock() = Some(Box::new(connection));
        Self {
            outbox,
            first_timeout,
        }
    }

    /// Serves the connection to its end. `drain` is that of its context.
    pub(super) async fn serve(self, drain: CancellationToken) {
        if let Some((mut connection, end)) = self.run(drain).await {
            connection.release_memberships(end.disconnect_reason());
            connection.close(end).await;
        }
    }

    fn take_connection(&self) -> Option<Box<WebSocketConnection>> {
        self.outbox.connection().0.lock().take()
    }

    /// Serves the connection until it ends. `None` if a step has panicked in the thread of a sender.
    async fn run(
        self,
        drain: CancellationToken,
    ) -> Option<(Box<WebSocketConnection>, ConnectionEnd)> {
        let timer = pin!(sleep_until(self.first_timeout.into()));
        let drained = pin!(drain.cancelled());
        let mut wakers = Wakers {
            timer,
            drained,
            drain: &drain,
            registered: None,
            has_fired: false,
        };
        let end = poll_fn(|context| self.poll(context, &mut wakers)).await?;
        Some((self.take_connection()?, end))
    }

    fn poll(
        &self,
        context: &mut TaskContext<'_>,
        wakers: &mut Wakers<'_, '_>,
    ) -> Poll<Option<ConnectionEnd>> {
        let mut cell = self.outbox.connection().0.lock();
        let Some(connection) = cell.as_deref_mut().filter(|connection| !connection.in_step) else {
            return Poll::Ready(None);
        };
        connection.in_step = true;
        let polled = connection.poll_steps(context, wakers);
        // After its end the session gets no more events.
        connection.in_step = polled.is_ready();
        polled.map(Some)
    }
}

impl Drop for ConnectionTask {
    fn drop(&mut self) {
        // The lock is free when the connection is dropped.
        drop(self.take_connection());
    }
}

/// The events besides those of the socket and the outbox that wake the task of a connection.
pub(super) struct Wakers<'pinned, 'token> {
    timer: Pin<&'pinned mut Sleep>,
    drained: Pin<&'pinned mut WaitForCancellationFuture<'token>>,
    drain: &'token CancellationToken,
    /// The waker with which the timer and the end of the server were polled. Polling them again costs more than to
    /// compare it.
    registered: Option<Waker>,
    /// Whether the timer has fired, and must be set again.
    has_fired: bool,
}

impl Wakers<'_, '_> {
    /// Ready when the time `at` is reached or the server closes its connections. Called when a connection has nothing
    /// else to do.
    pub(super) fn poll(&mut self, context: &mut TaskContext<'_>, at: Instant) -> Poll<WakeReason> {
        if self.drain.is_cancelled() {
            return Poll::Ready(WakeReason::Drain);
        }
        if self.timer.is_elapsed() && !self.has_fired {
            self.has_fired = true;
            return Poll::Ready(WakeReason::Timer);
        }
        if self.has_fired || at < self.timer_at() {
            self.has_fired = false;
            self.registered = None;
            self.timer.as_mut().reset(at.into());
        }
        let is_registered = |waker: &Waker| waker.will_wake(context.waker());
        if self.registered.as_ref().is_some_and(is_registered) {
            return Poll::Pending;
        }
        self.register(context)
    }

    fn register(&mut self, context: &mut TaskContext<'_>) -> Poll<WakeReason> {
        // Without budget the timer does not keep the waker, but the task is polled again soon.
        self.registered = coop::has_budget_remaining().then(|| context.waker().clone());
        if self.drained.as_mut().poll(context).is_ready() {
            return Poll::Ready(WakeReason::Drain);
        }
        ready!(self.timer.as_mut().poll(context));
        self.has_fired = true;
        Poll::Ready(WakeReason::Timer)
    }

    /// The time at which the timer fires.
    pub(super) fn timer_at(&self) -> Instant {
        self.timer.deadline().into_std()
    }
}

//! The task of a connection, and the cell in which the connection is between two of its polls.

use std::{
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context as TaskContext, Poll, Waker, ready},
    time::Instant,
};

use parking_lot::Mutex;
use pin_project_lite::pin_project;
use switchboard_dialects::SessionOutput;
use switchboard_session::ClientSession;
use tokio::{
    task::coop,
    time::{Sleep, sleep_until},
};
use tracing::Instrument as _;

use crate::{OutboxHandle, Permit, Socket, connection_log::ConnectionLog};

use super::{
    ConnectionContext, ConnectionEnd, IdleStep, LeftOver, WakeReason, WebSocketConnection,
};

/// Serves one connection to its end. `opened` is the result of [`ClientSession::open`].
///
/// A connection has its task even while idle, so the future is small: most of the connection is in a box, which the
/// outbox shares. Spawn it as a task of its own, or box what its task does before, so that the memory of what came
/// before is freed.
///
/// # Panics
/// Outside of a tokio runtime with timers.
pub fn serve(
    socket: Socket,
    opened: (ClientSession, SessionOutput),
    context: Arc<ConnectionContext>,
    permit: Permit,
) -> impl Future<Output = ()> + Send + 'static {
    let (mut connection, first) = WebSocketConnection::new(socket, opened, context, permit);
    // `left_over` is the rest of a step. The task finishes it at its next poll, here the first one.
    connection.left_over = Some(LeftOver::Output(Box::new(first)));
    let span = ConnectionLog::span(connection.session.peer(), connection.outbox.client());
    let task = ConnectionTask::new(connection);
    if span.is_disabled() {
        task
    } else {
        let future = Box::pin(task.instrument(span));
        ConnectionTask::Boxed { future }
    }
}

/// A connection between two polls of its task. `None` after its end.
///
/// The task locks it for each poll. A sender's thread, which has pushed events for the connection, tries to lock it, and
/// handles the events if the connection is idle. It does not wait for the lock: two connections that send to each
/// other would wait for each other's locks.
#[derive(Default)]
pub(crate) struct ConnectionCell {
    connection: Mutex<Option<Box<WebSocketConnection>>>,
    /// Whether senders handle the events: only a plain TCP connection can be written to without its task.
    is_plain_tcp: AtomicBool,
}

impl fmt::Debug for ConnectionCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionCell").finish_non_exhaustive()
    }
}

impl ConnectionCell {
    /// Whether a sender can handle the events of the connection in place of its task.
    pub(crate) fn is_plain_tcp(&self) -> bool {
        self.is_plain_tcp.load(Ordering::Relaxed)
    }

    /// Handles the events of the outbox if the connection is idle, and puts `waker` back into the outbox if no events
    /// are left that can be handled now. Else the caller must wake the task.
    pub(crate) fn handle_events(&self, waker: &mut Option<Waker>, step: &mut IdleStep) {
        if !self.is_plain_tcp() {
            return;
        }
        let Some(mut cell) = self.connection.try_lock() else {
            return;
        };
        let Some(connection) = cell.as_deref_mut().filter(|connection| !connection.in_step) else {
            return;
        };
        connection.in_step = true;
        // A panic of a dialect ends the connection of its session, and not the sender's. `in_step` stays set after a
        // panic: the next poll of the task then ends the connection.
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
        self.connection.lock()
    }
}

pin_project! {
    /// The task of a connection.
    #[project = ConnectionTaskState]
    pub(super) enum ConnectionTask {
        /// The connection is open.
        Serving {
            connection: ServedConnection,
            #[pin]
            sleep: Sleep,
            timer: TimerState,
        },
        /// The connection is being closed, or its task has a tracing span.
        Boxed {
            future: Pin<Box<dyn Future<Output = ()> + Send>>,
        },
    }
}

impl ConnectionTask {
    pub(super) fn new(connection: WebSocketConnection) -> Self {
        Self::Serving {
            sleep: sleep_until(connection.session.poll_timeout().into()),
            connection: ServedConnection::new(connection),
            timer: TimerState::default(),
        }
    }
}

impl Future for ConnectionTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<()> {
        match self.as_mut().project() {
            ConnectionTaskState::Boxed { future } => future.as_mut().poll(context),
            ConnectionTaskState::Serving {
                connection,
                sleep,
                timer,
            } => {
                let mut timer = TaskTimer {
                    sleep,
                    state: timer,
                };
                let Some((connection, end)) = ready!(connection.poll(context, &mut timer)) else {
                    return Poll::Ready(());
                };
                let mut future = Box::pin(end_connection(connection, end));
                let polled = future.as_mut().poll(context);
                self.set(Self::Boxed { future });
                polled
            }
        }
    }
}

async fn end_connection(mut connection: Box<WebSocketConnection>, end: ConnectionEnd) {
    connection.release_memberships(end.disconnect_reason());
    connection.close(end).await;
}

/// Ends the connection when it is dropped, even if the task has panicked or the runtime shuts down.
pub(super) struct ServedConnection(OutboxHandle);

impl ServedConnection {
    fn new(connection: WebSocketConnection) -> Self {
        let outbox = connection.outbox.clone();
        let cell = outbox.connection();
        let is_plain_tcp = connection.socket.is_plain_tcp();
        cell.is_plain_tcp.store(is_plain_tcp, Ordering::Relaxed);
        *cell.connection.lock() = Some(Box::new(connection));
        Self(outbox)
    }

    fn take(&self) -> Option<Box<WebSocketConnection>> {
        self.0.connection().connection.lock().take()
    }

    /// Ready when the connection ends. `None` if a step has panicked in the thread of a sender.
    fn poll(
        &self,
        context: &mut TaskContext<'_>,
        timer: &mut TaskTimer<'_>,
    ) -> Poll<Option<(Box<WebSocketConnection>, ConnectionEnd)>> {
        let mut cell = self.0.connection().connection.lock();
        let Some(connection) = cell.as_deref_mut().filter(|connection| !connection.in_step) else {
            return Poll::Ready(None);
        };
        connection.in_step = true;
        let polled = connection.poll_steps(context, timer);
        connection.in_step = false;
        let end = ready!(polled);
        // The connection is taken out before the lock is released, so no sender hands events to an ended session.
        Poll::Ready(cell.take().map(|connection| (connection, end)))
    }
}

impl Drop for ServedConnection {
    fn drop(&mut self) {
        // `take` has released the lock before the connection is dropped.
        drop(self.take());
    }
}

/// The state of a [`TaskTimer`] between two polls.
#[derive(Default)]
pub(super) struct TimerState {
    /// The waker that is registered with the timer. Comparing it is cheaper than polling the timer again.
    registered: Option<Waker>,
    /// Whether the timer has fired, and must be set again.
    has_fired: bool,
}

/// The timer of the task of a connection.
pub(super) struct TaskTimer<'task> {
    sleep: Pin<&'task mut Sleep>,
    state: &'task mut TimerState,
}

impl TaskTimer<'_> {
    /// Ready at `at` or earlier: a deadline before `at` is not moved, so the caller must check the time. Called when a
    /// connection has nothing else to do.
    pub(super) fn poll(&mut self, context: &mut TaskContext<'_>, at: Instant) -> Poll<WakeReason> {
        if self.sleep.is_elapsed() && !self.state.has_fired {
            self.state.has_fired = true;
            return Poll::Ready(WakeReason::Timer);
        }
        if self.state.has_fired || at < self.deadline() {
            self.state.has_fired = false;
            self.state.registered = None;
            self.sleep.as_mut().reset(at.into());
        }
        let is_registered = |waker: &Waker| waker.will_wake(context.waker());
        if self.state.registered.as_ref().is_some_and(is_registered) {
            return Poll::Pending;
        }
        self.register(context)
    }

    fn register(&mut self, context: &mut TaskContext<'_>) -> Poll<WakeReason> {
        // Without budget `Sleep` does not register the waker, but has the task polled again soon.
        self.state.registered = coop::has_budget_remaining().then(|| context.waker().clone());
        ready!(self.sleep.as_mut().poll(context));
        self.state.has_fired = true;
        Poll::Ready(WakeReason::Timer)
    }

    /// The time at which the timer fires.
    pub(super) fn deadline(&self) -> Instant {
        self.sleep.deadline().into_std()
    }
}

#[cfg(test)]
mod tests;

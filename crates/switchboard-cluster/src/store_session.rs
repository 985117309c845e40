//! One connection to the store: the batch in flight and the pushes.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use switchboard_core::error_chain;
use tokio::sync::mpsc;

use crate::store::{Store, StoreConnection, StorePush, StoreRequest, StoreResponse};

/// Maximum number of pushes in one event.
const PUSHES_MAX: usize = 256;

/// The error of a connection to the store.
pub(crate) type ConnectionError<S> = <<S as Store>::Connection as StoreConnection>::Error;

type BatchResult<S> = Result<Vec<StoreResponse>, ConnectionError<S>>;

/// An event of a connection.
pub(crate) enum StoreEvent {
    /// The responses to the batch in flight, and the duration of the round trip.
    Responses(Vec<StoreResponse>, Duration),
    /// Pushes, oldest first.
    Pushes(Vec<StorePush>),
    /// The connection has ended, for this reason.
    Ended(String),
}

struct InFlightBatch<S: Store> {
    started: Instant,
    execution: Pin<Box<dyn Future<Output = BatchResult<S>> + Send>>,
}

/// A connection with at most one batch in flight.
pub(crate) struct StoreSession<S: Store> {
    connection: Arc<S::Connection>,
    pushes: mpsc::Receiver<StorePush>,
    in_flight: Option<InFlightBatch<S>>,
}

impl<S: Store> StoreSession<S> {
    pub(crate) fn new(connection: S::Connection, pushes: mpsc::Receiver<StorePush>) -> Self {
        Self {
            connection: Arc::new(connection),
            pushes,
            in_flight: None,
        }
    }

    /// The connection, for requests that are not part of a batch.
    pub(crate) fn connection(&self) -> &S::Connection {
        &self.connection
    }

    /// Whether no batch is in flight.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.is_none()
    }

    /// Begins to execute a batch. No batch may be in flight.
    pub(crate) fn begin(&mut self, batch: Vec<StoreRequest>) {
        let connection = self.connection.clone();
        self.in_flight = Some(InFlightBatch {
            started: Instant::now(),
            execution: Box::pin(async move { connection.execute(&batch).await }),
        });
    }

    /// Waits for the next event. Cancelling loses no event.
    pub(crate) async fn next_event(&mut self) -> StoreEvent {
        let mut pushes = Vec::new();
        tokio::select! {
            biased;
            event = await_responses(&mut self.in_flight) => event,
            count = self.pushes.recv_many(&mut pushes, PUSHES_MAX) => match count {
                0 => StoreEvent::Ended("the connection to the store was closed".to_owned()),
                _ => StoreEvent::Pushes(pushes),
            },
        }
    }

    /// The next event, if there is one.
    pub(crate) async fn try_next_event(&mut self) -> Option<StoreEvent> {
        tokio::select! {
            biased;
            event = self.next_event() => Some(event),
            () = std::future::ready(()) => None,
        }
    }

    /// Blocks the thread for `pause`, after the batch in flight was sent, and then receives again. Returns at
    /// once if there is an event.
    pub(crate) async fn pause(&mut self, pause: Duration) -> Option<StoreEvent> {
        let event = self.try_next_event().await;
        if event.is_none() {
            // The tasks of the connection write before the pause, and read after it.
            run_ready_tasks().await;
            std::thread::sleep(pause);
            tokio::task::yield_now().await;
        }
        event
    }
}

/// Runs the other tasks of the thread that are ready. Unlike [`tokio::task::yield_now`] it does not ask the operating
/// system for I/O events before, which would be a system call.
async fn run_ready_tasks() {
    let mut has_yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        // The task is scheduled behind those that are ready.
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Awaits the responses to the batch in flight; pending forever if there is none.
async fn await_responses<S: Store>(in_flight: &mut Option<InFlightBatch<S>>) -> StoreEvent {
    let Some(batch) = in_flight else {
        return std::future::pending().await;
    };
    let result = batch.execution.as_mut().await;
    let lag = batch.started.elapsed();
    *in_flight = None;
    match result {
        Ok(responses) => StoreEvent::Responses(responses, lag),
        Err(error) => StoreEvent::Ended(error_chain(&error)),
    }
}

#[cfg(test)]
mod tests;

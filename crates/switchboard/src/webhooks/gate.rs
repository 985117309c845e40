//! The gate of a webhook: requests wait there for their turn.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use switchboard_auth::webhook::{FairQueue, QueueTicket, StartResult};
use tokio::sync::oneshot;

/// Lets a bounded number of requests through, in the order of a [`FairQueue`].
#[derive(Debug)]
pub(super) struct Gate(Mutex<GateState>);

#[derive(Debug)]
struct GateState {
    queue: FairQueue<String>,
    waiting: BTreeMap<QueueTicket, oneshot::Sender<()>>,
}

impl Gate {
    pub(super) fn new(concurrency: usize) -> Self {
        Self(Mutex::new(GateState {
            queue: FairQueue::new(concurrency),
            waiting: BTreeMap::new(),
        }))
    }

    pub(super) fn waiting(&self) -> usize {
        self.0.lock().queue.waiting()
    }

    /// Waits for the turn of a request. `None` if too many wait.
    pub(super) async fn enter(self: &Arc<Self>, key: &str) -> Option<GatePlace> {
        let (place, turn) = self.begin(key)?;
        if let Some(turn) = turn {
            turn.await.ok()?;
        }
        Some(place)
    }

    fn begin(self: &Arc<Self>, key: &str) -> Option<(GatePlace, Option<oneshot::Receiver<()>>)> {
        let key = key.to_owned();
        let mut state = self.0.lock();
        let (ticket, turn) = match state.queue.start(&key) {
            StartResult::Started => (None, None),
            StartResult::Waiting(ticket) => {
                let (sender, receiver) = oneshot::channel();
                state.waiting.insert(ticket, sender);
                (Some(ticket), Some(receiver))
            }
            StartResult::Full => return None,
        };
        drop(state);
        let gate = self.clone();
        Some((GatePlace { gate, key, ticket }, turn))
    }
}

/// A request that waits at a [`Gate`] or has passed it, until it is dropped.
#[derive(Debug)]
pub(super) struct GatePlace {
    gate: Arc<Gate>,
    key: String,
    ticket: Option<QueueTicket>,
}

impl Drop for GatePlace {
    fn drop(&mut self) {
        let mut state = self.gate.0.lock();
        let waits = self
            .ticket
            .filter(|ticket| state.waiting.remove(ticket).is_some());
        if let Some(ticket) = waits {
            return state.queue.cancel(&self.key, ticket);
        }
        if let Some(next) = state.queue.finish(&self.key)
            && let Some(sender) = state.waiting.remove(&next)
        {
            // If the receiver was dropped meanwhile, its place is dropped after this lock, and finishes the request.
            let _ = sender.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn place_of_a_request_that_is_dropped_goes_to_the_next_one() {
        let gate = Arc::new(Gate::new(1));
        let first = gate.enter("a").await.expect("free");
        let mut cancelled = Box::pin(gate.enter("b"));
        let mut granted = Box::pin(gate.enter("c"));
        let mut last = Box::pin(gate.enter("d"));
        assert!(cancelled.as_mut().now_or_never().is_none());
        assert!(granted.as_mut().now_or_never().is_none());
        assert!(last.as_mut().now_or_never().is_none());
        assert_eq!(gate.waiting(), 3);
        drop(cancelled);
        assert_eq!(gate.waiting(), 2);
        drop(first);
        // "c" has its turn, and is dropped before it notices.
        drop(granted);
        let place = last.now_or_never().expect("ready").expect("its turn");
        drop(place);
        assert!(gate.enter("e").now_or_never().is_some());
    }
}

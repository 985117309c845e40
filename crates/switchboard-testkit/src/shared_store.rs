//! A store in memory that several nodes of one process share in real time.

use std::{collections::BTreeMap, fmt, sync::Arc};

use parking_lot::{Mutex, MutexGuard};
use switchboard_cluster::{
    PushQueue,
    store::{
        ConnectResult, LogEvent, Store, StoreConnection, StorePush, StoreRequest, StoreResponse,
    },
};
use switchboard_core::{LogId, NodeId};

use crate::InMemoryStore;

/// An [`InMemoryStore`] for a [`Driver`](switchboard_cluster::Driver). All clones are the same
/// store. It executes all requests in the order of arrival.
///
/// It has no clock: the number of executed requests serves as the time in microseconds. An empty
/// log is therefore kept for 60 million requests.
#[derive(Clone, Default)]
pub struct SharedStore {
    state: Arc<Mutex<SharedState>>,
}

#[derive(Default)]
struct SharedState {
    store: InMemoryStore,
    executed: u64,
    /// The number of times that all data was lost. The secret that the nodes of a cluster read from the store is made
    /// of it, so the secret changes at each loss.
    wipes: u64,
    is_away: bool,
    connections: BTreeMap<NodeId, Arc<PushQueue>>,
}

impl SharedStore {
    /// Ends all connections. With `true`, the store accepts no new ones from now on; with `false`, it does again.
    pub fn set_away(&self, is_away: bool) {
        let mut state = self.state();
        state.is_away = is_away;
        for connection in std::mem::take(&mut state.connections).into_values() {
            connection.close("the store has closed the connection");
        }
    }

    /// Loses all data. The connections stay open.
    pub fn wipe(&self) {
        let mut state = self.state();
        state.store.wipe();
        state.wipes += 1;
    }

    /// Whether the store holds no nodes, subscriptions or members.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.state().store.is_empty()
    }

    fn state(&self) -> MutexGuard<'_, SharedState> {
        self.state.lock()
    }
}

impl fmt::Debug for SharedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedStore").finish_non_exhaustive()
    }
}

impl fmt::Display for SharedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("memory")
    }
}

impl Store for SharedStore {
    type Connection = SharedConnection;

    async fn connect(&self, node: NodeId) -> ConnectResult<SharedConnection> {
        let mut state = self.state();
        if state.is_away {
            return Err(StoreAway("the store is away".to_owned()));
        }
        let (queue, pushes) = PushQueue::new(PushQueue::DEFAULT_LEN);
        let queue = Arc::new(queue);
        state.connections.insert(node, Arc::clone(&queue));
        let store = self.clone();
        Ok((SharedConnection { store, queue }, pushes))
    }
}

/// The error of a connection to a [`SharedStore`], or of an attempt to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreAway(String);

impl fmt::Display for StoreAway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StoreAway {}

/// The connection of a node to a [`SharedStore`].
#[derive(Debug)]
pub struct SharedConnection {
    store: SharedStore,
    queue: Arc<PushQueue>,
}

impl SharedConnection {
    fn state(&self) -> Result<MutexGuard<'_, SharedState>, StoreAway> {
        match self.queue.close_reason() {
            Some(reason) => Err(StoreAway(reason)),
            None => Ok(self.store.state()),
        }
    }
}

impl StoreConnection for SharedConnection {
    type Error = StoreAway;

    async fn execute(&self, batch: &[StoreRequest]) -> Result<Vec<StoreResponse>, StoreAway> {
        let mut state = self.state()?;
        Ok(batch.iter().map(|request| state.execute(request)).collect())
    }

    async fn secret(&self) -> Result<String, StoreAway> {
        let state = self.state()?;
        Ok(format!("{:064x}", state.wipes))
    }
}

impl SharedState {
    fn execute(&mut self, request: &StoreRequest) -> StoreResponse {
        self.executed += 1;
        let (response, events) = self.store.execute(request, self.executed);
        for (log, event) in events {
            self.publish(&log, &event);
        }
        match request {
            StoreRequest::Post(to, envelope) => self.post(*to, envelope),
            StoreRequest::Heartbeat { .. }
            | StoreRequest::Fence { .. }
            | StoreRequest::RemoveNode(_)
            | StoreRequest::SubscribedLogs(_)
            | StoreRequest::Subscribe(..)
            | StoreRequest::Unsubscribe(..)
            | StoreRequest::Read(_)
            | StoreRequest::Change { .. }
            | StoreRequest::Sync { .. }
            | StoreRequest::Evict(..) => response,
        }
    }

    fn publish(&self, log: &LogId, event: &LogEvent) {
        for node in self.store.subscribers(log) {
            if let Some(queue) = self.connections.get(&node) {
                queue.push(StorePush::LogEvent(log.clone(), event.clone()), 1);
            }
        }
    }

    fn post(&self, to: NodeId, envelope: &[u8]) -> StoreResponse {
        let queue = self.connections.get(&to);
        let queue = queue.filter(|queue| queue.close_reason().is_none());
        if let Some(queue) = queue {
            queue.push(StorePush::Envelope(envelope.to_vec()), envelope.len());
        }
        StoreResponse::Posted(u64::from(queue.is_some()))
    }
}

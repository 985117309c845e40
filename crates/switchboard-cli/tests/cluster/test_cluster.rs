//! The state that all clients share.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::{net::TcpStream, sync::watch};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::{corruption::CorruptingRecorder, record::Record};

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The actions of the clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mode {
    /// Whether they send signals.
    pub(crate) talk: bool,
    /// Whether they leave, disconnect and join again.
    pub(crate) churn: bool,
}

/// The state that all clients share.
#[derive(Debug)]
pub(crate) struct TestCluster {
    record: Mutex<Record>,
    /// The addresses of the reachable nodes.
    nodes: Mutex<Vec<String>>,
    pub(crate) mode: watch::Sender<Mode>,
    /// The sockets of frozen clients.
    frozen: Mutex<Vec<Socket>>,
    /// Clients that must freeze.
    to_freeze: Mutex<BTreeSet<usize>>,
    pub(crate) recorder: CorruptingRecorder,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("another thread has panicked")
}

impl TestCluster {
    pub(crate) fn new(recorder: CorruptingRecorder) -> Arc<Self> {
        Arc::new(Self {
            record: Mutex::default(),
            nodes: Mutex::default(),
            mode: watch::Sender::new(Mode::default()),
            frozen: Mutex::default(),
            to_freeze: Mutex::default(),
            recorder,
        })
    }

    pub(crate) fn record(&self) -> MutexGuard<'_, Record> {
        lock(&self.record)
    }

    pub(crate) fn add_node(&self, node: String) {
        lock(&self.nodes).push(node);
    }

    pub(crate) fn remove_node(&self, node: &str) {
        lock(&self.nodes).retain(|other| other != node);
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Makes these clients freeze: each stops reading its connection, leaves it open, and makes a new connection.
    pub(crate) fn freeze(&self, clients: impl IntoIterator<Item = usize>) {
        lock(&self.to_freeze).extend(clients);
    }

    /// Whether this client must freeze now.
    pub(crate) fn must_freeze(&self, client: usize) -> bool {
        lock(&self.to_freeze).remove(&client)
    }

    /// Keeps the connection of a frozen client open.
    pub(crate) fn keep(&self, socket: Socket) {
        lock(&self.frozen).push(socket);
    }

    /// One of the nodes, if there is any.
    pub(crate) fn node(&self, choose: impl FnOnce(usize) -> usize) -> Option<String> {
        let nodes = lock(&self.nodes);
        (!nodes.is_empty()).then(|| nodes[choose(nodes.len())].clone())
    }
}

//! What all clients share.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::{net::TcpStream, sync::watch};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::{corruption::CorruptedRecorder, record::Record};

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What the clients do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mode {
    /// They send signals.
    pub(crate) talk: bool,
    /// They leave, die and come again.
    pub(crate) churn: bool,
}

/// What all clients share.
#[derive(Debug)]
pub(crate) struct TestCluster {
    record: Mutex<Record>,
    /// Where the nodes listen, as far as one can be reached.
    nodes: Mutex<Vec<String>>,
    pub(crate) mode: watch::Sender<Mode>,
    /// Sockets of clients that read no more.
    silent: Mutex<Vec<Socket>>,
    /// Clients that shall fall silent.
    hushed: Mutex<BTreeSet<usize>>,
    pub(crate) liar: CorruptedRecorder,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics with it")
}

impl TestCluster {
    pub(crate) fn new(liar: CorruptedRecorder) -> Arc<Self> {
        Arc::new(Self {
            record: Mutex::default(),
            nodes: Mutex::default(),
            mode: watch::Sender::new(Mode::default()),
            silent: Mutex::default(),
            hushed: Mutex::default(),
            liar,
        })
    }

    pub(crate) fn record(&self) -> MutexGuard<'_, Record> {
        lock(&self.record)
    }

    pub(crate) fn open_at(&self, node: String) {
        lock(&self.nodes).push(node);
    }

    pub(crate) fn closed_at(&self, node: &str) {
        lock(&self.nodes).retain(|other| other != node);
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Lets these clients read no more, as if their machines had frozen; they come again from others.
    pub(crate) fn hush(&self, clients: impl IntoIterator<Item = usize>) {
        lock(&self.hushed).extend(clients);
    }

    /// Whether this client shall fall silent now.
    pub(crate) fn is_hushed(&self, client: usize) -> bool {
        lock(&self.hushed).remove(&client)
    }

    /// Keeps a connection that nobody reads.
    pub(crate) fn keep(&self, socket: Socket) {
        lock(&self.silent).push(socket);
    }

    /// One of the nodes, if there is any.
    pub(crate) fn node(&self, choose: impl FnOnce(usize) -> usize) -> Option<String> {
        let nodes = lock(&self.nodes);
        (!nodes.is_empty()).then(|| nodes[choose(nodes.len())].clone())
    }
}

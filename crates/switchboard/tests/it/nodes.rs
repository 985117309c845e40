//! Several servers in one process, joined by an engine that orders who does what for all of them.
//! Each has rooms of its own.

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use switchboard::{Builder, Listener, Server};
use switchboard_cluster::{Engine, EngineHandler, ProposeOutcome, Status};
use switchboard_core::{
    Change, Entry, LeaveCause, LogId, Member, NodeId, NodeMessage, PeerId, Position,
};

/// What only the nodes know.
pub(crate) const SECRET: &str = "between the nodes";

/// The nodes that belong together, by the address of the one that tests speak to.
static TOGETHER: Mutex<Option<HashMap<SocketAddr, SocketAddr>>> = Mutex::new(None);

/// What joins the nodes. Whoever was made first is first in every queue, as long as it is there.
#[derive(Clone)]
pub(crate) struct SharedLogs(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    nodes: Vec<Joined>,
    /// Seats in the queue, oldest first.
    seats: Vec<(Position, NodeId, Arc<Member>)>,
    last: u64,
    first_has_come: bool,
    /// Changes that wait for the first node's.
    waiting: Vec<(NodeId, Change)>,
}

struct Joined {
    id: NodeId,
    sink: Option<Arc<dyn EngineHandler>>,
}

/// One node, as it sees what joins them.
struct Node {
    nodes: SharedLogs,
    id: NodeId,
    url: String,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("id", &self.id).finish()
    }
}

/// A node that serves.
pub(crate) struct Serving {
    pub(crate) server: Server,
    pub(crate) address: SocketAddr,
    pub(crate) id: NodeId,
}

impl SharedLogs {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    /// One more node, on a free loopback port.
    pub(crate) fn serve(&self, builder: Builder) -> Serving {
        let listener = Listener::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let address = listener.address();
        Self::is_alone(address);
        let (server, id) = self.build(builder, &format!("http://{address}"));
        server.serve(listener);
        Serving {
            server,
            address,
            id,
        }
    }

    /// One more node, which the others reach at `url`.
    pub(crate) fn build(&self, builder: Builder, url: &str) -> (Server, NodeId) {
        let mut state = self.lock();
        let id = NodeId::from(1 + state.nodes.len() as u64);
        state.nodes.push(Joined { id, sink: None });
        drop(state);
        let node = Node {
            nodes: self.clone(),
            id,
            url: url.to_owned(),
        };
        let server = builder.engine(Arc::new(node), url.to_owned()).build();
        (server, id)
    }

    /// The node loses its seat, as when it was not heard of for too long. It hears of that.
    pub(crate) fn lose(&self, id: NodeId) {
        let mut state = self.lock();
        let of_node = |(_, node, _): &&(Position, NodeId, Arc<Member>)| *node == id;
        let peers: Vec<PeerId> = state
            .seats
            .iter()
            .filter(of_node)
            .map(|seat| seat.2.peer)
            .collect();
        for peer in peers {
            state.order(id, &Change::Leave(peer, LeaveCause::NodeLost));
        }
    }

    /// The node is no more.
    pub(crate) fn bury(&self, id: NodeId) {
        let mut state = self.lock();
        let nodes = &mut state.nodes;
        let dead = nodes.iter_mut().find(|node| node.id == id);
        dead.expect("a node").sink = None;
        drop(state);
        self.lose(id);
    }

    /// Asked about the second, what is counted of both is wanted.
    pub(crate) fn belong_together(first: SocketAddr, second: SocketAddr) {
        let mut together = TOGETHER.lock().unwrap_or_else(PoisonError::into_inner);
        let together = together.get_or_insert_default();
        together.insert(second, first);
    }

    /// This one is alone so far. Its port may have been another's, whose test is over.
    pub(crate) fn is_alone(address: SocketAddr) {
        let mut together = TOGETHER.lock().unwrap_or_else(PoisonError::into_inner);
        together.get_or_insert_default().remove(&address);
    }

    /// The nodes to which this one belongs.
    pub(crate) fn of(address: SocketAddr) -> Vec<SocketAddr> {
        let together = TOGETHER.lock().unwrap_or_else(PoisonError::into_inner);
        let first = together.as_ref().and_then(|all| all.get(&address));
        first.copied().into_iter().chain([address]).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic")
    }
}

impl State {
    fn order(&mut self, node: NodeId, change: &Change) {
        self.last += 1;
        let position = Position::from(self.last);
        match change {
            Change::Join(member) => self.seats.push((position, node, member.clone())),
            Change::Leave(peer, _) => self.seats.retain(|(_, _, member)| member.peer != *peer),
        }
        for joined in &self.nodes {
            let Some(sink) = &joined.sink else { continue };
            let entry = Entry {
                position,
                node: (joined.id != node).then_some(node),
                change: change.clone(),
            };
            sink.on_committed(&voice(), vec![entry]);
        }
    }
}

fn voice() -> LogId {
    LogId::Election(switchboard_core::ElectionId::parse("voice", 0).expect("not empty"))
}

impl Engine for Node {
    fn attach(&self, sink: Arc<dyn EngineHandler>) {
        let mut state = self.nodes.lock();
        let seats = state.seats.iter().map(|(position, node, member)| Entry {
            position: *position,
            node: Some(*node),
            change: Change::Join(member.clone()),
        });
        sink.on_committed(&voice(), seats.collect());
        let mut nodes = state.nodes.iter_mut();
        let own = nodes.find(|node| node.id == self.id).expect("a node");
        own.sink = Some(sink);
    }

    fn propose(&self, log: &LogId, at: Position, change: &Change) -> ProposeOutcome {
        if *log != voice() {
            return ProposeOutcome::Committed(at.next());
        }
        let mut state = self.nodes.lock();
        state.waiting.push((self.id, change.clone()));
        state.first_has_come |= self.id == state.nodes[0].id;
        if state.first_has_come {
            let mut waiting = std::mem::take(&mut state.waiting);
            waiting.sort_by_key(|(node, _)| *node);
            for (node, change) in waiting {
                state.order(node, &change);
            }
        }
        ProposeOutcome::Pending
    }

    fn send(&self, _to: NodeId, letter: NodeMessage) -> Option<NodeMessage> {
        Some(letter)
    }

    fn status(&self) -> Option<Status> {
        Some(Status {
            node: self.id,
            epoch: 1,
            url: self.url.clone(),
            down_for: None,
            last_error: String::new(),
            nodes: Vec::new(),
            queue: 0,
            lag: Duration::ZERO,
            unavailable_total: 0,
            reconnects_total: 0,
            secret: Some(SECRET.to_owned()),
        })
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }
}

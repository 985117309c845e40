//! Several servers in one process, the nodes of a cluster. They elect the voice leader, the node that does the work of
//! all voice rooms: the candidate that joined first.
//!
//! An engine is the part of a server that shares rooms between nodes: it puts the joins and leaves of all nodes in one
//! order. The engine here does so only for the candidates of the election; each node has its own rooms.

use std::{
    collections::HashMap, fmt, future::Future, net::SocketAddr, pin::Pin, sync::Arc, time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use switchboard::{Builder, Listener, Server};
use switchboard_cluster::{Engine, EngineHandler, NodeLine, ProposeOutcome, Status};
use switchboard_core::{
    Change, Entry, LeaveCause, LogId, Member, NodeId, NodeMessage, PeerId, Position,
};

/// The secret that the nodes share.
pub(crate) const SECRET: &str = "between the nodes";

/// The first node of each cluster, by the address of the second node, to which the tests connect.
static LINKED_NODES: Mutex<Option<HashMap<SocketAddr, SocketAddr>>> = Mutex::new(None);

/// The shared engine. While it exists, the node that was built first is the first candidate.
#[derive(Clone)]
pub(crate) struct SharedEngine(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    nodes: Vec<NodeSlot>,
    /// The candidates of the election, oldest first.
    candidates: Vec<(Position, NodeId, Arc<Member>)>,
    /// The position of the last change.
    last_position: u64,
    first_node_has_proposed: bool,
    /// Proposals that wait until the first node has proposed, so that it is the oldest candidate.
    pending: Vec<(NodeId, Change)>,
}

struct NodeSlot {
    id: NodeId,
    url: String,
    handler: Option<Arc<dyn EngineHandler>>,
}

/// The engine of one node.
struct NodeEngine {
    nodes: SharedEngine,
    id: NodeId,
    url: String,
}

impl fmt::Debug for NodeEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeEngine").field("id", &self.id).finish()
    }
}

/// A node with a listener.
pub(crate) struct RunningNode {
    pub(crate) server: Server,
    pub(crate) address: SocketAddr,
    pub(crate) id: NodeId,
}

impl SharedEngine {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    /// Starts a node on a free loopback port.
    pub(crate) fn serve(&self, builder: Builder) -> RunningNode {
        let listener = Listener::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let address = listener.address();
        Self::unlink_node(address);
        let (server, id) = self.build(builder, &format!("http://{address}"));
        crate::client::serve_internal(&server, address);
        server.serve(listener);
        RunningNode {
            server,
            address,
            id,
        }
    }

    /// Builds a node, which the other nodes reach at `url`.
    pub(crate) fn build(&self, builder: Builder, url: &str) -> (Server, NodeId) {
        let mut state = self.lock();
        let id = NodeId::from(1 + state.nodes.len() as u64);
        state.nodes.push(NodeSlot {
            id,
            url: url.to_owned(),
            handler: None,
        });
        drop(state);
        let node = NodeEngine {
            nodes: self.clone(),
            id,
            url: url.to_owned(),
        };
        let server = builder
            .engine(Arc::new(node), Some(url.to_owned()))
            .build()
            .expect("valid settings");
        (server, id)
    }

    /// Commits the leave of the node's candidates, as after an expired lease. The node receives the change.
    pub(crate) fn end_candidacy(&self, id: NodeId) {
        let mut state = self.lock();
        let is_of_node = |(_, node, _): &&(Position, NodeId, Arc<Member>)| *node == id;
        let peers: Vec<PeerId> = state
            .candidates
            .iter()
            .filter(is_of_node)
            .map(|candidate| candidate.2.peer)
            .collect();
        for peer in peers {
            state.commit(id, &Change::Leave(peer, LeaveCause::NodeLost));
        }
    }

    /// Ends the candidacy of a node, which receives no more changes.
    pub(crate) fn remove_node(&self, id: NodeId) {
        let mut state = self.lock();
        let nodes = &mut state.nodes;
        let slot = nodes.iter_mut().find(|node| node.id == id);
        slot.expect("a node").handler = None;
        drop(state);
        self.end_candidacy(id);
    }

    /// Records that two nodes are a cluster: [`Self::cluster_of`] the second returns both.
    pub(crate) fn link_nodes(first: SocketAddr, second: SocketAddr) {
        let mut linked = LINKED_NODES.lock();
        let linked = linked.get_or_insert_default();
        linked.insert(second, first);
    }

    /// Records that a node is in no cluster. An earlier test may have used its port.
    pub(crate) fn unlink_node(address: SocketAddr) {
        let mut linked = LINKED_NODES.lock();
        linked.get_or_insert_default().remove(&address);
    }

    /// The nodes of the cluster of this node.
    pub(crate) fn cluster_of(address: SocketAddr) -> Vec<SocketAddr> {
        let linked = LINKED_NODES.lock();
        let first = linked.as_ref().and_then(|all| all.get(&address));
        first.copied().into_iter().chain([address]).collect()
    }

    /// The list of nodes, as each node has it.
    fn lines(&self) -> Vec<NodeLine> {
        let state = self.lock();
        let nodes = state.nodes.iter().filter(|node| node.handler.is_some());
        nodes
            .map(|node| NodeLine::new(node.id, 1, &node.url))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

impl State {
    fn commit(&mut self, node: NodeId, change: &Change) {
        self.last_position += 1;
        let position = Position::from(self.last_position);
        match change {
            Change::Join(member) => self.candidates.push((position, node, member.clone())),
            Change::Leave(peer, _) => self
                .candidates
                .retain(|(_, _, member)| member.peer != *peer),
        }
        for slot in &self.nodes {
            let Some(handler) = &slot.handler else {
                continue;
            };
            let entry = Entry {
                position,
                node: (slot.id != node).then_some(node),
                change: change.clone(),
            };
            handler.on_committed(&voice_election(), vec![entry]);
        }
    }
}

fn voice_election() -> LogId {
    LogId::Election(switchboard_core::ElectionId::parse("voice", 0).expect("not empty"))
}

impl Engine for NodeEngine {
    fn attach(&self, handler: Arc<dyn EngineHandler>) {
        let mut state = self.nodes.lock();
        let candidates = state
            .candidates
            .iter()
            .map(|(position, node, member)| Entry {
                position: *position,
                node: Some(*node),
                change: Change::Join(member.clone()),
            });
        handler.on_committed(&voice_election(), candidates.collect());
        let mut nodes = state.nodes.iter_mut();
        let own = nodes.find(|node| node.id == self.id).expect("a node");
        own.handler = Some(handler);
    }

    fn propose(&self, log: &LogId, at: Position, change: &Change) -> ProposeOutcome {
        if *log != voice_election() {
            return ProposeOutcome::Committed(at.next());
        }
        let mut state = self.nodes.lock();
        state.pending.push((self.id, change.clone()));
        state.first_node_has_proposed |= self.id == state.nodes[0].id;
        if state.first_node_has_proposed {
            let mut pending = std::mem::take(&mut state.pending);
            pending.sort_by_key(|(node, _)| *node);
            for (node, change) in pending {
                state.commit(node, &change);
            }
        }
        ProposeOutcome::Pending
    }

    fn send(&self, _to: NodeId, message: NodeMessage) -> Option<NodeMessage> {
        Some(message)
    }

    fn status(&self) -> Option<Status> {
        Some(Status {
            node: self.id,
            epoch: 1,
            url: self.url.clone(),
            down_for: None,
            last_error: String::new(),
            nodes: self.nodes.lines(),
            queue: 0,
            lag: Duration::ZERO,
            unavailable_total: 0,
            discarded_total: 0,
            reconnects_total: 0,
            secret: Some(SECRET.to_owned()),
        })
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }
}

//! The contract of engines, as checks that the tests of each engine run. An engine commits the membership changes that
//! a node proposes and puts them in one order: in memory for a single node, over a shared store for a cluster. It also
//! carries messages between nodes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use bytestring::ByteString;
use parking_lot::{Condvar, Mutex, MutexGuard};
use switchboard_cluster::{DialectRegistry, Engine, EngineHandler, ProposeOutcome};
use switchboard_core::{
    Address, Change, DialectTraits, Entry, Identity, LeaveCause, LeaveKind, LogId, Member,
    MembershipRef, MessageKind, NodeId, NodeMessage, NodeMessageBody, OfferPolicy, PeerId,
    Position, Recipient, RejectReason, RelayedMessage, RoomId, RoomName, SpaceName, Target,
};
use switchboard_dialects::{decode_member, encode_member};

static DIALECT: DialectTraits = DialectTraits {
    name: "contract",
    offer_policy: OfferPolicy::NewcomerOffers,
    signals: true,
    messages: true,
    ..DialectTraits::DEFAULT
};

/// Timeout for every expected result.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Checks an engine for a single node. Each call of `make` creates one.
///
/// # Panics
///
/// If the engine violates its contract.
pub fn check(make: impl Fn() -> Box<dyn Engine>) {
    commits_each_change_once_and_in_order(&ContractNode::new(make()));
    keeps_the_logs_of_rooms_independent(&ContractNode::new(make()));
    orders_concurrent_proposals(&ContractNode::new(make()));
}

/// Checks engines of clusters. Each call of `make` creates the engines of three nodes of a new, empty cluster.
///
/// # Panics
///
/// If the engine violates its contract.
pub fn check_cluster(make: impl Fn() -> [Box<dyn Engine>; 3]) {
    let nodes = || make().map(ContractNode::new);
    shows_all_nodes_one_order(&nodes());
    assigns_an_address_once(&nodes());
    delivers_messages_in_order(&nodes());
    removes_the_members_of_a_closed_node(nodes());
}

fn commits_each_change_once_and_in_order(node: &ContractNode) {
    let room = room("one");
    for peer in 0..100 {
        node.propose(&room, &join(peer));
        node.propose(&room, &leave(peer));
    }
    let log = node.wait_for(&room, 200);
    let expected: Vec<_> = (0..100)
        .flat_map(|peer| [(id(peer), true), (id(peer), false)])
        .collect();
    assert_eq!(log, expected);
}

fn keeps_the_logs_of_rooms_independent(node: &ContractNode) {
    let rooms = ["a", "b", "c"].map(room);
    for peer in 0..30 {
        node.propose(&rooms[usize::from(peer) % 3], &join(peer));
    }
    for (index, room) in (0..).zip(&rooms) {
        let expected: Vec<_> = (0..10).map(|round| (id(round * 3 + index), true)).collect();
        assert_eq!(node.wait_for(room, 10), expected);
    }
}

fn orders_concurrent_proposals(node: &ContractNode) {
    let room = room("rush");
    thread::scope(|scope| {
        for thread in 0..4 {
            let room = &room;
            scope.spawn(move || {
                (0..25).for_each(|round| node.propose(room, &join(thread * 25 + round)))
            });
        }
    });
    let log = node.wait_for(&room, 100);
    for thread in 0..4 {
        let of_thread: Vec<_> = log
            .iter()
            .filter(|(peer, _)| (thread * 25..thread * 25 + 25).any(|p| id(p) == *peer))
            .collect();
        let expected: Vec<_> = (thread * 25..thread * 25 + 25)
            .map(|peer| (id(peer), true))
            .collect();
        assert_eq!(
            of_thread,
            expected.iter().collect::<Vec<_>>(),
            "the changes of one thread keep their order"
        );
    }
}

fn shows_all_nodes_one_order(nodes: &[ContractNode; 3]) {
    let room = room("order");
    thread::scope(|scope| {
        for (node, first) in nodes.iter().zip([0, 40, 80]) {
            let room = &room;
            scope.spawn(move || {
                (first..first + 40).for_each(|peer| node.propose(room, &join(peer)));
            });
        }
    });
    let seen = nodes.each_ref().map(|node| node.wait_for(&room, 120));
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
}

fn assigns_an_address_once(nodes: &[ContractNode; 3]) {
    let room = room("address");
    // An address is the unique name of a member in its room: only one of the three joins can succeed.
    for (node, peer) in nodes.iter().zip(1..) {
        node.propose(&room, &join_as(peer, "ann"));
    }
    let rejected_count = || {
        let rejected = nodes.iter().map(|node| node.logs.state().rejected.len());
        rejected.sum::<usize>()
    };
    eventually(|| rejected_count() == 2);
    for node in nodes {
        let rejected = node.logs.state().rejected.clone();
        for (peer, reason) in rejected {
            assert_eq!(reason, RejectReason::Taken);
            let log = node.wait_for(&room, 1);
            assert!(log.iter().all(|(member_id, _)| *member_id != peer));
        }
    }
}

fn delivers_messages_in_order(nodes: &[ContractNode; 3]) {
    let room = room("messages");
    nodes[0].propose(&room, &join(1));
    nodes[0].wait_for(&room, 1);
    nodes[1].propose(&room, &join(2));
    nodes[0].wait_for(&room, 2);
    let (node, since) = nodes[0].membership(&room, id(2));
    for serial in 0..500 {
        nodes[0].send(
            node.expect("the second node"),
            message(&room, since, serial),
        );
    }
    nodes[1].logs.wait(|state| state.messages.len() == 500);
    let serials = nodes[1].logs.state().messages.clone();
    let expected: Vec<_> = (0..500).map(|serial| serial.to_string()).collect();
    assert_eq!(serials, expected);
}

/// Checks engines whose store is one server, which executes all requests in the order of arrival.
/// `make` creates engines as for [`check_cluster`].
///
/// # Panics
///
/// If the engine violates its contract.
pub fn check_one_server(make: impl Fn() -> [Box<dyn Engine>; 3]) {
    delivers_messages_before_the_leave_of_their_sender(&make().map(ContractNode::new));
}

fn delivers_messages_before_the_leave_of_their_sender(nodes: &[ContractNode; 3]) {
    let room = room("leave");
    nodes[1].propose(&room, &join(2));
    nodes[1].wait_for(&room, 1);
    for round in 1..=10 {
        nodes[0].propose(&room, &join(1));
        nodes[0].wait_for(&room, 2 * round);
        let (node, since) = nodes[0].membership(&room, id(2));
        // More bytes than fit in one batch of requests to the store.
        for _ in 0..30 {
            let message = message_with_frame(&room, since, "x".repeat(30_000).into());
            nodes[0].send(node.expect("the second node"), message);
        }
        nodes[0].propose(&room, &leave(1));
        nodes[1].wait_for(&room, 1 + 2 * round);
        assert_eq!(nodes[1].logs.state().messages.len(), 30 * round);
    }
}

/// Checks that two nodes of one cluster continue after an outage of their store. `set_away(true)`
/// begins the outage, `set_away(false)` ends it.
///
/// # Panics
///
/// If the engine violates its contract.
pub fn check_outage(nodes: [Box<dyn Engine>; 2], set_away: impl Fn(bool)) {
    let [first, second] = nodes.map(ContractNode::new);
    let room = room("outage");
    first.propose(&room, &join(1));
    second.propose(&room, &join(2));
    for node in [&first, &second] {
        node.wait_for(&room, 2);
    }

    set_away(true);
    eventually(|| !first.is_connected() && !second.is_connected());
    first.propose(&room, &join(3));
    let rejected = (id(3), RejectReason::Unavailable);
    first.logs.wait(|state| state.rejected == [rejected]);
    first.propose(&room, &leave(1));

    reconnect_under_load(&first, &room, || set_away(false));
    second.propose_until_accepted(&room, &join(4));
    for node in [&first, &second] {
        node.wait_for_members(&room, &[2, 4]);
        let count = node.wait_for(&room, 4).len();
        assert_eq!(
            count, 4,
            "two joins before the outage, a leave and a join after it"
        );
        let status = node.engine.status().expect("a node of a cluster");
        assert!(status.reconnects_total >= 1, "{status:?}");
    }
}

/// Checks that a node connects to its store again although messages to another node never cease.
fn reconnect_under_load(node: &ContractNode, room: &LogId, restore_store: impl FnOnce()) {
    let (other, since) = node.membership(room, id(2));
    let other = other.expect("a member of the other node");
    node.logs.change(|state| state.may_lose_messages = true);
    let sending = AtomicBool::new(true);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while sending.load(Ordering::Relaxed) {
                    // A full queue returns the message.
                    drop(node.engine.send(other, message(room, since, 0)));
                }
            });
        }
        let end = EndSending(&sending);
        restore_store();
        eventually(|| node.is_connected());
        drop(end);
    });
}

/// Checks that two nodes of one cluster restore the data of their store after `lose_data` has
/// removed all of it.
///
/// # Panics
///
/// If the engine violates its contract.
pub fn check_data_loss(nodes: [Box<dyn Engine>; 2], lose_data: impl Fn()) {
    let [first, second] = nodes.map(ContractNode::new);
    let room = room("data loss");
    first.propose(&room, &join(1));
    second.propose(&room, &join(2));
    for node in [&first, &second] {
        node.wait_for(&room, 2);
    }
    // The store makes a new secret, which all its nodes share, each time it starts without data.
    let secrets = || [&first, &second].map(|node| node.secret());
    let [lost, _] = secrets();
    assert!(lost.is_some(), "a connected node knows the secret");

    lose_data();
    eventually(|| secrets()[0] != lost && secrets()[0] == secrets()[1]);
    second.propose(&room, &join(3));
    for node in [&first, &second] {
        node.wait_for_members(&room, &[1, 2, 3]);
        assert_eq!(node.wait_for(&room, 3).len(), 3, "no member has left");
    }
}

fn removes_the_members_of_a_closed_node(nodes: [ContractNode; 3]) {
    let room = room("close");
    for (node, peer) in nodes.iter().zip(1..) {
        node.propose(&room, &join(peer));
        node.wait_for(&room, usize::from(peer));
    }
    let [first, second, _third] = nodes;
    drop(first);
    // Three joins and a leave.
    let log = second.wait_for(&room, 4);
    assert!(log.contains(&(id(1), false)), "{log:?}");
}

fn room(name: &str) -> LogId {
    LogId::Room(RoomId::shared(
        SpaceName::default(),
        RoomName::parse(name, 0).expect("not empty"),
    ))
}

fn id(peer: u8) -> PeerId {
    PeerId::from_random([peer; 16])
}

fn join(peer: u8) -> Change {
    join_as(peer, &id(peer).to_string())
}

fn join_as(peer: u8, address: &str) -> Change {
    Change::Join(Arc::new(Member {
        peer: id(peer),
        address: Address::parse(address, 0).expect("not empty"),
        name: None,
        dialect: &DIALECT,
        identity: Identity::Claimed,
        token: None,
        group: None,
        policy: None,
    }))
}

fn leave(peer: u8) -> Change {
    Change::Leave(id(peer), LeaveCause::Requested(LeaveKind::Announced))
}

/// A message from the first member to the second, which joined at the position `since`.
fn message(log: &LogId, since: Position, serial: usize) -> NodeMessage {
    message_with_frame(log, since, serial.to_string().into())
}

fn message_with_frame(log: &LogId, since: Position, frame: ByteString) -> NodeMessage {
    let message = RelayedMessage::new(DIALECT.name, MessageKind::Opaque, frame, |_, _| true);
    let membership = |peer, since| MembershipRef { peer, since };
    NodeMessage {
        log: log.clone(),
        body: NodeMessageBody::Relay {
            from: membership(id(1), Position::default()),
            to: Recipient::One {
                member: membership(id(2), since),
                target: Target::Peer(id(2)),
            },
            message: Arc::new(message),
        },
    }
}

/// Ends the sending threads, also if a check fails.
struct EndSending<'a>(&'a AtomicBool);

impl Drop for EndSending<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// A node that has an engine but no hub: the logs that the engine reports are recorded.
struct ContractNode {
    engine: Box<dyn Engine>,
    logs: Arc<ObservedLogs>,
}

/// The log of a room as a node has seen it: for each change, the peer and whether it is a join.
type ObservedLog = Vec<(PeerId, bool)>;

#[derive(Default)]
struct ObservedLogs {
    state: Mutex<ObservedState>,
    changed: Condvar,
}

#[derive(Default)]
struct ObservedState {
    rooms: BTreeMap<LogId, ObservedRoom>,
    rejected: Vec<(PeerId, RejectReason)>,
    messages: Vec<String>,
    /// Whether messages may be undeliverable, because the store is away.
    may_lose_messages: bool,
}

#[derive(Default)]
struct ObservedRoom {
    head: Position,
    log: ObservedLog,
    /// The node of each member (`None` for a member of this node), and the position of its join.
    memberships: BTreeMap<PeerId, (Option<NodeId>, Position)>,
}

impl ObservedLogs {
    fn state(&self) -> MutexGuard<'_, ObservedState> {
        self.state.lock()
    }

    fn change(&self, update: impl FnOnce(&mut ObservedState)) {
        update(&mut self.state());
        self.changed.notify_all();
    }

    /// Waits until `condition` holds.
    fn wait(&self, condition: impl Fn(&ObservedState) -> bool) {
        let mut state = self.state();
        let is_unmet = |state: &mut ObservedState| !condition(state);
        let waited = self.changed.wait_while_for(&mut state, is_unmet, TIMEOUT);
        drop(state);
        assert!(
            !waited.timed_out(),
            "condition not met within {TIMEOUT:?}: {:?}",
            self.state()
                .rooms
                .iter()
                .map(|(id, room)| (id.clone(), room.log.len()))
                .collect::<Vec<_>>()
        );
    }
}

/// Polls until `condition` holds, for conditions that no single node's [`ObservedLogs`] can tell.
#[expect(
    clippy::disallowed_methods,
    reason = "an engine runs in real time, and not every condition has an event"
)]
fn eventually(condition: impl Fn() -> bool) {
    const STEP: Duration = Duration::from_millis(5);
    let mut waited = Duration::ZERO;
    while !condition() {
        assert!(waited < TIMEOUT, "condition not met within {TIMEOUT:?}");
        thread::sleep(STEP);
        waited += STEP;
    }
}

impl ContractNode {
    fn new(engine: Box<dyn Engine>) -> Self {
        let logs = Arc::<ObservedLogs>::default();
        engine.attach(Arc::new(ContractObserver(Arc::clone(&logs))));
        let node = Self { engine, logs };
        eventually(|| node.is_connected());
        node
    }

    /// Proposes a change while the log is locked. A shard of the server does the same: it applies no entry meanwhile.
    fn propose(&self, room: &LogId, change: &Change) {
        let mut state = self.logs.state();
        let at = state.rooms.entry(room.clone()).or_default().head;
        match self.engine.propose(room, at, change) {
            ProposeOutcome::Committed(position) => {
                let (node, change) = (None, change.clone());
                let entry = Entry {
                    position,
                    node,
                    change,
                };
                record(&mut state, room, &entry);
            }
            ProposeOutcome::Pending => {}
            ProposeOutcome::Rejected(reason) => panic!("{change:?} is rejected: {reason:?}"),
        }
    }

    /// Proposes a join again each time it is rejected as unavailable.
    fn propose_until_accepted(&self, room: &LogId, change: &Change) {
        let Change::Join(member) = change else {
            panic!("only a join can be rejected as unavailable: {change:?}");
        };
        let peer = member.peer;
        loop {
            self.propose(room, change);
            let is_in = |state: &ObservedState| state.rooms[room].memberships.contains_key(&peer);
            let rejected = (peer, RejectReason::Unavailable);
            self.logs
                .wait(|state| is_in(state) || state.rejected.contains(&rejected));
            let mut state = self.logs.state();
            if is_in(&state) {
                return;
            }
            state.rejected.retain(|other| *other != rejected);
        }
    }

    fn is_connected(&self) -> bool {
        let status = self.engine.status();
        status.is_none_or(|status| status.is_connected())
    }

    /// The secret of the store; `None` until the engine has read it.
    fn secret(&self) -> Option<String> {
        self.engine.status()?.secret
    }

    /// Waits until exactly these peers are members.
    fn wait_for_members(&self, room: &LogId, peers: &[u8]) {
        let expected: BTreeSet<_> = peers.iter().map(|peer| id(*peer)).collect();
        self.logs.wait(|state| {
            state.rooms[room]
                .memberships
                .keys()
                .copied()
                .eq(expected.clone())
        });
    }

    fn send(&self, to: NodeId, message: NodeMessage) {
        assert!(
            self.engine.send(to, message).is_none(),
            "the queue of an idle engine has room"
        );
    }

    /// Waits until the log has at least this many changes, and returns it.
    fn wait_for(&self, room: &LogId, changes: usize) -> ObservedLog {
        let log = |state: &ObservedState| state.rooms.get(room).map(|room| room.log.clone());
        self.logs
            .wait(|state| log(state).is_some_and(|log| log.len() >= changes));
        log(&self.logs.state()).unwrap_or_default()
    }

    /// The node of a member and the position of its join.
    fn membership(&self, room: &LogId, peer: PeerId) -> (Option<NodeId>, Position) {
        let state = self.logs.state();
        state.rooms[room].memberships[&peer]
    }
}

fn record(state: &mut ObservedState, room: &LogId, entry: &Entry) {
    let room = state.rooms.entry(room.clone()).or_default();
    match &entry.change {
        Change::Join(member) => {
            assert!(entry.position > room.head, "joins arrive in position order");
            room.head = entry.position;
            room.log.push((member.peer, true));
            room.memberships
                .insert(member.peer, (entry.node, entry.position));
        }
        Change::Leave(peer, _) => {
            room.head = room.head.max(entry.position);
            room.log.push((*peer, false));
            room.memberships
                .remove(peer)
                .expect("a leave follows a join");
        }
    }
}

/// Records the changes, rejections and messages that an engine reports.
struct ContractObserver(Arc<ObservedLogs>);

impl EngineHandler for ContractObserver {
    fn on_committed(&self, log: &LogId, entries: Vec<Entry>) {
        self.0
            .change(|state| entries.iter().for_each(|entry| record(state, log, entry)));
    }

    fn on_rejected(&self, _log: &LogId, peer: PeerId, reason: RejectReason) {
        self.0.change(|state| state.rejected.push((peer, reason)));
    }

    fn on_node_message(&self, _from: NodeId, message: NodeMessage) {
        let NodeMessageBody::Relay { message, .. } = &message.body else {
            panic!("unexpected message: {message:?}");
        };
        let serial = message.frame.to_string();
        self.0.change(|state| state.messages.push(serial));
    }

    fn on_undeliverable(&self, message: NodeMessage) {
        let may_lose = self.0.state().may_lose_messages;
        assert!(may_lose, "message could not be sent: {message:?}");
    }
}

impl DialectRegistry for ContractObserver {
    fn dialect(&self, _name: &str) -> &'static DialectTraits {
        &DIALECT
    }

    fn encode_member(&self, member: &Member, join: u64) -> Vec<u8> {
        encode_member(member, join)
    }

    fn decode_member(&self, peer: PeerId, address: Address, metadata: &[u8]) -> Member {
        let member = decode_member(peer, address.clone(), metadata, |name| self.dialect(name));
        member.unwrap_or_else(|_| Member::new(peer, address, self.dialect("")))
    }

    fn message(
        &self,
        _origin: &str,
        kind: MessageKind,
        frame: ByteString,
    ) -> Option<RelayedMessage> {
        Some(RelayedMessage::new(DIALECT.name, kind, frame, |_, _| true))
    }
}

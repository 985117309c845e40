//! Tests of the shards, the locked hubs of a node. No frame is parsed while a shard is locked, every frame is parsed at
//! most once, and a leave may be committed after its connection has ended.

use std::cell::{Cell, RefCell};

use bytestring::ByteString;
use switchboard_cluster::{CloseFuture, DialectRegistry, EngineHandler};
use switchboard_core::{
    DialectTraits, Identity, JoinId, MembershipRef, MessageKind, Recipient, RelayedMessage,
    RoomName, SpaceName, Target,
};
use switchboard_dialects::{ALL, Content, Dialect, HOST, Handshake, Session, SessionOutput};
use switchboard_transport::Outbox;

use super::*;
use crate::Admission;

fn sender() -> PeerId {
    PeerId::from_random([1; 16])
}

fn receiver() -> PeerId {
    PeerId::from_random([2; 16])
}

fn absent() -> PeerId {
    PeerId::from_random([3; 16])
}

thread_local! {
    /// The shards of the running test, whose locks `parse_unlocked` checks.
    static TESTED: RefCell<Option<Arc<Shards>>> = const { RefCell::new(None) };
    /// The number of frames that the running test has parsed.
    static PARSED_FRAMES: Cell<usize> = const { Cell::new(0) };
}

/// Counts the frames that are to be parsed. Panics if a shard is locked.
fn parse_unlocked(_origin: &'static str, _frame: &str) -> bool {
    TESTED.with_borrow(|shards| {
        let shards = shards.as_ref().expect("set by the test");
        let is_locked = shards.shards.iter().any(|shard| shard.is_locked());
        assert!(!is_locked, "a frame is parsed under the lock of a shard");
    });
    PARSED_FRAMES.set(PARSED_FRAMES.get() + 1);
    true
}

fn offer(from: &'static DialectTraits) -> Arc<RelayedMessage> {
    let (kind, frame) = (MessageKind::Offer, ByteString::from_static("{}"));
    Arc::new(RelayedMessage::new(from.name, kind, frame, parse_unlocked))
}

/// An engine whose proposals are committed by the test.
#[derive(Debug, Default)]
struct ManualEngine {
    proposals: Mutex<Vec<(LogId, Change)>>,
}

impl Engine for ManualEngine {
    fn attach(&self, _handler: Arc<dyn EngineHandler>) {}

    fn propose(&self, log: &LogId, _at: Position, change: &Change) -> ProposeOutcome {
        let mut proposals = self.proposals.lock();
        proposals.push((log.clone(), change.clone()));
        ProposeOutcome::Pending
    }

    fn send(&self, _to: NodeId, _message: NodeMessage) -> Option<NodeMessage> {
        None
    }

    fn status(&self) -> Option<switchboard_cluster::Status> {
        None
    }

    fn close(&self) -> CloseFuture<'_> {
        Box::pin(std::future::ready(()))
    }
}

/// A room, and the shards and the engine that it uses.
struct TestRoom {
    shards: Arc<Shards>,
    engine: Arc<ManualEngine>,
    room: RoomId,
    outbox: OutboxHandle,
    position: Cell<u64>,
}

fn outbox() -> OutboxHandle {
    let id = PeerId::from_random([0; 16]);
    let traits = &DialectTraits::DEFAULT;
    let peer = Peer::new(id, traits, Identity::Claimed, SpaceName::default());
    let (limits, memory, now) = (Limits::default(), Arc::default(), Instant::now());
    Arc::new(Outbox::new(&peer, None, &limits, memory, now))
}

impl TestRoom {
    fn new() -> Self {
        let engine = Arc::new(ManualEngine::default());
        let shards = Shards::new(
            (&Arc::default(), SharedRoomPolicies::default()),
            engine.clone(),
            AccessHooks::default(),
            DialectTable::default(),
            None,
            Arc::default(),
            &TaskTracker::new(),
        );
        TESTED.set(Some(shards.clone()));
        PARSED_FRAMES.set(0);
        let room = RoomName::parse("room", 0).expect("a name");
        Self {
            shards,
            engine,
            room: RoomId::shared(SpaceName::default(), room),
            outbox: outbox(),
            position: Cell::new(0),
        }
    }

    fn request(&self, peer: PeerId, request: HubRequest) {
        self.shards.request(peer, &self.outbox, request);
    }

    fn member(&self, peer: PeerId, dialect: &'static DialectTraits) -> Arc<Member> {
        Arc::new(Member {
            peer,
            address: peer.into(),
            name: None,
            dialect,
            identity: Identity::Claimed,
            token: None,
            group: None,
            policy: None,
        })
    }

    /// Proposes a join, which [`Self::commit_proposals`] commits.
    fn propose_join(&self, peer: PeerId, dialect: &'static DialectTraits) {
        let member = self.member(peer, dialect);
        let join = HubRequest::Join(self.room.clone(), member, JoinId::default());
        self.request(peer, join);
    }

    /// Commits a change of the room, as the engine does. `node` is the node of the member; `None` for this node.
    fn commit(&self, node: Option<NodeId>, change: Change) -> Position {
        let position = Position::from(self.position.get() + 1);
        self.position.set(position.get());
        let entry = Entry {
            position,
            node,
            change,
        };
        let log = LogId::Room(self.room.clone());
        self.handler().on_committed(&log, vec![entry]);
        position
    }

    fn commit_proposals(&self) {
        let proposals = mem::take(&mut *self.engine.proposals.lock());
        for (_, change) in proposals {
            self.commit(None, change);
        }
    }

    fn join(&self, peer: PeerId, dialect: &'static DialectTraits) {
        self.propose_join(peer, dialect);
        self.commit_proposals();
    }

    fn join_on_node(
        &self,
        node: NodeId,
        peer: PeerId,
        dialect: &'static DialectTraits,
    ) -> MembershipRef {
        let join = Change::Join(self.member(peer, dialect));
        let since = self.commit(Some(node), join);
        MembershipRef { peer, since }
    }

    fn handler(&self) -> EngineEventHandler {
        EngineEventHandler {
            shards: Arc::downgrade(&self.shards),
            dialects: DialectTable::default(),
            election: None,
        }
    }

    fn send(&self, to: Target, message: Arc<RelayedMessage>) {
        self.request(sender(), HubRequest::Send(self.room.clone(), to, message));
    }

    /// Sends a message of the host program to members of the room.
    fn announce(&self, to: Target, message: Arc<RelayedMessage>) {
        let from = self.member(sender(), &HOST);
        let room = self.room.clone();
        let input = Input::Announce {
            room,
            to,
            from,
            message,
        };
        self.shards.handle(&self.room, input);
    }

    fn receive_from_node(&self, node: NodeId, body: NodeMessageBody) {
        let log = LogId::Room(self.room.clone());
        self.handler()
            .on_node_message(node, NodeMessage { log, body });
    }
}

impl Drop for TestRoom {
    fn drop(&mut self) {
        TESTED.set(None);
    }
}

/// Runs `test` for each pair of a sender's and a receiver's dialect. `test` returns the number of frames that must be
/// parsed if the receiver's dialect needs their content.
fn for_all_pairs(
    test: impl Fn(&TestRoom, &'static DialectTraits, &'static DialectTraits) -> usize,
) {
    for from in ALL {
        for to in ALL {
            let room = TestRoom::new();
            let (from, to) = (from.traits(), to.traits());
            let parsed_if_needed = test(&room, from, to);
            let needs_content = from.name != to.name && to.signals;
            let expected = if needs_content { parsed_if_needed } else { 0 };
            let names = (from.name, to.name);
            assert_eq!(PARSED_FRAMES.get(), expected, "{names:?}");
        }
    }
}

#[tokio::test]
async fn signal_to_one_member_is_parsed_without_the_lock() {
    for_all_pairs(|room, from, to| {
        room.join(sender(), from);
        room.join(receiver(), to);
        room.send(Target::Peer(receiver()), offer(from));
        room.send(Target::Address(receiver().into()), offer(from));
        room.send(Target::AddressOrWait(receiver().into()), offer(from));
        3
    });
}

#[tokio::test]
async fn broadcast_is_parsed_once_without_the_lock() {
    for_all_pairs(|room, from, to| {
        room.join(sender(), from);
        room.join(receiver(), to);
        room.join(absent(), to);
        room.send(Target::Everyone, offer(from));
        1
    });
}

#[tokio::test]
async fn deferred_frame_is_parsed_once_without_the_lock() {
    for from in ALL {
        for to in ALL {
            let room = TestRoom::new();
            room.join(sender(), from.traits());
            room.send(
                Target::AddressOrWait(receiver().into()),
                offer(from.traits()),
            );
            assert_eq!(PARSED_FRAMES.get(), 1, "the receiver may have any dialect");
            room.join(receiver(), to.traits());
            assert_eq!(PARSED_FRAMES.get(), 1);
        }
    }
}

#[tokio::test]
async fn frame_behind_a_pending_join_is_parsed_once_without_the_lock() {
    for from in ALL {
        for to in ALL {
            let room = TestRoom::new();
            room.join(receiver(), to.traits());
            room.propose_join(sender(), from.traits());
            room.send(Target::Everyone, offer(from.traits()));
            room.send(Target::Peer(receiver()), offer(from.traits()));
            assert_eq!(PARSED_FRAMES.get(), 2, "the receivers may have any dialect");
            room.commit_proposals();
            assert_eq!(PARSED_FRAMES.get(), 2);
        }
    }
}

#[tokio::test]
async fn message_of_the_host_program_is_parsed_without_the_lock() {
    for_all_pairs(|room, from, to| {
        room.join(receiver(), to);
        room.announce(Target::Everyone, offer(from));
        room.announce(Target::Peer(receiver()), offer(from));
        room.announce(Target::Peer(absent()), offer(from));
        2
    });
}

#[tokio::test]
async fn message_of_another_node_is_parsed_without_the_lock() {
    let node = NodeId::from(7);
    for_all_pairs(|room, from, to| {
        room.join(receiver(), to);
        let reference = room.join_on_node(node, sender(), from);
        let member = MembershipRef {
            peer: receiver(),
            since: Position::from(1),
        };
        let relay = |to| NodeMessageBody::Relay {
            from: reference,
            to,
            message: offer(from),
        };
        room.receive_from_node(node, relay(Recipient::Everyone));
        // A frame to one member is not counted: the node of the sender has parsed it.
        let target = Target::Peer(receiver());
        room.receive_from_node(node, relay(Recipient::One { member, target }));
        let announce = |to| NodeMessageBody::Announce {
            to,
            from: room.member(sender(), from),
            message: offer(from),
        };
        room.receive_from_node(node, announce(None));
        room.receive_from_node(node, announce(Some(receiver())));
        2
    });
}

/// In a cluster the leave is committed after the connection has ended.
#[tokio::test]
async fn the_event_of_a_late_leave_has_the_context_of_the_ended_connection() {
    let room = TestRoom::new();
    let mut events = room.shards.events().subscribe();
    let context = Admission::anonymous().with_context("ada").context;
    let guard = room.shards.contexts().keep(sender(), context);
    room.propose_join(sender(), ALL[0].traits());
    let leave = HubRequest::Leave(room.room.clone(), LeaveKind::Announced);
    room.request(sender(), leave);
    drop(guard);
    room.commit_proposals();
    let context = match events.recv().await {
        Some(ServerEvent::Joined { context, .. }) => context,
        other => panic!("expected a join, received {other:?}"),
    };
    assert_eq!(context.get::<&str>(), Some(&"ada"));
    let context = match events.recv().await {
        Some(ServerEvent::Left { context, .. }) => context,
        other => panic!("expected a leave, received {other:?}"),
    };
    assert_eq!(context.get::<&str>(), Some(&"ada"));
    let kept = room.shards.contexts().get(sender());
    assert_eq!(kept.get::<&str>(), None, "the context is released");
}

#[tokio::test]
async fn a_rejected_join_releases_the_context_of_the_ended_connection() {
    let room = TestRoom::new();
    let context = Admission::anonymous().with_context("ada").context;
    let guard = room.shards.contexts().keep(sender(), context);
    room.propose_join(sender(), ALL[0].traits());
    let leave = HubRequest::Leave(room.room.clone(), LeaveKind::Announced);
    room.request(sender(), leave);
    drop(guard);
    let log = LogId::Room(room.room.clone());
    for (reason, is_kept) in [
        (RejectReason::Unavailable, true),
        (RejectReason::NotAMember, false),
    ] {
        room.handler().on_rejected(&log, sender(), reason);
        let kept = room.shards.contexts().get(sender());
        assert_eq!(kept.get::<&str>().is_some(), is_kept, "{reason:?}");
    }
}

/// A dialect of a host program that cannot read its own frames.
#[derive(Debug)]
struct PanickingParser;

static FAULTY_TRAITS: DialectTraits = DialectTraits {
    name: "faulty",
    ..DialectTraits::DEFAULT
};

impl Dialect for PanickingParser {
    fn traits(&self) -> &'static DialectTraits {
        &FAULTY_TRAITS
    }

    fn paths(&self) -> &'static [&'static str] {
        &[]
    }

    fn open(&self, _handshake: &Handshake, _output: &mut SessionOutput) -> Box<dyn Session> {
        unreachable!("no test opens a session")
    }

    fn parse_content<'a>(&self, _frame: &'a str) -> Option<Content<'a>> {
        panic!("requested by the test")
    }
}

#[test]
fn a_dialect_that_panics_at_a_frame_of_another_node_does_not_end_the_engine() {
    let dialects = DialectTable::default().with(&[&PanickingParser]);
    let handler = EngineEventHandler {
        shards: Weak::new(),
        dialects: dialects.expect("a new name"),
        election: None,
    };
    let frame = ByteString::from_static("frame");
    let message = handler.message("faulty", MessageKind::Offer, frame.clone());
    let message = message.expect("members of the same dialect get the frame");
    assert_eq!((message.origin, &message.frame), ("faulty", &frame));
}

//! What every engine must do, as one suite of checks that runs over each of them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use bytestring::ByteString;
use switchboard_core::{
    Address, Change, Custom, Declined, Departure, Entry, Farewell, Identity, Letter, LogId, Member,
    NodeId, PeerId, Position, Relay, RelayKind, RoomId, RoomName, SpaceName, Tongue,
};

use crate::{Engine, Ordered, Sink, Vocabulary};

static TONGUE: Tongue = Tongue {
    name: "contract",
    custom: Custom::NewcomerCalls,
    signals: true,
    messages: true,
};

/// How long an engine may take for what it promises to do at all.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs every check over engines made by `make`.
///
/// # Panics
/// If the engine breaks its contract.
pub fn check(make: impl Fn() -> Box<dyn Engine>) {
    commits_each_change_once_and_in_order(&Node::new(make()));
    keeps_rooms_apart(&Node::new(make()));
    orders_what_comes_at_the_same_moment(&Node::new(make()));
}

fn commits_each_change_once_and_in_order(node: &Node) {
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

fn keeps_rooms_apart(node: &Node) {
    let rooms = ["a", "b", "c"].map(room);
    for peer in 0..30 {
        node.propose(&rooms[usize::from(peer) % 3], &join(peer));
    }
    for (index, room) in (0..).zip(&rooms) {
        let expected: Vec<_> = (0..10).map(|turn| (id(turn * 3 + index), true)).collect();
        assert_eq!(node.wait_for(room, 10), expected);
    }
}

fn orders_what_comes_at_the_same_moment(node: &Node) {
    let room = room("rush");
    std::thread::scope(|scope| {
        for lane in 0..4 {
            let room = &room;
            scope.spawn(move || {
                (0..25).for_each(|turn| node.propose(room, &join(lane * 25 + turn)))
            });
        }
    });
    let log = node.wait_for(&room, 100);
    for lane in 0..4 {
        let own: Vec<_> = log
            .iter()
            .filter(|(peer, _)| (lane * 25..lane * 25 + 25).any(|p| id(p) == *peer))
            .collect();
        let expected: Vec<_> = (lane * 25..lane * 25 + 25)
            .map(|peer| (id(peer), true))
            .collect();
        assert_eq!(
            own,
            expected.iter().collect::<Vec<_>>(),
            "one node's changes keep their order"
        );
    }
}

fn room(name: &str) -> LogId {
    LogId::Room(RoomId {
        space: SpaceName::default(),
        name: RoomName::parse(name, 0).expect("not empty"),
    })
}

fn id(peer: u8) -> PeerId {
    PeerId::from_random([peer; 16])
}

fn join(peer: u8) -> Change {
    Change::Join(Arc::new(Member {
        peer: id(peer),
        address: Address::from(id(peer)),
        name: None,
        tongue: &TONGUE,
        identity: Identity::Claimed,
    }))
}

fn leave(peer: u8) -> Change {
    Change::Leave(id(peer), Departure::Asked(Farewell::Aloud))
}

/// A node reduced to the logs it has seen: who, and whether it was a join.
struct Node {
    engine: Box<dyn Engine>,
    logs: Arc<Logs>,
}

/// A room's log as a node has seen it: who, and whether it was a join.
type Log = Vec<(PeerId, bool)>;

#[derive(Default)]
struct Logs {
    rooms: Mutex<BTreeMap<LogId, (Position, Log)>>,
    grown: Condvar,
}

impl Node {
    fn new(engine: Box<dyn Engine>) -> Self {
        let logs = Arc::<Logs>::default();
        engine.attach(Arc::new(Arc::clone(&logs)));
        Self { engine, logs }
    }

    /// Proposes under the room's lock, as a shard does.
    fn propose(&self, room: &LogId, change: &Change) {
        let mut rooms = self
            .logs
            .rooms
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let at = rooms.entry(room.clone()).or_default().0;
        if let Ordered::Now(position) = self.engine.propose(room, at, change) {
            note(&mut rooms, room, position, change);
        }
    }

    fn wait_for(&self, room: &LogId, changes: usize) -> Log {
        let rooms = self
            .logs
            .rooms
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let short = |rooms: &mut BTreeMap<LogId, (Position, Log)>| {
            rooms.get(room).is_none_or(|(_, log)| log.len() < changes)
        };
        let (rooms, timeout) = self
            .logs
            .grown
            .wait_timeout_while(rooms, PATIENCE, short)
            .unwrap_or_else(PoisonError::into_inner);
        assert!(
            !timeout.timed_out(),
            "{changes} changes of {room:?} are not committed in time"
        );
        rooms
            .get(room)
            .map(|(_, log)| log.clone())
            .unwrap_or_default()
    }
}

fn note(
    rooms: &mut BTreeMap<LogId, (Position, Log)>,
    room: &LogId,
    position: Position,
    change: &Change,
) {
    let (last, log) = rooms.entry(room.clone()).or_default();
    assert_eq!(
        position,
        last.next(),
        "positions follow each other without gaps"
    );
    *last = position;
    log.push(match change {
        Change::Join(member) => (member.peer, true),
        Change::Leave(peer, _) => (*peer, false),
    });
}

impl Sink for Arc<Logs> {
    fn committed(&self, log: &LogId, entries: Vec<Entry>) {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in entries {
            note(&mut rooms, log, entry.position, &entry.change);
        }
        self.grown.notify_all();
    }

    fn declined(&self, log: &LogId, peer: PeerId, why: Declined) {
        panic!("{peer} is declined in {log:?}: {why:?}");
    }

    fn letter(&self, _from: NodeId, _letter: Letter) {}

    fn unsent(&self, letter: Letter) {
        panic!("{letter:?} was not sent by anybody");
    }
}

impl Vocabulary for Arc<Logs> {
    fn tongue(&self, _name: &str) -> &'static Tongue {
        &TONGUE
    }

    fn relay(&self, _origin: &str, kind: RelayKind, frame: ByteString) -> Option<Relay> {
        Some(Relay::new(TONGUE.name, kind, frame, |_, _| true))
    }
}

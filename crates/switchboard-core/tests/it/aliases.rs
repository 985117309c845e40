//! Broadcasts that name their receiver by an id of the clients' own, on two nodes of one cluster.

use std::{collections::BTreeMap, sync::Arc};

use bytestring::ByteString;
use switchboard_core::{
    Alias, Aliases, Change, Charge, Command, DialectTraits, Effect, Entry, Event, Hub, HubRequest,
    Identity, Input, JoinOptions, LeaveCause, LeaveKind, Limits, LogId, MessageKind, NodeId, Peer,
    PeerId, Position, RelayedMessage, RoomId, RoomName, SpaceName, Target,
};

use crate::script::epoch;

static TONGUE: DialectTraits = DialectTraits {
    name: "any",
    ..DialectTraits::DEFAULT
};

const NODES: usize = 2;

type MemberName = &'static str;

/// Two hubs, an engine that orders at once, and clients by name. A node knows the room from its first
/// member on.
struct AliasCluster {
    hubs: [Hub<MemberName>; NODES],
    follows: [bool; NODES],
    entries: Vec<(usize, Change)>,
    clients: BTreeMap<MemberName, (usize, Peer)>,
    heard: Vec<MemberName>,
    deliveries: usize,
    limits: Limits,
}

fn room() -> RoomName {
    RoomName::parse("room", 0).expect("a name")
}

fn alias(id: &str) -> Option<Alias> {
    Alias::parse(id, 0).ok()
}

impl AliasCluster {
    fn new() -> Self {
        let limits = Limits::default();
        Self {
            hubs: [0, 1].map(|_| Hub::new(Arc::new(limits.clone()))),
            follows: [false; NODES],
            entries: Vec::new(),
            clients: BTreeMap::new(),
            heard: Vec::new(),
            deliveries: 0,
            limits,
        }
    }

    fn join(&mut self, node: usize, name: MemberName) {
        let number = u8::try_from(self.clients.len()).expect("few") + 1;
        let id = PeerId::from_random([number; 16]);
        let peer = Peer::new(id, &TONGUE, Identity::Claimed, SpaceName::default());
        self.clients.insert(name, (node, peer));
        if !std::mem::replace(&mut self.follows[node], true) {
            for index in 0..self.entries.len() {
                self.commit_at(node, index);
            }
        }
        self.command(
            name,
            Command::Join {
                room: room(),
                address: id.into(),
                name: None,
                options: JoinOptions::default(),
            },
        );
    }

    fn leave(&mut self, name: MemberName) {
        let farewell = LeaveKind::Announced;
        self.command(
            name,
            Command::Leave {
                room: room(),
                kind: farewell,
            },
        );
        self.clients.remove(name);
    }

    /// The clients that hear this broadcast, and the charges to its sender.
    fn send(&mut self, name: MemberName, from: &str, to: &str) -> (Vec<MemberName>, usize) {
        let aliases = Aliases {
            from: alias(from),
            to: alias(to),
        };
        let frame = ByteString::from_static("frame");
        let relay = RelayedMessage::new("any", MessageKind::Opaque, frame, |_, _| false);
        self.heard.clear();
        self.deliveries = 0;
        self.command(
            name,
            Command::Send {
                room: room(),
                to: Target::Everyone,
                message: relay.with_aliases(aliases),
            },
        );
        self.heard.sort_unstable();
        (self.heard.clone(), self.deliveries)
    }

    fn hears(&mut self, name: MemberName, from: &str, to: &str) -> Vec<MemberName> {
        self.send(name, from, to).0
    }

    fn command(&mut self, name: MemberName, command: Command) {
        let (node, peer) = self.clients.get_mut(name).expect("it has come");
        let ask: HubRequest = peer.authorize(command, &self.limits).expect("it may ask");
        let (node, peer) = (*node, peer.id());
        let local = name;
        self.hubs[node].handle(
            Input::Request {
                peer,
                local,
                request: ask,
            },
            epoch(),
        );
        self.carry_out();
    }

    fn carry_out(&mut self) {
        for node in [0, 1, 0, 1] {
            while let Some(effect) = self.hubs[node].poll_effect() {
                match effect {
                    Effect::Deliver(to, event) => {
                        if matches!(*event, Event::Received { .. }) {
                            self.heard.push(to);
                        }
                    }
                    Effect::Propose { change, .. } => {
                        self.commit(node, change);
                    }
                    Effect::Send(to, letter) => {
                        let to = usize::try_from(to.get()).expect("small");
                        let from = NodeId::from(node as u64);
                        self.hubs[to].handle(Input::NodeMessage(from, letter), epoch());
                    }
                    Effect::Charge(_, Charge::Deliveries { count, .. }) => self.deliveries += count,
                    Effect::Charge(..) => {}
                }
            }
        }
    }

    fn commit(&mut self, node: usize, change: Change) {
        self.entries.push((node, change));
        for follower in 0..NODES {
            if self.follows[follower] {
                self.commit_at(follower, self.entries.len() - 1);
            }
        }
    }

    fn commit_at(&mut self, follower: usize, index: usize) {
        let (node, change) = self.entries[index].clone();
        let entry = Entry {
            position: Position::from(index as u64 + 1),
            node: (node != follower).then(|| NodeId::from(node as u64)),
            change,
        };
        let log = LogId::Room(RoomId::shared(SpaceName::default(), room()));
        self.hubs[follower].handle(Input::Committed(log, entry), epoch());
    }

    /// The others lose the member and are given it back.
    fn lose(&mut self, name: MemberName) {
        let (node, peer) = &self.clients[name];
        let (node, peer) = (*node, peer.id());
        let joins = self.entries.iter().rev();
        let mut joins = joins.filter(|(_, change)| change.peer() == peer);
        let (_, join) = joins.next().expect("it has joined").clone();
        for change in [Change::Leave(peer, LeaveCause::NodeLost), join] {
            self.commit(node, change);
        }
        self.carry_out();
    }
}

/// Three members on each node, all of which have announced themselves.
fn announced() -> AliasCluster {
    let mut cluster = AliasCluster::new();
    for (node, name) in [(0, "a"), (1, "b"), (0, "c"), (1, "d"), (0, "e"), (1, "f")] {
        cluster.join(node, name);
        let others = cluster.clients.len() - 1;
        assert_eq!(cluster.hears(name, name, "").len(), others, "{name}");
    }
    cluster
}

#[test]
fn a_frame_for_an_announced_id_reaches_that_member_alone() {
    let mut cluster = announced();
    for to in ["c", "d", "f"] {
        assert_eq!(cluster.send("a", "a", to), (vec![to], 1));
        assert_eq!(cluster.send("b", "b", to), (vec![to], 1));
    }
    assert_eq!(cluster.hears("a", "a", "a"), ["a"], "its own id");
}

#[test]
fn a_frame_for_an_unknown_id_reaches_all() {
    let mut cluster = announced();
    let all = ["a", "b", "c", "d", "e", "f"];
    assert_eq!(cluster.hears("a", "a", "nobody"), all);
    cluster.leave("d");
    assert_eq!(cluster.hears("a", "a", "d"), ["a", "b", "c", "e", "f"]);
}

#[test]
fn a_later_announcement_takes_nothing_over() {
    let mut cluster = announced();
    cluster.hears("e", "b", "");
    assert_eq!(cluster.hears("a", "a", "b"), ["b", "e"]);
    assert_eq!(cluster.hears("f", "f", "b"), ["b", "e"]);
    cluster.leave("b");
    assert_eq!(cluster.hears("a", "a", "b"), ["e"]);
}

/// The node of "new" knows "spoofer" by the id of "old", and has not seen how "old" announced it.
#[test]
fn a_node_that_came_later_keeps_no_frame_from_its_receiver() {
    let mut cluster = AliasCluster::new();
    for name in ["old", "other"] {
        cluster.join(0, name);
        cluster.hears(name, name, "");
    }
    for name in ["new", "spoofer"] {
        cluster.join(1, name);
        cluster.hears(name, name, "");
    }
    let all_of_it = ["new", "old", "spoofer"];
    assert_eq!(
        cluster.hears("new", "new", "old"),
        all_of_it,
        "unknown there"
    );
    cluster.hears("spoofer", "old", "");
    assert_eq!(cluster.hears("new", "new", "old"), ["old", "spoofer"]);
    assert_eq!(cluster.hears("old", "old", "new"), ["new"]);
}

#[test]
fn a_member_with_too_many_ids_hears_every_frame() {
    let mut cluster = announced();
    for id in ["e1", "e2", "e3"] {
        cluster.hears("e", id, "");
    }
    assert_eq!(cluster.hears("a", "a", "e3"), ["e"]);
    assert_eq!(cluster.hears("a", "a", "f"), ["f"]);
    cluster.hears("e", "e4", "");
    assert_eq!(cluster.hears("a", "a", "f"), ["e", "f"]);
    let all = ["a", "b", "c", "d", "e", "f"];
    assert_eq!(cluster.hears("b", "b", "e4"), all);
}

#[test]
fn a_member_that_was_lost_for_a_moment_misses_nothing() {
    let mut cluster = announced();
    cluster.lose("b");
    cluster.hears("a", "b", "");
    for sender in ["c", "d"] {
        assert_eq!(cluster.hears(sender, sender, "b"), ["a", "b"]);
    }
    assert_eq!(cluster.hears("c", "c", "f"), ["b", "f"]);
}

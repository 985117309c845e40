//! Broadcasts that name their receiver by an alias, an id that a client makes for itself and announces by sending a
//! frame with it as the sender. The tests have two nodes of one cluster.

use std::{collections::BTreeMap, sync::Arc};

use bytestring::ByteString;
use switchboard_core::{
    Alias, Aliases, Change, Charge, Command, DialectTraits, Effect, Entry, Event, Hub, HubRequest,
    Identity, Input, JoinOptions, LeaveCause, LeaveKind, Limits, LogId, MessageKind, NodeId, Peer,
    PeerId, Position, RelayedMessage, RoomId, RoomName, SpaceName, Target,
};

use crate::clock::epoch;

static TRAITS: DialectTraits = DialectTraits {
    name: "any",
    ..DialectTraits::DEFAULT
};

const NODES: usize = 2;

type ClientName = &'static str;

/// Two hubs, an engine that commits at once, and clients by name.
struct AliasCluster {
    hubs: [Hub<ClientName>; NODES],
    /// Whether a node has had a member of the room. It gets no entries of the room's log before.
    has_room: [bool; NODES],
    /// The log of the room: each change with the node that proposed it.
    entries: Vec<(usize, Change)>,
    /// The clients with their nodes.
    clients: BTreeMap<ClientName, (usize, Peer)>,
    receivers: Vec<ClientName>,
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
            has_room: [false; NODES],
            entries: Vec::new(),
            clients: BTreeMap::new(),
            receivers: Vec::new(),
            deliveries: 0,
            limits,
        }
    }

    fn join(&mut self, node: usize, name: ClientName) {
        let number = u8::try_from(self.clients.len()).expect("few") + 1;
        let id = PeerId::from_random([number; 16]);
        let peer = Peer::new(id, &TRAITS, Identity::Claimed, SpaceName::default());
        self.clients.insert(name, (node, peer));
        if !std::mem::replace(&mut self.has_room[node], true) {
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

    fn leave(&mut self, name: ClientName) {
        let kind = LeaveKind::Announced;
        self.command(name, Command::Leave { room: room(), kind });
        self.clients.remove(name);
    }

    /// Sends a broadcast and returns its receivers and the deliveries charged to its sender.
    fn send(&mut self, name: ClientName, from: &str, to: &str) -> (Vec<ClientName>, usize) {
        let aliases = Aliases {
            from: alias(from),
            to: alias(to),
        };
        let frame = ByteString::from_static("frame");
        let message = RelayedMessage::new("any", MessageKind::Opaque, frame, |_, _| false);
        self.receivers.clear();
        self.deliveries = 0;
        self.command(
            name,
            Command::Send {
                room: room(),
                to: Target::Everyone,
                message: message.with_aliases(aliases),
            },
        );
        self.receivers.sort_unstable();
        (self.receivers.clone(), self.deliveries)
    }

    fn receivers_of(&mut self, name: ClientName, from: &str, to: &str) -> Vec<ClientName> {
        self.send(name, from, to).0
    }

    fn command(&mut self, name: ClientName, command: Command) {
        let (node, peer) = self.clients.get_mut(name).expect("a known client");
        let request: HubRequest = peer
            .authorize(command, &self.limits)
            .expect("it may request");
        let (node, peer) = (*node, peer.id());
        let local = name;
        self.hubs[node].handle(
            Input::Request {
                peer,
                local,
                request,
            },
            epoch(),
        );
        self.drain_effects();
    }

    fn drain_effects(&mut self) {
        for node in [0, 1, 0, 1] {
            while let Some(effect) = self.hubs[node].poll_effect() {
                match effect {
                    Effect::Deliver(to, event) => {
                        if matches!(*event, Event::Received { .. }) {
                            self.receivers.push(to);
                        }
                    }
                    Effect::Propose { change, .. } => {
                        self.commit(node, change);
                    }
                    Effect::Send(to, message) => {
                        let to = usize::try_from(to.get()).expect("small");
                        let from = NodeId::from(node as u64);
                        self.hubs[to].handle(Input::NodeMessage(from, message), epoch());
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
            if self.has_room[follower] {
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

    /// Commits the two changes that follow for a member when the lease of its node expires: its removal and a new join.
    fn expire_lease(&mut self, name: ClientName) {
        let (node, peer) = &self.clients[name];
        let (node, peer) = (*node, peer.id());
        let joins = self.entries.iter().rev();
        let mut joins = joins.filter(|(_, change)| change.peer() == peer);
        let (_, join) = joins.next().expect("it has joined").clone();
        for change in [Change::Leave(peer, LeaveCause::NodeLost), join] {
            self.commit(node, change);
        }
        self.drain_effects();
    }
}

/// A cluster with three members on each node, each of which has announced its name as its alias.
fn announced_cluster() -> AliasCluster {
    let mut cluster = AliasCluster::new();
    for (node, name) in [(0, "a"), (1, "b"), (0, "c"), (1, "d"), (0, "e"), (1, "f")] {
        cluster.join(node, name);
        let others = cluster.clients.len() - 1;
        assert_eq!(cluster.receivers_of(name, name, "").len(), others, "{name}");
    }
    cluster
}

#[test]
fn a_frame_for_an_announced_alias_reaches_only_that_member() {
    let mut cluster = announced_cluster();
    for to in ["c", "d", "f"] {
        assert_eq!(cluster.send("a", "a", to), (vec![to], 1));
        assert_eq!(cluster.send("b", "b", to), (vec![to], 1));
    }
    assert_eq!(
        cluster.receivers_of("a", "a", "a"),
        ["a"],
        "the sender's own alias"
    );
}

#[test]
fn a_frame_for_an_unknown_alias_reaches_all_members() {
    let mut cluster = announced_cluster();
    let all = ["a", "b", "c", "d", "e", "f"];
    assert_eq!(cluster.receivers_of("a", "a", "nobody"), all);
    cluster.leave("d");
    assert_eq!(
        cluster.receivers_of("a", "a", "d"),
        ["a", "b", "c", "e", "f"]
    );
}

#[test]
fn a_later_announcement_does_not_divert_frames() {
    let mut cluster = announced_cluster();
    cluster.receivers_of("e", "b", "");
    assert_eq!(cluster.receivers_of("a", "a", "b"), ["b", "e"]);
    assert_eq!(cluster.receivers_of("f", "f", "b"), ["b", "e"]);
    cluster.leave("b");
    assert_eq!(cluster.receivers_of("a", "a", "b"), ["e"]);
}

/// The node of "new" and "spoofer" has not seen the announcement of "old", because it had no member then. It has seen
/// "spoofer" announce the same alias.
#[test]
fn a_frame_from_a_node_that_missed_an_announcement_still_reaches_its_receiver() {
    let mut cluster = AliasCluster::new();
    for name in ["old", "other"] {
        cluster.join(0, name);
        cluster.receivers_of(name, name, "");
    }
    for name in ["new", "spoofer"] {
        cluster.join(1, name);
        cluster.receivers_of(name, name, "");
    }
    let expected = ["new", "old", "spoofer"];
    assert_eq!(
        cluster.receivers_of("new", "new", "old"),
        expected,
        "a node that does not know the alias must deliver the frame to all its members"
    );
    cluster.receivers_of("spoofer", "old", "");
    assert_eq!(
        cluster.receivers_of("new", "new", "old"),
        ["old", "spoofer"]
    );
    assert_eq!(cluster.receivers_of("old", "old", "new"), ["new"]);
}

#[test]
fn a_member_with_too_many_aliases_gets_every_frame() {
    let mut cluster = announced_cluster();
    for id in ["e1", "e2", "e3"] {
        cluster.receivers_of("e", id, "");
    }
    assert_eq!(cluster.receivers_of("a", "a", "e3"), ["e"]);
    assert_eq!(cluster.receivers_of("a", "a", "f"), ["f"]);
    cluster.receivers_of("e", "e4", "");
    assert_eq!(cluster.receivers_of("a", "a", "f"), ["e", "f"]);
    let all = ["a", "b", "c", "d", "e", "f"];
    assert_eq!(cluster.receivers_of("b", "b", "e4"), all);
}

#[test]
fn a_member_that_was_suspended_matches_every_alias() {
    let mut cluster = announced_cluster();
    cluster.expire_lease("b");
    cluster.receivers_of("a", "b", "");
    for sender in ["c", "d"] {
        assert_eq!(cluster.receivers_of(sender, sender, "b"), ["a", "b"]);
    }
    assert_eq!(cluster.receivers_of("c", "c", "f"), ["b", "f"]);
}

//! The charges of a request beyond one delivery to one receiver.

use std::{sync::Arc, time::Instant};

use bytestring::ByteString;
use switchboard_core::{
    Address, Charge, Command, DialectTraits, Effect, Entry, Hub, Identity, Input, JoinOptions,
    LeaveKind, Limits, LogId, MessageKind, NodeId, NodeMessage, NodeMessageBody, Peer, PeerId,
    Position, RelayedMessage, RoomId, RoomName, SpaceName, Target,
};

use crate::clock::epoch;

static WITH_PRESENCE: DialectTraits = DialectTraits {
    name: "with-presence",
    ..DialectTraits::DEFAULT
};

static WITHOUT_PRESENCE: DialectTraits = DialectTraits {
    name: "without-presence",
    announces_presence: false,
    ..DialectTraits::DEFAULT
};

/// A hub with one room, whose proposed changes are committed at once. Connections are numbers.
struct CommittingHub {
    hub: Hub<usize>,
    peers: Vec<Peer>,
    position: u64,
    now: Instant,
}

impl CommittingHub {
    fn new() -> Self {
        Self {
            hub: Hub::new(Arc::new(Limits::default())),
            peers: Vec::new(),
            position: 0,
            now: epoch(),
        }
    }

    /// Joins a member and returns its charges.
    fn join(&mut self, traits: &'static DialectTraits) -> Vec<Charge> {
        let connection = self.peers.len();
        let id = PeerId::from_random([u8::try_from(connection).expect("few members"); 16]);
        let peer = Peer::new(id, traits, Identity::Claimed, SpaceName::default());
        self.peers.push(peer);
        let join = Command::Join {
            room: room(),
            address: address(connection),
            name: None,
            options: JoinOptions::default(),
        };
        self.request(connection, join)
    }

    /// Makes a request and returns the charges to its connection.
    fn request(&mut self, connection: usize, command: Command) -> Vec<Charge> {
        let peer = &mut self.peers[connection];
        let request = peer
            .authorize(command, &Limits::default())
            .expect("allowed");
        let (peer, local) = (peer.id(), connection);
        self.hub.handle(
            Input::Request {
                peer,
                local,
                request,
            },
            self.now,
        );
        let mut charges = Vec::new();
        while let Some(effect) = self.hub.poll_effect() {
            match effect {
                Effect::Charge(to, charge) => {
                    assert_eq!(
                        to, connection,
                        "only the requesting connection must be charged"
                    );
                    charges.push(charge);
                }
                Effect::Propose { log, change, .. } => {
                    self.position += 1;
                    let entry = Entry {
                        position: Position::from(self.position),
                        node: None,
                        change,
                    };
                    self.hub.handle(Input::Committed(log, entry), self.now);
                }
                Effect::Deliver(..) | Effect::Send(..) => {}
            }
        }
        charges
    }
}

fn room() -> RoomName {
    RoomName::parse("room", 0).expect("a name")
}

fn address(connection: usize) -> Address {
    Address::parse(&format!("member{connection}"), 0).expect("an address")
}

fn send_to(to: Target) -> Command {
    let frame = ByteString::from_static("0123456789");
    Command::Send {
        room: room(),
        to,
        message: RelayedMessage::new("with-presence", MessageKind::Message, frame, |_, _| true),
    }
}

fn deliveries(count: usize, bytes: usize) -> Charge {
    Charge::Deliveries { count, bytes }
}

#[test]
fn a_join_is_charged_for_the_notified_members_and_for_its_list_of_members() {
    let mut node = CommittingHub::new();
    for others in 0..5 {
        let charges = node.join(&WITH_PRESENCE);
        let expected = (others > 0).then(|| deliveries(2 * others, 2 * others * 128));
        assert_eq!(charges, Vec::from_iter(expected), "{others} others");
    }
}

#[test]
fn a_broadcast_is_charged_for_each_receiver_and_a_direct_frame_is_not() {
    let mut node = CommittingHub::new();
    for _ in 0..5 {
        node.join(&WITH_PRESENCE);
    }
    let broadcast = node.request(0, send_to(Target::Everyone));
    assert_eq!(broadcast, [deliveries(4, 40)]);
    assert_eq!(node.request(0, send_to(Target::Address(address(3)))), []);
}

#[test]
fn a_list_a_repeated_join_and_a_leave_are_charged_once_for_each_other_member() {
    let mut node = CommittingHub::new();
    for _ in 0..5 {
        node.join(&WITH_PRESENCE);
    }
    let repeated_join = Command::Join {
        room: room(),
        address: address(2),
        name: None,
        options: JoinOptions::default(),
    };
    let leave = Command::Leave {
        room: room(),
        kind: LeaveKind::Announced,
    };
    for command in [Command::List(room()), repeated_join, leave] {
        assert_eq!(node.request(2, command), [deliveries(4, 4 * 128)]);
    }
}

#[test]
fn a_member_without_presence_is_charged_for_each_peer_that_its_frames_reach() {
    let mut node = CommittingHub::new();
    node.join(&WITH_PRESENCE);
    assert_eq!(
        node.join(&WITHOUT_PRESENCE),
        [deliveries(1, 128)],
        "the new member is not told of others, so only the notification of the other member is charged"
    );
    let charges = node.request(1, send_to(Target::Address(address(0))));
    assert_eq!(charges, [Charge::Reached(PeerId::from_random([0; 16]))]);
    let absent = Target::Address(address(9));
    assert_eq!(node.request(1, send_to(absent)), []);
}

#[test]
fn a_sender_to_a_slow_receiver_of_another_node_is_charged() {
    let mut node = CommittingHub::new();
    node.join(&WITH_PRESENCE);
    let log = LogId::Room(RoomId::shared(SpaceName::default(), room()));
    for (sender, expected) in [(0, vec![Charge::SlowReceiver { bytes: 9 }]), (5, vec![])] {
        let body = NodeMessageBody::SlowReceiver {
            sender: PeerId::from_random([sender; 16]),
            bytes: 9,
        };
        let log = log.clone();
        let input = Input::NodeMessage(NodeId::from(2), NodeMessage { log, body });
        node.hub.handle(input, node.now);
        let effects = std::iter::from_fn(|| node.hub.poll_effect());
        let charges = effects.filter_map(|effect| match effect {
            Effect::Charge(0, charge) => Some(charge),
            Effect::Charge(..)
            | Effect::Deliver(..)
            | Effect::Propose { .. }
            | Effect::Send(..) => None,
        });
        assert_eq!(charges.collect::<Vec<_>>(), expected, "sender {sender}");
    }
}

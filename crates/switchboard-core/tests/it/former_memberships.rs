//! Messages to a membership that has ended because its client has left and joined again.

use std::sync::Arc;

use bytestring::ByteString;
use switchboard_core::{
    Change, DialectTraits, Effect, Entry, ErrorCode, Event, Hub, HubRequest, Identity, Input,
    JoinId, LeaveCause, LeaveKind, Limits, LogId, Member, MembershipRef, MessageKind, NodeId,
    NodeMessage, NodeMessageBody, PeerId, Position, Recipient, RelayedMessage, RoomId, RoomName,
    SpaceName, Target,
};

use crate::clock::epoch;

static TRAITS: DialectTraits = DialectTraits {
    name: "any",
    ..DialectTraits::DEFAULT
};

/// The two clients. Each is alone on its node, which has the client's number as its id.
const SENDER: u8 = 1;
const RECEIVER: u8 = 2;

fn log() -> LogId {
    let name = RoomName::parse("room", 0).expect("a name");
    LogId::Room(RoomId::shared(SpaceName::default(), name))
}

fn peer(client: u8) -> PeerId {
    PeerId::from_random([client; 16])
}

fn join(client: u8) -> Change {
    let member = Member {
        peer: peer(client),
        address: peer(client).into(),
        name: None,
        dialect: &TRAITS,
        identity: Identity::Claimed,
        token: None,
        group: None,
        policy: None,
    };
    Change::Join(Arc::new(member))
}

fn leave(client: u8) -> Change {
    let cause = LeaveCause::Requested(LeaveKind::Announced);
    Change::Leave(peer(client), cause)
}

/// The hub of one node. It proposes nothing to an engine; the test passes it the committed entries of the log.
struct FollowingHub {
    /// The number of the node and of its client.
    node: u8,
    hub: Hub<u8>,
}

impl FollowingHub {
    fn new(node: u8) -> Self {
        let hub = Hub::new(Arc::new(Limits::default()));
        Self { node, hub }
    }

    fn input(&mut self, input: Input<u8>) -> Vec<Effect<u8>> {
        self.hub.handle(input, epoch());
        std::iter::from_fn(|| self.hub.poll_effect()).collect()
    }

    /// Applies a log entry of a client. If it is the join of this node's client, the client requests it first.
    fn apply(&mut self, client: u8, position: u64, change: Change) {
        let is_own = client == self.node;
        if let (true, Change::Join(member), LogId::Room(room)) = (is_own, &change, log()) {
            let request = HubRequest::Join(room, member.clone(), JoinId::default());
            self.input(Input::Request {
                peer: peer(client),
                local: client,
                request,
            });
        }
        let entry = Entry {
            position: Position::from(position),
            node: (!is_own).then(|| NodeId::from(u64::from(client))),
            change,
        };
        self.input(Input::Committed(log(), entry));
    }
}

/// A message of the sender's node to the membership of the receiver that began at position `since`.
fn relay(since: u64) -> Input<u8> {
    let frame = ByteString::from_static("frame");
    let body = NodeMessageBody::Relay {
        from: MembershipRef {
            peer: peer(SENDER),
            since: Position::from(1),
        },
        to: Recipient::One {
            member: MembershipRef {
                peer: peer(RECEIVER),
                since: Position::from(since),
            },
            target: Target::Peer(peer(RECEIVER)),
        },
        message: Arc::new(RelayedMessage::new(
            "any",
            MessageKind::Message,
            frame,
            |_, _| true,
        )),
    };
    let message = NodeMessage { log: log(), body };
    Input::NodeMessage(NodeId::from(u64::from(SENDER)), message)
}

/// The receiver leaves and joins again before the sender's node has applied either change. The message may belong to
/// an offer/answer exchange with the former membership, so the client must not get it after its new join.
#[test]
fn a_message_to_a_former_membership_is_returned_and_not_delivered_to_the_new_one() {
    let mut node = FollowingHub::new(RECEIVER);
    node.apply(SENDER, 1, join(SENDER));
    node.apply(RECEIVER, 2, join(RECEIVER));
    node.apply(RECEIVER, 3, leave(RECEIVER));
    node.apply(RECEIVER, 4, join(RECEIVER));

    let effects = node.input(relay(2));
    let [Effect::Send(to, message)] = &effects[..] else {
        panic!("{effects:?}");
    };
    assert_eq!(*to, NodeId::from(u64::from(SENDER)));
    assert!(
        matches!(&message.body, NodeMessageBody::Bounce { to, target }
            if *to == peer(SENDER) && *target == Target::Peer(peer(RECEIVER))),
        "{message:?}"
    );

    let effects = node.input(relay(4));
    let [Effect::Deliver(RECEIVER, event)] = &effects[..] else {
        panic!("{effects:?}");
    };
    assert!(matches!(**event, Event::Received { .. }), "{event:?}");
}

#[test]
fn a_returned_message_is_an_error_for_its_sender_even_if_the_receiver_is_a_member_again() {
    let mut node = FollowingHub::new(SENDER);
    node.apply(SENDER, 1, join(SENDER));
    node.apply(RECEIVER, 2, join(RECEIVER));
    node.apply(RECEIVER, 3, leave(RECEIVER));
    node.apply(RECEIVER, 4, join(RECEIVER));

    let body = NodeMessageBody::Bounce {
        to: peer(SENDER),
        target: Target::Peer(peer(RECEIVER)),
    };
    let message = NodeMessage { log: log(), body };
    let effects = node.input(Input::NodeMessage(
        NodeId::from(u64::from(RECEIVER)),
        message,
    ));
    let [Effect::Deliver(SENDER, event)] = &effects[..] else {
        panic!("{effects:?}");
    };
    assert!(
        matches!(&**event, Event::RequestFailed(error) if error.code == ErrorCode::NoSuchPeer),
        "{event:?}"
    );
}

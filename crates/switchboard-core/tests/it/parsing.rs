//! Inputs whose frame must be parsed before the hub handles them.

use std::sync::Arc;

use bytestring::ByteString;
use switchboard_core::{
    Change, DialectTraits, Effect, Entry, ErrorCode, Event, Hub, HubRequest, Identity, Input,
    JoinId, LogId, Member, MessageKind, PeerId, Position, RelayedMessage, RoomId, RoomName,
    SpaceName, Target,
};

use crate::clock::epoch;

static SENDERS: DialectTraits = DialectTraits {
    name: "senders",
    ..DialectTraits::DEFAULT
};

static OTHERS: DialectTraits = DialectTraits {
    name: "others",
    ..DialectTraits::DEFAULT
};

/// A hub with one room, and the changes that it has proposed. The test commits them. Connections are numbers.
struct UncommittedHub {
    hub: Hub<u8>,
    proposed: Vec<Change>,
    delivered: Vec<(u8, Arc<Event>)>,
    position: Position,
}

impl UncommittedHub {
    fn new() -> Self {
        Self {
            hub: Hub::new(Arc::default()),
            proposed: Vec::new(),
            delivered: Vec::new(),
            position: Position::default(),
        }
    }

    fn propose_join(&mut self, connection: u8, dialect: &'static DialectTraits) {
        let peer = peer(connection);
        let member = Member {
            peer,
            address: peer.into(),
            name: None,
            dialect,
            identity: Identity::Claimed,
            token: None,
            group: None,
            policy: None,
        };
        let join = HubRequest::Join(room(), Arc::new(member), JoinId::default());
        self.hub.handle(request(connection, join), epoch());
        self.drain_effects();
    }

    fn join(&mut self, connection: u8, dialect: &'static DialectTraits) {
        self.propose_join(connection, dialect);
        self.commit_proposals();
    }

    fn commit_proposals(&mut self) {
        for change in std::mem::take(&mut self.proposed) {
            self.position = self.position.next();
            let entry = Entry {
                position: self.position,
                node: None,
                change,
            };
            let log = LogId::Room(room());
            self.hub.handle(Input::Committed(log, entry), epoch());
            self.drain_effects();
        }
    }

    fn drain_effects(&mut self) {
        while let Some(effect) = self.hub.poll_effect() {
            match effect {
                Effect::Deliver(to, event) => self.delivered.push((to, event)),
                Effect::Propose { change, .. } => self.proposed.push(change),
                Effect::Charge(..) | Effect::Send(..) => {}
            }
        }
    }

    /// The connections that got a message, and those that got an error.
    fn receivers_and_refused(&mut self) -> (Vec<u8>, Vec<u8>) {
        self.drain_effects();
        let (mut receivers, mut refused) = (Vec::new(), Vec::new());
        for (to, event) in self.delivered.drain(..) {
            match &*event {
                Event::Received { .. } => receivers.push(to),
                Event::RequestFailed(error) => {
                    assert_eq!(error.code, ErrorCode::Untranslatable);
                    refused.push(to);
                }
                Event::Claimed(_)
                | Event::Joined { .. }
                | Event::Rejoined { .. }
                | Event::Members { .. }
                | Event::Introduced { .. }
                | Event::Departed { .. }
                | Event::Probe(_)
                | Event::Evicted(_) => {}
            }
        }
        (receivers, refused)
    }
}

fn peer(connection: u8) -> PeerId {
    PeerId::from_random([connection; 16])
}

fn room() -> RoomId {
    let room = RoomName::parse("room", 0).expect("a name");
    RoomId::shared(SpaceName::default(), room)
}

fn request(connection: u8, request: HubRequest) -> Input<u8> {
    Input::Request {
        peer: peer(connection),
        local: connection,
        request,
    }
}

/// A broadcast of connection 1, whose frame is parsed by `is_translatable`.
fn broadcast(is_translatable: fn(&'static str, &str) -> bool) -> Input<u8> {
    let frame = ByteString::from_static("frame");
    let message = RelayedMessage::new("senders", MessageKind::Offer, frame, is_translatable);
    let send = HubRequest::Send(room(), Target::Everyone, Arc::new(message));
    request(1, send)
}

#[test]
fn unparsed_input_has_no_effect_until_it_is_parsed() {
    let mut node = UncommittedHub::new();
    node.join(1, &SENDERS);
    node.join(2, &SENDERS);
    node.join(3, &OTHERS);
    let input = broadcast(|_, _| true);
    let unparsed = node.hub.try_handle(input, epoch());
    assert_eq!(node.receivers_and_refused(), (vec![], vec![]));
    let input = unparsed.expect("the input is returned").parse();
    assert!(node.hub.try_handle(input, epoch()).is_none());
    assert_eq!(node.receivers_and_refused(), (vec![2, 3], vec![]));
}

#[test]
fn frame_for_the_same_dialect_is_not_parsed() {
    let mut node = UncommittedHub::new();
    node.join(1, &SENDERS);
    node.join(2, &SENDERS);
    let input = broadcast(|_, _| panic!("the frame is parsed"));
    assert!(node.hub.try_handle(input, epoch()).is_none());
    assert_eq!(node.receivers_and_refused(), (vec![2], vec![]));
}

#[test]
fn untranslatable_broadcast_is_refused_only_if_a_receiver_needed_its_content() {
    for (other, refused) in [(&SENDERS, vec![]), (&OTHERS, vec![1])] {
        let mut node = UncommittedHub::new();
        node.join(2, &SENDERS);
        node.join(3, other);
        node.propose_join(1, &SENDERS);
        // The join is not committed yet. A frame that waits for a join is always parsed before it is queued.
        node.hub.handle(broadcast(|_, _| false), epoch());
        node.commit_proposals();
        let (_, errors) = node.receivers_and_refused();
        assert_eq!(errors, refused, "{}", other.name);
    }
}

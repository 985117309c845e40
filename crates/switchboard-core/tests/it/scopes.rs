//! Rooms that are closed to other dialects, at the requests of peers to a hub.

use bytestring::ByteString;
use std::num::NonZeroUsize;
use switchboard_core::{
    Address, Command, DialectTraits, DisconnectReason, HubRequest, Identity, JoinOptions,
    LeaveKind, Limits, MessageKind, Peer, PeerId, RelayedMessage, RoomId, RoomName, RoomScope,
    SpaceName, Target,
};

static SPEAKING: DialectTraits = DialectTraits {
    name: "speaking",
    ..DialectTraits::DEFAULT
};

static MUTE: DialectTraits = DialectTraits {
    name: "mute",
    signals: false,
    messages: false,
    ..DialectTraits::DEFAULT
};

fn peer(tongue: &'static DialectTraits) -> Peer {
    let id = PeerId::from_random([7; 16]);
    Peer::new(id, tongue, Identity::Claimed, SpaceName::default())
}

fn name() -> RoomName {
    RoomName::parse("room", 0).expect("a name")
}

fn shared() -> RoomId {
    RoomId::shared(SpaceName::default(), name())
}

fn closed(dialect: &str) -> RoomId {
    RoomId {
        scope: RoomScope::only(dialect),
        ..shared()
    }
}

fn route(peer: &mut Peer, command: Command) -> HubRequest {
    let ask = peer.authorize(command, &Limits::default());
    ask.expect("a right that it has")
}

/// The room that the peer enters on these terms.
fn entered(peer: &mut Peer, terms: JoinOptions) -> RoomId {
    let join = Command::Join {
        room: name(),
        address: Address::parse("ann", 0).expect("an address"),
        name: None,
        options: terms,
    };
    let ask = route(peer, join);
    let HubRequest::Join(room, ..) = ask else {
        panic!("a join was due, not {ask:?}");
    };
    room
}

fn closing() -> JoinOptions {
    JoinOptions {
        closed_to_other_dialects: true,
        ..JoinOptions::default()
    }
}

#[test]
fn a_closed_room_is_another_room_than_the_shared_one_of_its_name() {
    let entered = |tongue, terms| entered(&mut peer(tongue), terms);
    assert_eq!(entered(&SPEAKING, JoinOptions::default()), shared());
    assert_eq!(entered(&SPEAKING, closing()), closed("speaking"));
    assert_eq!(entered(&MUTE, closing()), closed("mute"));
}

#[test]
fn members_without_company_in_other_dialects_use_up_no_place_of_these() {
    let group = JoinOptions {
        group_size: NonZeroUsize::new(2),
        ..JoinOptions::default()
    };
    assert_eq!(entered(&mut peer(&SPEAKING), group), closed("speaking"));
    assert_eq!(
        entered(&mut peer(&MUTE), JoinOptions::default()),
        closed("mute")
    );
}

#[test]
fn every_request_of_a_member_is_for_the_room_that_it_has_entered() {
    let mut peer = peer(&SPEAKING);
    let room = entered(&mut peer, closing());
    let frame = ByteString::from_static("{}");
    let relay = Command::Send {
        room: name(),
        to: Target::Everyone,
        message: RelayedMessage::new("speaking", MessageKind::Offer, frame, |_, _| true),
    };
    let asked = |peer: &mut Peer, command| route(peer, command).resource();
    let place = switchboard_core::ResourceKey::Room(room.clone());
    assert_eq!(asked(&mut peer, relay), place);
    assert_eq!(asked(&mut peer, Command::List(name())), place);
    // It cannot be in two rooms of one name.
    assert_eq!(entered(&mut peer, JoinOptions::default()), room);
    let leave = Command::Leave {
        room: name(),
        kind: LeaveKind::Announced,
    };
    assert_eq!(asked(&mut peer, leave), place);
    assert_eq!(entered(&mut peer, closing()), room);
    let asks = peer.disconnect(DisconnectReason::Graceful);
    assert_eq!(asks.len(), 1);
    assert_eq!(asks[0].resource(), place);
}

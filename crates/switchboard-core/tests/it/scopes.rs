//! The scopes of rooms in the hub requests of a peer: shared rooms and rooms closed to other dialects.

use bytestring::ByteString;
use std::num::NonZeroUsize;
use switchboard_core::{
    Address, Command, DialectTraits, DisconnectReason, HubRequest, Identity, JoinOptions,
    LeaveKind, Limits, MessageKind, Peer, PeerId, RelayedMessage, RoomId, RoomName, RoomScope,
    SpaceName, Target,
};

static WITH_SIGNALS: DialectTraits = DialectTraits {
    name: "with-signals",
    ..DialectTraits::DEFAULT
};

static WITHOUT_SIGNALS: DialectTraits = DialectTraits {
    name: "without-signals",
    signals: false,
    messages: false,
    ..DialectTraits::DEFAULT
};

fn peer(traits: &'static DialectTraits) -> Peer {
    let id = PeerId::from_random([7; 16]);
    Peer::new(id, traits, Identity::Claimed, SpaceName::default())
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

/// The hub request that the peer makes of an allowed command.
fn authorize(peer: &mut Peer, command: Command) -> HubRequest {
    let request = peer.authorize(command, &Limits::default());
    request.expect("an allowed request")
}

/// The room that the peer joins with these options.
fn joined_room(peer: &mut Peer, options: JoinOptions) -> RoomId {
    let join = Command::Join {
        room: name(),
        address: Address::parse("ann", 0).expect("an address"),
        name: None,
        options,
    };
    let request = authorize(peer, join);
    let HubRequest::Join(room, ..) = request else {
        panic!("expected a join, got {request:?}");
    };
    room
}

/// The options of a join of a room that is closed to other dialects.
fn closing() -> JoinOptions {
    JoinOptions {
        closed_to_other_dialects: true,
        ..JoinOptions::default()
    }
}

#[test]
fn a_closed_room_is_another_room_than_the_shared_one_of_its_name() {
    let joined_room = |traits, options| joined_room(&mut peer(traits), options);
    assert_eq!(joined_room(&WITH_SIGNALS, JoinOptions::default()), shared());
    assert_eq!(
        joined_room(&WITH_SIGNALS, closing()),
        closed("with-signals")
    );
    assert_eq!(
        joined_room(&WITHOUT_SIGNALS, closing()),
        closed("without-signals")
    );
}

#[test]
fn members_invisible_to_other_dialects_join_a_room_of_their_own_dialect() {
    let group = JoinOptions {
        group_size: NonZeroUsize::new(2),
        ..JoinOptions::default()
    };
    assert_eq!(
        joined_room(&mut peer(&WITH_SIGNALS), group),
        closed("with-signals")
    );
    assert_eq!(
        joined_room(&mut peer(&WITHOUT_SIGNALS), JoinOptions::default()),
        closed("without-signals")
    );
}

#[test]
fn every_request_of_a_member_is_for_the_room_that_it_has_joined() {
    let mut peer = peer(&WITH_SIGNALS);
    let room = joined_room(&mut peer, closing());
    let frame = ByteString::from_static("{}");
    let message = Command::Send {
        room: name(),
        to: Target::Everyone,
        message: RelayedMessage::new("with-signals", MessageKind::Offer, frame, |_, _| true),
    };
    let resource_of = |peer: &mut Peer, command| authorize(peer, command).resource();
    let resource = switchboard_core::ResourceKey::Room(room.clone());
    assert_eq!(resource_of(&mut peer, message), resource);
    assert_eq!(resource_of(&mut peer, Command::List(name())), resource);
    // A peer cannot be in two rooms of one name, so this join is for the closed room too.
    assert_eq!(joined_room(&mut peer, JoinOptions::default()), room);
    let leave = Command::Leave {
        room: name(),
        kind: LeaveKind::Announced,
    };
    assert_eq!(resource_of(&mut peer, leave), resource);
    assert_eq!(joined_room(&mut peer, closing()), room);
    let requests = peer.disconnect(DisconnectReason::Graceful);
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].resource(), resource);
}

//! Kicks: the host program, which embeds the server as a library, removes a member.

use std::sync::Arc;

use switchboard_core::{
    Address, Change, DialectTraits, Effect, Entry, EvictionReason, Hub, HubRequest, Identity,
    Input, JoinId, LeaveCause, Member, PeerId, Position, RoomId, RoomName, SpaceName,
};

use crate::clock::epoch;

static TRAITS: DialectTraits = DialectTraits {
    name: "any",
    ..DialectTraits::DEFAULT
};

fn room() -> RoomId {
    let name = RoomName::parse("room", 0).expect("a name");
    RoomId::shared(SpaceName::default(), name)
}

fn ada() -> Address {
    Address::parse("ada", 0).expect("an address")
}

fn peer(number: u8) -> PeerId {
    PeerId::from_random([number; 16])
}

/// The changes that the hub proposes after this input; each is committed at once.
fn changes_after((hub, position): &mut (Hub<u8>, u64), input: Input<u8>) -> Vec<Change> {
    let mut changes = Vec::new();
    hub.handle(input, epoch());
    while let Some(effect) = hub.poll_effect() {
        if let Effect::Propose { log, change, .. } = effect {
            *position += 1;
            let entry = Entry {
                position: Position::from(*position),
                node: None,
                change: change.clone(),
            };
            hub.handle(Input::Committed(log, entry), epoch());
            changes.push(change);
        }
    }
    changes
}

fn kick(peer: PeerId) -> Input<u8> {
    Input::Kick {
        room: room(),
        address: ada(),
        peer,
    }
}

/// A client that is removed may have left before the hub removes it, and another may have joined under its address.
#[test]
fn a_kick_does_not_remove_another_member_under_the_same_address() {
    let mut hub = (Hub::new(Arc::default()), 0);
    let (removed, newcomer) = (peer(1), peer(2));
    let member = Member {
        peer: newcomer,
        address: ada(),
        name: None,
        dialect: &TRAITS,
        identity: Identity::Claimed,
        token: None,
        group: None,
        policy: None,
    };
    let join = Input::Request {
        peer: newcomer,
        local: 2,
        request: HubRequest::Join(room(), Arc::new(member), JoinId::default()),
    };
    assert_eq!(changes_after(&mut hub, join).len(), 1);
    assert!(changes_after(&mut hub, kick(removed)).is_empty());
    assert_eq!(hub.0.members(&room()).len(), 1, "the newcomer stays");

    let changes = changes_after(&mut hub, kick(newcomer));
    let kicked = LeaveCause::Evicted(EvictionReason::Kicked);
    assert!(
        matches!(changes[..], [Change::Leave(peer, cause)] if (peer, cause) == (newcomer, kicked)),
        "{changes:?}"
    );
    assert!(hub.0.members(&room()).is_empty());
}

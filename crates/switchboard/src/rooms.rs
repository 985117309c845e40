//! The rooms as an API for the host program.

use std::sync::Arc;

use bytestring::ByteString;
use switchboard_core::{
    Address, Identity, Input, Member, MessageKind, PeerId, RelayedMessage, RoomId, RoomName,
    RoomScope, SpaceName, Target,
};
use switchboard_dialects::HOST;

use crate::shards::Shards;

/// Reads the rooms, sends messages into them and removes members. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Rooms {
    shards: Arc<Shards>,
}

/// The room of this name in the default space that every dialect can enter; `None` for the empty name.
/// A dialect may close its rooms to others: see [`room_of_dialect`].
#[must_use]
pub fn room(name: &str) -> Option<RoomId> {
    Some(RoomId::shared(
        SpaceName::default(),
        RoomName::parse(name, 0).ok()?,
    ))
}

/// The room of this name in the default space that is closed to every dialect but this one, as all of
/// `peerjs` are unless `peerjs.mixed` is set; `None` for the empty name.
#[must_use]
pub fn room_of_dialect(name: &str, dialect: &str) -> Option<RoomId> {
    Some(RoomId {
        scope: RoomScope::only(dialect),
        ..room(name)?
    })
}

impl Rooms {
    pub(crate) fn new(shards: Arc<Shards>) -> Self {
        Self { shards }
    }

    /// The rooms that this node has members in, or had until recently, sorted. The number is that of the members on
    /// all nodes.
    #[must_use]
    pub fn list(&self) -> Vec<(RoomId, usize)> {
        let mut rooms = self.shards.rooms();
        rooms.sort();
        rooms
    }

    /// The members of a room on all nodes, in the order of their joins. Empty if this node has no member in the room.
    #[must_use]
    pub fn members(&self, room: &RoomId) -> Vec<Arc<Member>> {
        self.shards.members(room)
    }

    /// Sends text from the server to one member, in the member's dialect. Returns whether the member is in the room
    /// and its dialect supports text messages.
    pub fn send(&self, room: &RoomId, address: &Address, text: &str) -> bool {
        let receives = |member: &Arc<Member>| member.address == *address && member.dialect.messages;
        let is_member = self.members(room).iter().any(receives);
        self.announce(room, Target::Address(address.clone()), text);
        is_member
    }

    /// Sends text from the server to all members of a room. Returns the number of members whose dialects support
    /// text messages.
    pub fn broadcast(&self, room: &RoomId, text: &str) -> usize {
        let receivers = self
            .members(room)
            .iter()
            .filter(|member| member.dialect.messages)
            .count();
        self.announce(room, Target::Everyone, text);
        receivers
    }

    /// Closes a member's connection. The other members are notified that it left. Returns whether there was such a
    /// member.
    pub fn kick(&self, room: &RoomId, address: &Address) -> bool {
        let is_member = self
            .members(room)
            .iter()
            .any(|member| member.address == *address);
        let (room, address) = (room.clone(), address.clone());
        self.shards
            .handle(&room.clone(), Input::Kick { room, address });
        is_member
    }

    fn announce(&self, room: &RoomId, to: Target, text: &str) {
        let frame = ByteString::from(text);
        let message = Arc::new(RelayedMessage::new(
            HOST.name,
            MessageKind::Message,
            frame,
            |_, _| true,
        ));
        let room = room.clone();
        self.shards.handle(
            &room.clone(),
            Input::Announce {
                room,
                to,
                from: server(),
                message,
            },
        );
    }
}

/// The host program as a sender. Dialects whose clients see the address `server` show no member with it.
fn server() -> Arc<Member> {
    Arc::new(Member {
        peer: PeerId::from_random([0; 16]),
        address: Address::parse("server", 0).expect("not empty"),
        name: None,
        dialect: &HOST,
        identity: Identity::Claimed,
        token: None,
        group: None,
    })
}

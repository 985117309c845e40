//! The host program's view of the rooms, and what it may do in them.

use std::sync::Arc;

use bytestring::ByteString;
use switchboard_core::{
    Address, Identity, Input, Member, MessageKind, PeerId, RelayedMessage, RoomId, RoomName,
    RoomScope, SpaceName, Target,
};
use switchboard_dialect::HOST;
use tokio::sync::broadcast;

use crate::shards::{MembershipChange, Shards};

/// What the host program may ask and do. Cheap to clone.
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

    /// All rooms that this node has members in, or had a moment ago, with the number of their members
    /// on all nodes, sorted.
    #[must_use]
    pub fn list(&self) -> Vec<(RoomId, usize)> {
        let mut rooms = self.shards.rooms();
        rooms.sort();
        rooms
    }

    /// The members of a room, oldest first, on whatever node they are. Empty if this node has nobody
    /// in it.
    #[must_use]
    pub fn members(&self, room: &RoomId) -> Vec<Arc<Member>> {
        self.shards.members(room)
    }

    /// Sends text to one member, as the server, in its own dialect. Says whether it is there and
    /// its dialect has words for text.
    pub fn send(&self, room: &RoomId, address: &Address, text: &str) -> bool {
        let hears = |member: &Arc<Member>| member.address == *address && member.dialect.messages;
        let is_there = self.members(room).iter().any(hears);
        self.announce(room, Target::Address(address.clone()), text);
        is_there
    }

    /// Sends text to all members of a room, as the server. Says how many have words for text.
    pub fn broadcast(&self, room: &RoomId, text: &str) -> usize {
        let hearers = self
            .members(room)
            .iter()
            .filter(|member| member.dialect.messages)
            .count();
        self.announce(room, Target::Everyone, text);
        hearers
    }

    /// Ends a member's connection; the others see it leave. Says whether there was such a member.
    pub fn kick(&self, room: &RoomId, address: &Address) -> bool {
        let is_there = self
            .members(room)
            .iter()
            .any(|member| member.address == *address);
        let (room, address) = (room.clone(), address.clone());
        self.shards
            .handle(&room.clone(), Input::Kick { room, address });
        is_there
    }

    /// The joins and leaves from now on, as far as this node sees them: of rooms that it has members
    /// in. When its last one has left, the others are told to have left too. A receiver that falls 4096 changes behind misses some and
    /// is told how many.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<MembershipChange> {
        self.shards.subscribe()
    }

    fn announce(&self, room: &RoomId, to: Target, text: &str) {
        let frame = ByteString::from(text);
        let relay = Arc::new(RelayedMessage::new(
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
                message: relay,
            },
        );
    }
}

/// The address of the host program as a sender. Where its clients see this address, no member is shown with it.
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

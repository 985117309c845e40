//! The host program's view of the rooms, and what it may do in them.

use std::sync::Arc;

use bytestring::ByteString;
use switchboard_core::{
    Address, Identity, Input, Member, PeerId, Relay, RelayKind, RoomId, RoomName, SpaceName, Target,
};
use switchboard_dialect::HOST;
use tokio::sync::broadcast;

use crate::shards::{MembershipChange, Shards};

/// What the host program may ask and do. Cheap to clone.
///
/// Names are those of the default space unless a method says `_in`.
#[derive(Clone, Debug)]
pub struct Rooms {
    shards: Arc<Shards>,
}

impl Rooms {
    pub(crate) fn new(shards: Arc<Shards>) -> Self {
        Self { shards }
    }

    /// All rooms of this node with the number of their members, sorted.
    #[must_use]
    pub fn list(&self) -> Vec<(RoomId, usize)> {
        let mut rooms = self.shards.rooms();
        rooms.sort();
        rooms
    }

    /// The members of a room, oldest first. Empty if there is no such room.
    #[must_use]
    pub fn members(&self, room: &str) -> Vec<Arc<Member>> {
        in_default_space(room)
            .map(|room| self.shards.members(&room))
            .unwrap_or_default()
    }

    /// Sends text to one member, as the server. Each is told in its own dialect; one whose dialect
    /// has no words for text is not.
    pub fn send(&self, room: &str, address: &str, text: &str) {
        if let Ok(address) = Address::parse(address, 0) {
            self.announce(room, Target::Address(address), text);
        }
    }

    /// Sends text to all members of a room, as the server.
    pub fn broadcast(&self, room: &str, text: &str) {
        self.announce(room, Target::Everyone, text);
    }

    /// Ends a member's connection. The others see it leave.
    pub fn kick(&self, room: &str, address: &str) {
        let (Some(room), Ok(address)) = (in_default_space(room), Address::parse(address, 0)) else {
            return;
        };
        self.shards
            .handle(&room.clone(), Input::Kick { room, address });
    }

    /// The joins and leaves from now on. A receiver that falls 4096 changes behind misses some and
    /// is told how many.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<MembershipChange> {
        self.shards.subscribe()
    }

    fn announce(&self, room: &str, to: Target, text: &str) {
        let Some(room) = in_default_space(room) else {
            return;
        };
        let relay = Arc::new(Relay::new(
            HOST.name,
            RelayKind::Message,
            ByteString::from(text),
            |_| true,
        ));
        self.shards.handle(
            &room.clone(),
            Input::Announce {
                room,
                to,
                from: server(),
                relay,
            },
        );
    }
}

fn in_default_space(room: &str) -> Option<RoomId> {
    Some(RoomId {
        space: SpaceName::default(),
        name: RoomName::parse(room, 0).ok()?,
    })
}

/// In whose name the host program speaks. Clients cannot have this address.
fn server() -> Arc<Member> {
    Arc::new(Member {
        peer: PeerId::from_random([0; 16]),
        address: Address::parse("server", 0).expect("not empty"),
        name: None,
        tongue: &HOST,
        identity: Identity::Claimed,
    })
}

//! The rooms and members of a hub, for the host program (the program that embeds the server as a library).

use std::sync::Arc;

use super::{Hub, members};
use crate::{
    id::{PeerId, RoomId},
    introduction::Member,
    log::LogId,
    room::Room,
};

impl<L: Clone> Hub<L> {
    /// The rooms, in no particular order, each with the number of its members.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the host program sorts the list; nothing in this crate depends on the order"
    )]
    pub fn rooms(&self) -> Vec<(RoomId, usize)> {
        let count = |(log, room): (&LogId, &Room<L>)| match log {
            LogId::Room(id) => Some((id.clone(), room.memberships().count())),
            LogId::Name(..) | LogId::Election(_) => None,
        };
        self.rooms.iter().filter_map(count).collect()
    }

    /// The rooms of the peers of this node, in no particular order.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the host program sorts the list; nothing in this crate depends on the order"
    )]
    pub fn local_memberships(&self) -> Vec<(PeerId, RoomId)> {
        let rooms = self.rooms.iter().filter_map(|(log, room)| match log {
            LogId::Room(id) => Some((id, room)),
            LogId::Name(..) | LogId::Election(_) => None,
        });
        rooms
            .flat_map(|(id, room)| {
                let local = room.memberships().filter(|member| member.local().is_some());
                local.map(|member| (member.member.peer, id.clone()))
            })
            .collect()
    }

    /// The number of rooms in which this node has members, and the number of these members.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the sums do not depend on the order"
    )]
    pub fn local_counts(&self) -> (usize, usize) {
        let rooms = self.rooms.iter().filter_map(|(log, room)| match log {
            LogId::Room(_) => Some(room),
            LogId::Name(..) | LogId::Election(_) => None,
        });
        rooms
            .map(|room| {
                let local = room.memberships().filter(|member| member.local().is_some());
                local.count()
            })
            .filter(|members| *members > 0)
            .fold((0, 0), |(rooms, all), members| (rooms + 1, all + members))
    }

    /// Whether a join or leave of this peer of this node is proposed and not committed yet.
    #[must_use]
    pub fn has_pending_change(&self, room: &RoomId, peer: PeerId) -> bool {
        let room = self.rooms.get(&LogId::Room(room.clone()));
        room.is_some_and(|room| room.pending.contains(peer))
    }

    /// The members of a room, oldest first.
    #[must_use]
    pub fn members(&self, room: &RoomId) -> Vec<Arc<Member>> {
        let room = self.rooms.get(&LogId::Room(room.clone()));
        members(room.into_iter().flat_map(Room::memberships))
    }
}

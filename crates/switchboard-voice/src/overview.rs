//! The operator's view of voice, and the end of a user's streams.

use crate::{
    backend::VoiceBackend,
    id::{User, VoiceRoomId},
    state::VoiceState,
};

/// The calls and rooms of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VoiceReport {
    /// The rings and calls, sorted by their users.
    pub calls: Vec<CallReport>,
    /// The rooms, in the order of their ids.
    pub rooms: Vec<RoomReport>,
    /// Whether there are more calls or rooms.
    pub has_more: bool,
}

/// A ring or a call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallReport {
    /// The user that rings; in a call, one of the two.
    pub caller: User,
    /// The other user.
    pub callee: User,
    /// Whether the callee has accepted.
    pub is_accepted: bool,
}

/// A voice room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomReport {
    /// The id of the room.
    pub id: VoiceRoomId,
    /// The name of the room.
    pub name: String,
    /// The users, each with the flags "microphone connected" and "headphones connected".
    pub users: Vec<(User, bool, bool)>,
}

impl VoiceBackend {
    /// At most `count_max` of the calls and of the rooms that this node serves; none while another node leads.
    #[must_use]
    pub fn report(&self, count_max: usize) -> VoiceReport {
        self.state().report(count_max)
    }

    /// Ends the event streams, microphones and headphones of a user that are connected to this node. Returns their
    /// number. The user may connect again.
    pub fn end_user(&self, user: &User) -> usize {
        self.state().end_user(user)
    }

    /// Whether this node does the work of voice.
    #[must_use]
    pub fn is_leading(&self) -> bool {
        self.leads()
    }
}

impl VoiceState {
    fn report(&self, count_max: usize) -> VoiceReport {
        self.with(|state, _| {
            let mut calls = state.calls.list();
            let has_more_calls = calls.len() > count_max;
            calls.truncate(count_max);
            let mut rooms = state.rooms.list();
            let listed: Vec<_> = rooms.by_ref().take(count_max).collect();
            let has_more_rooms = rooms.next().is_some();
            drop(rooms);
            let rooms = listed.into_iter().map(|room| RoomReport {
                id: room.id,
                name: room.name.as_str().to_owned(),
                users: state.rooms.members(room.id).into_iter().flatten().collect(),
            });
            VoiceReport {
                calls,
                rooms: rooms.collect(),
                has_more: has_more_calls || has_more_rooms,
            }
        })
    }
}

//! Requests about voice rooms.

use switchboard_core::{RoomKey, RoomName, VoiceRoomId};
use switchboard_dialect::gostream::Present;

use super::{
    Voice,
    answer::{Answer, Refusal, json},
    identity::{Identity, number},
    parameters::Parameters,
};

/// Bytes of the shortest room name, as in the reference.
const ROOM_NAME_BYTES_MIN: usize = 3;

impl Voice {
    /// `/listRoom`: every room, for anybody.
    pub(super) fn list_rooms(&self) -> Answer {
        let users = self.desk.users();
        let list = self
            .desk
            .with(|state, _| users.list_rooms(state.rooms.list()));
        Ok(json(list))
    }

    /// `/listMembers`: who is in a room, by its number.
    pub(super) fn list_members(&self, asked: &Parameters) -> Answer {
        let room = asked.room().and_then(number);
        let room = VoiceRoomId::from(room.ok_or(Refusal::bad("roomID is not a room's number."))?);
        let members = self.desk.with(|state, _| {
            let members = state.rooms.members(room)?;
            let named = members.map(|(user, mic, headphones)| {
                let name = state.display_names.get(&user).cloned();
                (user, name, mic, headphones)
            });
            Some(named.collect::<Vec<_>>())
        });
        let members = members.ok_or(Refusal::not_found("There is no such room."))?;
        let studio = self.desk.studio_of(room);
        let present = members
            .into_iter()
            .map(|(user, name, mic, headphones)| Present {
                name,
                level: studio.as_ref().map_or(0.0, |studio| studio.level(&user)),
                user,
                mic,
                headphones,
            });
        Ok(json(self.desk.users().list_members(present)))
    }

    /// The room that a source or listener wants to enter.
    pub(super) fn room(&self, asked: &Parameters) -> Result<RoomKey, Refusal> {
        let text = asked.room().unwrap_or_default();
        match &self.identity {
            Identity::Site(_) => {
                let room = number(text).ok_or(Refusal::bad("roomID is not a room's number."))?;
                Ok(RoomKey::Numbered(room))
            }
            Identity::Keys(_) => {
                let name = RoomName::parse(text, self.limits.name_bytes)
                    .ok()
                    .filter(|name| name.as_str().len() >= ROOM_NAME_BYTES_MIN);
                let name = name.ok_or_else(|| {
                    Refusal::new(
                        axum::http::StatusCode::BAD_REQUEST,
                        &format!(
                            "roomID is no name of {ROOM_NAME_BYTES_MIN} to {} bytes with a visible character.",
                            self.limits.name_bytes
                        ),
                    )
                })?;
                Ok(RoomKey::Named(name))
            }
        }
    }
}

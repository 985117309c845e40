//! Requests about voice rooms.

use switchboard_core::{RoomKey, RoomName, VoiceRoomId};
use switchboard_dialect::gostream::RoomMember;

use super::{
    VoiceService,
    answer::{VoiceError, VoiceResult, json},
    identity::{IdentityProvider, number},
    parameters::RequestParameters,
};

/// Bytes of the shortest room name, as in the reference.
const ROOM_NAME_BYTES_MIN: usize = 3;

impl VoiceService {
    /// `/listRoom`: every room, for anybody.
    pub(super) fn list_rooms(&self) -> VoiceResult {
        let users = self.state.users();
        let list = self
            .state
            .with(|state, _| users.list_rooms(state.rooms.list()));
        Ok(json(list))
    }

    /// `/listMembers`: who is in a room, by its number.
    pub(super) fn list_members(&self, asked: &RequestParameters) -> VoiceResult {
        let room = asked.room().and_then(number);
        let room =
            VoiceRoomId::from(room.ok_or(VoiceError::bad("roomID is not a room's number."))?);
        let members = self.state.with(|state, _| {
            let members = state.rooms.members(room)?;
            let named = members.map(|(user, mic, headphones)| {
                let name = state.display_names.get(&user).cloned();
                (user, name, mic, headphones)
            });
            Some(named.collect::<Vec<_>>())
        });
        let members = members.ok_or(VoiceError::not_found("There is no such room."))?;
        let studio = self.state.mixer_of(room);
        let present = members
            .into_iter()
            .map(|(user, name, mic, headphones)| RoomMember {
                name,
                level: studio.as_ref().map_or(0.0, |studio| studio.level(&user)),
                user,
                mic,
                headphones,
            });
        Ok(json(self.state.users().list_members(present)))
    }

    /// The room that a source or listener wants to enter.
    pub(super) fn room(&self, asked: &RequestParameters) -> Result<RoomKey, VoiceError> {
        let text = asked.room().unwrap_or_default();
        match &self.identity {
            IdentityProvider::Site(_) => {
                let room = number(text).ok_or(VoiceError::bad("roomID is not a room's number."))?;
                Ok(RoomKey::Numbered(room))
            }
            IdentityProvider::Keys(_) => {
                let name = RoomName::parse(text, self.limits.name_bytes)
                    .ok()
                    .filter(|name| name.as_str().len() >= ROOM_NAME_BYTES_MIN);
                let name = name.ok_or_else(|| {
                    VoiceError::new(
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

//! Requests about voice rooms.

use switchboard_core::{Grants, Power, RoomName};

use crate::{
    answer::{VoiceError, VoiceResult, json},
    gostream::RoomMember,
    id::VoiceRoomId,
    identity::{IdentityProvider, number},
    parameters::RequestParameters,
    service::VoiceService,
    signaling::RoomKey,
};

/// Minimum length of a room name in bytes, as in the reference server (the original implementation).
const ROOM_NAME_BYTES_MIN: usize = 3;

impl VoiceService {
    /// `/listRoom`: lists the rooms that the client may list. Needs no authentication of a user.
    pub(crate) fn list_rooms(&self, grants: &Grants) -> VoiceResult {
        let users = self.state.users();
        let list = self.state.with(|state, _| {
            let rooms = state.rooms.list();
            users.list_rooms(rooms.filter(|room| grants.allows(Power::List, &room.name)))
        });
        Ok(json(list))
    }

    /// `/listMembers`: lists the members of a room, by the room's number.
    pub(crate) fn list_members(&self, grants: &Grants, params: &RequestParameters) -> VoiceResult {
        let room = params.room().and_then(number);
        let room = VoiceRoomId::from(
            room.ok_or(VoiceError::bad("`roomID` must be the number of a room."))?,
        );
        let members = self.state.with(|state, _| {
            let name = state.rooms.name(room)?;
            if !grants.allows(Power::List, name) {
                return None;
            }
            let members = state.rooms.members(room)?;
            let named = members.map(|(user, mic, headphones)| {
                let name = state.display_names.get(&user).cloned();
                (user, name, mic, headphones)
            });
            Some(named.collect::<Vec<_>>())
        });
        let members = members.ok_or(VoiceError::not_found("There is no such room."))?;
        let mixer = self.state.mixer_of(room);
        let present = members
            .into_iter()
            .map(|(user, name, mic, headphones)| RoomMember {
                name,
                level: mixer.as_ref().map_or(0.0, |mixer| mixer.level(&user)),
                user,
                mic,
                headphones,
            });
        Ok(json(self.state.users().list_members(present)))
    }

    /// The room that a source or listener wants to enter.
    pub(crate) fn room(&self, params: &RequestParameters) -> Result<RoomKey, VoiceError> {
        let text = params.room().unwrap_or_default();
        match &self.identity {
            IdentityProvider::Site(_) => {
                let room = number(text)
                    .ok_or(VoiceError::bad("`roomID` must be the number of a room."))?;
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
                            "`roomID` must be {ROOM_NAME_BYTES_MIN} to {} bytes long and have a visible character.",
                            self.limits.name_bytes
                        ),
                    )
                })?;
                Ok(RoomKey::Named(name))
            }
        }
    }
}

//! The requests that need the permission of the access check.

use switchboard_core::{ErrorCode, HubRequest, RequestError, RoomId};

/// A request to join a room that needs the permission of the access check. A claim of a name in a room discloses
/// whether a member has the name, so it is checked like a join.
pub(super) struct CheckedJoin<'a> {
    pub(super) room: RoomId,
    /// The address or name that the client wants to have in the room.
    pub(super) address: &'a str,
    /// The error if the request is denied.
    pub(super) error: RequestError,
}

impl<'a> CheckedJoin<'a> {
    /// `None` for a request that needs no permission.
    pub(super) fn of(request: &'a HubRequest) -> Option<Self> {
        match request {
            HubRequest::Join(room, member, join_id) => Some(Self {
                room: room.clone(),
                address: member.address.as_str(),
                error: RequestError::join(ErrorCode::Denied(None), &room.name, *join_id),
            }),
            HubRequest::Claim(name, _) => {
                let room = RoomId::shared(name.space.clone(), name.room.clone()?);
                let error = RequestError::claim(ErrorCode::Denied(None), name.clone());
                Some(Self {
                    error: error.in_room(&room.name),
                    room,
                    address: name.name.as_str(),
                })
            }
            HubRequest::Release(_)
            | HubRequest::Leave(..)
            | HubRequest::Send(..)
            | HubRequest::List(_)
            | HubRequest::Alive(_) => None,
        }
    }
}

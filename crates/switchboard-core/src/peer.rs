//! One connection's peer: the rooms and names it holds, and what it may still ask for.

use std::sync::Arc;

use crate::{
    command::{Command, HubRequest, JoinOptions, LeaveKind},
    error::{ErrorCode, RequestError},
    id::{Address, DisplayName, JoinId, NameId, PeerId, RoomId, RoomName, RoomScope, SpaceName},
    introduction::{DialectTraits, Group, Identity, Member},
    limits::{Limits, exceeds},
    reserved::is_server_name,
};

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisconnectReason {
    /// The client or its dialect said goodbye.
    Graceful,
    /// The client's socket was closed or reset, without a goodbye. The connection has certainly ended, and
    /// its addresses are free as after a goodbye.
    Reset,
    /// The client fell silent, or the server ended the connection against the client's will.
    Lost,
}

/// A room that a peer is in or has asked to enter.
#[derive(Debug)]
struct JoinedRoom {
    room: RoomName,
    scope: RoomScope,
    /// The latest.
    join_id: JoinId,
    /// Its address there is kept for it.
    has_token: bool,
}

/// The rights and holdings of one connection. Turns its session's commands into what a hub is asked.
#[derive(Debug)]
pub struct Peer {
    id: PeerId,
    dialect: &'static DialectTraits,
    identity: Identity,
    space: SpaceName,
    /// Sorted by room.
    rooms: Vec<JoinedRoom>,
    /// The names that it has or has asked for.
    names: Vec<NameId>,
    last_join_id: JoinId,
}

impl Peer {
    /// A peer that holds nothing yet.
    #[must_use]
    pub fn new(
        id: PeerId,
        tongue: &'static DialectTraits,
        identity: Identity,
        space: SpaceName,
    ) -> Self {
        Self {
            id,
            dialect: tongue,
            identity,
            space,
            rooms: Vec::new(),
            names: Vec::new(),
            last_join_id: JoinId::default(),
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// How sure we are of it.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The dialect it speaks.
    #[must_use]
    pub fn dialect(&self) -> &'static DialectTraits {
        self.dialect
    }

    /// Says that the dialect was found out only now. Holdings stay.
    pub fn set_dialect(&mut self, tongue: &'static DialectTraits) {
        self.dialect = tongue;
    }

    /// What to ask a hub for this command, or why it is not asked.
    pub fn authorize(
        &mut self,
        command: Command,
        limits: &Limits,
    ) -> Result<HubRequest, RequestError> {
        match command {
            Command::Claim(room, name) => self.claim(room, name),
            Command::Release(room, name) => Ok(self.release(room, name)),
            Command::Join {
                room,
                address,
                name,
                options: terms,
            } => self.join(room, address, name, terms, limits),
            Command::Leave {
                room,
                kind: farewell,
            } => {
                let id = self.joined_room(&room)?;
                if let Ok(index) = self.index_of(&room) {
                    self.rooms.remove(index);
                }
                Ok(HubRequest::Leave(id, farewell))
            }
            Command::Send {
                room,
                to,
                message: relay,
            } => {
                let id = self.joined_room(&room);
                let id = id.map_err(|refused| refused.to(to.clone()))?;
                Ok(HubRequest::Send(id, to, Arc::new(relay)))
            }
            Command::List(room) => Ok(HubRequest::List(self.joined_room(&room)?)),
        }
    }

    /// Learns that it is not let into a room. Says whether that is still so: the answer may come
    /// after the client has asked anew or for something else.
    pub fn note_rejected_join(&mut self, refused: &RequestError) -> bool {
        let (Some(room), Some(attempt)) = (&refused.room, refused.join) else {
            return true;
        };
        let before = self.rooms.len();
        self.rooms
            .retain(|joined| joined.room != *room || joined.join_id != attempt);
        self.rooms.len() != before
    }

    /// What to ask when the connection is gone: everything is given back.
    #[must_use]
    pub fn disconnect(&mut self, parting: DisconnectReason) -> Vec<HubRequest> {
        let rooms = std::mem::take(&mut self.rooms);
        let names = std::mem::take(&mut self.names);
        let leave = rooms.into_iter().map(|joined| {
            let farewell = match parting {
                DisconnectReason::Lost if joined.has_token => LeaveKind::ConnectionLost,
                DisconnectReason::Lost | DisconnectReason::Reset | DisconnectReason::Graceful => {
                    LeaveKind::Announced
                }
            };
            HubRequest::Leave(self.room(joined.room, joined.scope), farewell)
        });
        leave
            .chain(names.into_iter().map(HubRequest::Release))
            .collect()
    }

    fn room(&self, name: RoomName, scope: RoomScope) -> RoomId {
        RoomId {
            space: self.space.clone(),
            name,
            scope,
        }
    }

    /// The index of the room in `rooms`, or the index at which to insert it.
    fn index_of(&self, room: &RoomName) -> Result<usize, usize> {
        self.rooms.binary_search_by(|joined| joined.room.cmp(room))
    }

    fn joined(&self, room: &RoomName) -> Option<&JoinedRoom> {
        self.index_of(room).ok().map(|index| &self.rooms[index])
    }

    /// The room of this name that the peer is in.
    fn joined_room(&self, room: &RoomName) -> Result<RoomId, RequestError> {
        let not_in_room = || RequestError::new(ErrorCode::NotInRoom).in_room(room);
        let joined = self.joined(room).ok_or_else(not_in_room)?;
        Ok(self.room(room.clone(), joined.scope.clone()))
    }

    /// The scope of the room that these terms ask for. A room that the peer is in keeps its scope.
    fn scope_of(&self, room: &RoomName, terms: &JoinOptions) -> RoomScope {
        if let Some(joined) = self.joined(room) {
            return joined.scope.clone();
        }
        // Members of a group, or of a dialect without signals, are invisible to other dialects, so
        // they must not use up places of the shared room.
        let is_apart = terms.group_size.is_some() || !self.dialect.reaches_other_dialects();
        match terms.closed_to_other_dialects || is_apart {
            true => RoomScope::only(self.dialect.name),
            false => RoomScope::Shared,
        }
    }

    fn name_id(&self, room: Option<RoomName>, name: DisplayName) -> NameId {
        let space = self.space.clone();
        NameId { space, room, name }
    }

    fn claim(
        &mut self,
        room: Option<RoomName>,
        name: DisplayName,
    ) -> Result<HubRequest, RequestError> {
        let id = self.name_id(room, name);
        if is_server_name(id.name.as_str()) {
            return Err(RequestError::claim(ErrorCode::Reserved, id));
        }
        if !self.names.contains(&id) {
            self.names.push(id.clone());
        }
        Ok(HubRequest::Claim(id, self.identity.clone()))
    }

    fn release(&mut self, room: Option<RoomName>, name: DisplayName) -> HubRequest {
        let id = self.name_id(room, name);
        self.names.retain(|held| *held != id);
        HubRequest::Release(id)
    }

    fn join(
        &mut self,
        room: RoomName,
        address: Address,
        name: Option<DisplayName>,
        terms: JoinOptions,
        limits: &Limits,
    ) -> Result<HubRequest, RequestError> {
        self.last_join_id = self.last_join_id.next();
        if !self.dialect.allows_server_address && is_server_name(address.as_str()) {
            return Err(RequestError::join(
                ErrorCode::Reserved,
                &room,
                self.last_join_id,
            ));
        }
        if self.joined(&room).is_none() && exceeds(self.rooms.len() + 1, limits.rooms_per_peer) {
            return Err(RequestError::join(
                ErrorCode::TooManyRooms,
                &room,
                self.last_join_id,
            ));
        }
        let scope = self.scope_of(&room, &terms);
        let joined = JoinedRoom {
            room: room.clone(),
            scope: scope.clone(),
            join_id: self.last_join_id,
            has_token: terms.token.is_some(),
        };
        match self.index_of(&room) {
            Ok(index) => self.rooms[index] = joined,
            Err(index) => self.rooms.insert(index, joined),
        }
        let member = Member {
            peer: self.id,
            address,
            name,
            dialect: self.dialect,
            identity: self.identity.clone(),
            token: terms.token,
            // The hub knows whose circle is open.
            group: terms.group_size.map(|seats| Group {
                first: self.id,
                capacity: seats,
            }),
        };
        let room = self.room(room, scope);
        Ok(HubRequest::Join(room, Arc::new(member), self.last_join_id))
    }
}

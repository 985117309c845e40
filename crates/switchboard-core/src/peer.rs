//! One connection's peer: the rooms and names it holds, and what it may still ask for.

use std::sync::Arc;

use crate::{
    command::{Ask, Command, Farewell, Terms},
    id::{Address, Attempt, DisplayName, NameId, PeerId, RoomId, RoomName, RoomScope, SpaceName},
    introduction::{Circle, Identity, Member, Tongue},
    limits::{Limits, exceeds},
    refusal::{Refusal, Refused},
    reserved::is_server_name,
};

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parting {
    /// The client or its dialect said goodbye.
    Said,
    /// The client's socket was closed or reset, without a goodbye. The connection has certainly ended, and
    /// its addresses are free as after a goodbye.
    Reset,
    /// The client fell silent, or the server ended the connection against the client's will.
    Lost,
}

/// A room that a peer is in or has asked to enter.
#[derive(Debug)]
struct Joined {
    room: RoomName,
    scope: RoomScope,
    /// The latest.
    attempt: Attempt,
    /// Its address there is kept for it.
    has_token: bool,
}

/// The rights and holdings of one connection. Turns its session's commands into what a hub is asked.
#[derive(Debug)]
pub struct Peer {
    id: PeerId,
    tongue: &'static Tongue,
    identity: Identity,
    space: SpaceName,
    /// Sorted by room.
    rooms: Vec<Joined>,
    /// The names that it has or has asked for.
    names: Vec<NameId>,
    attempt: Attempt,
}

impl Peer {
    /// A peer that holds nothing yet.
    #[must_use]
    pub fn new(id: PeerId, tongue: &'static Tongue, identity: Identity, space: SpaceName) -> Self {
        Self {
            id,
            tongue,
            identity,
            space,
            rooms: Vec::new(),
            names: Vec::new(),
            attempt: Attempt::default(),
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
    pub fn tongue(&self) -> &'static Tongue {
        self.tongue
    }

    /// Says that the dialect was found out only now. Holdings stay.
    pub fn speaks(&mut self, tongue: &'static Tongue) {
        self.tongue = tongue;
    }

    /// What to ask a hub for this command, or why it is not asked.
    pub fn route(&mut self, command: Command, limits: &Limits) -> Result<Ask, Refused> {
        match command {
            Command::Claim(room, name) => self.claim(room, name),
            Command::Release(room, name) => Ok(self.release(room, name)),
            Command::Join {
                room,
                address,
                name,
                terms,
            } => self.join(room, address, name, terms, limits),
            Command::Leave { room, farewell } => {
                let id = self.joined_room(&room)?;
                if let Ok(index) = self.index_of(&room) {
                    self.rooms.remove(index);
                }
                Ok(Ask::Leave(id, farewell))
            }
            Command::Relay { room, to, relay } => {
                let id = self.joined_room(&room);
                let id = id.map_err(|refused| refused.to(to.clone()))?;
                Ok(Ask::Relay(id, to, Arc::new(relay)))
            }
            Command::List(room) => Ok(Ask::List(self.joined_room(&room)?)),
        }
    }

    /// Learns that it is not let into a room. Says whether that is still so: the answer may come
    /// after the client has asked anew or for something else.
    pub fn observe(&mut self, refused: &Refused) -> bool {
        let (Some(room), Some(attempt)) = (&refused.room, refused.join) else {
            return true;
        };
        let before = self.rooms.len();
        self.rooms
            .retain(|joined| joined.room != *room || joined.attempt != attempt);
        self.rooms.len() != before
    }

    /// What to ask when the connection is gone: everything is given back.
    #[must_use]
    pub fn farewell(&mut self, parting: Parting) -> Vec<Ask> {
        let rooms = std::mem::take(&mut self.rooms);
        let names = std::mem::take(&mut self.names);
        let leave = rooms.into_iter().map(|joined| {
            let farewell = match parting {
                Parting::Lost if joined.has_token => Farewell::Dropped,
                Parting::Lost | Parting::Reset | Parting::Said => Farewell::Aloud,
            };
            Ask::Leave(self.room(joined.room, joined.scope), farewell)
        });
        leave.chain(names.into_iter().map(Ask::Release)).collect()
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

    fn joined(&self, room: &RoomName) -> Option<&Joined> {
        self.index_of(room).ok().map(|index| &self.rooms[index])
    }

    /// The room of this name that the peer is in.
    fn joined_room(&self, room: &RoomName) -> Result<RoomId, Refused> {
        let not_in_room = || Refused::new(Refusal::NotInRoom).in_room(room);
        let joined = self.joined(room).ok_or_else(not_in_room)?;
        Ok(self.room(room.clone(), joined.scope.clone()))
    }

    /// The scope of the room that these terms ask for. A room that the peer is in keeps its scope.
    fn scope_of(&self, room: &RoomName, terms: &Terms) -> RoomScope {
        if let Some(joined) = self.joined(room) {
            return joined.scope.clone();
        }
        // Members of a group, or of a dialect without signals, are invisible to other dialects, so
        // they must not use up places of the shared room.
        let is_apart = terms.circle.is_some() || !self.tongue.reaches_other_dialects();
        match terms.closed_to_other_dialects || is_apart {
            true => RoomScope::only(self.tongue.name),
            false => RoomScope::Shared,
        }
    }

    fn name_id(&self, room: Option<RoomName>, name: DisplayName) -> NameId {
        let space = self.space.clone();
        NameId { space, room, name }
    }

    fn claim(&mut self, room: Option<RoomName>, name: DisplayName) -> Result<Ask, Refused> {
        let id = self.name_id(room, name);
        if is_server_name(id.name.as_str()) {
            return Err(Refused::claim(Refusal::Reserved, id));
        }
        if !self.names.contains(&id) {
            self.names.push(id.clone());
        }
        Ok(Ask::Claim(id, self.identity.clone()))
    }

    fn release(&mut self, room: Option<RoomName>, name: DisplayName) -> Ask {
        let id = self.name_id(room, name);
        self.names.retain(|held| *held != id);
        Ask::Release(id)
    }

    fn join(
        &mut self,
        room: RoomName,
        address: Address,
        name: Option<DisplayName>,
        terms: Terms,
        limits: &Limits,
    ) -> Result<Ask, Refused> {
        self.attempt = self.attempt.next();
        if !self.tongue.allows_server_address && is_server_name(address.as_str()) {
            return Err(Refused::join(Refusal::Reserved, &room, self.attempt));
        }
        if self.joined(&room).is_none() && exceeds(self.rooms.len() + 1, limits.rooms_per_peer) {
            return Err(Refused::join(Refusal::TooManyRooms, &room, self.attempt));
        }
        let scope = self.scope_of(&room, &terms);
        let joined = Joined {
            room: room.clone(),
            scope: scope.clone(),
            attempt: self.attempt,
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
            tongue: self.tongue,
            identity: self.identity.clone(),
            token: terms.token,
            // The hub knows whose circle is open.
            circle: terms.circle.map(|seats| Circle {
                first: self.id,
                seats,
            }),
        };
        let room = self.room(room, scope);
        Ok(Ask::Join(room, Arc::new(member), self.attempt))
    }
}

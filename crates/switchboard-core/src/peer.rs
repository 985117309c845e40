//! One connection's peer: the rooms and names it holds, and what it may still ask for.

use std::sync::Arc;

use crate::{
    command::{Ask, Command, Farewell},
    event::Event,
    id::{Address, DisplayName, PeerId, RoomId, RoomName, SpaceName},
    introduction::{Identity, Member, Tongue},
    limits::{Limits, exceeds},
    refusal::{Refusal, Refused},
};

/// The name that server-made frames carry as their sender; nobody else may have it.
const SERVER: &str = "server";

/// The rights and holdings of one connection. Turns its session's commands into what a hub is asked.
#[derive(Debug)]
pub struct Peer {
    id: PeerId,
    tongue: &'static Tongue,
    identity: Identity,
    space: SpaceName,
    rooms: Vec<RoomName>,
    names: Vec<DisplayName>,
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
            Command::Claim(name) => self.claim(name),
            Command::Join {
                room,
                address,
                name,
            } => self.join(room, address, name, limits),
            Command::Leave { room, farewell } => {
                self.must_be_in(&room)?;
                self.rooms.retain(|joined| *joined != room);
                Ok(Ask::Leave(self.room(room), farewell))
            }
            Command::Relay { room, to, relay } => {
                self.must_be_in(&room)
                    .map_err(|refused| refused.to(to.clone()))?;
                Ok(Ask::Relay(self.room(room), to, Arc::new(relay)))
            }
            Command::List(room) => {
                self.must_be_in(&room)?;
                Ok(Ask::List(self.room(room)))
            }
        }
    }

    /// Learns from an event what it does not hold.
    pub fn observe(&mut self, event: &Event) {
        if let Event::Refused(Refused {
            room: Some(room),
            join: true,
            ..
        }) = event
        {
            self.rooms.retain(|joined| joined != room);
        }
    }

    /// What to ask when the connection is gone: everything is given back.
    #[must_use]
    pub fn farewell(&mut self) -> Vec<Ask> {
        let rooms = std::mem::take(&mut self.rooms);
        let names = std::mem::take(&mut self.names);
        let leave = rooms
            .into_iter()
            .map(|room| Ask::Leave(self.room(room), Farewell::Aloud));
        let release = names
            .into_iter()
            .map(|name| Ask::Release(self.space.clone(), name));
        leave.chain(release).collect()
    }

    fn room(&self, name: RoomName) -> RoomId {
        RoomId {
            space: self.space.clone(),
            name,
        }
    }

    fn must_be_in(&self, room: &RoomName) -> Result<(), Refused> {
        if self.rooms.contains(room) {
            return Ok(());
        }
        Err(Refused::new(Refusal::NotInRoom).in_room(room))
    }

    fn claim(&mut self, name: DisplayName) -> Result<Ask, Refused> {
        if name.as_str().eq_ignore_ascii_case(SERVER) {
            return Err(Refusal::Reserved.into());
        }
        if !self.names.contains(&name) {
            self.names.push(name.clone());
        }
        Ok(Ask::Claim(self.space.clone(), name, self.identity.clone()))
    }

    fn join(
        &mut self,
        room: RoomName,
        address: Address,
        name: Option<DisplayName>,
        limits: &Limits,
    ) -> Result<Ask, Refused> {
        if address.as_str().eq_ignore_ascii_case(SERVER) {
            return Err(Refused::join(Refusal::Reserved, &room));
        }
        if !self.rooms.contains(&room) {
            if exceeds(self.rooms.len() + 1, limits.rooms_per_peer) {
                return Err(Refused::join(Refusal::TooManyRooms, &room));
            }
            self.rooms.push(room.clone());
        }
        let member = Member {
            peer: self.id,
            address,
            name,
            tongue: self.tongue,
            identity: self.identity.clone(),
        };
        Ok(Ask::Join(self.room(room), Arc::new(member)))
    }
}

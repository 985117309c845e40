//! One connection's peer: the rooms and names it holds, and what it may still ask for.

use std::sync::Arc;

use crate::{
    command::{Ask, Command, Farewell},
    id::{Address, Attempt, DisplayName, PeerId, RoomId, RoomName, SpaceName},
    introduction::{Identity, Member, Tongue},
    limits::{Limits, exceeds},
    refusal::{Refusal, Refused},
};

/// The name that server-made frames carry as their sender; nobody else may have it.
const SERVER: &str = "server";

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parting {
    /// The client said goodbye, or was sent away.
    Said,
    /// The connection was lost: the client may not know it yet, and want to come back.
    Lost,
}

/// The rights and holdings of one connection. Turns its session's commands into what a hub is asked.
#[derive(Debug)]
pub struct Peer {
    id: PeerId,
    tongue: &'static Tongue,
    identity: Identity,
    space: SpaceName,
    /// The rooms it is in or has asked to enter, each with its latest attempt.
    rooms: Vec<(RoomName, Attempt)>,
    names: Vec<DisplayName>,
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
            Command::Claim(name) => self.claim(name),
            Command::Join {
                room,
                address,
                name,
            } => self.join(room, address, name, limits),
            Command::Leave { room, farewell } => {
                self.must_be_in(&room)?;
                self.rooms.retain(|(joined, _)| *joined != room);
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

    /// Learns that it is not let into a room. Says whether that is still so: the answer may come
    /// after the client has asked anew or for something else.
    pub fn observe(&mut self, refused: &Refused) -> bool {
        let (Some(room), Some(attempt)) = (&refused.room, refused.join) else {
            return true;
        };
        let before = self.rooms.len();
        self.rooms
            .retain(|(joined, latest)| joined != room || *latest != attempt);
        self.rooms.len() != before
    }

    /// What to ask when the connection is gone: everything is given back.
    #[must_use]
    pub fn farewell(&mut self, _parting: Parting) -> Vec<Ask> {
        let rooms = std::mem::take(&mut self.rooms);
        let names = std::mem::take(&mut self.names);
        let leave = rooms
            .into_iter()
            .map(|(room, _)| Ask::Leave(self.room(room), Farewell::Aloud));
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

    fn is_in(&self, room: &RoomName) -> bool {
        self.rooms.iter().any(|(joined, _)| joined == room)
    }

    fn must_be_in(&self, room: &RoomName) -> Result<(), Refused> {
        if self.is_in(room) {
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
        self.attempt = self.attempt.next();
        if address.as_str().eq_ignore_ascii_case(SERVER) {
            return Err(Refused::join(Refusal::Reserved, &room, self.attempt));
        }
        if !self.is_in(&room) && exceeds(self.rooms.len() + 1, limits.rooms_per_peer) {
            return Err(Refused::join(Refusal::TooManyRooms, &room, self.attempt));
        }
        self.rooms.retain(|(joined, _)| *joined != room);
        self.rooms.push((room.clone(), self.attempt));
        let member = Member {
            peer: self.id,
            address,
            name,
            tongue: self.tongue,
            identity: self.identity.clone(),
        };
        Ok(Ask::Join(self.room(room), Arc::new(member), self.attempt))
    }
}

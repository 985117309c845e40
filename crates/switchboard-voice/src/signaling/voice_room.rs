//! Voice rooms and the connected audio of their members.
//!
//! The first user that enters a room creates it, and all users are notified. A room that has been empty for the time
//! `linger` is removed. If the limit `rooms` is reached, the room that has been empty longest makes room for a new one:
//! otherwise a client that enters and leaves many rooms could keep all users from creating one.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::{Duration, Instant},
};

use switchboard_core::{RoomName, exceeds};
use thiserror::Error;

use super::{
    deadline::Deadlines,
    direction::{ConnectedAudio, Direction},
    voice_event::{Audience, VoiceEvent},
};
use crate::id::{User, VoiceRoomId};

/// The key by which clients name a room. All keys of one [`VoiceRooms`] are of one kind, like its users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoomKey {
    /// A name; the server assigns the id. Users that are public keys (identity `keys`) have such rooms.
    Named(RoomName),
    /// A number that the website gave the room; it is both the id and the name. Users that are accounts of a website
    /// (identity `site`) have such rooms.
    Numbered(u64),
}

/// The limits of voice rooms, set by the operator. 0: no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoiceRoomLimits {
    /// Max number of rooms.
    pub rooms: usize,
    /// Max microphones in one room.
    pub sources: usize,
    /// Max headphones in one room.
    pub listeners: usize,
    /// How long an empty room is kept if the limit of `rooms` is not reached.
    pub linger: Duration,
}

impl Default for VoiceRoomLimits {
    fn default() -> Self {
        Self {
            rooms: 10_000,
            sources: 100,
            listeners: 2000,
            linger: Duration::from_secs(60),
        }
    }
}

/// The reason why a user cannot enter a voice room.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum VoiceRoomError {
    /// There are `rooms` rooms already, and none is empty.
    #[error("the server has reached its limit of voice rooms")]
    TooManyRooms,
    /// The room has `sources` microphones already.
    #[error("the voice room has reached its limit of microphones")]
    TooManySources,
    /// The room has `listeners` headphones already.
    #[error("the voice room has reached its limit of listeners")]
    TooManyListeners,
    /// The room has the maximum number of members that its policy allows.
    #[error("the voice room is full")]
    RoomFull,
}

/// An entry of the list of rooms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomListing {
    /// The room's id.
    pub id: VoiceRoomId,
    /// The room's name; for a numbered room, the number.
    pub name: RoomName,
    /// Number of users in it.
    pub count: usize,
}

/// A sans-IO state machine of all voice rooms. The crate documentation says how its driver, the code that does the I/O,
/// calls it.
///
/// Every input first handles the timeouts up to its `now`, with one exception: if a user enters an empty room whose
/// time is over but which is not removed yet, the room is kept ([`VoiceRooms::enter`]).
#[derive(Debug, Default)]
pub struct VoiceRooms {
    limits: VoiceRoomLimits,
    rooms: BTreeMap<VoiceRoomId, VoiceRoom>,
    by_name: HashMap<RoomName, VoiceRoomId>,
    deadlines: Deadlines<VoiceRoomId>,
    ids_assigned: u64,
    events: VecDeque<(Audience, VoiceEvent)>,
    ended: VecDeque<VoiceRoomId>,
}

#[derive(Debug)]
struct VoiceRoom {
    name: RoomName,
    /// The users with connected audio.
    members: BTreeMap<User, ConnectedAudio>,
}

impl VoiceRooms {
    /// A state machine without rooms.
    #[must_use]
    pub fn new(limits: VoiceRoomLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Connects a microphone or headphones of `user` to a room. A missing room is created
    /// ([`VoiceEvent::NewRoom`] to all users). The other members get [`VoiceEvent::AudioState`]. If the user has
    /// connected this direction before, nothing changes and no event is sent: the driver ends the older connection, and
    /// calls [`VoiceRooms::leave`] only when the newer one ends.
    ///
    /// # Errors
    /// Any [`VoiceRoomError`]: no room is created and nothing is connected.
    pub fn enter(
        &mut self,
        user: &User,
        key: &RoomKey,
        direction: Direction,
        now: Instant,
    ) -> Result<VoiceRoomId, VoiceRoomError> {
        self.enter_within(0, user, key, direction, now)
    }

    /// Like [`VoiceRooms::enter`], for a room of at most `members_max` users; 0 for no limit. A user that is in the room
    /// already may connect its other direction.
    ///
    /// # Errors
    /// Any [`VoiceRoomError`]: no room is created and nothing is connected.
    pub fn enter_within(
        &mut self,
        members_max: usize,
        user: &User,
        key: &RoomKey,
        direction: Direction,
        now: Instant,
    ) -> Result<VoiceRoomId, VoiceRoomError> {
        let found = self.find(key);
        let members = found.and_then(|id| self.rooms.get(&id));
        let members = members.map_or(0, |room| room.members.len());
        if exceeds(members + 1, members_max) && !self.has_member(key, user) {
            return Err(VoiceRoomError::RoomFull);
        }
        // Before the timeouts: if a numbered room ended and were created again in one input, the driver would read its
        // id from `poll_ended` and end the audio of the new room. Entering an empty room cannot fail, so the room is
        // not left empty without a deadline.
        if let Some(id) = found {
            self.deadlines.clear(&id);
        }
        self.handle_timeout(now);
        let id = match found {
            Some(id) => id,
            None => self.create_room(key)?,
        };
        if self.connect(user, id, direction)? {
            self.notify_others(user, id);
        }
        Ok(id)
    }

    /// Disconnects a microphone or headphones of `user` from a room; the other members get [`VoiceEvent::AudioState`].
    /// When the room is empty, its `linger` timer starts. Does nothing if the room does not exist.
    pub fn leave(&mut self, user: &User, id: VoiceRoomId, direction: Direction, now: Instant) {
        self.handle_timeout(now);
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        let audio = room.members.get_mut(user);
        if !audio.is_some_and(|audio| audio.set(direction, false)) {
            return;
        }
        self.notify_others(user, id);
        self.remove_if_disconnected(user, id, now);
    }

    /// The rooms, in the order of their ids.
    pub fn list(&self) -> impl Iterator<Item = RoomListing> {
        self.rooms.iter().map(|(id, room)| RoomListing {
            id: *id,
            name: room.name.clone(),
            count: room.members.len(),
        })
    }

    /// The name of a room; `None` if the room does not exist.
    #[must_use]
    pub fn name(&self, id: VoiceRoomId) -> Option<&RoomName> {
        self.rooms.get(&id).map(|room| &room.name)
    }

    /// The members of a room in the order of their names, each with the flags "microphone connected" and
    /// "headphones connected". `None`: the room does not exist.
    #[must_use]
    pub fn members(&self, id: VoiceRoomId) -> Option<impl Iterator<Item = (User, bool, bool)>> {
        let members = self.rooms.get(&id)?.members.iter();
        Some(members.map(|(user, audio)| (user.clone(), audio.mic, audio.headphones)))
    }

    /// Whether a user has connected audio in the room with this key.
    #[must_use]
    pub fn has_member(&self, key: &RoomKey, user: &User) -> bool {
        let room = self.find(key).and_then(|id| self.rooms.get(&id));
        room.is_some_and(|room| room.members.contains_key(user))
    }

    /// The id of the room with this key.
    #[must_use]
    pub fn find(&self, key: &RoomKey) -> Option<VoiceRoomId> {
        match key {
            RoomKey::Named(name) => self.by_name.get(name).copied(),
            RoomKey::Numbered(number) => {
                let id = VoiceRoomId::from(*number);
                self.rooms.contains_key(&id).then_some(id)
            }
        }
    }

    /// Removes the empty rooms whose time is over at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(id) = self.deadlines.pop_due(now) {
            self.remove_room(id);
        }
    }

    /// The time of the next deadline, at or after which [`VoiceRooms::handle_timeout`] must be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// Removes and returns the next event and its receivers.
    pub fn poll_event(&mut self) -> Option<(Audience, VoiceEvent)> {
        self.events.pop_front()
    }

    /// Removes and returns the next ended room. The driver must then end the audio of this room.
    pub fn poll_ended(&mut self) -> Option<VoiceRoomId> {
        self.ended.pop_front()
    }

    /// Whether there are no rooms and no events to poll.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let queues = self.events.is_empty() && self.ended.is_empty();
        let rooms = self.rooms.is_empty() && self.by_name.is_empty();
        queues && rooms && self.deadlines.is_empty()
    }

    /// Creates the room of a key.
    fn create_room(&mut self, key: &RoomKey) -> Result<VoiceRoomId, VoiceRoomError> {
        if exceeds(self.rooms.len() + 1, self.limits.rooms) {
            // Only empty rooms have a deadline.
            let longest_empty = self.deadlines.pop();
            self.remove_room(longest_empty.ok_or(VoiceRoomError::TooManyRooms)?);
        }
        let (id, name) = match key {
            RoomKey::Named(name) => (self.assign_id(name), name.clone()),
            RoomKey::Numbered(number) => {
                let id = VoiceRoomId::from(*number);
                (id, id.to_name())
            }
        };
        let room = VoiceRoom {
            name: name.clone(),
            members: BTreeMap::new(),
        };
        self.rooms.insert(id, room);
        let event = VoiceEvent::NewRoom { id, name, count: 1 };
        self.events.push_back((Audience::AllUsers, event));
        Ok(id)
    }

    fn remove_room(&mut self, id: VoiceRoomId) {
        let Some(room) = self.rooms.remove(&id) else {
            return;
        };
        if self.by_name.get(&room.name) == Some(&id) {
            self.by_name.remove(&room.name);
        }
        self.ended.push_back(id);
    }

    /// Assigns the next free id to a name. The id of an ended room is not free before the driver has polled it: the
    /// driver would end the audio of the new room.
    fn assign_id(&mut self, name: &RoomName) -> VoiceRoomId {
        loop {
            self.ids_assigned += 1;
            let id = VoiceRoomId::from(self.ids_assigned);
            if !self.rooms.contains_key(&id) && !self.ended.contains(&id) {
                self.by_name.insert(name.clone(), id);
                return id;
            }
        }
    }

    /// Connects one direction. Returns false if it was connected before.
    fn connect(
        &mut self,
        user: &User,
        id: VoiceRoomId,
        direction: Direction,
    ) -> Result<bool, VoiceRoomError> {
        let Some(room) = self.rooms.get_mut(&id) else {
            return Ok(false);
        };
        let audio = room.members.get(user);
        if audio.is_some_and(|audio| audio.has(direction)) {
            return Ok(false);
        }
        let connected = room
            .members
            .values()
            .filter(|audio| audio.has(direction))
            .count();
        let (limit, error) = match direction {
            Direction::Publish => (self.limits.sources, VoiceRoomError::TooManySources),
            Direction::Subscribe => (self.limits.listeners, VoiceRoomError::TooManyListeners),
        };
        if exceeds(connected + 1, limit) {
            return Err(error);
        }
        room.members
            .entry(user.clone())
            .or_default()
            .set(direction, true);
        Ok(true)
    }

    /// Notifies the other members of the connected audio of `user`.
    fn notify_others(&mut self, user: &User, id: VoiceRoomId) {
        let Some(room) = self.rooms.get(&id) else {
            return;
        };
        let audio = room.members.get(user).copied().unwrap_or_default();
        let event = audio.to_event(user.clone(), Some(id));
        for other in room.members.keys().filter(|other| *other != user) {
            let audience = Audience::User(other.clone());
            self.events.push_back((audience, event.clone()));
        }
    }

    /// Removes the user from the members if it has no audio connected. Starts the `linger` timer if the room is empty.
    fn remove_if_disconnected(&mut self, user: &User, id: VoiceRoomId, now: Instant) {
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        if room.members.get(user).is_some_and(|audio| audio.is_none()) {
            room.members.remove(user);
        }
        if room.members.is_empty() {
            self.deadlines.set(id, now, self.limits.linger);
        }
    }
}

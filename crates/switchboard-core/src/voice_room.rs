//! Voice rooms: who speaks and hears in which (wire page `gostream`, "Calls and rooms").
//!
//! A room is made by the first who enters it, and told to everybody. When nobody has been in it
//! for `linger` it is gone, or earlier, to make place for another when there are `rooms` of them:
//! else who enters many and leaves them would keep everybody from opening one.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::{Duration, Instant},
};

use crate::{
    deadline::Deadlines,
    direction::{ConnectedAudio, Direction},
    id::{RoomName, User, VoiceRoomId},
    limits::exceeds,
    voice_event::{Audience, VoiceEvent},
};

/// How clients call a room. The keys of one [`VoiceRooms`] are all of one kind, as its users are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoomKey {
    /// Identity `keys`: by a name; its id is given by us.
    Named(RoomName),
    /// Identity `site`: by the site's number, which is its id and its name.
    Numbered(u64),
}

/// The bounds of voice rooms, as the operator sets them. 0: no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoiceRoomLimits {
    /// Rooms in all.
    pub rooms: usize,
    /// Microphones in one room.
    pub sources: usize,
    /// Headphones in one room.
    pub listeners: usize,
    /// How long a room stays that nobody is in, if its place is not needed.
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

/// Why somebody was not let into a voice room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoiceRoomError {
    /// There are `rooms` rooms, somebody is in each, and this would be another.
    TooManyRooms,
    /// The room has `sources` microphones.
    TooManySources,
    /// The room has `listeners` headphones.
    TooManyListeners,
}

/// A room as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomListing {
    /// Its number.
    pub id: VoiceRoomId,
    /// Its name; of a numbered room, the number.
    pub name: RoomName,
    /// Users in it, each counted once.
    pub count: usize,
}

/// All voice rooms, as a machine. See the crate's page for how to drive it.
///
/// Every input first lets happen what is due at its `now`, except that whoever enters a room finds
/// it until it has really gone.
#[derive(Debug, Default)]
pub struct VoiceRooms {
    limits: VoiceRoomLimits,
    rooms: BTreeMap<VoiceRoomId, VoiceRoom>,
    by_name: HashMap<RoomName, VoiceRoomId>,
    deadlines: Deadlines<VoiceRoomId>,
    names_given: u64,
    events: VecDeque<(Audience, VoiceEvent)>,
    ended: VecDeque<VoiceRoomId>,
}

#[derive(Debug)]
struct VoiceRoom {
    name: RoomName,
    /// Whoever has something connected.
    members: BTreeMap<User, ConnectedAudio>,
}

impl VoiceRooms {
    /// No rooms yet.
    #[must_use]
    pub fn new(limits: VoiceRoomLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Connects a microphone or headphones of `user` to a room, which is made if need be
    /// ([`VoiceEvent::NewRoom`] to everybody). The others in it are told ([`VoiceEvent::AudioConf`]).
    /// A connection that replaces one of the same user changes nothing and causes no event; the
    /// driver ends the other one, and leaves once.
    ///
    /// # Errors
    /// Any [`VoiceRoomError`]: nothing has changed and nobody is told.
    pub fn enter(
        &mut self,
        user: &User,
        key: &RoomKey,
        way: Direction,
        now: Instant,
    ) -> Result<VoiceRoomId, VoiceRoomError> {
        let found = self.find(key);
        // First of all, lest a numbered room end and begin in one input: its audio would end with it.
        // Nobody is refused in an empty room, so whoever finds it keeps it.
        if let Some(id) = found {
            self.deadlines.clear(&id);
        }
        self.handle_timeout(now);
        let id = match found {
            Some(id) => id,
            None => self.open(key)?,
        };
        if self.connect(user, id, way)? {
            self.tell_others(user, id);
        }
        Ok(id)
    }

    /// Takes back what [`VoiceRooms::enter`] connected; the others in the room are told. When it
    /// was the last, the room begins to linger. Of a room that is gone this is no news.
    pub fn leave(&mut self, user: &User, id: VoiceRoomId, way: Direction, now: Instant) {
        self.handle_timeout(now);
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        let ends = room.members.get_mut(user);
        if !ends.is_some_and(|ends| ends.set(way, false)) {
            return;
        }
        self.tell_others(user, id);
        self.forget_if_gone(user, id, now);
    }

    /// The rooms, in the order of their ids.
    pub fn list(&self) -> impl Iterator<Item = RoomListing> {
        self.rooms.iter().map(|(id, room)| RoomListing {
            id: *id,
            name: room.name.clone(),
            count: room.members.len(),
        })
    }

    /// Who is in a room, each with whether its microphone and whether its headphones are connected,
    /// in the order of their names. `None`: there is no such room.
    #[must_use]
    pub fn members(&self, id: VoiceRoomId) -> Option<impl Iterator<Item = (User, bool, bool)>> {
        let members = self.rooms.get(&id)?.members.iter();
        Some(members.map(|(user, ends)| (user.clone(), ends.mic, ends.headphones)))
    }

    /// The room of this key, if there is one.
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

    /// Lets happen what is due at `now`: rooms that nobody has been in go.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(id) = self.deadlines.pop_due(now) {
            self.end(id);
        }
    }

    /// When [`VoiceRooms::handle_timeout`] must be called at the latest, if ever.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// The next event and whom it is for, if any.
    pub fn poll_event(&mut self) -> Option<(Audience, VoiceEvent)> {
        self.events.pop_front()
    }

    /// The next room that is gone, if any: its audio must stop.
    pub fn poll_ended(&mut self) -> Option<VoiceRoomId> {
        self.ended.pop_front()
    }

    /// Whether there are no rooms, and nothing waits to be polled.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let queues = self.events.is_empty() && self.ended.is_empty();
        let rooms = self.rooms.is_empty() && self.by_name.is_empty();
        queues && rooms && self.deadlines.is_empty()
    }

    /// Makes the room of a key that has none.
    fn open(&mut self, key: &RoomKey) -> Result<VoiceRoomId, VoiceRoomError> {
        if exceeds(self.rooms.len() + 1, self.limits.rooms) {
            let longest_empty = self.deadlines.pop();
            self.end(longest_empty.ok_or(VoiceRoomError::TooManyRooms)?);
        }
        let (id, name) = match key {
            RoomKey::Named(name) => (self.name(name), name.clone()),
            RoomKey::Numbered(number) => {
                let id = VoiceRoomId::from(*number);
                (id, id.into())
            }
        };
        let room = VoiceRoom {
            name: name.clone(),
            members: BTreeMap::new(),
        };
        self.rooms.insert(id, room);
        let event = VoiceEvent::NewRoom { id, name, count: 1 };
        self.events.push_back((Audience::Everybody, event));
        Ok(id)
    }

    fn end(&mut self, id: VoiceRoomId) {
        let Some(room) = self.rooms.remove(&id) else {
            return;
        };
        if self.by_name.get(&room.name) == Some(&id) {
            self.by_name.remove(&room.name);
        }
        self.ended.push_back(id);
    }

    /// Gives a name the next id that nothing has, nor has had until just now.
    fn name(&mut self, name: &RoomName) -> VoiceRoomId {
        loop {
            self.names_given += 1;
            let id = VoiceRoomId::from(self.names_given);
            if !self.rooms.contains_key(&id) && !self.ended.contains(&id) {
                self.by_name.insert(name.clone(), id);
                return id;
            }
        }
    }

    /// Says whether it was not connected before.
    fn connect(
        &mut self,
        user: &User,
        id: VoiceRoomId,
        way: Direction,
    ) -> Result<bool, VoiceRoomError> {
        let Some(room) = self.rooms.get_mut(&id) else {
            return Ok(false);
        };
        if room.members.get(user).is_some_and(|ends| ends.has(way)) {
            return Ok(false);
        }
        let connected = room.members.values().filter(|ends| ends.has(way)).count();
        let (limit, refusal) = match way {
            Direction::Publish => (self.limits.sources, VoiceRoomError::TooManySources),
            Direction::Subscribe => (self.limits.listeners, VoiceRoomError::TooManyListeners),
        };
        if exceeds(connected + 1, limit) {
            return Err(refusal);
        }
        room.members.entry(user.clone()).or_default().set(way, true);
        Ok(true)
    }

    /// Tells the others in the room what of `user` is connected now.
    fn tell_others(&mut self, user: &User, id: VoiceRoomId) {
        let Some(room) = self.rooms.get(&id) else {
            return;
        };
        let ends = room.members.get(user).copied().unwrap_or_default();
        let event = ends.of(user.clone(), Some(id));
        for other in room.members.keys().filter(|other| *other != user) {
            let audience = Audience::User(other.clone());
            self.events.push_back((audience, event.clone()));
        }
    }

    fn forget_if_gone(&mut self, user: &User, id: VoiceRoomId, now: Instant) {
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        if room.members.get(user).is_some_and(|ends| ends.is_none()) {
            room.members.remove(user);
        }
        if room.members.is_empty() {
            self.deadlines.set(id, now, self.limits.linger);
        }
    }
}

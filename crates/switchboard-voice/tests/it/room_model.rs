//! A reference model of voice rooms: the same rules as the state machine, as plain lists and linear searches.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use switchboard_core::RoomName;
use switchboard_voice::{
    Audience, Direction, RoomKey, User, VoiceEvent, VoiceRoomError, VoiceRoomId, VoiceRoomLimits,
};

pub(crate) struct ModelRoom {
    pub(crate) id: VoiceRoomId,
    pub(crate) name: RoomName,
    is_named: bool,
    pub(crate) connected: BTreeSet<(User, Direction)>,
    /// The time at which the room ends, if it is empty.
    until: Option<Instant>,
}

pub(crate) struct RoomModel {
    limits: VoiceRoomLimits,
    /// The rooms in the order of their ids.
    pub(crate) rooms: Vec<ModelRoom>,
    last_id: u64,
    pub(crate) events: Vec<(Audience, VoiceEvent)>,
    pub(crate) ended: Vec<VoiceRoomId>,
}

impl RoomModel {
    pub(crate) fn new(limits: VoiceRoomLimits) -> Self {
        Self {
            limits,
            rooms: Vec::new(),
            last_id: 0,
            events: Vec::new(),
            ended: Vec::new(),
        }
    }

    pub(crate) fn enter(
        &mut self,
        user: &User,
        key: &RoomKey,
        direction: Direction,
        now: Instant,
    ) -> Result<VoiceRoomId, VoiceRoomError> {
        // Before the timeouts fire: a room whose time is over is kept if a user enters it.
        if let Some(index) = self.find(key) {
            self.rooms[index].until = None;
        }
        self.advance_to(now);
        let index = match self.find(key) {
            Some(index) => index,
            None => self.create_room(key)?,
        };
        let room = &mut self.rooms[index];
        if room.connected.contains(&(user.clone(), direction)) {
            return Ok(room.id);
        }
        let (max, error) = match direction {
            Direction::Publish => (self.limits.sources, VoiceRoomError::TooManySources),
            Direction::Subscribe => (self.limits.listeners, VoiceRoomError::TooManyListeners),
        };
        if max != 0 && room.count(direction) == max {
            return Err(error);
        }
        room.connected.insert((user.clone(), direction));
        let id = room.id;
        self.notify_others(index, user);
        Ok(id)
    }

    fn find(&self, key: &RoomKey) -> Option<usize> {
        self.rooms.iter().position(|room| match key {
            RoomKey::Named(name) => room.is_named && room.name == *name,
            RoomKey::Numbered(number) => room.id.get() == *number,
        })
    }

    fn create_room(&mut self, key: &RoomKey) -> Result<usize, VoiceRoomError> {
        if self.limits.rooms != 0 && self.rooms.len() == self.limits.rooms {
            let empty = self
                .rooms
                .iter()
                .filter_map(|room| Some((room.until?, room.id)));
            let (_, longest_empty) = empty.min().ok_or(VoiceRoomError::TooManyRooms)?;
            self.rooms.retain(|room| room.id != longest_empty);
            self.ended.push(longest_empty);
        }
        let (id, name, is_named) = match key {
            RoomKey::Named(name) => {
                self.last_id += 1;
                let alive = self.rooms.iter().map(|room| room.id);
                let taken: Vec<_> = alive.chain(self.ended.iter().copied()).collect();
                while taken.contains(&self.last_id.into()) {
                    self.last_id += 1;
                }
                (self.last_id, name.clone(), true)
            }
            RoomKey::Numbered(number) => {
                let name = number_name(*number);
                (*number, name, false)
            }
        };
        let id = VoiceRoomId::from(id);
        self.rooms.push(ModelRoom {
            id,
            name: name.clone(),
            is_named,
            connected: BTreeSet::new(),
            until: None,
        });
        self.rooms.sort_by_key(|room| room.id);
        let event = VoiceEvent::NewRoom { id, name, count: 1 };
        self.events.push((Audience::AllUsers, event));
        let index = self.rooms.iter().position(|room| room.id == id);
        Ok(index.expect("the new room is missing"))
    }

    pub(crate) fn leave(
        &mut self,
        user: &User,
        id: VoiceRoomId,
        direction: Direction,
        now: Instant,
    ) {
        self.advance_to(now);
        let Some(index) = self.rooms.iter().position(|room| room.id == id) else {
            return;
        };
        let room = &mut self.rooms[index];
        if !room.connected.remove(&(user.clone(), direction)) {
            return;
        }
        if room.connected.is_empty() {
            room.until = Some(now + self.limits.linger);
        }
        self.notify_others(index, user);
    }

    /// Fires the timeouts up to `now`.
    pub(crate) fn advance_to(&mut self, now: Instant) {
        let (expired, rooms) = std::mem::take(&mut self.rooms)
            .into_iter()
            .partition::<Vec<_>, _>(|room| room.until.is_some_and(|it| it <= now));
        self.rooms = rooms;
        self.ended.extend(expired.iter().map(|room| room.id));
    }

    pub(crate) fn next_time(&self) -> Option<Instant> {
        self.rooms.iter().filter_map(|room| room.until).min()
    }

    fn notify_others(&mut self, index: usize, user: &User) {
        let room = &self.rooms[index];
        let event = VoiceEvent::AudioState {
            from: user.clone(),
            room: Some(room.id),
            mic: room.connected.contains(&(user.clone(), Direction::Publish)),
            headphones: room
                .connected
                .contains(&(user.clone(), Direction::Subscribe)),
        };
        let others = room.users().into_iter().filter(|other| other != user);
        self.events
            .extend(others.map(|other| (Audience::User(other), event.clone())));
    }
}

impl ModelRoom {
    pub(crate) fn count(&self, direction: Direction) -> usize {
        self.connected
            .iter()
            .filter(|(_, it)| *it == direction)
            .count()
    }

    pub(crate) fn users(&self) -> BTreeSet<User> {
        self.connected
            .iter()
            .map(|(user, _)| user.clone())
            .collect()
    }
}

/// The name of a numbered room.
fn number_name(number: u64) -> RoomName {
    RoomName::parse(&number.to_string(), 0).expect("a number has digits")
}

/// Limits with a short time: some steps must happen after the timeout.
pub(crate) fn limits(rooms: usize, sources: usize, listeners: usize) -> VoiceRoomLimits {
    VoiceRoomLimits {
        rooms,
        sources,
        listeners,
        linger: Duration::from_secs(5),
    }
}

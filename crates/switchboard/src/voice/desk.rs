//! The desk: who calls whom, who is in which room, and who is told.
//!
//! Two machines of the core behind one lock, held for microseconds and never across an await. Event
//! queues are filled while it is held: that gives everybody one order.

use std::{
    collections::{BTreeMap, hash_map::RandomState},
    fmt,
    hash::BuildHasher,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::Instant,
};

use bytestring::ByteString;
use switchboard_audio::MixSettings;
use switchboard_core::{
    Audience, CallId, CallRefusal, Calls, DisplayName, RingOrigin, RoomKey, User, VoiceEvent,
    VoiceRoomId, VoiceRoomRefusal, VoiceRooms, Way,
};
use switchboard_dialect::gostream::{Told, Users};
use switchboard_transport::{Counters, Exchange, network};
use tokio::sync::mpsc;

use super::{
    connections::{Connections, Hold},
    display_names::DisplayNames,
    streams::{Listener, StreamId, Streams},
    studio::Studio,
};
use crate::{config::VoiceConfig, shards::Shards};

/// Where audio is mixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Place {
    Call(CallId),
    Room(VoiceRoomId),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(call) => write!(f, "voice call {call}"),
            Self::Room(room) => write!(f, "voice room {room}"),
        }
    }
}

/// A microphone or headphones that are connected now.
pub(super) struct Connected {
    pub(super) place: Place,
    pub(super) studio: Arc<Studio>,
    pub(super) hold: Hold,
}

/// All voice calls and rooms, for as long as this node does voice.
#[derive(Debug)]
pub(super) struct Desk {
    state: Mutex<State>,
    users: Users,
    mix: Arc<MixSettings>,
    shards: Arc<Shards>,
    hasher: RandomState,
    this: OnceLock<Weak<Self>>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) calls: Calls,
    pub(super) rooms: VoiceRooms,
    streams: Streams,
    pub(super) display_names: DisplayNames,
    studios: BTreeMap<Place, Arc<Studio>>,
    connections: Connections,
    /// Users whose connections have been replaced, and their events.
    replaced: Vec<(User, VoiceEvent)>,
    /// When a task will call the machines.
    alarm: Option<Instant>,
    /// How many calls have been counted.
    calls_counted: u64,
    /// The server stops, or another node does this now: what begins here ends at once.
    has_ended: bool,
}

impl Desk {
    pub(super) fn new(config: &VoiceConfig, users: Users, shards: Arc<Shards>) -> Arc<Self> {
        let this = Arc::new(Self {
            state: Mutex::new(State {
                calls: Calls::new(config.call.clone()),
                rooms: VoiceRooms::new(config.room.clone()),
                streams: Streams::new(config.gostream.event_streams),
                display_names: DisplayNames::default(),
                studios: BTreeMap::new(),
                connections: Connections::default(),
                replaced: Vec::new(),
                alarm: None,
                calls_counted: 0,
                has_ended: false,
            }),
            users,
            mix: Arc::new(config.mix.clone()),
            shards,
            hasher: RandomState::new(),
            this: OnceLock::new(),
        });
        this.this.get_or_init(|| Arc::downgrade(&this));
        this
    }

    pub(super) fn mix(&self) -> &MixSettings {
        &self.mix
    }

    pub(super) fn users(&self) -> Users {
        self.users
    }

    /// Lets `act` have the machines and carries out what follows.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut State, Instant) -> T) -> T {
        let mut ended = Vec::new();
        let mut state = self.lock();
        let done = act(&mut state, Instant::now());
        self.settle(&mut state, &mut ended);
        self.set_alarm(&mut state);
        drop(state);
        // To finish a stream takes its encoder some time, and nobody else is to wait for that.
        ended.iter().for_each(|studio| studio.end());
        done
    }

    /// Opens an event stream, unless the user has as many as may be.
    pub(super) fn listen(
        &self,
        user: &User,
        listener: Listener,
    ) -> Option<(StreamId, mpsc::Receiver<Arc<Told>>)> {
        let mut state = self.lock();
        let opened = state.streams.open(user, listener)?;
        if state.has_ended {
            state.streams.end();
        }
        drop(state);
        Counters::add(&self.shards.counters().voice_event_streams, 1);
        Some(opened)
    }

    pub(super) fn stop_listening(&self, user: &User, id: StreamId) {
        let mut state = self.lock();
        state.streams.close(user, id);
        if !state.streams.is_open(user) {
            state.display_names.set(user, None);
        }
        drop(state);
        Counters::less(&self.shards.counters().voice_event_streams);
    }

    /// Whether somebody hears what this user is told.
    pub(super) fn is_present(&self, user: &User) -> bool {
        self.lock().streams.is_open(user)
    }

    /// Sets the display name of a user, or removes it. False if the user has no event stream: then it has no name.
    pub(super) fn set_display_name(&self, user: &User, name: Option<DisplayName>) -> bool {
        let mut state = self.lock();
        let is_open = state.streams.is_open(user);
        if is_open {
            state.display_names.set(user, name);
        }
        is_open
    }

    /// A number for all microphones and headphones of one user.
    pub(super) fn owner(&self, user: &User) -> u64 {
        self.hasher.hash_one(user)
    }

    pub(super) fn connect_to_call(
        &self,
        by: &User,
        other: &User,
        way: Way,
        name: ByteString,
    ) -> Result<Connected, CallRefusal> {
        self.with(|state, now| {
            let place = Place::Call(state.calls.connect(by, other, way, now)?);
            let hold = state.take_over(by, (place, Some(other), way), name);
            let studio = state.studio(place, &self.mix);
            Ok(Connected {
                place,
                studio,
                hold,
            })
        })
    }

    pub(super) fn enter_room(
        &self,
        user: &User,
        room: &RoomKey,
        way: Way,
        name: ByteString,
    ) -> Result<Connected, VoiceRoomRefusal> {
        self.with(|state, now| {
            let place = Place::Room(state.rooms.enter(user, room, way, now)?);
            let hold = state.take_over(user, (place, None, way), name);
            let studio = state.studio(place, &self.mix);
            Ok(Connected {
                place,
                studio,
                hold,
            })
        })
    }

    /// Gives back what a connection held. False if a newer one has taken over.
    pub(super) fn disconnect(&self, user: &User, place: Place, way: Way, hold: &Hold) -> bool {
        self.with(|state, now| {
            let key = (place, user.clone(), way);
            if !state.connections.release(&key, hold) {
                return false;
            }
            match place {
                Place::Call(call) => state.calls.disconnect(user, call, way, now),
                Place::Room(room) => state.rooms.leave(user, room, way, now),
            }
            true
        })
    }

    /// Where a room's audio is mixed, if it has had any.
    pub(super) fn studio_of(&self, room: VoiceRoomId) -> Option<Arc<Studio>> {
        self.lock().studios.get(&Place::Room(room)).cloned()
    }

    /// Ends everything, for good.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.has_ended = true;
        state.streams.end();
        let studios = std::mem::take(&mut state.studios);
        drop(state);
        studios.values().for_each(|studio| studio.end());
    }

    /// Tells what has happened, and gives the studios whose calls or rooms have ended.
    fn settle(&self, state: &mut State, ended: &mut Vec<Arc<Studio>>) {
        let mut last = None;
        for (user, event) in std::mem::take(&mut state.replaced) {
            self.tell(state, &Audience::User(user), event, &mut last);
        }
        while let Some((user, event)) = state.calls.poll_event() {
            self.tell(state, &Audience::User(user), event, &mut last);
        }
        while let Some((audience, event)) = state.rooms.poll_event() {
            self.tell(state, &audience, event, &mut last);
        }
        let made = state.calls.made();
        Counters::add(
            &self.shards.counters().voice_calls_total,
            made - state.calls_counted,
        );
        state.calls_counted = made;
        while let Some(call) = state.calls.poll_ended() {
            ended.extend(state.studios.remove(&Place::Call(call)));
        }
        while let Some(room) = state.rooms.poll_ended() {
            ended.extend(state.studios.remove(&Place::Room(room)));
        }
    }

    /// Tells whom it concerns. `last` is what was told last: the members of a room are all told the
    /// same, which is spelled once.
    fn tell(
        &self,
        state: &mut State,
        audience: &Audience,
        event: VoiceEvent,
        last: &mut Option<(VoiceEvent, Arc<Told>)>,
    ) {
        if !state.streams.is_heard(audience) {
            return;
        }
        let told = match last {
            Some((same, told)) if *same == event => told.clone(),
            Some(_) | None => {
                let sender = event.sender();
                let name = sender.and_then(|user| state.display_names.get(user));
                let told = Arc::new(self.users.tell(&event, name));
                last.insert((event, told)).1.clone()
            }
        };
        let cut_off = state.streams.tell(audience, &told);
        Counters::add(&self.shards.counters().slow_total, cut_off);
    }

    /// Sees to it that the machines are called when their next timeout is due.
    fn set_alarm(&self, state: &mut State) {
        let timeouts = [state.calls.poll_timeout(), state.rooms.poll_timeout()];
        let Some(at) = timeouts.into_iter().flatten().min() else {
            return;
        };
        if state.alarm.is_some_and(|alarm| alarm <= at) {
            return;
        }
        let Some(this) = self.this.get().and_then(Weak::upgrade) else {
            return;
        };
        state.alarm = Some(at);
        tokio::spawn(async move {
            tokio::time::sleep_until(at.into()).await;
            this.with(|state, now| {
                if state.alarm == Some(at) {
                    state.alarm = None;
                }
                state.calls.handle_timeout(now);
                state.rooms.handle_timeout(now);
            });
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while it is held is a bug of ours; the other calls go on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Gives a new connection of this user its hold, and tells the user of one that it replaces.
    fn take_over(
        &mut self,
        user: &User,
        (place, other, way): (Place, Option<&User>, Way),
        name: ByteString,
    ) -> Hold {
        let key = (place, user.clone(), way);
        let (hold, replaced) = self.connections.take_over(key, name);
        if let Some(connection) = replaced {
            let room = match place {
                Place::Room(room) => Some(room),
                Place::Call(_) => None,
            };
            let event = VoiceEvent::Replaced {
                room,
                other: other.cloned(),
                way,
                connection,
            };
            self.replaced.push((user.clone(), event));
        }
        hold
    }

    /// Lets `from` ring `to`; callers with event streams come first.
    pub(super) fn ring(
        &mut self,
        (from, to): (&User, &User),
        challenge: ByteString,
        address: Option<IpAddr>,
        now: Instant,
    ) -> Result<(), CallRefusal> {
        let streams = &self.streams;
        let origin = RingOrigin {
            address: address.map(network),
            listens: &|user| streams.is_open(user),
        };
        self.calls.ring(from, to, challenge, origin, now)
    }

    fn studio(&mut self, place: Place, mix: &Arc<MixSettings>) -> Arc<Studio> {
        let studio = self.studios.entry(place);
        let studio = studio.or_insert_with(|| Studio::new(mix.clone()));
        if self.has_ended {
            studio.end();
        }
        studio.clone()
    }
}

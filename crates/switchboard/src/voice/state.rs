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
    Audience, CallError, CallId, Calls, Direction, DisplayName, RingOrigin, RoomKey, User,
    VoiceEvent, VoiceRoomError, VoiceRoomId, VoiceRooms,
};
use switchboard_dialect::gostream::{SseEvent, UserEncoding};
use switchboard_transport::{Counters, NodeHandle, network};
use tokio::sync::mpsc;

use super::{
    connections::{ConnectionHold, Connections},
    display_names::DisplayNames,
    room_mixer::RoomMixer,
    streams::{EventStreams, StreamId, StreamListener},
};
use crate::{config::VoiceConfig, shards::Shards};

/// Where audio is mixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum MixId {
    Call(CallId),
    Room(VoiceRoomId),
}

impl fmt::Display for MixId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(call) => write!(f, "voice call {call}"),
            Self::Room(room) => write!(f, "voice room {room}"),
        }
    }
}

/// A microphone or headphones that are connected now.
pub(super) struct AudioConnection {
    pub(super) mix: MixId,
    pub(super) studio: Arc<RoomMixer>,
    pub(super) hold: ConnectionHold,
}

/// All voice calls and rooms, for as long as this node does voice.
#[derive(Debug)]
pub(super) struct VoiceState {
    state: Mutex<VoiceStateInner>,
    users: UserEncoding,
    mix: Arc<MixSettings>,
    shards: Arc<Shards>,
    hasher: RandomState,
    this: OnceLock<Weak<Self>>,
}

#[derive(Debug)]
pub(super) struct VoiceStateInner {
    pub(super) calls: Calls,
    pub(super) rooms: VoiceRooms,
    streams: EventStreams,
    pub(super) display_names: DisplayNames,
    mixers: BTreeMap<MixId, Arc<RoomMixer>>,
    connections: Connections,
    /// Users whose connections have been replaced, and their events.
    replaced: Vec<(User, VoiceEvent)>,
    /// When a task will call the machines.
    timer: Option<Instant>,
    /// How many calls have been counted.
    calls_counted: u64,
    /// The server stops, or another node does this now: what begins here ends at once.
    has_ended: bool,
}

impl VoiceState {
    pub(super) fn new(config: &VoiceConfig, users: UserEncoding, shards: Arc<Shards>) -> Arc<Self> {
        let this = Arc::new(Self {
            state: Mutex::new(VoiceStateInner {
                calls: Calls::new(config.call.clone()),
                rooms: VoiceRooms::new(config.room.clone()),
                streams: EventStreams::new(config.gostream.event_streams),
                display_names: DisplayNames::default(),
                mixers: BTreeMap::new(),
                connections: Connections::default(),
                replaced: Vec::new(),
                timer: None,
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

    pub(super) fn users(&self) -> UserEncoding {
        self.users
    }

    /// Lets `act` have the machines and carries out what follows.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut VoiceStateInner, Instant) -> T) -> T {
        let mut ended = Vec::new();
        let mut state = self.lock();
        let done = act(&mut state, Instant::now());
        self.drain_events(&mut state, &mut ended);
        self.arm_timer(&mut state);
        drop(state);
        // To finish a stream takes its encoder some time, and nobody else is to wait for that.
        ended.iter().for_each(|studio| studio.end());
        done
    }

    /// Opens an event stream, unless the user has as many as may be.
    pub(super) fn listen(
        &self,
        user: &User,
        listener: StreamListener,
    ) -> Option<(StreamId, mpsc::Receiver<Arc<SseEvent>>)> {
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
        way: Direction,
        name: ByteString,
    ) -> Result<AudioConnection, CallError> {
        self.with(|state, now| {
            let place = MixId::Call(state.calls.connect(by, other, way, now)?);
            let hold = state.take_over(by, (place, Some(other), way), name);
            let studio = state.mixer(place, &self.mix);
            Ok(AudioConnection {
                mix: place,
                studio,
                hold,
            })
        })
    }

    pub(super) fn enter_room(
        &self,
        user: &User,
        room: &RoomKey,
        way: Direction,
        name: ByteString,
    ) -> Result<AudioConnection, VoiceRoomError> {
        self.with(|state, now| {
            let place = MixId::Room(state.rooms.enter(user, room, way, now)?);
            let hold = state.take_over(user, (place, None, way), name);
            let studio = state.mixer(place, &self.mix);
            Ok(AudioConnection {
                mix: place,
                studio,
                hold,
            })
        })
    }

    /// Gives back what a connection held. False if a newer one has taken over.
    pub(super) fn disconnect(
        &self,
        user: &User,
        place: MixId,
        way: Direction,
        hold: &ConnectionHold,
    ) -> bool {
        self.with(|state, now| {
            let key = (place, user.clone(), way);
            if !state.connections.release(&key, hold) {
                return false;
            }
            match place {
                MixId::Call(call) => state.calls.disconnect(user, call, way, now),
                MixId::Room(room) => state.rooms.leave(user, room, way, now),
            }
            true
        })
    }

    /// Where a room's audio is mixed, if it has had any.
    pub(super) fn mixer_of(&self, room: VoiceRoomId) -> Option<Arc<RoomMixer>> {
        self.lock().mixers.get(&MixId::Room(room)).cloned()
    }

    /// Ends everything, for good.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.has_ended = true;
        state.streams.end();
        let studios = std::mem::take(&mut state.mixers);
        drop(state);
        studios.values().for_each(|studio| studio.end());
    }

    /// Tells what has happened, and gives the studios whose calls or rooms have ended.
    fn drain_events(&self, state: &mut VoiceStateInner, ended: &mut Vec<Arc<RoomMixer>>) {
        let mut last = None;
        for (user, event) in std::mem::take(&mut state.replaced) {
            self.send_event(state, &Audience::User(user), event, &mut last);
        }
        while let Some((user, event)) = state.calls.poll_event() {
            self.send_event(state, &Audience::User(user), event, &mut last);
        }
        while let Some((audience, event)) = state.rooms.poll_event() {
            self.send_event(state, &audience, event, &mut last);
        }
        let made = state.calls.calls_made();
        Counters::add(
            &self.shards.counters().voice_calls_total,
            made - state.calls_counted,
        );
        state.calls_counted = made;
        while let Some(call) = state.calls.poll_ended() {
            ended.extend(state.mixers.remove(&MixId::Call(call)));
        }
        while let Some(room) = state.rooms.poll_ended() {
            ended.extend(state.mixers.remove(&MixId::Room(room)));
        }
    }

    /// Tells whom it concerns. `last` is what was told last: the members of a room are all told the
    /// same, which is spelled once.
    fn send_event(
        &self,
        state: &mut VoiceStateInner,
        audience: &Audience,
        event: VoiceEvent,
        last: &mut Option<(VoiceEvent, Arc<SseEvent>)>,
    ) {
        if !state.streams.is_heard(audience) {
            return;
        }
        let told = match last {
            Some((same, told)) if *same == event => told.clone(),
            Some(_) | None => {
                let sender = event.sender();
                let name = sender.and_then(|user| state.display_names.get(user));
                let told = Arc::new(self.users.event(&event, name));
                last.insert((event, told)).1.clone()
            }
        };
        let cut_off = state.streams.tell(audience, &told);
        Counters::add(&self.shards.counters().slow_total, cut_off);
    }

    /// Sees to it that the machines are called when their next timeout is due.
    fn arm_timer(&self, state: &mut VoiceStateInner) {
        let timeouts = [state.calls.poll_timeout(), state.rooms.poll_timeout()];
        let Some(at) = timeouts.into_iter().flatten().min() else {
            return;
        };
        if state.timer.is_some_and(|alarm| alarm <= at) {
            return;
        }
        let Some(this) = self.this.get().and_then(Weak::upgrade) else {
            return;
        };
        state.timer = Some(at);
        tokio::spawn(async move {
            tokio::time::sleep_until(at.into()).await;
            this.with(|state, now| {
                if state.timer == Some(at) {
                    state.timer = None;
                }
                state.calls.handle_timeout(now);
                state.rooms.handle_timeout(now);
            });
        });
    }

    fn lock(&self) -> MutexGuard<'_, VoiceStateInner> {
        // A panic while it is held is a bug of ours; the other calls go on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl VoiceStateInner {
    /// Gives a new connection of this user its hold, and tells the user of one that it replaces.
    fn take_over(
        &mut self,
        user: &User,
        (place, other, way): (MixId, Option<&User>, Direction),
        name: ByteString,
    ) -> ConnectionHold {
        let key = (place, user.clone(), way);
        let (hold, replaced) = self.connections.take_over(key, name);
        if let Some(connection) = replaced {
            let room = match place {
                MixId::Room(room) => Some(room),
                MixId::Call(_) => None,
            };
            let event = VoiceEvent::Replaced {
                room,
                other: other.cloned(),
                direction: way,
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
    ) -> Result<(), CallError> {
        let streams = &self.streams;
        let origin = RingOrigin {
            address: address.map(network),
            listens: &|user| streams.is_open(user),
        };
        self.calls.ring(from, to, challenge, origin, now)
    }

    fn mixer(&mut self, place: MixId, mix: &Arc<MixSettings>) -> Arc<RoomMixer> {
        let studio = self.mixers.entry(place);
        let studio = studio.or_insert_with(|| RoomMixer::new(mix.clone()));
        if self.has_ended {
            studio.end();
        }
        studio.clone()
    }
}

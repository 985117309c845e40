//! Voice calls, voice rooms and the event streams of their users.
//!
//! The driver of the state machines [`Calls`] and [`VoiceRooms`]. They are behind one lock, which is held for
//! microseconds and never across an await. Events are queued under the lock, so all users receive them in one order.

use std::{
    collections::{BTreeMap, hash_map::RandomState},
    hash::BuildHasher,
    net::IpAddr,
    sync::{Arc, OnceLock, Weak},
    time::Instant,
};

use bytestring::ByteString;
use parking_lot::{Mutex, MutexGuard};
use switchboard_audio::MixSettings;
use switchboard_core::DisplayName;
use switchboard_transport::{Counters, DeadlineTimer, network};
use tokio::{runtime::Handle, sync::mpsc};

use crate::{
    clock,
    connections::{ConnectionHold, Connections},
    display_names::DisplayNames,
    gostream::{SseEvent, UserEncoding},
    host::{VoiceContext, VoiceHost},
    id::{MixId, User, VoiceRoomId},
    metrics::VoiceMetrics,
    room_mixer::RoomMixer,
    signaling::{
        Audience, CallError, Calls, Direction, RingOrigin, RoomKey, VoiceEvent, VoiceRoomError,
        VoiceRooms,
    },
    streams::{EventStreams, StreamId, StreamListener},
};

/// A newly connected microphone or headphones: its mixer, and its hold, which ends when a newer connection takes over.
pub(crate) struct AudioConnection {
    pub(crate) mix: MixId,
    pub(crate) mixer: Arc<RoomMixer>,
    pub(crate) hold: ConnectionHold,
}

/// All voice calls and rooms. Lives as long as this node is the voice leader.
#[derive(Debug)]
pub(crate) struct VoiceState {
    state: Mutex<VoiceStateInner>,
    users: UserEncoding,
    mix: Arc<MixSettings>,
    host: Arc<dyn VoiceHost>,
    metrics: VoiceMetrics,
    /// Computes the owner numbers of the mixers.
    hasher: RandomState,
    /// A reference to this object itself, for the timer.
    this: OnceLock<Weak<Self>>,
}

#[derive(Debug)]
pub(crate) struct VoiceStateInner {
    pub(crate) calls: Calls,
    pub(crate) rooms: VoiceRooms,
    streams: EventStreams,
    pub(crate) display_names: DisplayNames,
    mixers: BTreeMap<MixId, Arc<RoomMixer>>,
    connections: Connections,
    /// Users whose connections have been replaced, and the events to send to them.
    replaced: Vec<(User, VoiceEvent)>,
    /// Handles the next timeout.
    timer: DeadlineTimer,
    /// Number of calls already added to the metric `voice_calls_total`.
    calls_counted: u64,
    /// Set when the server shuts down or loses the leadership: new streams and mixers end at once.
    has_ended: bool,
}

impl VoiceState {
    pub(crate) fn new(context: &VoiceContext, users: UserEncoding) -> Arc<Self> {
        let config = &context.config;
        let this = Arc::new(Self {
            state: Mutex::new(VoiceStateInner {
                calls: Calls::new(config.call.clone()),
                rooms: VoiceRooms::new(config.room.clone()),
                streams: EventStreams::new(config.gostream.event_streams),
                display_names: DisplayNames::default(),
                mixers: BTreeMap::new(),
                connections: Connections::default(),
                replaced: Vec::new(),
                timer: DeadlineTimer::default(),
                calls_counted: 0,
                has_ended: false,
            }),
            users,
            mix: Arc::new(config.mix.clone()),
            host: context.host.clone(),
            metrics: context.metrics.clone(),
            hasher: RandomState::new(),
            this: OnceLock::new(),
        });
        this.this.get_or_init(|| Arc::downgrade(&this));
        this
    }

    pub(crate) fn mix(&self) -> &MixSettings {
        &self.mix
    }

    pub(crate) fn users(&self) -> UserEncoding {
        self.users
    }

    /// Runs `act` under the lock, then sends the resulting events and re-arms the timer.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut VoiceStateInner, Instant) -> T) -> T {
        let mut ended = Vec::new();
        let mut state = self.lock();
        let done = act(&mut state, clock::now());
        self.drain_events(&mut state, &mut ended);
        self.arm_timer(&mut state);
        drop(state);
        ended.iter().for_each(|mixer| mixer.end());
        done
    }

    /// Opens an event stream. Returns `None` if the user has the maximum number of event streams.
    pub(crate) fn listen(
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
        self.metrics.event_streams.inc();
        Some(opened)
    }

    pub(crate) fn stop_listening(&self, user: &User, id: StreamId) {
        let mut state = self.lock();
        state.streams.close(user, id);
        if !state.streams.is_open(user) {
            state.display_names.set(user, None);
        }
        drop(state);
        self.metrics.event_streams.dec();
    }

    /// Whether the user has an open event stream.
    pub(crate) fn is_present(&self, user: &User) -> bool {
        self.lock().streams.is_open(user)
    }

    /// Sets or removes the display name of a user. Returns false if the user has no event stream; then it has
    /// no name.
    pub(crate) fn set_display_name(&self, user: &User, name: Option<DisplayName>) -> bool {
        let mut state = self.lock();
        let is_open = state.streams.is_open(user);
        if is_open {
            state.display_names.set(user, name);
        }
        is_open
    }

    /// A number for the user, by which a mixer leaves the user's own microphone out of the user's headphones.
    pub(crate) fn owner(&self, user: &User) -> u64 {
        self.hasher.hash_one(user)
    }

    pub(crate) fn connect_to_call(
        &self,
        by: &User,
        other: &User,
        direction: Direction,
        name: ByteString,
    ) -> Result<AudioConnection, CallError> {
        self.with(|state, now| {
            let mix_id = MixId::Call(state.calls.connect(by, other, direction, now)?);
            let hold = state.take_over(by, (mix_id, Some(other), direction), name);
            let mixer = state.mixer(mix_id, &self.mix);
            Ok(AudioConnection {
                mix: mix_id,
                mixer,
                hold,
            })
        })
    }

    pub(crate) fn enter_room(
        &self,
        user: &User,
        room: &RoomKey,
        (direction, members_max): (Direction, usize),
        name: ByteString,
    ) -> Result<AudioConnection, VoiceRoomError> {
        self.with(|state, now| {
            let entered = state
                .rooms
                .enter_within(members_max, user, room, direction, now);
            let mix_id = MixId::Room(entered?);
            let hold = state.take_over(user, (mix_id, None, direction), name);
            let mixer = state.mixer(mix_id, &self.mix);
            Ok(AudioConnection {
                mix: mix_id,
                mixer,
                hold,
            })
        })
    }

    /// Releases the hold of a connection. Returns false if a newer connection has taken over.
    pub(crate) fn disconnect(
        &self,
        user: &User,
        mix_id: MixId,
        direction: Direction,
        hold: &ConnectionHold,
    ) -> bool {
        self.with(|state, now| {
            let key = (mix_id, user.clone(), direction);
            if !state.connections.release(&key, hold) {
                return false;
            }
            match mix_id {
                MixId::Call(call) => state.calls.disconnect(user, call, direction, now),
                MixId::Room(room) => state.rooms.leave(user, room, direction, now),
            }
            true
        })
    }

    /// The mixer of a room, if the room has had audio.
    pub(crate) fn mixer_of(&self, room: VoiceRoomId) -> Option<Arc<RoomMixer>> {
        self.lock().mixers.get(&MixId::Room(room)).cloned()
    }

    /// Ends all streams and mixers permanently.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.has_ended = true;
        state.streams.end();
        let mixers = std::mem::take(&mut state.mixers);
        drop(state);
        mixers.values().for_each(|mixer| mixer.end());
    }

    /// Ends the event streams and the audio connections of a user. Returns their number.
    pub(crate) fn end_user(&self, user: &User) -> usize {
        let mut state = self.lock();
        state.streams.end_user(user) + state.connections.end_user(user)
    }

    /// Sends the pending events and adds the mixers of ended calls and rooms to `ended`.
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
        self.metrics.calls.inc_by(made - state.calls_counted);
        state.calls_counted = made;
        while let Some(call) = state.calls.poll_ended() {
            ended.extend(state.mixers.remove(&MixId::Call(call)));
        }
        while let Some(room) = state.rooms.poll_ended() {
            ended.extend(state.mixers.remove(&MixId::Room(room)));
        }
    }

    /// Sends an event to its audience. `last` has the last encoded event: the state machine returns an event to the
    /// members of a room once for each of them, and it is encoded only once.
    fn send_event(
        &self,
        state: &mut VoiceStateInner,
        audience: &Audience,
        event: VoiceEvent,
        last: &mut Option<(VoiceEvent, Arc<SseEvent>)>,
    ) {
        if !state.streams.has_listeners(audience) {
            return;
        }
        let encoded = match last {
            Some((same, encoded)) if *same == event => encoded.clone(),
            Some(_) | None => {
                let sender = event.sender();
                let name = sender.and_then(|user| state.display_names.get(user));
                let encoded = Arc::new(self.users.event(&event, name));
                last.insert((event, encoded)).1.clone()
            }
        };
        let disconnected = state.streams.send(audience, &encoded);
        Counters::add(&self.host.counters().slow_total, disconnected);
    }

    /// Sets the timer to the next timeout of the state machines.
    fn arm_timer(&self, state: &mut VoiceStateInner) {
        let timeouts = [state.calls.poll_timeout(), state.rooms.poll_timeout()];
        let Some(at) = timeouts.into_iter().flatten().min() else {
            return;
        };
        let this = self.this.get().cloned().unwrap_or_default();
        state.timer.set(&Handle::current(), at, move || {
            let Some(this) = this.upgrade() else { return };
            this.with(|state, now| {
                state.timer.clear(at);
                state.calls.handle_timeout(now);
                state.rooms.handle_timeout(now);
            });
        });
    }

    fn lock(&self) -> MutexGuard<'_, VoiceStateInner> {
        // This lock is not poisoned: after a panic under it, which is a bug, other calls continue.
        self.state.lock()
    }
}

impl VoiceStateInner {
    /// Registers a new connection of this user and queues an event for the connection it replaces.
    fn take_over(
        &mut self,
        user: &User,
        (mix_id, other, direction): (MixId, Option<&User>, Direction),
        name: ByteString,
    ) -> ConnectionHold {
        let key = (mix_id, user.clone(), direction);
        let (hold, replaced) = self.connections.take_over(key, name);
        if let Some(connection) = replaced {
            let room = match mix_id {
                MixId::Room(room) => Some(room),
                MixId::Call(_) => None,
            };
            let event = VoiceEvent::Replaced {
                room,
                other: other.cloned(),
                direction,
                connection,
            };
            self.replaced.push((user.clone(), event));
        }
        hold
    }

    /// Rings `to`, as [`Calls::ring`] does.
    pub(crate) fn ring(
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

    fn mixer(&mut self, mix_id: MixId, mix: &Arc<MixSettings>) -> Arc<RoomMixer> {
        let mixer = self.mixers.entry(mix_id);
        let mixer = mixer.or_insert_with(|| RoomMixer::new(mix.clone()));
        if self.has_ended {
            mixer.end();
        }
        mixer.clone()
    }
}

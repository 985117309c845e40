//! The hubs of this node: rooms and names spread over shards by a hash.
//!
//! A shard is a mutex around a hub, held for microseconds and never across an await. Outboxes are
//! filled while it is held: that is what puts all events of a room into every outbox in one order.
//! Filling never waits and never calls back, so nobody can hold a shard for long.

use std::{
    collections::hash_map::RandomState,
    fmt,
    hash::BuildHasher,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::Instant,
};

use bytestring::ByteString;
use switchboard_core::{
    Ask, Change, Charge, Custom, Declined, Effect, Entry, Event, Hub, Input, Letter, Limits, LogId,
    Member, Message, NodeId, Peer, PeerId, Place, Position, Relay, RelayKind, RoomId, Tongue,
};
use switchboard_dialect::{Content, HOST, Post, find};
use switchboard_engine::{Engine, Ordered, Sink, Vocabulary};
use switchboard_transport::{Backlog, Check, Counters, Exchange, Local, Posted};
use tokio::sync::broadcast;
use tokio_util::task::TaskTracker;

use crate::{
    access::Access,
    duty::{self, Duty},
    webhook::Webhooks,
};

/// Enough that connections on any number of cores rarely meet in one.
const SHARDS: usize = 64;

/// Changes a slow subscriber may be behind before it misses some.
const CHANGES_BEHIND_MAX: usize = 4096;

/// A join or leave, as the host program is told of it.
#[derive(Clone, Debug)]
pub enum MembershipChange {
    /// Somebody is in the room now.
    Joined {
        /// The room.
        room: RoomId,
        /// Who.
        member: Arc<Member>,
    },
    /// Somebody is no longer in the room.
    Left {
        /// The room.
        room: RoomId,
        /// Who.
        peer: PeerId,
    },
}

impl MembershipChange {
    fn of(room: &RoomId, change: &Change) -> Self {
        let room = room.clone();
        match change {
            Change::Join(member) => Self::Joined {
                room,
                member: member.clone(),
            },
            Change::Leave(peer, _) => Self::Left { room, peer: *peer },
        }
    }
}

struct Shard {
    hub: Hub<Local>,
    /// A task sleeps until this shard's next timeout.
    alarmed: bool,
}

/// All hubs of this node, and what they need.
pub(crate) struct Shards {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    engine: Arc<dyn Engine>,
    access: Access,
    webhooks: Arc<Webhooks>,
    changes: broadcast::Sender<MembershipChange>,
    counters: Arc<Counters>,
    this: OnceLock<Weak<Self>>,
}

impl fmt::Debug for Shards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shards")
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}

impl Shards {
    /// `duty` is what this node may have to do for all of them; what they do beside is among `tasks`.
    pub(crate) fn new(
        limits: &Arc<Limits>,
        engine: Arc<dyn Engine>,
        access: Access,
        duty: Option<Arc<Duty>>,
        tasks: &TaskTracker,
    ) -> Arc<Self> {
        let shard = || {
            Mutex::new(Shard {
                hub: Hub::new(limits.clone()),
                alarmed: false,
            })
        };
        let counters = Arc::new(Counters::default());
        let this = Arc::new(Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            hasher: RandomState::new(),
            engine,
            access,
            webhooks: Webhooks::new(counters.clone(), tasks.clone()),
            changes: broadcast::channel(CHANGES_BEHIND_MAX).0,
            counters,
            this: OnceLock::new(),
        });
        this.this.get_or_init(|| Arc::downgrade(&this));
        let shards = Arc::downgrade(&this);
        this.engine.attach(Arc::new(Remote { shards, duty }));
        this
    }

    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    /// How this node stands among the others; none if it is alone.
    pub(crate) fn status(&self) -> Option<switchboard_engine::Status> {
        self.engine.status()
    }

    /// Says good-bye to the other nodes.
    pub(crate) async fn close(&self) {
        self.engine.close().await;
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<MembershipChange> {
        self.changes.subscribe()
    }

    pub(crate) fn rooms(&self) -> Vec<(RoomId, usize)> {
        self.shards
            .iter()
            .flat_map(|shard| lock(shard).hub.rooms())
            .collect()
    }

    pub(crate) fn members(&self, room: &RoomId) -> Vec<Arc<Member>> {
        lock(&self.shards[self.index_of_room(room)])
            .hub
            .members(room)
    }

    /// Hands an input about `room` to its hub.
    pub(crate) fn handle(&self, room: &RoomId, input: Input<Local>) {
        self.drive(self.index_of_room(room), input);
    }

    fn index_of_room(&self, room: &RoomId) -> usize {
        self.index(self.hasher.hash_one(room))
    }

    fn index(&self, hash: u64) -> usize {
        // The remainder is smaller than the number of shards, which is a usize.
        usize::try_from(hash % SHARDS as u64).unwrap_or_default()
    }

    fn index_of(&self, log: &LogId) -> usize {
        match log {
            LogId::Room(room) => self.index_of_room(room),
            LogId::Name(name) => self.index(self.hasher.hash_one(name)),
            LogId::Duty(duty) => self.index(self.hasher.hash_one(duty)),
        }
    }

    fn index_of_place(&self, place: &Place) -> usize {
        match place {
            Place::Room(room) | Place::Address(room, _) => self.index_of_room(room),
            Place::Name(name) => self.index(self.hasher.hash_one(name)),
        }
    }

    fn drive(&self, index: usize, input: Input<Local>) -> usize {
        self.with_shard(index, |shard| {
            shard.hub.handle(input, Instant::now());
        })
    }

    /// Lets `act` have a shard, carries out what follows, and logs it when the shard is free again,
    /// because writing the log may be slow. Returns the bytes of the largest frame that was passed to a receiver
    /// with a high backlog.
    fn with_shard(&self, index: usize, act: impl FnOnce(&mut Shard)) -> usize {
        let mut changes = Vec::new();
        let mut shard = lock(&self.shards[index]);
        act(&mut shard);
        let slow_receiver_bytes = self.settle(&mut shard, &mut changes);
        self.alarm(index, &mut shard);
        drop(shard);
        changes.iter().for_each(log_change);
        slow_receiver_bytes
    }

    /// Carries out the effects of the hub until there are none. Returns the bytes of the largest frame
    /// that was passed to a receiver with a high backlog.
    fn settle(&self, shard: &mut Shard, changes: &mut Vec<MembershipChange>) -> usize {
        let mut slow_receiver_bytes = 0;
        while let Some(effect) = shard.hub.poll_effect() {
            match effect {
                Effect::Deliver(local, event) => {
                    let bytes = relayed_bytes(&event);
                    if local.push(event) == Backlog::High {
                        slow_receiver_bytes = bytes.max(slow_receiver_bytes);
                    }
                }
                Effect::Charge(local, charge) => local.charge(charge),
                Effect::Propose { log, at, change } => {
                    self.propose(shard, log, at, change, changes);
                }
                Effect::Send(node, letter) => {
                    if let Some(unsent) = self.engine.send(node, letter) {
                        shard.hub.handle(Input::Unsent(unsent), Instant::now());
                    }
                }
            }
        }
        slow_receiver_bytes
    }

    fn propose(
        &self,
        shard: &mut Shard,
        log: LogId,
        at: Position,
        change: Change,
        changes: &mut Vec<MembershipChange>,
    ) {
        match self.engine.propose(&log, at, &change) {
            Ordered::Now(position) => {
                let node = None;
                let entry = Entry {
                    position,
                    node,
                    change,
                };
                changes.extend(self.commit(shard, log, entry));
            }
            Ordered::Later => {}
            Ordered::Never(why) => {
                let input = Input::Declined(log, change.peer(), why);
                shard.hub.handle(input, Instant::now());
            }
        }
    }

    /// Lets the hub have an ordered change, and counts and publishes it if it is one of a room.
    fn commit(&self, shard: &mut Shard, log: LogId, entry: Entry) -> Option<MembershipChange> {
        let told = match &log {
            LogId::Room(room) => Some(MembershipChange::of(room, &entry.change)),
            LogId::Name(..) | LogId::Duty(_) => None,
        };
        shard
            .hub
            .handle(Input::Committed(log, entry), Instant::now());
        if let Some(change) = &told {
            let total = match change {
                MembershipChange::Joined { .. } => &self.counters.joins_total,
                MembershipChange::Left { .. } => &self.counters.leaves_total,
            };
            Counters::add(total, 1);
            // Without subscribers nobody is told.
            drop(self.changes.send(change.clone()));
        }
        told
    }

    /// Sees to it that the hub is called when its next timeout is due.
    fn alarm(&self, index: usize, shard: &mut Shard) {
        if shard.alarmed {
            return;
        }
        let Some(at) = shard.hub.poll_timeout() else {
            return;
        };
        let Some(this) = self.this.get().and_then(Weak::upgrade) else {
            return;
        };
        shard.alarmed = true;
        tokio::spawn(async move {
            tokio::time::sleep_until(at.into()).await;
            this.with_shard(index, |shard| {
                shard.alarmed = false;
                shard.hub.handle_timeout(Instant::now());
            });
        });
    }
}

/// The member of another node that has sent a relay.
fn sender_of(message: &Message) -> Option<PeerId> {
    match message {
        Message::Relay { from, .. } => Some(from.peer),
        Message::Bounce { .. }
        | Message::Announce { .. }
        | Message::Probe(_)
        | Message::Alive(_)
        | Message::SlowReceiver { .. } => None,
    }
}

/// The bytes of the frame that an event brings from another member.
fn relayed_bytes(event: &Event) -> usize {
    match event {
        Event::Heard { relay, .. } => relay.frame.len(),
        Event::Claimed(_)
        | Event::Joined { .. }
        | Event::Rejoined { .. }
        | Event::Members { .. }
        | Event::Introduced { .. }
        | Event::Departed { .. }
        | Event::Probe(_)
        | Event::Evicted(_)
        | Event::Refused(_) => 0,
    }
}

fn log_change(change: &MembershipChange) {
    match change {
        MembershipChange::Joined { room, member } => {
            tracing::info!(room = ?room.name, peer = %member.peer, dialect = member.tongue.name, "joined");
        }
        MembershipChange::Left { room, peer } => tracing::info!(room = ?room.name, %peer, "left"),
    }
}

impl Exchange for Shards {
    fn ask(&self, peer: PeerId, local: &Local, ask: Ask) {
        let index = self.index_of_place(&ask.place());
        let input = Input::Ask {
            peer,
            local: local.clone(),
            ask,
        };
        let bytes = self.drive(index, input);
        if bytes > 0 {
            local.charge(Charge::SlowReceiver { bytes });
        }
    }

    fn may_join(&self, peer: &Peer, room: &RoomId) -> Option<Check> {
        self.access.may_join(peer, room)
    }

    fn post(&self, post: Post) -> Posted {
        let webhooks = self.webhooks.clone();
        Box::pin(async move { webhooks.post(post).await })
    }

    fn post_later(&self, post: Post) {
        self.webhooks.post_later(post);
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }
}

/// The node, for an engine that orders later.
struct Remote {
    shards: Weak<Shards>,
    duty: Option<Arc<Duty>>,
}

impl Remote {
    fn with_shard(&self, log: &LogId, act: impl FnOnce(&Shards, &mut Shard)) -> usize {
        let Some(shards) = self.shards.upgrade() else {
            return 0;
        };
        shards.with_shard(shards.index_of(log), |shard| act(&shards, shard))
    }

    fn input(&self, log: &LogId, input: Input<Local>) -> usize {
        self.with_shard(log, |_, shard| shard.hub.handle(input, Instant::now()))
    }

    /// Tells the node of a sender that one of its frames has reached a slow receiver here.
    fn report_slow_receiver(&self, node: NodeId, log: LogId, sender: PeerId, bytes: usize) {
        let message = Message::SlowReceiver { sender, bytes };
        if let Some(shards) = self.shards.upgrade() {
            // The notice is dropped if the node cannot be reached: it sends no frames then.
            drop(shards.engine.send(node, Letter { log, message }));
        }
    }
}

impl Sink for Remote {
    fn committed(&self, log: &LogId, entries: Vec<Entry>) {
        if let (LogId::Duty(_), Some(duty)) = (log, &self.duty) {
            return duty.committed(&entries);
        }
        let mut told = Vec::new();
        self.with_shard(log, |shards, shard| {
            for entry in entries {
                told.extend(shards.commit(shard, log.clone(), entry));
                shards.settle(shard, &mut told);
            }
        });
        told.iter().for_each(log_change);
    }

    fn declined(&self, log: &LogId, peer: PeerId, why: Declined) {
        if let (LogId::Duty(_), Some(duty)) = (log, &self.duty) {
            return duty.declined(why);
        }
        self.input(log, Input::Declined(log.clone(), peer, why));
    }

    fn letter(&self, from: NodeId, letter: Letter) {
        let log = letter.log.clone();
        let sender = sender_of(&letter.message);
        let bytes = self.input(&log, Input::Letter(from, letter));
        if let Some(sender) = sender.filter(|_| bytes > 0) {
            self.report_slow_receiver(from, log, sender, bytes);
        }
    }

    fn unsent(&self, letter: Letter) {
        self.input(&letter.log.clone(), Input::Unsent(letter));
    }
}

impl Vocabulary for Remote {
    fn tongue(&self, name: &str) -> &'static Tongue {
        if name == duty::TONGUE.name {
            return &duty::TONGUE;
        }
        if name == HOST.name {
            return &HOST;
        }
        find(name).map_or(&UNKNOWN, |dialect| dialect.tongue())
    }

    fn relay(&self, origin: &str, kind: RelayKind, frame: ByteString) -> Option<Relay> {
        Content::relay(origin, kind, frame)
    }
}

/// What a member speaks whose node knows more dialects than this one.
static UNKNOWN: Tongue = Tongue {
    name: "unknown",
    custom: Custom::NeverTold,
    signals: false,
    messages: false,
    ..Tongue::USUAL
};

/// A panic while a shard is held is a bug of ours; the other rooms of the shard go on.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

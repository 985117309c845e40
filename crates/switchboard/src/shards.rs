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

use switchboard_core::{
    Ask, Change, Effect, Hub, Input, Limits, Member, Peer, PeerId, Place, Position, RoomId,
};
use switchboard_engine::{Engine, Ordered, Sink};
use switchboard_transport::{Check, Counters, Exchange, Local};
use tokio::sync::broadcast;

use crate::access::Access;

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
    changes: broadcast::Sender<MembershipChange>,
    counters: Counters,
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
    pub(crate) fn new(limits: &Arc<Limits>, engine: Arc<dyn Engine>, access: Access) -> Arc<Self> {
        let shard = || {
            Mutex::new(Shard {
                hub: Hub::new(limits.clone()),
                alarmed: false,
            })
        };
        let this = Arc::new(Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            hasher: RandomState::new(),
            engine,
            access,
            changes: broadcast::channel(CHANGES_BEHIND_MAX).0,
            counters: Counters::default(),
            this: OnceLock::new(),
        });
        this.this.get_or_init(|| Arc::downgrade(&this));
        this.engine.attach(Box::new(Remote(Arc::downgrade(&this))));
        this
    }

    pub(crate) fn access(&self) -> &Access {
        &self.access
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

    fn index_of(&self, place: &Place) -> usize {
        match place {
            Place::Room(room) | Place::Address(room, _) => self.index_of_room(room),
            Place::Name(space, name) => self.index(self.hasher.hash_one((space, name))),
        }
    }

    fn drive(&self, index: usize, input: Input<Local>) {
        self.with_shard(index, |shard| shard.hub.handle(input, Instant::now()));
    }

    /// Lets `act` have a shard, carries out what follows, and logs it when the shard is free again:
    /// who reads the log may be slow.
    fn with_shard(&self, index: usize, act: impl FnOnce(&mut Shard)) {
        let mut changes = Vec::new();
        let mut shard = lock(&self.shards[index]);
        act(&mut shard);
        self.settle(&mut shard, &mut changes);
        self.alarm(index, &mut shard);
        drop(shard);
        changes.iter().for_each(log);
    }

    /// Carries out what the hub wants until it wants nothing more.
    fn settle(&self, shard: &mut Shard, changes: &mut Vec<MembershipChange>) {
        while let Some(effect) = shard.hub.poll_effect() {
            match effect {
                Effect::Deliver(local, event) => local.push(event),
                Effect::Propose { room, at, change } => {
                    if let Ordered::Now(position) = self.engine.propose(&room, at, &change) {
                        changes.push(self.commit(shard, room, position, change));
                    }
                }
            }
        }
    }

    /// Lets the hub have an ordered change, and counts and publishes it.
    fn commit(
        &self,
        shard: &mut Shard,
        room: RoomId,
        position: Position,
        change: Change,
    ) -> MembershipChange {
        let told = match &change {
            Change::Join(member) => {
                Counters::add(&self.counters.joins_total, 1);
                MembershipChange::Joined {
                    room: room.clone(),
                    member: member.clone(),
                }
            }
            Change::Leave(peer, _) => {
                Counters::add(&self.counters.leaves_total, 1);
                MembershipChange::Left {
                    room: room.clone(),
                    peer: *peer,
                }
            }
        };
        shard.hub.handle(
            Input::Committed {
                room,
                position,
                change,
            },
            Instant::now(),
        );
        // Without subscribers nobody is told.
        drop(self.changes.send(told.clone()));
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

fn log(change: &MembershipChange) {
    match change {
        MembershipChange::Joined { room, member } => {
            tracing::info!(room = ?room.name, peer = %member.peer, dialect = member.tongue.name, "joined");
        }
        MembershipChange::Left { room, peer } => tracing::info!(room = ?room.name, %peer, "left"),
    }
}

impl Exchange for Shards {
    fn ask(&self, peer: PeerId, local: &Local, ask: Ask) {
        let index = self.index_of(&ask.place());
        self.drive(
            index,
            Input::Ask {
                peer,
                local: local.clone(),
                ask,
            },
        );
    }

    fn may_join(&self, peer: &Peer, room: &RoomId) -> Option<Check> {
        self.access.may_join(peer, room)
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }
}

/// The node, for an engine that orders later.
struct Remote(Weak<Shards>);

impl Sink for Remote {
    fn committed(&self, room: RoomId, position: Position, change: Change) {
        let Some(shards) = self.0.upgrade() else {
            return;
        };
        let index = shards.index_of_room(&room);
        let mut told = None;
        shards.with_shard(index, |shard| {
            told = Some(shards.commit(shard, room, position, change))
        });
        told.iter().for_each(log);
    }
}

/// A panic while a shard is held is a bug of ours; the other rooms of the shard go on.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

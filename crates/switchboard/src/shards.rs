//! The hubs of this node. A hash of the room or the name selects the shard whose hub is responsible for it.
//!
//! A shard is a mutex around a hub, held for microseconds and never across an await. Events are pushed into outboxes
//! while the lock is held, so that every outbox has the events of a room in the same order. A push never waits and
//! never calls back, so that no client can keep a shard locked. When the lock is free again, the thread writes the events
//! of idle receivers to their sockets.

use std::{
    fmt,
    hash::BuildHasher,
    mem,
    sync::{Arc, OnceLock, Weak},
    time::Instant,
};

use parking_lot::Mutex;
use prometheus::{IntCounter, IntCounterVec};
use switchboard_cluster::{Engine, ProposeOutcome};
use switchboard_core::{
    Change, Charge, Deliveries, Effect, Entry, Event, EvictionReason, Hub, HubRequest, Input,
    LeaveCause, LeaveKind, Limits, LogId, Member, NodeId, NodeMessage, NodeMessageBody, Peer,
    PeerId, Position, RejectReason, ResourceKey, RoomId, SeededHash, SharedRoomPolicies,
};
use switchboard_dialects::{DialectTable, WebhookRequest};
use switchboard_transport::{
    Counters, DeadlineTimer, EndedConnection, FillLevel, HubClient, JoinAuthorizer, JoinCheck,
    MetricsRegistry, OutboxHandle, PendingWakes, WebhookClient, WebhookResponse, log_text,
};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use crate::{
    access::{AccessHooks, Contexts, HostContext, proven_name},
    election::Election,
    events::{ClientInfo, EventSender, ServerEvent},
    http_fetch::HttpFetcher,
    webhooks::DialectWebhooks,
};

mod engine_events;

use engine_events::EngineEventHandler;

/// Number of shards. With this many, connections on different cores rarely contend for one lock.
const SHARDS: usize = 64;

/// A join or leave, for its log line and the metrics.
#[derive(Debug)]
enum MembershipChange {
    Joined {
        room: RoomId,
        member: Arc<Member>,
    },
    Left {
        room: RoomId,
        peer: PeerId,
        cause: LeaveCause,
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
            Change::Leave(peer, cause) => Self::Left {
                room,
                peer: *peer,
                cause: *cause,
            },
        }
    }
}

/// The results of a step on a locked shard that must wait until the shard is unlocked: writing to sockets or to the log
/// may be slow, and the host program's `Drop` of a context may do anything.
#[derive(Debug, Default)]
struct Deferred {
    /// The receivers of events of this step whose tasks wait for an event.
    receivers: PendingWakes,
    /// Whether helper tasks handle the events, and not this thread.
    in_helper_tasks: bool,
    changes: Vec<MembershipChange>,
    released_contexts: Vec<HostContext>,
}

impl Deferred {
    /// `runtime` is that of the server.
    fn finish(self, runtime: Option<&Handle>, now: Instant) {
        if self.in_helper_tasks {
            self.receivers.handle_in_tasks(runtime);
        } else {
            self.receivers.handle(runtime, now);
        }
        self.changes.iter().for_each(log_change);
        drop(self.released_contexts);
    }
}

/// The metrics of rooms.
#[derive(Debug)]
struct RoomMetrics {
    joins: IntCounter,
    joins_by_dialect: IntCounterVec,
    leaves: IntCounter,
}

impl RoomMetrics {
    fn new(registry: &MetricsRegistry) -> Self {
        let by_dialect = "Joins ordered, by dialect of the member.";
        Self {
            joins: registry.counter("joins_total", "Joins ordered."),
            joins_by_dialect: registry.counters("joins_by_dialect_total", by_dialect, &["dialect"]),
            leaves: registry.counter("leaves_total", "Leaves ordered."),
        }
    }

    fn count(&self, change: &MembershipChange) {
        match change {
            MembershipChange::Joined { member, .. } => {
                self.joins.inc();
                let dialect = member.dialect.name;
                self.joins_by_dialect.with_label_values(&[dialect]).inc();
            }
            MembershipChange::Left { .. } => self.leaves.inc(),
        }
    }
}

struct Shard {
    hub: Hub<OutboxHandle>,
    /// Calls the hub at its next timeout.
    timer: DeadlineTimer,
}

/// All hubs of this node, and the services that they use. "Host program" is the program that embeds this library.
pub(crate) struct Shards {
    shards: Box<[Mutex<Shard>]>,
    policies: SharedRoomPolicies,
    /// Orders the joins and leaves, and carries messages to other nodes.
    engine: Arc<dyn Engine>,
    access: AccessHooks,
    contexts: Arc<Contexts>,
    webhooks: Arc<DialectWebhooks>,
    events: EventSender,
    registry: MetricsRegistry,
    counters: Arc<Counters>,
    metrics: RoomMetrics,
    /// Runs the timers.
    runtime: OnceLock<Handle>,
    /// A reference to this object itself, for the timers.
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
    /// Creates the shards and attaches them to `engine`. Results of the election log go to `election`. Webhook
    /// requests for which no client waits run in `tasks`.
    pub(crate) fn new(
        (limits, policies): (&Arc<Limits>, SharedRoomPolicies),
        engine: Arc<dyn Engine>,
        access: AccessHooks,
        dialects: DialectTable,
        election: Option<Arc<Election>>,
        http: Arc<HttpFetcher>,
        tasks: &TaskTracker,
    ) -> Arc<Self> {
        let shard = || {
            Mutex::new(Shard {
                hub: Hub::new(limits.clone()).with_policies(policies.clone()),
                timer: DeadlineTimer::default(),
            })
        };
        let registry = MetricsRegistry::default();
        let this = Arc::new(Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            policies,
            engine,
            access,
            contexts: Arc::default(),
            webhooks: DialectWebhooks::new(&registry, http, tasks.clone()),
            events: EventSender::default(),
            counters: Arc::new(Counters::new(&registry)),
            metrics: RoomMetrics::new(&registry),
            registry,
            runtime: Handle::try_current()
                .map(OnceLock::from)
                .unwrap_or_default(),
            this: OnceLock::new(),
        });
        this.this.get_or_init(|| Arc::downgrade(&this));
        let shards = Arc::downgrade(&this);
        this.engine.attach(Arc::new(EngineEventHandler {
            shards,
            dialects,
            election,
        }));
        this
    }

    /// Replaces the limits of all rooms.
    pub(crate) fn set_limits(&self, limits: &Arc<Limits>) {
        for shard in &self.shards {
            shard.lock().hub.set_limits(limits.clone());
        }
    }

    /// The metrics of this node.
    pub(crate) fn registry(&self) -> &MetricsRegistry {
        &self.registry
    }

    /// The metrics of connections and voice.
    pub(crate) fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    pub(crate) fn access(&self) -> &AccessHooks {
        &self.access
    }

    /// The room policies in force.
    pub(crate) fn policies(&self) -> &SharedRoomPolicies {
        &self.policies
    }

    /// The values that the host program has attached to connections.
    pub(crate) fn contexts(&self) -> &Arc<Contexts> {
        &self.contexts
    }

    /// The cluster status of this node; `None` if the engine is for a single node.
    pub(crate) fn status(&self) -> Option<switchboard_cluster::Status> {
        self.engine.status()
    }

    /// Closes the engine: the node leaves the cluster.
    pub(crate) async fn close(&self) {
        self.engine.close().await;
    }

    /// Sends events to the host program.
    pub(crate) fn events(&self) -> &EventSender {
        &self.events
    }

    pub(crate) fn rooms(&self) -> Vec<(RoomId, usize)> {
        self.shards
            .iter()
            .flat_map(|shard| shard.lock().hub.rooms())
            .collect()
    }

    /// The rooms of the peers of this node, in no particular order.
    pub(crate) fn local_memberships(&self) -> Vec<(PeerId, RoomId)> {
        self.shards
            .iter()
            .flat_map(|shard| shard.lock().hub.local_memberships())
            .collect()
    }

    /// The number of rooms in which this node has members, and the number of these members.
    pub(crate) fn local_counts(&self) -> (usize, usize) {
        let counts = self
            .shards
            .iter()
            .map(|shard| shard.lock().hub.local_counts());
        counts.fold((0, 0), |(rooms, members), (more_rooms, more_members)| {
            (rooms + more_rooms, members + more_members)
        })
    }

    pub(crate) fn members(&self, room: &RoomId) -> Vec<Arc<Member>> {
        self.shards[self.index_of_room(room)]
            .lock()
            .hub
            .members(room)
    }

    /// Passes an input of the host program about `room` to its hub.
    pub(crate) fn handle(&self, room: &RoomId, input: Input<OutboxHandle>) {
        self.pass_waking_input(self.index_of_room(room), input);
    }

    /// Passes an input of the host program or of the engine to a hub, and leaves the events to helper tasks. A thread
    /// of the host program may hold a lock that the program's own dialects need, and the thread of the engine must
    /// renew its lease, so they call no session. The result is that of [`Self::with_shard`].
    fn pass_waking_input(&self, index: usize, input: Input<OutboxHandle>) -> usize {
        let now = Instant::now();
        let mut deferred = Deferred {
            in_helper_tasks: true,
            ..Deferred::default()
        };
        let bytes = self.defer_input(index, input, now, &mut deferred);
        deferred.finish(self.runtime.get(), now);
        bytes
    }

    fn index_of_room(&self, room: &RoomId) -> usize {
        self.index_of_hash(SeededHash.hash_one(room))
    }

    fn index_of_hash(&self, hash: u64) -> usize {
        // The remainder is smaller than the number of shards, which is a usize.
        usize::try_from(hash % SHARDS as u64).unwrap_or_default()
    }

    fn index_of_log(&self, log: &LogId) -> usize {
        match log {
            LogId::Room(room) => self.index_of_room(room),
            LogId::Name(name) => self.index_of_hash(SeededHash.hash_one(name)),
            LogId::Election(election) => self.index_of_hash(SeededHash.hash_one(election)),
        }
    }

    fn index_of_request(&self, request: &HubRequest) -> usize {
        match request {
            HubRequest::Join(room, ..)
            | HubRequest::Leave(room, _)
            | HubRequest::Send(room, ..)
            | HubRequest::List(room) => self.index_of_room(room),
            HubRequest::Claim(name, _) | HubRequest::Release(name) => {
                self.index_of_hash(SeededHash.hash_one(name))
            }
            HubRequest::Alive(resource) => self.index_of_resource(resource),
        }
    }

    fn index_of_resource(&self, resource: &ResourceKey) -> usize {
        match resource {
            ResourceKey::Room(room) | ResourceKey::Address(room, _) => self.index_of_room(room),
            ResourceKey::Name(name) => self.index_of_hash(SeededHash.hash_one(name)),
        }
    }

    /// Passes an input to a hub. If its frame must be parsed, that happens while the shard is not locked. The result is
    /// that of [`Self::with_shard`].
    fn pass_input(&self, index: usize, input: Input<OutboxHandle>, now: Instant) -> usize {
        let mut deferred = Deferred::default();
        let bytes = self.defer_input(index, input, now, &mut deferred);
        deferred.finish(self.runtime.get(), now);
        bytes
    }

    /// Like [`Self::pass_input`], but leaves it to the caller to finish the deferred work.
    fn defer_input(
        &self,
        index: usize,
        input: Input<OutboxHandle>,
        now: Instant,
        deferred: &mut Deferred,
    ) -> usize {
        let mut unparsed = None;
        let bytes = self.defer_on_shard(index, deferred, |shard, _| {
            unparsed = shard.hub.try_handle(input, now);
        });
        match unparsed {
            Some(unparsed) => self.defer_input(index, unparsed.parse(), now, deferred),
            None => bytes,
        }
    }

    /// Runs `act` on a locked shard and applies the effects. Finishes the deferred work after the lock is released.
    /// Returns the bytes of the largest frame that was passed to a slow receiver (one whose outbox is filled to a high
    /// level); 0 if there is none.
    fn with_shard(
        &self,
        index: usize,
        now: Instant,
        act: impl FnOnce(&mut Shard, &mut Deferred),
    ) -> usize {
        let mut deferred = Deferred::default();
        let bytes = self.defer_on_shard(index, &mut deferred, act);
        deferred.finish(self.runtime.get(), now);
        bytes
    }

    /// Like [`Self::with_shard`], but leaves it to the caller to finish the deferred work.
    fn defer_on_shard(
        &self,
        index: usize,
        deferred: &mut Deferred,
        act: impl FnOnce(&mut Shard, &mut Deferred),
    ) -> usize {
        let mut shard = self.shards[index].lock();
        act(&mut shard, deferred);
        let slow_receiver_bytes = self.drain_effects(&mut shard, deferred);
        self.arm_timer(index, &mut shard);
        slow_receiver_bytes
    }

    /// Passes a message of another node to a hub. The events of its receivers are left to the caller.
    fn pass_node_message(
        &self,
        from: NodeId,
        message: NodeMessage,
        now: Instant,
        deferred: &mut Deferred,
    ) {
        let index = self.index_of_log(&message.log);
        let sender = sender_of(&message.body).map(|sender| (sender, message.log.clone()));
        let bytes = self.defer_input(index, Input::NodeMessage(from, message), now, deferred);
        if let Some((sender, log)) = sender.filter(|_| bytes > 0) {
            self.report_slow_receiver(from, log, sender, bytes);
        }
    }

    /// Reports to the node of a sender that a frame of the sender was passed to a slow receiver on this node. That node
    /// then throttles the sender.
    fn report_slow_receiver(&self, node: NodeId, log: LogId, sender: PeerId, bytes: usize) {
        let body = NodeMessageBody::SlowReceiver { sender, bytes };
        // A node that cannot be reached sends no frames that would have to be throttled, so it needs no report.
        drop(self.engine.send(node, NodeMessage { log, body }));
    }

    /// Applies the effects of the hub until it has no more. Returns the bytes of the largest frame that was passed
    /// to a slow receiver.
    fn drain_effects(&self, shard: &mut Shard, deferred: &mut Deferred) -> usize {
        let mut slow_receiver_bytes = 0;
        loop {
            if let Some(Deliveries { receivers, event }) = shard.hub.poll_deliveries() {
                let bytes = deliver_all(receivers, &event, deferred);
                slow_receiver_bytes = bytes.max(slow_receiver_bytes);
                continue;
            }
            let Some(effect) = shard.hub.poll_effect() else {
                return slow_receiver_bytes;
            };
            match effect {
                Effect::Deliver(local, event) => {
                    let bytes = deliver_all([local], &event, deferred);
                    slow_receiver_bytes = bytes.max(slow_receiver_bytes);
                }
                Effect::Charge(local, charge) => local.charge(charge),
                Effect::Propose {
                    log,
                    known_position: at,
                    change,
                } => {
                    self.propose(shard, log, at, change, deferred);
                }
                Effect::Send(node, message) => {
                    if let Some(unsent) = self.engine.send(node, message) {
                        shard
                            .hub
                            .handle(Input::Undeliverable(unsent), Instant::now());
                    }
                }
            }
        }
    }

    fn propose(
        &self,
        shard: &mut Shard,
        log: LogId,
        at: Position,
        change: Change,
        deferred: &mut Deferred,
    ) {
        match self.engine.propose(&log, at, &change) {
            ProposeOutcome::Committed(position) => {
                let node = None;
                let entry = Entry {
                    position,
                    node,
                    change,
                };
                self.commit(shard, log, entry, deferred);
            }
            ProposeOutcome::Pending => {}
            ProposeOutcome::Rejected(reason) => {
                self.reject(shard, &log, change.peer(), reason, deferred);
            }
        }
    }

    /// Passes a committed change to the hub. A change of a room is also counted and sent to the subscribers.
    fn commit(&self, shard: &mut Shard, log: LogId, entry: Entry, deferred: &mut Deferred) {
        let room_change = match &log {
            LogId::Room(room) => Some(MembershipChange::of(room, &entry.change)),
            LogId::Name(..) | LogId::Election(_) => None,
        };
        if let Some(change) = &room_change {
            self.metrics.count(change);
            self.events.send(|| self.event_of(shard, change));
        }
        shard
            .hub
            .handle(Input::Committed(log, entry), Instant::now());
        if let Some(MembershipChange::Left { room, peer, .. }) = &room_change {
            let released = self.update_context(shard, room, *peer);
            deferred.released_contexts.extend(released);
        }
        deferred.changes.extend(room_change);
    }

    /// Passes the rejection of a proposed change to the hub.
    fn reject(
        &self,
        shard: &mut Shard,
        log: &LogId,
        peer: PeerId,
        reason: RejectReason,
        deferred: &mut Deferred,
    ) {
        let rejected = Input::Rejected(log.clone(), peer, reason);
        shard.hub.handle(rejected, Instant::now());
        if let LogId::Room(room) = log {
            let released = self.update_context(shard, room, peer);
            deferred.released_contexts.extend(released);
        }
    }

    /// Keeps the context of a peer while one of its joins or leaves is not committed. The event of its leave then has
    /// the context even after the connection has ended. Returns the context if it is not kept any more.
    fn update_context(&self, shard: &Shard, room: &RoomId, peer: PeerId) -> Option<HostContext> {
        let is_pending = shard.hub.has_pending_change(room, peer);
        self.contexts.set_leaving(peer, room, is_pending)
    }

    /// Keeps the context of a peer that has requested to leave a room.
    fn keep_context_of_leaving(&self, index: usize, room: &RoomId, peer: PeerId) {
        self.with_shard(index, Instant::now(), |shard, deferred| {
            let released = self.update_context(shard, room, peer);
            deferred.released_contexts.extend(released);
        });
    }

    /// The event for a change that the hub has not applied yet, so it still knows a member that leaves. `None` for the
    /// leave of an unknown member.
    fn event_of(&self, shard: &Shard, change: &MembershipChange) -> Option<ServerEvent> {
        Some(match change {
            MembershipChange::Joined { room, member } => ServerEvent::Joined {
                room: room.clone(),
                member: member.clone(),
                context: self.contexts.get(member.peer),
            },
            MembershipChange::Left { room, peer, cause } => ServerEvent::Left {
                room: room.clone(),
                member: shard.hub.member(room, *peer)?,
                cause: *cause,
                context: self.contexts.get(*peer),
            },
        })
    }

    /// Sets the timer of the shard to the next timeout of its hub. Without a runtime, a later call of this function
    /// sets it: an engine may call from a thread of its own before the first client is connected.
    fn arm_timer(&self, index: usize, shard: &mut Shard) {
        let Some(at) = shard.hub.poll_timeout() else {
            return;
        };
        let Some(runtime) = self.runtime() else {
            return;
        };
        let this = self.this.get().cloned().unwrap_or_default();
        shard.timer.set(runtime, at, move || {
            let Some(this) = this.upgrade() else { return };
            let now = Instant::now();
            this.with_shard(index, now, |shard, _| {
                shard.timer.clear(at);
                shard.hub.handle_timeout(now);
            });
        });
    }

    /// The runtime of the first caller that has one.
    fn runtime(&self) -> Option<&Handle> {
        match Handle::try_current() {
            Ok(current) => Some(self.runtime.get_or_init(|| current)),
            Err(_) => self.runtime.get(),
        }
    }
}

/// The member of another node that sent a relayed message.
fn sender_of(message: &NodeMessageBody) -> Option<PeerId> {
    match message {
        NodeMessageBody::Relay { from, .. } => Some(from.peer),
        NodeMessageBody::Bounce { .. }
        | NodeMessageBody::Announce { .. }
        | NodeMessageBody::Probe(_)
        | NodeMessageBody::Alive(_)
        | NodeMessageBody::SlowReceiver { .. } => None,
    }
}

/// Pushes an event into the outboxes of its receivers. Returns the bytes of its frame if a receiver is slow, else 0.
fn deliver_all(
    receivers: impl IntoIterator<Item = OutboxHandle>,
    event: &Arc<Event>,
    deferred: &mut Deferred,
) -> usize {
    let receivers = receivers.into_iter();
    // In a busy room no receiver waits, and no memory is needed.
    let mut reserved = receivers.size_hint().0;
    let mut is_slow = false;
    for receiver in receivers {
        let (level, wake) = receiver.push_deferring_wake(event.clone());
        is_slow |= level == FillLevel::High;
        if let Some(wake) = wake {
            deferred.receivers.reserve(mem::take(&mut reserved));
            deferred.receivers.push(wake);
        }
    }
    if is_slow { relayed_bytes(event) } else { 0 }
}

/// The bytes of the frame that an event carries from another member; 0 for an event without one.
fn relayed_bytes(event: &Event) -> usize {
    match event {
        Event::Received { message, .. } => message.frame.len(),
        Event::Claimed(_)
        | Event::Joined { .. }
        | Event::Rejoined { .. }
        | Event::Members { .. }
        | Event::Introduced { .. }
        | Event::Departed { .. }
        | Event::Probe(_)
        | Event::Evicted(_)
        | Event::RequestFailed(_) => 0,
    }
}

fn log_change(change: &MembershipChange) {
    match change {
        MembershipChange::Joined { room, member } => {
            let address = log_text(member.address.as_str());
            let name = member.name.as_ref().map(|name| log_text(name.as_str()));
            let (room, dialect) = (log_text(room.name.as_str()), member.dialect.name);
            tracing::info!(room, peer = %member.peer, dialect, address, name, "joined");
        }
        MembershipChange::Left { room, peer, cause } => {
            let (room, reason) = (log_text(room.name.as_str()), leave_reason(*cause));
            tracing::info!(room, %peer, reason, "left");
        }
    }
}

/// The reason of a leave in its log line.
fn leave_reason(cause: LeaveCause) -> &'static str {
    match cause {
        LeaveCause::Requested(LeaveKind::Announced | LeaveKind::Silent) => "requested",
        LeaveCause::Requested(LeaveKind::ConnectionLost) => "connection lost",
        LeaveCause::Evicted(EvictionReason::Unresponsive) => "unresponsive",
        LeaveCause::Evicted(EvictionReason::Replaced) => "replaced by a newer connection",
        LeaveCause::Evicted(EvictionReason::Kicked) => "removed by the host program",
        LeaveCause::NodeLost => "its node is lost",
    }
}

impl HubClient for Shards {
    fn request(&self, peer: PeerId, local: &OutboxHandle, request: HubRequest) {
        self.request_at(peer, local, request, Instant::now());
    }

    fn request_at(&self, peer: PeerId, local: &OutboxHandle, request: HubRequest, now: Instant) {
        let index = self.index_of_request(&request);
        let left = match &request {
            HubRequest::Leave(room, _) => Some(room.clone()),
            HubRequest::Join(..)
            | HubRequest::Claim(..)
            | HubRequest::Release(_)
            | HubRequest::Send(..)
            | HubRequest::List(_)
            | HubRequest::Alive(_) => None,
        };
        let input = Input::Request {
            peer,
            local: local.clone(),
            request,
        };
        let bytes = self.pass_input(index, input, now);
        if let Some(room) = left {
            self.keep_context_of_leaving(index, &room, peer);
        }
        if bytes > 0 {
            local.charge(Charge::SlowReceiver { bytes });
        }
    }

    fn on_disconnected(&self, peer: &Peer, ended: &EndedConnection<'_>) {
        self.events.send(|| {
            let client = ClientInfo {
                session: peer.id(),
                address: ended.client,
                dialect: peer.dialect().name,
                identity: proven_name(peer.identity()),
                context: self.contexts.get(peer.id()),
            };
            Some(ServerEvent::Disconnected {
                client,
                code: ended.code,
                reason: ended.reason.into(),
                duration: ended.duration,
            })
        });
    }
}

impl JoinAuthorizer for Shards {
    fn check_join(&self, peer: &Peer, room: &RoomId, address: Option<&str>) -> Option<JoinCheck> {
        let context = || self.contexts.get(peer.id());
        self.access.check_join(peer, (room, address), context)
    }
}

impl WebhookClient for Shards {
    fn send_webhook(&self, webhook: WebhookRequest) -> WebhookResponse {
        let webhooks = self.webhooks.clone();
        Box::pin(async move { webhooks.post(webhook).await })
    }

    fn send_webhook_detached(&self, webhook: WebhookRequest) {
        self.webhooks.post_detached(webhook);
    }
}

#[cfg(test)]
mod tests;

//! Applies committed log entries and notifies the members that are connected to this node.

use std::{sync::Arc, time::Instant};

use super::{
    Hub,
    effects::{Effects, Receivers},
    resource_key,
};
use crate::{
    command::{Change, Charge, HubRequest, LeaveKind},
    error::ErrorCode,
    event::{Event, EvictionReason},
    id::{Address, PeerId, Position, RoomId},
    introduction::{Member, OfferRole, offer_role},
    limits::NOTICE_BYTES,
    log::{Entry, LeaveCause, LogId, NodeId, RejectReason},
    room::{Counterparts, MemberLocation, Membership, Pending, Room, SuspendedMember},
    shared_frames::SharedFrames,
};

impl<L: Clone> Hub<L> {
    /// The member of a room with this id, if there is one.
    #[must_use]
    pub fn member(&self, room: &RoomId, peer: PeerId) -> Option<Arc<Member>> {
        let room = self.rooms.get(&LogId::Room(room.clone()))?;
        Some(room.membership(peer)?.member.clone())
    }

    pub(super) fn apply_entry(&mut self, log: &LogId, entry: Entry, now: Instant) {
        let Entry {
            position,
            node,
            change,
        } = entry;
        match change {
            Change::Join(member) => self.apply_join(log, position, node, &member, now),
            Change::Leave(peer, LeaveCause::NodeLost) if self.is_connected(log, peer) => {
                self.suspend(log, position, peer);
            }
            Change::Leave(peer, cause) => self.apply_leave(log, position, peer, cause, now),
        }
    }

    pub(super) fn handle_rejection(
        &mut self,
        log: &LogId,
        peer: PeerId,
        reason: RejectReason,
        now: Instant,
    ) {
        let Some(room) = self.rooms.get_mut(log) else {
            return;
        };
        match (room.pending.remove(peer), reason) {
            (Some(Pending::Join(pending)), RejectReason::Taken) => {
                room.release_group_slot(&pending.member);
                return self.request_join(pending, now);
            }
            (Some(Pending::Join(pending)), RejectReason::Full) => {
                room.release_group_slot(&pending.member);
                self.count_full(&pending);
                return self.refuse_join(pending, ErrorCode::RoomFull);
            }
            (Some(Pending::Join(pending)), RejectReason::Unavailable) => {
                room.release_group_slot(&pending.member);
                return self.refuse_join(pending, ErrorCode::Unavailable);
            }
            (Some(Pending::Leave(rejoin)), RejectReason::NotAMember) => {
                if let Some(pending) = rejoin {
                    return self.request_join(pending, now);
                }
            }
            // The rejected change was an earlier one (an eviction, or a join before this leave): the pending change
            // stays.
            (Some(pending @ (Pending::Join(_) | Pending::Leave(_))), _) => {
                room.pending.insert(peer, pending);
            }
            // An eviction was not committed: the claims that wait for it fail.
            (None, RejectReason::Unavailable) => {
                let address = room.membership(peer).map(|own| &own.member.address);
                if let Some(resource) = address.and_then(|address| resource_key(log, address)) {
                    for pending in self.challenges.end(&resource) {
                        self.refuse_join(pending, ErrorCode::Unavailable);
                    }
                }
            }
            (None, _) => {}
        }
        self.remove_room_if_empty(log);
    }

    /// Adds a member and introduces it and the others to each other. Of two members, the one with the later
    /// position is the newcomer, in whatever order this node applies the entries.
    fn apply_join(
        &mut self,
        log: &LogId,
        since: Position,
        node: Option<NodeId>,
        newcomer: &Arc<Member>,
        now: Instant,
    ) {
        self.reject_overtaken(log, since, newcomer);
        let Self { rooms, effects, .. } = self;
        let room = rooms.entry(log.clone()).or_default();
        if room.membership(newcomer.peer).is_some() {
            return;
        }
        let local_join = LocalJoin::take(room, newcomer.peer, node);
        let Introductions { notified, others } =
            introduce_all(room, effects, log, (since, newcomer), &local_join);
        if let Some(local) = local_join.local.clone() {
            let count = notified + others.len();
            // After a suspension the engine has joined the member again, so its client is not charged.
            if count > 0 && !local_join.was_suspended {
                let bytes = count * NOTICE_BYTES;
                let charge = Charge::Deliveries { count, bytes };
                effects.charge(local.clone(), charge);
            }
            for event in local_join.events(log, others) {
                effects.deliver(local.clone(), Arc::new(event));
            }
        }
        let (peer, address) = (newcomer.peer, newcomer.address.clone());
        let is_orphaned = node.is_none() && local_join.is_orphaned;
        let (queued, connection, was_suspended) = (
            local_join.queued_requests,
            local_join.local.clone(),
            local_join.was_suspended,
        );
        let location = match (node, local_join.local) {
            (Some(node), _) => MemberLocation::Remote(node),
            (None, Some(local)) => MemberLocation::Connected(local),
            (None, None) => MemberLocation::Leaving,
        };
        room.join(Membership {
            member: newcomer.clone(),
            since,
            location,
            counterparts: local_join.counterparts,
        });
        if was_suspended {
            room.match_every_alias(peer);
        }
        if is_orphaned {
            // The join was withdrawn or refused before it was committed, so the membership must end.
            room.pending.insert(peer, Pending::Leave(None));
            let cause = LeaveCause::Requested(LeaveKind::Announced);
            self.propose(log.clone(), Change::Leave(peer, cause));
        }
        if let Some(local) = connection {
            self.replay_queued_requests(peer, &local, queued, now);
        }
        self.evict_later_sessions(log, newcomer);
        self.after_join(log, &address, now);
    }

    /// Drops the reservation of an address that a member has now, and delivers the messages that waited for it.
    fn after_join(&mut self, log: &LogId, address: &Address, now: Instant) {
        if let Some(resource) = resource_key(log, address) {
            self.reservations.release(&resource);
        }
        if let LogId::Room(room) = log {
            self.deliver_deferred(room, address, now);
        }
    }

    fn apply_leave(
        &mut self,
        log: &LogId,
        position: Position,
        peer: PeerId,
        cause: LeaveCause,
        now: Instant,
    ) {
        let Self { rooms, effects, .. } = self;
        let Some(room) = rooms.get_mut(log) else {
            return;
        };
        let Some(membership) = room.leave(position, peer) else {
            return;
        };
        if let (Some(local), LeaveCause::Evicted(reason)) = (membership.local(), cause) {
            let event = Arc::new(Event::Evicted(reason));
            effects.deliver(local.clone(), event);
        }
        if let LogId::Room(id) = log {
            let event = Arc::new(departed_event(id, &membership.member, cause));
            let notified = room.observers_of(&membership.member);
            let notified = notified.filter_map(Membership::local);
            let mut receivers = Receivers::None;
            let most = room.visible_reserve(&membership.member);
            notified
                .chain(room.counterparts_of(&membership))
                .for_each(|local| receivers.add(local.clone(), most));
            effects.deliver_all(receivers, event.clone());
            for suspended in room.suspended_mut() {
                if suspended.remove_known(peer) && observes_presence(&suspended.member) {
                    effects.deliver(suspended.local.clone(), event.clone());
                }
            }
        }
        let rejoin = match room.pending.remove(peer) {
            // After `NodeLost` the engine may join the member again. The pending leave waits for its own commit or
            // rejection.
            Some(Pending::Leave(rejoin))
                if membership.is_on_this_node() && cause != LeaveCause::NodeLost =>
            {
                rejoin
            }
            Some(pending @ (Pending::Join(_) | Pending::Leave(_))) => {
                room.pending.insert(peer, pending);
                None
            }
            None => None,
        };
        self.remove_room_if_empty(log);
        if let Some(pending) = rejoin {
            self.request_join(pending, now);
        }
        if let Some(resource) = resource_key(log, &membership.member.address) {
            if is_connection_loss(cause) {
                self.reservations
                    .keep(resource.clone(), &membership.member, now);
            }
            self.waiting_nodes.remove(&resource);
            self.retry_pending_joins(&resource, now);
        }
    }

    /// Whether a member is connected to this node. The engine rejoins such a member if it was removed because the lease
    /// of this node expired.
    fn is_connected(&self, log: &LogId, peer: PeerId) -> bool {
        let membership = self.rooms.get(log).and_then(|room| room.membership(peer));
        membership.is_some_and(|membership| membership.local().is_some())
    }

    /// Suspends a member of this node whose removal (`NodeLost`: the lease of this node expired) was committed, until
    /// its new join is committed. It is told that the members of other nodes have left, as they were told of it. The
    /// members of this node stay visible to it.
    fn suspend(&mut self, log: &LogId, position: Position, peer: PeerId) {
        let Self { rooms, effects, .. } = self;
        let Some(room) = rooms.get_mut(log) else {
            return;
        };
        let Some(membership) = room.leave(position, peer) else {
            return;
        };
        let MemberLocation::Connected(local) = membership.location else {
            return;
        };
        if let LogId::Room(id) = log {
            let must_notify_of = |other: &Membership<L>| {
                observes_presence(&membership.member) || other.counterparts.contains(peer)
            };
            let known = room
                .visible_to(&membership.member)
                .filter(|other| must_notify_of(other));
            for other in known.filter(|other| !other.is_on_this_node()) {
                let event = departed_event(id, &other.member, LeaveCause::NodeLost);
                effects.deliver(local.clone(), Arc::new(event));
            }
        }
        let local_members = room.memberships().filter(|other| other.is_on_this_node());
        let suspended = room.suspended().iter().map(|other| other.member.peer);
        let known_peers = local_members
            .map(|other| other.member.peer)
            .chain(suspended);
        let known_peers = known_peers.collect();
        room.suspend(SuspendedMember {
            member: membership.member,
            local,
            known_peers,
            counterparts: membership.counterparts,
        });
    }
}

/// The result of introducing a newcomer.
struct Introductions {
    /// The number of members that were notified of it, on all nodes.
    notified: usize,
    /// The members that the newcomer is told of.
    others: Vec<(Arc<Member>, OfferRole)>,
}

/// Notifies the members of this node of a newcomer, and returns the members that the newcomer is told of. A suspended
/// member and the members that it still knows are not introduced again.
fn introduce_all<L: Clone>(
    room: &Room<L>,
    effects: &mut Effects<L>,
    log: &LogId,
    (since, newcomer): (Position, &Arc<Member>),
    local_join: &LocalJoin<L>,
) -> Introductions {
    let mut notified = 0;
    let is_new = |other: &&Membership<L>| !local_join.known_peers.contains(&other.member.peer);
    // The newcomer's role towards another member. Of the two, the one with the later position is the newcomer.
    let role = |membership: &Membership<L>| {
        if (since, newcomer.peer) > membership.order_key() {
            offer_role(newcomer.dialect, membership.member.dialect)
        } else {
            offer_role(membership.member.dialect, newcomer.dialect).flipped()
        }
    };
    if let LogId::Room(id) = log {
        let mut observers = ObserversByRole::default();
        let most = room.visible_reserve(newcomer);
        // `for_each` of these combined iterators is faster than a loop.
        room.observers_of(newcomer)
            .filter(is_new)
            .for_each(|membership| {
                notified += 1;
                if let Some(local) = membership.local() {
                    observers.add(role(membership).flipped(), local, most);
                }
            });
        observers.notify(effects, id, newcomer);
    }
    if !observes_presence(newcomer) || local_join.local.is_none() {
        let others = Vec::new();
        return Introductions { notified, others };
    }
    // A group is small, and only its members are visible in it.
    let mut others = Vec::with_capacity(room.visible_reserve(newcomer));
    let visible = room.visible_to(newcomer).filter(is_new);
    visible.for_each(|membership| others.push((membership.member.clone(), role(membership))));
    Introductions { notified, others }
}

/// The connections of the members that are notified of one newcomer, by their roles. All members with one role share one
/// event.
struct ObserversByRole<L>([(OfferRole, Receivers<L>); 3]);

impl<L> Default for ObserversByRole<L> {
    fn default() -> Self {
        let roles = [OfferRole::Offerer, OfferRole::Answerer, OfferRole::None];
        Self(roles.map(|role| (role, Receivers::None)))
    }
}

impl<L: Clone> ObserversByRole<L> {
    /// Adds one of `count` connections.
    fn add(&mut self, role: OfferRole, local: &L, count: usize) {
        let index = match role {
            OfferRole::Offerer => 0,
            OfferRole::Answerer => 1,
            OfferRole::None => 2,
        };
        self.0[index].1.add(local.clone(), count);
    }

    fn notify(self, effects: &mut Effects<L>, room: &RoomId, newcomer: &Arc<Member>) {
        for (role, locals) in self.0 {
            if !matches!(locals, Receivers::None) {
                let event = Arc::new(introduced_event(room, newcomer, role));
                effects.deliver_all(locals, event);
            }
        }
    }
}

/// Whether a member is notified of joins and leaves.
fn observes_presence(member: &Member) -> bool {
    member.dialect.announces_presence
}

/// Whether the member's connection was lost. Then its address stays reserved for a client with its token.
fn is_connection_loss(cause: LeaveCause) -> bool {
    matches!(
        cause,
        LeaveCause::Requested(LeaveKind::ConnectionLost)
            | LeaveCause::NodeLost
            | LeaveCause::Evicted(EvictionReason::Unresponsive)
    )
}

/// The part of a committed join that only the newcomer's node has. Empty on other nodes.
struct LocalJoin<L> {
    /// The newcomer's connection.
    local: Option<L>,
    /// The members that a suspended member still sees.
    known_peers: Vec<PeerId>,
    /// The counterparts of a suspended member.
    counterparts: Counterparts,
    /// The newcomer's requests to the room that waited for the join.
    queued_requests: Vec<HubRequest>,
    /// The newcomer was suspended and is added again.
    was_suspended: bool,
    /// The newcomer is a member of this node, but its join is not pending any more: it was withdrawn or refused.
    is_orphaned: bool,
}

impl<L> LocalJoin<L> {
    /// Removes the pending join or the suspended member of `peer` from the room. `node` is the newcomer's node; `None`
    /// for this node.
    fn take(room: &mut Room<L>, peer: PeerId, node: Option<NodeId>) -> Self {
        let mut local_join = Self {
            local: None,
            known_peers: Vec::new(),
            counterparts: Counterparts::default(),
            queued_requests: Vec::new(),
            was_suspended: false,
            is_orphaned: false,
        };
        if node.is_some() {
            return local_join;
        }
        if let Some(suspended) = room.end_suspension(peer) {
            local_join.known_peers = suspended.known_peers;
            local_join.counterparts = suspended.counterparts;
            local_join.local = Some(suspended.local);
            local_join.was_suspended = true;
            return local_join;
        }
        match room.pending.remove(peer) {
            Some(Pending::Join(pending)) => {
                local_join.local = Some(pending.local);
                local_join.queued_requests = pending.queued_requests;
            }
            Some(leave @ Pending::Leave(_)) => drop(room.pending.insert(peer, leave)),
            None => local_join.is_orphaned = true,
        }
        local_join
    }

    /// The events that the newcomer gets.
    fn events(&self, log: &LogId, others: Vec<(Arc<Member>, OfferRole)>) -> Vec<Event> {
        match log {
            LogId::Room(room) if self.was_suspended => others
                .iter()
                .map(|(other, role)| introduced_event(room, other, *role))
                .collect(),
            LogId::Room(room) => vec![Event::Joined {
                room: room.clone(),
                others,
            }],
            LogId::Name(..) if self.was_suspended => Vec::new(),
            LogId::Name(name) => vec![Event::Claimed(name.clone())],
            LogId::Election(_) => Vec::new(),
        }
    }
}

fn introduced_event(room: &RoomId, peer: &Arc<Member>, role: OfferRole) -> Event {
    Event::Introduced {
        room: room.clone(),
        peer: peer.clone(),
        role,
        frames: SharedFrames::default(),
    }
}

fn departed_event(room: &RoomId, peer: &Arc<Member>, cause: LeaveCause) -> Event {
    let kind = match cause {
        LeaveCause::Requested(LeaveKind::Silent) => LeaveKind::Silent,
        LeaveCause::Requested(LeaveKind::Announced | LeaveKind::ConnectionLost)
        | LeaveCause::Evicted(_)
        | LeaveCause::NodeLost => LeaveKind::Announced,
    };
    Event::Departed {
        room: room.clone(),
        peer: peer.clone(),
        kind,
        frames: SharedFrames::default(),
    }
}

//! Relays messages between members, and queues the requests of a pending join.

use std::{sync::Arc, time::Instant};

use super::{Hub, broadcast::Broadcast, members, parsing::must_parse_for};
use crate::{
    challenge::PendingJoin,
    command::{Charge, Effect, HubRequest, Input, Target},
    error::{ErrorCode, RequestError},
    event::Event,
    id::{PeerId, RoomId},
    introduction::Member,
    limits::{NOTICE_BYTES, QUEUED_REQUEST_BYTES_MAX, QUEUED_REQUESTS_MAX},
    log::{LogId, NodeMessage, NodeMessageBody, Recipient},
    message::RelayedMessage,
    room::Membership,
    room_policy::JoinRefusal,
};

impl<L: Clone> Hub<L> {
    /// Handles a request that only a member of the room may make. Ignores other requests.
    pub(super) fn handle_room_request(
        &mut self,
        peer: PeerId,
        local: L,
        request: HubRequest,
        now: Instant,
    ) {
        match request {
            HubRequest::Send(room, to, message) => self.relay(peer, local, room, to, message, now),
            HubRequest::List(room) => self.list(peer, local, room),
            HubRequest::Claim(..)
            | HubRequest::Release(..)
            | HubRequest::Join(..)
            | HubRequest::Leave(..)
            | HubRequest::Alive(_) => {}
        }
    }

    /// Queues a request of a peer whose join is pending, because clients do not wait for the join. Refuses the
    /// request of any other peer that is not a member.
    fn queue_request(&mut self, peer: PeerId, local: L, room: &RoomId, request: HubRequest) {
        let log = LogId::Room(room.clone());
        let room_state = self.rooms.get_mut(&log);
        let pending = room_state.and_then(|room| room.pending_join_mut(peer));
        let pending = pending.or_else(|| self.challenges.pending_join_mut(peer, room));
        let bytes = |pending: &PendingJoin<L>| {
            pending
                .queued_requests
                .iter()
                .map(request_bytes)
                .sum::<usize>()
        };
        let has_capacity = |pending: &&mut PendingJoin<L>| {
            pending.queued_requests.len() < QUEUED_REQUESTS_MAX
                && bytes(pending) + request_bytes(&request) <= QUEUED_REQUEST_BYTES_MAX
        };
        match pending.filter(has_capacity) {
            Some(pending) => pending.queued_requests.push(request),
            None => self.refuse(local, not_in_room(request)),
        }
    }

    pub(super) fn replay_queued_requests(
        &mut self,
        peer: PeerId,
        local: &L,
        queued: Vec<HubRequest>,
        now: Instant,
    ) {
        for request in queued {
            self.handle_room_request(peer, local.clone(), request, now);
        }
    }

    fn list(&mut self, peer: PeerId, local: L, id: RoomId) {
        let log = LogId::Room(id.clone());
        let room = self.rooms.get(&log);
        let found = room.and_then(|room| Some((room, room.membership(peer)?)));
        let connected = found.filter(|(_, membership)| membership.local().is_some());
        let Some((room, membership)) = connected else {
            return self.queue_request(peer, local, &id, HubRequest::List(id.clone()));
        };
        if self.hides_members(&id, &membership.member) {
            let code = JoinRefusal::Presence.error(&id.name, membership.member.dialect.name);
            return self.refuse(local, RequestError::new(code).in_room(&id.name));
        }
        let others = members(room.visible_to(&membership.member));
        self.charge(local.clone(), others.len(), NOTICE_BYTES);
        self.deliver(local, Event::Members { room: id, others });
    }

    /// Relays a message of a peer to members of a room, or queues it behind the peer's pending join.
    pub(super) fn relay(
        &mut self,
        peer: PeerId,
        local: L,
        id: RoomId,
        to: Target,
        message: Arc<RelayedMessage>,
        now: Instant,
    ) {
        let log = LogId::Room(id);
        let LogId::Room(id) = &log else {
            return;
        };
        if let Some(alias) = &message.aliases.from
            && let Some(room) = self.rooms.get_mut(&log)
        {
            room.note_alias(peer, alias);
        }
        let room = self.rooms.get(&log);
        let found = room.and_then(|room| Some((room, room.membership(peer)?)));
        let connected = found.filter(|(_, membership)| membership.local().is_some());
        let Some((room, sender)) = connected else {
            let is_unparsed = message.is_unparsed();
            let request = HubRequest::Send(id.clone(), to, message.clone());
            if is_unparsed {
                // The frame is queued until the join is committed. The receivers may have any dialect then, so the
                // frame is parsed now.
                let input = Input::request(peer, local, request);
                return self.return_unparsed(message, input);
            }
            return self.queue_request(peer, local, id, request);
        };
        let from = sender.member.clone();
        let body = |to, message| NodeMessageBody::Relay {
            from: sender.reference(),
            to,
            message,
        };
        if to == Target::Everyone {
            let Some(mut broadcast) = Broadcast::of_member(room, &from, &message) else {
                let request = HubRequest::Send(id.clone(), to, message.clone());
                return self.return_unparsed(message, Input::request(peer, local, request));
            };
            for node in &broadcast.nodes {
                let body = body(Recipient::Everyone, message.clone());
                let log = log.clone();
                self.effects
                    .push(Effect::Send(*node, NodeMessage { log, body }));
            }
            broadcast.deliver(&mut self.effects, id, &from, &message);
            if broadcast.is_untranslatable {
                let error = RequestError::new(ErrorCode::Untranslatable).in_room(&id.name);
                self.refuse(local.clone(), error);
            }
            self.charge(local, broadcast.receivers, message.frame.len());
            if message.kind.is_description() {
                self.note_description(&log, peer, None);
            }
            return;
        }
        let receiver = room.find(&to).filter(|other| from.sees(&other.member));
        let is_deferred = receiver.is_none() && matches!(to, Target::AddressOrWait(_));
        if must_parse_for(receiver, &message) || is_deferred && message.is_unparsed() {
            let request = HubRequest::Send(id.clone(), to, message.clone());
            return self.return_unparsed(message, Input::request(peer, local, request));
        }
        match check_receiver(receiver, &message) {
            Err(ErrorCode::NoSuchPeer) if let Target::AddressOrWait(address) = to => {
                self.defer(id, address, (peer, local), &message, now);
            }
            Err(reason) => self.refuse(local, RequestError::new(reason).in_room(&id.name).to(to)),
            Ok(membership) => {
                let (sender, receiver) = (from.dialect, membership.member.dialect);
                // Two members become counterparts (each is notified of the other's leave because of this message) only
                // if their dialects differ and one of these does not notify its clients of all leaves.
                let need_no_counterparts = sender.announces_presence && receiver.announces_presence
                    || sender.name == receiver.name;
                let is_noted = !need_no_counterparts && message.kind.is_description();
                let noted = is_noted.then(|| (log.clone(), membership.member.peer));
                if !from.dialect.announces_presence {
                    let reached = Charge::Reached(membership.member.peer);
                    self.effects.charge(local, reached);
                }
                match (membership.node(), membership.local()) {
                    (Some(node), _) => {
                        let (member, target) = (membership.reference(), to);
                        let recipient = Recipient::One { member, target };
                        self.send(node, log, body(recipient, message));
                    }
                    (None, Some(receiver)) => {
                        let receiver = receiver.clone();
                        self.deliver(receiver, received_event(id, &from, true, message));
                    }
                    (None, None) => {}
                }
                if let Some((log, receiver)) = noted {
                    self.note_description(&log, peer, Some(receiver));
                }
            }
        }
    }

    /// Records that a member has sent a session description to another, or with `None` to all others, so that
    /// members whose dialect announces no presence are notified when their counterpart leaves.
    pub(super) fn note_description(&mut self, log: &LogId, from: PeerId, to: Option<PeerId>) {
        match (self.rooms.get_mut(log), to) {
            (Some(room), Some(to)) => room.note_description(from, to),
            (Some(room), None) => room.note_description_to_all(from),
            (None, _) => {}
        }
    }

    /// Sends a message of the host program (the program that embeds the server) to members of a room.
    pub(super) fn announce(
        &mut self,
        id: &RoomId,
        to: &Target,
        from: &Arc<Member>,
        message: &Arc<RelayedMessage>,
    ) {
        let log = LogId::Room(id.clone());
        let Some(room) = self.rooms.get(&log) else {
            return;
        };
        let body = |to| NodeMessageBody::Announce {
            to,
            from: from.clone(),
            message: message.clone(),
        };
        let unparsed = || Input::Announce {
            room: id.clone(),
            to: to.clone(),
            from: from.clone(),
            message: message.clone(),
        };
        let bodies: Vec<_> = match to {
            Target::Everyone => {
                let Some(mut broadcast) = Broadcast::of_host(room, message) else {
                    return self.return_unparsed(message.clone(), unparsed());
                };
                // The host program has no budget to charge.
                broadcast.deliver(&mut self.effects, id, from, message);
                let nodes = broadcast.nodes.into_iter();
                nodes.map(|node| (node, body(None))).collect()
            }
            // The host program gets no error for a missing receiver; it can list the members itself.
            Target::Peer(_) | Target::Address(_) | Target::AddressOrWait(_) => {
                if must_parse_for(room.find(to), message) {
                    return self.return_unparsed(message.clone(), unparsed());
                }
                let Ok(membership) = check_receiver(room.find(to), message) else {
                    return;
                };
                if let Some(local) = membership.local() {
                    let event = received_event(id, from, true, message.clone());
                    self.effects.deliver(local.clone(), Arc::new(event));
                }
                let to = Some(membership.member.peer);
                membership
                    .node()
                    .map(|node| (node, body(to)))
                    .into_iter()
                    .collect()
            }
        };
        for (node, body) in bodies {
            self.send(node, log.clone(), body);
        }
    }
}

/// The bytes of the frame in a queued request.
fn request_bytes(request: &HubRequest) -> usize {
    match request {
        HubRequest::Send(_, _, message) => message.frame.len(),
        HubRequest::Claim(..)
        | HubRequest::Release(..)
        | HubRequest::Join(..)
        | HubRequest::Leave(..)
        | HubRequest::List(_)
        | HubRequest::Alive(_) => 0,
    }
}

/// The error for a request of a peer that is not a member of the room.
pub(super) fn not_in_room(request: HubRequest) -> RequestError {
    let error = |room: &RoomId| RequestError::new(ErrorCode::NotInRoom).in_room(&room.name);
    match request {
        HubRequest::Send(room, to, _) => error(&room).to(to),
        HubRequest::List(room) => error(&room),
        HubRequest::Claim(..)
        | HubRequest::Release(..)
        | HubRequest::Join(..)
        | HubRequest::Leave(..)
        | HubRequest::Alive(_) => RequestError::new(ErrorCode::NotInRoom),
    }
}

pub(super) fn received_event(
    room: &RoomId,
    from: &Arc<Member>,
    direct: bool,
    message: Arc<RelayedMessage>,
) -> Event {
    Event::Received {
        room: room.clone(),
        from: from.clone(),
        direct,
        message,
    }
}

/// Checks that a message can be delivered to `receiver`: it is a member that is not leaving, and its dialect can
/// express the message.
fn check_receiver<'a, L>(
    receiver: Option<&'a Membership<L>>,
    message: &RelayedMessage,
) -> Result<&'a Membership<L>, ErrorCode> {
    let membership = receiver
        .filter(|membership| membership.node().is_some() || membership.local().is_some())
        .ok_or(ErrorCode::NoSuchPeer)?;
    if message.is_understood_by(membership.member.dialect) {
        Ok(membership)
    } else {
        Err(ErrorCode::Untranslatable)
    }
}

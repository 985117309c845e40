//! What other nodes say to this one.

use std::{sync::Arc, time::Instant};

use super::{Hub, deliver_to_all, place, received};
use crate::{
    command::{Charge, Effect, Target},
    error::{ErrorCode, RequestError},
    event::Event,
    id::{PeerId, RoomId},
    introduction::Member,
    log::{LogId, MembershipRef, NodeId, NodeMessage, NodeMessageBody, Recipient},
    message::RelayedMessage,
};

/// Nodes that may wait to hear of one holder; a cluster has fewer.
const ASKERS_MAX: usize = 256;

impl<L: Clone> Hub<L> {
    pub(super) fn handle_node_message(&mut self, from: NodeId, letter: NodeMessage, now: Instant) {
        let NodeMessage { log, body: message } = letter;
        match (message, log) {
            (NodeMessageBody::Probe(holder), log) => self.handle_probe(from, &log, holder),
            (NodeMessageBody::Alive(holder), log) => self.handle_remote_alive(&log, holder),
            (NodeMessageBody::SlowReceiver { sender, bytes }, log) => {
                self.charge_slow_receiver(&log, sender, bytes);
            }
            (
                NodeMessageBody::Relay {
                    from: sender,
                    to,
                    message: relay,
                },
                LogId::Room(room),
            ) => self.handle_relay(from, room, sender, to, &relay),
            (NodeMessageBody::Bounce { to, target }, LogId::Room(room)) => {
                self.report_undelivered(&room, to, target, ErrorCode::NoSuchPeer, now);
            }
            (
                NodeMessageBody::Announce {
                    to,
                    from,
                    message: relay,
                },
                LogId::Room(room),
            ) => {
                self.handle_announcement(&room, to, &from, relay);
            }
            (
                NodeMessageBody::Relay { .. }
                | NodeMessageBody::Bounce { .. }
                | NodeMessageBody::Announce { .. },
                LogId::Name(..) | LogId::Election(_),
            ) => {}
        }
    }

    /// Something could not be sent to another node. A probe that is not sent is as one that is not
    /// answered.
    pub(super) fn handle_undeliverable(&mut self, letter: NodeMessage, now: Instant) {
        let (NodeMessageBody::Relay { from, to, .. }, LogId::Room(room)) =
            (letter.body, letter.log)
        else {
            return;
        };
        let target = match to {
            Recipient::Everyone => Target::Everyone,
            Recipient::One { target, .. } => target,
        };
        self.report_undelivered(&room, from.peer, target, ErrorCode::Unavailable, now);
    }

    /// A member of this node has sent to a slow receiver on another one.
    fn charge_slow_receiver(&mut self, log: &LogId, sender: PeerId, bytes: usize) {
        if let Some(local) = self.local(log, sender) {
            let charge = Charge::SlowReceiver { bytes };
            self.effects.push_back(Effect::Charge(local, charge));
        }
    }

    fn report_undelivered(
        &mut self,
        room: &RoomId,
        sender: PeerId,
        target: Target,
        reason: ErrorCode,
        now: Instant,
    ) {
        let log = LogId::Room(room.clone());
        let Some(local) = self.local(&log, sender) else {
            return;
        };
        if let Target::AddressOrWait(address) = target {
            return self.note_lost_frame(room, address, (sender, local), now);
        }
        let refused = RequestError::new(reason).in_room(&room.name);
        self.refuse(local, refused.to(target));
    }

    fn handle_relay(
        &mut self,
        node: NodeId,
        id: RoomId,
        from: MembershipRef,
        to: Recipient,
        relay: &Arc<RelayedMessage>,
    ) {
        let log = LogId::Room(id);
        let LogId::Room(id) = &log else {
            return;
        };
        if let (Some(alias), Some(room)) = (&relay.aliases.from, self.rooms.get_mut(&log))
            && room.membership_on_node(node, from).is_some()
        {
            room.announce(from.peer, alias);
        }
        let room = self.rooms.get(&log);
        let sender = room.and_then(|room| Some((room, room.membership_on_node(node, from)?)));
        let receiver = match (&to, sender) {
            (Recipient::Everyone, Some((room, seat))) => {
                let (sender, effects) = (&seat.member, &mut self.effects);
                // The sender's own node has charged it.
                let _ = match &relay.aliases.to {
                    None => deliver_to_all(room.visible_to(sender), effects, id, sender, relay),
                    Some(to) => {
                        deliver_to_all(room.receivers(sender, to), effects, id, sender, relay)
                    }
                };
                if relay.kind.is_description() {
                    self.note_description(&log, from.peer, None);
                }
                return;
            }
            (Recipient::One { member: wanted, .. }, Some((room, sender))) => room
                .membership(wanted.peer)
                .filter(|seat| seat.since == wanted.since && sender.member.sees(&seat.member))
                .and_then(|seat| seat.local.clone())
                .map(|local| (local, sender.member.clone())),
            (_, None) => None,
        };
        match (receiver, to) {
            (Some((local, from)), to) => {
                let sender = from.peer;
                self.deliver(local, received(id, &from, true, relay.clone()));
                if let Recipient::One { member: seat, .. } = to
                    && relay.kind.is_description()
                {
                    self.note_description(&log, sender, Some(seat.peer));
                }
            }
            (None, Recipient::One { target, .. }) => {
                let to = from.peer;
                self.send(node, log, NodeMessageBody::Bounce { to, target });
            }
            (None, Recipient::Everyone) => {}
        }
    }

    fn handle_announcement(
        &mut self,
        id: &RoomId,
        to: Option<PeerId>,
        from: &Arc<Member>,
        relay: Arc<RelayedMessage>,
    ) {
        let log = LogId::Room(id.clone());
        let Some(room) = self.rooms.get(&log) else {
            return;
        };
        let Some(peer) = to else {
            let _ = deliver_to_all(room.memberships(), &mut self.effects, id, from, &relay);
            return;
        };
        if let Some(local) = room.membership(peer).and_then(|seat| seat.local.clone()) {
            let event = received(id, from, true, relay);
            self.effects
                .push_back(Effect::Deliver(local, Arc::new(event)));
        }
    }

    /// Another node asks whether a member of this one is alive.
    fn handle_probe(&mut self, node: NodeId, log: &LogId, holder: PeerId) {
        let seat = self.rooms.get(log).and_then(|room| room.membership(holder));
        let Some((local, place)) =
            seat.and_then(|seat| Some((seat.local.clone()?, place(log, &seat.member.address)?)))
        else {
            return;
        };
        let askers = self.waiting_nodes.entry(place.clone()).or_default();
        if !askers.contains(&node) && askers.len() < ASKERS_MAX {
            askers.push(node);
        }
        self.deliver(local, Event::Probe(place));
    }

    fn handle_remote_alive(&mut self, log: &LogId, holder: PeerId) {
        let seat = self.rooms.get(log).and_then(|room| room.membership(holder));
        let Some(place) = seat.and_then(|seat| place(log, &seat.member.address)) else {
            return;
        };
        for wish in self.challenges.end(&place) {
            self.refuse_join(wish, ErrorCode::Taken);
        }
    }
}

//! Handles the messages of other nodes.

use std::{sync::Arc, time::Instant};

use super::{Hub, broadcast::Broadcast, relay::received_event, resource_key};
use crate::{
    command::{Charge, Input, Target},
    error::{ErrorCode, RequestError},
    event::Event,
    id::{PeerId, RoomId},
    introduction::Member,
    log::{LogId, MembershipRef, NodeId, NodeMessage, NodeMessageBody, Recipient},
    message::RelayedMessage,
};

/// Max nodes that wait for the answer of one holder to a probe. A usual cluster has fewer nodes.
const WAITING_NODES_MAX: usize = 256;

impl<L: Clone> Hub<L> {
    pub(super) fn handle_node_message(&mut self, node: NodeId, message: NodeMessage, now: Instant) {
        let NodeMessage { log, body } = message;
        match (body, log) {
            (NodeMessageBody::Probe(holder), log) => self.handle_probe(node, &log, holder),
            (NodeMessageBody::Alive(holder), log) => self.handle_remote_alive(&log, holder),
            (NodeMessageBody::SlowReceiver { sender, bytes }, log) => {
                self.charge_slow_receiver(&log, sender, bytes);
            }
            (
                NodeMessageBody::Relay {
                    from: sender,
                    to,
                    message,
                },
                LogId::Room(room),
            ) => self.handle_relay(node, room, sender, to, &message),
            (NodeMessageBody::Bounce { to, target }, LogId::Room(room)) => {
                self.report_undelivered(&room, to, target, ErrorCode::NoSuchPeer, now);
            }
            (NodeMessageBody::Announce { to, from, message }, LogId::Room(room)) => {
                self.handle_announcement(node, &room, to, &from, message);
            }
            (
                NodeMessageBody::Relay { .. }
                | NodeMessageBody::Bounce { .. }
                | NodeMessageBody::Announce { .. },
                LogId::Name(..) | LogId::Election(_),
            ) => {}
        }
    }

    /// Tells the sender of a relayed message that the message could not be sent to another node. A probe that could
    /// not be sent needs no report: its challenge (the time that the holder has to answer) expires.
    pub(super) fn handle_undeliverable(&mut self, message: NodeMessage, now: Instant) {
        let (NodeMessageBody::Relay { from, to, .. }, LogId::Room(room)) =
            (message.body, message.log)
        else {
            return;
        };
        let target = match to {
            Recipient::Everyone => Target::Everyone,
            Recipient::One { target, .. } => target,
        };
        self.report_undelivered(&room, from.peer, target, ErrorCode::Unavailable, now);
    }

    /// Charges a member of this node for a frame to a slow receiver on another node.
    fn charge_slow_receiver(&mut self, log: &LogId, sender: PeerId, bytes: usize) {
        if let Some(local) = self.local(log, sender) {
            let charge = Charge::SlowReceiver { bytes };
            self.effects.charge(local, charge);
        }
    }

    /// Reports to a member of this node that its message was not delivered. A frame for `AddressOrWait` may wait for a
    /// member to take the address, so this only records the loss. The sender gets the error when the waiting time ends.
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
        let error = RequestError::new(reason).in_room(&room.name);
        self.refuse(local, error.to(target));
    }

    /// Delivers a message of a member of another node. Answers with a bounce if the message has one receiver and cannot
    /// be delivered to it here.
    fn handle_relay(
        &mut self,
        node: NodeId,
        id: RoomId,
        from: MembershipRef,
        to: Recipient,
        message: &Arc<RelayedMessage>,
    ) {
        let log = LogId::Room(id);
        let LogId::Room(id) = &log else {
            return;
        };
        if let Some(alias) = &message.aliases.from
            && let Some(room) = self.rooms.get_mut(&log)
            && room.membership_on_node(node, from).is_some()
        {
            room.note_alias(from.peer, alias);
        }
        let room = self.rooms.get(&log);
        let sender = room.and_then(|room| Some((room, room.membership_on_node(node, from)?)));
        let receiver = match (&to, sender) {
            (Recipient::Everyone, Some((room, membership))) => {
                let sender = &membership.member;
                let Some(mut broadcast) = Broadcast::of_member(room, sender, message) else {
                    let message = message.clone();
                    let body = NodeMessageBody::Relay {
                        from,
                        to,
                        message: message.clone(),
                    };
                    let input = Input::NodeMessage(node, NodeMessage { log, body });
                    return self.return_unparsed(message, input);
                };
                // The sender's node charges the sender for all receivers.
                broadcast.deliver(&mut self.effects, id, sender, message);
                if message.kind.is_description() {
                    self.note_description(&log, from.peer, None);
                }
                return;
            }
            (Recipient::One { member: wanted, .. }, Some((room, sender))) => room
                .membership(wanted.peer)
                .filter(|other| other.since == wanted.since && sender.member.sees(&other.member))
                .and_then(|receiver| receiver.local().cloned())
                .map(|local| (local, sender.member.clone())),
            (_, None) => None,
        };
        match (receiver, to) {
            (Some((local, from)), to) => {
                let sender = from.peer;
                self.deliver(local, received_event(id, &from, true, message.clone()));
                if let Recipient::One {
                    member: membership, ..
                } = to
                    && message.kind.is_description()
                {
                    self.note_description(&log, sender, Some(membership.peer));
                }
            }
            (None, Recipient::One { target, .. }) => {
                let to = from.peer;
                self.send(node, log, NodeMessageBody::Bounce { to, target });
            }
            (None, Recipient::Everyone) => {}
        }
    }

    /// Delivers a message that the host program (the program that embeds the server) of another node sends.
    fn handle_announcement(
        &mut self,
        node: NodeId,
        id: &RoomId,
        to: Option<PeerId>,
        from: &Arc<Member>,
        message: Arc<RelayedMessage>,
    ) {
        let log = LogId::Room(id.clone());
        let Some(room) = self.rooms.get(&log) else {
            return;
        };
        let Some(peer) = to else {
            let Some(mut broadcast) = Broadcast::of_host(room, &message) else {
                let (from, shared) = (from.clone(), message.clone());
                let body = NodeMessageBody::Announce {
                    to,
                    from,
                    message: shared,
                };
                let input = Input::NodeMessage(node, NodeMessage { log, body });
                return self.return_unparsed(message, input);
            };
            broadcast.deliver(&mut self.effects, id, from, &message);
            return;
        };
        let receiver = room.membership(peer);
        if let Some(local) = receiver.and_then(|receiver| receiver.local().cloned()) {
            let event = received_event(id, from, true, message);
            self.effects.deliver(local, Arc::new(event));
        }
    }

    /// Probes a member of this node for another node.
    fn handle_probe(&mut self, node: NodeId, log: &LogId, holder: PeerId) {
        let membership = self.rooms.get(log).and_then(|room| room.membership(holder));
        let Some((local, resource)) = membership.and_then(|membership| {
            Some((
                membership.local().cloned()?,
                resource_key(log, &membership.member.address)?,
            ))
        }) else {
            return;
        };
        let waiting = self.waiting_nodes.entry(resource.clone()).or_default();
        if !waiting.contains(&node) && waiting.len() < WAITING_NODES_MAX {
            waiting.push(node);
        }
        self.deliver(local, Event::Probe(resource));
    }

    /// Refuses the claims to a resource whose holder, on another node, has answered a probe.
    fn handle_remote_alive(&mut self, log: &LogId, holder: PeerId) {
        let membership = self.rooms.get(log).and_then(|room| room.membership(holder));
        let Some(resource) =
            membership.and_then(|membership| resource_key(log, &membership.member.address))
        else {
            return;
        };
        for pending in self.challenges.end(&resource) {
            self.refuse_join(pending, ErrorCode::Taken);
        }
    }
}

//! Joins and leaves that this node proposes, and messages between nodes.

use std::{sync::Arc, time::Instant};

use switchboard_core::{
    EvictionReason, LeaveCause, LogId, Member, NodeId, NodeMessage, NodeMessageBody, PeerId,
    Recipient, RejectReason,
};

use super::{
    CHALLENGE, IDLE_RETENTION, JOIN_TIMEOUT, Node, NodeEffect, PendingRequest, QUEUE_MAX, Timer,
};
use crate::{
    envelope,
    replica::{DesiredMember, HeldMessage, Replica},
    store::{MemberSpec, Proposal, StoreRequest},
};

impl Node {
    pub(super) fn propose_join(&mut self, log: LogId, member: Arc<Member>, now: Instant) {
        let peer = member.peer;
        let is_down_too_long = self.down_for(now) >= Some(JOIN_TIMEOUT);
        if is_down_too_long || self.is_closing || self.queue.len() >= QUEUE_MAX {
            return self.emit_rejected(&log, peer, RejectReason::Unavailable);
        }
        let deadline = now + JOIN_TIMEOUT;
        self.joins += 1;
        let metadata = self.dialects.encode_member(&member, self.joins);
        let desired = DesiredMember {
            member,
            metadata,
            join_deadline: Some(deadline),
        };
        let node = self.lease.node;
        let is_new = !self.replicas.contains_key(&log);
        let replica = self
            .replicas
            .entry(log.clone())
            .or_insert_with(|| Replica::new(node));
        replica.retained_until = None;
        replica.desired.insert(peer, desired.copy());
        self.timers
            .insert((deadline, Timer::Join(log.clone(), peer)));
        if self.connected.is_err() {
            return;
        }
        if is_new {
            self.subscribe(&log);
        } else {
            self.request_join(log, desired);
        }
    }

    pub(super) fn request_join(&mut self, log: LogId, desired: DesiredMember) {
        let spec = MemberSpec {
            peer: desired.member.peer,
            address: desired.member.address.clone(),
            since: None,
            metadata: desired.metadata.clone(),
        };
        let request = StoreRequest::Change {
            members_max: self.members_max(&log, &desired.member),
            log: log.clone(),
            lease: self.lease,
            proposal: Proposal::Join(spec),
        };
        let epoch = self.lease.epoch;
        self.enqueue(request, PendingRequest::Join(log, desired, epoch));
    }

    pub(super) fn propose_leave(
        &mut self,
        log: LogId,
        peer: PeerId,
        cause: LeaveCause,
        now: Instant,
    ) {
        let Some(replica) = self.replicas.get_mut(&log) else {
            return self.emit_rejected(&log, peer, RejectReason::NotAMember);
        };
        let is_own = replica.desired.remove(&peer).is_some() || replica.is_own(peer);
        // A member of another node is evicted as unresponsive only if this node was connected to the store for the whole
        // time that the member had to answer the liveness check. Otherwise the answer may have been lost.
        let could_receive_answer = self.connected.is_ok_and(|since| now >= since + CHALLENGE);
        if !is_own
            && !could_receive_answer
            && cause == LeaveCause::Evicted(EvictionReason::Unresponsive)
        {
            return self.emit_rejected(&log, peer, RejectReason::Unavailable);
        }
        if is_own {
            replica.note_leave(peer, cause);
        }
        if self.connected.is_err() {
            match cause {
                _ if is_own => self.leave_offline(&log, peer),
                LeaveCause::Evicted(_) => self.emit_rejected(&log, peer, RejectReason::Unavailable),
                LeaveCause::Requested(_) | LeaveCause::NodeLost => {
                    self.emit_rejected(&log, peer, RejectReason::NotAMember);
                }
            }
            return self.schedule_close(&log, now);
        }
        let request = StoreRequest::Change {
            log: log.clone(),
            lease: self.lease,
            proposal: Proposal::Leave(peer, cause),
            members_max: 0,
        };
        let epoch = self.lease.epoch;
        self.enqueue(request, PendingRequest::Leave(log, peer, cause, epoch));
    }

    /// Applies the leave of a member of this node while the store is disconnected. The members of this node
    /// see it at once, those of other nodes when the store is back.
    pub(super) fn leave_offline(&mut self, log: &LogId, peer: PeerId) {
        let mut entries = Vec::new();
        if let Some(replica) = self.replicas.get_mut(log) {
            let cause = replica.leave_cause(peer);
            replica.apply_leave(peer, cause, &mut entries);
        }
        if entries.is_empty() {
            self.emit_rejected(log, peer, RejectReason::NotAMember);
        }
        self.emit_committed(log, entries);
    }

    /// Schedules the removal of a replica that no member of this node needs.
    pub(super) fn schedule_close(&mut self, log: &LogId, now: Instant) {
        let Some(replica) = self.replicas.get_mut(log) else {
            return;
        };
        if replica.retained_until.is_none() && !replica.is_needed() {
            let deadline = now + IDLE_RETENTION;
            replica.retained_until = Some(deadline);
            self.timers
                .insert((deadline, Timer::IdleRetention(log.clone())));
        }
    }

    pub(super) fn queue_message(&mut self, to: NodeId, message: NodeMessage) {
        let Some(replica) = self.replicas.get(&message.log) else {
            return self.effects.push_back(NodeEffect::Undeliverable(message));
        };
        let at = replica.version.head;
        let unsent = match self.connected {
            Ok(_) if self.message_formats.can_send_to(to) => self.outbox.push(to, at, message),
            Ok(_) | Err(_) => Some(message),
        };
        self.effects.extend(unsent.map(NodeEffect::Undeliverable));
    }

    pub(super) fn receive_envelope(&mut self, bytes: &[u8], now: Instant) {
        let read = envelope::read(bytes, &*self.dialects);
        if read.is_incomplete {
            let (from, version) = (read.from, read.version);
            self.effects
                .push_back(NodeEffect::Discarded { from, version });
        }
        let Some(from) = read.from else {
            return;
        };
        for (at, message) in read.messages {
            let replica = self.replicas.get_mut(&message.log);
            let Some(replica) = replica.filter(|replica| !replica.can_deliver(at)) else {
                self.effects
                    .push_back(NodeEffect::NodeMessage(from, message));
                continue;
            };
            let log = message.log.clone();
            match replica.hold(HeldMessage { from, at, message }) {
                None => self.schedule_gap_read(&log, now),
                Some(held) => self.return_to_sender(held),
            }
        }
    }

    /// Bounces a message that cannot be held here to its sender. Only a message to one member is bounced: the
    /// sender of any other message expects no report.
    pub(super) fn return_to_sender(&mut self, held: HeldMessage) {
        let NodeMessage { log, body } = held.message;
        if let NodeMessageBody::Relay {
            from,
            to: Recipient::One { target, .. },
            ..
        } = body
        {
            let to = from.peer;
            let body = NodeMessageBody::Bounce { to, target };
            self.queue_message(held.from, NodeMessage { log, body });
        }
    }
}

//! What members of this node want, and what they say to those of others.

use std::{sync::Arc, time::Instant};

use switchboard_core::{
    EvictionReason, LeaveCause, LogId, Member, NodeId, NodeMessage, NodeMessageBody, PeerId,
    Recipient, RejectReason,
};

use super::{
    CHALLENGE, IDLE_RETENTION, JOIN_TIMEOUT, Node, NodeEffect, PendingRequest, QUEUE_MAX, Timer,
};
use crate::cluster::{
    envelope,
    replica::{DesiredMember, HeldMessage, HoldOutcome, Replica},
    store::{MemberSpec, Proposal, StoreRequest},
};

impl Node {
    pub(super) fn propose_join(&mut self, log: LogId, member: Arc<Member>, now: Instant) {
        let peer = member.peer;
        let is_long_gone = self.down_for(now) >= Some(JOIN_TIMEOUT);
        if is_long_gone || self.is_closing || self.queue.len() >= QUEUE_MAX {
            return self.emit_rejected(&log, peer, RejectReason::Unavailable);
        }
        let until = now + JOIN_TIMEOUT;
        self.joins += 1;
        let card = envelope::write_metadata(&member, self.joins);
        let want = DesiredMember {
            member,
            metadata: card,
            join_deadline: Some(until),
        };
        let node = self.lease.node;
        let is_new = !self.replicas.contains_key(&log);
        let replica = self
            .replicas
            .entry(log.clone())
            .or_insert_with(|| Replica::new(node));
        replica.retained_until = None;
        replica.desired.insert(peer, want.copy());
        self.timers.insert((until, Timer::Join(log.clone(), peer)));
        if self.connected.is_err() {
            return;
        }
        if is_new {
            self.subscribe(&log);
        } else {
            self.request_join(log, want);
        }
    }

    pub(super) fn request_join(&mut self, log: LogId, want: DesiredMember) {
        let wanted = MemberSpec {
            peer: want.member.peer,
            address: want.member.address.clone(),
            since: None,
            metadata: want.metadata.clone(),
        };
        let request = StoreRequest::Change {
            members_max: self.members_max(&log, &want.member),
            log: log.clone(),
            lease: self.lease,
            proposal: Proposal::Join(wanted),
        };
        let epoch = self.lease.epoch;
        self.enqueue(request, PendingRequest::Join(log, want, epoch));
    }

    pub(super) fn propose_leave(
        &mut self,
        log: LogId,
        peer: PeerId,
        departure: LeaveCause,
        now: Instant,
    ) {
        let Some(replica) = self.replicas.get_mut(&log) else {
            return self.emit_rejected(&log, peer, RejectReason::NotAMember);
        };
        let is_own = replica.desired.remove(&peer).is_some() || replica.is_own(peer);
        // It may have answered when this node could not hear it.
        let is_heard = self.connected.is_ok_and(|since| now >= since + CHALLENGE);
        if !is_own && !is_heard && departure == LeaveCause::Evicted(EvictionReason::Unresponsive) {
            return self.emit_rejected(&log, peer, RejectReason::Unavailable);
        }
        if is_own {
            replica.note_leave(peer, departure);
        }
        if self.connected.is_err() {
            match departure {
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
            proposal: Proposal::Leave(peer, departure),
            members_max: 0,
        };
        let epoch = self.lease.epoch;
        self.enqueue(request, PendingRequest::Leave(log, peer, departure, epoch));
    }

    /// A member of this node goes while the store is away: those of this node see it at once, the
    /// others when the store is back.
    pub(super) fn leave_offline(&mut self, log: &LogId, peer: PeerId) {
        let mut entries = Vec::new();
        if let Some(replica) = self.replicas.get_mut(log) {
            let departure = replica.leave_cause(peer);
            replica.apply_leave(peer, departure, &mut entries);
        }
        if entries.is_empty() {
            self.emit_rejected(log, peer, RejectReason::NotAMember);
        }
        self.emit_committed(log, entries);
    }

    /// Gives a log up some time after nobody here has wanted it.
    pub(super) fn schedule_close(&mut self, log: &LogId, now: Instant) {
        let Some(replica) = self.replicas.get_mut(log) else {
            return;
        };
        if replica.retained_until.is_none() && !replica.is_needed() {
            let until = now + IDLE_RETENTION;
            replica.retained_until = Some(until);
            self.timers
                .insert((until, Timer::IdleRetention(log.clone())));
        }
    }

    pub(super) fn queue_message(&mut self, to: NodeId, letter: NodeMessage) {
        let Some(replica) = self.replicas.get(&letter.log) else {
            return self.effects.push_back(NodeEffect::Undeliverable(letter));
        };
        let at = replica.version.head;
        let unsent = match self.connected {
            Ok(_) => self.outbox.push(to, at, letter),
            Err(_) => Some(letter),
        };
        self.effects.extend(unsent.map(NodeEffect::Undeliverable));
    }

    pub(super) fn receive_envelope(&mut self, bytes: &[u8], now: Instant) {
        let Some((from, letters)) = envelope::read(bytes, &*self.dialects) else {
            return;
        };
        for (at, letter) in letters {
            let log = letter.log.clone();
            let letter = HeldMessage {
                from,
                at,
                message: letter,
            };
            let Some(replica) = self.replicas.get_mut(&log) else {
                self.effects
                    .push_back(NodeEffect::NodeMessage(from, letter.message));
                continue;
            };
            match replica.hold(letter) {
                HoldOutcome::Deliver(held) => self
                    .effects
                    .push_back(NodeEffect::NodeMessage(from, held.message)),
                HoldOutcome::Held => self.schedule_gap_read(&log, now),
                HoldOutcome::Full(held) => self.return_to_sender(held),
            }
        }
    }

    /// Sends a letter back that cannot wait here.
    pub(super) fn return_to_sender(&mut self, held: HeldMessage) {
        let NodeMessage { log, body: message } = held.message;
        if let NodeMessageBody::Relay {
            from,
            to: Recipient::One { target, .. },
            ..
        } = message
        {
            let to = from.peer;
            let message = NodeMessageBody::Bounce { to, target };
            self.queue_message(held.from, NodeMessage { log, body: message });
        }
    }
}

//! Events of the logs and responses of the store.

use std::time::Instant;

use switchboard_core::{LeaveCause, LeaveKind, LogId, PeerId, RejectReason};

use super::{Node, NodeEffect, PendingRequest, Timer};
use crate::{
    replica::{ApplyResult, DesiredMember},
    store::{
        ChangeOutcome, JoinRejection, Lease, LogEvent, LogVersion, Proposal, Snapshot,
        StoreRequest, StoreResponse, StoredChange, StoredMember,
    },
};

impl Node {
    pub(super) fn handle_log_event(&mut self, log: &LogId, event: LogEvent, now: Instant) {
        let Some(replica) = self.replicas.get_mut(log) else {
            return;
        };
        let (result, entries) = replica.apply_event(event, &*self.dialects);
        self.emit_committed(log, entries);
        self.handle_apply_result(log, result, now);
    }

    /// Call it after changes were applied to a replica: reads missing events, removes outdated memberships and delivers
    /// held messages.
    pub(super) fn handle_apply_result(&mut self, log: &LogId, result: ApplyResult, now: Instant) {
        match result {
            ApplyResult::InOrder => {}
            ApplyResult::Gap => self.schedule_gap_read(log, now),
            ApplyResult::Fenced(epoch) if epoch == self.lease.epoch => {
                self.handle_lost_lease(epoch, now)
            }
            // This node has moved to a later epoch already, and its members are being synchronised.
            ApplyResult::Fenced(_) => self.schedule_gap_read(log, now),
        }
        self.remove_outdated(log);
        self.deliver_held_messages(log, now);
        self.schedule_close(log, now);
    }

    /// Requests the removal of outdated memberships, those of joins that this node has given up. Then requests a
    /// synchronisation, which joins the members that are desired now.
    pub(super) fn remove_outdated(&mut self, log: &LogId) {
        let Some(replica) = self.replicas.get_mut(log) else {
            return;
        };
        let mut outdated = std::mem::take(&mut replica.outdated);
        outdated.retain(|peer| replica.removing.insert(*peer));
        if outdated.is_empty() {
            return;
        }
        for peer in outdated {
            let request = StoreRequest::Change {
                log: log.clone(),
                lease: self.lease,
                proposal: Proposal::Leave(peer, LeaveCause::Requested(LeaveKind::Announced)),
                members_max: 0,
            };
            self.enqueue(request, PendingRequest::RemoveOutdated(log.clone(), peer));
        }
        self.sync(log);
    }

    pub(super) fn deliver_held_messages(&mut self, log: &LogId, now: Instant) {
        let Some(replica) = self.replicas.get_mut(log) else {
            return;
        };
        let messages = replica.take_deliverable().into_iter();
        self.effects
            .extend(messages.map(|held| NodeEffect::NodeMessage(held.from, held.message)));
        if replica.is_behind() {
            self.schedule_gap_read(log, now);
        }
    }

    pub(super) fn handle_response(
        &mut self,
        pending: PendingRequest,
        response: StoreResponse,
        now: Instant,
    ) {
        match (pending, response) {
            (pending, StoreResponse::Failed(_)) => self.handle_failure(pending, now),
            (
                PendingRequest::Heartbeat(epoch),
                StoreResponse::Heartbeat {
                    valid,
                    was_listed,
                    nodes,
                },
            ) => {
                if self.is_store_confirmed && !was_listed {
                    self.effects.push_back(NodeEffect::StoreLost);
                    self.subscribe_all();
                }
                self.is_store_confirmed = true;
                self.handle_heartbeat(epoch, valid, nodes, now);
            }
            (PendingRequest::Fence(lease), StoreResponse::Fenced(true)) => {
                self.enqueue(
                    StoreRequest::SubscribedLogs(lease.node),
                    PendingRequest::Logs(lease),
                );
            }
            (PendingRequest::Logs(lease), StoreResponse::Logs(logs)) => {
                self.evict_node(lease, logs)
            }
            (PendingRequest::OwnLogs, StoreResponse::Logs(logs)) => self.leave_forgotten_logs(logs),
            (PendingRequest::Probe(log), StoreResponse::Read(snapshot)) => {
                self.handle_probe(&log, snapshot, now)
            }
            (PendingRequest::Read(log, conflicting_peers), StoreResponse::Read(snapshot)) => {
                self.handle_read(&log, snapshot, conflicting_peers, now);
            }
            (
                PendingRequest::Sync(log, epoch),
                StoreResponse::Synced {
                    fenced,
                    rejected,
                    snapshot,
                },
            ) => match fenced {
                true => self.handle_lost_lease(epoch, now),
                false => self.handle_synced(&log, rejected, snapshot, now),
            },
            (PendingRequest::Join(log, desired, epoch), StoreResponse::Changed { outcome, .. }) => {
                self.handle_join_outcome(&log, desired, epoch, outcome, now);
            }
            (
                PendingRequest::Leave(log, peer, cause, epoch),
                StoreResponse::Changed { outcome, .. },
            ) => {
                self.handle_leave_outcome(&log, peer, cause, epoch, outcome, now);
            }
            (PendingRequest::RemoveOutdated(log, peer), _) => {
                if let Some(replica) = self.replicas.get_mut(&log) {
                    replica.removing.remove(&peer);
                }
            }
            (PendingRequest::Post(messages), response) => {
                self.outbox.mark_sent(&messages);
                if response == StoreResponse::Posted(0) {
                    self.effects
                        .extend(messages.into_iter().map(NodeEffect::Undeliverable));
                }
            }
            // No action is needed, or the response does not match the request.
            (_, _) => {}
        }
    }

    /// Handles a request that the store could not execute. If the request is about a log, all joins of that log that
    /// are not committed are rejected. Requests about other logs are not affected.
    pub(super) fn handle_failure(&mut self, pending: PendingRequest, now: Instant) {
        let log = match &pending {
            PendingRequest::Sync(log, _)
            | PendingRequest::Read(log, _)
            | PendingRequest::Probe(log)
            | PendingRequest::Join(log, ..)
            | PendingRequest::Leave(log, ..)
            | PendingRequest::RemoveOutdated(log, _) => log.clone(),
            PendingRequest::Post(messages) => return self.return_messages(messages.clone()),
            PendingRequest::Heartbeat(_)
            | PendingRequest::Fence(_)
            | PendingRequest::Logs(_)
            | PendingRequest::OwnLogs
            | PendingRequest::Nothing => {
                return;
            }
        };
        let mut unserved = Vec::new();
        if let Some(replica) = self.replicas.get_mut(&log) {
            replica.is_read_planned = false;
            unserved.extend(replica.desired_without_membership());
        }
        for peer in unserved {
            if self.abandon_join(&log, peer) {
                self.emit_rejected(&log, peer, RejectReason::Unavailable);
            }
        }
        match pending {
            PendingRequest::Read(_, conflicting_peers) => {
                for peer in conflicting_peers {
                    self.emit_rejected(&log, peer, RejectReason::Unavailable);
                }
            }
            PendingRequest::Leave(_, peer, ..) => {
                let replica = self.replicas.get(&log);
                match replica
                    .is_some_and(|replica| replica.is_member(peer) && !replica.is_own(peer))
                {
                    true => self.emit_rejected(&log, peer, RejectReason::Unavailable),
                    false => self.leave_offline(&log, peer),
                }
            }
            PendingRequest::Heartbeat(_)
            | PendingRequest::Fence(_)
            | PendingRequest::Logs(_)
            | PendingRequest::OwnLogs
            | PendingRequest::Probe(_)
            | PendingRequest::Sync(..)
            | PendingRequest::Join(..)
            | PendingRequest::RemoveOutdated(..)
            | PendingRequest::Post(_)
            | PendingRequest::Nothing => {}
        }
        self.schedule_close(&log, now);
    }

    pub(super) fn handle_join_outcome(
        &mut self,
        log: &LogId,
        desired: DesiredMember,
        epoch: u32,
        outcome: ChangeOutcome,
        now: Instant,
    ) {
        let peer = desired.member.peer;
        match outcome {
            ChangeOutcome::Applied(at) => {
                let member = StoredMember {
                    peer,
                    address: desired.member.address.clone(),
                    lease: Lease {
                        epoch,
                        ..self.lease
                    },
                    since: at.head,
                    metadata: desired.metadata,
                };
                let change = StoredChange::Join(member);
                self.handle_log_event(
                    log,
                    LogEvent {
                        version: at,
                        change,
                    },
                    now,
                );
            }
            ChangeOutcome::Rejected(JoinRejection::Taken) => {
                if self.abandon_join(log, peer) {
                    self.read(log, vec![peer]);
                }
            }
            ChangeOutcome::Rejected(JoinRejection::Full) => {
                if self.abandon_join(log, peer) {
                    self.emit_rejected(log, peer, RejectReason::Full);
                    self.schedule_close(log, now);
                }
            }
            ChangeOutcome::Fenced => self.handle_lost_lease(epoch, now),
            ChangeOutcome::AlreadyMember(_) | ChangeOutcome::NotAMember => {}
        }
    }

    /// Abandons the pending join of a peer that is not a member. Returns whether the join was
    /// pending.
    pub(super) fn abandon_join(&mut self, log: &LogId, peer: PeerId) -> bool {
        let replica = self.replicas.get_mut(log);
        replica.is_some_and(|replica| {
            !replica.is_member(peer) && replica.desired.remove(&peer).is_some()
        })
    }

    pub(super) fn handle_leave_outcome(
        &mut self,
        log: &LogId,
        peer: PeerId,
        cause: LeaveCause,
        epoch: u32,
        outcome: ChangeOutcome,
        now: Instant,
    ) {
        match outcome {
            ChangeOutcome::Applied(at) => {
                if let Some(replica) = self.replicas.get_mut(log) {
                    replica.note_committed_leave(peer, at);
                }
                let change = StoredChange::Leave(peer, cause);
                self.handle_log_event(
                    log,
                    LogEvent {
                        version: at,
                        change,
                    },
                    now,
                );
            }
            ChangeOutcome::Fenced => {
                self.handle_lost_lease(epoch, now);
                self.note_absent_member(log, peer);
            }
            ChangeOutcome::NotAMember
            | ChangeOutcome::AlreadyMember(_)
            | ChangeOutcome::Rejected(_) => {
                self.note_absent_member(log, peer);
            }
        }
    }

    /// Handles the response that a leaving peer is not a member in the store. If it is a member here, this node has
    /// missed the leave and reads the log.
    pub(super) fn note_absent_member(&mut self, log: &LogId, peer: PeerId) {
        if self
            .replicas
            .get(log)
            .is_some_and(|replica| replica.is_member(peer))
        {
            self.read(log, Vec::new());
        } else {
            self.emit_rejected(log, peer, RejectReason::NotAMember);
        }
    }

    /// Handles the result of a probe (a read that compares heads). It may show changes whose events are still to
    /// arrive, so the log is read only after the gap timeout.
    pub(super) fn handle_probe(&mut self, log: &LogId, snapshot: Option<Snapshot>, now: Instant) {
        let Some(replica) = self.replicas.get_mut(log) else {
            return;
        };
        let probed_version = snapshot.as_ref().map(|snapshot| snapshot.version);
        match probed_version {
            Some(probed_version) if probed_version.generation == replica.version.generation => {
                replica.head_seen = probed_version.head;
                if replica.is_behind() {
                    self.schedule_gap_read(log, now);
                }
            }
            Some(_) | None => self.handle_read(log, snapshot, Vec::new(), now),
        }
    }

    pub(super) fn handle_read(
        &mut self,
        log: &LogId,
        snapshot: Option<Snapshot>,
        conflicting_peers: Vec<PeerId>,
        now: Instant,
    ) {
        let Some(replica) = self.replicas.get_mut(log) else {
            return;
        };
        let snapshot = snapshot.unwrap_or_else(|| empty_snapshot(replica.version));
        if replica.is_own_member_missing_in(&snapshot) {
            self.sync(log);
        } else {
            self.apply_snapshot(log, snapshot, now);
        }
        for peer in conflicting_peers {
            self.emit_rejected(log, peer, RejectReason::Taken);
        }
    }

    pub(super) fn handle_synced(
        &mut self,
        log: &LogId,
        rejected: Vec<(PeerId, JoinRejection)>,
        snapshot: Option<Snapshot>,
        now: Instant,
    ) {
        let Some(replica) = self.replicas.get(log) else {
            return;
        };
        let snapshot = snapshot.unwrap_or_else(|| empty_snapshot(replica.version));
        // A rejected peer that is a member in the replica gets a leave from `apply_snapshot`, and not also a rejection.
        let (_, refused): (Vec<_>, Vec<_>) = rejected
            .into_iter()
            .partition(|(peer, _)| replica.is_member(*peer));
        self.apply_snapshot(log, snapshot, now);
        for (peer, reason) in refused {
            if self.abandon_join(log, peer) {
                let reason = match reason {
                    JoinRejection::Taken => RejectReason::Taken,
                    JoinRejection::Full => RejectReason::Full,
                };
                self.emit_rejected(log, peer, reason);
            }
        }
        self.schedule_close(log, now);
    }

    /// Applies a snapshot of a log, and then the events that arrived before it.
    pub(super) fn apply_snapshot(&mut self, log: &LogId, snapshot: Snapshot, now: Instant) {
        let Some(replica) = self.replicas.get_mut(log) else {
            return;
        };
        replica.is_read_planned = false;
        // An event that arrived before this response may be newer than the snapshot.
        let is_old = snapshot.version.head < replica.version.head
            && snapshot.version.generation <= replica.version.generation;
        if is_old {
            let must_read_again = replica.must_remove_unrestored;
            let (result, entries) = replica.apply_pending_events(&*self.dialects);
            self.emit_committed(log, entries);
            if must_read_again {
                self.read(log, Vec::new());
            }
            return self.handle_apply_result(log, result, now);
        }
        replica.must_remove_unrestored = false;
        let old_generation = replica.version.generation;
        if old_generation != 0 && old_generation != snapshot.version.generation {
            let deadline = now + self.settings.lease;
            replica.restore_grace = Some(deadline);
            self.timers
                .insert((deadline, Timer::RestoreGrace(log.clone())));
        }
        let mut entries = replica.apply_snapshot(snapshot, &*self.dialects);
        let (result, more) = replica.apply_pending_events(&*self.dialects);
        entries.extend(more);
        let departed = replica.take_departed();
        self.emit_committed(log, entries);
        for peer in departed {
            self.emit_rejected(log, peer, RejectReason::NotAMember);
        }
        self.handle_apply_result(log, result, now);
    }
}

/// The snapshot that stands for a log that does not exist in the store: no members, at the version `known`.
fn empty_snapshot(known: LogVersion) -> Snapshot {
    Snapshot {
        version: known,
        members: Vec::new(),
    }
}

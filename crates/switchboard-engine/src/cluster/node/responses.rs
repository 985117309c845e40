//! What the store says: news of the logs, and answers.

use std::time::Instant;

use switchboard_core::{LeaveCause, LeaveKind, LogId, PeerId, RejectReason};

use super::{Node, NodeEffect, PendingRequest, Timer};
use crate::cluster::{
    replica::{ApplyResult, DesiredMember},
    store::{
        ChangeOutcome, JoinRejection, Lease, LogEvent, LogVersion, Proposal, Snapshot,
        StoreRequest, StoreResponse, StoredChange, StoredMember,
    },
};

impl Node {
    pub(super) fn handle_log_event(&mut self, log: &LogId, news: LogEvent, now: Instant) {
        let Some(replica) = self.replicas.get_mut(log) else {
            return;
        };
        let (taken, entries) = replica.apply_event(news, &*self.dialects);
        self.emit_committed(log, entries);
        self.handle_apply_result(log, taken, now);
    }

    /// After changes were taken.
    pub(super) fn handle_apply_result(&mut self, log: &LogId, taken: ApplyResult, now: Instant) {
        match taken {
            ApplyResult::InOrder => {}
            ApplyResult::Gap => self.schedule_gap_read(log, now),
            ApplyResult::Fenced(epoch) if epoch == self.lease.epoch => {
                self.handle_lost_lease(epoch, now)
            }
            // The seats of an epoch that is over are being asked for anew.
            ApplyResult::Fenced(_) => self.schedule_gap_read(log, now),
        }
        self.release_outdated(log);
        self.release_held_messages(log, now);
        self.schedule_close(log, now);
    }

    /// Gives the seats of joins that were given up back, and asks anew for what is wanted now.
    pub(super) fn release_outdated(&mut self, log: &LogId) {
        let Some(replica) = self.replicas.get_mut(log) else {
            return;
        };
        let mut outdated = std::mem::take(&mut replica.outdated);
        outdated.retain(|peer| replica.releasing.insert(*peer));
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
            self.enqueue(request, PendingRequest::Release(log.clone(), peer));
        }
        self.sync(log);
    }

    pub(super) fn release_held_messages(&mut self, log: &LogId, now: Instant) {
        let Some(replica) = self.replicas.get_mut(log) else {
            return;
        };
        let letters = replica.take_releasable(false).into_iter();
        self.effects
            .extend(letters.map(|held| NodeEffect::NodeMessage(held.from, held.message)));
        if replica.is_behind() {
            self.schedule_gap_read(log, now);
        }
    }

    pub(super) fn handle_response(
        &mut self,
        asked: PendingRequest,
        answer: StoreResponse,
        now: Instant,
    ) {
        match (asked, answer) {
            (asked, StoreResponse::Failed(_)) => self.handle_failure(asked, now),
            (
                PendingRequest::Heartbeat(epoch),
                StoreResponse::Heartbeat {
                    valid,
                    is_listed,
                    nodes,
                },
            ) => {
                if self.is_store_confirmed && !is_listed {
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
            (PendingRequest::OwnLogs, StoreResponse::Logs(logs)) => {
                self.release_forgotten_logs(logs)
            }
            (PendingRequest::Probe(log), StoreResponse::Read(snapshot)) => {
                self.handle_probe(&log, snapshot, now)
            }
            (PendingRequest::Read(log, taken), StoreResponse::Read(snapshot)) => {
                self.handle_read(&log, snapshot, taken, now);
            }
            (
                PendingRequest::Sync(log, epoch),
                StoreResponse::Synced {
                    fenced,
                    rejected: declined,
                    snapshot,
                },
            ) => match fenced {
                true => self.handle_lost_lease(epoch, now),
                false => self.handle_synced(&log, declined, snapshot, now),
            },
            (PendingRequest::Join(log, want, epoch), StoreResponse::Changed { outcome, .. }) => {
                self.handle_join_outcome(&log, want, epoch, outcome, now);
            }
            (
                PendingRequest::Leave(log, peer, departure, epoch),
                StoreResponse::Changed { outcome, .. },
            ) => {
                self.handle_leave_outcome(&log, peer, departure, epoch, outcome, now);
            }
            (PendingRequest::Release(log, peer), _) => {
                if let Some(replica) = self.replicas.get_mut(&log) {
                    replica.releasing.remove(&peer);
                }
            }
            (PendingRequest::Post(letters), answer) => {
                self.outbox.mark_sent(&letters);
                if answer == StoreResponse::Posted(0) {
                    self.effects
                        .extend(letters.into_iter().map(NodeEffect::Undeliverable));
                }
            }
            // Nothing to do, or a store that answers what was not asked.
            (_, _) => {}
        }
    }

    /// The store could not do one thing; all else goes on.
    pub(super) fn handle_failure(&mut self, asked: PendingRequest, now: Instant) {
        let log = match &asked {
            PendingRequest::Sync(log, _)
            | PendingRequest::Read(log, _)
            | PendingRequest::Probe(log)
            | PendingRequest::Join(log, ..)
            | PendingRequest::Leave(log, ..)
            | PendingRequest::Release(log, _) => log.clone(),
            PendingRequest::Post(letters) => return self.return_messages(letters.clone()),
            PendingRequest::Heartbeat(_)
            | PendingRequest::Fence(_)
            | PendingRequest::Logs(_)
            | PendingRequest::OwnLogs
            | PendingRequest::Nothing => {
                return;
            }
        };
        let mut in_vain = Vec::new();
        if let Some(replica) = self.replicas.get_mut(&log) {
            replica.is_read_planned = false;
            in_vain.extend(replica.desired_without_membership());
        }
        for peer in in_vain {
            if self.abandon_join(&log, peer) {
                self.emit_rejected(&log, peer, RejectReason::Unavailable);
            }
        }
        match asked {
            PendingRequest::Read(_, taken) => {
                for peer in taken {
                    self.emit_rejected(&log, peer, RejectReason::Unavailable);
                }
            }
            PendingRequest::Leave(_, peer, ..) => {
                let replica = self.replicas.get(&log);
                match replica.is_some_and(|it| it.is_member(peer) && !it.is_own(peer)) {
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
            | PendingRequest::Release(..)
            | PendingRequest::Post(_)
            | PendingRequest::Nothing => {}
        }
        self.schedule_close(&log, now);
    }

    pub(super) fn handle_join_outcome(
        &mut self,
        log: &LogId,
        want: DesiredMember,
        epoch: u32,
        outcome: ChangeOutcome,
        now: Instant,
    ) {
        let peer = want.member.peer;
        match outcome {
            ChangeOutcome::Applied(at) => {
                let seat = StoredMember {
                    peer,
                    address: want.member.address.clone(),
                    lease: Lease {
                        epoch,
                        ..self.lease
                    },
                    since: at.head,
                    metadata: want.metadata,
                };
                let change = StoredChange::Join(seat);
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

    /// Gives up the wish of a peer that has no seat; says whether it had it still.
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
        departure: LeaveCause,
        epoch: u32,
        outcome: ChangeOutcome,
        now: Instant,
    ) {
        match outcome {
            ChangeOutcome::Applied(at) => {
                if let Some(replica) = self.replicas.get_mut(log) {
                    replica.note_committed_leave(peer, at);
                }
                let change = StoredChange::Leave(peer, departure);
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

    /// Somebody who was to leave has left already, which this node may have missed.
    pub(super) fn note_absent_member(&mut self, log: &LogId, peer: PeerId) {
        if self.replicas.get(log).is_some_and(|it| it.is_member(peer)) {
            self.read(log, Vec::new());
        } else {
            self.emit_rejected(log, peer, RejectReason::NotAMember);
        }
    }

    /// What a look in between shows may have overtaken news that are still to come, in their order.
    pub(super) fn handle_probe(&mut self, log: &LogId, snapshot: Option<Snapshot>, now: Instant) {
        let Some(replica) = self.replicas.get_mut(log) else {
            return;
        };
        let seen = snapshot.as_ref().map(|snapshot| snapshot.version);
        match seen {
            Some(seen) if seen.generation == replica.version.generation => {
                replica.head_seen = seen.head;
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
        taken: Vec<PeerId>,
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
        for peer in taken {
            self.emit_rejected(log, peer, RejectReason::Taken);
        }
    }

    pub(super) fn handle_synced(
        &mut self,
        log: &LogId,
        declined: Vec<(PeerId, JoinRejection)>,
        snapshot: Option<Snapshot>,
        now: Instant,
    ) {
        let Some(replica) = self.replicas.get(log) else {
            return;
        };
        let snapshot = snapshot.unwrap_or_else(|| empty_snapshot(replica.version));
        let (_, never): (Vec<_>, Vec<_>) = declined
            .into_iter()
            .partition(|(peer, _)| replica.is_member(*peer));
        self.apply_snapshot(log, snapshot, now);
        for (peer, why) in never {
            if self.abandon_join(log, peer) {
                let why = match why {
                    JoinRejection::Taken => RejectReason::Taken,
                    JoinRejection::Full => RejectReason::Full,
                };
                self.emit_rejected(log, peer, why);
            }
        }
        self.schedule_close(log, now);
    }

    /// Takes a log as it is.
    pub(super) fn apply_snapshot(&mut self, log: &LogId, snapshot: Snapshot, now: Instant) {
        let Some(replica) = self.replicas.get_mut(log) else {
            return;
        };
        replica.is_read_planned = false;
        // News that came before this answer may have overtaken it.
        let is_old = snapshot.version.head < replica.version.head
            && snapshot.version.generation <= replica.version.generation;
        if is_old {
            let must_read_again = replica.must_free_missing;
            let (taken, entries) = replica.apply_pending_events(&*self.dialects);
            self.emit_committed(log, entries);
            if must_read_again {
                self.read(log, Vec::new());
            }
            return self.handle_apply_result(log, taken, now);
        }
        replica.must_free_missing = false;
        let was = replica.version.generation;
        if was != 0 && was != snapshot.version.generation {
            let until = now + self.settings.lease;
            replica.restore_grace = Some(until);
            self.timers
                .insert((until, Timer::RestoreGrace(log.clone())));
        }
        let mut entries = replica.apply_snapshot(snapshot, &*self.dialects);
        let (taken, more) = replica.apply_pending_events(&*self.dialects);
        entries.extend(more);
        let departed = replica.take_departed();
        self.emit_committed(log, entries);
        for peer in departed {
            self.emit_rejected(log, peer, RejectReason::NotAMember);
        }
        self.handle_apply_result(log, taken, now);
    }
}

/// A log that nobody is in.
fn empty_snapshot(known: LogVersion) -> Snapshot {
    Snapshot {
        version: known,
        members: Vec::new(),
    }
}

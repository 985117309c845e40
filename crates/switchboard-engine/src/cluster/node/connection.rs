//! How the store comes and goes, and who of the nodes lives.

use std::{ops::Bound, time::Instant};

use switchboard_core::{LogId, NodeMessage, PeerId, RejectReason};

use super::{
    GAP_TIMEOUT, HEARTBEATS_PER_LEASE, Node, NodeEffect, PROBES_PER_HEARTBEAT, PendingRequest,
    Timer,
};
use crate::cluster::{
    replica::Replica,
    store::{Lease, LogVersion, NodeStatus, StoreRequest},
};

impl Node {
    pub(super) fn handle_connected(&mut self, now: Instant) {
        self.handle_disconnected(now);
        self.connected = Ok(now);
        self.failure_detector.restart(now);
        self.send_heartbeat(now);
        self.enqueue(
            StoreRequest::SubscribedLogs(self.lease.node),
            PendingRequest::OwnLogs,
        );
        self.subscribe_all();
    }

    /// Writes anew what this node wants of every log.
    pub(super) fn subscribe_all(&mut self) {
        for log in self.replicas.keys().cloned().collect::<Vec<_>>() {
            self.subscribe(&log);
        }
    }

    /// The logs that the store believes to be open here. Where it has come back as it once was, there
    /// may be seats of this node in logs that it has left since.
    pub(super) fn release_forgotten_logs(&mut self, logs: Vec<LogId>) {
        for log in logs {
            if self.replicas.contains_key(&log) {
                continue;
            }
            self.release_all(log.clone(), LogVersion::default());
            self.enqueue(
                StoreRequest::Unsubscribe(self.lease.node, log),
                PendingRequest::Nothing,
            );
        }
    }

    /// Frees all seats of this node in a log, in good order.
    pub(super) fn release_all(&mut self, log: LogId, known: LogVersion) {
        let request = StoreRequest::Sync {
            log,
            lease: self.lease,
            known_version: known,
            wanted: Vec::new(),
            members_max: 0,
        };
        self.enqueue(request, PendingRequest::Nothing);
    }

    pub(super) fn handle_disconnected(&mut self, now: Instant) {
        if self.connected.is_ok() {
            self.connected = Err(now);
        }
        self.is_store_confirmed = false;
        let under_way = std::mem::take(&mut self.in_flight);
        let queue = std::mem::take(&mut self.queue);
        let asked = under_way
            .into_iter()
            .chain(queue.into_iter().map(|(_, asked)| asked));
        let mut evictions = Vec::new();
        for asked in asked.collect::<Vec<_>>() {
            match asked {
                PendingRequest::Post(letters) => self.return_messages(letters),
                PendingRequest::Leave(log, peer, ..) => evictions.push((log, peer)),
                PendingRequest::Read(log, taken) => {
                    for peer in taken {
                        self.emit_rejected(&log, peer, RejectReason::Unavailable);
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
                | PendingRequest::Nothing => {}
            }
        }
        let letters = self.outbox.take_all();
        self.effects
            .extend(letters.into_iter().map(NodeEffect::Undeliverable));
        self.apply_leaves_locally(evictions);
        for log in self.replicas.keys().cloned().collect::<Vec<_>>() {
            if let Some(replica) = self.replicas.get_mut(&log) {
                replica.is_read_planned = false;
                replica.releasing.clear();
            }
            self.schedule_close(&log, now);
        }
    }

    pub(super) fn return_messages(&mut self, letters: Vec<NodeMessage>) {
        self.outbox.mark_sent(&letters);
        self.effects
            .extend(letters.into_iter().map(NodeEffect::Undeliverable));
    }

    /// What was to be ordered by a store that is away: the leaves of this node's members are.
    pub(super) fn apply_leaves_locally(&mut self, proposed: Vec<(LogId, PeerId)>) {
        for (log, peer) in proposed {
            let replica = self.replicas.get(&log);
            let stays = replica.is_some_and(|it| it.desired.contains_key(&peer));
            let is_others = replica.is_some_and(|it| it.is_member(peer) && !it.is_own(peer));
            if is_others {
                self.emit_rejected(&log, peer, RejectReason::Unavailable);
            } else if !stays {
                self.leave_offline(&log, peer);
            }
        }
        for (log, replica) in &mut self.replicas {
            let mut entries = Vec::new();
            for peer in replica.leaving() {
                let departure = replica.leave_cause(peer);
                replica.apply_leave(peer, departure, &mut entries);
            }
            if !entries.is_empty() {
                self.effects
                    .push_back(NodeEffect::Committed(log.clone(), entries));
            }
        }
    }

    /// Asks for a log's news from now on, and makes the seats what they should be.
    pub(super) fn subscribe(&mut self, log: &LogId) {
        let request = StoreRequest::Subscribe(self.lease.node, log.clone());
        self.enqueue(request, PendingRequest::Nothing);
        self.sync(log);
    }

    pub(super) fn sync(&mut self, log: &LogId) {
        let Some(replica) = self.replicas.get(log) else {
            return;
        };
        // One number for all of them: the tightest is right for its own, and declines the others at
        // worst once too often.
        let newcomers = replica.newcomers();
        let bounds = newcomers.map(|newcomer| self.members_max(log, newcomer));
        let seats = bounds.filter(|bound| *bound != 0).min().unwrap_or(0);
        let Some(replica) = self.replicas.get_mut(log) else {
            return;
        };
        replica.is_read_planned = true;
        let request = StoreRequest::Sync {
            log: log.clone(),
            lease: self.lease,
            known_version: replica.version,
            wanted: replica.member_specs(),
            members_max: seats,
        };
        self.enqueue(request, PendingRequest::Sync(log.clone(), self.lease.epoch));
    }

    pub(super) fn read(&mut self, log: &LogId, taken: Vec<PeerId>) {
        if let Some(replica) = self.replicas.get_mut(log) {
            replica.is_read_planned = true;
            let request = StoreRequest::Read(log.clone());
            self.enqueue(request, PendingRequest::Read(log.clone(), taken));
        }
    }

    /// Something of a log is missing: if it does not come by itself soon, the log is read anew.
    pub(super) fn schedule_gap_read(&mut self, log: &LogId, now: Instant) {
        let Some(replica) = self.replicas.get_mut(log) else {
            return;
        };
        if !replica.is_read_planned && self.connected.is_ok() {
            replica.is_read_planned = true;
            self.timers
                .insert((now + GAP_TIMEOUT, Timer::Gap(log.clone())));
        }
    }

    pub(super) fn send_heartbeat(&mut self, now: Instant) {
        self.heartbeat += 1;
        let request = StoreRequest::Heartbeat {
            lease: self.lease,
            counter: self.heartbeat,
            status: self.status.clone(),
        };
        self.queue
            .push_front((request, PendingRequest::Heartbeat(self.lease.epoch)));
        self.timers.retain(|(_, alarm)| *alarm != Timer::Heartbeat);
        self.timers.insert((
            now + self.settings.lease / HEARTBEATS_PER_LEASE,
            Timer::Heartbeat,
        ));
    }

    pub(super) fn handle_heartbeat(
        &mut self,
        epoch: u32,
        valid: bool,
        nodes: Vec<NodeStatus>,
        now: Instant,
    ) {
        if !valid {
            return self.handle_lost_lease(epoch, now);
        }
        for dead in self.failure_detector.observe(nodes, now) {
            let (lease, beat) = (dead.lease, dead.heartbeat);
            self.enqueue(
                StoreRequest::Fence {
                    lease,
                    last_heartbeat: beat,
                },
                PendingRequest::Fence(lease),
            );
        }
        self.probe_next_logs();
        let leases = self.replicas.values().flat_map(Replica::leases).collect();
        for stray in self.failure_detector.orphaned_leases(leases) {
            let logs = self.replicas.iter();
            let logs = logs.filter(|(_, replica)| replica.leases().any(|lease| lease == stray));
            let logs: Vec<_> = logs.map(|(log, _)| log.clone()).collect();
            for log in logs {
                self.enqueue(StoreRequest::Evict(log, stray), PendingRequest::Nothing);
            }
        }
    }

    /// Reads the next few logs.
    pub(super) fn probe_next_logs(&mut self) {
        let from = self
            .last_probed
            .take()
            .map_or(Bound::Unbounded, Bound::Excluded);
        let logs = self
            .replicas
            .range((from, Bound::Unbounded))
            .take(PROBES_PER_HEARTBEAT);
        for log in logs.map(|(log, _)| log.clone()).collect::<Vec<_>>() {
            self.enqueue(
                StoreRequest::Read(log.clone()),
                PendingRequest::Probe(log.clone()),
            );
            self.last_probed = Some(log);
        }
    }

    /// Frees the seats of a dead node and strikes it off the list.
    pub(super) fn evict_node(&mut self, dead: Lease, logs: Vec<LogId>) {
        for log in logs {
            self.enqueue(
                StoreRequest::Evict(log.clone(), dead),
                PendingRequest::Nothing,
            );
            self.enqueue(
                StoreRequest::Unsubscribe(dead.node, log),
                PendingRequest::Nothing,
            );
        }
        self.enqueue(StoreRequest::RemoveNode(dead), PendingRequest::Nothing);
    }

    /// The others have taken this node for dead under `epoch`: it comes back under another.
    pub(super) fn handle_lost_lease(&mut self, epoch: u32, now: Instant) {
        if epoch != self.lease.epoch {
            return;
        }
        self.lease.epoch += 1;
        self.send_heartbeat(now);
        // The list of what this node has open was torn up with the lease.
        self.subscribe_all();
    }
}

//! The connection to the store and its loss, subscriptions, heartbeats, and the eviction of dead nodes.

use std::{ops::Bound, time::Instant};

use switchboard_core::{LogId, NodeMessage, PeerId, RejectReason};

use super::{
    GAP_TIMEOUT, HEARTBEATS_PER_LEASE, Node, NodeEffect, PROBES_PER_HEARTBEAT, PendingRequest,
    Timer,
};
use crate::{
    replica::Replica,
    store::{Lease, LogVersion, NodeStatus, StoreRequest},
};

impl Node {
    pub(super) fn handle_connected(&mut self, now: Instant) {
        // Requests of an earlier connection are not answered any more.
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

    /// Subscribes to every log again and synchronises the members of this node.
    pub(super) fn subscribe_all(&mut self) {
        for log in self.replicas.keys().cloned().collect::<Vec<_>>() {
            self.subscribe(&log);
        }
    }

    /// Removes this node from the logs that it has left, but in which the store still lists it, for example after the
    /// store was restored from a backup.
    pub(super) fn leave_forgotten_logs(&mut self, logs: Vec<LogId>) {
        for log in logs {
            if self.replicas.contains_key(&log) {
                continue;
            }
            self.leave_log(log.clone(), LogVersion::default());
            self.enqueue(
                StoreRequest::Unsubscribe(self.lease.node, log),
                PendingRequest::Nothing,
            );
        }
    }

    /// Removes all members of this node from a log, as announced leaves.
    pub(super) fn leave_log(&mut self, log: LogId, known_version: LogVersion) {
        let request = StoreRequest::Sync {
            log,
            lease: self.lease,
            known_version,
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
        let in_flight = std::mem::take(&mut self.in_flight);
        let queue = std::mem::take(&mut self.queue);
        let lost = in_flight
            .into_iter()
            .chain(queue.into_iter().map(|(_, pending)| pending));
        let mut leaves = Vec::new();
        for pending in lost.collect::<Vec<_>>() {
            match pending {
                PendingRequest::Post(messages) => self.return_messages(messages),
                PendingRequest::Leave(log, peer, ..) => leaves.push((log, peer)),
                PendingRequest::Read(log, conflicting_peers) => {
                    for peer in conflicting_peers {
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
                | PendingRequest::RemoveOutdated(..)
                | PendingRequest::Nothing => {}
            }
        }
        let messages = self.outbox.take_all();
        self.effects
            .extend(messages.into_iter().map(NodeEffect::Undeliverable));
        self.apply_leaves_locally(leaves);
        for log in self.replicas.keys().cloned().collect::<Vec<_>>() {
            if let Some(replica) = self.replicas.get_mut(&log) {
                replica.is_read_planned = false;
                replica.removing.clear();
            }
            self.schedule_close(&log, now);
        }
    }

    pub(super) fn return_messages(&mut self, messages: Vec<NodeMessage>) {
        self.outbox.mark_sent(&messages);
        self.effects
            .extend(messages.into_iter().map(NodeEffect::Undeliverable));
    }

    /// Handles the leaves whose requests had no response when the connection to the store was lost. Members of this
    /// node leave at once, also those whose leave was not requested yet; evictions of members of other nodes are
    /// rejected.
    pub(super) fn apply_leaves_locally(&mut self, leaves: Vec<(LogId, PeerId)>) {
        for (log, peer) in leaves {
            let replica = self.replicas.get(&log);
            let is_desired = replica.is_some_and(|replica| replica.desired.contains_key(&peer));
            let is_remote =
                replica.is_some_and(|replica| replica.is_member(peer) && !replica.is_own(peer));
            if is_remote {
                self.emit_rejected(&log, peer, RejectReason::Unavailable);
            } else if !is_desired {
                self.leave_offline(&log, peer);
            }
        }
        for (log, replica) in &mut self.replicas {
            let mut entries = Vec::new();
            for peer in replica.leaving() {
                let cause = replica.leave_cause(peer);
                replica.apply_leave(peer, cause, &mut entries);
            }
            if !entries.is_empty() {
                self.effects
                    .push_back(NodeEffect::Committed(log.clone(), entries));
            }
        }
    }

    /// Subscribes to the events of a log and synchronises the members of this node.
    pub(super) fn subscribe(&mut self, log: &LogId) {
        let request = StoreRequest::Subscribe(self.lease.node, log.clone());
        self.enqueue(request, PendingRequest::Nothing);
        self.sync(log);
    }

    /// Requests a synchronisation of a log: the store joins the members that this node desires, removes its others, and
    /// returns a snapshot.
    pub(super) fn sync(&mut self, log: &LogId) {
        let Some(replica) = self.replicas.get(log) else {
            return;
        };
        // One request has one limit for all newcomers. The smallest limit is correct for its own
        // member; it may reject other newcomers that their own limit would admit.
        let newcomers = replica.newcomers();
        let bounds = newcomers.map(|newcomer| self.members_max(log, newcomer));
        let members_max = bounds.filter(|bound| *bound != 0).min().unwrap_or(0);
        let Some(replica) = self.replicas.get_mut(log) else {
            return;
        };
        replica.is_read_planned = true;
        let request = StoreRequest::Sync {
            log: log.clone(),
            lease: self.lease,
            known_version: replica.version,
            wanted: replica.member_specs(),
            members_max,
        };
        self.enqueue(request, PendingRequest::Sync(log.clone(), self.lease.epoch));
    }

    /// Requests a snapshot of a log. `conflicting_peers` are peers whose join the store has rejected because another
    /// member has their address: the hub gets the rejections after the snapshot, so that it knows that member.
    pub(super) fn read(&mut self, log: &LogId, conflicting_peers: Vec<PeerId>) {
        if let Some(replica) = self.replicas.get_mut(log) {
            replica.is_read_planned = true;
            let request = StoreRequest::Read(log.clone());
            self.enqueue(
                request,
                PendingRequest::Read(log.clone(), conflicting_peers),
            );
        }
    }

    /// Schedules a read of a log with missing events, in case they do not arrive soon.
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
        self.timers.retain(|(_, timer)| *timer != Timer::Heartbeat);
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
            let (lease, last_heartbeat) = (dead.lease, dead.heartbeat);
            self.enqueue(
                StoreRequest::Fence {
                    lease,
                    last_heartbeat,
                },
                PendingRequest::Fence(lease),
            );
        }
        let others =
            (self.message_formats).observe(self.failure_detector.nodes().map(|(node, _)| node));
        self.effects
            .extend(others.into_iter().map(NodeEffect::OtherFormat));
        self.probe_next_logs();
        let leases = self.replicas.values().flat_map(Replica::leases).collect();
        for orphan in self.failure_detector.orphaned_leases(leases) {
            let logs = self.replicas.iter();
            let logs = logs.filter(|(_, replica)| replica.leases().any(|lease| lease == orphan));
            let logs: Vec<_> = logs.map(|(log, _)| log.clone()).collect();
            for log in logs {
                self.enqueue(StoreRequest::Evict(log, orphan), PendingRequest::Nothing);
            }
        }
    }

    /// Probes the next few logs: reads them to compare their heads. After the last log, the rotation begins again.
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

    /// Evicts the members of a dead node and removes it from the node list.
    pub(super) fn evict_node(&mut self, dead_lease: Lease, logs: Vec<LogId>) {
        for log in logs {
            self.enqueue(
                StoreRequest::Evict(log.clone(), dead_lease),
                PendingRequest::Nothing,
            );
            self.enqueue(
                StoreRequest::Unsubscribe(dead_lease.node, log),
                PendingRequest::Nothing,
            );
        }
        self.enqueue(
            StoreRequest::RemoveNode(dead_lease),
            PendingRequest::Nothing,
        );
    }

    /// The other nodes have fenced this node at `epoch`: it continues with the next epoch.
    pub(super) fn handle_lost_lease(&mut self, epoch: u32, now: Instant) {
        if epoch != self.lease.epoch {
            return;
        }
        self.lease.epoch += 1;
        self.send_heartbeat(now);
        // The subscriptions of this node were deleted with the lease.
        self.subscribe_all();
    }
}

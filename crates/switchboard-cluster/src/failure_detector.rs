//! Detects dead nodes: a node is declared dead when its heartbeat has not changed for the timeout.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use switchboard_core::NodeId;

use crate::store::{Lease, NodeStatus};

/// A node of the node list, as this node has observed it.
#[derive(Debug)]
struct ObservedNode {
    status: NodeStatus,
    /// The time at which the heartbeat was last seen to change, or this node has reconnected to the store: it sees no
    /// heartbeats while it is disconnected.
    since: Instant,
}

/// The observed nodes of the cluster.
#[derive(Debug)]
pub(super) struct FailureDetector {
    own_id: NodeId,
    timeout: Duration,
    seen: BTreeMap<NodeId, ObservedNode>,
    /// Leases with members whose nodes were missing from the node list, or had a later epoch, at the last check.
    suspects: BTreeSet<Lease>,
}

impl FailureDetector {
    /// Creates a detector that declares a node dead when its heartbeat has not changed for
    /// `timeout`.
    pub(super) fn new(own_id: NodeId, timeout: Duration) -> Self {
        Self {
            own_id,
            timeout,
            seen: BTreeMap::new(),
            suspects: BTreeSet::new(),
        }
    }

    /// Restarts all timeouts after the store was disconnected: no heartbeat could be observed in
    /// that time.
    pub(super) fn restart(&mut self, now: Instant) {
        for seen in self.seen.values_mut() {
            seen.since = now;
        }
    }

    /// Observes the node list. Returns the dead nodes, which the caller fences. A dead node is
    /// returned again after each further timeout in which it stays on the list.
    pub(super) fn observe(&mut self, nodes: Vec<NodeStatus>, now: Instant) -> Vec<NodeStatus> {
        let listed: BTreeSet<_> = nodes.iter().map(|status| status.lease.node).collect();
        self.seen.retain(|node, _| listed.contains(node));
        let mut dead = Vec::new();
        for status in nodes {
            let is_self = status.lease.node == self.own_id;
            let seen = self
                .seen
                .entry(status.lease.node)
                .or_insert_with(|| ObservedNode {
                    status: status.clone(),
                    since: now,
                });
            let is_unchanged = (
                seen.status.lease,
                seen.status.heartbeat,
                seen.status.is_fenced,
            ) == (status.lease, status.heartbeat, status.is_fenced);
            if !is_unchanged {
                seen.since = now;
            }
            if !is_self && now.saturating_duration_since(seen.since) >= self.timeout {
                seen.since = now;
                dead.push(status.clone());
            }
            seen.status = status;
        }
        dead
    }

    /// All nodes on the list, each with the time when its heartbeat was last seen to change.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (&NodeStatus, Instant)> {
        self.seen.values().map(|seen| (&seen.status, seen.since))
    }

    /// Returns the orphaned leases among `leases`, which are those with members. A lease is orphaned if in two
    /// consecutive calls its node was not on the list or had a later epoch.
    pub(super) fn orphaned_leases(&mut self, leases: BTreeSet<Lease>) -> Vec<Lease> {
        let is_listed = |lease: &Lease| {
            self.seen
                .get(&lease.node)
                .is_some_and(|seen| seen.status.lease.epoch <= lease.epoch)
        };
        let absent: BTreeSet<_> = leases
            .into_iter()
            .filter(|lease| !is_listed(lease))
            .collect();
        let orphans = absent.intersection(&self.suspects).copied().collect();
        self.suspects = absent;
        orphans
    }
}

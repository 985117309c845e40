//! Which of the other nodes live: whoever's beat has not changed for too long is declared dead.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use switchboard_core::NodeId;

use super::store::{Lease, NodeStatus};

/// A node as this one has seen it.
#[derive(Debug)]
struct ObservedNode {
    status: NodeStatus,
    /// Since when its beat is this one. Only time in which beats could have been seen counts.
    since: Instant,
}

/// The other nodes.
#[derive(Debug)]
pub(super) struct FailureDetector {
    own_id: NodeId,
    timeout: Duration,
    seen: BTreeMap<NodeId, ObservedNode>,
    /// Leases that have seats though their nodes are on no list.
    suspects: BTreeSet<Lease>,
}

impl FailureDetector {
    /// A watch that takes a node for dead whose beat stands still for `patience`.
    pub(super) fn new(me: NodeId, patience: Duration) -> Self {
        Self {
            own_id: me,
            timeout: patience,
            seen: BTreeMap::new(),
            suspects: BTreeSet::new(),
        }
    }

    /// The store was away: nobody could be seen, so nobody is late.
    pub(super) fn restart(&mut self, now: Instant) {
        for seen in self.seen.values_mut() {
            seen.since = now;
        }
    }

    /// Looks at the list, and gives who is dead and to be buried (or, if it was and its seats are
    /// still not free after as long again, buried once more).
    pub(super) fn observe(&mut self, nodes: Vec<NodeStatus>, now: Instant) -> Vec<NodeStatus> {
        let listed: BTreeSet<_> = nodes.iter().map(|status| status.lease.node).collect();
        self.seen.retain(|node, _| listed.contains(node));
        let mut dead = Vec::new();
        for status in nodes {
            let is_me = status.lease.node == self.own_id;
            let seen = self
                .seen
                .entry(status.lease.node)
                .or_insert_with(|| ObservedNode {
                    status: status.clone(),
                    since: now,
                });
            let stands_still = (
                seen.status.lease,
                seen.status.heartbeat,
                seen.status.is_fenced,
            ) == (status.lease, status.heartbeat, status.is_fenced);
            if !stands_still {
                seen.since = now;
            }
            if !is_me && now.saturating_duration_since(seen.since) >= self.timeout {
                seen.since = now;
                dead.push(status.clone());
            }
            seen.status = status;
        }
        dead
    }

    /// All nodes on the list, each with when its beat was last seen to change.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (&NodeStatus, Instant)> {
        self.seen.values().map(|seen| (&seen.status, seen.since))
    }

    /// Of the leases that have seats, those of nodes that twice in a row were on no list, or of
    /// epochs that their nodes have twice in a row been beyond.
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
        let strays = absent.intersection(&self.suspects).copied().collect();
        self.suspects = absent;
        strays
    }
}

//! The nodes of a cluster, as listed in the store that they share.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use switchboard_cluster::{HEARTBEATS_PER_LEASE, store::NodeStatus};
use switchboard_core::NodeId;
use switchboard_redis::{RedisStore, StoreError};
use thiserror::Error;
use tokio::time::{error::Elapsed, sleep, timeout};

pub use switchboard_cluster::NodeLine;

use crate::config::EngineConfig;

/// Time that the store has to answer one read of the list.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Reads of the list per heartbeat interval.
const POLLS_PER_HEARTBEAT: u32 = 8;

/// All listed nodes, sorted by id: those that are alive, and those whose lease has expired and whose members are not
/// all removed yet. `None` if no engine is configured. Needs no running server.
///
/// Waits for the next heartbeat of each node: a tenth of the lease if all nodes are alive, most of the lease
/// otherwise.
///
/// # Errors
/// If the engine cannot be reached or does not answer in time. The text contains no password.
pub async fn nodes(config: &EngineConfig) -> Result<Option<Vec<NodeLine>>, NodesError> {
    let Some(address) = config.url.address() else {
        return Ok(None);
    };
    let store = RedisStore::new(address.clone(), &config.prefix);
    let read = async || {
        let listed = timeout(TIMEOUT, store.list_nodes()).await;
        let listed = listed.map_err(NodesErrorCause::from);
        let listed = listed.and_then(|listed| Ok(listed?));
        listed.map_err(|source| NodesError {
            address: address.to_string(),
            source,
        })
    };
    watch(read, config.lease).await.map(Some)
}

/// The nodes of a cluster cannot be listed. The source is the reason.
#[derive(Debug, Error)]
#[error("cannot list the nodes of the cluster at {address}")]
pub struct NodesError {
    /// The address, without its login.
    address: String,
    source: NodesErrorCause,
}

#[derive(Debug, Error)]
enum NodesErrorCause {
    #[error("no answer in {} s", TIMEOUT.as_secs())]
    Timeout(#[from] Elapsed),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A listed node and the observations of its heartbeat counter.
struct ListedNode {
    status: NodeStatus,
    /// The time when the counter was last seen to change; `None` before the first change.
    changed: Option<Instant>,
}

/// Reads the list until the heartbeat of every node has changed, or the lease has nearly passed. A single read is not
/// enough: when all nodes are dead, no node removes them from the list, and the entries may be hours old.
async fn watch<E>(
    read: impl AsyncFn() -> Result<Vec<NodeStatus>, E>,
    lease: Duration,
) -> Result<Vec<NodeLine>, E> {
    // A node without a heartbeat counts as dead one heartbeat interval before its lease ends.
    let interval = lease / HEARTBEATS_PER_LEASE;
    let begin = Instant::now();
    let mut seen = BTreeMap::<NodeId, ListedNode>::new();
    loop {
        update_observed(&mut seen, read().await?);
        // A fenced node has been declared dead, so its heartbeat need not be awaited.
        let is_decided = seen
            .values()
            .all(|seen| seen.changed.is_some() || seen.status.is_fenced);
        if is_decided || begin.elapsed() >= lease - interval {
            return Ok(seen.values().map(node_line).collect());
        }
        sleep(interval / POLLS_PER_HEARTBEAT).await;
    }
}

fn update_observed(seen: &mut BTreeMap<NodeId, ListedNode>, list: Vec<NodeStatus>) {
    let is_first = seen.is_empty();
    let mut before = std::mem::take(seen);
    for status in list {
        let node = status.lease.node;
        let earlier = before.remove(&node);
        let is_same = match &earlier {
            Some(earlier) => {
                (earlier.status.lease, earlier.status.heartbeat) == (status.lease, status.heartbeat)
            }
            // A node that was not in the first read has just registered, and so is alive.
            None => is_first,
        };
        let changed = if is_same {
            earlier.and_then(|earlier| earlier.changed)
        } else {
            Some(Instant::now())
        };
        seen.insert(node, ListedNode { status, changed });
    }
}

fn node_line(seen: &ListedNode) -> NodeLine {
    let NodeStatus {
        lease,
        is_fenced,
        status,
        ..
    } = &seen.status;
    let is_alive = seen.changed.is_some() && !is_fenced;
    let line = NodeLine::from_report(lease.node, lease.epoch, is_alive, status);
    match seen.changed {
        Some(changed) => line.with_age(changed.elapsed()),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use switchboard_cluster::store::Lease;

    use super::*;

    const LEASE: Duration = Duration::from_millis(400);

    fn status(node: u64, heartbeat: u64, is_fenced: bool) -> NodeStatus {
        NodeStatus {
            lease: Lease {
                node: NodeId::from(node),
                epoch: 1,
            },
            heartbeat,
            is_fenced,
            status: r#"{"members":7}"#.to_owned(),
        }
    }

    /// Each node's id and whether it is reported alive. `list` gives the result of each read by its index.
    async fn alive(list: impl Fn(u64) -> Vec<NodeStatus>) -> Vec<(u64, bool)> {
        let count = Cell::new(0);
        let read = async || {
            count.set(count.get() + 1);
            Ok::<_, NodesError>(list(count.get() - 1))
        };
        let lines = watch(read, LEASE).await.expect("every read succeeds");
        let id = |node: NodeId| u64::from_str_radix(&node.to_string(), 16).expect("a number");
        lines
            .iter()
            .map(|line| (id(line.node), line.is_alive))
            .collect()
    }

    #[tokio::test]
    async fn node_with_a_changing_heartbeat_is_alive() {
        let begin = Instant::now();
        let found = alive(|read| {
            vec![
                status(2, 70 + read, false),
                status(1, read / 3, false),
                status(3, 9, true),
            ]
        })
        .await;
        assert_eq!(found, [(1, true), (2, true), (3, false)]);
        assert!(
            begin.elapsed() < LEASE / 2,
            "a fenced node is not waited for"
        );
        assert_eq!(alive(|_| Vec::new()).await, []);
    }

    #[tokio::test]
    async fn listed_node_without_a_heartbeat_is_dead() {
        let begin = Instant::now();
        let found = alive(|read| vec![status(1, 5, false), status(2, read, false)]).await;
        assert_eq!(found, [(1, false), (2, true)]);
        assert!(begin.elapsed() >= LEASE * 9 / 10);
    }

    #[tokio::test]
    async fn node_that_registers_during_the_watch_is_alive_and_removed_node_is_not_listed() {
        let found = alive(|read| match read {
            0 => vec![status(1, 0, false), status(2, 5, false)],
            _ => vec![status(1, read, false), status(3, 1, false)],
        })
        .await;
        assert_eq!(found, [(1, true), (3, true)]);
    }

    #[tokio::test]
    async fn failed_read_is_an_error() {
        let read = async || Err("connection refused");
        let error = watch(read, LEASE).await.expect_err("the read fails");
        assert_eq!(error, "connection refused");
    }
}

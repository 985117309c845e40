//! The nodes of a switchboard, as the store that they share knows them.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use switchboard_core::NodeId;
use switchboard_engine::{
    cluster::{HEARTBEATS_PER_LEASE, store::NodeStatus},
    redis::{RedisAddress, list_nodes},
};
use tokio::time::{sleep, timeout};

pub use switchboard_engine::NodeLine;

use crate::config::EngineConfig;

/// A store that takes longer is as good as away.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How often the list is read within a beat.
const POLLS_PER_HEARTBEAT: u32 = 8;

/// All nodes on the list, by their ids: those that live, and those whose lease has lapsed and whose
/// members are not all gone yet. None if no engine is configured. No server need run for it.
///
/// Takes as long as the nodes let wait for their next beat: with all alive a tenth of the lease,
/// else most of it.
///
/// # Errors
/// If the engine cannot be reached or does not answer in time: one line for people, without a
/// password.
pub async fn nodes(config: &EngineConfig) -> Result<Option<Vec<NodeLine>>, String> {
    let Some(address) = config.url.address() else {
        return Ok(None);
    };
    let read = async || {
        let answer = timeout(TIMEOUT, fetch(address, &config.prefix)).await;
        let answer =
            answer.unwrap_or_else(|_| Err(format!("no answer in {} s", TIMEOUT.as_secs())));
        answer.map_err(|why| format!("the engine at {address} cannot be reached: {why}"))
    };
    watch(read, config.lease).await.map(Some)
}

async fn fetch(address: &RedisAddress, prefix: &str) -> Result<Vec<NodeStatus>, String> {
    let nodes = list_nodes(address, prefix).await;
    nodes.map_err(|error| error.to_string())
}

/// A node on the list, and since when its beat is this one if it has been seen to change.
struct ObservedNode {
    status: NodeStatus,
    changed: Option<Instant>,
}

/// Reads the list until every node has said that it lives, or has not for too long. What the list
/// alone says may be hours old: nobody strikes a node off it when all are dead.
async fn watch(
    read: impl AsyncFn() -> Result<Vec<NodeStatus>, String>,
    lease: Duration,
) -> Result<Vec<NodeLine>, String> {
    // Who is silent is taken for dead a beat before its lease ends.
    let beat = lease / HEARTBEATS_PER_LEASE;
    let begin = Instant::now();
    let mut seen = BTreeMap::<NodeId, ObservedNode>::new();
    loop {
        update_observed(&mut seen, read().await?);
        let is_decided = seen
            .values()
            .all(|seen| seen.changed.is_some() || seen.status.is_fenced);
        if is_decided || begin.elapsed() >= lease - beat {
            return Ok(seen.values().map(node_line).collect());
        }
        sleep(beat / POLLS_PER_HEARTBEAT).await;
    }
}

fn update_observed(seen: &mut BTreeMap<NodeId, ObservedNode>, list: Vec<NodeStatus>) {
    let is_first = seen.is_empty();
    let mut before = std::mem::take(seen);
    for status in list {
        let node = status.lease.node;
        let earlier = before.remove(&node);
        let is_same = match &earlier {
            Some(earlier) => {
                (earlier.status.lease, earlier.status.heartbeat) == (status.lease, status.heartbeat)
            }
            // Who is new on the list has just put itself there.
            None => is_first,
        };
        let changed = if is_same {
            earlier.and_then(|earlier| earlier.changed)
        } else {
            Some(Instant::now())
        };
        seen.insert(node, ObservedNode { status, changed });
    }
}

fn node_line(seen: &ObservedNode) -> NodeLine {
    let NodeStatus {
        lease,
        is_fenced: buried,
        status,
        ..
    } = &seen.status;
    let is_alive = seen.changed.is_some() && !buried;
    let line = NodeLine::from_report(lease.node, lease.epoch, is_alive, status);
    match seen.changed {
        Some(changed) => line.with_age(changed.elapsed()),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use switchboard_engine::cluster::store::Lease;

    use super::*;

    const LEASE: Duration = Duration::from_millis(400);

    fn status(node: u64, beat: u64, buried: bool) -> NodeStatus {
        NodeStatus {
            lease: Lease {
                node: NodeId::from(node),
                epoch: 1,
            },
            heartbeat: beat,
            is_fenced: buried,
            status: r#"{"members":7}"#.to_owned(),
        }
    }

    /// What is said of each node, by its id, when the list is read with `list(how often before)`.
    async fn alive(list: impl Fn(u64) -> Vec<NodeStatus>) -> Vec<(u64, bool)> {
        let count = Cell::new(0);
        let read = async || {
            count.set(count.get() + 1);
            Ok(list(count.get() - 1))
        };
        let lines = watch(read, LEASE).await.expect("it is read");
        let id = |node: NodeId| u64::from_str_radix(&node.to_string(), 16).expect("a number");
        lines
            .iter()
            .map(|line| (id(line.node), line.is_alive))
            .collect()
    }

    #[tokio::test]
    async fn who_says_so_lives() {
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
        assert!(begin.elapsed() < LEASE / 2, "nobody is waited for in vain");
        assert_eq!(alive(|_| Vec::new()).await, []);
    }

    #[tokio::test]
    async fn who_stands_on_the_list_and_is_silent_does_not() {
        let begin = Instant::now();
        let found = alive(|read| vec![status(1, 5, false), status(2, read, false)]).await;
        assert_eq!(found, [(1, false), (2, true)]);
        assert!(begin.elapsed() >= LEASE * 9 / 10);
    }

    #[tokio::test]
    async fn who_comes_while_one_looks_lives_and_who_goes_is_gone() {
        let found = alive(|read| match read {
            0 => vec![status(1, 0, false), status(2, 5, false)],
            _ => vec![status(1, read, false), status(3, 1, false)],
        })
        .await;
        assert_eq!(found, [(1, true), (3, true)]);
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_an_error() {
        let read = async || Err("connection refused".to_owned());
        let error = watch(read, LEASE).await.expect_err("nothing is read");
        assert_eq!(error, "connection refused");
    }
}

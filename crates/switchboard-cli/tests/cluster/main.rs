//! A cluster of real server processes with a real Redis: sixty clients of four dialects join, signal and leave, while
//! nodes and Redis are killed, paused and disconnected.
//!
//! `SWITCHBOARD_CHAOS_ROUNDS=20` sets the number of rounds instead of one of each kind, `SWITCHBOARD_CHAOS_SEED=N` the
//! seed, and `SWITCHBOARD_BIN=FILE` another build of the server.

mod chaos_test;
mod client;
mod connection_end;
mod corruption;
mod dialects;
mod faults;
mod harness_tests;
mod history;
mod network;
#[expect(dead_code, reason = "the benchmark uses the rest")]
mod node;
mod oracle;
mod oracle_tests;
mod record;
#[expect(dead_code, reason = "the benchmark uses the rest")]
mod redis;
mod report;
mod temp_dir;
mod test_cluster;
mod view;

use std::time::Duration;

use tokio::sync::Mutex;

use crate::{
    chaos_test::{ChaosTest, TestPlan},
    corruption::{CorruptingRecorder, Corruption},
    faults::ProcessFault,
    network::Network,
    report::print_progress,
};

/// The tests run one after another: under the load of several, the servers would miss their deadlines.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

const CLIENTS: usize = 60;
/// The time limit for consistent views after a fault.
const CONSISTENCY_MAX: Duration = Duration::from_secs(30);

/// The number in an environment variable.
fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is not a number: {text}")),
    )
}

fn seed() -> u64 {
    let seed = setting("SWITCHBOARD_CHAOS_SEED").unwrap_or_else(rand::random);
    print_progress(&format!("seed {seed}"));
    seed
}

/// A plan with one node and without Redis, for tests of the harness. The engine of such a node, the part that shares
/// rooms between nodes, keeps its data in memory.
fn single_node(seed: u64) -> TestPlan {
    TestPlan {
        seed,
        nodes: 1,
        clients: CLIENTS,
        has_redis: false,
        network: None,
        recorder: CorruptingRecorder::default(),
        consistency_max: CONSISTENCY_MAX,
        // Long enough for a busy machine, which may stop a responsive client for some seconds.
        settings: "[heartbeat]\nping = 1\ngone = 6\n",
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invariants_hold_on_one_node_while_clients_disconnect_and_freeze() {
    let _guard = ONE_AT_A_TIME.lock().await;
    let mut test = ChaosTest::start(single_node(seed()));
    let rounds = [
        ProcessFault::FreezeClients,
        ProcessFault::Kill,
        ProcessFault::Terminate,
    ];
    if let Err(fault) = test.run(&rounds).await {
        panic!("{fault}\n{}", test.keep_logs());
    }
    test.report();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oracle_detects_corrupted_observations() {
    let _guard = ONE_AT_A_TIME.lock().await;
    let runs = Corruption::ALL.map(|corruption| async move {
        let mut test = ChaosTest::start(TestPlan {
            clients: 24,
            recorder: CorruptingRecorder::new(corruption),
            consistency_max: Duration::from_secs(2),
            ..single_node(1)
        });
        (corruption, test.run(&[]).await)
    });
    for (corruption, result) in futures_util::future::join_all(runs).await {
        match (corruption.expected_violation(), result) {
            // A run without corruption must have no violation.
            (None, result) => assert_eq!(result, Ok(())),
            (Some(text), Ok(())) => panic!("{corruption:?} is not detected: {text}"),
            (Some(text), Err(fault)) => assert!(fault.contains(text), "{corruption:?}: {fault}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oracle_detects_nodes_without_a_shared_engine() {
    let _guard = ONE_AT_A_TIME.lock().await;
    let mut test = ChaosTest::start(TestPlan {
        nodes: 3,
        consistency_max: Duration::from_secs(2),
        ..single_node(1)
    });
    let result = test.run(&[]).await;
    assert!(
        result.is_err(),
        "the missing members of the other nodes are not detected"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(
    not(has_redis),
    ignore = "needs redis-server and redis-cli (Debian: redis-server)"
)]
async fn invariants_hold_in_a_cluster_during_process_faults() {
    let _guard = ONE_AT_A_TIME.lock().await;
    cluster_survives(&ProcessFault::WITHOUT_NETWORK, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(
    not(has_redis),
    ignore = "needs redis-server and redis-cli (Debian: redis-server)"
)]
#[cfg_attr(
    not(has_network_namespaces),
    ignore = "needs `ip netns add` and virtual links (Debian: iproute2; root)"
)]
async fn invariants_hold_in_a_cluster_during_a_network_partition() {
    // The network namespace is named after the process, so only one test at a time can create it.
    let _guard = ONE_AT_A_TIME.lock().await;
    let network = Network::create().expect("a network namespace");
    cluster_survives(&ProcessFault::OF_NETWORK, Some(network)).await;
}

/// Runs a round of each kind, or the number of rounds in the environment. The last node is in the network namespace.
async fn cluster_survives(kinds: &[ProcessFault], network: Option<Network>) {
    let count = setting("SWITCHBOARD_CHAOS_ROUNDS")
        .map_or(kinds.len(), |count| usize::try_from(count).expect("few"));
    let seed = seed();
    let rounds = ProcessFault::draw(kinds, count, seed);
    let mut test = ChaosTest::start(TestPlan {
        nodes: 3,
        has_redis: true,
        network,
        settings: "",
        ..single_node(seed)
    });
    let result = test.run(&rounds).await;
    test.report();
    if let Err(fault) = result {
        panic!("{fault}\n{}", test.keep_logs());
    }
}

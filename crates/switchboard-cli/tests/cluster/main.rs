//! Many nodes, one switchboard: real server processes, a real Redis, sixty clients of four dialects
//! that come, talk and go, while nodes and Redis are killed, stopped and cut off.
//!
//! `SWITCHBOARD_CHAOS_ROUNDS=20` plays more rounds than one of each kind, `SWITCHBOARD_CHAOS_SEED=N`
//! plays by that seed, `SWITCHBOARD_BIN=FILE` tries another build of the server.

mod client;
mod corruption;
mod dialects;
mod end;
mod faults;
mod folder;
mod history;
mod network;
#[expect(dead_code, reason = "the benchmark uses the rest")]
mod node;
mod oracle;
mod props;
mod record;
#[expect(dead_code, reason = "the benchmark uses the rest")]
mod redis;
mod report;
mod rounds;
mod test_cluster;
mod verdicts;
mod view;

use std::time::Duration;

use tokio::sync::Mutex;

use crate::{
    corruption::{CorruptedRecorder, Corruption},
    faults::ProcessFault,
    network::Network,
    report::say,
    rounds::{Plan, RoundStage},
};

/// They share two cores with servers that have deadlines: one at a time.
static TURN: Mutex<()> = Mutex::const_new(());

const CLIENTS: usize = 60;
const SETTLE_MAX: Duration = Duration::from_secs(30);

/// A number from the environment.
fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is not a number: {text}")),
    )
}

fn seed() -> u64 {
    let seed = setting("SWITCHBOARD_CHAOS_SEED").unwrap_or_else(rand::random);
    say(&format!("seed {seed}"));
    seed
}

/// One node, in memory: what the harness itself is tried with.
fn alone(seed: u64) -> Plan {
    Plan {
        seed,
        nodes: 1,
        clients: CLIENTS,
        has_redis: false,
        network: None,
        liar: CorruptedRecorder::default(),
        settle_max: SETTLE_MAX,
        settings: "[heartbeat]\nping = 1\ngone = 3\n",
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_keeps_its_promises_while_clients_die_and_fall_silent() {
    let _turn = TURN.lock().await;
    let mut stage = RoundStage::set(alone(seed()));
    let rounds = [
        ProcessFault::Silence,
        ProcessFault::Kill,
        ProcessFault::Quit,
    ];
    if let Err(fault) = stage.play(&rounds).await {
        panic!("{fault}\n{}", stage.keep_logs());
    }
    stage.report();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ears_that_hear_wrong_are_found_out() {
    let _turn = TURN.lock().await;
    let tries = Corruption::ALL.map(|lie| async move {
        let mut stage = RoundStage::set(Plan {
            clients: 24,
            liar: CorruptedRecorder::new(lie),
            settle_max: Duration::from_secs(2),
            ..alone(1)
        });
        (lie, stage.play(&[]).await)
    });
    for (lie, verdict) in futures_util::future::join_all(tries).await {
        match (lie.gives(), verdict) {
            (None, verdict) => assert_eq!(verdict, Ok(())),
            (Some(words), Ok(())) => panic!("{lie:?} is not found out: {words}"),
            (Some(words), Err(fault)) => assert!(fault.contains(words), "{lie:?}: {fault}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_know_nothing_of_each_other_are_found_out() {
    let _turn = TURN.lock().await;
    let mut stage = RoundStage::set(Plan {
        nodes: 3,
        settle_max: Duration::from_secs(2),
        ..alone(1)
    });
    let verdict = stage.play(&[]).await;
    assert!(
        verdict.is_err(),
        "nobody misses the members of the other nodes"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(
    not(has_redis),
    ignore = "needs redis-server and redis-cli (Debian: redis-server)"
)]
async fn a_cluster_keeps_its_promises_whatever_breaks() {
    cluster_survives(&ProcessFault::WITHOUT_NETWORK, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(
    not(has_redis),
    ignore = "needs redis-server and redis-cli (Debian: redis-server)"
)]
#[cfg_attr(
    not(has_network_namespaces),
    ignore = "needs `ip netns add` and virtual cables (Debian: iproute2; root)"
)]
async fn a_cluster_keeps_its_promises_while_a_node_is_cut_off() {
    let network = Network::make().expect("a network namespace");
    cluster_survives(&ProcessFault::OF_NETWORK, Some(network)).await;
}

/// Plays a round of each kind, or as many rounds as the environment says. The last node is in the network's namespace.
async fn cluster_survives(kinds: &[ProcessFault], network: Option<Network>) {
    let _turn = TURN.lock().await;
    let count = setting("SWITCHBOARD_CHAOS_ROUNDS")
        .map_or(kinds.len(), |count| usize::try_from(count).expect("few"));
    let seed = seed();
    let rounds = ProcessFault::draw(kinds, count, seed);
    let mut stage = RoundStage::set(Plan {
        nodes: 3,
        has_redis: true,
        network,
        settings: "",
        ..alone(seed)
    });
    let verdict = stage.play(&rounds).await;
    stage.report();
    if let Err(fault) = verdict {
        panic!("{fault}\n{}", stage.keep_logs());
    }
}

//! Many nodes, one switchboard: real server processes, a real Redis, sixty clients of four dialects
//! that come, talk and go, while nodes and Redis are killed, stopped and cut off.
//!
//! `SWITCHBOARD_CHAOS_ROUNDS=20` plays more rounds than one of each kind, `SWITCHBOARD_CHAOS_SEED=N`
//! plays by that seed, `SWITCHBOARD_BIN=FILE` tries another build of the server.

mod client;
mod disturbance;
mod end;
mod folder;
mod history;
mod house;
mod judge;
mod liar;
mod network;
#[expect(dead_code, reason = "the benchmark uses the rest")]
mod node;
mod props;
mod record;
#[expect(dead_code, reason = "the benchmark uses the rest")]
mod redis;
mod report;
mod rounds;
mod tongue;
mod verdicts;
mod view;

use std::time::Duration;

use tokio::sync::Mutex;

use crate::{
    disturbance::Disturbance,
    liar::{Liar, Lie},
    network::Network,
    redis::Redis,
    report::{say, skip},
    rounds::{Plan, Stage},
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
        liar: Liar::default(),
        settle_max: SETTLE_MAX,
        settings: "[heartbeat]\nping = 1\ngone = 3\n",
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_keeps_its_promises_while_clients_die_and_fall_silent() {
    let _turn = TURN.lock().await;
    let mut stage = Stage::set(alone(seed()));
    let rounds = [Disturbance::Silence, Disturbance::Kill, Disturbance::Quit];
    if let Err(fault) = stage.play(&rounds).await {
        panic!("{fault}\n{}", stage.keep_logs());
    }
    stage.report();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ears_that_hear_wrong_are_found_out() {
    let _turn = TURN.lock().await;
    let tries = Lie::ALL.map(|lie| async move {
        let mut stage = Stage::set(Plan {
            clients: 24,
            liar: Liar::new(lie),
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
    let mut stage = Stage::set(Plan {
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
async fn a_cluster_keeps_its_promises_whatever_breaks() {
    let _turn = TURN.lock().await;
    if !Redis::is_installed() {
        return skip("the chaos test", "redis-server is not installed");
    }
    let network = Network::make()
        .inspect_err(|why| skip("cutting a node off", why))
        .ok();
    let has_network = network.is_some();
    let kinds: Vec<_> = Disturbance::OF_CLUSTER
        .into_iter()
        .filter(|kind| has_network || !kind.needs_namespace())
        .collect();
    let count = setting("SWITCHBOARD_CHAOS_ROUNDS")
        .map_or(kinds.len(), |count| usize::try_from(count).expect("few"));
    let seed = seed();
    let rounds = Disturbance::draw(&kinds, count, seed);
    let mut stage = Stage::set(Plan {
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

//! Simulations of several hubs over one store with injected faults: checks the events of the
//! clients against the invariants.
//!
//! Each test runs a number of seeds with one fault plan. A failing seed is printed with the command
//! that repeats it with a trace.

#![expect(
    clippy::print_stdout,
    reason = "the report of failed seeds is for developers"
)]

mod memberships;
mod oracle;
mod policies;
mod scenarios;

use std::time::Duration;

use switchboard_testkit::cluster::{FaultPlan, run_seed};

use self::oracle::find_violations;

/// The factor by which a release build (`cargo xtask test --long`) runs more seeds than a debug build.
const RELEASE_FACTOR: u64 = 2;

/// Runs `count` seeds (or `SWITCHBOARD_SEEDS`), or the one that `SWITCHBOARD_SEED` names. A release build runs more.
fn run_seeds(kind: &str, count: u64, faults: &FaultPlan) {
    let number = |name| {
        let value = std::env::var(name).ok();
        value.map(|value| value.parse::<u64>().expect("a number"))
    };
    let single_seed = number("SWITCHBOARD_SEED");
    let is_long = !cfg!(debug_assertions);
    let count = if is_long {
        count * RELEASE_FACTOR
    } else {
        count
    };
    let count = number("SWITCHBOARD_SEEDS").unwrap_or(count);
    let seeds = single_seed.map_or(0..count, |seed| seed..seed + 1);
    let mut failed = Vec::new();
    for seed in seeds {
        let violations = violations_of(seed, faults, single_seed.is_some());
        if !violations.is_empty() {
            println!("{kind}, seed {seed}: {violations:#?}");
            println!(
                "    SWITCHBOARD_SEED={seed} cargo test -p switchboard-testkit cluster::{kind} -- --nocapture"
            );
            failed.push(seed);
        }
    }
    assert!(
        failed.is_empty(),
        "{kind}: {} seeds failed: {failed:?}",
        failed.len()
    );
}

fn violations_of(seed: u64, faults: &FaultPlan, is_traced: bool) -> Vec<String> {
    let is_calm = faults.fault_count == 0 && faults.event_loss == 0.0;
    let mut cluster = run_seed(seed, faults.clone(), is_traced);
    let mut violations = find_violations(&cluster, is_calm);
    cluster.disconnect_all();
    if is_traced {
        for line in cluster.trace_lines() {
            println!("{line}");
        }
    }
    for (key, node) in cluster.nodes().iter().enumerate() {
        if !node.is_alive() {
            continue;
        }
        let rooms = node.hub().rooms();
        if !rooms.is_empty() {
            violations.push(format!("rooms without members on s{key}: {rooms:?}"));
        }
        if node.hub().poll_timeout().is_some() {
            violations.push(format!(
                "timers (challenges or reservations) without members on s{key}"
            ));
        }
        if node.node().logs() != (0, 0) {
            violations.push(format!(
                "logs without members on s{key}: {:?}",
                node.node().logs()
            ));
        }
    }
    for key in 0..cluster.nodes().len() {
        cluster.close(key);
    }
    cluster.advance(Duration::from_secs(5));
    if !cluster.model().is_empty() {
        violations.push(format!("the store is not empty: {:?}", cluster.model()));
    }
    violations
}

macro_rules! fault_tests {
    ($($name:ident: $count:literal,)*) => {$(
        #[test]
        fn $name() {
            run_seeds(stringify!($name), $count, &FaultPlan::$name());
        }
    )*};
}

fault_tests! {
    calm: 100,
    lossy_events: 150,
    broken_connections: 150,
    crashes: 125,
    pauses: 150,
    store_unavailable: 100,
    store_restored_from_backup: 125,
    store_loses_all_data: 125,
    everything: 200,
}

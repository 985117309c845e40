//! Many hubs over one store in bad weather: what clients were told is what the promises say.
//!
//! Each test plays a number of seeds in one kind of weather. A seed that fails is printed with the
//! command that plays it again and shows what happened.

#![expect(clippy::print_stdout, reason = "what failed is for people to read")]

mod memberships;
mod oracle;
mod scenes;

use std::time::Duration;

use switchboard_sim::cluster::{FaultPlan, play};

use self::oracle::judge;

/// Plays `count` seeds (or `SWITCHBOARD_SEEDS`), or the one that `SWITCHBOARD_SEED` names.
fn weather(kind: &str, count: u64, weather: &FaultPlan) {
    let number = |name| {
        let value = std::env::var(name).ok();
        value.map(|value| value.parse::<u64>().expect("a number"))
    };
    let chosen = number("SWITCHBOARD_SEED");
    let count = number("SWITCHBOARD_SEEDS").unwrap_or(count);
    let seeds = chosen.map_or(0..count, |seed| seed..seed + 1);
    let mut failed = Vec::new();
    for seed in seeds {
        let complaints = outcome(seed, weather, chosen.is_some());
        if !complaints.is_empty() {
            println!("{kind}, seed {seed}: {complaints:#?}");
            println!(
                "    SWITCHBOARD_SEED={seed} cargo test -p switchboard-sim cluster::{kind} -- --nocapture"
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

fn outcome(seed: u64, weather: &FaultPlan, is_traced: bool) -> Vec<String> {
    let is_calm = weather.disturbances == 0 && weather.news_lost == 0.0;
    let mut cluster = play(seed, weather.clone(), is_traced);
    let mut complaints = judge(&cluster, is_calm);
    cluster.disconnect_all();
    if is_traced {
        for line in cluster.traced() {
            println!("{line}");
        }
    }
    for (key, station) in cluster.nodes().iter().enumerate() {
        if !station.is_alive() {
            continue;
        }
        let rooms = station.hub().rooms();
        if !rooms.is_empty() {
            complaints.push(format!("rooms of nobody on s{key}: {rooms:?}"));
        }
        if station.hub().poll_timeout().is_some() {
            complaints.push(format!("challenges of nobody on s{key}"));
        }
        if station.node().logs() != (0, 0) {
            complaints.push(format!(
                "logs of nobody on s{key}: {:?}",
                station.node().logs()
            ));
        }
    }
    for key in 0..cluster.nodes().len() {
        cluster.close(key);
    }
    cluster.advance(Duration::from_secs(5));
    if !cluster.model().is_empty() {
        complaints.push(format!("the store is not empty: {:?}", cluster.model()));
    }
    complaints
}

macro_rules! weathers {
    ($($name:ident: $count:literal,)*) => {$(
        #[test]
        fn $name() {
            weather(stringify!($name), $count, &FaultPlan::$name());
        }
    )*};
}

weathers! {
    calm: 200,
    lossy_news: 300,
    broken_connections: 300,
    crashes: 250,
    pauses: 300,
    store_away: 200,
    store_older: 250,
    store_empty: 250,
    everything: 400,
}

//! Checks the invariants over random runs: clients of every dialect, two rooms, three names, and random orders of
//! actions and deliveries.

use std::time::Duration;

use proptest::{prelude::*, test_runner::FileFailurePersistence};
use switchboard_testkit::ClientId;

use crate::{
    drivers::{ClientEvent, DRIVERS, driver_of},
    oracle::Oracle,
    random_run::{NICKS, RandomRun, RandomStep},
};

fn step() -> impl Strategy<Value = RandomStep> {
    let index = || 0..8_usize;
    let (room, nick) = (|| 0..2_usize, || 0..3_usize);
    prop_oneof![
        4 => (0..DRIVERS.len(), room(), nick())
            .prop_map(|(dialect, room, nick)| RandomStep::Open { dialect, room, nick }),
        6 => (index(), room(), nick()).prop_map(|(index, room, nick)| RandomStep::Join { index, room, nick }),
        1 => index().prop_map(|index| RandomStep::Leave { index }),
        5 => (index(), index()).prop_map(|(index, to)| RandomStep::Offer { index, to }),
        3 => index().prop_map(|index| RandomStep::Broadcast { index }),
        1 => index().prop_map(|index| RandomStep::Crash { index }),
        1 => index().prop_map(|index| RandomStep::Freeze { index }),
        1 => index().prop_map(|index| RandomStep::Kick { index }),
        6 => (index(), 1..6_usize).prop_map(|(index, events)| RandomStep::Deliver { index, events }),
        1 => (1..2500_u64).prop_map(|millis| RandomStep::Wait { millis }),
    ]
}

fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "tests/proptest-regressions/invariants.txt",
        ))),
        max_shrink_iters: 20_000,
        ..ProptestConfig::with_cases(if cfg!(debug_assertions) { 1500 } else { 20_000 })
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn invariants_hold(seed: u64, steps in prop::collection::vec(step(), 1..80)) {
        let mut run = RandomRun::run(seed, &steps);
        Oracle::new(&run).check();
        assert_no_state_is_left(&mut run);
    }
}

/// Checks that no state remains after all clients have disconnected.
fn assert_no_state_is_left(run: &mut RandomRun) {
    let clients: Vec<ClientId> = run.simulation.ids().collect();
    for client in clients {
        run.simulation.crash(client);
    }
    assert_eq!(run.simulation.rooms(), [], "rooms without members");
    // Names of lost connections stay reserved for a while.
    run.simulation.advance(Duration::from_secs(30));
    assert_eq!(
        run.simulation.hub().poll_timeout(),
        None,
        "the hub still has a timer: a challenge or a reservation is left"
    );
    let p2p = driver_of("p2p");
    for nick in NICKS {
        let client = p2p.open(&mut run.simulation, "", nick);
        run.simulation.deliver_all();
        assert_eq!(
            p2p.take_events(&mut run.simulation, client),
            [ClientEvent::Other],
            "the name {nick} is still taken"
        );
    }
}

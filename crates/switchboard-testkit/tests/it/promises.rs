//! What always holds, in random plays: every dialect, two rooms, three names, and every order in
//! which things can happen and be delivered.

use std::time::Duration;

use proptest::{prelude::*, test_runner::FileFailurePersistence};
use switchboard_testkit::ClientId;

use crate::{
    drivers::{ACCENTS, ClientEvent, accent},
    oracle::Oracle,
    random_run::{NICKS, RandomRun, RandomStep},
};

fn step() -> impl Strategy<Value = RandomStep> {
    let who = || 0..8_usize;
    let (room, nick) = (|| 0..2_usize, || 0..3_usize);
    prop_oneof![
        4 => (0..ACCENTS.len(), room(), nick())
            .prop_map(|(dialect, room, nick)| RandomStep::Open { dialect, room, nick }),
        6 => (who(), room(), nick()).prop_map(|(who, room, nick)| RandomStep::Join { who, room, nick }),
        1 => who().prop_map(|who| RandomStep::Leave { who }),
        5 => (who(), who()).prop_map(|(who, to)| RandomStep::Offer { who, to }),
        3 => who().prop_map(|who| RandomStep::Shout { who }),
        1 => who().prop_map(|who| RandomStep::Crash { who }),
        1 => who().prop_map(|who| RandomStep::Freeze { who }),
        1 => who().prop_map(|who| RandomStep::Kick { who }),
        6 => (who(), 1..6_usize).prop_map(|(who, events)| RandomStep::Deliver { who, events }),
        1 => (1..2500_u64).prop_map(|millis| RandomStep::Wait { millis }),
    ]
}

fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "tests/proptest-regressions/promises.txt",
        ))),
        max_shrink_iters: 20_000,
        ..ProptestConfig::with_cases(if cfg!(debug_assertions) { 1500 } else { 20_000 })
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn promises_hold(seed: u64, steps in prop::collection::vec(step(), 1..80)) {
        let mut play = RandomRun::run(seed, &steps);
        Oracle::new(&play).judge();
        nothing_remains(&mut play);
    }
}

/// Promise 6 and the end of all plays: when everybody is gone, so is everything about them.
fn nothing_remains(play: &mut RandomRun) {
    let clients: Vec<ClientId> = play.world.ids().collect();
    for client in clients {
        play.world.crash(client);
    }
    assert_eq!(play.world.rooms(), [], "rooms of nobody");
    // Names are kept for a while for those who were lost.
    play.world.advance(Duration::from_secs(30));
    assert_eq!(
        play.world.hub().poll_timeout(),
        None,
        "a challenge of nobody"
    );
    let p2p = accent("p2p");
    for nick in NICKS {
        let client = p2p.open(&mut play.world, "", nick);
        play.world.deliver_all();
        assert_eq!(
            p2p.told(&mut play.world, client),
            [ClientEvent::Other],
            "{nick} is not free"
        );
    }
}

//! Room policies and sessions with the same identity, in every dialect.

use std::{sync::Arc, time::Duration};

use switchboard_core::{
    ClientPattern, DuplicateIdentity, Identity, RoomPolicies, RoomPolicy, RoomScope,
};
use switchboard_dialects::find;
use switchboard_testkit::{ClientId, Simulation};

use super::join_is_rejected;
use crate::drivers::{ClientEvent, DRIVERS, DialectDriver, driver_of};

/// Longer than a challenge.
const CHALLENGE_TIME: Duration = Duration::from_secs(3);

fn set_policy(simulation: &Simulation, pattern: &str, policy: RoomPolicy) {
    let pattern = pattern.parse().expect("a pattern");
    let policies = RoomPolicies::new([(pattern, policy)], DuplicateIdentity::Replace);
    simulation.policies().replace(policies);
}

fn set_rule(simulation: &Simulation, rule: DuplicateIdentity) {
    let policies = RoomPolicies::new([], rule);
    simulation.policies().replace(policies);
}

fn locked() -> RoomPolicy {
    RoomPolicy {
        locked: Some(true),
        ..RoomPolicy::default()
    }
}

fn max_members(count: usize) -> RoomPolicy {
    RoomPolicy {
        max_members: Some(count),
        ..RoomPolicy::default()
    }
}

fn reveals_members(driver: &DialectDriver) -> bool {
    let dialect = find(driver.name).expect("a dialect");
    dialect.traits().reveals_members
}

/// The policies that refuse a client of this dialect without an identity, by the reason.
fn refusing_policies(driver: &DialectDriver) -> Vec<(&'static str, RoomPolicy)> {
    let mut policies = vec![
        ("locked", locked()),
        (
            "dialect",
            RoomPolicy {
                dialects: Some(vec!["another".into()]),
                ..RoomPolicy::default()
            },
        ),
        (
            "client",
            RoomPolicy {
                who_may_join: Some(vec![ClientPattern::Authenticated]),
                ..RoomPolicy::default()
            },
        ),
    ];
    if reveals_members(driver) {
        let hidden = RoomPolicy {
            presence: Some(false),
            ..RoomPolicy::default()
        };
        policies.push(("presence", hidden));
    }
    policies
}

/// The reasons for which policies have refused clients, each with its count.
fn refused(simulation: &Simulation) -> Vec<(&'static str, u64)> {
    let refused = simulation.policies().refused().into_iter();
    let refused = refused.filter(|(_, count)| *count > 0);
    refused
        .map(|(reason, count)| (reason.as_str(), count))
        .collect()
}

/// Checks that the join of a client was answered in the words of its dialect: with an error frame, or with a close
/// whose reason says it.
fn assert_refused(driver: &DialectDriver, simulation: &mut Simulation, client: ClientId) {
    assert!(simulation.member(client).is_none(), "{}", driver.name);
    let close = simulation.closed(client);
    assert!(
        join_is_rejected(driver, simulation, client),
        "{}",
        driver.name
    );
    if !driver.reports_join_errors {
        let close = close.expect("a close");
        assert_eq!(close.code, 1008, "{}: {close:?}", driver.name);
        let texts = [
            "not allowed to enter the room",
            "the room is full",
            "the name is taken",
        ];
        assert!(texts.contains(&close.reason), "{}: {close:?}", driver.name);
    }
}

#[test]
fn every_policy_refuses_joins_in_every_dialect() {
    for driver in &DRIVERS {
        for (reason, policy) in refusing_policies(driver) {
            let mut simulation = Simulation::new(1);
            set_policy(&simulation, "room", policy);
            let client = driver.connect_and_join(&mut simulation, "room", "alice");
            assert_refused(driver, &mut simulation, client);
            assert_eq!(refused(&simulation), [(reason, 1)], "{}", driver.name);
            assert!(simulation.rooms().is_empty(), "{}", driver.name);
            let other = driver.connect_and_join(&mut simulation, "other", "bob");
            assert!(simulation.member(other).is_some(), "{}", driver.name);
        }
    }
}

#[test]
fn a_policy_admits_the_clients_that_it_names() {
    for driver in &DRIVERS {
        let mut simulation = Simulation::new(1);
        let policy = RoomPolicy {
            dialects: Some(vec![driver.name.into()]),
            who_may_join: Some(vec!["ad*".parse().expect("a pattern")]),
            presence: Some(reveals_members(driver)),
            locked: Some(false),
            max_members: Some(2),
        };
        set_policy(&simulation, "ro*", policy);
        let identity = Identity::Proven("ada".into());
        let client = driver.open_as(&mut simulation, "room", "alice", identity);
        driver.join(&mut simulation, client, "room", "alice");
        assert!(simulation.member(client).is_some(), "{}", driver.name);
    }
}

#[test]
fn an_error_frame_says_why_a_policy_refuses_a_join() {
    for name in ["lightstream", "p2p", "singo", "mesh", "peerjs"] {
        let driver = driver_of(name);
        let mut simulation = Simulation::new(1);
        set_policy(&simulation, "room", locked());
        let client = driver.connect_and_join(&mut simulation, "room", "alice");
        let frames = simulation.received(client);
        let text = frames.last().map(ToString::to_string).unwrap_or_default();
        assert!(text.contains("is locked"), "{name}: {frames:?}");
    }
}

#[test]
fn max_members_counts_all_dialects_of_a_room() {
    let shared = |driver: &&DialectDriver| {
        let dialect = find(driver.name).expect("a dialect");
        dialect.traits().reaches_other_dialects()
    };
    for first in DRIVERS.iter().filter(shared) {
        for second in DRIVERS.iter().filter(shared) {
            let mut simulation = Simulation::new(1);
            set_policy(&simulation, "room", max_members(1));
            let member = first.connect_and_join(&mut simulation, "room", "alice");
            assert!(simulation.member(member).is_some(), "{}", first.name);
            let other = second.connect_and_join(&mut simulation, "room", "bob");
            assert_refused(second, &mut simulation, other);
            assert_eq!(refused(&simulation), [("max_members", 1)]);
            simulation.crash(member);
            let third = second.connect_and_join(&mut simulation, "room", "carol");
            assert!(simulation.member(third).is_some(), "{}", second.name);
        }
    }
}

#[test]
fn policies_hold_in_rooms_of_one_dialect() {
    let next: &[(&str, &str)] = &[("room", "room"), ("next", "2")];
    let queries = [("matchbox", next), ("y-webrtc", &[])];
    for (name, query) in queries {
        let driver = driver_of(name);
        for (policy, is_first_in) in [(max_members(1), true), (locked(), false)] {
            let mut simulation = Simulation::new(1);
            set_policy(&simulation, "room", policy);
            let clients = [(); 2].map(|()| {
                let client = simulation.open(name, query);
                driver.join(&mut simulation, client, "room", "");
                client
            });
            assert_eq!(
                simulation.member(clients[0]).is_some(),
                is_first_in,
                "{name}"
            );
            assert_refused(driver, &mut simulation, clients[1]);
            let rooms = simulation.rooms();
            assert!(rooms.iter().all(|room| room.scope != RoomScope::Shared));
        }
    }
}

#[test]
fn members_of_a_room_that_is_locked_stay_and_talk() {
    for driver in &DRIVERS {
        let mut simulation = Simulation::new(1);
        let alice = driver.connect_and_join(&mut simulation, "room", "alice");
        let bob = driver.connect_and_join(&mut simulation, "room", "bob");
        set_policy(&simulation, "room", locked());
        driver.take_events(&mut simulation, bob);
        let offer = (driver.offer)(&driver.id_of(&simulation, bob), "v=0");
        simulation.send(alice, offer.to_string());
        let events = driver.take_events(&mut simulation, bob);
        let is_offer = |event: &ClientEvent| matches!(event, ClientEvent::Offer { .. });
        assert!(events.iter().any(is_offer), "{}: {events:?}", driver.name);
        // A repeated join of a member is answered as before.
        if driver.can_change_room {
            driver.join(&mut simulation, alice, "room", "alice");
        }
        assert!(simulation.member(alice).is_some(), "{}", driver.name);
    }
}

#[test]
fn a_peerjs_client_comes_back_to_a_locked_room_with_its_token() {
    let mut simulation = Simulation::with(
        1,
        switchboard_core::Limits::default(),
        switchboard_dialects::DialectSettings::default(),
    );
    let query = [("key", "peerjs"), ("id", "ada"), ("token", "t")];
    let other_token = [("key", "peerjs"), ("id", "ada"), ("token", "u")];
    let first = simulation.open("peerjs", &query);
    assert!(simulation.member(first).is_some());
    set_policy(&simulation, "peerjs", locked());
    let replacing = simulation.open("peerjs", &query);
    assert!(simulation.member(replacing).is_some());
    assert!(simulation.closed(first).is_some());
    // The client is silent for so long that its connection is lost. Its id is reserved for its token.
    simulation.freeze(replacing);
    simulation.advance(Duration::from_secs(70));
    assert!(simulation.rooms().is_empty());
    let thief = simulation.open("peerjs", &other_token);
    assert!(simulation.member(thief).is_none());
    let back = simulation.open("peerjs", &query);
    assert!(simulation.member(back).is_some());
}

// Sessions with the same identity

/// Connects two sessions of one identity that ask for the same name.
fn same_identity(
    driver: &DialectDriver,
    rule: DuplicateIdentity,
    is_first_alive: bool,
) -> (Simulation, ClientId, ClientId) {
    let mut simulation = Simulation::new(1);
    set_rule(&simulation, rule);
    let connect = |simulation: &mut Simulation| {
        let identity = Identity::Proven("ada@example.org".into());
        let client = driver.open_as(simulation, "room", "ada", identity);
        driver.join(simulation, client, "room", "ada");
        client
    };
    let first = connect(&mut simulation);
    assert!(simulation.member(first).is_some(), "{}", driver.name);
    if !is_first_alive {
        simulation.freeze(first);
    }
    let second = connect(&mut simulation);
    simulation.advance(CHALLENGE_TIME);
    (simulation, first, second)
}

#[test]
fn replace_ends_the_older_session_where_clients_choose_their_address() {
    for driver in &DRIVERS {
        let rule = DuplicateIdentity::Replace;
        let (simulation, first, second) = same_identity(driver, rule, true);
        let is_first_in = simulation.member(first).is_some();
        assert!(simulation.member(second).is_some(), "{}", driver.name);
        assert_eq!(is_first_in, !driver.chooses_name, "{}", driver.name);
    }
}

#[test]
fn refuse_keeps_the_older_session_in_every_dialect() {
    for driver in &DRIVERS {
        for is_first_alive in [true, false] {
            let rule = DuplicateIdentity::Refuse;
            let (mut simulation, first, second) = same_identity(driver, rule, is_first_alive);
            assert!(simulation.member(first).is_some(), "{}", driver.name);
            assert_refused(driver, &mut simulation, second);
            let reasons = refused(&simulation);
            assert_eq!(reasons[0].0, "duplicate_identity", "{}", driver.name);
        }
    }
}

#[test]
fn challenge_keeps_the_older_session_only_if_it_answers() {
    for driver in &DRIVERS {
        let rule = DuplicateIdentity::Challenge;
        let (mut simulation, first, second) = same_identity(driver, rule, true);
        assert!(simulation.member(first).is_some(), "{}", driver.name);
        assert_refused(driver, &mut simulation, second);

        let (simulation, first, second) = same_identity(driver, rule, false);
        assert!(simulation.member(first).is_none(), "{}", driver.name);
        assert!(simulation.member(second).is_some(), "{}", driver.name);
    }
}

#[test]
fn clients_without_an_identity_are_no_duplicates() {
    for driver in &DRIVERS {
        for rule in [DuplicateIdentity::Refuse, DuplicateIdentity::Challenge] {
            let mut simulation = Simulation::new(1);
            set_rule(&simulation, rule);
            for nick in ["alice", "bob"] {
                let client = driver.connect_and_join(&mut simulation, "room", nick);
                assert!(simulation.member(client).is_some(), "{}", driver.name);
            }
        }
    }
}

#[test]
fn one_identity_may_be_in_several_rooms() {
    for driver in &DRIVERS {
        let mut simulation = Simulation::new(1);
        set_rule(&simulation, DuplicateIdentity::Refuse);
        for room in ["room", "other"] {
            let identity = Identity::Proven(Arc::from("ada"));
            let client = driver.open_as(&mut simulation, room, room, identity);
            driver.join(&mut simulation, client, room, room);
            assert!(simulation.member(client).is_some(), "{}", driver.name);
        }
    }
}

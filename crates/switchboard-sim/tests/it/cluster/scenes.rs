//! The hard cases, one by one.

use std::time::Duration;

use switchboard_core::{ErrorCode, Event, EvictionReason, OfferRole};
use switchboard_sim::cluster::{
    ClientKey, ClientLogEntry, ClusterSimulation, FaultPlan, LEASE, NodeKey, StoreRecovery, room,
};

use crate::cluster::oracle::judge;

const MOMENT: Duration = Duration::from_millis(200);

/// So many stations, all connected.
fn cluster(stations: usize) -> ClusterSimulation {
    let mut cluster = ClusterSimulation::new(1, FaultPlan::calm());
    for _ in 0..stations {
        cluster.start();
    }
    cluster.advance(MOMENT);
    cluster
}

/// Somebody who is in the room "red" under an address of its own.
fn member(cluster: &mut ClusterSimulation, station: NodeKey) -> ClientKey {
    let client = cluster.connect(station, 0, None);
    cluster.join(client, "red", &format!("own {client}"));
    cluster.advance(MOMENT);
    client
}

/// What somebody was told since a moment, but for what others sent it.
fn told(cluster: &ClusterSimulation, client: ClientKey, since: Duration) -> Vec<String> {
    let log = cluster.clients()[client].log().iter();
    let events = log.filter_map(|(at, noted)| match noted {
        ClientLogEntry::Received(event, _)
            if *at >= since && !matches!(**event, Event::Received { .. }) =>
        {
            Some(event)
        }
        ClientLogEntry::Received(..) | ClientLogEntry::Requested(_) | ClientLogEntry::Ended => None,
    });
    let name = |peer| cluster.client_of(peer).map_or(usize::MAX, |key| key);
    let events = events.map(|event| match &**event {
        Event::Joined { others, .. } => format!("joined {}", others.len()),
        Event::Introduced {
            peer, role: call, ..
        } => format!(
            "meets {}{}",
            name(peer.peer),
            if *call == OfferRole::Offerer {
                " and calls"
            } else {
                ""
            }
        ),
        Event::Departed { peer, .. } => format!("loses {}", name(peer.peer)),
        Event::Evicted(EvictionReason::Unresponsive) => "evicted as a ghost".to_owned(),
        Event::Evicted(EvictionReason::Replaced) => "replaced".to_owned(),
        Event::RequestFailed(refused) => format!("refused: {}", refused.code.as_str()),
        other @ (Event::Claimed(_)
        | Event::Rejoined { .. }
        | Event::Members { .. }
        | Event::Received { .. }
        | Event::Probe(_)
        | Event::Evicted(_)) => format!("{other:?}"),
    });
    events.collect()
}

fn must_be_sound(cluster: &ClusterSimulation) {
    let complaints = judge(cluster, false);
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[test]
fn a_fenced_node_returns_and_its_members_never_lose_each_other() {
    let mut cluster = cluster(2);
    let (one, two) = (member(&mut cluster, 0), member(&mut cluster, 0));
    let far = member(&mut cluster, 1);
    let before = cluster.now();
    cluster.pause(0, LEASE * 2);
    cluster.advance(LEASE * 3);

    for (who, news) in [
        (one, told(&cluster, one, before)),
        (two, told(&cluster, two, before)),
    ] {
        assert_eq!(
            news,
            [format!("loses {far}"), format!("meets {far} and calls")],
            "{who}"
        );
    }
    let news = told(&cluster, far, before);
    let expected = [
        format!("loses {one}"),
        format!("loses {two}"),
        format!("meets {one}"),
        format!("meets {two}"),
    ];
    assert_eq!(news, expected);
    must_be_sound(&cluster);
}

#[test]
fn nobody_is_told_anything_when_the_store_comes_back_empty() {
    let mut cluster = cluster(3);
    let members: Vec<_> = (0..6).map(|who| member(&mut cluster, who % 3)).collect();
    let before = cluster.now();
    cluster.store_away(Duration::from_secs(1), StoreRecovery::Empty);
    cluster.advance(LEASE * 4);
    for who in members {
        assert_eq!(told(&cluster, who, before), Vec::<String>::new());
    }
    must_be_sound(&cluster);
}

#[test]
fn whoever_missed_something_gets_the_difference_once() {
    let mut cluster = cluster(2);
    let witness = member(&mut cluster, 0);
    let goes = member(&mut cluster, 1);
    let before = cluster.now();
    cluster.cut(0, Duration::from_secs(1));
    cluster.advance(MOMENT);
    cluster.disconnect_abruptly(goes);
    let comes = member(&mut cluster, 1);
    assert_eq!(told(&cluster, witness, before), Vec::<String>::new());
    cluster.advance(Duration::from_secs(2));
    let news = told(&cluster, witness, before);
    assert_eq!(news, [format!("loses {goes}"), format!("meets {comes}")]);
    must_be_sound(&cluster);
}

#[test]
fn a_ghost_on_another_node_is_evicted_and_a_living_holder_is_not() {
    let mut cluster = cluster(2);
    let holder = cluster.connect(0, 0, None);
    cluster.join(holder, "red", "ann");
    cluster.advance(MOMENT);
    let claimant = cluster.connect(1, 0, None);
    cluster.join(claimant, "red", "ann");
    cluster.advance(Duration::from_secs(3));
    assert_eq!(told(&cluster, claimant, Duration::ZERO), ["refused: taken"]);
    let before = cluster.now();
    cluster.freeze(holder);
    cluster.join(claimant, "red", "ann");
    cluster.advance(Duration::from_secs(3));
    assert!(told(&cluster, holder, before).contains(&"evicted as a ghost".to_owned()));
    assert_eq!(told(&cluster, claimant, before), ["joined 0"]);
    must_be_sound(&cluster);
}

#[test]
fn the_same_person_on_another_node_replaces_itself_at_once() {
    let mut cluster = cluster(2);
    let before = cluster.now();
    let [first, second] = [0, 1].map(|station| {
        let client = cluster.connect(station, 0, Some("one"));
        cluster.join(client, "red", "ann");
        cluster.claim_name(client, None, "ann");
        cluster.advance(MOMENT);
        client
    });
    assert_eq!(
        told(&cluster, first, before).last().map(String::as_str),
        Some("replaced")
    );
    assert_eq!(told(&cluster, second, before)[0], "joined 0");
    must_be_sound(&cluster);
}

#[test]
fn a_leave_while_the_store_is_away_is_seen_here_at_once_and_there_later() {
    let mut cluster = cluster(2);
    let near = member(&mut cluster, 0);
    let far = member(&mut cluster, 1);
    let goes = member(&mut cluster, 0);
    cluster.store_away(Duration::from_secs(5), StoreRecovery::Complete);
    cluster.advance(Duration::from_secs(3));
    let before = cluster.now();
    cluster.leave(goes, "red");
    cluster.join(goes, "blue", "somebody");
    cluster.advance(MOMENT);
    assert_eq!(told(&cluster, near, before), [format!("loses {goes}")]);
    assert_eq!(told(&cluster, far, before), Vec::<String>::new());
    let refused = format!("refused: {}", ErrorCode::Unavailable.as_str());
    assert_eq!(told(&cluster, goes, before), [refused]);
    cluster.advance(Duration::from_secs(4));
    assert_eq!(told(&cluster, far, before), [format!("loses {goes}")]);
    must_be_sound(&cluster);
}

#[test]
fn members_of_a_crashed_node_are_gone_within_the_lease() {
    let mut cluster = cluster(2);
    let (goes, stays) = (member(&mut cluster, 0), member(&mut cluster, 1));
    let before = cluster.now();
    cluster.crash(0);
    cluster.advance(LEASE + MOMENT);
    assert_eq!(told(&cluster, stays, before), [format!("loses {goes}")]);
    assert_eq!(
        cluster.stored(&room("red")).map(|log| log.members.len()),
        Some(1)
    );
}

#[test]
fn who_leaves_and_joins_under_another_address_while_cut_off_is_met_under_that_one() {
    let mut cluster = cluster(2);
    let witness = member(&mut cluster, 0);
    let moves = member(&mut cluster, 1);
    let before = cluster.now();
    cluster.cut(1, Duration::from_secs(1));
    cluster.advance(MOMENT);
    cluster.leave(moves, "red");
    cluster.join(moves, "red", "elsewhere");
    cluster.advance(Duration::from_secs(3));
    let news = told(&cluster, witness, before);
    assert_eq!(news, [format!("loses {moves}"), format!("meets {moves}")]);
    must_be_sound(&cluster);
}

#[test]
fn a_name_in_a_room_is_one_clients_on_all_nodes_and_another_rooms_is_another() {
    let mut cluster = cluster(2);
    let holder = cluster.connect(0, 0, None);
    cluster.claim_name(holder, Some("red"), "ann");
    cluster.advance(MOMENT);
    let claimant = cluster.connect(1, 0, None);
    let before = cluster.now();
    cluster.claim_name(claimant, Some("blue"), "ann");
    cluster.claim_name(claimant, Some("red"), "ann");
    cluster.advance(Duration::from_secs(3));
    let news = told(&cluster, claimant, before);
    assert!(news[0].starts_with("Claimed"), "{news:?}");
    assert_eq!(news[1..], ["refused: taken"]);

    let before = cluster.now();
    cluster.freeze(holder);
    cluster.claim_name(claimant, Some("red"), "ann");
    cluster.advance(Duration::from_secs(3));
    assert!(told(&cluster, holder, before).contains(&"evicted as a ghost".to_owned()));
    let news = told(&cluster, claimant, before);
    assert!(news[0].starts_with("Claimed"), "{news:?}");
    must_be_sound(&cluster);
}

#[test]
fn a_name_that_a_client_gives_back_is_free_on_another_node() {
    let mut cluster = cluster(2);
    let holder = cluster.connect(0, 0, None);
    cluster.claim_name(holder, Some("red"), "ann");
    cluster.advance(MOMENT);
    cluster.release(holder, Some("red"), "ann");
    cluster.advance(MOMENT);
    let claimant = cluster.connect(1, 0, None);
    cluster.claim_name(claimant, Some("red"), "ann");
    cluster.advance(MOMENT);
    let news = told(&cluster, claimant, Duration::ZERO);
    assert!(news[0].starts_with("Claimed"), "{news:?}");
}

#[test]
fn a_name_that_is_claimed_while_its_holder_is_cut_off_evicts_the_holder() {
    let mut cluster = cluster(2);
    let holder = cluster.connect(0, 0, None);
    cluster.claim_name(holder, Some("red"), "ann");
    cluster.join(holder, "red", "own of the holder");
    cluster.advance(MOMENT);
    let before = cluster.now();
    cluster.cut(0, LEASE * 3);
    cluster.advance(LEASE * 2);
    let claimant = cluster.connect(1, 0, None);
    cluster.claim_name(claimant, Some("red"), "ann");
    cluster.join(claimant, "red", "own of the claimant");
    cluster.advance(LEASE * 3);
    let news = told(&cluster, claimant, before);
    assert!(news[0].starts_with("Claimed"), "{news:?}");
    assert!(told(&cluster, holder, before).contains(&"evicted as a ghost".to_owned()));
    must_be_sound(&cluster);
}

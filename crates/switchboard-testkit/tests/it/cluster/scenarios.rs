//! Scripted scenarios of difficult cases.

use std::time::Duration;

use switchboard_core::{ErrorCode, Event, EvictionReason, OfferRole};
use switchboard_testkit::cluster::{
    ClientKey, ClientLogEntry, ClusterSimulation, FaultPlan, LEASE, NodeKey, StoreRecovery, room,
};

use crate::cluster::oracle::find_violations;

/// The time in which all effects of a request arrive, without faults.
const SETTLE_TIME: Duration = Duration::from_millis(200);

/// A cluster of connected nodes.
fn cluster(nodes: usize) -> ClusterSimulation {
    let mut cluster = ClusterSimulation::new(1, FaultPlan::calm());
    for _ in 0..nodes {
        cluster.start();
    }
    cluster.advance(SETTLE_TIME);
    cluster
}

/// Connects a client that joins the room "red" under a unique address.
fn member(cluster: &mut ClusterSimulation, node: NodeKey) -> ClientKey {
    let client = cluster.connect(node, 0, None);
    cluster.join(client, "red", &format!("own {client}"));
    cluster.advance(SETTLE_TIME);
    client
}

/// The events that a client received since `since`, without messages.
fn received_events(cluster: &ClusterSimulation, client: ClientKey, since: Duration) -> Vec<String> {
    let log = cluster.clients()[client].log().iter();
    let events = log.filter_map(|(at, entry)| match entry {
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
        Event::Introduced { peer, role, .. } => format!(
            "introduced {}{}",
            name(peer.peer),
            if *role == OfferRole::Offerer {
                " as offerer"
            } else {
                ""
            }
        ),
        Event::Departed { peer, .. } => format!("left {}", name(peer.peer)),
        Event::Evicted(EvictionReason::Unresponsive) => "evicted as unresponsive".to_owned(),
        Event::Evicted(EvictionReason::Replaced) => "replaced".to_owned(),
        Event::RequestFailed(error) => format!("rejected: {}", error.code.as_str()),
        other @ (Event::Claimed(_)
        | Event::Rejoined { .. }
        | Event::Members { .. }
        | Event::Received { .. }
        | Event::Probe(_)
        | Event::Evicted(_)) => format!("{other:?}"),
    });
    events.collect()
}

fn assert_no_violations(cluster: &ClusterSimulation) {
    let violations = find_violations(cluster, false);
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn a_fenced_node_returns_and_its_members_never_lose_each_other() {
    let mut cluster = cluster(2);
    let (first, second) = (member(&mut cluster, 0), member(&mut cluster, 0));
    let remote = member(&mut cluster, 1);
    let before = cluster.now();
    cluster.pause(0, LEASE * 2);
    cluster.advance(LEASE * 3);

    for (client, events) in [
        (first, received_events(&cluster, first, before)),
        (second, received_events(&cluster, second, before)),
    ] {
        assert_eq!(
            events,
            [
                format!("left {remote}"),
                format!("introduced {remote} as offerer")
            ],
            "{client}"
        );
    }
    let events = received_events(&cluster, remote, before);
    let expected = [
        format!("left {first}"),
        format!("left {second}"),
        format!("introduced {first}"),
        format!("introduced {second}"),
    ];
    assert_eq!(events, expected);
    assert_no_violations(&cluster);
}

#[test]
fn no_events_are_sent_when_the_store_returns_empty() {
    let mut cluster = cluster(3);
    let members: Vec<_> = (0..6)
        .map(|client| member(&mut cluster, client % 3))
        .collect();
    let before = cluster.now();
    cluster.make_store_unavailable(Duration::from_secs(1), StoreRecovery::Empty);
    cluster.advance(LEASE * 4);
    for client in members {
        assert_eq!(
            received_events(&cluster, client, before),
            Vec::<String>::new()
        );
    }
    assert_no_violations(&cluster);
}

#[test]
fn a_node_that_missed_changes_receives_the_net_difference_once() {
    let mut cluster = cluster(2);
    let witness = member(&mut cluster, 0);
    let leaver = member(&mut cluster, 1);
    let before = cluster.now();
    cluster.cut(0, Duration::from_secs(1));
    cluster.advance(SETTLE_TIME);
    cluster.disconnect_abruptly(leaver);
    let joiner = member(&mut cluster, 1);
    assert_eq!(
        received_events(&cluster, witness, before),
        Vec::<String>::new()
    );
    cluster.advance(Duration::from_secs(2));
    let events = received_events(&cluster, witness, before);
    assert_eq!(
        events,
        [format!("left {leaver}"), format!("introduced {joiner}")]
    );
    assert_no_violations(&cluster);
}

#[test]
fn an_unresponsive_holder_on_another_node_is_evicted_and_a_live_one_is_not() {
    let mut cluster = cluster(2);
    let holder = cluster.connect(0, 0, None);
    cluster.join(holder, "red", "ann");
    cluster.advance(SETTLE_TIME);
    let claimant = cluster.connect(1, 0, None);
    cluster.join(claimant, "red", "ann");
    cluster.advance(Duration::from_secs(3));
    assert_eq!(
        received_events(&cluster, claimant, Duration::ZERO),
        ["rejected: taken"]
    );
    let before = cluster.now();
    cluster.freeze(holder);
    cluster.join(claimant, "red", "ann");
    cluster.advance(Duration::from_secs(3));
    assert!(
        received_events(&cluster, holder, before).contains(&"evicted as unresponsive".to_owned())
    );
    assert_eq!(received_events(&cluster, claimant, before), ["joined 0"]);
    assert_no_violations(&cluster);
}

#[test]
fn the_same_identity_on_another_node_replaces_its_membership_at_once() {
    let mut cluster = cluster(2);
    let before = cluster.now();
    let [first, second] = [0, 1].map(|node| {
        let client = cluster.connect(node, 0, Some("one"));
        cluster.join(client, "red", "ann");
        cluster.claim_name(client, None, "ann");
        cluster.advance(SETTLE_TIME);
        client
    });
    assert_eq!(
        received_events(&cluster, first, before)
            .last()
            .map(String::as_str),
        Some("replaced")
    );
    assert_eq!(received_events(&cluster, second, before)[0], "joined 0");
    assert_no_violations(&cluster);
}

#[test]
fn a_leave_during_a_store_outage_is_seen_locally_at_once_and_remotely_later() {
    let mut cluster = cluster(2);
    let local = member(&mut cluster, 0);
    let remote = member(&mut cluster, 1);
    let leaver = member(&mut cluster, 0);
    cluster.make_store_unavailable(Duration::from_secs(5), StoreRecovery::Complete);
    cluster.advance(Duration::from_secs(3));
    let before = cluster.now();
    cluster.leave(leaver, "red");
    cluster.join(leaver, "blue", "another address");
    cluster.advance(SETTLE_TIME);
    assert_eq!(
        received_events(&cluster, local, before),
        [format!("left {leaver}")]
    );
    assert_eq!(
        received_events(&cluster, remote, before),
        Vec::<String>::new()
    );
    let rejection = format!("rejected: {}", ErrorCode::Unavailable.as_str());
    assert_eq!(received_events(&cluster, leaver, before), [rejection]);
    cluster.advance(Duration::from_secs(4));
    assert_eq!(
        received_events(&cluster, remote, before),
        [format!("left {leaver}")]
    );
    assert_no_violations(&cluster);
}

#[test]
fn members_of_a_crashed_node_are_removed_within_the_lease() {
    let mut cluster = cluster(2);
    let (leaver, remaining) = (member(&mut cluster, 0), member(&mut cluster, 1));
    let before = cluster.now();
    cluster.crash(0);
    cluster.advance(LEASE + SETTLE_TIME);
    assert_eq!(
        received_events(&cluster, remaining, before),
        [format!("left {leaver}")]
    );
    assert_eq!(
        cluster.stored(&room("red")).map(|log| log.members.len()),
        Some(1)
    );
}

#[test]
fn a_rejoin_under_another_address_during_a_partition_is_seen_afterwards() {
    let mut cluster = cluster(2);
    let witness = member(&mut cluster, 0);
    let mover = member(&mut cluster, 1);
    let before = cluster.now();
    cluster.cut(1, Duration::from_secs(1));
    cluster.advance(SETTLE_TIME);
    cluster.leave(mover, "red");
    cluster.join(mover, "red", "elsewhere");
    cluster.advance(Duration::from_secs(3));
    let events = received_events(&cluster, witness, before);
    assert_eq!(
        events,
        [format!("left {mover}"), format!("introduced {mover}")]
    );
    assert_no_violations(&cluster);
}

#[test]
fn a_name_claimed_in_a_room_is_unique_over_all_nodes_and_free_in_other_rooms() {
    let mut cluster = cluster(2);
    let holder = cluster.connect(0, 0, None);
    cluster.claim_name(holder, Some("red"), "ann");
    cluster.advance(SETTLE_TIME);
    let claimant = cluster.connect(1, 0, None);
    let before = cluster.now();
    cluster.claim_name(claimant, Some("blue"), "ann");
    cluster.claim_name(claimant, Some("red"), "ann");
    cluster.advance(Duration::from_secs(3));
    let events = received_events(&cluster, claimant, before);
    assert!(events[0].starts_with("Claimed"), "{events:?}");
    assert_eq!(events[1..], ["rejected: taken"]);

    let before = cluster.now();
    cluster.freeze(holder);
    cluster.claim_name(claimant, Some("red"), "ann");
    cluster.advance(Duration::from_secs(3));
    assert!(
        received_events(&cluster, holder, before).contains(&"evicted as unresponsive".to_owned())
    );
    let events = received_events(&cluster, claimant, before);
    assert!(events[0].starts_with("Claimed"), "{events:?}");
    assert_no_violations(&cluster);
}

#[test]
fn a_released_name_can_be_claimed_on_another_node() {
    let mut cluster = cluster(2);
    let holder = cluster.connect(0, 0, None);
    cluster.claim_name(holder, Some("red"), "ann");
    cluster.advance(SETTLE_TIME);
    cluster.release(holder, Some("red"), "ann");
    cluster.advance(SETTLE_TIME);
    let claimant = cluster.connect(1, 0, None);
    cluster.claim_name(claimant, Some("red"), "ann");
    cluster.advance(SETTLE_TIME);
    let events = received_events(&cluster, claimant, Duration::ZERO);
    assert!(events[0].starts_with("Claimed"), "{events:?}");
}

#[test]
fn a_claim_during_a_partition_evicts_the_holder() {
    let mut cluster = cluster(2);
    let holder = cluster.connect(0, 0, None);
    cluster.claim_name(holder, Some("red"), "ann");
    cluster.join(holder, "red", "own of the holder");
    cluster.advance(SETTLE_TIME);
    let before = cluster.now();
    cluster.cut(0, LEASE * 3);
    cluster.advance(LEASE * 2);
    let claimant = cluster.connect(1, 0, None);
    cluster.claim_name(claimant, Some("red"), "ann");
    cluster.join(claimant, "red", "own of the claimant");
    cluster.advance(LEASE * 3);
    let events = received_events(&cluster, claimant, before);
    assert!(events[0].starts_with("Claimed"), "{events:?}");
    assert!(
        received_events(&cluster, holder, before).contains(&"evicted as unresponsive".to_owned())
    );
    assert_no_violations(&cluster);
}

//! Room policies and sessions with the same identity, when several nodes admit clients at once.

use std::time::Duration;

use switchboard_core::{DuplicateIdentity, Event, LogId, RoomPolicies, RoomPolicy};
use switchboard_testkit::cluster::{
    ClientKey, ClientLogEntry, ClusterSimulation, FaultPlan, LEASE, NodeKey, room,
};

use crate::cluster::oracle::find_violations;

/// The time in which all effects of a request arrive, without faults.
const SETTLE_TIME: Duration = Duration::from_millis(200);

/// The nodes of a cluster.
const NODES: usize = 3;

fn cluster(seed: u64, policies: RoomPolicies) -> ClusterSimulation {
    let mut cluster = ClusterSimulation::new(seed, FaultPlan::calm());
    cluster.policies().replace(policies);
    for _ in 0..NODES {
        cluster.start();
    }
    cluster.advance(SETTLE_TIME);
    cluster
}

fn limited_to(max_members: usize) -> RoomPolicies {
    let policy = RoomPolicy {
        max_members: Some(max_members),
        ..RoomPolicy::default()
    };
    let pattern = "red".parse().expect("a pattern");
    RoomPolicies::new([(pattern, policy)], DuplicateIdentity::Replace)
}

fn with_rule(rule: DuplicateIdentity) -> RoomPolicies {
    RoomPolicies::new([], rule)
}

/// Requests a join of the room "red".
fn request_join(
    cluster: &mut ClusterSimulation,
    node: NodeKey,
    dialect: usize,
    identity: Option<&str>,
) -> ClientKey {
    let client = cluster.connect(node, dialect, identity);
    cluster.join(client, "red", &format!("own {client}"));
    client
}

/// The members of the room "red" as every node and the store have them.
fn members(cluster: &ClusterSimulation) -> Vec<ClientKey> {
    let stored = cluster.stored(&room("red")).expect("a room");
    let stored = stored.members.iter();
    let mut expected: Vec<_> = stored
        .map(|member| cluster.client_of(member.peer).expect("a client"))
        .collect();
    expected.sort_unstable();
    for node in cluster.nodes() {
        let members = node.hub().members(&room("red")).into_iter();
        let members = members.map(|member| cluster.client_of(member.peer).expect("a client"));
        let mut members: Vec<_> = members.collect();
        members.sort_unstable();
        // A node without members of the room does not follow its log.
        assert!(
            members.is_empty() || members == expected,
            "{members:?} {expected:?}"
        );
    }
    expected
}

/// The answer to the only join of a client.
fn answer(cluster: &ClusterSimulation, client: ClientKey) -> &'static str {
    let log = cluster.clients()[client].log().iter();
    let mut answers = log.filter_map(|(_, entry)| match entry {
        ClientLogEntry::Received(event, _) => match &**event {
            Event::Joined { .. } => Some("joined"),
            Event::RequestFailed(error) => Some(error.code.as_str()),
            Event::Claimed(_)
            | Event::Rejoined { .. }
            | Event::Members { .. }
            | Event::Introduced { .. }
            | Event::Departed { .. }
            | Event::Received { .. }
            | Event::Probe(_)
            | Event::Evicted(_) => None,
        },
        ClientLogEntry::Requested(_) | ClientLogEntry::Ended => None,
    });
    let answer = answers.next().expect("an answer");
    assert_eq!(answers.next(), None, "one answer");
    answer
}

/// The most members that the store has had in the room at once.
fn most_members(cluster: &ClusterSimulation) -> usize {
    let log = LogId::Room(room("red"));
    let mut count = 0_usize;
    let mut most = 0;
    for (_, _, event) in cluster.history().iter().filter(|(_, of, _)| *of == log) {
        match event.change {
            switchboard_cluster::store::StoredChange::Join(_) => count += 1,
            switchboard_cluster::store::StoredChange::Leave(..) => count -= 1,
        }
        most = most.max(count);
    }
    most
}

#[test]
fn max_members_is_never_exceeded_by_joins_on_several_nodes() {
    for seed in 0..20 {
        let mut cluster = cluster(seed, limited_to(2));
        let clients: Vec<_> = (0..9)
            .map(|index| request_join(&mut cluster, index % NODES, index % 4, None))
            .collect();
        cluster.advance(SETTLE_TIME);
        let inside = members(&cluster);
        assert_eq!(inside.len(), 2, "seed {seed}");
        assert_eq!(most_members(&cluster), 2, "seed {seed}");
        for client in clients {
            let expected = match inside.contains(&client) {
                true => "joined",
                false => "room-full",
            };
            assert_eq!(answer(&cluster, client), expected, "seed {seed}");
        }
        let violations = find_violations(&cluster, false);
        assert!(violations.is_empty(), "seed {seed}: {violations:#?}");
    }
}

#[test]
fn one_session_of_an_identity_stays_when_several_nodes_admit_it_at_once() {
    for rule in [DuplicateIdentity::Refuse, DuplicateIdentity::Challenge] {
        for seed in 0..20 {
            let mut cluster = cluster(seed, with_rule(rule));
            // The first member makes the nodes follow the log.
            for node in 0..NODES {
                request_join(&mut cluster, node, 0, None);
            }
            cluster.advance(SETTLE_TIME);
            let sessions: Vec<_> = (0..NODES)
                .map(|node| request_join(&mut cluster, node, 0, Some("ada")))
                .collect();
            cluster.advance(SETTLE_TIME * 2);
            let inside = members(&cluster);
            assert_eq!(inside.len(), NODES + 1, "{rule:?}, seed {seed}");
            for session in sessions {
                let expected = match inside.contains(&session) {
                    true => "joined",
                    false => "taken",
                };
                assert_eq!(answer(&cluster, session), expected, "{rule:?}, seed {seed}");
            }
            let violations = find_violations(&cluster, false);
            assert!(
                violations.is_empty(),
                "{rule:?}, seed {seed}: {violations:#?}"
            );
        }
    }
}

#[test]
fn a_session_of_a_node_that_was_fenced_gives_way_to_a_newer_one() {
    for rule in [DuplicateIdentity::Refuse, DuplicateIdentity::Challenge] {
        let mut cluster = cluster(1, with_rule(rule));
        let observer = request_join(&mut cluster, 2, 0, None);
        let older = request_join(&mut cluster, 0, 0, Some("ada"));
        cluster.advance(SETTLE_TIME);
        cluster.pause(0, LEASE * 2);
        cluster.advance(LEASE + SETTLE_TIME);
        let newer = request_join(&mut cluster, 1, 0, Some("ada"));
        cluster.advance(SETTLE_TIME);
        assert_eq!(answer(&cluster, newer), "joined", "{rule:?}");
        cluster.advance(LEASE * 3);
        assert_eq!(members(&cluster), [observer, newer], "{rule:?}");
        assert_eq!(answer(&cluster, older), "joined", "{rule:?}");
    }
}

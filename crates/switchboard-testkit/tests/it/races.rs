//! Races between concurrent requests and events. Each was once a bug.

use std::time::Duration;

use serde_json::{Value, json};
use switchboard_core::Limits;
use switchboard_testkit::{ClientId, Simulation, permissive_settings};

/// Longer than a challenge, in which the hub asks the holder of a claimed address whether it is alive.
const CHALLENGE_TIME: Duration = Duration::from_secs(3);

fn join(simulation: &mut Simulation, client: ClientId, room: &str, id: &str) {
    let frame = json!({"type": "join", "roomID": room, "senderID": id});
    simulation.send(client, frame.to_string());
}

fn join_lightstream(simulation: &mut Simulation, room: &str, id: &str) -> ClientId {
    let client = simulation.open("lightstream", &[]);
    join(simulation, client, room, id);
    client
}

fn types(frames: &[Value]) -> Vec<&str> {
    let types = frames.iter().map(|frame| frame["type"].as_str());
    types.map(|name| name.expect("a type")).collect()
}

/// A simulation whose rooms have at most two members.
fn with_rooms_of_two() -> Simulation {
    let limits = Limits {
        room_members: 2,
        ..Limits::default()
    };
    Simulation::with(1, limits, permissive_settings())
}

#[test]
fn two_unresponsive_members_are_evicted_at_the_same_time() {
    let mut simulation = Simulation::new(1);
    for id in ["one", "two"] {
        let holder = join_lightstream(&mut simulation, "room", id);
        simulation.freeze(holder);
    }
    let claimants = ["one", "two"].map(|id| join_lightstream(&mut simulation, "room", id));
    // From here on, events stay in the outboxes. The holders do not receive their evictions, so their connections stay
    // open, and no leave frees the names.
    simulation.hold();
    simulation.advance(CHALLENGE_TIME);
    let room = simulation.rooms().remove(0);
    assert_eq!(simulation.hub().members(&room).len(), 2);
    for claimant in claimants {
        assert!(
            simulation.member(claimant).is_some(),
            "the join of {claimant:?} is not answered"
        );
    }
}

#[test]
fn a_repeated_join_during_a_challenge_is_one_join() {
    let mut simulation = Simulation::new(1);
    let holder = join_lightstream(&mut simulation, "room", "x");
    simulation.freeze(holder);
    let claimant = join_lightstream(&mut simulation, "room", "x");
    join(&mut simulation, claimant, "room", "x");
    simulation.advance(CHALLENGE_TIME);
    assert!(simulation.member(claimant).is_some());
    let frames = simulation.received(claimant);
    assert!(!types(&frames).contains(&"error"), "{frames:?}");
    simulation.crash(claimant);
    assert!(
        simulation.rooms().is_empty(),
        "the claimant is still a member"
    );
}

#[test]
fn a_late_rejection_does_not_undo_the_next_join() {
    for dialect in ["lightstream", "singo", "p2p"] {
        let mut simulation = with_rooms_of_two();
        join_lightstream(&mut simulation, "full", "one");
        join_lightstream(&mut simulation, "full", "two");
        let witness = join_lightstream(&mut simulation, "free", "witness");
        let client = simulation.open(dialect, &[]);
        if dialect == "p2p" {
            simulation.send(client, r#"{"type":"IDENTIFY","username":"me"}"#);
        }
        simulation.hold();
        for room in ["full", "free"] {
            let frame = match dialect {
                "lightstream" => json!({"type": "join", "roomID": room, "senderID": "me"}),
                "singo" => json!({"type": "join", "payload": {"room_id": room}}),
                _ => json!({"type": "JOIN_ROOM", "roomId": room}),
            };
            simulation.send(client, frame.to_string());
        }
        simulation.deliver_all();
        simulation.received(witness);
        let (_, member) = simulation.member(client).expect("it is in the free room");
        simulation.send(witness, r#"{"type":"message","data":"hi"}"#);
        let me = member.address.to_string();
        let offer = match dialect {
            "lightstream" => {
                json!({"type": "offer", "targetID": "witness", "data": {"sdp": "v=0"}})
            }
            "singo" => json!({"type": "offer", "payload": {"client_id": "witness", "sdp": "v=0"}}),
            _ => json!({"type": "CHAT_MESSAGE", "content": "hello"}),
        };
        simulation.send(client, offer.to_string());
        simulation.deliver_all();
        let frames = simulation.received(witness);
        assert!(
            frames
                .iter()
                .any(|frame| frame["senderID"] == *me && frame["type"] != "user-joined"),
            "{dialect}: the server takes the client for a non-member: {frames:?}"
        );
    }
}

#[test]
fn a_late_rejection_leaves_no_stale_member() {
    let mut simulation = Simulation::new(1);
    join_lightstream(&mut simulation, "room", "taken");
    simulation.hold();
    let client = join_lightstream(&mut simulation, "room", "taken");
    simulation.deliver_all();
    let ids: Vec<_> = simulation.ids().collect();
    assert_eq!(ids.len(), 2);
    // The first rejection has arrived. The client requests the same name again, and then another name before the
    // second rejection arrives.
    join(&mut simulation, client, "room", "taken");
    simulation.deliver(ids[0]);
    join(&mut simulation, client, "room", "free");
    simulation.deliver_all();
    simulation.crash(client);
    let room = simulation.rooms().remove(0);
    let members = simulation.hub().members(&room);
    assert_eq!(members.len(), 1, "{members:?}");
}

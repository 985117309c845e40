//! Moments in which things cross on their way, each of them once a bug.

use std::time::Duration;

use serde_json::{Value, json};
use switchboard_core::Limits;
use switchboard_testkit::{ClientId, Simulation, permissive_settings};

const PATIENCE: Duration = Duration::from_secs(3);

fn join(world: &mut Simulation, client: ClientId, room: &str, id: &str) {
    let frame = json!({"type": "join", "roomID": room, "senderID": id});
    world.send(client, frame.to_string());
}

fn lightstreamer(world: &mut Simulation, room: &str, id: &str) -> ClientId {
    let client = world.open("lightstream", &[]);
    join(world, client, room, id);
    client
}

fn types(frames: &[Value]) -> Vec<&str> {
    let types = frames.iter().map(|frame| frame["type"].as_str());
    types.map(|name| name.expect("a type")).collect()
}

fn room_of_two() -> Simulation {
    let limits = Limits {
        room_members: 2,
        ..Limits::default()
    };
    Simulation::with(1, limits, permissive_settings())
}

#[test]
fn two_ghosts_of_one_room_go_at_one_moment() {
    let mut world = Simulation::new(1);
    for id in ["one", "two"] {
        let ghost = lightstreamer(&mut world, "room", id);
        world.freeze(ghost);
    }
    let heirs = ["one", "two"].map(|id| lightstreamer(&mut world, "room", id));
    // Their connections take a while to end, so it is not their farewell that frees the places.
    world.hold();
    world.advance(PATIENCE);
    let room = world.rooms().remove(0);
    assert_eq!(world.hub().members(&room).len(), 2);
    for heir in heirs {
        assert!(world.member(heir).is_some(), "{heir:?} waits for ever");
    }
}

#[test]
fn asking_twice_for_a_ghosts_place_is_asking_once() {
    let mut world = Simulation::new(1);
    let ghost = lightstreamer(&mut world, "room", "x");
    world.freeze(ghost);
    let heir = lightstreamer(&mut world, "room", "x");
    join(&mut world, heir, "room", "x");
    world.advance(PATIENCE);
    assert!(world.member(heir).is_some());
    let frames = world.received(heir);
    assert!(!types(&frames).contains(&"error"), "{frames:?}");
    world.crash(heir);
    assert!(world.rooms().is_empty(), "the heir is a ghost now");
}

#[test]
fn a_refusal_that_comes_late_does_not_undo_the_next_join() {
    for dialect in ["lightstream", "singo", "p2p"] {
        let mut world = room_of_two();
        lightstreamer(&mut world, "full", "one");
        lightstreamer(&mut world, "full", "two");
        let witness = lightstreamer(&mut world, "free", "witness");
        let client = world.open(dialect, &[]);
        if dialect == "p2p" {
            world.send(client, r#"{"type":"IDENTIFY","username":"me"}"#);
        }
        world.hold();
        for room in ["full", "free"] {
            let frame = match dialect {
                "lightstream" => json!({"type": "join", "roomID": room, "senderID": "me"}),
                "singo" => json!({"type": "join", "payload": {"room_id": room}}),
                _ => json!({"type": "JOIN_ROOM", "roomId": room}),
            };
            world.send(client, frame.to_string());
        }
        world.deliver_all();
        world.received(witness);
        let (_, member) = world.member(client).expect("it is in the free room");
        world.send(witness, r#"{"type":"message","data":"hi"}"#);
        let me = member.address.to_string();
        let offer = match dialect {
            "lightstream" => {
                json!({"type": "offer", "targetID": "witness", "data": {"sdp": "v=0"}})
            }
            "singo" => json!({"type": "offer", "payload": {"client_id": "witness", "sdp": "v=0"}}),
            _ => json!({"type": "CHAT_MESSAGE", "content": "hello"}),
        };
        world.send(client, offer.to_string());
        world.deliver_all();
        let frames = world.received(witness);
        assert!(
            frames
                .iter()
                .any(|frame| frame["senderID"] == *me && frame["type"] != "user-joined"),
            "{dialect}: the server takes it for being in no room: {frames:?}"
        );
    }
}

#[test]
fn a_refusal_that_comes_late_leaves_no_ghost() {
    let mut world = Simulation::new(1);
    lightstreamer(&mut world, "room", "taken");
    world.hold();
    let client = lightstreamer(&mut world, "room", "taken");
    world.deliver_all();
    let ids: Vec<_> = world.ids().collect();
    assert_eq!(ids.len(), 2);
    // Refused, and knows it. Now the same again, but it has asked for another name meanwhile.
    join(&mut world, client, "room", "taken");
    world.deliver(ids[0]);
    join(&mut world, client, "room", "free");
    world.deliver_all();
    world.crash(client);
    let room = world.rooms().remove(0);
    let members = world.hub().members(&room);
    assert_eq!(members.len(), 1, "{members:?}");
}

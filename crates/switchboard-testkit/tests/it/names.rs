//! Names of `p2p` clients, in rooms and in the space: random plays in which claims, joins, moves, crashes and
//! silent clients cross on their way.

use std::time::Duration;

use proptest::{prelude::*, test_runner::FileFailurePersistence};
use serde_json::json;
use switchboard_core::{DisplayName, RoomId};
use switchboard_testkit::{ClientId, Simulation};

const NAMES: [&str; 3] = ["ada", "ada (2)", "bob"];
const ROOMS: [&str; 2] = ["red", "blue"];
/// Longer than all the challenges that one join can wait for.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
enum Step {
    /// A client connects, with a name for the room that it will join, or with one for the whole space.
    Open {
        name: usize,
        room: Option<usize>,
    },
    Join {
        who: usize,
        room: usize,
    },
    Chat {
        who: usize,
    },
    Crash {
        who: usize,
    },
    Freeze {
        who: usize,
    },
    Deliver {
        who: usize,
        events: usize,
    },
    Wait {
        millis: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let who = || 0..8_usize;
    let room = || 0..ROOMS.len();
    prop_oneof![
        4 => (0..NAMES.len(), prop::option::of(room()))
            .prop_map(|(name, room)| Step::Open { name, room }),
        6 => (who(), room()).prop_map(|(who, room)| Step::Join { who, room }),
        2 => who().prop_map(|who| Step::Chat { who }),
        1 => who().prop_map(|who| Step::Crash { who }),
        1 => who().prop_map(|who| Step::Freeze { who }),
        6 => (who(), 1..6_usize).prop_map(|(who, events)| Step::Deliver { who, events }),
        1 => (1..2500_u64).prop_map(|millis| Step::Wait { millis }),
    ]
}

/// The clients of a play, each with the room that it has asked for last.
struct Play {
    world: Simulation,
    clients: Vec<(ClientId, Option<&'static str>)>,
}

impl Play {
    fn run(seed: u64, steps: &[Step]) -> Self {
        let mut world = Simulation::new(seed);
        world.hold();
        let clients = Vec::new();
        let mut play = Self { world, clients };
        for step in steps {
            play.perform(step);
        }
        play.world.deliver_all();
        play.world.advance(PATIENCE);
        play.world.deliver_all();
        play
    }

    fn perform(&mut self, step: &Step) {
        match *step {
            Step::Open { name, room } => self.open(NAMES[name], room.map(|room| ROOMS[room])),
            Step::Wait { millis } => self.world.advance(Duration::from_millis(millis)),
            Step::Join { who, room } => self.act(who, |world, client, wanted| {
                *wanted = Some(ROOMS[room]);
                let frame = json!({"type": "JOIN_ROOM", "roomId": ROOMS[room]});
                world.send(client, frame.to_string());
            }),
            Step::Chat { who } => self.act(who, |world, client, _| {
                let frame = json!({"type": "CHAT_MESSAGE", "content": "hello"});
                world.send(client, frame.to_string());
            }),
            Step::Crash { who } => self.act(who, |world, client, _| world.crash(client)),
            Step::Freeze { who } => self.act(who, |world, client, _| world.freeze(client)),
            Step::Deliver { who, events } => self.act(who, |world, client, _| {
                let _ = (0..events).take_while(|_| world.deliver(client)).count();
            }),
        }
    }

    fn open(&mut self, name: &str, room: Option<&str>) {
        let client = self.world.open("p2p", &[]);
        let mut frame = json!({"type": "IDENTIFY", "username": name});
        if let Some(room) = room {
            frame["roomId"] = room.into();
        }
        self.world.send(client, frame.to_string());
        self.clients.push((client, None));
    }

    fn act(
        &mut self,
        who: usize,
        act: impl FnOnce(&mut Simulation, ClientId, &mut Option<&'static str>),
    ) {
        let count = self.clients.len();
        if count > 0 {
            let (client, wanted) = &mut self.clients[who % count];
            if self.world.is_connected(*client) && !self.world.is_frozen(*client) {
                act(&mut self.world, *client, wanted);
            }
        }
    }

    fn names(&self, room: &RoomId) -> Vec<String> {
        let members = self.world.hub().members(room);
        let names = members.iter().filter_map(|member| member.name.as_ref());
        names.map(DisplayName::to_string).collect()
    }

    /// Whether the client can still act: its connection stands, and it answers.
    fn is_alive(&self, client: ClientId) -> bool {
        self.world.is_connected(client) && !self.world.is_frozen(client)
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "tests/proptest-regressions/names.txt",
        ))),
        ..ProptestConfig::with_cases(if cfg!(debug_assertions) { 1000 } else { 10_000 })
    })]

    #[test]
    fn members_of_a_room_have_different_names_and_every_join_is_answered(
        seed: u64,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut play = Play::run(seed, &steps);
        for room in play.world.rooms() {
            let mut names = play.names(&room);
            names.sort();
            let count = names.len();
            names.dedup();
            prop_assert_eq!(names.len(), count, "two members of {:?} have one of {:?}", room, names);
        }
        for (client, wanted) in play.clients.clone() {
            let member = play.world.member(client);
            let room = member.map(|(room, _)| room.name.to_string());
            if play.is_alive(client) {
                prop_assert_eq!(room.as_deref(), wanted, "{:?} is not where it wants to be", client);
            }
        }
        all_names_are_given_back(&mut play);
    }
}

/// When all clients are gone, every name is free, in every room and in the space.
fn all_names_are_given_back(play: &mut Play) {
    for (client, _) in play.clients.clone() {
        play.world.crash(client);
    }
    assert_eq!(play.world.hub().poll_timeout(), None, "a challenge is left");
    for name in NAMES {
        for room in [None, Some(ROOMS[0]), Some(ROOMS[1])] {
            play.open(name, room);
            play.world.deliver_all();
            let (client, _) = play.clients.last().copied().expect("a client");
            let frames = play.world.received(client);
            assert_eq!(frames[0]["type"], "AUTH_SUCCESS", "{name} in {room:?}");
        }
    }
}

/// A client in a room, with a name for that room or for the whole space, and the frames that it was sent.
fn member(world: &mut Simulation, name: &str, room: &str, is_in_room: bool) -> ClientId {
    let client = world.open("p2p", &[]);
    let mut identify = json!({"type": "IDENTIFY", "username": name});
    if is_in_room {
        identify["roomId"] = room.into();
    }
    world.send(client, identify.to_string());
    let join = json!({"type": "JOIN_ROOM", "roomId": room});
    world.send(client, join.to_string());
    client
}

#[test]
fn a_join_is_refused_when_all_the_numbers_of_a_name_are_taken() {
    let mut world = Simulation::new(1);
    member(&mut world, "ada", "red", true);
    for number in 2..=20 {
        member(&mut world, &format!("ada ({number})"), "red", true);
    }
    let last = member(&mut world, "ada", "red", false);
    let frames = world.received(last);
    let error = frames.last().expect("an answer");
    assert_eq!(error["code"], "taken", "{error}");
    assert_eq!(error["message"], "The name \"ada (20)\" is already taken.");
    assert!(world.is_connected(last));
    world.send(
        last,
        json!({"type": "JOIN_ROOM", "roomId": "blue"}).to_string(),
    );
    assert_eq!(world.received(last)[0]["type"], "ROOM_MEMBERS");
}

#[test]
fn frames_that_wait_for_a_name_are_bounded_and_the_rest_is_refused() {
    let mut world = Simulation::new(1);
    let holder = member(&mut world, "ada", "red", true);
    world.freeze(holder);
    let waiting = member(&mut world, "ada", "red", false);
    world.take_frames(waiting);
    for _ in 0..20 {
        let chat = json!({"type": "CHAT_MESSAGE", "content": "early"});
        world.send(waiting, chat.to_string());
    }
    let refused = world.received(waiting);
    assert_eq!(refused.len(), 4);
    assert!(refused.iter().all(|frame| frame["code"] == "not-in-room"));
    world.advance(Duration::from_secs(2));
    assert_eq!(world.received(waiting)[0]["type"], "ROOM_MEMBERS");
}

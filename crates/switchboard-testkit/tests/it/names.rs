//! Names of `p2p` clients, which claim them for one room or for all rooms: random runs with concurrent claims, joins,
//! room changes, crashes and frozen clients.

use std::time::Duration;

use proptest::{prelude::*, test_runner::FileFailurePersistence};
use serde_json::json;
use switchboard_core::RoomId;
use switchboard_testkit::{ClientId, Simulation};

/// The first two are the same name, because they look alike. The third is the name that a second `ada` gets in a room.
const NAMES: [&str; 4] = ["ada", "a\u{200b}da ", "ada (2)", "bob"];
const ROOMS: [&str; 2] = ["red", "blue"];
/// Longer than all challenges that one join can wait for. In a challenge, the hub asks the holder of a claimed name
/// whether it is alive.
const CHALLENGE_TIME: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
enum Step {
    /// A client connects and claims a name in the room that it will join, or in the whole space.
    Open {
        name: usize,
        room: Option<usize>,
    },
    Join {
        index: usize,
        room: usize,
    },
    Chat {
        index: usize,
    },
    Crash {
        index: usize,
    },
    Freeze {
        index: usize,
    },
    Deliver {
        index: usize,
        events: usize,
    },
    Wait {
        millis: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let index = || 0..8_usize;
    let room = || 0..ROOMS.len();
    prop_oneof![
        4 => (0..NAMES.len(), prop::option::of(room()))
            .prop_map(|(name, room)| Step::Open { name, room }),
        6 => (index(), room()).prop_map(|(index, room)| Step::Join { index, room }),
        2 => index().prop_map(|index| Step::Chat { index }),
        1 => index().prop_map(|index| Step::Crash { index }),
        1 => index().prop_map(|index| Step::Freeze { index }),
        6 => (index(), 1..6_usize).prop_map(|(index, events)| Step::Deliver { index, events }),
        1 => (1..2500_u64).prop_map(|millis| Step::Wait { millis }),
    ]
}

/// A run of random steps: its clients, each with the room of its last join.
struct NameRun {
    simulation: Simulation,
    clients: Vec<(ClientId, Option<&'static str>)>,
}

impl NameRun {
    fn run(seed: u64, steps: &[Step]) -> Self {
        let mut simulation = Simulation::new(seed);
        simulation.hold();
        let clients = Vec::new();
        let mut run = Self {
            simulation,
            clients,
        };
        for step in steps {
            run.apply_step(step);
        }
        run.simulation.deliver_all();
        run.simulation.advance(CHALLENGE_TIME);
        run.simulation.deliver_all();
        run
    }

    fn apply_step(&mut self, step: &Step) {
        match *step {
            Step::Open { name, room } => self.open(NAMES[name], room.map(|room| ROOMS[room])),
            Step::Wait { millis } => self.simulation.advance(Duration::from_millis(millis)),
            Step::Join { index, room } => self.act(index, |simulation, client, requested_room| {
                *requested_room = Some(ROOMS[room]);
                let frame = json!({"type": "JOIN_ROOM", "roomId": ROOMS[room]});
                simulation.send(client, frame.to_string());
            }),
            Step::Chat { index } => self.act(index, |simulation, client, _| {
                let frame = json!({"type": "CHAT_MESSAGE", "content": "hello"});
                simulation.send(client, frame.to_string());
            }),
            Step::Crash { index } => {
                self.act(index, |simulation, client, _| simulation.crash(client))
            }
            Step::Freeze { index } => {
                self.act(index, |simulation, client, _| simulation.freeze(client))
            }
            Step::Deliver { index, events } => self.act(index, |simulation, client, _| {
                (0..events).all(|_| simulation.deliver(client));
            }),
        }
    }

    fn open(&mut self, name: &str, room: Option<&str>) {
        let client = self.simulation.open("p2p", &[]);
        let mut frame = json!({"type": "IDENTIFY", "username": name});
        if let Some(room) = room {
            frame["roomId"] = room.into();
        }
        self.simulation.send(client, frame.to_string());
        self.clients.push((client, None));
    }

    /// Applies `act` to a client, if there is one that is connected and responsive.
    fn act(
        &mut self,
        index: usize,
        act: impl FnOnce(&mut Simulation, ClientId, &mut Option<&'static str>),
    ) {
        let count = self.clients.len();
        if count > 0 {
            let (client, requested_room) = &mut self.clients[index % count];
            if self.simulation.is_connected(*client) && !self.simulation.is_frozen(*client) {
                act(&mut self.simulation, *client, requested_room);
            }
        }
    }

    fn names(&self, room: &RoomId) -> Vec<String> {
        let members = self.simulation.hub().members(room);
        let names = members.iter().filter_map(|member| member.name.as_ref());
        names.map(|name| name.visible_form().to_string()).collect()
    }

    /// Whether the client is connected and responsive.
    fn is_alive(&self, client: ClientId) -> bool {
        self.simulation.is_connected(client) && !self.simulation.is_frozen(client)
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
        let mut run = NameRun::run(seed, &steps);
        for room in run.simulation.rooms() {
            let mut names = run.names(&room);
            names.sort();
            let count = names.len();
            names.dedup();
            prop_assert_eq!(names.len(), count, "two members of {:?} have the same name: {:?}", room, names);
        }
        for (client, requested_room) in run.clients.clone() {
            let member = run.simulation.member(client);
            let room = member.map(|(room, _)| room.name.to_string());
            if run.is_alive(client) {
                prop_assert_eq!(room.as_deref(), requested_room, "{:?} is not in the room of its last join", client);
            }
        }
        assert_all_names_are_free(&mut run);
    }
}

/// Disconnects all clients, and checks that every name is then free, in every room and for all rooms.
fn assert_all_names_are_free(run: &mut NameRun) {
    for (client, _) in run.clients.clone() {
        run.simulation.crash(client);
    }
    assert_eq!(
        run.simulation.hub().poll_timeout(),
        None,
        "the hub still has a timer: a challenge is left"
    );
    for name in NAMES {
        for room in [None, Some(ROOMS[0]), Some(ROOMS[1])] {
            run.open(name, room);
            run.simulation.deliver_all();
            let (client, _) = run.clients.last().copied().expect("a client");
            let frames = run.simulation.received(client);
            assert_eq!(frames[0]["type"], "AUTH_SUCCESS", "{name} in {room:?}");
            run.simulation.crash(client);
        }
    }
}

/// Connects a client that claims a name in a room or in the whole space, and joins the room.
fn member(simulation: &mut Simulation, name: &str, room: &str, is_in_room: bool) -> ClientId {
    let client = simulation.open("p2p", &[]);
    let mut identify = json!({"type": "IDENTIFY", "username": name});
    if is_in_room {
        identify["roomId"] = room.into();
    }
    simulation.send(client, identify.to_string());
    let join = json!({"type": "JOIN_ROOM", "roomId": room});
    simulation.send(client, join.to_string());
    client
}

#[test]
fn a_join_is_rejected_when_all_numbered_variants_of_a_name_are_taken() {
    let mut simulation = Simulation::new(1);
    member(&mut simulation, "ada", "red", true);
    for number in 2..=20 {
        member(&mut simulation, &format!("ada ({number})"), "red", true);
    }
    let last = member(&mut simulation, "ada", "red", false);
    let frames = simulation.received(last);
    let error = frames.last().expect("an answer");
    assert_eq!(error["code"], "taken", "{error}");
    assert_eq!(error["message"], "The name \"ada (20)\" is already taken.");
    assert!(simulation.is_connected(last));
    simulation.send(
        last,
        json!({"type": "JOIN_ROOM", "roomId": "blue"}).to_string(),
    );
    assert_eq!(simulation.received(last)[0]["type"], "ROOM_MEMBERS");
}

#[test]
fn frames_queued_behind_a_name_challenge_are_bounded() {
    let mut simulation = Simulation::new(1);
    let holder = member(&mut simulation, "ada", "red", true);
    simulation.freeze(holder);
    let waiting = member(&mut simulation, "ada", "red", false);
    simulation.take_frames(waiting);
    for _ in 0..20 {
        let chat = json!({"type": "CHAT_MESSAGE", "content": "early"});
        simulation.send(waiting, chat.to_string());
    }
    let errors = simulation.received(waiting);
    assert_eq!(errors.len(), 4);
    assert!(errors.iter().all(|frame| frame["code"] == "not-in-room"));
    simulation.advance(Duration::from_secs(2));
    assert_eq!(simulation.received(waiting)[0]["type"], "ROOM_MEMBERS");
}

//! What holds of the topics of `y-webrtc`: a connection in many rooms, and what is published while a
//! subscription is under way.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use switchboard_core::{Change, Limits, PeerId};
use switchboard_dialects::DialectSettings;
use switchboard_testkit::{ClientId, Simulation};

const TOPICS: [&str; 3] = ["red", "green", "blue"];
const CLIENTS: usize = 4;

/// What may wait in a session.
const EARLY_FRAMES_MAX: usize = 16;
const EARLY_BYTES_MAX: usize = 256 * 1024;

fn subscribe(world: &mut Simulation, client: ClientId, topics: &[&str]) {
    world.send(
        client,
        json!({"type": "subscribe", "topics": topics}).to_string(),
    );
}

fn unsubscribe(world: &mut Simulation, client: ClientId, topics: &[&str]) {
    world.send(
        client,
        json!({"type": "unsubscribe", "topics": topics}).to_string(),
    );
}

fn publish(world: &mut Simulation, client: ClientId, topic: &str, data: &Value) {
    let frame = json!({"type": "publish", "topic": topic, "data": data});
    world.send(client, frame.to_string());
}

fn published(topic: &str, data: usize, clients: usize) -> Value {
    json!({"type": "publish", "topic": topic, "data": data, "clients": clients})
}

/// A subscriber that has been told, and one that has asked and was told nothing yet.
fn told_and_untold() -> (Simulation, ClientId, ClientId) {
    let mut world = Simulation::new(1);
    let told = world.open("y-webrtc", &[]);
    subscribe(&mut world, told, &["red"]);
    world.hold();
    let untold = world.open("y-webrtc", &[]);
    subscribe(&mut world, untold, &["red"]);
    (world, told, untold)
}

#[test]
fn what_is_published_early_waits_and_is_counted_right() {
    let (mut world, told, early) = told_and_untold();
    for number in 0..3 {
        publish(&mut world, early, "red", &json!(number));
    }
    world.deliver_all();
    let expected: Vec<_> = (0..3).map(|number| published("red", number, 2)).collect();
    for client in [told, early] {
        assert_eq!(world.received(client), expected, "{client:?}");
        assert_eq!(world.take_error_codes(client), [""; 0], "{client:?}");
    }
}

#[test]
fn so_many_frames_wait_and_no_more() {
    let (mut world, told, early) = told_and_untold();
    subscribe(&mut world, early, &["blue"]);
    for number in 0..EARLY_FRAMES_MAX + 2 {
        let topic = ["red", "blue"][number % 2];
        publish(&mut world, early, topic, &json!(number));
    }
    let refused = world.take_error_codes(early);
    assert_eq!(refused, ["too-many-frames"; 2]);
    world.deliver_all();
    assert_eq!(world.received(told).len(), EARLY_FRAMES_MAX / 2);
    assert_eq!(world.received(early).len(), EARLY_FRAMES_MAX);
}

#[test]
fn so_many_bytes_wait_and_no_more() {
    let (mut world, told, early) = told_and_untold();
    let half = "x".repeat(EARLY_BYTES_MAX / 2 - 128);
    for data in [&half, &half, &half] {
        publish(&mut world, early, "red", &json!(data));
    }
    publish(&mut world, early, "red", &json!("small"));
    assert_eq!(world.take_error_codes(early), ["too-many-frames"]);
    world.deliver_all();
    assert_eq!(world.received(told).len(), 3);
}

#[test]
fn what_waits_is_refused_when_the_subscription_comes_to_nothing() {
    let limits = Limits {
        room_members: 1,
        ..Limits::default()
    };
    let mut world = Simulation::with(1, limits, DialectSettings::default());
    let holder = world.open("y-webrtc", &[]);
    subscribe(&mut world, holder, &["red"]);
    world.hold();
    let early = world.open("y-webrtc", &[]);
    subscribe(&mut world, early, &["red", "blue"]);
    for topic in ["red", "red", "blue"] {
        publish(&mut world, early, topic, &json!(7));
    }
    world.deliver_all();
    let refused = world.take_error_codes(early);
    assert_eq!(refused, ["room-full", "not-in-room", "not-in-room"]);
    assert_eq!(world.received(early), [published("blue", 7, 1)]);
    assert_eq!(world.received(holder), [Value::Null; 0]);
    assert!(world.is_connected(early));
}

#[test]
fn what_waits_is_refused_when_the_client_goes_back_on_it() {
    let (mut world, told, early) = told_and_untold();
    publish(&mut world, early, "red", &json!(1));
    unsubscribe(&mut world, early, &["red"]);
    assert_eq!(world.take_error_codes(early), ["not-in-room"]);
    world.deliver_all();
    for client in [told, early] {
        assert_eq!(world.received(client), [Value::Null; 0], "{client:?}");
    }
}

#[test]
fn a_subscription_that_is_asked_for_again_is_the_latest() {
    let (mut world, told, early) = told_and_untold();
    unsubscribe(&mut world, early, &["red"]);
    subscribe(&mut world, early, &["red"]);
    publish(&mut world, early, "red", &json!(1));
    world.deliver_all();
    publish(&mut world, early, "red", &json!(2));
    world.deliver_all();
    let expected = [published("red", 1, 2), published("red", 2, 2)];
    assert_eq!(world.received(told), expected);
    assert_eq!(world.received(early), expected);
}

/// A client as y-webrtc is: it announces itself, and calls every other client that does.
struct Page {
    client: ClientId,
    id: String,
    /// The other pages, and whether they have answered or were answered.
    connections: BTreeMap<String, bool>,
}

/// ICE candidates that a page sends after each description.
const CANDIDATES: usize = 9;

impl Page {
    fn open(world: &mut Simulation, id: String) -> Self {
        let client = world.open("y-webrtc", &[]);
        subscribe(world, client, &["red"]);
        let announce = json!({"type": "announce", "from": id});
        publish(world, client, "red", &announce);
        let connections = BTreeMap::new();
        Self {
            client,
            id,
            connections,
        }
    }

    fn signal(&self, world: &mut Simulation, to: &str, description: &str) {
        let describe = json!({"type": description, "sdp": "v=0"});
        let candidate = json!({"type": "candidate", "candidate": {}});
        let signals = std::iter::once(&describe);
        for signal in signals.chain(std::iter::repeat_n(&candidate, CANDIDATES)) {
            let data = json!({"type": "signal", "to": to, "from": self.id, "signal": signal});
            publish(world, self.client, "red", &data);
        }
    }

    /// Reads the frames that have come, and returns their number.
    fn read(&mut self, world: &mut Simulation) -> usize {
        let frames = world.received(self.client);
        for frame in &frames {
            let data = &frame["data"];
            let from = data["from"].as_str().expect("a sender").to_owned();
            let is_other = data["to"].as_str().is_some_and(|to| to != self.id);
            if from == self.id || is_other {
                continue;
            }
            match (data["type"].as_str(), data["signal"]["type"].as_str()) {
                (Some("announce"), _) if !self.connections.contains_key(&from) => {
                    self.signal(world, &from, "offer");
                    self.connections.insert(from, false);
                }
                (_, Some("offer")) => {
                    self.signal(world, &from, "answer");
                    self.connections.insert(from, true);
                }
                (_, Some("answer")) => {
                    self.connections.insert(from, true);
                }
                _ => {}
            }
        }
        frames.len()
    }
}

#[test]
fn sixty_pages_in_one_topic_get_only_the_signals_that_name_them() {
    const PAGES: usize = 60;
    let mut world = Simulation::new(1);
    let mut pages: Vec<Page> = Vec::new();
    let mut deliveries = 0;
    for number in 0..PAGES {
        pages.push(Page::open(&mut world, format!("page {number}")));
        loop {
            let reads = pages.iter_mut().map(|page| page.read(&mut world));
            let frames: usize = reads.sum();
            if frames == 0 {
                break;
            }
            deliveries += frames;
        }
    }
    for page in &pages {
        let connected = page.connections.values().filter(|is_up| **is_up);
        assert_eq!(connected.count(), PAGES - 1, "{}", page.id);
    }
    let pairs = PAGES * (PAGES - 1) / 2;
    // Each page gets its own announcement; each pair one announcement, an offer and an answer.
    assert_eq!(deliveries, PAGES + pairs * (1 + 2 * (1 + CANDIDATES)));
}

/// The frames that three pages announced as "a", "b" and "c" get for this data.
fn delivered(data: &Value) -> [usize; 3] {
    let mut world = Simulation::new(1);
    let clients = ["a", "b", "c"].map(|id| {
        let client = world.open("y-webrtc", &[]);
        subscribe(&mut world, client, &["red"]);
        publish(
            &mut world,
            client,
            "red",
            &json!({"type": "announce", "from": id}),
        );
        client
    });
    for client in clients {
        world.take_frames(client);
    }
    world.send(
        clients[0],
        format!(
            r#"{{"type":"publish","topic":"red",{data}}}"#,
            data = text_of(data)
        ),
    );
    clients.map(|client| world.received(client).len())
}

/// The fields of an object, or the text itself.
fn text_of(data: &Value) -> String {
    data.as_str()
        .map_or_else(|| format!(r#""data":{data}"#), str::to_owned)
}

#[test]
fn only_a_signal_that_names_one_receiver_is_for_it_alone() {
    for (data, expected) in [
        (json!({"type": "signal", "from": "a", "to": "b"}), [0, 1, 0]),
        (json!({"type": "signal", "to": "c"}), [0, 0, 1]),
        (json!({"type": "signal", "from": "a", "to": "a"}), [1, 0, 0]),
        (
            json!({"type": "signal", "from": "a", "to": "unknown"}),
            [1, 1, 1],
        ),
        (json!({"type": "signal", "from": "a", "to": 7}), [1, 1, 1]),
        (json!({"type": "signal", "from": "a", "to": ""}), [1, 1, 1]),
        (json!({"type": "signal", "from": "a"}), [1, 1, 1]),
        (
            json!({"type": "announce", "from": "a", "to": "b"}),
            [1, 1, 1],
        ),
        (json!({"from": "a", "to": "b"}), [1, 1, 1]),
        (json!(r#""data":"encrypted""#), [1, 1, 1]),
        (
            json!(r#""data":{"type":"signal","to":"b","to":"c"}"#),
            [1, 1, 1],
        ),
        (
            json!(r#""data":{"type":"signal","to":"b","To":"c"}"#),
            [1, 1, 1],
        ),
        (json!(r#""data":{"type":"signal","To":"b"}"#), [1, 1, 1]),
        (
            json!(r#""data":{"type":"signal","Type":"x","to":"b"}"#),
            [1, 1, 1],
        ),
        (
            json!(r#""data":{"type":"signal","to":"b"},"Data":1"#),
            [1, 1, 1],
        ),
        (
            json!(r#""data":{"type":"signal","to":"\u0062"}"#),
            [0, 1, 0],
        ),
    ] {
        assert_eq!(delivered(&data), expected, "{data}");
    }
}

#[test]
fn the_sender_of_a_signal_is_known_without_an_announcement() {
    let mut world = Simulation::new(1);
    let [ada, ben, cyd] = [0; 3].map(|_| {
        let client = world.open("y-webrtc", &[]);
        subscribe(&mut world, client, &["red"]);
        client
    });
    let signal = |from: &str, to: &str| json!({"type": "signal", "from": from, "to": to});
    publish(&mut world, ada, "red", &signal("ada", "ben"));
    publish(&mut world, ben, "red", &signal("ben", "ada"));
    let counts = [ada, ben, cyd].map(|client| world.received(client).len());
    assert_eq!(
        counts,
        [2, 1, 1],
        "the first is for an unknown id, the second is not"
    );
}

#[test]
fn an_id_is_forgotten_with_its_subscription() {
    let mut world = Simulation::new(1);
    let [ada, ben] = [0; 2].map(|_| world.open("y-webrtc", &[]));
    for client in [ada, ben] {
        subscribe(&mut world, client, &["red"]);
    }
    publish(
        &mut world,
        ben,
        "red",
        &json!({"type": "announce", "from": "ben"}),
    );
    unsubscribe(&mut world, ben, &["red"]);
    subscribe(&mut world, ben, &["red"]);
    for client in [ada, ben] {
        world.take_frames(client);
    }
    publish(
        &mut world,
        ada,
        "red",
        &json!({"type": "signal", "from": "ada", "to": "ben"}),
    );
    let counts = [ada, ben].map(|client| world.received(client).len());
    assert_eq!(counts, [1, 1], "it is for all again");
}

#[derive(Clone, Debug)]
enum TopicStep {
    Subscribe(usize, Vec<usize>),
    Unsubscribe(usize, Vec<usize>),
    Publish(usize, usize),
    Return(usize),
    Deliver(usize, usize),
}

fn step() -> impl Strategy<Value = TopicStep> {
    let who = || 0..CLIENTS;
    let topics = || prop::collection::vec(0..TOPICS.len(), 1..3);
    prop_oneof![
        3 => (who(), topics()).prop_map(|(who, topics)| TopicStep::Subscribe(who, topics)),
        1 => (who(), topics()).prop_map(|(who, topics)| TopicStep::Unsubscribe(who, topics)),
        5 => (who(), 0..TOPICS.len()).prop_map(|(who, topic)| TopicStep::Publish(who, topic)),
        1 => who().prop_map(TopicStep::Return),
        4 => (who(), 1..4_usize).prop_map(|(who, events)| TopicStep::Deliver(who, events)),
    ]
}

/// Clients that do as they like, and the connections that each of them has had.
struct TopicRun {
    world: Simulation,
    clients: Vec<ClientId>,
    /// Who has published the thing of this number, and where.
    said: Vec<(ClientId, &'static str)>,
}

impl TopicRun {
    fn run(steps: &[TopicStep]) -> Self {
        let mut world = Simulation::new(1);
        world.hold();
        let clients = (0..CLIENTS).map(|_| world.open("y-webrtc", &[])).collect();
        let mut play = Self {
            world,
            clients,
            said: Vec::new(),
        };
        steps.iter().for_each(|step| play.step(step));
        play.world.deliver_all();
        play
    }

    fn step(&mut self, step: &TopicStep) {
        let named = |topics: &[usize]| topics.iter().map(|topic| TOPICS[*topic]).collect();
        match step {
            TopicStep::Subscribe(who, topics) => {
                let topics: Vec<_> = named(topics);
                subscribe(&mut self.world, self.clients[*who], &topics);
            }
            TopicStep::Unsubscribe(who, topics) => {
                let topics: Vec<_> = named(topics);
                unsubscribe(&mut self.world, self.clients[*who], &topics);
            }
            TopicStep::Publish(who, topic) => {
                let (client, topic) = (self.clients[*who], TOPICS[*topic]);
                let number = json!(self.said.len());
                self.said.push((client, topic));
                publish(&mut self.world, client, topic, &number);
            }
            TopicStep::Return(who) => {
                self.world.crash(self.clients[*who]);
                self.clients[*who] = self.world.open("y-webrtc", &[]);
            }
            TopicStep::Deliver(who, events) => {
                let client = self.clients[*who];
                (0..*events).all(|_| self.world.deliver(client));
            }
        }
    }

    /// The topic's members when the log had that length.
    fn members(&self, topic: &str, length: usize) -> Vec<PeerId> {
        let mut members = Vec::new();
        let log = self.world.log()[..length].iter();
        for entry in log.filter(|entry| entry.room.name.as_str() == topic) {
            match &entry.change {
                Change::Join(member) => members.push(member.peer),
                Change::Leave(peer, _) => members.retain(|member| member != peer),
            }
        }
        members
    }

    /// Everybody hears what is said in a topic once, in order, while a member, and the same of it.
    fn judge(&mut self) {
        let mut heard = vec![Vec::new(); self.said.len()];
        for client in self.world.ids() {
            let me = self.world.peer(client);
            let mut last = BTreeMap::new();
            for frame in self.world.take_frames(client) {
                let value: Value = serde_json::from_str(&frame.text).expect("JSON");
                let number = value["data"].as_u64().expect("the number of what was said");
                let number = usize::try_from(number).expect("a small one");
                let (from, topic) = self.said[number];
                assert_eq!(value["topic"], topic);
                let members = self.members(topic, frame.at);
                assert!(members.contains(&me), "{client:?} hears {number}");
                let before = last.insert((from, topic), number);
                assert!(before < Some(number), "{number} came late or again");
                heard[number].push((client, value["clients"].clone(), members.len()));
            }
        }
        for (number, hearers) in heard.iter().enumerate() {
            self.judge_one(number, hearers);
        }
    }

    fn judge_one(&self, number: usize, hearers: &[(ClientId, Value, usize)]) {
        let (from, _) = self.said[number];
        let Some((_, clients, _)) = hearers.first() else {
            return;
        };
        assert!(
            hearers.iter().all(|(_, said, _)| said == clients),
            "{number} says different numbers: {hearers:?}"
        );
        assert!(
            hearers.iter().any(|(hearer, ..)| *hearer == from),
            "{number} is not heard by who said it: {hearers:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..ProptestConfig::with_cases(if cfg!(debug_assertions) { 1000 } else { 10_000 })
    })]

    #[test]
    fn everybody_hears_what_is_said_in_a_topic(steps in prop::collection::vec(step(), 1..60)) {
        let mut play = TopicRun::run(&steps);
        play.judge();
        let ids: Vec<_> = play.world.ids().collect();
        for client in ids {
            play.world.crash(client);
        }
        prop_assert!(play.world.rooms().is_empty(), "rooms of nobody");
    }

    /// Without delays, the number is that of the members, and every one of them hears it.
    #[test]
    fn the_number_of_clients_is_that_of_who_hears_it(steps in prop::collection::vec(step(), 1..40)) {
        let mut play = TopicRun::run(&[]);
        for step in &steps {
            let before = play.said.len();
            play.step(step);
            play.world.deliver_all();
            let hearers: Vec<Value> = (play.clients.clone().into_iter())
                .flat_map(|client| play.world.received(client))
                .collect();
            prop_assert!(hearers.iter().all(|frame| frame["clients"] == hearers.len()));
            let is_said = play.said.get(before).is_some_and(|(from, topic)| {
                let me = play.world.peer(*from);
                play.members(topic, play.world.log().len()).contains(&me)
            });
            prop_assert_eq!(!hearers.is_empty(), is_said);
        }
    }
}

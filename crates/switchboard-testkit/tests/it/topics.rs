//! Topics of `y-webrtc`: a connection in several rooms, and frames that are published before their subscription is
//! committed.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use switchboard_core::{Change, Limits, PeerId};
use switchboard_dialects::DialectSettings;
use switchboard_testkit::{ClientId, Simulation};

const TOPICS: [&str; 3] = ["red", "green", "blue"];
const CLIENTS: usize = 4;

/// The frames and bytes that a session may queue before its subscription is committed.
const QUEUED_FRAMES_MAX: usize = 16;
const QUEUED_BYTES_MAX: usize = 256 * 1024;

fn subscribe(simulation: &mut Simulation, client: ClientId, topics: &[&str]) {
    simulation.send(
        client,
        json!({"type": "subscribe", "topics": topics}).to_string(),
    );
}

fn unsubscribe(simulation: &mut Simulation, client: ClientId, topics: &[&str]) {
    simulation.send(
        client,
        json!({"type": "unsubscribe", "topics": topics}).to_string(),
    );
}

fn publish(simulation: &mut Simulation, client: ClientId, topic: &str, data: &Value) {
    let frame = json!({"type": "publish", "topic": topic, "data": data});
    simulation.send(client, frame.to_string());
}

fn published(topic: &str, data: usize, clients: usize) -> Value {
    json!({"type": "publish", "topic": topic, "data": data, "clients": clients})
}

/// A client whose subscription is committed, and one whose subscription is still pending.
fn subscribed_and_subscribing() -> (Simulation, ClientId, ClientId) {
    let mut simulation = Simulation::new(1);
    let subscribed = simulation.open("y-webrtc", &[]);
    subscribe(&mut simulation, subscribed, &["red"]);
    simulation.hold();
    let subscribing = simulation.open("y-webrtc", &[]);
    subscribe(&mut simulation, subscribing, &["red"]);
    (simulation, subscribed, subscribing)
}

#[test]
fn frames_published_before_the_subscription_are_delivered_with_the_right_count() {
    let (mut simulation, subscribed, subscribing) = subscribed_and_subscribing();
    for number in 0..3 {
        publish(&mut simulation, subscribing, "red", &json!(number));
    }
    simulation.deliver_all();
    let expected: Vec<_> = (0..3).map(|number| published("red", number, 2)).collect();
    for client in [subscribed, subscribing] {
        assert_eq!(simulation.received(client), expected, "{client:?}");
        assert_eq!(simulation.take_error_codes(client), [""; 0], "{client:?}");
    }
}

#[test]
fn the_number_of_queued_frames_is_bounded() {
    let (mut simulation, subscribed, subscribing) = subscribed_and_subscribing();
    subscribe(&mut simulation, subscribing, &["blue"]);
    for number in 0..QUEUED_FRAMES_MAX + 2 {
        let topic = ["red", "blue"][number % 2];
        publish(&mut simulation, subscribing, topic, &json!(number));
    }
    let error_codes = simulation.take_error_codes(subscribing);
    assert_eq!(error_codes, ["too-many-frames"; 2]);
    simulation.deliver_all();
    assert_eq!(simulation.received(subscribed).len(), QUEUED_FRAMES_MAX / 2);
    assert_eq!(simulation.received(subscribing).len(), QUEUED_FRAMES_MAX);
}

#[test]
fn the_bytes_of_queued_frames_are_bounded() {
    let (mut simulation, subscribed, subscribing) = subscribed_and_subscribing();
    let half = "x".repeat(QUEUED_BYTES_MAX / 2 - 128);
    for data in [&half, &half, &half] {
        publish(&mut simulation, subscribing, "red", &json!(data));
    }
    publish(&mut simulation, subscribing, "red", &json!("small"));
    assert_eq!(
        simulation.take_error_codes(subscribing),
        ["too-many-frames"]
    );
    simulation.deliver_all();
    assert_eq!(simulation.received(subscribed).len(), 3);
}

#[test]
fn queued_frames_are_rejected_when_the_subscription_is_rejected() {
    let limits = Limits {
        room_members: 1,
        ..Limits::default()
    };
    let mut simulation = Simulation::with(1, limits, DialectSettings::default());
    let holder = simulation.open("y-webrtc", &[]);
    subscribe(&mut simulation, holder, &["red"]);
    simulation.hold();
    let subscribing = simulation.open("y-webrtc", &[]);
    subscribe(&mut simulation, subscribing, &["red", "blue"]);
    for topic in ["red", "red", "blue"] {
        publish(&mut simulation, subscribing, topic, &json!(7));
    }
    simulation.deliver_all();
    let error_codes = simulation.take_error_codes(subscribing);
    assert_eq!(error_codes, ["room-full", "not-in-room", "not-in-room"]);
    assert_eq!(simulation.received(subscribing), [published("blue", 7, 1)]);
    assert_eq!(simulation.received(holder), [Value::Null; 0]);
    assert!(simulation.is_connected(subscribing));
}

#[test]
fn queued_frames_are_rejected_when_the_client_unsubscribes() {
    let (mut simulation, subscribed, subscribing) = subscribed_and_subscribing();
    publish(&mut simulation, subscribing, "red", &json!(1));
    unsubscribe(&mut simulation, subscribing, &["red"]);
    assert_eq!(simulation.take_error_codes(subscribing), ["not-in-room"]);
    simulation.deliver_all();
    for client in [subscribed, subscribing] {
        assert_eq!(simulation.received(client), [Value::Null; 0], "{client:?}");
    }
}

#[test]
fn a_repeated_subscription_supersedes_the_unsubscription() {
    let (mut simulation, subscribed, subscribing) = subscribed_and_subscribing();
    unsubscribe(&mut simulation, subscribing, &["red"]);
    subscribe(&mut simulation, subscribing, &["red"]);
    publish(&mut simulation, subscribing, "red", &json!(1));
    simulation.deliver_all();
    publish(&mut simulation, subscribing, "red", &json!(2));
    simulation.deliver_all();
    let expected = [published("red", 1, 2), published("red", 2, 2)];
    assert_eq!(simulation.received(subscribed), expected);
    assert_eq!(simulation.received(subscribing), expected);
}

/// A client that behaves like y-webrtc: it announces itself, and sends an offer to every other client that announces
/// itself.
struct Page {
    client: ClientId,
    id: String,
    /// The other pages, and whether offer and answer were exchanged with each.
    connections: BTreeMap<String, bool>,
}

/// ICE candidates that a page sends after each description.
const CANDIDATES: usize = 9;

impl Page {
    fn open(simulation: &mut Simulation, id: String) -> Self {
        let client = simulation.open("y-webrtc", &[]);
        subscribe(simulation, client, &["red"]);
        let announce = json!({"type": "announce", "from": id});
        publish(simulation, client, "red", &announce);
        let connections = BTreeMap::new();
        Self {
            client,
            id,
            connections,
        }
    }

    fn signal(&self, simulation: &mut Simulation, to: &str, description: &str) {
        let describe = json!({"type": description, "sdp": "v=0"});
        let candidate = json!({"type": "candidate", "candidate": {}});
        let signals = std::iter::once(&describe);
        for signal in signals.chain(std::iter::repeat_n(&candidate, CANDIDATES)) {
            let data = json!({"type": "signal", "to": to, "from": self.id, "signal": signal});
            publish(simulation, self.client, "red", &data);
        }
    }

    /// Handles the received frames, and returns their number.
    fn read(&mut self, simulation: &mut Simulation) -> usize {
        let frames = simulation.received(self.client);
        for frame in &frames {
            let data = &frame["data"];
            let from = data["from"].as_str().expect("a sender").to_owned();
            let is_other = data["to"].as_str().is_some_and(|to| to != self.id);
            if from == self.id || is_other {
                continue;
            }
            match (data["type"].as_str(), data["signal"]["type"].as_str()) {
                (Some("announce"), _) if !self.connections.contains_key(&from) => {
                    self.signal(simulation, &from, "offer");
                    self.connections.insert(from, false);
                }
                (_, Some("offer")) => {
                    self.signal(simulation, &from, "answer");
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
fn sixty_pages_in_one_topic_receive_only_signals_addressed_to_them() {
    const PAGES: usize = 60;
    let mut simulation = Simulation::new(1);
    let mut pages: Vec<Page> = Vec::new();
    let mut deliveries = 0;
    for number in 0..PAGES {
        pages.push(Page::open(&mut simulation, format!("page {number}")));
        loop {
            let reads = pages.iter_mut().map(|page| page.read(&mut simulation));
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

/// The number of frames that three pages, announced as "a", "b" and "c", receive when "a" publishes this data.
fn delivered(data: &Value) -> [usize; 3] {
    let mut simulation = Simulation::new(1);
    let clients = ["a", "b", "c"].map(|id| {
        let client = simulation.open("y-webrtc", &[]);
        subscribe(&mut simulation, client, &["red"]);
        publish(
            &mut simulation,
            client,
            "red",
            &json!({"type": "announce", "from": id}),
        );
        client
    });
    for client in clients {
        simulation.take_frames(client);
    }
    simulation.send(
        clients[0],
        format!(
            r#"{{"type":"publish","topic":"red",{data}}}"#,
            data = data_field(data)
        ),
    );
    clients.map(|client| simulation.received(client).len())
}

/// The `data` field of a frame. If `data` is a string, it is the text of the whole field, which may be malformed or
/// repeated; any other value becomes the value of the field.
fn data_field(data: &Value) -> String {
    data.as_str()
        .map_or_else(|| format!(r#""data":{data}"#), str::to_owned)
}

#[test]
fn only_a_signal_to_one_known_receiver_is_delivered_to_it_alone() {
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
fn the_id_of_a_sender_is_learned_from_its_first_signal() {
    let mut simulation = Simulation::new(1);
    let [ada, ben, cyd] = [0; 3].map(|_| {
        let client = simulation.open("y-webrtc", &[]);
        subscribe(&mut simulation, client, &["red"]);
        client
    });
    let signal = |from: &str, to: &str| json!({"type": "signal", "from": from, "to": to});
    publish(&mut simulation, ada, "red", &signal("ada", "ben"));
    publish(&mut simulation, ben, "red", &signal("ben", "ada"));
    let counts = [ada, ben, cyd].map(|client| simulation.received(client).len());
    assert_eq!(
        counts,
        [2, 1, 1],
        "the first signal is to an unknown id, the second is not"
    );
}

#[test]
fn an_id_is_forgotten_when_its_subscription_ends() {
    let mut simulation = Simulation::new(1);
    let [ada, ben] = [0; 2].map(|_| simulation.open("y-webrtc", &[]));
    for client in [ada, ben] {
        subscribe(&mut simulation, client, &["red"]);
    }
    publish(
        &mut simulation,
        ben,
        "red",
        &json!({"type": "announce", "from": "ben"}),
    );
    unsubscribe(&mut simulation, ben, &["red"]);
    subscribe(&mut simulation, ben, &["red"]);
    for client in [ada, ben] {
        simulation.take_frames(client);
    }
    publish(
        &mut simulation,
        ada,
        "red",
        &json!({"type": "signal", "from": "ada", "to": "ben"}),
    );
    let counts = [ada, ben].map(|client| simulation.received(client).len());
    assert_eq!(counts, [1, 1], "the signal is broadcast again");
}

#[derive(Clone, Debug)]
enum TopicStep {
    Subscribe(usize, Vec<usize>),
    Unsubscribe(usize, Vec<usize>),
    Publish(usize, usize),
    Reconnect(usize),
    Deliver(usize, usize),
}

fn step() -> impl Strategy<Value = TopicStep> {
    let index = || 0..CLIENTS;
    let topics = || prop::collection::vec(0..TOPICS.len(), 1..3);
    prop_oneof![
        3 => (index(), topics()).prop_map(|(index, topics)| TopicStep::Subscribe(index, topics)),
        1 => (index(), topics()).prop_map(|(index, topics)| TopicStep::Unsubscribe(index, topics)),
        5 => (index(), 0..TOPICS.len()).prop_map(|(index, topic)| TopicStep::Publish(index, topic)),
        1 => index().prop_map(TopicStep::Reconnect),
        4 => (index(), 1..4_usize).prop_map(|(index, events)| TopicStep::Deliver(index, events)),
    ]
}

/// A run of random steps, with a fixed number of clients that may reconnect.
struct TopicRun {
    simulation: Simulation,
    clients: Vec<ClientId>,
    /// The publisher and the topic of each published frame, by serial number.
    sent: Vec<(ClientId, &'static str)>,
}

impl TopicRun {
    fn run(steps: &[TopicStep]) -> Self {
        let mut simulation = Simulation::new(1);
        simulation.hold();
        let clients = (0..CLIENTS)
            .map(|_| simulation.open("y-webrtc", &[]))
            .collect();
        let mut run = Self {
            simulation,
            clients,
            sent: Vec::new(),
        };
        steps.iter().for_each(|step| run.step(step));
        run.simulation.deliver_all();
        run
    }

    fn step(&mut self, step: &TopicStep) {
        let named = |topics: &[usize]| topics.iter().map(|topic| TOPICS[*topic]).collect();
        match step {
            TopicStep::Subscribe(index, topics) => {
                let topics: Vec<_> = named(topics);
                subscribe(&mut self.simulation, self.clients[*index], &topics);
            }
            TopicStep::Unsubscribe(index, topics) => {
                let topics: Vec<_> = named(topics);
                unsubscribe(&mut self.simulation, self.clients[*index], &topics);
            }
            TopicStep::Publish(index, topic) => {
                let (client, topic) = (self.clients[*index], TOPICS[*topic]);
                let number = json!(self.sent.len());
                self.sent.push((client, topic));
                publish(&mut self.simulation, client, topic, &number);
            }
            TopicStep::Reconnect(index) => {
                self.simulation.crash(self.clients[*index]);
                self.clients[*index] = self.simulation.open("y-webrtc", &[]);
            }
            TopicStep::Deliver(index, events) => {
                let client = self.clients[*index];
                (0..*events).all(|_| self.simulation.deliver(client));
            }
        }
    }

    /// The topic's members when the simulation's log had `length` entries.
    fn members(&self, topic: &str, length: usize) -> Vec<PeerId> {
        let mut members = Vec::new();
        let log = self.simulation.log()[..length].iter();
        for entry in log.filter(|entry| entry.room.name.as_str() == topic) {
            match &entry.change {
                Change::Join(member) => members.push(member.peer),
                Change::Leave(peer, _) => members.retain(|member| member != peer),
            }
        }
        members
    }

    /// Checks that every client receives the frames of a topic once, in order, while it is a member, and that all copies
    /// of a frame have the same count.
    fn check(&mut self) {
        let mut deliveries = vec![Vec::new(); self.sent.len()];
        for client in self.simulation.ids() {
            let own = self.simulation.peer(client);
            let mut last = BTreeMap::new();
            for frame in self.simulation.take_frames(client) {
                let value: Value = serde_json::from_str(&frame.text).expect("JSON");
                let number = value["data"].as_u64().expect("a serial number");
                let number = usize::try_from(number).expect("a small number");
                let (from, topic) = self.sent[number];
                assert_eq!(value["topic"], topic);
                let members = self.members(topic, frame.at);
                assert!(
                    members.contains(&own),
                    "{client:?} receives {number}, but is not a member"
                );
                let before = last.insert((from, topic), number);
                assert!(
                    before < Some(number),
                    "{number} is received twice or out of order"
                );
                deliveries[number].push((client, value["clients"].clone(), members.len()));
            }
        }
        for (number, receivers) in deliveries.iter().enumerate() {
            self.check_counts(number, receivers);
        }
    }

    fn check_counts(&self, number: usize, receivers: &[(ClientId, Value, usize)]) {
        let (from, _) = self.sent[number];
        let Some((_, clients, _)) = receivers.first() else {
            return;
        };
        assert!(
            receivers.iter().all(|(_, sent, _)| sent == clients),
            "the copies of {number} have different counts: {receivers:?}"
        );
        assert!(
            receivers.iter().any(|(receiver, ..)| *receiver == from),
            "the publisher of {number} does not receive it: {receivers:?}"
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
    fn every_member_receives_the_frames_of_a_topic(steps in prop::collection::vec(step(), 1..60)) {
        let mut run = TopicRun::run(&steps);
        run.check();
        let ids: Vec<_> = run.simulation.ids().collect();
        for client in ids {
            run.simulation.crash(client);
        }
        prop_assert!(run.simulation.rooms().is_empty(), "rooms without members");
    }

    /// Without delays, the count is the number of members, and each of them receives the frame.
    #[test]
    fn the_client_count_is_the_number_of_receivers(steps in prop::collection::vec(step(), 1..40)) {
        let mut run = TopicRun::run(&[]);
        for step in &steps {
            let before = run.sent.len();
            run.step(step);
            run.simulation.deliver_all();
            let receivers: Vec<Value> = (run.clients.clone().into_iter())
                .flat_map(|client| run.simulation.received(client))
                .collect();
            prop_assert!(receivers.iter().all(|frame| frame["clients"] == receivers.len()));
            let is_published = run.sent.get(before).is_some_and(|(from, topic)| {
                let own = run.simulation.peer(*from);
                run.members(topic, run.simulation.log().len()).contains(&own)
            });
            prop_assert_eq!(!receivers.is_empty(), is_published);
        }
    }
}

//! What holds of the topics of `y-webrtc`: a connection in many rooms, and what is published while a
//! subscription is under way.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use switchboard_core::{Change, Limits, PeerId};
use switchboard_dialect::Settings;
use switchboard_sim::{ClientId, World};

const TOPICS: [&str; 3] = ["red", "green", "blue"];
const CLIENTS: usize = 4;

/// What may wait in a session.
const EARLY_FRAMES_MAX: usize = 16;
const EARLY_BYTES_MAX: usize = 256 * 1024;

fn subscribe(world: &mut World, client: ClientId, topics: &[&str]) {
    world.send(
        client,
        json!({"type": "subscribe", "topics": topics}).to_string(),
    );
}

fn unsubscribe(world: &mut World, client: ClientId, topics: &[&str]) {
    world.send(
        client,
        json!({"type": "unsubscribe", "topics": topics}).to_string(),
    );
}

fn publish(world: &mut World, client: ClientId, topic: &str, data: &Value) {
    let frame = json!({"type": "publish", "topic": topic, "data": data});
    world.send(client, frame.to_string());
}

fn published(topic: &str, data: usize, clients: usize) -> Value {
    json!({"type": "publish", "topic": topic, "data": data, "clients": clients})
}

/// A subscriber that has been told, and one that has asked and was told nothing yet.
fn told_and_untold() -> (World, ClientId, ClientId) {
    let mut world = World::new(1);
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
        assert_eq!(world.take_refused(client), [""; 0], "{client:?}");
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
    let refused = world.take_refused(early);
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
    assert_eq!(world.take_refused(early), ["too-many-frames"]);
    world.deliver_all();
    assert_eq!(world.received(told).len(), 3);
}

#[test]
fn what_waits_is_refused_when_the_subscription_comes_to_nothing() {
    let limits = Limits {
        room_members: 1,
        ..Limits::default()
    };
    let mut world = World::with(1, limits, Settings::default());
    let holder = world.open("y-webrtc", &[]);
    subscribe(&mut world, holder, &["red"]);
    world.hold();
    let early = world.open("y-webrtc", &[]);
    subscribe(&mut world, early, &["red", "blue"]);
    for topic in ["red", "red", "blue"] {
        publish(&mut world, early, topic, &json!(7));
    }
    world.deliver_all();
    let refused = world.take_refused(early);
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
    assert_eq!(world.take_refused(early), ["not-in-room"]);
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

#[derive(Clone, Debug)]
enum Step {
    Subscribe(usize, Vec<usize>),
    Unsubscribe(usize, Vec<usize>),
    Publish(usize, usize),
    Return(usize),
    Deliver(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let who = || 0..CLIENTS;
    let topics = || prop::collection::vec(0..TOPICS.len(), 1..3);
    prop_oneof![
        3 => (who(), topics()).prop_map(|(who, topics)| Step::Subscribe(who, topics)),
        1 => (who(), topics()).prop_map(|(who, topics)| Step::Unsubscribe(who, topics)),
        5 => (who(), 0..TOPICS.len()).prop_map(|(who, topic)| Step::Publish(who, topic)),
        1 => who().prop_map(Step::Return),
        4 => (who(), 1..4_usize).prop_map(|(who, events)| Step::Deliver(who, events)),
    ]
}

/// Clients that do as they like, and the connections that each of them has had.
struct Play {
    world: World,
    clients: Vec<ClientId>,
    /// Who has published the thing of this number, and where.
    said: Vec<(ClientId, &'static str)>,
}

impl Play {
    fn run(steps: &[Step]) -> Self {
        let mut world = World::new(1);
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

    fn step(&mut self, step: &Step) {
        let named = |topics: &[usize]| topics.iter().map(|topic| TOPICS[*topic]).collect();
        match step {
            Step::Subscribe(who, topics) => {
                let topics: Vec<_> = named(topics);
                subscribe(&mut self.world, self.clients[*who], &topics);
            }
            Step::Unsubscribe(who, topics) => {
                let topics: Vec<_> = named(topics);
                unsubscribe(&mut self.world, self.clients[*who], &topics);
            }
            Step::Publish(who, topic) => {
                let (client, topic) = (self.clients[*who], TOPICS[*topic]);
                let number = json!(self.said.len());
                self.said.push((client, topic));
                publish(&mut self.world, client, topic, &number);
            }
            Step::Return(who) => {
                self.world.crash(self.clients[*who]);
                self.clients[*who] = self.world.open("y-webrtc", &[]);
            }
            Step::Deliver(who, events) => {
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
        let mut play = Play::run(&steps);
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
        let mut play = Play::run(&[]);
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

//! Voice in a cluster: the nodes (servers of the cluster) elect a leader, which serves all voice requests. Each other
//! node forwards the requests of its clients to the leader.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use switchboard::{Admission, Builder, Config, Denial, Server};
use tokio::{runtime::Runtime, time::timeout};

use super::{
    http::{BodyPart, HttpRequest, encoded, metric_of, wait_for_metric},
    listener::Listener,
    sound::{
        FRAME, RATE, Tone, bytes_of, decibels, lower_quartile_amplitude, median_amplitude, pcm,
    },
    source::Source,
    user::{Events, User},
};
use crate::{
    client::TEST_TIMEOUT,
    nodes::{RunningNode, SECRET, SharedEngine},
};

const AMPLITUDE: f64 = 6000.0;

/// Level below which a tone counts as absent, in dB relative to its amplitude.
const SILENCE_DB: f64 = -40.0;

/// Two nodes; the first is the voice leader.
struct VoiceCluster {
    /// The engine of both nodes: the part of a server that shares rooms between nodes.
    nodes: SharedEngine,
    leader: RunningNode,
    other: RunningNode,
}

impl VoiceCluster {
    fn new() -> Self {
        Self::with_builder(Server::builder())
    }

    fn with_builder(builder: Builder) -> Self {
        let nodes = SharedEngine::new();
        let leader = nodes.serve(builder.clone());
        let other = nodes.serve(builder);
        Self {
            nodes,
            leader,
            other,
        }
    }

    fn addresses(&self) -> [SocketAddr; 2] {
        [self.leader.address, self.other.address]
    }
}

#[tokio::test]
async fn caller_and_callee_may_be_on_different_nodes() {
    let two = VoiceCluster::new();
    for [caller, callee] in [[0, 1], [1, 0], [1, 1]] {
        let mut ada = User::new(two.addresses()[caller]).await;
        let bob = User::new(two.addresses()[callee]).await;
        let (mut ada_events, mut bob_events) = (ada.events().await, bob.events().await);
        assert_eq!(ada.ring(&bob).await.0, 200);
        let event = bob_events.next().await;
        assert_eq!(event.name, "newCall");
        assert_eq!(event.json()["from"], ada.id());
        let answer = [
            ("Destination", &*ada.id()),
            ("challenge", "123456"),
            ("signature", &bob.sign(&challenge_of(&event.json()))),
        ];
        assert_eq!(bob.post("/answer", &answer).await.0, 200);
        let event = ada_events.next().await;
        assert_eq!(
            (&*event.name, event.json()["from"].clone()),
            ("answer", bob.id().into())
        );
        let confirm = [
            ("Destination", &*bob.id()),
            ("challenge", "654321"),
            ("signature", &ada.sign("123456")),
        ];
        assert_eq!(ada.post("/answer2", &confirm).await.0, 200);
        assert_eq!(bob_events.next().await.name, "answer2");
        let accept = [("From", &*ada.id()), ("signature", &bob.sign("654321"))];
        let (status, text) = bob.post("/acceptCall", &accept).await;
        assert_eq!(status, 200, "{text}");
        assert_eq!(ada_events.next().await.name, "acceptedCall");
        // The other node forwards `/listRoom` too; a call creates no listed room.
        let (_, rooms) = HttpRequest::get("/listRoom").text(two.other.address).await;
        assert_eq!(rooms, "[]");
        drop((ada_events, bob_events));
        wait_for_metric(two.leader.address, "voice_event_streams", 0).await;
    }
    assert_eq!(metric_of(two.other.address, "voice_calls_total").await, 0);
    assert_eq!(metric_of(two.leader.address, "voice_calls_total").await, 3);
}

fn challenge_of(event: &serde_json::Value) -> String {
    event["challenge"]
        .as_str()
        .expect("the event has no challenge")
        .to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn room_is_shared_by_all_nodes() {
    let two = VoiceCluster::new();
    let [here, there] = two.addresses();
    let talkers = [
        (here, "GET", "wav", 440),
        (there, "GET", "opus", 1000),
        (there, "PUT", "wav", 1500),
    ];
    let mut playing = Vec::new();
    let mut listeners = Vec::new();
    for (address, method, format, hertz) in talkers {
        let user = User::new(address).await;
        let listener = user.listen("standup", format).await.in_format(format);
        listeners.push((hertz, format, listener));
        let source = match method {
            "GET" => user.speak("standup").await,
            method => Source::body(address, method, &user.up_room("standup")).await,
        };
        playing.push(source.play(Tone::new(hertz, AMPLITUDE)));
    }
    for (own, format, listener) in listeners {
        let samples = listener.samples(2 * RATE + RATE / 2).await;
        let settled = &samples[samples.len() - 2 * RATE..];
        for (_, _, _, hertz) in talkers {
            if hertz == own {
                let level = decibels(lower_quartile_amplitude(settled, hertz) / AMPLITUDE);
                assert!(
                    level <= SILENCE_DB,
                    "{format}: own {hertz} Hz at {level:.2} dB"
                );
            } else {
                let level = decibels(median_amplitude(settled, hertz) / AMPLITUDE);
                assert!(level.abs() <= 1.0, "{format}: {hertz} Hz at {level:.2} dB");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clip_posted_to_another_node_is_played_in_full() {
    let two = VoiceCluster::new();
    let (ada, bob) = User::two(two.other.address).await;
    let listener = bob.listen("standup", "wav").await;
    listener.samples(1).await;
    let clip: Vec<i16> = (1..=30_000).cycle().take(RATE + RATE / 2).collect();
    let request = HttpRequest::post(ada.up_room("standup")).body(bytes_of(&clip));
    assert_eq!(request.text(two.other.address).await, (200, String::new()));
    let received = listener.samples(listener.samples_now() + 5 * FRAME).await;
    let sound = received.into_iter().filter(|sample| *sample != 0.0);
    assert_eq!(sound.map(|sample| sample as i16).collect::<Vec<_>>(), clip);
}

#[tokio::test]
async fn client_disconnect_reaches_the_leader() {
    let two = VoiceCluster::new();
    let (ada, bob) = User::two(two.other.address).await;
    let events = bob.events().await;
    let listener = ada.listen("standup", "opus").await;
    let microphone = ada.speak("standup").await;
    let mut body = Source::body(two.other.address, "POST", &bob.up_room("standup")).await;
    body.send(&[1000; FRAME]).await;
    let leader = two.leader.address;
    wait_for_metric(leader, "voice_sources", 2).await;
    wait_for_metric(leader, "voice_listeners", 1).await;
    wait_for_metric(leader, "voice_event_streams", 1).await;
    let hung_up = Instant::now();
    // The connections end without close frames and without the last chunk of a body.
    drop((events, listener, microphone, body));
    wait_for_metric(leader, "voice_sources", 0).await;
    wait_for_metric(leader, "voice_listeners", 0).await;
    wait_for_metric(leader, "voice_event_streams", 0).await;
    assert!(hung_up.elapsed() < Duration::from_secs(8));
    // The sources end with a close frame and with a complete body.
    let microphone = ada.speak("standup").await;
    microphone.close().await;
    let body = Source::body(two.other.address, "PUT", &bob.up_room("standup")).await;
    assert_eq!(body.finish().await.status, 200);
    let path = bob.up_room("standup");
    let after_continue = Source::body_after_continue(two.other.address, &path).await;
    assert_eq!(after_continue.finish().await.status, 200);
    wait_for_metric(leader, "voice_sources", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn next_node_takes_over_when_the_leader_dies() {
    let nodes = SharedEngine::new();
    let runtime = Runtime::new().expect("cannot start a runtime");
    let leader = {
        let _in_it = runtime.enter();
        nodes.serve(Server::builder())
    };
    let others = [
        nodes.serve(Server::builder()),
        nodes.serve(Server::builder()),
    ];
    let [second, third] = others.each_ref().map(|other| other.address);
    let (mut ada, bob) = (User::new(second).await, User::new(third).await);
    ada.call(&bob).await;
    let mut events = ada.events().await;
    let mut listener = bob.listen_to(&ada, "wav").await;
    let mut microphone = ada.speak_to(&bob).await;
    listener.samples(1).await;
    assert_eq!(metric_of(leader.address, "voice_calls_total").await, 1);
    let died = Instant::now();
    runtime.shutdown_background();
    assert_eq!(listener.end().await.1, BodyPart::Cut);
    while events.next_or_end().await.is_ok() {}
    microphone.closed_or_cut().await;
    eprintln!(
        "all streams have ended {:?} after their leader",
        died.elapsed()
    );
    // The other nodes still forward to the dead leader.
    let answer = HttpRequest::get("/listRoom").send(second).await;
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (503, Some("1"))
    );
    let text = answer.text().await;
    assert!(
        !text.contains("://") && !text.contains("127.0.0.1"),
        "{text}"
    );
    nodes.remove_node(leader.id);
    let (mut ada, bob) = (User::new(second).await, User::new(third).await);
    ada.call(&bob).await;
    let listener = bob.listen_to(&ada, "wav").await;
    let _playing = ada.speak_to(&bob).await.play(Tone::new(440, AMPLITUDE));
    assert_is_heard(&listener).await;
    assert_eq!(metric_of(second, "voice_calls_total").await, 1);
    assert_eq!(metric_of(third, "voice_calls_total").await, 0);
}

#[tokio::test]
async fn streams_of_a_deposed_leader_end() {
    let two = VoiceCluster::new();
    let (ada, bob) = User::two(two.other.address).await;
    let mut events = ada.events().await;
    let mut listener = bob.listen("standup", "wav").await;
    let mut microphone = bob.speak("standup").await;
    listener.samples(1).await;
    two.nodes.remove_node(two.leader.id);
    // New requests go to the new leader at once.
    let carol = User::new(two.other.address).await;
    carol.listen("standup", "wav").await.samples(1).await;
    assert_eq!(listener.end().await.1, BodyPart::Cut);
    while events.next_or_end().await.is_ok() {}
    microphone.closed_or_cut().await;
    // The removed node does not learn that it was deposed, so it continues to serve its own clients.
    wait_for_metric(two.leader.address, "voice_sources", 0).await;
    let (_, rooms) = HttpRequest::get("/listRoom").text(two.leader.address).await;
    assert!(rooms.contains("standup"), "{rooms}");
}

async fn assert_is_heard(listener: &Listener) {
    let received = async {
        while median_amplitude(&listener.next_samples(RATE / 2).await, 440) < AMPLITUDE * 0.9 {}
    };
    timeout(TEST_TIMEOUT, received)
        .await
        .expect("timeout: the tone is not audible");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leader_that_loses_the_election_closes_all_streams_and_forgets_all_rooms() {
    let two = VoiceCluster::new();
    let [first, second] = two.addresses();
    for (leader, address) in [(&two.leader, second), (&two.other, first)] {
        let (mut ada, bob) = (User::new(first).await, User::new(second).await);
        ada.call(&bob).await;
        let mut events = [ada.events().await, bob.events().await];
        let mut listeners = [
            ada.listen_to(&bob, "opus").await,
            bob.listen("standup", "wav").await,
        ];
        let mut microphones = [ada.speak("standup").await, bob.speak_to(&ada).await];
        for listener in &listeners {
            listener.first_bytes(40).await;
        }
        assert_eq!(
            HttpRequest::get("/listMembers?roomID=1")
                .status(address)
                .await,
            200
        );
        two.nodes.end_candidacy(leader.id);
        for listener in &mut listeners {
            assert_eq!(
                listener.end().await.1,
                BodyPart::End,
                "the deposed leader must complete its streams"
            );
        }
        for events in &mut events {
            while events.next_or_end().await.is_ok() {}
        }
        for microphone in &mut microphones {
            assert_eq!(microphone.closed().await.0, 1000);
        }
        for address in [first, second] {
            assert_eq!(
                HttpRequest::get("/listRoom").text(address).await,
                (200, "[]".to_owned())
            );
            let old = ada.join_room("standup", "wav");
            assert_eq!(
                old.status(address).await,
                403,
                "a ticket of the former leader must not be valid"
            );
            for gauge in ["voice_sources", "voice_listeners", "voice_event_streams"] {
                wait_for_metric(address, gauge, 0).await;
            }
        }
    }
    let (mut ada, bob) = (User::new(first).await, User::new(second).await);
    ada.call(&bob).await;
    let listener = ada.listen_to(&bob, "wav").await;
    let _playing = bob.speak_to(&ada).await.play(Tone::new(440, AMPLITUDE));
    assert_is_heard(&listener).await;
}

#[tokio::test]
async fn stopping_leader_hands_over_and_ends_forwarded_requests() {
    let two = VoiceCluster::new();
    let [first, second] = two.addresses();
    let (ada, bob) = (User::new(first).await, User::new(second).await);
    let mut listener = bob.listen("standup", "opus").await;
    listener.first_bytes(40).await;
    let mut microphone = bob.speak("standup").await;
    assert!(two.leader.server.shutdown(Duration::from_secs(5)).await);
    assert_eq!(listener.end().await.1, BodyPart::End);
    assert_eq!(
        microphone.closed().await,
        (1012, "The server stops.".to_owned())
    );
    let carol = User::new(second).await;
    carol.listen("standup", "opus").await.first_bytes(40).await;
    drop(ada);
}

#[tokio::test]
async fn stopping_node_ends_forwarded_requests() {
    let two = VoiceCluster::new();
    let (ada, bob) = User::two(two.other.address).await;
    let mut listener = bob.listen("standup", "opus").await;
    listener.first_bytes(40).await;
    let mut microphone = bob.speak("standup").await;
    let mut body = Source::body(two.other.address, "PUT", &ada.up_room("standup")).await;
    body.send(&[1000; FRAME]).await;
    wait_for_metric(two.leader.address, "voice_sources", 2).await;
    let server = two.other.server.clone();
    let stopped = tokio::spawn(async move { server.shutdown(Duration::from_secs(5)).await });
    assert_eq!(listener.end().await.1, BodyPart::End);
    assert_eq!(
        microphone.closed().await,
        (1012, "The server stops.".to_owned())
    );
    let answer = body.response().await;
    assert_eq!(
        (answer.status, &*answer.text().await),
        (200, "The server stops.\n")
    );
    assert!(
        stopped.await.expect("the task panicked"),
        "the shutdown timed out"
    );
    wait_for_metric(two.leader.address, "voice_sources", 0).await;
    wait_for_metric(two.leader.address, "voice_listeners", 0).await;
}

#[tokio::test]
async fn node_headers_need_the_node_secret() {
    let requires_pass = Server::builder().on_connect(|request| async move {
        let headers = &request.headers;
        assert!(
            !headers
                .keys()
                .any(|name| name.as_str().starts_with("x-switchboard"))
        );
        if headers.contains_key("pass") {
            Ok(Admission::anonymous())
        } else {
            Err(Denial::default())
        }
    });
    let mut config = Config::default();
    config.voice.gostream.event_streams = 1;
    let two = VoiceCluster::with_builder(requires_pass.config(config));
    let of_format = |secret: &str, format: &str| {
        HttpRequest::get("/listRoom")
            .header("X-Switchboard-Node-Secret", secret)
            .header("X-Switchboard-Node-Format", format)
            .header("X-Switchboard-Access", ",list")
    };
    let with_secret = |secret: &str| of_format(secret, "2");
    for address in two.addresses() {
        for secret in [
            "",
            "between the node",
            "between the nodes!",
            "xetween the nodes",
        ] {
            assert_eq!(with_secret(secret).status(address).await, 403, "{secret:?}");
        }
        let pass = HttpRequest::get("/listRoom").header("pass", "");
        assert_eq!(pass.status(address).await, 200);
    }
    // A node does not forward a request with another secret: nodes with different secrets could forward it to each
    // other forever.
    let other_cluster = with_secret("between other nodes").header("pass", "");
    assert_eq!(other_cluster.clone().status(two.leader.address).await, 200);
    let answer = other_cluster.send(two.other.address).await;
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (503, Some("1"))
    );
    // Only the leader accepts a forwarded request.
    assert_eq!(with_secret(SECRET).status(two.leader.address).await, 200);
    let answer = with_secret(SECRET).send(two.other.address).await;
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (503, Some("1"))
    );
    // A node of a release with another format is told apart. Without the secret the header means nothing.
    let leader = two.leader.address;
    assert_eq!(of_format(SECRET, "2").status(leader).await, 200);
    let (status, text) = of_format(SECRET, "3").text(leader).await;
    assert_eq!(status, 503);
    assert!(text.contains("another format"), "{text}");
    assert_eq!(metric_of(leader, "voice_forwards_refused_total").await, 1);
    let of_client = of_format("forged", "3").header("pass", "");
    assert_eq!(of_client.status(leader).await, 200);
    // Event streams are limited per user and client address. Without the secret, `X-Switchboard-Client` is ignored and
    // the address of the connection counts.
    let key = switchboard::SecretKey::generate().public().to_string();
    let events = |address: &str| {
        let request = HttpRequest::get(format!("/messages?PKey={key}")).header("pass", "");
        request.header("X-Switchboard-Client", address)
    };
    let _first = Events::of(events("192.0.2.1").send(two.other.address).await).await;
    for address in two.addresses() {
        assert_eq!(events("192.0.2.2").status(address).await, 429);
    }
    // The leader uses the client address that a node reports.
    let of_node = events("192.0.2.2")
        .header("X-Switchboard-Node-Secret", SECRET)
        .header("X-Switchboard-Node-Format", "2")
        .header("X-Switchboard-Access", ",call");
    assert_eq!(of_node.status(two.leader.address).await, 200);
}

#[tokio::test]
async fn forwarded_response_has_every_header_once() {
    let two = VoiceCluster::new();
    let ada = User::new(two.other.address).await;
    let requests = [
        HttpRequest::get("/listRoom"),
        HttpRequest::get("/tokenCheck"),
        HttpRequest::get("/voice/mode"),
        HttpRequest::new("OPTIONS", "/newCall"),
        HttpRequest::new("HEAD", "/listRoom"),
        ada.join_room("standup", "wav"),
        ada.join_room("standup", "nonsense"),
        HttpRequest::new("HEAD", ada.path("/joinRoom", &[("roomID", "standup")])),
        HttpRequest::new("HEAD", format!("/messages?PKey={}", ada.id())),
    ];
    for request in requests {
        let [here, there] = [
            request.clone().send(two.leader.address).await,
            request.clone().send(two.other.address).await,
        ];
        let names = |headers: &[(String, String)]| {
            let mut names: Vec<String> = headers.iter().map(|(name, _)| name.clone()).collect();
            names.sort_unstable();
            names
        };
        assert_eq!(here.status, there.status, "{request:?}");
        let once = names(&there.headers);
        assert!(once.windows(2).all(|pair| pair[0] != pair[1]), "{once:?}");
        assert_eq!(names(&here.headers), once, "{request:?}");
        assert!(there.header("access-control-allow-origin").is_some());
    }
}

#[tokio::test]
async fn request_without_a_reachable_leader_gets_retry_after() {
    let nodes = SharedEngine::new();
    // The engine of this test commits no candidacy before that of the first node. The first node has no voice and never
    // becomes a candidate, so no leader is elected.
    let (_absent, _) = nodes.build(
        Server::builder().config(config_without_voice()),
        "http://127.0.0.1:9",
    );
    let node = nodes.serve(Server::builder());
    let sent = Instant::now();
    let answer = HttpRequest::get("/listRoom").send(node.address).await;
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (503, Some("1"))
    );
    assert!(sent.elapsed() >= Duration::from_secs(2));
    assert_eq!(
        HttpRequest::get("/voice/mode").status(node.address).await,
        200
    );
    // The leader is another node that by mistake advertises the URL of this node.
    let nodes = SharedEngine::new();
    let (_twin, twin) = nodes.build(Server::builder(), "http://127.0.0.1:9");
    let listener = switchboard::Listener::bind(([127, 0, 0, 1], 0).into()).expect("no free port");
    let address = listener.address();
    let (server, _) = nodes.build(Server::builder(), "http://127.0.0.1:9/");
    server.serve(listener);
    let (status, text) = HttpRequest::get("/listRoom").text(address).await;
    assert_eq!(status, 503);
    assert!(text.contains("advertise the same URL"), "{text}");
    nodes.remove_node(twin);
    assert_eq!(HttpRequest::get("/listRoom").status(address).await, 200);
    // No server listens at the URL of the leader. Requests are served again when its candidacy has ended.
    let nodes = SharedEngine::new();
    let (_unresponsive, unresponsive) = nodes.build(Server::builder(), "http://127.0.0.1:9");
    let other = nodes.serve(Server::builder());
    let answer = HttpRequest::get("/listRoom").send(other.address).await;
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (503, Some("1"))
    );
    assert_eq!(answer.text().await.lines().count(), 1);
    nodes.end_candidacy(unresponsive);
    assert_eq!(
        HttpRequest::get("/listRoom").status(other.address).await,
        200
    );
}

fn config_without_voice() -> Config {
    let mut config = Config::default();
    config.voice.gostream.identity = switchboard::config::VoiceIdentity::Off;
    config
}

/// Period of the sent ramp, in samples. The test cannot detect a gap of a whole period, so the period is longer than
/// any expected gap.
const PERIOD: usize = 30_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_client_is_disconnected_and_others_lose_no_frame() {
    let mut config = Config::default();
    config.voice.mix.latency_max = Duration::from_secs(5);
    let two = VoiceCluster::with_builder(Server::builder().config(config));
    let [leader, other] = two.addresses();
    let (ada, bob) = User::two(other).await;
    let slow = User::new(other).await;
    let listener = bob.listen("standup", "wav").await;
    let mut stuck = slow
        .join_room("standup", "wav")
        .small_receive_buffer()
        .send(other)
        .await;
    assert_eq!(stuck.status, 200);
    let mut source = ada.speak("standup").await;
    let mut position = 0;
    let mut ramp = move |frames: usize| -> Vec<i16> {
        let begin = position;
        position += frames * FRAME;
        (begin..position)
            .map(|at| (1 + at % PERIOD) as i16)
            .collect()
    };
    source.send(&ramp(100)).await;
    let _playing = source.play_frames(move || ramp(1));
    wait_for_metric(leader, "voice_listeners", 2).await;
    let began = Instant::now();
    wait_for_metric(leader, "voice_listeners", 1).await;
    eprintln!("cut off after {:?}", began.elapsed());
    let cut_off = metric_of(leader, "slow_total").await + metric_of(other, "slow_total").await;
    assert!(cut_off >= 1);
    let ends = async { while let BodyPart::Bytes(_) = stuck.body.next_without_timeout().await {} };
    timeout(TEST_TIMEOUT, ends)
        .await
        .expect("timeout: the stalled client is not disconnected");
    let samples = pcm(&listener.bytes(listener.samples_now() + RATE).await);
    let received: Vec<i16> = samples
        .into_iter()
        .skip_while(|sample| *sample == 0)
        .collect();
    let next = |sample: i16| 1 + sample % PERIOD as i16;
    let gap = received
        .windows(2)
        .position(|pair| pair[1] != next(pair[0]));
    assert_eq!(gap, None, "of {} samples", received.len());
    assert!(received.len() > 2 * RATE);
}

#[tokio::test]
async fn parameters_are_forwarded_unchanged() {
    let two = VoiceCluster::new();
    let other = two.other.address;
    let ada = User::new(other).await;
    let pairs: Vec<(String, String)> = form_urlencoded::parse(ada.proof().as_bytes())
        .chain([
            ("roomID".into(), "stand up/&ü".into()),
            ("format".into(), "wav".into()),
        ])
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    let borrowed: Vec<(&str, &str)> = pairs.iter().map(|(k, v)| (&**k, &**v)).collect();
    for request in [
        HttpRequest::post("/joinRoom").multipart(&pairs),
        HttpRequest::post("/joinRoom").url_encoded(encoded(&borrowed)),
        HttpRequest::get(format!("/joinRoom?{}", encoded(&borrowed))),
    ] {
        assert_eq!(request.status(other).await, 200);
        wait_for_metric(two.leader.address, "voice_listeners", 0).await;
    }
    let form = "x".repeat(300_000);
    let too_much = HttpRequest::post("/joinRoom").url_encoded(form);
    assert_eq!(too_much.status(other).await, 413);
}

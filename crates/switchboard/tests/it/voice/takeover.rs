//! A user's newer connection takes over from an older one, which is notified.

use super::{
    http::{BodyPart, HttpRequest, wait_for_metric},
    listener::{Listener, wait_until_all_are_detached},
    sound::{FRAME, RATE, Tone, median_amplitude},
    source::Source,
    user::{User, in_call},
};
use crate::client::{TEST_TIMEOUT, start};

const REPLACED: (u16, &str) = (1008, "replaced by a newer connection");

#[tokio::test]
async fn newer_microphone_takes_over_at_once() {
    let (_server, address) = start("");
    let (ada, bob) = in_call(address).await;
    let mut events = bob.events().await;
    for path in [ada.up_call(&bob), ada.up_room("standup")] {
        let mut first = Source::websocket(address, &path).await;
        let mut second = Source::websocket(address, &path).await;
        let (code, reason) = first.closed().await;
        assert_eq!((code, &*reason), REPLACED);
        drop(first);
        wait_for_metric(address, "voice_sources", 1).await;
        let body = Source::body(address, "POST", &path).await;
        let (code, reason) = second.closed().await;
        assert_eq!((code, &*reason), REPLACED);
        let third = Source::body(address, "PUT", &path).await;
        let answer = body.response().await;
        assert_eq!(answer.status, 409);
        assert!(answer.text().await.starts_with("replaced: "));
        assert_eq!(third.finish().await.status, 200);
    }
    // The other user got one event for the attached microphone and one for the detached one.
    for on in ["1", "0"] {
        assert_eq!(events.next().await.json()["in"], on);
    }
    assert_eq!(events.next().await.name, "newRoom");
    drop(events);
    wait_until_all_are_detached(address).await;
}

#[tokio::test]
async fn newer_headphones_take_over_and_the_old_stream_ends() {
    let (_server, address) = start("");
    let (ada, bob) = in_call(address).await;
    let mut events = ada.events().await;
    let named = |path: &str, place: (&str, &str), name: &str| {
        HttpRequest::get(ada.path(path, &[place, ("format", "wav"), ("connection", name)]))
    };
    let other = bob.id();
    let places = [
        ("/joinCall", ("otherID", &*other)),
        ("/joinRoom", ("roomID", "standup")),
    ];
    for (path, place) in places {
        let mut first = Listener::of(named(path, place, "one").send(address).await);
        let second = Listener::of(named(path, place, "two").send(address).await);
        assert_eq!(first.end().await.1, BodyPart::End);
        second.samples(RATE / 10).await;
        wait_for_metric(address, "voice_listeners", 1).await;
        let event = events.next_of("replaced").await.json();
        assert_eq!(
            (&event["way"], &event["connection"]),
            (&"out".into(), &"one".into())
        );
        assert_eq!(
            event["from"].as_str(),
            (path == "/joinCall").then_some(&*other)
        );
        assert_eq!(event["roomid"].is_string(), path == "/joinRoom");
        drop(second);
        wait_for_metric(address, "voice_listeners", 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_microphone_is_audible_while_the_old_one_is_unused() {
    let (_server, address) = start("");
    let (ada, bob) = User::two(address).await;
    let listener = bob.listen("standup", "wav").await;
    let unused = ada.speak("standup").await;
    wait_for_metric(address, "voice_sources", 1).await;
    // The old connection is neither used nor closed.
    let _playing = ada.speak("standup").await.play(Tone::new(440, 8000.0));
    let audible =
        async { while median_amplitude(&listener.next_samples(RATE / 2).await, 440) < 7500.0 {} };
    tokio::time::timeout(TEST_TIMEOUT, audible)
        .await
        .expect("timeout: the tone is not audible");
    let (_, members) = HttpRequest::get("/listMembers?roomID=1")
        .text(address)
        .await;
    let members: serde_json::Value = serde_json::from_str(&members).expect("not JSON");
    let member = members.as_array().expect("not a list").iter();
    let mut mine = member.filter(|member| member["pubkey"] == *ada.id());
    let level = mine.next().expect("the user is not in the list")["level"].as_f64();
    assert!(
        level.expect("the member has no level") > 0.5,
        "the level must be that of the new connection"
    );
    drop(unused);
    listener.next_samples(FRAME).await;
    wait_for_metric(address, "voice_sources", 1).await;
}

#[tokio::test]
async fn connection_name_is_bounded() {
    let (_server, address) = start("");
    let ada = User::new(address).await;
    let name = "x".repeat(65);
    let request =
        HttpRequest::get(ada.path("/joinRoom", &[("roomID", "standup"), ("connection", &name)]));
    assert_eq!(request.status(address).await, 400);
}

//! How calls, rooms and streams end.

use std::time::Duration;

use switchboard::{Config, Server};
use tokio::time::timeout;

use super::{
    http::{BodyPart, HttpRequest, wait_for_metric},
    listener::{FORMATS, Listener, wait_until_all_are_detached},
    sound::{RATE, pages},
    source::Source,
    user::{User, in_call},
};
use crate::{
    client::{TEST_TIMEOUT, open, start},
    nodes::SharedEngine,
};

/// The time for which a call without connections is kept. Its users connect within this time.
const CALL_LINGER: Duration = Duration::from_secs(2);

/// Checks that the stream is complete: the body has its last chunk, and an Ogg stream its last page.
async fn assert_ends(mut listener: Listener, format: &str) {
    let (bytes, end) = listener.end().await;
    assert_eq!(end, BodyPart::End, "{format}");
    if format != "wav" {
        let pages = pages(&bytes);
        let last: Vec<bool> = pages.iter().map(|page| page.is_last).collect();
        let is_last_alone = last
            .split_last()
            .is_some_and(|(last, others)| *last && !others.contains(&true));
        assert!(is_last_alone, "{format}: {pages:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hang_up_ends_all_streams_of_the_call() {
    let (_server, address) = start("");
    for &format in FORMATS {
        let (ada, bob) = in_call(address).await;
        let mut events = bob.events().await;
        let listeners = [
            ada.listen_to(&bob, format).await,
            bob.listen_to(&ada, format).await,
        ];
        let listeners = listeners.map(|listener| listener.in_format(format));
        let mut microphone = ada.speak_to(&bob).await;
        let mut body = Source::body(address, "PUT", &bob.up_call(&ada)).await;
        body.send(&[1000; 960]).await;
        for listener in &listeners {
            listener.samples(RATE / 5).await;
        }
        assert_eq!(ada.hang_up(&bob).await.0, 200);
        for listener in listeners {
            assert_ends(listener, format).await;
        }
        assert_eq!(
            microphone.closed().await,
            (1000, "The call has ended.".to_owned())
        );
        let answer = body.response().await;
        assert_eq!(
            (answer.status, &*answer.text().await),
            (200, "The call has ended.\n")
        );
        let event = events.next_of("declineCall").await.json();
        assert_eq!(
            (&event["from"], &event["answer"]),
            (&ada.id().into(), &"".into())
        );
        assert_eq!(bob.join_call(&ada, format).status(address).await, 404);
    }
}

#[tokio::test]
async fn ringing_ends_by_either_user_or_timeout() {
    let mut config = Config::default();
    config.voice.call.ring = Duration::from_secs(2);
    let (_server, address) = open(Server::builder().config(config));
    let (mut ada, bob) = User::two(address).await;
    let (mut ada_events, mut bob_events) = (ada.events().await, bob.events().await);
    assert_eq!(ada.ring(&bob).await.0, 200);
    assert_eq!(bob_events.next().await.name, "newCall");
    for (events, from) in [(&mut bob_events, ada.id()), (&mut ada_events, bob.id())] {
        let event = events.next().await;
        assert_eq!(
            (&*event.name, &event.json()["from"]),
            ("declineCall", &from.into())
        );
    }
    assert_eq!(bob.accept(&ada).await.0, 404);
    assert_eq!(ada.ring(&bob).await.0, 200);
    assert_eq!(ada.hang_up(&bob).await.0, 200);
    assert_eq!(bob_events.next().await.name, "newCall");
    assert_eq!(bob_events.next().await.name, "declineCall");
    assert_eq!(bob.accept(&ada).await.0, 404);
}

/// Waits until the call has ended. A repeated accept reports whether the call exists, and changes nothing.
async fn wait_until_call_has_ended(ada: &User, bob: &User) {
    let gone = async { while bob.accept(ada).await.0 != 404 {} };
    timeout(TEST_TIMEOUT, gone)
        .await
        .expect("timeout: the call does not end");
}

#[tokio::test]
async fn call_outlives_its_last_connection_for_a_while() {
    let mut config = Config::default();
    config.voice.call.linger = CALL_LINGER;
    let (_server, address) = open(Server::builder().config(config));
    let (ada, bob) = in_call(address).await;
    let microphone = bob.speak_to(&ada).await;
    let listener = ada.listen_to(&bob, "wav").await;
    // Longer than a call without connections is kept.
    listener.samples(RATE * 5 / 2).await;
    drop(listener);
    wait_for_metric(address, "voice_listeners", 0).await;
    // A disconnected user can reconnect.
    let listener = ada.listen_to(&bob, "wav").await;
    listener.samples(1).await;
    drop(listener);
    microphone.close().await;
    wait_until_call_has_ended(&ada, &bob).await;
    assert_eq!(ada.join_call(&bob, "wav").status(address).await, 404);
    assert_eq!(ada.hang_up(&bob).await.0, 404);
}

#[tokio::test]
async fn call_without_connections_ends() {
    let mut config = Config::default();
    config.voice.call.linger = CALL_LINGER;
    let (_server, address) = open(Server::builder().config(config));
    let (ada, bob) = in_call(address).await;
    assert_eq!(bob.accept(&ada).await.0, 200);
    wait_until_call_has_ended(&ada, &bob).await;
}

#[tokio::test]
async fn empty_room_is_removed_after_a_while() {
    let mut config = Config::default();
    config.voice.room.linger = Duration::from_millis(100);
    let (_server, address) = open(Server::builder().config(config));
    let ada = User::new(address).await;
    let mut events = ada.events().await;
    let listener = ada.listen("standup", "wav").await;
    assert_eq!(events.next().await.json()["roomid"], 1);
    // Longer than an empty room is kept.
    listener.samples(RATE / 2).await;
    assert!(
        HttpRequest::get("/listRoom")
            .text(address)
            .await
            .1
            .contains("standup")
    );
    drop(listener);
    let gone = async { while HttpRequest::get("/listRoom").text(address).await.1 != "[]" {} };
    timeout(TEST_TIMEOUT, gone)
        .await
        .expect("timeout: the room is not removed");
    assert_eq!(
        HttpRequest::get("/listMembers?roomID=1")
            .status(address)
            .await,
        404
    );
    let _again = ada.listen("standup", "wav").await;
    assert_eq!(
        events.next().await.json()["roomid"],
        2,
        "a new room must have a new number"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_ends_streams_and_sources_in_time() {
    let (server, address) = start("");
    let (ada, bob) = in_call(address).await;
    let mut events = ada.events().await;
    let mut listeners = vec![("opus", ada.listen_to(&bob, "opus").await.in_format("opus"))];
    for &format in FORMATS {
        let carol = User::new(address).await;
        listeners.push((
            format,
            carol.listen("standup", format).await.in_format(format),
        ));
    }
    let microphones = [ada.speak("standup").await, ada.speak_to(&bob).await];
    let mut body = Source::body(address, "POST", &bob.up_room("standup")).await;
    body.send(&[1000; 960]).await;
    wait_for_metric(address, "voice_sources", 3).await;
    for (_, listener) in &listeners {
        listener.samples(RATE / 10).await;
    }
    let stopped = tokio::spawn(async move { server.shutdown(Duration::from_secs(10)).await });
    let mixes_here = SharedEngine::cluster_of(address).len() == 1;
    for (format, listener) in listeners {
        // If this node forwards the stream and stops, it can end the body, but cannot append the last page.
        assert_ends(listener, if mixes_here { format } else { "wav" }).await;
    }
    for mut microphone in microphones {
        microphone.closed().await;
    }
    assert_eq!(body.response().await.status, 200);
    loop {
        match events.next_or_end().await {
            Ok(_) => {}
            Err(end) => break assert_eq!(end, BodyPart::End),
        }
    }
    assert!(
        stopped.await.expect("the task panicked"),
        "the shutdown timed out"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sources_are_notified_of_shutdown() {
    let (server, address) = start("");
    let (ada, bob) = in_call(address).await;
    let microphones = [ada.speak("standup").await, ada.speak_to(&bob).await];
    let mut body = Source::body(address, "POST", &bob.up_room("standup")).await;
    body.send(&[1000; 960]).await;
    wait_for_metric(address, "voice_sources", 3).await;
    let stopped = tokio::spawn(async move { server.shutdown(Duration::from_secs(10)).await });
    for mut microphone in microphones {
        let (code, text) = microphone.closed().await;
        assert_eq!((code, &*text), (1012, "The server stops."));
    }
    let answer = body.response().await;
    assert_eq!(
        (answer.status, &*answer.text().await),
        (200, "The server stops.\n")
    );
    assert!(
        stopped.await.expect("the task panicked"),
        "the shutdown timed out"
    );
}

#[tokio::test]
async fn lost_connection_frees_its_attachments_and_notifies_others() {
    let (_server, address) = start("");
    let (ada, bob) = User::two(address).await;
    let mut events = bob.events().await;
    let _present = bob.listen("standup", "wav").await;
    let microphone = ada.speak("standup").await;
    let listener = ada.listen("standup", "wav").await;
    let state_in =
        |event: super::user::Event| (event.json()["in"].clone(), event.json()["out"].clone());
    let state = |mic: &str, headphones: &str| (mic.into(), headphones.into());
    assert_eq!(
        state_in(events.next_of("setAudioConf").await),
        state("1", "0")
    );
    assert_eq!(state_in(events.next().await), state("1", "1"));
    // The connection ends without a close frame.
    drop(microphone);
    assert_eq!(state_in(events.next().await), state("0", "1"));
    drop(listener);
    assert_eq!(state_in(events.next().await), state("0", "0"));
    drop((events, _present));
    wait_until_all_are_detached(address).await;
}

#[tokio::test]
async fn ended_upload_gets_a_response() {
    let (_server, address) = start("");
    let ada = User::new(address).await;
    for method in ["POST", "PUT"] {
        let mut source = Source::body(address, method, &ada.up_room("standup")).await;
        source.send(&[1000; 960]).await;
        wait_for_metric(address, "voice_sources", 1).await;
        assert_eq!(source.finish().await.status, 200);
        wait_for_metric(address, "voice_sources", 0).await;
    }
    // Some HTTP clients wait for `100 Continue`.
    let mut source = Source::body_after_continue(address, &ada.up_room("standup")).await;
    source.send(&[1000; 960]).await;
    assert_eq!(source.finish().await.status, 200);
    // A complete body with its length.
    let whole = HttpRequest::post(ada.up_room("standup")).body([0; 9600]);
    assert_eq!(whole.status(address).await, 200);
    wait_for_metric(address, "voice_sources", 0).await;
}

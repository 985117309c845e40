//! Rejected requests and their responses: limits, methods, identity, hooks.

use std::{net::SocketAddr, time::Duration};

use switchboard::{Admission, Config, Denial, Server, SpaceName, config::VoiceIdentity};

use super::{
    http::{HttpRequest, encoded, wait_for_metric},
    listener::{FORMATS, Listener},
    source::Source,
    user::{Events, User},
};
use crate::{
    client::{open, start},
    websocket::{RawClient, frame},
};

/// Starts a server with a changed default configuration.
fn start_with(change: impl FnOnce(&mut Config)) -> (Server, SocketAddr) {
    let mut config = Config::default();
    change(&mut config);
    open(Server::builder().config(config))
}

#[tokio::test]
async fn sources_of_a_room_are_limited_and_released() {
    let (_server, address) = start_with(|config| config.voice.room.sources = 1);
    let (ada, bob) = User::two(address).await;
    let first = ada.speak("standup").await;
    assert_eq!(
        Source::try_websocket(address, &bob.up_room("standup"))
            .await
            .err(),
        Some(503)
    );
    let (status, text) = HttpRequest::post(bob.up_room("standup"))
        .text(address)
        .await;
    assert_eq!(
        (status, &*text),
        (
            503,
            "The room has reached its limit of microphones (room.sources).\n"
        )
    );
    // Sources of another room and listeners of this one are not limited by it.
    let _elsewhere = bob.speak("elsewhere").await;
    let _listener = bob.listen("standup", "wav").await;
    drop(first);
    wait_for_metric(address, "voice_sources", 1).await;
    let _second = bob.speak("standup").await;
}

#[tokio::test]
async fn listeners_of_a_room_are_limited_and_released() {
    let (_server, address) = start_with(|config| config.voice.room.listeners = 1);
    let (ada, bob) = User::two(address).await;
    let first = ada.listen("standup", "wav").await;
    let (status, text) = bob.join_room("standup", "wav").text(address).await;
    assert_eq!(
        (status, &*text),
        (
            503,
            "The room has reached its limit of listeners (room.listeners).\n"
        )
    );
    let _source = bob.speak("standup").await;
    drop(first);
    wait_for_metric(address, "voice_listeners", 0).await;
    let _second = bob.listen("standup", "wav").await;
}

#[tokio::test]
async fn rooms_are_limited_and_an_empty_room_frees_a_slot() {
    let (_server, address) = start_with(|config| {
        config.voice.room.rooms = 1;
        config.voice.room.linger = Duration::ZERO;
    });
    let (ada, bob) = User::two(address).await;
    let first = ada.listen("one", "wav").await;
    let (status, text) = bob.join_room("two", "wav").text(address).await;
    assert_eq!(
        (status, &*text),
        (
            503,
            "The server has reached its limit of voice rooms (room.rooms).\n"
        )
    );
    let _same = bob.listen("one", "opus").await;
    drop((first, _same));
    wait_for_metric(address, "voice_listeners", 0).await;
    let _second = bob.listen("two", "wav").await;
}

#[tokio::test]
async fn calls_of_a_user_are_limited() {
    let (_server, address) = start_with(|config| config.voice.call.calls_per_user = 1);
    let (mut ada, mut bob) = User::two(address).await;
    let mut carol = User::new(address).await;
    let _events = (ada.events().await, bob.events().await, carol.events().await);
    assert_eq!(ada.ring(&bob).await.0, 200);
    assert_eq!(ada.ring(&carol).await.0, 429);
    // A ring uses up the limit of its caller, and that of the callee only when the callee rings or answers. Rings of Ada
    // to Bob and of Bob to Ada are one call.
    assert_eq!(carol.ring(&bob).await.0, 200);
    assert_eq!(carol.hang_up(&bob).await.0, 200);
    assert_eq!(ada.ring(&bob).await.0, 200);
    assert_eq!(bob.ring(&ada).await.0, 200);
    assert_eq!(carol.ring(&bob).await.0, 409);
    assert_eq!(ada.hang_up(&bob).await.0, 200);
    assert_eq!(carol.ring(&bob).await.0, 200);
}

#[tokio::test]
async fn calls_from_made_up_keys_do_not_block_a_user() {
    let (_server, address) = start("");
    let (bob, mut carol) = User::two(address).await;
    let _bob = bob.events().await;
    let mut rings = 0;
    for _ in 0..12 {
        let mut caller = User::new(address).await;
        match caller.ring(&bob).await {
            (200, _) => rings += 1,
            (status, text) => {
                let expected = "Too many callers from your address are ringing this user (call.rings_per_address). Retry later.\n";
                assert_eq!((status, &*text), (429, expected));
            }
        }
    }
    // The limit of callers at one address. Carol displaces one of them only when she has an event stream.
    assert_eq!(rings, 8);
    assert_eq!(carol.ring(&bob).await.0, 429);
    let _carol = carol.events().await;
    assert_eq!(carol.ring(&bob).await.0, 200);
}

#[tokio::test]
async fn event_streams_of_a_user_are_limited() {
    let (_server, address) = start_with(|config| config.voice.gostream.event_streams = 1);
    let (ada, bob) = User::two(address).await;
    let path = format!("/messages?PKey={}", ada.id());
    let first = ada.events().await;
    assert_eq!(HttpRequest::get(&path).status(address).await, 429);
    let _bob = bob.events().await;
    drop(first);
    wait_for_metric(address, "voice_event_streams", 1).await;
    let _again = ada.events().await;
}

#[tokio::test]
async fn voice_streams_are_counted_by_the_connection_limit() {
    let (_server, address) = start_with(|config| config.limits.connections = 2);
    let ada = User::new(address).await;
    let other = ada.listen("other", "wav").await;
    let listener = ada.listen("standup", "wav").await;
    let (status, text) = HttpRequest::get("/listRoom").text(address).await;
    assert_eq!(
        (status, &*text),
        (
            503,
            "The server has reached its limit of connections (limits.connections).\n"
        )
    );
    drop((listener, other));
    wait_for_metric(address, "voice_listeners", 0).await;
    assert_eq!(HttpRequest::get("/listRoom").status(address).await, 200);
}

#[tokio::test]
async fn rejected_upload_gets_its_response() {
    let (_server, address) = start_with(|config| config.voice.room.sources = 1);
    let (ada, bob) = User::two(address).await;
    let _held = bob.speak("standup").await;
    for _ in 0..30 {
        let mut second = Source::body(address, "PUT", &ada.up_room("standup")).await;
        for _ in 0..20 {
            tokio::task::yield_now().await;
            assert!(
                second.send_bytes(&[1; 1000]).await,
                "the connection ended before the response"
            );
        }
        assert_eq!(second.finish().await.status, 503);
    }
}

#[tokio::test]
async fn wrong_method_is_answered_with_the_allowed_ones() {
    let (_server, address) = start("");
    for (path, method, allow) in [
        ("/newCall", "GET", "POST"),
        ("/answer", "PUT", "POST"),
        ("/hangupCall", "DELETE", "POST"),
        ("/messages", "POST", "GET, HEAD"),
        ("/getCallTicket", "POST", "GET, HEAD"),
        ("/listRoom", "POST", "GET, HEAD"),
        ("/joinRoom", "PUT", "POST, GET, HEAD"),
        ("/upCall", "DELETE", "GET, HEAD, POST, PUT"),
    ] {
        let answer = HttpRequest::new(method, path).send(address).await;
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, Some(allow)),
            "{method} {path}"
        );
        assert_eq!(answer.text().await, format!("This path accepts {allow}.\n"));
        let answer = HttpRequest::new("OPTIONS", path).send(address).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("access-control-allow-methods"), Some(allow));
    }
}

#[tokio::test]
async fn cors_allows_every_origin_with_key_identity() {
    let (_server, address) = start("");
    for request in [
        HttpRequest::new("OPTIONS", "/newCall"),
        HttpRequest::get("/listRoom"),
        HttpRequest::get("/newCall"),
    ] {
        let answer = request.send(address).await;
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        assert_eq!(
            answer.header("access-control-allow-headers"),
            Some("PKey,CSRFToken")
        );
    }
    let ada = User::new(address).await;
    let answer = ada.join_room("standup", "wav").send(address).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn absent_users_calls_and_rooms_are_404() {
    let (_server, address) = start("");
    let (mut ada, bob) = User::two(address).await;
    assert_eq!(
        ada.ring(&bob).await,
        (
            404,
            "This user is offline: it has no event stream.\n".to_owned()
        )
    );
    let no_call = (404, "There is no such call.\n".to_owned());
    assert_eq!(ada.accept(&bob).await, no_call);
    assert_eq!(ada.hang_up(&bob).await, no_call);
    assert_eq!(ada.join_call(&bob, "wav").text(address).await, no_call);
    assert_eq!(
        HttpRequest::post(ada.up_call(&bob)).text(address).await,
        no_call
    );
    let _ringing = bob.events().await;
    assert_eq!(ada.ring(&bob).await.0, 200);
    assert_eq!(
        ada.join_call(&bob, "wav").text(address).await,
        no_call,
        "a ring is not a call yet"
    );
    let members = HttpRequest::get("/listMembers?roomID=7")
        .text(address)
        .await;
    assert_eq!(members, (404, "There is no such room.\n".to_owned()));
    assert_eq!(HttpRequest::get("/tokenCheck").status(address).await, 404);
}

#[cfg(not(feature = "vorbis"))]
#[tokio::test]
async fn vorbis_is_501_in_a_build_without_it() {
    let (_server, address) = start("");
    let ada = User::new(address).await;
    for format in ["ogg", "vorbis", "OGG"] {
        let (status, text) = ada.join_room("standup", format).text(address).await;
        assert_eq!(status, 501);
        assert!(text.contains("cargo feature `vorbis`"), "{text}");
        assert!(text.contains("wav, opus"), "{text}");
    }
}

#[tokio::test]
async fn invalid_requests_are_400_with_a_reason() {
    let (_server, address) = start("");
    let ada = User::new(address).await;
    let (status, text) = ada.join_room("standup", "mp3").text(address).await;
    assert_eq!(status, 400);
    assert!(FORMATS.iter().all(|name| text.contains(name)), "{text}");
    for (name, value) in [
        ("rate", "0"),
        ("rate", "7999"),
        ("rate", "192001"),
        ("rate", "fast"),
        ("channels", "0"),
        ("channels", "9"),
        ("channels", "-1"),
    ] {
        let path = ada.path("/upRoom", &[("roomID", "standup"), (name, value)]);
        let (status, text) = HttpRequest::post(&path).text(address).await;
        assert_eq!(status, 400, "{name}={value}: {text}");
        assert_eq!(text.trim_end().lines().count(), 1, "{text}");
    }
    assert_eq!(
        HttpRequest::get(ada.up_room("standup"))
            .status(address)
            .await,
        400
    );
    let long = "n".repeat(1000);
    for room in ["", "ab", &*long] {
        assert_eq!(
            ada.join_room(room, "wav").status(address).await,
            400,
            "{room:?}"
        );
    }
    assert_eq!(HttpRequest::get("/listRoom").text(address).await.1, "[]");
}

#[tokio::test]
async fn challenge_that_looks_like_a_ticket_is_rejected() {
    let (_server, address) = start("");
    let (ada, bob) = User::two(address).await;
    let mut events = bob.events().await;
    let ticket = "abcdefghijklmnopqrstuvwx";
    for challenge in ["", ticket, &*"9".repeat(33), "\0"] {
        let parameters = [("Destination", &*bob.id()), ("challenge", challenge)];
        let path = ada.path("/newCall", &parameters);
        assert_eq!(
            HttpRequest::post(path).status(address).await,
            400,
            "{challenge:?}"
        );
    }
    let parameters = [("Destination", &*bob.id()), ("challenge", &*"9".repeat(32))];
    assert_eq!(
        HttpRequest::post(ada.path("/newCall", &parameters))
            .status(address)
            .await,
        200
    );
    assert_eq!(events.next().await.json()["challenge"], "9".repeat(32));
}

#[tokio::test]
async fn form_is_limited_to_64_kib() {
    let (_server, address) = start("");
    let ada = User::new(address).await;
    let form = |length: usize| {
        let filler = "x".repeat(length);
        let pairs = [("roomID", "ab"), ("filler", &*filler)];
        HttpRequest::post(format!("/joinRoom?{}", ada.proof())).url_encoded(encoded(&pairs))
    };
    assert_eq!(
        form(65_000).status(address).await,
        400,
        "the form is read, and its room name is too short"
    );
    assert_eq!(form(65_536).status(address).await, 413);
    assert_eq!(form(300_000).status(address).await, 413);
}

#[tokio::test]
async fn parameters_are_read_from_headers_body_and_query() {
    let (_server, address) = start("");
    let ada = User::new(address).await;
    let pairs: Vec<(String, String)> = form_urlencoded::parse(ada.proof().as_bytes())
        .chain([
            ("ROOMID".into(), "standup".into()),
            ("Format".into(), "WAV".into()),
        ])
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    let borrowed: Vec<(&str, &str)> = pairs.iter().map(|(k, v)| (&**k, &**v)).collect();
    for request in [
        HttpRequest::post("/joinRoom").multipart(&pairs),
        HttpRequest::post("/joinRoom").url_encoded(encoded(&borrowed)),
        HttpRequest::get(format!("/joinRoom?{}", encoded(&borrowed))),
    ] {
        let answer = request.send(address).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, Some("audio/wav"))
        );
        drop(answer);
        wait_for_metric(address, "voice_listeners", 0).await;
    }
}

#[tokio::test]
async fn keys_are_case_insensitive() {
    let (_server, address) = start("");
    let (ada, bob) = User::two(address).await;
    let mut events = Events::open(
        address,
        &format!("/messages?PKey={}", bob.id().to_uppercase()),
    )
    .await;
    let parameters = [
        ("Destination", &*bob.id().to_uppercase()),
        ("challenge", "7"),
    ];
    let path = ada
        .path("/newCall", &parameters)
        .replace(&ada.id(), &ada.id().to_uppercase());
    assert_eq!(HttpRequest::post(path).status(address).await, 200);
    assert_eq!(events.next().await.json()["from"], ada.id());
}

#[tokio::test]
async fn event_streams_can_require_proof() {
    let (_server, address) = start_with(|config| config.voice.gostream.keys.require_proof = true);
    let (ada, bob) = User::two(address).await;
    let bare = format!("/messages?PKey={}", ada.id());
    assert_eq!(HttpRequest::get(&bare).status(address).await, 403);
    let foreign = format!("{bare}&Signature={}", bob.sign("abc"));
    assert_eq!(HttpRequest::get(foreign).status(address).await, 403);
    let _events = Events::open(address, &format!("/messages?{}", ada.proof())).await;
}

#[tokio::test]
async fn ticket_is_valid_for_its_key_until_it_expires() {
    let ttl = Duration::from_millis(1500);
    let (_server, address) = start_with(|config| config.voice.gostream.keys.challenge_ttl = ttl);
    let ada = User::new(address).await;
    let got = tokio::time::Instant::now();
    assert_eq!(
        ada.join_room("ab", "wav").status(address).await,
        400,
        "the ticket is valid, and the room name is too short"
    );
    tokio::time::sleep_until(got + 2 * ttl).await;
    assert_eq!(ada.join_room("ab", "wav").status(address).await, 403);
}

#[tokio::test]
async fn disabled_voice_has_no_paths() {
    let (_server, address) =
        start_with(|config| config.voice.gostream.identity = VoiceIdentity::Off);
    for path in [
        "/messages",
        "/getCallTicket",
        "/newCall",
        "/listRoom",
        "/upRoom",
        "/joinRoom",
    ] {
        for method in ["GET", "POST", "OPTIONS"] {
            assert_eq!(
                HttpRequest::new(method, path).status(address).await,
                404,
                "{method} {path}"
            );
        }
    }
}

#[tokio::test]
async fn hooks_deny_access_to_voice() {
    let server = Server::builder().on_connect(|request| async move {
        match request.uri.query().unwrap_or_default() {
            query if query.contains("host=no") => Err(Denial::default()),
            query if query.contains("host=space") => {
                let red = SpaceName::parse("red", 64).expect("a name");
                Ok(Admission::anonymous().in_space(red))
            }
            _ => Ok(Admission::anonymous()),
        }
    });
    let server = server.on_join(|request| async move {
        assert_eq!(request.dialect, "gostream");
        assert_eq!(request.identity.map(|key| key.len()), Some(66));
        let is_allowed = request.room.name.as_str() != "forbidden";
        is_allowed.then_some(()).ok_or(Denial::default())
    });
    let (_server, address) = open(server);
    let ada = User::new(address).await;
    for path in [
        format!("/messages?PKey={}", ada.id()),
        ada.up_room("standup"),
    ] {
        for host in ["no", "space"] {
            let path = format!("{path}&host={host}");
            assert_eq!(HttpRequest::get(&path).status(address).await, 403, "{path}");
        }
    }
    let denied = format!("{}&host=no", ada.up_room("standup"));
    assert_eq!(
        Source::try_websocket(address, &denied).await.err(),
        Some(403)
    );
    let forbidden = (403, "You may not enter this room.\n".to_owned());
    assert_eq!(
        ada.join_room("forbidden", "wav").text(address).await,
        forbidden
    );
    assert_eq!(
        Source::try_websocket(address, &ada.up_room("forbidden"))
            .await
            .err(),
        Some(403)
    );
    assert_eq!(HttpRequest::get("/listRoom").text(address).await.1, "[]");
    let _listener = Listener::of(ada.join_room("standup", "wav").send(address).await);
}

#[tokio::test]
async fn empty_messages_of_a_source_are_rate_limited() {
    let (_server, address) = start_with(|_| {});
    let ada = User::new(address).await;
    for first in [0x82, 0x8A] {
        let mut source = RawClient::open(address, &ada.up_room("standup")).await;
        // Ten bursts; the server may close the connection before all of them are sent.
        source.send(&frame(first, b"").repeat(160_000)).await;
        let (code, text) = source.closed().await;
        assert_eq!(code, 1008);
        assert_eq!(text, "Too many messages per second.");
        drop(source);
        wait_for_metric(address, "voice_sources", 0).await;
    }
}

#[tokio::test]
async fn close_frame_of_a_source_is_answered() {
    let (_server, address) = start_with(|_| {});
    let ada = User::new(address).await;
    let mut source = RawClient::open(address, &ada.up_room("standup")).await;
    source.send(&frame(0x88, b"\x03\xe8bye")).await;
    assert_eq!(source.closed().await, (1000, "bye".to_owned()));
}

#[tokio::test]
async fn protocol_error_of_a_source_gets_a_close_code() {
    let (_server, address) = start_with(|_| {});
    let ada = User::new(address).await;
    let mut source = RawClient::open(address, &ada.up_room("standup")).await;
    source.send(b"\x82\x02ab").await;
    assert_eq!(source.closed().await.0, 1002);
    wait_for_metric(address, "protocol_errors_total", 1).await;
}

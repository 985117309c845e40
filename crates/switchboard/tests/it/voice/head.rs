//! HEAD requests: the response has the head of the response to GET, and no source, listener or event stream is
//! connected.

use std::net::SocketAddr;

use super::{
    http::{BodyPart, HttpRequest, metric},
    listener::FORMATS,
    user::{User, in_call},
};
use crate::client::start;

async fn assert_no_stream_is_attached(address: SocketAddr) {
    for gauge in ["voice_sources", "voice_listeners", "voice_event_streams"] {
        assert_eq!(metric(address, gauge).await, 0, "{gauge}");
    }
}

/// Checks that the responses to GET and HEAD have the same head, and that to HEAD has no body.
async fn assert_same_head(address: SocketAddr, target: &str) {
    let mut head = HttpRequest::new("HEAD", target).send(address).await;
    let get = HttpRequest::get(target).send(address).await;
    assert_eq!(head.status, get.status, "{target}");
    for name in [
        "content-type",
        "cache-control",
        "x-accel-buffering",
        "content-length",
    ] {
        assert_eq!(head.header(name), get.header(name), "{target}: {name}");
    }
    // The response to HEAD has no body, even with a `content-length`: the next bytes are the next response.
    head.body.skip();
    assert_eq!(head.body.next().await, BodyPart::End);
}

#[tokio::test]
async fn head_of_a_stream_does_not_attach() {
    let (_server, address) = start("");
    let (ada, bob) = in_call(address).await;
    let room = |format| ada.path("/joinRoom", &[("roomID", "standup"), ("format", format)]);
    let targets = [
        ada.path("/joinCall", &[("otherID", &bob.id())]),
        format!("/messages?PKey={}", ada.id()),
    ];
    for target in FORMATS.iter().map(|format| room(format)).chain(targets) {
        let answer = HttpRequest::new("HEAD", &target).send(address).await;
        assert_eq!(answer.status, 200, "{target}");
        assert_no_stream_is_attached(address).await;
        assert_same_head(address, &target).await;
    }
}

#[tokio::test]
async fn head_gets_the_error_status_of_get() {
    let (_server, address) = start("");
    let (ada, bob) = User::two(address).await;
    for (target, status) in [
        ("/joinRoom?roomID=standup".to_owned(), 403),
        (ada.path("/joinRoom", &[("roomID", "x")]), 400),
        (
            ada.path("/joinRoom", &[("roomID", "standup"), ("format", "mp3")]),
            400,
        ),
        (ada.path("/joinCall", &[("otherID", &bob.id())]), 404),
        (ada.up_room("standup"), 400),
        ("/messages".to_owned(), 403),
    ] {
        let answer = HttpRequest::new("HEAD", &target).send(address).await;
        assert_eq!(answer.status, status, "{target}");
    }
    assert_no_stream_is_attached(address).await;
}

#[tokio::test]
async fn every_path_with_get_also_answers_head() {
    let (_server, address) = start("");
    let ada = User::new(address).await;
    let ticket = format!("/getCallTicket?PKey={}", ada.id());
    for target in [
        "/listRoom",
        "/listMembers?roomID=7",
        "/tokenCheck",
        "/keyXCHG",
        "/voice/mode",
        &ticket,
    ] {
        assert_same_head(address, target).await;
    }
}

//! Grants in voice requests, also on the voice leader, and the end of streams when they expire.

use std::time::SystemTime;

use switchboard::{Admission, Server};

use super::{
    http::{BodyPart, HttpRequest},
    source::Source,
    user::{Events, User},
};
use crate::client::{open, start};

const LISTENERS: &str = "[access]\nanonymous_grants = [\"listen_audio:team-*\", \"list:team-*\"]\n";

#[tokio::test]
async fn grants_hold_for_the_rooms_of_their_patterns() {
    let (_server, address) = start(LISTENERS);
    let ada = User::new(address).await;
    let _listener = ada.listen("team-a", "wav").await;
    let text = "You do not have the grant \"listen_audio\" in the room \"other\".\n";
    let refused = ada.join_room("other", "wav").text(address).await;
    assert_eq!(refused, (403, text.to_owned()));
    let microphone = Source::try_websocket(address, &ada.up_room("team-a")).await;
    assert_eq!(microphone.err(), Some(403));
    let call = ada.post("/newCall", &[("Destination", &ada.id())]).await;
    assert_eq!(call.0, 403, "{call:?}");
}

#[tokio::test]
async fn lists_have_only_the_rooms_that_the_client_may_list() {
    let hook = |request: switchboard::ConnectRequest| async move {
        let is_operator = request.headers.contains_key("x-operator");
        let all = Admission::anonymous();
        let few = switchboard::Grants::parse(&["list:team-*"]).expect("grants");
        Ok(match is_operator {
            true => all,
            false => all.with_grants(few.into()),
        })
    };
    let (_server, address) = open(Server::builder().on_connect(hook));
    let ada = User::new(address).await;
    for room in ["team-a", "other"] {
        let request = ada.join_room(room, "wav").header("x-operator", "1");
        let response = request.send(address).await;
        assert_eq!(response.status, 200);
        let (_, all) = HttpRequest::get("/listRoom")
            .header("x-operator", "1")
            .text(address)
            .await;
        assert!(all.contains(room), "{all}");
        let (_, few) = HttpRequest::get("/listRoom").text(address).await;
        assert_eq!(few.contains(room), room == "team-a", "{few}");
        let rooms: serde_json::Value = serde_json::from_str(&all).expect("JSON");
        let listed = rooms.as_array().expect("a list").iter();
        let mut named = listed.filter(|listed| listed["name"] == room);
        let id = &named.next().expect("the room")["id"];
        let members = HttpRequest::get(format!("/listMembers?roomID={id}"));
        let status = members.status(address).await;
        assert_eq!(status, if room == "team-a" { 200 } else { 404 });
    }
}

#[tokio::test]
async fn streams_end_when_the_access_expires() {
    let hook = |_| async {
        let now = SystemTime::UNIX_EPOCH.elapsed().expect("a time").as_secs();
        Ok(Admission::anonymous().expiring_at(now + 2))
    };
    let (_server, address) = open(Server::builder().on_connect(hook));
    let ada = User::new(address).await;
    let mut events: Events = ada.events().await;
    while events.next_or_end().await.is_ok() {}
    let mut listening = ada.join_room("team", "wav").send(address).await;
    assert_eq!(listening.status, 200);
    while let BodyPart::Bytes(_) = listening.body.next().await {}
}

#[tokio::test]
async fn voice_authenticates_its_users_beside_tokens() {
    let (_server, address) = start("[access]\nauthenticators = [\"gostream\"]\n");
    let ada = User::new(address).await;
    let _source = ada.speak("team").await;
    let with_token = HttpRequest::get("/listRoom?access_token=unknown");
    assert_eq!(with_token.status(address).await, 401);
    let ice = HttpRequest::get("/ice-servers").status(address).await;
    assert_eq!(ice, 401);
}

//! A user's display name: the proof that it needs, the events and lists that carry it, and its lifetime.

use super::{
    http::{HttpRequest, wait_for_metric},
    user::User,
};
use crate::client::start;

async fn set(user: &User, name: &str) -> (u16, String) {
    let path = user.path("/voice/name", &[("name", name)]);
    HttpRequest::post(path).text(user.address).await
}

async fn members(user: &User) -> serde_json::Value {
    let (_, list) = HttpRequest::get("/listMembers?roomID=1")
        .text(user.address)
        .await;
    serde_json::from_str(&list).expect("not JSON")
}

#[tokio::test]
async fn display_name_is_in_calls_and_member_lists() {
    let (_server, address) = start("");
    let (mut ada, bob) = User::two(address).await;
    let (ada_events, mut events) = (ada.events().await, bob.events().await);
    assert_eq!(set(&ada, " Ada\u{202e}\n").await, (200, "Ada".to_owned()));
    assert_eq!(ada.ring(&bob).await.0, 200);
    let ringing = events.next_of("newCall").await.json();
    assert_eq!(ringing["name"], "Ada");
    assert_eq!(ringing["from"], ada.id());

    let _listener = ada.listen("standup", "wav").await;
    assert_eq!(members(&ada).await[0]["name"], "Ada");
    assert_eq!(set(&ada, "").await, (200, String::new()));
    assert!(members(&ada).await[0].get("name").is_none());

    // The name is removed with the event stream.
    assert_eq!(set(&ada, "Ada").await.0, 200);
    drop(ada_events);
    wait_for_metric(address, "voice_event_streams", 1).await;
    assert!(members(&ada).await[0].get("name").is_none());
}

#[tokio::test]
async fn display_name_requires_proof_event_stream_and_length_limit() {
    let (_server, address) = start("");
    let (ada, bob) = User::two(address).await;
    assert_eq!(set(&ada, "Ada").await.0, 404);
    let _events = ada.events().await;
    assert_eq!(set(&ada, &"x".repeat(41)).await.0, 400);
    let unproven = HttpRequest::post("/voice/name?name=Ada").header("PKey", &ada.id());
    assert_eq!(unproven.status(address).await, 403);
    let forged = format!("/voice/name?name=Ada&PKey={}&Signature=30", ada.id());
    assert_eq!(HttpRequest::post(forged).status(address).await, 403);
    let _listener = ada.listen("standup", "wav").await;
    assert!(members(&bob).await[0].get("name").is_none());
}

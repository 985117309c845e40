//! Usernames of `p2p` clients in rooms, over sockets.

use std::net::SocketAddr;

use serde_json::{Value, json};
use switchboard::Server;

use crate::client::{Client, serve, start};

/// A client that has asked for a name, for a room or for the whole space, and the answer.
async fn identify(address: SocketAddr, name: &str, room: Option<&str>) -> (Client, Value) {
    let mut client = Client::open(address, "/ws").await;
    let mut frame = json!({"type": "IDENTIFY", "username": name});
    if let Some(room) = room {
        frame["roomId"] = room.into();
    }
    client.send(&frame.to_string()).await;
    let answer = client.next().await;
    (client, answer)
}

async fn join(client: &mut Client, room: &str) -> Value {
    let frame = json!({"type": "JOIN_ROOM", "roomId": room});
    client.send(&frame.to_string()).await;
    client.next().await
}

/// The answer to a join, while the other client reads and so answers pings.
async fn answered_beside(client: &mut Client, room: &str, other: &mut Client) -> (Value, Value) {
    tokio::join!(join(client, room), other.next())
}

#[tokio::test]
async fn the_same_name_in_two_rooms_is_two_names_and_in_one_room_it_is_numbered() {
    let (_server, address) = start("");
    let (mut ada, answer) = identify(address, "Ada", Some("red")).await;
    assert_eq!(answer["type"], "AUTH_SUCCESS");
    assert_eq!(join(&mut ada, "red").await["members"], json!([]));
    let (mut elsewhere, answer) = identify(address, "Ada", Some("blue")).await;
    assert_eq!(answer["type"], "AUTH_SUCCESS");
    assert_eq!(join(&mut elsewhere, "blue").await["members"], json!([]));

    let (mut unmodified, answer) = identify(address, "Ada", None).await;
    assert_eq!(answer["type"], "AUTH_SUCCESS");
    let (members, news) = answered_beside(&mut unmodified, "red", &mut ada).await;
    assert_eq!(members["members"][0]["username"], "Ada");
    assert_eq!(members["username"], "Ada (2)");
    assert_eq!(news["peer"]["username"], "Ada (2)");

    let (mut second, answer) = tokio::select! {
        identified = identify(address, "Ada", Some("red")) => identified,
        frame = ada.next() => panic!("the holder is told nothing: {frame}"),
    };
    assert_eq!(answer["message"], "Username already taken.");
    assert_eq!(second.close_code().await, 1008);
}

#[tokio::test]
async fn a_name_in_a_room_is_free_when_its_holder_has_gone() {
    let (_server, address) = start("");
    let (mut ada, _) = identify(address, "Ada", Some("red")).await;
    join(&mut ada, "red").await;
    ada.close().await;
    let (mut reloaded, answer) = identify(address, "Ada", Some("red")).await;
    assert_eq!(answer["username"], "Ada");
    assert_eq!(join(&mut reloaded, "red").await["members"], json!([]));
}

#[tokio::test]
async fn a_room_that_a_client_may_not_enter_does_not_tell_its_names() {
    let server = Server::builder()
        .on_join(|request| async move { request.room.name.as_str() != "private" })
        .build();
    let (_server, address) = serve(server);
    let (mut ada, answer) = identify(address, "Ada", Some("private")).await;
    assert_eq!(answer["type"], "AUTH_ERROR");
    assert_eq!(answer["message"], "You may not enter the room \"private\".");
    assert_eq!(ada.close_code().await, 1008);

    let (mut ada, answer) = identify(address, "Ada", None).await;
    assert_eq!(answer["type"], "AUTH_SUCCESS");
    assert_eq!(join(&mut ada, "private").await["code"], "denied");
    assert_eq!(join(&mut ada, "open").await["members"], json!([]));
}

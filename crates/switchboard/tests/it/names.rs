//! Usernames of `p2p` clients in rooms, over sockets.

use std::net::SocketAddr;

use serde_json::{Value, json};
use switchboard::{Denial, Server};

use crate::client::{Client, serve, start};

/// Connects a client that claims a name for this room or, with `None`, for all rooms. Returns the response.
async fn identify(address: SocketAddr, name: &str, room: Option<&str>) -> (Client, Value) {
    let mut client = Client::open(address, "/ws").await;
    let mut frame = json!({"type": "IDENTIFY", "username": name});
    if let Some(room) = room {
        frame["roomId"] = room.into();
    }
    client.send(&frame.to_string()).await;
    let response = client.next().await;
    (client, response)
}

async fn join(client: &mut Client, room: &str) -> Value {
    let frame = json!({"type": "JOIN_ROOM", "roomId": room});
    client.send(&frame.to_string()).await;
    client.next().await
}

/// Joins a room while another client reads, which makes it answer pings. Returns the next frames of both.
async fn join_while_other_reads(
    client: &mut Client,
    room: &str,
    other: &mut Client,
) -> (Value, Value) {
    tokio::join!(join(client, room), other.next())
}

#[tokio::test]
async fn a_name_is_unique_per_room_and_a_duplicate_in_a_room_is_numbered() {
    let (_server, address) = start("");
    let (mut ada, response) = identify(address, "Ada", Some("red")).await;
    assert_eq!(response["type"], "AUTH_SUCCESS");
    assert_eq!(join(&mut ada, "red").await["members"], json!([]));
    let (mut elsewhere, response) = identify(address, "Ada", Some("blue")).await;
    assert_eq!(response["type"], "AUTH_SUCCESS");
    assert_eq!(join(&mut elsewhere, "blue").await["members"], json!([]));

    // Without a room in `IDENTIFY`, as in the original protocol, the name is claimed for all rooms.
    let (mut unmodified, response) = identify(address, "Ada", None).await;
    assert_eq!(response["type"], "AUTH_SUCCESS");
    let (members, announcement) = join_while_other_reads(&mut unmodified, "red", &mut ada).await;
    assert_eq!(members["members"][0]["username"], "Ada");
    assert_eq!(members["username"], "Ada (2)");
    assert_eq!(announcement["peer"]["username"], "Ada (2)");

    let (mut second, response) = tokio::select! {
        identified = identify(address, "Ada", Some("red")) => identified,
        frame = ada.next() => panic!("the holder received {frame}"),
    };
    assert_eq!(response["message"], "Username already taken.");
    assert_eq!(second.close_code().await, 1008);
}

#[tokio::test]
async fn a_name_in_a_room_is_free_when_its_holder_has_left() {
    let (_server, address) = start("");
    let (mut ada, _) = identify(address, "Ada", Some("red")).await;
    join(&mut ada, "red").await;
    ada.close().await;
    let (mut reloaded, response) = identify(address, "Ada", Some("red")).await;
    assert_eq!(response["username"], "Ada");
    assert_eq!(join(&mut reloaded, "red").await["members"], json!([]));
}

#[tokio::test]
async fn a_client_that_may_not_join_a_room_cannot_claim_a_name_in_it() {
    let server = Server::builder()
        .on_join(|request| async move {
            let is_allowed = request.room.name.as_str() != "private";
            is_allowed.then_some(()).ok_or(Denial::default())
        })
        .build()
        .expect("valid settings");
    let (_server, address) = serve(server);
    let (mut ada, response) = identify(address, "Ada", Some("private")).await;
    assert_eq!(response["type"], "AUTH_ERROR");
    assert_eq!(
        response["message"],
        "You may not enter the room \"private\"."
    );
    assert_eq!(ada.close_code().await, 1008);

    let (mut ada, response) = identify(address, "Ada", None).await;
    assert_eq!(response["type"], "AUTH_SUCCESS");
    assert_eq!(join(&mut ada, "private").await["code"], "denied");
    assert_eq!(join(&mut ada, "open").await["members"], json!([]));
}

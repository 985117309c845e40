//! Rooms that are closed to other dialects, on every way into the server.

use std::net::SocketAddr;

use switchboard::{Admission, Server, room, room_of_dialect};

use crate::client::{Client, config, open, request, start};

/// A client that asks for a dialect by subprotocol.
async fn by_subprotocol(address: SocketAddr, path: &str, dialect: &str) -> Client {
    let mut request = request(address, path);
    let value = format!("switchboard.{dialect}").parse().expect("a header");
    request
        .headers_mut()
        .insert("sec-websocket-protocol", value);
    Client::try_open(request).await.expect("an upgrade")
}

/// Clients of other dialects that want into this room, by every way there is.
async fn strangers(address: SocketAddr, name: &str) -> Vec<Client> {
    let open = |path: String| async move { Client::open(address, &path).await };
    let mut clients = vec![
        open(format!("/signalingserver?room={name}")).await,
        open(format!(
            "/peerjs?dialect=mesh&room={name}&key={name}&id=m&token=t"
        ))
        .await,
        open(format!("/{name}?dialect=mesh&room={name}")).await,
        by_subprotocol(address, &format!("/ws?room={name}&key={name}"), "mesh").await,
        by_subprotocol(address, &format!("/peerjs?room={name}&key={name}"), "mesh").await,
    ];
    let mut first_frame = open("/ws".to_owned()).await;
    first_frame
        .send(&format!(
            r#"{{"type":"join","roomID":"{name}","senderID":"eve"}}"#
        ))
        .await;
    assert_eq!(first_frame.next().await["type"], "peers");
    for client in &mut clients {
        client.send(r#"{"kind":"IdentifySelf"}"#).await;
        assert_eq!(client.next_of("IdentifySelf").await["sender"], "server");
    }
    clients.push(first_frame);
    clients
}

fn count(server: &Server, room: Option<switchboard::RoomId>) -> usize {
    server.rooms().members(&room.expect("a name")).len()
}

#[tokio::test]
async fn a_peerjs_key_cannot_be_entered_in_another_dialect() {
    let (server, address) = start("");
    let mut bob = Client::open(address, "/peerjs?key=peerjs&id=bob&token=t").await;
    assert_eq!(bob.next().await["type"], "OPEN");
    let mut strangers = strangers(address, "peerjs").await;
    assert_eq!(count(&server, room_of_dialect("peerjs", "peerjs")), 1);
    assert_eq!(count(&server, room("peerjs")), strangers.len());
    let mesh = &mut strangers[0];
    mesh.send(r#"{"kind":"GetAllPeerIDs"}"#).await;
    let ids = mesh.next_of("GetAllPeerIDs").await["content"]["peersIDs"].clone();
    assert_eq!(ids.as_array().expect("a list").len(), 5);
    assert!(!ids.to_string().contains("bob"), "{ids}");
    mesh.send(r#"{"kind":"Offer","reach":"AllPeers","content":{"type":1,"sdp":"v=0\r\n"}}"#)
        .await;
    mesh.send(
        r#"{"kind":"Offer","reach":"OnePeer","peerID":"bob","content":{"type":1,"sdp":"v=0\r\n"}}"#,
    )
    .await;
    let refused = mesh.next_of("TextMessage").await.to_string();
    assert!(refused.contains("bob does not exist"), "{refused}");
    // The first frame that reaches its client is from a client of the same dialect.
    let mut carol = Client::open(address, "/peerjs?key=peerjs&id=carol&token=t").await;
    assert_eq!(carol.next().await["type"], "OPEN");
    carol
        .send(r#"{"type":"OFFER","dst":"bob","payload":{}}"#)
        .await;
    assert_eq!(bob.next().await["src"], "carol");
}

#[tokio::test]
async fn a_mixed_key_is_met_in_every_dialect() {
    let (server, address) = start("[peerjs]\nmixed = true\n");
    let mut bob = Client::open(address, "/peerjs?key=peerjs&id=bob&token=t").await;
    assert_eq!(bob.next().await["type"], "OPEN");
    let strangers = strangers(address, "peerjs").await;
    assert_eq!(count(&server, room("peerjs")), 1 + strangers.len());
    let (_eve, peers) = Client::join(address, "peerjs", "ann").await;
    assert!(peers.to_string().contains("\"bob\""), "{peers}");
}

#[tokio::test]
async fn ids_are_listed_of_the_room_that_the_key_is() {
    for mixed in [false, true] {
        let (_server, address) = start(&format!(
            "[peerjs]\nallow_discovery = \"*\"\nmixed = {mixed}\n"
        ));
        let mut bob = Client::open(address, "/peerjs?key=peerjs&id=bob&token=t").await;
        assert_eq!(bob.next().await["type"], "OPEN");
        let answer = crate::client::get(address, "/peerjs/peers").await;
        assert!(answer.ends_with("[\"bob\"]"), "{mixed}: {answer}");
    }
}

#[tokio::test]
async fn the_host_program_is_asked_about_the_closed_room() {
    let builder = Server::builder()
        .config(config(""))
        .on_join(|join| async move { join.room.scope.dialect() == Some(join.dialect) });
    let (_server, address) = open(builder.on_connect(|_| async { Admission::anonymous() }));
    let mut bob = Client::open(address, "/peerjs?key=peerjs&id=bob&token=t").await;
    assert_eq!(bob.next().await["type"], "OPEN");
    let mut eve = Client::open(address, "/ws").await;
    eve.send(r#"{"type":"join","roomID":"peerjs","senderID":"eve"}"#)
        .await;
    assert_eq!(eve.next().await["code"], "denied");
}

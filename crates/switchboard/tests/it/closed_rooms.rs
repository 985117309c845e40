//! Rooms that are closed to other dialects, as those of `peerjs` are by default. A client of another dialect that
//! names the room gets into a shared room of the same name, by whichever way it selected its dialect. With `mixed =
//! true`, PeerJS clients are in the shared room too. In PeerJS, the name of a room is the API key of its clients.

use std::net::SocketAddr;

use switchboard::{Admission, Denial, Server, room, room_of_dialect};

use crate::client::{Client, config, open, request, start};

/// Connects a client that selects a dialect by subprotocol.
async fn connect_by_subprotocol(address: SocketAddr, path: &str, dialect: &str) -> Client {
    let mut request = request(address, path);
    let value = format!("switchboard.{dialect}").parse().expect("a header");
    request
        .headers_mut()
        .insert("sec-websocket-protocol", value);
    Client::try_open(request).await.expect("an upgrade")
}

/// Connects clients of other dialects that name this room, one for each way to select a dialect: five of `mesh` and
/// then one of `lightstream`.
async fn connect_other_dialects(address: SocketAddr, name: &str) -> Vec<Client> {
    let open = |path: String| async move { Client::open(address, &path).await };
    let mut clients = vec![
        open(format!("/signalingserver?room={name}")).await,
        open(format!(
            "/peerjs?dialect=mesh&room={name}&key={name}&id=m&token=t"
        ))
        .await,
        open(format!("/{name}?dialect=mesh&room={name}")).await,
        connect_by_subprotocol(address, &format!("/ws?room={name}&key={name}"), "mesh").await,
        connect_by_subprotocol(address, &format!("/peerjs?room={name}&key={name}"), "mesh").await,
    ];
    let mut by_first_frame = open("/ws".to_owned()).await;
    by_first_frame
        .send(&format!(
            r#"{{"type":"join","roomID":"{name}","senderID":"eve"}}"#
        ))
        .await;
    assert_eq!(by_first_frame.next().await["type"], "peers");
    for client in &mut clients {
        client.send(r#"{"kind":"IdentifySelf"}"#).await;
        assert_eq!(client.next_of("IdentifySelf").await["sender"], "server");
    }
    clients.push(by_first_frame);
    clients
}

fn member_count(server: &Server, room: Option<switchboard::RoomId>) -> usize {
    server.rooms().members(&room.expect("a name")).len()
}

#[tokio::test]
async fn a_peerjs_room_cannot_be_joined_in_another_dialect() {
    let (server, address) = start("");
    let mut bob = Client::open(address, "/peerjs?key=peerjs&id=bob&token=t").await;
    assert_eq!(bob.next().await["type"], "OPEN");
    let mut others = connect_other_dialects(address, "peerjs").await;
    assert_eq!(
        member_count(&server, room_of_dialect("peerjs", "peerjs")),
        1
    );
    assert_eq!(member_count(&server, room("peerjs")), others.len());
    let mesh = &mut others[0];
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
    let error = mesh.next_of("TextMessage").await.to_string();
    assert!(error.contains("bob does not exist"), "{error}");
    // The first frame that Bob receives is from a client of the same dialect.
    let mut carol = Client::open(address, "/peerjs?key=peerjs&id=carol&token=t").await;
    assert_eq!(carol.next().await["type"], "OPEN");
    carol
        .send(r#"{"type":"OFFER","dst":"bob","payload":{}}"#)
        .await;
    assert_eq!(bob.next().await["src"], "carol");
}

#[tokio::test]
async fn a_mixed_peerjs_room_has_members_of_every_dialect() {
    let (server, address) = start("[peerjs]\nmixed = true\n");
    let mut bob = Client::open(address, "/peerjs?key=peerjs&id=bob&token=t").await;
    assert_eq!(bob.next().await["type"], "OPEN");
    let others = connect_other_dialects(address, "peerjs").await;
    assert_eq!(member_count(&server, room("peerjs")), 1 + others.len());
    let (_eve, peers) = Client::join(address, "peerjs", "ann").await;
    assert!(peers.to_string().contains("\"bob\""), "{peers}");
}

#[tokio::test]
async fn a_peer_list_has_the_members_of_the_room_of_its_key() {
    for mixed in [false, true] {
        let (_server, address) = start(&format!(
            "[peerjs]\nallow_discovery = \"*\"\nmixed = {mixed}\n"
        ));
        let mut bob = Client::open(address, "/peerjs?key=peerjs&id=bob&token=t").await;
        assert_eq!(bob.next().await["type"], "OPEN");
        let answer = crate::client::get(address, "/peerjs/peers").await;
        assert!(answer.ends_with("[\"bob\"]"), "mixed = {mixed}: {answer}");
    }
}

#[tokio::test]
async fn the_join_hook_receives_the_scope_of_a_closed_room() {
    let builder = Server::builder()
        .config(config(""))
        .on_join(|join| async move {
            let is_allowed = join.room.scope.dialect() == Some(join.dialect);
            is_allowed.then_some(()).ok_or(Denial::default())
        });
    let (_server, address) = open(builder.on_connect(|_| async { Ok(Admission::anonymous()) }));
    let mut bob = Client::open(address, "/peerjs?key=peerjs&id=bob&token=t").await;
    assert_eq!(bob.next().await["type"], "OPEN");
    let mut eve = Client::open(address, "/ws").await;
    eve.send(r#"{"type":"join","roomID":"peerjs","senderID":"eve"}"#)
        .await;
    assert_eq!(eve.next().await["code"], "denied");
}

//! The sessions of a node: the host program lists them and ends them by id.

use std::time::{Duration, SystemTime};

use switchboard::{Admission, Identity, Server, SessionInfo, room};

use crate::client::{Client, request, serve, start};

/// The session with the identity `name`.
fn session_of(server: &Server, name: &str) -> SessionInfo {
    let sessions = server.sessions().list();
    let is_named = |session: &SessionInfo| matches!(&session.identity, Identity::Proven(identity) if **identity == *name);
    sessions.into_iter().find(is_named).expect("a session")
}

/// A server whose clients have the identity of their query.
fn start_with_identities() -> (Server, std::net::SocketAddr) {
    let server = Server::builder()
        .on_connect(|request| async move {
            let identity = request.uri.query().unwrap_or_default().to_owned();
            Ok(Admission::as_identity(identity))
        })
        .build()
        .expect("valid settings");
    serve(server)
}

#[tokio::test]
async fn sessions_are_listed_with_dialect_identity_rooms_and_address() {
    let (server, address) = start_with_identities();
    assert!(server.sessions().list().is_empty());
    let before = SystemTime::now() - Duration::from_secs(1);
    let mut ada = Client::open(address, "/ws?ada").await;
    // The dialect is detected from the first frame.
    let undetected = session_of(&server, "ada");
    assert_eq!(
        (undetected.dialect, undetected.rooms.len()),
        ("undetected", 0)
    );
    for room in ["b", "a"] {
        ada.send(&format!(
            r#"{{"type":"join","roomID":"{room}","senderID":"ada"}}"#
        ))
        .await;
        assert_eq!(ada.next().await["type"], "peers");
    }
    let _bob = Client::open(address, "/connect?bob").await;
    let session = session_of(&server, "ada");
    assert_eq!(session.id, undetected.id);
    assert_eq!(session.dialect, "lightstream");
    let a = room("a").expect("a name");
    assert_eq!(
        session.rooms,
        std::slice::from_ref(&a),
        "this dialect leaves its room to join another"
    );
    assert_eq!(session.address, Some(address.ip()));
    assert!(session.since > before && session.since <= SystemTime::now());
    assert_eq!(session.queued_bytes, 0);
    assert_eq!(server.rooms().members(&a)[0].peer, session.id);
    assert_eq!(session_of(&server, "bob").dialect, "singo");
    assert_eq!(server.sessions().list().len(), 2);
    ada.close().await;
    let left = server.sessions().list();
    assert_eq!(left.len(), 1, "the session ends with its connection");
}

#[tokio::test]
async fn ended_session_gets_the_reason_and_leaves_its_rooms() {
    let (server, address) = start("");
    let (mut ada, _) = Client::join(address, "r", "ada").await;
    let (mut bob, _) = Client::join(address, "r", "bob").await;
    assert_eq!(ada.next().await["type"], "user-joined");
    let r = room("r").expect("a name");
    let id = server.rooms().members(&r)[0].peer;
    assert!(server.sessions().end(id, "the lesson is over"));
    assert_eq!(ada.next().await["code"], "evicted");
    let closed = ada.close_frame().await;
    assert_eq!(closed, (1008, "the lesson is over".to_owned()));
    assert_eq!(bob.next().await["type"], "user-left");
    assert_eq!(server.rooms().members(&r).len(), 1);
    assert!(
        !server.sessions().end(id, "again"),
        "an ended session is not ended again"
    );
}

#[tokio::test]
async fn session_is_ended_while_its_join_waits_for_the_host_program() {
    let server = Server::builder()
        .on_join(|_| std::future::pending())
        .build()
        .expect("valid settings");
    let (server, address) = serve(server);
    let mut ada = Client::try_open(request(address, "/ws"))
        .await
        .expect("an upgrade");
    ada.send(r#"{"type":"join","roomID":"r","senderID":"ada"}"#)
        .await;
    // This frame waits behind the join.
    ada.send("no JSON").await;
    while server.sessions().list()[0].dialect == "undetected" {
        tokio::task::yield_now().await;
    }
    let id = server.sessions().list()[0].id;
    let long = "ä".repeat(100);
    assert!(server.sessions().end(id, &long));
    let (code, reason) = ada.close_frame().await;
    assert_eq!(
        (code, reason),
        (1008, "ä".repeat(61)),
        "a close frame has 123 bytes"
    );
}

#[tokio::test]
async fn session_without_a_detected_dialect_can_be_ended() {
    let (server, address) = start("");
    let mut client = Client::open(address, "/ws").await;
    let id = server.sessions().list()[0].id;
    assert!(server.sessions().end(id, "bye"));
    assert_eq!(client.close_frame().await, (1008, "bye".to_owned()));
    assert_eq!(server.sessions().list().len(), 0);
}

//! The module `testing`: a client of each dialect joins a room of a test server.

use switchboard::{
    Admission, Denial, Server,
    testing::{ClientDialect, TestError, TestServer},
};

#[tokio::test]
async fn a_client_of_each_dialect_joins_and_leaves() {
    let server = TestServer::start(Server::builder()).expect("a server");
    for dialect in ClientDialect::ALL {
        // The room of a PeerJS client has the name of its API key.
        let room = if dialect == ClientDialect::PeerJs {
            "peerjs".to_owned()
        } else {
            format!("{dialect:?}")
        };
        let client = server.join(dialect, &room, "ada").await.expect("a member");
        let rooms = server.server().rooms();
        let listed = rooms.list().into_iter();
        let found: Vec<_> = listed.filter(|(id, _)| id.name.as_str() == room).collect();
        let [(id, 1)] = &found[..] else {
            panic!("{dialect:?}: expected one member, found {found:?}");
        };
        assert_eq!(rooms.members(id)[0].peer, client.member().peer);
        client.close().await;
    }
}

#[tokio::test]
async fn clients_of_different_dialects_receive_each_others_frames() {
    let server = TestServer::start(Server::builder()).expect("a server");
    let join = |dialect, name| server.join(dialect, "team", name);
    let mut ada = join(ClientDialect::P2p, "ada").await.expect("a member");
    let mut bob = join(ClientDialect::Lightstream, "bob")
        .await
        .expect("a member");
    assert!(ada.receive_containing("bob").await.is_some());
    bob.send(r#"{"type":"message","data":"Hello."}"#)
        .await
        .expect("open");
    assert!(ada.receive_containing("Hello.").await.is_some());
}

#[tokio::test]
async fn a_refused_connection_reports_its_status_and_a_denied_join_its_frames() {
    let builder = Server::builder().on_connect(|request| async move {
        match request.uri.query() {
            Some("dialect=p2p") => Err(Denial::default()),
            _ => Ok(Admission::as_identity("ada")),
        }
    });
    let builder = builder.on_join(|_| async { Err(Denial::new("Closed today.")) });
    let server = TestServer::start(builder).expect("a server");
    let refused = server.join(ClientDialect::P2p, "team", "ada").await;
    assert!(
        matches!(refused, Err(TestError::Refused(403))),
        "{refused:?}"
    );
    let denied = server.join(ClientDialect::Mesh, "team", "ada").await;
    let Err(TestError::NotJoined(frames)) = denied else {
        panic!("expected a denied join, not {denied:?}");
    };
    assert!(frames[0].contains("Closed today."), "{frames:?}");
}

//! Actions of the host program on single clients: messages to a member of each dialect, and the end of sessions. The
//! last test merges a router into a host program that serves its own page, probes and metrics.

use std::time::Duration;

use axum::{Router, routing::get};
use switchboard::{
    Admission, SendError, Server,
    dialect::{Candidate, Content},
    testing::{ClientDialect, TestClient, TestServer},
};

use crate::client;

async fn join(server: &TestServer, dialect: ClientDialect) -> TestClient {
    // The room of a PeerJS client has the name of its API key.
    let room = if dialect == ClientDialect::PeerJs {
        "peerjs".to_owned()
    } else {
        format!("{dialect:?}")
    };
    server.join(dialect, &room, "ada").await.expect("a member")
}

/// The room that this client is a member of.
fn room_of(server: &TestServer, client: &TestClient) -> switchboard::RoomId {
    let rooms = server.server().rooms();
    let has_client = |(room, _): &(switchboard::RoomId, usize)| {
        let members = rooms.members(room);
        members
            .iter()
            .any(|member| member.peer == client.member().peer)
    };
    let mut listed = rooms.list().into_iter();
    listed.find(has_client).expect("the room of the client").0
}

#[tokio::test]
async fn content_is_sent_if_the_dialect_of_the_member_carries_it_and_is_an_error_otherwise() {
    let server = TestServer::start(Server::builder()).expect("a server");
    let rooms = server.server().rooms();
    for dialect in ClientDialect::ALL {
        let mut client = join(&server, dialect).await;
        let room = room_of(&server, &client);
        let member = client.member().clone();
        let (traits, address) = (member.dialect, &member.address);
        let not_carried = Err(SendError::NotCarried(traits.name));
        let candidate = Candidate {
            candidate: "candidate:1 marked".into(),
            sdp_mid: Some("0".into()),
            sdp_m_line_index: None,
            username_fragment: None,
        };
        for (content, is_carried, mark) in [
            (
                Content::Message("a notice".into()),
                traits.messages,
                "a notice",
            ),
            (
                Content::Offer("v=0 offered".into()),
                traits.signals,
                "v=0 offered",
            ),
            (
                Content::Answer("v=0 answered".into()),
                traits.signals,
                "v=0 answered",
            ),
            (
                Content::Candidate(candidate),
                traits.signals,
                "candidate:1 marked",
            ),
        ] {
            let sent = rooms.send_content(&room, address, &content);
            if is_carried {
                assert_eq!(sent, Ok(()), "{dialect:?} {mark}");
                let frame = client.receive_containing(mark).await;
                assert!(frame.is_some(), "{dialect:?} {mark}");
            } else {
                assert_eq!(sent, not_carried, "{dialect:?} {mark}");
            }
        }
        let sent = rooms.send_frame(&room, address, |_| Some(r#"{"own":1}"#.to_owned()));
        assert_eq!(sent, Ok(()));
        let frame = client.receive_containing("own").await;
        assert_eq!(frame.as_deref(), Some(r#"{"own":1}"#), "{dialect:?}");
        assert_eq!(rooms.send_frame(&room, address, |_| None), not_carried);
        client.close().await;
    }
}

#[tokio::test]
async fn sessions_are_ended_by_identity_and_by_address() {
    let builder = Server::builder().on_connect(|request| async move {
        let query = request.uri.query().unwrap_or_default().to_owned();
        let name = query.split("user=").nth(1).unwrap_or("eve").to_owned();
        Ok(Admission::as_identity(name))
    });
    let server = TestServer::start(builder).expect("a server");
    let join = async |user: &str| {
        let path = format!("/signalingserver?room=r&user={user}");
        let frames: [&str; 0] = [];
        let joined = server.join_with("mesh", &path, &frames, "r").await;
        joined.expect("a member")
    };
    let (ada, eve) = (join("ada").await, join("eve").await);
    assert_eq!(eve.identity(), Some("eve"));
    let sessions = server.server().sessions();
    assert_eq!(sessions.end_identity("bob", "unknown"), 0);
    assert_eq!(sessions.end_identity("ada", "account closed"), 1);
    assert_eq!(
        ada.closed().await,
        Some((1008, "account closed".to_owned()))
    );
    let other = "192.0.2.1".parse().expect("an address");
    assert_eq!(sessions.end_address(other, "unknown"), 0);
    assert_eq!(
        sessions.end_address(server.address().ip(), "address blocked"),
        1
    );
    assert_eq!(
        eve.closed().await,
        Some((1008, "address blocked".to_owned()))
    );
    assert!(server.server().shutdown(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn the_router_without_page_probes_and_metrics_is_merged_into_an_app_that_has_its_own() {
    let builder = Server::builder()
        .without_page()
        .without_probes()
        .without_metrics();
    let server = builder.build().expect("valid settings");
    let own = || async { "own" };
    let app = Router::new()
        .route("/", get(own))
        .route("/healthz", get(own))
        .route("/readyz", get(own))
        .route("/metrics", get(own))
        .merge(server.router());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move { axum::serve(listener, app).await });
    for path in ["/", "/healthz", "/readyz", "/metrics"] {
        assert!(client::get(address, path).await.ends_with("own"), "{path}");
    }
    let style = client::get(address, "/style.css").await;
    assert!(style.starts_with("HTTP/1.1 404"), "{style}");
    let mut singo = client::Client::open(address, "/connect").await;
    assert_eq!(singo.next().await["type"], "notify-client-id");
}

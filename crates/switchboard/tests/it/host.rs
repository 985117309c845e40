//! The host program: nesting, hooks, and what it may do in rooms.

use axum::{Router, routing::get};
use serde_json::json;
use switchboard::{Address, Admission, MembershipChange, RoomId, Server, SpaceName, room};

use crate::client::{self, Client, PATIENCE, refused_status, request, serve, start};

#[tokio::test]
async fn nests_under_a_prefix_beside_the_host_programs_own_routes() {
    let server = Server::builder().build();
    let app = Router::new()
        .route("/own", get(|| async { "mine" }))
        .nest("/signaling", server.router());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move { axum::serve(listener, app).await });
    assert!(client::get(address, "/own").await.ends_with("mine"));
    let mut singo = Client::open(address, "/signaling/connect").await;
    assert_eq!(singo.next().await["type"], "notify-client-id");
    let page = client::get(address, "/signaling").await;
    assert!(
        page.contains("<base href=\"signaling/\">"),
        "the page finds its own files: {page}"
    );
    assert!(
        client::get(address, "/signaling/style.css")
            .await
            .starts_with("HTTP/1.1 200")
    );
}

#[tokio::test]
async fn hooks_decide_who_connects_and_who_joins() {
    let server = Server::builder()
        .on_connect(|request| async move {
            let token = request.uri.query().unwrap_or_default().to_owned();
            if token.contains("token=good") {
                Admission::as_identity("ada")
            } else {
                Admission::Deny
            }
        })
        .on_join(|request| async move {
            request.identity.as_deref() == Some("ada") && request.room.name.as_str() != "forbidden"
        })
        .build();
    let (_server, address) = serve(server);
    assert_eq!(refused_status(request(address, "/ws?token=bad")).await, 403);
    let mut ada = Client::open(address, "/ws?token=good").await;
    ada.send(r#"{"type":"join","roomID":"forbidden","senderID":"ada"}"#)
        .await;
    assert_eq!(ada.next().await["code"], "denied");
    ada.send(r#"{"type":"join","roomID":"open","senderID":"ada"}"#)
        .await;
    assert_eq!(ada.next().await["peers"], json!([]));
    // The same person comes again: the newer connection replaces the older one at once.
    let mut again = Client::open(address, "/ws?token=good").await;
    again
        .send(r#"{"type":"join","roomID":"open","senderID":"ada"}"#)
        .await;
    assert_eq!(again.next().await["peers"], json!([]));
    assert_eq!(ada.next().await["code"], "evicted");
    assert_eq!(ada.close_code().await, 1008);
}

#[tokio::test]
async fn the_host_program_sees_and_speaks() {
    let (server, address) = start("");
    let rooms = server.rooms();
    let mut changes = rooms.subscribe();
    let (mut ada, _) = Client::join(address, "r", "ada").await;
    let mut mesh = Client::open(address, "/signalingserver?room=r").await;
    for expected in ["lightstream", "mesh"] {
        match changes.recv().await.expect("a change") {
            MembershipChange::Joined { member, .. } => assert_eq!(member.dialect.name, expected),
            MembershipChange::Left { .. } => panic!("nobody has left"),
        }
    }
    let r = room("r").expect("a name");
    let address = |name: &str| Address::parse(name, 0).expect("a name");
    assert_eq!(rooms.list(), [(r.clone(), 2)]);
    assert_eq!(rooms.members(&r)[0].address.as_str(), "ada");
    assert!(rooms.members(&room("nowhere").expect("a name")).is_empty());

    assert_eq!(rooms.broadcast(&r, "closing soon"), 2);
    let told = ada.next_of("message").await;
    assert_eq!(
        (&told["senderID"], &told["data"]),
        (&json!("server"), &json!("closing soon"))
    );
    let told = mesh.next().await;
    assert_eq!(
        (&told["sender"], &told["content"]["message"]),
        (&json!("server"), &json!("closing soon"))
    );
    assert!(rooms.send(&r, &address("ada"), "you only"));
    assert!(!rooms.send(&r, &address("nobody"), "lost"));
    assert_eq!(ada.next().await["data"], "you only");

    assert!(!rooms.kick(&r, &address("nobody")));
    assert!(rooms.kick(&r, &address("ada")));
    assert_eq!(ada.close_code().await, 1008);
    assert_eq!(mesh.next().await["kind"], "DisconnectionNotification");
    let left = tokio::time::timeout(PATIENCE, changes.recv())
        .await
        .expect("in time")
        .expect("a change");
    assert!(matches!(left, MembershipChange::Left { .. }));
}

#[tokio::test]
async fn spaces_keep_rooms_of_one_name_apart() {
    let server = Server::builder()
        .on_connect(|request| async move {
            let space = request.uri.query().unwrap_or("none").to_owned();
            let space = SpaceName::parse(&space, 64).ok();
            Admission::Allow {
                identity: None,
                space,
            }
        })
        .build();
    let (server, address) = serve(server);
    let mut clients = Vec::new();
    for space in ["red", "blue"] {
        let mut client = Client::open(address, &format!("/ws?{space}")).await;
        client
            .send(r#"{"type":"join","roomID":"r","senderID":"ada"}"#)
            .await;
        assert_eq!(
            client.next().await["peers"],
            json!([]),
            "{space} is its own"
        );
        clients.push(client);
    }
    let red = RoomId::shared(
        SpaceName::parse("red", 0).expect("a name"),
        room("r").expect("a name").name,
    );
    assert_eq!(server.rooms().broadcast(&red, "hello"), 1);
    assert_eq!(clients[0].next().await["data"], "hello");
}

//! The API for host programs, which embed the server: routers under a prefix, hooks that admit or deny, events, and
//! actions in rooms.

use axum::{
    Router,
    extract::Request,
    http::StatusCode,
    middleware::{Next, from_fn},
    response::Response,
    routing::get,
};
use serde_json::{Value, json};
use switchboard::{
    Address, Admission, BuildError, Denial, Events, EvictionReason, LeaveCause, LeaveKind,
    RefusalReason, RoomId, SendError, Server, ServerEvent, SpaceName, room,
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::client::{self, Client, TEST_TIMEOUT, rejected_status, request, serve, start};

#[tokio::test]
async fn the_router_nests_under_a_prefix_beside_routes_of_the_host_program() {
    let server = Server::builder().build().expect("valid settings");
    let app = Router::new()
        .route("/own", get(|| async { "mine" }))
        .nest("/signaling", server.router())
        .nest_service("/slash", server.router());
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
        "the page has relative URLs: {page}"
    );
    let page = client::get(address, "/slash/").await;
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    assert!(
        client::get(address, "/signaling/style.css")
            .await
            .starts_with("HTTP/1.1 200")
    );
}

#[tokio::test]
async fn hooks_authorize_connections_and_joins() {
    let server = Server::builder()
        .on_connect(|request| async move {
            let token = request.uri.query().unwrap_or_default().to_owned();
            if token.contains("token=good") {
                Ok(Admission::as_identity("ada"))
            } else {
                Err(Denial::default())
            }
        })
        .on_join(|request| async move {
            assert_eq!(request.identity.as_deref(), Some("ada"));
            match request.room.name.as_str() {
                "forbidden" => Err(Denial::default()),
                _ => Ok(()),
            }
        })
        .build()
        .expect("valid settings");
    let (_server, address) = serve(server);
    assert_eq!(
        rejected_status(request(address, "/ws?token=bad")).await,
        403
    );
    let mut ada = Client::open(address, "/ws?token=good").await;
    ada.send(r#"{"type":"join","roomID":"forbidden","senderID":"ada"}"#)
        .await;
    assert_eq!(ada.next().await["code"], "denied");
    ada.send(r#"{"type":"join","roomID":"open","senderID":"ada"}"#)
        .await;
    assert_eq!(ada.next().await["peers"], json!([]));
    // A new connection of the same identity replaces the old one at once.
    let mut again = Client::open(address, "/ws?token=good").await;
    again
        .send(r#"{"type":"join","roomID":"open","senderID":"ada"}"#)
        .await;
    assert_eq!(again.next().await["peers"], json!([]));
    assert_eq!(ada.next().await["code"], "evicted");
    assert_eq!(ada.close_code().await, 1008);
}

#[tokio::test]
async fn the_host_program_observes_rooms_and_sends_messages() {
    let (server, address) = start("");
    let rooms = server.rooms();
    let mut events = server.events();
    let (mut ada, _) = Client::join(address, "r", "ada").await;
    let mut mesh = Client::open(address, "/signalingserver?room=r").await;
    for expected in ["lightstream", "mesh"] {
        let joined = next_change(&mut events).await;
        let ServerEvent::Joined { member, .. } = joined else {
            panic!("expected a join, received {joined:?}");
        };
        assert_eq!(member.dialect.name, expected);
    }
    let r = room("r").expect("a name");
    let member_address = |name: &str| Address::parse(name, 0).expect("a name");
    assert_eq!(rooms.list(), [(r.clone(), 2)]);
    assert_eq!(rooms.members(&r)[0].address.as_str(), "ada");
    assert!(rooms.members(&room("nowhere").expect("a name")).is_empty());

    assert_eq!(rooms.broadcast(&r, "closing soon"), 2);
    let message = ada.next_of("message").await;
    assert_eq!(
        (&message["senderID"], &message["data"]),
        (&json!("server"), &json!("closing soon"))
    );
    let message = mesh.next().await;
    assert_eq!(
        (&message["sender"], &message["content"]["message"]),
        (&json!("server"), &json!("closing soon"))
    );
    assert_eq!(rooms.send(&r, &member_address("ada"), "you only"), Ok(()));
    let unsent = rooms.send(&r, &member_address("absent"), "lost");
    assert_eq!(unsent, Err(SendError::NoSuchMember));
    assert_eq!(ada.next().await["data"], "you only");

    assert!(!rooms.kick(&r, &member_address("absent"), "unknown"));
    assert!(rooms.kick(&r, &member_address("ada"), "Be polite."));
    assert_eq!(ada.close_frame().await, (1008, "Be polite.".to_owned()));
    assert_eq!(mesh.next().await["kind"], "DisconnectionNotification");
    let left = next_change(&mut events).await;
    let ServerEvent::Left { member, cause, .. } = left else {
        panic!("expected a leave, received {left:?}");
    };
    assert_eq!(member.address, member_address("ada"));
    assert_eq!(cause, LeaveCause::Evicted(EvictionReason::Kicked));
}

/// The next join or leave.
async fn next_change(events: &mut Events) -> ServerEvent {
    loop {
        let event = next_event(events).await;
        if let ServerEvent::Joined { .. } | ServerEvent::Left { .. } = event {
            return event;
        }
    }
}

async fn next_event(events: &mut Events) -> ServerEvent {
    let event = tokio::time::timeout(TEST_TIMEOUT, events.recv()).await;
    event.expect("an event in time").expect("a server")
}

#[tokio::test]
async fn rooms_of_the_same_name_in_different_spaces_are_separate() {
    let server = Server::builder()
        .on_connect(|request| async move {
            let space = request.uri.query().unwrap_or("none").to_owned();
            let space = SpaceName::parse(&space, 64).expect("a name");
            Ok(Admission::anonymous().in_space(space))
        })
        .build()
        .expect("valid settings");
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
            "the room in {space} is empty"
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

/// The client disconnects before it gets the response, so the upgrade is not completed.
#[tokio::test]
async fn a_connection_whose_upgrade_fails_has_no_event() {
    let server = server_with_users();
    let mut events = server.events();
    let (accepted, mut is_accepted) = tokio::sync::mpsc::channel(1);
    let without_response = from_fn(move |request: Request, next: Next| {
        let accepted = accepted.clone();
        async move {
            let response = next.run(request).await;
            let is_sent = accepted.try_send(response.status());
            is_sent.expect("the test waits");
            std::future::pending::<Response>().await
        }
    });
    let app = Router::new()
        .nest("/silent", server.router().layer(without_response))
        .merge(server.router());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move { axum::serve(listener, app).await });
    let mut client = TcpStream::connect(address).await.expect("a connection");
    let handshake = "GET /silent/ws?user=ada HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
        Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    client.write_all(handshake.as_bytes()).await.expect("sent");
    let status = is_accepted.recv().await;
    assert_eq!(status, Some(StatusCode::SWITCHING_PROTOCOLS));
    drop(client);
    assert_eq!(rejected_status(request(address, "/ws")).await, 401);
    let event = next_event(&mut events).await;
    assert!(matches!(event, ServerEvent::Refused { .. }), "{event:?}");
}

#[derive(Debug, PartialEq)]
struct ContextUser {
    name: &'static str,
    is_staff: bool,
}

/// A server that knows two users by `?user=` and lets only staff into the room `staff`.
fn server_with_users() -> Server {
    let builder = Server::builder().on_connect(|request| async move {
        let user = match request.uri.query().unwrap_or_default() {
            query if query.contains("user=ada") => ContextUser {
                name: "ada",
                is_staff: true,
            },
            query if query.contains("user=bob") => ContextUser {
                name: "bob",
                is_staff: false,
            },
            _ => {
                let denial = Denial::new("Sign in first.");
                return Err(denial.with_status(StatusCode::UNAUTHORIZED));
            }
        };
        Ok(Admission::as_identity(user.name).with_context(user))
    });
    let builder = builder.on_join(|request| async move {
        let user = request.context.get::<ContextUser>().expect("a user");
        assert_eq!(request.identity.as_deref(), Some(user.name));
        let is_open = !["staff", "peerjs"].contains(&request.room.name.as_str());
        match user.is_staff || is_open {
            true => Ok(()),
            false => Err(Denial::new("Staff only.")),
        }
    });
    builder.build().expect("valid settings")
}

#[tokio::test]
async fn a_denied_connect_has_the_status_and_the_text_of_the_hook() {
    let (_server, address) = serve(server_with_users());
    for path in ["/ice-servers", "/peerjs/id"] {
        let response = client::get(address, path).await;
        assert!(response.starts_with("HTTP/1.1 401"), "{path}: {response}");
        let text = "\r\n\r\nSign in first.\n";
        assert!(response.ends_with(text), "{path}: {response}");
    }
    assert_eq!(rejected_status(request(address, "/ws?user=eve")).await, 401);
}

#[tokio::test]
async fn a_denied_join_shows_the_text_of_the_hook_in_every_dialect_with_error_texts() {
    let (_server, address) = serve(server_with_users());
    let mut ada = Client::open(address, "/ws?user=ada").await;
    ada.send(r#"{"type":"join","roomID":"staff","senderID":"ada"}"#)
        .await;
    assert_eq!(ada.next().await["peers"], json!([]));
    for (path, frames, pointer) in [
        (
            "/ws?user=bob",
            &[r#"{"type":"join","roomID":"staff","senderID":"bob"}"#][..],
            "/data",
        ),
        (
            "/connect?user=bob",
            &[r#"{"type":"join","payload":{"room_id":"staff"}}"#],
            "/payload/error",
        ),
        (
            "/signalingserver?room=staff&user=bob",
            &[],
            "/content/message",
        ),
        (
            "/ws?dialect=p2p&user=bob",
            &[
                r#"{"type":"IDENTIFY","username":"bob"}"#,
                r#"{"type":"JOIN_ROOM","roomId":"staff"}"#,
            ],
            "/message",
        ),
        (
            "/signaling?user=bob",
            &[r#"{"type":"register","roomId":"staff","clientId":"bob"}"#],
            "/reason",
        ),
        (
            "/peerjs?key=peerjs&id=bob&token=t&user=bob",
            &[],
            "/payload/msg",
        ),
    ] {
        let mut bob = Client::open(address, path).await;
        for frame in frames {
            bob.send(frame).await;
        }
        let mut seen = Vec::new();
        while seen
            .last()
            .is_none_or(|frame: &Value| frame.pointer(pointer) != Some(&json!("Staff only.")))
        {
            assert!(seen.len() < 4, "{path}: no denial text in {seen:?}");
            seen.push(bob.next().await);
        }
    }
}

#[tokio::test]
async fn settings_that_contradict_each_other_build_no_server() {
    let config = client::config("[limits]\nroom_members = 1\n");
    let error = Server::builder()
        .config(config)
        .build()
        .expect_err("a room for one member cannot hold a call of two");
    let text = error.to_string();
    assert!(text.contains("limits.room_members"), "{text}");
    assert!(matches!(error, BuildError::Config(errors) if errors.len() == 1));
}

#[tokio::test]
async fn events_report_connections_refusals_and_memberships_with_the_context() {
    let (server, address) = serve(server_with_users());
    let mut events = server.events();
    assert_eq!(rejected_status(request(address, "/ws")).await, 401);
    let refused = next_event(&mut events).await;
    let ServerEvent::Refused {
        address: from,
        reason,
        count,
    } = refused
    else {
        panic!("expected a refusal, received {refused:?}");
    };
    assert_eq!(from, Some(address.ip()));
    assert_eq!((reason, count), (RefusalReason::Denied, 1));

    let mut ada = Client::open(address, "/ws?user=ada").await;
    let connected = next_event(&mut events).await;
    let ServerEvent::Connected(client) = connected else {
        panic!("expected a connection, received {connected:?}");
    };
    assert_eq!(client.dialect, "undetected");
    assert_eq!(
        client.context.get::<ContextUser>().map(|user| user.name),
        Some("ada")
    );
    ada.send(r#"{"type":"join","roomID":"staff","senderID":"ada"}"#)
        .await;
    ada.close().await;
    let joined = next_event(&mut events).await;
    let ServerEvent::Joined {
        member, context, ..
    } = joined
    else {
        panic!("expected a join, received {joined:?}");
    };
    assert_eq!(member.peer, client.session);
    assert!(
        context
            .get::<ContextUser>()
            .is_some_and(|user| user.is_staff)
    );
    let left = next_event(&mut events).await;
    let ServerEvent::Left {
        member,
        cause,
        context,
        ..
    } = left
    else {
        panic!("expected a leave, received {left:?}");
    };
    assert_eq!(member.peer, client.session);
    assert_eq!(cause, LeaveCause::Requested(LeaveKind::Announced));
    assert!(context.get::<ContextUser>().is_some());
    let ended = next_event(&mut events).await;
    let ServerEvent::Disconnected {
        client: ended,
        code,
        reason,
        ..
    } = ended
    else {
        panic!("expected the end of the connection, received {ended:?}");
    };
    assert_eq!(
        (ended.session, ended.dialect),
        (client.session, "lightstream")
    );
    assert_eq!(ended.address, Some(address.ip()));
    assert_eq!(ended.identity.as_deref(), Some("ada"));
    assert!(ended.context.get::<ContextUser>().is_some());
    assert_eq!((code, &*reason), (None, "closed by the client"));
}

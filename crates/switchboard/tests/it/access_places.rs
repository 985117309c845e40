//! The places of credentials, at the socket: every dialect without a token, with a wrong one and with a right one.

use std::{net::SocketAddr, time::SystemTime};

use switchboard::{Admission, ConnectRequest, Denial, Identity, Server, SessionInfo};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::client::{Client, config, get, open, rejected_status, request, start};

const ACCESS: &str = r#"
[access]
authenticators = ["keys"]
keys = [{ key = "key-of-ada-000000", subject = "ada", grants = ["*:team-*", "*:peerjs"] }, { key = "narrow-key-of-ada", subject = "ada", grants = ["*:other"] }, { key = "key-of-bob-000000", subject = "bob" }]
[peerjs]
token_is_credential = true
allow_discovery = "*"
"#;

/// The paths of the dialects whose own place is in the query; `TOKEN` stands for the credential.
const IN_THE_QUERY: [&str; 4] = [
    "/signalingserver?room=team-a&token=TOKEN",
    "/matchbox/team-a?token=TOKEN",
    "/y-webrtc?token=TOKEN",
    "/peerjs?key=peerjs&id=a&token=TOKEN",
];

fn with_token(path: &str, token: &str) -> String {
    path.replace("TOKEN", token)
}

#[tokio::test]
async fn dialects_read_a_credential_from_their_query() {
    let (_server, address) = start(ACCESS);
    for path in IN_THE_QUERY {
        let (wrong, none) = (with_token(path, "key-of-eve-000000"), with_token(path, ""));
        assert_eq!(
            rejected_status(request(address, &wrong)).await,
            401,
            "{path}"
        );
        assert_eq!(
            rejected_status(request(address, &none)).await,
            401,
            "{path}"
        );
        let right = with_token(path, "key-of-ada-000000");
        drop(Client::open(address, &right).await);
        let general = format!("{wrong}&access_token=key-of-ada-000000");
        drop(Client::open(address, &general).await);
    }
}

#[tokio::test]
async fn random_token_of_peerjs_is_no_credential_unless_it_is_set() {
    let settings = ACCESS.replace("token_is_credential = true", "");
    let (_server, address) = start(&settings);
    let path = "/peerjs?key=peerjs&id=a&token=key-of-ada-000000";
    assert_eq!(rejected_status(request(address, path)).await, 401);
    let general = "/peerjs?key=peerjs&id=a&token=random&access_token=key-of-ada-000000";
    let mut client = Client::open(address, general).await;
    assert_eq!(client.next().await["type"], "OPEN");
}

#[tokio::test]
async fn own_place_is_that_of_the_chosen_dialect() {
    let (_server, address) = start(ACCESS);
    let path = "/ws?dialect=mesh&room=team-a&token=key-of-ada-000000";
    drop(Client::open(address, path).await);
    assert_eq!(get_status(address, "/peerjs/peers").await, 401);
    let peers = "/peerjs/peers?token=key-of-ada-000000";
    assert_eq!(get_status(address, peers).await, 200);
}

async fn get_status(address: SocketAddr, path: &str) -> u16 {
    let response = get(address, path).await;
    let status = response
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    status.expect("a status")
}

#[tokio::test]
async fn answers_that_disclose_nothing_need_no_credential() {
    let (_server, address) = start(ACCESS);
    for path in ["/.ok", "/y-webrtc", "/peerjs/id"] {
        assert_eq!(get_status(address, path).await, 200, "{path}");
        let wrong = format!("{path}?access_token=key-of-eve-000000");
        assert_eq!(get_status(address, &wrong).await, 401, "{path}");
    }
}

#[tokio::test]
async fn subprotocol_with_a_token_is_never_selected() {
    let (_server, address) = start(ACCESS);
    for (offers, selected) in [
        ("switchboard.token.key-of-ada-000000", None),
        (
            "switchboard.token.key-of-ada-000000, switchboard",
            Some("switchboard"),
        ),
        (
            "switchboard.mesh, switchboard.token.key-of-ada-000000",
            Some("switchboard.mesh"),
        ),
    ] {
        let response = upgrade_response(address, offers).await;
        assert!(response.starts_with("HTTP/1.1 101 "), "{response}");
        let lines = response.lines();
        let mut found = lines.filter_map(|line| line.strip_prefix("sec-websocket-protocol: "));
        assert_eq!(found.next(), selected, "{offers}");
    }
}

/// The response to an upgrade with these subprotocols, without what follows its head.
async fn upgrade_response(address: SocketAddr, offers: &str) -> String {
    let head = format!(
        "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: {offers}\r\n\r\n"
    );
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream
        .write_all(head.as_bytes())
        .await
        .expect("the server reads");
    let mut response = Vec::new();
    while !response.ends_with(b"\r\n\r\n") {
        response.push(stream.read_u8().await.expect("a head"));
    }
    String::from_utf8(response).expect("text")
}

/// The path and the first frame of each dialect that may carry its credential in it, and the type of the answer.
const IN_THE_FIRST_FRAME: [(&str, &str, &str); 7] = [
    (
        "/ws",
        r#"{"type":"join","roomID":"team-a","senderID":"a","token":"TOKEN"}"#,
        "peers",
    ),
    (
        "/ws?dialect=lightstream",
        r#"{"type":"join","roomID":"team-a","senderID":"b","token":"TOKEN"}"#,
        "peers",
    ),
    (
        "/ws",
        r#"{"type":"IDENTIFY","username":"c","token":"TOKEN"}"#,
        "AUTH_SUCCESS",
    ),
    (
        "/ws?dialect=p2p",
        r#"{"type":"IDENTIFY","username":"d","token":"TOKEN"}"#,
        "AUTH_SUCCESS",
    ),
    (
        "/signaling",
        r#"{"type":"register","roomId":"team-b","key":"TOKEN"}"#,
        "accept",
    ),
    (
        "/signaling",
        r#"{"type":"register","roomId":"team-c","signalingKey":"TOKEN"}"#,
        "accept",
    ),
    (
        "/signaling",
        r#"{"type":"register","roomId":"team-d","authnMetadata":{"token":"TOKEN"}}"#,
        "accept",
    ),
];

#[tokio::test]
async fn first_frame_carries_the_credential() {
    let (server, address) = start(ACCESS);
    for (path, frame, answer) in IN_THE_FIRST_FRAME {
        let mut client = Client::open(address, path).await;
        client.send(&with_token(frame, "key-of-ada-000000")).await;
        let received = client.next_of(answer).await;
        assert_eq!(received["type"], answer, "{frame}");
        let sessions = server.sessions().list();
        let is_ada = |session: &SessionInfo| session.identity == Identity::Proven("ada".into());
        assert!(sessions.iter().any(is_ada), "{sessions:?}");
    }
}

#[tokio::test]
async fn connection_without_a_valid_credential_in_its_first_frame_is_closed() {
    let (_server, address) = start(ACCESS);
    for (path, frame, _) in IN_THE_FIRST_FRAME {
        for token in ["", "key-of-eve-000000"] {
            let mut client = Client::open(address, path).await;
            client.send(&with_token(frame, token)).await;
            let error = client.next().await.to_string();
            let is_error = ["error", "AUTH_ERROR", "reject"];
            assert!(is_error.iter().any(|kind| error.contains(kind)), "{error}");
            let close = client.close_frame().await;
            assert_eq!(
                close,
                (4401, "a valid access token is required".into()),
                "{frame}"
            );
        }
    }
}

#[tokio::test]
async fn dialects_without_a_place_in_their_first_frame_need_a_credential_in_the_request() {
    let (_server, address) = start(ACCESS);
    for path in ["/ws?dialect=mesh", "/y-webrtc", "/matchbox", "/peerjs"] {
        assert_eq!(rejected_status(request(address, path)).await, 401, "{path}");
    }
    // On a shared path the first frame shows the dialect.
    let mut client = Client::open(address, "/ws").await;
    client
        .send(r#"{"kind":"IdentifySelf","token":"key-of-ada-000000"}"#)
        .await;
    assert_eq!(client.close_code().await, 4401);
}

#[tokio::test]
async fn wrong_credential_in_the_request_is_refused_before_the_first_frame() {
    let (_server, address) = start(ACCESS);
    let path = "/ws?access_token=key-of-eve-000000";
    assert_eq!(rejected_status(request(address, path)).await, 401);
}

#[tokio::test]
async fn anonymous_client_may_still_authenticate_itself_by_its_first_frame() {
    let settings = ACCESS.replace(
        r#"authenticators = ["keys"]"#,
        "authenticators = [\"keys\", \"none\"]\nanonymous_grants = [\"*:lobby\"]",
    );
    let (_server, address) = start(&settings);
    let join = |room: &str, token: &str| {
        format!(r#"{{"type":"join","roomID":"{room}","senderID":"a"{token}}}"#)
    };
    let ada = r#","token":"key-of-ada-000000""#;
    let mut anonymous = Client::open(address, "/ws").await;
    anonymous.send(&join("team-a", "")).await;
    assert_eq!(anonymous.next().await["code"], "denied");
    anonymous.send(&join("lobby", "")).await;
    assert_eq!(anonymous.next().await["type"], "peers");
    let mut member = Client::open(address, "/ws").await;
    member.send(&join("team-a", ada)).await;
    assert_eq!(member.next().await["type"], "peers");
    let mut wrong = Client::open(address, "/ws").await;
    wrong
        .send(&join("lobby", r#","token":"key-of-eve-000000""#))
        .await;
    assert_eq!(wrong.close_code().await, 4401);
}

#[tokio::test]
async fn renewal_with_narrower_grants_leaves_the_room() {
    let (_server, address) = start(ACCESS);
    let join = |id: &str| {
        format!(
            r#"{{"type":"join","roomID":"team-a","senderID":"{id}","token":"key-of-ada-000000"}}"#
        )
    };
    let renewal = |token: &str| format!(r#"{{"type":"authenticate","token":"{token}"}}"#);
    let mut other = Client::open(address, "/ws").await;
    other.send(&join("b")).await;
    assert_eq!(other.next().await["type"], "peers");
    let mut member = Client::open(address, "/ws?access_token=key-of-ada-000000").await;
    member.send(&join("a")).await;
    assert_eq!(member.next().await["type"], "peers");
    assert_eq!(other.next().await["type"], "user-joined");
    member.send(&renewal("key-of-ada-000000")).await;
    assert_eq!(member.next().await["type"], "authenticated");
    member.send(&renewal("key-of-bob-000000")).await;
    assert_eq!(
        member.next().await["code"],
        "denied",
        "the token of another user"
    );
    member.send(&renewal("narrow-key-of-ada")).await;
    assert_eq!(member.next().await["type"], "authenticated");
    assert_eq!(
        member.next().await["code"],
        "denied",
        "it may not be in the room"
    );
    assert_eq!(other.next().await["type"], "user-left");
}

#[tokio::test]
async fn session_ends_when_its_access_expires() {
    let expires_at = unix_secs() + 1;
    let hook = move |_: ConnectRequest| async move {
        Ok::<_, Denial>(Admission::anonymous().expiring_at(expires_at))
    };
    let (_server, address) = open(Server::builder().on_connect(hook));
    let (mut client, _) = Client::join(address, "r", "a").await;
    let error = client.next().await;
    assert_eq!(error["data"], "The access token has expired.", "{error}");
    let close = client.close_frame().await;
    assert_eq!(close, (4401, "the access token has expired".into()));
    assert!(unix_secs() >= expires_at);
}

fn unix_secs() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed();
    since.expect("a clock").as_secs()
}

#[tokio::test]
async fn connect_hook_is_asked_about_the_client_of_a_first_frame() {
    let hook = |request: ConnectRequest| async move {
        let subject = request.principal.subject.expect("an authenticated client");
        assert_eq!(request.uri.path(), "/ws");
        match &*subject {
            "ada" => Ok(Admission::as_identity("ada of the host")),
            _ => Err(Denial::new("Not today.")),
        }
    };
    let builder = Server::builder().config(config(ACCESS)).on_connect(hook);
    let (server, address) = open(builder);
    let frame = IN_THE_FIRST_FRAME[0].1;
    let mut ada = Client::open(address, "/ws").await;
    ada.send(&with_token(frame, "key-of-ada-000000")).await;
    assert_eq!(ada.next().await["type"], "peers");
    let identity = Identity::Proven("ada of the host".into());
    assert_eq!(server.sessions().list()[0].identity, identity);
    let mut bob = Client::open(address, "/ws").await;
    bob.send(&with_token(frame, "key-of-bob-000000")).await;
    assert_eq!(bob.next().await["data"], "Not today.");
    assert_eq!(bob.close_frame().await, (4403, "access denied".into()));
}

//! The places of credentials, at the socket: every dialect without a token, with a wrong one and with a right one.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::client::{Client, get, rejected_status, request, start};

const ACCESS: &str = r#"
[access]
authenticators = ["keys"]
keys = [{ key = "key-of-ada-000000", subject = "ada", grants = ["*:team-*", "*:peerjs"] }]
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

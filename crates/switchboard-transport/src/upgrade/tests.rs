use super::*;

/// The example of RFC 6455, section 1.2.
const GOOD: [(&str, &str); 4] = [
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pairs = pairs.iter().map(|(name, value)| {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        (name, HeaderValue::from_str(value).unwrap())
    });
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(name, value);
    }
    headers
}

/// The headers of a valid handshake, with some of them replaced, or removed if the value is `-`.
fn with(pairs: &[(&str, &str)]) -> HeaderMap {
    let is_replaced = |name: &str| pairs.iter().any(|(other, _)| *other == name);
    let mut all: Vec<_> = GOOD.into_iter().collect();
    all.retain(|(name, _)| !is_replaced(name));
    all.extend(pairs.iter().filter(|(_, value)| *value != "-"));
    headers(&all)
}

#[test]
fn the_example_of_the_rfc_is_accepted() {
    let accept = accept_of(&headers(&GOOD)).expect("a handshake");
    assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#[test]
fn lists_may_be_split_over_several_headers() {
    for pairs in [
        &[("connection", "keep-alive"), ("connection", "Upgrade")][..],
        &[("connection", "Upgrade"), ("connection", "close")],
        &[("connection", "keep-alive, ,UPGRADE")],
        &[("upgrade", "h2c"), ("upgrade", "WebSocket")],
        &[("upgrade", "h2c,websocket")],
    ] {
        assert!(accept_of(&with(pairs)).is_ok(), "{pairs:?}");
    }
}

#[test]
fn an_invalid_handshake_is_rejected_with_its_error() {
    use HandshakeError as Error;
    for (name, value, error, status) in [
        ("connection", "-", Error::Connection, 400),
        ("connection", "keep-alive", Error::Connection, 400),
        ("connection", "not-upgrade", Error::Connection, 400),
        ("upgrade", "-", Error::Upgrade, 400),
        ("upgrade", "h2c", Error::Upgrade, 400),
        ("sec-websocket-version", "-", Error::Version, 426),
        ("sec-websocket-version", "8", Error::Version, 426),
        ("sec-websocket-key", "-", Error::Key, 400),
        ("sec-websocket-key", "", Error::Key, 400),
        (
            "sec-websocket-key",
            "dGhlIHNhbXBsZSBub25jZQ",
            Error::Key,
            400,
        ),
        (
            "sec-websocket-key",
            "dGhlIHNhbXBsZSBub2=====!",
            Error::Key,
            400,
        ),
    ] {
        let refused = accept_of(&with(&[(name, value)]));
        assert_eq!(refused, Err(error), "{name}: {value}");
        let response = error.into_response();
        assert_eq!(response.status().as_u16(), status, "{name}: {value}");
        let version = response.headers().get("sec-websocket-version");
        assert_eq!(version.is_some(), error == Error::Version);
    }
    let two = [GOOD[3], ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==")];
    assert_eq!(accept_of(&with(&two)), Err(Error::Key));
    assert_eq!(
        check_request(&Method::POST, Version::HTTP_11),
        Err(Error::Method)
    );
    assert_eq!(
        check_request(&Method::GET, Version::HTTP_10),
        Err(Error::HttpVersion)
    );
    assert_eq!(Error::Method.into_response().headers()["allow"], "GET");
}

#[test]
fn offers_are_read_in_order_from_all_headers() {
    let headers = headers(&[
        ("sec-websocket-protocol", "auth, ,tok"),
        ("sec-websocket-protocol", "not a token,switchboard.mesh"),
    ]);
    assert_eq!(offers(&headers), ["auth", "tok", "switchboard.mesh"]);
}

/// A host program, which embeds the library, may serve connections on a stream of its own type.
#[tokio::test]
async fn a_connection_on_any_stream_is_upgraded_and_loses_no_frame() {
    use crate::frame::{Decoded, WebSocketMessage};
    use axum::{Router, routing::get};
    use hyper_util::{rt::TokioIo, service::TowerToHyperService};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let handler = |upgrade: Upgrade| async {
        let (response, connecting) = upgrade.choose_first().accept(0);
        tokio::spawn(async {
            let mut socket = connecting.socket().await.expect("an upgrade");
            let received = socket.receive().await;
            let text = WebSocketMessage::Text("early".into());
            assert_eq!(received, Ok(Decoded::Message(text.clone())));
            socket.send(text).await.expect("the client reads");
        });
        response
    };
    let (mut client, server) = tokio::io::duplex(1000);
    let service = TowerToHyperService::new(Router::new().route("/", get(handler)));
    let http = hyper::server::conn::http1::Builder::new();
    let connection = http.serve_connection(TokioIo::new(server), service);
    tokio::spawn(connection.with_upgrades());
    let head = "GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Protocol: a, b\r\n\r\n";
    // The frame arrives together with the handshake.
    let bytes = [head.as_bytes(), b"\x81\x85\0\0\0\0early"].concat();
    client.write_all(&bytes).await.expect("room");
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.expect("an end");
    assert!(answer.ends_with(b"\r\n\r\n\x81\x05early"), "{answer:?}");
    let head = String::from_utf8_lossy(&answer);
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert!(head.contains("sec-websocket-protocol: a\r\n"), "{head}");
}

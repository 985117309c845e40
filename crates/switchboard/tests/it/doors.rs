//! The dialects that answer plain requests, or have a listener of their own.

use std::net::SocketAddr;

use switchboard::{Listener, Server};

use crate::client::{Client, get, http, refused_status, request, start};

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").expect("a head").1
}

/// A listener on which this dialect is alone.
fn alone(server: &Server, dialect: &str) -> SocketAddr {
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let address = listener.address();
    assert!(server.serve_dialect(listener, dialect));
    address
}

/// A peer of this id, which the server has let in.
async fn peer(address: SocketAddr, id: &str, token: &str) -> Client {
    let (client, first) = knock(address, id, token).await;
    assert_eq!(first, "OPEN");
    client
}

/// A client that wants this id, and what it is told first.
async fn knock(address: SocketAddr, id: &str, token: &str) -> (Client, String) {
    let path = format!("/peerjs?key=peerjs&id={id}&token={token}");
    let mut client = Client::open(address, &path).await;
    let first = client.next().await["type"]
        .as_str()
        .expect("a type")
        .to_owned();
    (client, first)
}

#[tokio::test]
async fn peerjs_gives_ids_to_pages_of_every_origin() {
    let (_server, address) = start("");
    let head = "GET /peerjs/id?ts=17 HTTP/1.1\r\nHost: x\r\nOrigin: http://page\r\nConnection: close\r\n\r\n";
    let answer = http(address, head).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let lower = answer.to_ascii_lowercase();
    assert!(
        lower.contains("access-control-allow-origin: http://page"),
        "{answer}"
    );
    assert!(lower.contains("content-type: text/html"), "{answer}");
    assert_eq!(body(&answer).len(), 36, "{answer}");
    let wrong = get(address, "/wrong/id").await;
    assert!(wrong.starts_with("HTTP/1.1 401"), "{wrong}");
}

/// The status of a request of a page of another origin, and the head of the answer in small letters.
async fn cross_origin(address: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nOrigin: https://page.example\r\n\
         Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n"
    );
    let answer = http(address, &head).await;
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    let (head, _) = answer.split_once("\r\n\r\n").expect("a head");
    (status.expect("a status"), head.to_ascii_lowercase())
}

const ALLOWED: &str = "access-control-allow-origin: https://page.example";

#[tokio::test]
async fn every_plain_answer_of_peerjs_is_readable_for_other_origins() {
    let (server, address) = start("[peerjs]\npaths = [\"/\", \"/myapp\"]\n");
    let alone = alone(&server, "peerjs");
    for (address, method, path, expected) in [
        (address, "GET", "/peerjs/id", 200),
        (address, "GET", "/peerjs/id/", 200),
        (address, "GET", "/peerjs/peers/", 401),
        (address, "GET", "/myapp", 200),
        (address, "GET", "/myapp/", 200),
        (address, "GET", "/myapp/peerjs/id/", 200),
        (address, "POST", "/peerjs/id", 405),
        (address, "POST", "/peerjs/ann/token/id?i=0", 404),
        (address, "POST", "/myapp/peerjs/ann/token/offer", 404),
        (alone, "GET", "/", 200),
        (alone, "POST", "/peerjs/ann/token/candidate", 404),
    ] {
        let (status, head) = cross_origin(address, method, path).await;
        assert_eq!(status, expected, "{method} {path}");
        assert!(head.contains(ALLOWED), "{method} {path}: {head}");
        assert!(!head.contains("credentials"), "{method} {path}: {head}");
        let (status, head) = cross_origin(address, "OPTIONS", path).await;
        assert_eq!(status, 204, "{path}");
        for allows in [
            ALLOWED,
            "-methods: get, head, post",
            "-headers: content-type",
        ] {
            assert!(head.contains(allows), "{path}: {head}");
        }
    }
}

#[tokio::test]
async fn no_other_signaling_path_is_readable_for_other_origins() {
    let (_server, address) = start("");
    for path in [
        "/",
        "/healthz",
        "/readyz",
        "/metrics",
        "/ws",
        "/connect",
        "/signaling",
        "/.ok",
        "/y-webrtc",
        "/matchbox/room",
        "/peerjs",
        "/nothing",
        "/peerjs/ann/token/other",
    ] {
        for method in ["GET", "POST", "OPTIONS"] {
            let (_, head) = cross_origin(address, method, path).await;
            assert!(!head.contains("access-control"), "{method} {path}: {head}");
        }
    }
}

#[tokio::test]
async fn peerjs_answers_are_readable_for_the_listed_origins_only() {
    for (origins, is_readable) in [
        ("https://other.example", false),
        ("https://other.example,https://page.example", true),
    ] {
        let (_server, address) = start(&format!("[peerjs]\ncors_origins = \"{origins}\"\n"));
        for (method, expected) in [("GET", 200), ("OPTIONS", 204)] {
            let (status, head) = cross_origin(address, method, "/peerjs/id").await;
            assert_eq!(status, expected, "{origins}");
            assert_eq!(head.contains(ALLOWED), is_readable, "{origins}: {head}");
            assert!(
                head.contains("vary: origin") || method == "OPTIONS",
                "{head}"
            );
        }
    }
}

#[tokio::test]
async fn peerjs_lists_ids_where_that_is_allowed() {
    let (_server, address) =
        start("[peerjs]\nkeys = \"peerjs,open\"\nallow_discovery = \"peerjs\"\n");
    let _ann = peer(address, "ann", "t").await;
    let answer = get(address, "/peerjs/peers").await;
    assert_eq!(body(&answer), r#"["ann"]"#, "{answer}");
    let answer = get(address, "/open/peers").await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}

#[tokio::test]
async fn peerjs_alone_answers_who_it_is() {
    let (server, _) = start("");
    let alone = alone(&server, "peerjs");
    let answer = get(alone, "/").await;
    assert!(body(&answer).contains("PeerJS Server"), "{answer}");
    assert!(get(alone, "/peerjs/id").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn an_id_is_free_when_the_kernel_reports_the_end_of_its_connection() {
    let (_server, address) = start("");
    for token in ["t0", "t1", "t2", "t3"] {
        let ann = peer(address, "ann", token).await;
        match token {
            "t0" => drop(ann),
            "t1" => ann.reset(),
            _ => ann.close().await,
        }
        // A challenge waits until the end is seen; the next token is another.
    }
}

#[tokio::test]
async fn the_id_of_a_silent_client_is_kept_for_its_token() {
    let (_server, address) = start("");
    let silent = peer(address, "ann", "t").await;
    let (_, told) = knock(address, "ann", "other").await;
    assert_eq!(told, "ID-TAKEN");
    let _again = peer(address, "ann", "t").await;
    drop(silent);
}

#[tokio::test]
async fn y_webrtc_answers_okay_and_upgrades_on_any_path_of_its_own() {
    let (server, address) = start("");
    let alone = alone(&server, "y-webrtc");
    for path in ["/y-webrtc", "/y-webrtc/", "/y-webrtc/a/b/"] {
        assert_eq!(body(&get(address, path).await), "okay", "{path}");
    }
    let mut slashed = Client::open(address, "/y-webrtc/").await;
    slashed.send(r#"{"type":"ping"}"#).await;
    assert_eq!(slashed.next().await["type"], "pong");
    for path in ["/", "/any/path"] {
        assert_eq!(body(&get(alone, path).await), "okay", "{path}");
        let mut client = Client::open(alone, path).await;
        client.send(r#"{"type":"ping"}"#).await;
        assert_eq!(client.next().await["type"], "pong", "{path}");
    }
}

#[tokio::test]
async fn matchbox_rooms_are_paths() {
    let (server, address) = start("");
    let alone = alone(&server, "matchbox");
    let mut ann = Client::open(address, "/matchbox/chess").await;
    let mut ben = Client::open(alone, "/chess").await;
    let mut cyd = Client::open(alone, "/chess?next=2").await;
    for client in [&mut ann, &mut ben, &mut cyd] {
        assert!(client.next().await["IdAssigned"].is_string());
    }
    assert!(ann.next().await["NewPeer"].is_string());
    assert!(get(alone, "/health").await.starts_with("HTTP/1.1 200"));
    assert_eq!(refused_status(request(alone, "/two/levels")).await, 404);
}

#[tokio::test]
async fn ayame_says_that_it_is_well() {
    let (server, address) = start("");
    let alone = alone(&server, "ayame");
    for address in [address, alone] {
        assert!(get(address, "/.ok").await.starts_with("HTTP/1.1 200"));
        let mut client = Client::open(address, "/signaling").await;
        client
            .send(r#"{"type":"register","roomId":"r","key":"k"}"#)
            .await;
        let accept = client.next_of("accept").await;
        assert_eq!(accept["isExistUser"], false, "{accept}");
        client.close().await;
    }
}

//! The HTTP endpoints of dialects, and listeners of one dialect.

use std::net::SocketAddr;

use switchboard::{Listener, Server};

use crate::client::{Client, get, http, rejected_status, request, start};

fn body(response: &str) -> &str {
    response.split_once("\r\n\r\n").expect("a head").1
}

/// Starts a listener that serves only this dialect.
fn serve_one_dialect(server: &Server, dialect: &str) -> SocketAddr {
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let address = listener.address();
    assert!(server.serve_dialect(listener, dialect));
    address
}

/// Connects a peer with this id; the server must accept it.
async fn accepted_peer(address: SocketAddr, id: &str, token: &str) -> Client {
    let (client, first) = connect_peer(address, id, token).await;
    assert_eq!(first, "OPEN");
    client
}

/// Connects a client that requests this id. Returns the type of the first frame.
async fn connect_peer(address: SocketAddr, id: &str, token: &str) -> (Client, String) {
    let path = format!("/peerjs?key=peerjs&id={id}&token={token}");
    let mut client = Client::open(address, &path).await;
    let first = client.next().await["type"]
        .as_str()
        .expect("a type")
        .to_owned();
    (client, first)
}

#[tokio::test]
async fn peerjs_assigns_ids_to_pages_of_every_origin() {
    let (_server, address) = start("");
    let head = "GET /peerjs/id?ts=17 HTTP/1.1\r\nHost: x\r\nOrigin: http://page\r\nConnection: close\r\n\r\n";
    let response = http(address, head).await;
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    let lower = response.to_ascii_lowercase();
    assert!(
        lower.contains("access-control-allow-origin: http://page"),
        "{response}"
    );
    assert!(lower.contains("content-type: text/html"), "{response}");
    assert_eq!(body(&response).len(), 36, "expected a UUID: {response}");
    let rejection = get(address, "/wrong/id").await;
    assert!(rejection.starts_with("HTTP/1.1 401"), "{rejection}");
}

/// Sends a request of another origin. Returns the status and the head of the response in lower case.
async fn cross_origin(address: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nOrigin: https://page.example\r\n\
         Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n"
    );
    let response = http(address, &head).await;
    let status = response
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok());
    let (head, _) = response.split_once("\r\n\r\n").expect("a head");
    (status.expect("a status"), head.to_ascii_lowercase())
}

const ALLOWED: &str = "access-control-allow-origin: https://page.example";

#[tokio::test]
async fn every_http_response_of_peerjs_is_readable_for_other_origins() {
    let (server, address) = start("[peerjs]\npaths = [\"/\", \"/myapp\"]\n");
    let dialect_address = serve_one_dialect(&server, "peerjs");
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
        (dialect_address, "GET", "/", 200),
        (dialect_address, "POST", "/peerjs/ann/token/candidate", 404),
    ] {
        let (status, head) = cross_origin(address, method, path).await;
        assert_eq!(status, expected, "{method} {path}");
        assert!(head.contains(ALLOWED), "{method} {path}: {head}");
        assert!(!head.contains("credentials"), "{method} {path}: {head}");
        let (status, head) = cross_origin(address, "OPTIONS", path).await;
        assert_eq!(status, 204, "{path}");
        for allowed in [
            ALLOWED,
            "-methods: get, head, post",
            "-headers: content-type",
        ] {
            assert!(head.contains(allowed), "{path}: {head}");
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
async fn peerjs_responses_are_readable_for_the_configured_origins_only() {
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
async fn peerjs_lists_ids_of_keys_with_discovery() {
    let (_server, address) =
        start("[peerjs]\nkeys = \"peerjs,open\"\nallow_discovery = \"peerjs\"\n");
    let _ann = accepted_peer(address, "ann", "t").await;
    let response = get(address, "/peerjs/peers").await;
    assert_eq!(body(&response), r#"["ann"]"#, "{response}");
    let response = get(address, "/open/peers").await;
    assert!(response.starts_with("HTTP/1.1 401"), "{response}");
}

#[tokio::test]
async fn the_ids_of_a_key_are_not_listed_to_a_client_that_may_not_join_it() {
    let lists = "[peerjs]\nkeys = \"*\"\nallow_discovery = \"*\"\n";
    for rule in [
        "presence = false",
        "dialects = [\"mesh\"]",
        "who_may_join = [\"ada\"]",
    ] {
        let rooms = format!("[[rooms]]\npattern = \"hidden\"\n{rule}\n{lists}");
        let (server, address) = start(&rooms);
        let response = get(address, "/hidden/peers").await;
        assert!(response.starts_with("HTTP/1.1 401"), "{rule}: {response}");
        assert_eq!(body(&response), "Discovery is not allowed.", "{rule}");
        let response = get(address, "/peerjs/peers").await;
        assert!(response.starts_with("HTTP/1.1 200"), "{rule}: {response}");
        let refused = server.room_policies().refused();
        let count: u64 = refused.iter().map(|(_, count)| count).sum();
        assert_eq!(count, 1, "{rule}");
    }
}

#[tokio::test]
async fn a_peerjs_listener_describes_itself_at_its_root() {
    let (server, _) = start("");
    let dialect_address = serve_one_dialect(&server, "peerjs");
    let response = get(dialect_address, "/").await;
    assert!(body(&response).contains("PeerJS Server"), "{response}");
    assert!(
        get(dialect_address, "/peerjs/id")
            .await
            .starts_with("HTTP/1.1 200")
    );
}

#[tokio::test]
async fn an_id_is_free_as_soon_as_its_connection_has_ended() {
    let (_server, address) = start("");
    for token in ["t0", "t1", "t2", "t3"] {
        let ann = accepted_peer(address, "ann", token).await;
        match token {
            "t0" => drop(ann),
            "t1" => ann.reset(),
            _ => ann.close().await,
        }
        // The next client has another token, so it is accepted only after the server has processed the end.
    }
}

#[tokio::test]
async fn the_id_of_an_unresponsive_client_can_be_reclaimed_with_its_token() {
    let (_server, address) = start("");
    // This client does not read, so it answers no ping.
    let unresponsive = accepted_peer(address, "ann", "t").await;
    let (_, first) = connect_peer(address, "ann", "other").await;
    assert_eq!(first, "ID-TAKEN");
    let _again = accepted_peer(address, "ann", "t").await;
    drop(unresponsive);
}

#[tokio::test]
async fn y_webrtc_answers_okay_and_upgrades_on_all_its_paths() {
    let (server, address) = start("");
    let dialect_address = serve_one_dialect(&server, "y-webrtc");
    for path in ["/y-webrtc", "/y-webrtc/", "/y-webrtc/a/b/"] {
        assert_eq!(body(&get(address, path).await), "okay", "{path}");
    }
    let mut client = Client::open(address, "/y-webrtc/").await;
    client.send(r#"{"type":"ping"}"#).await;
    assert_eq!(client.next().await["type"], "pong");
    for path in ["/", "/any/path"] {
        assert_eq!(body(&get(dialect_address, path).await), "okay", "{path}");
        let mut client = Client::open(dialect_address, path).await;
        client.send(r#"{"type":"ping"}"#).await;
        assert_eq!(client.next().await["type"], "pong", "{path}");
    }
}

#[tokio::test]
async fn matchbox_rooms_are_paths() {
    let (server, address) = start("");
    let dialect_address = serve_one_dialect(&server, "matchbox");
    let mut ann = Client::open(address, "/matchbox/chess").await;
    let mut ben = Client::open(dialect_address, "/chess").await;
    let mut cyd = Client::open(dialect_address, "/chess?next=2").await;
    for client in [&mut ann, &mut ben, &mut cyd] {
        assert!(client.next().await["IdAssigned"].is_string());
    }
    assert!(ann.next().await["NewPeer"].is_string());
    assert!(
        get(dialect_address, "/health")
            .await
            .starts_with("HTTP/1.1 200")
    );
    assert_eq!(
        rejected_status(request(dialect_address, "/two/levels")).await,
        404
    );
}

#[tokio::test]
async fn ayame_answers_health_checks() {
    let (server, address) = start("");
    let dialect_address = serve_one_dialect(&server, "ayame");
    for address in [address, dialect_address] {
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

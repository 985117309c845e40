//! Expensive requests, bounded per address. Loopback is exempt: the clients come through a proxy.

use std::net::SocketAddr;

use switchboard::{SecretKey, Server};

use crate::client::{Client, http, refused_status, request, start};

/// Serves with a rate of three expensive requests at once and one per second.
fn limited(settings: &str) -> (Server, SocketAddr) {
    start(&format!(
        "[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n[limits]\nexpensive_requests_per_second = 1\nexpensive_requests_burst = 3\n{settings}"
    ))
}

/// The answer to a request from an address; none is the proxy itself.
async fn get(address: SocketAddr, path: &str, client: Option<&str>) -> String {
    let client = client.map(|client| format!("X-Forwarded-For: {client}\r\n"));
    let client = client.unwrap_or_default();
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{client}Connection: close\r\n\r\n");
    http(address, &head).await
}

/// The number of requests, of so many from an address, that are not answered 429.
async fn answered(address: SocketAddr, path: &str, client: Option<&str>, count: usize) -> usize {
    let mut answered = 0;
    for _ in 0..count {
        let answer = get(address, path, client).await;
        let is_refused = answer.starts_with("HTTP/1.1 429 ");
        if is_refused {
            assert!(answer.contains("\r\nretry-after: "), "{answer}");
            assert!(answer.contains("expensive_requests_per_second"), "{answer}");
        }
        answered += usize::from(!is_refused);
    }
    answered
}

/// One address has a burst, and a little more while the test runs.
async fn is_limited_from(address: SocketAddr, path: &str, client: &str) {
    let count = answered(address, path, Some(client), 40).await;
    assert!((3..30).contains(&count), "{count} of {path}");
}

/// One address is limited; another has a burst of its own, and loopback has no limit.
async fn is_limited(address: SocketAddr, path: &str) {
    is_limited_from(address, path, "192.0.2.1").await;
    assert!(
        answered(address, path, Some("192.0.2.2"), 3).await == 3,
        "{path}"
    );
    assert!(answered(address, path, None, 40).await == 40, "{path}");
}

#[tokio::test]
async fn requests_for_ice_servers_are_limited() {
    let (_server, address) = limited("");
    is_limited(address, "/ice-servers").await;
}

#[tokio::test]
async fn lists_of_peers_are_limited_and_pages_can_read_why() {
    let (_server, address) = limited("[peerjs]\nallow_discovery = \"*\"\n");
    is_limited(address, "/peerjs/peers").await;
    assert_eq!(
        answered(address, "/peerjs/id", Some("192.0.2.1"), 40).await,
        40
    );
    let head = "GET /peerjs/peers HTTP/1.1\r\nHost: x\r\nOrigin: https://a.example\r\nX-Forwarded-For: 192.0.2.3\r\nConnection: close\r\n\r\n";
    let refused = loop {
        let answer = http(address, head).await;
        if answer.starts_with("HTTP/1.1 429 ") {
            break answer;
        }
    };
    assert!(
        refused.contains("\r\naccess-control-allow-origin: "),
        "{refused}"
    );
}

#[tokio::test]
async fn a_long_list_of_peers_counts_for_more() {
    let (_server, address) = limited("frames_burst = 0\n[peerjs]\nallow_discovery = \"*\"\n");
    let mut peers = Vec::new();
    for number in 0..600 {
        let id = format!("{}{number}", "x".repeat(120));
        let path = format!("/peerjs?key=peerjs&id={id}&token=t");
        peers.push(Client::open(address, &path).await);
    }
    let list = get(address, "/peerjs/peers", Some("192.0.2.1")).await;
    assert!(list.len() > 64 * 1024);
    assert_eq!(
        answered(address, "/peerjs/peers", Some("192.0.2.1"), 2).await,
        1
    );
}

#[tokio::test]
async fn wrong_signatures_are_limited_and_right_ones_are_not() {
    let (_server, address) = limited("");
    let key = SecretKey::generate();
    let (id, wrong) = (key.public(), key.sign("another").expect("short"));
    is_limited(address, &format!("/keyXCHG?pubkey={id}&sign={wrong}")).await;

    let mut handshake = vec![1];
    handshake.extend(1..=10);
    let right = key.sign(&handshake).expect("short");
    let path = format!("/keyXCHG?pubkey={id}&sign={right}");
    assert_eq!(answered(address, &path, Some("192.0.2.3"), 40).await, 40);
    let answer = get(address, &path, Some("192.0.2.3")).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");

    let path = format!("/joinRoom?roomID=r&PKey={id}&Signature={wrong}");
    is_limited_from(address, &path, "192.0.2.4").await;
}

#[tokio::test]
async fn challenges_are_limited_and_short_lists_are_not() {
    let (_server, address) = limited("");
    let path = format!("/getCallTicket?PKey={}", SecretKey::generate().public());
    is_limited(address, &path).await;
    let lists = answered(address, "/listRoom", Some("192.0.2.3"), 40).await;
    assert_eq!(lists, 40);
}

#[tokio::test]
async fn questions_to_a_website_are_limited() {
    // No website listens on port 1.
    let site = "[gostream]\nidentity = \"site\"\n[gostream.site]\nurl = \"http://127.0.0.1:1\"\n";
    let (_server, address) = limited(site);
    is_limited(address, "/tokenCheck?CSRFToken=made-up").await;
    is_limited_from(address, "/messages?CSRFToken=made-up", "192.0.2.4").await;
}

#[tokio::test]
async fn connections_of_a_dialect_that_asks_a_web_service_are_limited() {
    // No web service listens on port 1.
    let (_server, address) = limited("[ayame]\nauth_webhook_url = \"http://127.0.0.1:1/auth\"\n");
    let from = |path: &str, client: &str| {
        let mut request = request(address, path);
        let client = client.parse().expect("a header");
        request.headers_mut().insert("x-forwarded-for", client);
        request
    };
    for path in ["/signaling", "/ws?dialect=ayame"] {
        let mut clients = Vec::new();
        for _ in 0..30 {
            clients.extend(Client::try_open(from(path, "192.0.2.1")).await.ok());
        }
        assert!(clients.len() < 29, "{path}");
    }
    assert_eq!(refused_status(from("/signaling", "192.0.2.1")).await, 429);
    for _ in 0..30 {
        let other_dialect = Client::try_open(from("/connect", "192.0.2.1")).await;
        assert!(other_dialect.is_ok());
    }
}

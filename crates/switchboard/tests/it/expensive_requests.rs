//! Rate limits per address for expensive requests: lists, signatures, and requests for which the server asks a website
//! or a webhook. Loopback is exempt, so the clients connect through a trusted proxy.

use std::net::SocketAddr;

use switchboard::{SecretKey, Server};

use crate::client::{Client, http, rejected_status, request, start};

/// Starts a server with a limit of one expensive request per second and a burst of three.
fn start_limited(settings: &str) -> (Server, SocketAddr) {
    start(&format!(
        "[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n[limits]\nexpensive_requests_per_second = 1\nexpensive_requests_burst = 3\n{settings}"
    ))
}

/// The response to a request from a client address; `None`: from the proxy itself.
async fn get(address: SocketAddr, path: &str, client: Option<&str>) -> String {
    let client = client.map(|client| format!("X-Forwarded-For: {client}\r\n"));
    let client = client.unwrap_or_default();
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{client}Connection: close\r\n\r\n");
    http(address, &head).await
}

/// Sends `count` requests from an address. Returns the number of responses other than 429.
async fn count_answered(
    address: SocketAddr,
    path: &str,
    client: Option<&str>,
    count: usize,
) -> usize {
    let mut answered = 0;
    for _ in 0..count {
        let response = get(address, path, client).await;
        let is_rejected = response.starts_with("HTTP/1.1 429 ");
        if is_rejected {
            assert!(response.contains("\r\nretry-after: "), "{response}");
            assert!(
                response.contains("expensive_requests_per_second"),
                "{response}"
            );
        }
        answered += usize::from(!is_rejected);
    }
    answered
}

/// Checks that requests of one address are limited: the burst, and some that refill during the test.
async fn assert_limited_from(address: SocketAddr, path: &str, client: &str) {
    let count = count_answered(address, path, Some(client), 40).await;
    assert!(
        (3..30).contains(&count),
        "{count} of 40 requests for {path} are answered"
    );
}

/// Checks that requests are limited per address, and that loopback has no limit.
async fn assert_limited(address: SocketAddr, path: &str) {
    assert_limited_from(address, path, "192.0.2.1").await;
    assert!(
        count_answered(address, path, Some("192.0.2.2"), 3).await == 3,
        "{path}"
    );
    assert!(
        count_answered(address, path, None, 40).await == 40,
        "{path}"
    );
}

#[tokio::test]
async fn requests_for_ice_servers_are_limited() {
    let (_server, address) = start_limited("");
    assert_limited(address, "/ice-servers").await;
}

#[tokio::test]
async fn peer_lists_are_limited_and_cross_origin_pages_can_read_the_error() {
    let (_server, address) = start_limited("[peerjs]\nallow_discovery = \"*\"\n");
    assert_limited(address, "/peerjs/peers").await;
    assert_eq!(
        count_answered(address, "/peerjs/id", Some("192.0.2.1"), 40).await,
        40
    );
    let head = "GET /peerjs/peers HTTP/1.1\r\nHost: x\r\nOrigin: https://a.example\r\nX-Forwarded-For: 192.0.2.3\r\nConnection: close\r\n\r\n";
    let rejection = loop {
        let response = http(address, head).await;
        if response.starts_with("HTTP/1.1 429 ") {
            break response;
        }
    };
    assert!(
        rejection.contains("\r\naccess-control-allow-origin: "),
        "{rejection}"
    );
}

#[tokio::test]
async fn a_list_of_64_kib_counts_as_two_requests() {
    let (_server, address) = start_limited("frames_burst = 0\n[peerjs]\nallow_discovery = \"*\"\n");
    let mut peers = Vec::new();
    for number in 0..600 {
        let id = format!("{}{number}", "x".repeat(120));
        let path = format!("/peerjs?key=peerjs&id={id}&token=t");
        peers.push(Client::open(address, &path).await);
    }
    let list = get(address, "/peerjs/peers", Some("192.0.2.1")).await;
    assert!(list.len() > 64 * 1024);
    assert_eq!(
        count_answered(address, "/peerjs/peers", Some("192.0.2.1"), 2).await,
        1
    );
}

#[tokio::test]
async fn invalid_signatures_are_limited_and_valid_ones_are_not() {
    let (_server, address) = start_limited("");
    let key = SecretKey::generate();
    let (id, invalid) = (key.public(), key.sign("another").expect("short"));
    assert_limited(address, &format!("/keyXCHG?pubkey={id}&sign={invalid}")).await;

    // The message that a client signs for `/keyXCHG`.
    let mut message = vec![1];
    message.extend(1..=10);
    let valid = key.sign(&message).expect("short");
    let path = format!("/keyXCHG?pubkey={id}&sign={valid}");
    assert_eq!(
        count_answered(address, &path, Some("192.0.2.3"), 40).await,
        40
    );
    let response = get(address, &path, Some("192.0.2.3")).await;
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");

    let path = format!("/joinRoom?roomID=r&PKey={id}&Signature={invalid}");
    assert_limited_from(address, &path, "192.0.2.4").await;
}

#[tokio::test]
async fn challenges_are_limited_and_short_lists_are_not() {
    let (_server, address) = start_limited("");
    let path = format!("/getCallTicket?PKey={}", SecretKey::generate().public());
    assert_limited(address, &path).await;
    let lists = count_answered(address, "/listRoom", Some("192.0.2.3"), 40).await;
    assert_eq!(lists, 40);
}

#[tokio::test]
async fn requests_to_a_website_are_limited() {
    // No website listens on port 1.
    let site = "[gostream]\nidentity = \"site\"\n[gostream.site]\nurl = \"http://127.0.0.1:1\"\n";
    let (_server, address) = start_limited(site);
    assert_limited(address, "/tokenCheck?CSRFToken=made-up").await;
    assert_limited_from(address, "/messages?CSRFToken=made-up", "192.0.2.4").await;
}

#[tokio::test]
async fn connections_of_a_dialect_with_a_webhook_are_limited() {
    // No web service listens on port 1.
    let (_server, address) =
        start_limited("[ayame]\nauth_webhook_url = \"http://127.0.0.1:1/auth\"\n");
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
    assert_eq!(rejected_status(from("/signaling", "192.0.2.1")).await, 429);
    for _ in 0..30 {
        let other_dialect = Client::try_open(from("/connect", "192.0.2.1")).await;
        assert!(other_dialect.is_ok());
    }
}

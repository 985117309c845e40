//! HTTP over sockets: addresses, keep-alive connections and health probes.

use std::{net::SocketAddr, time::Duration};

use switchboard::{Admission, Listener, Server};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    time::timeout,
};

use crate::{
    client::{
        Client, RESERVED_FOR_PROBES, RESERVED_FOR_REQUESTS, TEST_TIMEOUT, config, get, http,
        rejected_status, request, start,
    },
    nodes::SharedEngine,
};

const HEALTHZ: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";

/// Serves on all addresses. Returns the port, and whether IPv6 is supported.
fn serve_everywhere(server: &Server) -> (u16, bool) {
    let listener = Listener::bind("[::]:0".parse().expect("an address")).expect("a free port");
    let address = listener.address();
    for ip in ["127.0.0.1", "::1"] {
        SharedEngine::unlink_node(SocketAddr::new(ip.parse().expect("an IP"), address.port()));
    }
    server.serve(listener);
    (address.port(), address.is_ipv6())
}

/// Sends a health probe and reads its response; the connection stays open.
async fn probe(stream: &mut TcpStream) {
    stream
        .write_all(HEALTHZ)
        .await
        .expect("the connection is open");
    let mut response = String::new();
    while !response.ends_with("\r\n\r\nok\n") {
        let mut buffer = [0; 1024];
        let read = timeout(TEST_TIMEOUT, stream.read(&mut buffer)).await;
        let count = read.expect("an answer in time").expect("an answer");
        assert_ne!(count, 0, "closed after {response:?}");
        response.push_str(std::str::from_utf8(&buffer[..count]).expect("text"));
    }
}

#[tokio::test]
async fn a_dual_stack_listener_reports_the_client_address_of_each_family() {
    let (address_sender, mut addresses) = mpsc::channel(4);
    let server = Server::builder().on_connect(move |request| {
        address_sender
            .try_send(request.address)
            .expect("the channel has capacity");
        async { Ok(Admission::anonymous()) }
    });
    let (port, has_ipv6) = serve_everywhere(&server.build().expect("valid settings"));
    let mut clients = vec!["127.0.0.1"];
    clients.extend(has_ipv6.then_some("::1"));
    for ip in clients {
        let ip = ip.parse().expect("an IP");
        let _client = Client::open(SocketAddr::new(ip, port), "/ws").await;
        assert_eq!(addresses.recv().await, Some(Some(ip)));
    }
}

#[tokio::test]
async fn ipv4_mapped_addresses_are_ipv4_for_proxies_and_limits() {
    let settings = "[server]\ntrusted_proxies = [\"::ffff:127.0.0.0/104\"]\n[limits]\nconnections_per_address = 1\n";
    let server = Server::builder()
        .config(config(settings))
        .build()
        .expect("valid settings");
    let (port, _) = serve_everywhere(&server);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let from = |client: &str| {
        let mut request = request(address, "/ws");
        let client = client.parse().expect("a header");
        request.headers_mut().insert("x-forwarded-for", client);
        request
    };
    let first = Client::try_open(from("::ffff:192.0.2.1")).await;
    let _first = first.expect("the first connection of its address");
    assert_eq!(rejected_status(from("192.0.2.1")).await, 429);
}

#[tokio::test]
async fn the_keep_alive_time_is_independent_of_the_request_head_timeout() {
    let (_server, address) = start("[limits]\nhandshake_secs = 1\nkeep_alive_secs = 3600\n");
    let mut connection = TcpStream::connect(address).await.expect("a connection");
    probe(&mut connection).await;
    // Two connections that were opened after the probe reach the timeout for a request head.
    for _ in 0..2 {
        let response = http(address, "GET /ws HTTP/1.1\r\nHost: x\r\n").await;
        assert_eq!(response, "");
    }
    probe(&mut connection).await;
    // The next request head begins and is not completed.
    connection
        .write_all(&HEALTHZ[..9])
        .await
        .expect("the connection is open");
    let mut rest = Vec::new();
    let ended = timeout(TEST_TIMEOUT, connection.read_to_end(&mut rest)).await;
    drop(ended.expect("the connection ends in time"));
    assert!(rest.is_empty());
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let (_server, address) = start("[limits]\nhandshake_secs = 0\nkeep_alive_secs = 1\n");
    let mut connection = TcpStream::connect(address).await.expect("a connection");
    probe(&mut connection).await;
    let mut rest = Vec::new();
    let ended = timeout(TEST_TIMEOUT, connection.read_to_end(&mut rest)).await;
    assert_eq!(
        ended
            .expect("the connection ends in time")
            .expect("no error"),
        0
    );
}

#[tokio::test]
async fn a_websocket_is_not_subject_to_the_timeouts_of_http() {
    let (_server, address) = start("[limits]\nhandshake_secs = 1\nkeep_alive_secs = 1\n");
    let (mut ada, _) = Client::join(address, "r", "ada").await;
    for _ in 0..2 {
        drop(http(address, "GET /ws HTTP/1.1\r\nHost: x\r\n").await);
    }
    let _bob = Client::join(address, "r", "bob").await;
    assert_eq!(ada.next().await["senderID"], "bob");
}

#[tokio::test]
async fn health_probes_are_answered_at_the_connection_limit() {
    let (server, address) = start("[limits]\nconnections = 2\n");
    let mut held = Vec::new();
    for _ in 0..2 + RESERVED_FOR_REQUESTS {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        probe(&mut stream).await;
        held.push(stream);
    }
    for _ in 0..100 {
        let live = get(address, "/healthz").await;
        assert!(live.ends_with("\r\n\r\nok\n"), "{live}");
    }
    let ready = get(address, "/readyz").await;
    assert!(ready.ends_with("\r\n\r\nready\n"), "{ready}");
    server.begin_drain();
    let stopping = get(address, "/readyz").await;
    assert!(stopping.starts_with("HTTP/1.1 503 "), "{stopping}");
    let connection = http(address, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(connection.contains("connection: close"), "{connection}");
    // Only health probes are answered.
    for path in ["/", "/metrics", "/voice/mode", "/ws"] {
        let rejection = get(address, path).await;
        assert!(rejection.starts_with("HTTP/1.1 503 "), "{rejection}");
        assert!(
            rejection.contains("has reached its limit of connections"),
            "{rejection}"
        );
    }
    assert_eq!(rejected_status(request(address, "/ws")).await, 503);
}

#[tokio::test]
async fn the_reserve_for_health_probes_is_bounded() {
    let (_server, address) = start("[limits]\nconnections = 2\n");
    let mut held = Vec::new();
    for _ in 0..2 + RESERVED_FOR_REQUESTS + RESERVED_FOR_PROBES {
        held.push(TcpStream::connect(address).await.expect("a connection"));
    }
    let rejection = http(address, "").await;
    assert!(rejection.starts_with("HTTP/1.1 503 "), "{rejection}");
    // An idle connection is removed from the reserve before the timeout for a request head.
    let begun = tokio::time::Instant::now();
    let last = held.last_mut().expect("many");
    let ended = timeout(TEST_TIMEOUT, last.read_u8()).await;
    assert!(ended.expect("the connection ends in time").is_err());
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert!(get(address, "/healthz").await.ends_with("ok\n"));
}

//! HTTP at the socket: addresses, connections that are kept alive, and health probes.

use std::{net::SocketAddr, time::Duration};

use switchboard::{Admission, Listener, Server};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    time::timeout,
};

use crate::{
    client::{Client, PATIENCE, config, get, http, refused_status, request, start},
    nodes::SharedLogs,
};

const HEALTHZ: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";

/// Serves on all addresses: the port, and whether IPv6 is among them.
fn serve_everywhere(server: &Server) -> (u16, bool) {
    let listener = Listener::bind("[::]:0".parse().expect("an address")).expect("a free port");
    let address = listener.address();
    for ip in ["127.0.0.1", "::1"] {
        SharedLogs::is_alone(SocketAddr::new(ip.parse().expect("an IP"), address.port()));
    }
    server.serve(listener);
    (address.port(), address.is_ipv6())
}

/// Sends a probe and reads its answer; the connection is kept.
async fn probe(stream: &mut TcpStream) {
    stream.write_all(HEALTHZ).await.expect("it is open");
    let mut answer = String::new();
    while !answer.ends_with("\r\n\r\nok\n") {
        let mut buffer = [0; 1024];
        let read = timeout(PATIENCE, stream.read(&mut buffer)).await;
        let count = read.expect("an answer in time").expect("an answer");
        assert_ne!(count, 0, "closed after {answer:?}");
        answer.push_str(std::str::from_utf8(&buffer[..count]).expect("text"));
    }
}

#[tokio::test]
async fn the_default_address_is_that_of_ipv6_and_ipv4_clients_are_known_as_such() {
    let (said, mut heard) = mpsc::channel(4);
    let server = Server::builder().on_connect(move |request| {
        said.try_send(request.address).expect("room");
        async { Admission::anonymous() }
    });
    let (port, has_ipv6) = serve_everywhere(&server.build());
    let mut clients = vec!["127.0.0.1"];
    clients.extend(has_ipv6.then_some("::1"));
    for ip in clients {
        let ip = ip.parse().expect("an IP");
        let _client = Client::open(SocketAddr::new(ip, port), "/ws").await;
        assert_eq!(heard.recv().await, Some(Some(ip)));
    }
}

#[tokio::test]
async fn ipv4_mapped_addresses_are_ipv4_for_proxies_and_limits() {
    let settings = "[server]\ntrusted_proxies = [\"::ffff:127.0.0.0/104\"]\n[limits]\nconnections_per_address = 1\n";
    let server = Server::builder().config(config(settings)).build();
    let (port, _) = serve_everywhere(&server);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let from = |client: &str| {
        let mut request = request(address, "/ws");
        let client = client.parse().expect("a header");
        request.headers_mut().insert("x-forwarded-for", client);
        request
    };
    let first = Client::try_open(from("::ffff:192.0.2.1")).await;
    let _first = first.expect("the first of its address");
    assert_eq!(refused_status(from("192.0.2.1")).await, 429);
}

#[tokio::test]
async fn a_connection_is_kept_alive_for_longer_than_a_head_is_waited_for() {
    let (_server, address) = start("[limits]\nhandshake_secs = 1\nkeep_alive_secs = 3600\n");
    let mut kept = TcpStream::connect(address).await.expect("a connection");
    probe(&mut kept).await;
    // By then, the time for a head has been over twice for connections that came after the probe.
    for _ in 0..2 {
        let answer = http(address, "GET /ws HTTP/1.1\r\nHost: x\r\n").await;
        assert_eq!(answer, "");
    }
    probe(&mut kept).await;
    // The next head has begun, and does not come.
    kept.write_all(&HEALTHZ[..9]).await.expect("it is open");
    let mut rest = Vec::new();
    let ended = timeout(PATIENCE, kept.read_to_end(&mut rest)).await;
    drop(ended.expect("it ends in time"));
    assert!(rest.is_empty());
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let (_server, address) = start("[limits]\nhandshake_secs = 0\nkeep_alive_secs = 1\n");
    let mut kept = TcpStream::connect(address).await.expect("a connection");
    probe(&mut kept).await;
    let mut rest = Vec::new();
    let ended = timeout(PATIENCE, kept.read_to_end(&mut rest)).await;
    assert_eq!(ended.expect("it ends in time").expect("no error"), 0);
}

#[tokio::test]
async fn a_socket_outlives_the_times_of_http() {
    let (_server, address) = start("[limits]\nhandshake_secs = 1\nkeep_alive_secs = 1\n");
    let (mut ada, _) = Client::join(address, "r", "ada").await;
    for _ in 0..2 {
        drop(http(address, "GET /ws HTTP/1.1\r\nHost: x\r\n").await);
    }
    let _bob = Client::join(address, "r", "bob").await;
    assert_eq!(ada.next().await["senderID"], "bob");
}

#[tokio::test]
async fn health_probes_are_answered_when_there_may_be_no_more_connections() {
    let (server, address) = start("[limits]\nconnections = 1\n");
    // One for signaling, and those for plain requests.
    let mut held = Vec::new();
    for _ in 0..=256 {
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
    let kept = http(address, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(kept.contains("connection: close"), "{kept}");
    for path in ["/", "/metrics", "/voice/mode", "/ws"] {
        let refused = get(address, path).await;
        assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
        assert!(
            refused.contains("has reached its limit of connections"),
            "{refused}"
        );
    }
    assert_eq!(refused_status(request(address, "/ws")).await, 503);
}

#[tokio::test]
async fn the_reserve_for_health_probes_is_bounded() {
    let (_server, address) = start("[limits]\nconnections = 1\n");
    let mut held = Vec::new();
    for _ in 0..=256 + 64 {
        held.push(TcpStream::connect(address).await.expect("a connection"));
    }
    let refused = http(address, "").await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    // An idle connection leaves the reserve before the time for a head is over.
    let begun = tokio::time::Instant::now();
    let last = held.last_mut().expect("many");
    let ended = timeout(PATIENCE, last.read_u8()).await;
    assert!(ended.expect("it ends in time").is_err());
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert!(get(address, "/healthz").await.ends_with("ok\n"));
}

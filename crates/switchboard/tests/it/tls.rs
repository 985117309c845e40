//! Listeners with TLS: they serve the same as without TLS. Some clients complete their handshake late, fail in it,
//! or do not speak TLS.

use std::{net::SocketAddr, sync::Arc};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use switchboard::{
    Listener, Server,
    tls::{CertificateManager, ServerCertificates},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::ring,
        pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
        version::{TLS12, TLS13},
    },
};
use tokio_tungstenite::{client_async, tungstenite::Message};

use crate::client::{
    Client, RESERVED_FOR_REQUESTS, TEST_TIMEOUT, config, get, http, metrics, serve_internal,
};

const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls");

/// The first bytes of a TLS handshake.
const PARTIAL_HANDSHAKE: &[u8] = &[22, 3, 1, 2, 0, 1];

/// The settings of the default certificate of these tests.
fn files() -> String {
    format!("[tls]\ncert = \"{FILES}/ec.pem\"\nkey = \"{FILES}/ec-sec1.key\"\n")
}

fn certificates(toml: &str) -> ServerCertificates {
    let loaded = ServerCertificates::load(&config(toml).tls);
    loaded.expect("files").expect("TLS")
}

pub(crate) fn listener() -> (Listener, SocketAddr) {
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let address = listener.address();
    (listener.with_tls(certificates(&files()).tls()), address)
}

/// Serves with TLS on a free loopback port.
pub(crate) fn start_with_tls(toml: &str) -> (Server, SocketAddr) {
    let server = Server::builder()
        .config(config(toml))
        .build()
        .expect("valid settings");
    let (listener, address) = listener();
    serve_internal(&server, address);
    server.serve(listener);
    (server, address)
}

/// A TLS client that trusts the certificate of these tests and offers these protocols (ALPN).
fn connector(protocols: &[&str]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_file(format!("{FILES}/ec.pem")).expect("a certificate");
    roots.add(root).expect("a root");
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions();
    let builder = builder.expect("versions").with_root_certificates(roots);
    let mut config = builder.with_no_client_auth();
    let protocols = protocols.iter();
    config.alpn_protocols = protocols.map(|name| name.as_bytes().to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

async fn connect_with(
    address: SocketAddr,
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").expect("a name");
    connector(protocols).connect(name, stream).await
}

/// A TLS connection over `stream`.
pub(crate) async fn connect_over(stream: TcpStream) -> TlsStream<TcpStream> {
    let name = ServerName::try_from("localhost").expect("a name");
    let connected = connector(&[]).connect(name, stream).await;
    connected.expect("a handshake")
}

async fn connect(address: SocketAddr) -> TlsStream<TcpStream> {
    connect_with(address, &[]).await.expect("a handshake")
}

/// The response to a request over TLS. The client reports an error if it does not end with `close_notify`.
async fn secure_get(address: SocketAddr, path: &str) -> String {
    let mut stream = connect(address).await;
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut response = String::new();
    let read = timeout(TEST_TIMEOUT, stream.read_to_string(&mut response)).await;
    read.expect("an end in time").expect("a whole answer");
    response
}

/// Starts a local listener that forwards connections without TLS to the server at `address`.
pub(crate) async fn start_tunnel(address: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let local = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut server = connect(address).await;
                drop(copy_bidirectional(&mut client, &mut server).await);
            });
        }
    });
    local
}

#[tokio::test]
async fn pages_and_dialects_are_served_over_tls() {
    let (server, address) = start_with_tls("");
    let page = secure_get(address, "/").await;
    assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
    let local = start_tunnel(address).await;
    let (mut ada, _) = Client::join(local, "r", "ada").await;
    let (mut bob, others) = Client::join(local, "r", "bob").await;
    assert_eq!(others, json!(["ada"]));
    assert_eq!(ada.next_of("user-joined").await["senderID"], "bob");
    // More than fits into one record, and into the buffers of the session.
    let data = "x".repeat(200_000);
    let sent = format!(r#"{{"type":"message","data":"{data}"}}"#);
    ada.send(&sent).await;
    assert_eq!(bob.next_of("message").await["data"], data);
    let probe = get(local, "/readyz").await;
    assert!(probe.starts_with("HTTP/1.1 200 "), "{probe}");
    let ended = tokio::spawn(async move { server.shutdown(TEST_TIMEOUT).await });
    assert_eq!(bob.close_code().await, 1012);
    drop((ada, bob));
    assert!(ended.await.expect("the task has panicked"));
}

#[tokio::test]
async fn a_listener_of_one_dialect_supports_tls() {
    let server = Server::builder().build().expect("valid settings");
    let (listener, address) = listener();
    assert!(server.serve_dialect(listener, "singo"));
    let stream = connect(address).await;
    let upgraded = client_async("wss://localhost/connect", stream).await;
    upgraded.expect("an upgrade");
}

#[tokio::test]
async fn only_http_1_1_is_negotiated() {
    let (_server, address) = start_with_tls("");
    for (offers, chosen) in [
        (&["h2", "http/1.1"][..], Some(&b"http/1.1"[..])),
        (&[], None),
    ] {
        let stream = connect_with(address, offers).await.expect("a handshake");
        assert_eq!(stream.get_ref().1.alpn_protocol(), chosen);
    }
    assert!(connect_with(address, &["h2"]).await.is_err());
}

#[tokio::test]
async fn a_closed_websocket_ends_with_close_notify() {
    let (_server, address) = start_with_tls("");
    for breaks_protocol in [false, true] {
        let stream = connect(address).await;
        let upgraded = client_async("wss://localhost/ws", stream).await;
        let (mut socket, _) = upgraded.expect("an upgrade");
        if breaks_protocol {
            // An unmasked frame.
            let stream = socket.get_mut();
            stream.write_all(&[0x81, 1, b'x']).await.expect("sent");
            stream.flush().await.expect("sent");
        } else {
            socket.send(Message::Close(None)).await.expect("sent");
        }
        let response = timeout(TEST_TIMEOUT, socket.next()).await.expect("in time");
        assert!(
            matches!(response, Some(Ok(Message::Close(_)))),
            "{response:?}"
        );
        let mut rest = Vec::new();
        let read = timeout(TEST_TIMEOUT, socket.get_mut().read_to_end(&mut rest)).await;
        read.expect("an end in time").expect("close_notify");
    }
}

#[tokio::test]
async fn a_request_without_tls_is_redirected_or_rejected_with_the_https_url() {
    let (server, address) = start_with_tls("");
    let page = get_of(address, "localhost", "/voice?room=a").await;
    assert!(page.starts_with("HTTP/1.1 307 "), "{page}");
    assert!(
        page.contains("\r\nlocation: https://localhost/voice?room=a\r\n"),
        "{page}"
    );
    let upgrade = "GET /ws HTTP/1.1\r\nHost: localhost:1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    for head in [upgrade, "POST /ws HTTP/1.1\r\nHost: localhost:1\r\n\r\n"] {
        let response = http(address, head).await;
        assert!(response.starts_with("HTTP/1.1 400 "), "{response}");
        assert!(
            response.contains("use https://localhost:1/ws (and wss://"),
            "{response}"
        );
    }
    let other = get_of(address, "evil.example", "/").await;
    assert!(other.starts_with("HTTP/1.1 421 "), "{other}");
    assert!(!other.contains("evil"), "{other}");
    // The connection ends after one response, and no request reaches the server.
    let twice = "GET / HTTP/1.1\r\nHost: a b\r\n\r\n".repeat(2);
    assert_eq!(http(address, &twice).await.matches("HTTP/1.1 ").count(), 1);
    assert_eq!(failed_handshakes(address).await, 0);
    assert!(server.shutdown(TEST_TIMEOUT).await);
}

/// The response to a request without TLS for this host.
async fn get_of(address: SocketAddr, host: &str, path: &str) -> String {
    let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    http(address, &head).await
}

#[tokio::test]
async fn a_redirect_listener_redirects_to_hosts_of_the_certificate_only() {
    let server = Server::builder().build().expect("valid settings");
    let manager = CertificateManager::load(&config(&files()).tls);
    let manager = manager.expect("files").expect("TLS");
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let address = listener.address();
    manager.serve_redirect(&server, listener, 8443);
    for (host, path) in [("localhost", "/a?b=c"), ("localhost:80", "//evil.example/")] {
        let response = get_of(address, host, path).await;
        assert!(response.starts_with("HTTP/1.1 307 "), "{response}");
        let location = format!("\r\nlocation: https://localhost:8443{path}\r\n");
        assert!(response.contains(&location), "{response}");
        // Browsers must ignore the header without TLS (RFC 6797, section 8.1), so it is not sent.
        assert!(!response.contains("strict-transport"), "{response}");
    }
    for host in ["evil.example", "127.0.0.1", "localhost.evil.example"] {
        let response = get_of(address, host, "/").await;
        assert!(response.starts_with("HTTP/1.1 421 "), "{response}");
        assert!(!response.contains("location:"), "{response}");
    }
    for path in ["/ws", "/metrics", "/readyz", "/voice"] {
        let response = get_of(address, "localhost", path).await;
        assert!(response.starts_with("HTTP/1.1 307 "), "{response}");
    }
    let post = "POST /ws HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let response = http(address, post).await;
    assert!(response.starts_with("HTTP/1.1 400 "), "{response}");
    let probe = get_of(address, "127.0.0.1", "/healthz").await;
    assert!(probe.ends_with("\r\n\r\nok\n"), "{probe}");
    assert!(server.shutdown(TEST_TIMEOUT).await);
}

#[tokio::test]
async fn browsers_are_told_to_use_https_unless_the_certificate_is_self_signed() {
    let server = Server::builder().build().expect("valid settings");
    let (listener, address) = listener();
    server.serve(listener);
    for path in ["/", "/healthz", "/missing"] {
        let response = secure_get(address, path).await;
        let header = "\r\nstrict-transport-security: max-age=86400\r\n";
        assert!(response.contains(header), "{response}");
    }
    let own = std::env::temp_dir().join(format!("switchboard-{}-hsts.pem", std::process::id()));
    let self_signed = format!("[tls]\nself_signed = true\nself_signed_file = {own:?}\n");
    for (toml, seconds) in [
        (self_signed, 0),
        (format!("{}hsts_max_age = 0\n", files()), 0),
        (format!("{}hsts_max_age = 31536000\n", files()), 31_536_000),
    ] {
        let setup = certificates(&toml).setup();
        assert_eq!(setup.hsts_secs, seconds, "{toml}");
    }
    drop(std::fs::remove_file(own));
}

/// The certificate that the server sends to a client that asks for `name`, or for none.
async fn certificate_for(address: SocketAddr, name: Option<&str>) -> CertificateDer<'static> {
    let mut config = ClientConfig::clone(connector(&[]).config());
    config.enable_sni = name.is_some();
    let verifier = Arc::new(AnyCertificate);
    config.dangerous().set_certificate_verifier(verifier);
    let stream = TcpStream::connect(address).await.expect("a connection");
    let name = ServerName::try_from(name.unwrap_or("localhost").to_owned()).expect("a name");
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let connected = connected.await.expect("a handshake");
    let chain = connected.get_ref().1.peer_certificates();
    chain.expect("a certificate")[0].clone().into_owned()
}

#[tokio::test]
async fn the_certificate_is_chosen_by_the_name_that_the_client_sends() {
    let server = Server::builder().build().expect("valid settings");
    let other = rcgen::generate_simple_self_signed(["b.example".to_owned()]).expect("made");
    let folder = std::env::temp_dir();
    let [cert, key] = ["pem", "key"]
        .map(|kind| folder.join(format!("switchboard-{}-sni.{kind}", std::process::id())));
    std::fs::write(&cert, other.cert.pem()).expect("written");
    std::fs::write(&key, other.signing_key.serialize_pem()).expect("written");
    let toml = format!(
        "{}certificates = [{{ cert = {cert:?}, key = {key:?} }}]\n",
        files()
    );
    let bound = Listener::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let address = bound.address();
    server.serve(bound.with_tls(certificates(&toml).tls()));
    let default = CertificateDer::from_pem_file(format!("{FILES}/ec.pem")).expect("a certificate");
    for (name, expected) in [
        (Some("localhost"), &default),
        (Some("b.example"), other.cert.der()),
        (Some("unknown.example"), &default),
        (None, &default),
    ] {
        assert_eq!(certificate_for(address, name).await, *expected, "{name:?}");
    }
    for file in [cert, key] {
        drop(std::fs::remove_file(file));
    }
}

#[tokio::test]
async fn only_the_configured_tls_versions_are_accepted() {
    for (setting, versions, accepts) in [
        ("", &[&TLS12][..], true),
        ("", &[&TLS13], true),
        ("min_version = \"1.3\"\n", &[&TLS12], false),
        ("min_version = \"1.3\"\n", &[&TLS13, &TLS12], true),
    ] {
        let server = Server::builder().build().expect("valid settings");
        let bound = Listener::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let address = bound.address();
        let toml = format!("{}{setting}", files());
        server.serve(bound.with_tls(certificates(&toml).tls()));
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_file(format!("{FILES}/ec.pem")).expect("a certificate");
        roots.add(root).expect("a root");
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_protocol_versions(versions).expect("versions");
        let config = builder.with_root_certificates(roots).with_no_client_auth();
        let stream = TcpStream::connect(address).await.expect("a connection");
        let name = ServerName::try_from("localhost").expect("a name");
        let connected = TlsConnector::from(Arc::new(config)).connect(name, stream);
        assert_eq!(connected.await.is_ok(), accepts, "{setting} {versions:?}");
    }
}

#[tokio::test]
async fn a_late_or_failed_handshake_ends_the_connection_and_is_counted() {
    let (_server, address) = start_with_tls("[limits]\nhandshake_secs = 1\n");
    let mut open = Vec::new();
    for first_bytes in [PARTIAL_HANDSHAKE, &[]] {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(first_bytes).await.expect("sent");
        open.push(stream);
    }
    // Other clients are served meanwhile.
    let page = secure_get(address, "/healthz").await;
    assert!(page.ends_with("\r\n\r\nok\n"), "{page}");
    for mut stream in open {
        let mut rest = Vec::new();
        let read = timeout(TEST_TIMEOUT, stream.read_to_end(&mut rest)).await;
        drop(read.expect("an end in time"));
        assert!(rest.is_empty(), "{rest:?}");
    }
    assert_eq!(failed_handshakes(address).await, 2);
    // Bytes that are neither TLS nor HTTP: the response is a TLS alert (record type 21).
    let mut client = TcpStream::connect(address).await.expect("a connection");
    client.write_all(&[0; 64]).await.expect("sent");
    let mut alert = Vec::new();
    drop(
        timeout(TEST_TIMEOUT, client.read_to_end(&mut alert))
            .await
            .expect("in time"),
    );
    assert_eq!(alert.first(), Some(&21), "{alert:?}");
    assert_eq!(failed_handshakes(address).await, 3);
    // A connection that is closed without data is not counted as a failed handshake.
    let mut probe = TcpStream::connect(address).await.expect("a connection");
    probe.shutdown().await.expect("closed");
    drop(
        timeout(TEST_TIMEOUT, probe.read_to_end(&mut alert))
            .await
            .expect("in time"),
    );
    assert_eq!(failed_handshakes(address).await, 3);
}

#[tokio::test]
async fn unfinished_handshakes_are_counted_by_the_connection_limit() {
    let (_server, address) = start_with_tls("[limits]\nconnections = 2\nhandshake_secs = 0\n");
    let mut held = Vec::new();
    for _ in 0..2 + RESERVED_FOR_REQUESTS {
        held.push(TcpStream::connect(address).await.expect("a connection"));
    }
    let page = secure_get(address, "/").await;
    assert!(page.starts_with("HTTP/1.1 503 "), "{page}");
    let probe = secure_get(address, "/healthz").await;
    assert!(probe.ends_with("\r\n\r\nok\n"), "{probe}");
    held.clear();
    let served_again = async {
        while !secure_get(address, "/").await.starts_with("HTTP/1.1 200 ") {
            tokio::task::yield_now().await;
        }
    };
    timeout(TEST_TIMEOUT, served_again)
        .await
        .expect("permits are released");
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_handshakes() {
    let (server, address) = start_with_tls("[limits]\nhandshake_secs = 0\n");
    let mut open = TcpStream::connect(address).await.expect("a connection");
    open.write_all(PARTIAL_HANDSHAKE).await.expect("sent");
    // Connections are accepted in order, so the one above is accepted before this one.
    drop(secure_get(address, "/healthz").await);
    assert!(server.shutdown(TEST_TIMEOUT).await);
    let mut rest = Vec::new();
    drop(
        timeout(TEST_TIMEOUT, open.read_to_end(&mut rest))
            .await
            .expect("an end"),
    );
}

#[tokio::test]
async fn a_certificate_is_replaced_for_new_connections() {
    let server = Server::builder().build().expect("valid settings");
    let tls = certificates(&files()).tls();
    let bound = Listener::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let address = bound.address();
    server.serve(bound.with_tls(tls.clone()));
    let local = start_tunnel(address).await;
    let (mut ada, _) = Client::join(local, "r", "ada").await;
    let toml = format!("[tls]\ncert = \"{FILES}/rsa.pem\"\nkey = \"{FILES}/rsa-pkcs8.key\"\n");
    tls.replace(certificates(&toml).setup());
    assert!(
        connect_with(address, &[]).await.is_err(),
        "the new certificate is not trusted"
    );
    ada.send(r#"{"type":"message","data":"still here","targetID":"ada"}"#)
        .await;
    ada.next().await;
}

/// Accepts every certificate, so that the test can see which one the server sends.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let provider = ring::default_provider();
        provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

async fn failed_handshakes(address: SocketAddr) -> u64 {
    let metrics = metrics(address).await;
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("switchboard_tls_handshakes_failed_total "));
    line.expect("a metric").parse().expect("a number")
}

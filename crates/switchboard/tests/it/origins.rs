//! The origins of pages and the hosts of requests, on every route: `access.allowed_origins` and `access.allowed_hosts`.

use std::net::SocketAddr;

use switchboard::{Config, Listener, Server, testing::public_routes};
use switchboard_dialects::ALL;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::client::{TEST_TIMEOUT, config, open_second_of_two_nodes, start};

/// A page, a pattern, a site for voice and one for PeerJS.
const LISTED: &str = "[access]
allowed_origins = [\"https://app.test\", \"https://*.example.test\"]
[gostream]
site.origin = \"https://site.test\"
[peerjs]
cors_origins = \"*, https://peers.test\"
";

/// Origins that [`LISTED`] allows, without that of the server.
const ALLOWED: [&str; 4] = [
    "https://app.test",
    "HTTPS://a.b.example.test:443",
    "https://site.test",
    "https://peers.test",
];

const REFUSED: [&str; 6] = [
    "https://evil.test",
    "http://app.test",
    "https://example.test",
    "null",
    "*",
    "not an origin",
];

/// A request of a page or a program.
struct Asked<'a> {
    method: &'a str,
    path: &'a str,
    is_socket: bool,
    host: String,
    /// Lines of the head, for example `Origin: https://a.test\r\n`.
    headers: String,
}

impl<'a> Asked<'a> {
    fn new(address: SocketAddr, (path, is_socket): (&'a str, bool)) -> Self {
        Self {
            method: "GET",
            path,
            is_socket,
            host: address.to_string(),
            headers: String::new(),
        }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    /// The head of the response, and the text of a refusal.
    async fn send(&self, address: SocketAddr) -> Answered {
        let handshake = match self.is_socket {
            true => {
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            }
            false => "Connection: close\r\n",
        };
        let Self {
            method,
            path,
            host,
            headers,
            ..
        } = self;
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}{handshake}\r\n");
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream
            .write_all(head.as_bytes())
            .await
            .expect("the server reads");
        let mut response = Vec::new();
        let reading = async {
            while !is_complete(&response) {
                if stream.read_buf(&mut response).await.expect("an answer") == 0 {
                    break;
                }
            }
        };
        timeout(TEST_TIMEOUT, reading)
            .await
            .expect("an answer in time");
        Answered(String::from_utf8_lossy(&response).to_ascii_lowercase())
    }
}

/// Whether a response has its head and, if it is a refusal, its text.
fn is_complete(response: &[u8]) -> bool {
    let text = String::from_utf8_lossy(response);
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body);
    body.is_some_and(|body| !text.starts_with("HTTP/1.1 403") || body.ends_with('\n'))
}

struct Answered(String);

impl Answered {
    fn is_refused_for(&self, setting: &str) -> bool {
        self.0.starts_with("http/1.1 403 ") && self.0.contains(setting)
    }

    fn header(&self, name: &str) -> Option<&str> {
        let start = format!("\r\n{name}: ");
        let (_, rest) = self.0.split_once(&start)?;
        rest.split("\r\n").next()
    }
}

/// Every route of the main listener, with its parameters filled in.
fn routes(config: &Config) -> Vec<(String, bool)> {
    let filled = |path: &str| {
        let segments = path
            .split('/')
            .map(|segment| match segment.starts_with('{') {
                true => "x",
                false => segment,
            });
        segments.collect::<Vec<_>>().join("/")
    };
    let routes = public_routes(config).into_iter();
    routes
        .map(|(path, is_socket)| (filled(&path), is_socket))
        .collect()
}

async fn is_refused(address: SocketAddr, route: &(String, bool), origin: Option<&str>) -> bool {
    let asked = Asked::new(address, (&route.0, route.1));
    let asked = match origin {
        Some(origin) => asked.with("Origin", origin),
        None => asked,
    };
    asked
        .send(address)
        .await
        .is_refused_for("access.allowed_origins")
}

#[tokio::test]
async fn pages_of_listed_origins_reach_every_route_and_others_none() {
    let (server, address) = start(LISTED);
    let own = format!("http://{address}");
    let routes = routes(server.config());
    assert!(routes.len() > 40, "{routes:?}");
    for route in &routes {
        assert!(!is_refused(address, route, None).await, "{route:?}");
        for origin in ALLOWED.into_iter().chain([own.as_str()]) {
            assert!(
                !is_refused(address, route, Some(origin)).await,
                "{route:?} {origin}"
            );
        }
        for origin in REFUSED {
            assert!(
                is_refused(address, route, Some(origin)).await,
                "{route:?} {origin}"
            );
        }
    }
    let metrics = crate::client::metrics(address).await;
    let expected = format!(
        "refusals_total{{reason=\"origin\"}} {}",
        routes.len() * REFUSED.len()
    );
    assert!(metrics.contains(&expected), "{metrics}");
}

#[tokio::test]
async fn pages_of_every_origin_reach_every_route_by_default() {
    let (server, address) = start("");
    for route in &routes(server.config()) {
        for origin in ALLOWED.into_iter().chain(REFUSED) {
            assert!(
                !is_refused(address, route, Some(origin)).await,
                "{route:?} {origin}"
            );
        }
    }
}

#[tokio::test]
async fn no_dialect_is_a_way_around_the_list() {
    let (server, address) = start(LISTED);
    for dialect in ALL {
        let name = dialect.traits().name;
        for path in ["/ws", "/connect", "/nothing"] {
            let route = (format!("{path}?dialect={name}"), true);
            assert!(
                is_refused(address, &route, Some("https://evil.test")).await,
                "{route:?}"
            );
        }
        let listener = Listener::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let alone = listener.address();
        assert!(server.serve_dialect(listener, name), "{name}");
        let endpoints = dialect.endpoints(dialect.standalone_path()).into_iter();
        let sockets = endpoints.filter(|endpoint| endpoint.accepts.accepts_sockets());
        let paths = sockets.map(|endpoint| (endpoint.path.replace(['{', '}', '*'], ""), true));
        for route in paths.chain([("/ice-servers".to_owned(), false)]) {
            assert!(
                is_refused(alone, &route, Some("https://evil.test")).await,
                "{name} {route:?}"
            );
            assert!(
                !is_refused(alone, &route, Some("https://app.test")).await,
                "{name} {route:?}"
            );
        }
    }
}

#[tokio::test]
async fn only_allowed_pages_may_read_responses_and_preflights() {
    let (_server, address) = start(LISTED);
    for path in [
        "/ice-servers",
        "/peerjs/id",
        "/voice/mode",
        "/listRoom",
        "/getCallTicket",
    ] {
        for method in ["GET", "OPTIONS"] {
            for (origin, expected) in [
                ("https://app.test", Some("https://app.test")),
                ("https://site.test", Some("https://site.test")),
                ("https://peers.test", Some("https://peers.test")),
                ("https://evil.test", None),
            ] {
                let asked = Asked {
                    method,
                    ..Asked::new(address, (path, false))
                };
                let asked = asked.with("Access-Control-Request-Method", "GET");
                let answer = asked.with("Origin", origin).send(address).await;
                let allowed = answer.header("access-control-allow-origin");
                assert_eq!(allowed, expected, "{method} {path} {origin}: {}", answer.0);
                assert!(
                    answer.0.contains("\r\nvary: origin"),
                    "{method} {path}: {}",
                    answer.0
                );
                assert!(answer.header("access-control-allow-credentials").is_none());
            }
        }
    }
}

#[tokio::test]
async fn health_probes_are_not_checked() {
    let hosts = "[access]\nallowed_hosts = [\"server.test\"]\nallowed_origins = []\n";
    let (_server, address) = start(hosts);
    for path in ["/healthz", "/readyz"] {
        let asked = Asked::new(address, (path, false)).with("Origin", "https://evil.test");
        assert!(
            asked.send(address).await.0.starts_with("http/1.1 200"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn every_route_has_the_listed_hosts_only() {
    let (server, address) =
        start("[access]\nallowed_hosts = [\"server.test\", \"*.server.test\"]\n");
    let routes = routes(server.config());
    for (path, is_socket) in &routes {
        for (host, is_allowed) in [
            ("server.test", true),
            ("A.server.test:8080", true),
            ("rebound.test", false),
            (&address.to_string(), false),
        ] {
            let asked = Asked {
                host: host.to_owned(),
                ..Asked::new(address, (path, *is_socket))
            };
            // The page of a rebound name has the origin of the server, and believes that it is a proxy.
            let asked = asked.with("Origin", &format!("http://{host}"));
            let asked = asked.with("X-Forwarded-Host", "server.test");
            let is_refused = asked
                .send(address)
                .await
                .is_refused_for("access.allowed_hosts");
            assert_eq!(is_refused, !is_allowed, "{path} {host}");
        }
    }
    let text = crate::client::metrics(address).await;
    let expected = format!("refusals_total{{reason=\"host\"}} {}", routes.len() * 2);
    assert!(text.contains(&expected), "{text}");
}

#[tokio::test]
async fn own_origin_is_known_behind_a_trusted_proxy() {
    let proxied = format!("[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n{LISTED}");
    for (settings, is_trusted) in [(proxied.as_str(), true), (LISTED, false)] {
        let (_server, address) = start(settings);
        let ask = |origin: &str, scheme: &str| {
            let asked = Asked::new(address, ("/ice-servers", false)).with("Origin", origin);
            asked
                .with("X-Forwarded-Host", "public.test")
                .with("X-Forwarded-Proto", scheme)
        };
        for (origin, scheme, is_own) in [
            ("https://public.test", "https", true),
            ("http://public.test", "https", false),
            ("http://public.test", "http", true),
            ("https://other.test", "https", false),
        ] {
            let is_refused = ask(origin, scheme).send(address).await;
            let is_refused = is_refused.is_refused_for("access.allowed_origins");
            assert_eq!(
                is_refused,
                !(is_own && is_trusted),
                "{origin} {scheme} {is_trusted}"
            );
        }
    }
}

#[tokio::test]
async fn the_node_of_the_client_checks_the_origin_of_forwarded_requests() {
    let (_server, address) = open_second_of_two_nodes(Server::builder().config(config(LISTED)));
    let ask = |origin: &str| Asked::new(address, ("/listRoom", false)).with("Origin", origin);
    let allowed = ask("https://app.test").send(address).await;
    assert_eq!(
        allowed.header("access-control-allow-origin"),
        Some("https://app.test"),
        "{}",
        allowed.0
    );
    assert!(!allowed.0.starts_with("http/1.1 403"), "{}", allowed.0);
    for secret in ["", "guessed"] {
        let asked = ask("https://evil.test").with("X-Switchboard-Node-Secret", secret);
        let asked = asked.with("X-Switchboard-Client", "127.0.0.1");
        assert!(
            asked
                .send(address)
                .await
                .is_refused_for("access.allowed_origins"),
            "{secret:?}"
        );
    }
}

#[test]
fn a_cookie_needs_a_list_of_origins() {
    let errors = |toml: &str| {
        let mut config = Config::default();
        let mut errors = config.read_toml("f", toml);
        errors.extend(config.validate());
        let errors = errors.iter().map(ToString::to_string);
        errors.collect::<Vec<_>>().join("\n")
    };
    let cookie = "[access]\ncookie = \"session\"\n";
    assert!(
        errors(cookie).contains("allowed_origins"),
        "{}",
        errors(cookie)
    );
    assert_eq!(
        errors(&format!(
            "{cookie}allowed_origins = [\"https://app.test\"]\n"
        )),
        ""
    );
    let invalid =
        errors("[access]\nallowed_origins = [\"app.test\"]\nallowed_hosts = [\"http://x\"]\n");
    assert!(
        invalid.contains("f:2:") && invalid.contains("f:3:"),
        "{invalid}"
    );
    assert!(invalid.contains("https://app.example.org"), "{invalid}");
}

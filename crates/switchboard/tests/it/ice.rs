//! `GET /ice-servers` at the socket.

use std::net::SocketAddr;

use axum::Router;
use serde_json::{Value, json};
use switchboard::{Denial, Listener, Server};
use tokio::net::TcpListener;

use crate::{
    client::{Client, config, get, http, open, start},
    nodes::SharedEngine,
};

const ICE: &str = "[ice]\nservers = [{ urls = [\"stun:stun.example\"] }]\n[ice.turn]\nurls = [\"turn:turn.example\"]\nsecret = \"GEHEIM\"\nttl = 60\n";

fn document(response: &str) -> Value {
    let (_, body) = response.split_once("\r\n\r\n").expect("a body");
    serde_json::from_str(body).expect("JSON")
}

#[tokio::test]
async fn clients_get_servers_with_credentials_of_their_own() {
    let (_server, address) = start(ICE);
    let [first, second] = [
        get(address, "/ice-servers").await,
        get(address, "/ice-servers").await,
    ];
    assert!(first.starts_with("HTTP/1.1 200 "), "{first}");
    assert!(first.contains("\r\ncontent-type: application/json\r\n"));
    assert!(first.contains("\r\ncache-control: no-store\r\n"), "{first}");
    assert!(!first.contains("GEHEIM"), "{first}");
    let servers = document(&first)["iceServers"].clone();
    assert_eq!(servers[0], json!({"urls": ["stun:stun.example"]}));
    assert_eq!(servers[1]["urls"], json!(["turn:turn.example"]));
    let username = servers[1]["username"].as_str().expect("a username");
    let (expiry, user) = username.split_once(':').expect("expiry and user");
    assert!(
        expiry.parse::<u64>().is_ok() && user.len() == 16,
        "{username}"
    );
    let credential = servers[1]["credential"].as_str().expect("a credential");
    assert_eq!(credential.len(), 28, "base64 of 20 bytes");
    assert_ne!(servers[1], document(&second)["iceServers"][1]);
}

#[tokio::test]
async fn the_list_is_empty_without_configured_servers() {
    let (_server, address) = start("");
    let response = get(address, "/ice-servers").await;
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    assert_eq!(document(&response), json!({"iceServers": []}));
}

#[tokio::test]
async fn pages_of_other_origins_can_read_the_servers() {
    let (_server, address) = start("");
    for (method, status) in [("GET", "200"), ("OPTIONS", "204"), ("POST", "405")] {
        let head = format!(
            "{method} /ice-servers HTTP/1.1\r\nHost: x\r\nOrigin: https://a.example\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let response = http(address, &head).await;
        assert!(
            response.starts_with(&format!("HTTP/1.1 {status} ")),
            "{response}"
        );
        let allowed = "\r\naccess-control-allow-origin: https://a.example\r\n";
        assert!(response.contains(allowed), "{response}");
    }
}

#[tokio::test]
async fn clients_that_may_not_connect_get_no_credentials() {
    let builder = Server::builder()
        .config(config(ICE))
        .on_connect(|_| async { Err(Denial::default()) });
    let (_server, address) = open(builder);
    let response = get(address, "/ice-servers").await;
    assert!(response.starts_with("HTTP/1.1 403 "), "{response}");
    assert!(!response.contains("credential"), "{response}");
}

#[tokio::test]
async fn a_nested_router_serves_the_ice_servers() {
    let server = Server::builder()
        .config(config(ICE))
        .build()
        .expect("valid settings");
    let app = Router::new().nest("/signaling", server.router());
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(axum::serve(listener, app).into_future());
    let response = get(address, "/signaling/ice-servers").await;
    assert_eq!(
        document(&response)["iceServers"][0]["urls"][0],
        "stun:stun.example"
    );
}

/// Starts a listener of one dialect.
fn listener_of(server: &Server, dialect: &str) -> SocketAddr {
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let address = listener.address();
    SharedEngine::unlink_node(address);
    assert!(server.serve_dialect(listener, dialect), "{dialect}");
    address
}

#[tokio::test]
async fn a_listener_of_one_dialect_serves_the_path_if_it_is_free() {
    let (server, _) = start(ICE);
    for dialect in ["lightstream", "p2p", "singo", "mesh", "ayame", "peerjs"] {
        let response = get(listener_of(&server, dialect), "/ice-servers").await;
        assert!(
            response.starts_with("HTTP/1.1 200 "),
            "{dialect}: {response}"
        );
        let servers = document(&response)["iceServers"].clone();
        assert_eq!(servers[0]["urls"][0], "stun:stun.example", "{dialect}");
    }
}

#[tokio::test]
async fn dialects_keep_the_path_if_it_is_one_of_theirs() {
    let (server, _) = start(ICE);
    let response = get(listener_of(&server, "y-webrtc"), "/ice-servers").await;
    assert!(response.ends_with("okay"), "{response}");
    // In matchbox, this path is a room.
    let address = listener_of(&server, "matchbox");
    let mut player = Client::open(address, "/ice-servers").await;
    assert!(player.next().await["IdAssigned"].is_string());
    let response = get(address, "/ice-servers").await;
    assert!(!response.contains("iceServers"), "{response}");
}

#[tokio::test]
async fn the_accept_frame_of_ayame_carries_the_servers_on_every_listener() {
    let (server, address) = start(ICE);
    let alone = listener_of(&server, "ayame");
    for (address, room) in [(address, "r1"), (alone, "r2")] {
        let mut client = Client::open(address, "/signaling").await;
        let register = json!({"type": "register", "roomId": room}).to_string();
        client.send(&register).await;
        let servers = client.next_of("accept").await["iceServers"].clone();
        assert_eq!(servers[0], json!({"urls": ["stun:stun.example"]}));
        let username = servers[1]["username"].as_str();
        assert!(username.is_some_and(|name| name.contains(':')), "{servers}");
    }
}

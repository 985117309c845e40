//! The admin API: its grants, what it shows, and its orders, in several dialects and over two nodes.

use std::net::SocketAddr;

use serde_json::{Value, json};
use switchboard::{AdminKey, Builder, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    client::{
        Client, TEST_TIMEOUT, config, http, internal_address, rejected_status, request, serve,
    },
    nodes::{RunningNode, SharedEngine},
};

const KEY: &str = "key-of-this-test-0123456789";

/// A moderator of rooms that begin with `team-`, and a participant.
const ACCESS: &str = "[access]\nauthenticators = [\"keys\", \"none\"]\nkeys = [\
    { key = \"key-of-mod-000000\", subject = \"mod\", grants = [\"moderate:team-*\", \"*\"] }, \
    { key = \"key-of-eve-000000\", subject = \"eve\", grants = [\"*\"] }]\n";

const MODERATOR: &str = "key-of-mod-000000";
const PARTICIPANT: &str = "key-of-eve-000000";

fn builder(toml: &str) -> Builder {
    let builder = Server::builder().config(config(toml));
    builder.admin_key(AdminKey::from_text(KEY))
}

fn start(toml: &str) -> (Server, SocketAddr) {
    serve(builder(toml).build().expect("valid settings"))
}

/// Sends a request to the admin API of the server with this main address. Returns the head and the body.
async fn send(
    address: SocketAddr,
    token: Option<&str>,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> (String, String) {
    let body = body.map(Value::to_string).unwrap_or_default();
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
    let token = token.unwrap_or_default();
    let length = body.len();
    let head = format!(
        "{method} /admin/v1{path} HTTP/1.1\r\nHost: localhost\r\n{token}Content-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    let answer = http(internal_address(address), &head).await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a response");
    (head.to_owned(), body.to_owned())
}

async fn call(
    address: SocketAddr,
    token: &str,
    method: &str,
    path: &str,
    body: Option<Value>,
) -> (u16, Value) {
    let (head, body) = send(address, Some(token), method, path, body.as_ref()).await;
    let status = head.split(' ').nth(1).and_then(|it| it.parse().ok());
    let body = serde_json::from_str(&body).unwrap_or_else(|_| panic!("no JSON: {head} {body}"));
    (status.expect("a status"), body)
}

async fn get(address: SocketAddr, path: &str) -> Value {
    let (status, body) = call(address, KEY, "GET", path, None).await;
    assert_eq!(status, 200, "{path}: {body}");
    body
}

async fn post(address: SocketAddr, path: &str, body: Value) -> Value {
    let (status, answer) = call(address, KEY, "POST", path, Some(body)).await;
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

#[tokio::test]
async fn every_call_needs_a_token_in_the_header_with_the_grant() {
    let (_server, address) = start(ACCESS);
    for (method, path) in [
        ("GET", "/nodes"),
        ("POST", "/nodes/self/drain"),
        ("DELETE", "/nodes/self/drain"),
        ("GET", "/rooms"),
        ("GET", "/room?name=team-a"),
        ("POST", "/room/close"),
        ("POST", "/room/lock"),
        ("POST", "/room/message"),
        ("GET", "/sessions"),
        ("GET", "/sessions/x"),
        ("GET", "/voice"),
        ("POST", "/kick"),
        ("GET", "/bans"),
        ("POST", "/bans"),
        ("DELETE", "/bans/x"),
        ("GET", "/events"),
        ("GET", "/settings"),
    ] {
        for (token, path) in [
            (None, path.to_owned()),
            (
                None,
                format!(
                    "{path}{}access_token={KEY}",
                    if path.contains('?') { '&' } else { '?' }
                ),
            ),
            (Some("wrong"), path.to_owned()),
        ] {
            let (head, body) = send(address, token, method, &path, None).await;
            assert!(head.starts_with("HTTP/1.1 401 "), "{method} {path}: {head}");
            assert!(head.contains("\r\nwww-authenticate: Bearer"), "{head}");
            assert!(head.contains("\r\ncache-control: no-store"), "{head}");
            assert!(body.contains(r#""code":"unauthorized""#), "{body}");
        }
        let body = json!({"room": {"name": "team-a"}, "text": "x", "locked": true, "ttl_secs": 1, "session": "x"});
        let body = match path {
            "/room/close" => json!({"room": body["room"]}),
            "/room/lock" => json!({"room": body["room"], "locked": true}),
            "/room/message" => json!({"room": body["room"], "text": "x"}),
            "/bans" => json!({"identity": "x", "ttl_secs": 1}),
            _ => json!({"identity": "x"}),
        };
        let (status, answer) = call(address, PARTICIPANT, method, path, Some(body)).await;
        assert_eq!(status, 403, "{method} {path}: {answer}");
        assert_eq!(answer["code"], "forbidden");
    }
}

#[tokio::test]
async fn answers_are_json_also_for_wrong_paths_methods_and_bodies() {
    let (_server, address) = start("");
    for (method, path, body, status) in [
        ("GET", "/nothing", json!(null), 404),
        ("POST", "/nodes", json!(null), 405),
        ("GET", "/rooms?limit=0", json!(null), 400),
        ("GET", "/rooms?cursor=!", json!(null), 400),
        ("GET", "/room?name=nobody", json!(null), 404),
        ("GET", "/sessions/nobody", json!(null), 404),
        ("DELETE", "/bans/none", json!(null), 404),
        ("POST", "/nodes/none/drain", json!(null), 404),
        (
            "POST",
            "/kick",
            json!({"identity": "a", "sesion": "b"}),
            400,
        ),
        ("POST", "/kick", json!({}), 400),
        (
            "POST",
            "/bans",
            json!({"address": "0.0.0.0/0", "ttl_secs": 9}),
            400,
        ),
        (
            "POST",
            "/bans",
            json!({"identity": "a", "ttl_secs": 0}),
            400,
        ),
        (
            "POST",
            "/room/message",
            json!({"room": {"name": "r"}, "text": ""}),
            400,
        ),
        (
            "POST",
            "/room/message",
            json!({"room": {"name": "r"}, "text": "x"}),
            404,
        ),
        (
            "POST",
            "/room/message",
            json!({"text": "x".repeat(40_000)}),
            413,
        ),
    ] {
        let (found, answer) = call(address, KEY, method, path, Some(body)).await;
        assert_eq!(found, status, "{method} {path}: {answer}");
        assert!(answer["message"].is_string() && answer["code"].is_string());
    }
    let description = get(address, "/openapi.json").await;
    assert_eq!(description["info"]["title"], "Switchboard admin API");
}

#[tokio::test]
async fn rooms_sessions_and_settings_are_shown() {
    let (_server, address) =
        start("[server]\nport = 81\n[ice.turn]\nurls = [\"turn:t\"]\nsecret = \"GEHEIM\"\n");
    let (_ada, _) = Client::join(address, "lobby", "ada").await;
    let (_bob, _) = Client::join(address, "lobby", "bob").await;
    let (_eve, _) = Client::join(address, "team", "eve").await;
    let page = get(address, "/rooms?limit=1").await;
    assert_eq!(page["rooms"][0]["room"]["name"], "lobby");
    assert_eq!(page["rooms"][0]["members"], 2);
    let cursor = page["next"].as_str().expect("a second page");
    let page = get(address, &format!("/rooms?limit=1&cursor={cursor}")).await;
    assert_eq!(page["rooms"][0]["room"]["name"], "team");
    assert!(page.get("next").is_none());
    let page = get(address, "/rooms?prefix=te").await;
    assert_eq!(page["rooms"].as_array().map(Vec::len), Some(1));
    let room = get(address, "/room?name=lobby").await;
    assert_eq!(
        (&room["total"], &room["members"][1]["address"]),
        (&json!(2), &json!("bob"))
    );
    assert_eq!(room["members"][0]["client_address"], "127.0.0.1");
    let sessions = get(address, "/sessions?address=127.0.0.0/8&dialect=lightstream").await;
    assert_eq!(sessions["sessions"].as_array().map(Vec::len), Some(3));
    let id = room["members"][0]["session"].as_str().expect("an id");
    let session = get(address, &format!("/sessions/{id}")).await;
    assert_eq!(session["session"]["rooms"][0]["name"], "lobby");
    let kinds: Vec<_> = session["events"]
        .as_array()
        .expect("events")
        .iter()
        .map(|it| &it["type"])
        .collect();
    assert_eq!(kinds, ["connected", "joined"]);
    let nodes = get(address, "/nodes").await;
    assert_eq!(
        (&nodes["this"], &nodes["nodes"][0]["state"]["connections"]),
        (&json!("self"), &json!(3))
    );
    assert_eq!(get(address, "/voice").await["rooms"], json!([]));
    let settings = get(address, "/settings").await;
    let toml = settings["toml"].as_str().expect("text");
    assert!(toml.contains("port = 81") && toml.contains("***") && !toml.contains("GEHEIM"));
    assert!(
        settings["changed"]
            .as_array()
            .expect("a list")
            .contains(&json!("server.port"))
    );
}

#[tokio::test]
async fn kicked_clients_are_told_the_reason_and_may_come_back() {
    let (_server, address) = start("");
    for target in ["session", "address", "member"] {
        let (mut ada, _) = Client::join(address, "lobby", "ada").await;
        let room = get(address, "/room?name=lobby").await;
        let body = match target {
            "session" => json!({"session": room["members"][0]["session"], "reason": "be nice"}),
            "address" => {
                json!({"address": "127.0.0.1", "room": {"name": "lobby"}, "reason": "be nice"})
            }
            _ => json!({"member": "ada", "room": {"name": "lobby"}, "reason": "be nice"}),
        };
        assert_eq!(post(address, "/kick", body).await["count"], 1, "{target}");
        assert_eq!(ada.close_frame().await, (1008, "be nice".to_owned()));
    }
    let other = json!({"address": "127.0.0.1", "room": {"name": "other"}});
    assert_eq!(post(address, "/kick", other).await["count"], 0);
}

#[tokio::test]
async fn banned_clients_can_neither_connect_nor_join_until_the_ban_is_removed() {
    let (_server, address) = start(ACCESS);
    let path = format!("/ws?access_token={PARTICIPANT}");
    let mut eve = Client::open(address, &path).await;
    eve.send(r#"{"type":"join","roomID":"lobby","senderID":"e"}"#)
        .await;
    assert_eq!(eve.next().await["type"], "peers");
    let ban =
        json!({"member": "e", "room": {"name": "lobby"}, "ttl_secs": 60, "reason": "not here"});
    let made = post(address, "/bans", ban).await;
    assert_eq!(
        (&made["count"], &made["ban"]["identity"]),
        (&json!(1), &json!("eve"))
    );
    assert_eq!(eve.close_code().await, 1008);
    // The ban is from one room.
    let mut eve = Client::open(address, &path).await;
    eve.send(r#"{"type":"join","roomID":"lobby","senderID":"e"}"#)
        .await;
    let denied = eve.next().await;
    assert_eq!(
        (&denied["code"], &denied["data"]),
        (&json!("denied"), &json!("not here")),
        "{denied}"
    );
    eve.send(r#"{"type":"join","roomID":"other","senderID":"e"}"#)
        .await;
    assert_eq!(eve.next().await["type"], "peers");
    let everywhere = post(address, "/bans", json!({"identity": "eve", "ttl_secs": 60})).await;
    assert_eq!(everywhere["count"], 1);
    assert_eq!(eve.close_code().await, 1008);
    assert_eq!(rejected_status(request(address, &path)).await, 403);
    let list = get(address, "/bans").await;
    assert_eq!(list["bans"].as_array().map(Vec::len), Some(2));
    let id = everywhere["ban"]["id"].as_str().expect("an id");
    let (status, _) = call(address, KEY, "DELETE", &format!("/bans/{id}"), None).await;
    assert_eq!(status, 200);
    let _eve = Client::open(address, &path).await;
    let net = post(
        address,
        "/bans",
        json!({"address": "127.0.0.0/8", "ttl_secs": 60}),
    )
    .await;
    assert_eq!(net["count"], 1);
    for path in [
        "/ws",
        "/signaling",
        "/peerjs?key=peerjs&id=a&token=b",
        "/matchbox/r",
        "/y-webrtc",
    ] {
        assert_eq!(rejected_status(request(address, path)).await, 403, "{path}");
    }
    let voice = crate::client::get(address, "/listRoom").await;
    assert!(voice.starts_with("HTTP/1.1 403 "), "{voice}");
}

#[tokio::test]
async fn moderator_acts_in_its_rooms_only() {
    let (_server, address) = start(ACCESS);
    let (mut ada, _) = Client::join(address, "team-a", "ada").await;
    let (_bob, _) = Client::join(address, "lobby", "bob").await;
    let ours = json!({"name": "team-a"});
    let theirs = json!({"name": "lobby"});
    let member = |room: &Value| json!({"member": "ada", "room": room});
    let ban = |room: &Value| json!({"member": "ada", "room": room, "ttl_secs": 9});
    for (path, body) in [
        ("/room/message", json!({"room": theirs, "text": "x"})),
        ("/room/lock", json!({"room": theirs, "locked": true})),
        ("/room/close", json!({"room": theirs})),
        (
            "/room/lock",
            json!({"room": {"name": "team-a", "space": "x"}, "locked": true}),
        ),
        ("/kick", member(&theirs)),
        ("/kick", json!({"address": "127.0.0.1"})),
        ("/bans", ban(&theirs)),
        ("/bans", json!({"address": "127.0.0.1", "ttl_secs": 9})),
    ] {
        let (status, answer) = call(address, MODERATOR, "POST", path, Some(body)).await;
        assert_eq!(status, 403, "{path}: {answer}");
    }
    let message = json!({"room": ours, "text": "hello"});
    let (status, sent) = call(address, MODERATOR, "POST", "/room/message", Some(message)).await;
    assert_eq!((status, &sent["count"]), (200, &json!(1)), "{sent}");
    assert_eq!(ada.next().await["data"], "hello");
    let (status, made) = call(address, MODERATOR, "POST", "/bans", Some(ban(&ours))).await;
    assert_eq!(status, 200, "{made}");
    assert_eq!(made["ban"]["network"], "127.0.0.1/32");
    let everywhere = post(address, "/bans", json!({"identity": "x", "ttl_secs": 9})).await;
    for (ban, expected) in [(&made, 200), (&everywhere, 403)] {
        let path = format!("/bans/{}", ban["ban"]["id"].as_str().expect("an id"));
        let (status, answer) = call(address, MODERATOR, "DELETE", &path, None).await;
        assert_eq!(status, expected, "{answer}");
    }
}

#[tokio::test]
async fn locked_room_takes_no_client_of_any_dialect() {
    let (_server, address) = start("");
    let (mut ada, _) = Client::join(address, "lobby", "ada").await;
    post(
        address,
        "/room/close",
        json!({"room": {"name": "lobby"}, "lock": true}),
    )
    .await;
    assert_eq!(
        ada.close_frame().await,
        (1008, "the room was closed".to_owned())
    );
    let mut bob = Client::open(address, "/ws").await;
    bob.send(r#"{"type":"join","roomID":"lobby","senderID":"b"}"#)
        .await;
    let denied = bob.next().await;
    assert_eq!(denied["data"], "the room is locked", "{denied}");
    let mut singo = Client::open(address, "/connect").await;
    singo.next_of("notify-client-id").await;
    singo
        .send(r#"{"type":"join","payload":{"room_id":"lobby"}}"#)
        .await;
    let denied = singo.next().await.to_string();
    assert!(denied.contains("the room is locked"), "{denied}");
    let mut matchbox = Client::open(address, "/matchbox/lobby").await;
    assert_eq!(matchbox.close_code().await, 1008);
    assert_eq!(get(address, "/rooms").await["rooms"][0]["locked"], true);
    post(
        address,
        "/room/lock",
        json!({"room": {"name": "lobby"}, "locked": null}),
    )
    .await;
    let (_bob, _) = Client::join(address, "lobby", "b").await;
}

#[tokio::test]
async fn drained_node_is_not_ready_until_the_drain_ends() {
    let (_server, address) = start("");
    post(address, "/nodes/self/drain", json!(null)).await;
    let ready = crate::client::get(address, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503 "), "{ready}");
    assert_eq!(
        get(address, "/nodes").await["nodes"][0]["state"]["draining"],
        true
    );
    let (status, _) = call(address, KEY, "DELETE", "/nodes/self/drain", None).await;
    assert_eq!(status, 200);
    assert!(
        crate::client::get(address, "/readyz")
            .await
            .starts_with("HTTP/1.1 200 ")
    );
}

/// A stream of live events.
struct EventReader(tokio::net::TcpStream, String);

impl EventReader {
    async fn open(address: SocketAddr, last: Option<&str>) -> Self {
        let stream = tokio::net::TcpStream::connect(internal_address(address)).await;
        let mut stream = stream.expect("a connection");
        let last = last
            .map(|id| format!("Last-Event-ID: {id}\r\n"))
            .unwrap_or_default();
        let head = format!(
            "GET /admin/v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n{last}\r\n"
        );
        stream.write_all(head.as_bytes()).await.expect("sent");
        let mut reader = Self(stream, String::new());
        let head = reader.until("\r\n\r\n").await;
        assert!(head.contains("text/event-stream"), "{head}");
        reader
    }

    async fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.1.find(end) {
                let rest = self.1.split_off(at + end.len());
                return std::mem::replace(&mut self.1, rest);
            }
            let mut buffer = [0; 4096];
            let read = tokio::time::timeout(TEST_TIMEOUT, self.0.read(&mut buffer)).await;
            let count = read.expect("an event in time").expect("a stream");
            assert_ne!(count, 0, "the stream has ended");
            self.1 += &String::from_utf8_lossy(&buffer[..count]);
        }
    }

    /// The next event of this kind: its id and data.
    async fn next(&mut self, kind: &str) -> (String, Value) {
        loop {
            let event = self.until("\n\n").await;
            let field = |name: &str| {
                let mut lines = event.lines();
                lines
                    .find_map(|line| line.strip_prefix(name))
                    .map(str::to_owned)
            };
            if field("event: ").as_deref() == Some(kind) {
                let data = serde_json::from_str(&field("data: ").expect("data"));
                return (field("id: ").expect("an id"), data.expect("JSON"));
            }
        }
    }
}

#[tokio::test]
async fn event_stream_resumes_where_it_was() {
    let (_server, address) = start("");
    let mut events = EventReader::open(address, None).await;
    // The stream begins when the follower of this node has its position: the first event may come before.
    let (_ada, _) = Client::join(address, "lobby", "ada").await;
    let (_bob, _) = Client::join(address, "lobby", "bob").await;
    let (id, _) = events.next("joined").await;
    drop(events);
    let (_eve, _) = Client::join(address, "lobby", "eve").await;
    let mut resumed = EventReader::open(address, Some(&id)).await;
    loop {
        let (_, joined) = resumed.next("joined").await;
        assert_ne!(joined["member"], "ada", "an event that was read already");
        if joined["member"] == "eve" {
            break;
        }
    }
    post(address, "/kick", json!({"address": "192.0.2.1"})).await;
    let (_, ordered) = resumed.next("ordered").await;
    assert_eq!(
        (&ordered["by"], &ordered["order"]),
        (&json!("admin key"), &json!("kick"))
    );
}

/// Two nodes that share a cluster.
fn two_nodes(toml: &str) -> (RunningNode, RunningNode) {
    let nodes = SharedEngine::new();
    (nodes.serve(builder(toml)), nodes.serve(builder(toml)))
}

#[tokio::test]
async fn calls_act_on_all_nodes_and_name_those_that_do_not_answer() {
    let engine = SharedEngine::new();
    let (one, two) = (engine.serve(builder("")), engine.serve(builder("")));
    let (mut ada, _) = Client::join(two.address, "lobby", "ada").await;
    let sessions = get(one.address, "/sessions").await;
    let id = sessions["sessions"][0]["id"].as_str().expect("a session");
    assert_eq!(sessions["sessions"][0]["node"], two.id.to_string());
    let nodes = get(one.address, "/nodes").await;
    assert_eq!(nodes["nodes"].as_array().map(Vec::len), Some(2));
    assert_eq!(nodes["failed_nodes"], json!([]));
    let sent = post(
        one.address,
        "/room/message",
        json!({"room": {"name": "lobby"}, "text": "hi"}),
    )
    .await;
    assert_eq!(sent["count"], 1);
    assert_eq!(ada.next().await["data"], "hi");
    let drain = format!("/nodes/{}/drain", two.id);
    post(one.address, &drain, json!(null)).await;
    let ready = crate::client::get(two.address, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503 "), "{ready}");
    let session = get(one.address, &format!("/sessions/{id}")).await;
    assert_eq!(session["session"]["node"], two.id.to_string());
    post(
        one.address,
        "/room/lock",
        json!({"room": {"name": "closed"}, "locked": true}),
    )
    .await;
    let mut bob = Client::open(two.address, "/ws").await;
    bob.send(r#"{"type":"join","roomID":"closed","senderID":"b"}"#)
        .await;
    assert_eq!(bob.next().await["data"], "the room is locked");
    let ban = json!({"address": "127.0.0.1", "ttl_secs": 60});
    assert_eq!(post(one.address, "/bans", ban).await["count"], 2);
    assert_eq!(ada.close_code().await, 1008);
    assert_eq!(rejected_status(request(two.address, "/ws")).await, 403);
    assert!(two.server.shutdown(TEST_TIMEOUT).await);
    let nodes = get(one.address, "/nodes").await;
    assert_eq!(
        nodes["failed_nodes"][0]["node"],
        two.id.to_string(),
        "{nodes}"
    );
}

#[tokio::test]
async fn new_node_takes_over_the_bans_and_locks() {
    let engine = SharedEngine::new();
    let one = engine.serve(builder(""));
    let ban = json!({"identity": "eve", "ttl_secs": 60});
    post(one.address, "/bans", ban).await;
    post(
        one.address,
        "/room/lock",
        json!({"room": {"name": "lobby"}, "locked": true}),
    )
    .await;
    let two = engine.serve(builder(""));
    let taken_over = async {
        while get(two.address, "/bans").await["bans"][0]["identity"] != "eve"
            || get(two.address, "/rooms").await["rooms"][0]["locked"] != true
        {
            tokio::task::yield_now().await;
        }
    };
    let taken_over = tokio::time::timeout(TEST_TIMEOUT, taken_over).await;
    taken_over.expect("the new node asks the other one");
}

#[tokio::test]
async fn calls_of_nodes_need_the_node_secret_and_the_grants_of_the_caller() {
    let (one, _two) = two_nodes("");
    let path = "/switchboard/node/v1/admin";
    let body = |grants: &str| {
        format!(r#"{{"caller":{{"subject":"x","space":"","grants":[{grants}]}},"action":"state"}}"#)
    };
    let post = async |secret: &str, body: String| {
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\n{secret}x-switchboard-node-format: admin-1\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        http(one.address, &head).await
    };
    let secret = format!("x-switchboard-node-secret: {}\r\n", crate::nodes::SECRET);
    for wrong in [
        "",
        "x-switchboard-node-secret: \r\n",
        "x-switchboard-node-secret: wrong\r\n",
    ] {
        let answer = post(wrong, body("\"admin\"")).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    }
    let answer = post(&secret, body("\"admin\"")).await;
    assert!(answer.contains("\"Ok\""), "{answer}");
    for grants in ["", "\"*\"", "\"moderate\"", "\"admin:team-*\""] {
        let answer = post(&secret, body(grants)).await;
        assert!(answer.contains("\"forbidden\""), "{answer}");
    }
    let single = start("").1;
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\n{secret}Content-Length: 0\r\nConnection: close\r\n\r\n"
    );
    let answer = http(single, &head).await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}

#[tokio::test]
async fn pages_of_other_sites_are_never_answered() {
    let (_server, address) = start("");
    for (headers, status) in [
        ("Host: localhost\r\nOrigin: https://evil.example\r\n", 403),
        ("Host: localhost\r\nOrigin: null\r\n", 403),
        ("Host: evil.example\r\n", 403),
        ("Host: localhost\r\n", 200),
    ] {
        let head = format!(
            "GET /admin/v1/nodes HTTP/1.1\r\n{headers}Authorization: Bearer {KEY}\r\nConnection: close\r\n\r\n"
        );
        let answer = http(internal_address(address), &head).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{headers}: {answer}"
        );
        assert!(
            !answer.to_lowercase().contains("access-control"),
            "{answer}"
        );
    }
}

//! The webhook that decides about clients: connects and joins, in every dialect and in voice.

use serde_json::{Value, json};
use switchboard::{
    Server,
    testing::{ClientDialect, TestServer},
};
use tokio_tungstenite::tungstenite::Error;

use crate::{
    client::{Client, config, get, metrics, open, request, start},
    hook_server::{HookAnswer, HookServer, SECRET},
};

fn settings(hook: &HookServer, more: &str) -> String {
    let url = &hook.url;
    format!("[access.webhook]\nurl = \"{url}\"\nsecret = \"{SECRET}\"\ntimeout = 1\n{more}\n")
}

fn authenticating(hook: &HookServer, more: &str) -> String {
    let access = "[access]\nauthenticators = [\"webhook\"]\n";
    format!("{access}{}", settings(hook, more))
}

fn text(value: &Value) -> HookAnswer {
    HookAnswer::Text(value.to_string())
}

fn allowed() -> HookAnswer {
    text(&json!({ "allowed": true }))
}

async fn refusal(address: std::net::SocketAddr, path: &str) -> (u16, String) {
    match Client::try_open(request(address, path)).await {
        Err(Error::Http(response)) => {
            let body = response.body().clone().unwrap_or_default();
            (
                response.status().as_u16(),
                String::from_utf8_lossy(&body).into(),
            )
        }
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("{path} was upgraded"),
    }
}

#[tokio::test]
async fn webhook_authenticates_clients() {
    let answer = |body: &Value| match body["token"].as_str() {
        Some("ada") => text(&json!({
            "allowed": true, "subject": "ada", "grants": ["join:team-*"], "ttl": 3600,
        })),
        Some("old") => text(&json!({ "allowed": true, "expires_at": 1 })),
        Some(_) => text(&json!({ "allowed": false, "reason": "Ask Eve." })),
        None => text(&json!({ "allowed": false })),
    };
    let hook = HookServer::start(answer).await;
    let (_server, address) = start(&authenticating(&hook, "events = [\"connect\"]"));
    let mut ada = Client::open(address, "/ws?dialect=lightstream&access_token=ada&x=1").await;
    let question = hook.next().await;
    assert_eq!(question["event"], "connect");
    assert_eq!(question["dialect"], "lightstream");
    assert_eq!(
        question["query"],
        json!({ "dialect": "lightstream", "x": "1" })
    );
    assert_eq!(question["address"], "127.0.0.1");
    for (room, kind) in [("other", "error"), ("team-a", "peers")] {
        ada.send(&json!({ "type": "join", "roomID": room, "senderID": "a" }).to_string())
            .await;
        assert_eq!(ada.next().await["type"], kind, "{room}");
    }
    let (status, text) = refusal(address, "/ws?access_token=bob").await;
    assert_eq!((status, &*text), (403, "Ask Eve.\n"));
    assert_eq!(refusal(address, "/ws?access_token=old").await.0, 401);
    assert_eq!(refusal(address, "/ws?dialect=mesh").await.0, 403);
    // A dialect with credentials in its first frame waits for that frame.
    let mut frame = Client::open(address, "/ws").await;
    frame
        .send(r#"{"type":"join","roomID":"team-a","senderID":"b","token":"bob"}"#)
        .await;
    assert_eq!(frame.next_of("error").await["data"], "Ask Eve.");
    assert_eq!(frame.close_code().await, 4403);
    let response = get(address, "/ice-servers?access_token=bob").await;
    assert!(response.starts_with("HTTP/1.1 403 "), "{response}");
}

#[tokio::test]
async fn denial_without_a_token_is_no_guess_and_closes_no_public_path() {
    let hook = HookServer::start(|_| text(&json!({ "allowed": false }))).await;
    let (_server, address) = start(&authenticating(&hook, "events = [\"connect\"]"));
    for path in ["/peerjs/id", "/.ok"] {
        let response = get(address, path).await;
        assert!(response.starts_with("HTTP/1.1 200 "), "{path}: {response}");
        let response = get(address, &format!("{path}?access_token=guess")).await;
        assert!(response.starts_with("HTTP/1.1 403 "), "{path}: {response}");
    }
    assert_eq!(refusal(address, "/ws?dialect=mesh").await.0, 403);
    let metrics = metrics(address).await;
    let count = "switchboard_failed_auth_total 2\n";
    assert!(
        metrics.contains(count),
        "the requests with a token: {metrics}"
    );
}

#[tokio::test]
async fn question_has_no_token_of_a_dialect_or_of_voice_in_its_query() {
    let hook = HookServer::start(|_| text(&json!({ "allowed": false }))).await;
    let (_server, address) = start(&authenticating(&hook, "events = [\"connect\"]"));
    assert_eq!(
        refusal(address, "/signalingserver?room=r&token=t").await.0,
        403
    );
    let question = hook.next().await;
    assert_eq!(
        (&question["query"], &question["token"]),
        (&json!({ "room": "r" }), &json!("t"))
    );
    get(address, "/listRoom?CSRFToken=t&TOKEN=t&x=1").await;
    let question = hook.next().await;
    assert_eq!(
        (&question["query"], &question["dialect"]),
        (&json!({ "x": "1" }), &json!("gostream"))
    );
}

#[tokio::test]
async fn client_is_refused_without_a_usable_decision() {
    let huge = format!("{{\"allowed\":true,\"reason\":\"{}\"}}", "x".repeat(70_000));
    let answer = move |body: &Value| match body["query"]["case"].as_str().unwrap_or_default() {
        "status" => HookAnswer::Status(500),
        "no-content" => HookAnswer::Status(204),
        "garbage" => HookAnswer::Text("<html>".to_owned()),
        "typo" => text(&json!({ "allowed": true, "grant": [] })),
        "huge" => HookAnswer::Text(huge.clone()),
        "redirect" => HookAnswer::Redirect,
        "hang" => HookAnswer::Hang,
        _ => allowed(),
    };
    let hook = HookServer::start(answer).await;
    let (_server, address) = start(&authenticating(&hook, "events = [\"connect\"]"));
    for case in [
        "status",
        "no-content",
        "garbage",
        "typo",
        "huge",
        "redirect",
        "hang",
    ] {
        let (status, text) = refusal(address, &format!("/ws?case={case}")).await;
        assert_eq!(status, 503, "{case}: {text}");
    }
    let _open = Client::open(address, "/ws?case=good").await;
}

#[tokio::test]
async fn requests_stop_while_the_webhook_is_unreachable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let hook = format!("http://{}/", listener.local_addr().expect("bound"));
    drop(listener);
    let toml = format!(
        "[access]\nauthenticators = [\"webhook\"]\n[access.webhook]\nurl = \"{hook}\"\nsecret = \"{SECRET}\"\n"
    );
    let (_server, address) = start(&toml);
    for _ in 0..8 {
        assert_eq!(refusal(address, "/ws").await.0, 503);
    }
    let metrics = metrics(address).await;
    for line in [
        "switchboard_webhook_breaker_open{webhook=\"access\"} 1",
        "switchboard_webhook_failures_total{webhook=\"access\"} 8",
        "switchboard_webhook_requests_total{webhook=\"access\"} 5",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
}

fn join_answer(body: &Value) -> HookAnswer {
    match body["roomId"].as_str() {
        Some("closed" | "peerjs") => text(&json!({ "allowed": false, "reason": "Staff only." })),
        Some("hanging") => HookAnswer::Hang,
        Some("broken") => HookAnswer::Text("[]".to_owned()),
        _ => allowed(),
    }
}

/// The frames with which a client of each dialect joins, and the place of the text of a refusal in the answer; `None`
/// if the dialect has no texts.
fn joins(room: &str) -> Vec<(&'static str, String, Vec<String>, Option<&'static str>)> {
    let ws = |query: &str| format!("/ws?dialect={query}");
    vec![
        (
            "lightstream",
            ws("lightstream"),
            vec![json!({ "type": "join", "roomID": room, "senderID": "bob" }).to_string()],
            Some("/data"),
        ),
        (
            "p2p",
            ws("p2p"),
            vec![
                json!({ "type": "IDENTIFY", "username": "bob" }).to_string(),
                json!({ "type": "JOIN_ROOM", "roomId": room }).to_string(),
            ],
            Some("/message"),
        ),
        (
            "singo",
            "/connect".to_owned(),
            vec![json!({ "type": "join", "payload": { "room_id": room } }).to_string()],
            Some("/payload/error"),
        ),
        (
            "mesh",
            format!("/signalingserver?room={room}"),
            Vec::new(),
            Some("/content/message"),
        ),
        (
            "ayame",
            "/signaling".to_owned(),
            vec![json!({ "type": "register", "roomId": room, "clientId": "bob" }).to_string()],
            Some("/reason"),
        ),
        (
            "matchbox",
            ws(&format!("matchbox&room={room}")),
            Vec::new(),
            None,
        ),
        (
            "y-webrtc",
            "/y-webrtc".to_owned(),
            vec![json!({ "type": "subscribe", "topics": [room] }).to_string()],
            None,
        ),
    ]
}

#[tokio::test]
async fn webhook_guards_the_room_in_every_dialect() {
    let hook = HookServer::start(join_answer).await;
    let toml = settings(&hook, "events = [\"join\"]");
    let server = TestServer::start(Server::builder().config(config(&toml))).expect("a server");
    for (dialect, path, frames, pointer) in joins("closed") {
        let mut bob = Client::open(server.address(), &path).await;
        for frame in frames {
            bob.send(&frame).await;
        }
        let question = hook.next_of("join").await;
        assert_eq!(question["roomId"], "closed", "{dialect}");
        assert_eq!(question["dialect"], dialect);
        let Some(pointer) = pointer else { continue };
        let mut seen = Vec::new();
        while seen
            .last()
            .is_none_or(|frame: &Value| frame.pointer(pointer) != Some(&json!("Staff only.")))
        {
            assert!(seen.len() < 4, "{dialect}: no refusal in {seen:?}");
            seen.push(bob.next().await);
        }
    }
    let path = "/peerjs?key=peerjs&id=bob&token=t";
    let mut bob = Client::open(server.address(), path).await;
    let refused = bob.next().await;
    assert_eq!(refused.pointer("/payload/msg"), Some(&json!("Staff only.")));
    assert_eq!(
        server.server().rooms().list().len(),
        0,
        "no room was opened"
    );
}

#[tokio::test]
async fn webhook_allows_the_room_in_every_dialect() {
    let hook = HookServer::start(|_| allowed()).await;
    let toml = settings(&hook, "events = [\"join\"]");
    let server = TestServer::start(Server::builder().config(config(&toml))).expect("a server");
    for dialect in ClientDialect::ALL {
        let room = if dialect == ClientDialect::PeerJs {
            "peerjs"
        } else {
            "open"
        };
        let joined = server.join(dialect, room, "ada").await;
        let client = joined.unwrap_or_else(|error| panic!("{dialect:?}: {error}"));
        // A claim of a name is asked about too.
        let asked = hook.waiting().await;
        let peer = client.member().peer.to_string();
        let is_about = |body: &&Value| body["roomId"] == room && body["connectionId"] == *peer;
        assert!(
            asked.iter().any(|body| is_about(&body)),
            "{dialect:?}: {asked:?}"
        );
    }
}

#[tokio::test]
async fn hanging_decision_delays_no_other_client() {
    let hook = HookServer::start(join_answer).await;
    let toml = settings(&hook, "concurrency = 4\nevents = [\"join\"]").replace("timeout = 1", "");
    let (_server, address) = open(Server::builder().config(config(&toml)));
    let join = |room: &str| json!({ "type": "join", "roomID": room, "senderID": "x" }).to_string();
    let mut hanging = Vec::new();
    for _ in 0..8 {
        let mut client = Client::open(address, "/ws").await;
        client.send(&join("hanging")).await;
        hanging.push(client);
    }
    assert_eq!(hook.next().await["roomId"], "hanging");
    // The room that hangs has one of the four concurrent requests. Clients of other rooms have the others.
    let (mut ada, _) = Client::join(address, "open", "ada").await;
    let (mut bob, _) = Client::join(address, "open", "bob").await;
    bob.send(r#"{"type":"message","data":"Hello."}"#).await;
    assert_eq!(ada.next_of("message").await["data"], "Hello.");
    let asked = hook.waiting().await;
    let about_hanging = asked.iter().filter(|body| body["roomId"] == "hanging");
    assert_eq!(about_hanging.count(), 0, "one at a time: {asked:?}");
}

//! Dialects on their paths, rooms of several dialects, and the ways to select a dialect.

use serde_json::json;

use switchboard::Listener;

use crate::client::{Client, get, metrics, rejected_status, request, start};

#[tokio::test]
async fn lightstream_members_exchange_an_offer() {
    let (_server, address) = start("");
    let (mut ada, peers) = Client::join(address, "r", "ada").await;
    assert_eq!(peers, json!([]));
    let (mut bob, peers) = Client::join(address, "r", "bob").await;
    assert_eq!(peers, json!(["ada"]));
    assert_eq!(ada.next().await["senderID"], "bob");
    bob.send(
        r#"{"type":"offer","senderID":"bob","targetID":"ada","data":{"type":"offer","sdp":"v=0"}}"#,
    )
    .await;
    assert_eq!(ada.next().await["data"]["sdp"], "v=0");
    drop(bob);
    let left = ada.next().await;
    assert_eq!(
        (&left["type"], &left["senderID"]),
        (&json!("user-left"), &json!("bob"))
    );
}

#[tokio::test]
async fn four_dialects_share_a_room() {
    let (_server, address) = start("");
    let mut singo = Client::open(address, "/connect").await;
    let singo_id = singo.next().await["payload"]["client_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    singo
        .send(r#"{"type":"join","payload":{"room_id":"r"}}"#)
        .await;
    let mut mesh = Client::open(address, "/signalingserver?room=r").await;
    let new = singo.next().await;
    assert_eq!(
        new["type"], "new-client",
        "the singo member must offer to the mesh member: {new}"
    );
    let mesh_id = new["payload"]["client_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let mut p2p = Client::open(address, "/ws").await;
    p2p.send(r#"{"type":"IDENTIFY","username":"ada"}"#).await;
    let p2p_id = p2p.next().await["peerId"]
        .as_str()
        .expect("an id")
        .to_owned();
    p2p.send(r#"{"type":"JOIN_ROOM","roomId":"r"}"#).await;
    let members = p2p.next().await["members"]
        .as_array()
        .expect("members")
        .len();
    assert_eq!(members, 2);
    let (mut lightstream, peers) = Client::join(address, "r", "bob").await;
    assert_eq!(peers, json!([singo_id, mesh_id, p2p_id]));
    assert_eq!(p2p.next().await["peer"]["username"], "bob");

    lightstream.send(&format!(r#"{{"type":"offer","targetID":"{mesh_id}","payload":"{{\"type\":\"offer\",\"sdp\":\"v=0\"}}"}}"#)).await;
    let offer = mesh.next_of("Offer").await;
    assert_eq!(
        (&offer["sender"], &offer["content"]),
        (&json!("bob"), &json!({"type": 1, "sdp": "v=0"}))
    );
    mesh.send(
        r#"{"kind":"Offer","reach":"OnePeer","peerID":"bob","content":{"type":3,"sdp":"v=1"}}"#,
    )
    .await;
    let answer = lightstream.next_of("answer").await;
    assert_eq!(
        (&answer["senderID"], &answer["data"]["sdp"]),
        (&json!(mesh_id), &json!("v=1"))
    );
}

#[tokio::test]
async fn a_dialect_can_be_selected_by_query_or_subprotocol_on_any_path() {
    let (_server, address) = start("");
    let mut singo = Client::open(address, "/ws?dialect=singo").await;
    assert_eq!(singo.next().await["type"], "notify-client-id");
    let mut chosen = request(address, "/signalingserver");
    chosen.headers_mut().insert(
        "sec-websocket-protocol",
        "other, switchboard.singo".parse().expect("a header"),
    );
    let mut singo = Client::try_open(chosen)
        .await
        .expect("the subprotocol is accepted");
    assert_eq!(singo.next().await["type"], "notify-client-id");
    assert_eq!(
        rejected_status(request(address, "/ws?dialect=klingon")).await,
        400
    );
    let with_subprotocols = |path: &str, offer: &'static str| {
        let mut request = request(address, path);
        request
            .headers_mut()
            .insert("sec-websocket-protocol", offer.parse().expect("a header"));
        request
    };
    // Like browsers, the client library fails if none of its subprotocols is selected.
    assert!(
        Client::try_open(with_subprotocols("/ws?dialect=mesh", "switchboard.mesh"))
            .await
            .is_ok()
    );
    assert_eq!(
        rejected_status(with_subprotocols("/ws", "switchboard.klingon")).await,
        400
    );
    assert_eq!(
        rejected_status(with_subprotocols("/ws?dialect=mesh", "switchboard.singo")).await,
        400
    );
}

#[tokio::test]
async fn an_unrecognized_first_frame_gets_an_error_and_is_closed() {
    let (_server, address) = start("");
    for first in ["{nope", "[]", r#"{"x":1}"#] {
        let mut client = Client::open(address, "/ws").await;
        client.send(first).await;
        assert_eq!(client.next().await["type"], "error");
        assert_eq!(client.close_code().await, 1008);
    }
}

#[tokio::test]
async fn mesh_is_detected_on_the_shared_path_and_closed_with_1000() {
    let (_server, address) = start("");
    let mut mesh = Client::open(address, "/ws").await;
    mesh.send(r#"{"kind":"IdentifySelf"}"#).await;
    assert_eq!(mesh.next().await["kind"], "IdentifySelf");
    mesh.send(r#"{"kind":"Disconnect","content":{"notifyAll":true}}"#)
        .await;
    assert_eq!(mesh.close_code().await, 1000);
}

#[tokio::test]
async fn paths_are_configurable() {
    let (_server, address) =
        start("[singo]\npaths = [\"/connect\", \"/rtc\"]\n[mesh]\npaths = []\n");
    for path in ["/connect", "/rtc"] {
        assert_eq!(
            Client::open(address, path).await.next().await["type"],
            "notify-client-id"
        );
    }
    assert_eq!(
        rejected_status(request(address, "/signalingserver")).await,
        404
    );
}

#[tokio::test]
async fn a_plain_get_of_a_socket_path_does_not_affect_members() {
    let (_server, address) = start("");
    let mut witness = Client::open(address, "/signalingserver").await;
    for path in ["/ws", "/connect", "/signalingserver"] {
        assert!(
            get(address, path).await.starts_with("HTTP/1.1 400"),
            "{path}"
        );
    }
    let mut other = Client::open(address, "/signalingserver").await;
    other
        .send(r#"{"kind":"TextMessage","reach":"AllPeers","content":{"message":"hi"}}"#)
        .await;
    assert_eq!(witness.next().await["content"]["message"], "hi");
}

#[tokio::test]
async fn the_page_and_the_probes_are_served() {
    let (_server, address) = start("");
    let page = get(address, "/").await;
    assert!(
        page.starts_with("HTTP/1.1 200") && page.contains("content-type: text/html; charset=utf-8"),
        "{page}"
    );
    assert!(get(address, "/healthz").await.ends_with("ok\n"));
    assert!(get(address, "/readyz").await.ends_with("ready\n"));
    for path in ["/nowhere", "/metrics", "/admin/v1/nodes", "/console"] {
        assert!(
            get(address, path).await.starts_with("HTTP/1.1 404"),
            "{path}"
        );
    }
    let metrics = metrics(address).await;
    assert!(
        metrics.contains("\nswitchboard_connections 0\n"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_listener_of_one_dialect_shares_rooms_with_the_main_listener() {
    let (server, address) = start("");
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let dialect_address = listener.address();
    assert!(server.serve_dialect(listener, "singo"));
    let mut singo = Client::open(dialect_address, "/connect?dialect=singo").await;
    assert_eq!(singo.next().await["type"], "notify-client-id");
    singo
        .send(r#"{"type":"join","payload":{"room_id":"r"}}"#)
        .await;
    let (_lightstream, peers) = Client::join(address, "r", "ada").await;
    assert_eq!(peers.as_array().map(Vec::len), Some(1), "{peers}");
    for path in ["/healthz", "/readyz"] {
        let answer = get(dialect_address, path).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    for path in ["/", "/metrics", "/messages"] {
        let answer = get(dialect_address, path).await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
    }
    assert_eq!(rejected_status(request(dialect_address, "/ws")).await, 404);
    let other = request(dialect_address, "/connect?dialect=mesh");
    assert_eq!(rejected_status(other).await, 400);
    assert!(server.router_of("klingon").is_none());
    assert!(server.shutdown(crate::client::TEST_TIMEOUT).await);
    assert_eq!(singo.close_code().await, 1012);
}

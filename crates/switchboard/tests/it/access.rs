//! Access control at the socket: keys, grants, and the answers to clients without them.

use std::net::SocketAddr;

use tokio_tungstenite::tungstenite::Error;

use crate::client::{Client, get, request, start};

const ACCESS: &str = "[access]\nauthenticators = [\"keys\"]\nkeys = [{ key = \"key-of-ada-000000\", subject = \"ada\", grants = [\"*:team-*\"] }, { key = \"key-of-bob-000000\", subject = \"bob\", grants = [\"join\"] }]\n";

const ADA: &str = "access_token=key-of-ada-000000";
const BOB: &str = "access_token=key-of-bob-000000";

async fn refusal(address: SocketAddr, path: &str) -> (u16, String) {
    match Client::try_open(request(address, path)).await {
        Err(Error::Http(response)) => {
            let body = response.body().clone().unwrap_or_default();
            let text = String::from_utf8(body).expect("text");
            (response.status().as_u16(), text)
        }
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("{path} was upgraded"),
    }
}

#[tokio::test]
async fn clients_without_a_valid_key_get_401() {
    let (_server, address) = start(ACCESS);
    let (status, text) = refusal(address, "/ws?dialect=mesh").await;
    assert_eq!((status, &*text), (401, "An access token is required.\n"));
    let (status, text) = refusal(address, "/ws?access_token=key-of-eve-000000").await;
    assert_eq!(status, 401);
    assert!(text.contains("unknown key or issuer"), "{text}");
    let both = format!("/ws?{ADA}&{BOB}");
    assert_eq!(refusal(address, &both).await.0, 400);
    let response = get(address, "/ice-servers").await;
    assert!(response.starts_with("HTTP/1.1 401 "), "{response}");
    assert!(response.contains("\r\nwww-authenticate: Bearer\r\n"));
}

#[tokio::test]
async fn key_grants_the_rooms_of_its_patterns() {
    let (_server, address) = start(ACCESS);
    let mut ada = Client::open(address, &format!("/ws?{ADA}")).await;
    ada.send(r#"{"type":"join","roomID":"other","senderID":"a"}"#)
        .await;
    let error = ada.next().await;
    assert_eq!(error["code"], "denied", "{error}");
    let text = r#"You do not have the grant "join" in the room "other"."#;
    assert_eq!(error["data"], text);
    ada.send(r#"{"type":"join","roomID":"team-a","senderID":"a"}"#)
        .await;
    assert_eq!(ada.next().await["type"], "peers");
}

#[tokio::test]
async fn member_without_the_grant_to_signal_cannot_offer() {
    let (_server, address) = start(ACCESS);
    let join = |id: &str| format!(r#"{{"type":"join","roomID":"team-a","senderID":"{id}"}}"#);
    let mut ada = Client::open(address, &format!("/ws?{ADA}")).await;
    ada.send(&join("a")).await;
    assert_eq!(ada.next().await["type"], "peers");
    let mut bob = Client::open(address, &format!("/ws?{BOB}")).await;
    bob.send(&join("b")).await;
    assert_eq!(bob.next().await["type"], "peers");
    bob.send(r#"{"type":"offer","receiverID":"a","data":{"type":"offer","sdp":"v=0"}}"#)
        .await;
    let error = bob.next_of("error").await;
    assert_eq!(error["code"], "denied", "{error}");
    let response = get(address, &format!("/ice-servers?{BOB}")).await;
    assert!(response.starts_with("HTTP/1.1 403 "), "{response}");
    let response = get(address, &format!("/ice-servers?{ADA}")).await;
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
}

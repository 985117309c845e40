//! JSON Web Tokens at the socket, and the key set of an issuer over HTTP: rotation, and a server that hangs, fails,
//! answers nonsense or too much.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use switchboard::SigningKey;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::watch,
};

use crate::client::{Client, get, start};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

const ED: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"UY2gYIhaZpq9fPPrAnGQ46Q9ERoiBM0zYfa8ZPT5Ico","kid":"ed","alg":"EdDSA","use":"sig"}"#;

const EC: &str = r#"{"kty":"EC","crv":"P-256","x":"vf2m1IgWIoaL9YcEu5d6qu4kubhljVWDefrDa1kRIxk","y":"puJ37nW_WjX75-eHvHiuNUX5LiFrnAUD1LY2NSN78x4","kid":"ec","use":"sig"}"#;

fn key_path(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    folder.join("../switchboard-auth/tests/keys").join(name)
}

fn key(name: &str) -> SigningKey {
    let text = std::fs::read(key_path(name)).expect(name);
    SigningKey::of_pem(&text).expect(name)
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("a time after 1970").as_secs()
}

fn claims() -> Value {
    json!({ "sub": "ada", "exp": now() + 600, "grants": ["*"] })
}

fn token(key: &SigningKey, id: &str) -> String {
    key.token(Some(id), &claims()).expect("signed")
}

/// The status and the body of a request with this token.
async fn ask(address: SocketAddr, token: &str) -> (u16, String) {
    let response = get(address, &format!("/ice-servers?access_token={token}")).await;
    let status = response
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let (_, body) = response.split_once("\r\n\r\n").expect("a response");
    (status.expect("a status"), body.to_owned())
}

/// A server with these settings of `[access.jwt]`.
fn start_with(settings: &str) -> (switchboard::Server, SocketAddr) {
    start(&format!(
        "[access]\nauthenticators = [\"jwt\"]\n[access.jwt]\n{settings}\n"
    ))
}

#[tokio::test]
async fn token_of_the_secret_admits_its_user() {
    let (_server, address) = start_with(&format!("secret = \"{SECRET}\"\nleeway = 0"));
    let key = SigningKey::of_secret(SECRET.as_bytes()).expect("a secret");
    let mut team = claims();
    team["grants"] = json!(["*:team-*"]);
    let team = key.token(None, &team).expect("signed");
    let mut ada = Client::open(address, &format!("/ws?access_token={team}")).await;
    ada.send(r#"{"type":"join","roomID":"other","senderID":"a"}"#)
        .await;
    assert_eq!(ada.next().await["code"], "denied");
    ada.send(r#"{"type":"join","roomID":"team-a","senderID":"a"}"#)
        .await;
    assert_eq!(ada.next().await["type"], "peers");

    let expired = key
        .token(None, &json!({ "exp": now() - 1 }))
        .expect("signed");
    let (status, body) = ask(address, &expired).await;
    assert_eq!((status, &*body), (401, "The access token has expired.\n"));
    let forged = SigningKey::of_secret(&[b'x'; 32]).expect("a secret");
    let (status, body) = ask(address, &token(&forged, "x")).await;
    let text = "The access token is not valid: its signature is wrong.\n";
    assert_eq!((status, &*body), (401, text));
    let bare = key
        .token(None, &json!({ "exp": now() + 60 }))
        .expect("signed");
    assert_eq!(ask(address, &bare).await.0, 403, "no grants");
}

#[tokio::test]
async fn keys_of_a_file_verify_tokens() {
    for (private, public) in [
        ("rsa.pem", "rsa-public.pem"),
        ("p256.pem", "p256-public.pem"),
        ("ed25519.pem", "ed25519-public.pem"),
    ] {
        let path = key_path(public);
        let (_server, address) = start_with(&format!("keys_file = {path:?}"));
        assert_eq!(ask(address, &token(&key(private), "any")).await.0, 200);
        let other = if private == "rsa.pem" {
            "p256.pem"
        } else {
            "rsa.pem"
        };
        assert_eq!(ask(address, &token(&key(other), "any")).await.0, 401);
    }
}

/// The reaction of the issuer's web server to a request.
#[derive(Clone, Debug)]
enum Behaviour {
    Answers(&'static str, String),
    Hangs,
}

fn keys(keys: &[&str]) -> Behaviour {
    let body = format!(r#"{{"keys":[{}]}}"#, keys.join(","));
    Behaviour::Answers("200 OK", body)
}

/// The web server of an issuer.
struct Issuer {
    url: String,
    behaviour: watch::Sender<Behaviour>,
    requests: watch::Receiver<usize>,
}

impl Issuer {
    async fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (behaviour, current) = watch::channel(behaviour);
        let (count, requests) = watch::channel(0);
        let count = Arc::new(count);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (current, count) = (current.clone(), count.clone());
                tokio::spawn(async move {
                    let mut head = [0; 4096];
                    if stream.read(&mut head).await.unwrap_or(0) == 0 {
                        return;
                    }
                    count.send_modify(|count| *count += 1);
                    let behaviour = current.borrow().clone();
                    match behaviour {
                        Behaviour::Hangs => std::future::pending().await,
                        Behaviour::Answers(status, body) => {
                            let length = body.len();
                            let text = format!(
                                "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
                            );
                            drop(stream.write_all(text.as_bytes()).await);
                        }
                    }
                });
            }
        });
        Self {
            url: format!("http://{address}/keys"),
            behaviour,
            requests,
        }
    }

    fn set(&self, behaviour: Behaviour) {
        self.behaviour.send_replace(behaviour);
    }

    /// Waits for this many requests.
    async fn has_requests(&mut self, count: usize) {
        let waiting = self.requests.wait_for(|requests| *requests >= count);
        let waited = tokio::time::timeout(Duration::from_secs(20), waiting).await;
        drop(waited.expect("in time").expect("the issuer runs"));
    }
}

#[tokio::test]
async fn rotated_key_works_at_once_and_the_withdrawn_one_no_more() {
    let mut issuer = Issuer::start(keys(&[ED])).await;
    let (_server, address) = start_with(&format!("jwks_url = \"{}\"", issuer.url));
    let (old, new) = (
        token(&key("ed25519.pem"), "ed"),
        token(&key("p256.pem"), "ec"),
    );
    issuer.has_requests(1).await;
    assert_eq!(ask(address, &old).await.0, 200);
    issuer.set(keys(&[EC]));
    assert_eq!(ask(address, &new).await.0, 200);
    let (status, body) = ask(address, &old).await;
    assert_eq!(status, 401, "{body}");
    assert!(body.contains("its key (kid) is unknown"), "{body}");
    // Invented key IDs cause no further requests for a while.
    for id in 0..50 {
        let invented = token(&key("p256.pem"), &format!("../{id}"));
        assert_eq!(ask(address, &invented).await.0, 401);
    }
    assert_eq!(*issuer.requests.borrow(), 2);
}

#[tokio::test]
async fn issuer_that_hangs_delays_no_client_with_a_known_key() {
    let mut issuer = Issuer::start(keys(&[ED])).await;
    let (_server, address) = start_with(&format!("jwks_url = \"{}\"", issuer.url));
    let (known, unknown) = (
        token(&key("ed25519.pem"), "ed"),
        token(&key("p256.pem"), "ec"),
    );
    assert_eq!(ask(address, &known).await.0, 200);
    issuer.set(Behaviour::Hangs);
    let waiting = tokio::spawn(async move { ask(address, &unknown).await });
    issuer.has_requests(2).await;
    for _ in 0..20 {
        assert_eq!(ask(address, &known).await.0, 200);
    }
    assert!(
        !waiting.is_finished(),
        "the unknown key waits for the issuer"
    );
    let (status, body) = waiting.await.expect("a response");
    assert_eq!(status, 503, "{body}");
    assert_eq!(ask(address, &known).await.0, 200);
}

#[tokio::test]
async fn response_without_keys_changes_nothing_and_is_no_refusal_of_the_client() {
    let failures = [
        Behaviour::Answers("500 Internal Server Error", format!(r#"{{"keys":[{ED}]}}"#)),
        Behaviour::Answers("302 Found", String::new()),
        Behaviour::Answers("200 OK", "<html>".to_owned()),
        Behaviour::Answers(
            "200 OK",
            format!(r#"{{"keys":[{ED}]}}"#) + &" ".repeat(256 * 1024),
        ),
        Behaviour::Answers(
            "200 OK",
            r#"{"keys":[{"kty":"oct","kid":"ed","k":"AAAA"}]}"#.to_owned(),
        ),
    ];
    for failure in failures {
        let issuer = Issuer::start(failure.clone()).await;
        let (_server, address) = start_with(&format!("jwks_url = \"{}\"", issuer.url));
        let known = token(&key("ed25519.pem"), "ed");
        let (status, body) = ask(address, &known).await;
        assert_eq!(status, 503, "{failure:?}: {body}");
    }
}

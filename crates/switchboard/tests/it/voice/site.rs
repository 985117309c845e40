//! Identity `site`: users are accounts of a website, here a [`FakeSite`].

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::{
    Router,
    extract::{Request, State},
};
use switchboard::{Config, Server, config::VoiceIdentity};
use tokio::{net::TcpListener, sync::watch, time::timeout};

use super::{
    http::{HttpRequest, encoded, wait_for_metric},
    listener::Listener,
    sound::{RATE, Tone, median_amplitude},
    source::Source,
    user::Events,
};
use crate::client::{TEST_TIMEOUT, open};

/// A website in which `tokN` is the token of user N. User 66 may not be called, and room 66 may not be entered.
#[derive(Clone)]
pub(super) struct FakeSite {
    address: SocketAddr,
    state: Arc<FakeSiteState>,
}

struct FakeSiteState {
    /// The requested paths.
    paths: Mutex<Vec<String>>,
    /// Notified of each request.
    requested: watch::Sender<()>,
    behaviour: Mutex<SiteBehaviour>,
}

/// How the website responds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SiteBehaviour {
    Normal,
    /// Does not respond.
    Unresponsive,
    /// Responds with an error status.
    ErrorStatus,
    /// Responds with a body over the size limit.
    TooLong,
}

impl FakeSite {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("no free port");
        let site = Self {
            address: listener.local_addr().expect("no local address"),
            state: Arc::new(FakeSiteState {
                paths: Mutex::default(),
                requested: watch::channel(()).0,
                behaviour: Mutex::new(SiteBehaviour::Normal),
            }),
        };
        let app = Router::new()
            .fallback(answer)
            .with_state(site.state.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        site
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn set_behaviour(&self, behaviour: SiteBehaviour) {
        *self.state.behaviour.lock().expect("poisoned by a panic") = behaviour;
    }

    fn paths(&self) -> MutexGuard<'_, Vec<String>> {
        self.state.paths.lock().expect("poisoned by a panic")
    }

    /// Waits until this path has been requested. Returns how often.
    async fn wait_for_request(&self, path: &str) -> usize {
        let mut requested = self.state.requested.subscribe();
        let waits = async {
            loop {
                let count = self
                    .paths()
                    .iter()
                    .filter(|requested| *requested == path)
                    .count();
                if count > 0 {
                    return count;
                }
                requested.changed().await.expect("the website has ended");
            }
        };
        let requested = timeout(TEST_TIMEOUT, waits).await;
        requested.unwrap_or_else(|_| panic!("{path} is not requested: {:?}", self.paths()))
    }
}

async fn answer(
    State(state): State<Arc<FakeSiteState>>,
    request: Request,
) -> (axum::http::StatusCode, String) {
    let path = request
        .uri()
        .path_and_query()
        .map_or("", |path| path.as_str())
        .to_owned();
    let answer = response_text(&path);
    state.paths.lock().expect("poisoned by a panic").push(path);
    state.requested.send_replace(());
    let behaviour = *state.behaviour.lock().expect("poisoned by a panic");
    match behaviour {
        SiteBehaviour::Normal => (axum::http::StatusCode::OK, answer),
        SiteBehaviour::Unresponsive => std::future::pending().await,
        SiteBehaviour::ErrorStatus => (axum::http::StatusCode::BAD_GATEWAY, "1".to_owned()),
        SiteBehaviour::TooLong => (axum::http::StatusCode::OK, "1".repeat(10_000)),
    }
}

/// The response of the website to a path, as [`FakeSite`] says. Two more tokens test the parser: `nl` is answered with
/// user 1 and a line break, and `neg` with the invalid user -1. The original website has French names: `crossLogin`
/// identifies the user of a token, `peuxAppeller` permits a call to a user, and `envoieAudioGroup` and
/// `ecouteAudioGroup` permit the user to speak and to listen in a room. The paths of the last two end with 1 when the
/// user starts and with 0 when it stops.
fn response_text(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').collect();
    match parts[..] {
        ["", "Membres", "crossLogin", "nl"] => "1\n".to_owned(),
        ["", "Membres", "crossLogin", "neg"] => "-1".to_owned(),
        ["", "Membres", "crossLogin", token] => token.strip_prefix("tok").unwrap_or("0").to_owned(),
        ["", "Membres", "peuxAppeller", "66", _] => "0".to_owned(),
        ["", "Membres", "peuxAppeller", _, _] => "1".to_owned(),
        [
            "",
            "Groupes",
            "envoieAudioGroup" | "ecouteAudioGroup",
            "66",
            _,
            _,
        ] => "0".to_owned(),
        [
            "",
            "Groupes",
            "envoieAudioGroup" | "ecouteAudioGroup",
            _,
            _,
            _,
        ] => "1".to_owned(),
        _ => "nothing".to_owned(),
    }
}

fn config(site: &FakeSite) -> Config {
    let mut config = Config::default();
    config.voice.gostream.identity = VoiceIdentity::Site;
    config.voice.gostream.site.url = site.url();
    config
}

async fn start() -> (Server, SocketAddr, FakeSite) {
    let site = FakeSite::start().await;
    let (server, address) = open(Server::builder().config(config(&site)));
    (server, address, site)
}

fn join(token: &str, room: &str) -> HttpRequest {
    let parameters = [("roomID", room), ("format", "wav"), ("token", token)];
    HttpRequest::post(format!("/joinRoom?{}", encoded(&parameters)))
}

fn up(token: &str, room: &str) -> String {
    format!("/upRoom?{}", encoded(&[("roomID", room), ("token", token)]))
}

fn new_call(token: &str, destination: &str) -> HttpRequest {
    let request = HttpRequest::post("/newCall").header("CSRFToken", token);
    request.url_encoded(encoded(&[("Destination", destination)]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn site_is_notified_of_start_and_stop() {
    let (_server, address, site) = start().await;
    let playing = Source::websocket(address, &up("tok1", "7")).await;
    let playing = playing.play(Tone::new(440, 8000.0));
    let listener = Listener::of(join("tok2", "7").send(address).await);
    // On a busy machine the tone may have gaps at first.
    let audible =
        async { while median_amplitude(&listener.next_samples(RATE).await, 440) < 7000.0 {} };
    timeout(TEST_TIMEOUT, audible)
        .await
        .expect("timeout: the tone is not audible");
    let (status, rooms) = HttpRequest::get("/listRoom").text(address).await;
    assert_eq!(
        (status, rooms.contains("\"count\" : 2")),
        (200, true),
        "{rooms}"
    );
    let (status, members) = HttpRequest::get("/listMembers?roomID=7")
        .text(address)
        .await;
    let members: serde_json::Value = serde_json::from_str(&members).expect("not JSON");
    assert_eq!(
        (status, &members[0]["user"], &members[0]["mic"]),
        (200, &1.into(), &1.into())
    );
    assert!(
        members[0]["level"]
            .as_f64()
            .expect("the member has no level")
            > 0.5,
        "{members}"
    );
    assert_eq!(
        (&members[1]["user"], &members[1]["hds"]),
        (&2.into(), &1.into())
    );
    assert_eq!(members[1]["level"], 0.0);
    let paths = site.paths().join(" ");
    assert!(!paths.ends_with("/0"), "a stop notification: {paths}");
    drop(playing);
    assert_eq!(
        site.wait_for_request("/Groupes/envoieAudioGroup/7/tok1/0")
            .await,
        1
    );
    drop(listener);
    assert_eq!(
        site.wait_for_request("/Groupes/ecouteAudioGroup/7/tok2/0")
            .await,
        1
    );
    for once in [
        "/Groupes/envoieAudioGroup/7/tok1/1",
        "/Groupes/ecouteAudioGroup/7/tok2/1",
    ] {
        assert_eq!(site.wait_for_request(once).await, 1, "{once}");
    }
}

#[tokio::test]
async fn site_sessions_are_cached_and_call_permissions_are_not() {
    let (_server, address, site) = start().await;
    let mut callee_events = Events::open(address, "/messages?CSRFtoken=tok2").await;
    let mut caller_events = Events::open(address, "/messages?CSRFtoken=tok1").await;
    for _ in 0..2 {
        assert_eq!(new_call("tok1", "2").status(address).await, 200);
        assert_eq!(callee_events.next().await.data, "{\"from\": 1}");
    }
    let accept = HttpRequest::post("/acceptCall")
        .header("CSRFToken", "tok2")
        .url_encoded("From=1");
    assert_eq!(accept.status(address).await, 200);
    assert_eq!(caller_events.next().await.data, "{\"from\": 2}");
    assert_eq!(site.wait_for_request("/Membres/crossLogin/tok1").await, 1);
    assert_eq!(
        site.wait_for_request("/Membres/peuxAppeller/2/tok1").await,
        2
    );
    assert_eq!(
        site.wait_for_request("/Membres/peuxAppeller/1/tok2").await,
        1
    );
}

#[tokio::test]
async fn denied_caller_is_rejected_without_events() {
    let (_server, address, site) = start().await;
    let _denied = Events::open(address, "/messages?CSRFtoken=tok66").await;
    assert_eq!(new_call("tok1", "66").status(address).await, 403);
    assert_eq!(join("tok1", "66").status(address).await, 403);
    assert_eq!(
        Source::try_websocket(address, &up("tok1", "66"))
            .await
            .err(),
        Some(403)
    );
    let post = HttpRequest::post(up("tok1", "66")).body("audio");
    assert_eq!(post.status(address).await, 403);
    assert_eq!(HttpRequest::get("/listRoom").text(address).await.1, "[]");
    // A denied user has not started, so there is no stop notification.
    assert!(!site.paths().iter().any(|path| path.ends_with("/0")));
}

#[tokio::test]
async fn site_gets_a_stop_if_the_room_is_full() {
    let site = FakeSite::start().await;
    let mut config = config(&site);
    config.voice.room.sources = 1;
    let (_server, address) = open(Server::builder().config(config));
    let mut first = Source::websocket(address, &up("tok1", "7")).await;
    assert_eq!(
        Source::try_websocket(address, &up("tok2", "7")).await.err(),
        Some(503)
    );
    let has_started = site
        .paths()
        .iter()
        .any(|path| path == "/Groupes/envoieAudioGroup/7/tok2/1");
    // The website may or may not have been asked before the room was found to be full.
    if has_started {
        site.wait_for_request("/Groupes/envoieAudioGroup/7/tok2/0")
            .await;
    }
    // The user stays in the room when a newer connection takes over.
    let second = Source::websocket(address, &up("tok1", "7")).await;
    assert_eq!(first.closed().await.0, 1008);
    drop(first);
    wait_for_metric(address, "voice_sources", 1).await;
    let has_left = |site: &FakeSite| {
        let left = "/Groupes/envoieAudioGroup/7/tok1/0";
        site.paths().iter().any(|path| path == left)
    };
    assert!(!has_left(&site));
    second.close().await;
    site.wait_for_request("/Groupes/envoieAudioGroup/7/tok1/0")
        .await;
}

#[tokio::test]
async fn head_request_does_not_notify_the_site() {
    let (_server, address, site) = start().await;
    let answer = HttpRequest::new("HEAD", "/joinRoom?token=tok1&roomID=7")
        .send(address)
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("audio/ogg"));
    site.wait_for_request("/Membres/crossLogin/tok1").await;
    let rooms = site.paths().iter().any(|path| path.contains("/Groupes/"));
    assert!(!rooms, "the website would believe that the user listens");
}

#[tokio::test]
async fn site_gets_a_stop_if_the_client_leaves_during_the_request() {
    let (_server, address, site) = start().await;
    // This join makes the server cache the session, so the next request to the website is about the room.
    assert_eq!(join("tok1", "66").status(address).await, 403);
    site.set_behaviour(SiteBehaviour::Unresponsive);
    let joining = tokio::spawn(join("tok1", "7").send(address));
    site.wait_for_request("/Groupes/ecouteAudioGroup/7/tok1/1")
        .await;
    joining.abort();
    site.wait_for_request("/Groupes/ecouteAudioGroup/7/tok1/0")
        .await;
}

#[tokio::test]
async fn shutdown_sends_stop_notifications_to_the_site() {
    let (server, address, site) = start().await;
    let mut source = Source::websocket(address, &up("tok1", "7")).await;
    let listener = Listener::of(join("tok2", "7").send(address).await);
    listener.samples(RATE / 10).await;
    let stopped = tokio::spawn(async move { server.shutdown(TEST_TIMEOUT).await });
    source.closed().await;
    assert!(stopped.await.expect("the task panicked"));
    for path in [
        "/Groupes/envoieAudioGroup/7/tok1/0",
        "/Groupes/ecouteAudioGroup/7/tok2/0",
    ] {
        assert_eq!(site.wait_for_request(path).await, 1, "{path}");
    }
}

#[tokio::test]
async fn token_is_one_segment_of_the_path() {
    let (_server, address, site) = start().await;
    for (token, segment) in [
        ("a/newCRSF?x=", "a%2FnewCRSF%3Fx%3D"),
        ("tok1/tok2", "tok1%2Ftok2"),
        ("%2e%2e", "%252e%252e"),
        ("tok1#\u{e9}", "tok1%23%C3%A9"),
    ] {
        assert_eq!(join(token, "7").status(address).await, 401, "{token}");
        site.wait_for_request(&format!("/Membres/crossLogin/{segment}"))
            .await;
    }
    let long = "t".repeat(10_000);
    for token in ["", ".", "..", "../newCRSF?x=", "tok1/../tok2", &*long] {
        let before = site.paths().len();
        assert_eq!(join(token, "7").status(address).await, 401);
        assert_eq!(
            site.paths().len(),
            before,
            "no request for an invalid token"
        );
    }
}

#[tokio::test]
async fn unreachable_site_denies_access() {
    let site = FakeSite::start().await;
    let mut config = config(&site);
    config.voice.gostream.site.timeout = Duration::from_secs(1);
    config.voice.gostream.site.cache_ttl = Duration::ZERO;
    let (_server, address) = open(Server::builder().config(config.clone()));
    let listener = Listener::of(join("tok1", "7").send(address).await);
    for behaviour in [SiteBehaviour::Unresponsive, SiteBehaviour::ErrorStatus] {
        site.set_behaviour(behaviour);
        let assert_unavailable = |status: u16, text: String| {
            assert_eq!(status, 503, "{behaviour:?}: {text}");
            assert!(
                !text.contains("://") && !text.contains("127.0.0.1"),
                "{text}"
            );
        };
        let (status, text) = new_call("tok1", "2").text(address).await;
        assert_unavailable(status, text);
        let (status, text) = join("tok2", "7").text(address).await;
        assert_unavailable(status, text);
        let (status, text) = HttpRequest::get("/messages?CSRFtoken=tok1")
            .text(address)
            .await;
        assert_unavailable(status, text);
        assert_eq!(
            Source::try_websocket(address, &up("tok2", "7")).await.err(),
            Some(503)
        );
    }
    site.set_behaviour(SiteBehaviour::TooLong);
    assert_eq!(join("tok2", "7").status(address).await, 401);
    // Members stay in the room and can leave, independently of the website.
    listener.next_samples(RATE / 10).await;
    site.set_behaviour(SiteBehaviour::Unresponsive);
    drop(listener);
    wait_for_metric(address, "voice_listeners", 0).await;
    site.set_behaviour(SiteBehaviour::Normal);
    assert_eq!(join("tok2", "7").status(address).await, 200);

    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("no free port");
    let nowhere = listener.local_addr().expect("no local address");
    drop(listener);
    config.voice.gostream.site.url = format!("http://{nowhere}");
    let (_server, address) = open(Server::builder().config(config));
    assert_eq!(join("tok1", "7").status(address).await, 503);
}

#[tokio::test]
async fn cors_allows_the_origin_of_the_site_only() {
    let site = FakeSite::start().await;
    let (_server, address) = open(Server::builder().config(config(&site)));
    let answer = HttpRequest::new("OPTIONS", "/newCall").send(address).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("access-control-allow-origin"),
        Some(&*site.url())
    );
    assert_eq!(
        answer.header("access-control-allow-headers"),
        Some("PKey,CSRFToken")
    );
    let answer = HttpRequest::get("/voice/mode").send(address).await;
    assert_eq!(
        answer.header("access-control-allow-origin"),
        Some(&*site.url())
    );
    let mode: serde_json::Value = serde_json::from_str(&answer.text().await).expect("not JSON");
    assert_eq!(
        (&mode["identity"], &mode["site"]),
        (&"site".into(), &site.url().into())
    );
}

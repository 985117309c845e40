//! Tests of the client of the website, against a [`FakeSite`].

use std::sync::{Arc, OnceLock, atomic::AtomicUsize};

use switchboard_transport::http_client::RESPONSE_HEAD_MAX;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;

/// How the fake website responds to a request.
enum Reply {
    /// Sends this status and body.
    Response(u16, String),
    /// Sends this text and then nothing more.
    Incomplete(String),
    /// Closes the connection.
    Close,
}

/// A fake website that records the requested paths.
struct FakeSite {
    url: String,
    paths: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

impl FakeSite {
    /// `reply` gets the number of the request, from 1, and its path.
    async fn start(reply: impl Fn(usize, &str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let site = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            paths: Arc::default(),
            connections: Arc::default(),
        };
        let (paths, connections) = (site.paths.clone(), site.connections.clone());
        let reply = Arc::new(reply);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(socket, paths.clone(), reply.clone()));
            }
        });
        site
    }

    /// Responds to every request with this status and body.
    async fn with_response(status: u16, body: &str) -> Self {
        let body = body.to_owned();
        Self::start(move |_, _| Reply::Response(status, body.clone())).await
    }

    fn requested_paths(&self) -> Vec<String> {
        self.paths.lock().clone()
    }

    fn site(&self, cache_ttl: Duration) -> Site {
        Site::new(&self.url, cache_ttl, Duration::from_secs(10)).unwrap()
    }
}

async fn serve(
    mut socket: TcpStream,
    paths: Arc<Mutex<Vec<String>>>,
    reply: Arc<impl Fn(usize, &str) -> Reply>,
) {
    let mut head = Vec::new();
    while let Ok(byte) = socket.read_u8().await {
        head.push(byte);
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let text = String::from_utf8(std::mem::take(&mut head)).unwrap();
        assert!(
            text.to_lowercase().contains("\r\nhost: 127.0.0.1:"),
            "{text}"
        );
        let path = text
            .strip_prefix("GET ")
            .unwrap()
            .split(' ')
            .next()
            .unwrap();
        let number = {
            let mut paths = paths.lock();
            paths.push(path.to_owned());
            paths.len()
        };
        match reply(number, path) {
            Reply::Response(status, body) => {
                let length = body.len();
                let location = if status == 302 {
                    "location: /Membres/1\r\n"
                } else {
                    ""
                };
                let answer = format!(
                    "HTTP/1.1 {status} x\r\n{location}content-length: {length}\r\n\r\n{body}"
                );
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
            Reply::Incomplete(start) => socket.write_all(start.as_bytes()).await.unwrap(),
            Reply::Close => return,
        }
    }
}

const MINUTE: Duration = Duration::from_mins(1);

#[tokio::test]
async fn each_request_has_its_path() {
    let fake = FakeSite::with_response(200, "1").await;
    let site = Site::new(&format!("{}/base/", fake.url), MINUTE, MINUTE).unwrap();
    assert_eq!(site.user("tok1").await, Ok(1));
    assert_eq!(site.may_call(12, "tok1").await, Ok(true));
    assert_eq!(site.may_speak(7, "tok1", true).await, Ok(true));
    assert_eq!(site.may_listen(7, "tok1", false).await, Ok(true));
    let paths = [
        "/base/Membres/crossLogin/tok1",
        "/base/Membres/peuxAppeller/12/tok1",
        "/base/Groupes/envoieAudioGroup/7/tok1/1",
        "/base/Groupes/ecouteAudioGroup/7/tok1/0",
    ];
    assert_eq!(fake.requested_paths(), paths);
    assert_eq!(fake.connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn token_is_escaped_as_one_path_segment() {
    let fake = FakeSite::with_response(200, "1").await;
    let site = fake.site(Duration::ZERO);
    for (token, segment) in [
        ("a/newCRSF?x=", "a%2FnewCRSF%3Fx%3D"),
        ("a b/c\\d#e%2F", "a%20b%2Fc%5Cd%23e%252F"),
        ("\r\nHost: x", "%0D%0AHost%3A%20x"),
        ("é\0", "%C3%A9%00"),
        ("aZ09-._~", "aZ09-._~"),
        ("null", "null"),
        ("...", "..."),
    ] {
        assert_eq!(site.may_speak(7, token, true).await, Ok(true));
        let path = fake.requested_paths().pop().unwrap();
        assert_eq!(path, format!("/Groupes/envoieAudioGroup/7/{segment}/1"));
    }
}

#[tokio::test]
async fn invalid_tokens_are_rejected_without_a_request() {
    let fake = FakeSite::with_response(200, "1").await;
    let site = fake.site(MINUTE);
    let long = "x".repeat(TOKEN_MAX + 1);
    let away = ["../newCRSF?x=", "../peuxAppeller/5/abc", r"a\..\b", "a/."];
    for token in ["", ".", "..", long.as_str()].into_iter().chain(away) {
        assert_eq!(site.user(token).await, Err(SiteError::NoSession));
        assert_eq!(site.may_call(2, token).await, Err(SiteError::NoSession));
        let speak = site.may_speak(2, token, true).await;
        assert_eq!(speak, Err(SiteError::NoSession));
        let listen = site.may_listen(2, token, true).await;
        assert_eq!(listen, Err(SiteError::NoSession));
    }
    assert!(fake.requested_paths().is_empty());
    assert_eq!(site.user(&"x".repeat(TOKEN_MAX)).await, Ok(1));
}

#[tokio::test]
async fn only_a_number_identifies_a_user_and_only_one_grants_permission() {
    let number_max = u64::MAX.to_string();
    let long = format!("1{}", " ".repeat(ANSWER_MAX));
    let no_session = Err(SiteError::NoSession);
    let unreachable = Err(SiteError::Unreachable);
    for (status, body, user, is_permitted) in [
        (200, "1", Ok(1), Ok(true)),
        (200, " 1\r\n", Ok(1), Ok(true)),
        (201, "1\n", Ok(1), Ok(true)),
        (200, "12", Ok(12), Ok(false)),
        (200, &number_max, Ok(u64::MAX), Ok(false)),
        (200, "0", no_session, Ok(false)),
        (200, "-1", no_session, Ok(false)),
        (200, "", no_session, Ok(false)),
        (200, "1 1", no_session, Ok(false)),
        (200, "1.0", no_session, Ok(false)),
        (200, "{\"id\":1}", no_session, Ok(false)),
        (200, "<p>1</p>", no_session, Ok(false)),
        (200, "18446744073709551616", no_session, Ok(false)),
        (200, &long, no_session, Ok(false)),
        (302, "1", no_session, Ok(false)),
        (400, "1", no_session, Ok(false)),
        (403, "1", no_session, Ok(false)),
        (404, "1", no_session, Ok(false)),
        (500, "1", unreachable, Err(SiteError::Unreachable)),
        (503, "1", unreachable, Err(SiteError::Unreachable)),
    ] {
        let fake = FakeSite::with_response(status, body).await;
        let site = fake.site(Duration::ZERO);
        assert_eq!(site.user("tok").await, user, "{status} {body:?}");
        assert_eq!(
            site.may_call(2, "tok").await,
            is_permitted,
            "{status} {body:?}"
        );
        assert_eq!(site.may_listen(2, "tok", true).await, is_permitted);
        assert_eq!(fake.requested_paths().len(), 3);
    }
}

#[tokio::test]
async fn silent_site_is_unreachable_after_the_timeout() {
    for start in ["", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n1"] {
        let fake = FakeSite::start(move |_, _| Reply::Incomplete(start.to_owned())).await;
        let site = Site::new(&fake.url, MINUTE, Duration::from_millis(50)).unwrap();
        assert_eq!(site.user("tok").await, Err(SiteError::Unreachable));
    }
}

#[tokio::test]
async fn site_is_unreachable_until_it_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let site = Site::new(&format!("http://{address}"), MINUTE, MINUTE).unwrap();
    for _ in 0..2 {
        assert_eq!(site.user("tok").await, Err(SiteError::Unreachable));
    }
    assert!(site.is_failing.load(Ordering::Relaxed));

    let fake = FakeSite::with_response(200, "x").await;
    let site = Site {
        base: fake.url.clone(),
        ..site
    };
    assert_eq!(site.user("tok").await, Err(SiteError::NoSession));
    assert!(!site.is_failing.load(Ordering::Relaxed));
}

#[tokio::test]
async fn site_that_does_not_speak_http_is_unreachable() {
    let fake = FakeSite::start(|_, _| Reply::Incomplete("SSH-2.0-x\r\n\r\n".to_owned())).await;
    let site = fake.site(MINUTE);
    assert_eq!(site.user("tok").await, Err(SiteError::Unreachable));
    let head = format!("HTTP/1.1 200 OK\r\nx: {}", "x".repeat(RESPONSE_HEAD_MAX));
    let fake = FakeSite::start(move |_, _| Reply::Incomplete(head.clone())).await;
    assert_eq!(
        fake.site(MINUTE).user("tok").await,
        Err(SiteError::Unreachable)
    );
}

#[tokio::test]
async fn request_is_retried_when_a_pooled_connection_closes() {
    let fake = FakeSite::start(|number, _| match number {
        2 => Reply::Close,
        _ => Reply::Response(200, "5".to_owned()),
    })
    .await;
    let site = fake.site(Duration::ZERO);
    assert_eq!(site.user("tok").await, Ok(5));
    assert_eq!(site.user("tok").await, Ok(5));
    assert_eq!(fake.requested_paths().len(), 3);
    assert_eq!(fake.connections.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn only_valid_sessions_are_cached() {
    let fake = FakeSite::start(|_, path| {
        let body = if path.ends_with("/good") { "5" } else { "0" };
        Reply::Response(200, body.to_owned())
    })
    .await;
    let site = fake.site(MINUTE);
    for _ in 0..3 {
        assert_eq!(site.user("good").await, Ok(5));
        assert_eq!(site.user("bad").await, Err(SiteError::NoSession));
    }
    assert_eq!(fake.requested_paths().len(), 4);
    for _ in 0..2 {
        assert_eq!(site.may_call(2, "good").await, Ok(false));
    }
    assert_eq!(fake.requested_paths().len(), 6);
}

#[tokio::test]
async fn concurrent_requests_are_bounded_and_queueing_counts_toward_the_timeout() {
    let site: Arc<OnceLock<Site>> = Arc::default();
    let shared_site = site.clone();
    let fake = FakeSite::start(move |_, _| {
        let request_permits = &shared_site.get().unwrap().request_permits;
        Reply::Response(
            200,
            (CONCURRENT_REQUESTS - request_permits.available_permits()).to_string(),
        )
    })
    .await;
    let site = site.get_or_init(|| fake.site(Duration::ZERO));
    assert_eq!(site.user("tok").await, Ok(1));
    let others = site.request_permits.acquire_many(4).await.unwrap();
    assert_eq!(site.user("tok").await, Ok(5));
    drop(others);
    assert_eq!(
        site.request_permits.available_permits(),
        CONCURRENT_REQUESTS
    );

    let impatient = Site::new(&fake.url, MINUTE, Duration::from_millis(20)).unwrap();
    let all_permits = impatient
        .request_permits
        .acquire_many(CONCURRENT_REQUESTS as u32)
        .await;
    assert_eq!(impatient.user("tok").await, Err(SiteError::Unreachable));
    assert_eq!(fake.requested_paths().len(), 2);
    drop(all_permits);
}

#[test]
fn site_url_has_http_a_host_and_a_path() {
    let site = |url| Site::new(url, MINUTE, MINUTE);
    for url in [
        "http://localhost",
        "http://127.0.0.1:8080/",
        "http://[::1]:8080/api//",
        "HTTP://example.org/a%20b",
        "https://example.org",
    ] {
        assert!(site(url).is_ok(), "{url}");
    }
    for url in [
        "",
        "localhost",
        "/path",
        "//localhost",
        "ftp://localhost",
        "http://",
        "http:///path",
        "http://user:password@localhost",
        "http://localhost/?x=1",
        "http://localhost/#x",
        "http://local host",
        "http://localhost/a b",
        "file:///etc",
    ] {
        let error = error_chain(&site(url).unwrap_err());
        assert!(
            !error.contains('\n') && !error.contains("password"),
            "{error}"
        );
    }
}

#[test]
fn error_messages_do_not_reveal_the_url() {
    for (error, status) in [(SiteError::NoSession, 401), (SiteError::Unreachable, 503)] {
        assert_eq!(error.status(), status);
        let line = error.to_string();
        assert!(!line.contains("http") && line.lines().count() == 1);
    }
}

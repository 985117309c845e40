//! Client of the website that authenticates users: session and permission requests, and a session cache.

mod sessions;

use std::{
    error::Error,
    fmt,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use axum::http::{Request, Response, StatusCode, Uri, uri::InvalidUri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use parking_lot::{Mutex, MutexGuard};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use switchboard_transport::{HttpClient, HttpClientError, error_chain};
use tokio::{sync::Semaphore, time::timeout};

use sessions::SessionCache;

use crate::clock;

/// Maximum length of a session token, in bytes.
const TOKEN_MAX: usize = 256;

/// Maximum length of a response body, in bytes. A response is one number.
const ANSWER_MAX: usize = 1024;

/// Maximum concurrent requests. Each uses a connection, and a small website has few workers.
const CONCURRENT_REQUESTS: usize = 64;

/// All characters except the unreserved ones of RFC 3986, section 2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The website whose accounts are the users.
///
/// Each made-up token costs the website one request, at most 64 at a time; queued requests wait within their
/// timeout. Only valid sessions are cached, so made-up tokens cannot evict them.
pub(crate) struct Site {
    base: String,
    client: HttpClient,
    timeout: Duration,
    request_permits: Semaphore,
    sessions: Mutex<SessionCache>,
    is_failing: AtomicBool,
}

/// Why the website did not identify a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SiteError {
    /// The website rejects the session token.
    #[error("The website does not know this session. Log in again.")]
    NoSession,
    /// The website does not respond, or responds with a server error.
    #[error("The website that authenticates users does not respond. Retry later.")]
    Unreachable,
}

impl SiteError {
    /// The status of the response to the client.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::NoSession => StatusCode::UNAUTHORIZED,
            Self::Unreachable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// The reason why a website request has no usable response.
#[derive(Debug, thiserror::Error)]
enum SiteRequestError {
    #[error("response timed out")]
    TimedOut,
    #[error("the URL is invalid")]
    InvalidUrl(#[from] InvalidUri),
    #[error(transparent)]
    Client(#[from] HttpClientError),
    #[error("status {0}")]
    Status(StatusCode),
    #[error("cannot read the response")]
    Body(#[source] Box<dyn Error + Send + Sync>),
}

/// The reason why the configured URL of the website cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SiteUrlError {
    #[error("the URL of the site is invalid")]
    Invalid(#[from] InvalidUri),
    #[error("the URL of the site must begin with http:// or https://")]
    Scheme,
    #[error("the URL of the site must not contain ? or #")]
    Query,
    #[error("the URL of the site must not contain a user name")]
    UserName,
    #[error("the URL of the site has no host")]
    NoHost,
    #[error("the site cannot be requested")]
    Client(#[from] HttpClientError),
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site")
            .field("base", &self.base)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl Site {
    /// Creates a client for the website at `url`: scheme `http` or `https`, a host, and an optional path
    /// prefix.
    ///
    /// # Errors
    /// If the URL is invalid, or this machine has no root certificates for an https URL.
    pub(crate) fn new(
        url: &str,
        cache_ttl: Duration,
        timeout: Duration,
    ) -> Result<Self, SiteUrlError> {
        let base = url.trim_end_matches('/');
        let client = HttpClient::default();
        client.prepare(&parse_base(base)?)?;
        Ok(Self {
            base: base.to_owned(),
            client,
            timeout,
            request_permits: Semaphore::new(CONCURRENT_REQUESTS),
            sessions: Mutex::new(SessionCache::new(cache_ttl)),
            is_failing: AtomicBool::new(false),
        })
    }

    /// The user of a session. The answer is cached.
    pub(crate) async fn user(&self, token: &str) -> Result<u64, SiteError> {
        let requested_at = clock::now();
        if let Some(user) = self.sessions().user(token, requested_at) {
            return Ok(user);
        }
        let escaped = escape(token)?;
        let answer = self
            .request(&format!("/Membres/crossLogin/{escaped}"))
            .await?;
        let user = answer.filter(|&user| user > 0);
        let user = user.ok_or(SiteError::NoSession)?;
        self.sessions().insert(token, user, requested_at);
        Ok(user)
    }

    /// Whether the session's user may call `destination`, or accept a call from it.
    pub(crate) async fn may_call(&self, destination: u64, token: &str) -> Result<bool, SiteError> {
        let escaped = escape(token)?;
        self.is_permitted(&format!("/Membres/peuxAppeller/{destination}/{escaped}"))
            .await
    }

    /// Whether the session's user may publish audio in the room. Also tells the website that the user starts
    /// (`on`) or has stopped.
    pub(crate) async fn may_speak(
        &self,
        room: u64,
        token: &str,
        on: bool,
    ) -> Result<bool, SiteError> {
        self.room_permission("envoieAudioGroup", room, token, on)
            .await
    }

    /// Whether the session's user may listen to the room. Also tells the website that the user starts (`on`)
    /// or has stopped.
    pub(crate) async fn may_listen(
        &self,
        room: u64,
        token: &str,
        on: bool,
    ) -> Result<bool, SiteError> {
        self.room_permission("ecouteAudioGroup", room, token, on)
            .await
    }

    async fn room_permission(
        &self,
        action: &str,
        room: u64,
        token: &str,
        on: bool,
    ) -> Result<bool, SiteError> {
        let (escaped, on) = (escape(token)?, u8::from(on));
        self.is_permitted(&format!("/Groupes/{action}/{room}/{escaped}/{on}"))
            .await
    }

    /// Requests a permission: the answer 1 grants it, any other denies it.
    async fn is_permitted(&self, path: &str) -> Result<bool, SiteError> {
        Ok(self.request(path).await? == Some(1))
    }

    /// Sends a request. Returns the number in the response, or `None` if the response is not a number.
    async fn request(&self, path: &str) -> Result<Option<u64>, SiteError> {
        let answer = timeout(self.timeout, self.answer(path)).await;
        let answer = answer.unwrap_or(Err(SiteRequestError::TimedOut));
        match answer {
            Ok(number) => {
                if self.is_failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("website request succeeded again");
                }
                Ok(number)
            }
            Err(error) => {
                let error = error_chain(&error);
                // Warns once per outage: every request would fail alike.
                if self.is_failing.swap(true, Ordering::Relaxed) {
                    tracing::debug!(error, "website request failed");
                } else {
                    tracing::warn!(error, "website request failed: its users get 503");
                }
                Err(SiteError::Unreachable)
            }
        }
    }

    async fn answer(&self, path: &str) -> Result<Option<u64>, SiteRequestError> {
        let uri = Uri::try_from(format!("{}{path}", self.base))?;
        let _permit = self.request_permits.acquire().await.expect("never closed");
        let response = match self.get(&uri).await {
            Err(error) if error.is_retryable() => self.get(&uri).await?,
            answered => answered?,
        };
        let status = response.status();
        if status.is_server_error() {
            return Err(SiteRequestError::Status(status));
        }
        if status.is_redirection() {
            tracing::warn!(%status, "website redirected; redirects are not followed");
        }
        let body = Limited::new(response.into_body(), ANSWER_MAX);
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => return Ok(None),
            Err(error) => return Err(SiteRequestError::Body(error)),
        };
        let number = status.is_success().then(|| number(&body)).flatten();
        if number.is_none() {
            tracing::debug!(%status, "website response is not a number");
        }
        Ok(number)
    }

    async fn get(&self, uri: &Uri) -> Result<Response<Incoming>, HttpClientError> {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = uri.clone();
        self.client.send(request).await
    }

    fn sessions(&self) -> MutexGuard<'_, SessionCache> {
        self.sessions.lock()
    }
}

/// Parses and checks the configured URL.
fn parse_base(base: &str) -> Result<Uri, SiteUrlError> {
    let uri: Uri = base.parse()?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(SiteUrlError::Scheme);
    }
    if base.contains(['?', '#']) {
        return Err(SiteUrlError::Query);
    }
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') {
        return Err(SiteUrlError::UserName);
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err(SiteUrlError::NoHost);
    }
    Ok(uri)
}

/// Escapes a token as a path segment. Rejects tokens that are empty, too long, or contain a dot segment,
/// which a proxy that decodes the path would resolve to another path.
fn escape(token: &str) -> Result<String, SiteError> {
    let is_dot_segment = |segment| matches!(segment, "." | "..");
    let is_dot_segment = token.split(['/', '\\']).any(is_dot_segment);
    if token.is_empty() || token.len() > TOKEN_MAX || is_dot_segment {
        return Err(SiteError::NoSession);
    }
    Ok(utf8_percent_encode(token, RESERVED).to_string())
}

/// Parses a body that is one number, with optional white space around it.
fn number(body: &[u8]) -> Option<u64> {
    std::str::from_utf8(body).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, OnceLock, atomic::AtomicUsize};

    use switchboard_transport::http_client::RESPONSE_HEAD_MAX;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    /// How the fake website responds to a request.
    enum Reply {
        Answers(u16, String),
        /// Sends this text and then nothing more.
        Stops(String),
        HangsUp,
    }

    /// A fake website that records the requested paths.
    struct FakeSite {
        url: String,
        paths: Arc<Mutex<Vec<String>>>,
        connections: Arc<AtomicUsize>,
    }

    impl FakeSite {
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
            Self::start(move |_, _| Reply::Answers(status, body.clone())).await
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
                Reply::Answers(status, body) => {
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
                Reply::Stops(start) => socket.write_all(start.as_bytes()).await.unwrap(),
                Reply::HangsUp => return,
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
        let no = Err(SiteError::NoSession);
        let down = Err(SiteError::Unreachable);
        for (status, body, user, is_permitted) in [
            (200, "1", Ok(1), Ok(true)),
            (200, " 1\r\n", Ok(1), Ok(true)),
            (201, "1\n", Ok(1), Ok(true)),
            (200, "12", Ok(12), Ok(false)),
            (200, &number_max, Ok(u64::MAX), Ok(false)),
            (200, "0", no, Ok(false)),
            (200, "-1", no, Ok(false)),
            (200, "", no, Ok(false)),
            (200, "1 1", no, Ok(false)),
            (200, "1.0", no, Ok(false)),
            (200, "{\"id\":1}", no, Ok(false)),
            (200, "<p>1</p>", no, Ok(false)),
            (200, "18446744073709551616", no, Ok(false)),
            (200, &long, no, Ok(false)),
            (302, "1", no, Ok(false)),
            (400, "1", no, Ok(false)),
            (403, "1", no, Ok(false)),
            (404, "1", no, Ok(false)),
            (500, "1", down, Err(SiteError::Unreachable)),
            (503, "1", down, Err(SiteError::Unreachable)),
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
            let fake = FakeSite::start(move |_, _| Reply::Stops(start.to_owned())).await;
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
        let fake = FakeSite::start(|_, _| Reply::Stops("SSH-2.0-x\r\n\r\n".to_owned())).await;
        let site = fake.site(MINUTE);
        assert_eq!(site.user("tok").await, Err(SiteError::Unreachable));
        let head = format!("HTTP/1.1 200 OK\r\nx: {}", "x".repeat(RESPONSE_HEAD_MAX));
        let fake = FakeSite::start(move |_, _| Reply::Stops(head.clone())).await;
        assert_eq!(
            fake.site(MINUTE).user("tok").await,
            Err(SiteError::Unreachable)
        );
    }

    #[tokio::test]
    async fn request_is_retried_when_a_pooled_connection_closes() {
        let fake = FakeSite::start(|number, _| match number {
            2 => Reply::HangsUp,
            _ => Reply::Answers(200, "5".to_owned()),
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
            Reply::Answers(200, body.to_owned())
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
            Reply::Answers(
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

        let soon = Site::new(&fake.url, MINUTE, Duration::from_millis(20)).unwrap();
        let all = soon
            .request_permits
            .acquire_many(CONCURRENT_REQUESTS as u32)
            .await;
        assert_eq!(soon.user("tok").await, Err(SiteError::Unreachable));
        assert_eq!(fake.requested_paths().len(), 2);
        drop(all);
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
}

//! Users whom a website vouches for: what the site is asked about them, and what it answered.

mod sessions;

use std::{
    error::Error,
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::http::{Request, StatusCode, Uri};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper_util::client::legacy::ResponseFuture;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::{sync::Semaphore, time::timeout};

use sessions::SessionCache;

use crate::http_client::{HttpClient, error_chain};

/// Longer than any token of a sensible site.
const TOKEN_MAX: usize = 256;

/// An answer is one number.
const ANSWER_MAX: usize = 1024;

/// Questions under way. Each has a connection, and most of a small site's workers are for people.
const CONCURRENT_REQUESTS: usize = 64;

/// Everything but what RFC 3986 calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The website whose users these are.
///
/// Strangers who send tokens that they made up cost the site one request each, 64 at a time at
/// most; what waits for its turn waits within its timeout. Only answers that name a user are
/// remembered, so no stranger can push those out.
pub(crate) struct Site {
    base: String,
    client: HttpClient<Empty<Bytes>>,
    timeout: Duration,
    turns: Semaphore,
    sessions: Mutex<SessionCache>,
    is_silent: AtomicBool,
}

/// Why the site did not say who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SiteError {
    /// The site knows no such session.
    NoSession,
    /// The site does not answer, or says that it cannot.
    Unreachable,
}

impl SiteError {
    /// What the client is answered with.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::NoSession => StatusCode::UNAUTHORIZED,
            Self::Unreachable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl fmt::Display for SiteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSession => "The site does not know this session.",
            Self::Unreachable => "The site that knows the users does not answer.",
        })
    }
}

impl Error for SiteError {}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site")
            .field("base", &self.base)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl Site {
    /// The site at `url`: `http` or `https`, a host, and perhaps a path that all of the site's
    /// addresses begin with. The error is a line for who runs the server.
    pub(crate) fn new(url: &str, cache_ttl: Duration, timeout: Duration) -> Result<Self, String> {
        let base = url.trim_end_matches('/');
        let is_plain = base_is_plain(base)?;
        Ok(Self {
            base: base.to_owned(),
            client: if is_plain {
                HttpClient::plain()
            } else {
                HttpClient::secure()?
            },
            timeout,
            turns: Semaphore::new(CONCURRENT_REQUESTS),
            sessions: Mutex::new(SessionCache::new(cache_ttl)),
            is_silent: AtomicBool::new(false),
        })
    }

    /// Whose session this is. The answer is remembered for a while.
    pub(crate) async fn user(&self, token: &str) -> Result<u64, SiteError> {
        let asked = Instant::now();
        if let Some(user) = self.sessions().user(token, asked) {
            return Ok(user);
        }
        let escaped = escape(token)?;
        let answer = self
            .request(&format!("/Membres/crossLogin/{escaped}"))
            .await?;
        let user = answer.filter(|&user| user > 0);
        let user = user.ok_or(SiteError::NoSession)?;
        self.sessions().remember(token, user, asked);
        Ok(user)
    }

    /// Whether this session's user may call that one, or take a call from him.
    pub(crate) async fn may_call(&self, destination: u64, token: &str) -> Result<bool, SiteError> {
        let escaped = escape(token)?;
        self.may(&format!("/Membres/peuxAppeller/{destination}/{escaped}"))
            .await
    }

    /// Whether this session's user may speak in the room; tells the site that he begins (`on`) or
    /// has ended.
    pub(crate) async fn may_speak(
        &self,
        room: u64,
        token: &str,
        on: bool,
    ) -> Result<bool, SiteError> {
        self.may_be_in_room("envoieAudioGroup", room, token, on)
            .await
    }

    /// Whether this session's user may listen to the room; tells the site that he begins (`on`) or
    /// has ended.
    pub(crate) async fn may_listen(
        &self,
        room: u64,
        token: &str,
        on: bool,
    ) -> Result<bool, SiteError> {
        self.may_be_in_room("ecouteAudioGroup", room, token, on)
            .await
    }

    async fn may_be_in_room(
        &self,
        question: &str,
        room: u64,
        token: &str,
        on: bool,
    ) -> Result<bool, SiteError> {
        let (escaped, on) = (escape(token)?, u8::from(on));
        self.may(&format!("/Groupes/{question}/{room}/{escaped}/{on}"))
            .await
    }

    /// Only a 1 is a yes.
    async fn may(&self, path: &str) -> Result<bool, SiteError> {
        Ok(self.request(path).await? == Some(1))
    }

    /// The number the site answers; none if it answers anything else.
    async fn request(&self, path: &str) -> Result<Option<u64>, SiteError> {
        let answer = timeout(self.timeout, self.answer(path)).await;
        let answer = answer.unwrap_or_else(|_late| Err("no answer in time".to_owned()));
        match answer {
            Ok(number) => {
                if self.is_silent.swap(false, Ordering::Relaxed) {
                    tracing::info!("the site answers again");
                }
                Ok(number)
            }
            Err(why) => {
                // One line for what may befall every request.
                if self.is_silent.swap(true, Ordering::Relaxed) {
                    tracing::debug!(why, "the site does not answer");
                } else {
                    tracing::warn!(why, "the site does not answer: its users get 503");
                }
                Err(SiteError::Unreachable)
            }
        }
    }

    async fn answer(&self, path: &str) -> Result<Option<u64>, String> {
        let uri = Uri::try_from(format!("{}{path}", self.base));
        let uri = uri.map_err(|error| error.to_string())?;
        let _turn = self.turns.acquire().await.map_err(|e| e.to_string())?;
        let response = match self.get(&uri).await {
            // A connection that was kept may end just as it is used again.
            Err(error) if !error.is_connect() => self.get(&uri).await,
            answered => answered,
        };
        let response = response.map_err(|error| error_chain(&error))?;
        let status = response.status();
        if status.is_server_error() {
            return Err(format!("status {status}"));
        }
        if status.is_redirection() {
            tracing::warn!(%status, "the site redirects, which is not followed");
        }
        let body = Limited::new(response.into_body(), ANSWER_MAX);
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => return Ok(None),
            Err(error) => return Err(error_chain(&*error)),
        };
        let number = status.is_success().then(|| number(&body)).flatten();
        if number.is_none() {
            tracing::debug!(%status, "the site answers no number");
        }
        Ok(number)
    }

    fn get(&self, uri: &Uri) -> ResponseFuture {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = uri.clone();
        self.client.send(request)
    }

    fn sessions(&self) -> MutexGuard<'_, SessionCache> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Checks the configured address: true for http, false for https.
fn base_is_plain(base: &str) -> Result<bool, String> {
    let uri: Uri = base
        .parse()
        .map_err(|error| format!("the address of the site is none: {error}"))?;
    let is_plain = match uri.scheme_str() {
        Some("http") => true,
        Some("https") => false,
        Some(_) | None => {
            return Err("the address of the site begins with neither http:// nor https://".into());
        }
    };
    if base.contains(['?', '#']) {
        return Err("the address of the site ends with its path: no ? and no #".into());
    }
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') {
        return Err("the address of the site may not hold a user's name".into());
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err("the address of the site names no host".into());
    }
    Ok(is_plain)
}

/// A token as a segment of a path. What cannot be one is no session: nothing, too much, and what a
/// proxy that undoes escapes would take for the way to another folder.
fn escape(token: &str) -> Result<String, SiteError> {
    let leads_away = |segment| matches!(segment, "." | "..");
    let leads_away = token.split(['/', '\\']).any(leads_away);
    if token.is_empty() || token.len() > TOKEN_MAX || leads_away {
        return Err(SiteError::NoSession);
    }
    Ok(utf8_percent_encode(token, RESERVED).to_string())
}

/// A number alone, with the white space that pages tend to end with.
fn number(body: &[u8]) -> Option<u64> {
    std::str::from_utf8(body).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, OnceLock, atomic::AtomicUsize};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::http_client::HEAD_MAX;

    /// What the site of a test does with a request.
    enum Reply {
        Answers(u16, String),
        /// Says so much, and no more.
        Stops(String),
        HangsUp,
    }

    /// A site of a test, and what it was asked.
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

        /// Answers every request with this body.
        async fn saying(status: u16, body: &str) -> Self {
            let body = body.to_owned();
            Self::start(move |_, _| Reply::Answers(status, body.clone())).await
        }

        fn asked(&self) -> Vec<String> {
            self.paths.lock().unwrap().clone()
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
                let mut paths = paths.lock().unwrap();
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
    async fn the_four_questions_go_to_their_addresses() {
        let fake = FakeSite::saying(200, "1").await;
        let site = Site::new(&format!("{}/base/", fake.url), MINUTE, MINUTE).unwrap();
        assert_eq!(site.user("tok1").await, Ok(1));
        assert_eq!(site.may_call(12, "tok1").await, Ok(true));
        assert_eq!(site.may_speak(7, "tok1", true).await, Ok(true));
        assert_eq!(site.may_listen(7, "tok1", false).await, Ok(true));
        let asked = [
            "/base/Membres/crossLogin/tok1",
            "/base/Membres/peuxAppeller/12/tok1",
            "/base/Groupes/envoieAudioGroup/7/tok1/1",
            "/base/Groupes/ecouteAudioGroup/7/tok1/0",
        ];
        assert_eq!(fake.asked(), asked);
        assert_eq!(fake.connections.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_token_is_one_segment_whatever_is_in_it() {
        let fake = FakeSite::saying(200, "1").await;
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
            let asked = fake.asked().pop().unwrap();
            assert_eq!(asked, format!("/Groupes/envoieAudioGroup/7/{segment}/1"));
        }
    }

    #[tokio::test]
    async fn what_can_be_no_token_is_not_asked_about() {
        let fake = FakeSite::saying(200, "1").await;
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
        assert!(fake.asked().is_empty());
        assert_eq!(site.user(&"x".repeat(TOKEN_MAX)).await, Ok(1));
    }

    #[tokio::test]
    async fn only_a_number_names_a_user_and_only_a_one_is_a_yes() {
        let number_max = u64::MAX.to_string();
        let long = format!("1{}", " ".repeat(ANSWER_MAX));
        let no = Err(SiteError::NoSession);
        let down = Err(SiteError::Unreachable);
        for (status, body, user, may) in [
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
            let fake = FakeSite::saying(status, body).await;
            let site = fake.site(Duration::ZERO);
            assert_eq!(site.user("tok").await, user, "{status} {body:?}");
            assert_eq!(site.may_call(2, "tok").await, may, "{status} {body:?}");
            assert_eq!(site.may_listen(2, "tok", true).await, may);
            assert_eq!(fake.asked().len(), 3);
        }
    }

    #[tokio::test]
    async fn a_site_that_does_not_answer_is_not_waited_for() {
        for start in ["", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n1"] {
            let fake = FakeSite::start(move |_, _| Reply::Stops(start.to_owned())).await;
            let site = Site::new(&fake.url, MINUTE, Duration::from_millis(50)).unwrap();
            assert_eq!(site.user("tok").await, Err(SiteError::Unreachable));
        }
    }

    #[tokio::test]
    async fn a_site_that_is_not_there_is_unreachable_until_it_is() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let site = Site::new(&format!("http://{address}"), MINUTE, MINUTE).unwrap();
        for _ in 0..2 {
            assert_eq!(site.user("tok").await, Err(SiteError::Unreachable));
        }
        assert!(site.is_silent.load(Ordering::Relaxed));

        let fake = FakeSite::saying(200, "x").await;
        let site = Site {
            base: fake.url.clone(),
            ..site
        };
        assert_eq!(site.user("tok").await, Err(SiteError::NoSession));
        assert!(!site.is_silent.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn what_is_no_http_or_no_certificate_is_unreachable() {
        let fake = FakeSite::start(|_, _| Reply::Stops("SSH-2.0-x\r\n\r\n".to_owned())).await;
        let site = fake.site(MINUTE);
        assert_eq!(site.user("tok").await, Err(SiteError::Unreachable));
        let head = format!("HTTP/1.1 200 OK\r\nx: {}", "x".repeat(HEAD_MAX));
        let fake = FakeSite::start(move |_, _| Reply::Stops(head.clone())).await;
        assert_eq!(
            fake.site(MINUTE).user("tok").await,
            Err(SiteError::Unreachable)
        );
    }

    #[tokio::test]
    async fn a_connection_that_ends_as_it_is_used_again_is_replaced() {
        let fake = FakeSite::start(|number, _| match number {
            2 => Reply::HangsUp,
            _ => Reply::Answers(200, "5".to_owned()),
        })
        .await;
        let site = fake.site(Duration::ZERO);
        assert_eq!(site.user("tok").await, Ok(5));
        assert_eq!(site.user("tok").await, Ok(5));
        assert_eq!(fake.asked().len(), 3);
        assert_eq!(fake.connections.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_session_is_asked_for_once_and_what_is_none_each_time() {
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
        assert_eq!(fake.asked().len(), 4);
        for _ in 0..2 {
            assert_eq!(site.may_call(2, "good").await, Ok(false));
        }
        assert_eq!(fake.asked().len(), 6);
    }

    #[tokio::test]
    async fn a_question_has_a_turn_and_waiting_for_one_counts() {
        let site: Arc<OnceLock<Site>> = Arc::default();
        let asked_of = site.clone();
        let fake = FakeSite::start(move |_, _| {
            let turns = &asked_of.get().unwrap().turns;
            Reply::Answers(
                200,
                (CONCURRENT_REQUESTS - turns.available_permits()).to_string(),
            )
        })
        .await;
        let site = site.get_or_init(|| fake.site(Duration::ZERO));
        assert_eq!(site.user("tok").await, Ok(1));
        let others = site.turns.acquire_many(4).await.unwrap();
        assert_eq!(site.user("tok").await, Ok(5));
        drop(others);
        assert_eq!(site.turns.available_permits(), CONCURRENT_REQUESTS);

        let soon = Site::new(&fake.url, MINUTE, Duration::from_millis(20)).unwrap();
        let all = soon.turns.acquire_many(CONCURRENT_REQUESTS as u32).await;
        assert_eq!(soon.user("tok").await, Err(SiteError::Unreachable));
        assert_eq!(fake.asked().len(), 2);
        drop(all);
    }

    #[test]
    fn an_address_is_http_a_host_and_a_path() {
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
            let why = site(url).unwrap_err();
            assert!(!why.contains('\n') && !why.contains("password"), "{why}");
        }
    }

    #[test]
    fn what_users_are_told_names_no_address() {
        for (error, status) in [(SiteError::NoSession, 401), (SiteError::Unreachable, 503)] {
            assert_eq!(error.status(), status);
            let line = error.to_string();
            assert!(!line.contains("http") && line.lines().count() == 1);
        }
    }
}

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
use switchboard_core::error_chain;
use switchboard_transport::{HttpClient, HttpClientError};
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

/// The website whose accounts are the users. The paths of its requests have French names, as on the website that the
/// original server worked with.
///
/// Each made-up token costs the website one request. At most 64 requests run at a time; the others wait, and their
/// timeout includes the wait. Only valid sessions are cached, so made-up tokens cannot evict them.
pub(crate) struct Site {
    base: String,
    client: HttpClient,
    timeout: Duration,
    request_permits: Semaphore,
    sessions: Mutex<SessionCache>,
    /// Whether the last request failed.
    is_failing: AtomicBool,
}

/// The reason why the website has not identified a user.
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

    /// Sends a request without a timeout. A body that is too long is taken for "not a number".
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

/// Escapes a token as a path segment. Rejects tokens that are empty, too long, or contain `.` or `..` between slashes:
/// a proxy that decodes the path would resolve it to another path.
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
mod tests;

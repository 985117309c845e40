//! Requests that sessions make to a web service of whoever runs the server.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::http::{Method, Request, Response, StatusCode, Uri, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use switchboard_dialect::WebhookRequest;
use switchboard_transport::Counters;
use tokio::{runtime::Handle, sync::Semaphore, time::timeout};
use tokio_util::task::TaskTracker;

use crate::http_client::{HttpClient, error_chain};

/// Longer than any list of ICE servers.
const ANSWER_MAX: usize = 64 * 1024;

/// Requests under way for which a client waits. Each has a connection.
const CONCURRENT_REQUESTS: usize = 64;

/// Requests under way for which nobody waits, and how many more may wait for their turn: that
/// many clients at least can go at once.
const CONCURRENT_DETACHED: usize = 16;
const QUEUED_DETACHED_MAX: usize = 4096;

/// Makes requests, a bounded number at a time.
#[derive(Debug)]
pub(crate) struct Webhooks {
    plain: OnceLock<WebhookClient>,
    secure: OnceLock<Result<WebhookClient, String>>,
    turns: Semaphore,
    later: Semaphore,
    /// Requests that nobody waits for and that are not over.
    later_count: AtomicUsize,
    is_silent: AtomicBool,
    counters: Arc<Counters>,
    tasks: TaskTracker,
}

/// Connections for bodies that are known whole.
struct WebhookClient(HttpClient<Full<Bytes>>);

impl std::fmt::Debug for WebhookClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pool")
    }
}

impl Webhooks {
    /// What nobody waits for is among `tasks`.
    pub(crate) fn new(counters: Arc<Counters>, tasks: TaskTracker) -> Arc<Self> {
        Arc::new(Self {
            plain: OnceLock::new(),
            secure: OnceLock::new(),
            turns: Semaphore::new(CONCURRENT_REQUESTS),
            later: Semaphore::new(CONCURRENT_DETACHED),
            later_count: AtomicUsize::new(0),
            is_silent: AtomicBool::new(false),
            counters,
            tasks,
        })
    }

    /// The body of the answer, if its status is 200 and it comes in time.
    pub(crate) async fn post(&self, post: WebhookRequest) -> Option<String> {
        let asked = async {
            let _turn = self.turns.acquire().await.map_err(|e| e.to_string())?;
            self.deliver(&post).await
        };
        self.within(post.timeout, &post.url, asked).await
    }

    /// Makes a request that nobody waits for. False if there are too many.
    pub(crate) fn post_later(self: &Arc<Self>, post: WebhookRequest) -> bool {
        // Where there is no runtime any more, nothing is sent any more.
        let Ok(runtime) = Handle::try_current() else {
            return true;
        };
        if self.later_count.fetch_add(1, Ordering::Relaxed) >= QUEUED_DETACHED_MAX {
            self.later_count.fetch_sub(1, Ordering::Relaxed);
            Counters::add(&self.counters.webhooks_failed_total, 1);
            tracing::debug!(
                host = host(&post.url),
                "too many requests wait for a web service"
            );
            return false;
        }
        let this = self.clone();
        let sending = async move {
            if let Ok(_turn) = this.later.acquire().await {
                this.within(post.timeout, &post.url, this.deliver(&post))
                    .await;
            }
            this.later_count.fetch_sub(1, Ordering::Relaxed);
        };
        self.tasks.spawn_on(sending, &runtime);
        true
    }

    /// What comes in time; why nothing does is logged, once until something does again.
    async fn within(
        &self,
        time: Duration,
        url: &str,
        answer: impl Future<Output = Result<String, String>>,
    ) -> Option<String> {
        Counters::add(&self.counters.webhooks_total, 1);
        let answer = timeout(time, answer).await;
        let answer = answer.unwrap_or_else(|_late| Err("no answer in time".to_owned()));
        let failed = u64::from(answer.is_err());
        Counters::add(&self.counters.webhooks_failed_total, failed);
        let was_silent = self.is_silent.swap(answer.is_err(), Ordering::Relaxed);
        match &answer {
            Ok(_) if was_silent => tracing::info!(host = host(url), "a web service answers again"),
            Ok(_) => {}
            Err(why) if was_silent => {
                tracing::debug!(host = host(url), why, "a web service does not answer");
            }
            Err(why) => tracing::warn!(host = host(url), why, "a web service does not answer"),
        }
        answer.ok()
    }

    async fn deliver(&self, post: &WebhookRequest) -> Result<String, String> {
        let uri = Uri::try_from(post.url.as_str()).map_err(|error| error.to_string())?;
        let pool = self.pool(&uri)?;
        let body = Full::new(post.body.as_bytes().clone());
        let request = Request::builder()
            .method(Method::POST)
            .uri(uri)
            .header(header::CONTENT_TYPE, "application/json")
            .body(body);
        let request = request.map_err(|error| error.to_string())?;
        let response = pool
            .0
            .send(request)
            .await
            .map_err(|error| error_chain(&error))?;
        read(response).await
    }

    fn pool(&self, uri: &Uri) -> Result<&WebhookClient, String> {
        match uri.scheme_str() {
            Some("http") => Ok(self
                .plain
                .get_or_init(|| WebhookClient(HttpClient::plain()))),
            Some("https") => {
                let secure = || HttpClient::secure().map(WebhookClient);
                self.secure
                    .get_or_init(secure)
                    .as_ref()
                    .map_err(Clone::clone)
            }
            Some(_) | None => Err("the address begins with neither http:// nor https://".into()),
        }
    }
}

async fn read(response: Response<Incoming>) -> Result<String, String> {
    let status = response.status();
    if status != StatusCode::OK {
        return Err(format!("status {status}"));
    }
    let body = Limited::new(response.into_body(), ANSWER_MAX);
    let body = body.collect().await.map_err(|error| error_chain(&*error))?;
    let text = String::from_utf8(body.to_bytes().into());
    text.map_err(|_| "the answer is not UTF-8".to_owned())
}

/// What of an address may stand in a log: the rest may be secret.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use axum::{Router, body::Body, response::IntoResponse, routing::post};
    use tokio::{net::TcpListener, sync::Notify};

    use super::*;

    /// A web service of a test: its address, and the bodies it was sent.
    async fn service(router: Router) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    fn answering(status: u16, body: impl Into<Bytes>) -> Router {
        let (status, body) = (StatusCode::from_u16(status).expect("a status"), body.into());
        let location = [(header::LOCATION, "/elsewhere")];
        let answer = move || async move { (status, location, Body::from(body.clone())) };
        let elsewhere = post(|| async { "moved" });
        Router::new()
            .route("/", post(answer.clone()))
            .route("/elsewhere", elsewhere)
    }

    fn letter(url: &str) -> WebhookRequest {
        WebhookRequest {
            url: url.to_owned(),
            body: "{\"a\":1}".into(),
            timeout: Duration::from_secs(20),
        }
    }

    async fn asked(router: Router) -> Option<String> {
        let webhooks = Webhooks::new(Arc::default(), TaskTracker::new());
        webhooks.post(letter(&service(router).await)).await
    }

    #[tokio::test]
    async fn a_request_is_json_and_its_answer_a_200_of_bounded_length() {
        let echo = |headers: axum::http::HeaderMap, body: String| async move {
            let kind = headers[header::CONTENT_TYPE]
                .to_str()
                .expect("text")
                .to_owned();
            format!("{kind} {body}")
        };
        let echoed = asked(Router::new().route("/", post(echo))).await;
        assert_eq!(echoed.as_deref(), Some("application/json {\"a\":1}"));
        let most = asked(answering(200, vec![b'x'; ANSWER_MAX])).await;
        assert_eq!(most.map(|body| body.len()), Some(ANSWER_MAX));
        for (status, body) in [
            (200, vec![b'x'; ANSWER_MAX + 1]),
            (200, vec![0xff]),
            (204, Vec::new()),
            (302, Vec::new()),
            (307, Vec::new()),
            (500, b"{}".to_vec()),
        ] {
            let length = body.len();
            let answer = asked(answering(status, body)).await;
            assert_eq!(answer, None, "{status}, {length} bytes");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_asked_or_does_not_answer_in_time_is_no_answer() {
        let webhooks = Webhooks::new(Arc::default(), TaskTracker::new());
        for url in ["", "nowhere", "ftp://127.0.0.1", "http://127.0.0.1:1"] {
            assert_eq!(webhooks.post(letter(url)).await, None, "{url}");
        }
        let silent = Router::new().route("/", post(std::future::pending::<()>));
        let post = WebhookRequest {
            timeout: Duration::from_millis(20),
            ..letter(&service(silent).await)
        };
        assert_eq!(webhooks.post(post).await, None);
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_bounded_and_waited_for_at_the_end() {
        let tasks = TaskTracker::new();
        let webhooks = Webhooks::new(Arc::default(), tasks.clone());
        let (bodies, open) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Notify::new()));
        let router = {
            let (bodies, open) = (bodies.clone(), open.clone());
            let take = move |body: String| async move {
                open.notified().await;
                open.notify_one();
                bodies.lock().expect("whole").push(body);
                StatusCode::OK.into_response()
            };
            Router::new().route("/", post(take))
        };
        let url = service(router).await;
        let taken = (0..=QUEUED_DETACHED_MAX).filter(|_| webhooks.post_later(letter(&url)));
        assert_eq!(taken.count(), QUEUED_DETACHED_MAX);
        tasks.close();
        open.notify_one();
        tasks.wait().await;
        assert_eq!(bodies.lock().expect("whole").len(), QUEUED_DETACHED_MAX);
        assert_eq!(webhooks.later_count.load(Ordering::Relaxed), 0);
        let failed = &webhooks.counters.webhooks_failed_total;
        assert_eq!(failed.load(Ordering::Relaxed), 1, "the one too many");
    }

    #[test]
    fn only_the_host_is_logged() {
        for (url, expected) in [
            ("https://a.example/hook?secret=1", "a.example"),
            ("http://ada:key@a.example:81/hook", "a.example:81"),
            ("http://a.example?x", "a.example"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(host(url), expected, "{url}");
        }
    }
}

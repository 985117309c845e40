//! Webhook requests of dialects: a session asks a web service of the operator.

use std::{
    string::FromUtf8Error,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::http::{Method, StatusCode};
use prometheus::IntCounter;
use switchboard_auth::{FetchError, FetchRequest, HttpFetch as _};
use switchboard_core::error_chain;
use switchboard_dialects::WebhookRequest;
use switchboard_transport::MetricsRegistry;
use tokio::{runtime::Handle, sync::Semaphore, time::timeout};
use tokio_util::task::TaskTracker;

use crate::http_fetch::{HttpFetcher, host, json_headers};

/// Bytes of a response body. The largest expected content is a list of ICE servers.
const RESPONSE_BYTES_MAX: usize = 64 * 1024;

/// Concurrent requests for which a client waits. Each uses a connection.
const CONCURRENT_REQUESTS: usize = 64;

/// Concurrent requests for which no client waits.
const CONCURRENT_DETACHED: usize = 16;

/// Unfinished requests for which no client waits, queued ones included. A client that leaves causes at most one request,
/// so this many clients can leave at the same time without a dropped request.
const QUEUED_DETACHED_MAX: usize = 4096;

/// Sends webhook requests, a bounded number at a time.
#[derive(Debug)]
pub(crate) struct DialectWebhooks {
    http: Arc<HttpFetcher>,
    /// Limits the requests for which a client waits.
    permits: Semaphore,
    /// Limits the requests for which no client waits.
    detached_permits: Semaphore,
    /// Unfinished requests for which no client waits.
    detached_count: AtomicUsize,
    /// Whether the last request failed.
    is_failing: AtomicBool,
    metrics: DialectWebhookMetrics,
    tasks: TaskTracker,
}

/// The metrics of webhook requests.
#[derive(Debug)]
struct DialectWebhookMetrics {
    total: IntCounter,
    failed: IntCounter,
}

impl DialectWebhookMetrics {
    fn new(registry: &MetricsRegistry) -> Self {
        let total = "Requests made to web services about clients.";
        let failed = "Those of them that were not answered with 200 in time, or could not be made.";
        Self {
            total: registry.counter("webhooks_total", total),
            failed: registry.counter("webhooks_failed_total", failed),
        }
    }
}

/// The reason why a webhook request has no usable response.
#[derive(Debug, thiserror::Error)]
enum DialectWebhookError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("status {0}")]
    Status(StatusCode),
    #[error("the response is not UTF-8")]
    NotUtf8(#[from] FromUtf8Error),
    #[error("no response in {0:?}")]
    TimedOut(Duration),
}

impl DialectWebhooks {
    /// Creates the client. Requests for which no client waits run in `tasks`.
    pub(crate) fn new(
        registry: &MetricsRegistry,
        http: Arc<HttpFetcher>,
        tasks: TaskTracker,
    ) -> Arc<Self> {
        Arc::new(Self {
            http,
            permits: Semaphore::new(CONCURRENT_REQUESTS),
            detached_permits: Semaphore::new(CONCURRENT_DETACHED),
            detached_count: AtomicUsize::new(0),
            is_failing: AtomicBool::new(false),
            metrics: DialectWebhookMetrics::new(registry),
            tasks,
        })
    }

    /// Sends a request. Returns the body of the response, if its status is 200 and it arrives in time.
    pub(crate) async fn post(&self, webhook: WebhookRequest) -> Option<String> {
        let sending = async {
            let _permit = self.permits.acquire().await.expect("never closed");
            self.send(&webhook).await
        };
        self.await_response(webhook.timeout, &webhook.url, sending)
            .await
    }

    /// Sends a request for which no client waits. Returns false if too many are unfinished, and this one is dropped.
    pub(crate) fn post_detached(self: &Arc<Self>, webhook: WebhookRequest) -> bool {
        // Without a runtime the server has ended, and nothing can be sent.
        let Ok(runtime) = Handle::try_current() else {
            return true;
        };
        if self.detached_count.fetch_add(1, Ordering::Relaxed) >= QUEUED_DETACHED_MAX {
            self.detached_count.fetch_sub(1, Ordering::Relaxed);
            self.metrics.failed.inc();
            tracing::debug!(
                host = host(&webhook.url),
                queued_max = QUEUED_DETACHED_MAX,
                "webhook request dropped: queue is full"
            );
            return false;
        }
        let this = self.clone();
        let sending = async move {
            if let Ok(_permit) = this.detached_permits.acquire().await {
                this.await_response(webhook.timeout, &webhook.url, this.send(&webhook))
                    .await;
            }
            this.detached_count.fetch_sub(1, Ordering::Relaxed);
        };
        self.tasks.spawn_on(sending, &runtime);
        true
    }

    /// Waits for a response until the timeout. The first failure after a success is logged as a warning, further
    /// ones at level debug.
    async fn await_response(
        &self,
        time: Duration,
        url: &str,
        response: impl Future<Output = Result<String, DialectWebhookError>>,
    ) -> Option<String> {
        self.metrics.total.inc();
        let result = timeout(time, response).await;
        let result = result.unwrap_or(Err(DialectWebhookError::TimedOut(time)));
        let failed = u64::from(result.is_err());
        self.metrics.failed.inc_by(failed);
        let was_failing = self.is_failing.swap(result.is_err(), Ordering::Relaxed);
        match &result {
            Ok(_) if was_failing => {
                tracing::info!(host = host(url), "webhook requests succeed again");
            }
            Ok(_) => {}
            Err(error) => {
                let error = error_chain(error);
                if was_failing {
                    tracing::debug!(host = host(url), error, "webhook request failed");
                } else {
                    tracing::warn!(host = host(url), error, "webhook request failed");
                }
            }
        }
        result.ok()
    }

    async fn send(&self, webhook: &WebhookRequest) -> Result<String, DialectWebhookError> {
        let fetched = self.http.fetch(FetchRequest {
            method: Method::POST,
            url: webhook.url.clone(),
            headers: json_headers(),
            body: webhook.body.as_bytes().clone(),
            timeout: webhook.timeout,
            response_bytes_max: RESPONSE_BYTES_MAX,
        });
        let response = fetched.await?;
        match response.status {
            StatusCode::OK => Ok(String::from_utf8(response.body.into())?),
            status => Err(DialectWebhookError::Status(status)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use axum::{Router, body::Body, http::header, response::IntoResponse, routing::post};
    use bytes::Bytes;
    use tokio::{net::TcpListener, sync::Notify};

    use super::*;

    /// Starts a web service and returns its URL.
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

    fn webhook(url: &str) -> WebhookRequest {
        WebhookRequest {
            url: url.to_owned(),
            body: "{\"a\":1}".into(),
            timeout: Duration::from_secs(20),
        }
    }

    async fn response_of(router: Router) -> Option<String> {
        let webhooks = DialectWebhooks::new(
            &MetricsRegistry::default(),
            Arc::default(),
            TaskTracker::new(),
        );
        webhooks.post(webhook(&service(router).await)).await
    }

    #[tokio::test]
    async fn request_is_json_and_response_must_be_200_within_the_length_limit() {
        let echo = |headers: axum::http::HeaderMap, body: String| async move {
            let kind = headers[header::CONTENT_TYPE]
                .to_str()
                .expect("text")
                .to_owned();
            format!("{kind} {body}")
        };
        let echoed = response_of(Router::new().route("/", post(echo))).await;
        assert_eq!(echoed.as_deref(), Some("application/json {\"a\":1}"));
        let longest = response_of(answering(200, vec![b'x'; RESPONSE_BYTES_MAX])).await;
        assert_eq!(longest.map(|body| body.len()), Some(RESPONSE_BYTES_MAX));
        for (status, body) in [
            (200, vec![b'x'; RESPONSE_BYTES_MAX + 1]),
            (200, vec![0xff]),
            (204, Vec::new()),
            (302, Vec::new()),
            (307, Vec::new()),
            (500, b"{}".to_vec()),
        ] {
            let length = body.len();
            let response = response_of(answering(status, body)).await;
            assert_eq!(response, None, "{status}, {length} bytes");
        }
    }

    #[tokio::test]
    async fn request_to_an_unreachable_or_silent_web_service_has_no_response() {
        let webhooks = DialectWebhooks::new(
            &MetricsRegistry::default(),
            Arc::default(),
            TaskTracker::new(),
        );
        for url in ["", "nowhere", "ftp://127.0.0.1", "http://127.0.0.1:1"] {
            assert_eq!(webhooks.post(webhook(url)).await, None, "{url}");
        }
        let silent = Router::new().route("/", post(std::future::pending::<()>));
        let request = WebhookRequest {
            timeout: Duration::from_millis(20),
            ..webhook(&service(silent).await)
        };
        assert_eq!(webhooks.post(request).await, None);
    }

    #[tokio::test]
    async fn detached_requests_are_bounded_and_finish_before_the_tasks_end() {
        let tasks = TaskTracker::new();
        let webhooks =
            DialectWebhooks::new(&MetricsRegistry::default(), Arc::default(), tasks.clone());
        let (bodies, open) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Notify::new()));
        let router = {
            let (bodies, open) = (bodies.clone(), open.clone());
            let record = move |body: String| async move {
                open.notified().await;
                open.notify_one();
                bodies.lock().expect("poisoned by a panic").push(body);
                StatusCode::OK.into_response()
            };
            Router::new().route("/", post(record))
        };
        let url = service(router).await;
        let accepted = (0..=QUEUED_DETACHED_MAX).filter(|_| webhooks.post_detached(webhook(&url)));
        assert_eq!(accepted.count(), QUEUED_DETACHED_MAX);
        tasks.close();
        open.notify_one();
        tasks.wait().await;
        let received = bodies.lock().expect("poisoned by a panic").len();
        assert_eq!(received, QUEUED_DETACHED_MAX);
        assert_eq!(webhooks.detached_count.load(Ordering::Relaxed), 0);
        let failed = webhooks.metrics.failed.get();
        assert_eq!(failed, 1, "the request over the limit");
    }
}

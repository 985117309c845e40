//! The client of one webhook: it signs the requests, and bounds them by a fair queue, a timeout and a circuit breaker.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use bytes::Bytes;
use parking_lot::Mutex;
use prometheus::{IntCounterVec, IntGaugeVec, Opts};
use rand::RngExt as _;
use switchboard_auth::{
    FetchError, FetchRequest, HttpFetch as _,
    webhook::{
        Attempt, Breaker, BreakerChange, DecisionError, EVENT_ID_HEADER, SIGNATURE_HEADER,
        TIMESTAMP_HEADER, sign,
    },
};
use switchboard_core::error_chain;
use switchboard_transport::MetricsRegistry;
use tokio::time::timeout;

use super::gate::Gate;
use crate::{
    app_state::unix_secs,
    http_fetch::{HttpFetcher, host, json_headers},
};

/// Bytes of a response.
const RESPONSE_BYTES_MAX: usize = 64 * 1024;

/// The metrics of all webhooks of the settings. The label `webhook` is `access`.
#[derive(Clone, Debug)]
pub(crate) struct WebhookMetrics {
    requests: IntCounterVec,
    failures: IntCounterVec,
    open: IntGaugeVec,
}

impl Default for WebhookMetrics {
    fn default() -> Self {
        let counters = |name, help| {
            let counters = IntCounterVec::new(Opts::new(name, help), &["webhook"]);
            counters.expect("the name and labels are valid")
        };
        let gauges = |name, help| {
            let gauges = IntGaugeVec::new(Opts::new(name, help), &["webhook"]);
            gauges.expect("the name and labels are valid")
        };
        Self {
            requests: counters(
                "webhook_requests_total",
                "Requests to the webhook of the section access.webhook.",
            ),
            failures: counters(
                "webhook_failures_total",
                "Those of them without a usable response, and questions that were not sent.",
            ),
            open: gauges(
                "webhook_breaker_open",
                "1 while no requests are sent, because the webhook has not answered.",
            ),
        }
    }
}

impl WebhookMetrics {
    /// Makes the metrics part of those of the node.
    pub(crate) fn register(&self, registry: &MetricsRegistry) {
        registry.register(Ok(self.requests.clone()));
        registry.register(Ok(self.failures.clone()));
        registry.register(Ok(self.open.clone()));
    }
}

/// The reason why a request has no usable response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebhookError {
    #[error("too many requests wait for the webhook")]
    QueueFull,
    #[error("the webhook has not answered; the next attempt is in {0:?}")]
    BreakerOpen(Duration),
    #[error("no response in {0:?}")]
    TimedOut(Duration),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("status {0}")]
    Status(StatusCode),
    #[error(transparent)]
    Decision(#[from] DecisionError),
}

impl WebhookError {
    /// Whether the web service gave no answer of its own. A response that cannot be used is an answer: a client could
    /// cause it by odd input, and must not stop the requests of others by that.
    fn is_outage(&self) -> bool {
        match self {
            Self::TimedOut(_) | Self::Fetch(FetchError::TimedOut(_) | FetchError::Failed(_)) => {
                true
            }
            Self::Status(status) => [429, 502, 503, 504].contains(&status.as_u16()),
            Self::QueueFull
            | Self::BreakerOpen(_)
            | Self::Fetch(FetchError::TooLong(_))
            | Self::Decision(_) => false,
        }
    }
}

/// One webhook.
pub(crate) struct SignedWebhook {
    /// The value of the label `webhook`.
    name: &'static str,
    http: Arc<HttpFetcher>,
    url: String,
    secret: String,
    timeout: Duration,
    gate: Arc<Gate>,
    breaker: Mutex<Breaker>,
    /// Whether the last request failed.
    is_failing: AtomicBool,
    metrics: WebhookMetrics,
}

impl fmt::Debug for SignedWebhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedWebhook")
            .field("name", &self.name)
            .field("host", &host(&self.url))
            .finish_non_exhaustive()
    }
}

/// The settings of one webhook.
pub(crate) struct WebhookTarget<'a> {
    pub(crate) name: &'static str,
    pub(crate) url: &'a str,
    pub(crate) secret: &'a str,
    pub(crate) timeout: Duration,
    pub(crate) concurrency: usize,
}

impl SignedWebhook {
    pub(crate) fn new(
        target: &WebhookTarget<'_>,
        http: Arc<HttpFetcher>,
        metrics: WebhookMetrics,
    ) -> Self {
        // All of them exist from the start, so that the first failure is an increase.
        metrics.open.with_label_values(&[target.name]).set(0);
        for counters in [&metrics.requests, &metrics.failures] {
            counters.with_label_values(&[target.name]).inc_by(0);
        }
        Self {
            name: target.name,
            http,
            url: target.url.to_owned(),
            secret: target.secret.to_owned(),
            timeout: target.timeout,
            gate: Arc::new(Gate::new(target.concurrency)),
            breaker: Mutex::default(),
            is_failing: AtomicBool::new(false),
            metrics,
        }
    }

    /// Asks the webhook, and reads the response with `read`. The time for all of it, the wait for requests of other
    /// clients included, is the timeout. `key` is the address or room whose share the request belongs to.
    pub(super) async fn ask<T>(
        &self,
        key: &str,
        (id, body): (&str, String),
        read: impl FnOnce(&[u8]) -> Result<T, DecisionError>,
    ) -> Result<T, WebhookError> {
        let asking = async {
            let _place = self.gate.enter(key).await.ok_or(WebhookError::QueueFull)?;
            let response = self.send(id, body.into()).await?;
            Ok(read(&response)?)
        };
        let answer = timeout(self.timeout, asking).await;
        let answer = answer.unwrap_or(Err(WebhookError::TimedOut(self.timeout)));
        self.count(answer.as_ref().err());
        answer
    }

    /// Sends one signed request, unless the breaker is open. A status other than 200 to 299 is an error.
    async fn send(&self, id: &str, body: Bytes) -> Result<Bytes, WebhookError> {
        let attempt = self.breaker.lock().try_begin(Instant::now());
        let attempt = attempt.map_err(WebhookError::BreakerOpen)?;
        self.metrics.requests.with_label_values(&[self.name]).inc();
        let attempt = AttemptGuard {
            client: self,
            attempt: Some(attempt),
            began: Instant::now(),
        };
        let fetched = self.http.fetch(self.request(id, body)).await;
        let result = match fetched {
            Ok(response) if response.status.is_success() => Ok(response.body),
            Ok(response) => Err(WebhookError::Status(response.status)),
            Err(error) => Err(WebhookError::Fetch(error)),
        };
        attempt.end(!result.as_ref().is_err_and(WebhookError::is_outage));
        result
    }

    fn request(&self, id: &str, body: Bytes) -> FetchRequest {
        let timestamp = unix_secs();
        let signature = sign(self.secret.as_bytes(), timestamp, &body);
        let mut headers = json_headers();
        for (name, value) in [
            (TIMESTAMP_HEADER, timestamp.to_string()),
            (SIGNATURE_HEADER, signature),
            (EVENT_ID_HEADER, id.to_owned()),
        ] {
            let value = HeaderValue::try_from(value).expect("hexadecimal digits and numbers");
            headers.insert(HeaderName::from_static(name), value);
        }
        FetchRequest {
            method: Method::POST,
            url: self.url.clone(),
            headers,
            body,
            timeout: self.timeout,
            response_bytes_max: RESPONSE_BYTES_MAX,
        }
    }

    fn on_breaker_change(&self, change: BreakerChange) {
        let (webhook, host) = (self.name, host(&self.url));
        let open = self.metrics.open.with_label_values(&[self.name]);
        match change {
            BreakerChange::Opened => {
                open.set(1);
                tracing::warn!(webhook, host, "webhook breaker opened");
            }
            BreakerChange::Closed => {
                open.set(0);
                tracing::info!(webhook, host, "webhook breaker closed");
            }
        }
    }

    /// Counts and logs the result of a request. The first failure after a success is logged as a warning, further ones
    /// at level debug.
    fn count(&self, error: Option<&WebhookError>) {
        let queued = i64::try_from(self.gate.waiting()).unwrap_or(i64::MAX);
        let (webhook, host) = (self.name, host(&self.url));
        let was_failing = self.is_failing.swap(error.is_some(), Ordering::Relaxed);
        let Some(error) = error else {
            if was_failing {
                tracing::info!(webhook, host, "webhook requests succeed again");
            }
            return;
        };
        self.metrics.failures.with_label_values(&[self.name]).inc();
        let error = error_chain(error);
        if was_failing {
            tracing::debug!(webhook, host, queued, error, "webhook request failed");
        } else {
            tracing::warn!(webhook, host, queued, error, "webhook request failed");
        }
    }
}

/// A request that has begun. If it is dropped before its end, the breaker forgets it.
struct AttemptGuard<'a> {
    client: &'a SignedWebhook,
    attempt: Option<Attempt>,
    began: Instant,
}

impl AttemptGuard<'_> {
    fn end(mut self, is_success: bool) {
        if let Some(attempt) = self.attempt.take() {
            self.record(attempt, is_success);
        }
    }

    fn record(&self, attempt: Attempt, is_success: bool) {
        let now = Instant::now();
        let change = self.client.breaker.lock().end(attempt, is_success, now);
        if let Some(change) = change {
            self.client.on_breaker_change(change);
        }
    }
}

impl Drop for AttemptGuard<'_> {
    fn drop(&mut self) {
        let Some(attempt) = self.attempt.take() else {
            return;
        };
        // A request that had half of its time is cancelled because it is late, and not because its client has gone.
        if self.began.elapsed() * 2 >= self.client.timeout {
            return self.record(attempt, false);
        }
        self.client.breaker.lock().cancel(attempt, Instant::now());
    }
}

/// A random id of a request or event.
pub(super) fn random_id() -> String {
    let bytes: [u8; 16] = rand::rng().random();
    base16ct::lower::encode_string(&bytes)
}

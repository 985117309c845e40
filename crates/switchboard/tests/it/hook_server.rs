//! A web service on loopback that receives webhooks.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::Value;
use switchboard_auth::webhook::{EVENT_ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, sign};
use tokio::{
    net::TcpListener,
    sync::{Mutex, mpsc},
    time::timeout,
};

use crate::client::TEST_TIMEOUT;

/// The secret of all webhooks of the tests.
pub(crate) const SECRET: &str = "secret-of-the-webhooks";

/// The answer of the web service to one request.
#[derive(Clone, Debug)]
pub(crate) enum HookAnswer {
    /// Status 200 with this text.
    Text(String),
    /// This status with an empty body.
    Status(u16),
    /// A redirect to a path of the same service that answers `{"allowed":true}`.
    Redirect,
    /// No answer at all.
    Hang,
}

type AnswerFn = dyn Fn(&Value) -> HookAnswer + Send + Sync;

#[derive(Clone)]
struct HookState {
    answer: Arc<AnswerFn>,
    received: mpsc::Sender<Value>,
}

/// A web service with the bodies of the requests that it has received. Every request has a valid signature.
pub(crate) struct HookServer {
    pub(crate) url: String,
    received: Mutex<mpsc::Receiver<Value>>,
}

impl HookServer {
    /// Starts a service that answers each request, given its body, by this function.
    pub(crate) async fn start(
        answer: impl Fn(&Value) -> HookAnswer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/hook", listener.local_addr().expect("bound"));
        let (sender, received) = mpsc::channel(1024);
        let state = HookState {
            answer: Arc::new(answer),
            received: sender,
        };
        let elsewhere = axum::routing::any(|| async { r#"{"allowed":true}"# });
        let router = Router::new()
            .route("/hook", axum::routing::post(receive))
            .route("/elsewhere", elsewhere)
            .with_state(state);
        tokio::spawn(async move { axum::serve(listener, router).await });
        let received = Mutex::new(received);
        Self { url, received }
    }

    /// The body of the next request.
    pub(crate) async fn next(&self) -> Value {
        let mut received = self.received.lock().await;
        let next = timeout(TEST_TIMEOUT, received.recv()).await;
        next.expect("a request in time").expect("the service runs")
    }

    /// The body of the next request about this event, skipping others.
    pub(crate) async fn next_of(&self, event: &str) -> Value {
        loop {
            let body = self.next().await;
            if body["event"] == event {
                return body;
            }
        }
    }

    /// The bodies of the requests that have been received and not returned yet.
    pub(crate) async fn waiting(&self) -> Vec<Value> {
        let mut received = self.received.lock().await;
        std::iter::from_fn(|| received.try_recv().ok()).collect()
    }
}

async fn receive(State(state): State<HookState>, headers: HeaderMap, text: String) -> Response {
    let header = |name: &str| headers[name].to_str().expect("text").to_owned();
    let timestamp = header(TIMESTAMP_HEADER).parse().expect("a number");
    let signature = sign(SECRET.as_bytes(), timestamp, text.as_bytes());
    assert_eq!(header(SIGNATURE_HEADER), signature);
    assert_eq!(header("content-type"), "application/json");
    let body: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(body["id"], header(EVENT_ID_HEADER));
    let answer = (state.answer)(&body);
    // A test that reads no requests has few of them.
    let _ = state.received.try_send(body);
    match answer {
        HookAnswer::Text(text) => Body::from(text).into_response(),
        HookAnswer::Status(status) => StatusCode::from_u16(status)
            .expect("a status")
            .into_response(),
        HookAnswer::Redirect => {
            let location = [(header::LOCATION, "/elsewhere")];
            (StatusCode::TEMPORARY_REDIRECT, location).into_response()
        }
        HookAnswer::Hang => std::future::pending().await,
    }
}

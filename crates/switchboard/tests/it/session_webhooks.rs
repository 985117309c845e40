//! A connection whose session makes webhook requests, with a test double of the node.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, routing::any};
use futures_util::{SinkExt as _, StreamExt as _};
use switchboard::{Heartbeat, Identity, Limits, PeerId, RoomId, SpaceName};
use switchboard_core::{DialectTraits, Event, HubRequest, OfferPolicy, Peer, RequestError};
use switchboard_dialects::{
    ClientFrame, ClientSession, CloseReason, Content, Dialect, Endpoint, Handshake, Query, Session,
    SessionOutput, WebhookRequest,
};
use switchboard_transport::{
    Counters, JoinCheck, NodeHandle, OutboxHandle, PermitPool, Upgrade, WebhookResponse, websocket,
};
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::{connect_async, tungstenite::Message};
use tokio_util::sync::CancellationToken;

use crate::client::TEST_TIMEOUT;

/// A session that makes the webhook requests named in its frames, and sends the responses to the client.
#[derive(Debug)]
struct WebhookSession;

static TRAITS: DialectTraits = DialectTraits {
    name: "webhook-test",
    offer_policy: OfferPolicy::Unspecified,
    signals: false,
    messages: false,
    ..DialectTraits::DEFAULT
};

impl Dialect for WebhookSession {
    fn traits(&self) -> &'static DialectTraits {
        &TRAITS
    }

    fn paths(&self) -> &'static [&'static str] {
        &["/"]
    }

    fn open(&self, _handshake: &Handshake, _output: &mut SessionOutput) -> Box<dyn Session> {
        Box::new(Self)
    }

    fn read<'a>(&self, _frame: &'a str) -> Option<Content<'a>> {
        None
    }
}

impl Session for WebhookSession {
    fn on_frame(
        &mut self,
        frame: ClientFrame<'_>,
        output: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let text = frame.text()?;
        output.frames.push(format!("received {text}").into());
        output.webhook = text.starts_with("request").then(|| webhook_request(&text));
        output.close = text.ends_with("close").then_some(CloseReason::DONE);
        Ok(())
    }

    fn on_event(&mut self, _event: &Event, _output: &mut SessionOutput) {}

    fn on_webhook_response(&mut self, response: Option<&str>, output: &mut SessionOutput) {
        let response = response.unwrap_or("nothing");
        output.frames.push(format!("response {response}").into());
        // A response can cause another request.
        output.webhook = response
            .starts_with("request")
            .then(|| webhook_request(response));
    }

    fn on_end(&mut self) -> Option<WebhookRequest> {
        Some(webhook_request("end"))
    }
}

fn webhook_request(body: &str) -> WebhookRequest {
    WebhookRequest {
        url: "http://nowhere".to_owned(),
        body: body.into(),
        timeout: Duration::from_secs(1),
    }
}

/// The body of a webhook request, and the sender of its response.
type PendingWebhook = (String, oneshot::Sender<Option<String>>);

/// A node whose webhook requests the test answers.
#[derive(Debug)]
struct TestNode {
    counters: Counters,
    webhooks: mpsc::Sender<PendingWebhook>,
    detached: mpsc::Sender<String>,
}

impl NodeHandle for TestNode {
    fn request(&self, _peer: PeerId, _local: &OutboxHandle, _request: HubRequest) {}

    fn check_join(&self, _peer: &Peer, _room: &RoomId) -> Option<JoinCheck> {
        None
    }

    fn send_webhook(&self, request: WebhookRequest) -> WebhookResponse {
        let (response, received) = oneshot::channel();
        let body = (request.body.to_string(), response);
        self.webhooks
            .try_send(body)
            .expect("the channel has capacity");
        Box::pin(async move { received.await.ok().flatten() })
    }

    fn send_webhook_detached(&self, request: WebhookRequest) {
        // At the end of a test, the receiver may be dropped.
        drop(self.detached.try_send(request.body.to_string()));
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }
}

/// One client and its node.
struct WebhookTest {
    client: tokio_tungstenite::WebSocketStream<
        tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>,
    >,
    webhooks: mpsc::Receiver<PendingWebhook>,
    detached: mpsc::Receiver<String>,
    drain: CancellationToken,
}

impl WebhookTest {
    async fn new() -> Self {
        let (webhook_sender, webhooks) = mpsc::channel(8);
        let (detached_sender, detached) = mpsc::channel(8);
        let drain = CancellationToken::new();
        let context = websocket::ConnectionContext {
            node: Arc::new(TestNode {
                counters: Counters::default(),
                webhooks: webhook_sender,
                detached: detached_sender,
            }),
            limits: Arc::default(),
            heartbeat: Heartbeat::default(),
            queue_memory: Arc::default(),
            drain: drain.clone(),
        };
        let address = serve(context).await;
        let (client, _) = connect_async(format!("ws://{address}/"))
            .await
            .expect("an upgrade");
        Self {
            client,
            webhooks,
            detached,
            drain,
        }
    }

    async fn send(&mut self, text: &str) {
        let sent = self.client.send(Message::text(text)).await;
        sent.expect("the server reads");
    }

    async fn next(&mut self) -> String {
        let next = tokio::time::timeout(TEST_TIMEOUT, self.client.next()).await;
        let next = next.expect("in time").expect("the socket is open");
        match next.expect("a message") {
            Message::Text(text) => text.to_string(),
            Message::Close(Some(frame)) => u16::from(frame.code).to_string(),
            other @ (Message::Binary(_)
            | Message::Ping(_)
            | Message::Pong(_)
            | Message::Close(_)
            | Message::Frame(_)) => panic!("expected text or a close frame, received {other:?}"),
        }
    }

    async fn next_webhook(&mut self) -> PendingWebhook {
        let next_webhook = tokio::time::timeout(TEST_TIMEOUT, self.webhooks.recv()).await;
        next_webhook.expect("in time").expect("the node exists")
    }

    async fn next_detached(&mut self) -> String {
        let last = tokio::time::timeout(TEST_TIMEOUT, self.detached.recv()).await;
        last.expect("in time").expect("the node exists")
    }
}

/// Serves one connection.
async fn serve(context: websocket::ConnectionContext) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("bound");
    let context = Arc::new(Mutex::new(Some(context)));
    let handle_upgrade = move |upgrade: Upgrade| async move {
        let context = context.lock().expect("whole").take().expect("one client");
        let permit = PermitPool::new(0, 0, Vec::new())
            .try_acquire(None)
            .expect("no limit");
        let (response, connecting) = upgrade.accept(context.limits.frame_bytes);
        tokio::spawn(async move {
            let socket = connecting.socket().await.expect("an upgrade");
            let opened =
                ClientSession::open(Some(&WebhookSession), handshake(), SpaceName::default());
            websocket::serve(socket, opened, context, permit).await;
        });
        response
    };
    let router = Router::new().route("/", any(handle_upgrade));
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn handshake() -> Handshake {
    Handshake {
        peer: PeerId::from_random([1; 16]),
        identity: Identity::Claimed,
        endpoint: Endpoint::MAIN,
        params: Query::default(),
        query: Query::default(),
        random: [2; 32],
        unix_ms: 0,
        limits: Arc::new(Limits::default()),
        settings: Arc::default(),
    }
}

#[tokio::test]
async fn frames_sent_during_a_webhook_request_are_queued_until_its_response() {
    let mut test = WebhookTest::new().await;
    test.send("request 1").await;
    assert_eq!(test.next().await, "received request 1");
    let (body, response) = test.next_webhook().await;
    assert_eq!(body, "request 1");
    for text in ["a", "b"] {
        test.send(text).await;
    }
    response
        .send(Some("request 2".to_owned()))
        .expect("the session waits");
    assert_eq!(test.next().await, "response request 2");
    let (body, response) = test.next_webhook().await;
    assert_eq!(
        body, "request 2",
        "the second request follows the first response"
    );
    response.send(None).expect("the session waits");
    for expected in ["response nothing", "received a", "received b"] {
        assert_eq!(test.next().await, expected);
    }
}

#[tokio::test]
async fn a_session_is_closed_after_the_response_of_its_webhook() {
    let mut test = WebhookTest::new().await;
    test.send("request close").await;
    assert_eq!(test.next().await, "received request close");
    let (_, response) = test.next_webhook().await;
    response
        .send(Some("so".to_owned()))
        .expect("the session waits");
    assert_eq!(test.next().await, "response so");
    assert_eq!(test.next().await, "1000");
    assert_eq!(test.next_detached().await, "end");
}

#[tokio::test]
async fn a_disconnect_and_a_shutdown_cancel_the_webhook() {
    for sends_close in [true, false] {
        let mut test = WebhookTest::new().await;
        test.send("request").await;
        let (_, mut response) = test.next_webhook().await;
        let mut client = test.client;
        if sends_close {
            client.close(None).await.expect("the server reads");
        }
        drop(client);
        let is_cancelled = tokio::time::timeout(TEST_TIMEOUT, response.closed()).await;
        is_cancelled.expect("in time");
    }
    let mut test = WebhookTest::new().await;
    test.send("request").await;
    assert_eq!(test.next().await, "received request");
    let (_, mut response) = test.next_webhook().await;
    test.drain.cancel();
    assert_eq!(test.next().await, "1012");
    response.closed().await;
    assert_eq!(test.next_detached().await, "end");
    assert!(
        test.detached.recv().await.is_none(),
        "the last request is made once"
    );
}

#[tokio::test]
async fn frames_beyond_the_queue_stay_in_the_socket_until_the_response() {
    let mut test = WebhookTest::new().await;
    test.send("request").await;
    let (_, response) = test.next_webhook().await;
    let big = "x".repeat(100_000);
    let frames: Vec<_> = (0..200).map(|n| n.to_string()).chain([big]).collect();
    for frame in &frames {
        test.send(frame).await;
    }
    response.send(None).expect("the session waits");
    assert_eq!(test.next().await, "received request");
    assert_eq!(test.next().await, "response nothing");
    for frame in &frames {
        assert_eq!(test.next().await, format!("received {frame}"));
    }
}

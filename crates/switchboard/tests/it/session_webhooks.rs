//! A connection that waits for a decision: the response to a webhook, or the access check of a join or claim (the claim
//! of a display name). The node to which the connection belongs is a test double.

use std::{
    net::IpAddr,
    net::SocketAddr,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use axum::{Router, routing::any};
use futures_util::{SinkExt as _, StreamExt as _};
use switchboard::{Heartbeat, Identity, Limits, PeerId, RoomId, SpaceName};
use switchboard_core::{
    Command, DialectTraits, DisplayName, ErrorCode, Event, EvictionReason, HubRequest, JoinOptions,
    NameId, OfferPolicy, Peer, RequestError, ResourceKey, RoomName,
};
use switchboard_dialects::{
    ClientFrame, CloseReason, Content, Dialect, Endpoint, Handshake, Query, Session, SessionOutput,
    WebhookRequest,
};
use switchboard_session::{ClientSession, SessionAccess};
use switchboard_transport::{
    HubClient, JoinAuthorizer, JoinCheck, OutboxHandle, PermitPool, SessionAuthentication,
    SessionAuthenticator, Upgrade, WebhookClient, WebhookResponse, websocket,
};
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::{connect_async, tungstenite::Message};
use tokio_util::sync::CancellationToken;

use crate::client::TEST_TIMEOUT;

/// A session that a client controls by its frames: `request…` makes a webhook request with the frame as its body,
/// `join`, `claim` and `list` send a command to the hub, and `…close` closes the session. It answers with `received
/// FRAME`, `response BODY` after a webhook, and `failed CODE` after a rejected command.
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

    fn parse_content<'a>(&self, _frame: &'a str) -> Option<Content<'a>> {
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
        output.commands.extend(command(&text));
        output.close = text.ends_with("close").then_some(CloseReason::DONE);
        Ok(())
    }

    fn on_event(&mut self, event: &Event, output: &mut SessionOutput) {
        if let Event::RequestFailed(error) = event {
            output
                .frames
                .push(format!("failed {}", error.code.as_str()).into());
        }
    }

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

/// The command of the frames `join`, `claim` and `list`.
fn command(text: &str) -> Option<Command> {
    let room = RoomName::parse("r", 0).expect("a name");
    match text {
        "join" => Some(Command::Join {
            room,
            address: PeerId::from_random([1; 16]).into(),
            name: None,
            options: JoinOptions::default(),
        }),
        "claim" => Some(Command::Claim(Some(room), name())),
        "list" => Some(Command::List(room)),
        _ => None,
    }
}

fn name() -> DisplayName {
    DisplayName::parse("ada", 0).expect("a name")
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

/// The decision about a join or claim, to be sent by the test.
type PendingCheck = oneshot::Sender<bool>;

/// A node whose webhook requests and access checks the test answers.
#[derive(Debug)]
struct AnsweringNode {
    webhooks: mpsc::Sender<PendingWebhook>,
    checks: mpsc::Sender<PendingCheck>,
    requests: mpsc::Sender<(OutboxHandle, HubRequest)>,
    /// The bodies of webhook requests whose response the session does not await.
    detached: mpsc::Sender<String>,
}

impl HubClient for AnsweringNode {
    fn request(&self, _peer: PeerId, local: &OutboxHandle, request: HubRequest) {
        // At the end of a test, the receiver may be dropped.
        drop(self.requests.try_send((local.clone(), request)));
    }
}

impl SessionAuthenticator for AnsweringNode {
    fn authenticate(
        &self,
        _peer: &Peer,
        _client: Option<IpAddr>,
        _credential: &str,
    ) -> SessionAuthentication {
        unreachable!("no client presents a credential")
    }
}

impl JoinAuthorizer for AnsweringNode {
    fn check_join(&self, _: &Peer, _: &RoomId, _: Option<&str>) -> Option<JoinCheck> {
        let (decision_sender, decision) = oneshot::channel();
        drop(self.checks.try_send(decision_sender));
        Some(Box::pin(async move {
            let is_allowed = decision.await.unwrap_or(false);
            is_allowed.then_some(()).ok_or(None)
        }))
    }
}

impl WebhookClient for AnsweringNode {
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
}

/// One client and its node.
struct WebhookTest {
    client: tokio_tungstenite::WebSocketStream<
        tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>,
    >,
    webhooks: mpsc::Receiver<PendingWebhook>,
    checks: mpsc::Receiver<PendingCheck>,
    requests: mpsc::Receiver<(OutboxHandle, HubRequest)>,
    detached: mpsc::Receiver<String>,
    /// The context of the connection, which holds the last one.
    context: Weak<websocket::ConnectionContext>,
}

impl WebhookTest {
    async fn new() -> Self {
        Self::with_heartbeat(Heartbeat::default()).await
    }

    async fn with_heartbeat(heartbeat: Heartbeat) -> Self {
        let (webhook_sender, webhooks) = mpsc::channel(8);
        let (check_sender, checks) = mpsc::channel(8);
        let (request_sender, requests) = mpsc::channel(8);
        let (detached_sender, detached) = mpsc::channel(8);
        let node = Arc::new(AnsweringNode {
            webhooks: webhook_sender,
            checks: check_sender,
            requests: request_sender,
            detached: detached_sender,
        });
        let context = websocket::ConnectionContext {
            hubs: node.clone(),
            joins: node.clone(),
            authenticator: node.clone(),
            webhooks: node,
            counters: Arc::default(),
            limits: Default::default(),
            heartbeat,
            sessions: Arc::default(),
            queue_memory: Arc::default(),
            drain: CancellationToken::new(),
        };
        let held = Arc::new(context);
        let context = Arc::downgrade(&held);
        let address = serve(held).await;
        let (client, _) = connect_async(format!("ws://{address}/"))
            .await
            .expect("an upgrade");
        Self {
            client,
            webhooks,
            checks,
            requests,
            detached,
            context,
        }
    }

    fn shut_down(&self) {
        self.context.upgrade().expect("connected").shut_down();
    }

    async fn send(&mut self, text: &str) {
        let sent = self.client.send(Message::text(text)).await;
        sent.expect("the server reads");
    }

    /// The next text frame, or the code of the close frame.
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

    /// The next message of any type.
    async fn next_message(&mut self) -> Message {
        let next = tokio::time::timeout(TEST_TIMEOUT, self.client.next()).await;
        let next = next.expect("in time").expect("the socket is open");
        next.expect("a message")
    }

    async fn next_check(&mut self) -> PendingCheck {
        let checked = tokio::time::timeout(TEST_TIMEOUT, self.checks.recv()).await;
        checked.expect("in time").expect("the node exists")
    }

    async fn next_request(&mut self) -> (OutboxHandle, HubRequest) {
        let requested = tokio::time::timeout(TEST_TIMEOUT, self.requests.recv()).await;
        requested.expect("in time").expect("the node exists")
    }

    /// A connection that has claimed a name, and its outbox.
    async fn with_claim() -> (Self, OutboxHandle) {
        let mut test = Self::new().await;
        test.send("claim").await;
        let check = test.next_check().await;
        check.send(true).expect("the connection waits");
        let (outbox, _) = test.next_request().await;
        (test, outbox)
    }

    /// The decision that the connection waits for after this frame. The connection waits until the value is dropped.
    async fn pending_decision(
        &mut self,
        frame: &str,
    ) -> (Option<PendingCheck>, Option<PendingWebhook>) {
        match frame {
            "join" => (Some(self.next_check().await), None),
            _ => (None, Some(self.next_webhook().await)),
        }
    }

    /// The body of the next webhook request whose response the session does not await.
    async fn next_detached(&mut self) -> String {
        let last = tokio::time::timeout(TEST_TIMEOUT, self.detached.recv()).await;
        last.expect("in time").expect("the node exists")
    }
}

/// Serves one connection.
async fn serve(context: Arc<websocket::ConnectionContext>) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("bound");
    let context = Arc::new(Mutex::new(Some(context)));
    let handle_upgrade = move |upgrade: Upgrade| async move {
        let context = context.lock().expect("poisoned by a panic").take();
        let context = context.expect("a second client has connected");
        let permit = PermitPool::new(0, 0, Vec::new())
            .try_acquire(None)
            .expect("no limit");
        let (response, connecting) = upgrade.accept(context.limits.get().frame_bytes);
        tokio::spawn(async move {
            let socket = connecting.socket().await.expect("an upgrade");
            let opened =
                ClientSession::open(Some(&WebhookSession), handshake(), SessionAccess::default());
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
    test.shut_down();
    assert_eq!(test.next().await, "1012");
    response.closed().await;
    assert_eq!(test.next_detached().await, "end");
    assert!(
        test.detached.recv().await.is_none(),
        "the session ends once, so it makes one `end` request"
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

#[tokio::test]
async fn a_connection_is_served_while_a_join_is_checked() {
    let mut test = WebhookTest::with_heartbeat(Heartbeat {
        ping: Duration::from_millis(20),
        timeout: Duration::from_secs(60),
    })
    .await;
    test.send("join").await;
    let check = test.next_check().await;
    let ping = Message::Ping("are you there".into());
    test.client.send(ping).await.expect("the server reads");
    let (mut has_ponged, mut has_pinged) = (false, false);
    while !has_ponged || !has_pinged {
        match test.next_message().await {
            Message::Pong(_) => has_ponged = true,
            Message::Ping(_) => has_pinged = true,
            Message::Text(text) => assert_eq!(text.as_str(), "received join"),
            other @ (Message::Binary(_) | Message::Close(_) | Message::Frame(_)) => {
                panic!("unexpected {other:?}")
            }
        }
    }
    assert!(test.requests.try_recv().is_err(), "the join waits");
    check.send(true).expect("the connection waits");
    assert!(matches!(
        test.next_request().await,
        (_, HubRequest::Join(..))
    ));
}

#[tokio::test]
async fn frames_behind_a_checked_join_or_claim_keep_their_order() {
    for (first, is_allowed) in [
        ("join", true),
        ("join", false),
        ("claim", true),
        ("claim", false),
    ] {
        let mut test = WebhookTest::new().await;
        for text in [first, "a", "list", "b"] {
            test.send(text).await;
        }
        let check = test.next_check().await;
        assert_eq!(test.next().await, format!("received {first}"));
        check.send(is_allowed).expect("the connection waits");
        let mut received = Vec::new();
        let has = |received: &[String], text: &str| received.iter().any(|other| other == text);
        while !has(&received, "received b") || has(&received, "failed denied") == is_allowed {
            received.push(test.next().await);
        }
        let denied = |text: &&String| *text == "failed denied";
        let denials = received.iter().filter(denied).count();
        assert_eq!(denials, usize::from(!is_allowed));
        received.retain(|text| text.starts_with("received"));
        assert_eq!(received, ["received a", "received list", "received b"]);
        if (first, is_allowed) == ("claim", false) {
            assert!(test.requests.try_recv().is_err());
            continue;
        }
        let (_, request) = test.next_request().await;
        assert!(match (first, is_allowed) {
            ("claim", _) => matches!(request, HubRequest::Claim(..)),
            (_, true) => matches!(request, HubRequest::Join(..)),
            // An earlier join of the client may have been allowed: the denial ends that membership.
            (_, false) => matches!(request, HubRequest::Leave(..)),
        });
    }
}

#[tokio::test]
async fn a_client_that_leaves_cancels_the_check_and_joins_no_room() {
    for sends_close_frame in [true, false] {
        let mut test = WebhookTest::new().await;
        test.send("join").await;
        let mut check = test.next_check().await;
        let mut client = test.client;
        if sends_close_frame {
            client.close(None).await.expect("the server reads");
        }
        drop(client);
        let cancelled = tokio::time::timeout(TEST_TIMEOUT, check.closed()).await;
        cancelled.expect("in time");
        while let Some((_, request)) = test.requests.recv().await {
            assert!(matches!(request, HubRequest::Leave(..)), "{request:?}");
        }
    }
}

#[tokio::test]
async fn a_drain_does_not_wait_for_a_check() {
    let mut test = WebhookTest::new().await;
    test.send("join").await;
    let mut check = test.next_check().await;
    assert_eq!(test.next().await, "received join");
    test.shut_down();
    assert_eq!(test.next().await, "1012");
    check.closed().await;
}

#[tokio::test]
async fn a_probe_is_answered_while_a_decision_is_pending() {
    for first in ["join", "request"] {
        let (mut test, outbox) = WebhookTest::with_claim().await;
        test.send(first).await;
        let _pending = test.pending_decision(first).await;
        let (space, room, name) = (SpaceName::default(), None, name());
        let resource = ResourceKey::Name(NameId { space, room, name });
        outbox.push(Arc::new(Event::Probe(resource.clone())));
        while !matches!(test.next_message().await, Message::Ping(_)) {}
        // The client library answers the ping at the next write.
        test.client.flush().await.expect("the server reads");
        let (_, request) = test.next_request().await;
        assert!(matches!(request, HubRequest::Alive(alive) if alive == resource));
    }
}

#[tokio::test]
async fn events_of_other_rooms_reach_the_client_while_a_join_is_checked() {
    let (mut test, outbox) = WebhookTest::with_claim().await;
    test.send("join").await;
    let _check = test.next_check().await;
    let error = RequestError::new(ErrorCode::Expired);
    outbox.push(Arc::new(Event::RequestFailed(error)));
    for expected in ["received claim", "received join", "failed expired"] {
        assert_eq!(test.next().await, expected);
    }
}

#[tokio::test]
async fn an_eviction_does_not_wait_for_a_decision() {
    for first in ["join", "request"] {
        let (mut test, outbox) = WebhookTest::with_claim().await;
        test.send(first).await;
        let _pending = test.pending_decision(first).await;
        outbox.push(Arc::new(Event::Evicted(EvictionReason::Kicked)));
        for expected in ["received claim", &format!("received {first}"), "1008"] {
            assert_eq!(test.next().await, expected);
        }
    }
}

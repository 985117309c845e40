//! A connection whose session makes requests of its own, at a node that is only pretended.

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

use crate::client::PATIENCE;

/// Asks what it is told to ask, and tells the answer.
#[derive(Debug)]
struct WebhookSession;

static TONGUE: DialectTraits = DialectTraits {
    name: "asker",
    offer_policy: OfferPolicy::Unspecified,
    signals: false,
    messages: false,
    ..DialectTraits::DEFAULT
};

impl Dialect for WebhookSession {
    fn traits(&self) -> &'static DialectTraits {
        &TONGUE
    }

    fn paths(&self) -> &'static [&'static str] {
        &["/"]
    }

    fn open(&self, _handshake: &Handshake, _out: &mut SessionOutput) -> Box<dyn Session> {
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
        out: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let text = frame.text()?;
        out.frames.push(format!("heard {text}").into());
        out.webhook = text.starts_with("ask").then(|| request(&text));
        out.close = text.ends_with("bye").then_some(CloseReason::DONE);
        Ok(())
    }

    fn on_event(&mut self, _event: &Event, _out: &mut SessionOutput) {}

    fn on_webhook_response(&mut self, reply: Option<&str>, out: &mut SessionOutput) {
        let reply = reply.unwrap_or("nothing");
        out.frames.push(format!("told {reply}").into());
        // An answer may be a reason to ask again.
        out.webhook = reply.starts_with("ask").then(|| request(reply));
    }

    fn on_end(&mut self) -> Option<WebhookRequest> {
        Some(request("end"))
    }
}

fn request(body: &str) -> WebhookRequest {
    WebhookRequest {
        url: "http://nowhere".to_owned(),
        body: body.into(),
        timeout: Duration::from_secs(1),
    }
}

/// What a session wants to know, and where to say it.
type PendingQuestion = (String, oneshot::Sender<Option<String>>);

/// Lets the test answer.
#[derive(Debug)]
struct TestNode {
    counters: Counters,
    questions: mpsc::Sender<PendingQuestion>,
    later: mpsc::Sender<String>,
}

impl NodeHandle for TestNode {
    fn request(&self, _peer: PeerId, _local: &OutboxHandle, _ask: HubRequest) {}

    fn check_join(&self, _peer: &Peer, _room: &RoomId) -> Option<JoinCheck> {
        None
    }

    fn send_webhook(&self, post: WebhookRequest) -> WebhookResponse {
        let (answer, answered) = oneshot::channel();
        let question = (post.body.to_string(), answer);
        self.questions.try_send(question).expect("there is room");
        Box::pin(async move { answered.await.ok().flatten() })
    }

    fn send_webhook_detached(&self, post: WebhookRequest) {
        // At the end of a test nobody listens any more.
        drop(self.later.try_send(post.body.to_string()));
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }
}

/// One client at a node, which is there for it alone.
struct TestStage {
    client: tokio_tungstenite::WebSocketStream<
        tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>,
    >,
    questions: mpsc::Receiver<PendingQuestion>,
    later: mpsc::Receiver<String>,
    drain: CancellationToken,
}

impl TestStage {
    async fn new() -> Self {
        let (asking, questions) = mpsc::channel(8);
        let (sending, later) = mpsc::channel(8);
        let drain = CancellationToken::new();
        let context = websocket::ConnectionContext {
            node: Arc::new(TestNode {
                counters: Counters::default(),
                questions: asking,
                later: sending,
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
            questions,
            later,
            drain,
        }
    }

    async fn send(&mut self, text: &str) {
        let sent = self.client.send(Message::text(text)).await;
        sent.expect("the server reads");
    }

    async fn next(&mut self) -> String {
        let next = tokio::time::timeout(PATIENCE, self.client.next()).await;
        let next = next.expect("in time").expect("the socket is open");
        match next.expect("a message") {
            Message::Text(text) => text.to_string(),
            Message::Close(Some(frame)) => u16::from(frame.code).to_string(),
            other @ (Message::Binary(_)
            | Message::Ping(_)
            | Message::Pong(_)
            | Message::Close(_)
            | Message::Frame(_)) => panic!("text or a close was due, not {other:?}"),
        }
    }

    async fn asked(&mut self) -> PendingQuestion {
        let asked = tokio::time::timeout(PATIENCE, self.questions.recv()).await;
        asked.expect("in time").expect("the node is there")
    }

    async fn last_word(&mut self) -> String {
        let last = tokio::time::timeout(PATIENCE, self.later.recv()).await;
        last.expect("in time").expect("the node is there")
    }
}

/// Serves the next connection.
async fn serve(context: websocket::ConnectionContext) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("bound");
    let context = Arc::new(Mutex::new(Some(context)));
    let enter = move |upgrade: Upgrade| async move {
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
    let router = Router::new().route("/", any(enter));
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
async fn what_a_client_sends_while_its_session_asks_waits_for_the_answer() {
    let mut stage = TestStage::new().await;
    stage.send("ask 1").await;
    assert_eq!(stage.next().await, "heard ask 1");
    let (question, answer) = stage.asked().await;
    assert_eq!(question, "ask 1");
    for text in ["a", "b"] {
        stage.send(text).await;
    }
    answer.send(Some("ask 2".to_owned())).expect("it waits");
    assert_eq!(stage.next().await, "told ask 2");
    let (question, answer) = stage.asked().await;
    assert_eq!(question, "ask 2", "one after the other");
    answer.send(None).expect("it waits");
    for expected in ["told nothing", "heard a", "heard b"] {
        assert_eq!(stage.next().await, expected);
    }
}

#[tokio::test]
async fn an_end_that_a_session_wants_comes_after_its_request() {
    let mut stage = TestStage::new().await;
    stage.send("ask bye").await;
    assert_eq!(stage.next().await, "heard ask bye");
    let (_, answer) = stage.asked().await;
    answer.send(Some("so".to_owned())).expect("it waits");
    assert_eq!(stage.next().await, "told so");
    assert_eq!(stage.next().await, "1000");
    assert_eq!(stage.last_word().await, "end");
}

#[tokio::test]
async fn a_client_that_goes_and_a_server_that_stops_wait_for_no_answer() {
    for says_goodbye in [true, false] {
        let mut stage = TestStage::new().await;
        stage.send("ask").await;
        let (_, mut answer) = stage.asked().await;
        let mut client = stage.client;
        if says_goodbye {
            client.close(None).await.expect("it can be said");
        }
        drop(client);
        let given_up = tokio::time::timeout(PATIENCE, answer.closed()).await;
        given_up.expect("in time");
    }
    let mut stage = TestStage::new().await;
    stage.send("ask").await;
    assert_eq!(stage.next().await, "heard ask");
    let (_, mut answer) = stage.asked().await;
    stage.drain.cancel();
    assert_eq!(stage.next().await, "1012");
    answer.closed().await;
    assert_eq!(stage.last_word().await, "end");
    assert!(stage.later.recv().await.is_none(), "it is said once");
}

#[tokio::test]
async fn more_than_is_read_meanwhile_waits_in_the_socket() {
    let mut stage = TestStage::new().await;
    stage.send("ask").await;
    let (_, answer) = stage.asked().await;
    let big = "x".repeat(100_000);
    let frames: Vec<_> = (0..200).map(|n| n.to_string()).chain([big]).collect();
    for frame in &frames {
        stage.send(frame).await;
    }
    answer.send(None).expect("it waits");
    assert_eq!(stage.next().await, "heard ask");
    assert_eq!(stage.next().await, "told nothing");
    for frame in &frames {
        assert_eq!(stage.next().await, format!("heard {frame}"));
    }
}

use std::{future::poll_fn, net::IpAddr, task::Waker};

use switchboard_core::DialectTraits;
use switchboard_core::{DisplayName, Identity, Peer, PeerId, ResourceKey, RoomId, SpaceName};
use switchboard_dialects::{Content, Dialect, Endpoint, Handshake, Query, Session, find};
use tokio::net::{TcpListener, TcpStream};

use super::*;

use switchboard_session::SessionAccess;

use crate::{PermitPool, SessionAuthentication, UpgradedStream, WebhookResponse};

/// A node that ignores all requests.
#[derive(Debug)]
struct IdleNode;

impl HubClient for IdleNode {
    fn request(&self, _peer: PeerId, _outbox: &OutboxHandle, _request: HubRequest) {}
}

impl SessionAuthenticator for IdleNode {
    fn authenticate(
        &self,
        _peer: &Peer,
        _client: Option<IpAddr>,
        _credential: &str,
    ) -> SessionAuthentication {
        unreachable!("no client presents a credential")
    }
}

impl JoinAuthorizer for IdleNode {
    fn check_join(&self, _: &Peer, _: &RoomId, _: Option<&str>) -> Option<JoinCheck> {
        None
    }
}

impl WebhookClient for IdleNode {
    fn send_webhook(&self, _request: WebhookRequest) -> WebhookResponse {
        Box::pin(std::future::pending())
    }

    fn send_webhook_detached(&self, _request: WebhookRequest) {}
}

/// A `mesh` connection, and its client.
async fn connect() -> (TcpStream, WebSocketConnection) {
    connect_with(find("mesh")).await
}

/// A connection of this dialect, and its client.
pub(super) async fn connect_with(
    dialect: Option<&'static dyn Dialect>,
) -> (TcpStream, WebSocketConnection) {
    let context = ConnectionContext {
        hubs: Arc::new(IdleNode),
        joins: Arc::new(IdleNode),
        webhooks: Arc::new(IdleNode),
        authenticator: Arc::new(IdleNode),
        counters: Arc::default(),
        limits: Default::default(),
        heartbeat: Heartbeat::default(),
        queue_memory: Arc::default(),
        sessions: Arc::default(),
        drain: CancellationToken::new(),
    };
    connect_in(Arc::new(context), dialect).await
}

async fn connect_in(
    context: Arc<ConnectionContext>,
    dialect: Option<&'static dyn Dialect>,
) -> (TcpStream, WebSocketConnection) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let client = TcpStream::connect(address).await.expect("a connection");
    let (stream, _) = listener.accept().await.expect("a connection");
    let handshake = Handshake {
        peer: PeerId::from_random([1; 16]),
        identity: Identity::Claimed,
        endpoint: Endpoint::MAIN,
        params: Query::default(),
        query: Query::default(),
        random: [2; 32],
        unix_ms: 0,
        limits: Default::default(),
        settings: Arc::default(),
    };
    let opened = ClientSession::open(dialect, handshake, SessionAccess::default());
    let socket = Socket::new(UpgradedStream::Tcp(stream), &[], 0);
    let permit = PermitPool::new(0, 0, Vec::new()).try_acquire(None);
    let permit = permit.expect("no limit");
    (
        client,
        WebSocketConnection::new(socket, opened, context, permit).0,
    )
}

#[tokio::test]
async fn urgent_events_are_handled_while_the_queue_for_the_socket_is_full() {
    let (_client, mut connection) = connect().await;
    let frame = "x".repeat(64 * 1024);
    let poll = |connection: &mut WebSocketConnection| {
        connection.poll_wake(&mut TaskContext::from_waker(Waker::noop()), true)
    };
    while !connection.blocked {
        for _ in connection.pending.len()..=PENDING_FRAMES_MAX {
            connection.push(WebSocketMessage::Text(frame.as_str().into()));
        }
        assert!(poll(&mut connection).is_pending());
    }
    for _ in connection.pending.len()..=PENDING_FRAMES_MAX {
        connection.push(WebSocketMessage::Text(frame.as_str().into()));
    }
    assert!(connection.has_enough_pending());
    assert!(connection.outbox.status().queued_bytes > PENDING_FRAMES_MAX * frame.len() / 2);
    let waiting = connection.pending.len();
    let name = DisplayName::parse("ada", 0).expect("a name");
    let probe = Arc::new(Event::Probe(ResourceKey::Name(
        switchboard_core::NameId::in_space(SpaceName::default(), name),
    )));
    for _ in 0..3 {
        connection.outbox.push(probe.clone());
    }
    assert!(matches!(
        poll(&mut connection),
        Poll::Ready(WakeReason::Event)
    ));
    assert!(connection.on_wake(WakeReason::Event).is_ok());
    assert!(
        poll(&mut connection).is_pending(),
        "all three events must be handled"
    );
    assert_eq!(connection.pending.len(), waiting, "no pings are added");
}

#[test]
fn a_reset_by_the_client_is_not_a_lost_connection_but_a_network_error_is() {
    for (kind, expected) in [
        (ErrorKind::ConnectionReset, DisconnectReason::Reset),
        (ErrorKind::BrokenPipe, DisconnectReason::Reset),
        (ErrorKind::UnexpectedEof, DisconnectReason::Reset),
        (ErrorKind::TimedOut, DisconnectReason::Lost),
        (ErrorKind::HostUnreachable, DisconnectReason::Lost),
    ] {
        assert_eq!(ConnectionEnd::of_error(kind).disconnect_reason(), expected);
    }
    assert_eq!(
        ConnectionEnd::Close(CloseReason::GONE).disconnect_reason(),
        DisconnectReason::Lost
    );
}

/// A dialect of a host program whose sessions panic at their end.
#[derive(Debug)]
struct PanickingSession;

impl Dialect for PanickingSession {
    fn traits(&self) -> &'static DialectTraits {
        &DialectTraits::DEFAULT
    }

    fn paths(&self) -> &'static [&'static str] {
        &[]
    }

    fn open(&self, _handshake: &Handshake, _output: &mut SessionOutput) -> Box<dyn Session> {
        Box::new(Self)
    }

    fn parse_content<'a>(&self, _frame: &'a str) -> Option<Content<'a>> {
        None
    }
}

impl Session for PanickingSession {
    fn on_frame(
        &mut self,
        _frame: ClientFrame<'_>,
        _output: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        Ok(())
    }

    fn on_event(&mut self, _event: &Event, _output: &mut SessionOutput) {}

    fn on_end(&mut self) -> Option<WebhookRequest> {
        panic!("requested by the test")
    }
}

#[tokio::test]
async fn a_session_that_panics_while_a_panic_unwinds_does_not_abort_the_process() {
    let (_client, connection) = connect_with(Some(&PanickingSession)).await;
    let counters = connection.context.counters.clone();
    let panicked = catch_unwind(AssertUnwindSafe(move || {
        let _connection = connection;
        panic!("requested by the test");
    }));
    assert!(panicked.is_err());
    assert_eq!(counters.connections.get(), 0, "the connection is released");
}

/// An event can suspend the session while further events of the same batch, which use the same output, wait.
#[tokio::test]
async fn the_output_of_a_step_keeps_its_time_when_the_session_is_suspended() {
    let (_client, mut connection) = connect().await;
    let mut output = SessionOutput::at(7);
    output.webhook = Some(WebhookRequest {
        url: String::new(),
        body: bytestring::ByteString::new(),
        timeout: Duration::ZERO,
    });
    assert!(connection.apply_output(&mut output, Instant::now()).is_ok());
    assert!(connection.session.is_suspended());
    assert_eq!(output.unix_secs, 7);
}

/// tokio rounds the memory of a task up to 128 bytes. With 144 bytes of the future, a task of a tracker has 256.
#[tokio::test]
async fn the_task_of_a_connection_has_at_most_256_bytes() {
    let (_client, connection) = connect().await;
    let task = connection_task::ConnectionTask::new(connection);
    assert!(size_of_val(&task) <= 144, "{}", size_of_val(&task));
}

#[tokio::test]
async fn the_end_of_the_server_closes_connections_that_are_open_and_that_begin_later() {
    let (_client, connection) = connect().await;
    let (context, outbox) = (connection.context.clone(), connection.outbox.clone());
    assert!(matches!(outbox.pop(PopMode::All), Ok(None)));
    context.shut_down();
    assert!(matches!(outbox.pop(PopMode::All), Err(OutboxEnd::Restart)));
    let (_client, later) = connect_in(context, find("mesh")).await;
    let popped = later.outbox.pop(PopMode::All);
    assert!(matches!(popped, Err(OutboxEnd::Restart)));
}

#[tokio::test]
async fn the_end_of_the_server_waits_for_the_frames_that_the_client_has_sent() {
    const PING: [u8; 6] = [0x89, 0x80, 0, 0, 0, 0];
    let (client, mut connection) = connect().await;
    client.try_write(&PING.repeat(3)).expect("written");
    let mut wake = poll_fn(|context| connection.poll_wake(context, true)).await;
    let rejected = Event::RequestFailed(ErrorCode::Taken.into());
    connection.outbox.push(Arc::new(rejected));
    connection.context.shut_down();
    let mut steps = String::new();
    let end = loop {
        let is_event = matches!(wake, WakeReason::Event);
        steps.push(if is_event { 'e' } else { 'm' });
        if let Err(end) = connection.on_wake(wake) {
            break end;
        }
        wake = poll_fn(|context| connection.poll_wake(context, !is_event)).await;
    };
    assert!(matches!(end, ConnectionEnd::Close(reason) if reason == CloseReason::RESTART));
    assert_eq!(steps, "memme", "the last step is the end");
}

//! Tests of the engine thread: what one turn handles, and in which order the handler learns of it.

use std::convert::Infallible;

use switchboard_core::{ElectionId, LeaveCause, LeaveKind, NodeMessageBody};

use super::*;
use crate::store::{ConnectResult, StoreRequest, StoreResponse};

/// A store to which no node is connected.
#[derive(Debug)]
struct NoStore;

impl fmt::Display for NoStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("none")
    }
}

impl Store for NoStore {
    type Connection = Self;

    async fn connect(&self, _node: NodeId) -> ConnectResult<Self> {
        std::future::pending().await
    }
}

impl StoreConnection for NoStore {
    type Error = Infallible;

    async fn execute(&self, _batch: &[StoreRequest]) -> Result<Vec<StoreResponse>, Infallible> {
        std::future::pending().await
    }

    async fn secret(&self) -> Result<String, Infallible> {
        std::future::pending().await
    }
}

/// A call of the handler: the number of messages that it passes, or `None` for a rejection.
type HandlerCall = Option<usize>;

#[derive(Default)]
struct RecordingHandler(Mutex<Vec<HandlerCall>>);

impl DialectRegistry for RecordingHandler {
    fn dialect(&self, _name: &str) -> &'static DialectTraits {
        &DialectTraits::DEFAULT
    }

    fn encode_member(&self, _member: &Member, _join: u64) -> Vec<u8> {
        Vec::new()
    }

    fn decode_member(&self, peer: PeerId, address: Address, _metadata: &[u8]) -> Member {
        Member::new(peer, address, &DialectTraits::DEFAULT)
    }

    fn message(
        &self,
        _origin: &str,
        _kind: MessageKind,
        _frame: ByteString,
    ) -> Option<RelayedMessage> {
        None
    }
}

impl EngineHandler for RecordingHandler {
    fn on_committed(&self, _log: &LogId, _entries: Vec<switchboard_core::Entry>) {
        unreachable!("no change is committed")
    }

    fn on_rejected(&self, _log: &LogId, _peer: PeerId, _reason: RejectReason) {
        self.0.lock().push(None);
    }

    fn on_node_message(&self, _from: NodeId, _message: NodeMessage) {
        unreachable!("messages are passed together")
    }

    fn on_node_messages(&self, messages: Vec<(NodeId, NodeMessage)>) {
        self.0.lock().push(Some(messages.len()));
    }

    fn on_undeliverable(&self, _message: NodeMessage) {}
}

fn engine_thread() -> (
    Driver<NoStore>,
    EngineThread<NoStore>,
    Arc<RecordingHandler>,
) {
    let driver = Driver::new(
        NoStore,
        DriverSettings {
            lease: Duration::from_secs(10),
            limits: Arc::default(),
            policies: SharedRoomPolicies::default(),
            url: "http://127.0.0.1:1".to_owned(),
        },
    );
    let handler = Arc::new(RecordingHandler::default());
    let tasks = driver.tasks.lock().take().expect("a new driver");
    let thread = EngineThread::new(&driver, handler.clone(), tasks);
    (driver, thread, handler)
}

fn log() -> LogId {
    LogId::Election(ElectionId::parse("voice", 0).expect("a name"))
}

fn message() -> NodeMessage {
    let body = NodeMessageBody::Probe(PeerId::from([7; 16]));
    NodeMessage { log: log(), body }
}

fn envelope_of(count: usize) -> NodeInput {
    let messages = vec![message(); count];
    let messages = messages.iter().map(|message| (9.into(), message));
    NodeInput::Envelope(envelope::write(NodeId::from(2), messages))
}

/// A leave of a peer that is not a member, which is rejected.
fn rejected_leave() -> NodeInput {
    let cause = LeaveCause::Requested(LeaveKind::Announced);
    NodeInput::Propose(log(), Change::Leave(PeerId::from([7; 16]), cause))
}

#[test]
fn messages_are_passed_together_and_in_order_with_other_results() {
    let (_driver, mut thread, handler) = engine_thread();
    let inputs = [
        envelope_of(3),
        envelope_of(2),
        rejected_leave(),
        rejected_leave(),
        envelope_of(1),
    ];
    for input in inputs {
        thread.machine.handle(input, Instant::now());
    }
    thread.dispatch_effects();
    assert_eq!(*handler.0.lock(), [Some(5), None, None, Some(1)]);
}

#[test]
fn one_turn_handles_a_bounded_number_of_tasks() {
    let (driver, mut thread, _) = engine_thread();
    for _ in 0..=TASKS_PER_BATCH {
        assert!(driver.send(NodeId::from(2), message()).is_none());
    }
    for handled in [TASKS_PER_BATCH, 1, 0] {
        thread.take_tasks(WakeMode::Any);
        assert_eq!(std::mem::take(&mut thread.handled), handled);
    }
}

/// The tasks of the new connection run on the same thread.
#[tokio::test]
async fn an_inbox_that_is_never_empty_does_not_delay_the_connection() {
    let (driver, mut thread, _) = engine_thread();
    let tasks = 64 * TASKS_PER_BATCH;
    for _ in 0..tasks {
        assert!(driver.send(NodeId::from(2), message()).is_none());
    }
    let connected = tokio::spawn(async {
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
    });
    assert!(thread.handle_until(connected).await.is_some());
    assert!(thread.handled < tasks, "tasks are left in the inbox");
}

use std::{
    sync::{Arc, OnceLock},
    thread,
    time::Duration,
};

use parking_lot::Mutex;
use switchboard_core::{
    DialectTraits, ErrorCode, Member, MessageKind, PeerId, RelayedMessage, RequestError, RoomId,
    RoomName, SpaceName,
};
use switchboard_dialects::{ClientFrame, CloseReason, Content, Dialect, Handshake, Session};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::*;

use crate::{
    OutboxHandle, PendingWakes,
    websocket::{connection_task::ConnectionTask, tests::connect_with},
};

/// The time after which a test fails.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The first byte of text and close frames.
const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;

/// The outbox that a session ends when it is told to.
type EndedOutbox = Arc<OnceLock<OutboxHandle>>;

/// A dialect whose sessions do what the texts of errors say.
#[derive(Debug, Default)]
struct Scripted {
    outbox: EndedOutbox,
}

impl Dialect for Scripted {
    fn traits(&self) -> &'static DialectTraits {
        &DialectTraits::DEFAULT
    }

    fn paths(&self) -> &'static [&'static str] {
        &[]
    }

    fn open(&self, _handshake: &Handshake, _output: &mut SessionOutput) -> Box<dyn Session> {
        let outbox = self.outbox.clone();
        Box::new(ScriptedSession { outbox })
    }

    fn parse_content<'a>(&self, _frame: &'a str) -> Option<Content<'a>> {
        None
    }
}

struct ScriptedSession {
    outbox: EndedOutbox,
}

impl Session for ScriptedSession {
    fn on_frame(
        &mut self,
        _frame: ClientFrame<'_>,
        _output: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        Ok(())
    }

    fn on_event(&mut self, event: &Event, output: &mut SessionOutput) {
        let Some(text) = text_of(event) else { return };
        match text {
            "panic" => panic!("requested by the test"),
            "close" => output.close = Some(CloseReason::POLICY),
            "push" => {
                let outbox = self.outbox.get().expect("an outbox");
                outbox.push(self::event("pushed by the session"));
            }
            "tick" => output.tick = Some(Duration::from_millis(10)),
            "end" => self.outbox.get().expect("an outbox").end("the end".into()),
            text => output.frames.push(text.into()),
        }
    }

    fn on_tick(&mut self, output: &mut SessionOutput) {
        output.frames.push("ticked".into());
    }
}

fn text_of(event: &Event) -> Option<&str> {
    if let Event::Received { message, .. } = event {
        return Some(&message.frame);
    }
    let Event::RequestFailed(error) = event else {
        return None;
    };
    let ErrorCode::Denied(text) = &error.code else {
        return None;
    };
    text.as_deref()
}

/// An event with the frame of another member.
fn event(text: &str) -> Arc<Event> {
    let sender = PeerId::from([1; 16]);
    let name = RoomName::parse("room", 0).expect("a name");
    let message = RelayedMessage::new("", MessageKind::Opaque, text.into(), |_, _| false);
    Arc::new(Event::Received {
        room: RoomId::shared(SpaceName::default(), name),
        from: Arc::new(Member::new(sender, sender.into(), &DialectTraits::DEFAULT)),
        direct: true,
        message: Arc::new(message),
    })
}

/// An event that is counted as an error, and of which the outbox counts no frame.
fn error_event(text: &str) -> Arc<Event> {
    Arc::new(Event::RequestFailed(
        ErrorCode::Denied(Some(text.into())).into(),
    ))
}

/// Pushes events as a hub does, and handles them as the thread of a sender does.
fn deliver(outbox: &OutboxHandle, events: impl IntoIterator<Item = Arc<Event>>) {
    let mut wakes = PendingWakes::default();
    for event in events {
        if let (_, Some(wake)) = outbox.clone().push_deferring_wake(event) {
            wakes.push(wake);
        }
    }
    wakes.handle(None, Instant::now());
}

/// A client whose connection is served by a task.
struct Client {
    stream: TcpStream,
    outbox: OutboxHandle,
    counters: Arc<Counters>,
    task: tokio::task::JoinHandle<()>,
}

impl Client {
    async fn connect() -> Self {
        let dialect: &'static Scripted = Box::leak(Box::default());
        let (mut stream, connection) = connect_with(Some(dialect)).await;
        // An empty first frame, so that the connection has no deadline for it.
        let first = [TEXT, 0x80, 0, 0, 0, 0];
        stream.write_all(&first).await.expect("open");
        let (outbox, counters) = (
            connection.outbox.clone(),
            connection.context.counters.clone(),
        );
        dialect.outbox.get_or_init(|| outbox.clone());
        let task = tokio::spawn(ConnectionTask::new(connection));
        let mut client = Self {
            stream,
            outbox,
            counters,
            task,
        };
        client.wait_until_idle().await;
        client
    }

    /// Waits until the task waits for events, so that the thread of a sender handles the next ones.
    async fn wait_until_idle(&mut self) {
        while !self.outbox.has_waiting_task() {
            tokio::task::yield_now().await;
        }
    }

    /// The first byte of the next frame that is no ping, and its payload. `None` at the end of the stream.
    async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            let next = self.next_frame().await;
            if !matches!(next, Some((PING, _))) {
                return next;
            }
        }
    }

    async fn next_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let next = async {
            let first = self.stream.read_u8().await.ok()?;
            let length = match self.stream.read_u8().await.ok()? {
                126 => self.stream.read_u16().await.ok()?.into(),
                127 => self.stream.read_u64().await.ok()?,
                length => length.into(),
            };
            let mut payload = vec![0; usize::try_from(length).ok()?];
            self.stream.read_exact(&mut payload).await.ok()?;
            Some((first, payload))
        };
        timeout(TEST_TIMEOUT, next).await.expect("in time")
    }

    async fn next_text(&mut self) -> String {
        match self.next().await {
            Some((TEXT, payload)) => String::from_utf8(payload).expect("text"),
            other => panic!("no text frame: {other:?}"),
        }
    }

    /// The code and the reason of the close frame, which must be next.
    async fn next_close(&mut self) -> (u16, String) {
        match self.next().await {
            Some((CLOSE, payload)) => {
                let code = u16::from_be_bytes([payload[0], payload[1]]);
                (code, String::from_utf8_lossy(&payload[2..]).into())
            }
            other => panic!("no close frame: {other:?}"),
        }
    }
}

#[tokio::test]
async fn events_of_an_idle_connection_are_written_without_its_task() {
    let mut client = Client::connect().await;
    // The runtime of the test has one thread, so the task cannot run before the next `await`.
    deliver(&client.outbox, ["a", "b"].map(event));
    assert!(client.outbox.has_waiting_task());
    assert_eq!(client.counters.frames_out_total.get(), 2);
    assert_eq!(client.next_text().await, "a");
    assert_eq!(client.next_text().await, "b");
}

/// The events are pushed in one order, as under the lock of a shard. Meanwhile the frames of the client keep its task
/// busy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_frames_of_concurrent_senders_keep_the_order_of_their_events() {
    const SENDERS: u32 = 4;
    const EVENTS: u32 = 2000;
    let mut client = Client::connect().await;
    let next = Arc::new(Mutex::new(0));
    for _ in 0..SENDERS {
        let (outbox, next) = (client.outbox.clone(), next.clone());
        thread::spawn(move || {
            for _ in 0..EVENTS {
                let mut wakes = PendingWakes::default();
                {
                    let mut next = next.lock();
                    let event = event(&next.to_string());
                    *next += 1;
                    if let (_, Some(wake)) = outbox.clone().push_deferring_wake(event) {
                        wakes.push(wake);
                    }
                }
                wakes.handle(None, Instant::now());
            }
        });
    }
    for expected in 0..SENDERS * EVENTS {
        if expected % 16 == 0 {
            // An empty masked pong.
            client
                .stream
                .write_all(&[0x8A, 0x80, 0, 0, 0, 0])
                .await
                .expect("open");
        }
        assert_eq!(client.next_text().await, expected.to_string());
    }
}

/// The next event is pushed only when the client has the last one, so no later event makes up for a lost wake-up. The
/// pongs make the task run at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wake_up_is_lost() {
    let mut client = Client::connect().await;
    for number in 0..500_u32 {
        let senders = [(); 2].map(|()| {
            let outbox = client.outbox.clone();
            tokio::task::spawn_blocking(move || deliver(&outbox, [event(&number.to_string())]))
        });
        if number % 2 == 0 {
            client
                .stream
                .write_all(&[0x8A, 0x80, 0, 0, 0, 0])
                .await
                .expect("open");
        }
        for sender in senders {
            assert_eq!(client.next_text().await, number.to_string());
            sender.await.expect("the task has panicked");
        }
    }
}

/// The task has put its waker back, and has not finished its poll.
#[tokio::test]
async fn an_event_that_is_pushed_at_the_end_of_a_poll_wakes_the_task() {
    let mut client = Client::connect().await;
    let polled = client.outbox.connection().lock();
    deliver(&client.outbox, [event("late")]);
    drop(polled);
    assert_eq!(client.next_text().await, "late");
}

/// The push finds no waker, because the thread that handles the events has it.
#[tokio::test]
async fn an_event_that_is_pushed_while_others_are_handled_is_handled_with_them() {
    let mut client = Client::connect().await;
    deliver(&client.outbox, [event("push")]);
    assert!(client.outbox.has_waiting_task());
    assert_eq!(client.next_text().await, "pushed by the session");
}

#[tokio::test]
async fn a_receiver_that_blocks_in_the_middle_of_a_frame_gets_all_bytes_in_order() {
    let mut client = Client::connect().await;
    // More than the buffers of both sockets hold, and no limit of the outbox, which counts only other members' frames.
    let large = "x".repeat(64 << 20);
    deliver(
        &client.outbox,
        [event("first"), error_event(&large), event("last")],
    );
    assert!(!client.outbox.has_waiting_task(), "the task continues");
    client.wait_until_idle().await;
    deliver(&client.outbox, [event("later")]);
    // The last and the later event wait while the socket is blocked.
    assert_eq!(client.outbox.len(), 2);
    assert!(
        client.outbox.has_waiting_task(),
        "the socket wakes the task"
    );
    assert_eq!(client.next_text().await, "first");
    assert!(client.next_text().await == large);
    assert_eq!(client.next_text().await, "last");
    assert_eq!(client.next_text().await, "later");
}

/// Short frames are written from a buffer that the receivers of an event share.
#[tokio::test]
async fn a_receiver_that_blocks_in_the_middle_of_a_shared_frame_gets_all_bytes_in_order() {
    let mut client = Client::connect().await;
    let frame = |number: usize| format!("{number:04095}");
    let mut sent = 0;
    while client.outbox.has_waiting_task() {
        deliver(&client.outbox, [event(&frame(sent))]);
        sent += 1;
    }
    deliver(&client.outbox, [event("last")]);
    for number in 0..sent {
        assert_eq!(client.next_text().await, frame(number));
    }
    assert_eq!(client.next_text().await, "last");
}

#[tokio::test]
async fn each_receiver_of_a_step_gets_its_own_frame() {
    let mut clients = [Client::connect().await, Client::connect().await];
    let texts = ["to the one", "to another"];
    let mut wakes = PendingWakes::default();
    for (client, text) in clients.iter().zip(texts) {
        let outbox = client.outbox.clone();
        wakes.extend(outbox.push_deferring_wake(event(text)).1);
    }
    wakes.handle(None, Instant::now());
    for (client, text) in clients.iter_mut().zip(texts) {
        assert_eq!(client.next_text().await, text);
    }
}

#[tokio::test]
async fn a_panic_of_the_receivers_dialect_ends_only_the_receiver() {
    let mut client = Client::connect().await;
    deliver(&client.outbox, ["before", "panic", "after"].map(event));
    deliver(&client.outbox, [event("later")]);
    timeout(TEST_TIMEOUT, &mut client.task)
        .await
        .expect("in time")
        .expect("the task itself does not panic");
    assert_eq!(
        client.counters.connections.get(),
        0,
        "the connection is released"
    );
    assert_eq!(client.next().await, None);
    deliver(&client.outbox, [event("too late")]);
}

#[tokio::test]
async fn a_host_program_ends_a_session_whose_events_are_being_handled() {
    let mut client = Client::connect().await;
    deliver(&client.outbox, ["before", "end", "after"].map(event));
    assert_eq!(client.next_text().await, "before");
    assert_eq!(
        client.next_close().await,
        (CloseReason::KICKED.code, "the end".to_owned())
    );
}

#[tokio::test]
async fn an_event_that_closes_the_connection_is_finished_by_the_task() {
    let mut client = Client::connect().await;
    deliver(&client.outbox, ["before", "close", "after"].map(event));
    assert_eq!(client.next_text().await, "before");
    assert_eq!(client.next_close().await.0, CloseReason::POLICY.code);
}

#[tokio::test]
async fn a_tick_that_an_event_requests_wakes_the_task() {
    let mut client = Client::connect().await;
    deliver(&client.outbox, [event("tick")]);
    assert_eq!(client.next_text().await, "ticked");
    assert_eq!(client.next_text().await, "ticked");
}

/// Clients, and the pending wakes of their outboxes, each of which has got `events` events.
async fn clients_with_events(count: usize, events: usize) -> (Vec<Client>, PendingWakes) {
    let (mut clients, mut wakes) = (Vec::new(), PendingWakes::default());
    for _ in 0..count {
        clients.push(Client::connect().await);
    }
    for client in &clients {
        let pushes = (0..events).map(|_| client.outbox.clone().push_deferring_wake(event("news")));
        wakes.extend(pushes.filter_map(|(_, wake)| wake));
    }
    (clients, wakes)
}

/// Of a fan-out, one step of the sender handles some receivers, and helper tasks handle the others.
#[tokio::test]
async fn a_large_fan_out_is_handled_in_several_turns() {
    let (mut clients, wakes) = clients_with_events(200, 1).await;
    let runtime = tokio::runtime::Handle::current();
    wakes.handle(Some(&runtime), Instant::now());
    let written = clients
        .iter()
        .filter(|client| client.outbox.len() == 0)
        .count();
    assert_eq!(written, 64);
    for client in &mut clients {
        assert_eq!(client.next_text().await, "news");
        assert!(client.outbox.has_waiting_task(), "its own task did not run");
    }
}

/// A sender with many receivers whose outboxes are full of events would otherwise keep its thread for a long time.
#[tokio::test]
async fn each_event_takes_a_unit_of_the_budget_of_the_sender() {
    let (mut clients, wakes) = clients_with_events(4, EVENTS_PER_WRITE).await;
    let events = clients.len() * EVENTS_PER_WRITE;
    // The runtime gives the task a new budget.
    tokio::task::yield_now().await;
    let mut budget = 0;
    while consume_budget() {
        budget += 1;
    }
    assert!(budget < events);
    tokio::task::yield_now().await;
    wakes.handle(None, Instant::now());
    let left: usize = clients.iter().map(|client| client.outbox.len()).sum();
    assert_eq!(events - left, budget);
    for client in &mut clients {
        for _ in 0..EVENTS_PER_WRITE {
            assert_eq!(client.next_text().await, "news");
        }
    }
}

#[tokio::test]
async fn few_receivers_are_handled_by_one_helper_task_and_not_by_the_caller() {
    let (mut clients, wakes) = clients_with_events(3, 1).await;
    let runtime = tokio::runtime::Handle::current();
    let tasks = runtime.metrics().num_alive_tasks();
    wakes.handle_in_tasks(Some(&runtime));
    assert_eq!(runtime.metrics().num_alive_tasks(), tasks + 1);
    let waiting = clients
        .iter()
        .filter(|client| client.outbox.len() == 1)
        .count();
    assert_eq!(waiting, 3, "this thread handles none");
    for client in &mut clients {
        assert_eq!(client.next_text().await, "news");
    }
}

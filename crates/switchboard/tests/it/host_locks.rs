//! Locks of a host program that its own dialect needs too.

use std::{
    sync::{Arc, Mutex, mpsc},
    thread::{self, ThreadId},
};

use switchboard::{
    RoomName, Server,
    dialect::{
        ClientFrame, Command, Content, Dialect, DialectTraits, Event, Handshake, JoinOptions,
        RequestError, Session, SessionOutput,
    },
    testing::TestServer,
};
use switchboard_core::{MessageKind, NodeId};

use crate::{client::TEST_TIMEOUT, slow_receiver::TwoNodes};

/// A dialect whose sessions lock a value of the host program for each message. The value is the list of the threads that
/// have done so.
#[derive(Debug)]
struct Locking(Arc<Mutex<Vec<ThreadId>>>);

static TRAITS: DialectTraits = DialectTraits {
    name: "locking",
    ..DialectTraits::DEFAULT
};

impl Dialect for Locking {
    fn traits(&self) -> &'static DialectTraits {
        &TRAITS
    }

    fn paths(&self) -> &'static [&'static str] {
        &["/locking"]
    }

    fn open(&self, handshake: &Handshake, output: &mut SessionOutput) -> Box<dyn Session> {
        output.commands.push(Command::Join {
            room: RoomName::parse("r", 0).expect("a name"),
            address: handshake.peer.into(),
            name: None,
            options: JoinOptions::default(),
        });
        Box::new(Self(self.0.clone()))
    }

    fn parse_content<'a>(&self, _frame: &'a str) -> Option<Content<'a>> {
        None
    }
}

impl Session for Locking {
    fn on_frame(
        &mut self,
        _frame: ClientFrame<'_>,
        _output: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        Ok(())
    }

    fn on_event(&mut self, event: &Event, output: &mut SessionOutput) {
        if let Event::Received { message, .. } = event {
            let mut threads = self.0.lock().expect("another thread has panicked");
            threads.push(thread::current().id());
            output.frames.push(message.frame.clone());
        }
    }
}

#[tokio::test]
async fn a_message_of_the_host_program_waits_for_no_lock_of_its_dialect() {
    let lock = Arc::new(Mutex::default());
    let builder = Server::builder().dialect(Box::leak(Box::new(Locking(lock.clone()))));
    let server = TestServer::start(builder).expect("a server");
    let joined = server.join_with("locking", "/locking", &[""; 0], "r").await;
    let mut client = joined.expect("a member");
    let rooms = server.server().rooms();
    let (room, _) = rooms.list().remove(0);
    let address = client.member().address.clone();
    // In a thread of its own, so that a deadlock fails the test.
    let (sent_sender, sent) = mpsc::channel();
    thread::spawn(move || {
        let _locked = lock.lock().expect("another thread has panicked");
        let result = rooms.send_frame(&room, &address, |_| Some("news".to_owned()));
        sent_sender.send(result)
    });
    let sent = tokio::task::spawn_blocking(move || sent.recv_timeout(TEST_TIMEOUT));
    assert_eq!(sent.await.expect("the task has panicked"), Ok(Ok(())));
    let frame = client.receive_containing("news").await;
    assert_eq!(frame.as_deref(), Some("news"));
}

/// The engine must renew the lease of its node, so it calls no dialect, which may take long.
#[tokio::test]
async fn no_session_runs_in_the_thread_of_an_engine() {
    let threads = Arc::new(Mutex::default());
    let engine = Arc::new(TwoNodes::default());
    let builder = Server::builder().dialect(Box::leak(Box::new(Locking(threads.clone()))));
    let builder = builder.engine(engine.clone(), Some("http://127.0.0.1:1".to_owned()));
    let server = TestServer::start(builder).expect("a server");
    let joined = server.join_with("locking", "/locking", &[""; 0], "r").await;
    let mut client = joined.expect("a member");
    let from = engine.join_far("locking");
    // With the first message the connection becomes idle: a sender's thread could handle the next one.
    for text in ["first", "second"] {
        let handler = engine.handler();
        let pass = move || {
            let frame = handler.message("locking", MessageKind::Message, text.into());
            let message = TwoNodes::message(from, Arc::new(frame.expect("a known dialect")));
            handler.on_node_messages(vec![(NodeId::from(TwoNodes::NODE), message)]);
        };
        thread::spawn(pass).join().expect("the thread has panicked");
        let frame = client.receive_containing(text).await;
        assert_eq!(frame.as_deref(), Some(text));
    }
    let threads = threads.lock().expect("another thread has panicked");
    assert_eq!(*threads, [thread::current().id(); 2], "the runtime has one");
}

//! A member that reads slowly, and a sender on another node: the sender's node is told.

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
};

use bytestring::ByteString;
use futures_util::{SinkExt, StreamExt};
use switchboard::Server;
use switchboard_core::{
    Address, Addressee, Change, Entry, Identity, Letter, LogId, Member, Message, NodeId, PeerId,
    Position, RelayKind, RoomId, RoomName, SeatRef, SpaceName,
};
use switchboard_engine::{Engine, Ordered, Sink, Status};
use tokio::net::TcpSocket;
use tokio_tungstenite::{client_async, tungstenite};

use crate::client::{PATIENCE, config, request, serve};

const OTHER_NODE: u64 = 7;

/// An engine of two nodes, of which the other one is played by the test.
#[derive(Default)]
struct TwoNodes {
    sink: Mutex<Option<Arc<dyn Sink>>>,
    sent: Mutex<Vec<(NodeId, Letter)>>,
}

impl std::fmt::Debug for TwoNodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TwoNodes")
    }
}

impl Engine for TwoNodes {
    fn attach(&self, sink: Arc<dyn Sink>) {
        *self.sink.lock().expect("no panic") = Some(sink);
    }

    fn propose(&self, _log: &LogId, at: Position, _change: &Change) -> Ordered {
        Ordered::Now(at.next())
    }

    fn send(&self, to: NodeId, letter: Letter) -> Option<Letter> {
        self.sent.lock().expect("no panic").push((to, letter));
        None
    }

    fn status(&self) -> Option<Status> {
        None
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }
}

/// Joins a `lightstream` room with a client whose receive buffer is small.
async fn join_without_reading(address: SocketAddr) -> impl Sized {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let stream = socket.connect(address).await.expect("a connection");
    let upgraded = client_async(request(address, "/ws"), stream).await;
    let mut client = upgraded.expect("an upgrade").0;
    let join = r#"{"type":"join","roomID":"r","senderID":"slow"}"#;
    let join = tungstenite::Message::text(join);
    client.send(join).await.expect("the server reads");
    let joined = tokio::time::timeout(PATIENCE, client.next()).await;
    joined.expect("in time").expect("open").expect("a frame");
    client
}

#[tokio::test]
async fn the_node_of_a_sender_is_told_of_a_slow_receiver() {
    let engine = Arc::new(TwoNodes::default());
    let config = config("[limits]\noutbox_bytes = 400000\n");
    let builder = Server::builder().config(config);
    let url = "http://127.0.0.1:1".to_owned();
    let (_server, address) = serve(builder.engine(engine.clone(), url).build());
    let _slow = join_without_reading(address).await;

    let sink = engine.sink.lock().expect("no panic").clone();
    let sink = sink.expect("attached");
    let log = LogId::Room(RoomId::shared(
        SpaceName::default(),
        RoomName::parse("r", 0).expect("a name"),
    ));
    let sender = PeerId::from_random([9; 16]);
    let since = Position::from(1000);
    let member = Member {
        peer: sender,
        address: Address::parse("far", 0).expect("an address"),
        name: None,
        tongue: sink.tongue("lightstream"),
        identity: Identity::Claimed,
        token: None,
        circle: None,
    };
    let joined = Entry {
        position: since,
        node: Some(NodeId::from(OTHER_NODE)),
        change: Change::Join(Arc::new(member)),
    };
    sink.committed(&log, vec![joined]);

    let data = "x".repeat(50_000);
    let frame = format!(r#"{{"type":"message","roomID":"r","senderID":"far","data":"{data}"}}"#);
    let frame = ByteString::from(frame);
    let relay = sink.relay("lightstream", RelayKind::Message, frame.clone());
    let relay = Arc::new(relay.expect("a known dialect"));
    // More than the kernels keep between the two.
    for _ in 0..200 {
        let from = SeatRef {
            peer: sender,
            since,
        };
        let letter = Letter {
            log: log.clone(),
            message: Message::Relay {
                from,
                to: Addressee::Everyone,
                relay: relay.clone(),
            },
        };
        sink.letter(NodeId::from(OTHER_NODE), letter);
        tokio::task::yield_now().await;
    }
    let sent = engine.sent.lock().expect("no panic");
    let (to, notice) = sent.first().expect("a notice to the sender's node");
    assert_eq!(*to, NodeId::from(OTHER_NODE));
    assert!(
        matches!(notice.message, Message::SlowReceiver { sender: to, bytes } if to == sender && bytes == frame.len()),
        "{:?}",
        notice.message
    );
}

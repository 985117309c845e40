//! A member that reads slowly, and a sender on another node (server of the cluster): the sender's node is notified, and
//! charges the frame to the rate budget of the sender.

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
};

use bytestring::ByteString;
use futures_util::{SinkExt, StreamExt};
use switchboard::Server;
use switchboard_cluster::{Engine, EngineHandler, ProposeOutcome, Status};
use switchboard_core::{
    Address, Change, Entry, Identity, LogId, Member, MembershipRef, MessageKind, NodeId,
    NodeMessage, NodeMessageBody, PeerId, Position, Recipient, RelayedMessage, RoomId, RoomName,
    SpaceName,
};
use tokio::net::TcpSocket;
use tokio_tungstenite::{client_async, tungstenite};

use crate::client::{TEST_TIMEOUT, config, request, serve};

/// An engine (the part of a server that shares rooms between nodes) with two nodes. The test acts as the other node, on
/// which the member `far` is.
#[derive(Default)]
pub(crate) struct TwoNodes {
    handler: Mutex<Option<Arc<dyn EngineHandler>>>,
    sent: Mutex<Vec<(NodeId, NodeMessage)>>,
}

impl std::fmt::Debug for TwoNodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TwoNodes")
    }
}

impl TwoNodes {
    pub(crate) const NODE: u64 = 7;

    pub(crate) fn handler(&self) -> Arc<dyn EngineHandler> {
        let handler = self.handler.lock().expect("no other thread panicked");
        handler.clone().expect("attached")
    }

    /// The log of the room `r`.
    pub(crate) fn log() -> LogId {
        LogId::Room(RoomId::shared(
            SpaceName::default(),
            RoomName::parse("r", 0).expect("a name"),
        ))
    }

    /// Lets the member of the other node join the room `r`.
    pub(crate) fn join_far(&self, dialect: &str) -> MembershipRef {
        let handler = self.handler();
        let membership = MembershipRef {
            peer: PeerId::from_random([9; 16]),
            since: Position::from(1000),
        };
        let member = Member {
            peer: membership.peer,
            address: Address::parse("far", 0).expect("an address"),
            name: None,
            dialect: handler.dialect(dialect),
            identity: Identity::Claimed,
            token: None,
            group: None,
            policy: None,
        };
        let joined = Entry {
            position: membership.since,
            node: Some(NodeId::from(Self::NODE)),
            change: Change::Join(Arc::new(member)),
        };
        handler.on_committed(&Self::log(), vec![joined]);
        membership
    }

    /// A message of that member to all members of the room.
    pub(crate) fn message(from: MembershipRef, message: Arc<RelayedMessage>) -> NodeMessage {
        NodeMessage {
            log: Self::log(),
            body: NodeMessageBody::Relay {
                from,
                to: Recipient::Everyone,
                message,
            },
        }
    }
}

impl Engine for TwoNodes {
    fn attach(&self, handler: Arc<dyn EngineHandler>) {
        *self.handler.lock().expect("no other thread panicked") = Some(handler);
    }

    fn propose(&self, _log: &LogId, at: Position, _change: &Change) -> ProposeOutcome {
        ProposeOutcome::Committed(at.next())
    }

    fn send(&self, to: NodeId, message: NodeMessage) -> Option<NodeMessage> {
        self.sent
            .lock()
            .expect("no other thread panicked")
            .push((to, message));
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
    let joined = tokio::time::timeout(TEST_TIMEOUT, client.next()).await;
    joined.expect("in time").expect("open").expect("a frame");
    client
}

#[tokio::test]
async fn the_node_of_a_sender_is_notified_of_a_slow_receiver() {
    let engine = Arc::new(TwoNodes::default());
    let config = config("[limits]\noutbox_bytes = 400000\n");
    let builder = Server::builder().config(config);
    let url = Some("http://127.0.0.1:1".to_owned());
    let (_server, address) = serve(
        builder
            .engine(engine.clone(), url)
            .build()
            .expect("valid settings"),
    );
    let _slow = join_without_reading(address).await;

    let from = engine.join_far("lightstream");
    let handler = engine.handler();

    let data = "x".repeat(50_000);
    let frame = format!(r#"{{"type":"message","roomID":"r","senderID":"far","data":"{data}"}}"#);
    let frame = ByteString::from(frame);
    let relayed = handler.message("lightstream", MessageKind::Message, frame.clone());
    let relayed = Arc::new(relayed.expect("a known dialect"));
    // More than the socket buffers of the connection.
    for _ in 0..200 {
        let message = TwoNodes::message(from, relayed.clone());
        handler.on_node_message(NodeId::from(TwoNodes::NODE), message);
        tokio::task::yield_now().await;
    }
    let sent = engine.sent.lock().expect("no other thread panicked");
    let (to, notice) = sent.first().expect("a notice to the sender's node");
    assert_eq!(*to, NodeId::from(TwoNodes::NODE));
    assert!(
        matches!(notice.body, NodeMessageBody::SlowReceiver { sender: to, bytes } if to == from.peer && bytes == frame.len()),
        "{:?}",
        notice.body
    );
}

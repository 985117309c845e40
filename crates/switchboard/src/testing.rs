//! For the tests of a host program: a server on a free port of loopback, and a client for each dialect.
//!
//! The feature `testing` enables this module, because it brings a WebSocket client that a server does not need.
//!
//! ```
//! use switchboard::{Server, room, testing::{ClientDialect, TestServer}};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = TestServer::start(Server::builder())?;
//! let mut ada = server.join(ClientDialect::P2p, "team", "ada").await?;
//! let mut bob = server.join(ClientDialect::Lightstream, "team", "bob").await?;
//! assert!(ada.receive_containing("bob").await.is_some());
//! bob.send(r#"{"type":"message","data":"Hello."}"#).await?;
//! assert!(ada.receive_containing("Hello.").await.is_some());
//! # Ok(())
//! # }
//! ```

use std::{collections::VecDeque, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::{SinkExt, StreamExt};
use switchboard_core::{Identity, Member};
use thiserror::Error;
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{self, Message},
};

use crate::{BuildError, Builder, Config, Events, ListenError, Listener, Server, ServerEvent};

/// The paths of the public listeners with these settings, each with whether it accepts only WebSockets. Parameters in the
/// paths are in braces.
#[doc(hidden)]
#[must_use]
pub fn public_routes(config: &Config) -> Vec<(String, bool)> {
    let routes = config.routes();
    let of_dialects = routes.iter().map(|route| {
        let is_socket = route.accepts == switchboard_dialects::Accepts::Sockets;
        (route.path.clone(), is_socket)
    });
    let of_voice = switchboard_voice::paths();
    let others = ["/", "/voice", crate::ice::PATH].into_iter();
    let plain = of_voice.chain(others).map(|path| (path.to_owned(), false));
    of_dialects.chain(plain).collect()
}

/// The time limit of each wait of this module.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// The reason why a test server or a test client does not work.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TestError {
    /// The server cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// No port of loopback is free.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The server has refused the connection with this HTTP status.
    #[error("the server has refused the connection with the status {0}")]
    Refused(u16),
    /// The connection has failed.
    #[error("the connection has failed")]
    Connection(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The client has not become a member of the room in time. Contains the frames that it has received.
    #[error("the client has not joined: {0:?}")]
    NotJoined(Vec<String>),
}

impl From<tungstenite::Error> for TestError {
    fn from(error: tungstenite::Error) -> Self {
        if let tungstenite::Error::Http(response) = &error {
            return Self::Refused(response.status().as_u16());
        }
        Self::Connection(Box::new(error))
    }
}

/// A dialect that a [`TestClient`] speaks: those with WebSocket connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClientDialect {
    /// The dialect `p2p`.
    P2p,
    /// The dialect `lightstream`.
    Lightstream,
    /// The dialect `singo`. The server assigns the address; the client has no name.
    Singo,
    /// `mesh`. The server assigns the address; the client has no name.
    Mesh,
    /// `ayame`. A room has two members.
    Ayame,
    /// `matchbox`. The server assigns the address; the client has no name.
    Matchbox,
    /// `peerjs`. The room is the API key of the client, and the name is its id. Only the key `peerjs` is served by
    /// default.
    PeerJs,
    /// `y-webrtc`. The server assigns the address; the client has no name. The room is a topic.
    YWebrtc,
}

impl ClientDialect {
    /// All dialects.
    pub const ALL: [Self; 8] = [
        Self::P2p,
        Self::Lightstream,
        Self::Singo,
        Self::Mesh,
        Self::Ayame,
        Self::Matchbox,
        Self::PeerJs,
        Self::YWebrtc,
    ];

    /// The path and query of a client, and the frames with which it joins `room`.
    fn join(self, room: &str, name: &str) -> (String, Vec<String>) {
        let json = |text: &str| serde_json::Value::from(text).to_string();
        let (room_json, name_json) = (json(room), json(name));
        let query = |pairs: &[(&str, &str)]| {
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.extend_pairs(pairs).finish()
        };
        match self {
            Self::P2p => (
                "/ws?dialect=p2p".to_owned(),
                vec![
                    format!(r#"{{"type":"IDENTIFY","username":{name_json},"roomId":{room_json}}}"#),
                    format!(r#"{{"type":"JOIN_ROOM","roomId":{room_json}}}"#),
                ],
            ),
            Self::Lightstream => (
                "/ws?dialect=lightstream".to_owned(),
                vec![format!(
                    r#"{{"type":"join","roomID":{room_json},"senderID":{name_json}}}"#
                )],
            ),
            Self::Singo => (
                "/connect".to_owned(),
                vec![format!(
                    r#"{{"type":"join","payload":{{"room_id":{room_json}}}}}"#
                )],
            ),
            Self::Mesh => (
                format!("/signalingserver?{}", query(&[("room", room)])),
                Vec::new(),
            ),
            Self::Ayame => (
                "/signaling".to_owned(),
                vec![format!(
                    r#"{{"type":"register","roomId":{room_json},"clientId":{name_json}}}"#
                )],
            ),
            Self::Matchbox => {
                let query = query(&[("dialect", "matchbox"), ("room", room)]);
                (format!("/ws?{query}"), Vec::new())
            }
            Self::PeerJs => {
                let query = query(&[("key", room), ("id", name), ("token", name)]);
                (format!("/peerjs?{query}"), Vec::new())
            }
            Self::YWebrtc => (
                "/y-webrtc".to_owned(),
                vec![format!(r#"{{"type":"subscribe","topics":[{room_json}]}}"#)],
            ),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::P2p => "p2p",
            Self::Lightstream => "lightstream",
            Self::Singo => "singo",
            Self::Mesh => "mesh",
            Self::Ayame => "ayame",
            Self::Matchbox => "matchbox",
            Self::PeerJs => "peerjs",
            Self::YWebrtc => "y-webrtc",
        }
    }
}

/// A server on a free port of loopback. It ends with the runtime of the test.
#[derive(Debug)]
pub struct TestServer {
    server: Server,
    address: SocketAddr,
}

impl TestServer {
    /// Builds the server and serves it.
    ///
    /// # Errors
    /// If it cannot be built, or no port is free.
    pub fn start(builder: Builder) -> Result<Self, TestError> {
        Self::serve(builder.build()?)
    }

    /// Serves a server that is built.
    ///
    /// # Errors
    /// If no port is free.
    pub fn serve(server: Server) -> Result<Self, TestError> {
        let listener = Listener::bind(([127, 0, 0, 1], 0).into())?;
        let address = listener.address();
        server.serve(listener);
        Ok(Self { server, address })
    }

    /// The server that is tested.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The address and port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens a client of this dialect, and waits until it is a member of `room`. If another client of the same dialect
    /// joins the room at the same time, its join may be taken for that of this client.
    ///
    /// # Errors
    /// If the connection is refused, or the client does not become a member in time.
    pub async fn join(
        &self,
        dialect: ClientDialect,
        room: &str,
        name: &str,
    ) -> Result<TestClient, TestError> {
        let (path, frames) = dialect.join(room, name);
        self.join_with(dialect.name(), &path, &frames, room).await
    }

    /// Opens a client of any dialect at this path and query, sends these frames, and waits until it is a member of
    /// `room`: for dialects of the host program, and for queries with a token of the host program.
    ///
    /// # Errors
    /// As for [`TestServer::join`].
    pub async fn join_with(
        &self,
        dialect: &str,
        path: &str,
        frames: &[impl AsRef<str>],
        room: &str,
    ) -> Result<TestClient, TestError> {
        let mut events = self.server.events();
        let mut client = self.open(path).await?;
        for frame in frames {
            client.send(frame.as_ref()).await?;
        }
        let mut received = Vec::new();
        let joined = async {
            loop {
                tokio::select! {
                    member = next_join(&mut events, dialect, room) => return member,
                    frame = client.receive() => match frame {
                        Some(frame) => received.push(frame),
                        None => return None,
                    },
                }
            }
        };
        let member = timeout(TEST_TIMEOUT, joined).await.ok().flatten();
        client.early = received.into();
        match member {
            Some(member) => {
                client.member = Some(member);
                Ok(client)
            }
            None => Err(TestError::NotJoined(client.early.into())),
        }
    }

    /// Opens a WebSocket connection at this path and query.
    ///
    /// # Errors
    /// If the connection is refused.
    pub async fn open(&self, path: &str) -> Result<TestClient, TestError> {
        let url = format!("ws://{}{path}", self.address);
        let (socket, _response) = connect_async(url).await?;
        Ok(TestClient {
            socket,
            member: None,
            early: VecDeque::new(),
            close: None,
        })
    }
}

/// Waits for the next join of a client of this node.
async fn next_join(events: &mut Events, dialect: &str, room: &str) -> Option<Arc<Member>> {
    loop {
        if let ServerEvent::Joined {
            room: joined,
            member,
            ..
        } = events.recv().await?
            && member.dialect.name == dialect
            && joined.name.as_str() == room
        {
            return Some(member);
        }
    }
}

/// A WebSocket client.
#[derive(Debug)]
pub struct TestClient {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    member: Option<Arc<Member>>,
    /// Frames that were received while the client was joining.
    early: VecDeque<String>,
    close: Option<(u16, String)>,
}

impl TestClient {
    /// The client as a member of the room that it has joined.
    ///
    /// # Panics
    /// If the client was opened without a room.
    #[must_use]
    pub fn member(&self) -> &Arc<Member> {
        self.member.as_ref().expect("the client has joined a room")
    }

    /// The identity that the connect hook has given to the client; `None` without one or without a room.
    #[must_use]
    pub fn identity(&self) -> Option<&str> {
        match &self.member.as_ref()?.identity {
            Identity::Claimed => None,
            Identity::Proven(name) => Some(name),
        }
    }

    /// Sends a frame of text.
    ///
    /// # Errors
    /// If the connection has ended.
    pub async fn send(&mut self, frame: &str) -> Result<(), TestError> {
        Ok(self.socket.send(Message::text(frame)).await?)
    }

    /// Receives the next frame of text. `None` if the connection has ended or no frame comes in time.
    pub async fn receive(&mut self) -> Option<String> {
        if let Some(frame) = self.early.pop_front() {
            return Some(frame);
        }
        loop {
            match timeout(TEST_TIMEOUT, self.socket.next()).await.ok()?? {
                Ok(Message::Text(text)) => return Some(text.as_str().to_owned()),
                Ok(Message::Close(Some(frame))) => {
                    self.close = Some((frame.code.into(), frame.reason.as_str().to_owned()));
                }
                Ok(
                    Message::Binary(_)
                    | Message::Ping(_)
                    | Message::Pong(_)
                    | Message::Close(None)
                    | Message::Frame(_),
                ) => {}
                Err(_) => return None,
            }
        }
    }

    /// Receives the next frame that contains `text`, and drops those before it. `None` as in [`TestClient::receive`].
    pub async fn receive_containing(&mut self, text: &str) -> Option<String> {
        loop {
            let frame = self.receive().await?;
            if frame.contains(text) {
                return Some(frame);
            }
        }
    }

    /// Waits for the end of the connection. Returns the close code and the reason; `None` if the server has sent no
    /// close frame in time.
    pub async fn closed(mut self) -> Option<(u16, String)> {
        self.early.clear();
        while self.receive().await.is_some() {}
        self.close
    }

    /// Closes the connection, and waits for the answer of the server.
    pub async fn close(mut self) {
        drop(self.socket.close(None).await);
        drop(self.closed().await);
    }
}

//! One connection: a client of a dialect.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use futures_util::{Sink as _, Stream as _};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Error as WsError, Message, Utf8Bytes, protocol::WebSocketConfig},
};

use crate::{
    BenchError,
    dialect::{Incoming, MemberName, Seat, WireClient},
    target::BenchTarget,
};

/// The time that a server has to answer a request.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// The maximum frames that wait for a socket that does not accept them.
const BACKLOG_MAX: usize = 1_024;

/// The characters of a foreign frame that an error shows.
const FRAME_TEXT_MAX: usize = 200;

/// The server of a run, and the names of the run on it.
#[derive(Debug)]
pub(crate) struct Net {
    pub(crate) wire: &'static dyn WireClient,
    pub(crate) target: BenchTarget,
    /// A part of all names, so that runs against one server do not meet.
    pub(crate) run_name: String,
    pub(crate) started: Instant,
}

impl Net {
    pub(crate) fn new(wire: &'static dyn WireClient, target: BenchTarget) -> Self {
        Self {
            wire,
            target,
            run_name: format!("b{:08x}", rand::random::<u32>()),
            started: Instant::now(),
        }
    }

    /// A time as stamps hold it.
    pub(crate) fn nanos(&self, time: Instant) -> u64 {
        let since = time.saturating_duration_since(self.started);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    pub(crate) fn seat(&self, number: usize, room: usize) -> Seat {
        let name = format!("{}u{number}", self.run_name);
        let room = format!("{}r{room}", self.run_name);
        Seat { name, room }
    }

    async fn connect(
        &self,
        number: usize,
        seat: &Seat,
    ) -> Result<WebSocketStream<TcpStream>, BenchError> {
        let stream = connect_tcp(&self.target, number).await?;
        let path = self.wire.target(&self.target.base, seat);
        let url = format!("ws://{}{path}", self.target.host);
        let handshake = client_async_with_config(url, stream, Some(socket_config()));
        let handshake = self.within("answer to the WebSocket handshake", handshake);
        let (socket, _) = handshake
            .await?
            .map_err(|error| BenchError::web_socket(&path, error))?;
        Ok(socket)
    }

    /// Waits for an answer of the server.
    pub(crate) async fn within<T>(
        &self,
        awaited: &'static str,
        answer: impl Future<Output = T>,
    ) -> Result<T, BenchError> {
        let (seconds, dialect) = (ANSWER_TIMEOUT.as_secs(), self.wire.name());
        let answer = timeout(ANSWER_TIMEOUT, answer).await;
        answer.map_err(|_| BenchError::NoAnswer {
            awaited,
            seconds,
            dialect,
        })
    }
}

/// Connects to the server, from a local address that has ports left.
pub(crate) async fn connect_tcp(
    target: &BenchTarget,
    number: usize,
) -> Result<TcpStream, BenchError> {
    let address = target.address;
    let connect = async {
        let Some(source) = target.source(number) else {
            return TcpStream::connect(address).await;
        };
        let socket = TcpSocket::new_v4()?;
        socket.bind(source)?;
        socket.connect(address).await
    };
    let stream = connect
        .await
        .and_then(|stream| stream.set_nodelay(true).map(|()| stream));
    stream.map_err(|source| BenchError::Connect { address, source })
}

/// Small buffers: a run may have 100,000 connections.
fn socket_config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(4_096)
        .write_buffer_size(0)
}

/// A connected client.
#[derive(Debug)]
pub(crate) struct BenchClient {
    /// The number of the client in its run, which stamps hold.
    pub(crate) number: u32,
    pub(crate) seat: Seat,
    /// The receiver of frames to this client, as far as it is known.
    pub(crate) address: String,
    wire: &'static dyn WireClient,
    socket: WebSocketStream<TcpStream>,
    backlog: VecDeque<Message>,
    is_flushed: bool,
}

impl BenchClient {
    /// Connects and waits for the greeting.
    pub(crate) async fn open(net: &Net, number: usize, seat: Seat) -> Result<Self, BenchError> {
        let socket = net.connect(number, &seat).await?;
        let mut client = Self {
            number: u32::try_from(number).unwrap_or(u32::MAX),
            address: seat.name.clone(),
            seat,
            wire: net.wire,
            socket,
            backlog: VecDeque::new(),
            is_flushed: true,
        };
        if let Some(hello) = net.wire.hello(&client.seat) {
            client.send(hello)?;
        }
        if net.wire.traits().greets {
            net.within("greeting", client.await_greeting()).await??;
        }
        Ok(client)
    }

    /// Joins the room of the seat, and waits for the answer where the dialect has one. Returns the members present.
    pub(crate) async fn join(&mut self, net: &Net) -> Result<Vec<MemberName>, BenchError> {
        for frame in net.wire.join(&self.seat) {
            self.send(frame)?;
        }
        if !net.wire.traits().answers_joins {
            net.within("read of a join", self.flush()).await??;
            return Ok(Vec::new());
        }
        net.within("answer to a join", self.await_join()).await?
    }

    /// Waits until the server says that another client has joined.
    pub(crate) async fn await_peer(&mut self, net: &Net) -> Result<MemberName, BenchError> {
        let peer = async {
            loop {
                if let Incoming::PeerJoined(peer) = self.next_incoming().await? {
                    return Ok(peer);
                }
            }
        };
        net.within("notification of a join", peer).await?
    }

    /// Sends a frame now, or as soon as [`BenchClient::next_frame`] can write it.
    ///
    /// # Errors
    /// If too many frames wait already: the server does not read.
    pub(crate) fn send(&mut self, frame: impl Into<Utf8Bytes>) -> Result<(), BenchError> {
        if self.backlog.len() >= BACKLOG_MAX {
            return Err(BenchError::Closed(format!(
                "it does not read: {BACKLOG_MAX} frames wait. Lower --rate, or raise limits.frames_per_second of the server"
            )));
        }
        self.backlog.push_back(Message::Text(frame.into()));
        self.is_flushed = false;
        Ok(())
    }

    /// Whether all frames that were sent are written.
    pub(crate) fn is_flushed(&self) -> bool {
        self.is_flushed
    }

    /// Writes the frames that were sent.
    pub(crate) async fn flush(&mut self) -> Result<(), BenchError> {
        poll_fn(|context| self.poll_write(context)).await
    }

    /// The next text of the server. Writes what waits meanwhile. No frame is lost if the future is dropped.
    pub(crate) async fn next_frame(&mut self) -> Result<Utf8Bytes, BenchError> {
        poll_fn(|context| self.poll_frame(context)).await
    }

    /// The meaning of the next frame that is not a probe, before the load begins.
    pub(crate) async fn next_incoming(&mut self) -> Result<Incoming, BenchError> {
        loop {
            let frame = self.next_frame().await?;
            let incoming = self.understand(&frame)?;
            if incoming == Incoming::Other && is_error(&frame) {
                return Err(foreign_error(&frame));
            }
            if !matches!(incoming, Incoming::Probe(_)) {
                return Ok(incoming);
            }
        }
    }

    /// The meaning of a frame without a stamp. Answers a probe.
    pub(crate) fn understand(&mut self, frame: &str) -> Result<Incoming, BenchError> {
        let incoming = self.wire.parse(frame);
        if let Incoming::Probe(answer) = &incoming {
            self.send(answer.clone())?;
        }
        if let Incoming::Rejected(reason) = incoming {
            return Err(BenchError::Rejected(reason));
        }
        Ok(incoming)
    }

    /// Closes the connection, and waits until the server has closed it too.
    pub(crate) async fn close(mut self) {
        let closed = async {
            self.flush().await?;
            self.socket
                .close(None)
                .await
                .map_err(|error| BenchError::WebSocket(Box::new(error)))?;
            while self.next_frame().await.is_ok() {}
            Ok::<_, BenchError>(())
        };
        // A server that does not close is cut off.
        drop(timeout(Duration::from_secs(2), closed).await);
    }

    async fn await_greeting(&mut self) -> Result<(), BenchError> {
        loop {
            if let Incoming::Greeting(address) = self.next_incoming().await? {
                self.address = address.unwrap_or_else(|| self.seat.name.clone());
                return Ok(());
            }
        }
    }

    async fn await_join(&mut self) -> Result<Vec<MemberName>, BenchError> {
        loop {
            if let Incoming::Joined(members) = self.next_incoming().await? {
                return Ok(members);
            }
        }
    }

    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Result<Utf8Bytes, BenchError>> {
        if !self.is_flushed
            && let Poll::Ready(Err(error)) = self.poll_write(context)
        {
            return Poll::Ready(Err(error));
        }
        loop {
            match ready!(Pin::new(&mut self.socket).poll_next(context)) {
                Some(Ok(Message::Text(text))) => return Poll::Ready(Ok(text)),
                Some(Ok(Message::Binary(bytes))) => {
                    if let Ok(text) = Utf8Bytes::try_from(bytes) {
                        return Poll::Ready(Ok(text));
                    }
                }
                Some(Ok(Message::Close(frame))) => {
                    return Poll::Ready(Err(BenchError::closed(frame.as_ref())));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Err(error)) => return Poll::Ready(Err(lost(error))),
                None => return Poll::Ready(Err(BenchError::closed(None))),
            }
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BenchError>> {
        while !self.backlog.is_empty() {
            ready!(Pin::new(&mut self.socket).poll_ready(context)).map_err(lost)?;
            if let Some(frame) = self.backlog.pop_front() {
                Pin::new(&mut self.socket).start_send(frame).map_err(lost)?;
            }
        }
        ready!(Pin::new(&mut self.socket).poll_flush(context)).map_err(lost)?;
        self.is_flushed = true;
        Poll::Ready(Ok(()))
    }
}

fn lost(error: WsError) -> BenchError {
    BenchError::WebSocket(Box::new(error))
}

/// Whether a frame that means nothing in the dialect looks like an error in another one.
fn is_error(frame: &str) -> bool {
    frame.to_ascii_lowercase().contains("error")
}

fn foreign_error(frame: &str) -> BenchError {
    let text: String = frame.chars().take(FRAME_TEXT_MAX).collect();
    BenchError::Rejected(format!("{text}; the server may speak another dialect"))
}

#[cfg(test)]
mod tests {
    use futures_util::SinkExt as _;
    use tokio::net::TcpListener;
    use tokio_tungstenite::accept_async;

    use super::*;
    use crate::{BenchDialect, BenchOptions, Workload};

    /// Greets one client of `singo`, and reads nothing.
    async fn greet(listener: TcpListener) {
        let (stream, _) = listener.accept().await.expect("a client");
        let mut socket = accept_async(stream).await.expect("a handshake");
        let greeting = r#"{"type":"notify-client-id","payload":{"client_id":"a"}}"#;
        socket
            .send(Message::text(greeting))
            .await
            .expect("a client");
        std::future::pending().await
    }

    #[tokio::test]
    async fn join_that_the_server_does_not_read_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(greet(listener));
        let options = BenchOptions::new(Workload::Relay, url, BenchDialect::Singo);
        let target = BenchTarget::resolve(&options).expect("a target");
        let net = Net::new(BenchDialect::Singo.wire().expect("a dialect"), target);
        let client = BenchClient::open(&net, 0, net.seat(0, 0)).await;
        let mut client = client.expect("a greeting");
        // More than the kernel keeps for a server that does not read.
        client.send("x".repeat(32 << 20)).expect("a short backlog");
        tokio::time::pause();
        let refused = client.join(&net).await;
        let awaited = "read of a join";
        assert!(
            matches!(refused, Err(BenchError::NoAnswer { awaited: found, .. }) if found == awaited),
            "{refused:?}"
        );
    }
}

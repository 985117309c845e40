//! Listening sockets: accept, bounded heads, drain.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use axum::{Router, extract::ConnectInfo};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

use crate::{Counters, Exchange, Permit, Permits};

/// Bytes that the kernel may hold for a client that does not read, before its outbox fills.
const SEND_BUFFER_BYTES: u32 = 256 * 1024;

/// Bytes of a request's head.
const HEAD_BYTES: usize = 16 * 1024;

/// Connections the kernel may hold that are not accepted yet.
const BACKLOG: u32 = 1024;

/// Pause after an accept that failed for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The answer to a connection over the limits.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// An address that cannot be listened on.
#[derive(Debug)]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
    /// Why not.
    pub source: io::Error,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}: {}", self.address, self.source)
    }
}

impl std::error::Error for ListenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// A bound socket.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds an address. Port 0 lets the system choose.
    pub fn bind(address: SocketAddr) -> Result<Self, ListenError> {
        let bind = || {
            let socket = if address.is_ipv4() {
                TcpSocket::new_v4()
            } else {
                TcpSocket::new_v6()
            }?;
            socket.set_reuseaddr(true)?;
            socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
            socket.bind(address)?;
            let socket = socket.listen(BACKLOG)?;
            Ok(Self {
                address: socket.local_addr()?,
                socket,
            })
        };
        bind().map_err(|source| ListenError { address, source })
    }

    /// The address it is bound to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `terms.drain` is cancelled; then accepts no more and lets requests end.
    pub async fn serve(self, router: Router, terms: Terms) {
        loop {
            let accepted = tokio::select! {
                () = terms.drain.cancelled() => return,
                accepted = self.socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, client)) => welcome(stream, client, &router, &terms),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Ends the TCP connection that a request came on, whatever waits in it: a response's body cannot,
/// while its client takes nothing. Every request carries one as an extension.
#[derive(Clone, Debug, Default)]
pub struct Hangup(CancellationToken);

impl Hangup {
    /// Ends the connection.
    pub fn hang_up(&self) {
        self.0.cancel();
    }
}

/// The TCP connection that a request came on, as it is counted. Every request carries one as an
/// extension.
#[derive(Clone, Debug)]
pub struct Arrival(Weak<Permit>);

impl Arrival {
    /// Counts the connection to its address no longer, as [`Permit::uncount_address`] does.
    pub fn uncount_address(&self) {
        if let Some(permit) = self.0.upgrade() {
            permit.uncount_address();
        }
    }
}

/// Under which connections are served.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Time for a request's head to arrive (zero: no limit).
    pub head_timeout: Duration,
    /// Time that what was sent may stay unacknowledged: then the client is gone.
    pub gone: Duration,
    /// How many connections there may be, WebSocket or not.
    pub permits: Arc<Permits>,
    /// Where refused connections are counted.
    pub refused: Arc<dyn Exchange>,
    /// Cancelled when the server stops.
    pub drain: CancellationToken,
    /// Where requests under way are tracked.
    pub tasks: TaskTracker,
}

/// Begins to serve a connection, if there may be one more.
fn welcome(stream: TcpStream, client: SocketAddr, router: &Router, terms: &Terms) {
    let Ok(permit) = terms.permits.admit(Some(client.ip())) else {
        // Counted, and not logged: they come by the thousand. The answer is worth one try.
        Counters::add(&terms.refused.counters().connections_refused_total, 1);
        drop(stream.try_write(FULL));
        return;
    };
    drop(give_up_after(&stream, terms.gone));
    let (router, drain, head_timeout) = (router.clone(), terms.drain.clone(), terms.head_timeout);
    let permit = Arc::new(permit);
    let arrival = Arrival(Arc::downgrade(&permit));
    terms.tasks.spawn(async move {
        converse(stream, (client, arrival), router, head_timeout, drain).await;
        drop(permit);
    });
}

/// A client that is gone without a word acknowledges nothing, however long a response to it is.
#[cfg(target_os = "linux")]
fn give_up_after(stream: &TcpStream, gone: Duration) -> io::Result<()> {
    let socket = socket2::SockRef::from(stream);
    socket.set_tcp_user_timeout(Some(gone))?;
    // An event stream that tells nothing is asked for a sign of life.
    let every = gone / 3;
    socket.set_tcp_keepalive(
        &socket2::TcpKeepalive::new()
            .with_time(every)
            .with_interval(every),
    )
}

#[cfg(not(target_os = "linux"))]
fn give_up_after(_stream: &TcpStream, _gone: Duration) -> io::Result<()> {
    Ok(())
}

/// Serves the requests of one TCP connection.
async fn converse(
    stream: TcpStream,
    (client, arrival): (SocketAddr, Arrival),
    router: Router,
    head_timeout: Duration,
    drain: CancellationToken,
) {
    // Frames are whole messages; waiting to fill a packet only delays them.
    drop(stream.set_nodelay(true));
    let hangup = Hangup::default();
    let ended = hangup.0.clone();
    let service = router.map_request(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(ConnectInfo(client));
        request.extensions_mut().insert(hangup.clone());
        request.extensions_mut().insert(arrival.clone());
        request.map(axum::body::Body::new)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).max_buf_size(HEAD_BYTES);
    if !head_timeout.is_zero() {
        http.header_read_timeout(head_timeout);
    }
    let connection = http
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = &mut connection => served,
        () = ended.cancelled() => return,
        () = drain.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                served = &mut connection => served,
                () = ended.cancelled() => return,
            }
        }
    };
    if let Err(error) = served {
        tracing::debug!(%client, %error, "request ended early");
    }
}

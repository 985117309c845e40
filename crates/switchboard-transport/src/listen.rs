//! Listening sockets: accepting connections, limits of request heads, and graceful shutdown.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::ConnectInfo,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use socket2::SockRef;
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

use crate::{
    AddressRates, ConnectionLimit, Counters, Permit, PermitPool, RefusalReason, RefusedConnections,
    Tls,
    plain_http::plain_http_router,
    timed_stream::{RequestActivity, RequestTimeouts, TimedStream},
    tls::Opening,
};

/// The size of the kernel's send buffer in bytes. If a client does not read, this buffer fills first, and then the
/// outbox of the client's connection.
const SEND_BUFFER_BYTES: u32 = 256 * 1024;

/// The largest head of a request in bytes.
const HEAD_BYTES: usize = 16 * 1024;

/// The number of connections that the kernel queues before they are accepted.
const BACKLOG: u32 = 1024;

/// The pause after a failed accept. The usual cause is a lack of file descriptors, which does not end at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The time limit of a connection of the [`ProbeReserve`].
const RESERVE_TIMEOUT: Duration = Duration::from_secs(5);

/// The response to a connection if a limit is reached and the reserve for probes is used up.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// A failure to listen on an address.
#[derive(Debug, Error)]
#[error("cannot listen on {address}")]
#[non_exhaustive]
pub struct ListenError {
    /// The address of the listener.
    pub address: SocketAddr,
    /// The error of the system.
    pub source: io::Error,
}

/// A bound listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    tls: Option<Tls>,
}

impl Listener {
    /// Binds an address. With port 0 the system chooses the port.
    ///
    /// `[::]` listens on IPv6 and IPv4, or on IPv4 alone if the system has no IPv6.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub fn bind(address: SocketAddr) -> Result<Self, ListenError> {
        let bound = Self::try_bind(address).or_else(|error| {
            let ipv4 = ipv4_fallback(address, &error).map(Self::try_bind);
            ipv4.and_then(Result::ok).ok_or(error)
        });
        bound.map_err(|source| ListenError { address, source })
    }

    fn try_bind(address: SocketAddr) -> io::Result<Self> {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            let socket = TcpSocket::new_v6()?;
            SockRef::from(&socket).set_only_v6(false)?;
            socket
        };
        socket.set_reuseaddr(true)?;
        socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
        socket.bind(address)?;
        let socket = socket.listen(BACKLOG)?;
        Ok(Self {
            address: canonical(socket.local_addr()?),
            socket,
            tls: None,
        })
    }

    /// Serves with TLS. A request without TLS is redirected to HTTPS, or gets 400.
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The bound address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts connections until `config.drain` is cancelled. Pending requests are completed then.
    pub async fn serve(self, router: Router, config: ServeConfig) {
        let tls = self.tls.map(|tls| {
            let plain_http = plain_http_router(tls.clone());
            (tls, plain_http)
        });
        let mut options = StreamOptions::inherited_from(&self.socket, config.dead_after);
        loop {
            let accepted = tokio::select! {
                () = config.drain.cancelled() => return,
                accepted = self.socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, client)) => {
                    options.complete(&stream);
                    let tls = tls.as_ref();
                    spawn_connection(stream, canonical(client), &router, tls, &config);
                }
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// The IPv4 replacement for `[::]` on a system without IPv6. `None` for other addresses, and if the port is
/// in use or not permitted.
fn ipv4_fallback(address: SocketAddr, error: &io::Error) -> Option<SocketAddr> {
    let is_port_error = matches!(
        error.kind(),
        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied
    );
    let is_any = address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    (is_any && !is_port_error).then(|| (Ipv4Addr::UNSPECIFIED, address.port()).into())
}

/// Converts the IPv4-mapped IPv6 address of an IPv4 client to its IPv4 address.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => (ip, address.port()).into(),
        // The original address keeps its scope id.
        IpAddr::V6(_) => address,
    }
}

/// Aborts the TCP connection of a request. Handlers need it for a client that does not read: an error in the body of
/// the response would not end that connection. Every request has one as an extension.
#[derive(Clone, Debug, Default)]
pub struct ConnectionAbort(CancellationToken);

impl ConnectionAbort {
    /// Aborts the connection.
    pub fn abort(&self) {
        self.0.cancel();
    }
}

/// The permit of the TCP connection of a request. Every request has one as an extension.
#[derive(Clone, Debug)]
pub struct ConnectionPermit(Weak<Permit>);

impl ConnectionPermit {
    /// Excludes the connection from the limit for its address, as [`Permit::uncount_address`] does.
    pub fn uncount_address(&self) {
        if let Some(permit) = self.0.upgrade() {
            permit.uncount_address();
        }
    }
}

/// The configuration of a [`Listener`].
#[derive(Clone, Debug)]
pub struct ServeConfig {
    /// The time limits of requests.
    pub timeouts: RequestTimeouts,
    /// The time after which a connection with unacknowledged data is aborted (`TCP_USER_TIMEOUT`).
    pub dead_after: Duration,
    /// The limits on the number of connections, including WebSocket connections.
    pub permits: Arc<PermitPool>,
    /// The rate limit of new connections.
    pub rates: Arc<AddressRates>,
    /// The metrics that count rejected connections.
    pub counters: Arc<Counters>,
    /// Logs rejected connections.
    pub refused: Arc<RefusedConnections>,
    /// Cancelled when the server shuts down.
    pub drain: CancellationToken,
    /// Tracks the tasks of connections.
    pub tasks: TaskTracker,
    /// The connections that are accepted for health probes when the limits are reached.
    pub reserve: ProbeReserve,
}

/// Connections beyond the limits for health probes, so that a load balancer does not remove a server that is
/// full. Each is closed after one request.
#[derive(Clone, Debug)]
pub struct ProbeReserve {
    /// The limits on the number of these connections.
    pub permits: Arc<PermitPool>,
    /// The service for these connections. Every request has the reached [`ConnectionLimit`] as an extension.
    pub router: Router,
}

/// An accepted connection with its permit.
struct AcceptedConnection {
    client: SocketAddr,
    permit: Arc<Permit>,
    router: Router,
    /// The reached limit, for a connection of the reserve.
    limit_reached: Option<ConnectionLimit>,
    /// The value of `Strict-Transport-Security`, for a connection with TLS.
    strict_transport: Option<HeaderValue>,
}

impl AcceptedConnection {
    /// Acquires a permit for a connection, from the reserve if a limit is reached.
    ///
    /// # Errors
    /// The reached limit, if the reserve is used up too, or if it is the rate of connections with TLS.
    fn admit(
        client: SocketAddr,
        router: &Router,
        is_tls: bool,
        config: &ServeConfig,
    ) -> Result<Self, ConnectionLimit> {
        let address = Some(client.ip());
        let charged = config.rates.try_charge(address, Instant::now());
        let charged = charged.map_err(|_| ConnectionLimit::Rate);
        let acquired = charged.and_then(|()| config.permits.try_acquire(address));
        let (permit, router, limit_reached) = match acquired {
            Ok(permit) => (permit, router, None),
            // A handshake costs more than a connection, so it is not made for a client that opens too many.
            Err(limit @ ConnectionLimit::Rate) if is_tls => return Err(limit),
            Err(limit_reached) => {
                let permit = config.reserve.permits.try_acquire(address)?;
                (permit, &config.reserve.router, Some(limit_reached))
            }
        };
        Ok(Self {
            client,
            permit: Arc::new(permit),
            router: router.clone(),
            limit_reached,
            strict_transport: None,
        })
    }
}

/// Spawns the task of a connection if a permit is available; refuses the connection otherwise. `tls` has the acceptor
/// and the service for requests without TLS.
fn spawn_connection(
    stream: TcpStream,
    client: SocketAddr,
    router: &Router,
    tls: Option<&(Tls, Router)>,
    config: &ServeConfig,
) {
    let accepted = match AcceptedConnection::admit(client, router, tls.is_some(), config) {
        Ok(accepted) => accepted,
        Err(limit) => {
            Counters::add(&config.counters.connections_refused_total, 1);
            let reason = RefusalReason::Limit(limit);
            config.refused.log(Some(client.ip()), reason);
            // A new connection has room for the response, so it is written without waiting. With TLS the client could
            // not read it.
            if tls.is_none() {
                drop(stream.try_write(FULL));
            }
            return;
        }
    };
    let (drain, timeouts) = (config.drain.clone(), config.timeouts);
    let is_reserve = accepted.limit_reached.is_some();
    match tls.cloned() {
        // A separate task type, so that tasks without TLS do not reserve memory for the TLS state.
        Some(tls) => {
            let counters = config.counters.clone();
            let refused = config.refused.clone();
            let handshake = TlsHandshake {
                tls,
                counters,
                refused,
            };
            let serve = move || handshake.serve_connection(stream, accepted, timeouts, drain);
            config.tasks.spawn(bounded(is_reserve, client, serve));
        }
        None => {
            let serve = move || serve_http(stream, accepted, timeouts, drain);
            config.tasks.spawn(bounded(is_reserve, client, serve));
        }
    }
}

/// Runs `serve`. A connection of the reserve for probes ends after [`RESERVE_TIMEOUT`].
async fn bounded<F: Future<Output = ()>>(
    is_reserve: bool,
    client: SocketAddr,
    serve: impl FnOnce() -> F,
) {
    if !is_reserve {
        return serve().await;
    }
    if timeout(RESERVE_TIMEOUT, serve()).await.is_err() {
        tracing::debug!(%client, "probe connection timed out");
    }
}

/// The pending TLS handshake of an accepted connection.
struct TlsHandshake {
    /// The acceptor, and the service for requests without TLS.
    tls: (Tls, Router),
    counters: Arc<Counters>,
    refused: Arc<RefusedConnections>,
}

impl TlsHandshake {
    /// Performs the handshake and serves the requests of the connection.
    async fn serve_connection(
        self,
        stream: TcpStream,
        mut accepted: AcceptedConnection,
        timeouts: RequestTimeouts,
        drain: CancellationToken,
    ) {
        let (tls, plain_http) = self.tls;
        let opened = tokio::select! {
            opened = tls.accept(stream, timeouts.head) => opened,
            () = drain.cancelled() => return,
        };
        match opened {
            Ok(Opening::Tls(stream)) => {
                accepted.strict_transport = tls.strict_transport();
                serve_http(stream, accepted, timeouts, drain).await;
            }
            Ok(Opening::PlainHttp(stream)) => {
                tracing::debug!(client = %accepted.client, "request without TLS");
                accepted.router = plain_http;
                serve_http(stream, accepted, timeouts, drain).await;
            }
            Ok(Opening::Ended) => {}
            Err(error) => {
                Counters::add(&self.counters.tls_handshakes_failed_total, 1);
                let client = accepted.client;
                tracing::debug!(%client, %error, "TLS handshake failed");
                self.refused.log(Some(client.ip()), RefusalReason::Tls);
            }
        }
    }
}

/// The socket options of accepted connections. On Linux a connection inherits them from the listening socket, which saves
/// five system calls for each.
struct StreamOptions {
    dead_after: Duration,
    /// The number of connections to come that may not have inherited the options.
    incomplete: usize,
}

impl StreamOptions {
    /// Sets the options on a listening socket. The connections that were established before do not have them; they are
    /// first in the kernel's queue.
    fn inherited_from(listener: &TcpListener, dead_after: Duration) -> Self {
        /// Connections in the full queue, and those that are being added to it.
        const QUEUED_MAX: usize = 2 * BACKLOG as usize;
        let is_set = set_options(&SockRef::from(listener), dead_after).is_ok();
        let incomplete = if cfg!(target_os = "linux") && is_set {
            QUEUED_MAX
        } else {
            usize::MAX
        };
        Self {
            dead_after,
            incomplete,
        }
    }

    /// Sets the options on an accepted connection that may not have inherited them.
    fn complete(&mut self, stream: &TcpStream) {
        if self.incomplete == 0 {
            return;
        }
        let socket = SockRef::from(stream);
        // In an emulation of Linux, such as gVisor, connections may not inherit the options.
        if self.incomplete == 1 && !socket.keepalive().unwrap_or_default() {
            self.incomplete = usize::MAX;
        }
        drop(set_options(&socket, self.dead_after));
        if self.incomplete != usize::MAX {
            self.incomplete -= 1;
        }
    }
}

fn set_options(socket: &SockRef<'_>, dead_after: Duration) -> io::Result<()> {
    // Frames are whole messages, so Nagle's algorithm would only delay them.
    let undelayed = socket.set_tcp_nodelay(true);
    set_user_timeout(socket, dead_after).and(undelayed)
}

/// Sets the time after which a connection is aborted if the client does not acknowledge data.
#[cfg(target_os = "linux")]
fn set_user_timeout(socket: &SockRef<'_>, dead_after: Duration) -> io::Result<()> {
    socket.set_tcp_user_timeout(Some(dead_after))?;
    // Keep-alive probes detect a dead client of an idle event stream.
    let interval = dead_after / 3;
    socket.set_tcp_keepalive(
        &socket2::TcpKeepalive::new()
            .with_time(interval)
            .with_interval(interval),
    )
}

#[cfg(not(target_os = "linux"))]
fn set_user_timeout(_socket: &SockRef<'_>, _dead_after: Duration) -> io::Result<()> {
    Ok(())
}

/// Serves the HTTP requests of one connection.
async fn serve_http<S>(
    stream: S,
    accepted: AcceptedConnection,
    timeouts: RequestTimeouts,
    drain: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let AcceptedConnection {
        client,
        permit,
        router,
        limit_reached,
        strict_transport,
    } = accepted;
    let (abort, activity) = (ConnectionAbort::default(), RequestActivity::default());
    let (aborted, response_activity) = (abort.0.clone(), activity.clone());
    let stream = TimedStream::new(stream, timeouts, activity.clone());
    let connection_permit = ConnectionPermit(Arc::downgrade(&permit));
    let service = router.map_request(move |mut request: hyper::Request<hyper::body::Incoming>| {
        activity.begin();
        request.extensions_mut().insert(ConnectInfo(client));
        request.extensions_mut().insert(abort.clone());
        request.extensions_mut().insert(connection_permit.clone());
        limit_reached.map(|limit_reached| request.extensions_mut().insert(limit_reached));
        request.map(axum::body::Body::new)
    });
    let service = service.map_response(move |mut response| {
        add_strict_transport(&mut response, strict_transport.as_ref());
        response_activity.until_end_of(response)
    });
    let mut http = http1::Builder::new();
    http.max_buf_size(HEAD_BYTES)
        .header_read_timeout(None)
        .keep_alive(limit_reached.is_none());
    let connection = http
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = &mut connection => served,
        () = aborted.cancelled() => return,
        () = drain.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                served = &mut connection => served,
                () = aborted.cancelled() => return,
            }
        }
    };
    if let Err(error) = served {
        tracing::debug!(%client, %error, "HTTP connection failed");
    }
}

/// Tells browsers to use only HTTPS for the host (RFC 6797, section 7.1). Browsers do not read the header of a WebSocket
/// handshake.
fn add_strict_transport(response: &mut Response, value: Option<&HeaderValue>) {
    if let Some(value) = value
        && response.status() != StatusCode::SWITCHING_PROTOCOLS
    {
        let name = header::STRICT_TRANSPORT_SECURITY;
        response.headers_mut().insert(name, value.clone());
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt as _, sync::mpsc};
    use tokio_rustls::{
        TlsConnector,
        rustls::{ClientConfig, RootCertStore, ServerConfig, crypto::ring},
    };

    use super::*;

    #[test]
    fn the_ipv4_fallback_applies_only_without_ipv6() {
        let error = |kind: io::ErrorKind| io::Error::from(kind);
        let any: SocketAddr = "[::]:80".parse().expect("an address");
        for kind in [io::ErrorKind::Unsupported, io::ErrorKind::AddrNotAvailable] {
            let fallback = ipv4_fallback(any, &error(kind));
            assert_eq!(fallback, Some("0.0.0.0:80".parse().expect("an address")));
        }
        for kind in [io::ErrorKind::AddrInUse, io::ErrorKind::PermissionDenied] {
            assert_eq!(ipv4_fallback(any, &error(kind)), None);
        }
        for other in ["[::1]:80", "127.0.0.1:80", "0.0.0.0:80"] {
            let other = other.parse().expect("an address");
            assert_eq!(
                ipv4_fallback(other, &error(io::ErrorKind::Unsupported)),
                None
            );
        }
    }

    #[test]
    fn a_mapped_address_of_an_ipv6_socket_is_converted_to_ipv4() {
        for (accepted, known) in [
            ("[::ffff:192.0.2.1]:5", "192.0.2.1:5"),
            ("[2001:db8::1]:5", "[2001:db8::1]:5"),
            ("192.0.2.1:5", "192.0.2.1:5"),
        ] {
            let address = canonical(accepted.parse().expect("an address"));
            assert_eq!(address.to_string(), known);
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn accepted_connections_have_all_options_whether_they_came_before_or_after() {
        let dead_after = Duration::from_secs(60);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let before = TcpStream::connect(address).await.expect("a connection");
        let mut options = StreamOptions::inherited_from(&listener, dead_after);
        let after = TcpStream::connect(address).await.expect("a connection");
        for inherits in [false, true] {
            let (stream, _) = listener.accept().await.expect("a connection");
            if inherits {
                options.incomplete = 0;
            }
            options.complete(&stream);
            let socket = SockRef::from(&stream);
            assert!(socket.tcp_nodelay().expect("an option"));
            assert!(socket.keepalive().expect("an option"));
            let timeout = socket.tcp_user_timeout().expect("an option");
            assert_eq!(timeout, Some(dead_after));
            for interval in [socket.tcp_keepalive_time(), socket.tcp_keepalive_interval()] {
                assert_eq!(interval.expect("an option"), dead_after / 3);
            }
        }
        drop((before, after));
    }

    const HANDSHAKE: &[u8] = b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

    const NO_TIMEOUTS: RequestTimeouts = RequestTimeouts {
        head: Duration::ZERO,
        idle: Duration::ZERO,
    };

    /// An accepted connection whose requests are upgraded. The socket, or `None` after a failed upgrade, is sent to the
    /// channel.
    fn upgraded_connection(
        address: SocketAddr,
    ) -> (AcceptedConnection, mpsc::Receiver<Option<crate::Socket>>) {
        let (sender, streams) = mpsc::channel(1);
        let handler = move |upgrade: crate::Upgrade| async move {
            let (response, connecting) = upgrade.accept(0);
            tokio::spawn(async move { sender.send(connecting.socket().await).await });
            response
        };
        let permits = PermitPool::new(0, 0, Vec::new());
        let accepted = AcceptedConnection {
            client: address,
            permit: Arc::new(permits.try_acquire(None).expect("no limit")),
            router: Router::new().route("/", axum::routing::get(handler)),
            limit_reached: None,
            strict_transport: None,
        };
        (accepted, streams)
    }

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let client = TcpStream::connect(address).await.expect("a connection");
        (client, listener.accept().await.expect("a connection").0)
    }

    fn tls() -> (Tls, TlsConnector) {
        let provider = Arc::new(ring::default_provider());
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]);
        let certificate = params.expect("a name").self_signed(&key).expect("it signs");
        let certificate = certificate.der().clone();
        let key = key.serialize_der().try_into().expect("a key");
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key);
        let mut roots = RootCertStore::empty();
        roots.add(certificate).expect("a root");
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let server = Tls::new(server.expect("a certificate"));
        (server, TlsConnector::from(Arc::new(client)))
    }

    /// With hyper's `Upgraded` stream, a WebSocket connection would keep hyper's buffers and copy all data through its
    /// layers.
    #[tokio::test]
    async fn a_websocket_without_tls_uses_the_tcp_stream_directly() {
        let (mut client, stream) = pair().await;
        let (accepted, mut streams) = upgraded_connection(stream.local_addr().expect("bound"));
        let drain = CancellationToken::new();
        tokio::spawn(serve_http(stream, accepted, NO_TIMEOUTS, drain));
        client.write_all(HANDSHAKE).await.expect("the server reads");
        let socket = streams.recv().await.expect("an answer");
        assert!(socket.expect("an upgrade").is_plain_tcp());
    }

    #[tokio::test]
    async fn a_websocket_with_tls_uses_the_tls_stream_directly() {
        let (client, stream) = pair().await;
        let (tls, connector) = tls();
        let (accepted, mut streams) = upgraded_connection(stream.local_addr().expect("bound"));
        tokio::spawn(async move {
            let opened = tls.accept(stream, Duration::ZERO).await;
            let Ok(Opening::Tls(stream)) = opened else {
                panic!("expected a TLS handshake, got {opened:?}");
            };
            serve_http(stream, accepted, NO_TIMEOUTS, CancellationToken::new()).await;
        });
        let name = "localhost".try_into().expect("a name");
        let client = connector.connect(name, client).await;
        let mut client = client.expect("a handshake");
        client.write_all(HANDSHAKE).await.expect("the server reads");
        let socket = streams.recv().await.expect("an answer");
        assert!(socket.expect("an upgrade").is_tls());
    }

    #[tokio::test(start_paused = true)]
    async fn the_tls_handshake_has_the_timeout_of_a_request_head() {
        let (tls, _) = tls();
        for first in [&b""[..], &[22, 3, 1]] {
            let (mut client, stream) = pair().await;
            client.write_all(first).await.expect("the server reads");
            let begun = tokio::time::Instant::now();
            let opened = tls.accept(stream, Duration::from_secs(10)).await;
            let error = opened.expect_err("no handshake");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert_eq!(begun.elapsed().as_secs(), 10);
        }
    }
}

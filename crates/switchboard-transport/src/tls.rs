//! TLS of a listener: its certificate, and the handshake.

use std::{fmt, io, sync::Arc, time::Duration};

use axum::http::HeaderValue;
use parking_lot::RwLock;
use tokio::{io::AsyncWriteExt as _, net::TcpStream, time::timeout};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

/// The stream of a connection after its TLS handshake.
pub(crate) type TlsStream = tokio_rustls::server::TlsStream<TcpStream>;

/// The only protocol that is served over TLS (RFC 7301, section 6).
const HTTP1: &[u8] = b"http/1.1";

/// The protocol of a connection by which an ACME server verifies a name (RFC 8737, section 6.2).
pub const ACME_TLS_PROTOCOL: &[u8] = b"acme-tls/1";

/// Whether a host, given without its port, is a name of the server.
pub type HostFilter = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// The certificates of a listener with TLS, and what it tells clients about HTTPS.
#[derive(Clone)]
pub struct TlsSetup {
    /// The certificate and the versions. Its ALPN protocols are replaced by HTTP/1.1, and [`ACME_TLS_PROTOCOL`] if that
    /// was one of them.
    pub config: ServerConfig,
    /// The hosts to which a request without TLS is redirected; `None` for every host.
    pub hosts: Option<HostFilter>,
    /// The seconds for which a browser uses only HTTPS for the host (`Strict-Transport-Security`); 0 for no header.
    pub hsts_secs: u64,
}

impl From<ServerConfig> for TlsSetup {
    fn from(config: ServerConfig) -> Self {
        Self {
            config,
            hosts: None,
            hsts_secs: 0,
        }
    }
}

impl fmt::Debug for TlsSetup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSetup")
            .field("hsts_secs", &self.hsts_secs)
            .finish_non_exhaustive()
    }
}

/// The TLS acceptor of a listener. Clones share the certificate.
#[derive(Clone)]
pub struct Tls(Arc<RwLock<Current>>);

/// The setup of new connections.
struct Current {
    acceptor: TlsAcceptor,
    hosts: Option<HostFilter>,
    strict_transport: Option<HeaderValue>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// TLS with this setup, or with a configuration alone.
    #[must_use]
    pub fn new(setup: impl Into<TlsSetup>) -> Self {
        Self(Arc::new(RwLock::new(Current::new(setup.into()))))
    }

    /// Replaces the setup for new connections.
    pub fn replace(&self, setup: impl Into<TlsSetup>) {
        let new = Current::new(setup.into());
        *self.0.write() = new;
    }

    /// Whether a request without TLS for this host is redirected.
    pub(crate) fn is_host(&self, host: &str) -> bool {
        let hosts = self.0.read().hosts.clone();
        hosts.is_none_or(|is_host| is_host(host))
    }

    /// The value of `Strict-Transport-Security`.
    pub(crate) fn strict_transport(&self) -> Option<HeaderValue> {
        self.0.read().strict_transport.clone()
    }

    fn acceptor(&self) -> TlsAcceptor {
        self.0.read().acceptor.clone()
    }

    /// Waits for the first byte from the client and performs the handshake, both within `time` (zero: no
    /// limit).
    ///
    /// # Errors
    /// If the handshake fails, or `TimedOut` if it takes longer.
    pub(crate) async fn accept(&self, stream: TcpStream, time: Duration) -> io::Result<Opening> {
        let opening = self.open(stream);
        if time.is_zero() {
            return opening.await;
        }
        let opened = timeout(time, opening).await;
        opened.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn open(&self, stream: TcpStream) -> io::Result<Opening> {
        let mut first = [0];
        if stream.peek(&mut first).await? == 0 {
            return Ok(Opening::Ended);
        }
        // A TLS record begins with its type, which is 22 for a handshake; an HTTP request with a letter.
        if first[0].is_ascii_alphabetic() {
            return Ok(Opening::PlainHttp(stream));
        }
        let mut stream = self.acceptor().accept(stream).await?;
        if stream.get_ref().1.alpn_protocol() == Some(ACME_TLS_PROTOCOL) {
            // The ACME server has seen the certificate, and sends no data (RFC 8737, section 3).
            stream.shutdown().await?;
            return Ok(Opening::Ended);
        }
        Ok(Opening::Tls(Box::new(stream)))
    }
}

impl Current {
    fn new(setup: TlsSetup) -> Self {
        let mut config = setup.config;
        let offered = &mut config.alpn_protocols;
        let has_acme = offered.iter().any(|name| name == ACME_TLS_PROTOCOL);
        *offered = vec![HTTP1.to_vec()];
        offered.extend(has_acme.then(|| ACME_TLS_PROTOCOL.to_vec()));
        let header = || HeaderValue::from_str(&format!("max-age={}", setup.hsts_secs)).ok();
        Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            hosts: setup.hosts,
            strict_transport: (setup.hsts_secs > 0).then(header).flatten(),
        }
    }
}

/// The result of reading the first bytes of a connection to a listener with TLS.
#[derive(Debug)]
pub(crate) enum Opening {
    /// The TLS handshake is complete.
    Tls(Box<TlsStream>),
    /// The client sends an HTTP request without TLS.
    PlainHttp(TcpStream),
    /// The client closed the connection without sending a byte, as a health check of the port does; or it was an ACME
    /// server, which only needs the certificate.
    Ended,
}

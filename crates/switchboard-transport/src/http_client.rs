//! Outbound HTTP/1.1: pooled connections for short requests, and a dedicated connection for each stream.

use std::{
    error::Error,
    io,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    body::Body,
    http::{HeaderValue, Request, Response, Uri, header},
};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{body::Incoming, client::conn::http1};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::timeout;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio_util::task::AbortOnDropHandle;
use tower::ServiceExt;

/// Maximum bytes of a response's head to a pooled request. Cookies of web frameworks are the largest part.
pub const RESPONSE_HEAD_MAX: usize = 32 * 1024;

/// Idle connections that are kept to each host.
const IDLE_CONNECTIONS: usize = 32;

/// Time after which an idle connection is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Time in which a dedicated connection must be open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Maximum bytes of a response's head, and of one read, on a dedicated connection.
const STREAM_READ_BYTES: usize = 16 * 1024;

/// Size of the kernel's buffers of a dedicated connection, in bytes. Small, so that the sender of a stream soon
/// notices a receiver that does not read.
const STREAM_KERNEL_BYTES: usize = 64 * 1024;

/// The reason why a request could not be sent, or has no response.
#[derive(Debug, thiserror::Error)]
pub enum HttpClientError {
    /// The scheme of the URL is not supported.
    #[error("the URL begins with neither http:// nor https://")]
    UnknownScheme,
    /// This machine has no usable root certificates.
    #[error("no root certificates to verify a server with")]
    NoRootCertificates(#[source] Arc<io::Error>),
    /// A pooled request failed.
    #[error(transparent)]
    Request(#[from] legacy::Error),
    /// No connection could be opened.
    #[error("cannot connect")]
    Connect(#[source] Box<dyn Error + Send + Sync>),
    /// The connection is not open in time.
    #[error("connection timed out")]
    ConnectTimedOut,
    /// The HTTP connection could not be begun.
    #[error(transparent)]
    Handshake(#[from] hyper::Error),
}

impl HttpClientError {
    /// Whether a request without side effects should be sent again: its pooled connection may have been closed just
    /// as it was reused.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Request(error) => !error.is_connect(),
            Self::UnknownScheme
            | Self::NoRootCertificates(_)
            | Self::Connect(_)
            | Self::ConnectTimedOut
            | Self::Handshake(_) => false,
        }
    }
}

type SecureConnector = HttpsConnector<HttpConnector>;

/// A client of HTTP servers. Redirects are not followed. HTTPS servers are verified by the root certificates of this
/// machine, which are loaded before the first HTTPS request.
#[derive(Debug)]
pub struct HttpClient {
    connector: HttpConnector,
    secure_connector: OnceLock<Result<SecureConnector, Arc<io::Error>>>,
    plain_pool: OnceLock<Client<HttpConnector, Full<Bytes>>>,
    secure_pool: OnceLock<Client<SecureConnector, Full<Bytes>>>,
}

impl Default for HttpClient {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.enforce_http(false);
        Self::over(connector)
    }
}

impl HttpClient {
    /// A client that verifies HTTPS servers by these root certificates, and not by those of this machine.
    #[must_use]
    pub fn trusting(roots: RootCertStore) -> Self {
        let client = Self::default();
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring supports TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let builder = HttpsConnectorBuilder::new().with_tls_config(config);
        let builder = builder.https_only().enable_http1();
        let connector = builder.wrap_connector(client.connector.clone());
        Self {
            secure_connector: OnceLock::from(Ok(connector)),
            ..client
        }
    }

    fn over(connector: HttpConnector) -> Self {
        Self {
            connector,
            secure_connector: OnceLock::new(),
            plain_pool: OnceLock::new(),
            secure_pool: OnceLock::new(),
        }
    }

    /// A client for [`HttpClient::open`], with small kernel buffers. A server that vanishes without closing its
    /// connection is noticed within `dead_after`.
    #[must_use]
    pub fn for_streams(dead_after: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_recv_buffer_size(Some(STREAM_KERNEL_BYTES));
        connector.set_send_buffer_size(Some(STREAM_KERNEL_BYTES));
        connector.set_keepalive(Some(dead_after / 3));
        connector.set_keepalive_interval(Some(dead_after / 3));
        #[cfg(target_os = "linux")]
        connector.set_tcp_user_timeout(Some(dead_after));
        Self::over(connector)
    }

    /// Checks the scheme of a URL, and loads the root certificates if it needs them.
    ///
    /// # Errors
    /// `UnknownScheme`, `NoRootCertificates`: no request to this URL can be sent.
    pub fn prepare(&self, uri: &Uri) -> Result<(), HttpClientError> {
        if self.is_secure(uri)? {
            self.secure_connector()?;
        }
        Ok(())
    }

    /// Sends a request on a pooled connection and waits for the head of the response. There is no timeout: dropping
    /// the future cancels the request.
    ///
    /// # Errors
    /// If there is no response, or its head has more than [`RESPONSE_HEAD_MAX`] bytes.
    pub async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, HttpClientError> {
        let agent = concat!("switchboard/", env!("CARGO_PKG_VERSION"));
        let agent = HeaderValue::from_static(agent);
        request.headers_mut().insert(header::USER_AGENT, agent);
        let response = if self.is_secure(request.uri())? {
            let connector = self.secure_connector()?;
            let pool = self.secure_pool.get_or_init(|| pool().build(connector));
            pool.request(request)
        } else {
            let connector = || self.connector.clone();
            let pool = self.plain_pool.get_or_init(|| pool().build(connector()));
            pool.request(request)
        };
        Ok(response.await?)
    }

    /// Opens a dedicated connection to the host of `uri`, for one request with a body of any length.
    ///
    /// # Errors
    /// If no connection is open within two seconds.
    pub async fn open(&self, uri: &Uri) -> Result<HttpConnection, HttpClientError> {
        let connecting = async {
            if self.is_secure(uri)? {
                let stream = self.secure_connector()?.oneshot(uri.clone()).await;
                HttpConnection::begin(stream.map_err(HttpClientError::Connect)?).await
            } else {
                let stream = self.connector.clone().oneshot(uri.clone()).await;
                let stream = stream.map_err(|error| HttpClientError::Connect(error.into()))?;
                HttpConnection::begin(stream).await
            }
        };
        let connected = timeout(CONNECT_TIMEOUT, connecting).await;
        connected.unwrap_or(Err(HttpClientError::ConnectTimedOut))
    }

    fn is_secure(&self, uri: &Uri) -> Result<bool, HttpClientError> {
        match uri.scheme_str() {
            Some("http") => Ok(false),
            Some("https") => Ok(true),
            Some(_) | None => Err(HttpClientError::UnknownScheme),
        }
    }

    fn secure_connector(&self) -> Result<SecureConnector, HttpClientError> {
        let make = || {
            let builder = HttpsConnectorBuilder::new().with_native_roots();
            let builder = builder.map_err(Arc::new)?.https_only().enable_http1();
            Ok(builder.wrap_connector(self.connector.clone()))
        };
        let connector = self.secure_connector.get_or_init(make).clone();
        connector.map_err(HttpClientError::NoRootCertificates)
    }
}

fn pool() -> legacy::Builder {
    let mut pool = Client::builder(TokioExecutor::new());
    pool.pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .http1_max_buf_size(RESPONSE_HEAD_MAX);
    pool
}

/// A connection for one request and its response, which may be an upgrade. It closes when it is dropped.
#[derive(Debug)]
pub struct HttpConnection {
    sender: http1::SendRequest<Body>,
    /// The task that reads and writes the connection.
    _task: AbortOnDropHandle<()>,
}

impl HttpConnection {
    async fn begin<I>(io: I) -> Result<Self, HttpClientError>
    where
        I: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
    {
        let mut http = http1::Builder::new();
        let handshake = http.max_buf_size(STREAM_READ_BYTES).handshake(io);
        let (sender, connection) = handshake.await?;
        let task = tokio::spawn(async move {
            // An error of the connection is reported by the response or its body too.
            drop(connection.with_upgrades().await);
        });
        Ok(Self {
            sender,
            _task: AbortOnDropHandle::new(task),
        })
    }

    /// Sends the request and waits for the head of the response. The request needs a `Host` header; only the path and
    /// query of its URL are sent.
    ///
    /// # Errors
    /// If the server closes the connection before it responds, or the body of the request ends with an error
    /// ([`hyper::Error::is_user`]).
    pub async fn send(
        &mut self,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(Uri::default, Uri::from);
        self.sender.send_request(request).await
    }
}

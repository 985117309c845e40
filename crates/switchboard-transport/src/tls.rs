//! TLS of a listener: the handshake, and the answer to a client that sends plain HTTP to the listener.

use std::{fmt, io, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::Request,
    http::{HeaderValue, Method, StatusCode, Uri, header, uri::Authority},
    response::{IntoResponse, Response},
};
use parking_lot::RwLock;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

use crate::upgrade;

/// The stream of a connection after its TLS handshake.
pub(crate) type TlsStream = tokio_rustls::server::TlsStream<TcpStream>;

/// The only protocol that is served over TLS (RFC 7301, section 6).
const HTTP1: &[u8] = b"http/1.1";

/// The TLS acceptor of a listener. Clones share the certificate.
#[derive(Clone)]
pub struct Tls(Arc<RwLock<TlsAcceptor>>);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// TLS with this configuration. Its ALPN protocols are replaced by HTTP/1.1.
    #[must_use]
    pub fn new(config: ServerConfig) -> Self {
        Self(Arc::new(RwLock::new(acceptor(config))))
    }

    /// Replaces the configuration for new connections.
    pub fn replace(&self, config: ServerConfig) {
        *self.0.write() = acceptor(config);
    }

    fn acceptor(&self) -> TlsAcceptor {
        let acceptor = self.0.read();
        acceptor.clone()
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
        let stream = self.acceptor().accept(stream).await?;
        Ok(Opening::Tls(Box::new(stream)))
    }
}

fn acceptor(mut config: ServerConfig) -> TlsAcceptor {
    config.alpn_protocols = vec![HTTP1.to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

/// The result of reading the first bytes of a connection to a listener with TLS.
#[derive(Debug)]
pub(crate) enum Opening {
    /// The TLS handshake is complete.
    Tls(Box<TlsStream>),
    /// The client sends an HTTP request without TLS.
    PlainHttp(TcpStream),
    /// The client closed the connection without sending a byte, as a health check of the port does.
    Ended,
}

/// The service for requests without TLS on a listener with TLS. Each connection is closed after one request.
pub(crate) fn plain_http_router() -> Router {
    Router::new().fallback(answer_plain_http)
}

/// Redirects GET and HEAD requests to HTTPS. Other requests and WebSocket handshakes get 400, because
/// clients do not repeat them after a redirect.
async fn answer_plain_http(request: Request) -> Response {
    let is_redirectable = matches!(*request.method(), Method::GET | Method::HEAD)
        && !upgrade::is_requested(request.headers());
    let url = https_url(&request);
    let shown = url.as_deref().unwrap_or("https://…");
    let text = format!("This port speaks HTTPS: use {shown} (and wss:// for WebSocket).\n");
    let location = url.as_deref().map(HeaderValue::from_str);
    let mut response = match location {
        Some(Ok(location)) if is_redirectable => {
            let location = [(header::LOCATION, location)];
            (StatusCode::TEMPORARY_REDIRECT, location, text).into_response()
        }
        Some(_) | None => (StatusCode::BAD_REQUEST, text).into_response(),
    };
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

/// The URL of a request with the scheme `https`. `None` unless the request has a target with a path and exactly one
/// `Host` header with a host and an optional port. So a redirect always goes to the requested host.
fn https_url(request: &Request) -> Option<String> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next().filter(|_| hosts.next().is_none())?;
    let host: Authority = host.to_str().ok()?.parse().ok()?;
    let path = path_of(request.uri())?;
    is_host(&host).then(|| format!("https://{host}{path}"))
}

/// The path and query of a target; `None` for the targets `*` and `HOST:PORT`, which have no path.
fn path_of(target: &Uri) -> Option<&str> {
    let path = target.path_and_query()?.as_str();
    path.starts_with('/').then_some(path)
}

/// Whether an authority is a host with an optional port, without user information.
fn is_host(authority: &Authority) -> bool {
    let host = authority.host();
    let rest = authority.as_str().strip_prefix(host);
    let has_port = authority.port_u16().is_some();
    !host.is_empty() && rest.is_some_and(|rest| rest.is_empty() || has_port)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn url(host: &str, target: &str) -> Option<String> {
        let request = Request::builder().uri(target).header(header::HOST, host);
        https_url(&request.body(Body::empty()).expect("a request"))
    }

    #[test]
    fn the_https_url_has_the_requested_host_and_path() {
        for (host, target, expected) in [
            ("a.example:8080", "/", "https://a.example:8080/"),
            ("[::1]:80", "/voice?x=1#y", "https://[::1]:80/voice?x=1"),
            ("192.0.2.1", "http://other/p", "https://192.0.2.1/p"),
        ] {
            assert_eq!(url(host, target).as_deref(), Some(expected));
        }
        for host in [
            "",
            "a b",
            "user@host",
            "host/path",
            "host:",
            "host:x",
            "host:99999",
            ":80",
            "[::1]a",
        ] {
            assert_eq!(url(host, "/"), None, "{host}");
        }
        // `*` is not a path; appended to a host it would become a part of the host.
        for target in ["*", "other:443"] {
            assert_eq!(url("a.example", target), None, "{target}");
        }
    }

    #[test]
    fn a_plain_request_with_two_host_headers_has_no_https_url() {
        let request = Request::builder().header(header::HOST, "a.example");
        let request = request.header(header::HOST, "b.example");
        let request = request.body(Body::empty()).expect("a request");
        assert_eq!(https_url(&request), None);
    }
}

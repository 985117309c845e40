//! Connections to web services: a website that vouches for users, a service that is asked about a client.

use std::{error::Error, time::Duration};

use axum::http::{Request, header};
use bytes::Buf;
use hyper::body::Body;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, Client, ResponseFuture, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};

/// Head of an answer: cookies of frameworks, at most.
pub(crate) const HEAD_MAX: usize = 32 * 1024;

/// Connections kept for later requests, and for how long nobody needs to use them.
const IDLE_CONNECTIONS: usize = 32;
const IDLE: Duration = Duration::from_secs(30);

/// Connections for requests with bodies of this kind. Without TLS no root certificates are needed on
/// this machine.
pub(crate) enum HttpClient<B> {
    Plain(Client<HttpConnector, B>),
    Secure(Client<HttpsConnector<HttpConnector>, B>),
}

impl<B> HttpClient<B>
where
    B: Body<Data: Buf + Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
{
    pub(crate) fn plain() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self::Plain(pool().build(connector))
    }

    /// # Errors
    /// In words, if this machine has no root certificates.
    pub(crate) fn secure() -> Result<Self, String> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_native_roots()
            .map_err(|error| format!("no root certificates to know a site by: {error}"))?
            .https_only()
            .enable_http1()
            .wrap_connector(connector);
        Ok(Self::Secure(pool().build(connector)))
    }

    /// Sends a request. Redirections are not followed.
    pub(crate) fn send(&self, mut request: Request<B>) -> ResponseFuture {
        let agent = concat!("switchboard/", env!("CARGO_PKG_VERSION"));
        let agent = header::HeaderValue::from_static(agent);
        request.headers_mut().insert(header::USER_AGENT, agent);
        match self {
            Self::Plain(pool) => pool.request(request),
            Self::Secure(pool) => pool.request(request),
        }
    }
}

fn pool() -> legacy::Builder {
    let mut pool = Client::builder(TokioExecutor::new());
    pool.pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .http1_max_buf_size(HEAD_MAX);
    pool
}

/// An error and what it came from.
pub(crate) fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

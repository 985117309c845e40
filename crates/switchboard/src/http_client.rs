//! HTTP client for web services: the website that authenticates voice users, and the webhooks.

use std::{error::Error, time::Duration};

use axum::http::{Request, header};
use bytes::Buf;
use hyper::body::Body;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, Client, ResponseFuture, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};

/// Bytes of a response's head. Cookies of web frameworks are the largest part.
pub(crate) const HEAD_MAX: usize = 32 * 1024;

/// Idle connections that are kept to each host.
const IDLE_CONNECTIONS: usize = 32;

/// Time after which an idle connection is closed.
const IDLE: Duration = Duration::from_secs(30);

/// A client for requests with bodies of type `B`. The plain one needs no root certificates on this machine.
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
    /// If this machine has no root certificates: the error text.
    pub(crate) fn secure() -> Result<Self, String> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_native_roots()
            .map_err(|error| format!("no root certificates to verify a website with: {error}"))?
            .https_only()
            .enable_http1()
            .wrap_connector(connector);
        Ok(Self::Secure(pool().build(connector)))
    }

    /// Sends a request. Redirects are not followed.
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

/// The text of an error and its sources, separated by colons.
pub(crate) fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

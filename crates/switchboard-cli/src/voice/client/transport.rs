//! HTTP connections to a server.

use std::{io, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::Request;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, ResponseFuture, connect::HttpConnector},
    rt::TokioExecutor,
};

use super::tls::{NO_ROOTS, Trust};

/// Timeout for connecting.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The body of a request: empty, or audio.
pub(super) type RequestBody = UnsyncBoxBody<Bytes, io::Error>;

type HttpPool<C> = Client<C, RequestBody>;

/// A connection pool, with or without TLS. Without TLS, no root certificates are loaded.
pub(super) enum VoiceTransport {
    Plain(HttpPool<HttpConnector>),
    Secure(HttpPool<HttpsConnector<HttpConnector>>),
}

impl VoiceTransport {
    pub(super) fn plain() -> Self {
        Self::Plain(Client::builder(TokioExecutor::new()).build(connector()))
    }

    pub(super) fn secure(trust: &Trust) -> anyhow::Result<Self> {
        let mut connector = connector();
        connector.enforce_http(false);
        let builder = HttpsConnectorBuilder::new();
        let builder = match trust.config()? {
            Some(config) => builder.with_tls_config(config),
            None => builder.with_native_roots().context(NO_ROOTS)?,
        };
        let connector = builder
            .https_only()
            .enable_http1()
            .wrap_connector(connector);
        Ok(Self::Secure(
            Client::builder(TokioExecutor::new()).build(connector),
        ))
    }

    pub(super) fn request(&self, request: Request<RequestBody>) -> ResponseFuture {
        match self {
            Self::Plain(pool) => pool.request(request),
            Self::Secure(pool) => pool.request(request),
        }
    }
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(TIMEOUT));
    connector
}

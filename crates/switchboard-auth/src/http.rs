//! HTTP requests of authenticators. This crate has no sockets: the server sends the requests.

use std::{fmt, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, StatusCode};
use thiserror::Error;

/// A request to a service of the operator.
#[derive(Clone, Debug)]
pub struct FetchRequest {
    /// The method of the request.
    pub method: Method,
    /// The URL, with the scheme `http` or `https`.
    pub url: String,
    /// The headers in addition to those that every request has.
    pub headers: HeaderMap,
    /// The body; empty for none.
    pub body: Bytes,
    /// The time for the whole response.
    pub timeout: Duration,
    /// The bytes of the body of a response. A longer one is an error.
    pub response_bytes_max: usize,
}

/// The response of a service of the operator, with any status. Redirects are not followed.
#[derive(Clone, Debug)]
pub struct FetchResponse {
    /// The status of the response.
    pub status: StatusCode,
    /// The headers of the response.
    pub headers: HeaderMap,
    /// The body of the response.
    pub body: Bytes,
}

/// The reason why there is no response.
#[derive(Debug, Error)]
pub enum FetchError {
    /// The response is not complete in time.
    #[error("no response in {0:?}")]
    TimedOut(Duration),
    /// The body of the response is too long.
    #[error("the response has more than {0} bytes")]
    TooLong(usize),
    /// The request cannot be sent, or the response cannot be read.
    #[error(transparent)]
    Failed(Box<dyn std::error::Error + Send + Sync>),
}

/// The response of a request, or the reason why there is none.
pub type FetchResult = Result<FetchResponse, FetchError>;

/// Sends HTTP requests.
pub trait HttpFetch: fmt::Debug + Send + Sync {
    /// Sends a request. Dropping the future cancels it.
    fn fetch(&self, request: FetchRequest) -> BoxFuture<'_, FetchResult>;

    /// Runs a future in the background until it is complete. Outside a runtime it is dropped.
    fn run_detached(&self, future: BoxFuture<'static, ()>);
}

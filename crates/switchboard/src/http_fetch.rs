//! Outgoing HTTP requests with short responses: to webhooks and to the services of authenticators.

use std::error::Error;

use axum::http::{HeaderMap, HeaderValue, Request, Uri};
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use switchboard_auth::{FetchError, FetchRequest, FetchResponse, FetchResult, HttpFetch};
use switchboard_transport::HttpClient;
use tokio::{runtime::Handle, time::timeout};

/// Sends requests on pooled connections. Redirects are not followed.
#[derive(Debug, Default)]
pub(crate) struct HttpFetcher(HttpClient);

impl HttpFetch for HttpFetcher {
    fn fetch(&self, request: FetchRequest) -> BoxFuture<'_, FetchResult> {
        let time = request.timeout;
        Box::pin(async move {
            let fetched = timeout(time, self.send(request)).await;
            fetched.unwrap_or(Err(FetchError::TimedOut(time)))
        })
    }

    fn run_detached(&self, future: BoxFuture<'static, ()>) {
        if let Ok(runtime) = Handle::try_current() {
            drop(runtime.spawn(future));
        }
    }
}

impl HttpFetcher {
    async fn send(&self, fetch: FetchRequest) -> FetchResult {
        let mut request = Request::new(Full::new(fetch.body));
        *request.method_mut() = fetch.method;
        *request.uri_mut() = Uri::try_from(fetch.url.as_str()).map_err(failed)?;
        *request.headers_mut() = fetch.headers;
        let (head, body) = self.0.send(request).await.map_err(failed)?.into_parts();
        let body = Limited::new(body, fetch.response_bytes_max).collect().await;
        let body = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => FetchError::TooLong(fetch.response_bytes_max),
            false => FetchError::Failed(error),
        })?;
        Ok(FetchResponse {
            status: head.status,
            headers: head.headers,
            body: body.to_bytes(),
        })
    }
}

fn failed(error: impl Error + Send + Sync + 'static) -> FetchError {
    FetchError::Failed(Box::new(error))
}

/// The headers of a request whose body is JSON.
pub(crate) fn json_headers() -> HeaderMap {
    let json = HeaderValue::from_static("application/json");
    [(axum::http::header::CONTENT_TYPE, json)]
        .into_iter()
        .collect()
}

/// The host and port of a URL, for log lines. User name, path and query may be secret.
pub(crate) fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_host_is_logged() {
        for (url, expected) in [
            ("https://a.example/hook?secret=1", "a.example"),
            ("http://ada:key@a.example:81/hook", "a.example:81"),
            ("http://a.example?x", "a.example"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(host(url), expected, "{url}");
        }
    }
}

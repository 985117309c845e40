//! Drains the rest of a request body that is no longer needed.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{body::Body, extract::Request, http::header};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::{runtime::Handle, time::timeout};

/// How long the rest of the body is read, so that a client that is still sending can read the response.
const LINGER: Duration = Duration::from_secs(1);

/// A body whose rest is read and discarded for a while when it is dropped. Otherwise the connection would be
/// closed while the client sends, and the client would lose the response.
pub(crate) struct DrainOnDrop {
    body: Body,
    /// Whether the client sends more. False after the end of the body, and while the client waits for `100 Continue`.
    has_more: bool,
}

impl DrainOnDrop {
    /// Wraps the body of a request.
    pub(crate) fn wrap(request: Request) -> Request {
        let has_more = !request.headers().contains_key(header::EXPECT);
        request.map(|body| Body::new(Self { body, has_more }))
    }
}

impl HttpBody for DrainOnDrop {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        self.has_more = !matches!(polled, Poll::Ready(None | Some(Err(_))));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for DrainOnDrop {
    fn drop(&mut self) {
        if !self.has_more || self.body.is_end_stream() {
            return;
        }
        let mut body = std::mem::take(&mut self.body);
        let rest = async move { while let Some(Ok(_)) = body.frame().await {} };
        // Without a runtime, no response is sent either.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(timeout(LINGER, rest));
        }
    }
}

//! The rest of a body that nobody wants any more.

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

/// Time to read the answer for a client that is still speaking.
const LINGER: Duration = Duration::from_secs(1);

/// A body of which the rest is read for a while, unheard, when it is dropped. Else the connection would
/// be closed on a client that sends, and with it what it was answered would be lost.
pub(super) struct DrainOnDrop {
    body: Body,
    /// Not where the client waits to be told to go on, nor when all has come.
    is_coming: bool,
}

impl DrainOnDrop {
    /// The request with its body so read.
    pub(super) fn of(request: Request) -> Request {
        let is_coming = !request.headers().contains_key(header::EXPECT);
        request.map(|body| Body::new(Self { body, is_coming }))
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
        self.is_coming = !matches!(polled, Poll::Ready(None | Some(Err(_))));
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
        if !self.is_coming || self.body.is_end_stream() {
            return;
        }
        let mut body = std::mem::take(&mut self.body);
        let rest = async move { while let Some(Ok(_)) = body.frame().await {} };
        // Where there is no runtime any more, nobody reads an answer either.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(timeout(LINGER, rest));
        }
    }
}

//! The stream of an HTTP/1.1 connection with separate timeouts for a request head and for an idle connection.
//!
//! hyper has only one timeout for both: the head of a request that has begun, and the next request on a kept-alive
//! connection. Reverse proxies keep idle connections for a minute, which is too long for a request head.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Body;
use futures_util::task::AtomicWaker;
use hyper::{
    Response, StatusCode,
    body::{Body as HttpBody, Bytes, Frame, SizeHint},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// The time limits of a connection for requests. Zero is no limit.
#[derive(Clone, Copy, Debug)]
pub struct RequestTimeouts {
    /// The time limit for the head of a request from its first byte; for the first request of a connection,
    /// from the beginning of the connection.
    pub head: Duration,
    /// The time limit between two requests on a connection.
    pub idle: Duration,
}

/// Whether a request of a connection is being answered by the service. An upgraded connection stays busy.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestActivity(Arc<ActivityState>);

#[derive(Debug, Default)]
struct ActivityState {
    /// The number of starts and ends of requests. It is odd while a request is being answered.
    changes: AtomicU64,
    /// The task that reads. It must be woken at the end of a response, because hyper does not read again by itself, and
    /// only a read starts the idle timeout.
    reader: AtomicWaker,
}

impl RequestActivity {
    pub(crate) fn begin(&self) {
        self.0.changes.fetch_add(1, Ordering::AcqRel);
    }

    fn end(&self) {
        self.0.changes.fetch_add(1, Ordering::AcqRel);
        self.0.reader.wake();
    }

    /// Wraps the response, so that its end marks the end of the request.
    pub(crate) fn until_end_of(&self, response: Response<Body>) -> Response<Body> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return response;
        }
        let activity = self.clone();
        response.map(|body| Body::new(TrackedBody { body, activity }))
    }
}

/// The body of a response. Its drop marks the end of the request.
struct TrackedBody {
    body: Body,
    activity: RequestActivity,
}

impl Drop for TrackedBody {
    fn drop(&mut self) {
        self.activity.end();
    }
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream whose reads end when a timeout expires: with end-of-file between two requests, and with an error within the
/// head of a request.
#[derive(Debug)]
pub(crate) struct TimedStream<S> {
    stream: S,
    activity: RequestActivity,
    /// The value of [`ActivityState::changes`] at the last read.
    changes: u64,
    timeouts: RequestTimeouts,
    wait: WaitPhase,
    /// The end of the wait. `None` without a timeout.
    deadline: Option<Instant>,
    /// The timer of the deadline, once a read has waited. The head of a request has often arrived with the connection,
    /// and to set a timer wakes the runtime's driver.
    timer: Option<Pin<Box<Sleep>>>,
    /// Whether bytes were read since a read has last waited: the head of a request may be complete.
    has_read: bool,
}

/// The event that the stream waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WaitPhase {
    /// The end of a response, without a timeout.
    Response,
    /// The first byte of a request.
    Request,
    /// The end of a request's head.
    Head,
}

impl<S> TimedStream<S> {
    pub(crate) fn new(stream: S, timeouts: RequestTimeouts, activity: RequestActivity) -> Self {
        let mut this = Self {
            stream,
            activity,
            changes: 0,
            timeouts,
            wait: WaitPhase::Response,
            deadline: None,
            timer: None,
            has_read: false,
        };
        this.wait_for(WaitPhase::Head);
        this
    }

    /// The inner stream.
    pub(crate) fn into_inner(self) -> S {
        self.stream
    }

    fn wait_for(&mut self, wait: WaitPhase) {
        let timeout = match wait {
            WaitPhase::Response => Duration::ZERO,
            WaitPhase::Request => self.timeouts.idle,
            WaitPhase::Head => self.timeouts.head,
        };
        self.wait = wait;
        let has_timeout = !timeout.is_zero();
        let deadline = has_timeout.then(|| Instant::now().checked_add(timeout));
        self.deadline = deadline.flatten();
        self.timer = None;
    }

    /// Checks whether a request has begun or ended since the last call.
    fn update_phase(&mut self, context: &Context<'_>) {
        let state = &self.activity.0;
        let is_upgraded_or_busy = self.wait == WaitPhase::Response && self.changes % 2 == 1;
        if !is_upgraded_or_busy {
            state.reader.register(context.waker());
        }
        let changes = state.changes.load(Ordering::Acquire);
        if changes != self.changes {
            self.changes = changes;
            let is_busy = changes % 2 == 1;
            self.wait_for(if is_busy {
                WaitPhase::Response
            } else {
                WaitPhase::Request
            });
        }
    }

    /// Ready when the awaited event has not happened in time.
    fn poll_timeout(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(deadline) = self.deadline else {
            return Poll::Pending;
        };
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        ready!(timer.as_mut().poll(context));
        Poll::Ready(match self.wait {
            WaitPhase::Head => Err(io::ErrorKind::TimedOut.into()),
            // An empty read: hyper closes an idle connection as if the client had closed it.
            WaitPhase::Request | WaitPhase::Response => Ok(()),
        })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TimedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.update_phase(context);
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer)?;
        if read.is_pending() {
            if std::mem::take(&mut self.has_read) && self.timer.is_none() && self.deadline.is_some()
            {
                // hyper reads on before it passes a complete head to the service, which ends the wait. So the timer is set
                // at the next poll.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            return self.poll_timeout(context);
        }
        self.has_read = buffer.filled().len() > before;
        if self.wait == WaitPhase::Request && self.has_read {
            self.wait_for(WaitPhase::Head);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TimedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
        time::sleep,
    };

    use super::*;

    const TIMEOUTS: RequestTimeouts = RequestTimeouts {
        head: Duration::from_secs(10),
        idle: Duration::from_secs(75),
    };

    fn connection(
        timeouts: RequestTimeouts,
    ) -> (DuplexStream, TimedStream<DuplexStream>, RequestActivity) {
        let (client, server) = tokio::io::duplex(64);
        let activity = RequestActivity::default();
        (
            client,
            TimedStream::new(server, timeouts, activity.clone()),
            activity,
        )
    }

    /// Reads until the end of the stream. Returns the last result, and the time in seconds.
    async fn end(stream: &mut TimedStream<DuplexStream>) -> (Result<usize, io::ErrorKind>, u64) {
        let begun = Instant::now();
        let mut buffer = [0; 16];
        loop {
            let read = stream.read(&mut buffer).await;
            if read.as_ref().is_ok_and(|count| *count > 0) {
                continue;
            }
            return (
                read.map_err(|error| error.kind()),
                begun.elapsed().as_secs(),
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_ends_after_the_timeout_of_a_request_head() {
        let (_client, mut stream, _) = connection(TIMEOUTS);
        assert_eq!(end(&mut stream).await, (Err(io::ErrorKind::TimedOut), 10));
    }

    #[tokio::test]
    async fn a_head_that_has_arrived_sets_no_timer() {
        let (mut client, mut stream, _) = connection(TIMEOUTS);
        client.write_all(b"head").await.expect("it is open");
        stream.read_u32().await.expect("four bytes");
        assert!(stream.read_u8().now_or_never().is_none());
        assert!(stream.deadline.is_some() && stream.timer.is_none());
        assert!(stream.read_u8().now_or_never().is_none());
        assert!(stream.timer.is_some(), "a second wait has a timeout");
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_arrives_byte_by_byte_times_out() {
        let (mut client, mut stream, _) = connection(TIMEOUTS);
        tokio::spawn(async move {
            while client.write_all(b"x").await.is_ok() {
                sleep(Duration::from_secs(3)).await;
            }
        });
        assert_eq!(end(&mut stream).await, (Err(io::ErrorKind::TimedOut), 10));
    }

    #[tokio::test(start_paused = true)]
    async fn the_head_of_a_second_request_times_out_from_its_first_byte() {
        let (mut client, mut stream, activity) = connection(TIMEOUTS);
        client.write_all(b"head").await.expect("it is open");
        activity.begin();
        stream.read_u32().await.expect("four bytes");
        // A response has no timeout.
        let answering = tokio::time::timeout(Duration::from_secs(1000), stream.read_u8());
        assert!(answering.await.is_err());
        drop(activity.until_end_of(Response::default()));
        let client = tokio::spawn(async move {
            sleep(Duration::from_secs(70)).await;
            client.write_all(b"head").await.expect("it is open");
            client
        });
        assert_eq!(end(&mut stream).await, (Err(io::ErrorKind::TimedOut), 80));
        drop(client);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_ends_without_an_error() {
        let (_client, mut stream, activity) = connection(TIMEOUTS);
        activity.begin();
        assert!(
            tokio::time::timeout(Duration::from_secs(1), stream.read_u8())
                .await
                .is_err()
        );
        drop(activity.until_end_of(Response::default()));
        assert_eq!(end(&mut stream).await, (Ok(0), 75));
    }

    #[tokio::test(start_paused = true)]
    async fn an_upgraded_connection_has_no_timeout() {
        let (_client, mut stream, activity) = connection(TIMEOUTS);
        activity.begin();
        let mut upgrade = Response::default();
        *upgrade.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        drop(activity.until_end_of(upgrade));
        let day = Duration::from_hours(24);
        assert!(tokio::time::timeout(day, stream.read_u8()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn zero_is_no_limit() {
        let unlimited = RequestTimeouts {
            head: Duration::ZERO,
            idle: Duration::ZERO,
        };
        let (_client, mut stream, activity) = connection(unlimited);
        let day = Duration::from_hours(24);
        assert!(tokio::time::timeout(day, stream.read_u8()).await.is_err());
        activity.begin();
        assert!(tokio::time::timeout(day, stream.read_u8()).await.is_err());
        drop(activity.until_end_of(Response::default()));
        assert!(tokio::time::timeout(day, stream.read_u8()).await.is_err());
    }
}

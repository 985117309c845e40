//! Forwards voice requests to the voice leader, and returns its responses.
//!
//! Each request has its own connection between the nodes, so a close on one side closes the other, and
//! backpressure of the client reaches the leader. Little is buffered here: the leader's bounded queues decide
//! which clients are too slow. The leader can close only its connection to this node. So this node also disconnects
//! a client that reads nothing for [`STALL_TIMEOUT`].

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    body::Body,
    http::{
        HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version, header,
        header::InvalidHeaderValue, request::Parts, uri::InvalidUri,
    },
    response::IntoResponse,
};
use bytes::Bytes;
use futures_util::{FutureExt, stream};
use http_body_util::BodyExt;
use hyper::{
    body::{Body as _, Incoming},
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::TokioIo;
use switchboard_core::error_chain;
use switchboard_transport::{
    ConnectionAbort, Counters, HttpClient, HttpClientError, HttpConnection,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, split},
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    answer::{VoiceError, VoiceResult, retry_later},
    host::{AdmittedRequest, NodeSecret, VoiceHost},
    leader::Term,
    node_headers::{ACCESS, CLIENT, FORMAT, FORWARD_FORMAT, NODE_SECRET},
    service::VoiceService,
};

/// Maximum chunks of a response queued for the client.
const QUEUED_CHUNKS: usize = 2;

/// A client that reads nothing for this long while a chunk is queued is disconnected. This is the duration of the audio
/// that the leader's queue for a listener holds.
const STALL_TIMEOUT: Duration = Duration::from_millis(2500);

/// Time after a change of the leader in which the former leader can end its streams itself.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// Time for the closing handshake after one side of a WebSocket has ended, and for a client to take the error that
/// ends its incomplete response.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// Headers that apply to one connection only and are not forwarded (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Forwards requests to the voice leader.
pub(crate) struct Forwarder {
    terms: watch::Receiver<Term>,
    secret: NodeSecret,
    client: HttpClient,
    /// Whether the last request did not reach the leader.
    is_unreachable: AtomicBool,
    host: Arc<dyn VoiceHost>,
    drain: CancellationToken,
    tasks: TaskTracker,
}

impl Forwarder {
    pub(crate) fn new(
        voice: &VoiceService,
        terms: watch::Receiver<Term>,
        secret: NodeSecret,
    ) -> Self {
        Self {
            terms,
            secret,
            client: HttpClient::for_streams(voice.heartbeat.timeout),
            is_unreachable: AtomicBool::new(false),
            host: voice.host.clone(),
            drain: voice.drain.clone(),
            tasks: voice.tasks.clone(),
        }
    }

    /// Forwards an admitted request to the leader at `url` and returns its response. The exchange ends with `term`, the
    /// time in which that node is the leader.
    pub(crate) async fn forward(
        &self,
        url: &str,
        term: &Term,
        admitted: AdmittedRequest,
        mut parts: Parts,
        body: Body,
    ) -> VoiceResult {
        let upgrade = parts.extensions.remove::<OnUpgrade>();
        let abort_handle = parts.extensions.get::<ConnectionAbort>().cloned();
        let opened = async {
            let secret = (self.secret)().ok_or(ForwardError::NoSecret)?;
            let is_upgrade = upgrade.is_some();
            let request = leader_request(parts, body, url, &secret, &admitted, is_upgrade)?;
            let connection = self.client.open(request.uri()).await?;
            Ok((request, connection))
        };
        let opened: Result<_, ForwardError> = opened.await;
        let (request, mut connection) = opened.map_err(|error| self.unreachable(&error))?;
        self.is_unreachable.store(false, Ordering::Relaxed);
        let mut ended = Box::pin(term_ended(self.terms.clone(), term.number));
        let response = tokio::select! {
            response = connection.send(request) => response,
            () = &mut ended => {
                return Err(retry_later("The voice leader has changed. Retry soon."));
            }
        };
        let forwarded = ForwardedRequest {
            ended,
            drain: self.drain.clone(),
            abort_handle: abort_handle.unwrap_or_default(),
            host: self.host.clone(),
            _admitted: admitted,
            _connection: connection,
        };
        let response = response.map_err(|error| {
            if error.is_user() {
                return VoiceError::bad("The request body ended early.");
            }
            tracing::warn!(error = %error_chain(&error), "voice leader closed the connection early");
            let message = "The voice leader closed the connection early.";
            VoiceError::new(StatusCode::BAD_GATEWAY, message)
        })?;
        Ok(match upgrade {
            Some(client) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                self.upgrade(response, client, forwarded)
            }
            Some(_) | None => self.answer(response, forwarded),
        })
    }

    fn unreachable(&self, error: &ForwardError) -> VoiceError {
        let error = error_chain(error);
        // Warns once per outage: every request would fail alike.
        if self.is_unreachable.swap(true, Ordering::Relaxed) {
            tracing::debug!(error, "voice leader unreachable");
        } else {
            tracing::warn!(error, "voice leader unreachable: clients get 503");
        }
        retry_later("The voice leader cannot be reached. Retry soon.")
    }

    /// The leader's response, with its body streamed to the client.
    fn answer(&self, response: Response<Incoming>, forwarded: ForwardedRequest) -> Response<Body> {
        let (mut head, body) = response.into_parts();
        strip(&mut head.headers);
        let (chunks, receiver) = mpsc::channel(QUEUED_CHUNKS);
        self.tasks.spawn(forwarded.copy_body(body, chunks));
        let chunks = stream::unfold(receiver, |mut receiver| async {
            let chunk = receiver.recv().await?;
            Some((chunk, receiver))
        });
        (head.status, head.headers, Body::from_stream(chunks)).into_response()
    }

    /// Completes a WebSocket upgrade with the client and with the leader, then copies bytes between them.
    fn upgrade(
        &self,
        mut response: Response<Incoming>,
        client: OnUpgrade,
        forwarded: ForwardedRequest,
    ) -> Response<Body> {
        let leader = hyper::upgrade::on(&mut response);
        let mut headers = std::mem::take(response.headers_mut());
        let protocol = headers.remove(header::UPGRADE);
        strip(&mut headers);
        upgrade_to(&mut headers, protocol);
        self.tasks.spawn(async move {
            match tokio::try_join!(client, leader) {
                Ok((client, leader)) => forwarded.copy_both_ways(client, leader).await,
                Err(error) => tracing::debug!(%error, "WebSocket upgrade failed"),
            }
        });
        (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
    }
}

/// The reason why a request cannot be sent to the leader.
#[derive(Debug, thiserror::Error)]
enum ForwardError {
    #[error("the node secret is not known yet")]
    NoSecret,
    #[error("the URL of the voice leader is invalid")]
    InvalidUrl(#[from] InvalidUri),
    #[error("the URL or the secret of the voice leader is not a valid header")]
    InvalidHeader(#[from] InvalidHeaderValue),
    #[error(transparent)]
    Client(#[from] HttpClientError),
}

/// Builds the request to the leader: its URL, the node secret, and the client's address.
fn leader_request(
    mut parts: Parts,
    body: Body,
    url: &str,
    secret: &str,
    admitted: &AdmittedRequest,
    is_upgrade: bool,
) -> Result<Request<Body>, ForwardError> {
    let AdmittedRequest {
        address, access, ..
    } = admitted;
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = format!("{}{path}", url.trim_end_matches('/')).parse()?;
    let host = parts.uri.authority().map_or("", |host| host.as_str());
    let host = HeaderValue::from_str(host)?;
    let mut secret = HeaderValue::from_str(secret)?;
    secret.set_sensitive(true);
    let protocol = parts.headers.remove(header::UPGRADE);
    let expects_continue = parts.headers.contains_key(header::EXPECT);
    let headers = &mut parts.headers;
    strip(headers);
    headers.insert(header::HOST, host);
    headers.insert(NODE_SECRET, secret);
    headers.insert(ACCESS, access.to_header());
    headers.insert(FORMAT, HeaderValue::from_static(FORWARD_FORMAT));
    if let Some(address) = address.and_then(|address| address.to_string().parse().ok()) {
        headers.insert(CLIENT, address);
    }
    if is_upgrade {
        upgrade_to(headers, protocol);
    }
    let mut request = Request::new(body);
    *request.method_mut() = parts.method;
    *request.uri_mut() = parts.uri;
    *request.headers_mut() = parts.headers;
    *request.version_mut() = Version::HTTP_11;
    Ok(if expects_continue {
        hold_body_until_continue(request)
    } else {
        request
    })
}

/// Delays the body until the leader sends `100 Continue`. The client gets its own `100 Continue` when the body is first
/// read, so it does not send a body that the leader refuses.
fn hold_body_until_continue(request: Request<Body>) -> Request<Body> {
    let continued = CancellationToken::new();
    let (head, body) = request.into_parts();
    let body = body.into_data_stream();
    let delayed = continued.clone().cancelled_owned().map(|()| body);
    let body = delayed.flatten_stream();
    let mut request = Request::from_parts(head, Body::from_stream(body));
    hyper::ext::on_informational(&mut request, move |response| {
        if response.status() == StatusCode::CONTINUE {
            continued.cancel();
        }
    });
    request
}

/// Removes the headers that apply to one connection only.
fn strip(headers: &mut HeaderMap) {
    let named = headers.get_all(header::CONNECTION).iter();
    let named = named.filter_map(|value| value.to_str().ok());
    let named = named.flat_map(|value| value.split(','));
    let named: Vec<HeaderName> = named.filter_map(|name| name.trim().parse().ok()).collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
}

fn upgrade_to(headers: &mut HeaderMap, protocol: Option<HeaderValue>) {
    let upgrade = HeaderValue::from_static("upgrade");
    headers.insert(header::CONNECTION, upgrade);
    headers.extend(protocol.map(|protocol| (header::UPGRADE, protocol)));
}

/// Completes [`CLOSE_GRACE`] after the term `number` has ended.
async fn term_ended(mut terms: watch::Receiver<Term>, number: u64) {
    if terms.wait_for(|term| term.number != number).await.is_ok() {
        sleep(CLOSE_GRACE).await;
    }
}

/// A forwarded request. Dropping it releases its permit and closes its connection to the leader.
struct ForwardedRequest {
    /// Completes [`CLOSE_GRACE`] after the leader's term has ended.
    ended: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>,
    drain: CancellationToken,
    abort_handle: ConnectionAbort,
    host: Arc<dyn VoiceHost>,
    _admitted: AdmittedRequest,
    _connection: HttpConnection,
}

/// Body error: the leader closed its response early.
#[derive(Debug, thiserror::Error)]
#[error("the voice leader closed the connection early")]
struct UpstreamClosed;

type ChunkSender = mpsc::Sender<Result<Bytes, UpstreamClosed>>;

impl ForwardedRequest {
    /// Copies a response body to the client until either side or the leader's term ends.
    async fn copy_body(mut self, mut body: Incoming, client: ChunkSender) {
        // A body of known length is completed even during shutdown.
        let is_endless = body.size_hint().exact().is_none();
        loop {
            let frame = tokio::select! {
                biased;
                () = client.closed() => return,
                () = self.drain.cancelled(), if is_endless => return,
                () = &mut self.ended => break,
                frame = body.frame() => frame,
            };
            let Some(frame) = frame else { return };
            let Ok(frame) = frame else { break };
            let Ok(chunk) = frame.into_data() else {
                continue;
            };
            tokio::select! {
                sent = timeout(STALL_TIMEOUT, client.send(Ok(chunk))) => match sent {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return,
                    Err(_) => {
                        Counters::add(&self.host.counters().slow_total, 1);
                        self.abort_handle.abort();
                        return;
                    }
                },
                () = self.drain.cancelled(), if is_endless => return,
                () = &mut self.ended => break,
            }
        }
        let response = timeout(SHUTDOWN_TIMEOUT, client.send(Err(UpstreamClosed))).await;
        if response.is_err() {
            self.abort_handle.abort();
        }
    }

    /// Copies bytes both ways. After one side has ended, the other has [`SHUTDOWN_TIMEOUT`] to end.
    async fn copy_both_ways(mut self, client: Upgraded, leader: Upgraded) {
        let (mut from_client, mut to_client) = split(TokioIo::new(client));
        let (mut from_leader, mut to_leader) = split(TokioIo::new(leader));
        let mut up = pin!(async {
            // `copy` uses a buffer of 8 KiB.
            drop(copy(&mut from_client, &mut to_leader).await);
            drop(to_leader.shutdown().await);
        });
        let mut bytes = [0; 1024];
        loop {
            tokio::select! {
                biased;
                () = self.drain.cancelled() => {
                    // The last bytes written to the client end a frame: the leader sends only control frames, which
                    // are short and each sent in one write, so a read normally returns whole frames.
                    drop(timeout(SHUTDOWN_TIMEOUT, to_client.write_all(CLOSE_STOPS)).await);
                    break;
                }
                () = &mut self.ended => return,
                () = &mut up => {
                    drop(timeout(SHUTDOWN_TIMEOUT, copy(&mut from_leader, &mut to_client)).await);
                    return;
                }
                read = from_leader.read(&mut bytes) => {
                    let count = read.unwrap_or_default();
                    let written = timeout(STALL_TIMEOUT, to_client.write_all(&bytes[..count])).await;
                    if count == 0 || !matches!(written, Ok(Ok(()))) {
                        drop(timeout(SHUTDOWN_TIMEOUT, to_client.shutdown()).await);
                        break;
                    }
                }
            }
        }
        drop(timeout(SHUTDOWN_TIMEOUT, up).await);
    }
}

/// An encoded WebSocket close frame: 1012, "The server stops."
const CLOSE_STOPS: &[u8] = b"\x88\x13\x03\xf4The server stops.";

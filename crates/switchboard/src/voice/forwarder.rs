//! Requests brought to the node that does voice, and its answers brought back.
//!
//! Each has a connection of its own between the nodes, so that an end on one side is an end on the
//! other: a client that goes takes the connection with it, and one that does not read is not read
//! for. Little waits here: the owner's own bounded queues decide who is too slow. A client that takes
//! nothing for a while is cut off here as well, because it would not notice that the owner has done so.

use std::{
    error::Error,
    fmt,
    future::Future,
    net::IpAddr,
    pin::pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    body::Body,
    http::{
        HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version, header,
        request::Parts,
    },
    response::IntoResponse,
};
use bytes::Bytes;
use futures_util::{FutureExt, stream};
use http_body_util::BodyExt;
use hyper::{
    body::{Body as _, Incoming},
    client::conn::http1,
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use switchboard_transport::{ConnectionAbort, Counters, NodeHandle};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, split},
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tokio_util::{
    sync::CancellationToken,
    task::{AbortOnDropHandle, TaskTracker},
};
use tower::ServiceExt;

use super::{
    AdmittedRequest, VoiceService,
    answer::{VoiceError, VoiceResult},
    clustered::{CLIENT, NODE_SECRET, NodeSecret, retry_later},
};
use crate::{
    election::{Election, Term},
    http_client::error_chain,
    shards::Shards,
};

/// Time for a connection to the owner.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes of the owner's that the kernel may hold here, and of a client's: less than a second of WAV.
const KERNEL_BYTES: usize = 64 * 1024;

/// Bytes of a head, and of what is read at once.
const READ_BYTES: usize = 16 * 1024;

/// Pieces of an answer that wait here for the client.
const QUEUED_CHUNKS: usize = 2;

/// A client that takes nothing for so long, while there is something for it, is cut off: as long as
/// the owner's own queue for a listener lasts.
const STALL_TIMEOUT: Duration = Duration::from_millis(2500);

/// Time that an owner has to end its streams itself when another takes its place.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// Time for the goodbye after one side of a WebSocket has ended.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// What concerns the connection alone that it came on.
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

/// The way to the node that does voice.
pub(super) struct Forwarder {
    election: Arc<Election>,
    secret: NodeSecret,
    plain: HttpConnector,
    secure: OnceLock<Result<HttpsConnector<HttpConnector>, String>>,
    is_cut_off: AtomicBool,
    shards: Arc<Shards>,
    drain: CancellationToken,
    tasks: TaskTracker,
}

impl Forwarder {
    pub(super) fn new(voice: &VoiceService, duty: Arc<Election>, secret: NodeSecret) -> Self {
        let mut plain = HttpConnector::new();
        plain.set_nodelay(true);
        plain.set_connect_timeout(Some(CONNECT_TIMEOUT));
        plain.set_recv_buffer_size(Some(KERNEL_BYTES));
        plain.set_send_buffer_size(Some(KERNEL_BYTES));
        // An owner that is gone without a word is noticed as a client is.
        plain.set_keepalive(Some(voice.heartbeat.gone / 3));
        plain.set_keepalive_interval(Some(voice.heartbeat.gone / 3));
        #[cfg(target_os = "linux")]
        plain.set_tcp_user_timeout(Some(voice.heartbeat.gone));
        plain.enforce_http(false);
        Self {
            election: duty,
            secret,
            plain,
            secure: OnceLock::new(),
            is_cut_off: AtomicBool::new(false),
            shards: voice.shards.clone(),
            drain: voice.drain.clone(),
            tasks: voice.tasks.clone(),
        }
    }

    /// Brings an admitted request to the owner at `url`, and its answer back.
    pub(super) async fn forward(
        &self,
        url: &str,
        term: &Term,
        guest: AdmittedRequest,
        mut parts: Parts,
        body: Body,
    ) -> VoiceResult {
        let cannot = |error: String| self.cannot_reach(&error);
        let secret = (self.secret)().ok_or_else(|| cannot("no secret yet".to_owned()))?;
        let hangup = parts.extensions.get::<ConnectionAbort>().cloned();
        let upgrade = parts.extensions.remove::<OnUpgrade>();
        let request = owner_request(parts, body, url, &secret, guest.address, upgrade.is_some());
        let request = request.map_err(cannot)?;
        let (mut sender, line) = self.connect(request.uri()).await.map_err(cannot)?;
        self.is_cut_off.store(false, Ordering::Relaxed);
        let mut trip = ForwardedRequest {
            ended: Box::pin(term_ended(self.election.terms(), term.number)),
            drain: self.drain.clone(),
            hangup: hangup.unwrap_or_default(),
            shards: self.shards.clone(),
            _guest: guest,
            _line: line,
        };
        let answered = tokio::select! {
            answered = sender.send_request(strip_hop_by_hop(request)) => answered,
            () = &mut trip.ended => {
                return Err(retry_later("Another node does voice now. Come back soon."));
            }
        };
        let answered = answered.map_err(|error| {
            if error.is_user() {
                return VoiceError::bad("The request broke off.");
            }
            tracing::warn!(error = %error_chain(&error), "the node that does voice broke off");
            let words = "The node that does voice broke off.";
            VoiceError::new(StatusCode::BAD_GATEWAY, words)
        })?;
        Ok(match upgrade {
            Some(client) if answered.status() == StatusCode::SWITCHING_PROTOCOLS => {
                self.upgrade(answered, client, trip)
            }
            Some(_) | None => self.answer(answered, trip),
        })
    }

    fn cannot_reach(&self, error: &str) -> VoiceError {
        // One line for what may befall every request.
        if self.is_cut_off.swap(true, Ordering::Relaxed) {
            tracing::debug!(error, "cannot reach the node that does voice");
        } else {
            tracing::warn!(
                error,
                "cannot reach the node that does voice: clients get 503"
            );
        }
        retry_later("The node that does voice cannot be reached. Come back soon.")
    }

    /// A connection to the owner, which lasts as long as what is given with it.
    async fn connect(
        &self,
        uri: &Uri,
    ) -> Result<(http1::SendRequest<Body>, ConnectionTask), String> {
        let dialing = async {
            if uri.scheme_str() == Some("https") {
                let io = self.secure()?.oneshot(uri.clone()).await;
                http1_handshake(io.map_err(|error| error_chain(error.as_ref()))?).await
            } else {
                let io = self.plain.clone().oneshot(uri.clone()).await;
                http1_handshake(io.map_err(|error| error_chain(&error))?).await
            }
        };
        let dialed = timeout(CONNECT_TIMEOUT, dialing).await;
        dialed.unwrap_or_else(|_late| Err("no connection in time".to_owned()))
    }

    /// Root certificates are read when the first owner wants to be known by one.
    fn secure(&self) -> Result<HttpsConnector<HttpConnector>, String> {
        let make = || {
            let builder = HttpsConnectorBuilder::new().with_native_roots();
            let builder = builder.map_err(|error| error.to_string())?;
            let builder = builder.https_only().enable_http1();
            Ok(builder.wrap_connector(self.plain.clone()))
        };
        self.secure.get_or_init(make).clone()
    }

    /// An answer with its body, however long that goes on.
    fn answer(&self, answered: Response<Incoming>, trip: ForwardedRequest) -> Response<Body> {
        let (mut head, body) = answered.into_parts();
        strip(&mut head.headers);
        let (pieces, receiver) = mpsc::channel(QUEUED_CHUNKS);
        self.tasks.spawn(trip.copy_body(body, pieces));
        let pieces = stream::unfold(receiver, |mut receiver| async {
            let piece = receiver.recv().await?;
            Some((piece, receiver))
        });
        (head.status, head.headers, Body::from_stream(pieces)).into_response()
    }

    /// A WebSocket: from here on, bytes.
    fn upgrade(
        &self,
        mut answered: Response<Incoming>,
        client: OnUpgrade,
        trip: ForwardedRequest,
    ) -> Response<Body> {
        let owner = hyper::upgrade::on(&mut answered);
        let mut headers = std::mem::take(answered.headers_mut());
        let protocol = headers.remove(header::UPGRADE);
        strip(&mut headers);
        upgrade_to(&mut headers, protocol);
        self.tasks.spawn(async move {
            match tokio::try_join!(client, owner) {
                Ok((client, owner)) => trip.copy_both_ways(client, owner).await,
                Err(error) => tracing::debug!(%error, "no WebSocket"),
            }
        });
        (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
    }
}

/// What runs a connection to the owner; ends it when dropped.
type ConnectionTask = AbortOnDropHandle<()>;

async fn http1_handshake<I>(io: I) -> Result<(http1::SendRequest<Body>, ConnectionTask), String>
where
    I: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
{
    let mut http = http1::Builder::new();
    let shaken = http.max_buf_size(READ_BYTES).handshake(io).await;
    let (sender, connection) = shaken.map_err(|error| error_chain(&error))?;
    let line = tokio::spawn(async move {
        // What goes wrong is told to whoever waits for the answer or its body.
        drop(connection.with_upgrades().await);
    });
    Ok((sender, AbortOnDropHandle::new(line)))
}

/// The request as the owner gets it.
fn owner_request(
    mut parts: Parts,
    body: Body,
    url: &str,
    secret: &str,
    client: Option<IpAddr>,
    is_upgrade: bool,
) -> Result<Request<Body>, String> {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = format!("{}{path}", url.trim_end_matches('/'))
        .parse()
        .map_err(|error| format!("{url}: {error}"))?;
    let host = parts.uri.authority().map_or("", |host| host.as_str());
    let host = HeaderValue::from_str(host).map_err(|error| error.to_string())?;
    let mut secret = HeaderValue::from_str(secret).map_err(|error| error.to_string())?;
    secret.set_sensitive(true);
    let protocol = parts.headers.remove(header::UPGRADE);
    let is_expectant = parts.headers.contains_key(header::EXPECT);
    let headers = &mut parts.headers;
    strip(headers);
    headers.insert(header::HOST, host);
    headers.insert(NODE_SECRET, secret);
    if let Some(address) = client.and_then(|address| address.to_string().parse().ok()) {
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
    Ok(if is_expectant {
        hold_body_until_continue(request)
    } else {
        request
    })
}

/// The request with a target as it stands on the wire: a path.
fn strip_hop_by_hop(mut request: Request<Body>) -> Request<Body> {
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = path.map_or_else(Uri::default, Uri::from);
    request
}

/// A client that waits to be told to go on is told so by the owner, when that wants the body.
fn hold_body_until_continue(request: Request<Body>) -> Request<Body> {
    let wanted = CancellationToken::new();
    let (head, body) = request.into_parts();
    let body = body.into_data_stream();
    let held = wanted.clone().cancelled_owned().map(|()| body);
    let body = held.flatten_stream();
    let mut request = Request::from_parts(head, Body::from_stream(body));
    hyper::ext::on_informational(&mut request, move |told| {
        if told.status() == StatusCode::CONTINUE {
            wanted.cancel();
        }
    });
    request
}

/// Removes what concerns the connection alone that it came on.
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

/// Done when the term of this number has ended, and its owner has had time to end its streams.
async fn term_ended(mut terms: watch::Receiver<Term>, number: u64) {
    if terms.wait_for(|term| term.number != number).await.is_ok() {
        sleep(CLOSE_GRACE).await;
    }
}

/// One request under way. Everything it holds is given back when it is dropped.
struct ForwardedRequest {
    ended: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>,
    drain: CancellationToken,
    hangup: ConnectionAbort,
    shards: Arc<Shards>,
    _guest: AdmittedRequest,
    _line: ConnectionTask,
}

/// The owner's answer broke off, and so does this one.
#[derive(Debug)]
struct UpstreamClosed;

impl fmt::Display for UpstreamClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the node that does voice broke off")
    }
}

impl Error for UpstreamClosed {}

type ChunkSender = mpsc::Sender<Result<Bytes, UpstreamClosed>>;

impl ForwardedRequest {
    /// Carries a body to the client, until either side ends or the term does.
    async fn copy_body(mut self, mut body: Incoming, client: ChunkSender) {
        // What has an end of its own is brought to it though the server stops.
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
            let Ok(piece) = frame.into_data() else {
                continue;
            };
            tokio::select! {
                sent = timeout(STALL_TIMEOUT, client.send(Ok(piece))) => match sent {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return,
                    Err(_) => {
                        Counters::add(&self.shards.counters().slow_total, 1);
                        self.hangup.abort();
                        return;
                    }
                },
                () = self.drain.cancelled(), if is_endless => return,
                () = &mut self.ended => break,
            }
        }
        let told = timeout(SHUTDOWN_TIMEOUT, client.send(Err(UpstreamClosed))).await;
        if told.is_err() {
            self.hangup.abort();
        }
    }

    /// Carries bytes both ways. When one side has ended, the other has a little time to.
    async fn copy_both_ways(mut self, client: Upgraded, owner: Upgraded) {
        let (mut from_client, mut to_client) = split(TokioIo::new(client));
        let (mut from_owner, mut to_owner) = split(TokioIo::new(owner));
        let mut up = pin!(async {
            // Eight KiB at a time.
            drop(copy(&mut from_client, &mut to_owner).await);
            drop(to_owner.shutdown().await);
        });
        let mut bytes = [0; 1024];
        loop {
            tokio::select! {
                biased;
                () = self.drain.cancelled() => {
                    // Not amid a frame: the owner sends pings and goodbyes, each in one piece.
                    drop(timeout(SHUTDOWN_TIMEOUT, to_client.write_all(CLOSE_STOPS)).await);
                    break;
                }
                () = &mut self.ended => return,
                () = &mut up => {
                    drop(timeout(SHUTDOWN_TIMEOUT, copy(&mut from_owner, &mut to_client)).await);
                    return;
                }
                read = from_owner.read(&mut bytes) => {
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

/// A WebSocket's close frame: 1012, "The server stops."
const CLOSE_STOPS: &[u8] = b"\x88\x13\x03\xf4The server stops.";

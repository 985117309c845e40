//! Voice in a cluster. An elected node, the voice leader, serves all voice requests. The other nodes admit the requests
//! of their clients and forward them to the leader (`forwarder.rs`).
//!
//! Access is checked in two places. The node that accepts the client's connection asks the host program, which embeds
//! this library, whether the client may connect, and counts the connection. The leader authenticates the user, because
//! it has the challenges that are signed: its tickets, and those of its calls. The leader also asks the website, and
//! asks the host program whether a user may enter a voice room.
//!
//! Each term of this node as leader starts with an empty [`VoiceService`], which ends with the term.

use std::{
    fmt,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, request::Parts},
    response::{IntoResponse, Response},
};
use p256::elliptic_curve::subtle::ConstantTimeEq;
use parking_lot::{Mutex, MutexGuard};
use switchboard_core::SpaceName;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    access::RequestAccess,
    answer::{VoiceError, VoiceResult, json, retry_later},
    endpoint::VoiceEndpoint,
    forwarder::Forwarder,
    host::{AdmittedRequest, ClusterContext, NodeSecret},
    leader::{Leader, Term, wait_for_leader},
    node_headers::{ACCESS, CLIENT, FIRST_FORMAT, FORMAT, FORWARD_FORMAT, NODE_SECRET},
    service::{SERVER_STOPS, VoiceService},
    state::VoiceState,
};

const OTHER_FORMAT: &str = "The node that forwarded this request runs a release with another format of forwarded requests than the voice leader. Retry when the upgrade of the cluster is complete.";

/// How long a request waits for a leader to be elected.
const LEADER_WAIT_MAX: Duration = Duration::from_secs(2);

/// Serves voice requests on this node if it is the leader, and forwards them otherwise.
pub(crate) struct ClusteredVoice {
    terms: watch::Receiver<Term>,
    secret: NodeSecret,
    forwarder: Forwarder,
    local: Mutex<LocalVoice>,
    /// Whether a wrong node secret has been logged.
    has_logged_mismatch: AtomicBool,
    /// Whether a request of another format has been logged.
    has_logged_format: AtomicBool,
}

/// The sender of a request: a client, or a node that forwards it.
#[derive(Clone, Copy)]
enum RequestSender {
    /// A client of this node.
    Client,
    /// Another node, with the client's address if that node knows it.
    Node(Option<IpAddr>),
    /// The node secret did not match: a node of another cluster, or a forged header.
    SecretMismatch,
    /// Another node, whose release has another format of forwarded requests.
    OtherFormat,
}

/// The voice service of this node.
struct LocalVoice {
    /// The number of the last term that has started here.
    term: u64,
    voice: Arc<VoiceService>,
}

impl fmt::Debug for ClusteredVoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusteredVoice")
            .field("terms", &self.terms)
            .finish_non_exhaustive()
    }
}

impl ClusteredVoice {
    /// Starts following the election. Must be called within a Tokio runtime.
    pub(crate) fn new(voice: &Arc<VoiceService>, cluster: ClusterContext) -> Arc<Self> {
        let ClusterContext { terms, secret } = cluster;
        let this = Arc::new(Self {
            forwarder: Forwarder::new(voice, terms.clone(), secret.clone()),
            terms,
            secret,
            local: Mutex::new(LocalVoice {
                term: 0,
                voice: voice.clone(),
            }),
            has_logged_mismatch: AtomicBool::new(false),
            has_logged_format: AtomicBool::new(false),
        });
        let following = this.clone().follow_terms(voice.drain.clone());
        voice.tasks.spawn(following);
        this
    }

    /// The calls and rooms of this node: none if another node has led since.
    pub(crate) fn state(&self) -> Arc<VoiceState> {
        self.local().voice.state.clone()
    }

    /// Whether this node is the leader.
    pub(crate) fn leads(&self) -> bool {
        self.terms.borrow().leader == Leader::ThisNode
    }

    /// Ends all streams and calls when the server shuts down.
    pub(crate) fn end(&self) {
        self.local().voice.state.end();
    }

    pub(crate) async fn serve(
        self: Arc<Self>,
        endpoint: VoiceEndpoint,
        request: Request,
    ) -> Response {
        let voice = self.local().voice.clone();
        let (mut parts, body) = request.into_parts();
        let sender = self.take_sender(&mut parts);
        let client = match sender {
            RequestSender::Node(client) => client,
            RequestSender::Client | RequestSender::SecretMismatch => {
                voice.host.client_address(&parts)
            }
            RequestSender::OtherFormat => None,
        };
        let answer = self.respond(&voice, endpoint, sender, parts, body).await;
        voice.finish_response(endpoint, client, answer)
    }

    async fn respond(
        &self,
        voice: &VoiceService,
        endpoint: VoiceEndpoint,
        sender: RequestSender,
        parts: Parts,
        body: Body,
    ) -> VoiceResult {
        if let Some(answer) = voice.answer_without_body(endpoint, &parts.method) {
            return answer;
        }
        let admitted = match sender {
            RequestSender::Node(address) => AdmittedRequest {
                permit: voice
                    .host
                    .admit_forwarded(&parts)
                    .map_err(VoiceError::Response)?,
                address,
                space: SpaceName::default(),
                access: RequestAccess::from_header(parts.headers.get(ACCESS)),
            },
            RequestSender::Client | RequestSender::SecretMismatch => voice.admit(&parts).await?,
            RequestSender::OtherFormat => {
                voice.metrics.forwards_refused.inc();
                return Err(retry_later(OTHER_FORMAT));
            }
        };
        if let VoiceEndpoint::Mode = endpoint {
            return Ok(json(voice.mode.clone()));
        }
        // A forwarded request is not forwarded again. If another node seems to be the leader, one of the two nodes has
        // not learned of the last election yet, so this one waits.
        let is_decided = |leader: &Leader| match leader {
            Leader::ThisNode => true,
            Leader::OtherNode(_) => !matches!(sender, RequestSender::Node(_)),
            Leader::DuplicateAddress | Leader::None => false,
        };
        let term = wait_for_leader(self.terms.clone(), is_decided, LEADER_WAIT_MAX).await;
        if let Some(answer) = voice.answer_without_body(endpoint, &parts.method) {
            return answer;
        }
        match &term.leader {
            Leader::ThisNode => {
                let voice = self.local_voice_in(&term).ok_or_else(no_leader)?;
                voice
                    .dispatch_within_rate(endpoint, admitted, parts, body)
                    .await
            }
            Leader::OtherNode(url) => {
                match sender {
                    RequestSender::Client => {}
                    RequestSender::Node(_) | RequestSender::OtherFormat => return Err(no_leader()),
                    RequestSender::SecretMismatch => return Err(self.reject_secret_mismatch()),
                }
                let is_source = matches!(endpoint, VoiceEndpoint::Publish(_));
                let forwarding = self.forwarder.forward(url, &term, admitted, parts, body);
                voice.await_forwarding(is_source, forwarding).await
            }
            Leader::DuplicateAddress => Err(retry_later(
                "The voice leader and this node advertise the same URL. Give each node its own URL.",
            )),
            Leader::None => Err(no_leader()),
        }
    }

    /// Removes the node headers from a request and returns the sender that they prove. [`ACCESS`] stays in a request
    /// of a node.
    fn take_sender(&self, parts: &mut Parts) -> RequestSender {
        let presented = parts.headers.remove(NODE_SECRET);
        let client = parts.headers.remove(CLIENT);
        let format = parts.headers.remove(FORMAT);
        let Some(presented) = presented else {
            parts.headers.remove(ACCESS);
            return RequestSender::Client;
        };
        let is_node = (self.secret)()
            .is_some_and(|secret| presented.as_bytes().ct_eq(secret.as_bytes()).into());
        let format = format.unwrap_or(FIRST_FORMAT);
        if is_node && format != FORWARD_FORMAT {
            self.warn_of_format(&format);
            RequestSender::OtherFormat
        } else if is_node {
            let address = || client?.to_str().ok()?.parse().ok();
            RequestSender::Node(address())
        } else {
            parts.headers.remove(ACCESS);
            RequestSender::SecretMismatch
        }
    }

    /// Rejects a request with a wrong node secret. It is not forwarded, because two nodes with different
    /// secrets could forward it to each other forever.
    fn reject_secret_mismatch(&self) -> VoiceError {
        if !self.has_logged_mismatch.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "forwarded voice request rejected: node secret mismatch (different engine.url or engine.prefix?)"
            );
        }
        retry_later("Request was forwarded by a node of another cluster (node secret mismatch).")
    }

    fn warn_of_format(&self, version: &HeaderValue) {
        if !self.has_logged_format.swap(true, Ordering::Relaxed) {
            let own_version = FORWARD_FORMAT;
            tracing::warn!(
                ?version,
                own_version,
                "forwarded voice request rejected: the release of its node has another format"
            );
        }
    }

    /// The local service for a term of this node, or `None` if that term has ended.
    fn local_voice_in(&self, term: &Term) -> Option<Arc<VoiceService>> {
        self.start_term(term);
        let local = self.local();
        (local.term == term.number).then(|| local.voice.clone())
    }

    /// Ends the service of earlier terms and starts an empty one, unless the term has started already.
    fn start_term(&self, term: &Term) {
        let mut local = self.local();
        if local.term >= term.number {
            return;
        }
        local.term = term.number;
        let next = local.voice.with_fresh_state();
        let ended = std::mem::replace(&mut local.voice, next);
        drop(local);
        ended.state.end();
    }

    /// Follows the election: each new term ends the local service of the previous one.
    async fn follow_terms(self: Arc<Self>, drain: CancellationToken) {
        let mut terms = self.terms.clone();
        loop {
            tokio::select! {
                () = drain.cancelled() => return,
                changed = terms.changed() => if changed.is_err() { return },
            }
            let term = terms.borrow_and_update().clone();
            self.start_term(&term);
        }
    }

    fn local(&self) -> MutexGuard<'_, LocalVoice> {
        self.local.lock()
    }
}

impl VoiceService {
    /// Awaits the response to a forwarded request. If this node shuts down before, an upload is answered here, because
    /// its body may be endless.
    async fn await_forwarding(
        &self,
        is_source: bool,
        forwarding: impl Future<Output = VoiceResult>,
    ) -> VoiceResult {
        if !is_source {
            return forwarding.await;
        }
        tokio::select! {
            answer = forwarding => answer,
            () = self.drain.cancelled() => Ok(SERVER_STOPS.into_response()),
        }
    }
}

fn no_leader() -> VoiceError {
    retry_later("No voice leader elected yet. Retry soon.")
}

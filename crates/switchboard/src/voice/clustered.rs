//! Voice on several nodes: one of them, the owner, does all of it. The others admit their clients'
//! requests and bring them to the owner (`away.rs`).
//!
//! What is known of who asks is known in two places. The node that a client is connected to asks the
//! host program whether it may connect, and counts it. That a user is who he says is settled where
//! voice is done: signatures are over challenges that the owner's tickets and calls hold, and the
//! site is asked by the owner, as is the host program whether somebody may enter a voice room.
//!
//! Each time this node becomes the owner, it begins with nothing: a [`VoiceService`] of its own, which ends
//! with the term.

use std::{
    fmt,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    extract::Request,
    http::{HeaderName, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use p256::elliptic_curve::subtle::ConstantTimeEq;
use switchboard_core::{ElectionId, LogId};
use tokio_util::sync::CancellationToken;

use super::{
    AdmittedRequest, SERVER_STOPS, VoiceEndpoint, VoiceService,
    answer::{VoiceError, VoiceResult, json},
    forwarder::Forwarder,
};
use crate::{
    config::Config,
    election::{Election, Leader, Term},
    server::Server,
};

/// Shows that a request comes from another node. A client's own is thrown away.
pub(super) const NODE_SECRET: HeaderName = HeaderName::from_static("x-switchboard-node-secret");

/// The client's address, said by the node that it is connected to.
pub(super) const CLIENT: HeaderName = HeaderName::from_static("x-switchboard-client");

/// How long a request waits until there is an owner.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The log in which nodes queue for voice.
pub(crate) fn election_log() -> LogId {
    LogId::Election(ElectionId::parse("voice", 0).expect("not empty"))
}

/// What the nodes share, if they know it yet.
pub(super) type NodeSecret = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// What a node must know of the others.
pub(crate) struct ClusterContext {
    /// Who does voice.
    pub(crate) election: Arc<Election>,
    /// What only nodes know. None: not known yet.
    pub(crate) secret: NodeSecret,
}

/// Voice, done by whoever of the nodes does it.
pub(crate) struct ClusteredVoice {
    config: Arc<Config>,
    election: Arc<Election>,
    secret: NodeSecret,
    forwarder: Forwarder,
    local: Mutex<LocalVoice>,
    has_met_strangers: AtomicBool,
}

/// Whom a request comes from.
#[derive(Clone, Copy)]
enum RequestSender {
    Client,
    /// A node, and the client's address as far as that is known there.
    Node(Option<IpAddr>),
    /// Whoever shows a secret that is not the nodes': a node of another switchboard, or a client.
    Stranger,
}

/// Voice as this node does it, in the term of this number or the next one.
struct LocalVoice {
    term: u64,
    voice: Arc<VoiceService>,
}

impl fmt::Debug for ClusteredVoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("duty", &self.election)
            .finish_non_exhaustive()
    }
}

impl ClusteredVoice {
    /// Must be called within a runtime, as engines are made.
    pub(super) fn new(
        voice: &Arc<VoiceService>,
        config: Arc<Config>,
        nodes: ClusterContext,
    ) -> Arc<Self> {
        let ClusterContext {
            election: duty,
            secret,
        } = nodes;
        let this = Arc::new(Self {
            config,
            forwarder: Forwarder::new(voice, duty.clone(), secret.clone()),
            election: duty,
            secret,
            local: Mutex::new(LocalVoice {
                term: 0,
                voice: voice.clone(),
            }),
            has_met_strangers: AtomicBool::new(false),
        });
        let keeping = this.clone().keep_to_terms(voice.drain.clone());
        voice.tasks.spawn(keeping);
        this
    }

    /// Ends all streams and calls: the server stops.
    pub(super) fn end(&self) {
        self.own().voice.state.end();
    }

    pub(super) async fn serve(
        self: Arc<Self>,
        server: &Server,
        endpoint: VoiceEndpoint,
        request: Request,
    ) -> Response {
        let voice = self.own().voice.clone();
        let answer = self.respond(&voice, server, endpoint, request).await;
        voice.add_headers(endpoint, answer)
    }

    async fn respond(
        &self,
        voice: &VoiceService,
        server: &Server,
        endpoint: VoiceEndpoint,
        request: Request,
    ) -> VoiceResult {
        if let Some(answer) = voice.answer_without_body(endpoint, request.method()) {
            return answer;
        }
        let (mut parts, body) = request.into_parts();
        let sender = self.take_sender(&mut parts);
        let guest = match sender {
            RequestSender::Node(address) => AdmittedRequest {
                permit: server
                    .admit_from_node(&parts)
                    .map_err(VoiceError::Response)?,
                address,
            },
            RequestSender::Client | RequestSender::Stranger => {
                AdmittedRequest::admit(server, &parts).await?
            }
        };
        if let VoiceEndpoint::Mode = endpoint {
            return Ok(json(voice.mode.clone()));
        }
        // What another node brings is not brought on: the two would differ in who the owner is.
        let is_wanted = |leader: &Leader| match leader {
            Leader::ThisNode => true,
            Leader::OtherNode(_) => !matches!(sender, RequestSender::Node(_)),
            Leader::DuplicateAddress | Leader::None => false,
        };
        let term = self.election.wait_for(is_wanted, TIMEOUT).await;
        if let Some(answer) = voice.answer_without_body(endpoint, &parts.method) {
            return answer;
        }
        match &term.leader {
            Leader::ThisNode => {
                let voice = self.local_voice_in(&term).ok_or_else(no_leader)?;
                voice
                    .dispatch_within_rate(endpoint, guest, parts, body)
                    .await
            }
            Leader::OtherNode(url) => {
                match sender {
                    RequestSender::Client => {}
                    RequestSender::Node(_) => return Err(no_leader()),
                    RequestSender::Stranger => return Err(self.reject_stranger()),
                }
                let is_source = matches!(endpoint, VoiceEndpoint::Up(_));
                let bringing = self.forwarder.forward(url, &term, guest, parts, body);
                voice.until_term_ends(is_source, bringing).await
            }
            Leader::DuplicateAddress => Err(retry_later(
                "The node that does voice cannot be told from this one: both advertise the same URL.",
            )),
            Leader::None => Err(no_leader()),
        }
    }

    /// Takes what nodes say to each other out of a request.
    fn take_sender(&self, parts: &mut Parts) -> RequestSender {
        let shown = parts.headers.remove(NODE_SECRET);
        let client = parts.headers.remove(CLIENT);
        let Some(shown) = shown else {
            return RequestSender::Client;
        };
        let is_node =
            (self.secret)().is_some_and(|secret| shown.as_bytes().ct_eq(secret.as_bytes()).into());
        if is_node {
            let address = || client?.to_str().ok()?.parse().ok();
            RequestSender::Node(address())
        } else {
            RequestSender::Stranger
        }
    }

    /// What a stranger brings is not brought on: it may come from a node that would be brought it
    /// again, and so on for ever.
    fn reject_stranger(&self) -> VoiceError {
        if !self.has_met_strangers.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "a request for voice shows a secret that is not this switchboard's, as from a node with another engine; such requests get 503"
            );
        }
        retry_later("The node that brought this belongs to another switchboard.")
    }

    /// Voice as it is done here in a term of this node's, unless that is over.
    fn local_voice_in(&self, term: &Term) -> Option<Arc<VoiceService>> {
        self.start_term(term);
        let own = self.own();
        (own.term == term.number).then(|| own.voice.clone())
    }

    /// Ends what has been done here in terms before this one, and begins anew.
    fn start_term(&self, term: &Term) {
        let mut own = self.own();
        if own.term >= term.number {
            return;
        }
        own.term = term.number;
        let next = own.voice.anew(&self.config);
        let ended = std::mem::replace(&mut own.voice, next);
        drop(own);
        ended.state.end();
    }

    /// Ends what is done here as soon as another node is to do it.
    async fn keep_to_terms(self: Arc<Self>, drain: CancellationToken) {
        let mut terms = self.election.terms();
        loop {
            tokio::select! {
                () = drain.cancelled() => return,
                changed = terms.changed() => if changed.is_err() { return },
            }
            let term = terms.borrow_and_update().clone();
            self.start_term(&term);
        }
    }

    fn own(&self) -> MutexGuard<'_, LocalVoice> {
        self.local.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl VoiceService {
    /// A source's body goes on for as long as the server does, and is answered when it stops.
    async fn until_term_ends(
        &self,
        is_source: bool,
        bringing: impl Future<Output = VoiceResult>,
    ) -> VoiceResult {
        if !is_source {
            return bringing.await;
        }
        tokio::select! {
            answer = bringing => answer,
            () = self.drain.cancelled() => Ok(SERVER_STOPS.into_response()),
        }
    }
}

fn no_leader() -> VoiceError {
    retry_later("Which node does voice is being settled. Come back soon.")
}

/// A refusal that will soon be another answer.
pub(super) fn retry_later(words: &'static str) -> VoiceError {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let refusal = (status, [(header::RETRY_AFTER, "1")], format!("{words}\n"));
    VoiceError::from(refusal.into_response())
}

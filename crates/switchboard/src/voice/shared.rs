//! Voice on several nodes: one of them, the owner, does all of it. The others admit their clients'
//! requests and bring them to the owner (`away.rs`).
//!
//! What is known of who asks is known in two places. The node that a client is connected to asks the
//! host program whether it may connect, and counts it. That a user is who he says is settled where
//! voice is done: signatures are over challenges that the owner's tickets and calls hold, and the
//! site is asked by the owner, as is the host program whether somebody may enter a voice room.
//!
//! Each time this node becomes the owner, it begins with nothing: a [`Voice`] of its own, which ends
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
use switchboard_core::{Duty as DutyName, LogId};
use tokio_util::sync::CancellationToken;

use super::{
    Endpoint, Guest, STOPS, Voice,
    answer::{Answer, Refusal, json},
    away::Away,
};
use crate::{
    config::Config,
    duty::{Duty, Leader, Term},
    server::Server,
};

/// Shows that a request comes from another node. A client's own is thrown away.
pub(super) const NODE_SECRET: HeaderName = HeaderName::from_static("x-switchboard-node-secret");

/// The client's address, said by the node that it is connected to.
pub(super) const CLIENT: HeaderName = HeaderName::from_static("x-switchboard-client");

/// How long a request waits until there is an owner.
const PATIENCE: Duration = Duration::from_secs(2);

/// The log in which nodes queue for voice.
pub(crate) fn duty_log() -> LogId {
    LogId::Duty(DutyName::parse("voice", 0).expect("not empty"))
}

/// What the nodes share, if they know it yet.
pub(super) type Secret = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// What a node must know of the others.
pub(crate) struct Nodes {
    /// Who does voice.
    pub(crate) duty: Arc<Duty>,
    /// What only nodes know. None: not known yet.
    pub(crate) secret: Secret,
}

/// Voice, done by whoever of the nodes does it.
pub(crate) struct Shared {
    config: Arc<Config>,
    duty: Arc<Duty>,
    secret: Secret,
    away: Away,
    own: Mutex<Own>,
    has_met_strangers: AtomicBool,
}

/// Whom a request comes from.
#[derive(Clone, Copy)]
enum Sender {
    Client,
    /// A node, and the client's address as far as that is known there.
    Node(Option<IpAddr>),
    /// Whoever shows a secret that is not the nodes': a node of another switchboard, or a client.
    Stranger,
}

/// Voice as this node does it, in the term of this number or the next one.
struct Own {
    term: u64,
    voice: Arc<Voice>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("duty", &self.duty)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Must be called within a runtime, as engines are made.
    pub(super) fn new(voice: &Arc<Voice>, config: Arc<Config>, nodes: Nodes) -> Arc<Self> {
        let Nodes { duty, secret } = nodes;
        let this = Arc::new(Self {
            config,
            away: Away::new(voice, duty.clone(), secret.clone()),
            duty,
            secret,
            own: Mutex::new(Own {
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
        self.own().voice.desk.end();
    }

    pub(super) async fn serve(
        self: Arc<Self>,
        server: &Server,
        endpoint: Endpoint,
        request: Request,
    ) -> Response {
        let voice = self.own().voice.clone();
        let answer = self.respond(&voice, server, endpoint, request).await;
        voice.dress(endpoint, answer)
    }

    async fn respond(
        &self,
        voice: &Voice,
        server: &Server,
        endpoint: Endpoint,
        request: Request,
    ) -> Answer {
        if let Some(answer) = voice.answer_at_the_door(endpoint, request.method()) {
            return answer;
        }
        let (mut parts, body) = request.into_parts();
        let sender = self.take_sender(&mut parts);
        let guest = match sender {
            Sender::Node(address) => Guest {
                permit: server.admit_from_node(&parts).map_err(Refusal::Ready)?,
                address,
            },
            Sender::Client | Sender::Stranger => Guest::admit(server, &parts).await?,
        };
        if let Endpoint::Mode = endpoint {
            return Ok(json(voice.mode.clone()));
        }
        // What another node brings is not brought on: the two would differ in who the owner is.
        let is_wanted = |leader: &Leader| match leader {
            Leader::Here => true,
            Leader::There(_) => !matches!(sender, Sender::Node(_)),
            Leader::Namesake | Leader::Nobody => false,
        };
        let term = self.duty.wait_for(is_wanted, PATIENCE).await;
        if let Some(answer) = voice.answer_at_the_door(endpoint, &parts.method) {
            return answer;
        }
        match &term.leader {
            Leader::Here => {
                let voice = self.in_term(&term).ok_or_else(unsettled)?;
                voice.attend_within_rate(endpoint, guest, parts, body).await
            }
            Leader::There(url) => {
                match sender {
                    Sender::Client => {}
                    Sender::Node(_) => return Err(unsettled()),
                    Sender::Stranger => return Err(self.turn_away()),
                }
                let is_source = matches!(endpoint, Endpoint::Up(_));
                let bringing = self.away.bring(url, &term, guest, parts, body);
                voice.unless_it_stops(is_source, bringing).await
            }
            Leader::Namesake => Err(come_back(
                "The node that does voice cannot be told from this one: both advertise the same URL.",
            )),
            Leader::Nobody => Err(unsettled()),
        }
    }

    /// Takes what nodes say to each other out of a request.
    fn take_sender(&self, parts: &mut Parts) -> Sender {
        let shown = parts.headers.remove(NODE_SECRET);
        let client = parts.headers.remove(CLIENT);
        let Some(shown) = shown else {
            return Sender::Client;
        };
        let is_node =
            (self.secret)().is_some_and(|secret| shown.as_bytes().ct_eq(secret.as_bytes()).into());
        if is_node {
            let address = || client?.to_str().ok()?.parse().ok();
            Sender::Node(address())
        } else {
            Sender::Stranger
        }
    }

    /// What a stranger brings is not brought on: it may come from a node that would be brought it
    /// again, and so on for ever.
    fn turn_away(&self) -> Refusal {
        if !self.has_met_strangers.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "a request for voice shows a secret that is not this switchboard's, as from a node with another engine; such requests get 503"
            );
        }
        come_back("The node that brought this belongs to another switchboard.")
    }

    /// Voice as it is done here in a term of this node's, unless that is over.
    fn in_term(&self, term: &Term) -> Option<Arc<Voice>> {
        self.turn_to(term);
        let own = self.own();
        (own.term == term.number).then(|| own.voice.clone())
    }

    /// Ends what has been done here in terms before this one, and begins anew.
    fn turn_to(&self, term: &Term) {
        let mut own = self.own();
        if own.term >= term.number {
            return;
        }
        own.term = term.number;
        let next = own.voice.anew(&self.config);
        let ended = std::mem::replace(&mut own.voice, next);
        drop(own);
        ended.desk.end();
    }

    /// Ends what is done here as soon as another node is to do it.
    async fn keep_to_terms(self: Arc<Self>, drain: CancellationToken) {
        let mut terms = self.duty.terms();
        loop {
            tokio::select! {
                () = drain.cancelled() => return,
                changed = terms.changed() => if changed.is_err() { return },
            }
            let term = terms.borrow_and_update().clone();
            self.turn_to(&term);
        }
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Voice {
    /// A source's body goes on for as long as the server does, and is answered when it stops.
    async fn unless_it_stops(
        &self,
        is_source: bool,
        bringing: impl Future<Output = Answer>,
    ) -> Answer {
        if !is_source {
            return bringing.await;
        }
        tokio::select! {
            answer = bringing => answer,
            () = self.drain.cancelled() => Ok(STOPS.into_response()),
        }
    }
}

fn unsettled() -> Refusal {
    come_back("Which node does voice is being settled. Come back soon.")
}

/// A refusal that will soon be another answer.
pub(super) fn come_back(words: &'static str) -> Refusal {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let refusal = (status, [(header::RETRY_AFTER, "1")], format!("{words}\n"));
    Refusal::from(refusal.into_response())
}

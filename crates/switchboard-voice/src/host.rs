//! The parts of the application that voice uses.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use axum::{http::request::Parts, response::Response};
use futures_util::future::BoxFuture;
use switchboard_core::{Limits, RoomName, SpaceName};
use switchboard_transport::{AddressRates, Counters, Heartbeat, JoinCheck, Permit};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    access::RequestAccess, config::VoiceConfig, id::User, leader::Term, metrics::VoiceMetrics,
};

/// The application that serves voice: it admits requests, calls the access checks, and has the metrics.
pub trait VoiceHost: fmt::Debug + Send + Sync + 'static {
    /// Admits the request of a client by the same rules as a connection: the connection limits, and the access check of
    /// the host program, which embeds this library. The error is the response.
    fn admit<'a>(&'a self, request: &'a Parts) -> BoxFuture<'a, Result<AdmittedRequest, Response>>;

    /// Admits a request that another node has admitted and forwarded. It is counted in the total of connections, but
    /// not for its address, because the other node counts it there. The error is the response.
    fn admit_forwarded(&self, request: &Parts) -> Result<Permit, Box<Response>>;

    /// Checks the policies of a voice room that a user wants to enter. Returns the max number of its members, 0 for no
    /// limit. `is_member`: the user is in the room already, with its microphone or its headphones.
    ///
    /// # Errors
    /// The text of the refusal.
    fn check_room_policy(
        &self,
        user: &User,
        room: &RoomName,
        is_member: bool,
    ) -> Result<usize, Arc<str>>;

    /// Counts a user that has not entered because the room has the maximum number of members that its policy allows.
    fn count_full_room(&self);

    /// Starts the access check of the host program for a user that enters a voice room. `None` if every user may.
    fn check_join(&self, user: &User, room: RoomName) -> Option<JoinCheck>;

    /// Refuses a user that an operator has banned.
    ///
    /// # Errors
    /// If the user is banned.
    fn check_user(&self, user: &User) -> Result<(), UserBanned>;

    /// The address of the client of a request, if it is known.
    fn client_address(&self, request: &Parts) -> Option<IpAddr>;

    /// The rate limits of expensive requests, by address.
    fn rates(&self) -> &AddressRates;

    /// The response to a request over such a limit. The client may try again after `wait`.
    fn rate_limit_response(&self, wait: Duration) -> Response;

    /// The metrics of connections, which count voice requests too.
    fn counters(&self) -> &Counters;
}

/// An operator has banned the user, for this reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UserBanned(pub String);

/// A request that the application has admitted.
#[derive(Debug)]
pub struct AdmittedRequest {
    /// Counts the request as a connection while it is held.
    pub permit: Permit,
    /// The address of the client, if it is known.
    pub address: Option<IpAddr>,
    /// The namespace of the client. Voice is available in the default one only.
    pub space: SpaceName,
    /// The access of the client.
    pub access: RequestAccess,
}

/// Returns the secret that the nodes of the cluster share, or `None` if it is not known yet.
pub type NodeSecret = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// The parts of the cluster that voice uses: its elected leader, and the node secret.
pub struct ClusterContext {
    /// The current leader and all following ones.
    pub terms: watch::Receiver<Term>,
    /// Authenticates the requests that nodes forward.
    pub secret: NodeSecret,
}

impl fmt::Debug for ClusterContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterContext")
            .field("terms", &self.terms)
            .finish_non_exhaustive()
    }
}

/// The application, settings and tasks that all parts of voice share.
#[derive(Clone, Debug)]
pub struct VoiceContext {
    /// The application that serves voice.
    pub host: Arc<dyn VoiceHost>,
    /// The settings of voice.
    pub config: Arc<VoiceConfig>,
    /// The limits of names and frames.
    pub limits: Arc<Limits>,
    /// The detection of dead clients.
    pub heartbeat: Heartbeat,
    /// The metrics of voice.
    pub metrics: VoiceMetrics,
    /// Cancelled when the server shuts down.
    pub drain: CancellationToken,
    /// The tasks that a shutdown waits for.
    pub tasks: TaskTracker,
}

//! The transport: listeners, TLS, WebSocket connections and their limits.
//!
//! Each connection has one task. The task passes frames to the [`SessionMachine`] of the connection, pops
//! events from its [`Outbox`], and sends requests to the [`HubClient`]. The events of an idle connection are handled by
//! the thread that has pushed them ([`PendingWakes`]).
//!
//! [`SessionMachine`]: switchboard_session::SessionMachine
#![warn(missing_docs)]

use std::{
    fmt,
    future::Future,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use switchboard_core::{HubRequest, Peer, PeerId, RoomId};
use switchboard_dialects::WebhookRequest;
use switchboard_session::{AccessRefusal, AuthenticatedClient};

mod address_rates;
mod connection_log;
mod counters;
mod deadline_timer;
mod failed_auth;
pub mod frame;
pub mod http_client;
mod listen;
mod live;
mod log_text;
mod metrics;
mod outbox;
mod pending_wake;
mod permits;
mod plain_http;
mod refused_connections;
mod rejected_frames;
mod session_registry;
mod size_histogram;
mod socket;
mod timed_stream;
mod tls;
pub mod upgrade;
mod upgraded_stream;
pub mod websocket;

pub use address_rates::AddressRates;
pub use counters::Counters;
pub use deadline_timer::DeadlineTimer;
pub use failed_auth::{Delay, FailedAuth, HeldAnswer};
pub use frame::Violation;
pub use http_client::{HttpClient, HttpClientError, HttpConnection};
pub use listen::{
    ConnectionAbort, ConnectionPermit, ListenError, Listener, ProbeReserve, ServeConfig,
};
pub use live::Live;
pub use log_text::log_text;
pub use metrics::{CountUp, MetricsRegistry};
pub use outbox::Outbox;
pub use pending_wake::{PendingWake, PendingWakes};
pub use permits::{ConnectionLimit, Permit, PermitPool, canonical_net, network};
pub use plain_http::redirect_router;
pub use refused_connections::{
    RefusalCount, RefusalCounts, RefusalReason, RefusedClient, RefusedConnections,
};
pub use session_registry::{SessionRegistry, SessionStatus};
pub use size_histogram::SizeHistogram;
pub use socket::{Socket, SocketError};
pub use switchboard_session::{FillLevel, Heartbeat, QueueMemory, TokenBucket};
pub use timed_stream::RequestTimeouts;
pub use tls::{ACME_TLS_PROTOCOL, HostFilter, Tls, TlsSetup};
pub use upgrade::Upgrade;
pub use upgraded_stream::UpgradedStream;

/// The handle by which hubs send events to a local connection.
pub type OutboxHandle = Arc<Outbox>;

/// The pending access check of a join: `Ok` if the peer may join, otherwise an optional text for the client.
pub type JoinCheck = Pin<Box<dyn Future<Output = Result<(), Option<Arc<str>>>> + Send>>;

/// The pending response of a web service: the body, or `None` if the status is not 200 or the response is
/// late.
pub type WebhookResponse = Pin<Box<dyn Future<Output = Option<String>> + Send>>;

/// The hubs of the node, as connections use them.
pub trait HubClient: Send + Sync + fmt::Debug {
    /// Sends a request to the hub of its room or name. Answers and other events arrive in outboxes, before
    /// this returns or later.
    fn request(&self, peer: PeerId, outbox: &OutboxHandle, request: HubRequest);

    /// Sends a request at the time `now`, which saves a reading of the clock.
    fn request_at(&self, peer: PeerId, outbox: &OutboxHandle, request: HubRequest, _now: Instant) {
        self.request(peer, outbox, request);
    }

    /// The connection of this peer has ended. Called once, while the memberships of the peer are released.
    fn on_disconnected(&self, _peer: &Peer, _ended: &EndedConnection<'_>) {}
}

/// The access checks of the host program (the program that embeds the server as a library).
pub trait JoinAuthorizer: Send + Sync + fmt::Debug {
    /// Starts the access check for a join of this room with this address. `None` if every peer may join.
    fn check_join(&self, peer: &Peer, room: &RoomId, address: Option<&str>) -> Option<JoinCheck>;
}

/// The pending authentication of a client by a credential in one of its frames.
pub type SessionAuthentication =
    Pin<Box<dyn Future<Output = Result<AuthenticatedClient, AccessRefusal>> + Send>>;

/// The authenticators, as connections use them.
pub trait SessionAuthenticator: Send + Sync + fmt::Debug {
    /// Authenticates a client by the credential in one of its frames: its first frame, or one that renews its access.
    fn authenticate(
        &self,
        peer: &Peer,
        client: Option<IpAddr>,
        credential: &str,
    ) -> SessionAuthentication;
}

/// The client for web services of the operator.
pub trait WebhookClient: Send + Sync + fmt::Debug {
    /// Sends a webhook request. Dropping the future cancels the request.
    fn send_webhook(&self, request: WebhookRequest) -> WebhookResponse;

    /// Sends a webhook request whose response is ignored.
    fn send_webhook_detached(&self, request: WebhookRequest);
}

/// The end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct EndedConnection<'a> {
    /// The address of the client, if it is known.
    pub client: Option<IpAddr>,
    /// The close code that the server sends; `None` if the client has ended the connection or was lost.
    pub code: Option<u16>,
    /// The reason, as in the log.
    pub reason: &'a str,
    /// The duration of the connection.
    pub duration: Duration,
}

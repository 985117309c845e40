//! The carriers: how bytes come in and go out.
//!
//! One task per connection. It hands frames to the connection's [`ClientSession`] and takes events
//! from its [`Outbox`]; everything in between is behind the [`NodeHandle`].
//!
//! [`ClientSession`]: switchboard_dialect::ClientSession
#![warn(missing_docs)]

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use switchboard_core::{HubRequest, Peer, PeerId, RoomId};
use switchboard_dialect::WebhookRequest;

mod address_rates;
mod bucket;
mod budget;
mod connection_state;
mod counters;
pub mod frame;
mod listen;
mod outbox;
mod permits;
mod queue_memory;
mod refusal_log;
mod socket;
mod timed_stream;
mod tls;
pub mod upgrade;
mod upgraded_stream;
pub mod websocket;

pub use address_rates::AddressRates;
pub use bucket::TokenBucket;
pub use connection_state::Heartbeat;
pub use counters::Counters;
pub use frame::Violation;
pub use listen::{
    ConnectionAbort, ConnectionPermit, ListenError, Listener, ProbeReserve, ServeConfig,
};
pub use outbox::{FillLevel, Outbox};
pub use permits::{ConnectionLimit, Permit, PermitPool, canonical_net, network};
pub use queue_memory::QueueMemory;
pub use socket::{Socket, SocketError};
pub use timed_stream::RequestTimeouts;
pub use tls::Tls;
pub use upgrade::Upgrade;
pub use upgraded_stream::UpgradedStream;

/// A local connection, as the hubs know it.
pub type OutboxHandle = Arc<Outbox>;

/// An access check that takes time.
pub type JoinCheck = Pin<Box<dyn Future<Output = bool> + Send>>;

/// A request to a web service: the body of the answer, if its status is 200 and it comes in time.
pub type WebhookResponse = Pin<Box<dyn Future<Output = Option<String>> + Send>>;

/// The node behind the carriers.
pub trait NodeHandle: Send + Sync + fmt::Debug + 'static {
    /// Asks the hub in charge. Answers and consequences come through outboxes, before this returns
    /// or later.
    fn request(&self, peer: PeerId, local: &OutboxHandle, ask: HubRequest);

    /// Whether this peer may enter this room. `None`: yes, without asking.
    fn check_join(&self, peer: &Peer, room: &RoomId) -> Option<JoinCheck>;

    /// Makes a session's request. Dropped, it is given up.
    fn send_webhook(&self, post: WebhookRequest) -> WebhookResponse;

    /// Makes a request that nobody waits for.
    fn send_webhook_detached(&self, post: WebhookRequest);

    /// Where to count.
    fn counters(&self) -> &Counters;
}

//! The carriers: how bytes come in and go out.
//!
//! One task per connection. It hands frames to the connection's [`Conversation`] and takes events
//! from its [`Outbox`]; everything in between is behind the [`Exchange`].
//!
//! [`Conversation`]: switchboard_dialect::Conversation
#![warn(missing_docs)]

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use switchboard_core::{Ask, Peer, PeerId, RoomId};
use switchboard_dialect::Post;

mod address_rates;
mod bucket;
mod budget;
mod counters;
pub mod frame;
mod line;
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
pub use bucket::Bucket;
pub use counters::Counters;
pub use frame::Violation;
pub use line::Heartbeat;
pub use listen::{Arrival, Hangup, ListenError, Listener, Reserve, Terms};
pub use outbox::{Backlog, Outbox};
pub use permits::{Full, Permit, Permits, canonical_net, network};
pub use queue_memory::QueueMemory;
pub use socket::{Fault, Socket};
pub use timed_stream::RequestTimeouts;
pub use tls::Tls;
pub use upgrade::Upgrade;
pub use upgraded_stream::UpgradedStream;

/// A local connection, as the hubs know it.
pub type Local = Arc<Outbox>;

/// An access check that takes time.
pub type Check = Pin<Box<dyn Future<Output = bool> + Send>>;

/// A request to a web service: the body of the answer, if its status is 200 and it comes in time.
pub type Posted = Pin<Box<dyn Future<Output = Option<String>> + Send>>;

/// The node behind the carriers.
pub trait Exchange: Send + Sync + fmt::Debug + 'static {
    /// Asks the hub in charge. Answers and consequences come through outboxes, before this returns
    /// or later.
    fn ask(&self, peer: PeerId, local: &Local, ask: Ask);

    /// Whether this peer may enter this room. `None`: yes, without asking.
    fn may_join(&self, peer: &Peer, room: &RoomId) -> Option<Check>;

    /// Makes a session's request. Dropped, it is given up.
    fn post(&self, post: Post) -> Posted;

    /// Makes a request that nobody waits for.
    fn post_later(&self, post: Post);

    /// Where to count.
    fn counters(&self) -> &Counters;
}

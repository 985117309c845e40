//! The parts of the authenticator `webhook` that need no sockets: its settings, the signature of a request, the bodies
//! of questions and decisions, the circuit breaker and the fair queue. The server sends the requests.

use std::{fmt, time::Duration};

mod breaker;
mod decision;
mod fair_queue;
mod question;
mod signature;

pub use breaker::{Attempt, Breaker, BreakerChange};
pub use decision::{ConnectDecision, DecisionError, JoinDecision};
pub use fair_queue::{FairQueue, QueueTicket, StartResult};
pub use question::{JoinQuestion, connect_question};
pub use signature::{
    EVENT_ID_HEADER, SIGNATURE_HEADER, SIGNATURE_WINDOW_SECS, TIMESTAMP_HEADER, sign,
};

/// An occasion on which the webhook of `access.webhook` is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessEvent {
    /// A client connects: the webhook authenticates it.
    Connect,
    /// A client joins a room: the webhook allows it or not.
    Join,
}

impl AccessEvent {
    /// All occasions.
    pub const ALL: [Self; 2] = [Self::Connect, Self::Join];

    /// The name in the settings and in the field `event` of a request.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Join => "join",
        }
    }
}

/// The settings of the webhook that decides about clients.
#[derive(Clone)]
pub struct AccessWebhook {
    /// The URL; empty for none.
    pub url: String,
    /// The secret that signs the requests.
    pub secret: String,
    /// The time for a decision, the wait for other requests included.
    pub timeout: Duration,
    /// The concurrent requests. One address or room has at most a quarter of them.
    pub concurrency: usize,
    /// The occasions on which the webhook is called.
    pub events: Vec<AccessEvent>,
}

impl Default for AccessWebhook {
    fn default() -> Self {
        Self {
            url: String::new(),
            secret: String::new(),
            timeout: Duration::from_secs(5),
            concurrency: 64,
            events: AccessEvent::ALL.to_vec(),
        }
    }
}

impl fmt::Debug for AccessWebhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessWebhook")
            .field("timeout", &self.timeout)
            .field("concurrency", &self.concurrency)
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}

impl AccessWebhook {
    /// Whether the webhook is called on this occasion.
    #[must_use]
    pub fn has(&self, event: AccessEvent) -> bool {
        !self.url.is_empty() && self.events.contains(&event)
    }
}

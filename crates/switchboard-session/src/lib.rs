//! The session of one client, free of I/O and clocks.
//!
//! A [`SessionMachine`] combines the [`ClientSession`] of a client (its protocol state), its budgets (rate limits), its
//! heartbeat, and the decisions that it waits for: results of access checks and webhook requests. Inputs carry the
//! time; each step fills a [`SessionOutput`](switchboard_dialects::SessionOutput) in place. The driver, which owns the
//! connection and does its I/O, executes the output. Events from hubs (the state machines of the rooms) wait in an
//! [`EventQueue`].
#![warn(missing_docs)]

mod bucket;
mod budget;
mod client_session;
mod event_queue;
mod kept_output;
mod machine;
mod peer_set;
mod queue_memory;
mod suspended;

pub use bucket::TokenBucket;
pub use budget::SpentBudgets;
pub use client_session::{
    AccessRefusal, AuthenticatedClient, ClientSession, CredentialFrames, SessionAccess,
};
pub use event_queue::{EventQueue, FillLevel, Overflow, PendingCharges, PopMode};
pub use machine::{Heartbeat, SessionMachine};
pub use queue_memory::{QueueMemory, QueueOwner, QueueUsage, UNCOUNTED_BYTES};
pub use suspended::{Awaited, Decision, Resumed};

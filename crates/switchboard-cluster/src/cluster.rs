//! A cluster of nodes over a shared store: everything except the store itself.

mod envelope;
mod failure_detector;
pub mod model;
mod node;
mod outbox;
mod replica;
pub mod store;

pub(crate) use envelope::approximate_bytes;
pub use node::{HEARTBEATS_PER_LEASE, Node, NodeEffect, NodeInput, NodeSettings};

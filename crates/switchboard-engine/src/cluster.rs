//! A cluster over a shared store: everything but the store itself.

mod mail;
pub mod model;
mod node;
mod outbox;
mod replica;
pub mod store;
mod watch;

pub(crate) use mail::weight;
pub use node::{BEATS_PER_LEASE, Effect, Input, Node, Settings};

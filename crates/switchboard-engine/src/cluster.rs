//! A cluster over a shared store: everything but the store itself.

mod mail;
pub mod model;
mod node;
mod replica;
pub mod store;
mod watch;

pub use node::{Effect, Input, Node, Settings};

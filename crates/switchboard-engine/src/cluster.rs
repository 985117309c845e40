//! A cluster over a shared store: everything but the store itself.

pub mod store;

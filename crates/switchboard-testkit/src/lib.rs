//! Switchboard without sockets: one hub, any number of clients, and virtual time.
//!
//! A [`Simulation`] connects sessions, hub and outboxes like the server, but never waits, and its random numbers come
//! from a seed: the same calls give the same frames, byte for byte. A test can hold outboxes back and decide when each
//! client gets its events. The events of one client keep their order, as on a socket.
//!
//! [`engine_contract`] checks an engine; [`InMemoryStore`] is the reference for the stores of clusters. [`transcript`] replays recorded sessions; [`fuzz`] runs arbitrary inputs.
#![warn(missing_docs)]

mod client;
pub mod cluster;
pub mod engine_contract;
pub mod fuzz;
mod in_memory_store;
pub mod resumable;
mod shared_store;
mod simulation;
pub mod transcript;

pub use client::{ClientId, SentFrame};
pub use in_memory_store::InMemoryStore;
pub use shared_store::{SharedConnection, SharedStore, StoreAway};
pub use simulation::{RecordedChange, Simulation, permissive_settings};

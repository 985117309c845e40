//! Switchboard without sockets, for tests.
//!
//! A [`Simulation`] is a server in virtual time: one hub (the rooms), the sessions of its clients, and their outboxes
//! (the events that are not sent yet). Its random numbers come from a seed, so the same calls give the same frames,
//! byte for byte. A test can hold outboxes back and decide when each client gets its events. The events of one client
//! keep their order, as on a socket.
//!
//! [`cluster`] simulates several nodes over an [`InMemoryStore`], the model with which the store over Redis is
//! compared. [`engine_contract`] checks an engine. [`transcript`] replays recorded sessions. [`fuzz`] runs arbitrary
//! inputs.
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

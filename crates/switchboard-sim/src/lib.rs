//! Switchboard without sockets: one hub, any number of clients, and a clock that only the test moves.
//!
//! A [`Simulation`] does what the server's shell does (it hands frames to conversations, asks to the hub
//! and events to outboxes), but nothing in it waits, and chance comes from a seed: the same calls
//! give the same conversation, byte for byte. An outbox can be held back, so that a test decides
//! who hears of what when; what one client is told keeps its order, as on a socket.
//!
//! [`transcript`] replays golden conversations in it; [`fuzz`] feeds it anything at all.
#![warn(missing_docs)]

mod client;
pub mod cluster;
pub mod fuzz;
mod simulation;
pub mod transcript;

pub use client::{ClientId, SentFrame};
pub use simulation::{RecordedChange, Simulation, permissive_settings};

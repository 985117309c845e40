//! Everything that can be tested without a socket.

mod accent;
mod behaviour;
mod candidates;
mod cluster;
mod corpora;
mod growth;
mod judge;
mod names;
mod play;
mod promises;
mod races;
mod topics;
mod transcripts;

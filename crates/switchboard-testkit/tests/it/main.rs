//! Everything that can be tested without a socket.

mod behaviour;
mod candidates;
mod cluster;
mod corpora;
mod drivers;
mod growth;
mod names;
mod oracle;
mod promises;
mod races;
mod random_run;
mod topics;
mod transcripts;

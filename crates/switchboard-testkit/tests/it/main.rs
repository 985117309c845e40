//! Tests of the dialects and of the cluster in simulations, without sockets.

mod behaviour;
mod candidates;
mod cluster;
mod corpora;
mod drivers;
mod engines;
mod formats;
mod growth;
mod invariants;
mod json;
mod names;
mod oracle;
mod races;
mod random_run;
mod restored_store;
mod resume;
mod topics;
mod transcripts;

//! Tests of the mixer through its public interface: recorded streams are parsed and decoded.

mod formats;
mod intake;
mod jitter;
mod random_run;
mod saved;
mod spectrum;
mod sums;
mod tones;

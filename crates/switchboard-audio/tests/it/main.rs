//! The mixer from outside: what listeners save is taken apart and decoded again.

mod ear;
mod formats;
mod intake;
mod jitter;
mod saved;
mod sums;
mod tones;
mod weather;

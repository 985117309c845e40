//! The mixer from outside: what listeners save is taken apart and decoded again.

mod formats;
mod intake;
mod jitter;
mod random_run;
mod saved;
mod spectrum;
mod sums;
mod tones;

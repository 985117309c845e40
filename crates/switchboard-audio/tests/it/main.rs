//! Tests of the mixer through its public interface: recorded streams are parsed and decoded.

mod formats;
mod jitter;
mod latency;
mod pcm_decoder;
mod random_run;
mod recording;
mod saved;
mod sums;
mod tones;

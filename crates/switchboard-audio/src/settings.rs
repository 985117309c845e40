//! The settings of a mixer.

use std::time::Duration;

use crate::{FRAME_SAMPLES, SAMPLE_RATE};

/// The settings of a mixer. Values out of range are clamped, not rejected.
#[derive(Clone, Debug, PartialEq)]
pub struct MixSettings {
    /// Maximum audio buffered per source; older samples are dropped. At least one frame, at most 10 s.
    pub latency_max: Duration,
    /// How long the audio of a listener without a source is gathered before it is sent, unless the listener requests
    /// another time: 20 ms to 1 s. Zero: 60 ms for Ogg and 20 ms for WAV, as for listeners with a source.
    pub listener_latency: Duration,
    /// Whether the mix for a user includes the user's own sources.
    pub echo_self: bool,
    /// Bitrate of Opus streams in bit/s, 6,000 to 256,000.
    pub opus_bitrate: u32,
    /// Complexity of the Opus encoder, 0 to 10.
    pub opus_complexity: u8,
    /// Quality of Vorbis streams, -0.2 to 1.0. Below 0.3, the encoder makes pure tones quieter. Unused without the cargo
    /// feature `vorbis`.
    pub vorbis_quality: f32,
}

impl Default for MixSettings {
    fn default() -> Self {
        Self {
            latency_max: Duration::from_millis(200),
            // A listener without a source may be about to take part in a conversation, and its player does not catch up
            // the delay that longer pages have added.
            listener_latency: Duration::ZERO,
            echo_self: false,
            opus_bitrate: 24_000,
            opus_complexity: 5,
            vorbis_quality: 0.4,
        }
    }
}

impl MixSettings {
    /// `latency_max` in samples.
    pub(crate) fn latency_samples_max(&self) -> usize {
        let latency = self.latency_max.min(Duration::from_secs(10));
        let samples = latency.as_micros() * u128::from(SAMPLE_RATE) / 1_000_000;
        usize::try_from(samples).map_or(FRAME_SAMPLES, |samples| samples.max(FRAME_SAMPLES))
    }
}

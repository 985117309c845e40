//! The metrics of voice.

use prometheus::{Histogram, IntCounter, IntGauge};
use switchboard_transport::MetricsRegistry;

/// Upper bounds of the histogram of a mixer's lateness, in seconds. A frame lasts 20 ms.
const MIXER_SECONDS: [f64; 8] = [1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 1e-1, 5e-1];

/// The metrics of voice. All clones share the same counters.
#[derive(Clone, Debug)]
pub struct VoiceMetrics {
    pub(crate) event_streams: IntGauge,
    pub(crate) sources: IntGauge,
    pub(crate) listeners: IntGauge,
    pub(crate) calls: IntCounter,
    pub(crate) forwards_refused: IntCounter,
    pub(crate) mixer_late_seconds: Histogram,
}

impl VoiceMetrics {
    /// Declares the metrics in a registry.
    #[must_use]
    pub fn new(registry: &MetricsRegistry) -> Self {
        let late = "Seconds that a mixer is late for a frame of 20 ms.";
        Self {
            event_streams: registry.gauge(
                "voice_event_streams",
                "Event streams of voice users open now.",
            ),
            sources: registry.gauge("voice_sources", "Microphones connected now."),
            listeners: registry.gauge("voice_listeners", "Listeners connected now."),
            calls: registry.counter("voice_calls_total", "Voice calls accepted."),
            forwards_refused: registry.counter(
                "voice_forwards_refused_total",
                "Requests of other nodes refused because their release has another format.",
            ),
            mixer_late_seconds: registry.histogram(
                "voice_mixer_late_seconds",
                late,
                &MIXER_SECONDS,
            ),
        }
    }
}

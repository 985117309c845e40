//! The metrics of a node.

use std::sync::atomic::{AtomicU64, Ordering};

/// Declares each metric once: its field, and its help text, which is also the doc comment of the field.
macro_rules! counters {
    ($($name:ident: $help:literal,)+) => {
        /// Totals since the start, and gauges. The name of a field is the name of its metric.
        #[derive(Debug, Default)]
        pub struct Counters {
            $(#[doc = $help] pub $name: AtomicU64,)+
        }

        impl Counters {
            /// The name, help text and value of every metric.
            #[must_use]
            pub fn all(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$((stringify!($name), $help, self.$name.load(Ordering::Relaxed)),)+]
            }
        }
    };
}

counters! {
    connections: "WebSocket connections open now.",
    connections_total: "WebSocket connections accepted.",
    connections_refused_total: "Connections refused for a limit or by the access check.",
    tls_handshakes_failed_total: "TLS handshakes that failed or were not complete in time.",
    frames_in_total: "Frames taken from clients.",
    frames_out_total: "Frames sent to clients.",
    refused_total: "Frames and requests answered with an error.",
    paused_total: "Times that reading from a client was paused because it was over its rate.",
    slow_total: "Connections ended because the client did not read.",
    protocol_errors_total: "Connections ended because the client broke the WebSocket protocol or did not complete a message.",
    unfinished_bytes: "Bytes kept for messages that clients have not completed.",
    joins_total: "Joins ordered.",
    leaves_total: "Leaves ordered.",
    webhooks_total: "Requests made to web services about clients.",
    webhooks_failed_total: "Those of them that were not answered with 200 in time, or could not be made.",
    voice_event_streams: "Event streams of voice users open now.",
    voice_sources: "Microphones connected now.",
    voice_listeners: "Listeners connected now.",
    voice_calls_total: "Voice calls accepted.",
}

impl Counters {
    /// Adds `count` to a counter.
    pub fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    /// Subtracts one from a gauge.
    pub fn less(gauge: &AtomicU64) {
        gauge.fetch_sub(1, Ordering::Relaxed);
    }
}

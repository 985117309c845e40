//! The metrics of connections.

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};

use crate::{MetricsRegistry, SizeHistogram, metrics::CountUp};

/// Upper bounds in seconds for the handling of a frame, which takes some 10 µs.
const FRAME_SECONDS: [f64; 8] = [3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 1e-1, 1.0];

/// Upper bounds in seconds for joins, which wait for an engine, a webhook or the host program.
const JOIN_SECONDS: [f64; 10] = [1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0, 10.0];

/// Declares each metric once: its field, and its help text, which is also the doc comment of the field.
macro_rules! counters {
    ($($name:ident: $kind:ty = $declare:ident($help:literal $(, $extra:expr)?);)+) => {
        /// Totals since the start, gauges and histograms. The name of a field is the name of its metric.
        #[derive(Debug)]
        pub struct Counters {
            $(#[doc = $help] pub $name: $kind,)+
        }

        impl Counters {
            /// Declares the metrics in a registry.
            #[must_use]
            pub fn new(registry: &MetricsRegistry) -> Self {
                Self {
                    $($name: registry.$declare(stringify!($name), $help $(, $extra)?),)+
                }
            }
        }
    };
}

counters! {
    connections: IntGauge = gauge("WebSocket connections open now.");
    connections_total: IntCounter = counter("WebSocket connections accepted.");
    connections_refused_total: IntCounter = counter("Connections refused for a limit or by the access check.");
    refusals_total: IntCounterVec = counters("Connections and requests refused before a session or an answer, by reason.", &["reason"]);
    failed_auth_total: IntCounter = counter("Wrong credentials.");
    failed_auth_delayed_total: IntCounter = counter("Answers to wrong credentials that were delayed because the address had sent others before.");
    connections_ended_total: IntCounterVec = counters("WebSocket connections ended, by dialect and close code: that of the server, 1005 if the client has closed the connection, or 1006 if it was reset or lost.", &["dialect", "code"]);
    tls_handshakes_failed_total: IntCounter = counter("TLS handshakes that failed or were not complete in time.");
    frames_in_total: IntCounter = counter("Frames taken from clients.");
    frames_out_total: IntCounter = counter("Frames sent to clients.");
    frame_seconds: Histogram = histogram("Seconds to handle a frame of a client, delivery to outboxes and to the sockets of idle receivers included.", &FRAME_SECONDS);
    join_seconds: Histogram = histogram("Seconds from a join request to its result, for one join of a connection at a time.", &JOIN_SECONDS);
    outbox_events: SizeHistogram = sizes("Events that wait in the outbox of a client when the connection begins to send them.");
    refused_total: IntCounter = counter("Frames and requests answered with an error.");
    errors_total: IntCounterVec = counters("Frames and requests of WebSocket clients answered with an error, by error code.", &["code"]);
    paused_total: IntCounter = counter("Times that reading from a client was paused because it was over its rate.");
    slow_total: IntCounter = counter("Connections ended because the client did not read.");
    memory_max_total: IntCounter = counter("Connections ended because limits.memory_max was reached and their queue was the largest.");
    protocol_errors_total: IntCounter = counter("Connections ended because the client broke the WebSocket protocol or did not complete a message.");
    unfinished_bytes: IntGauge = gauge("Bytes kept for messages that clients have not completed.");
}

impl Default for Counters {
    fn default() -> Self {
        Self::new(&MetricsRegistry::default())
    }
}

impl Counters {
    /// Adds `count` to a metric.
    pub fn add(metric: &impl CountUp, count: u64) {
        metric.count_up(count);
    }

    /// Subtracts one from a gauge.
    pub fn less(gauge: &IntGauge) {
        gauge.dec();
    }
}

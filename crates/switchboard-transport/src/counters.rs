//! What is counted, for operators.

use std::sync::atomic::{AtomicU64, Ordering};

/// Running totals since the start, and one gauge. Each is a metric of its own name.
#[derive(Debug, Default)]
pub struct Counters {
    /// WebSocket connections open now.
    pub connections: AtomicU64,
    /// WebSocket connections accepted.
    pub connections_total: AtomicU64,
    /// Connections refused for a limit or by the access check.
    pub connections_refused_total: AtomicU64,
    /// Frames taken from clients.
    pub frames_in_total: AtomicU64,
    /// Frames sent to clients.
    pub frames_out_total: AtomicU64,
    /// Frames and requests answered with an error.
    pub refused_total: AtomicU64,
    /// Connections ended because the client did not read.
    pub slow_total: AtomicU64,
    /// Joins ordered.
    pub joins_total: AtomicU64,
    /// Leaves ordered.
    pub leaves_total: AtomicU64,
}

impl Counters {
    /// Adds to a counter.
    pub fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    /// Every metric: its name, what it is, its value.
    #[must_use]
    pub fn all(&self) -> [(&'static str, &'static str, u64); 9] {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            (
                "connections",
                "WebSocket connections open now.",
                read(&self.connections),
            ),
            (
                "connections_total",
                "WebSocket connections accepted.",
                read(&self.connections_total),
            ),
            (
                "connections_refused_total",
                "Connections refused for a limit or by the access check.",
                read(&self.connections_refused_total),
            ),
            (
                "frames_in_total",
                "Frames taken from clients.",
                read(&self.frames_in_total),
            ),
            (
                "frames_out_total",
                "Frames sent to clients.",
                read(&self.frames_out_total),
            ),
            (
                "refused_total",
                "Frames and requests answered with an error.",
                read(&self.refused_total),
            ),
            (
                "slow_total",
                "Connections ended because the client did not read.",
                read(&self.slow_total),
            ),
            ("joins_total", "Joins ordered.", read(&self.joins_total)),
            ("leaves_total", "Leaves ordered.", read(&self.leaves_total)),
        ]
    }
}

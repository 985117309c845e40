//! Latencies, in a histogram of bounded size.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// The largest latency that is told apart: a minute.
const NANOS_MAX: u64 = 60_000_000_000;
/// Significant decimal digits of a latency.
const DIGITS: u8 = 3;

/// A histogram of latencies with an error of at most 0.1 %.
#[derive(Clone, Debug)]
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, NANOS_MAX, DIGITS);
        Self(histogram.expect("the bounds are constants"))
    }

    /// Records a latency. One of more than a minute counts as a minute.
    pub(crate) fn record(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(NANOS_MAX);
        self.0.saturating_record(nanos.max(1));
    }

    /// The percentiles; `None` if there is no latency.
    pub(crate) fn summary(&self) -> Option<LatencySummary> {
        let micros = |nanos: u64| nanos as f64 / 1_000.0;
        let percentile = |quantile| micros(self.0.value_at_quantile(quantile));
        (!self.0.is_empty()).then(|| LatencySummary {
            count: self.0.len(),
            mean: self.0.mean() / 1_000.0,
            min: micros(self.0.min()),
            p50: percentile(0.5),
            p90: percentile(0.9),
            p99: percentile(0.99),
            p999: percentile(0.999),
            max: micros(self.0.max()),
        })
    }
}

/// Percentiles of latencies, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LatencySummary {
    /// The number of latencies.
    pub count: u64,
    /// The arithmetic mean.
    pub mean: f64,
    /// The smallest latency.
    pub min: f64,
    /// The 50th percentile.
    pub p50: f64,
    /// The 90th percentile.
    pub p90: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The 99.9th percentile.
    pub p999: f64,
    /// The largest latency.
    pub max: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_in_microseconds() {
        let mut latencies = Latencies::new();
        assert_eq!(latencies.summary(), None);
        for micros in 1..=1_000 {
            latencies.record(Duration::from_micros(micros));
        }
        let summary = latencies.summary().expect("latencies");
        assert!((summary.p50 - 500.0).abs() < 1.0, "{summary:?}");
        assert!((summary.p99 - 990.0).abs() < 1.0, "{summary:?}");
        assert!((summary.min - 1.0).abs() < 0.01, "{summary:?}");
    }

    #[test]
    fn latencies_of_more_than_a_minute_count_as_a_minute() {
        let mut latencies = Latencies::new();
        latencies.record(Duration::from_hours(1));
        let summary = latencies.summary().expect("a latency");
        assert!((59.0e6..61.0e6).contains(&summary.max), "{summary:?}");
    }
}

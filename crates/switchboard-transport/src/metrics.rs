//! The registry in which each layer declares its metrics.
//!
//! A metric is a handle of atomics that its owner keeps, so counting needs no lookup. Only a metric with labels needs
//! a lookup by label, so such metrics count connections and rejected frames, but not all frames.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
    core::Collector,
};

use crate::SizeHistogram;

/// Metrics of one node. Their names begin with `switchboard_`.
#[derive(Clone, Debug)]
pub struct MetricsRegistry(Registry);

impl Default for MetricsRegistry {
    fn default() -> Self {
        let prefix = Some("switchboard".to_owned());
        let registry = Registry::new_custom(prefix, None);
        Self(registry.expect("the prefix is not empty"))
    }
}

impl MetricsRegistry {
    /// Declares a counter. Its name ends with `_total`.
    ///
    /// # Panics
    /// If the name is invalid or in use. The other methods panic for the same reasons.
    #[must_use]
    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::new(name, help))
    }

    /// Declares a family of counters with these labels, whose values must be few.
    #[must_use]
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(Opts::new(name, help), labels))
    }

    /// Declares a gauge.
    #[must_use]
    pub fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::new(name, help))
    }

    /// Declares a histogram with these upper bounds of its buckets, in ascending order.
    #[must_use]
    pub fn histogram(&self, name: &str, help: &str, bounds: &[f64]) -> Histogram {
        let options = HistogramOpts::new(name, help).buckets(bounds.to_vec());
        self.register(Histogram::with_opts(options))
    }

    /// Declares a histogram of small whole numbers, such as lengths of queues.
    #[must_use]
    pub fn sizes(&self, name: &str, help: &str) -> SizeHistogram {
        self.register(SizeHistogram::new(name, help))
    }

    /// Registers a metric.
    ///
    /// # Panics
    /// If the metric is invalid or its name is in use.
    pub fn register<M: Collector + Clone + 'static>(&self, metric: prometheus::Result<M>) -> M {
        let metric = metric.expect("the name and labels of a metric are valid");
        let registered = self.0.register(Box::new(metric.clone()));
        registered.expect("a metric is declared once");
        metric
    }

    /// All metrics in the text format of Prometheus, version 0.0.4, sorted by name.
    #[must_use]
    pub fn text(&self) -> String {
        let text = TextEncoder::new().encode_to_string(&self.0.gather());
        text.expect("families without metrics are not gathered")
    }
}

/// A metric that counts up.
pub trait CountUp {
    /// Adds `count`.
    fn count_up(&self, count: u64);
}

impl CountUp for IntCounter {
    fn count_up(&self, count: u64) {
        self.inc_by(count);
    }
}

impl CountUp for IntGauge {
    fn count_up(&self, count: u64) {
        self.add(count.try_into().unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_has_its_buckets_and_a_family_only_the_labels_that_were_counted() {
        let registry = MetricsRegistry::default();
        let depth = registry.histogram("depth", "Depth.", &[1.0, 4.0]);
        let ends = registry.counters("ends_total", "Ends.", &["code"]);
        let _unused = registry.counters("unused_total", "Unused.", &["code"]);
        for value in [1.0, 2.0, 9.0] {
            depth.observe(value);
        }
        ends.with_label_values(&["1008"]).inc();
        let expected = "# HELP switchboard_depth Depth.
# TYPE switchboard_depth histogram
switchboard_depth_bucket{le=\"1\"} 1
switchboard_depth_bucket{le=\"4\"} 2
switchboard_depth_bucket{le=\"+Inf\"} 3
switchboard_depth_sum 12
switchboard_depth_count 3
# HELP switchboard_ends_total Ends.
# TYPE switchboard_ends_total counter
switchboard_ends_total{code=\"1008\"} 1
";
        assert_eq!(registry.text(), expected);
    }
}

//! A histogram of small whole numbers.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use prometheus::{
    Opts,
    core::{Collector, Desc, Describer as _},
    proto::{Bucket, Histogram as HistogramData, Metric, MetricFamily, MetricType},
};

/// A histogram of whole numbers whose buckets grow by a factor of four: up to 1, 4, 16 and so on. It is updated each
/// time that a connection begins to send events, in fewer instructions than a histogram of floating-point numbers.
#[derive(Clone, Debug)]
pub struct SizeHistogram {
    desc: Arc<Desc>,
    counts: Arc<Counts>,
}

/// The number of bounded buckets.
const BUCKETS: usize = 7;

#[derive(Debug, Default)]
struct Counts {
    /// The count of each bucket, not cumulative. The last bucket has no bound.
    buckets: [AtomicU64; BUCKETS + 1],
    sum: AtomicU64,
}

impl SizeHistogram {
    /// A histogram of this name.
    ///
    /// # Errors
    /// If the name is invalid.
    pub(crate) fn new(name: &str, help: &str) -> prometheus::Result<Self> {
        let desc = Opts::new(name, help).describe()?;
        let (desc, counts) = (Arc::new(desc), Arc::default());
        Ok(Self { desc, counts })
    }

    /// Counts a number.
    pub fn observe(&self, number: usize) {
        let counts = &*self.counts;
        counts.buckets[bucket_of(number)].fetch_add(1, Ordering::Relaxed);
        counts.sum.fetch_add(number as u64, Ordering::Relaxed);
    }

    fn data(&self) -> HistogramData {
        let mut data = HistogramData::default();
        let mut count = 0;
        let mut buckets = Vec::with_capacity(BUCKETS);
        for (index, own) in self.counts.buckets.iter().enumerate() {
            count += own.load(Ordering::Relaxed);
            if index < BUCKETS {
                let mut bucket = Bucket::default();
                bucket.set_upper_bound(4_f64.powi(index as i32));
                bucket.set_cumulative_count(count);
                buckets.push(bucket);
            }
        }
        data.set_bucket(buckets);
        data.set_sample_count(count);
        data.set_sample_sum(self.counts.sum.load(Ordering::Relaxed) as f64);
        data
    }
}

/// The first bucket whose bound is not smaller than the number.
fn bucket_of(number: usize) -> usize {
    let bits = usize::BITS - number.saturating_sub(1).leading_zeros();
    (bits as usize).div_ceil(2).min(BUCKETS)
}

impl Collector for SizeHistogram {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut metric = Metric::default();
        metric.set_histogram(self.data());
        let mut family = MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(self.desc.help.clone());
        family.set_field_type(MetricType::HISTOGRAM);
        family.set_metric(vec![metric]);
        vec![family]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MetricsRegistry;

    #[test]
    fn a_size_histogram_has_the_same_text_as_one_of_floats() {
        let bounds: Vec<_> = (0..BUCKETS as i32).map(|power| 4_f64.powi(power)).collect();
        let (expected, registry) = <(MetricsRegistry, MetricsRegistry)>::default();
        let expected_sizes = expected.histogram("sizes", "Sizes.", &bounds);
        let sizes = registry.register(SizeHistogram::new("sizes", "Sizes."));
        for number in (0..20).chain([63, 64, 65, 4095, 4096, 4097, 1 << 40]) {
            expected_sizes.observe(number as f64);
            sizes.observe(number);
        }
        assert_eq!(registry.text(), expected.text());
    }
}

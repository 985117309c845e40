//! The workloads. Each has a unit, which its figures count.

use crate::{BenchOptions, drive::Pace};

pub(crate) mod churn;
pub(crate) mod idle;
pub(crate) mod join;
pub(crate) mod messages;
pub(crate) mod voice;

/// The pace that the options ask for.
pub(crate) fn pace(options: &BenchOptions) -> Pace {
    if options.rate > 0.0 {
        return Pace::Rate(options.rate);
    }
    let window = u32::try_from(options.window).unwrap_or(u32::MAX);
    Pace::ClosedLoop { window }
}

//! The workloads. Each has a unit, which its figures count.

use crate::{
    BenchError, BenchOptions,
    client::Net,
    drive::{Pace, SpeakerGroup, Tally, drive},
    progress::Reporter,
    server_process::{Probe, Usage},
};

pub(crate) mod churn;
pub(crate) mod idle;
pub(crate) mod join;
pub(crate) mod messages;
pub(crate) mod mixed;
pub(crate) mod voice;

/// The pace that the options ask for.
pub(crate) fn pace(options: &BenchOptions) -> Pace {
    if options.rate > 0.0 {
        return Pace::Rate(options.rate);
    }
    let window = u32::try_from(options.window).unwrap_or(u32::MAX);
    Pace::ClosedLoop { window }
}

/// Drives the groups for the warm-up and then for the measured time, while `probe` observes the server. Errors of the
/// warm-up are counted too.
async fn measure(
    net: &Net,
    options: &BenchOptions,
    groups: &mut Vec<SpeakerGroup>,
    probe: &mut Probe,
    reporter: &mut Reporter<'_>,
) -> Result<(Tally, Usage), BenchError> {
    let (pace, duration) = (pace(options), options.duration);
    let warm_up = drive(net, groups, options.warm_up, pace, "warm-up", reporter).await;
    probe.start().await?;
    let mut tally = drive(net, groups, duration, pace, "measure", reporter).await;
    let usage = probe.stop().await?;
    tally.add_errors(&warm_up);
    Ok((tally, usage))
}

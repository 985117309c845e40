//! The loads of the comparison. A section is one load on several servers, and one table of the report.

use super::{Extent, subject::Subject};
use crate::{BenchDialect, Workload};

/// One load, on several servers.
#[derive(Clone, Debug)]
pub(super) struct Section {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) workload: Workload,
    /// The options of `switchboard bench` after the dialect.
    pub(super) load: String,
    pub(super) rounds: usize,
    /// Each load has a new server: memory that a server has freed would count for the next load.
    pub(super) has_new_servers: bool,
    /// Whether the ratios of all cases are to the first one.
    pub(super) has_reference: bool,
    pub(super) cases: Vec<Case>,
}

/// A server with clients of a dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) subject: Subject,
    pub(super) dialect: BenchDialect,
}

/// The dialects of signaling.
const DIALECTS: [BenchDialect; 8] = [
    BenchDialect::Lightstream,
    BenchDialect::Singo,
    BenchDialect::Mesh,
    BenchDialect::P2p,
    BenchDialect::PeerJs,
    BenchDialect::Ayame,
    BenchDialect::Matchbox,
    BenchDialect::YWebrtc,
];

/// All sections, in the order of the report.
pub(super) fn all(extent: Extent) -> Vec<Section> {
    let Extent {
        seconds, warm_up, ..
    } = extent;
    let times = format!("--duration {seconds} --warm-up {warm_up}");
    let section = |name: &str, title: &str, workload, load: &str, cases| Section {
        name: name.to_owned(),
        title: title.to_owned(),
        workload,
        load: format!("{load} {times}"),
        rounds: extent.rounds,
        has_new_servers: false,
        has_reference: true,
        cases,
    };
    vec![section(
        "relay",
        "Relay: 32 pairs exchange session descriptions of 1.5 KiB",
        Workload::Relay,
        "--clients 64",
        above_floor(&DIALECTS),
    )]
}

/// The floor, and Switchboard and the original server with each dialect.
fn above_floor(dialects: &[BenchDialect]) -> Vec<Case> {
    let floor = Case {
        subject: Subject::Floor,
        dialect: BenchDialect::Floor,
    };
    [floor].into_iter().chain(both(dialects)).collect()
}

/// Switchboard and the original server with each dialect.
fn both(dialects: &[BenchDialect]) -> Vec<Case> {
    let subjects = |dialect| {
        [
            Subject::Switchboard { workers: 1 },
            Subject::Original(dialect),
        ]
        .map(|subject| Case { subject, dialect })
    };
    dialects.iter().copied().flat_map(subjects).collect()
}

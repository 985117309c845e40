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
    /// Whether the server has the background load too.
    pub(super) has_background: bool,
    pub(super) cases: Vec<LoadCase>,
}

/// A server with clients of a dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LoadCase {
    pub(super) subject: Subject,
    pub(super) dialect: BenchDialect,
}

/// The dialects with a message to all members.
const TO_ALL: [BenchDialect; 4] = [
    BenchDialect::Lightstream,
    BenchDialect::Mesh,
    BenchDialect::P2p,
    BenchDialect::YWebrtc,
];

/// The dialects whose joins the load can count by their notifications.
const ANNOUNCING: [BenchDialect; 4] = [
    BenchDialect::Lightstream,
    BenchDialect::Singo,
    BenchDialect::P2p,
    BenchDialect::Matchbox,
];

/// The rounds of `idle`: memory varies less than time.
pub(super) const IDLE_ROUNDS_MAX: usize = 3;

/// All sections, in the order of the report.
pub(super) fn all(extent: Extent, with_background: bool) -> Vec<Section> {
    let alone = alone(extent);
    let loads = alone
        .iter()
        .filter(|section| with_background && section.bears_background());
    let with_background: Vec<Section> = loads.map(Section::with_background).collect();
    [alone, with_background].concat()
}

/// The sections of the first series.
fn alone(extent: Extent) -> Vec<Section> {
    vec![
        Section::new(
            extent,
            "relay",
            "Relay: 32 pairs exchange session descriptions of 1.5 KiB",
            (Workload::Relay, "--clients 64"),
            above_floor(&BenchDialect::SIGNALING),
        ),
        Section::new(
            extent,
            "latency",
            "Relay at 5,000 messages per second: latency from the due time",
            (Workload::Relay, "--clients 64 --rate 5000"),
            above_floor(&BenchDialect::SIGNALING),
        ),
        fanout(extent, 100),
        fanout(extent, extent.large_room),
        Section::new(
            extent,
            "join",
            "Join: rooms of ten (ayame: two); announced where the dialect does so",
            (
                Workload::Join,
                &format!("--clients {}", extent.join_clients),
            ),
            both(&BenchDialect::SIGNALING),
        ),
        join_large(extent),
        Section::new(
            extent,
            "churn",
            "Churn: pairs connect, join a new room, relay one message and close",
            (Workload::Churn, "--clients 32"),
            above_floor(&BenchDialect::SIGNALING),
        ),
        workers(extent),
        idle(extent),
    ]
}

fn fanout(extent: Extent, members: usize) -> Section {
    let name = format!("fanout-{members}");
    let title = format!("Fan-out of 256 bytes to one of {members} members");
    let load = format!("--clients {members}");
    let cases = above_floor(&TO_ALL);
    Section::new(extent, &name, &title, (Workload::Fanout, &load), cases)
}

fn join_large(extent: Extent) -> Section {
    let members = extent.join_room;
    let title = format!("Join of one room with {members} members");
    let load = format!("--clients {members} --members {members}");
    // A warm-up would be a whole round.
    let extent = Extent {
        warm_up: 0.0,
        ..extent
    };
    let cases = both(&ANNOUNCING);
    Section::new(extent, "join-large", &title, (Workload::Join, &load), cases)
}

fn workers(extent: Extent) -> Section {
    let title = "Two worker threads on two cores";
    let cases = [1, 2].map(|workers| LoadCase {
        subject: Subject::Switchboard { workers },
        dialect: BenchDialect::Lightstream,
    });
    let load = (Workload::Relay, "--clients 64");
    Section::new(extent, "workers", title, load, cases.into())
}

fn idle(extent: Extent) -> Section {
    let title = format!("Idle: {} joined connections", extent.idle_clients);
    let load = format!("--clients {}", extent.idle_clients);
    let cases = above_floor(&BenchDialect::SIGNALING);
    let section = Section::new(extent, "idle", &title, (Workload::Idle, &load), cases);
    Section {
        rounds: extent.rounds.min(IDLE_ROUNDS_MAX),
        has_new_servers: true,
        ..section
    }
}

impl Section {
    fn new(
        extent: Extent,
        name: &str,
        title: &str,
        (workload, load): (Workload, &str),
        cases: Vec<LoadCase>,
    ) -> Self {
        let Extent {
            seconds, warm_up, ..
        } = extent;
        Self {
            name: name.to_owned(),
            title: title.to_owned(),
            workload,
            load: format!("{load} --duration {seconds} --warm-up {warm_up}"),
            rounds: extent.rounds,
            has_new_servers: false,
            has_background: false,
            cases,
        }
    }

    /// Whether the load can run beside the background load.
    fn bears_background(&self) -> bool {
        !self.is_idle() && !matches!(self.name.as_str(), "workers" | "join-large")
    }

    /// The same load on Switchboard with the background load.
    fn with_background(&self) -> Self {
        let mut section = self.clone();
        section.name = format!("{}-background", self.name);
        section.title = format!("{}, with the background load", self.title);
        section.has_background = true;
        let is_switchboard = |case: &LoadCase| matches!(case.subject, Subject::Switchboard { .. });
        section.cases.retain(is_switchboard);
        section
    }

    /// The case whose CPU time is the divisor of all ratios: the floor, or one worker for two.
    pub(super) fn reference(&self) -> Option<LoadCase> {
        let first = *self.cases.first()?;
        (first.subject == Subject::Floor || self.name == "workers").then_some(first)
    }

    /// Whether the load has a fixed rate, so that latencies can be compared.
    pub(super) fn is_latency(&self) -> bool {
        self.load.contains("--rate")
    }

    /// Whether memory is measured, and not time.
    pub(super) fn is_idle(&self) -> bool {
        self.workload == Workload::Idle
    }
}

/// The floor, and Switchboard and the original server with each dialect.
fn above_floor(dialects: &[BenchDialect]) -> Vec<LoadCase> {
    let floor = LoadCase {
        subject: Subject::Floor,
        dialect: BenchDialect::Floor,
    };
    [floor].into_iter().chain(both(dialects)).collect()
}

/// Switchboard and the original server with each dialect.
fn both(dialects: &[BenchDialect]) -> Vec<LoadCase> {
    let subjects = |dialect| {
        [
            Subject::Switchboard { workers: 1 },
            Subject::Original(dialect),
        ]
        .map(|subject| LoadCase { subject, dialect })
    };
    dialects.iter().copied().flat_map(subjects).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_series_has_the_loads_that_can_share_a_server() {
        let names = |with_background| -> Vec<String> {
            let sections = all(Extent::QUICK, with_background).into_iter();
            sections.map(|section| section.name).collect()
        };
        let alone = names(false);
        let both = names(true);
        assert_eq!(both[..alone.len()], alone[..]);
        let expected = [
            "relay",
            "latency",
            "fanout-100",
            "fanout-1000",
            "join",
            "churn",
        ];
        assert_eq!(
            both[alone.len()..],
            expected.map(|name| format!("{name}-background"))
        );
        let relay = &all(Extent::QUICK, true)[alone.len()];
        assert_eq!(
            (relay.cases.len(), relay.reference()),
            (BenchDialect::SIGNALING.len(), None)
        );
    }

    #[test]
    fn each_load_has_an_original_and_a_reference_where_there_can_be_one() {
        for section in all(Extent::FULL, false) {
            let originals = |case: &&LoadCase| matches!(case.subject, Subject::Original(_));
            let count = section.cases.iter().filter(originals).count();
            assert_eq!(count > 0, section.name != "workers", "{section:?}");
            let has_reference = !section.name.starts_with("join");
            assert_eq!(section.reference().is_some(), has_reference, "{section:?}");
        }
    }
}

//! One load on one server: a process of `switchboard bench`, and its report.

use std::io;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    ComparisonOptions,
    command_line::CommandLine,
    host::Host,
    section::{LoadCase, Section},
    subject::SubjectProcess,
};

/// The figures of a report of `switchboard bench --json` that the comparison uses.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct LoadFigures {
    pub(super) unit: String,
    pub(super) units: u64,
    pub(super) per_second: f64,
    pub(super) notifications: Option<u64>,
    pub(super) slow_joins: Option<u64>,
    pub(super) latency_us: Option<LatencyFigures>,
    pub(super) lost: u64,
    pub(super) skipped: u64,
    pub(super) out_of_order: u64,
    pub(super) errors: u64,
    pub(super) server: Option<ServerFigures>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(super) struct LatencyFigures {
    pub(super) p50: f64,
    pub(super) p99: f64,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(super) struct ServerFigures {
    pub(super) cpu_us_per_unit: Option<f64>,
    pub(super) rss_per_connection: Option<f64>,
}

impl LoadFigures {
    pub(super) fn cpu_us_per_unit(&self) -> Option<f64> {
        self.server?.cpu_us_per_unit
    }

    /// CPU time of the server per notification of a join.
    pub(super) fn cpu_us_per_notification(&self) -> Option<f64> {
        let notifications = self.notifications.filter(|count| *count > 0)?;
        Some(self.cpu_us_per_unit()? * self.units as f64 / notifications as f64)
    }

    /// Messages that were not delivered once and in order, and failed connections.
    pub(super) fn faults(&self) -> u64 {
        self.lost + self.skipped + self.out_of_order + self.errors
    }
}

/// A load that did not end with a report.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error("the load could not be started: {0}")]
    NotStarted(#[from] io::Error),
    #[error("{0}")]
    NoReport(String),
}

/// The report of a load, for the comparison and as it was printed.
#[derive(Clone, Debug)]
pub(super) struct LoadReport {
    pub(super) figures: LoadFigures,
    pub(super) raw: Value,
}

/// The command of a load.
pub(super) fn command(
    section: &Section,
    case: LoadCase,
    server: &SubjectProcess,
    host: &Host,
    options: &ComparisonOptions,
) -> CommandLine {
    let port = server.address.port().to_string();
    let (dialect, path) = (case.dialect.name(), case.subject.load_options());
    build(
        section,
        [&port, dialect, path, &server.pid().to_string()],
        host,
        options,
    )
}

/// The command of all loads of a section, with `PORT`, `DIALECT` and `PID` for what differs.
pub(super) fn template(section: &Section, host: &Host, options: &ComparisonOptions) -> String {
    build(section, ["PORT", "DIALECT", "", "PID"], host, options).to_string()
}

fn build(
    section: &Section,
    [port, dialect, path, pid]: [&str; 4],
    host: &Host,
    options: &ComparisonOptions,
) -> CommandLine {
    CommandLine::on_cores(host.load_core.as_deref())
        .path(&options.switchboard)
        .word("bench")
        .word(section.workload)
        .word(format!("http://127.0.0.1:{port}"))
        .word("--dialect")
        .word(dialect)
        .words(path)
        .words(&section.load)
        .words("--json --quiet --pid")
        .word(pid)
}

/// Runs a load until it ends.
pub(super) fn run(command: &CommandLine) -> Result<LoadReport, LoadError> {
    let output = command.command().output()?;
    parse(&output.stdout, &output.stderr)
}

/// Parses the output of a load.
pub(super) fn parse(stdout: &[u8], stderr: &[u8]) -> Result<LoadReport, LoadError> {
    // With faults the exit code is 1, and there is a report.
    let report = serde_json::from_slice(stdout).and_then(|raw: Value| {
        let figures = LoadFigures::deserialize(&raw)?;
        Ok(LoadReport { figures, raw })
    });
    report.map_err(|_| {
        let errors = String::from_utf8_lossy(stderr);
        LoadError::NoReport(errors.trim().lines().last().unwrap_or_default().to_owned())
    })
}

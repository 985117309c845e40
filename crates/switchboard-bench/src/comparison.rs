//! Compares servers on one machine: each load runs in turn on the [`floor`](crate::floor), a relay that does little but
//! system calls, on Switchboard and on the original server of its dialect, in several rounds.
//!
//! Servers and loads are processes, so that each can have a core of its own, and so that each figure has a command that
//! repeats it. The loads are those of `switchboard bench`. The figures are medians of the rounds; a ratio is the median
//! of the ratios within each round.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_json::Value;

use crate::BenchError;

mod background;
mod command_line;
mod host;
mod load;
mod markdown;
mod plot;
mod section;
mod series;
mod subject;
mod summary;
mod version;

use self::{host::Host, section::Section, summary::SectionSummary};

/// The options of a comparison.
#[derive(Clone, Debug)]
pub struct ComparisonOptions {
    /// The binary of Switchboard.
    pub switchboard: PathBuf,
    /// The folder `node_modules` with the npm packages of the original servers.
    pub node_modules: Option<PathBuf>,
    /// The binary of matchbox's original server.
    pub matchbox_server: Option<PathBuf>,
    /// The folder that gets the report.
    pub output: PathBuf,
    /// The extent of each load.
    pub extent: Extent,
    /// Whether there is a second series, in which Switchboard has a large mixed room and slow readers beside each load.
    pub background: bool,
    /// Only the sections whose names begin with this text. A section is one load on several servers: one table of the
    /// report.
    pub only: String,
}

/// The number of rounds, and the extent of a load in each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extent {
    /// The rounds of each section.
    pub rounds: usize,
    /// The measured seconds of each load.
    pub seconds: f64,
    /// The seconds of load before them.
    pub warm_up: f64,
    /// The connections of the section `idle`.
    pub idle_clients: usize,
    /// The members of the larger room of the sections `fanout`.
    pub large_room: usize,
    /// The clients of the section `join`.
    pub join_clients: usize,
    /// The members of the room of the section `join-large`.
    pub join_room: usize,
}

impl Extent {
    /// Takes 20 to 30 minutes.
    pub const FULL: Self = Self {
        rounds: 5,
        seconds: 2.0,
        warm_up: 0.5,
        idle_clients: 10_000,
        large_room: 1_000,
        join_clients: 1_000,
        join_room: 300,
    };

    /// About two minutes without the series with the background load. CPU times have an error of some percent.
    pub const QUICK: Self = Self {
        rounds: 1,
        seconds: 0.5,
        warm_up: 0.2,
        idle_clients: 2_000,
        large_room: 1_000,
        join_clients: 500,
        join_room: 100,
    };
}

/// A report that was written.
#[derive(Clone, Debug)]
pub struct WrittenReport {
    /// The path of `report.md`.
    pub path: PathBuf,
    /// The failures and faults of the floor and of Switchboard, and the failures of the background load. The problems of
    /// original servers do not count.
    pub failures: Vec<String>,
}

/// Runs all loads, and writes `report.md`, `report.json` and a plot for each section to the output folder. `progress`
/// gets a line for each load.
///
/// # Errors
/// If no section is selected, the output cannot be written, or the program of Switchboard cannot be run. A load that
/// fails is a row of the report, and is one of [`WrittenReport::failures`] unless it is that of an original server.
pub fn compare(
    options: &ComparisonOptions,
    progress: &mut dyn FnMut(&str),
) -> Result<WrittenReport, BenchError> {
    let selected = selected(options)?;
    let action = "create the output folder";
    fs::create_dir_all(&options.output).map_err(|source| BenchError::Io { action, source })?;
    let mut results = Results::new(options)?;
    let path = options.output.join("report.md");
    for section in &selected {
        let runs = series::run(section, &results.host, options, progress);
        let load = load::template(section, &results.host, options);
        results
            .sections
            .push(SectionSummary::new(section, &runs, load));
        let records = runs.runs.iter().map(|run| run.record(section));
        results.runs.extend(records);
        // The report has the sections so far if a later one fails.
        write(&path, &markdown::report(&results))?;
        write_figures(&results, &options.output)?;
    }
    let sections = results.sections.iter();
    let failures = sections.flat_map(SectionSummary::failures).collect();
    Ok(WrittenReport { path, failures })
}

/// The sections that `options.only` selects.
fn selected(options: &ComparisonOptions) -> Result<Vec<Section>, BenchError> {
    let all = section::all(options.extent, options.background);
    let is_selected = |section: &&Section| section.name.starts_with(&options.only);
    let selected: Vec<Section> = all.iter().filter(is_selected).cloned().collect();
    if selected.is_empty() {
        let names: Vec<&str> = all.iter().map(|section| section.name.as_str()).collect();
        let problem = format!(
            "no section name begins with \"{}\"; there are: {}",
            options.only,
            names.join(", ")
        );
        return Err(BenchError::option("--only", problem));
    }
    Ok(selected)
}

/// The results of all sections.
#[derive(Debug, Serialize)]
struct Results {
    host: Host,
    rounds: usize,
    /// The versions of Switchboard, of the original servers that are installed, and of Node.js.
    versions: Vec<String>,
    /// The commands of the servers.
    servers: Vec<String>,
    /// The command of the background load.
    background: Option<String>,
    sections: Vec<SectionSummary>,
    /// All runs with their commands and complete reports.
    runs: Vec<Value>,
}

impl Results {
    fn new(options: &ComparisonOptions) -> Result<Self, BenchError> {
        let host = Host::observe();
        let background = background::command("PORT", &host, options).to_string();
        Ok(Self {
            versions: version::all(options)?,
            servers: subject::templates(&host, options),
            background: options.background.then_some(background),
            host,
            rounds: options.extent.rounds,
            sections: Vec::new(),
            runs: Vec::new(),
        })
    }
}

/// Writes `report.json`, and the plot of the last section.
fn write_figures(results: &Results, output: &Path) -> Result<(), BenchError> {
    let json = serde_json::to_string_pretty(results).unwrap_or_default();
    write(&output.join("report.json"), &json)?;
    let section = results.sections.last();
    section.map_or(Ok(()), |section| {
        let plot = output.join(format!("{}.svg", section.name));
        write(&plot, &plot::plot(section))
    })
}

fn write(path: &Path, text: &str) -> Result<(), BenchError> {
    let action = "write the report";
    fs::write(path, text).map_err(|source: io::Error| BenchError::Io { action, source })
}

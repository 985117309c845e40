//! Runs the cases of a section in turn, round after round.

use serde_json::{Value, json};

use super::{
    ComparisonOptions,
    background::BackgroundLoad,
    command_line::CommandLine,
    host::Host,
    load::{self, LoadError, LoadFigures, LoadReport},
    section::{LoadCase, Section},
    subject::{Subject, SubjectProcess, Unavailable},
};
use crate::BenchError;

/// One load on one server.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) case: LoadCase,
    pub(super) round: usize,
    /// The command of the server.
    pub(super) server: Option<CommandLine>,
    /// The command of the load.
    pub(super) load: Option<CommandLine>,
    pub(super) figures: Option<LoadFigures>,
    /// The reason for which there are no figures.
    pub(super) problem: Option<String>,
    /// The report as the load has printed it.
    pub(super) raw: Value,
}

impl Run {
    /// The run with all that is known of it, for programs.
    pub(super) fn record(&self, section: &Section) -> Value {
        let shown = |command: &Option<CommandLine>| command.as_ref().map(ToString::to_string);
        json!({
            "section": section.name,
            "dialect": self.case.dialect,
            "server": self.case.subject.label(),
            "round": self.round,
            "server_command": shown(&self.server),
            "load_command": shown(&self.load),
            "problem": self.problem,
            "report": self.raw,
        })
    }
}

/// Runs all rounds of a section.
///
/// # Errors
/// If Switchboard itself or the background load cannot be started.
pub(super) fn run(
    section: &Section,
    host: &Host,
    options: &ComparisonOptions,
    progress: &mut dyn FnMut(&str),
) -> Result<SectionRuns, BenchError> {
    let mut servers = Servers::default();
    let background = match section.has_background {
        true => servers.start_background(section, host, options)?,
        false => None,
    };
    let mut runs = Vec::new();
    for round in 1..=section.rounds {
        for case in &section.cases {
            let run = match servers.get(case.subject, section, host, options) {
                Ok(server) => measure(section, *case, round, server, host, options),
                Err(error) => absent(*case, round, &error)?,
            };
            progress(&progress_line(section, &run));
            runs.push(run);
        }
    }
    let background = background.map(BackgroundLoad::stop).transpose();
    let background = background.map_err(|error| background_error(&error))?;
    Ok(SectionRuns { runs, background })
}

/// The runs of a section, and the report of the background load beside them.
#[derive(Debug)]
pub(super) struct SectionRuns {
    pub(super) runs: Vec<Run>,
    pub(super) background: Option<LoadReport>,
}

fn background_error(error: &LoadError) -> BenchError {
    BenchError::option("--background", error.to_string())
}

/// The servers of a section that run.
#[derive(Debug, Default)]
struct Servers(Vec<(Subject, SubjectProcess)>);

impl Servers {
    /// The running server, which is started if there is none, or if each load has a new one.
    fn get(
        &mut self,
        subject: Subject,
        section: &Section,
        host: &Host,
        options: &ComparisonOptions,
    ) -> Result<&SubjectProcess, Unavailable> {
        if section.has_new_servers {
            self.0.clear();
        }
        let found = self.0.iter().position(|(running, _)| *running == subject);
        let index = match found {
            Some(index) => index,
            None => {
                let server = SubjectProcess::start(subject, host, options)?;
                self.0.push((subject, server));
                self.0.len() - 1
            }
        };
        Ok(&self.0[index].1)
    }

    /// Starts the background load on Switchboard.
    fn start_background(
        &mut self,
        section: &Section,
        host: &Host,
        options: &ComparisonOptions,
    ) -> Result<Option<BackgroundLoad>, BenchError> {
        let Some(case) = section.cases.first() else {
            return Ok(None);
        };
        let server = self.get(case.subject, section, host, options);
        let server =
            server.map_err(|error| BenchError::option("--switchboard", error.to_string()))?;
        let load = BackgroundLoad::start(server.address.port(), host, options);
        load.map(Some).map_err(|error| background_error(&error))
    }
}

fn measure(
    section: &Section,
    case: LoadCase,
    round: usize,
    server: &SubjectProcess,
    host: &Host,
    options: &ComparisonOptions,
) -> Run {
    let command = load::command(section, case, server, host, options);
    let mut run = Run {
        case,
        round,
        server: Some(server.command.clone()),
        load: Some(command.clone()),
        figures: None,
        problem: None,
        raw: Value::Null,
    };
    match load::run(&command) {
        Ok(report) => (run.figures, run.raw) = (Some(report.figures), report.raw),
        Err(error) => run.problem = Some(error.to_string()),
    }
    run
}

/// A run on a server that does not run. Only an original server may be absent.
fn absent(case: LoadCase, round: usize, error: &Unavailable) -> Result<Run, BenchError> {
    let problem = error.to_string();
    match case.subject {
        Subject::Original(_) => Ok(Run {
            case,
            round,
            server: None,
            load: None,
            figures: None,
            problem: Some(problem),
            raw: Value::Null,
        }),
        Subject::Floor | Subject::Switchboard { .. } => {
            Err(BenchError::option("--switchboard", problem))
        }
    }
}

fn progress_line(section: &Section, run: &Run) -> String {
    let LoadCase { subject, dialect } = run.case;
    let figures = run
        .figures
        .as_ref()
        .map(|figures| match figures.cpu_us_per_unit() {
            Some(cpu) => format!("{cpu:.2} us per {}", figures.unit),
            None => format!("{} units", figures.units),
        });
    let result = figures.or_else(|| run.problem.clone()).unwrap_or_default();
    format!(
        "{} {}/{} {dialect}, {}: {result}",
        section.name,
        run.round,
        section.rounds,
        subject.label()
    )
}

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

/// Runs all rounds of a section. A failure is a problem of its run, or, if it is that of the background load, of the section.
pub(super) fn run(
    section: &Section,
    host: &Host,
    options: &ComparisonOptions,
    progress: &mut dyn FnMut(&str),
) -> SectionRuns {
    let mut servers = Servers::default();
    let background = match section.has_background {
        true => servers.start_background(section, host, options),
        false => Ok(None),
    };
    let background = match background {
        Ok(background) => background,
        Err(error) => return SectionRuns::without_background(section, error.to_string()),
    };
    let mut runs = Vec::new();
    for round in 1..=section.rounds {
        for case in &section.cases {
            let run = match servers.get(case.subject, section, host, options) {
                Ok(server) => measure(section, *case, round, server, host, options),
                Err(error) => absent(*case, round, error.to_string()),
            };
            progress(&progress_line(section, &run));
            runs.push(run);
        }
    }
    let background = background.map(BackgroundLoad::stop).transpose();
    let (background, problem) = match background {
        Ok(report) => (report, None),
        Err(error) => (None, Some(BackgroundError::from(error).to_string())),
    };
    SectionRuns {
        runs,
        background,
        problem,
    }
}

/// The runs of a section, and the report of the background load beside them.
#[derive(Debug)]
pub(super) struct SectionRuns {
    pub(super) runs: Vec<Run>,
    pub(super) background: Option<LoadReport>,
    /// The failure of the background load.
    pub(super) problem: Option<String>,
}

impl SectionRuns {
    /// The runs of a section whose background load did not start: none has figures.
    fn without_background(section: &Section, problem: String) -> Self {
        let rounds = 1..=section.rounds;
        let of_round = |round| {
            let cases = section.cases.iter();
            let problem = "not run: no background load";
            cases.map(move |case| absent(*case, round, problem.to_owned()))
        };
        Self {
            runs: rounds.flat_map(of_round).collect(),
            background: None,
            problem: Some(problem),
        }
    }
}

/// The failure of a background load.
#[derive(Debug, thiserror::Error)]
enum BackgroundError {
    #[error("the server of the background load: {0}")]
    Server(#[from] Unavailable),
    #[error("the background load: {0}")]
    Load(#[from] LoadError),
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
    ) -> Result<Option<BackgroundLoad>, BackgroundError> {
        let Some(case) = section.cases.first() else {
            return Ok(None);
        };
        let server = self.get(case.subject, section, host, options)?;
        let load = BackgroundLoad::start(server.address.port(), host, options);
        Ok(Some(load?))
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

/// A run on a server that does not run.
fn absent(case: LoadCase, round: usize, problem: String) -> Run {
    Run {
        case,
        round,
        server: None,
        load: None,
        figures: None,
        problem: Some(problem),
        raw: Value::Null,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::{Extent, section, summary::SectionSummary};

    #[test]
    fn section_without_its_background_load_has_the_reason_and_no_figures() {
        let all = section::all(Extent::FULL, true);
        let section = all.iter().find(|section| section.has_background);
        let section = section.expect("a section with the background load");
        let problem = "no background".to_owned();
        let runs = SectionRuns::without_background(section, problem.clone());
        assert_eq!(runs.runs.len(), section.rounds * section.cases.len());
        let summary = SectionSummary::new(section, &runs, String::new());
        assert!(summary.rows.iter().all(|row| row.not_run.is_some()));
        let last = summary.failures().last();
        assert_eq!(last, Some(format!("{}: {problem}", section.name)));
    }
}

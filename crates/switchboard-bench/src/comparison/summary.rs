//! Medians of the rounds.

use serde::Serialize;

use super::{
    load::LoadFigures,
    section::{LoadCase, Section},
    series::{Run, SectionRuns},
    subject::Subject,
};

/// The rows of a section's table.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct SectionSummary {
    pub(super) name: String,
    pub(super) title: String,
    /// The unit that the figures are per, such as `delivery`.
    pub(super) unit: String,
    pub(super) is_latency: bool,
    pub(super) rows: Vec<Row>,
    /// The figures of the background load.
    pub(super) background: Option<LoadFigures>,
    /// The failure of the background load.
    pub(super) problem: Option<String>,
    /// The command of the loads, with `PORT`, `DIALECT` and `PID` for what differs.
    pub(super) load: String,
}

/// The medians of one case. A figure that was not measured is `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Row {
    pub(super) dialect: String,
    pub(super) server: String,
    /// The CSS class of the server in plots.
    #[serde(skip)]
    pub(super) kind: &'static str,
    #[serde(skip)]
    pub(super) is_original: bool,
    pub(super) cpu_us: Option<f64>,
    /// The CPU time as a multiple of that of the section's reference in the same round.
    pub(super) cpu_ratio: Option<f64>,
    pub(super) cpu_us_per_notification: Option<f64>,
    pub(super) per_second: Option<f64>,
    pub(super) p50_us: Option<f64>,
    pub(super) p99_us: Option<f64>,
    pub(super) bytes_per_connection: Option<f64>,
    /// The faults of all rounds.
    pub(super) faults: u64,
    /// The reason for which there are no figures.
    pub(super) not_run: Option<String>,
    /// If only some rounds have figures: how many failed, and why.
    pub(super) failed_rounds: Option<String>,
}

impl SectionSummary {
    pub(super) fn new(section: &Section, all: &SectionRuns, load: String) -> Self {
        let SectionRuns {
            runs,
            background,
            problem,
        } = all;
        let figures = runs.iter().filter_map(|run| run.figures.as_ref());
        let unit = figures.map(|figures| figures.unit.clone()).next();
        let rows = section
            .cases
            .iter()
            .map(|case| Row::new(section, *case, runs));
        Self {
            name: section.name.clone(),
            title: section.title.clone(),
            unit: unit.unwrap_or_default(),
            is_latency: section.is_latency(),
            background: background.as_ref().map(|report| report.figures.clone()),
            problem: problem.clone(),
            rows: rows.collect(),
            load,
        }
    }

    /// The failures and faults of the floor and of Switchboard, and the failure of the background load. The problems of
    /// original servers do not count.
    pub(super) fn failures(&self) -> impl Iterator<Item = String> {
        let rows = self.rows.iter().filter(|row| !row.is_original);
        let of_rows = rows.filter_map(|row| {
            let faults = || (row.faults != 0).then(|| format!("{} faults", row.faults));
            let problem = row.not_run.clone().or_else(|| row.failed_rounds.clone());
            let problem = problem.or_else(faults)?;
            let Row {
                dialect, server, ..
            } = row;
            Some(format!("{}: {dialect}, {server}: {problem}", self.name))
        });
        let of_section = self.problem.iter();
        of_rows.chain(of_section.map(|problem| format!("{}: {problem}", self.name)))
    }
}

impl Row {
    fn new(section: &Section, case: LoadCase, runs: &[Run]) -> Self {
        let of_case = || runs.iter().filter(|run| run.case == case);
        let figures: Vec<&LoadFigures> = of_case().filter_map(|run| run.figures.as_ref()).collect();
        let median_of = |figure: &dyn Fn(&LoadFigures) -> Option<f64>| {
            median(
                figures
                    .iter()
                    .filter_map(|figures| figure(figures))
                    .collect(),
            )
        };
        let problems: Vec<&String> = of_case().filter_map(|run| run.problem.as_ref()).collect();
        let is_measured = !figures.is_empty();
        let problem = problems.first().copied();
        let failed = |problem| {
            let (failed, rounds) = (problems.len(), section.rounds);
            format!("{failed} of {rounds} rounds failed: {problem}")
        };
        let is_idle = section.is_idle();
        // With a background load, the CPU time of the server includes that load. At the low rate of a latency section
        // it is only a few clock ticks.
        let has_cpu_time = !is_idle && !section.has_background && !section.is_latency();
        Self {
            dialect: case.dialect.to_string(),
            server: case.subject.label(),
            kind: case.subject.kind(),
            is_original: matches!(case.subject, Subject::Original(_)),
            cpu_us: median_of(&|figures| figures.cpu_us_per_unit().filter(|_| has_cpu_time)),
            cpu_ratio: ratio(section, case, runs).filter(|_| has_cpu_time),
            cpu_us_per_notification: median_of(&|figures| {
                figures.cpu_us_per_notification().filter(|_| has_cpu_time)
            }),
            per_second: median_of(&|figures| (!is_idle).then_some(figures.per_second)),
            p50_us: median_of(&|figures| figures.latency_us.map(|latency| latency.p50)),
            p99_us: median_of(&|figures| figures.latency_us.map(|latency| latency.p99)),
            bytes_per_connection: median_of(&|figures| {
                figures.server?.rss_per_connection.filter(|_| is_idle)
            }),
            faults: figures.iter().map(|figures| figures.faults()).sum(),
            not_run: problem.filter(|_| !is_measured).cloned(),
            failed_rounds: problem.filter(|_| is_measured).map(failed),
        }
    }
}

/// The median of the ratios of a case to the reference of the section, each within a round.
fn ratio(section: &Section, case: LoadCase, runs: &[Run]) -> Option<f64> {
    let reference = section.reference()?;
    let cpu = |case: LoadCase, round: usize| {
        let run = runs
            .iter()
            .find(|run| run.case == case && run.round == round)?;
        run.figures.as_ref()?.cpu_us_per_unit()
    };
    let rounds = 1..=section.rounds;
    let ratios = rounds.filter_map(|round| {
        let reference = cpu(reference, round).filter(|cpu| *cpu > 0.0)?;
        Some(cpu(case, round)? / reference)
    });
    median(ratios.collect())
}

/// The median; `None` of no values.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        length if length % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        BenchDialect,
        comparison::{Extent, load::ServerFigures, section},
    };

    fn run(case: LoadCase, round: usize, cpu: Option<f64>) -> Run {
        let figures = |cpu| LoadFigures {
            lost: 1,
            server: Some(ServerFigures {
                cpu_us_per_unit: Some(cpu),
                ..ServerFigures::default()
            }),
            ..LoadFigures::default()
        };
        Run {
            case,
            round,
            server: None,
            load: None,
            figures: cpu.map(figures),
            problem: cpu.is_none().then(|| "not run".to_owned()),
            raw: serde_json::Value::Null,
        }
    }

    #[test]
    fn ratio_is_the_median_of_ratios_within_each_round() {
        let mut section = section::all(Extent::FULL, false).swap_remove(0);
        section.rounds = 3;
        section.cases.truncate(3);
        let [floor, switchboard, original] = section.cases[..] else {
            panic!("{section:?}");
        };
        assert_eq!(floor.subject, Subject::Floor);
        assert_eq!(
            original.subject,
            Subject::Original(BenchDialect::Lightstream)
        );
        let mut runs = Vec::new();
        // The third round is disturbed: both take ten times as long.
        for (round, reference, cpu) in [(1, 4.0, 8.0), (2, 5.0, 11.0), (3, 40.0, 80.0)] {
            runs.push(run(floor, round, Some(reference)));
            runs.push(run(switchboard, round, Some(cpu)));
            runs.push(run(original, round, None));
        }
        let summary = summary(&section, runs);
        let [floor, switchboard, original] = &summary.rows[..] else {
            panic!("{summary:?}");
        };
        assert_eq!((floor.cpu_us, floor.cpu_ratio), (Some(5.0), Some(1.0)));
        assert_eq!(
            (switchboard.cpu_us, switchboard.cpu_ratio),
            (Some(11.0), Some(2.0))
        );
        assert_eq!(
            (switchboard.faults, switchboard.not_run.as_deref()),
            (3, None)
        );
        assert_eq!((original.cpu_us, original.cpu_ratio), (None, None));
        assert_eq!(original.not_run.as_deref(), Some("not run"));
        let failures: Vec<String> = summary.failures().collect();
        let names = [&floor.server, &switchboard.server];
        let dialects = [&floor.dialect, &switchboard.dialect];
        let expected =
            [0, 1].map(|row| format!("relay: {}, {}: 3 faults", dialects[row], names[row]));
        assert_eq!(failures, expected);
    }

    #[test]
    fn failed_round_leaves_the_figures_of_the_others_and_is_a_failure() {
        let mut section = section::all(Extent::FULL, false).swap_remove(0);
        section.rounds = 3;
        section.cases.truncate(2);
        let [floor, switchboard] = section.cases[..] else {
            panic!("{section:?}");
        };
        let mut runs = Vec::new();
        for (round, cpu) in [(1, Some(4.0)), (2, None), (3, Some(6.0))] {
            runs.push(run(floor, round, None));
            runs.push(run(switchboard, round, cpu));
        }
        let summary = summary(&section, runs);
        let [floor, switchboard] = &summary.rows[..] else {
            panic!("{summary:?}");
        };
        assert_eq!((switchboard.cpu_us, switchboard.faults), (Some(5.0), 2));
        assert_eq!(switchboard.not_run, None);
        let failed = "1 of 3 rounds failed: not run";
        assert_eq!(switchboard.failed_rounds.as_deref(), Some(failed));
        assert_eq!(floor.not_run.as_deref(), Some("not run"));
        let failures: Vec<String> = summary.failures().collect();
        let expected = [
            "relay: floor, floor: not run".to_owned(),
            format!("relay: lightstream, Switchboard: {failed}"),
        ];
        assert_eq!(failures, expected);
    }

    #[test]
    fn cpu_time_is_left_out_with_a_background_load_and_for_latency_and_idle() {
        for mut section in section::all(Extent::FULL, true) {
            section.rounds = 1;
            section.cases.truncate(2);
            let cases = section.cases.iter();
            let runs = cases.map(|case| run(*case, 1, Some(4.0))).collect();
            let has_cpu_time = summary(&section, runs)
                .rows
                .iter()
                .any(|row| row.cpu_us.or(row.cpu_ratio).is_some());
            let is_without =
                section.has_background || ["latency", "idle"].contains(&section.name.as_str());
            assert_eq!(has_cpu_time, !is_without, "{}", section.name);
        }
    }

    fn summary(section: &Section, runs: Vec<Run>) -> SectionSummary {
        let all = SectionRuns {
            runs,
            background: None,
            problem: None,
        };
        SectionSummary::new(section, &all, String::new())
    }

    #[test]
    fn median_is_the_middle_or_the_mean_of_both_middles() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 9.0]), Some(3.0));
    }
}

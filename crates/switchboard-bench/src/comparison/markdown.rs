//! The report as Markdown: one table for each section, and the command of its figures.

use super::{
    Results,
    host::{Host, load_average},
    load::LoadFigures,
    section,
    summary::{Row, SectionSummary},
};

/// A column: its heading, and its text in a row.
type Column<'a> = (String, Box<dyn Fn(&Row) -> Option<String> + 'a>);

pub(super) fn report(results: &Results) -> String {
    let mut text = head(&results.host, results.rounds);
    text += &servers(results);
    for section in &results.sections {
        text += &table(section);
        text += &command(section);
    }
    text + &plots(&results.sections)
}

fn head(host: &Host, rounds: usize) -> String {
    let Host {
        processor,
        cores,
        kernel,
        load_average: before,
        ..
    } = host;
    let after = load_average();
    let pinned = host.placement();
    let idle = rounds.min(section::IDLE_ROUNDS_MAX);
    format!(
        "## Servers compared\n\n{processor}, {cores} cores, Linux {kernel}; {pinned}. Load average {before} before the first run and {after} after the last one. \
        Medians of {rounds} rounds in turn ({idle} of idle connections); a ratio is the median of the ratios within each round.\n\n"
    )
}

fn columns(section: &SectionSummary) -> Vec<Column<'_>> {
    let reference = section
        .rows
        .first()
        .map(|row| row.server.as_str())
        .unwrap_or_default();
    let figure = |digits: usize, figure: fn(&Row) -> Option<f64>| {
        Box::new(move |row: &Row| figure(row).map(|value| number(value, digits)))
    };
    let unit = &section.unit;
    vec![
        (
            "dialect".to_owned(),
            Box::new(|row| Some(row.dialect.clone())),
        ),
        (
            "server".to_owned(),
            Box::new(|row| Some(row.server.clone())),
        ),
        (format!("CPU per {unit}, µs"), figure(2, |row| row.cpu_us)),
        (format!("× {reference}"), figure(2, |row| row.cpu_ratio)),
        (
            "CPU per notification, µs".to_owned(),
            figure(2, |row| row.cpu_us_per_notification),
        ),
        ("per second".to_owned(), figure(0, |row| row.per_second)),
        ("p50, µs".to_owned(), figure(0, |row| row.p50_us)),
        ("p99, µs".to_owned(), figure(0, |row| row.p99_us)),
        (
            "bytes per connection".to_owned(),
            figure(0, |row| row.bytes_per_connection),
        ),
        ("faults".to_owned(), Box::new(|row| Some(faults(row)))),
    ]
}

/// The faults of a row, and the reason for which figures are missing.
fn faults(row: &Row) -> String {
    match (&row.not_run, &row.failed_rounds) {
        (Some(reason), _) => reason.clone(),
        (None, Some(failed)) => format!("{}; {failed}", row.faults),
        (None, None) => row.faults.to_string(),
    }
}

/// The table of a section, without columns of figures that are empty in all rows. Servers that were not run for the same
/// reason share a row.
fn table(section: &SectionSummary) -> String {
    let mut columns = columns(section);
    let measured = section.rows.iter().filter(|row| row.not_run.is_none());
    let measured: Vec<&Row> = measured.collect();
    // The dialect, the server and the faults or the reason are in each row, also if no row was measured.
    columns.retain(|(_, text)| section.rows.iter().any(|row| text(row).is_some()));
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let row = |row: &Row| {
        let cells = columns
            .iter()
            .map(|(_, text)| text(row).unwrap_or_default());
        line(cells.collect())
    };
    let mut text = format!("### {}\n\n", section.title);
    let headings = columns.iter().map(|(heading, _)| heading.clone());
    text += &line(headings.collect());
    text += &line(vec!["---".to_owned(); columns.len()]);
    text.extend(measured.into_iter().map(row));
    text.extend(not_run(&section.rows).iter().map(row));
    text
}

/// A row for each server and reason, with all dialects.
fn not_run(rows: &[Row]) -> Vec<Row> {
    let mut merged: Vec<Row> = Vec::new();
    for row in rows.iter().filter(|row| row.not_run.is_some()) {
        let is_same =
            |other: &&mut Row| (&other.server, &other.not_run) == (&row.server, &row.not_run);
        match merged.iter_mut().find(is_same) {
            Some(other) => other.dialect += &format!(", {}", row.dialect),
            None => merged.push(row.clone()),
        }
    }
    merged
}

fn command(section: &SectionSummary) -> String {
    let load = &section.load;
    let problem = section.problem.as_ref();
    let problem = problem.map(|problem| format!("FAILED: {problem}\n\n"));
    let background = section.background.as_ref().map(background);
    let background = problem.or(background).unwrap_or_default();
    format!("\n{background}```sh\n{load}\n```\n\n")
}

/// The plots, after the text: the tables can be copied to a page without them.
fn plots(sections: &[SectionSummary]) -> String {
    let plot = |section: &SectionSummary| {
        let SectionSummary { name, title, .. } = section;
        format!("![{title}]({name}.svg)\n\n")
    };
    let plots: String = sections.iter().map(plot).collect();
    format!("### Plots\n\n{plots}")
}

/// The sentence about the background load of a section.
fn background(figures: &LoadFigures) -> String {
    let units = number(figures.units as f64, 0);
    let faults = figures.faults();
    let slow_joins = figures.slow_joins.unwrap_or_default();
    format!(
        "The background load: {units} deliveries, {faults} faults, {slow_joins} joins of clients that stop reading for \
        seconds.\n\n"
    )
}

/// The commands of the servers, and of the background load.
fn servers(results: &Results) -> String {
    let servers = results.servers.join("\n");
    let versions = results.versions.join(", ");
    let note = "A server with two workers shares a core with the load if there are two cores. A load on an original server has the option `--path /` too. `report.json` has all commands as they were run. \
        The servers log errors only, except `peer`, which writes a line for each connect and disconnect and has no option against it. \
        `y-webrtc` listens on all interfaces; it has no option for an address. \
        In `join`, compare the servers of one dialect: a join is over when all members are notified in lightstream, singo, p2p and matchbox, \
        and without notifications in the other dialects.";
    let background = results.background.as_ref().map(|command| {
        format!("The background load: members of five dialects in one room, of which five a second are replaced, and eight \
            clients that stop reading for seconds. It shares the core of the other load, so latencies beside it include \
            the contention of both:\n\n```sh\n{command}\n```\n\n")
    });
    let background = background.unwrap_or_default();
    format!("The servers ({versions}):\n\n```sh\n{servers}\n```\n\n{note}\n\n{background}")
}

/// A number with separated thousands.
fn number(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(dialect: &str, not_run: Option<&str>) -> Row {
        Row {
            dialect: dialect.to_owned(),
            server: "S".to_owned(),
            cpu_us: not_run.is_none().then_some(1234.5),
            not_run: not_run.map(str::to_owned),
            ..Row::default()
        }
    }

    #[test]
    fn table_has_the_measured_columns_and_one_row_for_servers_that_were_not_run() {
        let section = SectionSummary {
            name: "relay".to_owned(),
            title: "Relay".to_owned(),
            unit: "message".to_owned(),
            rows: vec![
                row("a", None),
                row("b", Some("not run")),
                row("c", Some("not run")),
            ],
            ..SectionSummary::default()
        };
        let expected = "### Relay\n\n| dialect | server | CPU per message, µs | faults |\n| --- | --- | --- | --- |\n\
            | a | S | 1,234.50 | 0 |\n| b, c | S |  | not run |\n";
        assert_eq!(table(&section), expected);
    }

    #[test]
    fn reasons_are_shown_if_no_server_or_not_each_round_was_measured() {
        let mut section = SectionSummary {
            title: "Relay".to_owned(),
            rows: vec![row("a", Some("no listener"))],
            problem: Some("no background".to_owned()),
            ..SectionSummary::default()
        };
        let head = "### Relay\n\n| dialect | server | faults |\n| --- | --- | --- |\n";
        let expected = format!("{head}| a | S | no listener |\n");
        assert_eq!(table(&section), expected);
        assert!(command(&section).contains("FAILED: no background"));
        section.rows = vec![Row {
            failed_rounds: Some("1 of 5 rounds failed: x".to_owned()),
            faults: 2,
            ..row("a", None)
        }];
        let shown = table(&section);
        let expected = "| a | S | 1,234.50 | 2; 1 of 5 rounds failed: x |\n";
        assert!(shown.ends_with(expected), "{shown}");
    }

    #[test]
    fn thousands_are_separated() {
        for (value, digits, text) in [
            (0.0, 2, "0.00"),
            (999.4, 0, "999"),
            (1_000.0, 0, "1,000"),
            (1_234_567.0, 1, "1,234,567.0"),
        ] {
            assert_eq!(number(value, digits), text);
        }
    }
}

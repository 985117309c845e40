//! Bar charts as SVG. They have the colours of the reader's scheme, and the fonts of the system.

use std::fmt::Write as _;

use super::summary::{Row, SectionSummary};

const WIDTH: usize = 760;
/// The space of the labels, left of the bars.
const LABELS: usize = 260;
/// The space of the number after the longest bar.
const NUMBERS: usize = 130;
const ROW_HEIGHT: usize = 24;
const HEAD_HEIGHT: usize = 62;

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#1f2328}.head{font-weight:600}.label{text-anchor:end}\
.bg{fill:#fff}.floor{fill:#6e7781}.switchboard{fill:#0969da}.original{fill:#bc4c00}.second{opacity:.55}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.bg{fill:#0d1117}.floor{fill:#8b949e}.switchboard{fill:#58a6ff}\
.original{fill:#f0883e}}";

/// The figure of a plot: its name and unit, and one or two values of a row.
type Figure = (String, usize, fn(&Row) -> Vec<f64>);

/// The plot of a section's main figure.
pub(super) fn plot(section: &SectionSummary) -> String {
    let (name, digits, values) = figure(section);
    let bars: Vec<(&Row, Vec<f64>)> = section
        .rows
        .iter()
        .map(|row| (row, values(row)))
        .filter(|(_, values)| !values.is_empty())
        .collect();
    let longest = bars
        .iter()
        .flat_map(|(_, values)| values.clone())
        .fold(f64::MIN_POSITIVE, f64::max);
    let height = HEAD_HEIGHT + bars.len() * ROW_HEIGHT + 12;
    let title = escape(&section.title);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\
        <title>{title}</title><style>{STYLE}</style><rect class=\"bg\" width=\"100%\" height=\"100%\"/>\
        <text class=\"head\" x=\"16\" y=\"26\">{title}</text><text x=\"16\" y=\"46\">{}</text>\n",
        escape(&name)
    );
    for (index, (row, values)) in bars.iter().enumerate() {
        let top = HEAD_HEIGHT + index * ROW_HEIGHT;
        svg += &label(row, top);
        svg += &bar(row, values, top, longest, digits);
    }
    svg + "</svg>\n"
}

fn figure(section: &SectionSummary) -> Figure {
    let has = |value: fn(&Row) -> Option<f64>| section.rows.iter().any(|row| value(row).is_some());
    if has(|row| row.bytes_per_connection) {
        return ("bytes per connection".to_owned(), 0, |row| {
            row.bytes_per_connection.into_iter().collect()
        });
    }
    if section.is_latency || section.background.is_some() {
        return ("latency in µs: p50 and p99".to_owned(), 0, |row| {
            row.p50_us.into_iter().chain(row.p99_us).collect()
        });
    }
    let unit = &section.unit;
    if has(|row| row.cpu_ratio) {
        let reference = section.rows.first().map(|row| row.server.as_str());
        let name = format!("CPU time per {unit}, × {}", reference.unwrap_or_default());
        return (name, 2, |row| row.cpu_ratio.into_iter().collect());
    }
    (format!("CPU time per {unit} in µs"), 1, |row| {
        row.cpu_us.into_iter().collect()
    })
}

fn label(row: &Row, top: usize) -> String {
    let Row {
        dialect, server, ..
    } = row;
    let text = if dialect == server {
        server.clone()
    } else {
        format!("{dialect} · {server}")
    };
    let (x, y) = (LABELS - 8, top + 16);
    format!(
        "<text class=\"label\" x=\"{x}\" y=\"{y}\">{}</text>",
        escape(&text)
    )
}

/// The bars of a row, one under the other, and the numbers after the longer one.
fn bar(row: &Row, values: &[f64], top: usize, longest: f64, digits: usize) -> String {
    let scale = (WIDTH - LABELS - NUMBERS) as f64 / longest;
    let height = (ROW_HEIGHT - 6) / values.len();
    let mut svg = String::new();
    for (index, value) in values.iter().enumerate() {
        let class = format!("{}{}", row.kind, if index > 0 { " second" } else { "" });
        let (y, width) = (top + 3 + index * height, value * scale);
        // Writing to a string does not fail.
        let _written = write!(
            svg,
            "<rect class=\"{class}\" x=\"{LABELS}\" y=\"{y}\" width=\"{width:.1}\" height=\"{height}\"/>"
        );
    }
    let end = values.iter().copied().fold(0.0, f64::max) * scale + LABELS as f64 + 6.0;
    let numbers: Vec<String> = values
        .iter()
        .map(|value| format!("{value:.digits$}"))
        .collect();
    svg + &format!(
        "<text x=\"{end:.1}\" y=\"{}\">{}</text>\n",
        top + 16,
        numbers.join(" / ")
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_proportional_and_servers_that_were_not_run_have_none() {
        let row = |server: &str, ratio| Row {
            dialect: "a<b".to_owned(),
            server: server.to_owned(),
            kind: "switchboard",
            cpu_ratio: ratio,
            ..Row::default()
        };
        let section = SectionSummary {
            title: "Relay".to_owned(),
            rows: vec![
                row("S", Some(2.0)),
                row("T", Some(1.0)),
                row("absent", None),
            ],
            ..SectionSummary::default()
        };
        let svg = plot(&section);
        let longest = WIDTH - LABELS - NUMBERS;
        assert!(svg.contains(&format!("width=\"{longest}.0\"")), "{svg}");
        assert!(
            svg.contains(&format!("width=\"{}.0\"", longest / 2)),
            "{svg}"
        );
        assert!(
            svg.contains("a&lt;b · S") && !svg.contains("absent"),
            "{svg}"
        );
    }
}

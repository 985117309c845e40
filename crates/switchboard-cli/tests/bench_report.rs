//! The comparison of `cargo xtask bench-report` with this build of the server, for a moment and with few clients. The tests check
//! counts, not times.

use std::{fs, path::PathBuf};

use serde_json::Value;
use switchboard_bench::comparison::{ComparisonOptions, Extent, compare};

const MOMENT: Extent = Extent {
    rounds: 2,
    seconds: 0.05,
    warm_up: 0.02,
    idle_clients: 20,
    large_room: 20,
    join_clients: 10,
    join_room: 5,
};

/// The options for some sections. No original server is installed.
fn options(only: &str, background: bool) -> ComparisonOptions {
    let output = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    ComparisonOptions {
        switchboard: env!("CARGO_BIN_EXE_switchboard").into(),
        node_modules: None,
        matchbox_server: None,
        output: output.join(format!("bench-report-{only}")),
        extent: MOMENT,
        background,
        only: only.to_owned(),
    }
}

/// Compares in some sections, and returns the Markdown and the JSON.
fn report(only: &str, background: bool) -> (String, Value) {
    let options = options(only, background);
    let written = compare(&options, &mut |_| ()).expect("a report");
    assert!(written.failures.is_empty(), "{:?}", written.failures);
    let output = &options.output;
    let json = fs::read(output.join("report.json")).expect("the figures");
    assert!(output.join(format!("{only}.svg")).exists());
    let markdown = fs::read_to_string(written.path).expect("the report");
    (markdown, serde_json::from_slice(&json).expect("JSON"))
}

/// The rows of a server in a section.
fn rows<'a>(json: &'a Value, section: &str, server: &str) -> Vec<&'a Value> {
    let sections = json["sections"].as_array().expect("sections");
    let found = sections.iter().find(|found| found["name"] == section);
    let rows = found.expect(section)["rows"].as_array().expect("rows");
    rows.iter().filter(|row| row["server"] == server).collect()
}

#[test]
fn relay_is_compared_alone_and_beside_the_background_load() {
    let (markdown, json) = report("relay", true);
    for section in ["relay", "relay-background"] {
        let measured = rows(&json, section, "Switchboard");
        assert_eq!(measured.len(), 8);
        for row in measured {
            assert_eq!(
                (&row["faults"], &row["not_run"]),
                (&Value::from(0), &Value::Null),
                "{row}"
            );
            assert!(row["per_second"].as_f64() > Some(0.0), "{row}");
        }
    }
    let background = &json["sections"][1]["background"];
    for fault in ["errors", "lost", "out_of_order"] {
        assert_eq!(background[fault], 0, "{background}");
    }
    assert_eq!(rows(&json, "relay", "floor").len(), 1);
    assert!(markdown.contains("npm peer is not installed"), "{markdown}");
    let version = format!("({}", env!("CARGO_PKG_NAME").trim_end_matches("-cli"));
    assert!(markdown.contains(&version), "{markdown}");
    assert!(
        markdown.contains("| lightstream, singo, mesh, p2p, ayame | original |"),
        "{markdown}"
    );
    assert!(
        markdown.contains("switchboard bench relay http://127.0.0.1:PORT --dialect DIALECT"),
        "{markdown}"
    );
    assert!(!markdown.contains(env!("CARGO_MANIFEST_DIR")), "{markdown}");
    let runs = json["runs"].as_array().expect("runs");
    let original = |run: &&Value| run["report"].is_null();
    assert_eq!(runs.iter().filter(original).count(), 2 * 8, "{json}");
}

#[test]
fn each_idle_load_has_a_new_server() {
    let (markdown, json) = report("idle", false);
    assert_eq!(rows(&json, "idle", "Switchboard").len(), 8);
    assert!(markdown.contains("| bytes per connection |"), "{markdown}");
    let runs = json["runs"].as_array().expect("runs").iter();
    let mut commands: Vec<_> = runs
        .filter_map(|run| run["server_command"].as_str())
        .collect();
    let count = commands.len();
    commands.dedup();
    assert_eq!((commands.len(), count), (2 * 9, 2 * 9));
}

#[test]
fn unknown_section_is_an_error_with_all_names() {
    let refused = compare(&options("voice", false), &mut |_| ());
    let error = refused.expect_err("an unknown section").to_string();
    assert!(
        error.contains("\"voice\"; there are: relay, latency, fanout-100"),
        "{error}"
    );
}

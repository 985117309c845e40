//! `switchboard cluster`: lists the nodes of the cluster.

use std::{fmt::Write as _, process::ExitCode};

use anyhow::{Context as _, anyhow};
use serde_json::json;
use switchboard::{
    cluster::{NodeLine, nodes},
    config::EngineConfig,
};

use crate::{args::Options, report, settings, terminal};

/// Prints the nodes as a table or as JSON. Succeeds if all of them are alive.
pub(crate) fn run(options: &Options, is_json: bool) -> ExitCode {
    let engine = match settings(options) {
        Ok(engine) => engine,
        Err(error) => return fail(&error, ExitCode::from(report::USAGE)),
    };
    let (nodes, has_engine) = match fetch(&engine) {
        Ok(Some(nodes)) => (nodes, true),
        Ok(None) => (Vec::new(), false),
        Err(error) => return fail(&error, ExitCode::FAILURE),
    };
    terminal::print(&match (is_json, has_engine) {
        (true, _) => json(&engine, &nodes),
        (false, false) => NO_ENGINE.to_owned(),
        (false, true) => table(&nodes),
    });
    lapsed(&nodes).map_or(ExitCode::SUCCESS, |message| {
        fail(&anyhow!(message), ExitCode::FAILURE)
    })
}

const NO_ENGINE: &str = "This server is a single node: no engine is set.
To connect nodes to a cluster, set --engine redis://HOST, SWITCHBOARD_ENGINE_URL or url in [engine].
";

fn fail(error: &anyhow::Error, code: ExitCode) -> ExitCode {
    report::print_failure(error);
    code
}

/// The settings of the engine, the part that shares rooms between nodes. Errors in other settings are ignored.
fn settings(options: &Options) -> anyhow::Result<EngineConfig> {
    let (config, errors) = settings::read(options);
    let mut errors = errors.into_iter();
    match errors.find(|error| error.key.is_empty() || error.key.starts_with("engine")) {
        Some(error) => Err(error.into()),
        None => Ok(config.engine),
    }
}

/// The nodes, read from the store that they share; `None` without an engine.
fn fetch(engine: &EngineConfig) -> anyhow::Result<Option<Vec<NodeLine>>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let nodes = runtime.block_on(nodes(engine));
    // Does not wait for the thread of a DNS lookup that is still running.
    runtime.shutdown_background();
    Ok(nodes?)
}

/// The error text about nodes whose lease has expired; `None` if all nodes are alive.
fn lapsed(nodes: &[NodeLine]) -> Option<String> {
    let lapsed = nodes.iter().filter(|line| !line.is_alive).count();
    match (lapsed, nodes.len()) {
        (0, _) => None,
        (1, all) => Some(format!("the lease of 1 of {all} nodes has lapsed")),
        (many, all) => Some(format!("the leases of {many} of {all} nodes have lapsed")),
    }
}

/// The numbers of alive nodes, and of their rooms, members and queued commands. A node whose lease has expired has no
/// members.
fn totals(nodes: &[NodeLine]) -> [usize; 4] {
    let alive = || nodes.iter().filter(|line| line.is_alive);
    let sum = |of: fn(&NodeLine) -> usize| alive().map(of).fold(0, usize::saturating_add);
    [
        alive().count(),
        sum(|line| line.rooms),
        sum(|line| line.members),
        sum(|line| line.queue),
    ]
}

fn json(engine: &EngineConfig, nodes: &[NodeLine]) -> String {
    let [alive, _, members, queue] = totals(nodes);
    let url = (!engine.url.is_empty()).then(|| engine.url.to_string());
    let document = json!({
        "engine": url,
        "prefix": engine.prefix,
        "lease_secs": engine.lease.as_secs(),
        "nodes": nodes,
        "totals": {"alive": alive, "lapsed": nodes.len() - alive, "members": members, "queue": queue},
    });
    format!("{document:#}\n")
}

/// The names of the columns. `LAG` is the time that the node's last request to Redis took; `BEAT` is the time since its
/// last heartbeat.
const HEAD: [&str; 9] = [
    "NODE", "URL", "LEASE", "EPOCH", "ROOMS", "MEMBERS", "QUEUE", "LAG", "BEAT",
];

/// Whether each column is left-aligned. Columns of numbers are right-aligned.
const LEFT: [bool; 9] = [true, true, true, false, false, false, false, false, false];

/// The nodes in aligned columns, and a line with the totals.
fn table(nodes: &[NodeLine]) -> String {
    if nodes.is_empty() {
        return "No node is registered.\n".to_owned();
    }
    let rows: Vec<_> = std::iter::once(HEAD.map(str::to_owned))
        .chain(nodes.iter().map(row))
        .collect();
    let widths: [usize; 9] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or_default()
    });
    let mut text = String::new();
    for row in &rows {
        text.push_str(aligned(row, &widths).trim_end());
        text.push('\n');
    }
    let [alive, rooms, members, queue] = totals(nodes);
    let lapsed = nodes.len() - alive;
    // Writing into a string does not fail.
    let _ = writeln!(
        text,
        "\n{alive} alive, {lapsed} lapsed; {members} members, {queue} queued; {rooms} rooms, counted on each node that has members in them"
    );
    text
}

fn aligned(row: &[String; 9], widths: &[usize; 9]) -> String {
    let cells = row.iter().zip(widths).zip(LEFT);
    let cells = cells.map(|((cell, &width), is_left)| {
        if is_left {
            format!("{cell:<width$}")
        } else {
            format!("{cell:>width$}")
        }
    });
    cells.collect::<Vec<_>>().join("  ")
}

fn row(line: &NodeLine) -> [String; 9] {
    let url = if line.url.is_empty() { "-" } else { &line.url };
    let lease = if line.is_alive { "alive" } else { "lapsed" };
    [
        line.node.to_string(),
        url.to_owned(),
        lease.to_owned(),
        line.epoch.to_string(),
        line.rooms.to_string(),
        line.members.to_string(),
        line.queue.to_string(),
        format!("{} ms", line.lag_ms),
        line.beat_age_ms.map_or_else(|| "-".to_owned(), age),
    ]
}

/// Formats a time in milliseconds as seconds, with one decimal below ten.
fn age(millis: u64) -> String {
    match millis {
        0..10_000 => format!("{}.{} s", millis / 1000, millis % 1000 / 100),
        _ => format!("{} s", millis / 1000),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Nodes as the engine lists them, parsed from their status reports.
    fn lines() -> Vec<NodeLine> {
        let line = |node: &str, epoch, is_alive, report: &str| {
            NodeLine::from_report(node.parse().expect("an id"), epoch, is_alive, report)
        };
        let first =
            r#"{"url":"http://10.0.0.1:8080","rooms":12,"members":340,"queue":2,"lag_ms":1}"#;
        let second = r#"{"url":"http://node-2.calls.internal:8080","rooms":1,"members":2}"#;
        let third = r#"{"rooms":7,"members":9,"queue":5}"#;
        vec![
            line("a1", 1, true, first).with_age(Duration::from_millis(1234)),
            line("b2", 12, true, second),
            line("c3", 1, false, third).with_age(Duration::from_millis(15_900)),
        ]
    }

    #[test]
    fn table_is_aligned_and_totals_count_alive_nodes() {
        let expected = "\
NODE              URL                                LEASE   EPOCH  ROOMS  MEMBERS  QUEUE   LAG   BEAT
00000000000000a1  http://10.0.0.1:8080               alive       1     12      340      2  1 ms  1.2 s
00000000000000b2  http://node-2.calls.internal:8080  alive      12      1        2      0  0 ms      -
00000000000000c3  -                                  lapsed      1      7        9      5  0 ms   15 s

2 alive, 1 lapsed; 342 members, 2 queued; 13 rooms, counted on each node that has members in them
";
        assert_eq!(table(&lines()), expected);
        assert_eq!(table(&[]), "No node is registered.\n");
    }

    #[test]
    fn expired_lease_is_an_error() {
        let lines = lines();
        assert_eq!(lapsed(&lines[..2]), None);
        assert_eq!(lapsed(&[]), None);
        let message = lapsed(&lines).expect("one has lapsed");
        assert_eq!(message, "the lease of 1 of 3 nodes has lapsed");
        let message = lapsed(&[lines[2].clone(), lines[2].clone()]).expect("both have lapsed");
        assert_eq!(message, "the leases of 2 of 2 nodes have lapsed");
    }

    #[test]
    fn json_lists_the_nodes_without_the_password() {
        let mut engine = EngineConfig::default();
        engine.url = "redis://ada:GEHEIM@cache".parse().expect("an address");
        let text = json(&engine, &lines());
        assert!(!text.contains("GEHEIM"), "{text}");
        let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(document["engine"], "redis://ada:***@cache");
        assert_eq!(document["nodes"][2]["is_alive"], false);
        assert_eq!(document["nodes"][0]["url"], "http://10.0.0.1:8080");
        assert_eq!(document["totals"]["members"], 342);
        let alone = json(&EngineConfig::default(), &[]);
        let alone: serde_json::Value = serde_json::from_str(&alone).expect("JSON");
        assert_eq!(alone["engine"], serde_json::Value::Null);
    }

    #[test]
    fn totals_saturate_at_huge_numbers() {
        let mut lines = lines();
        lines[0].members = usize::MAX;
        assert_eq!(totals(&lines)[2], usize::MAX);
    }
}

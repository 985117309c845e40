//! `switchboard bench` against `switchboard serve`: each workload with each dialect, for a moment and with few clients.
//! The tests check counts, not times.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

mod server_process;

use server_process::ServerProcess;

const DIALECTS: [&str; 8] = [
    "lightstream",
    "singo",
    "mesh",
    "p2p",
    "peerjs",
    "ayame",
    "matchbox",
    "y-webrtc",
];

/// Little output. The default limits slow down a load of this length, but do not end it.
const SERVER: [&str; 2] = ["--log-level", "error"];

fn bench(server: &ServerProcess, words: &str) -> Output {
    let url = format!("http://{}", server.address);
    let (workload, options) = words.split_once(' ').expect("a workload and options");
    Command::new(env!("CARGO_BIN_EXE_switchboard"))
        .args(["bench", workload, &url, "--json", "--quiet"])
        .args(options.split(' '))
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs")
}

/// The report of a run without faults.
fn report(server: &ServerProcess, words: &str) -> Value {
    let output = bench(server, words);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let report = serde_json::from_slice(&output.stdout);
    let report: Value = report.unwrap_or_else(|error| panic!("{words}: {error}: {stderr}"));
    assert!(output.status.success(), "{words}: {stderr} {report}");
    for fault in ["errors", "lost", "out_of_order", "skipped"] {
        assert_eq!(report[fault], 0, "{words}: {report}");
    }
    assert!(report["units"].as_u64() > Some(0), "{words}: {report}");
    report
}

#[test]
fn every_workload_runs_with_every_dialect() {
    let server = ServerProcess::start_on("127.0.0.1", &SERVER, Stdio::inherit());
    let pid = server.child.id();
    for dialect in DIALECTS {
        for workload in [
            "relay --clients 4",
            "relay --clients 4 --rate 200 --size 0",
            "fanout --clients 5",
            "fanout --clients 6 --members 3 --rate 100",
            "join --clients 6 --members 3",
            "idle --clients 6",
            "churn --clients 4",
        ] {
            let words =
                format!("{workload} --dialect {dialect} --duration 0.1 --warm-up 0.05 --pid {pid}");
            let report = report(&server, &words);
            assert_eq!(report["dialect"], dialect);
            let usage = &report["server"];
            assert!(usage["rss_after"].as_u64() > Some(0), "{report}");
            let busy = usage["cores"].as_f64().zip(report["seconds"].as_f64());
            let busy = busy.map_or(0.0, |(cores, seconds)| cores * seconds);
            assert!(busy * 100.0 <= server.ticks() as f64 + 0.5, "{report}");
        }
    }
}

#[test]
fn listeners_of_voice_get_pages() {
    let server = ServerProcess::start_on("127.0.0.1", &SERVER, Stdio::inherit());
    let report = report(
        &server,
        "voice --dialect gostream --clients 6 --members 3 --warm-up 0.5 --duration 1",
    );
    assert_eq!(report["unit"], "page");
    assert_eq!(report["connected"], 6);
}

#[test]
fn members_of_a_mixed_room_get_all_messages_in_order() {
    let server = ServerProcess::start_on("127.0.0.1", &SERVER, Stdio::inherit());
    let report = report(
        &server,
        "mixed --dialect lightstream --clients 15 --rate 10 --warm-up 0.3 --duration 1",
    );
    assert_eq!(report["unit"], "delivery");
    assert_eq!(report["members"], 15);
    assert!(report["slow_joins"].as_u64() > Some(0), "{report}");
}

#[test]
fn joins_notify_all_members_that_are_present() {
    let server = ServerProcess::start_on("127.0.0.1", &SERVER, Stdio::inherit());
    let report = report(
        &server,
        "join --dialect p2p --clients 8 --members 4 --warm-up 0 --duration 0",
    );
    // A room of four has three joins that are announced: to one, two and three members.
    let rounds = report["units"].as_u64().expect("a count") / 8;
    assert_eq!(
        report["notifications"],
        rounds * 2 * (1 + 2 + 3),
        "{report}"
    );
}

#[test]
fn floor_can_replace_a_server() {
    let mut floor = Command::new(env!("CARGO_BIN_EXE_switchboard"));
    let floor = floor.args(["bench", "floor", "127.0.0.1:0"]);
    let floor = ServerProcess::spawn(floor);
    for workload in [
        "relay --clients 4",
        "fanout --clients 5",
        "idle --clients 4",
        "churn --clients 4",
    ] {
        let words = format!("{workload} --dialect floor --duration 0.2 --warm-up 0.1");
        report(&floor, &words);
    }
}

#[test]
fn errors_name_the_cause() {
    let server = ServerProcess::start_on("127.0.0.1", &SERVER, Stdio::inherit());
    let error = |words: &str| {
        let output = bench(&server, words);
        assert!(!output.status.success(), "{words}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let remote = Command::new(env!("CARGO_BIN_EXE_switchboard"))
        .args(["bench", "relay", "http://192.0.2.1", "--dialect", "mesh"])
        .output()
        .expect("the binary runs");
    assert!(String::from_utf8_lossy(&remote.stderr).contains("--allow-remote"));
    let other_path = error("relay --dialect singo --path /nothing");
    assert!(
        other_path.contains("404") && other_path.contains("--path"),
        "{other_path}"
    );
    let other_dialect = error("relay --dialect ayame --path /ws --clients 2");
    assert!(other_dialect.contains("another dialect"), "{other_dialect}");
    let unbounded = error("relay --dialect singo --duration 100000");
    assert!(unbounded.contains("--duration"), "{unbounded}");
}

//! The server's instructions per unit of load, counted by callgrind and compared with the committed figures. The counts do
//! not depend on time or on other load. They depend on the profile of the build, so the test needs a release build:
//!
//! ```sh
//! SWITCHBOARD_BIN=target/release/switchboard cargo test -p switchboard-cli --test instructions -- --ignored
//! ```
//!
//! With `UPDATE_FIGURES=1` it writes the figures instead.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use switchboard_bench::{BenchDialect, BenchOptions, Workload, run};

mod server_process;

use server_process::ServerProcess;

/// The environment variable with the path of the server's binary. The server itself would take it for a setting.
const BINARY: &str = "SWITCHBOARD_BIN";

/// The committed figures. A line is a workload, a dialect, and the instructions per unit.
const FIGURES: &str = "tests/instructions.txt";

/// A count may exceed the committed one by this factor.
const TOLERANCE: f64 = 1.05;

/// The clients of a workload, and the time in seconds that is counted. A join is counted for one round of rooms.
const LOADS: [(Workload, usize, f64); 3] = [
    (Workload::Relay, 16, 1.0),
    (Workload::Fanout, 50, 1.0),
    (Workload::Join, 100, 0.0),
];

type Figures = BTreeMap<String, u64>;

/// Starts the server on one worker thread under callgrind, without the limits that would slow the load down.
fn start_counted(binary: &Path) -> ServerProcess {
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--instr-atstart=no", "--quiet"])
        .arg(format!(
            "--callgrind-out-file={}",
            env::temp_dir().join("callgrind.%p").display()
        ))
        .arg(binary)
        .args([
            "serve",
            "--addr",
            "127.0.0.1",
            "--port",
            "0",
            "--log-level",
            "off",
        ])
        .env("TOKIO_WORKER_THREADS", "1")
        .env("SWITCHBOARD_LIMITS_FRAMES_PER_SECOND", "0")
        .env("SWITCHBOARD_LIMITS_DELIVERIES_PER_SECOND", "0")
        .env("SWITCHBOARD_LIMITS_DELIVERED_BYTES_PER_SECOND", "0")
        .env("SWITCHBOARD_INTERNAL_LISTEN", "")
        .env_remove("PORT")
        .env_remove(BINARY)
        .stderr(Stdio::inherit());
    ServerProcess::spawn(&mut command)
}

/// The instructions per unit of one load.
fn count(
    server: &ServerProcess,
    dialect: BenchDialect,
    (workload, clients, seconds): (Workload, usize, f64),
) -> u64 {
    let url = format!("http://{}", server.address);
    let options = BenchOptions {
        clients,
        duration: Duration::from_secs_f64(seconds),
        warm_up: Duration::from_secs(1),
        pid: Some(server.child.id()),
        callgrind: true,
        ..BenchOptions::new(workload, url, dialect)
    };
    let report =
        run(&options, &mut |_| ()).unwrap_or_else(|error| panic!("{workload} {dialect}: {error}"));
    assert!(
        report.is_clean(),
        "{workload} {dialect}: messages were lost or clients failed: {report}"
    );
    let per_unit = report.server.and_then(|usage| usage.instructions_per_unit);
    per_unit.expect("callgrind counts").round() as u64
}

fn measure(binary: &Path) -> Figures {
    let server = start_counted(binary);
    let mut figures = Figures::new();
    for load in LOADS {
        for dialect in BenchDialect::SIGNALING {
            figures.insert(
                format!("{} {dialect}", load.0),
                count(&server, dialect, load),
            );
        }
    }
    figures
}

fn parse(text: &str) -> Figures {
    let figure = |line: &str| {
        let (load, count) = line.rsplit_once(' ').expect("a load and a count");
        (load.to_owned(), count.parse().expect("a number"))
    };
    text.lines().map(figure).collect()
}

/// The loads whose count has grown beyond the tolerance, or that have no committed figure.
fn regressions(committed: &Figures, measured: &Figures) -> Vec<String> {
    let regression = |(load, count): (&String, &u64)| match committed.get(load) {
        Some(before) if *count as f64 <= *before as f64 * TOLERANCE => None,
        Some(before) => Some(format!(
            "{load}: {count} instructions per unit, {before} are committed"
        )),
        None => Some(format!(
            "{load}: {count} instructions per unit, no figure is committed"
        )),
    };
    measured.iter().filter_map(regression).collect()
}

#[test]
#[ignore = "needs a release build in SWITCHBOARD_BIN, and valgrind (Debian: valgrind)"]
fn instructions_per_unit_have_not_grown() {
    let binary = env::var_os(BINARY).map(PathBuf::from);
    let binary = binary.expect("SWITCHBOARD_BIN is the path of a release build");
    // Cargo runs tests in the folder of their crate.
    let measured = measure(&Path::new("../..").join(binary));
    let lines: String = measured
        .iter()
        .map(|(load, count)| format!("{load} {count}\n"))
        .collect();
    if env::var_os("UPDATE_FIGURES").is_some() {
        return fs::write(FIGURES, lines).expect("the figures can be written");
    }
    println!("{lines}");
    let committed = parse(&fs::read_to_string(FIGURES).expect("the committed figures"));
    let found = regressions(&committed, &measured);
    assert!(
        found.is_empty(),
        "more than 5 % above {FIGURES}; UPDATE_FIGURES=1 writes new figures:\n{}",
        found.join("\n")
    );
}

#[test]
fn only_a_growth_beyond_the_tolerance_is_a_regression() {
    let committed = parse("relay mesh 1000\njoin p2p 1000\n");
    let measured = |relay, join| parse(&format!("relay mesh {relay}\njoin p2p {join}\n"));
    assert!(regressions(&committed, &measured(1050, 500)).is_empty());
    let found = regressions(&committed, &measured(1051, 1000));
    assert_eq!(
        found,
        ["relay mesh: 1051 instructions per unit, 1000 are committed"]
    );
    assert_eq!(regressions(&committed, &parse("churn mesh 1\n")).len(), 1);
}

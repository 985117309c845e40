//! `cargo xtask bench-report` runs this program. It compares Switchboard with the floor and with original servers, and writes a
//! report.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool prints its output"
)]

use std::{path::PathBuf, process::ExitCode};

use switchboard_bench::comparison::{ComparisonOptions, Extent, compare};

const USAGE: &str = "\
Usage: bench-report --switchboard PATH [FLAGS]

    --switchboard PATH       the binary of Switchboard
    --node-modules PATH      the folder with the npm packages `peer` and `y-webrtc`
    --matchbox-server PATH   the binary of the crate `matchbox_server`
    --output PATH            the folder of the report (target/bench-report)
    --quick                  about two minutes, without --background
    --background             also each load beside a large mixed room and slow readers; takes twice as long or more
    --only NAME              only the sections whose names begin with this: relay, fanout, …";

fn main() -> ExitCode {
    let Some(options) = parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match compare(&options, &mut |line| eprintln!("{line}")) {
        Ok(report) => {
            println!("{}", report.path.display());
            for failure in &report.failures {
                eprintln!("bench-report: {failure}");
            }
            ExitCode::from(u8::from(!report.failures.is_empty()))
        }
        Err(error) => {
            eprintln!("bench-report: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The options; `None` if an argument is unknown or misses its value.
fn parse(mut arguments: impl Iterator<Item = String>) -> Option<ComparisonOptions> {
    let mut options = ComparisonOptions {
        switchboard: PathBuf::new(),
        node_modules: None,
        matchbox_server: None,
        output: "target/bench-report".into(),
        extent: Extent::FULL,
        background: false,
        only: String::new(),
    };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => options.extent = Extent::QUICK,
            "--background" => options.background = true,
            "--switchboard" => options.switchboard = arguments.next()?.into(),
            "--node-modules" => options.node_modules = Some(arguments.next()?.into()),
            "--matchbox-server" => options.matchbox_server = Some(arguments.next()?.into()),
            "--output" => options.output = arguments.next()?.into(),
            "--only" => options.only = arguments.next()?,
            _ => return None,
        }
    }
    (!options.switchboard.as_os_str().is_empty()).then_some(options)
}

//! Real matchbox clients against a signaling server: ours, matchbox's own, or one at a URL.

mod exchange;
mod failure;
mod network;
mod options;
mod peer;
mod report;
mod scenario;
mod server;

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use futures::future;

use crate::failure::Result;
use crate::options::Options;
use crate::report::Report;
use crate::scenario::{Rooms, Scenario};
use crate::server::{Server, Target};

type Start = fn(&str, &Path) -> Result<(Server, Vec<Target>)>;

const ORIGINAL: &str = "original";

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(failure) => {
            eprintln!("matchbox-compat: {failure}");
            return ExitCode::FAILURE;
        }
    };
    if !options.starts_servers() || network::is_own() {
        return match test(&options) {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        };
    }
    network::run_in_own().unwrap_or_else(|why| {
        let is_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
        let result = if is_ci { "fail" } else { "skipped" };
        println!("1..0 # SKIP {why}\n# {result} 1");
        ExitCode::from(u8::from(is_ci))
    })
}

/// Whether all held.
fn test(options: &Options) -> bool {
    let report = Report::default();
    let (servers, targets) = start(options, &report);
    let runs = targets.iter().map(|target| run_all(target, &report));
    smol::block_on(future::join_all(runs));
    let held = report.end(options.original.as_ref().map(|_| ORIGINAL));
    if !held {
        servers.iter().for_each(print_log);
    }
    held
}

/// The servers that were asked for, and where they have their rooms.
fn start(options: &Options, report: &Report) -> (Vec<Server>, Vec<Target>) {
    let mut servers = Vec::new();
    let mut targets: Vec<_> = options.urls.iter().map(|url| Target::at(url)).collect();
    let programs: [(_, _, Start); 2] = [
        (ORIGINAL, &options.original, server::original),
        ("switchboard", &options.switchboard, server::switchboard),
    ];
    for (name, program, start) in programs {
        let Some(program) = program else { continue };
        let clock = Instant::now();
        match start(name, program) {
            Ok((server, its_targets)) => {
                servers.push(server);
                targets.extend(its_targets);
            }
            Err(failure) => report.add(name, "it starts", &Err(failure), clock.elapsed()),
        }
    }
    (servers, targets)
}

/// One after the other, for what they measure is no load; the last one mostly waits, beside the others.
async fn run_all(target: &Target, report: &Report) {
    let rooms = Rooms::new(&target.base);
    let Some((slow, quick)) = scenario::ALL.split_last() else {
        return;
    };
    let quick = async {
        for scenario in quick {
            run(target, scenario, &rooms, report).await;
        }
    };
    future::join(quick, run(target, slow, &rooms, report)).await;
}

async fn run(target: &Target, scenario: &Scenario, rooms: &Rooms, report: &Report) {
    let clock = Instant::now();
    let outcome = (scenario.run)(rooms).await;
    report.add(&target.name, scenario.name, &outcome, clock.elapsed());
}

fn print_log(server: &Server) {
    println!("# The last words of {}:", server.name);
    for line in server.log() {
        println!("#   {line}");
    }
}

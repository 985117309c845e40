//! The binary `switchboard`: flags, environment and file become settings; settings become a server.
use std::process::ExitCode;

use clap::Parser as _;

mod args;
mod cluster;
mod health;
mod logging;
mod serve;
mod stop;
mod terminal;
mod voice;

use args::{Action, Args};

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match args.action {
        Some(Action::Health { url }) => health::ask(&url.unwrap_or_else(health::own_url)),
        Some(Action::Cluster { options, json }) => return cluster::run(&options, json),
        Some(Action::Voice(args)) => voice::run(args),
        Some(Action::Check(options)) => serve::check(&options),
        Some(Action::Serve(options)) => serve::serve(&options),
        None => serve::serve(&args.options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(words) => {
            terminal::print_error(&format!("switchboard: {words}"));
            ExitCode::FAILURE
        }
    }
}

//! The binary `switchboard`: parses flags, environment variables and a file into settings, and runs a server or a
//! command with them.
use std::process::ExitCode;

use switchboard::config::LogFormat;

mod admin;
mod args;
mod banner;
mod bench;
mod certificate;
mod cluster;
mod files;
mod health;
mod ice;
mod logging;
mod redirect;
mod reload;
mod report;
mod serve;
mod settings;
mod stop;
mod terminal;
mod token;
mod voice;

use args::{Action, Args};

fn main() -> ExitCode {
    let args = Args::from_command_line();
    let result = match args.action {
        Some(Action::Health { url, trust }) => match url {
            Some(url) => health::check_health(&url, &trust.trust()),
            None => health::check_own_server(),
        },
        Some(Action::Cluster { options, json }) => return cluster::run(&options, json),
        Some(Action::Ice(args)) => return ice::run(&args),
        Some(Action::Admin(args)) => return admin::run(&args),
        Some(Action::Voice(args)) => voice::run(args),
        Some(Action::Bench(command)) => bench::run(command),
        Some(Action::Token(command)) => return token::run(command),
        Some(Action::Check(options)) => return serve::check(&options),
        Some(Action::Serve(options)) => return serve::serve(&options),
        None => return serve::serve(&args.options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::report_failure(LogFormat::Text, &error);
            report::FAILED.into()
        }
    }
}

//! The automation of this repository. `cargo xtask help` lists the commands.
//!
//! CI runs the same commands: `.ci/run` is `cargo xtask lint` and `cargo xtask test`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool prints its output"
)]

mod dependencies;
mod failure;
mod lint;
mod machine_paths;
mod matchbox;
mod setup;
mod stage;
mod tally;
mod test;
mod tidy;
mod transcripts;
mod workspace;

use std::process::ExitCode;

use crate::failure::{Failure, Result};
use crate::workspace::Workspace;

const USAGE: &str = "\
Switchboard's automation.

    cargo xtask COMMAND [FLAGS]

Commands
    test     install what the tests need, run all of them, and count: Rust, web type check, matchbox clients, browser
    lint     rustfmt, clippy, tidy, rustdoc and cargo-deny (licences, bans, sources)
    tidy     rules that no other tool checks: dependencies between crates, file sizes, paths, transcripts
    setup    only install what the tests need: Node.js with npm, the packages of compat/, Chromium, and
             opus-tools, vorbis-tools and ffmpeg, which check the audio that voice sends
    help     this page

Flags
    --no-install    (test, lint, setup) install nothing; stages that need a missing tool are reported as skipped
    --no-browser    (test, setup) without the tests in compat/, Chromium and other tools that only these tests need
    --long          (test) also compares with the original servers of PeerJS, y-webrtc and matchbox

Environment
    CHROMIUM            the browser to test with; else the first of chromium, chromium-browser, google-chrome on PATH
    CARGO_TARGET_DIR    the build folder of cargo

The exit code is 0 if every stage passed. The last line of `test` is `N passed, N failed, N skipped`.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one command. Returns false if the command ran and a stage failed.
fn dispatch(arguments: &[String]) -> Result<bool> {
    let (command, flags) = match arguments.split_first() {
        None => ("help", [].as_slice()),
        Some((command, flags)) => (command.as_str(), flags),
    };
    match command {
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(true)
        }
        "test" => test::run(
            &Workspace::load()?,
            Options::parse(command, flags, &["--no-install", "--no-browser", "--long"])?,
        ),
        "lint" => lint::run(
            &Workspace::load()?,
            Options::parse(command, flags, &["--no-install"])?,
        ),
        "tidy" => {
            Options::parse(command, flags, &[])?;
            tidy::run(&Workspace::load()?)
        }
        "setup" => {
            let options = Options::parse(command, flags, &["--no-install", "--no-browser"])?;
            Ok(setup::run(&Workspace::load()?, options).is_complete(options))
        }
        unknown => Err(Failure::new(format!(
            "unknown command `{unknown}`; `cargo xtask help` lists the commands"
        ))),
    }
}

/// The flags of a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Options {
    no_install: bool,
    no_browser: bool,
    /// Also compares with the original servers.
    long: bool,
}

impl Options {
    fn parse(command: &str, flags: &[String], known: &[&str]) -> Result<Self> {
        let mut options = Self::default();
        for flag in flags {
            match flag.as_str() {
                "--no-install" if known.contains(&"--no-install") => options.no_install = true,
                "--no-browser" if known.contains(&"--no-browser") => options.no_browser = true,
                "--long" if known.contains(&"--long") => options.long = true,
                unknown => {
                    let known = if known.is_empty() {
                        "none".to_owned()
                    } else {
                        known.join(", ")
                    };
                    return Err(Failure::new(format!(
                        "unknown flag `{unknown}` of `{command}` (known flags: {known})"
                    )));
                }
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(items: &[&str]) -> Vec<String> {
        items.iter().map(|&item| item.to_owned()).collect()
    }

    #[test]
    fn each_command_accepts_only_its_own_flags() {
        let both = Options {
            no_install: true,
            no_browser: true,
            long: false,
        };
        let flags = strings(&["--no-browser", "--no-install"]);
        assert_eq!(
            Options::parse("test", &flags, &["--no-install", "--no-browser"]).unwrap(),
            both
        );
        let error = Options::parse("lint", &flags, &["--no-install"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown flag `--no-browser` of `lint` (known flags: --no-install)"
        );
    }

    #[test]
    fn unknown_command_is_an_error() {
        let error = dispatch(&strings(&["tset"])).unwrap_err().to_string();
        assert_eq!(
            error,
            "unknown command `tset`; `cargo xtask help` lists the commands"
        );
    }
}

//! Switchboard's automation: `cargo xtask help` says what it can do.
//!
//! What runs here runs in CI: `.ci/run` is `cargo xtask lint` and `cargo xtask test`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool speaks by printing"
)]

mod arrows;
mod failure;
mod lint;
mod matchbox;
mod places;
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
    tidy     the rules of the house that no other tool knows: which crate may use which, sizes, paths, transcripts
    setup    only install what the tests need: Node.js with npm, the packages of compat/, Chromium, and
             opus-tools, vorbis-tools and ffmpeg, which check what voice sends
    help     this page

Flags
    --no-install    (test, lint, setup) install nothing; what needs a missing tool is skipped, and said so
    --no-browser    (test, setup) without the tests in compat/, and without Chromium and what else only they need

Environment
    CHROMIUM            the browser to test with; else the first of chromium, chromium-browser, google-chrome on PATH
    CARGO_TARGET_DIR    where to build, as always with cargo

The exit code is 0 when everything held. The last line of `test` is `N passed, N failed, N skipped`.
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

/// Runs one command; `Ok(false)` when it ran and something did not hold.
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
            Options::parse(command, flags, &["--no-install", "--no-browser"])?,
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
            "there is no command `{unknown}`; `cargo xtask help` lists them"
        ))),
    }
}

/// What the flags ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Options {
    no_install: bool,
    no_browser: bool,
}

impl Options {
    fn parse(command: &str, flags: &[String], known: &[&str]) -> Result<Self> {
        let mut options = Self::default();
        for flag in flags {
            match flag.as_str() {
                "--no-install" if known.contains(&"--no-install") => options.no_install = true,
                "--no-browser" if known.contains(&"--no-browser") => options.no_browser = true,
                unknown => {
                    let known = if known.is_empty() {
                        "none".to_owned()
                    } else {
                        known.join(", ")
                    };
                    return Err(Failure::new(format!(
                        "`{command}` does not know `{unknown}` (its flags: {known})"
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

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn a_flag_is_taken_only_where_it_means_something() {
        let both = Options {
            no_install: true,
            no_browser: true,
        };
        let flags = strings(&["--no-browser", "--no-install"]);
        assert_eq!(
            Options::parse("test", &flags, &["--no-install", "--no-browser"]).unwrap(),
            both
        );
        let refusal = Options::parse("lint", &flags, &["--no-install"]).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "`lint` does not know `--no-browser` (its flags: --no-install)"
        );
    }

    #[test]
    fn an_unknown_command_is_one_clear_line() {
        let refusal = dispatch(&strings(&["tset"])).unwrap_err().to_string();
        assert_eq!(
            refusal,
            "there is no command `tset`; `cargo xtask help` lists them"
        );
    }
}

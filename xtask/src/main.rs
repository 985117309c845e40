//! The automation of this repository. `cargo xtask help` lists the commands.
//!
//! CI runs the same commands: `.ci/run` is `cargo xtask lint` and `cargo xtask test`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool prints its output"
)]

mod dependencies;
mod language;
mod lint;
mod setup;
mod stage;
mod test;
mod tidy;
mod transcripts;

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

/// The error of a task that cannot run: one line of text.
type Result<T> = std::result::Result<T, String>;

const USAGE: &str = "\
Switchboard's automation.

    cargo xtask COMMAND [FLAGS]

Commands
    test     install what the tests need, run all of them, and count: Rust, web type check, matchbox clients, browser
    lint     rustfmt, clippy, tidy, rustdoc and cargo-deny (licences, bans, sources)
    tidy     rules that no other tool checks: dependencies between crates, file sizes, paths, transcripts
    setup    only install what the tests need: Node.js with npm, the packages of compat/, the browsers, Redis, coturn,
             and programs that check the audio that voice sends
    help     this page

Flags
    --no-install    install nothing; what needs a missing tool is reported as skipped
    --no-browser    (test, setup) without the tests in compat/, browsers and other tools that only these tests need
    --long          (test) also long chaos runs, high case counts, and comparisons with the original servers of PeerJS,
                    y-webrtc and matchbox

Environment
    CHROMIUM, FIREFOX   the browsers to test with; else those on PATH
    CI=true             a test whose tool is missing fails, and is not skipped
    CARGO_TARGET_DIR    the build folder of cargo

The exit code is 0 if every stage passed. The last line of `test` is `N passed, N failed, N skipped`.
";

/// The flags of a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Options {
    no_install: bool,
    no_browser: bool,
    long: bool,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match dispatch(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one command. Returns false if the command ran and a stage failed.
fn dispatch(arguments: &[&str]) -> Result<bool> {
    let (command, flags) = arguments.split_first().unwrap_or((&"help", &[]));
    let options = |known| Options::parse(command, flags, known);
    match *command {
        "help" | "--help" | "-h" => print!("{USAGE}"),
        "test" => {
            return Ok(test::run(options(&[
                "--no-install",
                "--no-browser",
                "--long",
            ])?));
        }
        "lint" => return Ok(lint::run(options(&["--no-install"])?)),
        "tidy" => return options(&[]).and_then(|_| tidy::run()),
        "setup" => return Ok(setup::run(options(&["--no-install", "--no-browser"])?).is_complete),
        unknown => {
            return Err(format!(
                "unknown command `{unknown}`; `cargo xtask help` lists the commands"
            ));
        }
    }
    Ok(true)
}

impl Options {
    fn parse(command: &str, flags: &[&str], known: &[&str]) -> Result<Self> {
        if let Some(unknown) = flags.iter().find(|flag| !known.contains(flag)) {
            let known = known.join(", ");
            return Err(format!(
                "unknown flag `{unknown}` of `{command}` (known flags: {known})"
            ));
        }
        Ok(Self {
            no_install: flags.contains(&"--no-install"),
            no_browser: flags.contains(&"--no-browser"),
            long: flags.contains(&"--long"),
        })
    }
}

fn root() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR");
    let xtask = PathBuf::from(manifest.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into()));
    xtask.parent().unwrap_or(&xtask).to_owned()
}

/// The build folder of cargo.
fn target() -> PathBuf {
    root().join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// The cargo that runs this task, in the root of the workspace.
fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(arguments);
    // `cargo run` sets these variables for xtask. Build scripts that depend on them would run again needlessly.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs a command that must succeed, and returns its standard output.
fn output(command: &mut Command) -> Result<String> {
    let line = command_line(command);
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output();
    let output = output.map_err(|error| format!("`{line}` could not be started: {error}"))?;
    if !output.status.success() {
        return Err(format!("`{line}` failed ({})", output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The command line of a command, with the program's file name.
fn command_line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name();
    let words = program.into_iter().chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_commands_and_flags_are_errors() {
        assert!(dispatch(&["tset"]).unwrap_err().contains("`tset`"));
        let error = dispatch(&["lint", "--long"]).unwrap_err();
        assert_eq!(
            error,
            "unknown flag `--long` of `lint` (known flags: --no-install)"
        );
    }
}

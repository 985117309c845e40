//! The automation of this repository. `cargo xtask help` lists the commands.
//!
//! CI runs the same commands: `.ci/run` is `cargo xtask lint` and `cargo xtask test`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool prints its output"
)]

mod dependencies;
mod tidy;

use std::{
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
};

/// The error of a task that cannot run: one line of text.
type Result<T> = std::result::Result<T, String>;

const USAGE: &str = "\
Switchboard's automation.

    cargo xtask COMMAND [FLAGS]

Commands
    test     install what the tests need, run all of them, and count: Rust, web type check, matchbox clients, browser
    lint     rustfmt, clippy with and without cargo features, tidy, rustdoc and cargo-deny
    tidy     rules that no other tool checks: dependencies between crates, file sizes, paths, comments, type names
    bench-report
             measure Switchboard beside the servers of PeerJS, y-webrtc and matchbox, and write tables and plots to
             target/bench-report; 20 to 30 minutes
    help     this page

Flags
    --no-install    install nothing; what needs a missing tool is reported as skipped
    --no-browser    (test) without the tests in compat/, browsers and other tools that only these tests need
    --long          (test) also long chaos runs, high case counts, and comparisons with the original servers of PeerJS,
                    y-webrtc and matchbox
    --quick         (bench-report) about two minutes without --background, with less exact figures
    --background    (bench-report) also a second series, beside a large mixed room and clients that stop reading
                    for seconds

Environment
    SWITCHBOARD_BIN     (bench-report) the binary to measure; else a release build
    CHROMIUM, FIREFOX   the browsers to test with; else those in /usr/bin
    CI=true             a test whose tool is missing fails, and is not skipped

The exit code is 0 if every stage passed. The last lines are the duration of each stage, and the counts of tests.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[&str]) -> Result<()> {
    let (command, flags) = arguments.split_first().unwrap_or((&"help", &[]));
    let known: &[&str] = match *command {
        "test" => &["--no-install", "--no-browser", "--long"],
        "lint" => &["--no-install"],
        "bench-report" => &["--no-install", "--quick", "--background"],
        _ => &[],
    };
    if let Some(unknown) = flags.iter().find(|flag| !known.contains(flag)) {
        return Err(format!(
            "unknown flag `{unknown}` of `{command}` (known flags: {known:?})"
        ));
    }
    match *command {
        "help" | "--help" | "-h" => print!("{USAGE}"),
        "tidy" => tidy::run()?,
        "test" | "lint" | "bench-report" => run_script(command, flags)?,
        unknown => {
            return Err(format!(
                "unknown command `{unknown}`; `cargo xtask help` lists the commands"
            ));
        }
    }
    Ok(())
}

/// Runs `xtask/NAME.sh` with these flags.
fn run_script(name: &str, flags: &[&str]) -> Result<()> {
    let mut script = Command::new(root().join(format!("xtask/{name}.sh")));
    let status = without_own_variables(&mut script).args(flags).status();
    let status = status.map_err(|error| format!("{name}.sh could not be started: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{name} failed ({status})"))
    }
}

fn root() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR");
    let xtask = PathBuf::from(manifest.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into()));
    xtask.parent().unwrap_or(&xtask).to_owned()
}

/// The cargo that runs this task, in the root of the workspace.
fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    without_own_variables(&mut command)
        .current_dir(root())
        .args(arguments);
    command
}

/// Removes the variables that `cargo run` sets for xtask. Build scripts that depend on them would run again needlessly.
fn without_own_variables(command: &mut Command) -> &mut Command {
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
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output();
    let output = output.map_err(|error| format!("{command:?} could not be started: {error}"))?;
    if !output.status.success() {
        return Err(format!("{command:?} failed ({})", output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_commands_and_flags_are_errors() {
        assert!(dispatch(&["tset"]).unwrap_err().contains("`tset`"));
        let error = dispatch(&["lint", "--long"]).unwrap_err();
        assert!(error.contains("`--long` of `lint`"), "{error}");
    }

    /// Runs a script with the functions of `stages.sh`: each of `stage`, `test_stage` and `together` gets a limit in
    /// minutes, a name and a command. Returns whether all stages passed, and the output.
    fn stages(script: &str) -> (bool, String) {
        let mut bash = Command::new("bash");
        bash.args(["-c", &format!("source stages.sh; {script}; finish")]);
        let output = bash.current_dir(root().join("xtask")).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.success(), text)
    }

    #[test]
    fn stages_run_after_a_failure_and_their_counts_are_added() {
        let (passed, text) = stages(
            r##"
            together 1 passes echo 'test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured'
            together 1 fails sh -c 'printf "ℹ tests 9\nℹ pass 1\n# fail 3\nℹ cancelled 1\nℹ todo 1\n# pass the salt\n"; exit 1'
            together 1 is-empty echo no tests
            wait
            test_stage 1 idle echo nothing to do
            stage 1 breaks sh -c 'echo "# pass 2"; exit 7' && echo unexpected
            stage 1 missing there-is-no-such-program && echo unexpected
            stage 0.02 lasts sh -c 'sleep 20 & sleep 20' && echo unexpected
            stage 1 leaves sh -c 'sleep 5 &' || echo unexpected
            skip waits --no-browser"##,
        );
        assert!(!passed);
        assert!(!text.contains("\nunexpected"), "{text}");
        assert!(
            text.contains("FAILED: did not end within its limit"),
            "{text}"
        );
        assert_eq!(
            text.lines().last(),
            Some("5 passed, 8 failed, 3 skipped"),
            "{text}"
        );
        assert!(stages("stage 1 passes true").0);
    }
}

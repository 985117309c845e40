//! The stages of a task. Each stage runs one command, even if earlier stages have failed. A table shows the results.

use std::{
    fmt,
    io::{BufRead, BufReader, IsTerminal},
    ops::AddAssign,
    process::{ChildStdout, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use crate::{Result, command_line};

/// Time to wait for the rest of the output after the end of a command. A process that the command left behind may keep
/// the output open for ever.
const OUTPUT_TIMEOUT: Duration = Duration::from_secs(5);

/// Counts of tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

/// The stages that have run so far: a line of the table for each, and the counts of all. A skipped stage counts as one
/// skipped test, and a stage that failed without a failed test as one failed test.
#[derive(Debug, Default)]
pub(crate) struct Stages {
    rows: Vec<String>,
    total: Tally,
}

impl Stages {
    /// Runs a command without test counts. The stage passes if the command succeeds within the limit.
    pub(crate) fn run(&mut self, name: &str, command: &mut Command, minutes: u64) -> bool {
        self.run_here(name, || {
            let (_, result) = run_command(command, Duration::from_secs(60 * minutes));
            result.map(|()| true)
        })
    }

    /// Runs a test runner. The stage passes if the runner succeeds and has run at least one test.
    pub(crate) fn run_tests(&mut self, name: &str, command: &mut Command, minutes: u64) {
        heading(name);
        let start = Instant::now();
        let (tests, mut result) = run_command(command, Duration::from_secs(60 * minutes));
        if result.is_ok() && tests == Tally::default() {
            result = Err("no test was run".to_owned());
        }
        self.add(name, tests, result, start);
    }

    /// Runs a function of xtask as a stage.
    pub(crate) fn run_here(&mut self, name: &str, work: impl FnOnce() -> Result<bool>) -> bool {
        heading(name);
        let start = Instant::now();
        let result = work().and_then(|passed| match passed {
            true => Ok(()),
            false => Err("see the errors above".to_owned()),
        });
        let passed = result.is_ok();
        self.add(name, Tally::default(), result, start);
        passed
    }

    /// A stage that the flags leave out.
    pub(crate) fn skip(&mut self, name: &str, reason: &str) {
        println!("\n!!! {name} is skipped: {reason}");
        self.rows
            .push(format!("{name:<26}    -    SKIPPED: {reason}"));
        self.total.skipped += 1;
    }

    /// A stage whose tool is missing. With `CI=true` it fails.
    pub(crate) fn skip_missing(&mut self, name: &str, reason: &str) {
        match std::env::var_os("CI") {
            Some(value) if value == "true" => _ = self.run_here(name, || Err(reason.to_owned())),
            Some(_) | None => self.skip(name, reason),
        }
    }

    /// Prints the table and the counts. Returns whether all stages have passed.
    pub(crate) fn finish(&self) -> bool {
        println!("\n{}\n{}", self.rows.join("\n"), self.total);
        self.total.failed == 0
    }

    fn add(&mut self, name: &str, mut tests: Tally, result: Result<()>, start: Instant) {
        let seconds = start.elapsed().as_secs();
        let mut row = format!("{name:<26} {:>3}:{:02}", seconds / 60, seconds % 60);
        if tests != Tally::default() {
            row += &format!("  {tests}");
        }
        if let Err(reason) = result {
            println!("!!! {name} failed: {reason}");
            row += &format!("  FAILED: {reason}");
            tests.failed = tests.failed.max(1);
        }
        self.rows.push(row);
        self.total += tests;
    }
}

pub(crate) fn heading(name: &str) {
    println!("\n=== {name}");
}

/// Runs a command within the limit, prints its output and counts the tests in it.
fn run_command(command: &Command, limit: Duration) -> (Tally, Result<()>) {
    println!("{}", command_line(command));
    let mut command = limited(command, limit);
    // The output is parsed, so it must be without colors even if the environment enables them.
    command
        .env("CARGO_TERM_COLOR", "never")
        .env("NO_COLOR", "1");
    command.env_remove("FORCE_COLOR").stdin(Stdio::null());
    let mut child = match command.stdout(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => {
            return (
                Tally::default(),
                Err(format!("could not be started: {error}")),
            );
        }
    };
    let (sender, tests) = mpsc::channel();
    let stdout = child.stdout.take();
    std::thread::spawn(move || sender.send(stdout.map(print_and_count)));
    let status = child.wait().map_err(|error| error.to_string());
    let Ok(tests) = tests.recv_timeout(OUTPUT_TIMEOUT) else {
        let reason = "a process that the command started still runs and keeps its output open";
        return (Tally::default(), Err(reason.to_owned()));
    };
    let result = status.and_then(|status| match status.code() {
        Some(0) => Ok(()),
        // By `timeout`.
        Some(124 | 137) => Err(format!("did not end within {limit:?}")),
        Some(_) | None => Err(status.to_string()),
    });
    (tests.unwrap_or_default(), result)
}

/// The command under `timeout`, which ends it and the processes that it has started. At a terminal there is no limit,
/// because Ctrl-C reaches only the process group of the terminal.
fn limited(command: &Command, limit: Duration) -> Command {
    let mut limited = Command::new("timeout");
    if std::io::stdin().is_terminal() {
        limited = Command::new("env");
    } else {
        limited.args(["--kill-after=10s", &format!("{}s", limit.as_secs())]);
    }
    limited.arg(command.get_program()).args(command.get_args());
    limited.current_dir(command.get_current_dir().unwrap_or(".".as_ref()));
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    limited
}

fn print_and_count(stdout: ChildStdout) -> Tally {
    let mut tests = Tally::default();
    for line in BufReader::new(stdout)
        .split(b'\n')
        .map_while(std::result::Result::ok)
    {
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        tests += Tally::of(&line);
    }
    tests
}

impl Tally {
    /// The counts in a line of a runner's output: `test result: ok. 3 passed; 0 failed; 1 ignored; …` of cargo, or
    /// `ℹ pass 3` of Node.js, in the other format of which the line begins with `#`.
    fn of(line: &str) -> Self {
        let mut tests = Self::default();
        let node = line.strip_prefix("ℹ ").or_else(|| line.strip_prefix("# "));
        if let Some((word, count)) = node.and_then(|rest| rest.split_once(' ')) {
            tests.count(word, count);
        }
        let cargo = line.strip_prefix("test result: ").unwrap_or_default();
        for part in cargo.split(['.', ';']) {
            if let Some((count, word)) = part.trim().split_once(' ') {
                tests.count(word, count);
            }
        }
        tests
    }

    fn count(&mut self, word: &str, count: &str) {
        let count = count.trim().parse().unwrap_or(0);
        match word {
            "passed" | "pass" => self.passed += count,
            "failed" | "fail" | "cancelled" => self.failed += count,
            "ignored" | "skipped" | "todo" => self.skipped += count,
            _ => {}
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn stages_run_after_a_failure_and_their_counts_are_added() {
        let cargo = "test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; finished in 1.2s";
        let node = "ℹ tests 9\nℹ pass 1\n# fail 3\nℹ cancelled 1\nℹ todo 1\n# pass the salt";
        let mut stages = Stages::default();
        stages.run_tests("passes", &mut shell(&format!("echo '{cargo}'")), 1);
        stages.run_tests("fails", &mut shell(&format!("echo '{node}'; exit 1")), 1);
        stages.run_tests("idle", &mut shell("echo nothing to do"), 1);
        assert!(!stages.run("breaks", &mut shell("echo '# pass 2'; exit 7"), 1));
        assert!(!stages.run("missing", &mut Command::new("there-is-no-such-program"), 1));
        stages.skip("waits", "--no-browser");
        assert!(!stages.finish());
        assert_eq!(stages.total.to_string(), "3 passed, 7 failed, 3 skipped");
    }

    #[test]
    fn command_and_its_children_are_ended_at_the_limit() {
        let (_, result) = run_command(&shell("sleep 20 & sleep 20"), Duration::from_secs(1));
        assert_eq!(result.is_err(), !std::io::stdin().is_terminal());
    }
}

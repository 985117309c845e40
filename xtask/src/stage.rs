//! The stages of a task. Each stage runs one command, even if earlier stages have failed. A table shows the results.

use std::io::{BufRead, BufReader, IsTerminal};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use crate::tally::Tally;
use crate::workspace::command_line;

/// Time to wait for the rest of the output after the end of a command. A process that the command left behind may keep
/// the output open for ever.
const OUTPUT_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StageResult {
    Passed,
    Failed(String),
    Skipped(String),
}

#[derive(Debug)]
struct Row {
    name: &'static str,
    result: StageResult,
    took: Duration,
    tests: Tally,
}

/// The stages that have run so far.
#[derive(Debug, Default)]
pub(crate) struct Stages {
    rows: Vec<Row>,
}

impl Stages {
    /// Runs a command without test counts. The stage passes if the command succeeds.
    pub(crate) fn run(
        &mut self,
        name: &'static str,
        command: &mut Command,
        minutes_max: u64,
    ) -> bool {
        let (row, _) = run_command(name, command, minutes_max);
        self.push(row)
    }

    /// Runs a test runner. The stage passes if the runner succeeds and has run at least one test.
    pub(crate) fn run_tests(
        &mut self,
        name: &'static str,
        command: &mut Command,
        minutes_max: u64,
    ) -> bool {
        let (mut row, tests) = run_command(name, command, minutes_max);
        row.tests = tests;
        if row.result == StageResult::Passed && tests.is_empty() {
            row.result = StageResult::Failed("no test was run".to_owned());
        }
        self.push(row)
    }

    /// Runs a function of xtask as a stage.
    pub(crate) fn run_here(
        &mut self,
        name: &'static str,
        work: impl FnOnce() -> StageResult,
    ) -> bool {
        heading(name);
        let start = Instant::now();
        let result = work();
        self.push(Row {
            name,
            result,
            took: start.elapsed(),
            tests: Tally::default(),
        })
    }

    pub(crate) fn skip(&mut self, name: &'static str, reason: &str) {
        heading(name);
        self.push(Row {
            name,
            result: StageResult::Skipped(reason.to_owned()),
            took: Duration::ZERO,
            tests: Tally::default(),
        });
    }

    pub(crate) fn all_passed(&self) -> bool {
        !self
            .rows
            .iter()
            .any(|row| matches!(row.result, StageResult::Failed(_)))
    }

    /// The sum of all counts. A skipped stage counts as one skipped test, and a stage that failed without a failed test
    /// as one failed test.
    pub(crate) fn total(&self) -> Tally {
        let mut total = Tally::default();
        for row in &self.rows {
            total += row.tests;
            match &row.result {
                StageResult::Failed(_) if row.tests.failed == 0 => total.failed += 1,
                StageResult::Skipped(_) => total.skipped += 1,
                StageResult::Failed(_) | StageResult::Passed => {}
            }
        }
        total
    }

    pub(crate) fn print_table(&self) {
        println!(
            "\n{:<18} {:<8} {:>7} {:>7} {:>7} {:>7}",
            "stage", "", "time", "passed", "failed", "skipped"
        );
        for row in &self.rows {
            println!("{row}");
        }
    }

    fn push(&mut self, row: Row) -> bool {
        match &row.result {
            StageResult::Passed => {}
            StageResult::Failed(reason) => println!("!!! {} failed: {reason}", row.name),
            StageResult::Skipped(reason) => println!("!!! {} is skipped: {reason}", row.name),
        }
        let passed = row.result == StageResult::Passed;
        self.rows.push(row);
        passed
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (result, reason) = match &self.result {
            StageResult::Passed => ("ok", ""),
            StageResult::Failed(reason) => ("FAILED", reason.as_str()),
            StageResult::Skipped(reason) => ("SKIPPED", reason.as_str()),
        };
        let seconds = self.took.as_secs();
        let took = format!("{}:{:02}", seconds / 60, seconds % 60);
        let counts = if self.tests.is_empty() {
            ["", "", ""].map(str::to_owned)
        } else {
            [self.tests.passed, self.tests.failed, self.tests.skipped]
                .map(|count| count.to_string())
        };
        let [passed, failed, skipped] = counts;
        let row = format!(
            "{:<18} {result:<8} {took:>7} {passed:>7} {failed:>7} {skipped:>7}  {reason}",
            self.name
        );
        f.write_str(row.trim_end())
    }
}

pub(crate) fn heading(name: &str) {
    println!("\n=== {name}");
}

/// Runs a command, prints its output and counts the tests in it. Kills the command after `minutes_max`.
fn run_command(name: &'static str, command: &mut Command, minutes_max: u64) -> (Row, Tally) {
    heading(&format!("{name}: {}", command_line(command)));
    let start = Instant::now();
    // At a terminal, Ctrl-C must reach all processes of the command, so it stays in the process group and has no limit.
    // Otherwise it gets its own group, which is killed at the limit.
    let is_attended = std::io::stdin().is_terminal();
    if !is_attended {
        command.process_group(0);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    // The output is parsed, so it must be without colors even if the environment enables them.
    command
        .env("CARGO_TERM_COLOR", "never")
        .env("NO_COLOR", "1")
        .env_remove("FORCE_COLOR");
    let (result, tests) = match command.spawn() {
        Err(error) => (
            StageResult::Failed(format!("the command could not be started: {error}")),
            Tally::default(),
        ),
        Ok(mut child) => {
            let output = child.stdout.take().map(Output::follow);
            let limit = (!is_attended).then(|| Duration::from_secs(minutes_max * 60));
            let result = match wait(&mut child, limit) {
                Ok(Some(status)) if status.success() => StageResult::Passed,
                Ok(Some(status)) => StageResult::Failed(status.to_string()),
                Ok(None) => {
                    StageResult::Failed(format!("did not end within {minutes_max} minutes"))
                }
                Err(error) => {
                    StageResult::Failed(format!("waiting for the command failed: {error}"))
                }
            };
            (result, output.map(Output::finish).unwrap_or_default())
        }
    };
    (
        Row {
            name,
            result,
            took: start.elapsed(),
            tests: Tally::default(),
        },
        tests,
    )
}

/// Waits for a child process and returns its status; `None` if it was killed at the limit.
fn wait(child: &mut Child, limit: Option<Duration>) -> std::io::Result<Option<ExitStatus>> {
    let Some(limit) = limit else {
        return child.wait().map(Some);
    };
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed() > limit {
            // The child leads a process group, which includes the processes that it has started.
            Command::new("kill")
                .args(["-KILL", "--", &format!("-{}", child.id())])
                .status()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The output of a child process, printed and counted line by line.
struct Output {
    tests: Arc<Mutex<Tally>>,
    ended: mpsc::Receiver<()>,
}

impl Output {
    fn follow(stdout: ChildStdout) -> Self {
        let tests = Arc::new(Mutex::new(Tally::default()));
        let (end, ended) = mpsc::sync_channel(1);
        let counted = Arc::clone(&tests);
        std::thread::spawn(move || {
            show(BufReader::new(stdout), &counted);
            let _ = end.send(());
        });
        Self { tests, ended }
    }

    fn finish(self) -> Tally {
        if self.ended.recv_timeout(OUTPUT_TIMEOUT).is_err() {
            println!(
                "!!! a process that the command started is still running and keeps its output open"
            );
        }
        *self.tests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn show(mut output: impl BufRead, tests: &Mutex<Tally>) {
    let mut line = Vec::new();
    while output
        .read_until(b'\n', &mut line)
        .is_ok_and(|read| read > 0)
    {
        let text = String::from_utf8_lossy(&line);
        // Uses `print!`, whose output a test captures. Otherwise the test runner around xtask's own tests would count it.
        print!("{text}");
        tests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .read(&text);
        line.clear();
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
        let mut stages = Stages::default();
        assert!(stages.run_tests(
            "counts",
            &mut shell("echo 'ℹ pass 2'; echo 'ℹ skipped 1'"),
            1
        ));
        assert!(!stages.run_tests(
            "fails",
            &mut shell("echo '# pass 1'; echo '# fail 3'; exit 1"),
            1
        ));
        assert!(!stages.run("breaks", &mut shell("exit 7"), 1));
        stages.skip("waits", "there is no browser");
        assert!(!stages.all_passed());
        assert_eq!(
            stages.total(),
            Tally {
                passed: 3,
                failed: 4,
                skipped: 2
            }
        );
    }

    #[test]
    fn runner_without_any_test_fails() {
        let mut stages = Stages::default();
        assert!(!stages.run_tests("idle", &mut shell("echo nothing to do"), 1));
        assert_eq!(
            stages.total(),
            Tally {
                passed: 0,
                failed: 1,
                skipped: 0
            }
        );
    }

    #[test]
    fn output_of_a_build_is_not_counted() {
        let mut stages = Stages::default();
        assert!(stages.run("build", &mut shell("echo 'ℹ pass 2'"), 1));
        assert_eq!(stages.total(), Tally::default());
    }

    #[test]
    fn missing_program_is_a_failed_stage() {
        let mut stages = Stages::default();
        assert!(!stages.run("missing", &mut Command::new("there-is-no-such-program"), 1));
        let StageResult::Failed(reason) = &stages.rows[0].result else {
            panic!("{stages:?}")
        };
        assert!(
            reason.starts_with("the command could not be started"),
            "{reason}"
        );
    }

    #[test]
    fn command_and_its_children_are_killed_at_the_limit() {
        let mut child = shell("sleep 600 & sleep 600")
            .process_group(0)
            .spawn()
            .unwrap();
        let start = Instant::now();
        assert!(
            wait(&mut child, Some(Duration::from_millis(100)))
                .unwrap()
                .is_none()
        );
        assert!(start.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn table_shows_the_reason() {
        let row = Row {
            name: "browser tests",
            result: StageResult::Skipped("no Chromium".to_owned()),
            took: Duration::from_secs(65),
            tests: Tally::default(),
        };
        assert_eq!(
            row.to_string().split_whitespace().collect::<Vec<_>>(),
            ["browser", "tests", "SKIPPED", "1:05", "no", "Chromium"]
        );
    }
}

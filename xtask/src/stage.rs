//! A task is a row of stages; each runs one command, whatever became of the ones before it, and the table tells.

use std::io::{BufRead, BufReader, IsTerminal};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use crate::tally::Tally;
use crate::workspace::words;

/// How long after the end of a command its last words are waited for: a process that it left behind may hold its
/// output open for ever.
const LAST_WORDS: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Held,
    Failed(String),
    Skipped(String),
}

#[derive(Debug)]
struct Row {
    name: &'static str,
    verdict: Verdict,
    took: Duration,
    tests: Tally,
}

/// What has run so far.
#[derive(Debug, Default)]
pub(crate) struct Stages {
    rows: Vec<Row>,
}

impl Stages {
    /// Runs a command that tests nothing by number: it holds when it succeeds.
    pub(crate) fn run(
        &mut self,
        name: &'static str,
        command: &mut Command,
        minutes_max: u64,
    ) -> bool {
        let (row, _) = watched(name, command, minutes_max);
        self.push(row)
    }

    /// Runs a test runner: it holds when it succeeds and has run at least one test.
    pub(crate) fn run_tests(
        &mut self,
        name: &'static str,
        command: &mut Command,
        minutes_max: u64,
    ) -> bool {
        let (mut row, tests) = watched(name, command, minutes_max);
        row.tests = tests;
        if row.verdict == Verdict::Held && tests.is_empty() {
            row.verdict = Verdict::Failed("it ran no test".to_owned());
        }
        self.push(row)
    }

    /// Runs something of our own.
    pub(crate) fn run_here(&mut self, name: &'static str, work: impl FnOnce() -> Verdict) -> bool {
        heading(name);
        let start = Instant::now();
        let verdict = work();
        self.push(Row {
            name,
            verdict,
            took: start.elapsed(),
            tests: Tally::default(),
        })
    }

    pub(crate) fn skip(&mut self, name: &'static str, why: &str) {
        heading(name);
        self.push(Row {
            name,
            verdict: Verdict::Skipped(why.to_owned()),
            took: Duration::ZERO,
            tests: Tally::default(),
        });
    }

    pub(crate) fn all_held(&self) -> bool {
        !self
            .rows
            .iter()
            .any(|row| matches!(row.verdict, Verdict::Failed(_)))
    }

    /// The sum. A stage that was skipped, or failed without a failed test to show for it, counts as one test.
    pub(crate) fn total(&self) -> Tally {
        let mut total = Tally::default();
        for row in &self.rows {
            total += row.tests;
            match &row.verdict {
                Verdict::Failed(_) if row.tests.failed == 0 => total.failed += 1,
                Verdict::Skipped(_) => total.skipped += 1,
                Verdict::Failed(_) | Verdict::Held => {}
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
        match &row.verdict {
            Verdict::Held => {}
            Verdict::Failed(why) => println!("!!! {} failed: {why}", row.name),
            Verdict::Skipped(why) => println!("!!! {} is skipped: {why}", row.name),
        }
        let held = row.verdict == Verdict::Held;
        self.rows.push(row);
        held
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (verdict, why) = match &self.verdict {
            Verdict::Held => ("ok", ""),
            Verdict::Failed(why) => ("FAILED", why.as_str()),
            Verdict::Skipped(why) => ("SKIPPED", why.as_str()),
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
            "{:<18} {verdict:<8} {took:>7} {passed:>7} {failed:>7} {skipped:>7}  {why}",
            self.name
        );
        f.write_str(row.trim_end())
    }
}

pub(crate) fn heading(name: &str) {
    println!("\n=== {name}");
}

/// Runs a command, showing what it prints while counting the tests in it, and ends it when its time is up.
fn watched(name: &'static str, command: &mut Command, minutes_max: u64) -> (Row, Tally) {
    heading(&format!("{name}: {}", words(command)));
    let start = Instant::now();
    // A person stops a command with Ctrl-C, which must reach all of its processes; without a person, the limit does.
    let is_attended = std::io::stdin().is_terminal();
    if !is_attended {
        command.process_group(0);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    // It goes through a pipe to be counted: plain, whatever the environment wants.
    command
        .env("CARGO_TERM_COLOR", "never")
        .env("NO_COLOR", "1")
        .env_remove("FORCE_COLOR");
    let (verdict, tests) = match command.spawn() {
        Err(error) => (
            Verdict::Failed(format!("it could not be started: {error}")),
            Tally::default(),
        ),
        Ok(mut child) => {
            let output = child.stdout.take().map(Output::follow);
            let limit = (!is_attended).then(|| Duration::from_secs(minutes_max * 60));
            let verdict = match wait(&mut child, limit) {
                Ok(Some(status)) if status.success() => Verdict::Held,
                Ok(Some(status)) => Verdict::Failed(status.to_string()),
                Ok(None) => Verdict::Failed(format!("it did not end within {minutes_max} minutes")),
                Err(error) => Verdict::Failed(format!("it could not be waited for: {error}")),
            };
            (verdict, output.map(Output::finish).unwrap_or_default())
        }
    };
    (
        Row {
            name,
            verdict,
            took: start.elapsed(),
            tests: Tally::default(),
        },
        tests,
    )
}

/// The status of a child, or none when it had to be ended at the limit.
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
            // The child leads a group of its own, with whatever it has started.
            Command::new("kill")
                .args(["-KILL", "--", &format!("-{}", child.id())])
                .status()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What a child prints, shown and counted line by line.
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
        if self.ended.recv_timeout(LAST_WORDS).is_err() {
            println!("!!! a process that it started is still running and holds its output open");
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
        // Not written past `print!`: within a test of ours it must stay captured, or the test runner around it counts it.
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
    fn stages_go_on_after_a_failure_and_add_up() {
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
        assert!(!stages.all_held());
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
    fn a_runner_that_runs_no_test_has_failed() {
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
    fn a_build_counts_no_test_even_if_it_prints_a_count() {
        let mut stages = Stages::default();
        assert!(stages.run("build", &mut shell("echo 'ℹ pass 2'"), 1));
        assert_eq!(stages.total(), Tally::default());
    }

    #[test]
    fn a_missing_program_is_a_failed_stage() {
        let mut stages = Stages::default();
        assert!(!stages.run("missing", &mut Command::new("there-is-no-such-program"), 1));
        let Verdict::Failed(why) = &stages.rows[0].verdict else {
            panic!("{stages:?}")
        };
        assert!(why.starts_with("it could not be started"), "{why}");
    }

    #[test]
    fn a_command_is_ended_at_its_limit_with_all_it_started() {
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
    fn the_table_shows_why() {
        let row = Row {
            name: "browser tests",
            verdict: Verdict::Skipped("no Chromium".to_owned()),
            took: Duration::from_secs(65),
            tests: Tally::default(),
        };
        assert_eq!(
            row.to_string().split_whitespace().collect::<Vec<_>>(),
            ["browser", "tests", "SKIPPED", "1:05", "no", "Chromium"]
        );
    }
}

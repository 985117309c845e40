//! Counts tests from the output of their runners: the `test result:` lines of cargo and the summaries of the Node.js
//! test runner.

use std::fmt;
use std::ops::AddAssign;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
}

impl Tally {
    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Adds the counts in a line of a runner's output. Other lines are ignored.
    pub(crate) fn read(&mut self, line: &str) {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix("test result: ") {
            *self += of_cargo(rest);
        } else if let Some(rest) = line.strip_prefix("ℹ ").or_else(|| line.strip_prefix("# ")) {
            *self += of_node(rest);
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

/// Parses the counts of `ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s`.
fn of_cargo(rest: &str) -> Tally {
    let mut tally = Tally::default();
    for part in rest.split(['.', ';']) {
        let mut words = part.split_whitespace();
        let (Some(count), Some(word)) = (words.next(), words.next()) else {
            continue;
        };
        let Ok(count) = count.parse::<usize>() else {
            continue;
        };
        match word {
            "passed" => tally.passed = count,
            "failed" => tally.failed = count,
            "ignored" => tally.skipped = count,
            _ => {}
        }
    }
    tally
}

/// Parses a line of the Node.js summary like `pass 3`, which has one count.
fn of_node(rest: &str) -> Tally {
    let mut tally = Tally::default();
    let Some((word, count)) = rest.split_once(' ') else {
        return tally;
    };
    let Ok(count) = count.parse::<usize>() else {
        return tally;
    };
    match word {
        "pass" => tally.passed = count,
        "fail" | "cancelled" => tally.failed = count,
        "skipped" | "todo" => tally.skipped = count,
        _ => {}
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(output: &str) -> Tally {
        let mut tally = Tally::default();
        output.lines().for_each(|line| tally.read(line));
        tally
    }

    #[test]
    fn counts_of_all_cargo_test_binaries_are_added() {
        let output = "running 4 tests\n\
            test a ... ok\n\
            test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s\n\
            test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 5 filtered out; finished in 1.20s\n";
        assert_eq!(
            tally(output),
            Tally {
                passed: 5,
                failed: 1,
                skipped: 1
            }
        );
    }

    #[test]
    fn both_formats_of_the_node_summary_are_counted() {
        let spec = "ℹ tests 9\nℹ suites 0\nℹ pass 5\nℹ fail 1\nℹ cancelled 1\nℹ skipped 1\nℹ todo 1\nℹ duration_ms 12.5\n";
        assert_eq!(
            tally(spec),
            Tally {
                passed: 5,
                failed: 2,
                skipped: 2
            }
        );
        assert_eq!(tally(&spec.replace("ℹ", "#")), tally(spec));
    }

    #[test]
    fn other_lines_are_ignored() {
        assert!(
            tally("# Switchboard\n3 passed\n# pass the salt\nℹ pass\ntest result: \n").is_empty()
        );
    }
}

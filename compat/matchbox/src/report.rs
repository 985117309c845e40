//! The report: a line for each scenario and the totals, in the format TAP.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use crate::failure::Result;

/// How each scenario went on each server so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    passed: Cell<usize>,
    failed: RefCell<Vec<(String, &'static str)>>,
}

impl Report {
    pub(crate) fn add(
        &self,
        target: &str,
        scenario: &'static str,
        outcome: &Result<()>,
        took: Duration,
    ) {
        let seconds = took.as_secs_f32();
        match outcome {
            Ok(()) => self.passed.set(self.passed.get() + 1),
            Err(_) => self.failed.borrow_mut().push((target.to_owned(), scenario)),
        }
        let number = self.passed.get() + self.failed.borrow().len();
        match outcome {
            Ok(()) => println!("ok {number} - {target}: {scenario} ({seconds:.1} s)"),
            Err(why) => {
                println!("not ok {number} - {target}: {scenario} ({seconds:.1} s)\n# {why}")
            }
        }
    }

    /// Prints the sums, and of what failed whose mistake it is when matchbox's own server was there, too.
    pub(crate) fn end(&self, original: Option<&str>) -> bool {
        let failed = self.failed.borrow();
        if let Some(original) = original {
            for (target, scenario) in failed.iter().filter(|(target, _)| target != original) {
                let is_shared = failed
                    .iter()
                    .any(|other| other == &(original.to_owned(), *scenario));
                let verdict = if is_shared {
                    "and so does the original"
                } else {
                    "and the original does not"
                };
                println!("# {target} fails, {verdict}: {scenario}");
            }
        }
        println!("1..{}", self.passed.get() + failed.len());
        println!("# pass {}\n# fail {}", self.passed.get(), failed.len());
        failed.is_empty()
    }
}

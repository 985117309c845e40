//! The background load of the second series: `switchboard bench mixed` on the server that gets the other loads.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use super::{
    ComparisonOptions,
    command_line::CommandLine,
    host::Host,
    load::{LoadError, LoadReport, parse},
};

/// The time that the large room has to fill.
const START_MAX: Duration = Duration::from_secs(120);

/// A running background load. It is killed when it is dropped.
#[derive(Debug)]
pub(super) struct BackgroundLoad {
    child: Child,
    report: PathBuf,
    progress: PathBuf,
}

impl BackgroundLoad {
    /// Starts the load, and waits until the large room is full.
    pub(super) fn start(
        port: u16,
        host: &Host,
        options: &ComparisonOptions,
    ) -> Result<Self, LoadError> {
        let report = options.output.join("background.json");
        let progress = options.output.join("background.log");
        let (stdout, stderr) = (File::create(&report)?, File::create(&progress)?);
        let mut command = command(&port.to_string(), host, options).command();
        let mut load = Self {
            child: command.stdout(stdout).stderr(stderr).spawn()?,
            report,
            progress,
        };
        load.await_full_room()?;
        Ok(load)
    }

    fn await_full_room(&mut self) -> Result<(), LoadError> {
        let started = Instant::now();
        loop {
            let progress = fs::read_to_string(&self.progress)?;
            if progress.contains("measure") {
                return Ok(());
            }
            if self.child.try_wait()?.is_some() || started.elapsed() > START_MAX {
                let last = progress.lines().last().unwrap_or_default();
                return Err(LoadError::NoReport(last.to_owned()));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends the load, and returns its report.
    pub(super) fn stop(mut self) -> Result<LoadReport, LoadError> {
        if self.child.try_wait()?.is_some() {
            let problem = "it has ended before the loads beside it";
            return Err(LoadError::NoReport(problem.to_owned()));
        }
        // The load ends and reports when it is interrupted. `kill` is a program of its own only in some systems.
        let interrupt = format!("kill -INT {}", self.child.id());
        Command::new("sh").args(["-c", &interrupt]).status()?;
        self.child.wait()?;
        parse(&fs::read(&self.report)?, &fs::read(&self.progress)?)
    }
}

impl Drop for BackgroundLoad {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The command of the load on this port.
pub(super) fn command(port: &str, host: &Host, options: &ComparisonOptions) -> CommandLine {
    CommandLine::on_cores(host.load_core.as_deref())
        .path(&options.switchboard)
        .words("bench mixed")
        .word(format!("http://127.0.0.1:{port}"))
        .words("--dialect lightstream --clients")
        .word(options.extent.large_room)
        .words("--duration 3600 --warm-up 0 --json")
}

//! The process of the server: CPU time, memory, and instructions under callgrind.

use std::{fs, io, time::Duration};

use tokio::process::Command;

use crate::BenchError;

/// Ticks of CPU time per second in `/proc/PID/stat`. It is 100 on all Linux systems, whatever the kernel is built with.
const TICKS_PER_SECOND: u64 = 100;

/// Observes the server between [`Probe::start`] and [`Probe::stop`]. Without a process id it observes nothing.
#[derive(Debug)]
pub(crate) struct Probe {
    pid: Option<u32>,
    callgrind: bool,
    started_at: Option<ProcessSnapshot>,
    generator_started_at: CpuTime,
    rss_before: u64,
    instructions_before: u64,
}

/// The usage of the server, and of the load itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) server: Option<ServerTotals>,
    pub(crate) generator: CpuTime,
}

impl Usage {
    /// Adds what a later part used. The memory is that of the later part.
    pub(crate) fn add(&mut self, later: Self) {
        self.generator.add(later.generator);
        let Some(mut totals) = later.server else {
            return;
        };
        if let Some(earlier) = self.server {
            totals.cpu.add(earlier.cpu);
            let instructions = totals.instructions.zip(earlier.instructions);
            totals.instructions = instructions.map(|(later, earlier)| later + earlier);
        }
        self.server = Some(totals);
    }
}

/// The usage of the server between start and stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerTotals {
    pub(crate) cpu: CpuTime,
    /// Resident memory in bytes before the first connection.
    pub(crate) rss_before: u64,
    /// Resident memory in bytes at the end.
    pub(crate) rss_after: u64,
    pub(crate) instructions: Option<u64>,
}

/// CPU time of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CpuTime {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
}

impl CpuTime {
    fn add(&mut self, other: Self) {
        self.user += other.user;
        self.system += other.system;
    }

    fn since(self, earlier: Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct ProcessSnapshot {
    cpu: CpuTime,
    rss: u64,
}

impl Probe {
    /// A probe of the server with this process id. Reads its memory before the first connection.
    pub(crate) fn new(pid: Option<u32>, callgrind: bool) -> Result<Self, BenchError> {
        let now = pid.map(snapshot).transpose()?;
        Ok(Self {
            pid,
            callgrind,
            started_at: None,
            generator_started_at: CpuTime::default(),
            rss_before: now.map_or(0, |now| now.rss),
            instructions_before: 0,
        })
    }

    /// Starts to count. The server should be quiet.
    pub(crate) async fn start(&mut self) -> Result<(), BenchError> {
        if let Some(pid) = self.pid {
            if self.callgrind {
                set_instrumentation(pid, "on").await?;
                self.instructions_before = instructions(pid).await?;
            }
            self.started_at = Some(snapshot(pid)?);
        }
        self.generator_started_at = own_cpu_time();
        Ok(())
    }

    /// Stops to count.
    pub(crate) async fn stop(&mut self) -> Result<Usage, BenchError> {
        let generator = own_cpu_time().since(self.generator_started_at);
        let server = match (self.pid, self.started_at.take()) {
            (Some(pid), Some(started_at)) => Some(self.totals(pid, started_at).await?),
            (Some(_) | None, None) | (None, Some(_)) => None,
        };
        Ok(Usage { server, generator })
    }

    async fn totals(
        &self,
        pid: u32,
        started_at: ProcessSnapshot,
    ) -> Result<ServerTotals, BenchError> {
        let now = snapshot(pid)?;
        let mut instructions_after = None;
        if self.callgrind {
            // Counts are shown only while the instrumentation is on.
            instructions_after = Some(instructions(pid).await?);
            set_instrumentation(pid, "off").await?;
        }
        Ok(ServerTotals {
            cpu: now.cpu.since(started_at.cpu),
            rss_before: self.rss_before,
            rss_after: now.rss,
            instructions: instructions_after
                .map(|after| after.saturating_sub(self.instructions_before)),
        })
    }
}

fn snapshot(pid: u32) -> Result<ProcessSnapshot, BenchError> {
    let read = |file: &str| {
        let path = format!("/proc/{pid}/{file}");
        let text = fs::read_to_string(&path);
        text.map_err(|error| process_error(pid, format!("{path}: {error}")))
    };
    let cpu = parse_cpu_time(&read("stat")?);
    let rss = parse_rss(&read("status")?);
    let both = cpu.zip(rss).map(|(cpu, rss)| ProcessSnapshot { cpu, rss });
    both.ok_or_else(|| process_error(pid, "the process has ended".into()))
}

fn own_cpu_time() -> CpuTime {
    let stat = fs::read_to_string("/proc/self/stat");
    stat.ok()
        .and_then(|stat| parse_cpu_time(&stat))
        .unwrap_or_default()
}

/// Reads the fields `utime` and `stime` of `/proc/PID/stat`. The name of the program, in parentheses, may hold spaces.
fn parse_cpu_time(stat: &str) -> Option<CpuTime> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    let time = |ticks| Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND);
    Some(CpuTime {
        user: time(next()?),
        system: time(next()?),
    })
}

/// Reads `VmRSS` of `/proc/PID/status`, in bytes.
fn parse_rss(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024)
}

async fn set_instrumentation(pid: u32, state: &str) -> Result<(), BenchError> {
    callgrind_control(pid, &["-i", state]).await.map(drop)
}

/// The instructions that callgrind has counted so far.
async fn instructions(pid: u32) -> Result<u64, BenchError> {
    let output = callgrind_control(pid, &["-e", "Ir"]).await?;
    let problem = || {
        process_error(
            pid,
            format!("callgrind_control printed no Ir count: {output}"),
        )
    };
    parse_instructions(&output).ok_or_else(problem)
}

/// Adds the counts of all threads: after a line with `Totals:`, lines like `Th 3  36,764`. A thread without a count has
/// not run yet.
fn parse_instructions(output: &str) -> Option<u64> {
    let (_, threads) = output.split_once("Totals:")?;
    let threads = threads
        .lines()
        .filter(|line| line.trim_start().starts_with("Th "));
    let counts = threads.map(|line| {
        let count = line.split_whitespace().nth(2)?;
        count.replace(',', "").parse::<u64>().ok()
    });
    counts.sum()
}

async fn callgrind_control(pid: u32, arguments: &[&str]) -> Result<String, BenchError> {
    let mut command = Command::new("callgrind_control");
    let output = command.args(arguments).arg(pid.to_string()).output().await;
    let output = output.map_err(|error| callgrind_error(pid, &error))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() && !text.contains("Error") {
        return Ok(text);
    }
    let problem = format!(
        "callgrind_control: {text}; start the server with valgrind --tool=callgrind --instr-atstart=no"
    );
    Err(process_error(pid, problem))
}

fn callgrind_error(pid: u32, error: &io::Error) -> BenchError {
    process_error(pid, format!("callgrind_control (of valgrind): {error}"))
}

fn process_error(pid: u32, problem: String) -> BenchError {
    BenchError::Process { pid, problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_files_are_parsed() {
        let stat = "17 (a (b) c) S 1 17 17 0 -1 4194560 1 2 3 4 250 30 0 0 20 0 1 0 1 1 1";
        let cpu = parse_cpu_time(stat).expect("ticks");
        assert_eq!(cpu.user, Duration::from_millis(2_500));
        assert_eq!(cpu.system, Duration::from_millis(300));
        assert_eq!(
            parse_rss("VmPeak:\t 9 kB\nVmRSS:\t   12 kB\n"),
            Some(12_288)
        );
        assert_eq!(parse_rss("Name:\tzombie\n"), None);
    }

    #[test]
    fn counts_of_all_threads_are_added() {
        let output =
            "PID 9: switchboard serve\n\n  Totals:    Ir \n   Th 3  36,764 \n   Th 4     685 \n\n";
        assert_eq!(parse_instructions(output), Some(37_449));
        assert_eq!(parse_instructions("PID 9: x\n\n  Totals:Ir \n"), Some(0));
        let off = "PID 9: x\n  No information available as instrumentation is switched off.\n";
        assert_eq!(parse_instructions(off), None);
    }

    #[test]
    fn own_process_can_be_observed() {
        let now = snapshot(std::process::id()).expect("this process");
        assert!(now.rss > 0);
        assert!(matches!(
            snapshot(u32::MAX),
            Err(BenchError::Process { .. })
        ));
    }
}

//! The results of a run, for people and for programs.

use std::{fmt, time::Duration};

use serde::Serialize;

use crate::{
    BenchDialect, BenchOptions, LatencySummary, Workload,
    drive::Tally,
    server_process::{CpuTime, ServerTotals, Usage},
};

/// The results of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The kind of load.
    pub workload: Workload,
    /// The dialect of the clients.
    pub dialect: BenchDialect,
    /// The address of the server.
    pub url: String,
    /// The connections that were set up.
    pub connected: usize,
    /// The members of one room.
    pub members: usize,
    /// Turns per second that were asked for; `None` for a closed loop.
    pub rate: Option<f64>,
    /// The turns in progress of each group, in a closed loop.
    pub window: usize,
    /// The bytes of a message's content.
    pub payload: usize,
    /// The measured time in seconds, with the wait for the last delivery.
    pub seconds: f64,
    /// The name of what [`Report::units`] counts.
    pub unit: &'static str,
    /// The units in the measured time.
    pub units: u64,
    /// Units per second.
    pub per_second: f64,
    /// Notifications that members got of joins (`join`).
    pub notifications: Option<u64>,
    /// The joins of clients that stop reading for seconds (`mixed`).
    pub slow_joins: Option<u64>,
    /// The latencies of the units, in microseconds.
    pub latency_us: Option<LatencySummary>,
    /// Whether the latencies are counted from the time at which each unit was due, so that a stall of the server counts for
    /// every unit that it delays (correction for coordinated omission). A closed loop has no due times.
    pub latency_is_corrected: bool,
    /// Deliveries that did not come.
    pub lost: u64,
    /// Turns that could not begin because too many waited.
    pub skipped: u64,
    /// Deliveries after a missing or later message of the same sender, or twice.
    pub out_of_order: u64,
    /// Connections that were refused or lost, and requests that were rejected.
    pub errors: u64,
    /// The texts of the first errors.
    pub error_texts: Vec<String>,
    /// CPU time of the load itself per unit, in microseconds.
    pub generator_cpu_us_per_unit: Option<f64>,
    /// The server's CPU time and memory, if its process id was given.
    pub server: Option<ServerUsage>,
}

/// The usage of the server for the load.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ServerUsage {
    /// CPU time per unit, in microseconds.
    pub cpu_us_per_unit: Option<f64>,
    /// The part of it in user mode.
    pub user_us_per_unit: Option<f64>,
    /// The part of it in the kernel.
    pub system_us_per_unit: Option<f64>,
    /// CPU seconds per second: the cores that were busy.
    pub cores: f64,
    /// Resident memory before the first connection, in bytes.
    pub rss_before: u64,
    /// Resident memory at the end, in bytes.
    pub rss_after: u64,
    /// The growth of resident memory, divided by the connections.
    pub rss_per_connection: Option<f64>,
    /// Instructions per unit, under callgrind.
    pub instructions_per_unit: Option<f64>,
}

impl Report {
    pub(crate) fn new(
        options: &BenchOptions,
        unit: &'static str,
        connected: usize,
        tally: &Tally,
        usage: Usage,
    ) -> Self {
        let seconds = tally.elapsed.as_secs_f64();
        let per_unit = PerUnit(tally.units);
        Self {
            workload: options.workload,
            dialect: options.dialect,
            url: options.url.clone(),
            connected,
            members: options.room_size(),
            rate: (options.rate > 0.0).then_some(options.rate),
            window: options.window,
            payload: options.payload,
            seconds,
            unit,
            units: tally.units,
            per_second: tally.units as f64 / seconds.max(f64::MIN_POSITIVE),
            notifications: None,
            slow_joins: None,
            latency_us: tally.latencies.summary(),
            latency_is_corrected: options.rate > 0.0,
            lost: tally.lost,
            skipped: tally.skipped,
            out_of_order: tally.out_of_order,
            errors: tally.errors,
            error_texts: tally.error_texts.clone(),
            generator_cpu_us_per_unit: per_unit.cpu(usage.generator),
            server: usage
                .server
                .map(|totals| ServerUsage::new(totals, per_unit, seconds, connected)),
        }
    }

    /// Whether every unit was delivered once and in order, without an error.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let faults = [self.lost, self.skipped, self.out_of_order, self.errors];
        self.units > 0 && faults.iter().all(|count| *count == 0)
    }
}

impl ServerUsage {
    fn new(totals: ServerTotals, per_unit: PerUnit, seconds: f64, connected: usize) -> Self {
        let busy = totals.cpu.user + totals.cpu.system;
        let growth = totals.rss_after.saturating_sub(totals.rss_before);
        Self {
            cpu_us_per_unit: per_unit.cpu(totals.cpu),
            user_us_per_unit: per_unit.micros(totals.cpu.user),
            system_us_per_unit: per_unit.micros(totals.cpu.system),
            cores: busy.as_secs_f64() / seconds.max(f64::MIN_POSITIVE),
            rss_before: totals.rss_before,
            rss_after: totals.rss_after,
            rss_per_connection: (connected > 0).then(|| growth as f64 / connected as f64),
            instructions_per_unit: totals
                .instructions
                .and_then(|instructions| per_unit.of(instructions as f64)),
        }
    }
}

/// Divides by a number of units.
#[derive(Clone, Copy, Debug)]
struct PerUnit(u64);

impl PerUnit {
    fn of(self, total: f64) -> Option<f64> {
        (self.0 > 0).then(|| total / self.0 as f64)
    }

    fn micros(self, time: Duration) -> Option<f64> {
        self.of(time.as_secs_f64() * 1e6)
    }

    fn cpu(self, cpu: CpuTime) -> Option<f64> {
        self.micros(cpu.user + cpu.system)
    }
}

/// The report as a table.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table(f);
        let load = match self.rate {
            Some(rate) => format!("{rate} per second"),
            None => format!("closed loop, window {}", self.window),
        };
        table.row(
            "load",
            format!("{} {}, {load}", self.workload, self.dialect),
        )?;
        table.row(
            "connections",
            format!("{} in rooms of {}", self.connected, self.members),
        )?;
        table.row(
            self.unit,
            format!(
                "{} in {:.1} s, {:.0} per second",
                self.units, self.seconds, self.per_second
            ),
        )?;
        table.optional(
            "notifications",
            self.notifications.map(|count| count.to_string()),
        )?;
        let slow_joins = self.slow_joins;
        table.optional(
            "slow readers",
            slow_joins.map(|count| format!("{count} joins")),
        )?;
        self.write_latency(&mut table)?;
        table.row(
            "faults",
            format!(
                "{} errors, {} lost, {} out of order, {} skipped",
                self.errors, self.lost, self.out_of_order, self.skipped
            ),
        )?;
        for text in &self.error_texts {
            table.row("", text.clone())?;
        }
        self.write_usage(&mut table)
    }
}

impl Report {
    fn write_latency(&self, table: &mut Table<'_, '_>) -> fmt::Result {
        let Some(latency) = self.latency_us else {
            return Ok(());
        };
        let LatencySummary {
            p50,
            p90,
            p99,
            p999,
            max,
            ..
        } = latency;
        let times =
            format!("p50 {p50:.0}  p90 {p90:.0}  p99 {p99:.0}  p99.9 {p999:.0}  max {max:.0}");
        let (name, note) = match (self.workload, self.rate) {
            (Workload::Voice, _) => ("page gap, us", ""),
            (_, Some(_)) => ("latency, us", "  (from the due time)"),
            (_, None) => ("latency, us", "  (closed loop: a stall counts once)"),
        };
        table.row(name, format!("{times}{note}"))
    }

    fn write_usage(&self, table: &mut Table<'_, '_>) -> fmt::Result {
        let unit = self.unit;
        let micros = |time: Option<f64>| time.map(|time| format!("{time:.2} us per {unit}"));
        if let Some(server) = self.server {
            let parts = server.user_us_per_unit.zip(server.system_us_per_unit);
            let parts =
                parts.map(|(user, system)| format!(" (user {user:.2}, system {system:.2})"));
            let parts = parts.unwrap_or_default();
            let cpu = micros(server.cpu_us_per_unit);
            table.optional(
                "server CPU",
                cpu.map(|cpu| format!("{cpu}{parts}, {:.2} cores", server.cores)),
            )?;
            let (before, after) = (server.rss_before >> 10, server.rss_after >> 10);
            let growth = server
                .rss_per_connection
                .filter(|_| self.workload == Workload::Idle);
            let growth = growth.map(|bytes| format!(", {bytes:.0} bytes per connection"));
            let growth = growth.unwrap_or_default();
            table.row(
                "server RSS",
                format!("{before} KiB before, {after} KiB after{growth}"),
            )?;
            let instructions = server.instructions_per_unit;
            table.optional(
                "instructions",
                instructions.map(|count| format!("{count:.0} per {unit}")),
            )?;
        }
        table.optional("generator CPU", micros(self.generator_cpu_us_per_unit))
    }
}

struct Table<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Table<'_, '_> {
    fn row(&mut self, name: &str, value: impl fmt::Display) -> fmt::Result {
        writeln!(self.0, "{name:<18} {value}")
    }

    fn optional(&mut self, name: &str, value: Option<String>) -> fmt::Result {
        value.map_or(Ok(()), |value| self.row(name, value))
    }
}

//! `switchboard bench`: sends load to a server and reports how fast it is and what it costs.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand, builder::PossibleValuesParser, builder::TypedValueParser as _};
use switchboard_bench::{BenchDialect, BenchOptions, Progress, Report, Workload};

use crate::terminal;

/// Measure a server of your own with load: messages, joins, idle connections or voice listeners
///
/// The server may be Switchboard or another server of a dialect. Give it one core and the load another:
/// `taskset -c 0 switchboard serve`, `taskset -c 1 switchboard bench …`. Raise the limits of the server for one client
/// first; docs/performance.md has them. Standard output gets the report, standard error the progress.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BenchCommand {
    #[command(subcommand)]
    action: BenchAction,
}

const EXAMPLES: &str = "Examples:
  switchboard bench relay http://127.0.0.1:8080 --dialect lightstream --pid $(pidof switchboard)
  switchboard bench relay http://127.0.0.1:8080 --dialect peerjs --rate 5000
  switchboard bench fanout http://127.0.0.1:8080 --dialect mesh --clients 1000
  switchboard bench floor 127.0.0.1:9000 & switchboard bench relay http://127.0.0.1:9000 --dialect floor";

#[derive(Debug, Subcommand)]
enum BenchAction {
    /// Pairs of members of one room exchange session descriptions; the unit is a delivered message
    Relay(LoadArgs),
    /// One member of each room sends to all others; the unit is a delivery to one member
    Fanout(LoadArgs),
    /// Clients join rooms, in rounds until the time is over; the unit is a join with its notifications
    Join(LoadArgs),
    /// Joined clients do nothing; the report has the memory of a connection
    Idle(LoadArgs),
    /// Pairs connect, join a new room, relay one message and leave; the unit is such a cycle
    Churn(LoadArgs),
    /// One room of several dialects with joins and leaves, beside clients that stop reading for seconds; the unit is a
    /// delivery
    ///
    /// Three members speak to the room all the time, and every member checks that their messages arrive without a gap and
    /// in order. It is a background for other loads, and ends after its duration or on an interrupt.
    Mixed(LoadArgs),
    /// Two talkers and many listeners of a voice room; the unit is an Ogg page of 60 ms of Opus that a listener gets
    Voice(LoadArgs),
    /// Serve a relay with nothing in it but the system calls and the frame headers, to compare a server with
    ///
    /// The path of a connection names its room, and each frame goes to all other members of the room. It listens on
    /// loopback only, and until it is stopped.
    Floor {
        /// The address to listen on, like 127.0.0.1:9000
        #[arg(value_name = "ADDR:PORT")]
        address: SocketAddr,
    },
}

#[derive(Debug, Args)]
struct LoadArgs {
    /// The address of the server, as http://HOST:PORT or ws://HOST:PORT, optionally with the path of the dialect
    url: String,
    /// The dialect of the clients
    #[arg(long, value_name = "NAME", value_parser = dialect_parser())]
    dialect: BenchDialect,
    #[command(flatten)]
    load: LoadOptions,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
struct LoadOptions {
    /// Path of the dialect on the server [default: that of the URL, else the one on Switchboard]
    #[arg(long)]
    path: Option<String>,
    /// Number of connections [default: relay 64, fanout and voice 100, join and mixed 1000, idle 10000, churn 32]
    #[arg(long, value_name = "N")]
    clients: Option<usize>,
    /// Members of one room [default: relay, idle and churn 2, join 10, fanout, mixed and voice all clients]
    #[arg(long, value_name = "N")]
    members: Option<usize>,
    /// Messages, broadcasts, joins or cycles per second, of all clients together. Latencies then count from the time at
    /// which each was due. 0 is a closed loop: the next one begins when the last one has arrived [default: 0]. For mixed,
    /// the members per second that leave and are replaced [default: 5]
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Closed loop: messages in flight in each pair or room [default: 1]; for join, rooms that fill at a time [default: 64]
    #[arg(long, value_name = "N")]
    window: Option<usize>,
    /// Seconds to measure
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    duration: Duration,
    /// Seconds of load before the measurement
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    warm_up: Duration,
    /// Bytes of the content of a message [default: 1536, fanout 256]
    #[arg(long, value_name = "BYTES")]
    size: Option<usize>,
    /// Process id of the server, for its CPU time and memory
    #[arg(long)]
    pid: Option<u32>,
    /// Count instructions: the process runs under `valgrind --tool=callgrind --instr-atstart=no`
    #[arg(long, requires = "pid")]
    callgrind: bool,
    /// Allow a server on another machine. Send load only to servers of your own
    #[arg(long)]
    allow_remote: bool,
}

#[derive(Debug, Args)]
struct OutputArgs {
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// Print no progress
    #[arg(long)]
    quiet: bool,
}

/// Runs a `bench` command.
///
/// # Errors
/// If the server cannot be reached or observed, or the report has faults.
pub(crate) fn run(bench: BenchCommand) -> anyhow::Result<()> {
    match bench.action {
        BenchAction::Relay(args) => send_load(Workload::Relay, args),
        BenchAction::Fanout(args) => send_load(Workload::Fanout, args),
        BenchAction::Join(args) => send_load(Workload::Join, args),
        BenchAction::Idle(args) => send_load(Workload::Idle, args),
        BenchAction::Churn(args) => send_load(Workload::Churn, args),
        BenchAction::Mixed(args) => send_load(Workload::Mixed, args),
        BenchAction::Voice(args) => send_load(Workload::Voice, args),
        BenchAction::Floor { address } => serve_floor(address),
    }
}

fn serve_floor(address: SocketAddr) -> anyhow::Result<()> {
    let floor = switchboard_bench::floor::Floor::bind(address)
        .with_context(|| format!("cannot listen on {address}"))?;
    terminal::print_briefly(&format!("The floor listens on {}\n", floor.local_address()));
    floor.serve().context("the floor failed")
}

fn send_load(workload: Workload, args: LoadArgs) -> anyhow::Result<()> {
    let output = args.output;
    let options = args
        .load
        .options(BenchOptions::new(workload, args.url, args.dialect));
    let mut print_progress = |progress: Progress| {
        if !output.quiet {
            terminal::print_error(&format!("{workload}: {progress}"));
        }
    };
    let report = switchboard_bench::run(&options, &mut print_progress)?;
    print_report(&report, output.json)?;
    if report.is_clean() {
        return Ok(());
    }
    Err(anyhow!("the report has faults"))
}

fn print_report(report: &Report, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        let json = serde_json::to_string(report).context("the report")?;
        terminal::print(&format!("{json}\n"));
    } else {
        terminal::print(&report.to_string());
    }
    Ok(())
}

impl LoadOptions {
    fn options(self, defaults: BenchOptions) -> BenchOptions {
        BenchOptions {
            path: self.path,
            clients: self.clients.unwrap_or(defaults.clients),
            members: self.members,
            rate: self.rate.unwrap_or(defaults.rate),
            window: self.window.unwrap_or(defaults.window),
            duration: self.duration,
            warm_up: self.warm_up,
            payload: self.size.unwrap_or(defaults.payload),
            pid: self.pid,
            callgrind: self.callgrind,
            allow_remote: self.allow_remote,
            ..defaults
        }
    }
}

fn dialect_parser() -> impl clap::builder::TypedValueParser<Value = BenchDialect> {
    PossibleValuesParser::new(BenchDialect::ALL.map(BenchDialect::name))
        .try_map(|name| BenchDialect::by_name(&name).ok_or("unknown dialect"))
}

fn seconds(text: &str) -> anyhow::Result<Duration> {
    let seconds: f64 = text
        .parse()
        .with_context(|| format!("{text} is not a number"))?;
    Ok(Duration::try_from_secs_f64(seconds)?)
}

//! The servers that are compared.

use std::{
    fs::{self, File},
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{ComparisonOptions, command_line::CommandLine, host::Host};
use crate::BenchDialect;

/// A server of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// The server of [`crate::floor`].
    Floor,
    /// Switchboard with this number of worker threads.
    Switchboard { workers: usize },
    /// The original server of a dialect.
    Original(BenchDialect),
}

/// The reason for which a server does not run.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unavailable {
    #[error("not run: its original server is in no registry that the comparison installs from")]
    NoPackage,
    #[error("not run: {0} is not installed")]
    Missing(&'static str),
    #[error("not run: {command}: {source}")]
    Start { command: String, source: io::Error },
    #[error("not run: `{command}` does not listen; {log}")]
    Listener { command: String, log: String },
}

/// The time that a server has to listen.
const START_MAX: Duration = Duration::from_secs(20);

/// The limits of one client are meant for people, so the load runs without them.
const UNLIMITED: [&str; 3] = [
    "SWITCHBOARD_LIMITS_FRAMES_PER_SECOND",
    "SWITCHBOARD_LIMITS_DELIVERIES_PER_SECOND",
    "SWITCHBOARD_LIMITS_DELIVERED_BYTES_PER_SECOND",
];

impl Subject {
    /// The name in tables.
    pub(super) fn label(self) -> String {
        match self {
            Self::Floor => "floor".to_owned(),
            Self::Switchboard { workers: 1 } => "Switchboard".to_owned(),
            Self::Switchboard { workers } => format!("Switchboard, {workers} workers"),
            Self::Original(dialect) => original_name(dialect).unwrap_or("original").to_owned(),
        }
    }

    /// The class in plots.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Switchboard { .. } => "switchboard",
            Self::Original(_) => "original",
        }
    }

    /// The options of a load on this server.
    pub(super) fn load_options(self) -> &'static str {
        match self {
            // The original servers serve their dialect at the root.
            Self::Original(_) => "--path /",
            Self::Floor | Self::Switchboard { .. } => "",
        }
    }

    /// The command that serves on a port of the loopback address. Only `y-webrtc` has no option for the address, and listens on
    /// all.
    pub(super) fn command(
        self,
        port: &str,
        host: &Host,
        options: &ComparisonOptions,
    ) -> Result<CommandLine, Unavailable> {
        let command = CommandLine::on_cores(self.cores(host));
        let switchboard = &options.switchboard;
        match self {
            Self::Floor => {
                let floor = command.path(switchboard).words("bench floor");
                Ok(floor.word(format!("127.0.0.1:{port}")))
            }
            Self::Switchboard { workers } => {
                let server = command
                    .path(switchboard)
                    .words("serve --addr 127.0.0.1 --log-level error --port")
                    .word(port)
                    .variable("TOKIO_WORKER_THREADS", workers)
                    .variable("SWITCHBOARD_INTERNAL_LISTEN", "");
                let unlimited = UNLIMITED.into_iter();
                Ok(unlimited.fold(server, |server, limit| server.variable(limit, 0)))
            }
            Self::Original(dialect) => original(command, dialect, port, options),
        }
    }

    fn cores(self, host: &Host) -> Option<&str> {
        match self {
            Self::Switchboard { workers: 2.. } => host.two_server_cores.as_deref(),
            Self::Floor | Self::Switchboard { .. } | Self::Original(_) => {
                host.server_core.as_deref()
            }
        }
    }
}

/// The package of an original server that is in a registry.
fn original_name(dialect: BenchDialect) -> Option<&'static str> {
    match dialect {
        BenchDialect::PeerJs => Some("npm peer"),
        BenchDialect::YWebrtc => Some("npm y-webrtc"),
        BenchDialect::Matchbox => Some("crate matchbox_server"),
        BenchDialect::Lightstream
        | BenchDialect::Singo
        | BenchDialect::Mesh
        | BenchDialect::P2p
        | BenchDialect::Ayame
        | BenchDialect::Floor
        | BenchDialect::Gostream => None,
    }
}

fn original(
    command: CommandLine,
    dialect: BenchDialect,
    port: &str,
    options: &ComparisonOptions,
) -> Result<CommandLine, Unavailable> {
    let name = original_name(dialect).ok_or(Unavailable::NoPackage)?;
    let missing = || Unavailable::Missing(name);
    if dialect == BenchDialect::Matchbox {
        let program = options
            .matchbox_server
            .as_deref()
            .filter(|path| path.exists());
        let address = format!("127.0.0.1:{port}");
        let server = command.path(program.ok_or_else(missing)?).word(address);
        // As for Switchboard: by default it logs each join and leave, and has a worker for each core.
        return Ok(server
            .variable("RUST_LOG", "error")
            .variable("TOKIO_WORKER_THREADS", 1));
    }
    let script = |script| {
        let path = options.node_modules.as_deref()?.join(script);
        path.exists().then_some(path)
    };
    if dialect == BenchDialect::YWebrtc {
        let script = script("y-webrtc/bin/server.js").ok_or_else(missing)?;
        return Ok(command.word("node").path(&script).variable("PORT", port));
    }
    let script = script("peer/dist/bin/peerjs.js").ok_or_else(missing)?;
    // By default it accepts 5,000 clients.
    let options = "--host 127.0.0.1 --concurrent_limit 100000 --port";
    Ok(command.word("node").path(&script).words(options).word(port))
}

/// The commands of all servers that can run, with `PORT` for their ports.
pub(super) fn templates(host: &Host, options: &ComparisonOptions) -> Vec<String> {
    let originals = [
        BenchDialect::PeerJs,
        BenchDialect::Matchbox,
        BenchDialect::YWebrtc,
    ];
    let subjects = [
        Subject::Floor,
        Subject::Switchboard { workers: 1 },
        Subject::Switchboard { workers: 2 },
    ];
    let subjects = subjects.into_iter().chain(originals.map(Subject::Original));
    let commands = subjects.filter_map(|subject| subject.command("PORT", host, options).ok());
    commands.map(|command| command.to_string()).collect()
}

/// A running server, which ends when it is dropped.
#[derive(Debug)]
pub(super) struct SubjectProcess {
    child: Child,
    pub(super) command: CommandLine,
    pub(super) address: SocketAddr,
}

impl SubjectProcess {
    /// Starts a server on a free port, and waits until it listens. Its output is in a file of the output folder.
    pub(super) fn start(
        subject: Subject,
        host: &Host,
        options: &ComparisonOptions,
    ) -> Result<Self, Unavailable> {
        let command = |port: &str| subject.command(port, host, options);
        let not_started = |command: &CommandLine, source| Unavailable::Start {
            command: command.to_string(),
            source,
        };
        let address =
            free_address().map_err(|source| not_started(&CommandLine::default(), source))?;
        let command = command(&address.port().to_string())?;
        let log = options.output.join("server.log");
        let child = File::create(&log).and_then(|file| {
            let output = file.try_clone()?;
            command
                .command()
                .stdout(output)
                .stderr(Stdio::from(file))
                .spawn()
        });
        let child = child.map_err(|source| not_started(&command, source))?;
        let mut process = Self {
            child,
            command,
            address,
        };
        process.await_listener(&log)?;
        Ok(process)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn await_listener(&mut self, log: &Path) -> Result<(), Unavailable> {
        let started = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            let has_ended = self.child.try_wait().is_ok_and(|status| status.is_some());
            if has_ended || started.elapsed() > START_MAX {
                let log = fs::read_to_string(log).unwrap_or_default();
                return Err(Unavailable::Listener {
                    command: self.command.to_string(),
                    log: log.lines().last().unwrap_or_default().to_owned(),
                });
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for SubjectProcess {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A loopback address that is free now.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

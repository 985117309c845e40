//! A server under test.

use std::collections::VecDeque;
use std::env;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::{Failure, Result, ensure};

const READY_WITHIN: Duration = Duration::from_secs(15);
const LOG_LINES_MAX: usize = 60;

/// A process, ended when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) name: String,
    child: Child,
    log: Arc<Mutex<VecDeque<String>>>,
}

/// Where one server has its rooms.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) name: String,
    /// The URL before `/ROOM`.
    pub(crate) base: String,
}

impl Target {
    /// At a server that runs already.
    pub(crate) fn at(url: &str) -> Self {
        Self::new(url, url.to_owned())
    }

    fn new(name: &str, base: String) -> Self {
        let name = name.to_owned();
        Self { name, base }
    }
}

/// Starts matchbox's own server.
pub(crate) fn original(name: &str, program: &Path) -> Result<(Server, Vec<Target>)> {
    let address = free_address()?;
    let mut command = Command::new(program);
    command.arg(address.to_string());
    let server = Server::start(name, command, &[address])?;
    let target = Target::new(name, format!("ws://{address}"));
    Ok((server, vec![target]))
}

/// Starts Switchboard, with rooms below a path of its first listener and with a listener that has only those.
pub(crate) fn switchboard(name: &str, program: &Path) -> Result<(Server, Vec<Target>)> {
    let (first, second) = (free_address()?, free_address()?);
    let mut command = Command::new(program);
    // It takes every variable of this name for a setting.
    let is_setting = |name: &std::ffi::OsString| name.to_string_lossy().starts_with("SWITCHBOARD_");
    let settings = env::vars_os().map(|(name, _)| name).filter(is_setting);
    for setting in settings {
        command.env_remove(setting);
    }
    command
        .args(["--addr", "127.0.0.1", "--port", &first.port().to_string()])
        .env("SWITCHBOARD_MATCHBOX_LISTEN", second.to_string())
        .env("SWITCHBOARD_INTERNAL_LISTEN", "")
        // Short, so that who is idle in a scenario is asked more than once whether he is there.
        .env("SWITCHBOARD_HEARTBEAT_PING", "4")
        .env("SWITCHBOARD_HEARTBEAT_GONE", "9");
    let server = Server::start(name, command, &[first, second])?;
    let targets = vec![
        Target::new(name, format!("ws://{first}/matchbox")),
        Target::new(
            &format!("{name}, on a listener of its own"),
            format!("ws://{second}"),
        ),
    ];
    Ok((server, targets))
}

impl Server {
    fn start(name: &str, mut command: Command, addresses: &[SocketAddr]) -> Result<Self> {
        command
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(|error| Failure::new(format!("it could not be started: {error}")))?;
        let log = Arc::default();
        follow(child.stdout.take(), &log);
        follow(child.stderr.take(), &log);
        let name = name.to_owned();
        let mut server = Self { name, child, log };
        addresses
            .iter()
            .try_for_each(|address| server.wait_for(*address))?;
        Ok(server)
    }

    /// Neither server says when it is ready in words that both have.
    fn wait_for(&mut self, address: SocketAddr) -> Result<()> {
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            let has_ended = self.child.try_wait().is_ok_and(|status| status.is_some());
            let is_late = start.elapsed() > READY_WITHIN;
            ensure(!has_ended && !is_late, || {
                let log = self.log().join("\n#   ");
                format!("nothing listens on {address}; its last words:\n#   {log}")
            })?;
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Its last lines.
    pub(crate) fn log(&self) -> Vec<String> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().cloned().collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Keeps the last lines of an output.
fn follow(output: Option<impl Read + Send + 'static>, log: &Arc<Mutex<VecDeque<String>>>) {
    let Some(output) = output else { return };
    let log = Arc::clone(log);
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(|line| line.ok()) {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            if log.len() == LOG_LINES_MAX {
                log.pop_front();
            }
            log.push_back(line);
        }
    });
}

/// A port that nobody has. In a network of one's own nobody can take it in the meantime, either.
fn free_address() -> Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|probe| probe.local_addr())
        .map_err(|error| Failure::new(format!("there is no free port: {error}")))
}

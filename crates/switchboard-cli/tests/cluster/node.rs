//! A server process that can be killed, paused, resumed and replaced.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

const START_MAX: Duration = Duration::from_secs(15);
const END_MAX: Duration = Duration::from_secs(20);

/// The configuration of a node.
#[derive(Clone, Debug)]
pub(crate) struct NodeConfig {
    pub(crate) name: String,
    /// The directory of its settings and logs.
    pub(crate) dir: PathBuf,
    /// The address to listen on.
    pub(crate) host: String,
    pub(crate) namespace: Option<String>,
    pub(crate) engine: Option<String>,
    /// Additional settings, as TOML.
    pub(crate) settings: String,
}

/// A running server, killed on drop.
#[derive(Debug)]
pub(crate) struct Node {
    config: NodeConfig,
    child: Child,
    address: String,
    starts: usize,
}

/// The binary: that of `SWITCHBOARD_BIN`, or the one under test.
fn binary() -> PathBuf {
    let other = std::env::var_os("SWITCHBOARD_BIN");
    other.map_or_else(|| env!("CARGO_BIN_EXE_switchboard").into(), PathBuf::from)
}

impl Node {
    pub(crate) fn start(config: NodeConfig) -> Self {
        let (child, address) = run(&config, 0);
        Self {
            config,
            child,
            address,
            starts: 1,
        }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Kills the process.
    pub(crate) fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) async fn terminate(&mut self) {
        self.signal("-TERM");
        let start = Instant::now();
        while self.child.try_wait().expect("a child process").is_none() {
            assert!(
                start.elapsed() < END_MAX,
                "{} does not end",
                self.config.name
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Starts the process again after its end.
    pub(crate) fn replace(&mut self) {
        (self.child, self.address) = run(&self.config, self.starts);
        self.starts += 1;
    }

    fn signal(&self, signal: &str) {
        let mut kill = Command::new("kill");
        let sent = kill.args([signal, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// The status and the text of `/readyz`, if it answers in time.
    pub(crate) async fn readiness(&self) -> Option<(u16, String)> {
        let response = tokio::time::timeout(Duration::from_secs(2), get(&self.address, "/readyz"));
        let response = response.await.ok()?.ok()?;
        let status = response.split_whitespace().nth(1)?.parse().ok()?;
        let text = response.split("\r\n\r\n").nth(1).unwrap_or_default();
        Some((status, text.trim().to_owned()))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn get(address: &str, path: &str) -> std::io::Result<String> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await?;
    Ok(response)
}

/// Starts a server, and waits until it logs its address.
fn run(config: &NodeConfig, starts: usize) -> (Child, String) {
    let base = config.dir.join(format!("{}-{starts}", config.name));
    let (settings, log) = (base.with_extension("toml"), base.with_extension("log"));
    std::fs::write(&settings, &config.settings).expect("a temporary file");
    let output = File::create(&log).expect("a temporary file");
    let mut command = match &config.namespace {
        None => Command::new(binary()),
        Some(name) => {
            // `ip` executes the server under the same process id.
            let mut ip = Command::new("ip");
            ip.args(["netns", "exec", name]).arg(binary());
            ip
        }
    };
    command
        .args(["--addr", &config.host, "--port", "0", "--config"])
        .arg(&settings);
    if let Some(engine) = &config.engine {
        command.args(["--engine", engine]);
    }
    command.env_remove("PORT").stdin(Stdio::null());
    // The variables of these tests are not settings of the server.
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"SWITCHBOARD_") {
            command.env_remove(name);
        }
    }
    // The nodes are on one machine, so they cannot all have the default port.
    command.env("SWITCHBOARD_INTERNAL_LISTEN", "127.0.0.1:0");
    command
        .env("XDG_STATE_HOME", &config.dir)
        .env_remove("STATE_DIRECTORY");
    command
        .stdout(output.try_clone().expect("a file"))
        .stderr(output);
    let mut child = command.spawn().expect("the binary runs");
    match address_in(&log) {
        Some(address) => (child, address),
        None => {
            drop(child.kill());
            drop(child.wait());
            panic!(
                "{} does not listen: {}",
                config.name,
                std::fs::read_to_string(&log).unwrap_or_default()
            );
        }
    }
}

/// The address of a server, as soon as it is in the log.
fn address_in(log: &Path) -> Option<String> {
    let start = Instant::now();
    while start.elapsed() < START_MAX {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let listening = text
            .split_once("Switchboard listens on ")
            .and_then(|(_, rest)| rest.split_once('\n'));
        if let Some((address, _)) = listening {
            return Some(address.trim().to_owned());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    None
}

//! A server process that can be killed, stopped, continued and replaced.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

const START_MAX: Duration = Duration::from_secs(15);
const END_MAX: Duration = Duration::from_secs(20);

/// How a node is started.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    pub(crate) name: String,
    /// Where its settings and its logs go.
    pub(crate) folder: PathBuf,
    /// The address to listen on.
    pub(crate) host: String,
    pub(crate) namespace: Option<String>,
    pub(crate) engine: Option<String>,
    /// What else is set, as TOML.
    pub(crate) settings: String,
}

/// A running server, killed when dropped.
#[derive(Debug)]
pub(crate) struct Node {
    launch: Launch,
    child: Child,
    address: String,
    starts: usize,
}

/// Another build may be tried than the one under test.
fn binary() -> PathBuf {
    let other = std::env::var_os("SWITCHBOARD_BIN");
    other.map_or_else(|| env!("CARGO_BIN_EXE_switchboard").into(), PathBuf::from)
}

impl Node {
    pub(crate) fn start(launch: Launch) -> Self {
        let (child, address) = run(&launch, 0);
        Self {
            launch,
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

    /// Ends it as a broken machine does.
    pub(crate) fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    pub(crate) fn stop(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn go_on(&self) {
        self.signal("-CONT");
    }

    /// Asks it to end, as an operator does, and waits until it has.
    pub(crate) async fn terminate(&mut self) {
        self.signal("-TERM");
        let start = Instant::now();
        while self
            .child
            .try_wait()
            .expect("it can be waited for")
            .is_none()
        {
            assert!(
                start.elapsed() < END_MAX,
                "{} does not end",
                self.launch.name
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Starts another in the place of one that has ended.
    pub(crate) fn replace(&mut self) {
        (self.child, self.address) = run(&self.launch, self.starts);
        self.starts += 1;
    }

    fn signal(&self, signal: &str) {
        let mut kill = Command::new("kill");
        let sent = kill.args([signal, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// The status and the words of `/readyz`, if it answers in time.
    pub(crate) async fn readiness(&self) -> Option<(u16, String)> {
        let answer = tokio::time::timeout(Duration::from_secs(2), get(&self.address, "/readyz"));
        let answer = answer.await.ok()?.ok()?;
        let status = answer.split_whitespace().nth(1)?.parse().ok()?;
        let words = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
        Some((status, words.trim().to_owned()))
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
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// Starts a server, and waits until it says where it listens.
fn run(launch: &Launch, starts: usize) -> (Child, String) {
    let base = launch.folder.join(format!("{}-{starts}", launch.name));
    let (settings, log) = (base.with_extension("toml"), base.with_extension("log"));
    std::fs::write(&settings, &launch.settings).expect("a temporary file");
    let output = File::create(&log).expect("a temporary file");
    let mut command = match &launch.namespace {
        None => Command::new(binary()),
        Some(name) => {
            // It becomes the server, under the same number.
            let mut ip = Command::new("ip");
            ip.args(["netns", "exec", name]).arg(binary());
            ip
        }
    };
    command
        .args(["--addr", &launch.host, "--port", "0", "--config"])
        .arg(&settings);
    if let Some(engine) = &launch.engine {
        command.args(["--engine", engine]);
    }
    command.env_remove("PORT").stdin(Stdio::null());
    // What is set for these tests is no setting of the server.
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"SWITCHBOARD_") {
            command.env_remove(name);
        }
    }
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
                launch.name,
                std::fs::read_to_string(&log).unwrap_or_default()
            );
        }
    }
}

/// Where a server listens, as soon as its log says so.
fn address_in(log: &Path) -> Option<String> {
    let start = Instant::now();
    while start.elapsed() < START_MAX {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let said = text
            .split_once("Switchboard listens on ")
            .and_then(|(_, rest)| rest.split_once('\n'));
        if let Some((address, _)) = said {
            return Some(address.trim().to_owned());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    None
}

//! A Redis server for one test.

use std::{
    io::{Read, Write},
    net::{IpAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const START_MAX: Duration = Duration::from_secs(10);

/// A server on a free port, killed on drop.
#[derive(Debug)]
pub(crate) struct Redis {
    child: Option<Child>,
    port: u16,
    dir: PathBuf,
    /// A second address to listen on, besides 127.0.0.1.
    second_host: Option<IpAddr>,
}

impl Redis {
    /// Starts a server that keeps its data in `dir`.
    pub(crate) fn start(dir: PathBuf, second_host: Option<IpAddr>) -> Self {
        let mut redis = Self {
            child: None,
            port: free_port(),
            dir,
            second_host,
        };
        redis.restart();
        redis
    }

    pub(crate) fn url(&self, host: IpAddr) -> String {
        format!("redis://{host}:{}/0", self.port)
    }

    /// The process id, while it runs.
    pub(crate) fn process(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Kills the process, without a chance to save data.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Starts Redis on the same port with its data.
    pub(crate) fn restart(&mut self) {
        std::fs::create_dir_all(&self.dir).expect("a temporary directory");
        let log = self.dir.join("redis.log");
        let mut command = Command::new("redis-server");
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"]);
        command.args(self.second_host.map(|second_host| second_host.to_string()));
        // In protected mode, Redis would reject the node in the network namespace of the test. Redis listens on local
        // addresses only.
        command.args([
            "--protected-mode",
            "no",
            "--save",
            "",
            "--appendonly",
            "yes",
        ]);
        command
            .arg("--dir")
            .arg(&self.dir)
            .arg("--logfile")
            .arg(log);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        self.child = Some(child.expect("redis-server runs (Debian: redis-server)"));
        self.await_response();
    }

    /// Starts Redis on the same port without data.
    pub(crate) fn start_empty(&mut self) {
        drop(std::fs::remove_dir_all(self.dir.join("appendonlydir")));
        self.restart();
    }

    fn await_response(&self) {
        let start = Instant::now();
        while !self.responds() {
            assert!(
                start.elapsed() < START_MAX,
                "redis-server does not answer, see {}",
                self.dir.display()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn responds(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else {
            return false;
        };
        let mut answer = [0; 7];
        stream.write_all(b"PING\r\n").is_ok()
            && stream.read_exact(&mut answer).is_ok()
            && &answer == b"+PONG\r\n"
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A free port below the ephemeral ports, which other connections of the tests can take at any time.
fn free_port() -> u16 {
    let mut ports = std::iter::repeat_with(|| rand::random_range(22_000..32_000));
    let free = ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.expect("the iterator is endless")
}

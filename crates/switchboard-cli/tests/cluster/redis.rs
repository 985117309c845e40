//! A Redis of the test's own.

use std::{
    io::{Read, Write},
    net::{IpAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const START_MAX: Duration = Duration::from_secs(10);

/// A server on a free port, ended when dropped.
#[derive(Debug)]
pub(crate) struct Redis {
    child: Option<Child>,
    port: u16,
    folder: PathBuf,
    /// Where it listens besides 127.0.0.1.
    other: Option<IpAddr>,
}

impl Redis {
    /// Starts one that keeps its data in `folder`.
    pub(crate) fn start(folder: PathBuf, other: Option<IpAddr>) -> Self {
        let mut redis = Self {
            child: None,
            port: free_port(),
            folder,
            other,
        };
        redis.start_again();
        redis
    }

    pub(crate) fn url(&self, host: IpAddr) -> String {
        format!("redis://{host}:{}/0", self.port)
    }

    /// Its process, while it runs.
    pub(crate) fn process(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Ends it as the system would that has no more memory: nothing is said or saved.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Starts it again on the same port with what it knew.
    pub(crate) fn start_again(&mut self) {
        std::fs::create_dir_all(&self.folder).expect("a temporary folder");
        let log = self.folder.join("redis.log");
        let mut command = Command::new("redis-server");
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"]);
        command.args(self.other.map(|other| other.to_string()));
        // It is on this machine's own addresses alone, of which one is a namespace's.
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
            .arg(&self.folder)
            .arg("--logfile")
            .arg(log);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        self.child = Some(child.expect("redis-server runs (Debian: redis-server)"));
        self.must_answer();
    }

    /// Starts it again with nothing.
    pub(crate) fn start_empty(&mut self) {
        drop(std::fs::remove_dir_all(self.folder.join("appendonlydir")));
        self.start_again();
    }

    fn must_answer(&self) {
        let start = Instant::now();
        while !self.answers() {
            assert!(
                start.elapsed() < START_MAX,
                "redis-server does not answer, see {}",
                self.folder.display()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn answers(&self) -> bool {
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

/// A port that was free just now.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

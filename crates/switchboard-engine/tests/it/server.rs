//! Private Redis servers: each test has its own, on free ports, in a folder that goes with it.

use std::{
    io::Write as _,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use rand::RngExt as _;
use switchboard_engine::redis::RedisAddress;

const PATIENCE: Duration = Duration::from_secs(20);

/// A Redis server, or a Redis Cluster of three masters.
pub(crate) struct RedisProcess {
    nodes: Vec<RedisNode>,
    url: String,
    folder: PathBuf,
}

struct RedisNode {
    port: u16,
    arguments: Vec<String>,
    child: Child,
}

/// Whether Redis is installed here. A test that misses it says so, past the runner, which shows
/// nothing of a test that passes.
pub(crate) fn is_installed() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has = |name| std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    let is_installed = ["redis-server", "redis-cli"].into_iter().all(has);
    if !is_installed {
        let thread = std::thread::current();
        let test = thread.name().unwrap_or_default();
        let why = "redis-server and redis-cli are not both on PATH (Debian: redis-server)";
        _ = writeln!(std::io::stdout(), "test {test} is skipped: {why}");
    }
    is_installed
}

impl RedisProcess {
    /// One server.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// One server with more options.
    pub(crate) fn start_with(more: &[&str]) -> Self {
        let folder = folder();
        let port = free_port();
        let node = RedisNode::start(port, arguments(port, &folder, more));
        let server = Self {
            nodes: vec![node],
            url: format!("redis://127.0.0.1:{port}"),
            folder,
        };
        server.wait_until_it_listens();
        server
    }

    /// One server that speaks TLS alone, and the certificate of who vouches for it.
    pub(crate) fn start_tls() -> (Self, PathBuf) {
        let folder = folder();
        let port = free_port();
        certify(&folder);
        let file = |name: &str| folder.join(name).display().to_string();
        let mut line = arguments(0, &folder, &[]);
        for (name, value) in [
            ("--tls-port", port.to_string()),
            ("--tls-cert-file", file("server.pem")),
            ("--tls-key-file", file("server.key")),
            ("--tls-ca-cert-file", file("ca.pem")),
            ("--tls-auth-clients", "no".to_owned()),
        ] {
            line.extend([name.to_owned(), value]);
        }
        let node = RedisNode::start(port, line);
        let server = Self {
            nodes: vec![node],
            url: format!("rediss://localhost:{port}"),
            folder: folder.clone(),
        };
        server.wait_until_it_listens();
        (server, folder.join("ca.pem"))
    }

    /// A Redis Cluster of three masters.
    pub(crate) fn start_cluster() -> Self {
        let folder = folder();
        let mut nodes = Vec::new();
        for _ in 0..3 {
            let port = free_port();
            let own = folder.join(port.to_string());
            std::fs::create_dir(&own).expect("a folder");
            let more = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
            nodes.push(RedisNode::start(port, arguments(port, &own, &more)));
        }
        let hosts: Vec<_> = nodes
            .iter()
            .map(|node| format!("127.0.0.1:{}", node.port))
            .collect();
        let server = Self {
            url: format!("redis-cluster://{}", hosts.join(",")),
            nodes,
            folder,
        };
        server.wait_until_it_listens();
        let mut line = vec!["--cluster", "create"];
        line.extend(hosts.iter().map(String::as_str));
        line.push("--cluster-yes");
        let made = Command::new("redis-cli")
            .args(line)
            .output()
            .expect("redis-cli runs");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stdout)
        );
        let since = Instant::now();
        while !(0..3).all(|node| {
            server
                .cli_at(node, &["CLUSTER", "INFO"])
                .contains("cluster_state:ok")
        }) {
            assert!(since.elapsed() < PATIENCE, "the cluster does not come up");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    pub(crate) fn address(&self) -> RedisAddress {
        self.url.parse().expect("an address")
    }

    /// How many servers it is.
    pub(crate) fn count(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn port(&self, node: usize) -> u16 {
        self.nodes[node].port
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What redis-cli prints.
    pub(crate) fn cli(&self, command: &[&str]) -> String {
        self.cli_at(0, command)
    }

    /// The same of one of the cluster's servers.
    pub(crate) fn cli_at(&self, node: usize, command: &[&str]) -> String {
        let port = self.nodes[node].port.to_string();
        let mut line = Command::new("redis-cli");
        line.args(["-p", &port]).args(command);
        let output = line.output().expect("redis-cli runs");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// All keys of all servers.
    pub(crate) fn keys(&self) -> Vec<String> {
        let each = (0..self.nodes.len()).map(|node| self.cli_at(node, &["KEYS", "*"]));
        let all: Vec<_> = each.collect();
        let lines = all.iter().flat_map(|keys| keys.lines());
        lines
            .filter(|line| !line.is_empty())
            .map(ToOwned::to_owned)
            .collect()
    }

    /// Ends the server at once.
    pub(crate) fn kill(&mut self, node: usize) {
        self.nodes[node].stop();
    }

    /// Stops or continues the server's process: it keeps its connections and says nothing.
    pub(crate) fn signal(&self, signal: &str) {
        let id = self.nodes[0].child.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Starts it again, empty.
    pub(crate) fn restart(&mut self) {
        for node in &mut self.nodes {
            node.stop();
            *node = RedisNode::start(node.port, node.arguments.clone());
        }
        self.wait_until_it_listens();
    }

    fn wait_until_it_listens(&self) {
        let since = Instant::now();
        for node in &self.nodes {
            while std::net::TcpStream::connect(("127.0.0.1", node.port)).is_err() {
                assert!(since.elapsed() < PATIENCE, "redis-server does not come up");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

impl Drop for RedisProcess {
    fn drop(&mut self) {
        self.nodes.iter_mut().for_each(RedisNode::stop);
        _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl RedisNode {
    fn start(port: u16, arguments: Vec<String>) -> Self {
        let child = Command::new("redis-server")
            .args(&arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server runs");
        Self {
            port,
            arguments,
            child,
        }
    }

    fn stop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn arguments(port: u16, folder: &Path, more: &[&str]) -> Vec<String> {
    let port = port.to_string();
    let folder = folder.display().to_string();
    let line = [
        "--port",
        &port,
        "--bind",
        "127.0.0.1",
        "--dir",
        &folder,
        "--save",
        "",
        "--appendonly",
        "no",
    ];
    line.iter()
        .chain(more)
        .map(|word| (*word).to_owned())
        .collect()
}

fn folder() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder =
        std::env::temp_dir().join(format!("switchboard-redis-{}-{count}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// A port that is free, and so is the one 10000 above, on which the servers of a Redis Cluster talk.
/// Both lie below those from which the system draws for outgoing connections.
fn free_port() -> u16 {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let mut ports = std::iter::repeat_with(|| rand::rng().random_range(12_000..22_000));
    ports
        .find(|port| is_free(*port) && is_free(port + 10_000))
        .expect("endless")
}

/// Makes an authority, and a server's certificate for `localhost` that it vouches for.
fn certify(folder: &Path) {
    for line in [
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem",
        "req -newkey rsa:2048 -nodes -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout server.key -out server.csr",
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -copy_extensions copy -out server.pem",
    ] {
        let made = Command::new("openssl")
            .args(line.split(' '))
            .current_dir(folder)
            .output()
            .expect("openssl runs");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
    }
}

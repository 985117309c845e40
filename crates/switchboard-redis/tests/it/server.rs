//! Private Redis servers: each test starts its own on free ports, with a temporary directory that
//! is removed with the server.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use rand::RngExt as _;
use switchboard_redis::{RedisAddress, RedisStore};

const TIMEOUT: Duration = Duration::from_secs(20);

/// A Redis server, or a Redis Cluster of three masters.
pub(crate) struct RedisProcess {
    nodes: Vec<RedisNode>,
    url: String,
    directory: PathBuf,
}

struct RedisNode {
    port: u16,
    arguments: Vec<String>,
    child: Child,
}

impl RedisProcess {
    /// Starts one server.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// A store over this server, for a cluster with this prefix.
    pub(crate) fn store(&self, prefix: &str) -> RedisStore {
        RedisStore::new(self.address(), prefix)
    }

    /// Starts one server with additional options.
    pub(crate) fn start_with(options: &[&str]) -> Self {
        let directory = directory();
        let port = free_port();
        let node = RedisNode::start(port, arguments(port, &directory, options));
        let server = Self {
            nodes: vec![node],
            url: format!("redis://127.0.0.1:{port}"),
            directory,
        };
        server.wait_until_listening();
        server
    }

    /// Starts one server that accepts only TLS. Also returns the path of the certificate of the authority
    /// that signed the server's certificate.
    pub(crate) fn start_tls() -> (Self, PathBuf) {
        let directory = directory();
        let port = free_port();
        create_certificates(&directory);
        let file = |name: &str| directory.join(name).display().to_string();
        let mut arguments = arguments(0, &directory, &[]);
        for (name, value) in [
            ("--tls-port", port.to_string()),
            ("--tls-cert-file", file("server.pem")),
            ("--tls-key-file", file("server.key")),
            ("--tls-ca-cert-file", file("ca.pem")),
            ("--tls-auth-clients", "no".to_owned()),
        ] {
            arguments.extend([name.to_owned(), value]);
        }
        let node = RedisNode::start(port, arguments);
        let server = Self {
            nodes: vec![node],
            url: format!("rediss://localhost:{port}"),
            directory: directory.clone(),
        };
        server.wait_until_listening();
        (server, directory.join("ca.pem"))
    }

    /// Starts a Redis Cluster of three masters.
    pub(crate) fn start_cluster() -> Self {
        let directory = directory();
        let mut nodes = Vec::new();
        for _ in 0..3 {
            let port = free_port();
            let own_directory = directory.join(port.to_string());
            std::fs::create_dir(&own_directory).expect("a folder");
            let options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
            nodes.push(RedisNode::start(
                port,
                arguments(port, &own_directory, &options),
            ));
        }
        let hosts: Vec<_> = nodes
            .iter()
            .map(|node| format!("127.0.0.1:{}", node.port))
            .collect();
        let server = Self {
            url: format!("redis-cluster://{}", hosts.join(",")),
            nodes,
            directory,
        };
        server.wait_until_listening();
        let mut arguments = vec!["--cluster", "create"];
        arguments.extend(hosts.iter().map(String::as_str));
        arguments.push("--cluster-yes");
        let output = Command::new("redis-cli")
            .args(arguments)
            .output()
            .expect("redis-cli runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
        let started = Instant::now();
        while !(0..3).all(|node| {
            server
                .cli_at(node, &["CLUSTER", "INFO"])
                .contains("cluster_state:ok")
        }) {
            assert!(started.elapsed() < TIMEOUT, "the cluster does not come up");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    pub(crate) fn address(&self) -> RedisAddress {
        self.url.parse().expect("an address")
    }

    /// The number of servers.
    pub(crate) fn count(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn port(&self, node: usize) -> u16 {
        self.nodes[node].port
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Runs redis-cli and returns its output.
    pub(crate) fn cli(&self, command: &[&str]) -> String {
        self.cli_at(0, command)
    }

    /// Runs redis-cli against one server of the cluster.
    pub(crate) fn cli_at(&self, node: usize, command: &[&str]) -> String {
        let port = self.nodes[node].port.to_string();
        let mut arguments = Command::new("redis-cli");
        arguments.args(["-p", &port]).args(command);
        let output = arguments.output().expect("redis-cli runs");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Returns all keys of all servers.
    pub(crate) fn keys(&self) -> Vec<String> {
        let each = (0..self.nodes.len()).map(|node| self.cli_at(node, &["KEYS", "*"]));
        let all: Vec<_> = each.collect();
        let lines = all.iter().flat_map(|keys| keys.lines());
        lines
            .filter(|line| !line.is_empty())
            .map(ToOwned::to_owned)
            .collect()
    }

    /// Kills one server.
    pub(crate) fn kill(&mut self, node: usize) {
        self.nodes[node].stop();
    }

    /// Sends a signal to the server process. A stopped process keeps its connections and does not
    /// answer.
    pub(crate) fn signal(&self, signal: &str) {
        let id = self.nodes[0].child.id().to_string();
        let status = Command::new("kill").args([signal, &id]).status();
        assert!(status.expect("kill runs").success());
    }

    /// Restarts all servers without data.
    pub(crate) fn restart(&mut self) {
        for node in &mut self.nodes {
            node.stop();
            *node = RedisNode::start(node.port, node.arguments.clone());
        }
        self.wait_until_listening();
    }

    fn wait_until_listening(&self) {
        let started = Instant::now();
        for node in &self.nodes {
            while std::net::TcpStream::connect(("127.0.0.1", node.port)).is_err() {
                assert!(started.elapsed() < TIMEOUT, "redis-server does not come up");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

impl Drop for RedisProcess {
    fn drop(&mut self) {
        self.nodes.iter_mut().for_each(RedisNode::stop);
        _ = std::fs::remove_dir_all(&self.directory);
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
            .expect("redis-server runs (Debian: redis-server)");
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

fn arguments(port: u16, directory: &Path, options: &[&str]) -> Vec<String> {
    let port = port.to_string();
    let directory = directory.display().to_string();
    let arguments = [
        "--port",
        &port,
        "--bind",
        "127.0.0.1",
        "--dir",
        &directory,
        "--save",
        "",
        "--appendonly",
        "no",
    ];
    arguments
        .iter()
        .chain(options)
        .map(|argument| (*argument).to_owned())
        .collect()
}

fn directory() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let directory =
        std::env::temp_dir().join(format!("switchboard-redis-{}-{count}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a folder");
    directory
}

/// A free port P for which P + 10000 is free too: the servers of a Redis Cluster connect to each other on that port.
/// Both are below the ephemeral ports, which other connections of the tests can take at any time.
fn free_port() -> u16 {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let mut ports = std::iter::repeat_with(|| rand::rng().random_range(12_000..22_000));
    ports
        .find(|port| is_free(*port) && is_free(port + 10_000))
        .expect("the iterator is endless")
}

/// Creates a certificate authority, and a server certificate for `localhost` that it signs.
fn create_certificates(directory: &Path) {
    for arguments in [
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem",
        "req -newkey rsa:2048 -nodes -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout server.key -out server.csr",
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -copy_extensions copy -out server.pem",
    ] {
        let output = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(directory)
            .output()
            .expect("openssl runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

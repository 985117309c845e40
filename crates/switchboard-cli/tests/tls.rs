//! The binary with HTTPS: the self-signed certificate, the files of a certificate, and the banner.

use std::{
    fs,
    io::{self, BufRead, BufReader, Lines, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Output, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use sha2::{Digest as _, Sha256};
use switchboard::network;

/// A timeout that no step of these tests reaches on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A folder that is removed when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("switchboard-cli-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A file of the library's tests, under another name.
    fn copy(&self, of: &str, name: &str) -> PathBuf {
        let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../switchboard/tests/tls");
        let copy = self.path(name);
        fs::copy(files.join(of), &copy).expect("a copy");
        copy
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_switchboard"));
        command.args(args).stdin(Stdio::null());
        command.env_remove("PORT").env_remove("STATE_DIRECTORY");
        command.env("XDG_STATE_HOME", &self.0);
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("the binary runs")
    }

    fn start(&self, args: &[&str]) -> Running {
        start(self.command(args))
    }
}

/// Starts a server and reads its banner.
fn start(mut command: Command) -> Running {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut banner = Vec::new();
    // The last line of a server without ICE servers.
    for line in lines.map_while(Result::ok) {
        let is_last = line.contains("STUN and TURN");
        banner.push(line);
        if is_last {
            break;
        }
    }
    let log = BufReader::new(child.stderr.take().expect("piped")).lines();
    Running { child, banner, log }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// A server that is killed when the test ends.
struct Running {
    child: Child,
    banner: Vec<String>,
    log: Lines<BufReader<ChildStderr>>,
}

impl Running {
    fn port(&self) -> u16 {
        let first = self.banner.first().expect("a banner");
        let port = first.rsplit(':').next().expect("a port");
        port.parse().expect("a number")
    }

    /// The text of the banner's line with this name.
    fn said(&self, name: &str) -> Option<&str> {
        let name = format!("  {name:<14} ");
        let mut lines = self.banner.iter();
        lines.find_map(|line| line.strip_prefix(&*name))
    }

    fn hang_up(&self) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-HUP", &pid]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// The next line of the log that has these words.
    fn logged(&mut self, words: &str) -> String {
        let mut log = self.log.by_ref().map_while(Result::ok);
        log.find(|line| line.contains(words)).expect("it is logged")
    }

    /// The SHA-256 of the certificate of the server, if it is in this file, and that of a page that is served.
    fn fingerprint(&self, root: &Path) -> io::Result<String> {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_file(root).map_err(io::Error::other)?;
        roots.add(root).map_err(io::Error::other)?;
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        let stream = TcpStream::connect(("127.0.0.1", self.port()))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut stream = StreamOwned::new(connection, stream);
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        assert!(answer.ends_with("\r\n\r\nok\n"), "{answer}");
        let certificates = stream.conn.peer_certificates().expect("a certificate");
        let hash = Sha256::digest(&certificates[0]);
        let bytes = hash.iter().map(|byte| format!("{byte:02X}"));
        Ok(bytes.collect::<Vec<_>>().join(":"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

const SELF_SIGNED: [&str; 5] = ["--addr", "127.0.0.1", "--port", "0", "--tls-self-signed"];

#[test]
fn a_self_signed_certificate_has_the_fingerprint_that_is_printed_and_outlives_restarts() {
    let folder = Folder::new("self-signed");
    let file = folder.path("switchboard/self-signed.pem");
    let running = folder.start(&SELF_SIGNED);
    let port = running.port();
    let fingerprint = running.fingerprint(&file).expect("a trusted server");
    assert_eq!(running.said("SHA-256"), Some(&*fingerprint));
    let kept = running.said("certificate").expect("a line");
    assert!(kept.starts_with("self-signed, valid until 20"), "{kept}");
    assert!(
        kept.ends_with(&format!(", kept in {}", file.display())),
        "{kept}"
    );
    let page = format!("https://127.0.0.1:{port}/");
    assert_eq!(running.said("call page"), Some(&*page));
    let dialect = format!("wss://127.0.0.1:{port}/connect");
    assert_eq!(running.said("singo"), Some(&*dialect));
    drop(running);
    let again = folder.start(&SELF_SIGNED);
    assert_eq!(again.said("SHA-256"), Some(&*fingerprint));
    fs::remove_file(&file).expect("a file");
    drop(again);
    let anew = folder.start(&SELF_SIGNED);
    assert_ne!(anew.said("SHA-256"), Some(&*fingerprint));
}

#[test]
fn commands_reach_a_self_signed_server() {
    let folder = Folder::new("commands");
    let running = folder.start(&SELF_SIGNED);
    let file = folder.path("switchboard/self-signed.pem");
    let (file, port) = (file.to_str().expect("text"), running.port().to_string());
    let url = format!("https://localhost:{port}");
    let probe = format!("{url}/healthz");
    let key = folder.path("voice.key");
    let key = key.to_str().expect("text");
    let ca: &[&str] = &["--ca", file];
    for trust in [ca, &["--insecure"]] {
        for command in [
            &["health", "--url", &probe][..],
            &["ice", "--url", &url],
            &["voice", "key", "--query", "--key", key, "--url", &url],
        ] {
            let output = folder.run(&[command, trust].concat());
            assert_eq!(output.status.code(), Some(0), "{output:?}");
        }
    }
    let distrusted = folder.run(&["health", "--url", &probe]);
    assert_eq!(distrusted.status.code(), Some(1));
    let words = String::from_utf8_lossy(&distrusted.stderr);
    assert!(words.contains("does not answer: "), "{words}");
    // A container asks itself.
    for (tls, code) in [("true", 0), ("false", 1)] {
        let mut own = folder.command(&["health"]);
        own.env("SWITCHBOARD_PORT", &port);
        let status = own.env("SWITCHBOARD_TLS_SELF_SIGNED", tls).status();
        assert_eq!(status.expect("the binary runs").code(), Some(code));
    }
}

#[test]
fn a_hangup_signal_makes_the_server_read_its_certificate_again() {
    let folder = Folder::new("reload");
    let cert = folder.copy("ec.pem", "cert.pem");
    let key = folder.copy("ec-sec1.key", "key.pem");
    let old = folder.copy("ec.pem", "old.pem");
    let settings = folder.path("settings.toml");
    let text = format!(
        "[server]\naddr = \"127.0.0.1\"\nport = 0\n[tls]\ncert = {cert:?}\nkey = {key:?}\n"
    );
    fs::write(&settings, text).expect("written");
    let mut running = folder.start(&["--config", settings.to_str().expect("text")]);
    assert_eq!(running.said("certificate"), None);
    let first = running.fingerprint(&old).expect("a trusted server");

    folder.copy("rsa.pem", "cert.pem");
    running.hang_up();
    let line = running.logged("TLS certificate not reloaded");
    assert!(line.contains("is not the key of the certificate"), "{line}");
    assert_eq!(running.fingerprint(&old).expect("the old one"), first);

    folder.copy("rsa-pkcs1.key", "key.pem");
    running.hang_up();
    let line = running.logged("TLS certificate reloaded");
    let second = running.fingerprint(&cert).expect("a trusted server");
    assert!(line.contains(&second), "{line}");
    assert!(running.fingerprint(&old).is_err());
}

/// A Redis without a disk, killed when the test ends.
struct Redis {
    child: Child,
    port: u16,
}

impl Redis {
    fn start(folder: &Folder) -> Self {
        let port = free_port();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
        command.args(["--save", "", "--appendonly", "no", "--dir"]);
        let child = command.arg(&folder.0).stdout(Stdio::null()).spawn();
        let child = child.expect("redis-server runs (Debian: redis-server)");
        Self { child, port }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}

#[test]
#[cfg_attr(
    not(has_redis),
    ignore = "needs redis-server and redis-cli (Debian: redis-server)"
)]
fn nodes_forward_voice_requests_over_https() {
    let folder = Folder::new("nodes");
    let redis = Redis::start(&folder);
    let [cert, key] = [("ec.pem", "cert.pem"), ("ec-sec1.key", "key.pem")]
        .map(|(of, name)| folder.copy(of, name));
    let start = |port: u16| {
        let mut command = folder.command(&["--addr", "127.0.0.1"]);
        command
            .env("SWITCHBOARD_PORT", port.to_string())
            .env("SWITCHBOARD_TLS_CERT", &cert)
            .env("SWITCHBOARD_TLS_KEY", &key)
            // The authority of the nodes, which no machine knows.
            .env("SSL_CERT_FILE", &cert)
            .env("SWITCHBOARD_ENGINE_URL", format!("redis://127.0.0.1:{}", redis.port))
            .env("SWITCHBOARD_ENGINE_ADVERTISE_URL", format!("https://localhost:{port}"));
        start(command)
    };
    let ports = [free_port(), free_port()];
    let _nodes = ports.map(start);
    // One of them does voice; the other one answers 503 until it can forward the request to that node.
    let (file, key) = (cert.to_str().expect("text"), folder.path("voice.key"));
    let key = key.to_str().expect("text");
    for port in ports {
        let url = format!("https://localhost:{port}");
        let query = [
            "voice", "key", "--query", "--key", key, "--ca", file, "--url", &url,
        ];
        let begun = Instant::now();
        while !folder.run(&query).status.success() {
            assert!(begun.elapsed() < PATIENCE, "node {url} does not do voice");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn a_certificate_that_cannot_be_used_is_named_by_check_and_ends_the_start() {
    let folder = Folder::new("check");
    let cert = folder.copy("ec.pem", "cert.pem");
    for action in [&["check"][..], &["--port", "0"]] {
        let mut command = folder.command(action);
        command.env("SWITCHBOARD_TLS_CERT", &cert);
        command.env("SWITCHBOARD_TLS_KEY", folder.path("key.pem"));
        let output = command.output().expect("the binary runs");
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words}");
        let start = "environment variable SWITCHBOARD_TLS_KEY: tls.key: ";
        assert!(words.contains(start), "{words}");
        assert!(
            words.contains("/key.pem\" is missing; name a PEM file"),
            "{words}"
        );
    }
    // A check makes no certificate.
    assert_eq!(
        folder.run(&["check", "--tls-self-signed"]).status.code(),
        Some(0)
    );
    assert!(!folder.path("switchboard").exists());
}

#[test]
fn the_banner_has_the_url_for_other_devices_and_says_that_cameras_need_https() {
    let folder = Folder::new("banner");
    let all: IpAddr = [0, 0, 0, 0].into();
    let Some(ip) = network::reachable_address(all) else {
        // This machine is in no network.
        return;
    };
    let running = folder.start(&["--addr", "0.0.0.0", "--port", "0"]);
    let address = SocketAddr::new(ip, running.port());
    let url = |scheme| format!("{scheme}://{address}/");
    assert_eq!(running.said("other devices"), Some(&*url("http")));
    let https = running.said("HTTPS").expect("a line");
    assert!(https.contains("--tls-self-signed"), "{https}");

    let running = folder.start(&["--addr", "0.0.0.0", "--port", "0", "--tls-self-signed"]);
    let address = SocketAddr::new(ip, running.port());
    let url = format!("https://{address}/");
    assert_eq!(running.said("other devices"), Some(&*url));
    assert_eq!(running.said("HTTPS"), None);
    assert!(running.said("SHA-256").is_some());

    let running = folder.start(&["--addr", "127.0.0.1", "--port", "0"]);
    assert_eq!(
        running.said("other devices").or(running.said("HTTPS")),
        None
    );

    let json = [
        "--addr",
        "0.0.0.0",
        "--port",
        "0",
        "--tls-self-signed",
        "--log-format",
        "json",
    ];
    let running = folder.start(&json);
    let lines = running.banner.iter().map(|line| serde_json::from_str(line));
    let lines: Result<Vec<serde_json::Value>, _> = lines.collect();
    let lines = lines.expect("JSON alone");
    assert!(
        lines[0]["pages"]["other devices"][0].is_string(),
        "{lines:?}"
    );
    assert!(lines[1]["sha256"].is_string(), "{lines:?}");
    let file = folder.path("switchboard/self-signed.pem");
    assert_eq!(lines[1]["file"].as_str(), file.to_str());
}

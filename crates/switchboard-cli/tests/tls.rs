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

/// The time limit of a TLS read and of the wait for voice, long enough for a busy machine.
const TEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A directory that is removed when the test ends.
struct TestDir(PathBuf);

impl TestDir {
    fn new(name: &str) -> Self {
        let name = format!("switchboard-cli-{}-{name}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        drop(fs::remove_dir_all(&dir));
        fs::create_dir_all(&dir).expect("a folder");
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Copies a certificate file of the library's tests to another name.
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
        command.env("SWITCHBOARD_INTERNAL_LISTEN", "");
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("the binary runs")
    }

    fn start(&self, args: &[&str]) -> TlsServer {
        start(self.command(args))
    }
}

/// Starts a server and reads its banner.
fn start(mut command: Command) -> TlsServer {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut banner = Vec::new();
    for line in lines.map_while(Result::ok) {
        // The line on missing ICE servers ends the banner.
        let is_last = line.contains("STUN and TURN");
        banner.push(line);
        if is_last {
            break;
        }
    }
    let log = BufReader::new(child.stderr.take().expect("piped")).lines();
    TlsServer { child, banner, log }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// A server that is killed when the test ends.
struct TlsServer {
    child: Child,
    banner: Vec<String>,
    log: Lines<BufReader<ChildStderr>>,
}

impl TlsServer {
    fn port(&self) -> u16 {
        let first = self.banner.first().expect("a banner");
        let port = first.rsplit(':').next().expect("a port");
        port.parse().expect("a number")
    }

    /// The text of the banner line with this name.
    fn banner_text(&self, name: &str) -> Option<&str> {
        let name = format!("  {name:<14} ");
        let mut lines = self.banner.iter();
        lines.find_map(|line| line.strip_prefix(&*name))
    }

    fn send_hangup(&self) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-HUP", &pid]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// The next line of the log that contains `text`.
    fn await_log_line(&mut self, text: &str) -> String {
        let mut log = self.log.by_ref().map_while(Result::ok);
        log.find(|line| line.contains(text)).expect("it is logged")
    }

    /// The SHA-256 fingerprint of the certificate of the server. The connection fails if `root` does not trust it.
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
        stream.set_read_timeout(Some(TEST_TIMEOUT))?;
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

impl Drop for TlsServer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

const SELF_SIGNED: [&str; 5] = ["--addr", "127.0.0.1", "--port", "0", "--tls-self-signed"];

#[test]
fn a_self_signed_certificate_has_the_printed_fingerprint_and_survives_restarts() {
    let dir = TestDir::new("self-signed");
    let file = dir.path("switchboard/self-signed.pem");
    let running = dir.start(&SELF_SIGNED);
    let port = running.port();
    let fingerprint = running.fingerprint(&file).expect("a trusted server");
    assert_eq!(running.banner_text("SHA-256"), Some(&*fingerprint));
    let kept = running.banner_text("certificate").expect("a line");
    assert!(kept.starts_with("self-signed, valid until 20"), "{kept}");
    assert!(
        kept.ends_with(&format!(", kept in {}", file.display())),
        "{kept}"
    );
    let page = format!("https://127.0.0.1:{port}/");
    assert_eq!(running.banner_text("call page"), Some(&*page));
    let dialect = format!("wss://127.0.0.1:{port}/connect");
    assert_eq!(running.banner_text("singo"), Some(&*dialect));
    drop(running);
    let again = dir.start(&SELF_SIGNED);
    assert_eq!(again.banner_text("SHA-256"), Some(&*fingerprint));
    fs::remove_file(&file).expect("a file");
    drop(again);
    let anew = dir.start(&SELF_SIGNED);
    assert_ne!(anew.banner_text("SHA-256"), Some(&*fingerprint));
}

#[test]
fn commands_reach_a_self_signed_server() {
    let dir = TestDir::new("commands");
    let running = dir.start(&SELF_SIGNED);
    let file = dir.path("switchboard/self-signed.pem");
    let (file, port) = (file.to_str().expect("text"), running.port().to_string());
    let url = format!("https://localhost:{port}");
    let probe = format!("{url}/healthz");
    let key = dir.path("voice.key");
    let key = key.to_str().expect("text");
    let ca: &[&str] = &["--ca", file];
    for trust in [ca, &["--insecure"]] {
        for command in [
            &["health", "--url", &probe][..],
            &["ice", "--url", &url],
            &["voice", "key", "--query", "--key", key, "--url", &url],
        ] {
            let output = dir.run(&[command, trust].concat());
            assert_eq!(output.status.code(), Some(0), "{output:?}");
        }
    }
    let distrusted = dir.run(&["health", "--url", &probe]);
    assert_eq!(distrusted.status.code(), Some(1));
    let text = String::from_utf8_lossy(&distrusted.stderr);
    assert!(text.contains("does not answer: "), "{text}");
    // Without --url, `health` checks the server that the same environment variables configure, as in a container.
    for (tls, code) in [("true", 0), ("false", 1)] {
        let mut health = dir.command(&["health"]);
        health.env("SWITCHBOARD_PORT", &port);
        let status = health.env("SWITCHBOARD_TLS_SELF_SIGNED", tls).status();
        assert_eq!(status.expect("the binary runs").code(), Some(code));
    }
}

#[test]
fn a_hangup_signal_reloads_the_certificate() {
    let dir = TestDir::new("reload");
    let cert = dir.copy("ec.pem", "cert.pem");
    let key = dir.copy("ec-sec1.key", "key.pem");
    let old = dir.copy("ec.pem", "old.pem");
    let settings = dir.path("settings.toml");
    let text = format!(
        "[server]\naddr = \"127.0.0.1\"\nport = 0\n[tls]\ncert = {cert:?}\nkey = {key:?}\nreload_secs = 0\n"
    );
    fs::write(&settings, text).expect("written");
    let mut running = dir.start(&["--config", settings.to_str().expect("text")]);
    assert_eq!(running.banner_text("certificate"), None);
    let first = running.fingerprint(&old).expect("a trusted server");

    dir.copy("rsa.pem", "cert.pem");
    running.send_hangup();
    let line = running.await_log_line("settings not reloaded");
    assert!(line.contains("is not the key of the certificate"), "{line}");
    assert_eq!(running.fingerprint(&old).expect("the old one"), first);

    dir.copy("rsa-pkcs1.key", "key.pem");
    running.send_hangup();
    let line = running.await_log_line("TLS certificate reloaded");
    let second = running.fingerprint(&cert).expect("a trusted server");
    assert!(line.contains(&second), "{line}");
    assert!(running.fingerprint(&old).is_err());
}

/// certbot and Kubernetes change a link, and send no signal.
#[test]
fn a_changed_link_reloads_the_certificate_and_http_is_redirected() {
    let dir = TestDir::new("links");
    let old = dir.copy("ec.pem", "old.pem");
    for (folder, cert, key) in [
        ("1", "ec.pem", "ec-sec1.key"),
        ("2", "rsa.pem", "rsa-pkcs1.key"),
    ] {
        fs::create_dir(dir.path(folder)).expect("a folder");
        dir.copy(cert, &format!("{folder}/cert.pem"));
        dir.copy(key, &format!("{folder}/key.pem"));
    }
    let live = dir.path("live");
    std::os::unix::fs::symlink("1", &live).expect("a link");
    let mut command = dir.command(&["--addr", "127.0.0.1", "--port", "0"]);
    command.env("SWITCHBOARD_TLS_CERT", live.join("cert.pem"));
    command.env("SWITCHBOARD_TLS_KEY", live.join("key.pem"));
    command.env("SWITCHBOARD_TLS_RELOAD_SECS", "1");
    command.env("SWITCHBOARD_TLS_REDIRECT_LISTEN", "127.0.0.1:0");
    let mut running = start(command);
    let first = running.fingerprint(&old).expect("a trusted server");
    std::os::unix::fs::symlink("2", dir.path("new")).expect("a link");
    fs::rename(dir.path("new"), &live).expect("moved");
    let line = running.await_log_line("TLS certificate reloaded");
    let new = dir.path("2/cert.pem");
    let second = running.fingerprint(&new).expect("a trusted server");
    assert!(line.contains(&second), "{line}");
    assert_ne!(first, second);

    let redirects = running.banner_text("redirects").expect("a line");
    let (from, to) = redirects.split_once(" to port ").expect("two ports");
    let address = from.strip_prefix("http://").expect("a URL");
    assert_eq!(to, running.port().to_string());
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(TEST_TIMEOUT)).expect("set");
    let request = "GET /voice HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let location = format!("\r\nlocation: https://localhost:{to}/voice\r\n");
    assert!(answer.contains(&location), "{answer}");
}

/// A Redis over plain TCP without persistence, killed when the test ends.
struct PlainRedis {
    child: Child,
    port: u16,
}

impl PlainRedis {
    fn start(dir: &TestDir) -> Self {
        let port = free_port();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
        command.args(["--save", "", "--appendonly", "no", "--dir"]);
        let child = command.arg(&dir.0).stdout(Stdio::null()).spawn();
        let child = child.expect("redis-server runs (Debian: redis-server)");
        Self { child, port }
    }
}

impl Drop for PlainRedis {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A free port below the ephemeral ports, which other connections of the tests can take at any time.
fn free_port() -> u16 {
    let mut ports = std::iter::repeat_with(|| rand::random_range(22_000..32_000));
    let free = ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.expect("the iterator is endless")
}

#[test]
#[cfg_attr(
    not(has_redis),
    ignore = "needs redis-server and redis-cli (Debian: redis-server)"
)]
fn nodes_forward_voice_requests_over_https() {
    let dir = TestDir::new("nodes");
    let redis = PlainRedis::start(&dir);
    let [cert, key] =
        [("ec.pem", "cert.pem"), ("ec-sec1.key", "key.pem")].map(|(of, name)| dir.copy(of, name));
    let start = |port: u16| {
        let mut command = dir.command(&["--addr", "127.0.0.1"]);
        command
            .env("SWITCHBOARD_PORT", port.to_string())
            .env("SWITCHBOARD_TLS_CERT", &cert)
            .env("SWITCHBOARD_TLS_KEY", &key)
            // The nodes trust their own certificate, which is not in the trust store of the system.
            .env("SSL_CERT_FILE", &cert)
            .env("SWITCHBOARD_ENGINE_URL", format!("redis://127.0.0.1:{}", redis.port))
            .env("SWITCHBOARD_ENGINE_ADVERTISE_URL", format!("https://localhost:{port}"));
        start(command)
    };
    let ports = [free_port(), free_port()];
    let _nodes = ports.map(start);
    // One node is the voice leader; the other one answers 503 until it can forward the request to the leader.
    let (file, key) = (cert.to_str().expect("text"), dir.path("voice.key"));
    let key = key.to_str().expect("text");
    for port in ports {
        let url = format!("https://localhost:{port}");
        let query = [
            "voice", "key", "--query", "--key", key, "--ca", file, "--url", &url,
        ];
        let begun = Instant::now();
        while !dir.run(&query).status.success() {
            assert!(
                begun.elapsed() < TEST_TIMEOUT,
                "node {url} does not answer voice requests"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn an_unusable_certificate_is_reported_by_check_and_prevents_the_start() {
    let dir = TestDir::new("check");
    let cert = dir.copy("ec.pem", "cert.pem");
    for action in [&["check"][..], &["--port", "0"]] {
        let mut command = dir.command(action);
        command.env("SWITCHBOARD_TLS_CERT", &cert);
        command.env("SWITCHBOARD_TLS_KEY", dir.path("key.pem"));
        let output = command.output().expect("the binary runs");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}");
        let start = "environment variable SWITCHBOARD_TLS_KEY: tls.key: ";
        assert!(text.contains(start), "{text}");
        assert!(
            text.contains("/key.pem\" is missing; name a PEM file"),
            "{text}"
        );
    }
    // `check` creates no certificate.
    assert_eq!(
        dir.run(&["check", "--tls-self-signed"]).status.code(),
        Some(0)
    );
    assert!(!dir.path("switchboard").exists());
}

#[test]
fn the_banner_has_the_url_for_other_devices_and_a_hint_on_https_for_cameras() {
    let dir = TestDir::new("banner");
    let all: IpAddr = [0, 0, 0, 0].into();
    let Some(ip) = network::reachable_address(all) else {
        // The machine has no network.
        return;
    };
    let running = dir.start(&["--addr", "0.0.0.0", "--port", "0"]);
    let address = SocketAddr::new(ip, running.port());
    let url = |scheme| format!("{scheme}://{address}/");
    assert_eq!(running.banner_text("other devices"), Some(&*url("http")));
    let https = running.banner_text("HTTPS").expect("a line");
    assert!(https.contains("--tls-self-signed"), "{https}");

    let running = dir.start(&["--addr", "0.0.0.0", "--port", "0", "--tls-self-signed"]);
    let address = SocketAddr::new(ip, running.port());
    let url = format!("https://{address}/");
    assert_eq!(running.banner_text("other devices"), Some(&*url));
    assert_eq!(running.banner_text("HTTPS"), None);
    assert!(running.banner_text("SHA-256").is_some());

    let running = dir.start(&["--addr", "127.0.0.1", "--port", "0"]);
    assert_eq!(
        running
            .banner_text("other devices")
            .or(running.banner_text("HTTPS")),
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
    let running = dir.start(&json);
    let lines = running.banner.iter().map(|line| serde_json::from_str(line));
    let lines: Result<Vec<serde_json::Value>, _> = lines.collect();
    let lines = lines.expect("JSON alone");
    assert!(
        lines[0]["pages"]["other devices"][0].is_string(),
        "{lines:?}"
    );
    assert!(lines[1]["sha256"].is_string(), "{lines:?}");
    let file = dir.path("switchboard/self-signed.pem");
    assert_eq!(lines[1]["file"].as_str(), file.to_str());
}

//! The binary with a certificate from an ACME server: pebble, the test server of Let's Encrypt, on loopback.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};
use sha2::{Digest as _, Sha256};

/// The time limit of an event in the log, long enough for a busy machine.
const TEST_TIMEOUT: Duration = Duration::from_secs(90);

/// The number of attempts to reach a starting process, ten per second.
const ATTEMPTS: usize = 300;

/// The name in the certificates. The DNS server of the tests gives every name the address 127.0.0.1.
const NAME: &str = "calls.example.org";

/// A folder that is removed when the test ends.
struct TestDir(PathBuf);

impl TestDir {
    fn new(name: &str) -> Self {
        let name = format!("switchboard-acme-{}-{name}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        drop(fs::remove_dir_all(&dir));
        fs::create_dir_all(&dir).expect("a folder");
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).expect("written");
        self.path(name)
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// A process that is killed when the test ends.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A free port below the ephemeral ports, which other connections of the tests can take at any time.
fn free_port() -> u16 {
    let mut ports = std::iter::repeat_with(|| rand::random_range(22_000..32_000));
    let free = ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.expect("the iterator is endless")
}

fn await_port(port: u16) {
    for _ in 0..ATTEMPTS {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
    panic!("nothing listens on port {port}");
}

/// The ports and the HTTPS certificate of an ACME server that is not running yet.
struct Authority {
    port: u16,
    management: u16,
    ca: PathBuf,
    key: PathBuf,
}

impl Authority {
    fn new(dir: &TestDir) -> Self {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        Self {
            port: free_port(),
            management: free_port(),
            ca: dir.write("pebble.pem", &made.cert.pem()),
            key: dir.write("pebble.key", &made.signing_key.serialize_pem()),
        }
    }

    fn directory(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.port)
    }

    /// Starts the ACME server. It verifies names on these ports. Its certificates are valid for `validity_secs`.
    fn start(&self, dir: &TestDir, http: u16, tls: u16, validity_secs: u64) -> [Process; 2] {
        let (dns, dns_management) = (free_port(), free_port());
        let resolver = Command::new("pebble-challtestsrv")
            .args([
                "-defaultIPv6",
                "",
                "-http01",
                "",
                "-https01",
                "",
                "-tlsalpn01",
                "",
            ])
            .args(["-dns01", &format!("127.0.0.1:{dns}")])
            .args(["-management", &format!("127.0.0.1:{dns_management}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let resolver = Process(resolver.expect("pebble-challtestsrv runs (Debian: pebble)"));
        await_port(dns);
        let config = serde_json::json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{}", self.port),
            "managementListenAddress": format!("127.0.0.1:{}", self.management),
            "certificate": self.ca,
            "privateKey": self.key,
            "httpPort": http,
            "tlsPort": tls,
            "certificateValidityPeriod": validity_secs,
        }});
        let config = dir.write("pebble.json", &config.to_string());
        let pebble = Command::new("pebble")
            .arg("-config")
            .arg(config)
            .args(["-dnsserver", &format!("127.0.0.1:{dns}")])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_WFE_NONCEREJECT", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let pebble = Process(pebble.expect("pebble runs (Debian: pebble)"));
        await_port(self.port);
        await_port(self.management);
        [pebble, resolver]
    }

    /// The root certificate of the authority, which is new at each start.
    fn root(&self) -> CertificateDer<'static> {
        let own = CertificateDer::from_pem_file(&self.ca).expect("a certificate");
        let mut connection = Connection::open(self.management, "127.0.0.1", Some(own));
        let response = connection.get("/roots/0", true);
        let pem = response.split("\r\n\r\n").nth(1).expect("a body");
        CertificateDer::from_pem_slice(pem.as_bytes()).expect("a root")
    }
}

/// A running server.
struct TlsServer {
    process: Process,
    log: mpsc::Receiver<String>,
    port: u16,
}

impl TlsServer {
    fn start(dir: &TestDir, authority: &Authority, settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_switchboard"));
        command
            .args(["--addr", "127.0.0.1", "--port", "0"])
            .env_remove("PORT")
            .env_remove("STATE_DIRECTORY")
            .env("XDG_STATE_HOME", &dir.0)
            .env("SWITCHBOARD_INTERNAL_LISTEN", "")
            .env("SWITCHBOARD_TLS_ACME_DOMAINS", NAME)
            .env("SWITCHBOARD_TLS_ACME_EMAIL", "me@example.org")
            .env("SWITCHBOARD_TLS_ACME_DIRECTORY", authority.directory())
            .env("SWITCHBOARD_TLS_ACME_DIRECTORY_CA", &authority.ca)
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary runs");
        let mut banner = BufReader::new(child.stdout.take().expect("piped")).lines();
        let first = banner.next().expect("a banner").expect("text");
        let port = first.rsplit(':').next().expect("a port");
        let (sender, log) = mpsc::channel();
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        thread::spawn(move || {
            lines
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        // The server must not wait for a reader of its banner.
        thread::spawn(move || banner.count());
        Self {
            process: Process(child),
            log,
            port: port.parse().expect("a number"),
        }
    }

    fn await_log_line(&self, text: &str) -> String {
        loop {
            let line = self.log.recv_timeout(TEST_TIMEOUT);
            let line = line.unwrap_or_else(|error| panic!("{text:?} is not logged: {error}"));
            if line.contains(text) {
                return line;
            }
        }
    }

    /// The fingerprint of the next certificate from the authority.
    fn await_certificate(&self) -> String {
        let line = self.await_log_line("ACME certificate obtained");
        let fingerprint = line.split_once("fingerprint=").expect("a fingerprint").1;
        let fingerprint = fingerprint.split_whitespace().next().expect("a value");
        fingerprint.trim_matches('"').to_owned()
    }

    /// Repeats a failed request at once.
    fn send_hangup(&self) {
        let pid = self.process.0.id().to_string();
        let sent = Command::new("kill").args(["-HUP", &pid]).status();
        assert!(sent.expect("kill runs").success());
    }

    fn connect(&self, root: Option<CertificateDer<'static>>) -> Connection {
        Connection::open(self.port, NAME, root)
    }

    fn assert_ready(&self) {
        let response = self.connect(None).get("/readyz", true);
        assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    }
}

/// A TLS connection, which may carry several requests.
struct Connection(StreamOwned<ClientConnection, TcpStream>);

impl Connection {
    /// Connects to a server that must have a certificate of `root` for `name`; without a root any certificate.
    fn open(port: u16, name: &str, root: Option<CertificateDer<'static>>) -> Self {
        Self::try_open(port, name, root).expect("a trusted server")
    }

    fn try_open(port: u16, name: &str, root: Option<CertificateDer<'static>>) -> io::Result<Self> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions();
        let builder = builder.map_err(io::Error::other)?;
        let config = match root {
            Some(root) => {
                let mut roots = RootCertStore::empty();
                roots.add(root).map_err(io::Error::other)?;
                builder.with_root_certificates(roots).with_no_client_auth()
            }
            None => {
                let verifier = Arc::new(AnyCertificate);
                let builder = builder
                    .dangerous()
                    .with_custom_certificate_verifier(verifier);
                builder.with_no_client_auth()
            }
        };
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(TEST_TIMEOUT))?;
        let mut stream = StreamOwned::new(connection, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self(stream))
    }

    fn fingerprint(&self) -> String {
        let certificates = self.0.conn.peer_certificates().expect("a certificate");
        let hash = Sha256::digest(&certificates[0]);
        let bytes = hash.iter().map(|byte| format!("{byte:02X}"));
        bytes.collect::<Vec<_>>().join(":")
    }

    /// The response to a request. Without `is_last` the connection stays open, and the response ends with its first read.
    fn get(&mut self, path: &str, is_last: bool) -> String {
        let connection = if is_last { "close" } else { "keep-alive" };
        let head =
            format!("GET {path} HTTP/1.1\r\nHost: {NAME}\r\nConnection: {connection}\r\n\r\n");
        self.0.write_all(head.as_bytes()).expect("sent");
        let mut response = Vec::new();
        if is_last {
            drop(self.0.read_to_end(&mut response));
        } else {
            response.resize(4096, 0);
            let count = self.0.read(&mut response).expect("a response");
            response.truncate(count);
        }
        String::from_utf8(response).expect("text")
    }
}

#[test]
#[cfg_attr(not(has_pebble), ignore = "needs pebble (Debian: pebble)")]
fn a_certificate_is_obtained_renewed_and_kept_while_the_acme_server_is_down() {
    let dir = TestDir::new("renewal");
    let authority = Authority::new(&dir);
    let server = TlsServer::start(&dir, &authority, &[]);
    let line = server.await_log_line("ACME certificate not obtained");
    assert!(line.contains("Connection refused"), "{line}");
    assert!(line.contains("retry_secs=60"), "{line}");
    server.assert_ready();

    let pebble = authority.start(&dir, free_port(), server.port, 15);
    server.send_hangup();
    let first = server.await_certificate();
    let root = authority.root();
    let mut open = server.connect(Some(root.clone()));
    assert_eq!(open.fingerprint(), first);
    let response = open.get("/healthz", false);
    assert!(response.ends_with("ok\n"), "{response}");
    assert!(
        response.contains("strict-transport-security: "),
        "{response}"
    );

    let second = server.await_certificate();
    assert_ne!(second, first);
    assert_eq!(server.connect(Some(root)).fingerprint(), second);
    let response = open.get("/healthz", true);
    assert!(response.ends_with("ok\n"), "{response}");

    drop(pebble);
    let line = server.await_log_line("ACME certificate not renewed: the old one stays in use");
    assert!(line.contains(NAME), "{line}");
    assert_eq!(server.connect(None).fingerprint(), second);
    server.assert_ready();
    drop(server);
    let again = TlsServer::start(&dir, &authority, &[]);
    assert_eq!(again.connect(None).fingerprint(), second);
    again.assert_ready();
}

#[test]
#[cfg_attr(not(has_pebble), ignore = "needs pebble (Debian: pebble)")]
fn a_listener_for_redirects_answers_the_challenges_of_the_acme_server() {
    let dir = TestDir::new("http");
    let authority = Authority::new(&dir);
    let http = free_port();
    let _pebble = authority.start(&dir, http, free_port(), 24 * 60 * 60);
    let listen = format!("127.0.0.1:{http}");
    let settings = [("SWITCHBOARD_TLS_REDIRECT_LISTEN", &*listen)];
    let server = TlsServer::start(&dir, &authority, &settings);
    let obtained = server.await_certificate();
    let connection = server.connect(Some(authority.root()));
    assert_eq!(connection.fingerprint(), obtained);

    let get = |host: &str, path: &str| {
        let mut stream = TcpStream::connect(&listen).expect("a connection");
        let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("sent");
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("a response");
        response
    };
    let redirected = get(NAME, "/voice");
    let location = format!("\r\nlocation: https://{NAME}:{}/voice\r\n", server.port);
    assert!(redirected.contains(&location), "{redirected}");
    let other = get("evil.example", "/voice");
    assert!(other.starts_with("HTTP/1.1 421 "), "{other}");
    // The answer is there only during an order.
    let unknown = get(NAME, "/.well-known/acme-challenge/token");
    assert!(unknown.starts_with("HTTP/1.1 404 "), "{unknown}");

    let folder = dir.path("switchboard/acme");
    let files: Vec<_> = fs::read_dir(folder).expect("a folder").collect();
    assert_eq!(files.len(), 2, "{files:?}");
    for file in files {
        assert_private(&file.expect("a file").path());
    }
}

/// The file holds a key, so only its owner may read it.
fn assert_private(file: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(file).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{}", file.display());
}

#[test]
#[cfg_attr(not(has_pebble), ignore = "needs pebble (Debian: pebble)")]
fn a_name_that_does_not_lead_to_the_server_is_logged_with_the_reason() {
    let dir = TestDir::new("unverified");
    let authority = Authority::new(&dir);
    // Nothing listens where the ACME server looks.
    let _pebble = authority.start(&dir, free_port(), free_port(), 60);
    let server = TlsServer::start(&dir, &authority, &[]);
    let line = server.await_log_line("ACME certificate not obtained");
    let text = format!("the ACME server did not verify {NAME}: ");
    assert!(line.contains(&text), "{line}");
    assert!(line.contains("tls-alpn-01"), "{line}");
    assert!(line.contains("Failed to connect to 127.0.0.1:"), "{line}");
    server.assert_ready();
}

/// Accepts every certificate.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let provider = ring::default_provider();
        provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

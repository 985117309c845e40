//! The credentials of `switchboard ice` with a real coturn on loopback.

use std::{
    net::UdpSocket,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, SystemTime},
};

use serde_json::Value;
use switchboard::Config;

const SECRET: &str = "north";

/// The number of attempts to reach a starting TURN server, ten per second.
const ATTEMPTS: usize = 200;

/// A TURN server that is killed when the test ends.
struct Coturn {
    child: Child,
    port: u16,
    database: PathBuf,
}

impl Coturn {
    /// Starts a TURN server with UDP on loopback.
    fn start() -> Self {
        // Below the ephemeral ports, which other sockets of the tests can take at any time.
        let mut ports = std::iter::repeat_with(|| rand::random_range(22_000..32_000));
        let free = ports.find(|port| UdpSocket::bind(("127.0.0.1", *port)).is_ok());
        let port = free.expect("the iterator is endless");
        let name = format!("switchboard-coturn-{}", std::process::id());
        let database = std::env::temp_dir().join(name);
        let child = Command::new("turnserver")
            .args(["-n", "--log-file=stdout", "--realm=example.org"])
            .args(["--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1"])
            .args(["--allow-loopback-peers", "--no-tcp", "--no-tls"])
            .args(["--no-dtls", "--no-cli", "--use-auth-secret"])
            .arg(format!("--listening-port={port}"))
            .arg(format!("--static-auth-secret={SECRET}"))
            .arg(format!("--userdb={}", database.display()))
            .arg(format!("--pidfile={}.pid", database.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("turnserver runs (Debian: coturn)");
        let server = Self {
            child,
            port,
            database,
        };
        assert!(server.answers(), "turnserver does not answer");
        server
    }

    /// Whether the server answers a STUN binding request (RFC 8489, section 6) within [`ATTEMPTS`].
    fn answers(&self) -> bool {
        let request = [&b"\x00\x01\x00\x00\x21\x12\xa4\x42"[..], &[7; 12]].concat();
        let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a free port");
        let wait = Some(Duration::from_millis(100));
        socket.set_read_timeout(wait).expect("not zero");
        (0..ATTEMPTS).any(|_| {
            _ = socket.send_to(&request, ("127.0.0.1", self.port));
            socket.recv(&mut [0; 512]).is_ok()
        })
    }

    /// Whether a client with these credentials gets an allocation and relayed packets.
    fn relays(&self, username: &str, credential: &str) -> bool {
        let status = Command::new("turnutils_uclient")
            .args(["-y", "-c", "-n", "1", "-m", "1"])
            .args(["-p", &self.port.to_string()])
            .args(["-u", username, "-w", credential, "127.0.0.1"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        status
            .expect("turnutils_uclient runs (Debian: coturn)")
            .success()
    }
}

impl Drop for Coturn {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        for end in ["", ".pid"] {
            let file = format!("{}{end}", self.database.display());
            drop(std::fs::remove_file(file));
        }
    }
}

/// The credentials that `switchboard ice` prints.
fn printed_credentials() -> [String; 2] {
    let output = Command::new(env!("CARGO_BIN_EXE_switchboard"))
        .arg("ice")
        .env("SWITCHBOARD_ICE_TURN_SECRET", SECRET)
        .env("SWITCHBOARD_ICE_TURN_URLS", "turn:127.0.0.1")
        .output()
        .expect("the binary runs");
    let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let server = &document["iceServers"][0];
    ["username", "credential"].map(|key| server[key].as_str().expect(key).to_owned())
}

/// Credentials with the shortest lifetime, 60 s, that were created this long ago.
fn credentials_of_age(age: Duration) -> [String; 2] {
    let mut ice = Config::default().ice;
    ice.turn.urls = vec!["turn:127.0.0.1".to_owned()];
    SECRET.clone_into(&mut ice.turn.secret);
    ice.turn.ttl = Duration::from_secs(60);
    let now = SystemTime::UNIX_EPOCH.elapsed().expect("after 1970");
    let server = ice.for_client("ada", (now - age).as_secs()).pop();
    let server = server.expect("a TURN server");
    [server.username, server.credential].map(|text| text.expect("credentials"))
}

#[test]
#[cfg_attr(not(has_coturn), ignore = "needs coturn (Debian: coturn)")]
fn coturn_relays_only_for_valid_credentials() {
    let coturn = Coturn::start();
    let [username, credential] = printed_credentials();
    assert!(coturn.relays(&username, &credential), "{username}");
    assert!(!coturn.relays(&username, "wrong"), "a wrong credential");
    // The username begins with the Unix time at which it expires.
    let later = username.replacen('1', "2", 1);
    assert!(!coturn.relays(&later, &credential), "a later expiry");
    let [username, credential] = credentials_of_age(Duration::from_secs(30));
    assert!(coturn.relays(&username, &credential), "{username}");
    let [username, credential] = credentials_of_age(Duration::from_secs(120));
    assert!(
        !coturn.relays(&username, &credential),
        "expired credentials"
    );
}

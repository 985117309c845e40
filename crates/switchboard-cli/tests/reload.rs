//! The reload of settings by SIGHUP, in the real process: what changes, what stays, and what a mistake leaves alone.

use std::{
    fs,
    io::{BufRead, BufReader, Lines, Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, ChildStderr, Command, Stdio},
};

use serde_json::Value;

/// A running server with a configuration file, killed if the test fails.
struct ReloadingServer {
    child: Child,
    address: SocketAddr,
    log: Lines<BufReader<ChildStderr>>,
    file: PathBuf,
}

impl ReloadingServer {
    /// Starts a server with the settings `toml`, which writes its log as JSON.
    fn start(name: &str, toml: &str) -> Self {
        let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("reload-{name}.toml"));
        fs::write(&file, toml).expect("a file");
        let mut child = Command::new(env!("CARGO_BIN_EXE_switchboard"))
            .args(["--addr", "127.0.0.1", "--port", "0", "--log-format", "json"])
            .arg("--config")
            .arg(&file)
            .env_remove("PORT")
            .env("SWITCHBOARD_INTERNAL_LISTEN", "")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut banner = BufReader::new(child.stdout.take().expect("piped")).lines();
        let first = banner.next().expect("a line").expect("text");
        let first: Value = serde_json::from_str(&first).expect("JSON");
        let address = first["address"].as_str().expect("an address");
        Self {
            address: address.parse().expect("an address"),
            log: BufReader::new(child.stderr.take().expect("piped")).lines(),
            child,
            file,
        }
    }

    /// Writes the file and sends SIGHUP. Returns the log line of the reload.
    fn reload(&mut self, toml: &str) -> Value {
        fs::write(&self.file, toml).expect("a file");
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-HUP", &pid]).status();
        assert!(sent.expect("kill runs").success());
        self.log_line("reloaded")
    }

    /// The next log line whose message contains `text`.
    fn log_line(&mut self, text: &str) -> Value {
        let lines = self.log.by_ref().map(|line| line.expect("text"));
        let mut lines = lines.map(|line| serde_json::from_str::<Value>(&line).expect("JSON"));
        let is_meant = |line: &Value| line["message"].as_str().is_some_and(|it| it.contains(text));
        lines.find(is_meant).expect("the log goes on")
    }

    /// The status of a request for the ICE servers.
    fn status(&self, query: &str) -> u16 {
        let mut stream = TcpStream::connect(self.address).expect("a connection");
        let head =
            format!("GET /ice-servers{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("the server reads");
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("a response");
        let status = response.split(' ').nth(1).expect("a status");
        status.parse().expect("a number")
    }
}

impl Drop for ReloadingServer {
    fn drop(&mut self) {
        drop((self.child.kill(), self.child.wait()));
        drop(fs::remove_file(&self.file));
    }
}

const KEYS: &str =
    "[access]\nauthenticators = [\"keys\"]\nkeys = [{ key = \"first-key-00000000\" }]\n";

#[test]
fn new_keys_and_limits_hold_after_sighup() {
    let mut server = ReloadingServer::start("keys", "");
    assert_eq!(server.status(""), 200);
    let limits = "[limits]\nroom_members = 7\n[server]\nlisten = [\"127.0.0.1:0\"]\n";
    let line = server.reload(&format!("{KEYS}{limits}"));
    assert_eq!(line["message"], "settings reloaded", "{line}");
    let changed = "access.authenticators, access.keys, limits.room_members";
    assert_eq!(line["changed"], changed, "{line}");
    assert_eq!(line["needs_restart"], "server.listen", "{line}");
    assert_eq!(server.status(""), 401);
    assert_eq!(server.status("?access_token=first-key-00000000"), 200);
    let line = server.reload(&KEYS.replace("first", "other"));
    assert_eq!(line["message"], "settings reloaded", "{line}");
    assert_eq!(server.status("?access_token=first-key-00000000"), 401);
    assert_eq!(server.status("?access_token=other-key-00000000"), 200);
}

#[test]
fn mistake_leaves_everything_as_it_was() {
    let mut server = ReloadingServer::start("mistake", KEYS);
    let line = server.reload("[access]\nauthenticators = [\"kees\"]\n[log]\nlevel = \"debug\"\n");
    let message = "settings not reloaded: the old ones stay in force";
    assert_eq!(
        (&line["message"], &line["level"]),
        (&message.into(), &"ERROR".into())
    );
    let error = line["error"].as_str().expect("an error");
    assert!(error.contains(":2: access.authenticators:"), "{error}");
    assert_eq!(server.status("?access_token=first-key-00000000"), 200);
    assert_eq!(server.status(""), 401);
}

#[test]
fn log_level_changes() {
    let mut server = ReloadingServer::start("level", "[log]\nlevel = \"warn\"\n");
    let pid = server.child.id().to_string();
    fs::write(&server.file, "[log]\nlevel = \"info\"\n").expect("a file");
    let sent = Command::new("kill").args(["-HUP", &pid]).status();
    assert!(sent.expect("kill runs").success());
    let line = server.log_line("reloaded");
    assert_eq!(line["changed"], "log.level", "{line}");
}

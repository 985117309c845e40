//! `switchboard admin` against a running server.

mod server_process;

use std::{
    net::TcpStream,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use server_process::{ServerProcess, state_folder};
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

struct Tested(ServerProcess);

impl Tested {
    fn start(args: &[&str]) -> Self {
        Self(ServerProcess::start_on("127.0.0.1", args, Stdio::null()))
    }

    fn admin(&self, args: &[&str]) -> Output {
        let url = format!("http://{}", self.0.internal.expect("an internal listener"));
        Command::new(env!("CARGO_BIN_EXE_switchboard"))
            .args(["admin", "--url", &url])
            .args(args)
            .env("XDG_STATE_HOME", state_folder())
            .env_remove("STATE_DIRECTORY")
            .env_remove("SWITCHBOARD_ADMIN_TOKEN")
            .stdin(Stdio::null())
            .output()
            .expect("the binary runs")
    }

    /// The standard output of a command that succeeds.
    fn shown(&self, args: &[&str]) -> String {
        let output = self.admin(args);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {error}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn json(&self, args: &[&str]) -> Value {
        let args = [args, &["--json"]].concat();
        serde_json::from_str(&self.shown(&args)).expect("JSON")
    }

    fn join(&self, room: &str, id: &str) -> WebSocket<TcpStream> {
        let stream = TcpStream::connect(self.0.address).expect("a connection");
        let url = format!("ws://{}/ws", self.0.address);
        let (mut socket, _) = tungstenite::client(url, stream).expect("an upgrade");
        let join = serde_json::json!({"type": "join", "roomID": room, "senderID": id});
        socket.send(Message::text(join.to_string())).expect("sent");
        socket.read().expect("the members");
        socket
    }
}

fn last_frame(socket: &mut WebSocket<TcpStream>) -> String {
    loop {
        match socket.read() {
            Ok(Message::Close(Some(frame))) => return frame.reason.to_string(),
            Ok(_) => {}
            Err(error) => return error.to_string(),
        }
    }
}

#[test]
fn every_command_does_its_part() {
    let server = Tested::start(&[]);
    let mut ada = server.join("lobby", "ada");
    let nodes = server.shown(&["nodes"]);
    assert!(nodes.contains("ready"), "{nodes}");
    let rooms = server.shown(&["rooms", "--prefix", "lob"]);
    assert!(rooms.contains("lobby  1"), "{rooms}");
    let room = server.json(&["room", "lobby"]);
    let id = room["members"][0]["session"].as_str().expect("a session");
    let sessions = server.shown(&["sessions", "--dialect", "lightstream"]);
    assert!(sessions.contains(id), "{sessions}");
    let session = server.shown(&["session", id]);
    assert!(
        session.contains(" joined ") && session.contains("room=lobby"),
        "{session}"
    );
    assert!(server.shown(&["voice"]).contains("No call."));
    assert!(server.shown(&["settings"]).contains("server.port"));
    server.shown(&["message", "lobby", "hello"]);
    assert!(ada.read().expect("a message").to_string().contains("hello"));
    let kicked = server.shown(&["kick", "--session", id, "--reason", "be nice"]);
    assert_eq!(kicked, "done: 1\n");
    assert_eq!(last_frame(&mut ada), "be nice");
    let mut bob = server.join("lobby", "bob");
    server.shown(&["close", "lobby", "--lock"]);
    assert_eq!(last_frame(&mut bob), "the room was closed");
    assert!(server.shown(&["rooms"]).contains("locked"));
    server.shown(&["unlock", "lobby"]);
    server.shown(&["lock", "lobby"]);
    server.shown(&["unlock", "lobby", "--open"]);
    let banned = server.json(&["ban", "--address", "192.0.2.0/24", "--ttl", "15m"]);
    let ban = banned["ban"]["id"].as_str().expect("an id");
    assert!(server.shown(&["bans"]).contains("192.0.2.0/24"));
    server.shown(&["unban", ban]);
    assert_eq!(server.shown(&["bans"]), "No ban.\n");
    server.shown(&["drain"]);
    assert!(server.shown(&["nodes"]).contains("draining"));
    server.shown(&["drain", "--off"]);
}

#[test]
fn errors_have_exit_codes_and_a_next_step() {
    let server = Tested::start(&[]);
    for (args, code, text) in [
        (&["room", "nobody"][..], 1, "there is no such room"),
        (
            &["nodes", "--token", "wrong-token-000000"],
            1,
            "SWITCHBOARD_ADMIN_TOKEN",
        ),
        (
            &["ban", "--identity", "a", "--ttl", "1w"],
            1,
            "90s, 15m, 12h or 7d",
        ),
        (&["kick"], 2, "--session"),
        (&["kick", "--member", "a"], 2, "--room"),
        (&["unknown"], 2, "unknown"),
    ] {
        let output = server.admin(args);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
        assert!(error.contains(text), "{args:?}: {error}");
    }
}

/// Calls every path with valid and invalid values, and compares the answers with the description.
#[test]
#[cfg_attr(
    not(has_schemathesis),
    ignore = "needs the Python package schemathesis (xtask/setup.sh test installs it)"
)]
fn answers_are_as_the_description_says() {
    let server = Tested::start(&["--log-level", "error"]);
    let internal = server.0.internal.expect("an internal listener");
    let key = std::fs::read_to_string(state_folder().join("switchboard/admin-token"));
    let key = key.expect("the key of the server");
    let folder = env!("CARGO_MANIFEST_DIR");
    let examples = std::env::var("ADMIN_API_EXAMPLES").unwrap_or_else(|_| "10".to_owned());
    let output = Command::new(format!("{folder}/../../target/schemathesis/bin/schemathesis"))
        .args(["--config-file", &format!("{folder}/tests/schemathesis.toml"), "run"])
        .arg(format!("http://{internal}/admin/v1/openapi.json"))
        .args(["--header", &format!("Authorization: Bearer {}", key.trim())])
        // A stream of events has no end.
        .args(["--exclude-path-regex", "/events$", "--max-examples", &examples, "--seed", "1"])
        .args(["--request-timeout", "20", "--no-color"])
        .current_dir(state_folder())
        .stdin(Stdio::null())
        .output()
        .expect("schemathesis runs (xtask/setup.sh test)");
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}");
}

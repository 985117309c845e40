//! `switchboard ice`, and the line of the banner that names the setting if no ICE server is set.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Output, Stdio},
};

use serde_json::{Value, json};

const SECRET: (&str, &str) = ("SWITCHBOARD_ICE_TURN_SECRET", "GEHEIM");
const URLS: (&str, &str) = ("SWITCHBOARD_ICE_TURN_URLS", "turn:turn.example");

fn command(args: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchboard"));
    command.args(args).env_remove("PORT").stdin(Stdio::null());
    command.envs(variables.iter().copied());
    command
}

fn run(args: &[&str], variables: &[(&str, &str)]) -> Output {
    command(args, variables).output().expect("the binary runs")
}

fn document(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// A server that is killed when the test ends, its URL, and the lines of its banner.
struct ServerWithBanner {
    child: Child,
    url: String,
    banner: Vec<String>,
}

impl ServerWithBanner {
    fn start(variables: &[(&str, &str)]) -> Self {
        let mut command = command(&["--addr", "127.0.0.1", "--port", "0"], variables);
        let mut child = command
            .env("SWITCHBOARD_INTERNAL_LISTEN", "")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary runs");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        // The line on ICE servers ends the banner. A server that has ICE servers does not print it; in these tests
        // such a server has a listener for `mesh` alone, whose line comes last.
        let mut banner = Vec::new();
        for line in lines.map_while(Result::ok) {
            let is_last = line.contains("ICE servers") || line.contains("for mesh alone");
            banner.push(line);
            if is_last {
                break;
            }
        }
        let address = banner[0].strip_prefix("Switchboard listens on ");
        let url = format!("http://{}", address.expect("an address"));
        Self { child, url, banner }
    }
}

impl Drop for ServerWithBanner {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn ice_prints_the_ice_servers_of_the_settings() {
    assert_eq!(document(&run(&["ice"], &[])), json!({"iceServers": []}));
    let output = run(&["ice"], &[SECRET, URLS]);
    let servers = document(&output)["iceServers"].clone();
    assert_eq!(servers[0]["urls"], json!(["turn:turn.example"]));
    assert!(servers[0]["credential"].is_string(), "{servers}");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("GEHEIM"));
}

#[test]
fn ice_with_a_url_prints_the_ice_servers_of_a_running_server() {
    let listen = ("SWITCHBOARD_MESH_LISTEN", "127.0.0.1:0");
    let running = ServerWithBanner::start(&[SECRET, URLS, listen]);
    let servers = document(&run(&["ice", "--url", &running.url], &[]))["iceServers"].clone();
    assert_eq!(servers[0]["urls"], json!(["turn:turn.example"]));
    let username = servers[0]["username"].as_str().expect("a username");
    assert!(username.contains(':'), "{username}");
    let banner = running.banner.join(" ");
    assert!(!banner.contains("ICE servers"), "{banner}");
}

#[test]
fn an_error_of_ice_is_one_line_with_its_exit_code() {
    let unreachable = ["ice", "--url", "http://127.0.0.1:1"];
    for (args, variables, code) in [
        (&unreachable[..], &[][..], 1),
        (&["ice", "--url", "ftp://localhost"], &[], 1),
        (&["ice"], &[SECRET], 2),
        (&["ice", "--config", "/does/not/exist.toml"], &[], 2),
    ] {
        let output = run(args, variables);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {message}");
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(message.starts_with("switchboard: "), "{message}");
        assert!(!message.contains("GEHEIM") && output.stdout.is_empty());
    }
    let other = ("SWITCHBOARD_LOG_LEVEL", "loud");
    let document = document(&run(&["ice"], &[other]));
    assert_eq!(
        document["iceServers"],
        json!([]),
        "an invalid setting outside [ice] is ignored"
    );
}

#[test]
fn server_without_ice_servers_names_the_setting() {
    let running = ServerWithBanner::start(&[]);
    let last = running.banner.last().expect("lines");
    assert!(last.starts_with("  ICE servers    none: "), "{last}");
    assert!(last.contains("[ice]"), "{last}");
}

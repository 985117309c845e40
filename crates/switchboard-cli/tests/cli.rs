//! The command line of the binary.

mod server_process;

use std::{
    io::{BufRead, BufReader, Read},
    os::unix::ffi::OsStrExt as _,
    process::{Command, Output, Stdio},
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::{connect_async, tungstenite::Message};

use server_process::ServerProcess;

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchboard"));
    command.args(args).env_remove("PORT").stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    command(args).output().expect("the binary runs")
}

/// Starts a server, reads `count` lines of its banner that begin with `Switchboard `, one for each listener, and kills
/// it. Also returns the resource limits that the system reports for it.
fn first_lines(command: &mut Command, count: usize) -> (Vec<String>, String) {
    let mut child = command
        .env("SWITCHBOARD_INTERNAL_LISTEN", "")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary runs");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let lines = lines.map_while(Result::ok);
    let lines = lines.filter(|line| line.starts_with("Switchboard "));
    let lines: Vec<_> = lines.take(count).collect();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id()));
    drop(child.kill());
    drop(child.wait());
    assert_eq!(lines.len(), count, "{lines:?}");
    (lines, limits.expect("it runs"))
}

impl ServerProcess {
    fn start(args: &[&str]) -> Self {
        Self::start_on("127.0.0.1", args, Stdio::piped())
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status();
        assert!(sent.expect("kill runs").success());
    }

    /// Waits for the end. Returns the exit code and the log.
    fn end(mut self) -> (Option<i32>, String) {
        let mut log = String::new();
        self.child
            .stderr
            .take()
            .expect("piped")
            .read_to_string(&mut log)
            .expect("text");
        (self.child.wait().expect("it ends").code(), log)
    }
}

#[test]
fn a_server_stops_on_a_signal_with_exit_code_0() {
    for signal in ["-TERM", "-INT"] {
        let running = ServerProcess::start(&[]);
        running.signal(signal);
        let (code, log) = running.end();
        assert_eq!(code, Some(0), "{log}");
    }
}

#[test]
fn a_port_in_use_is_one_line_and_exit_code_1() {
    let running = ServerProcess::start(&[]);
    let port = running.address.port().to_string();
    let output = run(&["--addr", "127.0.0.1", "--port", &port]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(
        text.contains(&format!("cannot listen on 127.0.0.1:{port}")),
        "{text}"
    );
}

#[test]
fn configuration_errors_are_printed_with_exit_code_2() {
    for (args, text) in [
        (
            &["--addr", "nowhere"][..],
            "flag --addr: server.addr: \"nowhere\" is not an IP address or \"localhost\"",
        ),
        (
            &["--port", "70000"],
            "flag --port: server.port: 70000 is not from 0 to 65535",
        ),
        (
            &["--config", "/does/not/exist.toml"],
            "switchboard: /does/not/exist.toml: cannot be read: No such file or directory",
        ),
        (
            &["--engine", "http://cache"],
            "flag --engine: engine.url: is not an address like \"redis://HOST:6379\"",
        ),
        (&["--web-root", "/does/not/exist"], "is not a folder"),
    ] {
        let output = run(args);
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{printed}");
        assert!(
            printed.lines().count() == 1 && printed.contains(text),
            "{printed}"
        );
    }
}

#[test]
fn all_configuration_errors_are_printed_at_once() {
    let output = command(&["--port", "70000", "--log-level", "inof"])
        .env("SWITCHBOARD_LIMITS_FRAME_BYTES", "many")
        .output()
        .expect("the binary runs");
    let printed = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{printed}");
    let expected = [
        "environment variable SWITCHBOARD_LIMITS_FRAME_BYTES: limits.frame_bytes: \"many\" is not a whole number, 0 or more",
        "flag --log-level: log.level: \"inof\" is not one of off, error, warn, info, debug, trace; did you mean \"info\"?",
        "flag --port: server.port: 70000 is not from 0 to 65535",
    ];
    let expected = expected.map(|line| format!("switchboard: {line}"));
    assert_eq!(printed.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn help_lists_the_exit_codes() {
    for args in [&["--help"][..], &["-h"]] {
        let help = String::from_utf8(run(args).stdout).expect("text");
        assert!(help.contains("\nExit codes:\n  0  "), "{help}");
        assert!(
            help.contains("\n  1  ") && help.contains("\n  2  "),
            "{help}"
        );
    }
    let unknown = run(&["--prot", "1"]);
    let printed = String::from_utf8_lossy(&unknown.stderr);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(
        printed.contains("a similar argument exists: '--port'"),
        "{printed}"
    );
}

#[test]
fn addresses_and_flags_are_accepted_in_the_forms_of_servers_in_go() {
    for args in [
        &[
            "-addr",
            "localhost",
            "-port",
            "0",
            "--listen",
            "localhost:0",
        ][..],
        &["-addr=127.0.0.1:0", "-listen=127.0.0.1:0"],
        &["--addr", "localhost:0", "--listen", "127.0.0.1:0"],
    ] {
        let (listening, _) = first_lines(&mut command(args), 2);
        for line in &listening {
            assert!(
                line.starts_with("Switchboard listens on 127.0.0.1:"),
                "{line}"
            );
        }
    }
    let settings = run(&[
        "check", "-addr", ":5001", "--listen", "5002", "--listen", ":5003",
    ]);
    let settings = String::from_utf8_lossy(&settings.stdout);
    assert!(settings.contains("port = 5001\n"), "{settings}");
    assert!(settings.contains(":5002\", \""), "{settings}");
    assert!(settings.contains(":5003\"]"), "{settings}");
}

#[test]
fn check_warns_if_the_system_allows_fewer_open_files_than_connections() {
    let check = |connections: &str| {
        let script = format!(
            "ulimit -n 300; exec {} check",
            env!("CARGO_BIN_EXE_switchboard")
        );
        let output = Command::new("sh")
            .args(["-c", &script])
            .env("SWITCHBOARD_LIMITS_CONNECTIONS", connections)
            // Without a list of origins there is a note on them.
            .env("SWITCHBOARD_ACCESS_ALLOWED_ORIGINS", "https://a.example")
            .env_remove("PORT")
            .output();
        let output = output.expect("a shell");
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{printed}");
        printed
    };
    let warning = "warning: limits.connections = 300 (environment variable SWITCHBOARD_LIMITS_CONNECTIONS) needs more open files than the 300 that the system allows; ";
    assert!(check("300").starts_with(warning));
    assert_eq!(check("200"), "");
}

#[test]
fn check_warns_of_low_limits_and_succeeds() {
    let output = command(&["check"])
        .env("SWITCHBOARD_LIMITS_FRAME_BYTES", "4194304")
        .output()
        .expect("the binary runs");
    let printed = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{printed}");
    let warning = "warning: environment variable SWITCHBOARD_LIMITS_FRAME_BYTES: limits.frame_bytes: limits.outbox_bytes = ";
    assert!(printed.contains(warning), "{printed}");
}

#[test]
fn a_server_may_open_as_many_files_as_the_system_allows() {
    let script = format!(
        "ulimit -S -n 100; exec {} --addr 127.0.0.1 --port 0",
        env!("CARGO_BIN_EXE_switchboard")
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).env_remove("PORT");
    let (_, limits) = first_lines(&mut shell, 1);
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let mut limits = files.expect("a limit").split_whitespace().skip(3);
    assert_eq!(
        limits.next(),
        limits.next(),
        "the soft limit is the hard one"
    );
}

#[test]
fn with_json_every_line_of_a_server_is_json() {
    let is_json = |text: &str| {
        let mut lines = text.lines();
        lines.all(|line| {
            serde_json::from_str::<serde_json::Value>(line).is_ok_and(|v| v.is_object())
        })
    };
    let json = ["--addr", "127.0.0.1", "--port", "0", "--log-format", "json"];
    let mut child = command(&json)
        .env("SWITCHBOARD_INTERNAL_LISTEN", "")
        .env("SWITCHBOARD_SINGO_LISTEN", "127.0.0.1:0")
        .env("SWITCHBOARD_ENGINE_URL", "redis://ada:GEHEIM@127.0.0.1:1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut next = || -> serde_json::Value {
        let line = lines.next().expect("a line").expect("text");
        serde_json::from_str(&line).expect("JSON")
    };
    let (main, singo, engine) = (next(), next(), next());
    let (origins, ice) = (next(), next());
    let stop = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status();
    assert!(stop.expect("kill runs").success());
    let rest: Vec<_> = lines.map_while(Result::ok).collect();
    let log = child.wait_with_output().expect("it ends").stderr;
    let log = String::from_utf8_lossy(&log);
    assert_eq!(rest, Vec::<String>::new());
    assert!(!log.is_empty() && is_json(&log), "{log}");

    let address = main["address"].as_str().expect("an address");
    assert_eq!(main["message"], "listening");
    assert_eq!(origins["origins"], "all");
    assert_eq!(main["level"], "INFO");
    assert!(
        main["timestamp"]
            .as_str()
            .is_some_and(|time| time.ends_with('Z'))
    );
    assert_eq!(
        main["dialects"]["singo"][0],
        format!("ws://{address}/connect")
    );
    assert_eq!(main["pages"]["call page"][0], format!("http://{address}/"));
    assert_eq!(singo["alone"], "singo");
    assert_eq!(engine["engine"], "redis://ada:***@127.0.0.1:1");
    assert_eq!(ice["ice_servers"], 0);

    let running = ServerProcess::start(&[]);
    let taken = running.address.port().to_string();
    for (args, code) in [(["--port", &*taken], 1), (["--port", "70000"], 2)] {
        let output = run(&[&["--addr", "127.0.0.1", "--log-format", "json"], &args[..]].concat());
        let printed = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{printed}");
        assert!(
            printed.lines().count() == 1 && is_json(&printed),
            "{printed}"
        );
    }
}

#[test]
fn check_prints_the_effective_settings_and_all_errors() {
    let file = std::env::temp_dir().join(format!("switchboard-check-{}.toml", std::process::id()));
    std::fs::write(
        &file,
        "[limits]\nframe_bytes = 5\nframe_byte = 6\n\n[nowhere]\n",
    )
    .expect("a temporary file");
    let output = command(&["check", "--config", &file.display().to_string()])
        .env("SWITCHBOARD_PORT", "99")
        .output();
    std::fs::remove_file(&file).expect("it is there");
    let output = output.expect("the binary runs");
    let (settings, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(2));
    assert!(
        settings.contains("frame_bytes = 5\n") && settings.contains("port = 99\n"),
        "{settings}"
    );
    assert!(
        errors.contains(".toml:3: limits.frame_byte: unknown key"),
        "{errors}"
    );
    assert!(
        errors.contains(".toml:5: nowhere: unknown section"),
        "{errors}"
    );
    assert_eq!(run(&["check"]).status.code(), Some(0));
}

#[test]
fn cluster_without_an_engine_reports_a_single_node() {
    let output = run(&["cluster"]);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{printed}");
    assert!(
        printed.starts_with("This server is a single node"),
        "{printed}"
    );
    let json = run(&["cluster", "--json"]).stdout;
    let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    assert_eq!(json["nodes"], serde_json::json!([]));
}

#[test]
fn cluster_reports_an_unreachable_engine_in_one_line() {
    // No server listens on port 1.
    let output = command(&["cluster"])
        .env("SWITCHBOARD_ENGINE_URL", "redis://:GEHEIM@127.0.0.1:1")
        .output()
        .expect("the binary runs");
    let printed = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(
        printed.starts_with(
            "switchboard: cannot list the nodes of the cluster at redis://127.0.0.1:1: Redis at "
        ),
        "{printed}"
    );
    assert!(
        printed.lines().count() == 1 && !printed.contains("GEHEIM"),
        "{printed}"
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn cluster_with_invalid_arguments_exits_with_2() {
    for args in [
        &["cluster", "--engine", "http://cache"][..],
        &["cluster", "--node", "7"],
        &["cluster", "--config", "/does/not/exist.toml"],
    ] {
        let output = run(args);
        let printed = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{printed}");
        assert!(!printed.is_empty() && output.stdout.is_empty(), "{printed}");
    }
}

#[test]
fn only_switchboard_variables_must_be_utf_8() {
    let broken = std::ffi::OsStr::from_bytes(b"9\xff");
    let check = |variable| {
        let output = command(&["check"]).env(variable, broken).output();
        output.expect("the binary runs")
    };
    assert_eq!(check("SOMETHING_ELSE").status.code(), Some(0));
    let output = check("SWITCHBOARD_LOG_LEVEL");
    let printed = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{printed}");
    assert!(
        printed.contains("variable SWITCHBOARD_LOG_LEVEL: log.level: ")
            && printed.contains("not UTF-8"),
        "{printed}"
    );
}

#[test]
fn the_example_file_contains_the_defaults() {
    let example = include_str!("../../../switchboard.example.toml");
    let defaults = String::from_utf8(run(&["check"]).stdout).expect("text");
    assert!(
        example.ends_with(&defaults),
        "run `switchboard check` and put its output into switchboard.example.toml"
    );
}

#[test]
fn every_listener_is_in_the_banner() {
    let args = [
        "--addr",
        "127.0.0.1",
        "--port",
        "0",
        "--listen",
        "127.0.0.1:0",
    ];
    let (listening, _) = first_lines(&mut command(&args), 2);
    assert!(
        listening
            .iter()
            .all(|line| line.starts_with("Switchboard listens on 127.0.0.1:"))
    );
}

#[test]
fn the_banner_has_the_url_of_a_dialect_listener() {
    let mut child = command(&["--addr", "127.0.0.1", "--port", "0"])
        .env("SWITCHBOARD_INTERNAL_LISTEN", "")
        .env("SWITCHBOARD_SINGO_LISTEN", "127.0.0.1:0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary runs");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut printed = lines
        .map_while(Result::ok)
        .skip_while(|line| !line.ends_with(" for singo alone"));
    let (listens, url) = (printed.next(), printed.next());
    drop(child.kill());
    drop(child.wait());
    let address = listens.as_deref().and_then(|line| line.split(' ').nth(3));
    let address = address.expect("it listens");
    assert_eq!(
        url,
        Some(format!("  singo          ws://{address}/connect"))
    );
}

#[test]
fn the_error_of_a_dialect_address_in_use_names_its_setting() {
    let running = ServerProcess::start(&[]);
    let output = command(&["--addr", "127.0.0.1", "--port", "0"])
        .env("SWITCHBOARD_INTERNAL_LISTEN", "")
        .env("SWITCHBOARD_SINGO_LISTEN", running.address.to_string())
        .output()
        .expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("choose another address with singo.listen"),
        "{text}"
    );
}

#[test]
fn the_banner_has_the_engine_and_the_advertised_url_of_a_node() {
    // No server listens on port 1.
    let mut child = command(&["--addr", "127.0.0.1", "--port", "0"])
        .env("SWITCHBOARD_INTERNAL_LISTEN", "")
        .env("SWITCHBOARD_ENGINE_URL", "redis://ada:GEHEIM@127.0.0.1:1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let printed = BufReader::new(child.stdout.take().expect("piped")).lines();
    let engine = printed
        .map_while(Result::ok)
        .find(|line| line.starts_with("  engine "));
    let logged = BufReader::new(child.stderr.take().expect("piped")).lines();
    let warned = logged
        .map_while(Result::ok)
        .find(|line| line.contains("engine.advertise_url cannot be derived from port 0"));
    drop(child.kill());
    drop(child.wait());
    let expected = "  engine         redis://ada:***@127.0.0.1:1 (other nodes reach this one at http://127.0.0.1:0)";
    assert_eq!(engine.as_deref(), Some(expected));
    assert!(warned.is_some());
}

#[test]
fn health_succeeds_only_if_a_server_answers() {
    let running = ServerProcess::start(&[]);
    let url = format!("http://{}/healthz", running.address);
    assert_eq!(run(&["health", "--url", &url]).status.code(), Some(0));
    let port = running.address.port().to_string();
    let health = |variable, port: &str, args: &[&str]| {
        let mut command = command(&[&["health"], args].concat());
        let output = command.env(variable, port).output();
        output.expect("the binary runs").status.code()
    };
    assert_eq!(health("PORT", &port, &[]), Some(0));
    assert_eq!(health("SWITCHBOARD_PORT", &port, &[]), Some(0));
    assert_eq!(health("PORT", "1", &[]), Some(1));
    assert_eq!(health("PORT", "1", &["--url", &url]), Some(0));
    running.signal("-TERM");
    running.end();
    assert_eq!(run(&["health", "--url", &url]).status.code(), Some(1));
    for url in ["https://", "http://a b:1/healthz", "https://:8080"] {
        let output = run(&["health", "--url", url]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains("has no valid HOST or HOST:PORT"), "{text}");
    }
}

/// In a network without IPv4, a server that listens on `::` is reached over IPv6 only.
#[test]
#[cfg_attr(not(has_ipv6), ignore = "needs IPv6 on loopback")]
fn health_reaches_a_server_with_ipv6_only() {
    let running = ServerProcess::start_on("::1", &[], Stdio::piped());
    let port = running.address.port().to_string();
    let health = |addr: &str| {
        let mut command = command(&["health"]);
        command.envs([("SWITCHBOARD_ADDR", addr), ("SWITCHBOARD_PORT", &port)]);
        command.output().expect("the binary runs").status.code()
    };
    assert_eq!(health("::"), Some(0));
    assert_eq!(health("0.0.0.0"), Some(1));
}

#[tokio::test]
async fn an_idle_server_uses_no_processor_time() {
    let running = ServerProcess::start(&[]);
    let url = format!("ws://{}/ws", running.address);
    let (mut socket, _) = connect_async(&url).await.expect("a connection");
    socket
        .send(Message::text(
            r#"{"type":"join","roomID":"r","senderID":"a"}"#,
        ))
        .await
        .expect("it reads");
    assert!(socket.next().await.is_some());
    // The work of its start and of the join may take some seconds on a busy machine.
    let used: Vec<_> = (0..5)
        .map(|_| {
            let before = running.ticks();
            std::thread::sleep(Duration::from_secs(2));
            running.ticks() - before
        })
        .take_while(|used| *used > 1)
        .collect();
    assert!(used.len() < 5, "{used:?} clock ticks in each two seconds");
}

#[tokio::test]
async fn logs_have_the_connections_and_no_message_contents() {
    for format in ["text", "json"] {
        let running = ServerProcess::start(&["--log-format", format, "--log-level", "trace"]);
        let url = format!("ws://{}/ws?token=TOPSECRET", running.address);
        let (mut socket, _) = connect_async(&url).await.expect("a connection");
        for frame in [
            r#"{"type":"join","roomID":"lobby","senderID":"a"}"#,
            r#"{"type":"message","data":"WHISPERED"}"#,
            r#"{"type":"offer","targetID":"nobody","data":{"type":"offer","sdp":"v=0 SDPTEXT"}}"#,
            r#"{"type":"ice-candidate","targetID":"nobody","data":{"candidate":"CANDIDATETEXT"}}"#,
        ] {
            socket.send(Message::text(frame)).await.expect("it reads");
        }
        for _ in 0..3 {
            assert!(socket.next().await.is_some(), "peers, and two errors");
        }
        running.signal("-TERM");
        let (_, log) = running.end();
        for expected in [
            "connected",
            "joined",
            "frames rejected",
            "lobby",
            "no-such-peer",
        ] {
            assert!(log.contains(expected), "{expected} is missing in {log}");
        }
        for secret in ["WHISPERED", "SDPTEXT", "CANDIDATETEXT", "TOPSECRET"] {
            assert!(!log.contains(secret), "{secret} is in {log}");
        }
        if format == "json" {
            assert!(
                log.lines()
                    .all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()),
                "{log}"
            );
        }
    }
}

#[tokio::test]
async fn an_unread_log_pipe_does_not_block_clients() {
    let running = ServerProcess::start(&[]);
    let url = format!("ws://{}/ws", running.address);
    let (mut busy, _) = connect_async(&url).await.expect("a connection");
    // Far more than the buffer of a pipe.
    for round in 0..300 {
        let join = format!(
            r#"{{"type":"join","roomID":"{}{round}","senderID":"a"}}"#,
            "r".repeat(100)
        );
        busy.send(Message::text(join)).await.expect("it reads");
        assert!(busy.next().await.is_some());
    }
    let (mut other, _) = connect_async(&url).await.expect("a connection");
    other
        .send(Message::text(
            r#"{"type":"join","roomID":"r","senderID":"b"}"#,
        ))
        .await
        .expect("it reads");
    let answer = tokio::time::timeout(Duration::from_secs(20), other.next()).await;
    assert!(answer.expect("the server goes on").is_some());
}

#[tokio::test]
async fn rejected_frames_are_logged_once_per_second_with_their_count() {
    const FRAMES: u64 = 300;
    let running = ServerProcess::start(&["--log-format", "json"]);
    let url = format!("ws://{}/connect", running.address);
    let begun = std::time::Instant::now();
    let (mut socket, _) = connect_async(&url).await.expect("a connection");
    for _ in 0..FRAMES {
        socket.send(Message::text("{}")).await.expect("it reads");
    }
    for _ in 0..=FRAMES {
        assert!(socket.next().await.is_some(), "its id, and errors");
    }
    drop(socket.close(None).await);
    while let Some(Ok(_)) = socket.next().await {}
    let lines_max = begun.elapsed().as_secs() + 2;
    running.signal("-TERM");
    let (_, log) = running.end();
    let lines = log
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    let rejected = lines.filter(|line: &serde_json::Value| line["message"] == "frames rejected");
    let counts: Vec<_> = rejected.map(|line| line["count"].as_u64()).collect();
    let all: Option<u64> = counts.iter().copied().sum();
    assert_eq!(all, Some(FRAMES), "{log}");
    assert!(counts.len() as u64 <= lines_max, "{log}");
}

//! The internal listener of the binary.

mod server_process;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
};

use server_process::ServerProcess;

fn get(address: SocketAddr, path: &str, host: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn metrics_and_details_are_on_the_internal_listener_only() {
    for args in [&[][..], &["--log-format", "json"]] {
        let server = ServerProcess::start_on("127.0.0.1", args, Stdio::inherit());
        let internal = server.internal.expect("an internal listener");
        let host = internal.to_string();
        let metrics = get(internal, "/metrics", &host);
        assert!(
            metrics.contains("\nswitchboard_connections 0\n"),
            "{metrics}"
        );
        let ready = get(internal, "/readyz", "localhost");
        assert!(ready.contains("ready\ndrain: off\nversion: "), "{ready}");
        let rebound = get(internal, "/metrics", "rebound.example");
        assert!(rebound.starts_with("HTTP/1.1 403 "), "{rebound}");
        let page = get(internal, "/", &host);
        assert!(page.starts_with("HTTP/1.1 404 "), "{page}");
        let public = get(server.address, "/metrics", &host);
        assert!(public.starts_with("HTTP/1.1 404 "), "{public}");
        let ready = get(server.address, "/readyz", &host);
        assert!(ready.ends_with("\r\n\r\nready\n"), "{ready}");
    }
}

#[test]
fn a_server_runs_without_an_internal_listener_if_its_port_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let mut child = Command::new(env!("CARGO_BIN_EXE_switchboard"))
        .args(["--addr", "127.0.0.1", "--port", "0"])
        .env_remove("PORT")
        .env("SWITCHBOARD_INTERNAL_LISTEN", &address)
        .env("XDG_STATE_HOME", server_process::state_folder())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let mut lines = lines.map_while(Result::ok);
    let warning = lines.find(|line| line.contains("no internal listener"));
    let banner = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut banner = banner.map_while(Result::ok);
    let listens = banner.next().expect("a banner");
    let main = listens.rsplit(' ').next().and_then(|it| it.parse().ok());
    let health = get(main.expect("an address"), "/healthz", "localhost");
    drop(child.kill());
    drop(child.wait());
    let warning = warning.expect("a warning");
    assert!(warning.contains("internal.listen") && warning.contains(&address));
    assert!(health.ends_with("ok\n"), "{health}");
}

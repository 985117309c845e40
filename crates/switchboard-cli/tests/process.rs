//! The process: signals, and output pipes that are closed or not read.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// The time limit of each step, long enough for a busy machine.
const TEST_TIMEOUT: Duration = Duration::from_secs(30);

/// More lines than the log queue holds.
const REQUESTS: usize = 20_000;

/// A running server, killed if the test fails.
struct OutputServer {
    child: Child,
    address: SocketAddr,
}

impl OutputServer {
    /// Starts a server that writes banner and log to `out`, and reads the banner's first line from `banner`.
    fn start(out: impl Into<OwnedFd>, banner: impl Read, settings: &[(&str, &str)]) -> Self {
        let args = &["--addr", "127.0.0.1", "--port", "0"];
        Self::start_with(args, out, banner, settings)
    }

    fn start_with(
        args: &[&str],
        out: impl Into<OwnedFd>,
        banner: impl Read,
        settings: &[(&str, &str)],
    ) -> Self {
        let out = out.into();
        let child = command(args)
            .envs(settings.iter().copied())
            .stdout(out.try_clone().expect("a descriptor"))
            .stderr(out)
            .spawn()
            .expect("the binary runs");
        let lines = BufReader::new(banner).lines().map_while(Result::ok);
        let address = lines
            .filter_map(|line| Some(line.strip_prefix("Switchboard listens on ")?.to_owned()))
            .next();
        let address = address.expect("a banner").parse().expect("an address");
        Self { child, address }
    }

    fn terminate(&self) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// The exit code, if the process ends in time.
    fn end(&mut self) -> Option<i32> {
        let begun = Instant::now();
        while begun.elapsed() < TEST_TIMEOUT {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("the process does not end");
    }

    /// The status line and the body of the response to a request.
    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address).expect("a connection");
        stream
            .set_read_timeout(Some(TEST_TIMEOUT))
            .expect("a timeout");
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("an answer");
        response
    }
}

impl Drop for OutputServer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchboard"));
    command
        .args(args)
        .env_remove("PORT")
        .env("SWITCHBOARD_INTERNAL_LISTEN", "")
        .stdin(Stdio::null());
    command
}

/// Writes until the pipe is full.
fn fill(pipe: &UnixStream) {
    pipe.set_nonblocking(true).expect("a flag");
    for chunk in [&[b'x'; 4096][..], b"x"] {
        let full = loop {
            if let Err(error) = { pipe }.write(chunk) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::WouldBlock);
    }
    pipe.set_nonblocking(false).expect("a flag");
}

#[test]
fn an_unread_log_pipe_blocks_neither_the_server_nor_its_shutdown() {
    let (reader, writer) = UnixStream::pair().expect("a pair");
    let pipe = writer.try_clone().expect("a descriptor");
    let mut running = OutputServer::start(writer, &reader, &[]);
    fill(&pipe);

    // Each of these requests is rejected and logged.
    let mut client = TcpStream::connect(running.address).expect("a connection");
    client
        .set_read_timeout(Some(TEST_TIMEOUT))
        .expect("a timeout");
    let mut sender = client.try_clone().expect("a descriptor");
    let request = "GET /getCallTicket HTTP/1.1\r\nHost: x\r\n\r\n";
    let last = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let sending =
        thread::spawn(move || sender.write_all((request.repeat(REQUESTS) + last).as_bytes()));
    let mut responses = String::new();
    client.read_to_string(&mut responses).expect("answers");
    sending
        .join()
        .expect("the sending thread has panicked")
        .expect("all sent");
    assert_eq!(responses.matches("HTTP/1.1 403").count(), REQUESTS);
    assert!(responses.ends_with("\r\n\r\nok\n"));

    running.terminate();
    assert_eq!(running.end(), Some(0));
}

#[test]
fn a_draining_server_serves_requests_and_a_second_signal_ends_it() {
    let (out, pipe) = std::io::pipe().expect("a pipe");
    let drain_hour = [("SWITCHBOARD_SHUTDOWN_DRAIN", "3600")];
    let mut running =
        OutputServer::start(pipe, out.try_clone().expect("a descriptor"), &drain_hour);
    assert!(running.get("/readyz").starts_with("HTTP/1.1 200 "));
    running.terminate();
    let begun = Instant::now();
    while !running.get("/readyz").ends_with("\r\n\r\nstopping\n") {
        assert!(begun.elapsed() < TEST_TIMEOUT, "the server is still ready");
    }
    assert!(running.get("/healthz").starts_with("HTTP/1.1 200 "));
    assert!(running.get("/voice/mode").starts_with("HTTP/1.1 200 "));
    running.terminate();
    assert_eq!(running.end(), Some(1));
}

#[test]
fn a_command_with_a_closed_output_pipe_does_not_panic() {
    for (args, code) in [
        (&["check"][..], 0),
        (&["check", "--port", "70000"], 2),
        (&["--port", "70000"], 2),
        (&["cluster"], 0),
        (&["cluster", "--engine", "http://cache"], 2),
        (&["--help"], 0),
        (&["--no-such-flag"], 2),
        (&["health", "--url", "ftp://x"], 1),
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let status = command(args)
            .stdout(writer.try_clone().expect("a descriptor"))
            .stderr(writer)
            .status();
        assert_eq!(
            status.expect("the binary runs").code(),
            Some(code),
            "{args:?}"
        );
    }
}

#[test]
fn the_default_address_accepts_ipv6_and_ipv4() {
    let (out, pipe) = std::io::pipe().expect("a pipe");
    let banner = out.try_clone().expect("a descriptor");
    let mut running = OutputServer::start_with(&["--port", "0"], pipe, banner, &[]);
    let all = running.address;
    assert!(all.ip().is_unspecified());
    let mut clients = vec!["127.0.0.1"];
    // Without IPv6, the server listens on IPv4 only.
    clients.extend(all.is_ipv6().then_some("::1"));
    for ip in clients {
        running.address = SocketAddr::new(ip.parse().expect("an IP"), all.port());
        assert!(running.get("/healthz").starts_with("HTTP/1.1 200 "));
    }
    let port = all.port().to_string();
    let url = format!("http://localhost:{port}/healthz");
    for args in [&["health"][..], &["health", "--url", &url]] {
        let status = command(args).env("SWITCHBOARD_PORT", &port).status();
        assert_eq!(status.expect("the binary runs").code(), Some(0), "{args:?}");
    }
}

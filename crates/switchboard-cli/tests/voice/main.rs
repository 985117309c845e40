//! The command `switchboard voice` with a real server.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

mod files;
mod sound;
mod tls;

use sound::{Recording, tone};

/// The time limit of each step.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Sample rate of the received audio.
const RATE: u32 = 48_000;

/// The samples of a frame of 20 ms.
const FRAME: usize = 960;

/// The amplitude of the sent tones.
const AMPLITUDE: f64 = 8_000.0;

#[test]
fn key_is_created_once_with_owner_permissions() {
    let home = Home::new("key");
    let started: Vec<_> = (0..4)
        .map(|_| home.start(&["key"], Stdio::null()))
        .collect();
    let keys: Vec<_> = started.into_iter().map(|one| one.output()).collect();
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    assert_eq!(home.key(), keys[0]);
    assert_eq!(keys[0].len(), 66);

    let file = home.path("switchboard/voice.key");
    let mode = fs::metadata(&file)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let folder = file.parent().expect("a folder").to_owned();
    assert_eq!(fs::read_dir(folder).expect("a folder").count(), 1);
    let signature = home
        .start(&["key", "--sign", "12345678"], Stdio::null())
        .output();
    let key = switchboard::PublicKey::parse(&keys[0]).expect("a key");
    assert!(key.verifies("12345678", &signature));
}

#[test]
fn invalid_key_file_is_named_and_kept() {
    let home = Home::new("no-key");
    let file = home.path("my.key");
    fs::write(&file, "Dear diary").expect("it is written");
    let one = home.start(
        &["key", "--key", file.to_str().expect("text")],
        Stdio::null(),
    );
    let text = one.expect_failure();
    assert!(text.contains("my.key holds no key"), "{text}");
    assert_eq!(fs::read_to_string(&file).expect("text"), "Dear diary");
}

#[test]
fn query_authenticates_a_plain_http_player() {
    let (server, home) = (Server::start(&[]), Home::new("query"));
    let query = server
        .run(&home, &["key", "--query"], Stdio::null())
        .output();
    let head = |query: &str| {
        let mut stream = TcpStream::connect(server.address).expect("it listens");
        let address = format!("/joinRoom?roomID=standup&format=opus&{query}");
        write!(stream, "GET {address} HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it reads");
        let lines = BufReader::new(stream)
            .lines()
            .map(|line| line.expect("text"));
        lines
            .take_while(|line| !line.is_empty())
            .collect::<Vec<_>>()
    };
    let admitted = head(&query);
    assert!(admitted[0].contains(" 200 "), "{admitted:?}");
    assert!(
        admitted
            .iter()
            .any(|line| line == "content-type: audio/ogg"),
        "{admitted:?}"
    );
    assert!(head(&format!("PKey={}", home.key()))[0].contains(" 403 "));
}

#[test]
fn room_is_recorded() {
    let (server, home) = (Server::start(&[]), Home::new("room"));
    let recording = home.path("meeting.wav");
    let mut listener = server.run(
        &home,
        &["listen", "standup", "-o", &text(&recording)],
        Stdio::null(),
    );
    listener.wait_for("Listening to standup");

    let talker = Home::new("room-talker");
    let tone = talker.tone(440.0, 1500, RATE, 1);
    let began = Instant::now();
    let printed = server
        .run(&talker, &["talk", "standup"], tone)
        .expect_success();
    assert!(
        began.elapsed() >= Duration::from_millis(1500),
        "sent in {:?}",
        began.elapsed()
    );
    assert!(printed.contains("at real time"), "{printed}");

    listener.signal("-INT");
    listener.expect_success();
    let heard = Recording::read(&recording);
    heard.assert_tone(440.0, 1500);
    heard.assert_no_tone(600.0);
}

#[test]
fn other_rates_and_fast_pipes_are_sent_in_real_time() {
    let (server, home) = (Server::start(&[]), Home::new("pipe"));
    let recording = home.path("meeting.wav");
    let mut listener = server.run(
        &home,
        &["listen", "standup", "-o", &text(&recording)],
        Stdio::null(),
    );
    listener.wait_for("Listening to standup");

    let talker = Home::new("pipe-talker");
    let args = ["talk", "standup", "--rate", "16000", "--channels", "2"];
    let mut one = server.run(&talker, &args, Stdio::piped());
    one.wait_for("Talking to standup");
    let mut stdin = one.stdin();
    stdin
        .write_all(&tone(440.0, 4000, 16_000, 2))
        .expect("it reads");
    drop(stdin);
    let printed = one.expect_success();
    assert!(
        printed.contains("input is faster than real time"),
        "{printed}"
    );

    listener.signal("-TERM");
    listener.expect_success();
    Recording::read(&recording).assert_tone(440.0, 4000);
}

#[test]
fn listen_ends_when_the_output_pipe_closes() {
    let (server, home) = (Server::start(&[]), Home::new("stdout"));
    let mut listener = server.run(&home, &["listen", "standup"], Stdio::null());
    let mut stdout = listener.stdout();
    let mut start = [0; 4];
    stdout.read_exact(&mut start).expect("a stream");
    assert_eq!(&start, b"OggS");
    drop(stdout);
    listener.expect_success();
}

#[test]
fn listen_stops_after_the_given_seconds() {
    let (server, home) = (Server::start(&[]), Home::new("seconds"));
    let recording = home.path("short.opus");
    let args = [
        "listen",
        "standup",
        "--seconds",
        "1",
        "-o",
        &text(&recording),
    ];
    server.run(&home, &args, Stdio::null()).expect_success();
    assert!(fs::read(&recording).expect("a file").starts_with(b"OggS"));
}

#[test]
fn server_shutdown_ends_the_stream_cleanly() {
    let (server, home) = (Server::start(&[]), Home::new("drain"));
    let recording = home.path("meeting.wav");
    let mut listener = server.run(
        &home,
        &["listen", "standup", "-o", &text(&recording)],
        Stdio::null(),
    );
    listener.wait_for("Listening to standup");
    signal(&server.child, "-TERM");
    listener.expect_success();
    Recording::read(&recording);
}

#[test]
fn call_transfers_audio_both_ways() {
    let server = Server::start(&[]);
    let (alice, bob) = (Home::new("call-alice"), Home::new("call-bob"));
    let (heard_by_alice, heard_by_bob) = (alice.path("heard.wav"), bob.path("heard.wav"));
    let args = ["answer", "--from", &bob.key(), "-o", &text(&heard_by_alice)];
    let mut answer = server.run(&alice, &args, alice.tone(600.0, 1500, RATE, 1));
    answer.wait_for(&format!("Waiting for a call to {}", alice.key()));

    let args = [
        "call",
        &alice.key(),
        "--until-eof",
        "-o",
        &text(&heard_by_bob),
    ];
    let call = server
        .run(&bob, &args, bob.tone(440.0, 2000, RATE, 1))
        .expect_success();
    assert!(
        call.contains(&format!("Talking with {}", alice.key())),
        "{call}"
    );
    let answer = answer.expect_success();
    assert!(answer.contains("The call is over"), "{answer}");

    let (by_alice, by_bob) = (
        Recording::read(&heard_by_alice),
        Recording::read(&heard_by_bob),
    );
    by_alice.assert_tone(440.0, 2000);
    by_alice.assert_no_tone(600.0);
    by_bob.assert_tone(600.0, 1500);
    by_bob.assert_no_tone(440.0);
}

#[test]
fn only_allowed_callers_are_accepted() {
    let server = Server::start(&[]);
    let (alice, friend, stranger) = (
        Home::new("from-alice"),
        Home::new("from-friend"),
        Home::new("from-stranger"),
    );
    let mut answer = server.run(&alice, &["answer", "--from", &friend.key()], Stdio::null());
    answer.wait_for("Waiting for a call");

    let text = server
        .run(&stranger, &["call", &alice.key()], Stdio::null())
        .expect_failure();
    assert_eq!(
        text,
        format!("switchboard: {} declined the call", alice.key())
    );
    answer.wait_for(&format!("{} calls: declined", stranger.key()));

    let args = ["call", &alice.key(), "--seconds", "1"];
    server.run(&friend, &args, Stdio::null()).expect_success();
    answer.expect_success();
}

#[test]
fn interrupt_hangs_up_and_ends_the_ringing() {
    let server = Server::start(&[]);
    let (alice, bob) = (Home::new("stop-alice"), Home::new("stop-bob"));
    let mut answer = server.run(&alice, &["answer"], Stdio::piped());
    answer.wait_for("Waiting for a call");
    let mut call = server.run(&bob, &["call", &alice.key()], Stdio::piped());
    answer.wait_for("Talking with");
    call.wait_for("Talking with");
    call.signal("-INT");
    call.expect_success();
    let printed = answer.expect_success();
    assert!(printed.contains("The call is over"), "{printed}");

    // The callee is online and does not answer.
    let _stream = server.open_events(&alice);
    let mut call = server.run(&bob, &["call", &alice.key()], Stdio::null());
    call.wait_for("Ringing");
    call.signal("-INT");
    call.expect_success();
}

#[test]
fn errors_name_the_cause_and_the_next_step() {
    let (server, home) = (Server::start(&[]), Home::new("errors"));
    let nobody = Home::new("errors-nobody").key();
    let text = server
        .run(&home, &["call", &nobody], Stdio::null())
        .expect_failure();
    assert!(
        text.contains(&format!(
            "{nobody} is offline: it has no event stream at http://"
        )),
        "{text}"
    );
    let text = server
        .run(&home, &["call", "12"], Stdio::null())
        .expect_failure();
    assert!(text.contains("\"12\" is not a public key"), "{text}");
    let text = server
        .run(&home, &["call", &home.key()], Stdio::null())
        .expect_failure();
    assert!(text.contains("A user cannot call itself"), "{text}");
    let text = server
        .run(&home, &["listen", "x"], Stdio::null())
        .expect_failure();
    assert!(text.contains("refuses (400): `roomID`"), "{text}");
    let text = server
        .run(&home, &["listen", "standup", "--token", "t"], Stdio::null())
        .expect_failure();
    assert!(text.contains("refuses (403)"), "{text}");
    let text = server
        .run(
            &home,
            &["listen", "standup", "-o", "/does/not/exist"],
            Stdio::null(),
        )
        .expect_failure();
    assert!(text.contains("cannot write /does/not/exist: "), "{text}");

    let mut talker = server.run(&home, &["talk", "standup"], Stdio::piped());
    talker.stdin().write_all(b"RIFF").expect("it is read");
    let text = talker.expect_failure();
    assert!(text.contains("standard input is a WAV file"), "{text}");

    let mut listener = server.run(
        &home,
        &["listen", "standup", "-o", "/dev/null"],
        Stdio::null(),
    );
    listener.wait_for("Listening to standup");
    let mut talker = server.run(&home, &["talk", "standup"], Stdio::piped());
    talker.wait_for("Talking to standup");
    // Another client with the same key takes over.
    let tone = home.tone(440.0, 100, RATE, 1);
    server
        .run(&home, &["talk", "standup"], tone)
        .expect_success();
    let text = talker.expect_failure();
    assert!(text.contains("another program with the same key"), "{text}");
    let args = ["listen", "standup", "--seconds", "1", "-o", "/dev/null"];
    server.run(&home, &args, Stdio::null()).expect_success();
    listener.expect_success();
}

#[test]
fn missing_server_and_missing_voice_are_reported() {
    let home = Home::new("nowhere");
    let closed = TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("a bound address");
    let url = format!("http://{closed}");
    for args in [
        &["listen", "standup"][..],
        &["talk", "standup"],
        &["answer"],
        &["key", "--query"],
    ] {
        let text = home
            .start(&[args, &["--url", &url]].concat(), Stdio::null())
            .expect_failure();
        assert!(
            text.contains(&format!("cannot reach {url}: Connection refused")),
            "{text}"
        );
        assert!(text.contains("--url"), "{text}");
    }
    let without_voice = Server::start(&[("SWITCHBOARD_GOSTREAM_IDENTITY", "off")]);
    let text = without_voice
        .run(&home, &["listen", "standup"], Stdio::null())
        .expect_failure();
    assert!(text.contains("has voice on"), "{text}");
}

#[test]
fn arbitrary_responses_are_handled() {
    let home = Home::new("strange");
    let somebody = Home::new("strange-somebody").key();
    let answers = [
        "",
        "220 mail.example ESMTP\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\n\u{1b}[31mred\r",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        // A valid ticket. The client then sends more requests, and takes the same eight bytes for a stream that ends.
        "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nabcdefgh",
    ];
    for answer in answers {
        let url = format!("http://{}", fixed_response_server(answer));
        for args in [
            &["key", "--query"][..],
            &["talk", "standup"],
            &["call", &somebody],
            &["answer"],
        ] {
            let mut one = home.start(&[args, &["--url", &url]].concat(), Stdio::null());
            let status = one.end();
            let is_ticket = args[0] == "key" && answer.ends_with("abcdefgh");
            assert_eq!(
                status.success(),
                is_ticket,
                "{args:?} {answer:?}: {}",
                one.printed
            );
            assert!(
                is_ticket || one.last_line().starts_with("switchboard: "),
                "{}",
                one.printed
            );
            assert!(!one.printed.contains(['\u{1b}', '\r']), "{}", one.printed);
        }
    }
}

#[test]
fn users_of_a_website_call_each_other_by_number() {
    let site = fake_site();
    let server = Server::start(&[
        ("SWITCHBOARD_GOSTREAM_IDENTITY", "site"),
        ("SWITCHBOARD_GOSTREAM_SITE_URL", &format!("http://{site}")),
    ]);
    let home = Home::new("site");
    let heard = home.path("heard.wav");
    let mut answer = server.run(
        &home,
        &["answer", "--token", "t2", "-o", &text(&heard)],
        Stdio::null(),
    );
    answer.wait_for("Waiting for a call");
    let args = ["call", "2", "--token", "t1", "--until-eof"];
    server
        .run(&home, &args, home.tone(440.0, 1000, RATE, 1))
        .expect_success();
    let printed = answer.expect_success();
    assert!(printed.contains("Talking with 1"), "{printed}");
    Recording::read(&heard).assert_tone(440.0, 1000);

    let text = server
        .run(&home, &["call", "2", "--token", "bad"], Stdio::null())
        .expect_failure();
    assert!(
        text.contains("refuses (401)") && text.contains("--token"),
        "{text}"
    );
    let text = server
        .run(&home, &["listen", "7"], Stdio::null())
        .expect_failure();
    assert!(text.contains("Say who you are with --token"), "{text}");
}

/// A website that maps the token tN to user N and allows every request.
fn fake_site() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("a bound address");
    let answer = |path: &str| match path.rsplit_once('/') {
        Some(("/Membres/crossLogin", token)) => token.strip_prefix('t').unwrap_or("0").to_owned(),
        _ => "1".to_owned(),
    };
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(stream.try_clone().expect("a socket")).lines();
            let first = lines.next().and_then(Result::ok).unwrap_or_default();
            let body = answer(first.split(' ').nth(1).unwrap_or_default());
            let _head = lines
                .take_while(|line| line.as_ref().is_ok_and(|line| !line.is_empty()))
                .count();
            let head = format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            drop(stream.write_all((head + &body).as_bytes()));
        }
    });
    address
}

/// A server that sends the same response to every request.
fn fixed_response_server(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("a bound address");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let lines = BufReader::new(stream.try_clone().expect("a socket")).lines();
            let _head = lines
                .take_while(|line| line.as_ref().is_ok_and(|line| !line.is_empty()))
                .count();
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    address
}

/// A running server, killed on drop.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(settings: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_switchboard"))
            .args(["serve", "--addr", "127.0.0.1", "--port", "0"])
            .env_remove("PORT")
            .env("SWITCHBOARD_INTERNAL_LISTEN", "")
            // A high limit, so that no audio is dropped on a busy machine.
            .env("SWITCHBOARD_MIX_MAX_LATENCY", "2000")
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary runs");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let first = lines.next().expect("a line").expect("text");
        let address = first
            .strip_prefix("Switchboard listens on ")
            .expect("the address");
        Self {
            address: address.parse().expect("an address"),
            child,
        }
    }

    /// `switchboard voice …` against this server.
    fn run(&self, home: &Home, args: &[&str], stdin: impl Into<Stdio>) -> VoiceCommand {
        let url = format!("http://{}", self.address);
        home.start(&[args, &["--url", &url]].concat(), stdin)
    }

    /// Opens an event stream and reads up to its first event.
    fn open_events(&self, of: &Home) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        let address = format!("/messages?PKey={}", of.key());
        write!(stream, "GET {address} HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it reads");
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        while !line.contains("pubkey") {
            line.clear();
            assert_ne!(stream.read_line(&mut line).expect("text"), 0);
        }
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The configuration directory of a test user.
struct Home(PathBuf);

impl Home {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("voice-{name}"));
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn key(&self) -> String {
        self.start(&["key"], Stdio::null()).output()
    }

    fn start(&self, args: &[&str], stdin: impl Into<Stdio>) -> VoiceCommand {
        self.start_with(&[], args, stdin)
    }

    fn start_with(
        &self,
        environment: &[(&str, &str)],
        args: &[&str],
        stdin: impl Into<Stdio>,
    ) -> VoiceCommand {
        let mut child = Command::new(env!("CARGO_BIN_EXE_switchboard"))
            .arg("voice")
            .args(args)
            .env_remove("SWITCHBOARD_URL")
            .env("XDG_CONFIG_HOME", &self.0)
            .envs(environment.iter().copied())
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            stderr
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        let printed = String::new();
        VoiceCommand {
            child,
            lines,
            printed,
        }
    }

    /// Creates and opens a file with the raw samples of a tone.
    fn tone(&self, frequency: f64, millis: usize, rate: u32, channels: usize) -> File {
        let path = self.path("tone.raw");
        fs::write(&path, tone(frequency, millis, rate, channels)).expect("it is written");
        File::open(path).expect("it is there")
    }
}

/// A running `switchboard voice …`, killed on drop.
struct VoiceCommand {
    child: Child,
    lines: Receiver<String>,
    printed: String,
}

impl VoiceCommand {
    /// Waits for a line on standard error.
    fn wait_for(&mut self, text: &str) {
        let until = Instant::now() + TEST_TIMEOUT;
        while !self.printed.contains(text) {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.printed.push_str(&(line + "\n")),
                Err(error) => panic!("{text:?} is not printed ({error}), but {:?}", self.printed),
            }
        }
    }

    fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("piped")
    }

    fn stdout(&mut self) -> impl Read {
        self.child.stdout.take().expect("piped")
    }

    /// Waits for the end, and for the rest of standard error.
    fn end(&mut self) -> ExitStatus {
        let until = Instant::now() + TEST_TIMEOUT;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.printed.push_str(&(line + "\n")),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    panic!("the process does not end: {:?}", self.printed)
                }
            }
        }
        self.child.wait().expect("it ends")
    }

    /// The single line of its standard output.
    fn output(mut self) -> String {
        let status = self.end();
        let mut text = String::new();
        self.stdout().read_to_string(&mut text).expect("text");
        assert_eq!(
            (status.code(), text.lines().count()),
            (Some(0), 1),
            "{text}{}",
            self.printed
        );
        text.trim_end().to_owned()
    }

    /// Waits for success. Returns its standard error.
    fn expect_success(mut self) -> String {
        assert_eq!(self.end().code(), Some(0), "{}", self.printed);
        std::mem::take(&mut self.printed)
    }

    /// Waits for a failure. Returns the last line of its standard error.
    fn expect_failure(mut self) -> String {
        assert_eq!(self.end().code(), Some(1), "{}", self.printed);
        let mut text = Vec::new();
        self.stdout().read_to_end(&mut text).expect("its end");
        assert!(text.is_empty(), "{} bytes", text.len());
        self.last_line().to_owned()
    }

    fn last_line(&self) -> &str {
        self.printed.lines().last().unwrap_or_default()
    }
}

impl Drop for VoiceCommand {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill")
        .args([name, &child.id().to_string()])
        .status();
    assert!(sent.expect("kill runs").success());
}

fn text(path: &Path) -> String {
    path.to_str().expect("text").to_owned()
}

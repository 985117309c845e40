//! Replays recorded conversations with the reference server, the original implementation of the dialect `gostream`,
//! against this server. The clients do the same, and must receive the recorded responses and events, except for the
//! [`DIFFERENCES`].
//!
//! A file of `recorded/` has scenarios: `## NAME keys` or `## NAME site`, then lines. A line is the step number of the
//! recording (optional), the client, and its action or an event that it receives; [`ReplayRunner::run_line`] lists
//! them. `like NAME` stands for the lines of another scenario; `repeat N` repeats the lines up to `end`.

use std::{collections::BTreeMap, net::SocketAddr, time::Instant};

use switchboard::{Builder, Config, SecretKey, Server, config::VoiceIdentity};

use super::{
    http::{HttpRequest, HttpResponse, metric, wait_for_metric},
    listener::{Listener, wait_until_all_are_detached},
    recorded::{DIFFERENCES, Difference, RECORDED, Substitution},
    site::FakeSite,
    sound::{RATE, Tone},
    source::{Playing, Source},
    user::Events,
};
use crate::client::TEST_TIMEOUT;

const ORIGIN: &str = "http://site.example";

/// The first bytes of each format in hex. Dots are not compared: lengths, serial numbers, checksums and the pre-skip.
const BEGINNINGS: [(&str, &str); 3] = [
    (
        "wav",
        "52494646........57415645666d7420100000000100010080bb0000007701000200100064617461........",
    ),
    (
        "opus",
        "4f67675300020000000000000000........00000000........01134f707573486561640101....80bb0000",
    ),
    (
        "vorbis",
        "4f67675300020000000000000000........00000000........011e01766f72626973000000000180bb0000",
    ),
];

/// Replays one scenario at the server that `open` starts, then checks that there were no further events and that the
/// server still responds.
pub(super) async fn replay(scenario: &str, open: fn(Builder) -> (Server, SocketAddr)) {
    let script = Script::of(scenario);
    let site = FakeSite::start().await;
    let mut config = Config::default();
    config.voice.gostream.site.origin = ORIGIN.to_owned();
    if script.is_site {
        config.voice.gostream.identity = VoiceIdentity::Site;
        config.voice.gostream.site.url = site.url();
    }
    let (_server, address) = open(Server::builder().config(config));
    let mut runner = ReplayRunner {
        scenario: scenario.to_owned(),
        is_site: script.is_site,
        address,
        clients: BTreeMap::new(),
    };
    for line in &script.lines {
        runner.run_line(line).await;
    }
    runner.assert_no_further_events().await;
    drop(runner);
    wait_until_all_are_detached(address).await;
}

/// The lines of one scenario, without step numbers, after the [`DIFFERENCES`] have been applied.
struct Script {
    /// Whether the users are accounts of a website; otherwise they are keys.
    is_site: bool,
    lines: Vec<String>,
}

impl Script {
    fn of(scenario: &str) -> Self {
        let head = |line: &str| line.strip_prefix("## ").map(str::to_owned);
        let all = RECORDED.iter().flat_map(|file| file.lines());
        let mut section = all.skip_while(|line| {
            head(line).is_none_or(|head| head.split(' ').next() != Some(scenario))
        });
        let head = section
            .next()
            .and_then(head)
            .expect("no scenario has this name");
        let section: Vec<&str> = section
            .take_while(|line| !line.starts_with("## "))
            .collect();
        let mut script = Self {
            is_site: head.ends_with(" site"),
            lines: Vec::new(),
        };
        let mut lines = section
            .into_iter()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        while let Some(line) = lines.next() {
            if let Some(other) = line.strip_prefix("like ") {
                script.lines.extend(Self::of(other).lines);
            } else if let Some(times) = line.strip_prefix("repeat ") {
                let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "end").collect();
                for _ in 0..times.parse().expect("`repeat` has no number") {
                    body.iter().for_each(|line| script.add(scenario, line));
                }
            } else {
                script.add(scenario, line);
            }
        }
        script
    }

    /// Adds a line, or its replacement in [`DIFFERENCES`].
    fn add(&mut self, scenario: &str, line: &str) {
        let (step, line) = split_step(line);
        match step.and_then(|step| substitution(scenario, step)) {
            None => self.lines.push(line.to_owned()),
            Some(Substitution::Answer(answer)) => {
                let (action, _) = line.rsplit_once(" = ").expect("the step is not a request");
                self.lines.push(format!("{action} = {answer}"));
            }
            Some(Substitution::Lines(lines)) => {
                self.lines
                    .extend(lines.iter().map(|line| (*line).to_owned()));
            }
        }
    }
}

/// Splits a line into its step number, if it has one, and the rest, which begins with the client.
fn split_step(line: &str) -> (Option<u32>, &str) {
    let Some((first, rest)) = line.split_once(' ') else {
        return (None, line);
    };
    let has_client = rest
        .split(' ')
        .next()
        .is_some_and(|client| client.len() == 1);
    match first.parse() {
        Ok(step) if has_client => (Some(step), rest),
        Ok(_) | Err(_) => (None, line),
    }
}

fn substitution(scenario: &str, step: u32) -> Option<&'static Substitution> {
    let applies = |it: &&Difference| it.scenario == scenario && it.steps.contains(&step);
    let found = DIFFERENCES.iter().find(applies);
    found.map(|difference| &difference.instead)
}

#[test]
fn every_difference_refers_to_a_recorded_step() {
    for difference in DIFFERENCES {
        assert!(!difference.why.is_empty());
        let head = format!("## {} ", difference.scenario);
        let all = RECORDED.iter().flat_map(|file| file.lines());
        let section = all.skip_while(|line| !line.starts_with(&head)).skip(1);
        let section = section.take_while(|line| !line.starts_with("## "));
        let steps: Vec<u32> = section.filter_map(|line| split_step(line).0).collect();
        assert!(!steps.is_empty(), "no steps: {}", difference.scenario);
        for step in difference.steps {
            assert!(
                steps.contains(step),
                "no step {step} in {}",
                difference.scenario
            );
        }
    }
}

struct ReplayRunner {
    scenario: String,
    is_site: bool,
    address: SocketAddr,
    clients: BTreeMap<String, ReplayClient>,
}

struct ReplayClient {
    key: SecretKey,
    tickets: Vec<String>,
    events: Option<Events>,
    listeners: Vec<Listener>,
    sources: Vec<ReplaySource>,
}

enum ReplaySource {
    /// Sends only what the script says.
    Idle(Source),
    /// Sends a tone until it is closed.
    Playing(Playing),
}

impl Default for ReplayClient {
    fn default() -> Self {
        Self {
            key: SecretKey::generate(),
            tickets: Vec::new(),
            events: None,
            listeners: Vec::new(),
            sources: Vec::new(),
        }
    }
}

impl ReplayRunner {
    fn client(&mut self, name: &str) -> &mut ReplayClient {
        self.clients.entry(name.to_owned()).or_default()
    }

    /// Runs a line: the client, a verb and its arguments. Any other verb than those below is the method of a request.
    async fn run_line(&mut self, line: &str) {
        let (client, rest) = line.split_once(' ').expect("the line has no action");
        let (verb, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        match verb {
            "<" => self.expect_event(client, rest).await,
            "WS" => self.open_websocket(client, rest).await,
            "sends" => {
                let byte = |at| u8::from_str_radix(&rest[at..at + 2], 16).expect("not hex");
                let bytes: Vec<u8> = (0..rest.len()).step_by(2).map(byte).collect();
                let is_sent = self.idle_source(client).send_bytes(&bytes).await;
                assert!(is_sent, "the source is disconnected: {line}");
            }
            "says" => self.idle_source(client).send_text(rest).await,
            // "is closed CODE": the server closes the newest source.
            "is" => {
                let (code, text) = self.idle_source(client).closed().await;
                assert_eq!(format!("closed {code}"), rest, "{line}: {text}");
                self.client(client).sources.pop();
            }
            "tone" => self.play_tone(client, rest),
            "hears" => self.expect_peak(client, rest).await,
            // Closes the newest listener.
            "leaves" => {
                let before = metric(self.address, "voice_listeners").await;
                self.client(client)
                    .listeners
                    .pop()
                    .expect("no listener is open");
                wait_for_metric(self.address, "voice_listeners", before - 1).await;
            }
            // Closes the event stream.
            "closes" => {
                let before = metric(self.address, "voice_event_streams").await;
                self.client(client)
                    .events
                    .take()
                    .expect("no event stream is open");
                wait_for_metric(self.address, "voice_event_streams", before - 1).await;
            }
            // "hangs up": closes the newest source. The call goes on.
            "hangs" => {
                let before = metric(self.address, "voice_sources").await;
                match self
                    .client(client)
                    .sources
                    .pop()
                    .expect("no source is open")
                {
                    ReplaySource::Idle(source) => source.close().await,
                    ReplaySource::Playing(playing) => drop(playing),
                }
                wait_for_metric(self.address, "voice_sources", before - 1).await;
            }
            _ => self.send_request(client, verb, rest).await,
        }
    }

    /// The newest source of a client, which must not play a tone.
    fn idle_source(&mut self, client: &str) -> &mut Source {
        match self.client(client).sources.last_mut() {
            Some(ReplaySource::Idle(source)) => source,
            Some(ReplaySource::Playing(_)) | None => panic!("{client} has no source that is idle"),
        }
    }

    /// Plays a tone, `HERTZ AMPLITUDE`, into the newest source.
    fn play_tone(&mut self, client: &str, tone: &str) {
        let (hertz, amplitude) = tone.split_once(' ').expect("the tone has no amplitude");
        let hertz = hertz.parse().expect("the frequency is not a number");
        let tone = Tone::new(
            hertz,
            amplitude.parse().expect("the amplitude is not a number"),
        );
        let state = self.client(client);
        match state.sources.pop() {
            Some(ReplaySource::Idle(source)) => {
                state.sources.push(ReplaySource::Playing(source.play(tone)));
            }
            Some(ReplaySource::Playing(_)) | None => panic!("{client} has no source that is idle"),
        }
    }

    /// Checks that the loudest sample in the next half second is `peak`, within 2 %.
    async fn expect_peak(&mut self, client: &str, peak: &str) {
        let listener = self
            .client(client)
            .listeners
            .last()
            .expect("no listener is open");
        let samples = listener.next_samples(RATE / 2).await;
        let loudest = samples
            .iter()
            .fold(0.0, |peak: f64, sample| peak.max(sample.abs()));
        let peak: f64 = peak.parse().expect("the peak is not a number");
        assert!(
            (loudest - peak).abs() <= peak / 50.0,
            "{client} hears {loudest}, not {peak}"
        );
    }

    async fn expect_event(&mut self, client: &str, expected: &str) {
        let expected = self.fill_in(expected);
        let step = format!("{}: {client} < {expected}", self.scenario);
        let is_site = self.is_site;
        let events = self
            .client(client)
            .events
            .as_mut()
            .expect("no event stream is open");
        let event = events.next().await;
        assert_eq!(
            format!("{} {}", event.name, event.text()),
            expected,
            "{step}"
        );
        // Users of a website get plain JSON; users with keys get JSON in hex.
        assert_eq!(
            event.data.starts_with('{'),
            is_site,
            "{step}: {}",
            event.data
        );
    }

    async fn open_websocket(&mut self, client: &str, rest: &str) {
        let (target, status) = rest.rsplit_once(" = ").expect("the line has no status");
        let target = self.fill_in(target);
        let opened = Source::try_websocket(self.address, &target).await;
        let actual = opened.as_ref().map_or_else(|status| *status, |_| 101);
        assert_eq!(actual.to_string(), status, "{}: {target}", self.scenario);
        let sources = &mut self.client(client).sources;
        sources.extend(opened.ok().map(ReplaySource::Idle));
    }

    async fn send_request(&mut self, client: &str, verb: &str, rest: &str) {
        let step = format!("{}: {client} {verb} {rest}", self.scenario);
        let (request, expected) = rest.split_once(" = ").expect("the line has no response");
        let answer = self.request(client, verb, request).send(self.address).await;
        let (status, expected) = expected.split_once(' ').unwrap_or((expected, ""));
        assert_eq!(answer.status.to_string(), status, "{step}");
        // Paths outside the dialect have no CORS headers.
        if !request.starts_with("/nope") && !request.starts_with("/html") && request != "/" {
            let origin = answer.header("access-control-allow-origin");
            assert_eq!(origin, Some(ORIGIN), "{step}");
        }
        if expected == "text/event-stream" {
            let events = Events::of(answer).await;
            self.client(client).events = Some(events);
        } else if let Some(audio) = expected.strip_prefix("audio/") {
            self.add_listener(client, answer, audio).await;
        } else if answer.status >= 400 {
            let text = answer.text().await;
            let is_a_line = text.is_empty() || text.find('\n') == Some(text.len() - 1);
            assert!(is_a_line && !text.contains("://"), "{step}: {text:?}");
        } else if expected == "ticket" {
            let ticket = answer.text().await;
            let is_letters = ticket.bytes().all(|byte| byte.is_ascii_alphabetic());
            assert!(is_letters && ticket.len() >= 20, "{step}: {ticket:?}");
            self.client(client).tickets.push(ticket);
        } else if request != "/" {
            let expected = self.fill_in(expected);
            let mut text = without_levels(&answer.text().await);
            // An earlier line has waited for the metrics. They change before the list of rooms does, so poll the list.
            let is_listed = |text: &str| in_any_order(text) == in_any_order(&expected);
            let began = Instant::now();
            while request.starts_with("/list")
                && !is_listed(&text)
                && began.elapsed() < TEST_TIMEOUT
            {
                let again = HttpRequest::get(self.fill_in(request))
                    .text(self.address)
                    .await;
                text = without_levels(&again.1);
            }
            assert_eq!(in_any_order(&text), in_any_order(&expected), "{step}");
        }
    }

    /// Builds the request of a line: the target, a header in brackets (by default the client's identity), and the
    /// parameters. Client `-` has no identity.
    fn request(&mut self, client: &str, verb: &str, text: &str) -> HttpRequest {
        let method = match verb {
            "GET" => "GET",
            "OPTIONS" => "OPTIONS",
            "POST" | "FORM" => "POST",
            other => panic!("unknown verb: {other}"),
        };
        let (target, rest) = text.split_once(' ').unwrap_or((text, ""));
        let identity = match client {
            "-" => String::new(),
            _ if target.starts_with("/messages") => String::new(),
            site if self.is_site => format!("CSRFToken: tok{site}"),
            keys => format!("PKey: ${keys}"),
        };
        let (header, body) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (header, body) = rest.split_once(']').expect("the bracket is not closed");
                (header.to_owned(), body.trim_start())
            }
            None => (identity, rest),
        };
        let request = HttpRequest::new(method, self.fill_in(target));
        let request = match self.fill_in(&header).split_once(": ") {
            Some((name, value)) => request.header(name, value),
            None => request,
        };
        let body = self.fill_in(body);
        match verb {
            "FORM" => {
                let pairs = body.split('&').filter_map(|pair| pair.split_once('='));
                let pairs: Vec<_> = pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
                request.multipart(&pairs)
            }
            "POST" => request.url_encoded(body),
            _ => request,
        }
    }

    /// Checks the media type and the first bytes of an audio stream, and goes on to receive it. `audio` is the subtype
    /// and the format.
    async fn add_listener(&mut self, client: &str, answer: HttpResponse, audio: &str) {
        let (kind, format) = audio.split_once(' ').expect("the line has no format");
        let kind = format!("audio/{kind}");
        assert_eq!(
            answer.header("content-type"),
            Some(&*kind),
            "{}",
            self.scenario
        );
        let known = BEGINNINGS.iter().find(|(name, _)| *name == format);
        let (_, beginning) = known.expect("unknown format");
        let listener = Listener::of(answer);
        let bytes = listener.first_bytes(beginning.len() / 2).await;
        let begins: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let same = |(actual, expected): (char, char)| expected == '.' || actual == expected;
        let is_same = begins.chars().zip(beginning.chars()).all(same);
        assert!(is_same, "{}: {format} begins with {begins}", self.scenario);
        let listener = match format {
            "vorbis" => listener.in_format("ogg"),
            "opus" => listener.in_format("opus"),
            _ => listener,
        };
        self.client(client).listeners.push(listener);
    }

    /// Replaces the placeholders by the values of this run. `A` stands for a client of any one-letter name:
    /// * `$A`: its key; `$^A`: the key in upper case
    /// * `$A(CHALLENGE)`: its signature over a challenge ([`Self::signature`])
    /// * `$server`: the key of the server
    /// * `$r1`: 1, the number of the room in this run; the recorded number was another one
    fn fill_in(&mut self, text: &str) -> String {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            filled.push_str(before);
            rest = after;
            if let Some(after) = rest.strip_prefix("server") {
                let mut clients = self.clients.values();
                let events = clients.find_map(|client| client.events.as_ref());
                filled.push_str(&events.expect("no event stream is open").server_key);
                rest = after;
                continue;
            }
            if let Some(after) = rest.strip_prefix('r') {
                rest = after;
                continue;
            }
            let upper = rest.strip_prefix('^');
            rest = upper.unwrap_or(rest);
            let (name, after) = rest.split_at(1);
            rest = after;
            match after
                .strip_prefix('(')
                .and_then(|after| after.split_once(')'))
            {
                Some((challenge, after)) => {
                    filled.push_str(&self.signature(name, challenge));
                    rest = after;
                }
                None if upper.is_some() => {
                    let key = self.client(name).key.public().to_string();
                    filled.push_str(&key.to_uppercase());
                }
                None => filled.push_str(&self.client(name).key.public().to_string()),
            }
        }
        filled + rest
    }

    /// Signs a challenge: `ticket` (the newest ticket of the client), `old` (the one before), `ticket of A` (the newest
    /// of client A), `handshake` (the message of `/keyXCHG`), or any other text itself. Returns an invalid signature if
    /// the challenge cannot be signed.
    fn signature(&mut self, name: &str, challenge: &str) -> String {
        let ticket = |client: &ReplayClient, back: usize| {
            let ticket = client.tickets.iter().nth_back(back);
            ticket
                .expect("the client has no such ticket")
                .clone()
                .into_bytes()
        };
        let signed = match challenge {
            "ticket" => ticket(self.client(name), 0),
            "old" => ticket(self.client(name), 1),
            "ticket of A" => ticket(self.client("A"), 0),
            "handshake" => vec![1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
            text => text.as_bytes().to_vec(),
        };
        let signature = self.client(name).key.sign(signed);
        signature.unwrap_or_else(|| "3006020101020101".to_owned())
    }

    /// Creates a room and checks that its event is the next one of every user. If another event comes first, the server
    /// has sent an event that no line of the scenario expects.
    async fn assert_no_further_events(&mut self) {
        let line = if self.is_site {
            "9 FORM /joinRoom roomID=999&format=wav = 200 audio/wav wav"
        } else {
            self.send_request("Z", "GET", "/getCallTicket = 200 ticket")
                .await;
            "Z FORM /joinRoom roomID=999&format=wav&Signature=$Z(ticket) = 200 audio/wav wav"
        };
        self.run_line(line).await;
        for (client, state) in &mut self.clients {
            let Some(events) = &mut state.events else {
                continue;
            };
            let event = events.next().await;
            let is_last = event.name == "newRoom" && event.text().contains("\"name\": \"999\"");
            assert!(
                is_last,
                "{}: {client} gets {} {}",
                self.scenario,
                event.name,
                event.text()
            );
        }
    }
}

/// Removes the field `level` from a list of members. The reference server does not send it.
fn without_levels(text: &str) -> String {
    let mut parts = text.split(", \"level\" : ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + &part[part.find('}').expect("the member has no end")..]
    })
}

/// Splits a JSON list of objects into sorted parts, because the members of a room have no order.
fn in_any_order(text: &str) -> Vec<&str> {
    let list = text.trim_start_matches('[').trim_end_matches(']');
    let mut items: Vec<&str> = list
        .split("},")
        .map(|item| item.trim_end_matches('}'))
        .collect();
    items.sort_unstable();
    items
}

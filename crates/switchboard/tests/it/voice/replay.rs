//! Replays recorded conversations against the server: the same actions, and each client must receive the
//! recorded events.

use std::{collections::BTreeMap, net::SocketAddr, time::Instant};

use switchboard::{Builder, Config, SecretKey, Server, config::VoiceIdentity};

use super::{
    http::{HttpRequest, HttpResponse, metric, metric_is},
    listener::{Listener, all_are_gone},
    recorded::{OURS, RECORDED, Substitution},
    site::FakeSite,
    sound::{RATE, Tone},
    source::{Playing, Source},
    user::Events,
};
use crate::client::TEST_TIMEOUT;

const ORIGIN: &str = "http://site.example";

/// How streams begin; dots are not compared: lengths, which the reference made up, serials and
/// checksums, and the delay of an encoder.
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

/// Replays one scenario, then checks that there were no further events and that the server still responds.
pub(super) async fn replay(scenario: &str, open: fn(Builder) -> (Server, SocketAddr)) {
    let lines = Script::of(scenario);
    let site = FakeSite::start().await;
    let mut config = Config::default();
    config.voice.gostream.site.origin = ORIGIN.to_owned();
    if lines.is_site {
        config.voice.gostream.identity = VoiceIdentity::Site;
        config.voice.gostream.site.url = site.url();
    }
    let (_server, address) = open(Server::builder().config(config));
    let mut stage = ReplayStage {
        scenario: scenario.to_owned(),
        is_site: lines.is_site,
        address,
        actors: BTreeMap::new(),
    };
    for line in &lines.lines {
        stage.play(line).await;
    }
    stage.nobody_is_told_more().await;
    drop(stage);
    all_are_gone(address).await;
}

/// The lines of one scenario, as they are for us.
struct Script {
    is_site: bool,
    lines: Vec<String>,
}

impl Script {
    fn of(scenario: &str) -> Self {
        let head = |line: &str| line.strip_prefix("## ").map(str::to_owned);
        let all = RECORDED.iter().flat_map(|file| file.lines());
        let mut own = all.skip_while(|line| {
            head(line).is_none_or(|head| head.split(' ').next() != Some(scenario))
        });
        let head = own.next().and_then(head).expect("a scenario of this name");
        let own: Vec<&str> = own.take_while(|line| !line.starts_with("## ")).collect();
        let mut script = Self {
            is_site: head.ends_with(" site"),
            lines: Vec::new(),
        };
        let mut own = own
            .into_iter()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        while let Some(line) = own.next() {
            if let Some(other) = line.strip_prefix("like ") {
                script.lines.extend(Self::of(other).lines);
            } else if let Some(times) = line.strip_prefix("repeat ") {
                let body: Vec<&str> = own.by_ref().take_while(|line| *line != "end").collect();
                for _ in 0..times.parse().expect("a number") {
                    body.iter().for_each(|line| script.add(scenario, line));
                }
            } else {
                script.add(scenario, line);
            }
        }
        script
    }

    /// One line, or what is ours instead.
    fn add(&mut self, scenario: &str, line: &str) {
        let (step, line) = split_step(line);
        match step.and_then(|step| instead(scenario, step)) {
            None => self.lines.push(line.to_owned()),
            Some(Substitution::Answer(answer)) => {
                let (action, _) = line.rsplit_once(" = ").expect("a request");
                self.lines.push(format!("{action} = {answer}"));
            }
            Some(Substitution::Lines(ours)) => {
                self.lines
                    .extend(ours.iter().map(|line| (*line).to_owned()));
            }
        }
    }
}

/// A line begins with its step and its client, or with its client alone.
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

fn instead(scenario: &str, step: u32) -> Option<&'static Substitution> {
    let mut ours = OURS.iter();
    let ours = ours.find(|ours| ours.scenario == scenario && ours.steps.contains(&step));
    ours.map(|ours| &ours.instead)
}

#[test]
fn every_exception_refers_to_a_recorded_step() {
    for ours in OURS {
        assert!(!ours.why.is_empty());
        let head = format!("## {} ", ours.scenario);
        let all = RECORDED.iter().flat_map(|file| file.lines());
        let own = all.skip_while(|line| !line.starts_with(&head)).skip(1);
        let own = own.take_while(|line| !line.starts_with("## "));
        let steps: Vec<u32> = own.filter_map(|line| split_step(line).0).collect();
        assert!(!steps.is_empty(), "{}", ours.scenario);
        for step in ours.steps {
            assert!(steps.contains(step), "{} {step}", ours.scenario);
        }
    }
}

struct ReplayStage {
    scenario: String,
    is_site: bool,
    address: SocketAddr,
    actors: BTreeMap<String, ReplayClient>,
}

struct ReplayClient {
    key: SecretKey,
    tickets: Vec<String>,
    events: Option<Events>,
    listeners: Vec<Listener>,
    sources: Vec<Microphone>,
}

enum Microphone {
    Open(Source),
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

impl ReplayStage {
    fn actor(&mut self, name: &str) -> &mut ReplayClient {
        self.actors.entry(name.to_owned()).or_default()
    }

    async fn play(&mut self, line: &str) {
        let (client, rest) = line.split_once(' ').expect("who does what");
        let (verb, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        match verb {
            "<" => self.hears_event(client, rest).await,
            "WS" => self.opens(client, rest).await,
            "sends" => {
                let byte = |at| u8::from_str_radix(&rest[at..at + 2], 16).expect("hex");
                let bytes: Vec<u8> = (0..rest.len()).step_by(2).map(byte).collect();
                assert!(self.microphone(client).send_bytes(&bytes).await);
            }
            "says" => self.microphone(client).send_text(rest).await,
            "is" => {
                let (code, words) = self.microphone(client).closed().await;
                assert_eq!(format!("closed {code}"), rest, "{line}: {words}");
                self.actor(client).sources.pop();
            }
            "tone" => self.plays(client, rest),
            "hears" => self.hears_peak(client, rest).await,
            "leaves" => {
                let before = metric(self.address, "voice_listeners").await;
                self.actor(client).listeners.pop().expect("a listener");
                metric_is(self.address, "voice_listeners", before - 1).await;
            }
            "closes" => {
                let before = metric(self.address, "voice_event_streams").await;
                self.actor(client).events.take().expect("an event stream");
                metric_is(self.address, "voice_event_streams", before - 1).await;
            }
            "hangs" => {
                let before = metric(self.address, "voice_sources").await;
                match self.actor(client).sources.pop().expect("a source") {
                    Microphone::Open(source) => source.close().await,
                    Microphone::Playing(playing) => drop(playing),
                }
                metric_is(self.address, "voice_sources", before - 1).await;
            }
            _ => self.asks(client, verb, rest).await,
        }
    }

    /// The newest microphone of a client, which nothing is played into.
    fn microphone(&mut self, client: &str) -> &mut Source {
        match self.actor(client).sources.last_mut() {
            Some(Microphone::Open(source)) => source,
            Some(Microphone::Playing(_)) | None => panic!("{client} has no microphone"),
        }
    }

    fn plays(&mut self, client: &str, tone: &str) {
        let (hertz, amplitude) = tone.split_once(' ').expect("a tone");
        let hertz = hertz.parse().expect("hertz");
        let tone = Tone::new(hertz, amplitude.parse().expect("an amplitude"));
        let actor = self.actor(client);
        match actor.sources.pop() {
            Some(Microphone::Open(source)) => {
                actor.sources.push(Microphone::Playing(source.play(tone)));
            }
            Some(Microphone::Playing(_)) | None => panic!("{client} has no microphone"),
        }
    }

    async fn hears_peak(&mut self, client: &str, peak: &str) {
        let listener = self.actor(client).listeners.last().expect("a listener");
        let samples = listener.next_samples(RATE / 2).await;
        let loudest = samples
            .iter()
            .fold(0.0, |peak: f64, sample| peak.max(sample.abs()));
        let peak: f64 = peak.parse().expect("a peak");
        assert!(
            (loudest - peak).abs() <= peak / 50.0,
            "{client} hears {loudest}, not {peak}"
        );
    }

    async fn hears_event(&mut self, client: &str, told: &str) {
        let told = self.filled(told);
        let what = format!("{}: {client} < {told}", self.scenario);
        let is_site = self.is_site;
        let events = self.actor(client).events.as_mut().expect("an event stream");
        let event = events.next().await;
        assert_eq!(format!("{} {}", event.name, event.text()), told, "{what}");
        assert_eq!(
            event.data.starts_with('{'),
            is_site,
            "{what}: {}",
            event.data
        );
    }

    async fn opens(&mut self, client: &str, rest: &str) {
        let (target, status) = rest.rsplit_once(" = ").expect("a status");
        let target = self.filled(target);
        let opened = Source::try_websocket(self.address, &target).await;
        let became = opened.as_ref().map_or_else(|status| *status, |_| 101);
        assert_eq!(became.to_string(), status, "{}: {target}", self.scenario);
        let sources = &mut self.actor(client).sources;
        sources.extend(opened.ok().map(Microphone::Open));
    }

    async fn asks(&mut self, client: &str, verb: &str, rest: &str) {
        let what = format!("{}: {client} {verb} {rest}", self.scenario);
        let (request, due) = rest.split_once(" = ").expect("an answer");
        let answer = self.request(client, verb, request).send(self.address).await;
        let (status, due) = due.split_once(' ').unwrap_or((due, ""));
        assert_eq!(answer.status.to_string(), status, "{what}");
        if !request.starts_with("/nope") && !request.starts_with("/html") && request != "/" {
            let origin = answer.header("access-control-allow-origin");
            assert_eq!(origin, Some(ORIGIN), "{what}");
        }
        if due == "text/event-stream" {
            let events = Events::of(answer).await;
            self.actor(client).events = Some(events);
        } else if let Some(due) = due.strip_prefix("audio/") {
            self.begins_to_hear(client, answer, due).await;
        } else if answer.status >= 400 {
            let words = answer.text().await;
            let is_a_line = words.is_empty() || words.find('\n') == Some(words.len() - 1);
            assert!(is_a_line && !words.contains("://"), "{what}: {words:?}");
        } else if due == "ticket" {
            let ticket = answer.text().await;
            let is_letters = ticket.bytes().all(|byte| byte.is_ascii_alphabetic());
            assert!(is_letters && ticket.len() >= 20, "{what}: {ticket:?}");
            self.actor(client).tickets.push(ticket);
        } else if request != "/" {
            let due = self.filled(due);
            let mut text = without_levels(&answer.text().await);
            // The gauges, which this test waits for, may be ahead of the rooms.
            let is_listed = |text: &str| in_any_order(text) == in_any_order(&due);
            let asked = Instant::now();
            while request.starts_with("/list")
                && !is_listed(&text)
                && asked.elapsed() < TEST_TIMEOUT
            {
                let again = HttpRequest::get(self.filled(request))
                    .text(self.address)
                    .await;
                text = without_levels(&again.1);
            }
            assert_eq!(in_any_order(&text), in_any_order(&due), "{what}");
        }
    }

    fn request(&mut self, client: &str, verb: &str, text: &str) -> HttpRequest {
        let method = match verb {
            "GET" => "GET",
            "OPTIONS" => "OPTIONS",
            "POST" | "FORM" => "POST",
            other => panic!("no verb: {other}"),
        };
        let (target, rest) = text.split_once(' ').unwrap_or((text, ""));
        let usual = match client {
            "-" => String::new(),
            _ if target.starts_with("/messages") => String::new(),
            site if self.is_site => format!("CSRFToken: tok{site}"),
            keys => format!("PKey: ${keys}"),
        };
        let (header, body) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (header, body) = rest.split_once(']').expect("a bracket");
                (header.to_owned(), body.trim_start())
            }
            None => (usual, rest),
        };
        let ask = HttpRequest::new(method, self.filled(target));
        let ask = match self.filled(&header).split_once(": ") {
            Some((name, value)) => ask.header(name, value),
            None => ask,
        };
        let body = self.filled(body);
        match verb {
            "FORM" => {
                let pairs = body.split('&').filter_map(|pair| pair.split_once('='));
                let pairs: Vec<_> = pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
                ask.multipart(&pairs)
            }
            "POST" => ask.url_encoded(body),
            _ => ask,
        }
    }

    async fn begins_to_hear(&mut self, client: &str, answer: HttpResponse, due: &str) {
        let (kind, format) = due.split_once(' ').expect("a format");
        let kind = format!("audio/{kind}");
        assert_eq!(
            answer.header("content-type"),
            Some(&*kind),
            "{}",
            self.scenario
        );
        let known = BEGINNINGS.iter().find(|(name, _)| *name == format);
        let (_, beginning) = known.expect("a format that is known");
        let listener = Listener::of(answer);
        let bytes = listener.begins(beginning.len() / 2).await;
        let begins: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let same = |(is, due): (char, char)| due == '.' || is == due;
        let is_same = begins.chars().zip(beginning.chars()).all(same);
        assert!(is_same, "{}: {format} begins with {begins}", self.scenario);
        let listener = match format {
            "vorbis" => listener.in_format("ogg"),
            "opus" => listener.in_format("opus"),
            _ => listener,
        };
        self.actor(client).listeners.push(listener);
    }

    /// Replaces what the recording had other values of: keys, signatures, tickets, numbers of rooms.
    fn filled(&mut self, text: &str) -> String {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            filled.push_str(before);
            rest = after;
            if let Some(after) = rest.strip_prefix("server") {
                let mut actors = self.actors.values();
                let events = actors.find_map(|actor| actor.events.as_ref());
                filled.push_str(&events.expect("an event stream").server_key);
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
                    let key = self.actor(name).key.public().to_string();
                    filled.push_str(&key.to_uppercase());
                }
                None => filled.push_str(&self.actor(name).key.public().to_string()),
            }
        }
        filled + rest
    }

    /// A signature; of what cannot be signed, one that is none.
    fn signature(&mut self, name: &str, challenge: &str) -> String {
        let ticket = |actor: &ReplayClient, back: usize| {
            let ticket = actor.tickets.iter().nth_back(back);
            ticket.expect("a ticket").clone().into_bytes()
        };
        let signed = match challenge {
            "ticket" => ticket(self.actor(name), 0),
            "old" => ticket(self.actor(name), 1),
            "ticket of A" => ticket(self.actor("A"), 0),
            "handshake" => vec![1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
            text => text.as_bytes().to_vec(),
        };
        let signature = self.actor(name).key.sign(signed);
        signature.unwrap_or_else(|| "3006020101020101".to_owned())
    }

    /// Creates a room, whose event reaches every user: events received before it were sent before it.
    async fn nobody_is_told_more(&mut self) {
        let line = if self.is_site {
            "9 FORM /joinRoom roomID=999&format=wav = 200 audio/wav wav"
        } else {
            self.asks("Z", "GET", "/getCallTicket = 200 ticket").await;
            "Z FORM /joinRoom roomID=999&format=wav&Signature=$Z(ticket) = 200 audio/wav wav"
        };
        self.play(line).await;
        for (client, actor) in &mut self.actors {
            let Some(events) = &mut actor.events else {
                continue;
            };
            let event = events.next().await;
            let is_last = event.name == "newRoom" && event.text().contains("\"name\": \"999\"");
            assert!(
                is_last,
                "{}: {client} is told {} {}",
                self.scenario,
                event.name,
                event.text()
            );
        }
    }
}

/// Removes the level, which is an extension; clients of the reference server ignore it.
fn without_levels(text: &str) -> String {
    let mut parts = text.split(", \"level\" : ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + &part[part.find('}').expect("an end")..]
    })
}

/// The members of a room have no order.
fn in_any_order(text: &str) -> Vec<&str> {
    let list = text.trim_start_matches('[').trim_end_matches(']');
    let mut items: Vec<&str> = list
        .split("},")
        .map(|item| item.trim_end_matches('}'))
        .collect();
    items.sort_unstable();
    items
}

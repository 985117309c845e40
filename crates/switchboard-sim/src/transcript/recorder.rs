//! Writes the server's part into a transcript.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    line::{Action, TranscriptLine},
    runner::TranscriptRunner,
};
use crate::ClientId;

/// The transcript with what the server does in it now, in place of what it says there. Lines that
/// still hold stay as they are written. To be read by a human before it is believed.
///
/// # Errors
/// The first line that cannot be played, and why.
pub fn record(text: &str) -> Result<String, String> {
    record_on(TranscriptRunner::default(), text)
}

pub(super) fn record_on(stage: TranscriptRunner, text: &str) -> Result<String, String> {
    let mut recorder = Recorder {
        stage,
        ..Recorder::default()
    };
    let mut lines = text.lines().peekable();
    while let Some(source) = lines.next() {
        let mut old = RecordedOutput::new();
        while let Some((name, verb, told)) = lines.peek().and_then(|line| answer(line)) {
            old.entry((name.to_owned(), verb))
                .or_default()
                .push_back(told);
            lines.next();
        }
        recorder
            .play(source, old)
            .map_err(|why| format!("{source}\n  {why}"))?;
    }
    Ok(recorder.named())
}

/// What the server did until now after some line: for whom, and how it is written.
type RecordedOutput<'a> = BTreeMap<(String, &'static str), VecDeque<&'a str>>;

const TOLD: &str = "<";
const POSTED: &str = "post";
const REFUSED: &str = "refused";
const CLOSED: &str = "close";

/// For whom the server does what, in a line about it.
fn answer(source: &str) -> Option<(&str, &'static str, &str)> {
    match TranscriptLine::parse(source) {
        Ok(TranscriptLine::Client(name, Action::Receives(frame))) => Some((name, TOLD, frame)),
        Ok(TranscriptLine::Client(name, Action::Posts(body))) => Some((name, POSTED, body)),
        Ok(TranscriptLine::Client(name, Action::IsRefused(code))) => Some((name, REFUSED, code)),
        Ok(TranscriptLine::Client(name, Action::IsClosed(_))) => Some((name, CLOSED, "")),
        Ok(_) | Err(_) => None,
    }
}

/// A line of the new transcript, and whether the server's values stand in it bare.
type WrittenLine = (String, bool);

#[derive(Default)]
struct Recorder {
    stage: TranscriptRunner,
    written: Vec<WrittenLine>,
    closed: BTreeSet<String>,
    /// Values that the server has made, and their names.
    values: Vec<(String, String)>,
}

impl Recorder {
    fn play(&mut self, source: &str, mut old: RecordedOutput<'_>) -> Result<(), String> {
        let line = TranscriptLine::parse(source)?;
        self.stage.act(&line)?;
        if let TranscriptLine::Let(name, value) = &line {
            self.values.push((value.clone(), format!("${name}")));
        }
        self.written.push((source.to_owned(), false));
        for (name, id) in self.stage.cast() {
            self.learn(&name, id);
            self.write(&name, id, &mut old);
        }
        Ok(())
    }

    fn write(&mut self, name: &str, id: ClientId, old: &mut RecordedOutput<'_>) {
        let mut old = |verb| old.remove(&(name.to_owned(), verb)).unwrap_or_default();
        let mut posted = old(POSTED);
        for post in self.stage.world().take_posts(id) {
            self.write_line(name, POSTED, &post.body, &mut posted);
        }
        let mut told = old(TOLD);
        for frame in self.stage.world().take_frames(id) {
            self.write_line(name, TOLD, &frame.text, &mut told);
        }
        for code in self.stage.world().take_unsaid(id) {
            self.written.push((format!("{name} refused {code}"), false));
        }
        let close = self.stage.world().closed(id);
        if let Some(close) = close.filter(|_| self.closed.insert(name.to_owned())) {
            self.written
                .push((format!("{name} {CLOSED} {}", close.code), false));
        }
    }

    fn write_line(&mut self, name: &str, verb: &str, text: &str, old: &mut VecDeque<&str>) {
        let old = old.pop_front().filter(|old| self.still_holds(old, text));
        let line = format!("{name} {verb} {}", old.unwrap_or(text));
        self.written.push((line, old.is_none()));
    }

    fn still_holds(&mut self, old: &str, frame: &str) -> bool {
        match (serde_json::from_str(old), serde_json::from_str(frame)) {
            (Ok(old), Ok(frame)) => self.stage.names.matches(&old, &frame),
            _ => false,
        }
    }

    /// Learns the ids that the server has made for a client: what its own kind calls it is
    /// `$name`, the id of its peer, where that is another, `$name_peer`.
    fn learn(&mut self, name: &str, id: ClientId) {
        let peer = self.stage.world().peer(id).to_string();
        let member = self.stage.world().member(id);
        let dialect = self.stage.world().dialect(id);
        let address = member.map(|(_, member)| member.address.to_string());
        match address {
            Some(address) if address != peer => {
                self.call(&format!("{name}_peer"), peer);
                if dialect != "lightstream" {
                    self.call(name, address);
                }
            }
            Some(_) => self.call(name, peer),
            None if dialect == "p2p" => self.call(name, peer),
            None => {}
        }
    }

    fn call(&mut self, name: &str, value: String) {
        let pair = (value.clone(), format!("${name}"));
        if !self.values.contains(&pair) {
            self.stage.names.set(name, value);
            self.values.push(pair);
        }
    }

    /// The lines, with names in place of bare values.
    fn named(self) -> String {
        let named = |(line, is_bare): WrittenLine| {
            let values = self.values.iter().filter(|_| is_bare);
            values.fold(line, |line, (value, name)| line.replace(value, name)) + "\n"
        };
        self.written.into_iter().map(named).collect()
    }
}

//! Records the output of the server into a transcript.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    TranscriptError,
    error::LineError,
    line::{TranscriptAction, TranscriptLine},
    runner::TranscriptRunner,
};
use crate::ClientId;

/// Replays the client lines of a transcript, and replaces its server lines (`<`, `post`, `refused`, `close`) by the
/// actual output. Server lines that still match are kept as written. The result must be reviewed before it is
/// committed.
///
/// # Errors
/// The first line that cannot be replayed, and the reason.
pub fn record(text: &str) -> Result<String, TranscriptError> {
    record_on(TranscriptRunner::default(), text)
}

pub(super) fn record_on(runner: TranscriptRunner, text: &str) -> Result<String, TranscriptError> {
    let mut recorder = Recorder {
        runner,
        ..Recorder::default()
    };
    let mut lines = text.lines().enumerate().peekable();
    while let Some((index, source)) = lines.next() {
        let mut old = RecordedOutput::new();
        while let Some((name, verb, old_text)) =
            lines.peek().and_then(|(_, line)| server_line(line))
        {
            old.entry((name.to_owned(), verb))
                .or_default()
                .push_back(old_text);
            lines.next();
        }
        recorder
            .run_line(source, old)
            .map_err(|error| TranscriptError::at(index, source, error))?;
    }
    Ok(recorder.into_text())
}

/// The server lines of the old transcript after one client line, by client and verb.
type RecordedOutput<'a> = BTreeMap<(String, &'static str), VecDeque<&'a str>>;

const FRAME: &str = "<";
const WEBHOOK: &str = "post";
const REFUSED: &str = "refused";
const CLOSED: &str = "close";

/// The client, verb and text of a server line; `None` for other lines.
fn server_line(source: &str) -> Option<(&str, &'static str, &str)> {
    match TranscriptLine::parse(source) {
        Ok(TranscriptLine::Client(name, TranscriptAction::Receives(frame))) => {
            Some((name, FRAME, frame))
        }
        Ok(TranscriptLine::Client(name, TranscriptAction::Posts(body))) => {
            Some((name, WEBHOOK, body))
        }
        Ok(TranscriptLine::Client(name, TranscriptAction::IsRefused(code))) => {
            Some((name, REFUSED, code))
        }
        Ok(TranscriptLine::Client(name, TranscriptAction::IsClosed(_))) => Some((name, CLOSED, "")),
        Ok(_) | Err(_) => None,
    }
}

/// A line of the new transcript, and whether it contains raw values that placeholders must replace.
type WrittenLine = (String, bool);

#[derive(Default)]
struct Recorder {
    runner: TranscriptRunner,
    written: Vec<WrittenLine>,
    closed: BTreeSet<String>,
    /// Values that the server has generated, and their placeholders.
    values: Vec<(String, String)>,
}

impl Recorder {
    /// Applies a client line and writes it, followed by the output that it causes.
    fn run_line(&mut self, source: &str, mut old: RecordedOutput<'_>) -> Result<(), LineError> {
        let line = TranscriptLine::parse(source)?;
        self.runner.apply_line(&line)?;
        if let TranscriptLine::Let(name, value) = &line {
            self.values.push((value.clone(), format!("${name}")));
        }
        self.written.push((source.to_owned(), false));
        for (name, id) in self.runner.clients() {
            self.record_ids(&name, id);
            self.write(&name, id, &mut old);
        }
        Ok(())
    }

    fn write(&mut self, name: &str, id: ClientId, old: &mut RecordedOutput<'_>) {
        let mut old = |verb| old.remove(&(name.to_owned(), verb)).unwrap_or_default();
        let mut old_webhooks = old(WEBHOOK);
        for webhook in self.runner.simulation().take_webhooks(id) {
            self.write_line(name, WEBHOOK, &webhook.body, &mut old_webhooks);
        }
        let mut old_frames = old(FRAME);
        for frame in self.runner.simulation().take_frames(id) {
            self.write_line(name, FRAME, &frame.text, &mut old_frames);
        }
        for code in self.runner.simulation().take_silent_errors(id) {
            self.written.push((format!("{name} refused {code}"), false));
        }
        let close = self.runner.simulation().closed(id);
        if let Some(close) = close.filter(|_| self.closed.insert(name.to_owned())) {
            self.written
                .push((format!("{name} {CLOSED} {}", close.code), false));
        }
    }

    fn write_line(&mut self, name: &str, verb: &str, text: &str, old: &mut VecDeque<&str>) {
        let old = old.pop_front().filter(|old| self.still_matches(old, text));
        let line = format!("{name} {verb} {}", old.unwrap_or(text));
        self.written.push((line, old.is_none()));
    }

    fn still_matches(&mut self, old: &str, frame: &str) -> bool {
        match (serde_json::from_str(old), serde_json::from_str(frame)) {
            (Ok(old), Ok(frame)) => self.runner.names.matches(&old, &frame),
            _ => false,
        }
    }

    /// Defines placeholders for the ids of a client: `$name` for its address, and `$name_peer` for its peer id if that
    /// is different.
    fn record_ids(&mut self, name: &str, id: ClientId) {
        let peer = self.runner.simulation().peer(id).to_string();
        let member = self.runner.simulation().member(id);
        let dialect = self.runner.simulation().dialect(id);
        let address = member.map(|(_, member)| member.address.to_string());
        match address {
            Some(address) if address != peer => {
                self.set_placeholder(&format!("{name}_peer"), peer);
                // In `lightstream`, clients choose their addresses, so these stay in the transcript.
                if dialect != "lightstream" {
                    self.set_placeholder(name, address);
                }
            }
            Some(_) => self.set_placeholder(name, peer),
            // A `p2p` client is told its peer id before it joins a room.
            None if dialect == "p2p" => self.set_placeholder(name, peer),
            None => {}
        }
    }

    fn set_placeholder(&mut self, name: &str, value: String) {
        let pair = (value.clone(), format!("${name}"));
        if !self.values.contains(&pair) {
            self.runner.names.set(name, value);
            self.values.push(pair);
        }
    }

    /// The lines of the transcript, with placeholders in place of raw values.
    fn into_text(self) -> String {
        let line_text = |(line, has_raw_values): WrittenLine| {
            let values = self.values.iter().filter(|_| has_raw_values);
            values.fold(line, |line, (value, name)| line.replace(value, name)) + "\n"
        };
        self.written.into_iter().map(line_text).collect()
    }
}

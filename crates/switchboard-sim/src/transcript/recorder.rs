//! Writes the server's part into a transcript.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    line::{Deed, Line},
    stage::Stage,
};
use crate::ClientId;

/// The transcript with what the server does in it now, in place of what it says there. Lines that
/// still hold stay as they are written. To be read by a human before it is believed.
///
/// # Errors
/// The first line that cannot be played, and why.
pub fn record(text: &str) -> Result<String, String> {
    let mut recorder = Recorder::default();
    let mut lines = text.lines().peekable();
    while let Some(source) = lines.next() {
        let mut old = BTreeMap::<_, VecDeque<_>>::new();
        while let Some((name, told)) = lines.peek().and_then(|line| answer(line)) {
            old.entry(name).or_default().push_back(told);
            lines.next();
        }
        recorder
            .play(source, old)
            .map_err(|why| format!("{source}\n  {why}"))?;
    }
    Ok(recorder.named())
}

/// Who is told what, in a line about the server; a refusal without words and a close are told as
/// nothing.
fn answer(source: &str) -> Option<(&str, &str)> {
    match Line::parse(source) {
        Ok(Line::Client(name, Deed::Receives(frame))) => Some((name, frame)),
        Ok(Line::Client(name, Deed::IsRefused(_) | Deed::IsClosed(_))) => Some((name, "")),
        Ok(_) | Err(_) => None,
    }
}

/// A line of the new transcript, and whether the server's values stand in it bare.
type Written = (String, bool);

#[derive(Default)]
struct Recorder {
    stage: Stage,
    written: Vec<Written>,
    closed: BTreeSet<String>,
    /// Values that the server has made, and their names.
    values: Vec<(String, String)>,
}

impl Recorder {
    fn play(
        &mut self,
        source: &str,
        mut old: BTreeMap<&str, VecDeque<&str>>,
    ) -> Result<(), String> {
        let line = Line::parse(source)?;
        self.stage.act(&line)?;
        if let Line::Let(name, value) = &line {
            self.values.push((value.clone(), format!("${name}")));
        }
        self.written.push((source.to_owned(), false));
        for (name, id) in self.stage.cast() {
            self.learn(&name, id);
            self.write(
                &name,
                id,
                &mut old.remove(name.as_str()).unwrap_or_default(),
            );
        }
        Ok(())
    }

    fn write(&mut self, name: &str, id: ClientId, old: &mut VecDeque<&str>) {
        for frame in self.stage.world().take_frames(id) {
            let old = old
                .pop_front()
                .filter(|old| self.still_holds(old, &frame.text));
            let text = old.unwrap_or(&frame.text);
            self.written
                .push((format!("{name} < {text}"), old.is_none()));
        }
        for code in self.stage.world().take_unsaid(id) {
            self.written.push((format!("{name} refused {code}"), false));
        }
        let close = self.stage.world().closed(id);
        if let Some(close) = close.filter(|_| self.closed.insert(name.to_owned())) {
            self.written
                .push((format!("{name} close {}", close.code), false));
        }
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
        let named = |(line, is_bare): Written| {
            let values = self.values.iter().filter(|_| is_bare);
            values.fold(line, |line, (value, name)| line.replace(value, name)) + "\n"
        };
        self.written.into_iter().map(named).collect()
    }
}

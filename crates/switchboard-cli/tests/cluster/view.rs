//! What a client knows of the others, by what it was told.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    time::Instant,
};

use crate::{
    oracle::Violation,
    record::{LogEntry, Name, ObservedEvent, Record, RoomStay},
};

/// What a client knows of another, since it last saw it leave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Met {
    pub(crate) since: Instant,
    /// How often it was told to call.
    pub(crate) calls: usize,
}

/// What a client knows by what it was told.
#[derive(Debug, Default)]
pub(crate) struct View<'r> {
    pub(crate) met: BTreeMap<&'r str, Met>,
    /// Those who have called it, in dialects that announce nobody.
    pub(crate) heard: BTreeSet<&'r str>,
    pub(crate) list: Option<&'r [Name]>,
}
/// Goes through what a client was told: what it knows at the end, and what was wrong.
pub(crate) fn walk<'r>(
    record: &'r Record,
    index: usize,
    stay: &'r RoomStay,
) -> (View<'r>, Vec<Violation>) {
    let (mut view, mut words) = (View::default(), Vec::new());
    for LogEntry { at, what } in &stay.noted {
        words.extend(view.note(record, stay, *at, what));
    }
    let faults = words
        .into_iter()
        .map(|words| Violation::new([index], format!("client {} {words}", stay.client)));
    (view, faults.collect())
}

impl<'r> View<'r> {
    fn note(
        &mut self,
        record: &'r Record,
        stay: &RoomStay,
        at: Instant,
        what: &'r ObservedEvent,
    ) -> Option<String> {
        match what {
            ObservedEvent::Call(name) => {
                let calls = &mut self
                    .met
                    .entry(name)
                    .or_insert(Met {
                        since: at,
                        calls: 0,
                    })
                    .calls;
                *calls += 1;
                (*calls > 1).then(|| format!("is told {calls} times to call {name}"))
            }
            ObservedEvent::Came(name) => {
                let met = Met {
                    since: at,
                    calls: 0,
                };
                let before = self.met.insert(name, met);
                before.map(|before| {
                    format!(
                        "sees {name} come, who has been there for {:?}",
                        at - before.since
                    )
                })
            }
            ObservedEvent::Left(name) => {
                let was_met = self.met.remove(&**name).is_some();
                self.heard.remove(&**name);
                (!was_met && stay.tongue.tells_arrivals())
                    .then(|| format!("sees {name} leave, and did not know it"))
            }
            ObservedEvent::List(names) => {
                self.list = Some(names);
                let distinct: HashSet<_> = names.iter().collect();
                (distinct.len() < names.len()).then(|| format!("sees somebody twice in {names:?}"))
            }
            ObservedEvent::Heard { from, serial } => {
                self.heard.insert(from);
                self.hears(record, stay, from, *serial)
            }
            ObservedEvent::Error(_) => None,
        }
    }

    /// Promises 2 and 4.
    fn hears(&self, record: &Record, stay: &RoomStay, from: &str, serial: usize) -> Option<String> {
        let Some(signal) = record.signals.get(serial) else {
            return Some(format!("hears signal {serial}, which nobody has sent"));
        };
        let sender = &record.stays[signal.from];
        if !sender.is_named(from) {
            return Some(format!(
                "hears signal {serial} of {:?} in the name of {from}",
                sender.me
            ));
        }
        if sender.room != stay.room || !stay.is_named(&signal.to) {
            return Some(format!(
                "hears signal {serial}, which was for {} in room {}",
                signal.to, sender.room
            ));
        }
        if stay.tongue.tells_arrivals() && !self.met.contains_key(from) {
            return Some(format!("hears {from}, whom it does not know"));
        }
        None
    }
}

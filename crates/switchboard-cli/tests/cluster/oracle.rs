//! Whether the clients were told what the promises of the design say, and nothing else.
//!
//! What is here may still come right: a view that is not yet the room, a call that nobody was told
//! to make, a signal under way. What stays wrong for ever is in [`history`](crate::history).

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt,
    time::{Duration, Instant},
};

use crate::{
    dialects::ClientDialect,
    record::{LogEntry, ObservedEvent, QuiescentPeriod, Record, RoomStay},
    view::{View, walk},
};

/// What is sent so shortly before somebody's end may be lost.
const FAREWELL: Duration = Duration::from_secs(1);

/// What is wrong, and in whose log it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) stays: Vec<usize>,
    pub(crate) words: String,
}

impl Violation {
    pub(crate) fn new(stays: impl Into<Vec<usize>>, words: impl Into<String>) -> Self {
        Self {
            stays: stays.into(),
            words: words.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (stays {:?})", self.words, self.stays)
    }
}
/// What is not yet as it should be when it is calm: the views, and who calls.
pub(crate) fn unsettled(record: &Record, calm: &[QuiescentPeriod]) -> Vec<Violation> {
    let views = views(record);
    let mut faults = waiting(record);
    for (index, stay) in record.stays.iter().enumerate() {
        if stay.is_in() {
            let others: BTreeSet<&str> = others(record, stay).collect();
            let words = views
                .get(&index)
                .and_then(|view| strays(stay, view, &others));
            faults.extend(words.map(|words| Violation::new([index], words)));
        }
    }
    let first_seen = FirstSeen::of(record);
    let rooms: BTreeSet<_> = record.stays.iter().map(|stay| stay.room).collect();
    for room in rooms {
        let members: Vec<_> = record.members(room).collect();
        for (nth, one) in members.iter().enumerate() {
            for other in &members[nth + 1..] {
                faults.extend(pair(*one, *other, &views, &first_seen, calm));
            }
        }
    }
    faults
}

fn waiting(record: &Record) -> Vec<Violation> {
    let inside: HashSet<_> = record
        .stays
        .iter()
        .filter(|stay| stay.is_in())
        .map(|stay| stay.client)
        .collect();
    let outside = (0..record.players).filter(|client| !inside.contains(client));
    outside
        .map(|client| {
            Violation::new(
                last_stay(record, client),
                format!("client {client} is in no room"),
            )
        })
        .collect()
}

fn last_stay(record: &Record, client: usize) -> Vec<usize> {
    let last = record.stays.iter().rposition(|stay| stay.client == client);
    last.into_iter().collect()
}

fn others<'r>(record: &'r Record, me: &'r RoomStay) -> impl Iterator<Item = &'r str> {
    let members = record.members(me.room).map(|(_, stay)| stay);
    members
        .filter_map(|stay| stay.me.as_deref())
        .filter(|name| !me.is_named(name))
}

/// How a view differs from the truth.
fn strays(stay: &RoomStay, view: &View<'_>, others: &BTreeSet<&str>) -> Option<String> {
    let seen: BTreeSet<&str> = match stay.tongue {
        ClientDialect::Lightstream | ClientDialect::P2p => view.met.keys().copied().collect(),
        ClientDialect::Singo => view
            .met
            .keys()
            .copied()
            .chain(view.heard.iter().copied())
            .collect(),
        ClientDialect::Mesh => view.list?.iter().map(|name| &**name).collect(),
    };
    let ghosts: Vec<_> = seen.difference(others).collect();
    let unknown: Vec<_> = match stay.tongue {
        // It is told only whom it shall call.
        ClientDialect::Singo => Vec::new(),
        ClientDialect::Lightstream | ClientDialect::P2p | ClientDialect::Mesh => {
            others.difference(&seen).collect()
        }
    };
    let is_right = ghosts.is_empty() && unknown.is_empty();
    (!is_right).then(|| {
        format!(
            "client {} sees {ghosts:?} who are not there, and not {unknown:?} who are",
            stay.client
        )
    })
}

/// Promise 1 for two members of one room, each with its number.
fn pair(
    one: (usize, &RoomStay),
    other: (usize, &RoomStay),
    views: &HashMap<usize, View<'_>>,
    first_seen: &FirstSeen<'_>,
    calm: &[QuiescentPeriod],
) -> Option<Violation> {
    let told = |me: (usize, &RoomStay), you: &RoomStay| {
        let met = views.get(&me.0)?.met.get(you.me.as_deref()?).copied();
        met.filter(|met| met.calls > 0)
    };
    let (first, second) = (told(one, other.1), told(other, one.1));
    let (a, b) = (one.1.client, other.1.client);
    let words = match (
        one.1.tongue.is_told_to_call(),
        other.1.tongue.is_told_to_call(),
    ) {
        (false, false) if first.is_some() || second.is_some() => {
            format!("of {a} and {b}, who are never told, one is told to call")
        }
        (false, false) => return None,
        _ if first.is_some() && second.is_some() => format!("{a} and {b} are both told to call"),
        _ if first.is_none() && second.is_none() => format!("neither {a} nor {b} is told to call"),
        (false, true) if first.is_some() => {
            format!("{a} is told to call {b}, and it should be the other way")
        }
        (true, false) if second.is_some() => {
            format!("{b} is told to call {a}, and it should be the other way")
        }
        _ => {
            let due = first_seen.caller(one, other, calm)?;
            let caller = if first.is_some() { one.0 } else { other.0 };
            if caller == due {
                return None;
            }
            format!("of {a} and {b} the wrong one is told to call: it is not the custom")
        }
    };
    let words = format!("{words} ({:?} and {:?})", one.1.tongue, other.1.tongue);
    Some(Violation::new([one.0, other.0], words))
}

/// When anybody was told of somebody.
struct FirstSeen<'r>(HashMap<&'r str, Vec<Instant>>);

impl<'r> FirstSeen<'r> {
    fn of(record: &'r Record) -> Self {
        let mut seen: HashMap<&str, Vec<Instant>> = HashMap::new();
        for stay in &record.stays {
            for LogEntry { at, what } in &stay.noted {
                if let ObservedEvent::Call(name) | ObservedEvent::Came(name) = what {
                    seen.entry(name).or_default().push(*at);
                }
            }
        }
        Self(seen)
    }

    /// Who of two must be told to call, where their logs say for certain who came later and nothing
    /// has disturbed the order since.
    fn caller(
        &self,
        one: (usize, &RoomStay),
        other: (usize, &RoomStay),
        calm: &[QuiescentPeriod],
    ) -> Option<usize> {
        let (member, newcomer) = if one.1.asked < other.1.asked {
            (one, other)
        } else {
            (other, one)
        };
        let seen = self.0.get(member.1.me.as_deref()?)?;
        let confirmed = seen.iter().filter(|at| **at >= member.1.asked).min()?;
        let entered = self.0.get(newcomer.1.me.as_deref()?)?;
        let introduced = entered.iter().filter(|at| **at >= newcomer.1.asked).max()?;
        let is_certain = *confirmed < newcomer.1.asked
            && member
                .1
                .entered
                .is_some_and(|entered| entered < newcomer.1.asked)
            && calm
                .iter()
                .any(|calm| calm.covers(member.1.asked, *introduced));
        let caller = match (member.1.tongue, newcomer.1.tongue) {
            (ClientDialect::Singo, ClientDialect::Singo) | (_, ClientDialect::Mesh) => member,
            _ => newcomer,
        };
        is_certain.then_some(caller.0)
    }
}

/// Signals of calm times that have not arrived where they should have, and were not refused.
pub(crate) fn undelivered(record: &Record, calm: &[QuiescentPeriod]) -> Vec<Violation> {
    let heard: HashSet<usize> = record
        .stays
        .iter()
        .flat_map(|stay| &stay.noted)
        .filter_map(|noted| match noted.what {
            ObservedEvent::Heard { serial, .. } => Some(serial),
            ObservedEvent::Call(_)
            | ObservedEvent::Came(_)
            | ObservedEvent::Left(_)
            | ObservedEvent::List(_)
            | ObservedEvent::Error(_) => None,
        })
        .collect();
    let mut refusals: HashMap<usize, usize> = HashMap::new();
    let mut faults = Vec::new();
    for (serial, signal) in record.signals.iter().enumerate() {
        let end = signal.at + FAREWELL;
        let sender = &record.stays[signal.from];
        let is_calm = calm.iter().any(|calm| calm.covers(signal.at, end));
        if heard.contains(&serial) || !is_calm || !sender.was_in(end) {
            continue;
        }
        let receiver = record.stays.iter().position(|stay| {
            stay.room == sender.room
                && stay.is_named(&signal.to)
                && stay.was_in(signal.at)
                && stay.was_in(end)
        });
        let used = refusals.entry(signal.from).or_default();
        let Some(receiver) = receiver else { continue };
        let errors = sender
            .noted
            .iter()
            .filter(|noted| noted.at >= signal.at && matches!(noted.what, ObservedEvent::Error(_)));
        if errors.count() > *used {
            *used += 1;
        } else {
            let words = format!(
                "signal {serial} of client {} to client {} neither arrived nor was refused",
                sender.client, record.stays[receiver].client
            );
            faults.push(Violation::new([signal.from, receiver], words));
        }
    }
    faults
}

fn views(record: &Record) -> HashMap<usize, View<'_>> {
    let stays = record
        .stays
        .iter()
        .enumerate()
        .filter(|(_, stay)| stay.is_in());
    stays
        .map(|(index, stay)| (index, walk(record, index, stay).0))
        .collect()
}

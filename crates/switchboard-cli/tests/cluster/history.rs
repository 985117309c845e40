//! What was wrong in what anybody was told, and stays so.

use std::collections::{BTreeSet, HashMap};

use crate::{
    dialects::{ClientDialect, LIGHTSTREAM_NICK},
    end::NO_ANSWER,
    oracle::Violation,
    record::{LogEntry, ObservedEvent, QuiescentPeriod, Record, RoomStay},
    view::walk,
};

/// What was wrong in what anybody was told.
pub(crate) fn wrongs(record: &Record, calm: &[QuiescentPeriod]) -> Vec<Violation> {
    let tongues = record.tongues();
    let mut faults = Vec::new();
    for (index, stay) in record.stays.iter().enumerate() {
        faults.extend(walk(record, index, stay).1);
        faults.extend(late_orders(index, stay, &tongues, calm));
        faults.extend(order(record, index, stay));
        faults.extend(after_departure(record, index, stay, calm));
        faults.extend(thrown_out(index, stay, calm));
        faults.extend(unanswered(index, stay, calm));
    }
    for calm in calm {
        faults.extend(one_order(record, calm));
    }
    faults
}
/// Clients that are told of arrivals: who has been announced calls, unless its dialect cannot be told
/// to. A member that the others had lost is the newcomer, and is told both: that is no calm time.
fn late_orders(
    index: usize,
    stay: &RoomStay,
    tongues: &HashMap<&str, ClientDialect>,
    calm: &[QuiescentPeriod],
) -> Option<Violation> {
    let mut announced = BTreeSet::new();
    for LogEntry { at, what } in &stay.noted {
        match what {
            ObservedEvent::Came(name) => drop(announced.insert(name)),
            ObservedEvent::Left(name) => drop(announced.remove(name)),
            ObservedEvent::Call(name) if announced.contains(name) => {
                let is_calm = calm.iter().any(|calm| calm.covers(*at, *at));
                let can_call = tongues
                    .get(&**name)
                    .is_some_and(|tongue| tongue.is_told_to_call());
                if is_calm && can_call {
                    let words = format!(
                        "client {} is told to call {name}, who came later and can be told to",
                        stay.client
                    );
                    return Some(Violation::new([index], words));
                }
            }
            ObservedEvent::Call(_)
            | ObservedEvent::List(_)
            | ObservedEvent::Heard { .. }
            | ObservedEvent::Error(_) => {}
        }
    }
    None
}

/// Promise 2, for clients that are not told of arrivals either: who has ended and was seen to leave is
/// not heard. In times that are not calm it may have been back, for a connection may end late.
fn after_departure(
    record: &Record,
    index: usize,
    stay: &RoomStay,
    calm: &[QuiescentPeriod],
) -> Option<Violation> {
    let mut departed = HashMap::new();
    for LogEntry { at, what } in &stay.noted {
        match what {
            ObservedEvent::Left(name) => drop(departed.insert(name, *at)),
            ObservedEvent::Call(name) | ObservedEvent::Came(name) => drop(departed.remove(name)),
            ObservedEvent::Heard { from, serial } => {
                let Some(left) = departed.get(from) else {
                    continue;
                };
                let sender = record
                    .signals
                    .get(*serial)
                    .map(|signal| &record.stays[signal.from]);
                let is_over = sender.is_some_and(|sender| {
                    sender.is_named(from) && sender.ended.is_some_and(|ended| ended < *left)
                });
                if is_over && calm.iter().any(|calm| calm.covers(*left, *at)) {
                    let words = format!(
                        "client {} hears {from} in signal {serial}, after it has left",
                        stay.client
                    );
                    return Some(Violation::new([index], words));
                }
            }
            ObservedEvent::List(_) | ObservedEvent::Error(_) => {}
        }
    }
    None
}

/// Promise 3: what one says to another comes in the order said, once.
fn order(record: &Record, index: usize, stay: &RoomStay) -> Option<Violation> {
    let mut last = HashMap::new();
    for LogEntry { what, .. } in &stay.noted {
        let ObservedEvent::Heard { serial, .. } = what else {
            continue;
        };
        let Some(signal) = record.signals.get(*serial) else {
            continue;
        };
        if let Some(before) = last
            .insert(signal.from, *serial)
            .filter(|before| before >= serial)
        {
            let words = format!(
                "client {} hears signal {serial} after {before} of the same sender",
                stay.client
            );
            return Some(Violation::new([index, signal.from], words));
        }
    }
    None
}

/// Nobody who is alive loses its place while nothing is disturbed.
fn thrown_out(index: usize, stay: &RoomStay, calm: &[QuiescentPeriod]) -> Option<Violation> {
    let is_calm = |at| calm.iter().any(|calm| calm.covers(at, at));
    let entered = stay.entered?;
    let out = stay.noted.iter().find(|noted| {
        let is_out = matches!(&noted.what, ObservedEvent::Error(code) if matches!(&**code, "evicted" | "not-in-room"));
        is_out && noted.at > entered && is_calm(noted.at)
    })?;
    Some(Violation::new(
        [index],
        format!("client {} lost its place: {:?}", stay.client, out.what),
    ))
}

/// Who asks for a place is told yes or no.
fn unanswered(index: usize, stay: &RoomStay, calm: &[QuiescentPeriod]) -> Option<Violation> {
    let ended = stay.ended.filter(|_| stay.why == NO_ANSWER)?;
    let is_calm = calm.iter().any(|calm| calm.covers(stay.asked, ended));
    is_calm.then(|| {
        Violation::new(
            [index],
            format!("client {} asked for a place and had no answer", stay.client),
        )
    })
}

/// Promise 3: those who are told of arrivals see all of them in one order.
fn one_order(record: &Record, calm: &QuiescentPeriod) -> Vec<Violation> {
    let mut faults = Vec::new();
    let mut last: HashMap<usize, (usize, Changes<'_>)> = HashMap::new();
    for (index, stay) in record.stays.iter().enumerate() {
        if !stay.tongue.tells_arrivals() {
            continue;
        }
        let changes = changes(stay, calm);
        if let Some((other, before)) = last.get(&stay.room) {
            let mine: Vec<_> = changes
                .iter()
                .filter(|change| before.contains(change))
                .collect();
            let yours: Vec<_> = before
                .iter()
                .filter(|change| changes.contains(change))
                .collect();
            if mine != yours {
                let words = format!(
                    "of room {} two see another order: {mine:?} and {yours:?}",
                    stay.room
                );
                faults.push(Violation::new([*other, index], words));
            }
        }
        last.insert(stay.room, (index, changes));
    }
    faults
}

/// Who came, and who did not but left.
type Changes<'r> = Vec<(bool, &'r str)>;

/// Who came and who left in a calm time. Names that can come again are left out.
fn changes<'r>(stay: &'r RoomStay, calm: &QuiescentPeriod) -> Changes<'r> {
    let noted = stay
        .noted
        .iter()
        .filter(|noted| calm.covers(noted.at, noted.at));
    let changes = noted.filter_map(|noted| match &noted.what {
        ObservedEvent::Came(name) => Some((true, &**name)),
        ObservedEvent::Left(name) => Some((false, &**name)),
        ObservedEvent::Call(_)
        | ObservedEvent::List(_)
        | ObservedEvent::Heard { .. }
        | ObservedEvent::Error(_) => None,
    });
    changes
        .filter(|(_, name)| !name.starts_with(LIGHTSTREAM_NICK))
        .collect()
}

//! Violations of the invariants that are permanent: no later event repairs them. Those that may be temporary are in
//! [`oracle`](crate::oracle).
//!
//! The servers guarantee more while no fault occurs, so most checks look only at quiescent periods: periods without
//! faults.

use std::collections::{BTreeSet, HashMap};

use crate::{
    connection_end::NO_ANSWER,
    dialects::{ClientDialect, LIGHTSTREAM_NICK},
    oracle::Violation,
    record::{LogEntry, MembershipRecord, QuiescentPeriod, Record, RecordedEvent},
    view::read_view,
};

/// All permanent violations.
pub(crate) fn permanent_violations(
    record: &Record,
    quiescent: &[QuiescentPeriod],
) -> Vec<Violation> {
    let dialects_by_name = record.dialects_by_name();
    let mut violations = Vec::new();
    for (index, membership) in record.memberships.iter().enumerate() {
        violations.extend(read_view(record, index, membership).1);
        violations.extend(check_offer_order(
            index,
            membership,
            &dialects_by_name,
            quiescent,
        ));
        violations.extend(check_signal_order(record, index, membership));
        violations.extend(check_signals_after_leave(
            record, index, membership, quiescent,
        ));
        violations.extend(check_lost_memberships(index, membership, quiescent));
        violations.extend(check_answers(index, membership, quiescent));
    }
    for period in quiescent {
        violations.extend(check_common_order(record, period));
    }
    violations
}

/// In dialects that announce joins, the newcomer sends the offer. An older member may be told to offer only if the
/// dialect of the newcomer cannot tell its client to offer. Periods with faults are not checked: a member whose
/// membership was lost and restored in one is a newcomer to the others.
fn check_offer_order(
    index: usize,
    membership: &MembershipRecord,
    dialects_by_name: &HashMap<&str, ClientDialect>,
    quiescent: &[QuiescentPeriod],
) -> Option<Violation> {
    let mut announced = BTreeSet::new();
    for LogEntry { at, event } in &membership.events {
        match event {
            RecordedEvent::Joined(name) => drop(announced.insert(name)),
            RecordedEvent::Left(name) => drop(announced.remove(name)),
            RecordedEvent::MustOffer(name) if announced.contains(name) => {
                let is_quiescent = quiescent.iter().any(|period| period.covers(*at, *at));
                let newcomer_can_offer = dialects_by_name
                    .get(&**name)
                    .is_some_and(|dialect| dialect.requests_offers());
                if is_quiescent && newcomer_can_offer {
                    let text = format!(
                        "client {} was told to offer to {name}, which joined later and must offer",
                        membership.client
                    );
                    return Some(Violation::new([index], text));
                }
            }
            RecordedEvent::MustOffer(_)
            | RecordedEvent::MemberList(_)
            | RecordedEvent::Signal { .. }
            | RecordedEvent::Error(_) => {}
        }
    }
    None
}

/// After a client is told that a member has left, it receives no signal of that membership. Periods with faults are not
/// checked: in one, a connected member may be reported as left and be restored.
fn check_signals_after_leave(
    record: &Record,
    index: usize,
    membership: &MembershipRecord,
    quiescent: &[QuiescentPeriod],
) -> Option<Violation> {
    let mut departed = HashMap::new();
    for LogEntry { at, event } in &membership.events {
        match event {
            RecordedEvent::Left(name) => drop(departed.insert(name, *at)),
            RecordedEvent::MustOffer(name) | RecordedEvent::Joined(name) => {
                _ = departed.remove(name)
            }
            RecordedEvent::Signal { from, serial } => {
                let Some(left) = departed.get(from) else {
                    continue;
                };
                let sender = record
                    .signals
                    .get(*serial)
                    .map(|signal| &record.memberships[signal.from]);
                let has_ended = sender.is_some_and(|sender| {
                    sender.is_named(from)
                        && sender.ended_at.is_some_and(|ended_at| ended_at < *left)
                });
                if has_ended && quiescent.iter().any(|period| period.covers(*left, *at)) {
                    let text = format!(
                        "client {} received signal {serial} of {from} after its leave",
                        membership.client
                    );
                    return Some(Violation::new([index], text));
                }
            }
            RecordedEvent::MemberList(_) | RecordedEvent::Error(_) => {}
        }
    }
    None
}

/// The signals of one sender arrive once, in the order of sending.
fn check_signal_order(
    record: &Record,
    index: usize,
    membership: &MembershipRecord,
) -> Option<Violation> {
    let mut last = HashMap::new();
    for LogEntry { event, .. } in &membership.events {
        let RecordedEvent::Signal { serial, .. } = event else {
            continue;
        };
        let Some(signal) = record.signals.get(*serial) else {
            continue;
        };
        if let Some(before) = last
            .insert(signal.from, *serial)
            .filter(|before| before >= serial)
        {
            let text = format!(
                "client {} received signal {serial} after {before} of the same sender",
                membership.client
            );
            return Some(Violation::new([index, signal.from], text));
        }
    }
    None
}

/// No client that is responsive loses its membership in a quiescent period.
fn check_lost_memberships(
    index: usize,
    membership: &MembershipRecord,
    quiescent: &[QuiescentPeriod],
) -> Option<Violation> {
    let is_quiescent = |at| quiescent.iter().any(|period| period.covers(at, at));
    let joined_at = membership.joined_at?;
    let loss = membership.events.iter().find(|entry| {
        let is_loss = matches!(&entry.event, RecordedEvent::Error(code) if matches!(&**code, "evicted" | "not-in-room"));
        is_loss && entry.at > joined_at && is_quiescent(entry.at)
    })?;
    Some(Violation::new(
        [index],
        format!(
            "client {} lost its membership: {:?}",
            membership.client, loss.event
        ),
    ))
}

/// Every join that is requested in a quiescent period is answered.
fn check_answers(
    index: usize,
    membership: &MembershipRecord,
    quiescent: &[QuiescentPeriod],
) -> Option<Violation> {
    let ended_at = membership
        .ended_at
        .filter(|_| membership.end_reason == NO_ANSWER)?;
    let is_quiescent = quiescent
        .iter()
        .any(|period| period.covers(membership.requested_at, ended_at));
    is_quiescent.then(|| {
        Violation::new(
            [index],
            format!(
                "client {} requested a join that was not answered",
                membership.client
            ),
        )
    })
}

/// The members of a room observe all joins and leaves in the same order, in the dialects that announce joins.
fn check_common_order(record: &Record, period: &QuiescentPeriod) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut last: HashMap<usize, (usize, Changes<'_>)> = HashMap::new();
    for (index, membership) in record.memberships.iter().enumerate() {
        if !membership.dialect.announces_joins() {
            continue;
        }
        let changes = changes(membership, period);
        if let Some((other, before)) = last.get(&membership.room) {
            let first_order: Vec<_> = changes
                .iter()
                .filter(|change| before.contains(change))
                .collect();
            let second_order: Vec<_> = before
                .iter()
                .filter(|change| changes.contains(change))
                .collect();
            if first_order != second_order {
                let text = format!(
                    "two members of room {} observe different orders: {first_order:?} and {second_order:?}",
                    membership.room
                );
                violations.push(Violation::new([*other, index], text));
            }
        }
        last.insert(membership.room, (index, changes));
    }
    violations
}

/// Joins (true) and leaves (false), with the names.
type Changes<'r> = Vec<(bool, &'r str)>;

/// The joins and leaves in a quiescent period. Those of `lightstream` clients are left out: such a client may join
/// again by the same name, so a name does not identify its membership.
fn changes<'r>(membership: &'r MembershipRecord, period: &QuiescentPeriod) -> Changes<'r> {
    let events = membership
        .events
        .iter()
        .filter(|entry| period.covers(entry.at, entry.at));
    let changes = events.filter_map(|entry| match &entry.event {
        RecordedEvent::Joined(name) => Some((true, &**name)),
        RecordedEvent::Left(name) => Some((false, &**name)),
        RecordedEvent::MustOffer(_)
        | RecordedEvent::MemberList(_)
        | RecordedEvent::Signal { .. }
        | RecordedEvent::Error(_) => None,
    });
    changes
        .filter(|(_, name)| !name.starts_with(LIGHTSTREAM_NICK))
        .collect()
}

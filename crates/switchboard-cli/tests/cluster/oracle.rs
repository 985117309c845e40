//! Checks that the clients received the events that the invariants require, and no others.
//!
//! The violations here may be temporary: a view (the members that a client knows) that is not consistent with the room
//! yet, a client that has not been told yet to send an offer, a signal in transit. Permanent violations are in
//! [`history`](crate::history).

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt,
    time::{Duration, Instant},
};

use crate::{
    dialects::ClientDialect,
    record::{LogEntry, MembershipRecord, QuiescentPeriod, Record, RecordedEvent},
    view::{View, read_view},
};

/// Signals that are sent this shortly before the end of a membership may be lost.
const END_TOLERANCE: Duration = Duration::from_secs(1);

/// A violated invariant, with the memberships whose logs show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) memberships: Vec<usize>,
    pub(crate) text: String,
}

impl Violation {
    pub(crate) fn new(memberships: impl Into<Vec<usize>>, text: impl Into<String>) -> Self {
        Self {
            memberships: memberships.into(),
            text: text.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (memberships {:?})", self.text, self.memberships)
    }
}

/// Violations that must end soon after the last fault: inconsistent views, and pairs of members of which none or both
/// were told to send the offer. `quiescent` are the periods without faults.
pub(crate) fn temporary_violations(
    record: &Record,
    quiescent: &[QuiescentPeriod],
) -> Vec<Violation> {
    let views = views(record);
    let mut violations = clients_without_room(record);
    for (index, membership) in record.memberships.iter().enumerate() {
        if membership.is_member() {
            let others: BTreeSet<&str> = others(record, membership).collect();
            let text = views
                .get(&index)
                .and_then(|view| view_difference(membership, view, &others));
            violations.extend(text.map(|text| Violation::new([index], text)));
        }
    }
    let first_seen = FirstSeen::of(record);
    let rooms: BTreeSet<_> = record
        .memberships
        .iter()
        .map(|membership| membership.room)
        .collect();
    for room in rooms {
        let members: Vec<_> = record.members(room).collect();
        for (nth, one) in members.iter().enumerate() {
            for other in &members[nth + 1..] {
                violations.extend(check_pair(*one, *other, &views, &first_seen, quiescent));
            }
        }
    }
    violations
}

fn clients_without_room(record: &Record) -> Vec<Violation> {
    let inside: HashSet<_> = record
        .memberships
        .iter()
        .filter(|membership| membership.is_member())
        .map(|membership| membership.client)
        .collect();
    let outside = (0..record.clients).filter(|client| !inside.contains(client));
    outside
        .map(|client| {
            Violation::new(
                last_membership(record, client),
                format!("client {client} is in no room"),
            )
        })
        .collect()
}

fn last_membership(record: &Record, client: usize) -> Vec<usize> {
    let last = record
        .memberships
        .iter()
        .rposition(|membership| membership.client == client);
    last.into_iter().collect()
}

fn others<'r>(
    record: &'r Record,
    own_membership: &'r MembershipRecord,
) -> impl Iterator<Item = &'r str> {
    let members = record
        .members(own_membership.room)
        .map(|(_, membership)| membership);
    members
        .filter_map(|membership| membership.own_name.as_deref())
        .filter(|name| !own_membership.is_named(name))
}

/// The difference between a view and the room.
fn view_difference(
    membership: &MembershipRecord,
    view: &View<'_>,
    others: &BTreeSet<&str>,
) -> Option<String> {
    let seen: BTreeSet<&str> = match membership.dialect {
        ClientDialect::Lightstream | ClientDialect::P2p => {
            view.introduced.keys().copied().collect()
        }
        ClientDialect::Singo => view
            .introduced
            .keys()
            .copied()
            .chain(view.signals_from.iter().copied())
            .collect(),
        ClientDialect::Mesh => view.list?.iter().map(|name| &**name).collect(),
    };
    let stale: Vec<_> = seen.difference(others).collect();
    let unknown: Vec<_> = match membership.dialect {
        // A singo client is told only of members to offer to.
        ClientDialect::Singo => Vec::new(),
        ClientDialect::Lightstream | ClientDialect::P2p | ClientDialect::Mesh => {
            others.difference(&seen).collect()
        }
    };
    let is_right = stale.is_empty() && unknown.is_empty();
    (!is_right).then(|| {
        format!(
            "client {} observes {stale:?}, which are not members, and not {unknown:?}, which are",
            membership.client
        )
    })
}

/// Of two members of a room, each with its index, exactly one was told to send the offer: the one that the offer
/// policies of their dialects determine.
fn check_pair(
    one: (usize, &MembershipRecord),
    other: (usize, &MembershipRecord),
    views: &HashMap<usize, View<'_>>,
    first_seen: &FirstSeen<'_>,
    quiescent: &[QuiescentPeriod],
) -> Option<Violation> {
    let must_offer_to = |own_membership: (usize, &MembershipRecord),
                         other_membership: &MembershipRecord| {
        let introduced = views
            .get(&own_membership.0)?
            .introduced
            .get(other_membership.own_name.as_deref()?)
            .copied();
        introduced.filter(|introduced| introduced.offers > 0)
    };
    let (first, second) = (must_offer_to(one, other.1), must_offer_to(other, one.1));
    let (a, b) = (one.1.client, other.1.client);
    let text = match (
        one.1.dialect.requests_offers(),
        other.1.dialect.requests_offers(),
    ) {
        (false, false) if first.is_some() || second.is_some() => {
            format!("one of {a} and {b} must offer, although their dialect has no such request")
        }
        (false, false) => return None,
        _ if first.is_some() && second.is_some() => format!("{a} and {b} must both offer"),
        _ if first.is_none() && second.is_none() => format!("neither {a} nor {b} must offer"),
        (false, true) if first.is_some() => {
            format!("{a} must offer to {b}, expected the opposite")
        }
        (true, false) if second.is_some() => {
            format!("{b} must offer to {a}, expected the opposite")
        }
        _ => {
            let expected = first_seen.offerer(one, other, quiescent)?;
            let offerer = if first.is_some() { one.0 } else { other.0 };
            if offerer == expected {
                return None;
            }
            format!("of {a} and {b}, the wrong one must offer: the offer policy is violated")
        }
    };
    let text = format!("{text} ({:?} and {:?})", one.1.dialect, other.1.dialect);
    Some(Violation::new([one.0, other.0], text))
}

/// The times at which each member was announced to others.
struct FirstSeen<'r>(HashMap<&'r str, Vec<Instant>>);

impl<'r> FirstSeen<'r> {
    fn of(record: &'r Record) -> Self {
        let mut seen: HashMap<&str, Vec<Instant>> = HashMap::new();
        for membership in &record.memberships {
            for LogEntry { at, event } in &membership.events {
                if let RecordedEvent::MustOffer(name) | RecordedEvent::Joined(name) = event {
                    seen.entry(name).or_default().push(*at);
                }
            }
        }
        Self(seen)
    }

    /// The index of the member that must offer. `None` unless the logs prove which of the two joined later, and no
    /// fault has occurred since.
    fn offerer(
        &self,
        one: (usize, &MembershipRecord),
        other: (usize, &MembershipRecord),
        quiescent: &[QuiescentPeriod],
    ) -> Option<usize> {
        let (member, newcomer) = if one.1.requested_at < other.1.requested_at {
            (one, other)
        } else {
            (other, one)
        };
        let seen = self.0.get(member.1.own_name.as_deref()?)?;
        // The first announcement of the older member proves that it had joined.
        let confirmed = seen
            .iter()
            .filter(|at| **at >= member.1.requested_at)
            .min()?;
        let joined_at = self.0.get(newcomer.1.own_name.as_deref()?)?;
        let introduced = joined_at
            .iter()
            .filter(|at| **at >= newcomer.1.requested_at)
            .max()?;
        let is_certain = *confirmed < newcomer.1.requested_at
            && member
                .1
                .joined_at
                .is_some_and(|joined_at| joined_at < newcomer.1.requested_at)
            && quiescent
                .iter()
                .any(|period| period.covers(member.1.requested_at, *introduced));
        // In `singo` the older member offers, and `mesh` cannot tell a client to offer.
        let offerer = match (member.1.dialect, newcomer.1.dialect) {
            (ClientDialect::Singo, ClientDialect::Singo) | (_, ClientDialect::Mesh) => member,
            _ => newcomer,
        };
        is_certain.then_some(offerer.0)
    }
}

/// Signals in quiescent periods that were neither delivered nor rejected.
pub(crate) fn lost_signals(record: &Record, quiescent: &[QuiescentPeriod]) -> Vec<Violation> {
    let received: HashSet<usize> = record
        .memberships
        .iter()
        .flat_map(|membership| &membership.events)
        .filter_map(|entry| match entry.event {
            RecordedEvent::Signal { serial, .. } => Some(serial),
            RecordedEvent::MustOffer(_)
            | RecordedEvent::Joined(_)
            | RecordedEvent::Left(_)
            | RecordedEvent::MemberList(_)
            | RecordedEvent::Error(_) => None,
        })
        .collect();
    let mut used_errors: HashMap<usize, usize> = HashMap::new();
    let mut violations = Vec::new();
    for (serial, signal) in record.signals.iter().enumerate() {
        let end = signal.at + END_TOLERANCE;
        let sender = &record.memberships[signal.from];
        let is_quiescent = quiescent.iter().any(|period| period.covers(signal.at, end));
        if received.contains(&serial) || !is_quiescent || !sender.was_member(end) {
            continue;
        }
        let receiver = record.memberships.iter().position(|membership| {
            membership.room == sender.room
                && membership.is_named(&signal.to)
                && membership.was_member(signal.at)
                && membership.was_member(end)
        });
        let used = used_errors.entry(signal.from).or_default();
        let Some(receiver) = receiver else { continue };
        // An error does not name its signal: each later error of the sender accounts for one of its lost signals.
        let errors = sender.events.iter().filter(|entry| {
            entry.at >= signal.at && matches!(entry.event, RecordedEvent::Error(_))
        });
        if errors.count() > *used {
            *used += 1;
        } else {
            let text = format!(
                "signal {serial} of client {} to client {} was neither delivered nor rejected",
                sender.client, record.memberships[receiver].client
            );
            violations.push(Violation::new([signal.from, receiver], text));
        }
    }
    violations
}

fn views(record: &Record) -> HashMap<usize, View<'_>> {
    let memberships = record
        .memberships
        .iter()
        .enumerate()
        .filter(|(_, membership)| membership.is_member());
    memberships
        .map(|(index, membership)| (index, read_view(record, index, membership).0))
        .collect()
}

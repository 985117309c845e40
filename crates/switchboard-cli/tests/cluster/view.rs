//! The view of a client: the other members that its events have announced.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    time::Instant,
};

use crate::{
    oracle::Violation,
    record::{LogEntry, MembershipRecord, Name, Record, RecordedEvent},
};

/// A member that a client knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownMember {
    /// The time of the event that last announced it.
    pub(crate) since: Instant,
    /// The number of times that the client was told to offer to it.
    pub(crate) offers: usize,
}

/// The view of a client.
#[derive(Debug, Default)]
pub(crate) struct View<'r> {
    /// The members that the client was told of, until it is told of their leaves.
    pub(crate) introduced: BTreeMap<&'r str, KnownMember>,
    /// The senders of received signals, for dialects that do not announce joins.
    pub(crate) signals_from: BTreeSet<&'r str>,
    /// The latest member list, for the dialect that sends it on request.
    pub(crate) list: Option<&'r [Name]>,
}

/// Reads the events of a membership. Returns the final view and the violations.
pub(crate) fn read_view<'r>(
    record: &'r Record,
    index: usize,
    membership: &'r MembershipRecord,
) -> (View<'r>, Vec<Violation>) {
    let (mut view, mut messages) = (View::default(), Vec::new());
    for LogEntry { at, event } in &membership.events {
        messages.extend(view.observe(record, membership, *at, event));
    }
    let violations = messages
        .into_iter()
        .map(|message| Violation::new([index], format!("client {} {message}", membership.client)));
    (view, violations.collect())
}

impl<'r> View<'r> {
    fn observe(
        &mut self,
        record: &'r Record,
        membership: &MembershipRecord,
        at: Instant,
        event: &'r RecordedEvent,
    ) -> Option<String> {
        match event {
            RecordedEvent::MustOffer(name) => {
                let offers = &mut self
                    .introduced
                    .entry(name)
                    .or_insert(KnownMember {
                        since: at,
                        offers: 0,
                    })
                    .offers;
                *offers += 1;
                (*offers > 1).then(|| format!("must offer {offers} times to {name}"))
            }
            RecordedEvent::Joined(name) => {
                let introduced = KnownMember {
                    since: at,
                    offers: 0,
                };
                let before = self.introduced.insert(name, introduced);
                before.map(|before| {
                    format!(
                        "is told of a join of {name}, a member for {:?}",
                        at - before.since
                    )
                })
            }
            RecordedEvent::Left(name) => {
                let was_introduced = self.introduced.remove(&**name).is_some();
                self.signals_from.remove(&**name);
                (!was_introduced && membership.dialect.announces_joins())
                    .then(|| format!("is told of a leave of {name} without a join"))
            }
            RecordedEvent::MemberList(names) => {
                self.list = Some(names);
                let distinct: HashSet<_> = names.iter().collect();
                (distinct.len() < names.len())
                    .then(|| format!("received duplicate names: {names:?}"))
            }
            RecordedEvent::Signal { from, serial } => {
                self.signals_from.insert(from);
                self.check_signal(record, membership, from, *serial)
            }
            RecordedEvent::Error(_) => None,
        }
    }

    /// Checks that a signal comes from its true sender, is addressed to the client, and follows an introduction. Returns
    /// the violation.
    fn check_signal(
        &self,
        record: &Record,
        membership: &MembershipRecord,
        from: &str,
        serial: usize,
    ) -> Option<String> {
        let Some(signal) = record.signals.get(serial) else {
            return Some(format!("received signal {serial}, which was not sent"));
        };
        let sender = &record.memberships[signal.from];
        if !sender.is_named(from) {
            return Some(format!(
                "received signal {serial} of {:?} with the sender {from}",
                sender.own_name
            ));
        }
        if sender.room != membership.room || !membership.is_named(&signal.to) {
            return Some(format!(
                "received signal {serial}, which was for {} in room {}",
                signal.to, sender.room
            ));
        }
        if membership.dialect.announces_joins() && !self.introduced.contains_key(from) {
            return Some(format!(
                "received a signal of {from} without an introduction"
            ));
        }
        None
    }
}

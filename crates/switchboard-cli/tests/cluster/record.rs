//! The record of requests and events of all clients, with their times, for the oracle.

use std::{collections::HashMap, sync::Arc, time::Instant};

use crate::dialects::ClientDialect;

/// The address of a member: its unique name in the room. A dialect may show another id of the member to its clients.
pub(crate) type Name = Arc<str>;

/// An event that a client received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RecordedEvent {
    /// The client must offer to this member, which may be new.
    MustOffer(Name),
    /// This member has joined.
    Joined(Name),
    /// This member has left.
    Left(Name),
    /// The member list, in the dialect that sends it only on request.
    MemberList(Vec<Name>),
    /// A signal, by its index in [`Record::signals`].
    Signal { from: Name, serial: usize },
    /// An error, by its code or its message.
    Error(String),
}

#[derive(Clone, Debug)]
pub(crate) struct LogEntry {
    pub(crate) at: Instant,
    pub(crate) event: RecordedEvent,
}

/// A membership of a client in a room, from the join request to its end.
#[derive(Clone, Debug)]
pub(crate) struct MembershipRecord {
    /// The number of the client.
    pub(crate) client: usize,
    pub(crate) dialect: ClientDialect,
    /// The number of the room.
    pub(crate) room: usize,
    /// The address of the server.
    pub(crate) node: String,
    /// The name of the client, once it is known.
    pub(crate) own_name: Option<Name>,
    pub(crate) requested_at: Instant,
    /// The time of the answer to the join; in a dialect without an answer, that of the request.
    pub(crate) joined_at: Option<Instant>,
    pub(crate) ended_at: Option<Instant>,
    /// The cause for the end.
    pub(crate) end_reason: &'static str,
    pub(crate) events: Vec<LogEntry>,
}

impl MembershipRecord {
    pub(crate) fn is_member(&self) -> bool {
        self.joined_at.is_some() && self.ended_at.is_none() && self.own_name.is_some()
    }

    /// Whether it was a member at that time.
    pub(crate) fn was_member(&self, at: Instant) -> bool {
        self.joined_at.is_some_and(|joined_at| joined_at <= at)
            && self.ended_at.is_none_or(|ended_at| ended_at > at)
    }

    pub(crate) fn is_named(&self, name: &str) -> bool {
        self.own_name.as_deref() == Some(name)
    }
}

/// A signal that was sent.
#[derive(Clone, Debug)]
pub(crate) struct RecordedSignal {
    /// The sender, by its index in [`Record::memberships`].
    pub(crate) from: usize,
    pub(crate) to: Name,
    pub(crate) at: Instant,
}

/// The record of all clients.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) memberships: Vec<MembershipRecord>,
    pub(crate) signals: Vec<RecordedSignal>,
    /// The number of clients. In a quiescent period, all of them are members.
    pub(crate) clients: usize,
}

impl Record {
    /// The members of a room, according to the clients.
    pub(crate) fn members(&self, room: usize) -> impl Iterator<Item = (usize, &MembershipRecord)> {
        let memberships = self.memberships.iter().enumerate();
        memberships.filter(move |(_, membership)| membership.room == room && membership.is_member())
    }

    /// Discards events that are checked and not needed for later checks.
    pub(crate) fn discard_checked_events(&mut self) {
        for membership in &mut self.memberships {
            if membership.ended_at.is_some() {
                membership.events.clear();
            }
            let is_list = |entry: &LogEntry| matches!(entry.event, RecordedEvent::MemberList(_));
            let last = membership.events.iter().rposition(is_list);
            let mut index = 0;
            membership.events.retain(|entry| {
                index += 1;
                !is_list(entry) || Some(index - 1) == last
            });
        }
    }

    /// The dialects of the clients with a known name.
    pub(crate) fn dialects_by_name(&self) -> HashMap<&str, ClientDialect> {
        let named = self.memberships.iter();
        named
            .filter_map(|membership| Some((membership.own_name.as_deref()?, membership.dialect)))
            .collect()
    }
}

/// A period without faults.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QuiescentPeriod {
    pub(crate) from: Instant,
    /// The end; `None` while it lasts.
    pub(crate) until: Option<Instant>,
}

impl QuiescentPeriod {
    pub(crate) fn covers(&self, from: Instant, until: Instant) -> bool {
        self.from <= from && self.until.is_none_or(|end| until <= end)
    }
}

//! What the clients did and were told, with the time: what the judge reads.

use std::{collections::HashMap, sync::Arc, time::Instant};

use crate::dialects::ClientDialect;

/// By what a client knows another: its address, whatever the dialect calls it.
pub(crate) type Name = Arc<str>;

/// Something that a client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ObservedEvent {
    /// Call this one, who may be new.
    Call(Name),
    /// This one has come.
    Came(Name),
    /// This one has left.
    Left(Name),
    /// Those are there, by the dialect that tells it only who asks.
    List(Vec<Name>),
    /// A signal, by its number in [`Record::signals`].
    Heard { from: Name, serial: usize },
    /// A refusal, by its code or its words.
    Error(String),
}

#[derive(Clone, Debug)]
pub(crate) struct LogEntry {
    pub(crate) at: Instant,
    pub(crate) what: ObservedEvent,
}

/// A client in a room, from its asking to come in until it left or was cut off.
#[derive(Clone, Debug)]
pub(crate) struct RoomStay {
    pub(crate) client: usize,
    pub(crate) tongue: ClientDialect,
    pub(crate) room: usize,
    /// The address of the server.
    pub(crate) node: String,
    /// Its own name, once it is known.
    pub(crate) me: Option<Name>,
    pub(crate) asked: Instant,
    /// When it was told that it is in; in a dialect that tells nothing, when it asked.
    pub(crate) entered: Option<Instant>,
    pub(crate) ended: Option<Instant>,
    /// Why it ended.
    pub(crate) why: &'static str,
    pub(crate) noted: Vec<LogEntry>,
}

impl RoomStay {
    pub(crate) fn is_in(&self) -> bool {
        self.entered.is_some() && self.ended.is_none() && self.me.is_some()
    }

    /// Whether it was in at that time.
    pub(crate) fn was_in(&self, at: Instant) -> bool {
        self.entered.is_some_and(|entered| entered <= at)
            && self.ended.is_none_or(|ended| ended > at)
    }

    pub(crate) fn is_named(&self, name: &str) -> bool {
        self.me.as_deref() == Some(name)
    }
}

/// A signal that was sent.
#[derive(Clone, Debug)]
pub(crate) struct Signal {
    /// The sender, by its number in [`Record::stays`].
    pub(crate) from: usize,
    pub(crate) to: Name,
    pub(crate) at: Instant,
}

/// Everything, of all clients.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) stays: Vec<RoomStay>,
    pub(crate) signals: Vec<Signal>,
    /// How many clients play: all of them are in a room when it is calm.
    pub(crate) players: usize,
}

impl Record {
    /// Who is in this room, by their own belief.
    pub(crate) fn members(&self, room: usize) -> impl Iterator<Item = (usize, &RoomStay)> {
        let stays = self.stays.iter().enumerate();
        stays.filter(move |(_, stay)| stay.room == room && stay.is_in())
    }

    /// Drops what has been judged and says nothing of what is to come.
    pub(crate) fn forget(&mut self) {
        for stay in &mut self.stays {
            if stay.ended.is_some() {
                stay.noted.clear();
            }
            let is_list = |noted: &LogEntry| matches!(noted.what, ObservedEvent::List(_));
            let last = stay.noted.iter().rposition(is_list);
            let mut index = 0;
            stay.noted.retain(|noted| {
                index += 1;
                !is_list(noted) || Some(index - 1) == last
            });
        }
    }

    /// How those speak who have said their names.
    pub(crate) fn tongues(&self) -> HashMap<&str, ClientDialect> {
        let named = self.stays.iter();
        named
            .filter_map(|stay| Some((stay.me.as_deref()?, stay.tongue)))
            .collect()
    }
}

/// A time in which nothing was disturbed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QuiescentPeriod {
    pub(crate) from: Instant,
    /// None while it lasts.
    pub(crate) until: Option<Instant>,
}

impl QuiescentPeriod {
    pub(crate) fn covers(&self, from: Instant, until: Instant) -> bool {
        self.from <= from && self.until.is_none_or(|end| until <= end)
    }
}

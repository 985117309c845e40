//! The live events of a node: a bounded ring, from which streams resume.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::Arc,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use utoipa::ToSchema;

use crate::types::RoomRef;

/// The events that a node keeps. A stream that falls behind by more has missed some.
pub const EVENTS_MAX: usize = 8192;

/// The nodes in one `Last-Event-ID`.
const POSITIONS_MAX: usize = 256;

/// An event of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminEvent {
    /// The time in milliseconds since 1970.
    pub time_ms: u64,
    /// The id of the node.
    pub node: String,
    /// The kind of the event, with its data.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// The kind of an event, with its data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EventKind {
    /// A client has connected.
    Connected {
        /// The id of its session.
        session: String,
        /// Its IP address, if it is known.
        address: Option<String>,
        /// The dialect; `undetected` until the first frame has shown it.
        dialect: String,
        /// Its authenticated identity.
        identity: Option<String>,
    },
    /// The connection of a client has ended.
    Disconnected {
        /// The id of its session.
        session: String,
        /// Its IP address, if it is known.
        address: Option<String>,
        /// The dialect that it has used.
        dialect: String,
        /// Its authenticated identity.
        identity: Option<String>,
        /// The close code that the server has sent.
        code: Option<u16>,
        /// The reason.
        reason: String,
        /// The duration of the connection in milliseconds.
        duration_ms: u64,
    },
    /// A client of this node has joined a room.
    Joined {
        /// The room of the member.
        room: RoomRef,
        /// The id of its session.
        session: String,
        /// The address by which the other members name it.
        member: String,
        /// The dialect.
        dialect: String,
        /// Its authenticated identity.
        identity: Option<String>,
    },
    /// A client of this node has left a room.
    Left {
        /// The room of the member.
        room: RoomRef,
        /// The id of its session.
        session: String,
        /// The address by which the other members named it.
        member: String,
        /// The cause of the leave.
        cause: String,
    },
    /// Connections or requests were refused.
    Refused {
        /// The IP address; absent for many addresses.
        address: Option<String>,
        /// The reason of the last refusal.
        reason: String,
        /// The refusals since the last event of the address.
        count: u64,
    },
    /// An operator has given an order.
    Ordered {
        /// The principal.
        by: String,
        /// The order, as `kick`.
        order: String,
        /// The clients or the room of the order.
        target: String,
    },
    /// A node does not answer; its events are missing until it does.
    NodeFailed {
        /// The reason.
        error: String,
    },
    /// Events were missed, because the stream or the node was too slow.
    Missed {
        /// Their number.
        count: u64,
    },
}

impl EventKind {
    /// The name of the kind, which is the `event` of a stream.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connected { .. } => "connected",
            Self::Disconnected { .. } => "disconnected",
            Self::Joined { .. } => "joined",
            Self::Left { .. } => "left",
            Self::Refused { .. } => "refused",
            Self::Ordered { .. } => "ordered",
            Self::NodeFailed { .. } => "node_failed",
            Self::Missed { .. } => "missed",
        }
    }

    /// The session that the event is about.
    #[must_use]
    pub fn session(&self) -> Option<&str> {
        match self {
            Self::Connected { session, .. }
            | Self::Disconnected { session, .. }
            | Self::Joined { session, .. }
            | Self::Left { session, .. } => Some(session),
            Self::Refused { .. }
            | Self::Ordered { .. }
            | Self::NodeFailed { .. }
            | Self::Missed { .. } => None,
        }
    }
}

/// The events of one process from a position on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventBatch {
    /// The process: a node that restarts has a new one.
    pub process: String,
    /// The position of the last event of the batch, or of the log if the batch is empty.
    pub last: u64,
    /// Events between the wanted position and the first of the batch, which are no longer kept.
    pub missed: u64,
    /// The events with their positions.
    pub events: Vec<(u64, AdminEvent)>,
}

/// The positions of a stream in the logs of all processes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Positions(pub BTreeMap<String, u64>);

impl Positions {
    /// Parses the `Last-Event-ID` of a stream: `PROCESS.POSITION`, separated by commas.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut positions = BTreeMap::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (process, position) = part.split_once('.')?;
            let is_process = process.len() == 16 && process.bytes().all(|b| b.is_ascii_hexdigit());
            if !is_process || positions.len() >= POSITIONS_MAX {
                return None;
            }
            positions.insert(process.to_owned(), position.parse().ok()?);
        }
        Some(Self(positions))
    }
}

impl fmt::Display for Positions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (process, position)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{process}.{position}")?;
        }
        Ok(())
    }
}

/// The log of the events of a node.
#[derive(Debug)]
pub struct EventLog {
    process: String,
    events: Mutex<VecDeque<Arc<AdminEvent>>>,
    /// The position of the last event.
    last: watch::Sender<u64>,
}

impl EventLog {
    /// An empty log. `process` is a random number of this process.
    #[must_use]
    pub fn new(process: u64) -> Self {
        Self {
            process: format!("{process:016x}"),
            events: Mutex::default(),
            last: watch::Sender::new(0),
        }
    }

    /// Adds an event.
    pub fn push(&self, event: AdminEvent) {
        let mut events = self.events.lock();
        if events.len() >= EVENTS_MAX {
            events.pop_front();
        }
        events.push_back(Arc::new(event));
        self.last.send_modify(|last| *last += 1);
    }

    /// The position from which a stream with these positions goes on. Without a position in this process, a stream
    /// that resumes begins with the oldest event, and a new one with the next.
    #[must_use]
    pub fn start(&self, positions: &Positions, resumes: bool) -> u64 {
        let last = *self.last.borrow();
        match positions.0.get(&self.process) {
            Some(&position) => position.min(last),
            None if resumes => 0,
            None => last,
        }
    }

    /// The events after a position, at most `count` of them.
    #[must_use]
    pub fn after(&self, position: u64, count: usize) -> EventBatch {
        let events = self.events.lock();
        let last = *self.last.borrow();
        let first = last - events.len() as u64 + 1;
        let missed = first
            .saturating_sub(position + 1)
            .min(last - position.min(last));
        let from = position.max(first - 1);
        let skipped = usize::try_from(from + 1 - first).unwrap_or(usize::MAX);
        let events: Vec<_> = (from + 1..)
            .zip(events.iter().skip(skipped).take(count))
            .map(|(position, event)| (position, AdminEvent::clone(event)))
            .collect();
        EventBatch {
            process: self.process.clone(),
            last: events
                .last()
                .map_or(last.min(from), |(position, _)| *position),
            missed,
            events,
        }
    }

    /// Waits until there is an event after this position.
    pub async fn wait(&self, position: u64) {
        let mut last = self.last.subscribe();
        // The sender lives as long as this log.
        let _closed = last.wait_for(|last| *last > position).await.is_err();
    }

    /// The kept events of a session, oldest first.
    #[must_use]
    pub fn of_session(&self, session: &str) -> Vec<AdminEvent> {
        let events = self.events.lock();
        let of_session = events
            .iter()
            .filter(|event| event.kind.session() == Some(session));
        of_session.map(|event| AdminEvent::clone(event)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(count: u64) -> AdminEvent {
        AdminEvent {
            time_ms: count,
            node: "n".to_owned(),
            kind: EventKind::Missed { count },
        }
    }

    #[test]
    fn stream_resumes_where_it_was() {
        let log = EventLog::new(7);
        for count in 1..=5 {
            log.push(event(count));
        }
        let batch = log.after(2, 2);
        assert_eq!((batch.last, batch.missed), (4, 0));
        let positions: Vec<_> = batch
            .events
            .iter()
            .map(|(at, event)| (*at, event.time_ms))
            .collect();
        assert_eq!(positions, [(3, 3), (4, 4)]);
        let positions = Positions([(log.process.clone(), 4)].into());
        assert_eq!(
            Positions::parse(&positions.to_string()),
            Some(positions.clone())
        );
        assert_eq!(log.start(&positions, true), 4);
        assert_eq!(log.start(&Positions::default(), false), 5);
        assert_eq!(log.start(&Positions::default(), true), 0);
        let ahead = Positions([(log.process.clone(), 400)].into());
        assert_eq!(log.start(&ahead, true), 5);
        assert_eq!(log.after(5, 9).events, []);
        assert_eq!(log.after(5, 9).last, 5);
    }

    #[test]
    fn log_is_bounded_and_counts_what_is_missed() {
        let log = EventLog::new(7);
        let all = EVENTS_MAX as u64 + 3;
        for count in 1..=all {
            log.push(event(count));
        }
        let batch = log.after(0, 1);
        assert_eq!((batch.missed, batch.events[0].0), (3, 4));
        assert_eq!(log.after(1, 1).missed, 2);
        assert_eq!(log.after(3, 1).missed, 0);
        assert_eq!(log.after(all, 1).missed, 0);
    }

    #[test]
    fn malformed_positions_are_refused() {
        for bad in [
            "x",
            "1.2",
            "0123456789abcdef",
            "0123456789abcdef.x",
            "0123456789abcdeg.1",
        ] {
            assert_eq!(Positions::parse(bad), None, "{bad}");
        }
        let many: Vec<_> = (0..=POSITIONS_MAX).map(|n| format!("{n:016x}.1")).collect();
        assert_eq!(Positions::parse(&many.join(",")), None);
        assert_eq!(Positions::parse(""), Some(Positions::default()));
    }

    #[tokio::test]
    async fn waiter_is_woken_by_the_next_event() {
        let log = Arc::new(EventLog::new(1));
        let other = log.clone();
        let waiting = tokio::spawn(async move { other.wait(0).await });
        tokio::task::yield_now().await;
        log.push(event(1));
        waiting.await.expect("no panic");
    }
}

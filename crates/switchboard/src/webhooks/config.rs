//! The settings of the webhook that is notified of events.

use std::{fmt, time::Duration};

/// A kind of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// The first member has joined a room.
    RoomOpened,
    /// The last member has left a room.
    RoomClosed,
    /// A member has joined a room.
    MemberJoined,
    /// A member has left a room.
    MemberLeft,
    /// Connections or requests were refused.
    SessionRefused,
    /// A user of voice calls another one.
    CallRinging,
    /// The other user has accepted the call.
    CallAnswered,
    /// The call, or its ringing, has ended.
    CallEnded,
}

impl EventKind {
    /// All kinds of events.
    pub const ALL: [Self; 8] = [
        Self::RoomOpened,
        Self::RoomClosed,
        Self::MemberJoined,
        Self::MemberLeft,
        Self::SessionRefused,
        Self::CallRinging,
        Self::CallAnswered,
        Self::CallEnded,
    ];

    /// The name in the settings and in the field `event`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RoomOpened => "room.opened",
            Self::RoomClosed => "room.closed",
            Self::MemberJoined => "member.joined",
            Self::MemberLeft => "member.left",
            Self::SessionRefused => "session.refused",
            Self::CallRinging => "call.ringing",
            Self::CallAnswered => "call.answered",
            Self::CallEnded => "call.ended",
        }
    }
}

/// The settings of the webhook that is notified of events.
#[derive(Clone)]
#[non_exhaustive]
pub struct WebhooksConfig {
    /// The URL; empty for none.
    pub url: String,
    /// The secret that signs the events.
    pub secret: String,
    /// The events that are sent.
    pub events: Vec<EventKind>,
    /// The time for the response to an event.
    pub timeout: Duration,
    /// The events that may wait to be sent.
    pub queue: usize,
}

impl Default for WebhooksConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            secret: String::new(),
            events: EventKind::ALL.to_vec(),
            timeout: Duration::from_secs(5),
            queue: 10_000,
        }
    }
}

impl fmt::Debug for WebhooksConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhooksConfig")
            .field("events", &self.events)
            .field("timeout", &self.timeout)
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}

//! One client of the world, seen from the server's end of its connection.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use bytestring::ByteString;
use switchboard_core::Event;
use switchboard_dialect::{Close, Conversation, FirstFrame, Post};

/// A client of a [`crate::World`], by the order in which they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub(crate) usize);

/// A frame that a client was sent.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The text.
    pub text: ByteString,
    /// How many changes of membership the world had seen when this was said: [`crate::World::log`]
    /// up to here is what the frame can speak of, however late it is delivered.
    pub at: usize,
}

/// A frame of a client's own, on its way to its session.
#[derive(Debug)]
pub(crate) enum Sent {
    Text(ByteString),
    Binary(Bytes),
}

/// A session waits for an answer; until then its connection does nothing else.
#[derive(Debug)]
pub(crate) struct Asking {
    pub(crate) until: Duration,
    /// How the connection ends then, if it does.
    pub(crate) close: Option<Close>,
}

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) conversation: Conversation,
    /// Events on their way, each with the length of the log when it happened.
    pub(crate) outbox: VecDeque<(usize, Arc<Event>)>,
    pub(crate) frames: VecDeque<Frame>,
    /// The codes of what it was refused without being told anything.
    pub(crate) unsaid: VecDeque<&'static str>,
    /// Requests that its session has made.
    pub(crate) posts: VecDeque<Post>,
    pub(crate) asking: Option<Asking>,
    /// What it has sent meanwhile.
    pub(crate) early: VecDeque<Sent>,
    pub(crate) closed: Option<Close>,
    /// The codes of what it was refused.
    pub(crate) refused: Vec<&'static str>,
    pub(crate) gone: bool,
    pub(crate) held: bool,
    /// When the client fell silent, though its connection stands.
    pub(crate) frozen: Option<Duration>,
    /// When it must have sent something.
    pub(crate) first_frame: Option<Duration>,
    /// The ticks of its dialect: how often, and when next.
    pub(crate) tick: Option<(Duration, Duration)>,
}

impl Client {
    pub(crate) fn new(conversation: Conversation) -> Self {
        Self {
            conversation,
            outbox: VecDeque::new(),
            frames: VecDeque::new(),
            unsaid: VecDeque::new(),
            posts: VecDeque::new(),
            asking: None,
            early: VecDeque::new(),
            closed: None,
            refused: Vec::new(),
            gone: false,
            held: false,
            frozen: None,
            first_frame: None,
            tick: None,
        }
    }

    /// Whether its connection stands.
    pub(crate) fn is_connected(&self) -> bool {
        self.closed.is_none() && !self.gone
    }

    /// Whether something waits that it can be told now.
    pub(crate) fn has_news(&self) -> bool {
        self.asking.is_none() && !self.outbox.is_empty()
    }

    /// The next moment at which something is due, and what.
    pub(crate) fn next_due(&self, silence_max: Duration) -> Option<(Duration, Due)> {
        if let Some(asking) = &self.asking {
            return Some((asking.until, Due::Answer));
        }
        let due = [
            self.first_frame.map(|at| (at, Due::FirstFrame)),
            self.tick.map(|(_, at)| (at, Due::Tick)),
            self.frozen.map(|since| (since + silence_max, Due::Gone)),
        ];
        let due = due.into_iter().flatten().min_by_key(|(at, _)| *at);
        due.filter(|_| self.is_connected())
    }
}

/// What the server does with a connection when its time has come.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Due {
    FirstFrame,
    Tick,
    Gone,
    /// No answer came in time.
    Answer,
}

/// How long a first frame may take, if there is a limit.
pub(crate) fn patience(first_frame: FirstFrame, usual_secs: u64) -> Option<Duration> {
    let patience = match first_frame {
        FirstFrame::Usual => Duration::from_secs(usual_secs),
        FirstFrame::Within(patience) => patience,
        FirstFrame::Never => return None,
    };
    Some(patience).filter(|patience| !patience.is_zero())
}

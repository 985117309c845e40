//! One client of the world, seen from the server's end of its connection.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use bytestring::ByteString;
use switchboard_core::Event;
use switchboard_dialect::{ClientSession, CloseReason, FirstFrameTimeout, WebhookRequest};

/// A client of a [`crate::Simulation`], by the order in which they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub(crate) usize);

/// A frame that a client was sent.
#[derive(Clone, Debug)]
pub struct SentFrame {
    /// The text.
    pub text: ByteString,
    /// How many changes of membership the world had seen when this was said: [`crate::Simulation::log`]
    /// up to here is what the frame can speak of, however late it is delivered.
    pub at: usize,
}

/// A frame of a client's own, on its way to its session.
#[derive(Debug)]
pub(crate) enum InboundFrame {
    Text(ByteString),
    Binary(Bytes),
}

/// A session waits for an answer; until then its connection does nothing else.
#[derive(Debug)]
pub(crate) struct PendingWebhook {
    pub(crate) until: Duration,
    /// How the connection ends then, if it does.
    pub(crate) close: Option<CloseReason>,
}

#[derive(Debug)]
pub(crate) struct SimClient {
    pub(crate) conversation: ClientSession,
    /// Events on their way, each with the length of the log when it happened.
    pub(crate) outbox: VecDeque<(usize, Arc<Event>)>,
    pub(crate) frames: VecDeque<SentFrame>,
    /// The codes of what it was refused without being told anything.
    pub(crate) unsaid: VecDeque<&'static str>,
    /// Requests that its session has made.
    pub(crate) posts: VecDeque<WebhookRequest>,
    pub(crate) pending_webhook: Option<PendingWebhook>,
    /// What it has sent meanwhile.
    pub(crate) queued_frames: VecDeque<InboundFrame>,
    pub(crate) closed: Option<CloseReason>,
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

impl SimClient {
    pub(crate) fn new(conversation: ClientSession) -> Self {
        Self {
            conversation,
            outbox: VecDeque::new(),
            frames: VecDeque::new(),
            unsaid: VecDeque::new(),
            posts: VecDeque::new(),
            pending_webhook: None,
            queued_frames: VecDeque::new(),
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
        self.pending_webhook.is_none() && !self.outbox.is_empty()
    }

    /// The next moment at which something is due, and what.
    pub(crate) fn next_due(&self, silence_max: Duration) -> Option<(Duration, ClientTimer)> {
        if let Some(asking) = &self.pending_webhook {
            return Some((asking.until, ClientTimer::Answer));
        }
        let due = [
            self.first_frame.map(|at| (at, ClientTimer::FirstFrame)),
            self.tick.map(|(_, at)| (at, ClientTimer::Tick)),
            self.frozen
                .map(|since| (since + silence_max, ClientTimer::Gone)),
        ];
        let due = due.into_iter().flatten().min_by_key(|(at, _)| *at);
        due.filter(|_| self.is_connected())
    }
}

/// What the server does with a connection when its time has come.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ClientTimer {
    FirstFrame,
    Tick,
    Gone,
    /// No answer came in time.
    Answer,
}

/// How long a first frame may take, if there is a limit.
pub(crate) fn first_frame_timeout(
    first_frame: FirstFrameTimeout,
    usual_secs: u64,
) -> Option<Duration> {
    let patience = match first_frame {
        FirstFrameTimeout::Default => Duration::from_secs(usual_secs),
        FirstFrameTimeout::Within(patience) => patience,
        FirstFrameTimeout::Never => return None,
    };
    Some(patience).filter(|patience| !patience.is_zero())
}

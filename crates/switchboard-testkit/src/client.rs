//! One simulated client: its session at the server, its outbox (the events that the session has not handled yet), and
//! the frames that it was sent.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use bytestring::ByteString;
use switchboard_core::Event;
use switchboard_dialects::{CloseReason, FirstFrameTimeout, WebhookRequest};
use switchboard_session::ClientSession;

/// A client of a [`crate::Simulation`], numbered in the order of the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub(crate) usize);

/// A frame that the server has sent to a client.
#[derive(Clone, Debug)]
pub struct SentFrame {
    /// The text of the frame.
    pub text: ByteString,
    /// The length of [`crate::Simulation::log`] when the cause of the frame happened. However late the frame is
    /// delivered, it can only describe changes with a smaller index in the log.
    pub at: usize,
}

/// A frame that a client has sent and its session has not handled yet.
#[derive(Debug)]
pub(crate) enum InboundFrame {
    Text(ByteString),
    Binary(Bytes),
}

/// A webhook request of a session. Until its response the connection handles nothing else.
#[derive(Debug)]
pub(crate) struct PendingWebhook {
    /// The time at which the request fails.
    pub(crate) until: Duration,
    /// The reason with which the connection is closed after the response, if any.
    pub(crate) close: Option<CloseReason>,
}

/// The state of one simulated connection.
#[derive(Debug)]
pub(crate) struct SimClient {
    pub(crate) session: ClientSession,
    /// Events that are not delivered yet, each with the length of the log when it happened.
    pub(crate) outbox: VecDeque<(usize, Arc<Event>)>,
    /// The frames that the test has not taken yet.
    pub(crate) frames: VecDeque<SentFrame>,
    /// The error codes for which the client got no frame.
    pub(crate) silent_errors: VecDeque<&'static str>,
    /// The session's webhook requests that the test has not taken yet.
    pub(crate) webhooks: VecDeque<WebhookRequest>,
    pub(crate) pending_webhook: Option<PendingWebhook>,
    /// Frames that the client has sent while a webhook was pending.
    pub(crate) queued_frames: VecDeque<InboundFrame>,
    /// The reason with which the server has closed the connection.
    pub(crate) closed: Option<CloseReason>,
    /// The error codes of the client's failed requests.
    pub(crate) error_codes: Vec<&'static str>,
    /// Whether the session has ended.
    pub(crate) disconnected: bool,
    /// Whether events stay in the outbox until the test delivers them.
    pub(crate) held: bool,
    /// The time since which the client does not respond, although its connection is open.
    pub(crate) frozen_at: Option<Duration>,
    /// The time until which the session is kept without a connection, so that the client can resume it.
    pub(crate) detached_until: Option<Duration>,
    /// The deadline of the first frame.
    pub(crate) first_frame: Option<Duration>,
    /// The ticks that the session has asked for: their interval, and the time of the next one.
    pub(crate) tick: Option<(Duration, Duration)>,
}

impl SimClient {
    pub(crate) fn new(session: ClientSession) -> Self {
        Self {
            session,
            outbox: VecDeque::new(),
            frames: VecDeque::new(),
            silent_errors: VecDeque::new(),
            webhooks: VecDeque::new(),
            pending_webhook: None,
            queued_frames: VecDeque::new(),
            closed: None,
            error_codes: Vec::new(),
            disconnected: false,
            held: false,
            frozen_at: None,
            detached_until: None,
            first_frame: None,
            tick: None,
        }
    }

    /// Whether the session goes on: neither side has ended its connection, or it is kept without one.
    pub(crate) fn is_connected(&self) -> bool {
        self.closed.is_none() && !self.disconnected
    }

    /// Whether an event can be delivered now.
    pub(crate) fn has_deliverable_event(&self) -> bool {
        self.pending_webhook.is_none() && !self.outbox.is_empty()
    }

    /// The time of the next timer, and which one it is.
    pub(crate) fn next_due(&self, silence_max: Duration) -> Option<(Duration, ClientTimer)> {
        if let Some(until) = self.detached_until.filter(|_| self.is_connected()) {
            return Some((until, ClientTimer::DetachedTimeout));
        }
        if let Some(pending) = &self.pending_webhook {
            return Some((pending.until, ClientTimer::WebhookTimeout));
        }
        let due = [
            self.first_frame.map(|at| (at, ClientTimer::FirstFrame)),
            self.tick.map(|(_, at)| (at, ClientTimer::Tick)),
            self.frozen_at
                .map(|since| (since + silence_max, ClientTimer::HeartbeatTimeout)),
        ];
        let due = due.into_iter().flatten().min_by_key(|(at, _)| *at);
        due.filter(|_| self.is_connected())
    }
}

/// A timer of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ClientTimer {
    FirstFrame,
    Tick,
    HeartbeatTimeout,
    /// No connection has resumed the session in time.
    DetachedTimeout,
    /// The response of a webhook did not arrive in time.
    WebhookTimeout,
}

/// The time limit of the first frame, if there is one.
pub(crate) fn first_frame_timeout(
    first_frame: FirstFrameTimeout,
    usual_secs: u64,
) -> Option<Duration> {
    let timeout = match first_frame {
        FirstFrameTimeout::Default => Duration::from_secs(usual_secs),
        FirstFrameTimeout::Within(timeout) => timeout,
        FirstFrameTimeout::Never => return None,
    };
    Some(timeout).filter(|timeout| !timeout.is_zero())
}

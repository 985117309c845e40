//! The log lines of one connection, and its tracing span.

use std::{net::IpAddr, time::Instant};

use switchboard_core::{Event, Identity, Peer, RoomId};
use switchboard_dialects::CloseReason;
use tracing::{Span, field::Empty};

use crate::{
    Counters, EndedConnection, Outbox, log_text,
    rejected_frames::{RejectedFrames, RejectionLine},
    websocket::ConnectionContext,
};

/// The status of a connection that the client has closed, in the metrics (RFC 6455, section 7.4.1).
const NO_STATUS: u16 = 1005;

/// The status of a connection that was reset, lost or aborted, in the metrics.
const ABNORMAL: u16 = 1006;

/// The end of a connection, for its log line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoggedEnd<'a> {
    /// The close code that the server sends, if it closes the connection.
    code: Option<u16>,
    /// The status code in the metrics: `code`, or 1005 or 1006, which are never sent (RFC 6455, section 7.4.1).
    status: u16,
    reason: &'a str,
}

impl<'a> LoggedEnd<'a> {
    /// The client has closed the connection.
    pub(crate) const GRACEFUL: Self = Self::without_close(NO_STATUS, "closed by the client");
    /// The client's socket was closed or reset without a close frame.
    pub(crate) const RESET: Self = Self::without_close(ABNORMAL, "reset by the client");
    /// The network has lost the connection.
    pub(crate) const LOST: Self = Self::without_close(ABNORMAL, "network error");
    /// The task of the connection has ended by a panic or with the runtime.
    pub(crate) const ABORTED: Self = Self::without_close(ABNORMAL, "aborted");

    /// The server closes the connection.
    pub(crate) fn by_server(close: CloseReason) -> Self {
        Self {
            code: Some(close.code),
            status: close.code,
            reason: close.reason,
        }
    }

    /// The host program ends the session.
    pub(crate) fn by_host(close: CloseReason, reason: &'a str) -> Self {
        Self {
            reason,
            ..Self::by_server(close)
        }
    }

    const fn without_close(status: u16, reason: &'a str) -> Self {
        let code = None;
        Self {
            code,
            status,
            reason,
        }
    }
}

/// The state behind the log lines and metrics of one connection.
#[derive(Debug, Default)]
pub(crate) struct ConnectionLog {
    /// `None` until a frame is rejected.
    rejected: Option<Box<RejectedFrames>>,
    has_joined: bool,
    /// The time at which the pending join began.
    joining_since: Option<Instant>,
}

impl ConnectionLog {
    /// The span of the connection. It costs memory and time for each connection, so its level is debug: it exists only
    /// while the log shows debug lines. Lines of the level info repeat the fields that they need.
    pub(crate) fn span(peer: &Peer, client: Option<IpAddr>) -> Span {
        let user = match peer.identity() {
            Identity::Claimed => None,
            Identity::Proven(user) => Some(log_text(user)),
        };
        let client = client.map(tracing::field::display);
        let (dialect, room) = (Empty, Empty);
        tracing::debug_span!("connection", client, peer = %peer.id(), user, dialect, room)
    }

    /// Notes the time of a join. At the first join, adds the dialect and the room to the current span, which must be
    /// that of the connection.
    pub(crate) fn record_join(&mut self, peer: &Peer, room: &RoomId) {
        self.joining_since.get_or_insert_with(Instant::now);
        if !std::mem::replace(&mut self.has_joined, true) {
            let span = Span::current();
            if !span.is_disabled() {
                span.record("dialect", peer.dialect().name);
                span.record("room", log_text(room.name.as_str()));
            }
        }
    }

    /// Measures the duration of the pending join if `event` is its result.
    pub(crate) fn observe_event(&mut self, event: &Event, counters: &Counters) {
        if let Some(since) = self.joining_since
            && is_join_result(event)
        {
            self.joining_since = None;
            let seconds = since.elapsed().as_secs_f64();
            counters.join_seconds.observe(seconds);
        }
    }

    /// Counts rejected frames. Logs them if the rate limit of these lines allows it.
    pub(crate) fn add_rejections(
        &mut self,
        (peer, client): (&Peer, Option<IpAddr>),
        codes: &[&'static str],
        counters: &Counters,
    ) {
        if !codes.is_empty() {
            for code in codes {
                counters.errors_total.with_label_values(&[code]).inc();
                self.rejected.get_or_insert_default().add(code);
            }
            self.log_rejections(peer, client);
        }
    }

    /// Logs rejected frames if a line is due.
    pub(crate) fn log_rejections(&mut self, peer: &Peer, client: Option<IpAddr>) {
        if let Some(rejected) = &mut self.rejected
            && let Some(line) = rejected.poll_line(Instant::now())
        {
            log_rejection(peer, client, line);
        }
    }

    /// Logs and counts the end of the connection.
    pub(crate) fn log_end(
        &mut self,
        peer: &Peer,
        outbox: &Outbox,
        end: LoggedEnd<'_>,
        context: &ConnectionContext,
    ) {
        let rejected = self.rejected.as_mut();
        if let Some(line) = rejected.and_then(|rejected| rejected.take_unlogged()) {
            log_rejection(peer, outbox.client(), line);
        }
        let LoggedEnd {
            code,
            status,
            reason,
        } = end;
        context
            .counters
            .connections_ended_total
            .with_label_values(&[peer.dialect().name, &status.to_string()])
            .inc();
        let (client, duration) = (outbox.client(), outbox.opened_at().elapsed());
        let ended = EndedConnection {
            client,
            code,
            reason,
            duration,
        };
        context.hubs.on_disconnected(peer, &ended);
        let client = client.map(tracing::field::display);
        let seconds = duration.as_secs_f64();
        let (peer, dialect) = (peer.id(), peer.dialect().name);
        tracing::info!(client, %peer, dialect, code, reason, seconds, "disconnected");
    }
}

/// Whether an event is the result of a join.
fn is_join_result(event: &Event) -> bool {
    match event {
        Event::Joined { .. } | Event::Rejoined { .. } => true,
        Event::RequestFailed(error) => error.join.is_some(),
        Event::Claimed(_)
        | Event::Members { .. }
        | Event::Introduced { .. }
        | Event::Departed { .. }
        | Event::Received { .. }
        | Event::Probe(_)
        | Event::Evicted(_) => false,
    }
}

fn log_rejection(peer: &Peer, client: Option<IpAddr>, line: RejectionLine) {
    let RejectionLine { code, count } = line;
    let client = client.map(tracing::field::display);
    tracing::info!(client, peer = %peer.id(), code, count, "frames rejected");
}

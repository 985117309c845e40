//! The log lines of one connection, and its span.

use std::{net::IpAddr, time::Instant};

use switchboard_core::{Identity, Peer, RoomId};
use tracing::{Span, field::Empty};

use crate::{
    log_text,
    refusal_log::{RefusalLine, RefusalLog},
};

/// The end of a connection, for its log line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoggedEnd {
    /// The close code that the server sends, if it closes the connection.
    pub(crate) code: Option<u16>,
    pub(crate) reason: &'static str,
}

#[derive(Debug)]
pub(crate) struct ConnectionLog {
    client: Option<IpAddr>,
    opened_at: Instant,
    refusals: RefusalLog,
    has_joined: bool,
}

impl ConnectionLog {
    pub(crate) fn new(client: Option<IpAddr>, now: Instant) -> Self {
        Self {
            client,
            opened_at: now,
            refusals: RefusalLog::default(),
            has_joined: false,
        }
    }

    /// The span of the connection. It costs memory and time for each connection, so it exists only while the log
    /// shows debug lines. The lines of the level info have its fields themselves.
    pub(crate) fn span(&self, peer: &Peer) -> Span {
        let user = match peer.identity() {
            Identity::Claimed => None,
            Identity::Proven(user) => Some(log_text(user)),
        };
        let client = self.client.map(tracing::field::display);
        let (dialect, room) = (Empty, Empty);
        tracing::debug_span!("connection", client, peer = %peer.id(), user, dialect, room)
    }

    /// Adds the dialect and the first room to the span, which is the current one.
    pub(crate) fn record_join(&mut self, peer: &Peer, room: &RoomId) {
        if !std::mem::replace(&mut self.has_joined, true) {
            let span = Span::current();
            span.record("dialect", peer.dialect().name);
            span.record("room", log_text(room.name.as_str()));
        }
    }

    /// Counts rejected frames, and logs them if a line is due.
    pub(crate) fn add_refusals(&mut self, peer: &Peer, codes: &[&'static str]) {
        if !codes.is_empty() {
            codes.iter().for_each(|code| self.refusals.add(code));
            self.log_refusals(peer);
        }
    }

    /// Logs rejected frames if a line is due.
    pub(crate) fn log_refusals(&mut self, peer: &Peer) {
        if let Some(line) = self.refusals.poll_line(Instant::now()) {
            log_refusal(peer, line);
        }
    }

    /// Logs the end of the connection.
    pub(crate) fn log_end(&mut self, peer: &Peer, end: LoggedEnd) {
        if let Some(line) = self.refusals.last_line() {
            log_refusal(peer, line);
        }
        let LoggedEnd { code, reason } = end;
        let client = self.client.map(tracing::field::display);
        let seconds = self.opened_at.elapsed().as_secs_f64();
        let (peer, dialect) = (peer.id(), peer.dialect().name);
        tracing::info!(client, %peer, dialect, code, reason, seconds, "disconnected");
    }
}

fn log_refusal(peer: &Peer, line: RefusalLine) {
    let RefusalLine { code, count } = line;
    tracing::info!(peer = %peer.id(), code, count, "frames rejected");
}

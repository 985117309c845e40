//! Log lines about refused connections, bounded in number, so that no client can fill the disk with them.

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use prometheus::IntCounterVec;

use crate::{ConnectionLimit, network};

/// The minimum time between two lines about one address.
const INTERVAL: Duration = Duration::from_secs(60);

/// The number of addresses with log lines of their own in one interval. Connections of further addresses share a line.
const ADDRESSES_MAX: usize = 256;

/// The reason why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefusalReason {
    /// A limit on the number of connections is reached.
    Limit(ConnectionLimit),
    /// The rate limit of expensive requests is reached.
    Rate,
    /// The rate limit of HTTP requests is reached.
    RequestRate,
    /// The origin of the client's page is not allowed.
    Origin,
    /// The host of the request is not allowed.
    Host,
    /// The address has sent too many wrong credentials.
    FailedAuth,
    /// The host program, which embeds the server as a library, does not let the client connect.
    Denied,
    /// The client has no valid access token.
    Unauthenticated,
    /// The limit of connections that wait for an access token is reached.
    UnauthenticatedLimit,
    /// An operator has banned the client.
    Banned,
    /// The host program did not answer in time.
    HookTimeout,
    /// The client requests a dialect that is unknown or disabled.
    Dialect,
    /// The request is not a valid WebSocket handshake.
    Handshake,
    /// The TLS handshake failed or was not complete in time.
    Tls,
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl RefusalReason {
    /// The text in log lines.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Limit(ConnectionLimit::Total) => "limits.connections",
            Self::Limit(ConnectionLimit::PerAddress) => "limits.connections_per_address",
            Self::Limit(ConnectionLimit::Rate) => "limits.connections_per_second",
            Self::Rate => "limits.expensive_requests_per_second",
            Self::RequestRate => "limits.http_requests_per_second",
            Self::Origin => "access.allowed_origins",
            Self::Host => "access.allowed_hosts",
            Self::FailedAuth => "too many wrong credentials",
            Self::Denied => "denied by the host program",
            Self::Unauthenticated => "no valid access token",
            Self::UnauthenticatedLimit => "access.unauthenticated_per_address",
            Self::Banned => "banned by an operator",
            Self::HookTimeout => "no answer of the host program",
            Self::Dialect => "unknown or disabled dialect",
            Self::Handshake => "no valid WebSocket handshake",
            Self::Tls => "TLS handshake failed",
        }
    }

    /// The label in the metric `refusals_total`.
    #[must_use]
    pub fn label(self) -> &'static str {
        LABELS[self.index()]
    }

    /// The position in [`LABELS`].
    fn index(self) -> usize {
        match self {
            Self::Limit(ConnectionLimit::Total) => 0,
            Self::Limit(ConnectionLimit::PerAddress) => 1,
            Self::Limit(ConnectionLimit::Rate) => 2,
            Self::Rate => 3,
            Self::RequestRate => 4,
            Self::Origin => 5,
            Self::Host => 6,
            Self::FailedAuth => 7,
            Self::Denied => 8,
            Self::HookTimeout => 9,
            Self::Dialect => 10,
            Self::Handshake => 11,
            Self::Tls => 12,
            Self::Unauthenticated => 13,
            Self::UnauthenticatedLimit => 14,
            Self::Banned => 15,
        }
    }
}

/// The labels of the reasons in the metric `refusals_total`.
const LABELS: [&str; 16] = [
    "connections",
    "connections_per_address",
    "connections_per_second",
    "expensive_requests_per_second",
    "http_requests_per_second",
    "origin",
    "host",
    "failed_auth",
    "denied",
    "hook_timeout",
    "dialect",
    "handshake",
    "tls",
    "unauthenticated",
    "unauthenticated_per_address",
    "banned",
];

/// Logs refused connections: for each address and reason at most one line a minute, with the number of
/// connections refused since its last line.
#[derive(Default)]
pub struct RefusedConnections {
    /// By the index of the reason.
    counts: [RefusalCounts; LABELS.len()],
    /// The metric `refusals_total`.
    metric: Option<IntCounterVec>,
    observer: Option<Box<RefusalObserver>>,
}

/// Called with each log line: the address of the client, the reason, and the number of connections.
type RefusalObserver = dyn Fn(Option<IpAddr>, RefusalReason, u64) + Send + Sync;

impl fmt::Debug for RefusedConnections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefusedConnections").finish_non_exhaustive()
    }
}

impl RefusedConnections {
    /// Also calls `observer` with each line. It must not block.
    #[must_use]
    pub fn observed_by(
        observer: impl Fn(Option<IpAddr>, RefusalReason, u64) + Send + Sync + 'static,
    ) -> Self {
        Self {
            observer: Some(Box::new(observer)),
            ..Self::default()
        }
    }

    /// Also counts each refusal in a metric with the label `reason`.
    #[must_use]
    pub fn counted_in(self, metric: IntCounterVec) -> Self {
        let metric = Some(metric);
        Self { metric, ..self }
    }

    /// Counts a refused connection of this client, and logs it if a line is due.
    pub fn log(&self, client: Option<IpAddr>, reason: RefusalReason) {
        self.log_with(client, reason, || None);
    }

    /// Does the same. The log line has a field `add` with the line of the configuration that would allow the client.
    pub fn log_with(
        &self,
        client: Option<IpAddr>,
        reason: RefusalReason,
        setting: impl FnOnce() -> Option<String>,
    ) {
        if let Some(metric) = &self.metric {
            metric.with_label_values(&[reason.label()]).inc();
        }
        let Some(RefusalCount { client, count }) = self.counts[reason.index()].add(client) else {
            return;
        };
        if let Some(observer) = &self.observer {
            observer(client.address(), reason, count);
        }
        let (reason, add) = (reason.as_str(), setting());
        tracing::info!(%client, reason, count, add, "connection refused");
    }
}

/// Counts refusals of one kind between their log lines: at most one line a minute is due for an
/// address. A /64 network of IPv6 counts as one address.
#[derive(Debug, Default)]
pub struct RefusalCounts(Mutex<RefusalLines>);

impl RefusalCounts {
    /// Counts a refusal of this client. Returns the content of a log line, if one is due.
    pub fn add(&self, client: Option<IpAddr>) -> Option<RefusalCount> {
        let mut lines = self.0.lock();
        lines.add(client, Instant::now())
    }
}

/// The content of a log line besides the reason.
#[derive(Debug, PartialEq, Eq)]
pub struct RefusalCount {
    /// The refused client, for the log line.
    pub client: RefusedClient,
    /// The refusals since the last line, with this one.
    pub count: u64,
}

/// The client of a log line.
#[derive(Debug, PartialEq, Eq)]
pub enum RefusedClient {
    /// The client with this address.
    Address(IpAddr),
    /// The host program does not know the address.
    Unknown,
    /// Clients of further addresses, which share a line.
    Others,
}

impl RefusedClient {
    fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(*address),
            Self::Unknown | Self::Others => None,
        }
    }
}

impl fmt::Display for RefusedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Unknown => f.write_str("unknown"),
            Self::Others => f.write_str("others"),
        }
    }
}

/// Refused connections of one address since its last line.
#[derive(Debug, Default)]
struct UnloggedRefusals {
    last_line_at: Option<Instant>,
    count: u64,
}

impl UnloggedRefusals {
    /// Counts a connection. Returns the count for a line, if one is due.
    fn add(&mut self, now: Instant) -> Option<u64> {
        self.count += 1;
        if self.is_recent(now) {
            return None;
        }
        self.last_line_at = Some(now);
        Some(std::mem::take(&mut self.count))
    }

    fn is_recent(&self, now: Instant) -> bool {
        self.last_line_at
            .is_some_and(|last| now.duration_since(last) < INTERVAL)
    }
}

/// The refusals that were not logged yet.
#[derive(Debug, Default)]
struct RefusalLines {
    /// By network; `None` for unknown addresses.
    addresses: HashMap<Option<IpAddr>, UnloggedRefusals>,
    others: UnloggedRefusals,
}

impl RefusalLines {
    fn add(&mut self, address: Option<IpAddr>, now: Instant) -> Option<RefusalCount> {
        let key = address.map(network);
        if self.addresses.len() >= ADDRESSES_MAX && !self.addresses.contains_key(&key) {
            self.forget_expired(now);
        }
        let has_room = self.addresses.len() < ADDRESSES_MAX;
        let (pending, client) = if has_room || self.addresses.contains_key(&key) {
            let client = address.map_or(RefusedClient::Unknown, RefusedClient::Address);
            (self.addresses.entry(key).or_default(), client)
        } else {
            (&mut self.others, RefusedClient::Others)
        };
        let count = pending.add(now)?;
        Some(RefusalCount { client, count })
    }

    /// Removes the addresses whose interval is over. Their counts are added to the next line about other addresses.
    fn forget_expired(&mut self, now: Instant) {
        let others = &mut self.others.count;
        self.addresses.retain(|_, pending| {
            let is_recent = pending.is_recent(now);
            *others += if is_recent { 0 } else { pending.count };
            is_recent
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use prometheus::Opts;

    use super::*;

    fn address(number: u32) -> Option<IpAddr> {
        Some(IpAddr::V4(number.into()))
    }

    fn line(client: RefusedClient, count: u64) -> Option<RefusalCount> {
        Some(RefusalCount { client, count })
    }

    #[test]
    fn an_address_has_one_line_per_interval_with_the_number_of_its_connections() {
        let start = Instant::now();
        let mut lines = RefusalLines::default();
        let first: IpAddr = "2001:db8::1".parse().expect("an address");
        let second: IpAddr = "2001:db8::2:0:0:1".parse().expect("an address");
        let expected = line(RefusedClient::Address(first), 1);
        assert_eq!(lines.add(Some(first), start), expected);
        for _ in 0..1000 {
            assert_eq!(lines.add(Some(second), start), None, "the same /64");
        }
        assert_eq!(lines.add(None, start), line(RefusedClient::Unknown, 1));
        let later = start + INTERVAL;
        let expected = line(RefusedClient::Address(second), 1001);
        assert_eq!(lines.add(Some(second), later), expected);
    }

    #[test]
    fn each_reason_has_its_label_its_count_and_its_log_lines() {
        let metric = Opts::new("refusals_total", "Refusals.");
        let metric = IntCounterVec::new(metric, &["reason"]).expect("a valid metric");
        let lines = std::sync::Arc::new(AtomicU64::new(0));
        let counted = lines.clone();
        let refused = RefusedConnections::observed_by(move |_, _, _| {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let refused = refused.counted_in(metric.clone());
        let reasons = [
            RefusalReason::Limit(ConnectionLimit::Total),
            RefusalReason::Limit(ConnectionLimit::PerAddress),
            RefusalReason::Limit(ConnectionLimit::Rate),
            RefusalReason::Rate,
            RefusalReason::RequestRate,
            RefusalReason::Origin,
            RefusalReason::Host,
            RefusalReason::FailedAuth,
            RefusalReason::Denied,
            RefusalReason::HookTimeout,
            RefusalReason::Dialect,
            RefusalReason::Handshake,
            RefusalReason::Tls,
            RefusalReason::Unauthenticated,
            RefusalReason::UnauthenticatedLimit,
        ];
        assert_eq!(
            reasons.map(RefusalReason::index),
            std::array::from_fn(|index| index)
        );
        for reason in reasons {
            refused.log(address(1), reason);
            refused.log_with(address(1), reason, || unreachable!("no line is due"));
            assert_eq!(metric.with_label_values(&[reason.label()]).get(), 2);
        }
        assert_eq!(lines.load(Ordering::Relaxed), reasons.len() as u64);
    }

    #[test]
    fn the_observer_is_called_once_per_log_line() {
        let calls = std::sync::Arc::new(Mutex::new(Vec::new()));
        let observed = calls.clone();
        let refused = RefusedConnections::observed_by(move |client, reason, count| {
            observed.lock().push((client, reason, count));
        });
        for _ in 0..1000 {
            refused.log(address(1), RefusalReason::Denied);
        }
        assert_eq!(*calls.lock(), [(address(1), RefusalReason::Denied, 1)]);
    }

    #[test]
    fn many_addresses_share_one_line_per_interval_and_no_count_is_lost() {
        let start = Instant::now();
        let mut lines = RefusalLines::default();
        let mut logged = 0;
        let mut line_count = 0;
        for now in [start, start + INTERVAL] {
            for number in 0..10_000 {
                for _ in 0..2 {
                    let line = lines.add(address(number), now);
                    logged += line.as_ref().map_or(0, |line| line.count);
                    line_count += usize::from(line.is_some());
                }
            }
            assert!(lines.addresses.len() <= ADDRESSES_MAX);
        }
        assert!(line_count <= 2 * (ADDRESSES_MAX + 1), "{line_count}");
        let pending: u64 = lines.addresses.values().map(|pending| pending.count).sum();
        assert_eq!(logged + pending + lines.others.count, 40_000);
    }
}
